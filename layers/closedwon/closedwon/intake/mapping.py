"""The mapping: a deal becomes an order, or the reasons why it cannot.

Pure. Problems that the deal itself shows are found here and answered at once; those that only Stigg's catalogue shows
are found by `desired.catalogue_problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from closedwon.domain.identifiers import STIGG_ID, STIGG_ID_LENGTH
from closedwon.domain.instants import Instant, instant_of, starting
from closedwon.domain.order import Item, Kind, Order, Problem, Revision
from closedwon.intake.deal import Deal, Line, Terms, line_number

KINDS: tuple[Kind, ...] = ("Plan", "Add-on", "Entitlement", "Credit entitlement", "Credit grant")

MOST_UNITS = 2**31 - 1
"""The largest quantity of a plan or an add-on: what a 32-bit integer holds."""

MOST_USAGE = 2**53 - 1
"""The largest usage limit: the largest whole number that JSON carries everywhere without loss."""

_STIGG_ID = re.compile(STIGG_ID)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*")

MOST_PROBLEMS = 50
"""The most problems that one deal shows: more help nobody, and all are kept with it in one ledger item."""

MOST_ID_CHARACTERS = 40_000
"""The most characters of all Stigg IDs on a deal's lines together: 200 for each of the most lines. The ledger keeps up
to three orders of an opportunity in one item, with what is wrong with the newest: 400 KB.
"""

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Before this no revision lies: revisions are ordered as texts of digits, and the calendar ends before the year 1."""

AHEAD = timedelta(minutes=5)
"""How far a revision may lie in the future: more than any clock skew between Salesforce and AWS."""


@dataclass(frozen=True)
class MappingRules:
    """The stack's rules of mapping.

    organization_id: the one Salesforce organisation it serves (18 characters). plan_prefix, addon_prefix,
    feature_prefix: what Stigg's IDs start with. time_zone: where a date without a time begins.
    """

    organization_id: str
    plan_prefix: str = "plan-"
    addon_prefix: str = "addon-"
    feature_prefix: str = "feature-"
    time_zone: str = "UTC"

    def prefix(self, kind: Kind) -> str:
        return {
            "Plan": self.plan_prefix,
            "Add-on": self.addon_prefix,
            "Entitlement": self.feature_prefix,
        }.get(kind, "")


def revision_of(deal: Deal) -> Revision:
    """The deal's place among the deals of its opportunity."""
    return Revision(_milliseconds(deal.opportunity.system_modstamp), _milliseconds(deal.opportunity.read_at))


def _milliseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def unrecordable(deal: Deal, rules: MappingRules, now: datetime) -> tuple[Problem, ...]:
    """Why a deal cannot even be recorded as its opportunity's newest: it is not ours, or it would stay the newest for
    ever.
    """
    problems = list(organization_problems(deal, rules))
    for field, instant in (
        ("opportunity.systemModstamp", deal.opportunity.system_modstamp),
        ("opportunity.readAt", deal.opportunity.read_at),
    ):
        if instant > now + AHEAD:
            problems.append(Problem(None, field, "lies more than five minutes in the future"))
        elif instant < EARLIEST:
            problems.append(Problem(None, field, "lies before 1970"))
    if sum(len(line.stigg_id or "") + len(line.plan_id or "") for line in deal.lines or ()) > MOST_ID_CHARACTERS:
        problems.append(Problem(None, "lines", f"have IDs of more than {MOST_ID_CHARACTERS} characters together"))
    return tuple(problems)


def organization_problems(deal: Deal, rules: MappingRules) -> tuple[Problem, ...]:
    """Why a deal is not ours: it is of another organisation, which may have records of the same IDs."""
    if deal.organization_id == rules.organization_id:
        return ()
    return (Problem(None, "organizationId", f"is not the organisation this stack serves ({rules.organization_id})"),)


def is_stigg_id(text: str) -> bool:
    """Whether closed-won takes a text as an ID in Stigg."""
    return len(text) <= STIGG_ID_LENGTH and _STIGG_ID.fullmatch(text) is not None


def unmapped(deal: Deal) -> tuple[int, ...]:
    """The numbers of lines that sell something but have no Stigg Type, so that nothing is provisioned for them."""
    return tuple(
        line_number(line, index)
        for index, line in enumerate(deal.lines or ())
        if not (line.stigg_type or line.stigg_id) and (line.quantity or line.price)
    )


def compile_deal(deal: Deal, rules: MappingRules) -> Order:
    """Compile one deal.

    In: a valid deal; the stack's rules.
    Out: its order. Lines without a Stigg Type are left out; lines of one entity are added up; times are in UTC. What
    is wrong is in the order's `problems`, each naming line and field; such an order contributes nothing.
    """
    return _Compiler(deal, rules).order()


def _most(kind: Kind) -> int:
    return MOST_UNITS if kind in ("Plan", "Add-on") else MOST_USAGE


class _Compiler:
    """One deal on its way through the mapping: collects problems instead of stopping at the first."""

    def __init__(self, deal: Deal, rules: MappingRules) -> None:
        self.deal = deal
        self.rules = rules
        self.problems: list[Problem] = []
        # Only an amendment has something to differ from; every other deal lists all there is.
        self.differences = deal.trigger == "amendment" and deal.quantities == "differences"
        self.ends = deal.trigger == "cancellation"
        self.lines = [
            _Placed(
                line,
                number := line_number(line, index),
                self.instant("start", line.start, line=number),
                self.instant("end", line.end, day_after=True, line=number),
            )
            for index, line in enumerate(deal.lines or ())
            if line.stigg_type or line.stigg_id  # others are no concern of ours
        ]

    def refuse(self, line: int | None, field: str, message: str) -> None:
        self.problems.append(Problem(line, field, message))

    def order(self) -> Order:
        deal = self.deal
        self.links()
        terms = self.terms()
        items = self.items(terms["start"], terms["end"])
        return Order(
            opportunity_id=deal.opportunity.id,
            opportunity_name=deal.opportunity.name,
            account_id=deal.account.id,
            account_name=deal.account.name,
            account_email=deal.account.email,
            stored_customer_id=deal.account.stigg_customer_id,
            customer_id=self.customer_id(),
            resource_id=deal.resource_id,
            trigger=deal.trigger,
            currency=deal.opportunity.currency_iso_code.lower(),
            # A cancellation may name its own opportunity, which is what it cancels without a name.
            amends=deal.amends if deal.amends != deal.opportunity.id else None,
            contract_id=deal.contract_id,
            differences=self.differences,
            as_of=instant_of(deal.opportunity.system_modstamp),
            items=items,
            **terms,
            problems=self.first_problems(),
        )

    def first_problems(self) -> tuple[Problem, ...]:
        """The problems; of very many, the first."""
        left = len(self.problems) - MOST_PROBLEMS
        if left <= 0:
            return tuple(self.problems)
        return (*self.problems[:MOST_PROBLEMS], Problem(None, "lines", f"and {left} more problems, not told here"))

    def links(self) -> None:
        """Check `amends` against the trigger."""
        trigger, amends = self.deal.trigger, self.deal.amends
        if trigger in ("closed_won", "trial") and amends:
            self.refuse(None, "amends", f"a {trigger} deal amends nothing: leave it out, or send what it is")
        elif trigger in ("amendment", "renewal"):
            does = "amends" if trigger == "amendment" else "renews"
            if not amends:
                self.refuse(None, "amends", f"is missing: say the contract or base opportunity this deal {does}")
            elif amends == self.deal.opportunity.id:
                self.refuse(None, "amends", f"is this opportunity itself: say the one this deal {does}")
        if self.deal.quantities == "differences" and not self.differences:
            self.refuse(None, "quantities", "only an amendment's lines can be differences")

    def customer_id(self) -> str | None:
        given, stored = self.deal.customer_id, self.deal.account.stigg_customer_id
        # Provisioning either of them could give one customer's access to another: a person has to say which.
        if given and stored and given != stored:
            self.refuse(None, "customerId", f"{given} is not the account's Stigg Customer ID, {stored}")
        return given or stored

    def terms(self) -> dict[str, Any]:
        terms: Terms = self.deal.terms
        trial = self.deal.trigger == "trial"
        starts, ends = [placed.start for placed in self.lines], [placed.end for placed in self.lines]
        start = self.instant("terms.start", terms.start)
        end = self.instant("terms.end", terms.end, day_after=True)
        # CPQ may leave the quote's dates empty and give each line its own.
        if not self.ends:  # terms that only the lines say
            start = start or (min(filter(None, starts)) if starts and all(starts) else None)
            end = end or (max(filter(None, ends)) if ends and all(ends) else None)
        if start and end and end <= start and not self.ends:
            self.refuse(None, "terms.end", "is not after the start")
        trial_end = self.instant("terms.trialEnd", terms.trial_end, day_after=True)
        if trial and terms.trial_end is None:
            self.refuse(None, "terms.trialEnd", "is missing: a trial needs its last day")
        elif trial and start and trial_end and trial_end <= start:
            self.refuse(None, "terms.trialEnd", "is not after the start")
        for field, given in (("trialEnd", terms.trial_end), ("trialEndBehavior", terms.trial_end_behavior)):
            if given and not trial:
                self.refuse(None, f"terms.{field}", "belongs to a trial, and this deal is none")
        if terms.cancel and not self.ends:
            self.refuse(None, "terms.cancel", "belongs to a cancellation, and this deal is none")
        elif terms.cancel and terms.end:
            self.refuse(None, "terms.cancel", "goes without terms.end: that says the day already")
        plans = {placed.line.stigg_id for placed in self.lines if placed.line.stigg_type == "Plan"}
        for field, value in (("budget", terms.budget), ("minimumSpend", terms.minimum_spend)):
            # Stigg keeps these on one subscription, and nobody knows how to divide them between several.
            if value is not None and len(plans) > 1:
                said = "is one subscription's, and this deal has several plans: give each its own deal"
                self.refuse(None, f"terms.{field}", said)
        return {
            "billing_period": terms.billing_period,
            # A cancellation's start is that of the lost deal, which was never sold.
            "start": None if self.ends else start,
            "end": end,
            "cancel": self.cancel(terms.cancel) if self.ends and not end else None,
            "trial_end": trial_end,
            "trial_end_behavior": (terms.trial_end_behavior or "CANCEL_SUBSCRIPTION") if trial else None,
            "payment_collection": terms.payment_collection,
            "coupon": terms.coupon,
            "budget": terms.budget.limit if terms.budget else None,
            "budget_soft": terms.budget.soft_limit if terms.budget else False,
            "minimum_spend": terms.minimum_spend,
            "paying_customer_id": terms.paying_customer_id,
        }

    def cancel(self, given: Literal["now", "end_of_term"] | None) -> Literal["now", "end_of_term"] | None:
        """When a cancellation without a date takes effect: a contract's when it is over; of a deal that says nothing,
        but that it is not won any more, the policy for reopened deals decides.
        """
        own = self.deal.amends in (None, self.deal.opportunity.id)
        return given or (None if own else "end_of_term")

    def instant(
        self, field: str, value: str | None, day_after: bool = False, line: int | None = None
    ) -> Instant | None:
        """A date or time as an instant in UTC. Salesforce's end dates are the last day: the instant is a day later."""
        if value is None:
            return None
        zone = ZoneInfo(self.rules.time_zone)
        try:
            # A bare date is a day where the stack's users live: in Berlin it begins before it does in UTC.
            if _DAY.fullmatch(value):
                day = date.fromisoformat(value) + timedelta(days=1 if day_after else 0)
                moment = datetime.combine(day, time(), zone)
            elif not _TIME.fullmatch(value):
                raise ValueError
            else:
                moment = datetime.fromisoformat(value)
                moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
            return instant_of(moment)
        except OverflowError:
            self.refuse(line, field, "is too far away: the calendar ends with the year 9999; leave it out for no date")
            return None
        except ValueError:
            self.refuse(line, field, "is not a date (2026-12-01) or a time (2026-12-01T09:00:00Z)")
            return None

    def items(self, start: Instant | None, end: Instant | None) -> tuple[Item, ...]:
        mapped = [item for placed in self.lines if (item := self.item(placed, start, end))]
        types = {placed.line.stigg_type for placed in self.lines}
        if not self.lines and not (self.ends or self.differences):  # an amendment may change nothing that Stigg knows
            self.refuse(None, "lines", "the deal has no line with a Stigg Type: nothing to provision")
        elif "Plan" not in types and types != {"Credit grant"} and not (self.differences or self.ends):
            self.refuse(None, "lines", "the deal has no plan: one line needs the Stigg Type Plan")
        plans = {placed.line.stigg_id for placed in self.lines if placed.line.stigg_type == "Plan"}
        for item in mapped:
            if item.plan_id and item.plan_id not in plans and not (self.differences or self.ends):
                self.refuse(item.lines[0], "planId", f"no line of the deal has the plan {item.plan_id}")
        # In one order whatever the order of the lines, because the digest must not change with it.
        mapped.sort(key=lambda item: (*self.entity(item), item.lines))
        self.plans_apart([item for item in mapped if item.kind == "Plan"])
        return tuple(self.added_up(mapped))

    def plans_apart(self, plans: list[Item]) -> None:
        """A plan stands for one subscription: named twice, its times must not overlap (a ramp of its price)."""
        if self.differences or self.ends:
            return
        for place, plan in enumerate(plans):
            other = next(
                (other for other in plans[:place] if plan.stigg_id == other.stigg_id and plan.meets(other)), None
            )
            if other is not None:  # once for each line, however many others it meets
                said = f"{plan.stigg_id} is on line {other.lines[0]} already: one subscription has one plan"
                self.refuse(plan.lines[0], "stiggId", said)

    def item(self, placed: _Placed, start: Instant | None, end: Instant | None) -> Item | None:
        """One line as an item; None where it has problems, which are noted."""
        line, number, starts, ends = placed
        before = len(self.problems)
        kind = next((kind for kind in KINDS if kind == line.stigg_type), None)
        if not line.stigg_type:
            self.refuse(number, "stiggType", "is missing: a line with a Stigg ID needs a Stigg Type")
        elif kind is None:
            self.refuse(
                number,
                "stiggType",
                f"{line.stigg_type[:40]} is not a Stigg Type: use one of {', '.join(KINDS)}",
            )
        if kind is None:
            return None
        self.check_id(kind, line, number)
        quantity = self.quantity(kind, line, number)
        if line.unlimited and kind != "Entitlement":
            self.refuse(number, "unlimited", f"{kind} cannot be unlimited, only an entitlement can")
        if line.price is not None and kind in ("Entitlement", "Credit entitlement"):
            self.refuse(
                number,
                "price",
                f"{kind} has no price of its own: a price override goes on the plan or an add-on",
            )
        if line.plan_id and not is_stigg_id(line.plan_id):
            self.refuse(number, "planId", "is not an ID in Stigg (letters, digits and _ . : @ | -, at most 255)")
        if line.plan_id and kind in ("Plan", "Credit grant"):
            self.refuse(number, "planId", f"belongs on add-ons and entitlements, not on a {kind.lower()}")
        if line.prior_quantity is not None and line.prior_quantity != int(line.prior_quantity):
            self.refuse(number, "priorQuantity", f"{line.prior_quantity} is not a whole number")
        if starts and ends and ends <= starts:
            self.refuse(number, "end", "is not after the line's start")
        # All problems of a line are listed before it is dropped, so that an admin corrects them in one go.
        if len(self.problems) > before:
            return None
        # Of a difference the whole amount counts: prices of units bought at different times are netted by it.
        priced = line.price is not None and self.differences
        return Item(
            kind=kind,
            stigg_id=line.stigg_id or "",
            quantity=quantity,
            lines=(number,),
            price=line.price,
            unlimited=line.unlimited,
            soft_limit=line.soft_limit,
            reset_period=line.reset_period if kind == "Entitlement" else None,
            cadence=line.cadence if kind == "Credit entitlement" else None,
            plan_id=line.plan_id or None,
            value=quantity * (line.price or 0) if priced else None,
            prior=int(line.prior_quantity) if line.prior_quantity is not None and self.differences else None,
            # A line's date that its deal has anyway is left out: the digest is then the same with and without it.
            start=starts if starting(starts) > starting(start) else None,
            end=ends if ends and (end is None or ends < end or kind == "Credit grant") else None,
        )

    def check_id(self, kind: Kind, line: Line, number: int) -> None:
        prefix = self.rules.prefix(kind)
        if not line.stigg_id:
            self.refuse(number, "stiggId", f"is missing: {kind} needs the ID it has in Stigg")
        elif not is_stigg_id(line.stigg_id):
            self.refuse(number, "stiggId", "is not an ID in Stigg (letters, digits and _ . : @ | -, at most 255)")
        elif not line.stigg_id.startswith(prefix):
            said = f"{line.stigg_id} does not start with {prefix}, as the ID of every {kind.lower()} does"
            self.refuse(number, "stiggId", said)
        elif line.stigg_id == prefix:
            self.refuse(number, "stiggId", f"has nothing after {prefix}")

    def quantity(self, kind: Kind, line: Line, number: int) -> int:
        """Units of a line. Salesforce sends quantities as decimals: 10.0 is whole."""
        if self.ends:  # all of it ends
            return 0
        given = line.quantity
        if self.differences and line.total_quantity is not None:
            # Block-priced lines differ by 1 whatever changed: the quote line's totals count.
            given = line.total_quantity - (line.prior_quantity or 0)
        if line.unlimited and kind == "Entitlement":
            return -1 if self.differences and given is not None and given < 0 else 1
        if given is None:
            if kind == "Plan" and not self.differences:
                return 1
            self.refuse(
                number,
                "quantity",
                "is missing" + (": give one, or mark the line unlimited" if kind == "Entitlement" else ""),
            )
            return 0
        most = _most(kind)
        if given != int(given):
            self.refuse(number, "quantity", f"{given} is not a whole number")
        # Credits that were granted are never taken back.
        elif given <= 0 and (not self.differences or kind == "Credit grant"):
            said = "on a new deal" if kind != "Credit grant" else "for a credit grant"
            self.refuse(number, "quantity", f"{int(given)} is not possible {said}: it takes 1 or more")
        elif abs(given) > most:
            self.refuse(number, "quantity", f"is more than Stigg can hold ({most})")
        return int(given)

    def entity(self, item: Item) -> tuple[Any, ...]:
        """The key of items that are added up. Differences of a limit and of no limit at all do not mix."""
        apart = self.differences and item.unlimited
        return (
            KINDS.index(item.kind),
            item.stigg_id,
            item.plan_id or "",
            starting(item.start),
            starting(item.end),
            apart,
        )

    def added_up(self, items: list[Item]) -> Iterator[Item]:
        """Add up the items of one entity and time. Differences, and their prices, are netted."""
        for _, group in groupby(items, key=self.entity):
            same = list(group)
            first = same[0]
            if len(same) == 1 and not (self.differences or self.ends):
                yield first  # nothing to add up
                continue
            kind = first.kind
            for other in same[1:]:
                for field, name in (
                    ("price", "price"),
                    ("reset_period", "resetPeriod"),
                    ("cadence", "cadence"),
                ):
                    if getattr(other, field) != getattr(first, field) and not (field == "price" and self.differences):
                        self.refuse(
                            other.lines[0],
                            name,
                            f"differs from line {first.lines[0]}, which names {first.stigg_id} too",
                        )
            unlimited = any(item.unlimited for item in same)
            total = 1 if unlimited and not self.differences else sum(item.quantity for item in same)
            if len(same) > 1 and abs(total) > _most(kind):
                self.refuse(
                    same[-1].lines[0],
                    "quantity",
                    f"with the other lines of {first.stigg_id} is more than Stigg can hold ({_most(kind)})",
                )
            priors = [item.prior for item in same if item.prior is not None]
            values = [item.value for item in same if item.value is not None]
            yield replace(
                first,
                quantity=0 if self.ends else total,
                price=_unit_price(same) if self.differences else first.price,
                value=sum(values) if values else None,
                prior=sum(priors) if priors else None,
                unlimited=unlimited,
                soft_limit=any(item.soft_limit for item in same),
                lines=tuple(number for item in same for number in item.lines),
            )


class _Placed(NamedTuple):
    """A line with its number in messages, and when it counts."""

    line: Line
    number: int
    start: Instant | None
    end: Instant | None


def _unit_price(items: list[Item]) -> float | None:
    """The price of one unit that differences add, in whole currency units: the mean, where lines differ."""
    added = [(item.quantity, item.price) for item in items if item.price is not None and item.quantity > 0]
    total = sum(quantity for quantity, _ in added)
    return round(sum(quantity * price for quantity, price in added) / total, 6) if total else None
