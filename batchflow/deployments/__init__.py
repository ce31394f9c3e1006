"""Job deployments: what they are asked for, and how their calls get their turn.

service.py, references.py     deployments: created, looked at, changed, deleted; whether what they name is there
calls.py, dropping.py         calls as clients see them: taken in, asked for, dropped
listing.py, replicalogs.py    what people look at
scheduler.py, lease.py        the loop, and which process runs it
starting.py                   a slot and a workflow for the next call
watching.py, replicas.py      what becomes of a replica, and when it must end
endings.py                    how a call ended, in Verda's words
retention.py                  what is not kept any longer
"""
