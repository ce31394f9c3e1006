"""Runs scenarios on a real cluster: each in a namespace of its own, which `batchflow install` made, with SQS and S3 behind proxies."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from batchflow import contract
from tests.acceptance.command import Terminal
from tests.cluster import installation
from tests.cluster.kit import run
from tests.cluster.recorder import Recorder, recorder
from tests.faults.cluster_place import ClusterPlace, Controller
from tests.faults.cluster_processes import Processes
from tests.faults.drivers import Driver
from tests.faults.evidence import Evidence
from tests.faults.job import Job, new_id
from tests.faults.proxy import FaultProxy
from tests.faults.scenario import Scenario
from tests.faults.services import CREDENTIALS, Amazon
from tests.servers import moto_server, sqs_server

__all__ = ["Site", "driver"]

# Longer than on the local engine: a node with all its pods on two cores is late now and then.
SHORT: Final = {"BATCHFLOW_VISIBILITY_S": "6", "BATCHFLOW_HEARTBEAT_S": "1.5", "BATCHFLOW_GRACE_S": "5", "BATCHFLOW_CALL_TIMEOUT_S": "3"}


@contextmanager
def driver(on: str) -> Iterator[Driver]:
    """On the cluster that KUBECONFIG names, with servers of its own."""
    host = installation.host_for_pods()
    installation.check_reachable()
    sqs_url = sqs_server(host)
    assert sqs_url, "no SQS server: set BATCHFLOW_TEST_SQS to one that pods reach"
    with tempfile.TemporaryDirectory() as folder, moto_server(Path(folder) / "log", host) as s3_url, recorder(host) as recording:
        yield Site(host, installation.step_image(), Amazon(s3_url, sqs_url), recording).run


@dataclass(frozen=True)
class Site:
    """What all runs share. `host` is this machine's address as pods see it, at which the services and the recorder listen."""

    host: str
    image: str
    services: Amazon
    recorder: Recorder
    processes: Processes = field(default_factory=Processes)
    controller: Controller = field(default_factory=lambda: Controller(Path(os.environ["KUBECONFIG"]).parent))

    def run(self, scenario: Scenario, folder: Path) -> Evidence:
        """One job, from its submission until nothing of it is left, and everything that is known of it then."""
        with ExitStack() as stack:
            proxies = {
                name: stack.enter_context(FaultProxy(url, (), scenario.seed, host=self.host)) for name, url in self.services.urls.items()
            }
            settings = {**SHORT, "BATCHFLOW_RETRY_S": str(scenario.retry_s)}
            proxied = {**settings, **self.services.settings({name: proxy.url for name, proxy in proxies.items()})}
            namespace = stack.enter_context(self._namespace(folder, proxied))
            job_id = new_id()
            directly = self.services.settings(self.services.urls)
            own = {"BATCHFLOW_ENGINE": "argo", "BATCHFLOW_NAMESPACE": namespace, "KUBECONFIG": os.environ["KUBECONFIG"]}
            terminal = Terminal(folder, **{**directly, **own})
            stack.callback(terminal.close)
            place = ClusterPlace(namespace, job_id, self.recorder, self.processes, self.controller, proxies)
            evidence = Job(scenario, job_id, place, self.services, terminal, directly).run()
            # For people: the namespace goes, the folder stays if something was wrong.
            (folder / "objects.yaml").write_text(run("kubectl", "-n", namespace, "get", "workflows,pods,events", "-o", "yaml"))
            (folder / "logs").write_text(terminal.run("logs", scenario.api, job_id, code=None).out)
            return evidence

    @contextmanager
    def _namespace(self, folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
        """With batchflow in it, whose pods have these settings; deleted at the end with all that is in it."""
        name = f"bf-faults-{uuid.uuid4().hex[:8]}"
        shell = Terminal(folder, **{**installation.SMALL, **settings})
        run("kubectl", "create", "namespace", name)
        try:
            printed = shell.run("install", "-n", name, "--image", self.image).out
            secret = installation.secret(contract.AWS_SECRET, {k: v for k, v in CREDENTIALS.items() if k != "AWS_REGION"})
            run("kubectl", "-n", name, "apply", "-f", "-", stdin=f"{printed}\n---\n{json.dumps(secret)}")
            yield name
        finally:
            run("kubectl", "delete", "namespace", name, "--wait=false")
