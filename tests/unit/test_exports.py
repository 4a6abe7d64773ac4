"""The exports of a reconciliation: however they are cut off and begun again, each record is written once."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.aws.ledger_items import exported
from closedwon.domain.errors import (
    LedgerExportFailed,
    LedgerUnreadable,
    MappingsUnusable,
    SalesforceBudgetSpent,
    SalesforceUnavailable,
    StiggRefused,
    StiggUnavailable,
)
from closedwon.reconciliation.exporting import AFTER_A_FAULT, Json, Shift, one_round
from closedwon.reconciliation.run_register import Registered
from closedwon.reconciliation.runs import Run
from functions.export_ledger import app as ledger_export
from functions.export_salesforce import app as salesforce_export
from functions.export_stigg import app as stigg_export
from functions.reconcile_begin import app as begin

RUN = Run("20261120T021500Z-all-0a1b2c3d", "all", False, False, "", "2026-11-20T02:15:00.000Z", "2026-11-01", 4)
ACCOUNT, OTHER = "0015g00000XyZaBAAV", "0015g00000XyZaCAAV"


class Written(dict[str, list[tuple[str, str, Json]]]):
    """Storage of a run, with its batches by name: one written again takes the place of the one before."""

    bucket = "bucket"

    def batch(self, run: Run, name: str) -> Batch:
        return Batch(self, name)

    def put_mappings(self, run: Run, records: list[Json]) -> None:
        """Kept nowhere."""

    @property
    def records(self) -> list[tuple[str, str, Json]]:
        return [record for batch in self.values() for record in batch]


class Batch:
    def __init__(self, written: Written, name: str) -> None:
        self._written, self._name, self._held = written, name, list[tuple[str, str, Json]]()

    @property
    def records(self) -> int:
        return len(self._held)

    def add(self, source: str, account: str, record: Json) -> None:
        self._held.append((source, account, dict(record)))

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self._written[self._name] = self._held


def shift_of(steps: int) -> Shift:
    """An invocation with time for so many steps."""
    left = iter([100, *[60] * (steps - 1), *[40] * 100])
    return Shift(lambda: next(left))


def to_the_end(step: Callable[[Json], Json], steps: int = 1) -> Json:
    """Rounds of so many steps each until all is done; a round that fails is done again."""
    progress: Json = {}
    while not progress.get("done"):
        try:
            progress = json.loads(json.dumps(one_round(progress, step, shift_of(steps))))
        except (StiggUnavailable, SalesforceUnavailable):
            continue
    return progress


# Rounds


def counting(progress: Json) -> Json:
    return {**progress, "records": progress["records"] + 1, "done": progress["records"] + 1 == 10}


def test_a_round_lasts_as_long_as_half_of_the_invocation() -> None:
    assert one_round({}, counting, shift_of(3)) == {"calls": 0, "records": 3, "done": False, "wait": 1}
    assert one_round({}, counting, shift_of(99)) == {"calls": 0, "records": 10, "done": True}


def test_a_round_ends_where_a_step_wants_to_wait() -> None:
    progress = one_round({}, lambda so_far: {**counting(so_far), "wait": 20}, shift_of(9))
    assert (progress["records"], progress["wait"]) == (1, 20)
    assert one_round(progress, counting, shift_of(2))["records"] == 3


def test_a_passing_fault_keeps_what_was_done_and_is_raised_where_nothing_was() -> None:
    def failing_at(records: int, error: Exception) -> Callable[[Json], Json]:
        def step(progress: Json) -> Json:
            if progress["records"] == records:
                raise error
            return counting(progress)

        return step

    passing = StiggUnavailable("down")
    assert one_round({}, failing_at(2, passing), shift_of(9)) == {
        **{"calls": 0, "records": 2, "done": False, "wait": AFTER_A_FAULT}
    }
    with pytest.raises(StiggUnavailable):
        one_round({}, failing_at(0, passing), shift_of(9))
    with pytest.raises(StiggRefused):
        one_round({}, failing_at(2, StiggRefused(400, "no")), shift_of(9))


# Beginning


@pytest.mark.parametrize(
    ("last_good", "since"),
    [("", "2026-11-01T00:00:00Z"), ("2026-11-20T02:15:00.000Z", "2026-11-20T02:00:00.000Z")],
)
def test_changes_count_from_a_little_before_the_last_good_run(last_good: str, since: str) -> None:
    assert begin.changed_since(Registered(last_good, "2026-11-01")) == since


@given(st.integers(0, 10**7))
def test_partitions_are_small_and_not_too_many(deals: int) -> None:
    partitions = begin.partitions_for(deals)
    assert 1 <= partitions <= 400
    assert deals <= partitions * 2000 or partitions == 400


# Stigg


class ListOfStigg:
    """Pages of Stigg's list; some break down the first time they are asked for."""

    def __init__(self, pages: int, broken: Sequence[int] = ()) -> None:
        self.pages, self.broken = pages, list(broken)

    def subscription_pages(self, after: str | None, statuses: Sequence[str]) -> Iterator[tuple[list[Json], str | None]]:
        assert set(statuses) == {"ACTIVE", "IN_TRIAL", "NOT_STARTED", "PAYMENT_PENDING"}
        for page in range(int(after or 0), self.pages):
            if page in self.broken:
                self.broken.remove(page)
                raise StiggUnavailable("down")
            items = [{"id": f"s{page}", "customerId": f"c{page}", "metadata": {}}]
            yield items, str(page + 1) if page + 1 < self.pages else None


@given(pages=st.integers(1, 40), broken=st.lists(st.integers(0, 40), max_size=3), steps=st.integers(1, 3))
def test_each_subscription_is_exported_once_at_the_governors_pace(pages: int, broken: list[int], steps: int) -> None:
    files, stigg, rate_slots = Written(), ListOfStigg(pages, broken), list[int]()
    export = stigg_export.StiggExport(
        RUN, cast(Any, files), cast(Any, stigg), rate_slots.append, pages_a_step=6, pages_at_once=2
    )
    told = to_the_end(export.step, steps)
    assert [record["row"]["id"] for _, _, record in files.records] == [f"s{page}" for page in range(pages)]
    assert (told["records"], told["calls"]) == (pages, pages)
    assert sum(rate_slots) >= pages


def test_a_subscription_says_itself_whose_it_is() -> None:
    assert stigg_export.key_of({"customerId": "acme", "metadata": {"salesforceAccountId": ACCOUNT}}) == ACCOUNT
    assert stigg_export.key_of({"customerId": "acme", "metadata": {}}) == "acme"
    assert stigg_export.key_of({"customerId": "acme", "metadata": None}) == "acme"


# The ledger


def line(pk: str, sk: str, **more: Any) -> bytes:
    """A line of DynamoDB's export."""
    item = {"pk": pk, "sk": sk, **more}
    said = {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in item.items()}
    return json.dumps({"Item": said}, separators=(",", ":")).encode() + b"\n"


HEAD = line(f"ACCOUNT#{ACCOUNT}", "CUSTOMER", rev=7, body='{"customer_id":"acme"}', due="DUE", due_at=1000)
STATE = line(f"ACCOUNT#{ACCOUNT}", "OPPORTUNITY#006A", body="{}")
ORDER = line("OPPORTUNITY#006A", "ORDER#1", account_id="ACCOUNT#", body='{"ACCOUNT#":1}')
PLAIN = line(f"ACCOUNT#{OTHER}", "CUSTOMER", rev=1, body=json.dumps({"customer_id": OTHER}))


def test_of_the_ledger_customers_and_their_opportunities_are_exported_with_plain_values() -> None:
    head = {"pk": f"ACCOUNT#{ACCOUNT}", "sk": "CUSTOMER", "rev": 7, "body": '{"customer_id":"acme"}'}
    assert exported(HEAD) == (ACCOUNT, {**head, "due": "DUE", "due_at": 1000})
    deflated = base64.b64encode(zlib.compress(b'{"order":{}}')).decode()
    told = {"Item": {**json.loads(STATE)["Item"], "body": {"B": deflated}, "rev": {"N": "3"}, "later": {"BOOL": True}}}
    state = {"pk": f"ACCOUNT#{ACCOUNT}", "sk": "OPPORTUNITY#006A", "rev": 3, "body": '{"order":{}}'}
    assert exported(json.dumps(told).encode()) == (ACCOUNT, state), "what a newer version adds is left out"
    with pytest.raises(LedgerUnreadable):
        exported(json.dumps({"Item": {**told["Item"], "body": {"B": "bm90IGRlZmxhdGVk"}}}).encode())
    assert exported(ORDER) is None
    assert exported(line("RECONCILIATION", "RUN", run="x")) is None


class Exporting(Written):
    """DynamoDB and S3, as far as an export of the table needs them. looks: how often it is still under way."""

    def __init__(self, files: list[list[bytes]], looks: int = 1, failed: str = "") -> None:
        super().__init__()
        self.files, self.looks, self.failed = files, looks, failed

    def export_table_to_point_in_time(self, **asked: str) -> Json:
        assert asked["ClientToken"] == RUN.id
        return {"ExportDescription": {"ExportArn": "arn"}}

    def describe_export(self, ExportArn: str) -> Json:
        self.looks -= 1
        if self.looks >= 0:
            return {"ExportDescription": {"ExportStatus": "IN_PROGRESS"}}
        if self.failed:
            return {"ExportDescription": {"ExportStatus": "FAILED", "FailureMessage": self.failed}}
        return {"ExportDescription": {"ExportStatus": "COMPLETED", "ExportManifest": "manifest-summary.json"}}

    def lines_of(self, key: str) -> Iterator[bytes]:
        if key == "manifest-summary.json":
            yield json.dumps({"manifestFilesS3Key": "manifest-files.json"}).encode()
        else:
            yield from (json.dumps({"dataFileS3Key": str(n)}).encode() for n in range(len(self.files)))

    def unzipped_lines(self, key: str) -> Iterator[bytes]:
        yield from self.files[int(key)]

    def export(self, lines_a_step: int = 100) -> ledger_export.LedgerExport:
        return ledger_export.LedgerExport(RUN, cast(Any, self), cast(Any, self), "arn:table", lines_a_step)


@given(
    files=st.lists(st.lists(st.sampled_from([HEAD, STATE, ORDER, PLAIN]), max_size=12), max_size=4),
    lines=st.integers(1, 5),
    steps=st.integers(1, 3),
)
def test_each_customer_is_exported_once_however_the_files_are_cut(
    files: list[list[bytes]], lines: int, steps: int
) -> None:
    batches = Exporting(files)
    one = batches.export(lines)
    told = to_the_end(one.step if steps > 1 else lambda progress: batches.export(lines).step(progress), steps)
    wanted = [found for file in files for text in file if (found := exported(text))]
    customers = [(account, record["item"]) for source, account, record in batches.records if source == "customers"]
    assert customers == wanted
    owners = [(key, record) for source, key, record in batches.records if source == "owners"]
    assert owners == [("acme", {"account": ACCOUNT})] * sum(file.count(HEAD) for file in files)
    assert told["records"] == len(customers) + len(owners)


def test_an_export_that_dynamodb_gives_up_says_why() -> None:
    with pytest.raises(LedgerExportFailed, match="the bucket is gone"):
        to_the_end(Exporting([], failed="the bucket is gone").export().step)


# Salesforce


MAPPING = {
    "MasterLabel": "Opportunity Products",
    "Active__c": True,
    "Line_Object__c": "OpportunityLineItem",
    "Parent_Field__c": "OpportunityId",
    "Stigg_Type_Field__c": "Product2.Stigg_Type__c",
    "Stigg_ID_Field__c": "Product2.Stigg_ID__c",
    "Quantity_Field__c": "Quantity",
}


class Jobs:
    """Salesforce, with the pages of three bulk queries: of opportunities, their lines, and Stigg Provisionings.

    broken: pages that break off the first time; looks: until they are finished.
    """

    def __init__(self, pages: Sequence[int], looks: int = 1, broken: Sequence[tuple[int, int]] = ()) -> None:
        self.mappings: list[Json] = [MAPPING]
        self.left, self.looks = list(pages), {str(n): looks for n in range(len(pages))}
        self.broken, self.deleted, self.asked = list(broken), list[str](), list[bool]()
        self.calls = (0, 100_000)

    def start(self, soql: str, with_deleted: bool) -> str:
        self.asked.append(with_deleted)
        return str(len(self.asked) - 1)

    def finished(self, job: str) -> int | None:
        self.looks[job] -= 1
        return 1 if self.looks[job] < 0 else None

    def pages(self, job: str, locator: str | None) -> Iterator[Any]:
        from closedwon.salesforce.bulk import Page

        for page in range(int(locator or 0), self.left[int(job)]):
            yield Page(self._rows(int(job), page), str(page + 1) if page + 1 < self.left[int(job)] else None)

    def _rows(self, job: int, page: int) -> Iterator[Json]:
        at = {"AccountId": ACCOUNT, "Opportunity": {"AccountId": OTHER}, "OpportunityId": "006A", "Account__c": ACCOUNT}
        yield {"Id": f"{job}.{page}.0", **at}
        if (job, page) in self.broken:
            self.broken.remove((job, page))
            raise SalesforceUnavailable("broke off")
        yield {"Id": f"{job}.{page}.1", **at}

    def delete(self, job: str) -> None:
        self.deleted.append(job)

    def budget(self) -> tuple[int, int]:
        return self.calls

    def query(self, soql: str) -> list[Json]:
        return self.mappings

    def describe(self, object_name: str) -> Json:
        return {"fields": []}

    def export(self, files: Written, run: Run = RUN) -> salesforce_export.SalesforceExport:
        return salesforce_export.SalesforceExport(
            run, cast(Any, files), cast(Any, self), cast(Any, self), (), share=80, pages_a_step=2
        )


@given(
    pages=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    looks=st.integers(0, 2),
    broken=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=3),
    steps=st.integers(1, 3),
)
def test_each_record_of_salesforce_is_exported_once(
    pages: list[int], looks: int, broken: list[tuple[int, int]], steps: int
) -> None:
    files, jobs = Written(), Jobs(pages, looks, broken)
    told = to_the_end(jobs.export(files).step, steps)
    wanted = {f"{job}.{page}.{row}" for job, many in enumerate(pages) for page in range(many) for row in range(2)}
    assert sorted(record["row"]["Id"] for _, _, record in files.records) == sorted(wanted)
    assert told["records"] == len(wanted)
    assert len(files) == sum(-(-many // 2) for many in pages)  # two pages are written together
    assert sorted(jobs.deleted) == [str(job) for job in range(len(pages))]
    for source, account, record in files.records:
        assert account == (OTHER if source == "lines" else ACCOUNT)
        if source == "lines":
            assert (record["mapping"], record["opportunity"]) == (0, "006A")


def test_salesforces_calls_are_looked_at_after_each_request() -> None:
    written, jobs = Written(), Jobs([3, 1, 1])
    export = jobs.export(written)
    jobs.calls = (80_000, 100_000)
    progress = export.step({"calls": 0, "records": 0})
    jobs.looks["0"] = 0
    jobs.calls = (80_001, 100_000)
    with pytest.raises(SalesforceBudgetSpent, match="80001 of the organisation's 100000 API calls"):
        export.step(progress)
    assert written.records == []


def test_what_was_deleted_is_looked_for_among_what_changed() -> None:
    for mode, with_deleted in (("changed", True), ("all", False)):
        jobs = Jobs([1, 1, 1])
        jobs.export(Written(), Run.of({**RUN.to_json(), "mode": mode})).start()
        assert set(jobs.asked) == {with_deleted}


def test_mappings_that_say_nothing_end_the_run_with_their_fault() -> None:
    jobs = Jobs([1, 1, 1])
    jobs.mappings = []
    with pytest.raises(MappingsUnusable, match="no Stigg Mapping is active"):
        jobs.export(Written()).start()
