"""Serves a Cortex `Handler` class over HTTP, in the user's own container, with the user's own Python (3.8 or newer).

`batchflow.prepare` copies this package there under the name `batchflow_runtime`; `python3 -m batchflow_runtime` runs it. It imports
the standard library and itself, nothing else, since it lives beside the user's pins. Source of the behaviour: spec/cortex.md section 2.

main         the start, step by step, then serving until SIGTERM
settings     env names and their defaults
dotenv       the project's `.env`
virtualenv   the project's requirements, installed into a cached virtual environment
handler      the user's class: found, checked, constructed, called
streams      stdout and stderr whose lines name the batch that printed them
executor     the threads that run the user's code
service      a batch or the hook: call it, watch it, say how it ended
server       HTTP
reasons      an exception as one line
modules/     what a handler may import: `cortex_internal`
"""
