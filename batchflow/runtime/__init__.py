"""Serves a Cortex `Handler` class over HTTP, in the user's own container, with the user's own Python (3.8 or newer).

`batchflow.prepare` copies this package there under the name `batchflow_runtime`; `python3 -m batchflow_runtime` runs it. It imports
the standard library and itself, nothing else, since it lives beside the user's pins. Source of the behaviour: spec/cortex.md section 2.

main          the start, step by step, then serving until SIGTERM
settings      env names and their defaults
dependencies  what must be there before the class can be loaded, in its order: `.env`, shell script, conda, pip
dotenv        the project's `.env`
installer     runs an installer, and shows its output
environments  environments that are built once; conda, virtualenv: those of the project's packages
handler       the user's class: found, constructed with what it asks for, called
generations   what Cortex's generations expect of a class
metrics       `metrics_client`; serving: `tensorflow_client`
streams       stdout and stderr whose lines name the batch that printed them
executor      the threads that run the user's code
service       a batch or the hook: call it, watch it, say how it ended
server        HTTP
reasons       an exception as one line
modules/      what a handler may import: `cortex`, `cortex_internal`
"""
