"""The Kubernetes API: how it is reached, the few calls that we make, and its errors in our words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson
import urllib3
import yaml
from kubernetes import config
from kubernetes.client import ApiClient, Configuration, CoreV1Api, CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from batchflow.errors import BatchflowError, InvalidInput, NotFound, Unreachable

__all__ = ["GROUP", "PLURAL", "VERSION", "Kube"]

GROUP: Final = "argoproj.io"
VERSION: Final = "v1alpha1"
PLURAL: Final = "workflows"

# Seconds to connect, and to wait for the next bytes.
_TIMEOUT_S: Final = (10, 60)
# A quiet container's log gives no bytes for a long time.
_FOLLOW_TIMEOUT_S: Final = (10, 600)
_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_DENIED: Final = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)"'
    r'(?: in API group "(?P<group>[^"]*)")?'
)
_ANONYMOUS: Final = 'User "system:anonymous"'
_MAX_TEXT: Final = 500

Json = dict[str, Any]


class Kube:
    """One namespace of one cluster. Objects come and go as JSON, in Kubernetes' shape.

    Any call may raise Unreachable (also for what we are not allowed, naming the verb), NotFound (Argo or the namespace are not there)
    or InvalidInput (an object that the cluster refuses).

    Attributes:
        api_client: for other calls, within `translated`.
    """

    def __init__(self, namespace: str, *, context: str = "", environ: Mapping[str, str] = os.environ) -> None:
        self.namespace = namespace
        self.api_client = ApiClient(_configuration(context, environ))
        self._core = CoreV1Api(self.api_client)
        self._custom = CustomObjectsApi(self.api_client)
        self._workflows = (GROUP, VERSION, namespace, PLURAL)

    @cached_property
    def _metadata(self) -> CoreV1Api:
        """Its objects come without their content."""
        return CoreV1Api(ApiClient(self.api_client.configuration, header_name="Accept", header_value=_METADATA_ONLY))

    @property
    def host(self) -> str:
        """The API server's address."""
        return str(self.api_client.configuration.host)

    def workflow(self, name: str) -> Json | None:
        with self.translated():
            try:
                return _json(self._custom.get_namespaced_custom_object(*self._workflows, name, **_RAW))
            except ApiException as error:
                if error.status == 404 and _is_missing(error, PLURAL):
                    return None
                raise

    def create_workflow(self, manifest: Json, *, dry_run: bool = False) -> bool:
        """False if there is one of that name. A dry run creates nothing, but finds what the cluster would refuse."""
        with self.translated():
            try:
                self._custom.create_namespaced_custom_object(*self._workflows, manifest, dry_run="All" if dry_run else None, **_RAW)
            except ApiException as error:
                if error.status == 409 and _reason(error) == "AlreadyExists":
                    return False
                if dry_run and error.status == 400 and "does not support dry run" in _message(error):
                    return True  # an admission webhook with side effects: then nobody can know beforehand
                raise
        return True

    def stop_workflow(self, name: str) -> bool:
        """Ask for an orderly end; False if there is no such workflow."""
        patch = {"spec": {"shutdown": "Stop"}}
        with self.translated():
            try:
                self._custom.patch_namespaced_custom_object(*self._workflows, name, patch, **_RAW)
            except ApiException as error:
                if error.status == 404 and _is_missing(error, PLURAL):
                    return False
                raise
        return True

    def delete_workflow(self, name: str) -> bool:
        """Its pods go with it; False if there is no such workflow."""
        with self.translated():
            try:
                self._custom.delete_namespaced_custom_object(*self._workflows, name, propagation_policy="Background", **_RAW)
            except ApiException as error:
                if error.status == 404 and _is_missing(error, PLURAL):
                    return False
                raise
        return True

    def delete_pod(self, name: str) -> None:
        """Have kubelet end it, within its grace period; no error if it is gone."""
        with self.translated():
            try:
                self._core.delete_namespaced_pod(name, self.namespace, **_RAW)
            except ApiException as error:
                if not (error.status == 404 and _is_missing(error, "pods")):
                    raise

    def pods(self, selector: str) -> list[Json]:
        """Oldest first."""
        with self.translated():
            found = _json(self._core.list_namespaced_pod(self.namespace, label_selector=selector, **_RAW))
        return sorted(found["items"], key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def config_map(self, name: str) -> dict[str, str] | None:
        """Its data; None if there is no such ConfigMap (or no such namespace)."""
        with self.translated():
            try:
                found = _json(self._core.read_namespaced_config_map(name, self.namespace, **_RAW))
            except ApiException as error:
                if error.status == 404:
                    return None
                raise
        return dict(found.get("data") or {})

    def lacks(self, kind: str, name: str) -> bool:
        """Whether there is no such Secret or PersistentVolumeClaim; False also where we may not look. Only its metadata is asked for."""
        core = self._metadata
        read = {"Secret": core.read_namespaced_secret, "PersistentVolumeClaim": core.read_namespaced_persistent_volume_claim}[kind]
        with self.translated():
            try:
                _json(read(name, self.namespace, **_RAW))
            except ApiException as error:
                if error.status not in (403, 404):
                    raise
                return bool(error.status == 404)
        return False

    def log(self, pod: str, container: str, *, previous: bool = False, follow: bool = False, since_s: int | None = None) -> Iterator[bytes]:
        """A container's output as it comes, each line after its RFC 3339 time and a space; nothing if kubelet has none.

        `previous`: of the container's last start but this one. A stream that is followed may break off at any moment, which ends it without
        an error; of any other that raises Unreachable.
        """
        with self.translated():
            try:
                response: Any = self._core.read_namespaced_pod_log(
                    pod,
                    self.namespace,
                    container=container,
                    previous=previous or None,
                    follow=follow or None,
                    since_seconds=since_s,
                    timestamps=True,
                    _preload_content=False,
                    _request_timeout=_FOLLOW_TIMEOUT_S if follow else _TIMEOUT_S,
                )
            except ApiException as error:
                if error.status in (400, 404):  # not started yet, no previous start, or gone
                    return
                raise
        try:
            yield from response.stream(1 << 16)
        except urllib3.exceptions.HTTPError as error:
            if not follow:
                raise Unreachable(f"the log broke off: {error}", where=f"{container} of pod {pod}", hint="try again") from error
        finally:
            response.release_conn()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the client's errors into ours."""
        try:
            yield
        except ApiException as error:
            raise _ours(error, self.host, self.namespace) from error
        except (urllib3.exceptions.HTTPError, OSError, orjson.JSONDecodeError) as error:
            cause = getattr(error, "reason", None) or error
            raise Unreachable(f"the cluster does not answer: {cause}", where=self.host, hint="see that kubectl reaches it") from error


# https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_RAW: Final[Json] = {"_preload_content": False, "_request_timeout": _TIMEOUT_S}


def _configuration(context: str, environ: Mapping[str, str]) -> Configuration:
    """The pod's own account inside a cluster; elsewhere (or if KUBECONFIG is set) what kubectl would use."""
    configuration = Configuration()
    configuration.retries = 3
    try:
        if environ.get("KUBERNETES_SERVICE_HOST") and _TOKEN.exists() and not environ.get("KUBECONFIG") and not context:
            config.load_incluster_config(client_configuration=configuration)
        else:
            files = environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
            config.load_kube_config(files, context=context or None, client_configuration=configuration, persist_config=False)
    except (ConfigException, yaml.YAMLError, OSError) as error:
        raise Unreachable(
            f"no cluster is configured: {error}",
            where="KUBECONFIG",
            hint="name a kubeconfig whose current context reaches your cluster, or run the job on this machine with --local",
        ) from error
    return configuration


def _ours(error: ApiException, host: str, namespace: str) -> BatchflowError:
    text = _message(error)
    where = f"namespace {namespace} on {host}"
    if error.status == 401 or _ANONYMOUS in text:  # anonymous: a credential plugin of the kubeconfig failed, and said so on stderr
        return Unreachable("the cluster refuses your credentials", where=host, hint="log in again, as for kubectl")
    if error.status == 403:
        return _forbidden(text, where)
    if error.status == 404:
        if "namespaces" in text:
            return NotFound(f"there is no namespace {namespace}", where=host, hint="create it, or name another with -n")
        hint = "install its controller and its resource definitions first: https://argo-workflows.readthedocs.io"
        return NotFound("there is no Argo Workflows on this cluster (no workflows.argoproj.io)", where=host, hint=hint)
    if error.status in (400, 413, 422):
        return InvalidInput(f"the cluster refuses it: {text}", where=where)
    return Unreachable(f"the cluster answers {error.status}: {text}", where=where, hint="try again; if it stays, ask its administrator")


def _forbidden(text: str, where: str) -> BatchflowError:
    if "exceeded quota" in text:
        return Unreachable(f"a quota is used up: {text}", where=where, hint="end or delete other work there, or have the quota raised")
    denied = _DENIED.search(text)
    if denied is None:
        return Unreachable(f"the cluster does not allow it: {text}", where=where)
    resource = f"{denied['resource']}.{denied['group']}" if denied["group"] else denied["resource"]
    return Unreachable(
        f"{denied['user']} may not {denied['verb']} {resource}",
        where=where,
        hint=f"ask the namespace's administrator for a Role with the verb {denied['verb']} on {resource}; batchflow doctor lists all",
    )


def _json(response: Any) -> Json:
    found: Json = orjson.loads(response.data)
    return found


def _status(error: ApiException) -> Json:
    try:
        status: Json = orjson.loads(error.body or "")
    except orjson.JSONDecodeError:
        return {}
    return status if isinstance(status, dict) else {}


def _reason(error: ApiException) -> str:
    return str(_status(error).get("reason", ""))


def _message(error: ApiException) -> str:
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    return str(_status(error).get("message") or body or error.reason).strip()[:_MAX_TEXT]


def _is_missing(error: ApiException, kind: str) -> bool:
    """Whether that object is missing, rather than its kind."""
    return str(_status(error).get("details", {}).get("kind", "")) == kind
