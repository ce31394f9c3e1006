"""What `doctor` asks a cluster: its version, what is installed, who may do what. Nothing is changed by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import orjson
from kubernetes.client import ApiClient, AppsV1Api, AuthorizationV1Api, CoreV1Api, CustomObjectsApi, VersionApi
from kubernetes.client.exceptions import ApiException

from batchflow.engines.argo.engine import LABEL_WORKFLOW
from batchflow.engines.argo.kube import GROUP, PLURAL, VERSION, Kube
from batchflow.errors import Unreachable

__all__ = ["Checks", "cleanup_reads"]

_TIMEOUT_S: Final = (10, 30)
_PAGE: Final = 500  # workflows in an answer
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Json = dict[str, Any]
_Answer = TypeVar("_Answer")


class Checks:
    """Any call may raise Unreachable. Where one says None, the caller is not allowed to know."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        # Their types are not the same in all versions of the client that we take.
        self._core: Any = CoreV1Api(kube.api_client)
        self._apps: Any = AppsV1Api(kube.api_client)
        self._authorization: Any = AuthorizationV1Api(kube.api_client)

    def version(self) -> str:
        """Kubernetes' own, such as v1.34.4."""
        with self._kube.translated():
            return str(VersionApi(self._kube.api_client).get_code(_request_timeout=_TIMEOUT_S).git_version)

    def kinds(self) -> frozenset[str]:
        """The plural names of Argo's kinds; none if its resource definitions are not installed."""

        def read() -> frozenset[str]:
            found = CustomObjectsApi(self._kube.api_client).get_api_resources(GROUP, VERSION, _request_timeout=_TIMEOUT_S)
            return frozenset(kind.name for kind in found.resources)

        return self._asked(read, absent=frozenset()) or frozenset()

    def has_namespace(self) -> bool | None:
        name = self._kube.namespace
        return self._asked(lambda: bool(self._core.read_namespace(name, _request_timeout=_TIMEOUT_S)), absent=False)

    def has_account(self, name: str) -> bool | None:
        def read() -> bool:
            return bool(self._core.read_namespaced_service_account(name, self._kube.namespace, _request_timeout=_TIMEOUT_S))

        return self._asked(read, absent=False)

    def has_secret(self, secret: str, key: str) -> bool | None:
        """Whether there is such a Secret with something below that key."""

        def read() -> bool:
            found = self._core.read_namespaced_secret(secret, self._kube.namespace, _request_timeout=_TIMEOUT_S)
            return bool((found.data or {}).get(key))

        return self._asked(read, absent=False)

    def available(self, deployment: str) -> bool | None:
        """Whether a pod of that Deployment is ready; None also if there is no such Deployment."""

        def read() -> bool:
            found = self._apps.read_namespaced_deployment(deployment, self._kube.namespace, _request_timeout=_TIMEOUT_S)
            return bool(found.status.available_replicas)

        return self._asked(read, absent=None)

    def serves(self, service: str, port: int, path: str) -> bool | None:
        """Whether the API server gets an answer from a Service there."""

        def read() -> bool:
            where = f"{service}:{port}", self._kube.namespace, path
            return self._core.connect_get_namespaced_service_proxy_with_path(*where, _request_timeout=_TIMEOUT_S) is not None

        try:
            return self._asked(read, absent=False)
        except Unreachable:  # 503, or what the gateway itself answers
            return False

    def may(self, attributes: dict[str, str]) -> bool:
        """Whether the caller may do what these `resourceAttributes` say, in this namespace."""
        body = _review("SelfSubjectAccessReview", self._kube.namespace, attributes)
        with self._kube.translated():
            answer = self._authorization.create_self_subject_access_review(body, _request_timeout=_TIMEOUT_S)
        return bool(answer.status.allowed)

    def account_may(self, account: str, attributes: dict[str, str]) -> bool | None:
        """The same for a service account of this namespace."""
        namespace = self._kube.namespace
        body = _review("LocalSubjectAccessReview", namespace, attributes)
        body["metadata"] = {"namespace": namespace}
        body["spec"] |= {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
        }

        def ask() -> bool:
            create = self._authorization.create_namespaced_local_subject_access_review
            return bool(create(namespace, body, _request_timeout=_TIMEOUT_S).status.allowed)

        return self._asked(ask, absent=False)

    def workflows(self, selector: str) -> Iterator[Json]:
        """The `metadata` of the workflows that have these labels: their specs and status may be megabytes each."""
        client = ApiClient(self._kube.api_client.configuration, header_name="Accept", header_value=_METADATA_ONLY)
        api: Any = CustomObjectsApi(client)
        where = (GROUP, VERSION, self._kube.namespace, PLURAL)
        asked: Json = {"label_selector": selector, "limit": _PAGE, "_preload_content": False, "_request_timeout": _TIMEOUT_S}
        next_page: str | None = ""
        while next_page is not None:
            with self._kube.translated():
                page = orjson.loads(api.list_namespaced_custom_object(*where, _continue=next_page, **asked).data)
            yield from (item["metadata"] for item in page["items"] or ())  # null if there is none
            next_page = page["metadata"].get("continue") or None

    def _asked(self, call: Callable[[], _Answer], *, absent: _Answer | None) -> _Answer | None:
        with self._kube.translated():
            try:
                return call()
            except ApiException as error:
                if error.status == 404:
                    return absent
                if error.status == 403:
                    return None
                raise


def cleanup_reads(kube: Kube, workflow: str, pod: str) -> list[Callable[[], object]]:
    """What the cleanup step asks the cluster; each raises Unreachable where that is not allowed."""
    return [
        lambda: kube.workflow(workflow),
        lambda: kube.pods(f"{LABEL_WORKFLOW}={workflow}"),
        lambda: next(kube.log(pod, "main"), None),
    ]


def _review(kind: str, namespace: str, attributes: dict[str, str]) -> Json:
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": kind,
        "spec": {"resourceAttributes": {"namespace": namespace, **attributes}},
    }
