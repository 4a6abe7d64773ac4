"""A customer's whole life without AWS and HTTP: deals as Salesforce sends them, the product's own rules, the sandbox's
Stigg, and a clock that is moved.

What happens between is the product's: `accept`, `fold`, `plan`, `outcome.applied`, `record_result`, with everything
the ledger keeps going through its JSON. Stigg is the stand-in: strict, it refuses what Stigg refuses, and a refusal
nobody expects fails the test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from closedwon.domain.acceptance import Arrival, accept, approve
from closedwon.domain.changes import Change, Create, End
from closedwon.domain.codes import Facts
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.customer import Customer, OpportunityState
from closedwon.domain.desired import Policy, Slot
from closedwon.domain.endings import after_end, ending_of
from closedwon.domain.identifiers import CustomerId, SubscriptionId
from closedwon.domain.instants import instant_of
from closedwon.domain.lease import Work, acquire_lease
from closedwon.domain.marks import Backlinks
from closedwon.domain.outcome import applied
from closedwon.domain.planned import Planned, planned, records_of
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.results import Intended, Written, record_result
from closedwon.domain.world import world_of
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import compile_deal, revision_of
from closedwon.stigg.answers import actual_of
from closedwon.stigg.bodies import end_call, grant_body, provision_body, update_body
from closedwon.words.reasons import told
from sandbox.stigg import changing, models, provisioning
from sandbox.stigg.catalogue import sandbox_catalogue
from sandbox.stigg.errors import Refused
from sandbox.stigg.service import Service
from sandbox.stigg.state import Subscription as Held
from unit.domain import ACCOUNT, AT, CATALOGUE, POLICY, RULES, Json, day, opportunity_id

CUSTOMER = CustomerId(ACCOUNT)
LINKS = Backlinks("https://northwind.my.salesforce.com", ACCOUNT)
LEASE = 60_000


class World:
    """One customer in the ledger and in Stigg. now: epoch milliseconds.

    dies: whether every step dies once between Stigg's write and the ledger's, and is tried again.
    """

    def __init__(self, policy: Policy = POLICY, now: int = AT, *, dies: bool = False, charged: bool = True) -> None:
        self.policy = policy
        self.now = now
        self.dies = dies
        self.customer = Customer(ACCOUNT)
        self.stigg = Service(sandbox_catalogue())
        self.stigg.catch_up(self._clock)
        for id in (ACCOUNT, "holding"):
            self.stigg.provision_customer(models.read(models.CustomerProvision, json.dumps({"id": id}).encode()))
            if charged:
                self.stigg.attach_payment_method(id)
        self.writes: list[Change] = []
        self.refusals: list[str] = []

    @property
    def _clock(self) -> datetime:
        return datetime.fromtimestamp(self.now / 1000, UTC)

    def send(self, *deals: Json) -> list[str]:
        """Deals arrive, in one request. Out: the answers."""
        read = [Deal.model_validate(deal) for deal in deals]
        arrivals = [Arrival(compile_deal(deal, RULES), revision_of(deal)) for deal in read]
        self.customer, answers = accept(self.customer, arrivals, self.now)
        return [answer.status for answer in answers]

    def until(self, now: int) -> None:
        """Time passes. The sweep starts what is due, when it is due."""
        while (due := self.customer.look_again_at) is not None and due <= now:
            self.now = max(self.now, due)
            self.stigg.catch_up(self._clock)
            self.provision()
            assert self.customer.look_again_at is None or self.customer.look_again_at > due
        self.now = max(self.now, now)
        self.stigg.catch_up(self._clock)

    def approve(self, number: int) -> None:
        """Somebody approves what holds a deal."""
        state = self.customer.opportunities[opportunity_id(number)]
        assert state.outcome.approval
        self.customer, said, _ = approve(self.customer, state.order.opportunity_id, state.outcome.approval, self.now)
        assert said == "approved"
        self.provision()

    def agreed(self) -> Agreement:
        """What its deals come to now."""
        customer = self.customer
        return Agreement(customer.histories, world_of(customer, CATALOGUE, self.policy, self.now))

    def planned(self) -> Planned:
        held = [subscription.json(self._clock) for subscription in self.stigg.book.subscriptions.values()]
        actual = [actual_of(json.loads(json.dumps(one)), CATALOGUE) for one in held]
        return planned(self.customer, self.agreed(), actual, LINKS)

    def _records(self) -> dict[Slot, SlotRecord]:
        return records_of(self.customer)

    def provision(self) -> None:
        """One execution, from the lease to Salesforce, and the next where it says at once. Right after it, nothing is
        left to do.
        """
        executions = 0
        while executions == 0 or (self.customer.look_again_at is not None and self.customer.look_again_at <= self.now):
            if self.dies:
                self.step(remembers=False)
            self.step(remembers=True)
            executions += 1
            assert executions <= 2 + len(self.customer.opportunities)
        again = self.planned().plan
        refused = any(state.outcome.code == "refused_by_stigg" for state in self.customer.opportunities.values())
        assert refused or not (again.changes or again.grants), again

    def step(self, remembers: bool) -> None:
        """One try of an execution's steps. remembers: whether it lives to record what it wrote."""
        self.customer, work = acquire_lease(self.customer, "execution", 0, self.now, LEASE)
        if not isinstance(work, Work):
            return
        found = self.planned()
        to_do = found.plan
        raised = {c.subscription.slot.key: c.generation for c in to_do.changes if isinstance(c, Create)}
        new = {g.key: GrantRecord(g.amount) for g in to_do.grants if g.key not in self.customer.grants}
        self._settle(work, Intended(raised, new))
        records = dict(found.records)
        for key, generation in raised.items():
            slot = Slot.of_key(key)
            records[slot] = replace(records.get(slot, SlotRecord()), generation=generation, made=False)
        for keep in to_do.kept:
            records[keep.subscription.slot] = replace(
                records.get(keep.subscription.slot, SlotRecord()),
                made=True,
                subscription_id=keep.subscription_id,
                status=keep.status,
                payment=keep.payment,
                applied=keep.subscription,
            )
        refusals: dict[Slot, Facts] = {}
        for change in to_do.changes:
            slot = change.slot if isinstance(change, End) else change.subscription.slot
            try:
                records[slot] = self._make(change, records)
            except Refused as refusal:
                refusals[slot] = Facts({"plan": slot.product_id, "said": refusal.message})
        grants = dict(self.customer.grants)
        for grant in to_do.grants:
            made = next((g.id for g in self.stigg.book.grants.values() if g.fields["displayName"] == grant.key), None)
            if made is None:
                body = {**grant_body(CUSTOMER, grant), "displayName": grant.key}
                made = self.stigg.grant_credits(models.read(models.GrantCreate, json.dumps(body).encode())).id
            grants[grant.key] = GrantRecord(grants[grant.key].amount, made)
        if remembers:
            done = applied(self.customer, found, records, refusals, self.now, grants)
            self._settle(work, done)
            self.writes += to_do.changes
            self.refusals += (str(refusal["said"]) for refusal in refusals.values())
        shown = {id: self.customer.opportunities[id].mark(self.customer.shown_id) for id in self.customer.unwritten}
        self._settle(work, Written(shown, account=True))
        self.customer = replace(self.customer, lease=None)

    def _settle(self, work: Work, report: Any) -> None:
        customer, _ = record_result(self.customer, work, report, self.now)
        kept = json.loads(
            json.dumps(
                {
                    "slots": {key: record.to_json() for key, record in customer.slots.items()},
                    "grants": {key: asdict(record) for key, record in customer.grants.items()},
                    "opportunities": {id: state.to_json() for id, state in customer.opportunities.items()},
                }
            )
        )
        self.customer = replace(
            customer,
            slots={key: SlotRecord.from_json(record) for key, record in kept["slots"].items()},
            grants={key: GrantRecord(**record) for key, record in kept["grants"].items()},
            opportunities={id: OpportunityState.from_json(state) for id, state in kept["opportunities"].items()},
        )
        assert (self.customer.slots, self.customer.grants) == (customer.slots, customer.grants)
        assert self.customer.opportunities == customer.opportunities

    def _make(self, change: Change, records: Mapping[Slot, SlotRecord]) -> SlotRecord:
        """One change, as subscription_provision makes it."""
        if isinstance(change, End):
            record = records[change.slot]
            ending = ending_of(change, records.get(change.after) if change.after else None, instant_of(self._clock))
            if ending is None:
                return record
            kind, body = end_call(ending)
            sent = json.dumps(body).encode()
            if kind == "cancel":
                held = changing.cancel(self.stigg, change.subscription_id, models.read(models.SubscriptionCancel, sent))
            else:
                held = changing.update(self.stigg, change.subscription_id, models.read(models.SubscriptionUpdate, sent))
            return after_end(record, ending, held.status)
        record = records.get(change.subscription.slot, SlotRecord())
        if isinstance(change, Create):
            record = replace(record, generation=change.generation)
            body = json.loads(json.dumps(provision_body(CUSTOMER, change, LINKS, paid=False)))
            held = provisioning.provision(
                self.stigg, models.read(models.SubscriptionProvision, json.dumps(body).encode())
            )
        else:
            held = changing.update(
                self.stigg,
                change.subscription_id,
                models.read(models.SubscriptionUpdate, json.dumps(update_body(change, LINKS)).encode()),
            )
        return SlotRecord(record.generation, True, SubscriptionId(held.id), held.status, None, change.subscription)

    # What people see

    def access(self) -> list[str]:
        """What the customer has in Stigg now or is about to get, a line for each subscription."""
        held = [s for s in self.stigg.book.subscriptions.values() if not s.ended]
        return sorted(_shown(subscription) for subscription in held)

    def said(self, number: int) -> str:
        """What Salesforce shows on a deal: status and reason."""
        outcome = self.customer.opportunities[opportunity_id(number)].outcome
        reason = told(outcome)
        return f"{outcome.status}: {reason}" if reason else outcome.status

    def granted(self) -> list[tuple[str, float]]:
        return [(grant.currency_id, grant.amount) for grant in self.stigg.book.grants.values()]


def _shown(held: Held) -> str:
    """A subscription in one line: ``[eu] trial until 2026-12-15: per-seat x3 at 20, 20 seats, 2 data-export``."""
    prices = {price.get("addonId") or price.get("featureId"): price["amount"] for price in held.price_overrides}
    by_unit = held.plan.unit_feature

    def at(of: str | None) -> str:
        return f" at {prices[of]:g}" if of in prices else ""

    units = f" x{held.units}" if held.units not in (None, 1) else ""
    parts = [f"{held.plan.id.removeprefix('plan-')}{units}{at(by_unit if held.units else None)}"]
    for charge in sorted(held.charges, key=lambda c: str(c["id"])):
        if charge["id"] != by_unit and charge["quantity"]:
            parts.append(f"{charge['quantity']:g} {charge['id'].removeprefix('feature-')} charged{at(charge['id'])}")
    for entitlement in sorted(held.entitlements, key=lambda e: str(e["id"])):
        name = entitlement["id"].removeprefix("feature-").removeprefix("currency-")
        amount = entitlement.get("usageLimit", entitlement.get("amount"))
        amount = "unlimited" if entitlement.get("hasUnlimitedUsage") else amount
        parts.append(name if amount is None else f"{amount} {name}")
    for addon in sorted(held.addons, key=lambda a: str(a["id"])):
        parts.append(f"{addon['quantity']} {addon['id'].removeprefix('addon-')}{at(addon['id'])}")
    if held.coupon:
        parts.append(f"coupon {held.coupon['id']}")
    if held.budget:
        parts.append(f"budget {held.budget['limit']:g}")
    if held.minimum_spend:
        parts.append(f"at least {held.minimum_spend['amount']:g}")
    if held.paying_customer_id:
        parts.append(f"paid by {held.paying_customer_id}")
    when = f"from {day(held.start_date)} " if held.status == "NOT_STARTED" else ""
    end = held.trial_end_date if held.is_trial else held.cancellation_date
    when += f"until {day(end)} " if end else ""
    kind = "trial " if held.is_trial else "unpaid " if held.status == "PAYMENT_PENDING" else ""
    said = f"{kind}{when}".strip()
    resource = f"[{held.resource_id}] " if held.resource_id else ""
    return f"{resource}{said}{': ' if said else ''}{', '.join(parts)}"
