"""Made-up customers for the fault campaign: what is sold to each over time, in Salesforce and as callouts say it.

A customer is made from its seed alone, but for the day it is played on. What deals mean is not said here: `oracle`
decides that. What is made up stays within what the oracle decides: deals of one customer do not contradict each other,
but where it is certain who makes way. Nothing of the product is used.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from itertools import count

from proof.kinds import KINDS
from proof.shop import (
    CALLS,
    CREDITS,
    EXPORT,
    PAID,
    PLANS,
    SEATS,
    SLOTS,
    SSO,
    STORAGE,
    SUPPORT,
    WORKSPACE,
    Customer,
    Json,
    Shop,
    is_day,
    line,
)
from sandbox.salesforce.ids import to_18


def make(seed: int, began: datetime, organization: str) -> Customer:
    """Make a customer. began: when it is played."""
    return _Maker(seed, began, organization).customer


def customer_of(campaign: int, number: int, began: datetime, organization: str) -> Customer:
    """One of a campaign's customers. In: the campaign's seed; which one; when it is played."""
    customer = make(campaign * 100_000 + number, began, organization)
    customer.history = number
    return customer


def first_that_buys(kind: str, campaign: int) -> int:
    """The number of the first customer of a campaign that is sold a kind of contract."""
    return next(number for number in count() if kind in customer_of(campaign, number, datetime.now(UTC), "").kinds)


def policies_of(campaign: int) -> dict[str, str]:
    """What the stack of a campaign chooses, by parameter: another seed, other policies."""
    end = ("keep", "end", "grace")[(campaign - 1) % 3]
    return {"EndOfTermPolicy": end, "ReopenedDealPolicy": "revoke" if campaign % 4 == 0 else "flag"}


class _Maker(Shop):
    """Makes up one customer: times first, so that what comes later in a contract's life takes effect later too."""

    def __init__(self, seed: int, began: datetime, organization: str) -> None:
        super().__init__(seed, began, organization)
        slots = self.rng.sample(SLOTS, self.rng.choice([1, 1, 2]))
        for product, resource in slots:
            self.contract(product, resource)
        turn = seed % (len(KINDS) + 20)
        if turn < len(KINDS):
            name = sorted(KINDS)[turn]
            self.customer.kinds.append(name)
            KINDS[name](self, "workspace-2")  # apart from what else is sold: kinds do not meet
        self.beside_contracts()
        self.pay()

    # What is sold

    def lines(self, plan_id: str) -> list[Json]:
        """All there is of a plan."""
        rng = self.rng
        found = [line("Plan", plan_id, price=48_000 if self.maybe(0.5) else None)]
        found.append(line("Entitlement", SEATS, rng.randint(60, 200)))
        if plan_id == "plan-analytics":
            return found + ([line("Add-on", EXPORT, rng.randint(2, 6), price=800)] if self.maybe(0.5) else [])
        optional = [
            line("Add-on", SUPPORT, price=None if self.has_price(SUPPORT) else 5000),
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
            terms = {} if kind == "reopened" else {"cancel": "now"}
            self.revise(base, 2, lambda deal: deal.update(trigger="cancellation", lines=[], terms=terms))
        elif self.maybe(0.4):
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
            price = {WORKSPACE: 1200, EXPORT: 800}.get(stigg_id) if not self.has_price(stigg_id) else None
            lines.append(line(kind, stigg_id, change, price=price))
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
