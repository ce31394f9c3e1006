"""Engines: what runs a compiled job, observes it and stops it. protocol.py says what every engine does; open.py picks one."""
