"""Queries in bulk: a result is read piece by piece, whatever is in it, and whatever happens meanwhile.

Against the strict stand-in over TLS: where a page breaks off, a real connection does.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from closedwon.domain.errors import ClosedWonError, SalesforceLimitExceeded, SalesforceRefused, SalesforceUnavailable
from closedwon.salesforce.bulk import BulkQueries
from closedwon.salesforce.client import ApiBudget, SalesforceClient
from closedwon.wire.session import BoundedSession
from sandbox.salesforce.app import Salesforce
from sandbox.stand_in import StandIn
from sandbox.tls import make_tls

ACCOUNTS = 5_000
RESULTS = ".*/jobs/query/.*/results"
NAMES = "SELECT Id, Name FROM Account WHERE Industry = 'Letters'"
EVERYTHING = (
    "SELECT Id, Name, CloseDate, Amount, Probability, IsWon, SystemModstamp, Description, AccountId, Account.Name, "
    "Account.NumberOfEmployees, Account.Owner.IsActive, Contract.ContractTerm, Contract.Status FROM Opportunity"
)


class Keys:
    """The stack's Salesforce secret."""

    def json(self, *required: str) -> dict[str, Any]:
        return {"clientId": "client", "clientSecret": "hush-1"}

    def again(self) -> str:
        return ""


@pytest.fixture(scope="module")
def organization() -> Salesforce:
    made = Salesforce("client", "hush-1")
    made.seed("Account", ({"Name": f"Account {number:05d}", "Industry": "Letters"} for number in range(ACCOUNTS)))
    return made


@pytest.fixture(scope="module")
def served(organization: Salesforce, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandIn, str]]:
    tls = make_tls(tmp_path_factory.mktemp("tls"))
    with StandIn(organization, tls.context) as server:
        yield server, str(tls.ca_file)


@pytest.fixture
def server(served: tuple[StandIn, str], monkeypatch: pytest.MonkeyPatch) -> StandIn:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    served[0].reset()
    return served[0]


@pytest.fixture
def client(server: StandIn, served: tuple[StandIn, str]) -> SalesforceClient:
    session = BoundedSession()
    session.verify = served[1]
    return SalesforceClient(server.url, Keys(), "66.0", session)


@pytest.fixture
def bulk(client: SalesforceClient) -> BulkQueries:
    return BulkQueries(client)


def done(bulk: BulkQueries, soql: str, **how: Any) -> str:
    """A job that is finished."""
    job = bulk.start(soql, **how)
    assert bulk.finished(job) is None, "it takes its time"
    assert bulk.finished(job) is not None
    return job


def stored(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A gzip stream in which nothing is any smaller."""
    packer = zlib.compressobj(0, zlib.DEFLATED, 31)
    return (packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces)


def first_page(bulk: BulkQueries, job: str, **how: Any) -> list[Any]:
    """The rows of a job's first page."""
    for page in bulk.pages(job, **how):
        return list(page.rows)
    return []


def test_a_row_is_what_a_query_gives(bulk: BulkQueries, client: SalesforceClient, organization: Salesforce) -> None:
    account = organization.create("Account", Name='"Ünlikely", Inc.\nLtd\u2028\x0b;', NumberOfEmployees=7)
    contract = organization.create("Contract", AccountId=account, ContractTerm=12)
    for name, fields in (
        ("Whole", {"AccountId": account, "ContractId": contract, "Amount": 1234.5, "StageName": "Closed Won"}),
        ("Bare", {"StageName": "Prospecting", "Probability": None}),
        ("'Quoted', \"twice\"\r\nand on\n\nand on", {"AccountId": account, "StageName": "Closed Lost"}),
    ):
        organization.create("Opportunity", Name=name, CloseDate="2026-11-30", Description="a\nb", **fields)

    def plain(record: Any) -> Any:
        if not isinstance(record, dict):
            return record
        return {name: plain(value) for name, value in record.items() if name != "attributes"}

    queried = [plain(record) for record in client.query(EVERYTHING)]
    assert list(bulk.rows(EVERYTHING)) == queried
    assert len(queried) == 3


def test_values_are_quoted_and_the_recycle_bin_is_seen_on_request(bulk: BulkQueries, organization: Salesforce) -> None:
    name = "O'Hara \\ Sons"
    account = organization.create("Account", Name=name)
    organization.delete("Account", account)
    soql = "SELECT Id, IsDeleted FROM Account WHERE Name IN {names}"
    assert list(bulk.rows(soql, names=[name])) == []
    assert list(bulk.rows(soql, with_deleted=True, names=[name])) == [{"Id": account, "IsDeleted": True}]


def test_pages_are_read_one_by_one_and_can_be_gone_on_with_from_any_of_them(
    bulk: BulkQueries, client: SalesforceClient
) -> None:
    job = done(bulk, NAMES)
    locators: list[str | None] = []
    names = []
    for page in bulk.pages(job, most=2_000):
        names.append([row["Name"] for row in page.rows])
        locators.append(page.locator)
    assert [len(some) for some in names] == [2_000, 2_000, 1_000]
    assert locators[-1] is None
    assert [name for some in names for name in some] == [f"Account {number:05d}" for number in range(ACCOUNTS)]

    another = BulkQueries(client)  # as in another invocation: it knows the job's ID and the locator alone
    [second, third] = [[row["Name"] for row in page.rows] for page in another.pages(job, locators[0], most=2_000)]
    assert [second, third] == names[1:]


def test_a_page_that_breaks_off_is_unavailable_and_can_be_asked_for_again(bulk: BulkQueries, server: StandIn) -> None:
    job = done(bulk, NAMES)
    for fault in ("drop_before", "drop_midway", "drop_after"):
        server.fail(fault, "GET", RESULTS)
        with pytest.raises(SalesforceUnavailable):
            first_page(bulk, job)
        assert len(first_page(bulk, job)) == ACCOUNTS


@pytest.mark.parametrize(
    "rows", ["", "Id,Name\n", "Id,Name\n001,A\n", "Id,Name\n001,A\n001\n", 'Id,Name\n001,A\n001,"B']
)
def test_less_than_was_promised_is_never_taken_for_all(
    bulk: BulkQueries, monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    job = done(bulk, NAMES)
    monkeypatch.setattr("sandbox.salesforce.bulk.Csv.pieces", lambda self: iter([rows.encode()]))
    with pytest.raises(SalesforceUnavailable, match=r"a page that (is not whole|broke off)"):
        first_page(bulk, job, most=2)


def test_an_answer_that_does_not_say_whether_there_is_more_is_not_the_last(bulk: BulkQueries, server: StandIn) -> None:
    job = done(bulk, NAMES)
    server.fail("answer", "GET", RESULTS, status=200, body="Id")
    with pytest.raises(SalesforceUnavailable, match="without a locator"):
        first_page(bulk, job)


def test_a_session_that_ends_is_renewed_once_at_each_step(
    bulk: BulkQueries, organization: Salesforce, server: StandIn
) -> None:
    job = done(bulk, NAMES)
    steps: list[Callable[[], Any]] = [lambda: bulk.start(NAMES), lambda: bulk.finished(job)]
    steps += [lambda: first_page(bulk, job), lambda: bulk.delete(job)]
    for number, step in enumerate(steps, 2):
        organization.expire_tokens()
        step()
        assert len(server.asked("POST", "/services/oauth2/token")) == number


@pytest.mark.parametrize("state", ["Failed", "Aborted"])
def test_a_job_that_ends_otherwise_is_refused_in_salesforces_words(
    bulk: BulkQueries, client: SalesforceClient, organization: Salesforce, state: str
) -> None:
    if state == "Failed":
        organization.fail_query_job("InternalServerError : retried more than 15 times, tell jane@northwind.example")
    job = bulk.start(NAMES)
    assert bulk.finished(job) is None
    if state == "Aborted":
        client.rest("abort", f"jobs/query/{job}", "PATCH", {"state": "Aborted"})
    with pytest.raises(SalesforceRefused) as refused:
        bulk.finished(job)
    assert refused.value.code == state
    assert ("15 times, tell ***@***" in refused.value.message) == (state == "Failed")
    bulk.delete(job)
    bulk.delete(job)  # gone already


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, "SalesforceUnavailable"), (500, "SalesforceUnavailable"), (429, "SalesforceThrottled"), (400, "Refused")],
)
def test_errors_are_named_as_those_of_a_query(bulk: BulkQueries, server: StandIn, status: int, error: str) -> None:
    job = done(bulk, NAMES)
    for wish in (lambda: bulk.start(NAMES), lambda: bulk.finished(job), lambda: first_page(bulk, job)):
        server.fail("answer", path=".*/jobs/query.*", status=status)
        with pytest.raises(ClosedWonError) as raised:
            wish()
        assert type(raised.value).__name__.endswith(error)


def test_a_query_that_cannot_be_is_refused_when_it_is_started(bulk: BulkQueries) -> None:
    with pytest.raises(SalesforceRefused, match="No such column 'Nome'"):
        bulk.start("SELECT Nome FROM Account")


def test_a_page_is_not_held_but_read_while_it_arrives(bulk: BulkQueries, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def endless(_: Any) -> Iterator[bytes]:
        yield b"Id,Name\n"
        while True:
            written.append(1)
            yield b"001,%s\n" % (b"x" * 50_000)

    job = done(bulk, NAMES)
    monkeypatch.setattr("sandbox.salesforce.bulk.Csv.pieces", endless)
    monkeypatch.setattr("sandbox.salesforce.api.compressed", stored)
    for page in bulk.pages(job):
        assert len(list(islice(page.rows, 100))) == 100
        break
    assert len(written) < 1_000  # some more than were read: sockets hold a few megabytes


# The day's API calls


def test_the_days_calls_are_what_the_last_answer_said(
    client: SalesforceClient, bulk: BulkQueries, organization: Salesforce, server: StandIn
) -> None:
    assert client.budget() == ApiBudget(1, 100_000)  # asked for: nothing has said it yet
    assert client.budget() == ApiBudget(1, 100_000)  # and is not asked again
    client.query("SELECT Id FROM Organization")
    assert client.budget().used == 2
    job = done(bulk, NAMES)
    assert client.budget().used == 5
    for _ in range(2):
        first_page(bulk, job, most=1)
    assert client.budget().used == 8  # two pages, and the object's schema once
    assert len(server.asked("GET", ".*/limits.*")) == 1
    organization.use_up_api_calls(left=1)
    client.query("SELECT Id FROM Organization")
    with pytest.raises(SalesforceLimitExceeded):
        bulk.start(NAMES)
    assert client.budget() == ApiBudget(100_000, 100_000)


def test_the_limits_themselves_tell_where_no_header_does(server: StandIn, client: SalesforceClient) -> None:
    limits = {"DailyApiRequests": {"Max": 5_000, "Remaining": 4_000}}
    server.fail("answer", path=".*/limits.*", status=200, body=limits)
    assert client.budget() == ApiBudget(1_000, 5_000)
    server.fail("answer", path=".*/limits.*", status=200, body={"a": 1})
    other = SalesforceClient(server.url, Keys(), "66.0", client._session)
    with pytest.raises(SalesforceUnavailable, match="without limits"):
        other.budget()


def test_records_are_counted_without_being_read(client: SalesforceClient) -> None:
    assert client.count("SELECT COUNT() FROM Account WHERE Industry = {industry}", industry="Letters") == ACCOUNTS


def test_a_query_looks_into_the_recycle_bin_on_request(client: SalesforceClient, organization: Salesforce) -> None:
    account = organization.create("Account", Name="Gone")
    organization.delete("Account", account)
    soql = "SELECT Id FROM Account WHERE Name = {name}"
    assert client.query(soql, name="Gone") == []
    assert [row["Id"] for row in client.query(soql, with_deleted=True, name="Gone")] == [account]
