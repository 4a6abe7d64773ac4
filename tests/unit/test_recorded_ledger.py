"""What an earlier version stored is played by this one: a release changes nobody's access or price by itself.

Every customer of tests/data/ledger-*/ (the README there says what each stands for) is read as it was stored, in
Stigg and Salesforce as they were, at the moment of the recording. What this version says of it has to be what the
version that stored it said. Where a later version means to say something else, it says here what, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from closedwon.domain.order import Order
from recorded.files import Recording, read, recordings
from recorded.played import Played, played

Json = dict[str, Any]

STACKS = recordings()


@pytest.fixture(scope="module", params=STACKS, ids=[path.name for path in STACKS])
def recording(request: pytest.FixtureRequest) -> Recording:
    folder: Path = request.param
    return read(folder)


@pytest.fixture(scope="module")
def stack(recording: Recording) -> Iterator[Played]:
    """The stack as it was recorded. What writes to it puts everything back first, and comes last."""
    with played(recording) as stands:
        yield stands


@pytest.fixture(scope="module")
def now(recording: Recording, stack: Played) -> dict[str, Json]:
    """What this version says of each customer, by name."""
    accounts = {one["name"]: one["account"] for one in recording.customers}
    verdicts = stack.verdicts(accounts.values())
    return {name: {**stack.seen(account), "verdict": verdicts[account]} for name, account in accounts.items()}


def then(recording: Recording, *aspects: str) -> dict[str, Json]:
    """What was said of each customer when it was recorded, by name."""
    return of({one["name"]: one for one in recording.customers}, *aspects)


def of(customers: dict[str, Json], *aspects: str) -> dict[str, Json]:
    return {name: {aspect: said[aspect] for aspect in aspects} for name, said in customers.items()}


def test_what_was_recorded_is_worth_playing() -> None:
    kept = [read(folder) for folder in STACKS]
    deals = [deal for one in kept for customer in one.customers for deal in customer["deals"].values() if deal]
    assert sum(len(one.customers) for one in kept) >= 40
    assert {deal["trigger"] for one in kept for deal in one.newest} == {
        "closed_won", "trial", "amendment", "renewal", "cancellation",
    }  # fmt: skip
    assert {deal["status"] for deal in deals} == {
        "Provisioning", "Provisioned", "Payment required", "Scheduled", "Held", "Failed", "Superseded",
    }  # fmt: skip


# What is stored


def test_every_customer_is_read_and_written_back_with_all_that_was_stored(recording: Recording, stack: Played) -> None:
    for customer in recording.customers:
        stored, written = stack.read_back(customer["account"])
        assert written == stored, customer["name"]


def test_every_order_that_was_ever_accepted_is_read(stack: Played) -> None:
    for stored, read_now in stack.histories():
        assert read_now == stored


def test_every_order_has_the_digest_that_it_is_stored_under(recording: Recording) -> None:
    stored = [item for item in recording.ledger if item["sk"].startswith("ORDER#")]
    assert stored
    for item in stored:
        order = Order.from_json(item["body"])
        # An erased order stays under the digest that it had with its names.
        assert order.digest[:16] == item["sk"].split("#")[2] or not order.account_name


def test_what_else_the_table_holds_is_read(stack: Played) -> None:
    stack.read_the_rest()


# What it means


def test_where_each_deal_stands_is_where_it_stood(recording: Recording, now: dict[str, Json]) -> None:
    assert of(now, "deals") == then(recording, "deals")


def test_each_customer_has_in_stigg_what_it_had(recording: Recording, now: dict[str, Json]) -> None:
    assert of(now, "access") == then(recording, "access")


def test_each_customer_should_have_what_it_should_have_had_then_and_on_every_later_day(
    recording: Recording, now: dict[str, Json]
) -> None:
    assert of(now, "desired", "future") == then(recording, "desired", "future")


def test_nothing_is_to_be_changed_in_stigg_but_what_was_pending(recording: Recording, now: dict[str, Json]) -> None:
    assert of(now, "plan") == then(recording, "plan")


def test_a_look_at_each_customer_comes_to_what_it_came_to(recording: Recording, now: dict[str, Json]) -> None:
    assert of(now, "outcomes", "lookAgainAt") == then(recording, "outcomes", "lookAgainAt")


def test_nothing_is_to_be_shown_in_salesforce_but_what_was_pending(recording: Recording, now: dict[str, Json]) -> None:
    assert of(now, "toShow") == then(recording, "toShow")


def test_reconciliation_finds_what_it_found(recording: Recording, now: dict[str, Json]) -> None:
    assert of(now, "verdict") == then(recording, "verdict")


# What happens


def test_a_deal_that_is_sent_again_is_answered_as_then_and_starts_and_changes_nothing_more(
    recording: Recording, stack: Played
) -> None:
    assert stack.put_back().again() == recording.again


def test_a_deal_that_is_sent_again_as_salesforce_has_it_since_is_answered_alike(
    recording: Recording, stack: Played
) -> None:
    """Its account shows its customer by now, and it was read later."""
    accounts = {row["Id"]: row for row in recording.salesforce if row["object"] == "Account"}

    def since(deal: Json) -> Json:
        if "account" not in deal:
            return deal
        shown = accounts.get(deal["account"]["id"], {}).get("Stigg_Customer_ID__c")
        account = {**deal["account"], "stiggCustomerId": shown or deal["account"].get("stiggCustomerId")}
        return {**deal, "account": account}

    again = stack.put_back().again(*map(since, recording.newest))
    assert (again["answers"], again["started"]) == (recording.again["answers"], recording.again["started"])


def test_a_revision_that_came_too_late_comes_too_late_again(recording: Recording, stack: Played) -> None:
    late = [sent["deal"] for sent in recording.deals if sent["answer"] == "superseded"]
    if late:
        assert {answer["status"] for answer in stack.put_back().send(*late)} == {"superseded"}
        assert stack.started() == []


def test_an_execution_of_each_customer_writes_nothing_but_what_was_pending(recording: Recording, stack: Played) -> None:
    stack.put_back()
    written = {one["name"]: stack.run(one["account"]) for one in recording.customers}
    assert written == {one["name"]: one["written"] for one in recording.customers}
