"""Argo Workflows, through the Kubernetes API alone: argo-server is not needed."""

from batchflow.engines.argo.engine import ArgoEngine

__all__ = ["ArgoEngine"]
