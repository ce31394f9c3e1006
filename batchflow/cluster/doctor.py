"""What `doctor` says: each function turns something that was seen of a cluster into findings. Nothing is read here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from batchflow import contract
from batchflow.cluster.permissions import EXECUTOR, USER, Role
from batchflow.errors import BatchflowError
from batchflow.settings import Settings

__all__ = [
    "FAIL",
    "INSTALL_AGAIN",
    "OK",
    "WARN",
    "Finding",
    "accounts",
    "argo_kinds",
    "argo_version",
    "caller",
    "cluster",
    "failed",
    "gateway",
    "namespace",
    "role",
    "service_hint",
    "settings",
    "tried_here",
]

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"

# Native sidecars: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
OLDEST_KUBERNETES: Final = (1, 29)
OLDEST_ARGO: Final = (3, 6)
NEWEST_ARGO: Final = (4, 0)

INSTALL_AGAIN: Final = "install again: batchflow install … | kubectl apply -f -"
_SUPPORTED: Final = f"this batchflow is for Argo Workflows {OLDEST_ARGO[0]}.{OLDEST_ARGO[1]} to {NEWEST_ARGO[0]}.{NEWEST_ARGO[1]}"

# A part of what S3 and SQS say, or boto3 of them, and how to mend it.
_CREDENTIALS: Final = "the AWS credentials are wrong: see the Secret batchflow-aws, or the role of the service accounts"
_SERVICE_HINTS: Final = {
    "Could not connect": "see that the name resolves and the port answers from there, and what AWS_ENDPOINT_URL says",
    "onnect timeout": "see that the network lets it through, and what AWS_ENDPOINT_URL says",
    "not found": "create it, or name another: batchflow install --store",
    "InvalidAccessKeyId": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "no AWS credentials": "make the Secret batchflow-aws, or install with --role-arn",
    "AssumeRoleWithWebIdentity": "let the role trust the service accounts batchflow-step and batchflow-cleanup",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of doctor's. `check` says what was looked at; `hint` how to mend it, empty if nothing is to be mended."""

    level: str
    check: str
    what: str
    hint: str = ""


def failed(check: str, error: BatchflowError, *, level: str = FAIL, who: str = "") -> Finding:
    """An error as a finding; `who` met it."""
    parts = (who, error.where, error.what)
    return Finding(level, check, ": ".join(part for part in parts if part), error.hint or service_hint(error.what))


def service_hint(what: str) -> str:
    """What to do about an error of store or queues that does not say it itself; "" if that is not known."""
    return next((hint for part, hint in _SERVICE_HINTS.items() if part in what), "")


def cluster(version: str, host: str) -> Finding:
    """`version` as Kubernetes gives it, such as `v1.34.4` or `v1.31.2-eks-7f9249a`."""
    text = f"Kubernetes {version} at {host}"
    if (_numbers(version) or OLDEST_KUBERNETES) < OLDEST_KUBERNETES:
        oldest = ".".join(map(str, OLDEST_KUBERNETES))
        return Finding(FAIL, "cluster", text, f"upgrade it: workers need native sidecars, so Kubernetes {oldest} or later")
    return Finding(OK, "cluster", text)


def argo_kinds(kinds: frozenset[str]) -> Finding:
    """`kinds`: plural names of those that the cluster has of Argo's."""
    missing = {"workflows", EXECUTOR.rules[0].resource} - kinds
    if missing:
        what = f"this cluster has no {', '.join(sorted(missing))}.argoproj.io"
        return Finding(FAIL, "argo", what, "install Argo Workflows: https://argo-workflows.readthedocs.io/en/stable/installation/")
    return Finding(OK, "argo", "its resource definitions are installed")


def argo_version(executor_image: str) -> Finding:
    """By the image of Argo's executor, whose tag is the controller's version unless an administrator names another image."""
    tag = executor_image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    numbers = _numbers(tag)
    if numbers is None:
        return Finding(WARN, "argo", f"its version is unknown: the executor's image is {executor_image or 'unknown'}", _SUPPORTED)
    if numbers < OLDEST_ARGO:
        return Finding(FAIL, "argo", f"version {tag}", f"upgrade it: {_SUPPORTED}")
    if numbers > NEWEST_ARGO:
        return Finding(WARN, "argo", f"version {tag} is newer than this batchflow", _SUPPORTED)
    return Finding(OK, "argo", f"version {tag}")


def namespace(name: str, exists: bool | None) -> Finding:
    """`exists` None: the caller may not know."""
    if exists is False:
        hint = f"create it: kubectl create namespace {name}; or name another with -n"
        return Finding(FAIL, "namespace", f"there is no namespace {name}", hint)
    return Finding(OK, "namespace", name if exists else f"{name}, as far as you may see")


def accounts(found: Mapping[str, bool | None], has_token: bool | None) -> Iterator[Finding]:
    """`found`: which service accounts are there. What the caller may not see is left to the check workflow."""
    missing = [name for name, exists in found.items() if exists is False]
    if missing:
        yield Finding(FAIL, "accounts", f"missing service accounts: {', '.join(missing)}", INSTALL_AGAIN)
    elif all(found.values()):
        yield Finding(OK, "accounts", ", ".join(found))
    if has_token is False:
        yield Finding(FAIL, "accounts", f"Secret {contract.TOKEN_SECRET} is missing, or Kubernetes has not filled it", INSTALL_AGAIN)


def caller(missing: Iterable[Mapping[str, str]] | None, where: str) -> Finding:
    """`missing`: the resourceAttributes that the caller is not granted; `where` is the namespace."""
    if texts := _in_words(missing or ()):
        hint = f"have it granted: kubectl -n {where} create rolebinding NAME --role {USER.name} --user YOU"
        return Finding(FAIL, "permissions", f"you may not: {texts}", hint)
    return Finding(OK, "permissions", f"you may do what the Role {USER.name} allows")


def role(of: Role, missing: Iterable[Mapping[str, str]] | None) -> Iterator[Finding]:
    """Of a service account. `missing` None: the caller may not know, and the check workflow shows it."""
    if missing is not None:
        texts = _in_words(missing)
        yield Finding(FAIL, "roles", f"{of.account} may not: {texts}", INSTALL_AGAIN) if texts else Finding(OK, "roles", of.account)


def gateway(name: str, *, has_credentials: bool | None, available: bool, serves: bool | None) -> Finding:
    """Of one that is installed in namespace `name`: its Secret, its pod, its Service. What the caller may not see counts as good."""
    if has_credentials is False:
        hint = f"make it: kubectl -n {name} create secret generic {contract.GATEWAY} --from-file={contract.CREDENTIALS_KEY}"
        return Finding(FAIL, "gateway", f"there is no Secret {contract.GATEWAY} with a key {contract.CREDENTIALS_KEY}", hint)
    if not available:
        hint = f"see kubectl -n {name} describe pods -l app.kubernetes.io/name={contract.GATEWAY}"
        return Finding(FAIL, "gateway", f"Deployment {contract.GATEWAY} has no pod that is ready", hint)
    if serves is False:
        return Finding(FAIL, "gateway", f"Service {contract.GATEWAY} does not lead to it", f"{INSTALL_AGAIN}; see the network policies")
    return Finding(OK, "gateway", "it is ready")


def settings(installed: Settings) -> Finding:
    """Of what the ConfigMap says, once it is known to agree with this client."""
    image = installed.image or "the default one"
    return Finding(OK, "settings", f"store {installed.store}, image {image}, batchflow {contract.VERSION}")


def tried_here(check: str, errors: Iterable[BatchflowError], what: str, *, level: str = FAIL) -> Iterator[Finding]:
    """Of things tried on this machine; `what` says that they work."""
    found = [failed(check, error, level=level, who="from this machine") for error in errors]
    yield from found or [Finding(OK, check, f"from this machine: {what}")]


def _numbers(version: str) -> tuple[int, int] | None:
    """Major and minor."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None


def _in_words(attributes: Iterable[Mapping[str, str]]) -> str:
    """In words: `create workflows.argoproj.io, get pods/log`."""
    texts = []
    for asked in attributes:
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        name = f" {asked['name']}" if "name" in asked else ""
        texts.append(f"{asked['verb']} " + ".".join(filter(None, (resource, asked.get("group")))) + name)
    return ", ".join(texts)
