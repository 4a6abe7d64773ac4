"""Made-up histories of customers: what is sold to one over time, how it arrives, and what it comes to.

A history is made from its seed alone, but for the day it is played on: its record IDs, deals, dates and their order of
arrival are the same every time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from closedwon.domain.identifiers import normalised_id
from closedwon.domain.instants import iso_utc
from closedwon.domain.order import Order
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import compile_deal
from unit.domain import (
    ANALYTICS,
    CALLS,
    CREDITS,
    ORGANIZATION,
    PLATFORM,
    RULES,
    SEATS,
    SSO,
    SUPPORT,
    WORKSPACE,
    Standing,
    a_line,
    addon,
    credits,
    entitlement,
    plan,
)

Json = dict[str, Any]

EXPORT, DASHBOARDS, STORAGE = "addon-data-export", "feature-dashboards", "feature-storage-gb"
PLANS = {PLATFORM: ("plan-enterprise", "plan-enterprise-plus"), ANALYTICS: ("plan-analytics",)}
SLOTS = ((PLATFORM, None), (ANALYTICS, None), (PLATFORM, "workspace-1"), (ANALYTICS, "workspace-1"))
TERMS = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}

SOONEST, LATEST = 2.0, 10.0
"""Between these seconds from its beginning lie the instants of a history that come while it is played."""


@dataclass
class History:
    """What is sold to one customer.

    waves: deals that arrive in any order, each wave once everything before has come to rest. newest: of each
    opportunity. won: the deal that an opportunity's own cancellation ends. foreign: a subscription that somebody else
    made: fields for the stand-in. contradicts: whether deals disagree, so that what came first matters. approves:
    whether somebody approves what waits for it.
    """

    seed: int
    account: str
    waves: list[list[Json]] = field(default_factory=list)
    newest: dict[str, Json] = field(default_factory=dict)
    won: dict[str, Json] = field(default_factory=dict)
    foreign: Json | None = None
    contradicts: bool = False
    approves: bool = True

    def standings(self) -> list[Standing]:
        """The opportunities by what was sold alone, however it arrived."""
        return [
            Standing(order_of(deal), *(2 * [order_of(self.won[id])] if id in self.won else []))
            for id, deal in self.newest.items()
        ]

    def grants(self) -> set[tuple[str, str]]:
        """Opportunity and currency of all credits that any deal grants."""
        return {
            (deal["opportunity"]["id"], line["stiggId"])
            for wave in self.waves
            for deal in wave
            for line in deal["lines"]
            if line["stiggType"] == "Credit grant"
        }


def order_of(deal: Json) -> Order:
    return compile_deal(Deal.model_validate(deal), RULES)


def make(seed: int, began: datetime) -> History:
    """Make a history; every fourth has deals that contradict each other. began: when it is played."""
    return _Maker(seed, began).history


class _Maker:
    """Makes up one history."""

    def __init__(self, seed: int, began: datetime) -> None:
        self.rng = Random(seed)
        self.began = began
        self.count = 0
        self.base_of_contract: dict[str, str] = {}
        self.history = History(seed, normalised_id(f"0015g{seed * 100:010d}"), contradicts=seed % 4 == 3)
        self.approves = self.history.approves = not self.history.contradicts or self.maybe(0.5)
        self.now: list[Json] = []
        self.later: list[Json] = []
        self.last: list[Json] = []
        self.after: list[Json] = []
        slots = self.rng.sample(SLOTS, self.rng.randint(1, 3))
        for product, resource in slots:
            self.contract(product, resource)
            if self.maybe(0.15) or (self.history.contradicts and self.maybe(0.5)):
                self.beside(product, resource)
        if self.maybe(0.2):
            self.sell("closed_won", [plan(), entitlement("feature-unknown", 3)], "refused")
        if self.maybe(0.15):
            self.sell("closed_won", [a_line("Credit grant", CREDITS, 500, end=self.day(40))], None)
        if self.maybe(0.15):
            unknown = normalised_id(f"0065g{seed * 100 + 99:010d}")
            self.sell("amendment", [entitlement(SEATS, 3)], None, amends=unknown, quantities="differences")
        if self.maybe(0.3):
            resource = slots[0][1] if self.history.contradicts else "somebody-elses"
            self.history.foreign = {"plan_id": "plan-team", "resource_id": resource, "billing_period": "MONTHLY"}
        self.history.waves = [wave for wave in (self.now, self.later, self.last, self.after) if wave]

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    # Times

    def day(self, days: int) -> str:
        return (self.began + timedelta(days=days)).date().isoformat()

    def soon(self) -> str:
        return iso_utc(self.began + timedelta(seconds=round(self.rng.uniform(SOONEST, LATEST), 1)))

    def times(self, count: int) -> list[str]:
        """Some times in order: days that have passed, instants that come while it is played, days far away."""
        past = {self.day(-self.rng.randint(30, 300)) for _ in range(2 * count)}
        coming = {self.soon() for _ in range(2 * count)}
        far = {self.day(self.rng.randint(50, 300)) for _ in range(count)}
        return sorted(self.rng.sample(sorted(past | coming | far), count))

    # Deals

    def sell(self, trigger: str, lines: list[Json], resource: str | None, *, id: str = "", **more: Any) -> Json:
        """A deal of an opportunity of its own that arrives in the first wave."""
        if not id:
            self.count += 1
            id = normalised_id(f"0065g{self.history.seed * 100 + self.count:010d}")
        deal = {
            "organizationId": ORGANIZATION,
            "trigger": trigger,
            "opportunity": {"id": id, "name": f"A {trigger}", "currencyIsoCode": "USD"},
            "account": {"id": self.history.account, "name": "Northwind Traders", "email": "billing@northwind.example"},
            "terms": {},
            "lines": [{"line": place, **line} for place, line in enumerate(lines, 1)],
            "resourceId": resource,
            **more,
        }
        return self.send(deal, self.now)

    def send(self, deal: Json, wave: list[Json]) -> Json:
        """The opportunity's newest revision so far, in a wave."""
        id = deal["opportunity"]["id"]
        before = self.history.newest.get(id)
        modified = self.began - timedelta(seconds=600)
        if before is not None:
            modified = datetime.fromisoformat(before["opportunity"]["systemModstamp"]) + timedelta(seconds=7)
        deal["opportunity"] |= {"systemModstamp": iso_utc(modified), "readAt": iso_utc(modified + timedelta(seconds=1))}
        self.history.newest[id] = deal
        wave.append(deal)
        return deal

    def revise(self, deal: Json, wave: list[Json], change: Callable[[Json], None]) -> Json:
        revision = copy.deepcopy(deal)
        change(revision)
        return self.send(revision, wave)

    # What is sold

    def lines(self, plan_id: str) -> list[Json]:
        """All there is of a plan."""
        rng = self.rng
        units = {"quantity": rng.randint(2, 9)} if self.maybe(0.1) else {}
        found = [plan(plan_id, price=48_000 if self.maybe(0.5) else None, **units)]
        found.append(entitlement(SEATS, rng.randint(40, 200)))
        if plan_id == "plan-analytics":
            found += [entitlement(DASHBOARDS, rng.randint(5, 50))] if self.maybe(0.7) else []
            found += [addon(EXPORT, rng.randint(2, 6), price=800)] if self.maybe(0.5) else []
            return found
        optional = [
            addon(SUPPORT, 1),
            addon(WORKSPACE, rng.randint(3, 9), price=1200),
            entitlement(CALLS, rng.randint(1, 9) * 1_000_000, resetPeriod="MONTH"),
            entitlement(SSO, None, unlimited=True),
            credits(rng.randint(1, 5) * 1000),
        ]
        found += [line for line in optional if self.maybe(0.5)]
        if self.maybe(0.3):  # a ramp
            step = self.soon() if self.maybe(0.7) else iso_utc(self.began + timedelta(days=60))
            found += [entitlement(STORAGE, 500, end=step), entitlement(STORAGE, rng.choice([50, 900]), start=step)]
        return found

    def contract(self, product: str, resource: str | None) -> None:
        """The life of one contract: perhaps a trial, a base, amendments, a renewal, an end."""
        rng = self.rng
        plan_id = rng.choice(PLANS[product])
        times = self.times(7)
        quoted = self.maybe(0.4)
        lines = self.lines(plan_id)
        terms = {**TERMS, "start": rng.choice([None, times[0]]), "end": rng.choice([None, self.day(330)])}
        if self.maybe(0.25):
            self.trial(lines, resource, times)
            if self.maybe(0.3):
                return
            base = self.history.newest[next(reversed(self.history.newest))]
            base = self.revise(base, self.now, lambda deal: deal.update(trigger="closed_won", terms=terms))
        else:
            base = self.sell("closed_won", lines, resource, terms=terms)
        if self.maybe(0.2):
            base["contractId"] = normalised_id(f"8005g{self.history.seed * 100 + self.count:010d}")
        if self.maybe(0.25):
            base["lines"].append({"line": 90, **a_line("Credit grant", CREDITS, 1000, price=0.01)})
        if not quoted and self.maybe(0.4):
            base = self.correct(base)
        standing = base
        totals = self.totals(base)
        for time in times[1 : 1 + rng.randint(0, 3)]:
            totals = self.amend(standing, totals, time, quoted)
        if self.maybe(0.35):
            standing = self.renew(base, product, times[4])
            if self.maybe(0.4):
                self.amend(standing, self.totals(standing), times[5], quoted)
        if self.maybe(0.35):
            self.end(base, standing, totals, times[6])

    def trial(self, lines: list[Json], resource: str | None, times: list[str]) -> None:
        terms = {"trialEnd": self.rng.choice([self.soon(), self.day(20)])}
        if self.history.contradicts and self.maybe(0.5):
            terms["trialEndBehavior"] = "CONVERT_TO_PAID"
        trial = self.sell("trial", lines, resource, terms=terms)
        if self.maybe(0.4):
            self.revise(trial, self.now, lambda deal: deal["terms"].update(trialEnd=self.day(30)))

    def correct(self, deal: Json) -> Json:
        """What was sent is not what was meant: a newer revision in this wave or a later one."""

        def change(revision: Json) -> None:
            line = self.rng.choice([line for line in revision["lines"] if line["stiggId"] == SEATS])
            line["quantity"] += self.rng.choice([-30, -1, 5, 500])

        if self.maybe(0.3):  # what came first was refused
            deal["lines"][-1]["stiggId"], right = "feature-mistyped", deal["lines"][-1]["stiggId"]
            return self.revise(deal, self.now, lambda revision: revision["lines"][-1].update(stiggId=right))
        return self.revise(deal, self.now if self.maybe(0.6) else self.later, change)

    @staticmethod
    def totals(deal: Json) -> dict[str, int]:
        kinds = ("Add-on", "Entitlement")
        return {
            line["stiggId"]: line["quantity"]
            for line in deal["lines"]
            if line["stiggType"] in kinds and not line.get("unlimited") and line["stiggId"] != STORAGE
        }

    def named(self, deal: Json) -> str:
        """How another deal names one: by its opportunity or its contract."""
        return str(deal.get("contractId") or deal["opportunity"]["id"])

    def amend(self, standing: Json, totals: dict[str, int], start: str, quoted: bool) -> dict[str, int]:
        """An amendment: of differences as CPQ makes it, or (for the last time) whole. Out: the totals after it."""
        rng = self.rng
        terms = {"start": start}
        if self.maybe(0.15) and not quoted:
            lines = [line for line in copy.deepcopy(standing["lines"]) if line["stiggType"] != "Credit grant"]
            for line in lines:
                if line["stiggId"] in totals:
                    line["quantity"] = totals[line["stiggId"]] + rng.choice([0, 2])
            deal = self.sell("amendment", lines, None, terms=terms, amends=self.named(standing))
            return self.totals(deal)
        totals = dict(totals)
        lines = []
        for id in rng.sample(sorted(totals), rng.randint(1, min(2, len(totals)))):
            most = max(1, totals[id] // 6)
            change = rng.choice([-most, 1, 7]) if totals[id] > 1 else 1
            if self.history.contradicts and self.maybe(0.3):
                change = -totals[id] - rng.randint(-1, 4)
            prior = {"priorQuantity": totals[id]} if quoted else {}
            if quoted and self.history.contradicts and self.maybe(0.3):
                prior = {"priorQuantity": totals[id] + 3}
            kind = "Add-on" if id.startswith("addon-") else "Entitlement"
            price = rng.choice([None, 900]) if kind == "Add-on" else None
            lines.append(a_line(kind, id, change, price=price, **prior))
            totals[id] += change
        if self.maybe(0.1):
            lines.append(plan(standing["lines"][0]["stiggId"], 1))
        if self.maybe(0.15):
            lines.append(a_line("Credit grant", CREDITS, 300))
        deal = self.sell("amendment", lines, None, terms=terms, amends=self.named(standing), quantities="differences")
        if not quoted and self.maybe(0.2):
            self.revise(deal, self.later, lambda revision: revision["lines"][0].update(quantity=2))
            totals[lines[0]["stiggId"]] += 2 - lines[0]["quantity"]
        return totals

    def renew(self, base: Json, product: str, start: str) -> Json:
        lines = self.lines(self.rng.choice(PLANS[product]))
        # It may arrive before its base, and stands by itself then: it says where, and how it is paid.
        terms = {**TERMS, "start": start, "end": self.day(500)}
        if self.maybe(0.5):
            terms["billingPeriod"] = "MONTHLY"
        return self.sell("renewal", lines, base["resourceId"], terms=terms, amends=self.named(base))

    def end(self, base: Json, standing: Json, totals: dict[str, int], time: str) -> None:
        """A cancellation: of the contract now, at its end or on a day, of a part of it, or of the deal itself."""
        amends = self.named(standing)
        own = ["own", "own", "reopened"] if base is standing and base["trigger"] == "closed_won" else []
        # Ended with a billing period that nobody knows, it matters whether anything was provisioned before.
        dated = ["end of term"] if standing["terms"].get("end") else []
        match self.rng.choice(["now", "day", "day", "part", *dated, *own]):
            case "now":
                self.sell("cancellation", [], None, amends=amends, terms={"cancel": "now"})
            case "end of term":
                self.sell("cancellation", [], None, amends=amends)
            case "day":
                self.sell("cancellation", [], None, amends=amends, terms={"end": time})
            case "part" if base is standing:
                gone = self.rng.choice(sorted(totals))
                kind = "Add-on" if gone.startswith("addon-") else "Entitlement"
                self.sell("cancellation", [a_line(kind, gone)], None, amends=amends, terms={"end": time})
            case "own":
                terms = self.rng.choice([{"cancel": "now"}, {"end": self.day(60)}, {"end": time}])
                self.not_won(base, terms)
            case "reopened":
                self.not_won(base, {})

    def not_won(self, base: Json, terms: Json) -> None:
        """A deal that was won is cancelled or reopened itself, and perhaps won again after that."""
        id = base["opportunity"]["id"]
        won = self.history.newest[id]
        self.revise(won, self.last, lambda deal: deal.update(trigger="cancellation", lines=[], terms=terms))
        self.history.won[id] = won
        if self.maybe(0.3):
            self.revise(self.history.newest[id], self.after, lambda deal: deal.update(terms={"end": self.day(90)}))
        elif self.maybe(0.4):
            self.revise(won, self.after, lambda deal: deal["lines"][0].update(price=50_000))
            del self.history.won[id]

    def beside(self, product: str, resource: str | None) -> None:
        """Another deal of the same plan: it adds up with the first, as far as their terms agree."""
        plans = {
            line["stiggId"]
            for deal in self.history.newest.values()
            for line in deal["lines"]
            if deal["resourceId"] == resource and line["stiggType"] == "Plan" and line["stiggId"] in PLANS[product]
        }
        renewed = any(deal["trigger"] in ("renewal", "amendment") for deal in self.history.newest.values())
        if not self.history.contradicts and (len(plans) != 1 or renewed):
            return
        lines = [plan(self.rng.choice(sorted(plans) or PLANS[product])), entitlement(SEATS, self.rng.randint(5, 20))]
        self.sell("closed_won", lines, resource, terms={**TERMS, "start": self.rng.choice([None, self.day(-20)])})


def told(history: History) -> list[str]:
    """What was sold, for a message: one line for each deal."""
    return [
        f"wave {number}: {deal['opportunity']['id']} {deal['trigger']} amends={deal.get('amends')} {deal['terms']} "
        + ", ".join(f"{line['stiggId']} {line['quantity']}" for line in deal["lines"])
        for number, wave in enumerate(history.waves, 1)
        for deal in wave
    ]
