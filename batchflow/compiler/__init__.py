"""Turns a submission into an Argo Workflow: pure and offline; same input, same bytes out.

The Workflow holds the api's pod and the job's id, never items, config or payload: those reach containers through the store, where
Argo's `{{ }}` can't touch them and etcd never sees them. So its size does not depend on the data.
"""

from batchflow.compiler.workflow import compile_job

__all__ = ["compile_job"]
