"""Turns a submission, or one call of a job deployment, into an Argo Workflow: pure and offline; same input, same bytes out.

The Workflow holds the api's or the deployment's pod and an id, never items, config, payload or request: those reach containers through
the store, where Argo's `{{ }}` can't touch them and etcd never sees them. So its size does not depend on the data.
"""

from batchflow.compiler.call import compile_call
from batchflow.compiler.workflow import compile_job

__all__ = ["compile_call", "compile_job"]
