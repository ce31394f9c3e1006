"""What every stage shares."""

from __future__ import annotations

import uuid

import pytest

from batchflow.records import Outcome, batch_id


@pytest.mark.parametrize("index", [0, 1, 9, 4_711, 10**9])
def test_a_batch_s_id_is_the_uuid_of_job_and_index(index: int) -> None:
    assert batch_id("6ffffffffffffff0", index) == str(uuid.uuid5(uuid.NAMESPACE_OID, f"6ffffffffffffff0-{index}"))


def test_a_record_of_a_newer_writer_is_read_without_what_is_new() -> None:
    written = Outcome(3, "succeeded", 1, 0.5)
    assert Outcome.load(written.dump()[:-1] + b',"newer":[1]}') == written
