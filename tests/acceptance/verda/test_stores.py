"""Records on S3 (moto's server), and a store that does not answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from tests.acceptance.command import Terminal
from tests.acceptance.gateway.s3 import s3_put
from tests.acceptance.verda.kit import completed, serving_verda

CHUNKS = 20


def aws(url: str, store: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    return {**keys, "AWS_ENDPOINT_URL_S3": url, "BATCHFLOW_STORE": store}


def content() -> Iterator[bytes]:
    for number in range(CHUNKS):
        yield bytes([number]) * 2**20


def test_everything_on_s3(shell: Terminal, moto: str) -> None:
    s3_put(moto, "verda-store")
    with serving_verda(shell, **aws(moto, "s3://verda-store/prefix")) as verda, verda.deployed("on-s3", replicas=1) as deployed:
        assert deployed.request("POST", "/echo", content(), X_Inference_Id="large", Content_Type="x/y").status == 202
        assert completed(deployed.execution("large")) is None
        answer = deployed.fetch("result", "large")
        assert (answer.type, hashlib.sha256(answer.body).digest()) == ("x/y", hashlib.sha256(b"".join(content())).digest())

        verda.jobs.pause("on-s3")
        waiting = [deployed.run("job") for _ in range(20)]
        verda.jobs.purge_queue("on-s3")
        kept = [deployed.run("job") for _ in range(2)]
        verda.jobs.resume("on-s3")
        assert {completed(execution) for execution in waiting} == {"purged from queue"}
        assert [completed(execution) for execution in kept] == [None, None]
        assert deployed.began() == ["large", *(execution.id for execution in kept)]


def test_a_store_that_does_not_answer(shell: Terminal) -> None:
    with serving_verda(shell, **aws("http://127.0.0.1:9", "s3://nowhere/prefix")) as verda:
        for method, path in (("POST", "/some/job"), ("GET", "/status/some"), ("GET", "/result/some")):
            answer = verda.gateway.request(method, path, headers={"X-Inference-Id": "a-call"})
            assert (answer.status, answer.json()["code"], set(answer.json())) == (503, "service_unavailable", {"code", "message"})
            assert answer.headers["Retry-After"]
