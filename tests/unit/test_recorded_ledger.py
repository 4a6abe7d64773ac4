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

from closedwon.domain.codes import Facts
from closedwon.domain.customer import OpportunityState
from closedwon.domain.order import Order
from recorded.files import Recording, read, recordings
from recorded.played import Played, played

Json = dict[str, Any]

ORDERS = ("order", "provisioned", "won", "sells_order", "trial_order", "settled_trial")
"""The fields of a stored opportunity that hold orders."""

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


DELIBERATE: dict[tuple[str, str], tuple[str, str]] = {
    # stack and customer: which aspects differ, and by which rule of the contract model
    ("end", "A year that just ended"): ("outcomes written", "a term that ran out is Ended"),
    ("end", "Reopened and revoked"): ("future outcomes lookAgainAt written", "what is not won any more gives nothing"),
    ("end", "Held for a third"): ("desired future plan", "a removal is held with its deal, and no slot waits"),
    ("keep", "By the unit"): ("desired future plan outcomes verdict written", "the plan is not sold by the unit"),
    ("grace", "Renewed within grace"): ("future", "a renewal's own terms hold from its start"),
    ("held", "Held for another quantity"): ("desired future outcomes written", "a fault says its day"),
    ("held", "Held by the removal guard"): (
        "desired future plan", "a removal is held with its deal, and no slot waits",
    ),
    ("held", "Held below zero"): ("written", "a held deal links to the subscription that it would change"),
    ("held", "Held for a plan no deal says"): (
        "desired future plan outcomes written", "to move to another resource takes away",
    ),
    ("held", "Held for its currency"): ("desired future outcomes written", "currencies have a code of their own"),
    ("held", "Held for another price"): (
        "desired future plan outcomes written", "contracts of a slot add up: changed_by_upgrade",
    ),
    ("held", "Held for another plan"): ("desired future outcomes written", "equals make way together"),
    ("held", "Credits granted"): ("future", "credits are given once, and never taken back"),
    ("held", "Credits corrected after the grant"): ("future", "credits are given once, and never taken back"),
    ("held", "Customer of another account"): (
        "outcomes plan", "what is still to be made was not cancelled; a sale says that it is no trial",
    ),
    ("held", "Customer lost in stigg"): ("plan written stigg", "a sale says that it is no trial, and its currency"),
    ("held", "Died before the subscription"): (
        "plan written stigg", "a sale says that it is no trial, and its currency",
    ),
    ("held", "Ended by hand"): (
        "desired future plan outcomes written stigg", "what a person ended is held, and not given back",
    ),
    ("held", "Lost in stigg"): ("plan written stigg", "a sale says that it is no trial"),
    ("held", "Refused by stigg"): ("plan written stigg", "another currency is found before Stigg refuses it"),
    ("held", "Changed beneath a hold"): ("desired future plan written stigg", "no base is held for its amendment"),
    ("held", "Died before the credits"): ("future", "credits are given once, and never taken back"),
    ("held", "Died after the credits"): ("future", "credits are given once, and never taken back"),
    # Then one slot was held and the other lowered; now accepting it holds the deal, and lowers nothing by itself.
    ("keep", "Two products"): ("verdict", "a removal is held with its deal, and no slot waits"),
    ("keep", "Trial over"): ("outcomes written", "a trial that ran out is Ended"),
    ("keep", "One line cancelled"): ("outcomes verdict written", "a cancellation of one line has ended something"),
    ("keep", "Cancelled at the end of the billing period"): (
        "desired future outcomes lookAgainAt written", "that end is learned, and a date",
    ),
    ("keep", "Custom plan cancelled without a day"): (
        "desired future plan outcomes lookAgainAt written stigg", "that end is learned, and a date",
    ),
    ("keep", "Own deal cancelled on a day"): (
        "outcomes written", "what still gives is Provisioned, and says when access ends",
    ),
    ("keep", "Reopened"): ("outcomes", "what is not won any more can be approved"),
    ("keep", "Never started"): (
        "outcomes plan written stigg", "what is still to be made was not cancelled; a sale says that it is no trial",
    ),
    ("keep", "Approved and not yet done"): ("plan", "a removal is approved with its deal"),
    ("own", "Workspace refused"): ("outcomes", "what is not prepared has no outcome of the agreement"),
    ("own", "Workspace in the making"): ("outcomes", "what is not prepared has no outcome of the agreement"),
    ("paused", "Sold meanwhile"): (
        "future outcomes plan", "what is still to be made was not cancelled; a sale says that it is no trial",
    ),
    ("paused", "Trial meanwhile"): (
        "outcomes plan", "what is still to be made was not cancelled; a sale says that it is no trial",
    ),
    ("shadow", "Sold meanwhile"): (
        "future outcomes plan", "what is still to be made was not cancelled; a sale says that it is no trial",
    ),
    ("shadow", "Trial meanwhile"): (
        "outcomes plan", "what is still to be made was not cancelled; a sale says that it is no trial",
    ),
}  # fmt: skip
"""Where this version means to say something else than the one that stored it. Nothing of it writes to Stigg but the end
that was learned, a price that somebody changed by hand beneath a hold, and what a sale that was under way says of
itself besides: that it is no trial, and its currency.
"""


def deliberate(recording: Recording, *aspects: str) -> dict[str, set[str]]:
    """By customer, the aspects of these that are meant to differ."""
    here = {customer["name"] for customer in recording.customers}
    found = {name: {*said.split()} & {*aspects} for (_, name), (said, _) in DELIBERATE.items() if name in here}
    return {name: differ for name, differ in found.items() if differ}


def differing(before: dict[str, Json], after: dict[str, Json]) -> dict[str, set[str]]:
    """By customer, the aspects that differ."""
    found = {
        name: {aspect for aspect, value in said.items() if after[name][aspect] != value}
        for name, said in before.items()
    }
    return {name: aspects for name, aspects in found.items() if aspects}


def without_starts(said: Any) -> Any:
    """Without the starts of subscriptions: one that runs keeps its own, whatever a new one's would be (rule 5.3)."""
    if isinstance(said, dict):
        return {name: without_starts(one) for name, one in said.items() if not (name == "start" and "plan" in said)}
    return [without_starts(one) for one in said] if isinstance(said, list) else said


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
        before, after = stored.pop("opportunities"), written.pop("opportunities")
        assert written == stored, customer["name"]
        assert after.keys() == before.keys()
        for id, opportunity in before.items():
            assert after[id].items() >= {n: v for n, v in opportunity.items() if n not in ORDERS}.items(), id
            # What it came to by earlier readings is kept as what it contributes; no order is lost.
            assert _digests(opportunity) <= _digests(after[id]), id
            # What is written is read as the same.
            assert OpportunityState.from_json(after[id]) == OpportunityState.from_json(opportunity), id


def _digests(opportunity: Json) -> set[str]:
    return {Order.from_json(opportunity[name]).digest for name in ORDERS if opportunity.get(name)}


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
    before, after = then(recording, "desired", "future"), of(now, "desired", "future")
    assert differing(without_starts(before), without_starts(after)) == deliberate(recording, "desired", "future")


def test_nothing_is_to_be_changed_in_stigg_but_what_was_pending(recording: Recording, now: dict[str, Json]) -> None:
    assert differing(then(recording, "plan"), of(now, "plan")) == deliberate(recording, "plan")


def test_what_only_other_rules_would_change_waits_for_approval(recording: Recording, stack: Played) -> None:
    found = {one["name"]: stack.holds(one["account"]) for one in recording.customers}
    waiting = {
        name: hold for name, holds in found.items() for hold in holds if hold.reason.code == "changed_by_upgrade"
    }
    assert waiting.keys() == {"Held for another price"} & found.keys()
    for hold in waiting.values():
        assert hold.approval
        before = {"price of addon-extra-workspace": "1200 usd", "price of plan-enterprise": "48000 usd"}
        after = {"price of addon-extra-workspace": "1050 usd", "price of plan-enterprise": "96000 usd"}
        assert hold.reason.facts["before"] == Facts({"addon-extra-workspace": 2, **before})
        assert hold.reason.facts["after"] == Facts({"addon-extra-workspace": 4, **after})


def test_units_of_a_plan_that_is_not_sold_by_the_unit_stay_until_somebody_approves_what_the_deal_says_now(
    recording: Recording, stack: Played
) -> None:
    found = {one["name"]: stack.holds(one["account"]) for one in recording.customers}
    waiting = {name: hold for name, holds in found.items() for hold in holds if hold.reason.code == "read_differently"}
    assert waiting.keys() == {"By the unit"} & found.keys()
    for hold in waiting.values():
        assert hold.approval
        assert hold.reason.facts["before"] == Facts({"units": 3, "price of plan-team": "4500 usd"})
        assert hold.reason.facts["after"] == Facts({"units": 1, "price of plan-team": "13500 usd"})


def test_a_look_at_each_customer_comes_to_what_it_came_to(recording: Recording, now: dict[str, Json]) -> None:
    before, after = then(recording, "outcomes", "lookAgainAt"), of(now, "outcomes", "lookAgainAt")
    assert differing(before, after) == deliberate(recording, "outcomes", "lookAgainAt")


def test_nothing_is_to_be_shown_in_salesforce_but_what_was_pending(recording: Recording, now: dict[str, Json]) -> None:
    assert of(now, "toShow") == then(recording, "toShow")


def test_reconciliation_finds_what_it_found(recording: Recording, now: dict[str, Json]) -> None:
    assert differing(then(recording, "verdict"), of(now, "verdict")) == deliberate(recording, "verdict")


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
    before = {one["name"]: written_of(one["written"]) for one in recording.customers}
    after = {one["name"]: written_of(stack.run(one["account"])) for one in recording.customers}
    assert differing(before, after) == deliberate(recording, "written", "stigg")


def written_of(requests: list[str]) -> Json:
    """What an execution wrote: all of it, and to Stigg."""
    return {"written": requests, "stigg": [one for one in requests if " /services/" not in one]}
