"""Commands for people (main.py) and the commands that pods run (steps.py)."""
