"""A customer whose deals are played through the contract model alone: no ledger, no Stigg, no network.

What the product does around the model is played here in its simplest form: what becomes due is provisioned at once, and
Stigg's billing periods go from the start of the subscription that runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.agreement import Agreement, Lapse
from closedwon.domain.contract.contracts import Learned
from closedwon.domain.contract.facts import History, Reading, begin, record, settle
from closedwon.domain.contract.standing import World
from closedwon.domain.desired import Desired, Policy, Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Instant, from_iso, instant_of, starting
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import MappingRules, compile_deal, revision_of
from unit.domain import CATALOGUE, ORGANIZATION, POLICY, RULES

Json = dict[str, Any]

STORIES = Path(__file__).parents[1] / "data" / "stories"

BEFORE = instant_of(datetime(2020, 1, 1, tzinfo=UTC))
"""When clocks start: before every deal."""

PARAMETERS = {"EndOfTermPolicy": "end_of_term", "GraceDays": "grace_days", "ReopenedDealPolicy": "reopened_deal"}
"""The parameters of stories, and the policies they are."""


def reading_of(deal: Json, rules: MappingRules) -> Reading:
    """A deal as the callout sends it, as a reading."""
    read = Deal.model_validate(deal)
    return Reading(compile_deal(read, rules), revision_of(read))


@dataclass
class Life:
    """One customer's life. now: where the clock stands."""

    policy: Policy = POLICY
    rules: MappingRules = RULES
    catalogue: Catalogue = CATALOGUE
    now: Instant = BEFORE
    histories: dict[str, History] = field(default_factory=dict)
    ends: dict[tuple[Any, Slot], Instant] = field(default_factory=dict)
    products: dict[str, str] = field(default_factory=dict)
    approvals: frozenset[str] = frozenset()
    running: dict[Slot, tuple[str, Instant]] = field(default_factory=dict)
    granted: dict[str, int] = field(default_factory=dict)

    def world(self) -> World:
        learned = Learned(dict(self.ends), (), dict(self.products))
        return World(self.catalogue, self.policy, self.now, learned, self.approvals)

    def agreement(self) -> Agreement:
        return Agreement(list(self.histories.values()), self.world())

    def send(self, *deals: Json) -> Agreement:
        """Record deals, and provision what follows."""
        for deal in deals:
            reading = reading_of(deal, self.rules)
            id = reading.order.opportunity_id
            self.histories[id] = record(self.histories.get(id), reading)
        return self.provision()

    def preview(self, *deals: Json) -> Agreement:
        """What would follow if deals were sent."""
        other = replace(self, histories=dict(self.histories), running=dict(self.running), granted=dict(self.granted))
        for deal in deals:
            reading = reading_of(deal, self.rules)
            id = reading.order.opportunity_id
            other.histories[id] = record(other.histories.get(id), reading)
        return other.agreement()

    def approve(self, id: str) -> str | None:
        """Approve what is held of a deal, as it stands. Out: why that is not possible."""
        hold = self.agreement().held.get(OpportunityId(id))
        if hold is None or hold.approval is None:
            return f"nothing of {id} waits for an approval"
        self.approvals |= {hold.approval}
        self.provision()
        return None

    def wait(self, until: Instant) -> Agreement:
        """Let time pass: what is due on a day is provisioned on that day."""
        while (change := self.agreement().next_change(starting(self.now))) is not None and change <= until:
            self.now = change
            self.provision()
        self.now = max(self.now, until)
        return self.provision()

    def provision(self) -> Agreement:
        """Bring about what is agreed: Stigg's part, and what the ledger remembers of it."""
        agreement = self.agreement()
        while new := [lapse for lapse in agreement.lapses if (lapse.cancellation, lapse.slot) not in self.ends]:
            known = {lapse: end for lapse in new if (end := self._period_end(lapse, agreement)) is not None}
            if not known:
                break
            self.ends |= {(lapse.cancellation, lapse.slot): end for lapse, end in known.items()}
            agreement = self.agreement()
        desired = agreement.desired()
        for slot in list(self.running):
            found = desired.subscriptions.get(slot)
            if found is None or starts(found.start, self.now) > self.now:
                del self.running[slot]
        for slot, found in desired.subscriptions.items():
            if starts(found.start, self.now) <= self.now and self.running.get(slot, ("",))[0] != found.plan_id:
                self.running[slot] = (found.plan_id, starts(found.start, self.now))
        self.granted |= {grant.key: grant.amount for grant in desired.grants}
        for id, contribution in agreement.settles.items():
            self.histories[id] = settle(self.histories[id], contribution)
        for id in agreement.begun:
            if self.histories[id].settled is not None:
                self.histories[id] = begin(self.histories[id])
        self.products |= agreement.products
        return agreement

    def _period_end(self, lapse: Lapse, agreement: Agreement) -> Instant | None:
        """The end of the billing period that was under way: months or years from the start of what runs."""
        if lapse.slot not in self.running:
            return None
        subscription = agreement.subscription(lapse.slot, starting(self.now))
        months = 12 if subscription is not None and subscription.billing_period == "ANNUALLY" else 1
        start, periods = self.running[lapse.slot][1], 1
        while (end := after_months(start, periods * months)) <= lapse.since:
            periods += 1
        return end

    @property
    def desired(self) -> Desired:
        return self.agreement().desired()


def starts(start: Instant | None, now: Instant) -> Instant:
    return now if start is None else start


def after_months(start: Instant, months: int) -> Instant:
    """A day some months later; of a shorter month, its last."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    for day in range(start.day, 0, -1):
        try:
            return instant_of(start.replace(year=year, month=month + 1, day=day))
        except ValueError:
            continue
    raise AssertionError


def story(path: Path) -> Json:
    """A story's content."""
    found: Json = json.loads(path.read_text())
    return found


def life_of(content: Json) -> Life:
    """A customer under a story's parameters."""
    given = {PARAMETERS[name]: value for name, value in content["parameters"].items() if name in PARAMETERS}
    zone = content["timeZone"]
    return Life(Policy(**given, time_zone=zone), MappingRules(ORGANIZATION, time_zone=zone))


def look(life: Life) -> Json:
    """What a customer has, as `simulate --json` shows it."""
    agreement = life.agreement()
    shown = []
    for slot, found in agreement.desired().subscriptions.items():
        if found.start is not None and found.start > life.now:
            continue
        shown.append(
            {
                "productId": slot.product_id,
                "planId": found.plan_id,
                "resourceId": slot.resource_id,
                "trial": slot.trial,
                "units": found.unit_quantity,
                "addons": dict(found.addons),
                "entitlements": {
                    e.id: "unlimited" if e.unlimited else True if e.limit is None else e.limit
                    for e in found.entitlements
                },
                "charges": dict(found.charges),
                "prices": {price.of or "plan": price.amount for price in found.prices},
                "startDate": starts(found.start, life.now).isoformat(),
            }
        )
    deals = {}
    for id, status in agreement.statuses().items():
        refused = agreement.refused.get(id)
        code = status.hold.code if status.hold is not None else refused[0].code if refused else ""
        deals[id] = {"status": status.kind, "code": code, "why": status.why}
    return {"subscriptions": shown, "deals": deals, "credits": [{"amount": a} for a in life.granted.values()]}


def differences(seen: Json, expect: Json) -> list[str]:
    """What of a look is not as it is expected: as the stories' own check compares."""
    wrong: list[str] = []
    by_slot = {(s["resourceId"], s["planId"], s["trial"]): s for s in seen["subscriptions"]}
    if "subscriptions" in expect:
        wanted = {(s.get("resourceId"), s["planId"], bool(s.get("trial"))): s for s in expect["subscriptions"]}
        if by_slot.keys() != wanted.keys():
            wrong.append(f"stands: expected {sorted(map(str, wanted))}, seen {sorted(map(str, by_slot))}")
        for key in by_slot.keys() & wanted.keys():
            for name in ("units", "addons", "entitlements", "charges"):
                have = by_slot[key][name]
                have = {i: v for i, v in have.items() if v is not True} if name == "entitlements" else have
                if name in wanted[key] and have != wanted[key][name]:
                    wrong.append(f"{key[1]} {name}: expected {wanted[key][name]}, seen {have}")
    for name, fits in (("prices", True), ("pricesNot", False)):
        for one in expect.get(name, ()):
            amounts = [s["prices"].get(one["of"]) for s in _of_product(by_slot.values(), one)]
            equal = any(amount is not None and abs(amount - one["amount"]) <= 1e-3 for amount in amounts)
            if equal != fits:
                wrong.append(f"price of {one['of']}: {name} {one['amount']}, seen {amounts}")
    for one in expect.get("startDates", ()):
        dates = [s["startDate"][:10] for s in _of_product(by_slot.values(), one)]
        if one["date"] not in dates:
            wrong.append(f"start: expected {one['date']}, seen {dates}")
    for id, one in expect.get("deals", {}).items():
        said = seen["deals"].get(id, {})
        for name in ("status", "code"):
            if name in one and said.get(name) not in one[name].split("|"):
                wrong.append(f"deal {id}: expected {name} {one[name]}, seen {said}")
    if "credits" in expect and sorted(c["amount"] for c in seen["credits"]) != sorted(expect["credits"]):
        wrong.append(f"credits: expected {expect['credits']}, seen {seen['credits']}")
    return wrong


def _of_product(subscriptions: Iterable[Json], one: Mapping[str, Any]) -> list[Json]:
    return [
        s
        for s in subscriptions
        if one.get("product") in (None, s["productId"]) and one.get("planId") in (None, s["planId"])
    ]


def play(content: Json) -> list[str]:
    """Play a story. Out: what does not agree with it."""
    life, wrong = life_of(content), []
    for event in content["events"]:
        life.wait(from_iso(event["at"]))
        found: list[str] = []
        if "deals" in event:
            life.send(*event["deals"])
        elif "preview" in event:
            foreseen = life.preview(*event["preview"])
            held = [f"{hold.code} {hold.facts.get('term', '')}" for hold in foreseen.held.values()]
            problems = [f"{one.code} {one}" for some in foreseen.refused.values() for one in some]
            said = " ".join((*held, *problems)).replace("_", " ").lower()
            found = [] if any(word in said for word in _words(event["warns"])) else [f"preview says {said!r}"]
        elif "approve" in event:
            refused = life.approve(event["approve"])
            found = [refused] if refused else []
        else:
            found = differences(look(life), event["expect"])
        wrong += [f"{event['at']}: {one}" for one in found]
    return wrong


def _words(warns: str) -> list[str]:
    """What a preview has to say, in the words of codes."""
    return [
        one.lower().replace("_", " ").replace("payment collection cannot change", "cannot change")
        for one in warns.split("|")
    ]
