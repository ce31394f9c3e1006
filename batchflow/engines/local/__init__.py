"""The local engine: runs a compiled job's steps as processes on this machine, writing the status that Argo would write.

In the order of a run:
    engine.py       what others call: submit, observe, stop, logs, names
    folder.py       a run's files, and the lock that says whether its engine is alive
    __main__.py     the engine's own process: watches for stop and deadline, saves the status
    manifest.py     the Workflow's fields that are executed, parsed; everything else is refused
    requirements.py what a job needs of this machine
    runner.py       steps, fan-out, retries, onExit
    pod.py          a pod's containers in their order; sidecar.py: those that run beside main and are restarted
    launch.py       a container's command, environment and folder on this machine
    environment.py  what a variable's value may be, and the expansion of $(NAME)
    ports.py        a pod's ports
    container.py    one container as a process group; guard.py: the process that watches over it
    nodes.py        the workflow's status in Argo's shape; podstatus.py: the pods' in Kubernetes' shape
    follow.py       the containers' logs as lines
"""
