"""The methods of Cortex's client, with its own signatures."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from .exceptions import CortexBinaryException, CortexException
from .gateway import Gateway
from .project import archive

__all__ = ["Client"]

_SPEC_FILE = "api_spec.yaml"  # by this name the gateway's errors call what `deploy` was given
_HAS_PROJECT = re.compile(rb"\b(handler|predictor)\b")


class Client:
    """Deploys apis, and looks after them and their jobs. Every method raises `cortex.exceptions.CortexException`."""

    def __init__(self, env: dict[str, Any], gateway: Gateway) -> None:
        self.env = env
        self.env_name = env["name"]
        self._gateway = gateway

    def deploy(self, api_spec: dict[str, Any], project_dir: str | None = None, force: bool = True, wait: bool = False) -> dict[str, Any]:
        """Deploy an api, given as its entry of a cortex.yaml; `project_dir` is the folder of its Handler's files.

        Returns its deployment: `api` with its `spec` and its `endpoint`, and a `message`. `wait` is for other kinds of api, as in Cortex.
        """
        try:
            config = json.dumps([api_spec]).encode()
        except (TypeError, ValueError) as error:
            raise CortexException(f"api_spec can't be written as JSON: {error}") from error
        return self._deploy(_SPEC_FILE, config, archive(project_dir) if project_dir is not None else None, force)

    def create_api(
        self,
        api_spec: dict[str, Any],
        predictor: Any = None,
        task: Any = None,
        requirements: Sequence[str] = (),
        conda_packages: Sequence[str] = (),
        project_dir: str | None = None,
        force: bool = True,
        wait: bool = False,
        handler: Any = None,
    ) -> dict[str, Any]:
        """The older name of `deploy`; a class or a function in place of a project's files is refused."""
        if any((predictor, handler, task, requirements, conda_packages)):
            reason = "create_api takes no class, function or packages: write them to files in a folder, and give it as project_dir"
            raise CortexException(reason)
        return self.deploy(api_spec, project_dir, force, wait)

    def deploy_from_file(self, config_file: str, force: bool = False, wait: bool = False) -> dict[str, Any]:
        """Deploy the apis of a cortex.yaml, with the files of its folder if one has a Handler; returns the first one's deployment."""
        path = os.path.abspath(config_file)
        try:
            with open(path, "rb") as file:
                config = file.read()
        except OSError as error:
            raise CortexException(f"{config_file}: {error.strerror}") from error
        project = archive(os.path.dirname(path), without=path) if _HAS_PROJECT.search(config) else None
        return self._deploy(os.path.basename(path), config, project, force)

    def get_api(self, api_name: str) -> dict[str, Any]:
        """An api: its `spec`, its `endpoint` as a URL to post jobs to, its jobs' statuses."""
        api: dict[str, Any] = self._gateway.ask("GET", "get", api_name)[0]
        return api

    def list_apis(self) -> list[dict[str, Any]]:
        """Every api, each as `get_api` gives it, but only with its running jobs or the latest one."""
        apis: list[dict[str, Any]] = self._gateway.ask("GET", "get")
        return apis

    def get_job(self, api_name: str, job_id: str) -> dict[str, Any]:
        """A job: its `job_status`, its api's `api_spec`, its `metrics`."""
        job: dict[str, Any] = self._gateway.ask("GET", "batch", api_name, query={"jobID": job_id})
        return job

    def refresh(self, api_name: str, force: bool = False) -> None:
        """Nothing, for an api that is deployed: each job starts workers of its own."""
        self._gateway.ask("POST", "refresh", api_name, query={"force": _text(force)})

    def delete(self, api_name: str, keep_cache: bool = False) -> None:
        """Delete an api and stop its jobs; with `keep_cache` its versions and its jobs' records stay."""
        self._gateway.ask("DELETE", "delete", api_name, query={"keepCache": _text(keep_cache)})

    def stop_job(self, api_name: str, job_id: str, keep_cache: bool = False) -> None:
        """Stop a job; `keep_cache` means nothing, as in Cortex."""
        self._gateway.ask("DELETE", "batch", api_name, query={"jobID": job_id})

    def _deploy(self, name: str, config: bytes, project: bytes | None, force: bool) -> dict[str, Any]:
        parts = {"config": (name, config)}
        if project is not None:
            parts["project.zip"] = ("project.zip", project)
        boundary = uuid.uuid4().hex
        deployed: list[dict[str, Any]] = self._gateway.ask(
            "POST",
            "deploy",
            query={"configFileName": name, "force": _text(force)},
            body=_form(parts, boundary),
            content_type=f"multipart/form-data; boundary={boundary}",
        )
        errors = [str(deployment["error"]) for deployment in deployed if deployment.get("error")]
        if errors:
            raise CortexBinaryException("; ".join(errors))
        return deployed[0]


def _form(parts: Mapping[str, tuple[str, bytes]], boundary: str) -> bytes:
    """multipart/form-data (RFC 7578) of files: (name of the file, content) by the name of the field."""
    body = b""
    for field, (name, content) in parts.items():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "%0D").replace("\n", "%0A")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{quoted}"\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def _text(flag: bool) -> str:
    return "true" if flag else "false"
