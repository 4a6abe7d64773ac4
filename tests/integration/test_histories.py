"""Whatever is sold to customers, and however it arrives: when all is quiet, Stigg holds what their deals come to.

The deals of made-up histories go through the API at random: in bulk and one by one, more than once, older revisions
late, some while others still run, some while Stigg or Salesforce fails. What Stigg then holds is compared with the fold
of what was sold. One history alone: HISTORY=<its seed> make test ARGS=tests/integration/test_histories.py
Others than these: FIRST_HISTORY=1000 make test ARGS=tests/integration/test_histories.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
import requests

from closedwon.aws.ledger import Ledger
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Desired, Slot, Subscription
from closedwon.domain.instants import EndOfBillingPeriod
from closedwon.domain.marks import Backlinks, metadata_of
from closedwon.domain.outcome import STIGG_FIRST
from closedwon.domain.plan import plan
from closedwon.domain.world import world_of
from closedwon.stigg.answers import actual_of
from closedwon.stigg.bodies import entitlement_body
from integration.histories import LATEST, History, make, told
from integration.scenes import COMPOSITE, LIVE, SUBSCRIPTION, SUBSCRIPTIONS, Json, time_passes
from sandbox.sandbox import STIGG_INTEGRATION, Sandbox
from unit.domain import CATALOGUE, ORGANIZATION, POLICY, agreed

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "prove"
AT_ONCE = 24 if LONG else 12
"""Histories that are played at the same time."""

ROUNDS = range(4 if LONG else 1)
MOST_PASSES = 12
"""Of the sweep, before what is still not quiet never will be: a failed try, its retry, an approval, a look again."""

STIGG_FAULTS = (
    {"kind": "drop_after", "method": "POST", "path": SUBSCRIPTIONS},
    {"kind": "drop_before", "method": "POST", "path": SUBSCRIPTIONS},
    {"kind": "drop_after", "method": "PATCH", "path": SUBSCRIPTION},
    {"kind": "drop_after", "method": "POST", "path": SUBSCRIPTION + "/cancel"},
    {"kind": "drop_after", "method": "POST", "path": "/api/v1/credits/grants"},
    {"kind": "answer", "status": 500, "times": 2},
    {"kind": "answer", "status": 429, "times": 3},
    {"kind": "answer", "status": 503, "method": "POST|PATCH", "times": 9},
)
SALESFORCE_FAULTS = (
    {"kind": "drop_after", "path": COMPOSITE},
    {"kind": "answer", "status": 503, "path": COMPOSITE, "times": 2},
)


@pytest.mark.long
@pytest.mark.proof
@pytest.mark.parametrize("number", ROUNDS)
def test_when_all_is_quiet_stigg_holds_what_the_deals_come_to(sandbox: Sandbox, number: int) -> None:
    chosen = os.environ.get("HISTORY")
    first = int(os.environ.get("FIRST_HISTORY", "0")) + number * AT_ONCE
    seeds = [int(chosen)] if chosen else range(first, first + AT_ONCE)
    began = datetime.now(UTC)
    histories = [make(seed, began) for seed in seeds]
    foreign = {history.seed: open_in_salesforce(sandbox, history) for history in histories}
    play(sandbox, histories, Random(seeds[0]), began)
    wrong = []
    for history in histories:
        faults = list(faults_of(sandbox, history, foreign[history.seed]))
        if faults:
            wrong.append("\n  ".join([f"HISTORY={history.seed} ({history.account}):", *faults, *told(history)]))
    assert not wrong, "\n" + "\n".join(wrong)


# Playing


def open_in_salesforce(sandbox: Sandbox, history: History) -> Json | None:
    """The account and its opportunities; in Stigg, what somebody else made there. Out: that, as it was."""
    sandbox.sales.account("Northwind Traders", Id=history.account)
    for id in history.newest:
        sandbox.sales.close(history.account, "A deal", Id=id)
    if history.foreign is None:
        return None
    sandbox.stigg.add_customer(history.account)
    return sandbox.stigg.add_subscription(history.account, **history.foreign)


def play(sandbox: Sandbox, histories: list[History], rng: Random, began: datetime) -> None:
    """Send everything, wave by wave, and let it come to rest after each."""
    for number in range(max(len(history.waves) for history in histories)):
        deals = []
        for history in histories:
            if number < len(history.waves):
                wave = history.waves[number]
                deals += wave + [deal for deal in wave if rng.random() < 0.3]
                break_something(sandbox, history, rng)
        rng.shuffle(deals)
        with ThreadPoolExecutor(3) as senders:
            list(senders.map(lambda several: send(sandbox, several), split(deals, rng)))
        come_to_rest(sandbox, histories, began + timedelta(seconds=LATEST))


def send(sandbox: Sandbox, deals: list[Json]) -> None:
    """As Salesforce does: what was not answered is sent again."""
    for _ in range(10):
        answer = sandbox.call(*deals)
        if answer.status_code < 500:
            break
    assert answer.status_code == 202, answer.text


def split(deals: list[Json], rng: Random) -> Iterator[list[Json]]:
    """Requests: a part of the deals in bulk, the rest few by few."""
    bulk = min(len(deals) // 2, 25)  # more take longer than a function has here
    yield from [deals[:bulk]] if bulk else []
    place = bulk
    while place < len(deals):
        size = rng.choice([1, 1, 5, 20])
        yield deals[place : place + size]
        place += size


def break_something(sandbox: Sandbox, history: History, rng: Random) -> None:
    for _ in range(rng.choice([0, 0, 1, 2])):
        sandbox.stigg_server.fail(**rng.choice(STIGG_FAULTS), about=history.account)  # type: ignore[arg-type]
    if rng.random() < 0.15:
        sandbox.salesforce_server.fail(**rng.choice(SALESFORCE_FAULTS), about=history.account)  # type: ignore[arg-type]


def come_to_rest(sandbox: Sandbox, histories: list[History], until: datetime) -> None:
    """The instants have come, who is asked approves, and the sweep runs until it changes nothing any more."""
    sandbox.wait_until_idle(180)
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))
    sandbox.stigg_server.heal()
    sandbox.salesforce_server.heal()
    for _ in range(MOST_PASSES):
        approve(sandbox, [history for history in histories if history.approves])
        now = round(time.time() * 1000)
        due = [history for history in histories if due_now(customer(sandbox, history), now)]
        before = len(sandbox.stigg_server.exchanges), len(sandbox.salesforce_server.exchanges)
        time_passes(sandbox, *(history.account for history in due))
        sandbox.aws.run_schedule("SweepFunctionSchedule")
        sandbox.wait_until_idle(180)
        written = [e for e in sandbox.stigg_server.exchanges[before[0] :] if e.method != "GET"]
        written += sandbox.salesforce_server.exchanges[before[1] :]
        if not written:
            return
    seeds = [history.seed for history in due]
    raise AssertionError(f"not quiet after {MOST_PASSES} passes: {seeds} are due; the last one wrote {written}")


def due_now(known: Customer, now: int) -> bool:
    """Whether the sweep has something to do for a customer, were backoffs, leases and pauses over."""
    if known.due_at is None:
        return False
    again = known.look_again_at
    return again is None or again <= now + STIGG_FIRST or known.due_at != again


def approve(sandbox: Sandbox, histories: Iterable[History]) -> None:
    approvals = [
        {"organizationId": ORGANIZATION, "opportunityId": id, "approval": state.outcome.approval}
        for history in histories
        for id, state in customer(sandbox, history).opportunities.items()
        if state.outcome.approval
    ]
    if approvals:
        answer = requests.post(
            f"{sandbox.aws.callout_url}/v1/approvals",
            json={"approvals": approvals},
            headers={"x-api-key": sandbox.callout_key},
            timeout=60,
        )
        assert answer.status_code == 202, answer.text
        sandbox.wait_until_idle(180)


# Judging


def customer(sandbox: Sandbox, history: History) -> Customer:
    """The customer in the ledger, whole."""
    ledger = Ledger(sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb"))
    return ledger.customer(history.account)


def faults_of(sandbox: Sandbox, history: History, foreign: Json | None) -> Iterator[str]:
    """What is not as the deals say."""
    known = customer(sandbox, history)
    now = round(time.time() * 1000)
    if history.contradicts:  # what had begun first does not yield: the ledger knows what that was
        agreement = Agreement(known.histories, world_of(known, CATALOGUE, POLICY, now))
    else:
        agreement = agreed(history.standings(), CATALOGUE, POLICY, now)
    desired = agreement.desired()
    links = Backlinks(sandbox.salesforce_server.url, history.account, STIGG_INTEGRATION)
    everything = sandbox.stigg.subscriptions(history.account)
    live = [s for s in everything if s["status"] in LIVE]
    records = {Slot.of_key(key): record for key, record in known.slots.items()}
    actual = [actual_of(subscription, CATALOGUE) for subscription in everything]
    again = plan(history.account, desired, actual, records, POLICY, links, now, known.approved, known.grants)
    held = {hold.slot for hold in again.holds}

    if again.changes or again.grants:
        yield f"planned again, there is something to do: {again.changes} {again.grants}"
    if held and not history.contradicts:
        yield f"something waits for somebody: {again.holds}"
    yield from _statuses(sandbox, history, known, desired, {id for hold in again.holds for id in hold.opportunities})
    yield from _slots(live)
    if foreign is not None:
        if foreign not in everything and not (history.contradicts and history.approves):
            yield "the subscription somebody else made was touched"
        live = [s for s in live if s["id"] != foreign["id"]]
    yield from _subscriptions(live, desired, links, held)
    yield from _grants(sandbox, history, desired)


def _statuses(
    sandbox: Sandbox, history: History, known: Customer, desired: Desired, waiting: set[str]
) -> Iterator[str]:
    """Every opportunity has the status the fold gives it, in the ledger and in Salesforce."""
    if known.opportunities.keys() != history.newest.keys():
        yield f"opportunities known: {sorted(known.opportunities)}"
    for id, state in known.opportunities.items():
        status, reason = state.outcome.status, state.outcome.reason
        record = sandbox.provisioning(id) or {}
        if (record.get("Status__c"), record.get("Reason__c") or "") != (status, reason):
            yield f"{id}: Salesforce shows {record.get('Status__c')} {record.get('Reason__c')}, not {status} {reason}"
        if (status == "Failed") != (id in desired.refused):
            yield f"{id} is {status} ({reason}); refused are {desired.refused}"
        if id in desired.held and status != "Held":
            yield f"{id} is {status} ({reason}); held are {desired.held}"
        if status == "Held" and id not in desired.held and id not in waiting:
            yield f"{id} is {status} ({reason}); held are {desired.held}"
        if status == "Provisioning":
            yield f"{id} is {status}"
    if sandbox.salesforce.get("Account", history.account)["Stigg_Customer_ID__c"] != known.shown_id:
        yield "the account shows another customer"


def _slots(live: list[Json]) -> Iterator[str]:
    paid = [(s["productId"], s["resourceId"]) for s in live if s["status"] == "ACTIVE"]
    if len(set(paid)) != len(paid):
        yield f"two paid subscriptions in one slot: {paid}"


def _subscriptions(live: list[Json], desired: Desired, links: Backlinks, held: set[Slot]) -> Iterator[str]:
    """What stands is what should; a trial that was won may last until the paid subscription stands and has
    started.
    """
    standing: dict[Slot, Json] = {}
    for s in live:
        slot = Slot(s["productId"], s["resourceId"], bool(s["trial"]) and s["status"] in ("IN_TRIAL", "NOT_STARTED"))
        if slot in standing:
            yield f"two subscriptions in {slot}"
        standing[slot] = s
    for slot in standing.keys() - desired.subscriptions.keys() - held:
        paid_slot = slot._replace(trial=False)
        paid = desired.subscriptions.get(paid_slot)
        lasts = paid is not None and (paid_slot in held or standing[slot]["trialEndDate"] == paid.to_json()["start"])
        if not (slot.trial and lasts):
            yield f"{slot} stands, and no deal gives it: {standing[slot]}"
    for slot, wanted in desired.subscriptions.items():
        s = standing.get(slot)
        if slot in held:
            continue
        if s is None:
            if wanted.cancellation != EndOfBillingPeriod():
                yield f"{slot} does not stand: {wanted}"
            continue
        said, is_so = _said(wanted, links), _shown(s)
        differs = [f"{name} is {is_so[name]}, not {said[name]}" for name in said if said[name] != is_so[name]]
        if not said["metadata"].items() <= is_so["metadata"].items():
            differs.append("links")
        elif differs and differs[-1].startswith("metadata"):
            differs.pop()
        if wanted.cancellation == EndOfBillingPeriod() and s["cancellationDate"]:
            differs = [what for what in differs if not what.startswith("cancellation")]
        if s["status"] == "NOT_STARTED" and s["startDate"] != (start := wanted.to_json()["start"]):
            differs.append(f"starts {s['startDate']}, not {start}")
        if differs:
            yield f"{slot} {s['id']}: {'; '.join(differs)}"


def _said(wanted: Subscription, links: Backlinks) -> Json:
    stored = wanted.to_json()
    return {
        "plan": wanted.plan_id,
        "units": wanted.unit_quantity,
        "addons": dict(wanted.addons),
        "entitlements": {e.id: entitlement_body(e) for e in wanted.entitlements},
        "prices": {p.addon_id: (p.amount, p.currency) for p in wanted.prices},
        "billing period": wanted.billing_period,
        "cancellation": stored["cancellation"],
        "trial end": stored["trial_end"],
        "salesforce ID": wanted.opportunities[0],
        "metadata": metadata_of(wanted, links),
    }


def _shown(s: Json) -> Json:
    return {
        "plan": s["planId"],
        "units": s["unitQuantity"] or 1,
        "addons": {addon["id"]: addon["quantity"] for addon in s["addons"]},
        "entitlements": {e["id"]: e for e in s["entitlements"]},
        "prices": {p.get("addonId"): (p["amount"], p["currency"]) for p in s["priceOverrides"]},
        "billing period": s["billingPeriod"],
        "cancellation": s["cancellationDate"],
        "trial end": s["trialEndDate"] if s["status"] != "ACTIVE" else None,  # one that converted remembers its own
        "salesforce ID": s["salesforceId"],
        "metadata": s["metadata"],
    }


def _grants(sandbox: Sandbox, history: History, desired: Desired) -> Iterator[str]:
    """Every grant of a deal in force, once; and none twice that a deal gave before it was replaced."""
    given = [
        (grant["metadata"]["salesforceOpportunityId"], grant["currencyId"])
        for grant in sandbox.stigg.grants(history.account)
    ]
    wanted = {(grant.opportunity_id, grant.currency_id) for grant in desired.grants}
    if len(set(given)) != len(given) or not wanted <= set(given) <= history.grants():
        yield f"credits granted: {given}; by the deals: {wanted}"
