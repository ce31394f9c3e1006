"""Sends long-job a job with Verda's own SDK, waits for its end, and prints its result; exits 1 if the job failed.

Nothing in here is batchflow's: without VERDA_BASE_URL it talks to Verda.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import yaml
from verda import VerdaClient
from verda.exceptions import APIException
from verda.inference_client import AsyncStatus, InferenceClient
from verda.job_deployments import JobDeployment

DEPLOYMENT = Path(__file__).with_name("deployment.yaml")
POLL_S = 1.0


def find_or_create(client: VerdaClient, deployment: JobDeployment) -> JobDeployment:
    try:
        return client.job_deployments.get_by_name(deployment.name)
    except APIException as error:
        if error.code != "not_found":
            raise
        return client.job_deployments.create(deployment)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=10, metavar="SECONDS", help="how long the job takes")
    parser.add_argument("--failed", action="store_true", help="have it fail")
    asked = parser.parse_args()

    base_url = os.environ.get("VERDA_BASE_URL", "https://api.verda.com/v1")
    client = VerdaClient(os.environ["VERDA_CLIENT_ID"], os.environ["VERDA_CLIENT_SECRET"], base_url)
    deployment = find_or_create(client, JobDeployment.from_dict(yaml.safe_load(DEPLOYMENT.read_text())))
    inference = InferenceClient(os.environ["VERDA_INFERENCE_KEY"], deployment.endpoint_base_url)

    job = inference.run({}, path=f"job?duration={asked.duration:g}&failed={str(asked.failed).lower()}")
    print(f"sent job {job.id}", flush=True)
    seen = job.status()
    while seen != AsyncStatus.Completed:
        time.sleep(POLL_S)
        status = job.status_json()
        if job.status() != seen:
            seen = job.status()
            print(seen.value, flush=True)
    print(json.dumps(job.result(), indent=2))
    if status["Error"]:
        print(f"error: {status['Error']}", file=sys.stderr)
    return 1 if status["Error"] else 0


if __name__ == "__main__":
    sys.exit(main())
