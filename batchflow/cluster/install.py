"""What a namespace needs before jobs can run in it, as manifests for `kubectl apply -f -`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import jinja2
import yaml

from batchflow import contract
from batchflow.cluster import permissions
from batchflow.errors import InvalidInput
from batchflow.settings import Settings

__all__ = ["FLAGS", "Installation", "manifests", "plan_installation"]

# The flags of `batchflow install`, and the variables of the ConfigMap that they set.
FLAGS: Final = {
    "--store": "BATCHFLOW_STORE",
    "--image": "BATCHFLOW_IMAGE",
    "--region": "AWS_REGION",
    "--endpoint-url": "AWS_ENDPOINT_URL",
    "--s3-endpoint-url": "AWS_ENDPOINT_URL_S3",
    "--sqs-endpoint-url": "AWS_ENDPOINT_URL_SQS",
    "--log-level": "BATCHFLOW_LOG_LEVEL",
    "--gateway-url": contract.ENV_GATEWAY_URL,
}
# Further ones that are taken over from the shell. What is about one machine (BATCHFLOW_LOCAL_DIR and the like) stays there.
_FROM_SHELL: Final = (
    "BATCHFLOW_VISIBILITY_S",
    "BATCHFLOW_HEARTBEAT_S",
    "BATCHFLOW_GRACE_S",
    "BATCHFLOW_RETRY_S",
    "BATCHFLOW_CALL_TIMEOUT_S",
    "BATCHFLOW_MAX_CALL_BYTES",
    "BATCHFLOW_HANDLER_IMAGE",
    "BATCHFLOW_IMAGE_PULL_SECRETS",
    "BATCHFLOW_STEP_CPU",
    "BATCHFLOW_STEP_MEMORY",
    "BATCHFLOW_NODE_GROUP_LABEL",
    "BATCHFLOW_INSTANCE_ID",
    "BATCHFLOW_KEEP_PODS_S",
    "BATCHFLOW_KEEP_WORKFLOW_S",
)

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # Kubernetes' DNS label
_STORE: Final = re.compile(r"s3://[A-Za-z0-9._-]{3,255}(/[^\s]*)?")
_ROLE_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_CREDENTIALS_DIR: Final = "/etc/batchflow"  # in the gateway's pod
_LOOPBACK: Final = re.compile(r"localhost|127\.[\d.]+|::1")


@dataclass(frozen=True, slots=True)
class Installation:
    """What to print.

    `config` is the ConfigMap's data; `role_arn` is the AWS role of our pods (IRSA), empty for none; `gateway`: the HTTP API, too.
    """

    namespace: str
    config: Mapping[str, str]
    role_arn: str = ""
    create_namespace: bool = False
    gateway: bool = False


def plan_installation(
    namespace: str,
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    role_arn: str = "",
    create_namespace: bool = False,
    gateway: bool = False,
) -> Installation:
    """`flags`: those of FLAGS that were given; what is missing comes from `environ`. Raises InvalidInput naming the flag."""
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidInput(f'"{namespace}" is not the name of a namespace', where="-n", hint="at most 63 of a-z, 0-9 and -")
    if role_arn and not _ROLE_ARN.fullmatch(role_arn):
        raise InvalidInput(
            f'"{role_arn}" is not the ARN of a role', where="--role-arn", hint="an example: arn:aws:iam::123456789012:role/batchflow"
        )
    shell = {"AWS_REGION": environ.get("AWS_DEFAULT_REGION", ""), **environ}
    given = {name: shell.get(name, "") for name in (*FLAGS.values(), *_FROM_SHELL)}
    given.update({FLAGS[flag]: value for flag, value in flags.items()})
    if gateway and not given[contract.ENV_GATEWAY_URL]:
        given[contract.ENV_GATEWAY_URL] = f"http://{contract.GATEWAY}.{namespace}.svc:{contract.GATEWAY_PORT}"
    _check(given)
    config = {
        "BATCHFLOW_ENGINE": "argo",
        "BATCHFLOW_QUEUES": "sqs",
        "BATCHFLOW_NAMESPACE": namespace,
        contract.ENV_VERSION: contract.VERSION,
        **{name: value for name, value in given.items() if value},
    }
    Settings.from_env(config)
    return Installation(namespace, config, role_arn, create_namespace, gateway)


def manifests(installation: Installation, templates: Path) -> str:
    """A YAML stream; `templates` is the folder templates/install."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates), undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True
    )
    environment.filters["quoted"] = _quoted
    names = {
        "namespace": installation.namespace,
        "role_arn": installation.role_arn,
        "config": installation.config,
        "step_account": contract.STEP_ACCOUNT,
        "cleanup": permissions.CLEANUP,
        "executor": permissions.EXECUTOR,
        "token_secret": contract.TOKEN_SECRET,
        "config_map": contract.CONFIG_MAP,
        "aws_secret": contract.AWS_SECRET,
    }

    def rendered(template: str, **more: object) -> str:
        return environment.get_template(f"{template}.yaml.j2").render({**names, **more})

    documents = [rendered("namespace")] if installation.create_namespace else []
    documents.append(rendered("accounts"))
    documents += [rendered("role", role=role) for role in permissions.ROLES]
    documents.append(rendered("config"))
    if installation.gateway:
        documents.append(rendered("gateway", **_gateway_names(installation.config)))
        documents.append(rendered("role", role=permissions.LOOKUP))
    return "---\n".join(documents)


def _gateway_names(config: Mapping[str, str]) -> dict[str, object]:
    settings = Settings.from_env(config)
    return {
        "gateway": contract.GATEWAY,
        "gateway_url": config[contract.ENV_GATEWAY_URL],
        "port": contract.GATEWAY_PORT,
        "user": permissions.USER,
        "image": settings.image or contract.STEP_IMAGE,
        "pull_secrets": settings.image_pull_secrets,
        "step_cpu": settings.step_cpu,
        "grace_s": settings.grace_s,
        "config_hash": hashlib.sha256(repr(sorted(config.items())).encode()).hexdigest()[:16],
        "env_credentials": contract.ENV_CREDENTIALS,
        "credentials_dir": _CREDENTIALS_DIR,
        "credentials_key": contract.CREDENTIALS_KEY,
        "client_secret": contract.CLIENT_SECRET,
        "client_secret_key": contract.CLIENT_SECRET_KEY,
    }


def _check(given: Mapping[str, str]) -> None:
    if not given["BATCHFLOW_STORE"]:
        raise InvalidInput("is not set", where="--store", hint="give s3://bucket/prefix, or set BATCHFLOW_STORE")
    if not _STORE.fullmatch(given["BATCHFLOW_STORE"]):
        hint = "pods share no directory: give s3://bucket/prefix"
        raise InvalidInput(f'"{given["BATCHFLOW_STORE"]}" is not a store on S3', where="--store", hint=hint)
    if not given["AWS_REGION"]:
        raise InvalidInput("is not set", where="--region", hint="SQS needs it: give one such as us-west-2, or set AWS_REGION")
    for flag in ("--endpoint-url", "--s3-endpoint-url", "--sqs-endpoint-url", "--gateway-url"):
        if endpoint := given[FLAGS[flag]]:
            _check_endpoint(endpoint, f"{flag} ({FLAGS[flag]})")


def _check_endpoint(endpoint: str, where: str) -> None:
    try:
        url = urlsplit(endpoint)
        host = url.hostname or ""
    except ValueError:
        host = ""
    if not host or url.scheme not in ("http", "https"):
        raise InvalidInput(f'"{endpoint}" is not a URL', where=where, hint="an example: http://name.batchflow.svc:9324")
    if _LOOPBACK.fullmatch(host):
        raise InvalidInput(f"{host} would be each pod itself", where=where, hint="give an address that pods can reach")


class _Quoting(yaml.SafeDumper):
    """A dumper of our own: hera gives SafeDumper another idea of texts with several lines, for whoever is in its process."""


_Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def _quoted(text: str) -> str:
    """A YAML scalar that is a string, whatever the text looks like (`true`, `1.10`, `a: b`)."""
    return yaml.dump(text, Dumper=_Quoting, width=float("inf"), allow_unicode=True).strip()
