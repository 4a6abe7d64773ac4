"""A run of reconciliation in S3 and in the register: everything is there once, and one run goes on at a time."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from closedwon.domain.errors import RunUnderWay, StorageUnavailable
from closedwon.reconciliation.run_register import Entry, Register, Registered
from closedwon.reconciliation.runs import PartitionWriter, Run, Storage, partition_of
from closedwon.stack import Stack
from unit.aws import make_ledger

RUN = Run("20261120T021500Z-all-0a1b2c3d", "all", False, False, "", "2026-11-20T02:15:00.000Z", "2026-11-01", 4)
ONE, OTHER = "arn:aws:states:eu-central-1:123456789012:execution:reconcile:one", "arn:...:other"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack with a bucket and a table, for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        stack = Stack({"RECONCILIATION_BUCKET": "reconciliation", "LEDGER_TABLE": "ledger"})
        stack.storage.s3.create_bucket(Bucket="reconciliation")
        make_ledger(stack.dynamodb)
        yield stack


@pytest.fixture
def storage(stack: Stack) -> Storage:
    return stack.storage


@pytest.fixture
def register(stack: Stack) -> Iterator[Register]:
    yield stack.register
    stack.dynamodb.delete_item(TableName="ledger", Key={"pk": {"S": "RECONCILIATION"}, "sk": {"S": "RUN"}})


def test_a_run_travels_as_the_state_machine_carries_it() -> None:
    assert Run.of(RUN.to_json()) == RUN
    assert set(RUN.to_json()) == {
        *("run", "mode", "deep", "approved", "since", "startedAt", "dealsSince", "partitions")
    }


def test_an_account_is_always_in_the_same_partition() -> None:
    assert [partition_of("0015g00000XyZaBAAV", n) for n in (1, 7, 64, 400)] == [0, 4, 22, 326]
    spread = Counter(partition_of(f"0015g00000{n:05d}AAV", 10) for n in range(10_000))
    assert all(900 < count < 1100 for count in spread.values())


# What is written is read


class Bucket(dict[str, bytes]):
    """As much of S3 as exports need, since moto would take seconds for all the examples."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:
        self[Key] = Body

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, io.BytesIO]:
        return {"Body": io.BytesIO(self[Key])}

    def get_paginator(self, _: str) -> Bucket:
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, Any]]:
        return [{"Contents": [{"Key": key}]} for key in sorted(self) if key.startswith(Prefix)]


accounts = st.text("ABC", min_size=1, max_size=2)
records = st.lists(st.tuples(st.sampled_from(["lines", "customers"]), accounts, st.text(max_size=20)), max_size=30)


@given(batches=st.lists(records, max_size=4), budget=st.integers(1, 500), block=st.integers(1, 200), again=st.data())
def test_what_is_written_is_read_once_in_its_partition_however_often_a_batch_is_written(
    batches: list[list[tuple[str, str, str]]], budget: int, block: int, again: st.DataObject
) -> None:
    storage = Storage(Bucket(), "reconciliation")

    def write(number: int, most: int | None = None) -> None:
        """Write a batch, or only its beginning: then the function died."""
        try:
            with PartitionWriter(storage, RUN, f"750xx/{number}", budget, block) as writer:
                for source, account, text in batches[number][:most]:
                    writer.add(source, account, {"text": text})
                if most is not None:
                    raise InterruptedError
        except InterruptedError:
            pass

    for number, batch in enumerate(batches):
        for cut in again.draw(st.lists(st.integers(0, len(batch)), max_size=2), label="died after"):
            write(number, cut)
        for _ in range(again.draw(st.integers(1, 2), label="times")):
            write(number)

    read = [
        (source, partition, record)
        for source in ("lines", "customers")
        for partition in range(RUN.partitions)
        for record in storage.read(RUN, source, partition)
    ]
    assert all(partition == partition_of(record["k"], RUN.partitions) for _, partition, record in read)
    written = Counter(record for batch in batches for record in batch)
    assert Counter((source, record["k"], record["text"]) for source, _, record in read) == written


def test_a_batch_is_one_object_for_each_of_its_partitions() -> None:
    bucket = Bucket()
    storage = Storage(bucket, "reconciliation")
    with PartitionWriter(storage, RUN, "batch") as writer:
        for number in range(20_000):  # a megabyte for each partition: many blocks
            writer.add("lines", f"{number % 100}", {"text": f"{number:0200d}"})
    assert len(bucket) == RUN.partitions
    assert sum(1 for partition in range(4) for _ in storage.read(RUN, "lines", partition)) == 20_000


def test_a_batch_that_failed_writes_nothing_more(storage: Storage) -> None:
    run = replace(RUN, id="failed")

    def write() -> None:
        with PartitionWriter(storage, run, "batch") as writer:
            writer.add("lines", "A", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert [record for partition in range(4) for record in storage.read(run, "lines", partition)] == []


def test_findings_repairs_and_summaries_are_kept_by_partition(storage: Storage) -> None:
    findings = [{"kind": "wrong_addon", "words": "fünf"}, {"kind": "missed_deal"}]
    assert storage.put_findings(RUN, 2, findings) == 2
    storage.put_repairs(RUN, 2, [{"account_id": "A"}])
    for partition in (2, 0):
        storage.put_summary(RUN, partition, {"partition": partition})
    assert list(storage.findings(RUN, 2)) == findings
    assert storage.repairs(RUN, 2) == [{"account_id": "A"}]
    assert list(storage.summaries(RUN)) == [{"partition": 0}, {"partition": 2}]
    assert (list(storage.findings(RUN, 3)), storage.repairs(RUN, 3)) == ([], [])


def s3_error(status: int) -> ClientError:
    answer: Any = {"ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (s3_error(503), StorageUnavailable),
        (EndpointConnectionError(endpoint_url="s3"), StorageUnavailable),
        (s3_error(403), ClientError),
    ],
)
def test_s3_that_does_not_answer_is_an_error_that_passes(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, fault: Exception, raised: type[Exception]
) -> None:
    def put_object(**_: Any) -> None:
        raise fault

    monkeypatch.setattr(storage.s3, "put_object", put_object)
    with pytest.raises(raised):
        storage.put_summary(RUN, 0, {})


# The register


def enter(
    register: Register, run: str = "one", execution: str = ONE, deals_since: str = "", lives: bool = True
) -> Registered:
    return register.enter(run, execution, "2026-11-20", deals_since, under_way=lambda _: lives)


def test_one_run_goes_on_at_a_time(register: Register) -> None:
    enter(register, "one", ONE)
    assert enter(register, "one", ONE) == enter(register, "one", ONE)  # a step that is tried again
    with pytest.raises(RunUnderWay, match="another run is under way: one"):
        enter(register, "other", OTHER)
    register.finish(replace(RUN, id="one"), good=True)
    enter(register, "other", OTHER)


def test_a_run_that_died_holds_up_nobody(register: Register) -> None:
    enter(register, "one", ONE)
    enter(register, "other", OTHER, lives=False)
    register.finish(replace(RUN, id="one"), good=True)  # late, and its turn is over
    with pytest.raises(RunUnderWay, match="under way: other"):
        enter(register, "third", ONE + "3")


def test_of_two_that_begin_at_once_one_does(register: Register) -> None:
    def meanwhile(_: str) -> bool:
        enter(register, "third", ONE + "3", lives=False)
        return False

    enter(register, "one", ONE)
    with pytest.raises(RunUnderWay, match="just begun"):
        register.enter("other", OTHER, "2026-11-20", "", meanwhile)


def test_the_last_good_run_is_remembered(register: Register) -> None:
    assert enter(register).last_good == ""
    register.finish(replace(RUN, id="one"), good=False)
    assert enter(register).last_good == ""
    register.finish(replace(RUN, id="one"), good=True)
    assert enter(register).last_good == RUN.started_at


def test_deals_count_from_the_first_run_on_unless_the_stack_says_otherwise(register: Register) -> None:
    assert enter(register).deals_since == "2026-11-20"
    assert register.enter("one", ONE, "2026-12-24", "", lambda _: True).deals_since == "2026-11-20"
    assert enter(register, deals_since="2026-01-01").deals_since == "2026-01-01"


def test_the_register_can_be_read(register: Register) -> None:
    assert register.read() == Entry()
    enter(register, "one", ONE)
    assert register.read() == Entry("one", ONE, "", "2026-11-20")
    register.finish(replace(RUN, id="one"), good=True)
    assert register.read() == Entry("one", "", RUN.started_at, "2026-11-20")
