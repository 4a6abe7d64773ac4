"""Made-up customers for the fault campaign: what is sold to each over time, in Salesforce and as callouts say it.

A customer is made from its seed alone, but for the day it is played on. What deals mean is not said here: `oracle`
decides that. What is made up stays within what the oracle decides: deals of one customer do not contradict each other.
Nothing of the product is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from sandbox.salesforce.ids import to_18

Json = dict[str, Any]

PLATFORM, ANALYTICS = "product-platform", "product-analytics"
PLANS = {PLATFORM: ("plan-enterprise", "plan-enterprise-plus"), ANALYTICS: ("plan-analytics",)}
SLOTS = ((PLATFORM, None), (ANALYTICS, None), (PLATFORM, "workspace-1"), (ANALYTICS, "workspace-1"))
SEATS, CALLS, SSO, STORAGE = "feature-seats", "feature-api-calls", "feature-sso", "feature-storage-gb"
SUPPORT, WORKSPACE, EXPORT = "addon-premium-support", "addon-extra-workspace", "addon-data-export"
CREDITS = "currency-ai-credits"
PAID = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}
TRIAL_STAGE = "Proposal/Price Quote"

SOONEST, LATEST = 8.0, 45.0
"""Between these seconds from the beginning lie the instants that come while a customer is played."""

FIELDS = {
    "start": "Stigg_Start_Date__c",
    "end": "Stigg_End_Date__c",
    "billingPeriod": "Stigg_Billing_Period__c",
    "paymentCollection": "Stigg_Payment_Collection__c",
    "trialEnd": "Stigg_Trial_End_Date__c",
}


@dataclass
class Save:
    """A save in Salesforce, and the callout it causes. wave: waves are played one after another; within one, everything
    arrives in any order. told: whether Salesforce's fields say all that the callout does, so that the deal can be read
    there. first: whether the opportunity was never sent before.
    """

    deal: Json
    wave: int
    stage: str
    told: bool
    first: bool
    contract: bool = False

    @property
    def opportunity(self) -> str:
        return str(self.deal["opportunity"]["id"])


@dataclass
class Customer:
    """One customer. newest: of each opportunity; before: what an opportunity's newest deal was preceded by, where it
    matters what stood. foreign: a subscription somebody else made, as the stand-in takes it. approves: opportunities
    whose hold somebody approves.
    """

    seed: int
    account: str
    history: int = 0
    saves: list[Save] = field(default_factory=list)
    newest: dict[str, Json] = field(default_factory=dict)
    before: dict[str, Json] = field(default_factory=dict)
    foreign: Json | None = None
    approves: set[str] = field(default_factory=set)
    contracts: dict[str, str] = field(default_factory=dict)

    def told(self) -> list[str]:
        """What was sold, for people: a line for each save."""
        return [
            f"wave {s.wave}: {s.opportunity} {s.deal['trigger']} amends={s.deal.get('amends')} "
            f"resource={s.deal.get('resourceId')} {s.deal['terms']} "
            + ", ".join(
                f"{line['stiggId']} {line.get('quantity')}"
                + (f" from {line['start']}" if line.get("start") else "")
                + (f" until {line['end']}" if line.get("end") else "")
                for line in s.deal["lines"]
            )
            for s in self.saves
        ]


def make(seed: int, began: datetime, organization: str) -> Customer:
    """Make a customer. began: when it is played."""
    return _Maker(seed, began, organization).customer


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(stigg_type: str, stigg_id: str, quantity: int | None = 1, **more: Any) -> Json:
    return {
        "stiggType": stigg_type,
        "stiggId": stigg_id,
        **({} if quantity is None else {"quantity": quantity}),
        **{name: value for name, value in more.items() if value is not None},
    }


def is_day(value: str | None) -> bool:
    return value is None or len(value) == 10


class _Maker:
    """Makes up one customer: times first, so that what comes later in a contract's life takes effect later too."""

    def __init__(self, seed: int, began: datetime, organization: str) -> None:
        self.rng = Random(f"customer {seed}")  # nosec B311 - made-up customers
        self.began, self.organization, self.count = began, organization, 0
        self.customer = Customer(seed, to_18(f"0015g{seed:010d}"))
        slots = self.rng.sample(SLOTS, self.rng.choice([1, 1, 2]))
        for product, resource in slots:
            self.contract(product, resource)
        self.beside_contracts()

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    # Times

    def day(self, days: int) -> str:
        return (self.began + timedelta(days=days)).date().isoformat()

    def soon(self) -> str:
        return iso(self.began + timedelta(seconds=round(self.rng.uniform(SOONEST, LATEST), 1)))

    def times(self, count: int) -> list[str]:
        """Some times in order: days that have passed, instants that come while it is played, days far away."""
        past = {self.day(-self.rng.randint(30, 300)) for _ in range(2 * count)}
        coming = {self.soon() for _ in range(count)}
        far = {self.day(self.rng.randint(50, 300)) for _ in range(count)}
        return sorted(self.rng.sample(sorted(past | coming | far), count))

    # Deals

    def sell(self, trigger: str, lines: list[Json], resource: str | None = None, *, wave: int = 0, **more: Any) -> Json:
        """A deal of an opportunity of its own."""
        self.count += 1
        deal = {
            "organizationId": self.organization,
            "trigger": trigger,
            "opportunity": {
                "id": to_18(f"0065g{self.customer.seed * 50 + self.count:010d}"),
                "name": f"A {trigger}",
                "currencyIsoCode": "USD",
            },
            "account": {"id": self.customer.account, "name": f"Customer {self.customer.seed}"},
            "terms": {},
            "lines": [{"line": place, **each} for place, each in enumerate(lines, 1)],
            **({"resourceId": resource} if resource else {}),
            **more,
        }
        return self.save(deal, wave)

    def save(self, deal: Json, wave: int, *, contract: bool = False) -> Json:
        id = deal["opportunity"]["id"]
        first = id not in self.customer.newest
        cancels = deal["trigger"] == "cancellation"
        stage = {"trial": TRIAL_STAGE, "cancellation": "Closed Lost"}.get(deal["trigger"], "Closed Won")
        told = (
            not deal.get("resourceId")
            and all(is_day(deal["terms"].get(name)) for name in ("start", "end", "trialEnd"))
            and not any(each.get("start") or each.get("end") for each in deal["lines"])
            and deal["terms"].get("cancel") is None
            and not (cancels and (deal["lines"] or not deal.get("amends")))
            and not (deal.get("quantities") == "differences" and deal["amends"] not in self.customer.contracts)
        )
        self.customer.newest[id] = deal
        self.customer.saves.append(Save(deal, wave, stage, told, first, contract))
        return deal

    def revise(self, deal: Json, wave: int, change: Callable[[Json], None]) -> Json:
        """A newer revision, in this wave or a later one: it is saved after all that the opportunity was before."""
        revision = copy.deepcopy(deal)
        change(revision)
        before = (each.wave for each in self.customer.saves if each.opportunity == deal["opportunity"]["id"])
        return self.save(revision, max((wave, *before)))

    def units(self, deal: Json, id: str) -> int:
        return sum(each["quantity"] for each in deal["lines"] if each["stiggId"] == id)

    # What is sold

    def lines(self, plan_id: str) -> list[Json]:
        """All there is of a plan."""
        rng = self.rng
        units = rng.randint(2, 9) if self.maybe(0.1) else 1
        found = [line("Plan", plan_id, units, price=48_000 if self.maybe(0.5) else None)]
        found.append(line("Entitlement", SEATS, rng.randint(60, 200)))
        if plan_id == "plan-analytics":
            return found + ([line("Add-on", EXPORT, rng.randint(2, 6), price=800)] if self.maybe(0.5) else [])
        optional = [
            line("Add-on", SUPPORT),
            line("Add-on", WORKSPACE, rng.randint(6, 12), price=1200),
            line("Entitlement", CALLS, rng.randint(1, 9) * 1_000_000, resetPeriod="MONTH"),
            line("Entitlement", SSO, None, unlimited=True),
            line("Credit entitlement", CREDITS, rng.randint(1, 5) * 1000),
        ]
        found += [each for each in optional if self.maybe(0.5)]
        if self.maybe(0.2):  # a ramp: another amount from a day on
            step = self.day(rng.choice([-20, 60]))
            found.append(line("Entitlement", STORAGE, 500, end=step))
            found.append(line("Entitlement", STORAGE, rng.choice([450, 900]), start=self.next_day(step)))
        return found

    @staticmethod
    def next_day(day: str) -> str:
        return (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()

    def contract(self, product: str, resource: str | None) -> None:
        """The life of one contract: perhaps a trial, a base, amendments, a renewal, an end."""
        rng = self.rng
        times = self.times(6)
        lines = self.lines(rng.choice(PLANS[product]))
        terms = {**PAID, **({"start": times[0]} if self.maybe(0.6) else {})}
        ends = {"end": self.day(330)} if self.maybe(0.5) else {}
        base = self.base(lines, resource, {**terms, **ends})
        if base is None:
            return
        if self.maybe(0.25):
            base["lines"].append({"line": 90, **line("Credit grant", CREDITS, 1000, price=0.01)})
        self.customer.contracts[base["opportunity"]["id"]] = to_18(f"8005g{self.customer.seed * 50 + self.count:010d}")
        if self.maybe(0.2):
            base["contractId"] = self.customer.contracts[base["opportunity"]["id"]]
        kind = rng.choices(["plain", "amended", "guarded", "cancelled now", "reopened", "own"], [2, 12, 2, 2, 1, 1])[0]
        if kind == "amended":
            self.life(base, product, times, bool(ends))
        elif kind == "guarded" and not any(each.get("start") or each.get("end") for each in base["lines"]):
            self.shrink(base, times)
        elif kind == "cancelled now" and self.in_force(base):
            self.sell("cancellation", [], amends=base["opportunity"]["id"], terms={"cancel": "now"})
        elif kind in ("reopened", "own") and self.in_force(base):
            self.customer.before[base["opportunity"]["id"]] = base
            terms = {} if kind == "reopened" else {"cancel": "now"}
            self.revise(base, 2, lambda deal: deal.update(trigger="cancellation", lines=[], terms=terms))
        elif self.maybe(0.4) and not any(each["quantity"] > 1 for each in base["lines"][:1]):
            self.beside(base, product, resource)

    def base(self, lines: list[Json], resource: str | None, terms: Json) -> Json | None:
        """The deal that begins a contract; None where a trial is all there ever is."""
        if self.maybe(0.25):
            trial = self.trial(lines, resource)
            if trial["trigger"] == "cancellation" or self.maybe(0.3):
                return None
            return self.revise(trial, 0, lambda deal: deal.update(trigger="closed_won", terms=terms))
        if self.maybe(0.1):  # what came first was refused, and corrected
            wrong = copy.deepcopy(lines)
            wrong[1]["stiggId"] = "feature-mistyped"
            base = self.sell("closed_won", wrong, resource, terms=terms)
            right = [{"line": place, **each} for place, each in enumerate(lines, 1)]
            return self.revise(base, self.rng.choice([0, 1]), lambda deal: deal.update(lines=right))
        return self.sell("closed_won", lines, resource, terms=terms)

    def in_force(self, base: Json) -> bool:
        """Whether a deal counts from before it was saved."""
        start = base["terms"].get("start")
        return start is None or (is_day(start) and start < self.day(-5))

    def trial(self, lines: list[Json], resource: str | None) -> Json:
        trial = self.sell("trial", lines, resource, terms={"trialEnd": self.day(20)})
        if self.maybe(0.4):
            trial = self.revise(trial, 0, lambda deal: deal["terms"].update(trialEnd=self.day(30)))
        elif self.maybe(0.3):  # over while it is played
            return self.revise(trial, 0, lambda deal: deal["terms"].update(trialEnd=self.soon()))
        if self.maybe(0.25):  # lost
            change = {"trigger": "cancellation", "lines": [], "terms": {"cancel": "now"}}
            return self.revise(trial, 2, lambda deal: deal.update(**change))
        return trial

    def life(self, base: Json, product: str, times: list[str], term: bool) -> None:
        """Amendments, a renewal, an end: each takes effect after the ones before."""
        rng = self.rng
        standing, totals = base, self.totals(base)
        after = times[1:]
        if self.maybe(0.3):
            seats = next(each for each in base["lines"] if each["stiggId"] == SEATS)
            more = rng.choice([5, 50, -4])
            totals[SEATS] += more

            def correct(deal: Json) -> None:
                next(each for each in deal["lines"] if each["stiggId"] == SEATS)["quantity"] = seats["quantity"] + more

            standing = base = self.revise(base, rng.choice([0, 1]), correct)
        for _ in range(rng.choice([0, 1, 1, 2])):
            standing, totals = self.amend(standing, base, totals, after.pop(0))
        if self.maybe(0.35):
            self.renew(base, product, after, term)
        elif self.maybe(0.4):
            self.cancel(base, totals if standing is base else {}, after, term)

    def renew(self, base: Json, product: str, after: list[str], term: bool) -> None:
        terms = {**PAID, "end": self.day(700), "start": after.pop(0)}
        if term and self.maybe(0.3):
            del terms["start"]  # where the old term ends
        if self.maybe(0.5):
            terms["billingPeriod"] = "MONTHLY"
        lines = self.lines(self.rng.choice(PLANS[product]))
        by = self.name_of(base)
        renewal = self.sell("renewal", lines, base.get("resourceId"), terms=terms, amends=by)
        if "start" in terms and self.maybe(0.3):
            self.amend(renewal, renewal, self.totals(renewal), after.pop(0))

    def cancel(self, base: Json, totals: dict[str, int], after: list[str], term: bool) -> None:
        """An end, of all or of a part. totals: what a part can be taken of."""
        amends = self.name_of(base)
        kinds = ["day", "day", "part", *(["end of term"] if term else [])]
        match self.rng.choice(kinds):
            case "end of term":
                self.sell("cancellation", [], amends=amends)
            case "day":
                self.sell("cancellation", [], amends=amends, terms={"end": after.pop(0)})
            case "part" if len(totals) > 1:
                gone = self.rng.choice(sorted(set(totals) - {SEATS}))
                kind = "Add-on" if gone.startswith("addon-") else "Entitlement"
                self.sell("cancellation", [line(kind, gone)], amends=amends, terms={"end": after.pop(0)})

    def name_of(self, deal: Json) -> str:
        """How another deal names one: by its opportunity, or by the contract it became."""
        if deal.get("contractId"):
            return str(deal["contractId"])
        return str(deal["opportunity"]["id"])

    @staticmethod
    def totals(deal: Json) -> dict[str, int]:
        return {
            each["stiggId"]: each["quantity"]
            for each in deal["lines"]
            if each["stiggType"] in ("Add-on", "Entitlement")
            and not each.get("unlimited")
            and each["stiggId"] != STORAGE
        }

    def amend(self, standing: Json, base: Json, totals: dict[str, int], start: str) -> tuple[Json, dict[str, int]]:
        """An amendment: of differences as CPQ makes it, or whole. Out: what stands then, and the totals."""
        rng = self.rng
        terms = {"start": start}
        id = base["opportunity"]["id"]
        if self.maybe(0.2) and standing is base:
            lines = [each for each in copy.deepcopy(base["lines"]) if each["stiggType"] != "Credit grant"]
            for each in lines:
                if each["stiggId"] in totals:
                    each["quantity"] = totals[each["stiggId"]] + rng.choice([0, 2])
                del each["line"]
            deal = self.sell("amendment", lines, terms=terms, amends=id)
            return deal, self.totals(deal)
        totals = dict(totals)
        lines = []
        for stigg_id in rng.sample(sorted(totals), rng.randint(1, min(2, len(totals)))):
            most = totals[stigg_id] // 8
            change = rng.choice([-most, 1, 7]) if most else 1
            if stigg_id in (SUPPORT, EXPORT):
                change = 1
            if stigg_id == SUPPORT:
                continue
            kind = "Add-on" if stigg_id.startswith("addon-") else "Entitlement"
            lines.append(line(kind, stigg_id, change))
            totals[stigg_id] += change
        if not lines:
            lines.append(line("Entitlement", SEATS, 3))
            totals[SEATS] += 3
        if self.maybe(0.15):
            lines.append(line("Credit grant", CREDITS, 300))
        deal = self.sell("amendment", lines, terms=terms, amends=id, quantities="differences")
        if self.maybe(0.15):

            def more(revision: Json) -> None:
                revision["lines"][0]["quantity"] += 2

            self.revise(deal, rng.choice([0, 1]), more)
            totals[lines[0]["stiggId"]] += 2
        return {"standing": "amended"}, totals

    def shrink(self, base: Json, times: list[str]) -> None:
        """A correction that takes nearly all seats away: held until somebody approves it."""
        if not self.in_force(base):
            return
        self.customer.before[base["opportunity"]["id"]] = base

        def change(deal: Json) -> None:
            next(each for each in deal["lines"] if each["stiggId"] == SEATS)["quantity"] = 3

        # All that it gives shrinks, so that it is beyond any reading of the guard's percentage.
        plan_and_seats = [each for each in base["lines"] if each["stiggType"] == "Plan" or each["stiggId"] == SEATS]
        base["lines"][:] = plan_and_seats
        self.revise(base, 2, change)
        if self.maybe(0.5):
            self.customer.approves.add(base["opportunity"]["id"])

    def beside(self, base: Json, product: str, resource: str | None) -> None:
        """Another deal of the same plan: it adds up with the first."""
        sold = base["lines"][0]
        # The price of both is their sum: known of both or of neither, for one cannot stand beside the catalogue's.
        beside = line("Plan", sold["stiggId"], price=24_000 if sold.get("price") is not None else None)
        lines = [beside, line("Entitlement", SEATS, self.rng.randint(5, 20))]
        self.sell("closed_won", lines, resource, terms={**PAID, "start": self.day(-20)})

    def beside_contracts(self) -> None:
        """What is sold beside contracts: deals that are refused or held, credits, somebody else's subscriptions."""
        if self.maybe(0.12):
            lines = [line("Plan", "plan-enterprise"), line("Entitlement", "feature-unknown", 3)]
            self.sell("closed_won", lines, "refused", terms=PAID)
        if self.maybe(0.15):
            self.sell("closed_won", [line("Credit grant", CREDITS, 500)], terms={})
        if self.maybe(0.1):
            nobody = to_18(f"0065g{self.customer.seed * 50 + 49:010d}")
            self.sell("amendment", [line("Entitlement", SEATS, 3)], amends=nobody, quantities="differences")
        if self.maybe(0.1):
            lines = [line("Plan", "plan-analytics"), line("Entitlement", SEATS, 10)]
            base = self.sell("closed_won", lines, "below-zero", terms=PAID)
            self.customer.contracts[base["opportunity"]["id"]] = to_18(
                f"8005g{self.customer.seed * 50 + self.count:010d}"
            )
            below = [line("Entitlement", SEATS, -11)]
            self.sell("amendment", below, amends=base["opportunity"]["id"], quantities="differences")
        if self.maybe(0.3):
            self.customer.foreign = {"plan_id": "plan-team", "billing_period": "MONTHLY"}
            self.customer.foreign["resource_id"] = "somebody-elses"
            if self.maybe(0.4):  # and a deal that would need its place
                lines = [line("Plan", "plan-enterprise"), line("Entitlement", SEATS, 10)]
                self.sell("closed_won", lines, "somebody-elses", terms=PAID)
