"""The exports of a reconciliation: however they are cut off and begun again, each record is written once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.aws.ledger_items import exported
from closedwon.domain.errors import (
    LedgerExportFailed,
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
    """Batches as a PartitionWriter would write them, by name: one written again takes the place of the one before."""

    def __call__(self, run: Run, batch: str) -> Batch:
        return Batch(self, batch)

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


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    files = Written()
    for app in (ledger_export, salesforce_export, stigg_export):
        monkeypatch.setattr(app, "PartitionWriter", files)
    return files


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
    with pytest.MonkeyPatch.context() as patch:
        files, stigg, rate_slots = Written(), ListOfStigg(pages, broken), list[None]()
        patch.setattr(stigg_export, "PartitionWriter", files)
        patch.setattr(stigg_export, "stigg", lambda: stigg)
        patch.setattr(stigg_export, "PAGES_A_STEP", 6)
        patch.setattr(stigg_export, "PAGES_AT_ONCE", 2)
        patch.setattr(stigg_export, "wait_for_rate_slot", lambda: rate_slots.append(None))
        told = to_the_end(lambda progress: stigg_export.step(RUN, progress), steps)
        assert [record["row"]["id"] for _, _, record in files.records] == [f"s{page}" for page in range(pages)]
        assert (told["records"], told["calls"]) == (pages, pages)
        assert 2 * len(rate_slots) >= pages


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
    assert exported(ORDER) is None
    assert exported(line("RECONCILIATION", "RUN", run="x")) is None


class Exporting:
    """DynamoDB and S3, as far as an export of the table needs them. looks: how often it is still under way."""

    def __init__(self, files: list[list[bytes]], looks: int = 1, failed: str = "") -> None:
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

    def patched(self, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("RECONCILIATION_BUCKET", "bucket")
        patch.setenv("LEDGER_TABLE_ARN", "arn:table")
        patch.setattr(ledger_export.clients, "dynamodb", lambda: self)
        patch.setattr(ledger_export.runs, "lines_of", self.lines_of)
        patch.setattr(ledger_export.runs, "unzipped_lines", self.unzipped_lines)


@given(
    files=st.lists(st.lists(st.sampled_from([HEAD, STATE, ORDER, PLAIN]), max_size=12), max_size=4),
    lines=st.integers(1, 5),
    steps=st.integers(1, 3),
)
def test_each_customer_is_exported_once_however_the_files_are_cut(
    files: list[list[bytes]], lines: int, steps: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        batches = Written()
        Exporting(files).patched(patch)
        patch.setattr(ledger_export, "PartitionWriter", batches)
        patch.setattr(ledger_export, "LINES_A_STEP", lines)
        exports = iter(lambda: ledger_export.LedgerExport(RUN), None)
        one = next(exports)
        told = to_the_end(one.step if steps > 1 else lambda progress: next(exports).step(progress), steps)
        wanted = [found for file in files for text in file if (found := exported(text))]
        customers = [(account, record["item"]) for source, account, record in batches.records if source == "customers"]
        assert customers == wanted
        owners = [(key, record) for source, key, record in batches.records if source == "owners"]
        assert owners == [("acme", {"account": ACCOUNT})] * sum(file.count(HEAD) for file in files)
        assert told["records"] == len(customers) + len(owners)


def test_an_export_that_dynamodb_gives_up_says_why(monkeypatch: pytest.MonkeyPatch, written: Written) -> None:
    Exporting([], failed="the bucket is gone").patched(monkeypatch)
    with pytest.raises(LedgerExportFailed, match="the bucket is gone"):
        to_the_end(ledger_export.LedgerExport(RUN).step)


# Salesforce


class Jobs:
    """Bulk queries with their pages. broken: pages that break off the first time; looks: until they are finished."""

    def __init__(self, pages: Sequence[int], looks: int = 1, broken: Sequence[tuple[int, int]] = ()) -> None:
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
        yield {"Id": f"{job}.{page}.0", "AccountId": ACCOUNT, "Opportunity": {"AccountId": OTHER}}
        if (job, page) in self.broken:
            self.broken.remove((job, page))
            raise SalesforceUnavailable("broke off")
        yield {"Id": f"{job}.{page}.1", "AccountId": ACCOUNT, "Opportunity": {"AccountId": OTHER}}

    def delete(self, job: str) -> None:
        self.deleted.append(job)

    def budget(self) -> tuple[int, int]:
        return self.calls

    def query(self, soql: str) -> list[Json]:
        return []

    def patched(self, patch: pytest.MonkeyPatch, files: Written) -> None:
        from closedwon.salesforce.export_queries import Bulk, BulkQuery

        asked = [
            BulkQuery("opportunities", "SELECT", account="AccountId", opportunity="Id"),
            BulkQuery("lines", "SELECT", account="Opportunity.AccountId", opportunity="Id", mapping=2),
        ]
        patch.setenv("SALESFORCE_API_SHARE_PERCENT", "80")
        patch.setattr(salesforce_export, "PAGES_A_STEP", 2)
        patch.setattr(salesforce_export, "PartitionWriter", files)
        patch.setattr(salesforce_export, "queries", lambda: self)
        patch.setattr(salesforce_export, "salesforce", lambda: self)
        patch.setattr(salesforce_export, "mapped", lambda records: records)
        patch.setattr(salesforce_export, "bulk_queries", lambda *_: Bulk(tuple(asked[: len(self.left)]), ()))
        patch.setattr(salesforce_export.runs, "put_mappings", lambda run, records: None)


@given(
    pages=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    looks=st.integers(0, 2),
    broken=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=3),
    steps=st.integers(1, 3),
)
def test_each_record_of_salesforce_is_exported_once(
    pages: list[int], looks: int, broken: list[tuple[int, int]], steps: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        files, jobs = Written(), Jobs(pages, looks, broken)
        jobs.patched(patch, files)
        told = to_the_end(lambda progress: salesforce_export.step(RUN, progress), steps)
        wanted = {f"{job}.{page}.{row}" for job, many in enumerate(pages) for page in range(many) for row in range(2)}
        assert sorted(record["row"]["Id"] for _, _, record in files.records) == sorted(wanted)
        assert told["records"] == len(wanted)
        assert len(files) == sum(-(-many // 2) for many in pages)  # two pages are written together
        assert sorted(jobs.deleted) == [str(job) for job in range(len(pages))]
        for source, account, record in files.records:
            assert account == (OTHER if source == "lines" else ACCOUNT)
            if source == "lines":
                assert (record["mapping"], record["opportunity"]) == (2, record["row"]["Id"])


def test_salesforces_calls_are_looked_at_after_each_request(monkeypatch: pytest.MonkeyPatch, written: Written) -> None:
    jobs = Jobs([3])
    jobs.patched(monkeypatch, written)
    jobs.calls = (80_000, 100_000)
    progress = salesforce_export.step(RUN, {"calls": 0, "records": 0})
    jobs.looks["0"] = 0
    jobs.calls = (80_001, 100_000)
    with pytest.raises(SalesforceBudgetSpent, match="80001 of the organisation's 100000 API calls"):
        salesforce_export.step(RUN, progress)
    assert written.records == []


def test_what_was_deleted_is_looked_for_among_what_changed(monkeypatch: pytest.MonkeyPatch, written: Written) -> None:
    for mode, with_deleted in (("changed", True), ("all", False)):
        jobs = Jobs([1])
        jobs.patched(monkeypatch, written)
        salesforce_export.start(Run.of({**RUN.to_json(), "mode": mode}))
        assert jobs.asked == [with_deleted]


def test_mappings_that_say_nothing_end_the_run_with_their_fault(
    monkeypatch: pytest.MonkeyPatch, written: Written
) -> None:
    from closedwon.salesforce import mapping_records

    jobs = Jobs([1])
    jobs.patched(monkeypatch, written)
    monkeypatch.setattr(salesforce_export, "mapped", mapping_records.mapped)
    with pytest.raises(MappingsUnusable, match="no Stigg Mapping is active"):
        salesforce_export.start(RUN)
