"""Job deployments: what they are asked for, and how their calls get their turn.

service.py, references.py     deployments: created, looked at, changed, deleted; whether what they name is there
calls.py, dropping.py         calls as clients see them: taken in, asked for, dropped
listing.py, replicalogs.py    what people look at
scheduler.py, lease.py        the loop, and which process runs it
visiting.py, attempts.py      one deployment's turn in it; what fails holds up no other
deletion.py                   a deployment's end where nobody runs the loop
starting.py                   a slot and a workflow for the next call
watching.py, replicas.py      what becomes of a replica, and when it must end
logsaving.py                  the ends of its logs
endings.py                    how a call ended, in Verda's words
retention.py                  what is not kept any longer
"""
