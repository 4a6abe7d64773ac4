"""The mapping: a deal becomes an order, or the reasons why it cannot.

Pure. What the body itself shows is judged here and answered at once; what only Stigg's catalogue shows is `desired`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from closedwon.deal import Deal, Line, Terms, line_number
from closedwon.order import Item, Kind, Order, Problem, Revision, iso_utc

KINDS: tuple[Kind, ...] = ("Plan", "Add-on", "Entitlement", "Credit entitlement")

MOST_UNITS = 2**31 - 1
"""The largest quantity of a plan or an add-on: what a 32-bit integer holds."""

MOST_USAGE = 2**53 - 1
"""The largest usage limit: the largest whole number that JSON carries everywhere without loss."""

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*")

AHEAD = timedelta(minutes=5)
"""How far a revision may lie in the future: more than any clock skew between Salesforce and AWS."""


@dataclass(frozen=True)
class MappingRules:
    """What a stack chooses about mapping.

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
    problems = []
    if deal.organization_id != rules.organization_id:
        problems.append(
            Problem(None, "organizationId", f"is not the organisation this stack serves ({rules.organization_id})")
        )
    for field, instant in (
        ("opportunity.systemModstamp", deal.opportunity.system_modstamp),
        ("opportunity.readAt", deal.opportunity.read_at),
    ):
        if instant > now + AHEAD:
            problems.append(Problem(None, field, "lies more than five minutes in the future"))
    return tuple(problems)


def compile_deal(deal: Deal, rules: MappingRules) -> Order:
    """Compile one deal.

    In: a valid deal; the stack's rules.
    Out: its order. Lines without a Stigg Type are left out; lines of one entity are added up; times are in UTC. What
    is wrong is in the order's `problems`, each naming line and field; such an order contributes nothing.
    """
    compiler = _Compiler(deal, rules)
    items = compiler.items()
    terms = compiler.terms()
    return Order(
        opportunity_id=deal.opportunity.id,
        opportunity_name=deal.opportunity.name,
        account_id=deal.account.id,
        account_name=deal.account.name,
        account_email=deal.account.email,
        stored_customer_id=deal.account.stigg_customer_id,
        customer_id=compiler.customer_id(),
        resource_id=deal.resource_id,
        trigger=compiler.trigger(),
        currency=deal.opportunity.currency_iso_code.lower(),
        items=items,
        **terms,
        problems=tuple(compiler.problems),
    )


def _most(kind: Kind) -> int:
    return MOST_UNITS if kind in ("Plan", "Add-on") else MOST_USAGE


class _Compiler:
    """One deal on its way through the mapping: collects problems instead of stopping at the first."""

    def __init__(self, deal: Deal, rules: MappingRules) -> None:
        self.deal = deal
        self.rules = rules
        self.problems: list[Problem] = []

    def refuse(self, line: int | None, field: str, message: str) -> None:
        self.problems.append(Problem(line, field, message))

    def trigger(self) -> str:
        if self.deal.trigger != "closed_won":
            self.refuse(None, "trigger", f"{self.deal.trigger} is not provisioned by this version of closed-won")
        elif self.deal.amends:
            self.refuse(None, "amends", "a closed_won deal amends nothing: leave it out, or send what it is")
        return self.deal.trigger

    def customer_id(self) -> str | None:
        given, stored = self.deal.customer_id, self.deal.account.stigg_customer_id
        if given and stored and given != stored:
            self.refuse(None, "customerId", f"{given} is not the account's Stigg Customer ID, {stored}")
        return given or stored

    def terms(self) -> dict[str, Any]:
        terms: Terms = self.deal.terms
        start = self.instant("terms.start", terms.start)
        end = self.instant("terms.end", terms.end, day_after=True)
        if start and end and end <= start:
            self.refuse(None, "terms.end", "is not after the start")
        if terms.trial_end:
            self.refuse(None, "terms.trialEnd", "belongs to a trial, and this deal is none")
        return {
            "billing_period": terms.billing_period,
            "start": start,
            "end": end,
            "payment_collection": terms.payment_collection,
        }

    def instant(self, field: str, value: str | None, day_after: bool = False) -> str | None:
        """A date or time as an instant in UTC. Salesforce's end dates are the last day: the instant is a day later."""
        if value is None:
            return None
        zone = ZoneInfo(self.rules.time_zone)
        try:
            if _DAY.fullmatch(value):
                day = date.fromisoformat(value) + timedelta(days=1 if day_after else 0)
                moment = datetime.combine(day, time(), zone)
            elif not _TIME.fullmatch(value):
                raise ValueError
            else:
                moment = datetime.fromisoformat(value)
                moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
            return iso_utc(moment)
        except OverflowError:
            self.refuse(None, field, "is too far away: the calendar ends with the year 9999; leave it out for no date")
            return None
        except ValueError:
            self.refuse(None, field, "is not a date (2026-12-01) or a time (2026-12-01T09:00:00Z)")
            return None

    def items(self) -> tuple[Item, ...]:
        mapped = [
            item
            for index, line in enumerate(self.deal.lines)
            if (line.stigg_type or line.stigg_id) and (item := self.item(line, line_number(line, index)))
        ]
        if not any(line.stigg_type or line.stigg_id for line in self.deal.lines):
            self.refuse(None, "lines", "the deal has no line with a Stigg Type: nothing to provision")
        elif not any(line.stigg_type == "Plan" for line in self.deal.lines):
            self.refuse(None, "lines", "the deal has no plan: one line needs the Stigg Type Plan")
        plans = {line.stigg_id for line in self.deal.lines if line.stigg_type == "Plan"}
        for item in mapped:
            if item.plan_id and item.plan_id not in plans:
                self.refuse(item.lines[0], "planId", f"no line of the deal has the plan {item.plan_id[:255]}")
        mapped.sort(key=lambda item: (KINDS.index(item.kind), item.stigg_id, item.plan_id or "", item.lines))
        return tuple(self.added_up(mapped))

    def item(self, line: Line, number: int) -> Item | None:
        """One line as an item, or None after saying what is wrong with it."""
        before = len(self.problems)
        kind = next((kind for kind in KINDS if kind == line.stigg_type), None)
        if not line.stigg_type:
            self.refuse(number, "stiggType", "is missing: a line with a Stigg ID needs a Stigg Type")
        elif line.stigg_type == "Credit grant":
            self.refuse(number, "stiggType", "Credit grant is not provisioned by this version of closed-won")
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
        if line.price is not None and kind not in ("Plan", "Add-on"):
            self.refuse(
                number,
                "price",
                f"{kind} has no price of its own: a price override goes on the plan or an add-on",
            )
        if line.plan_id and kind == "Plan":
            self.refuse(number, "planId", "belongs on add-ons and entitlements, not on a plan")
        if len(self.problems) > before:
            return None
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
        )

    def check_id(self, kind: Kind, line: Line, number: int) -> None:
        prefix = self.rules.prefix(kind)
        if not line.stigg_id:
            self.refuse(number, "stiggId", f"is missing: {kind} needs the ID it has in Stigg")
        elif len(line.stigg_id) > 255 or not all(c.isascii() and (c.isalnum() or c in "_.:@|-") for c in line.stigg_id):
            self.refuse(number, "stiggId", "is not an ID in Stigg (letters, digits and _ . : @ | -, at most 255)")
        elif not line.stigg_id.startswith(prefix):
            said = f"{line.stigg_id} does not start with {prefix}, as the ID of every {kind.lower()} does"
            self.refuse(number, "stiggId", said)
        elif line.stigg_id == prefix:
            self.refuse(number, "stiggId", f"has nothing after {prefix}")

    def quantity(self, kind: Kind, line: Line, number: int) -> int:
        """Units of a line. Salesforce sends quantities as decimals: 10.0 is whole."""
        if line.unlimited and kind == "Entitlement":
            return 1
        if line.quantity is None:
            if kind == "Plan":
                return 1
            self.refuse(
                number,
                "quantity",
                "is missing" + (": give one, or mark the line unlimited" if kind == "Entitlement" else ""),
            )
            return 0
        most = _most(kind)
        if line.quantity != int(line.quantity):
            self.refuse(number, "quantity", f"{line.quantity} is not a whole number")
        elif line.quantity <= 0:
            self.refuse(number, "quantity", f"{int(line.quantity)} is not possible on a new deal: it takes 1 or more")
        elif line.quantity > most:
            self.refuse(number, "quantity", f"is more than Stigg can hold ({most})")
        return int(line.quantity)

    def added_up(self, items: list[Item]) -> Iterator[Item]:
        """Items of one entity as one. Quantities add up; a plan stands for one subscription and is named once."""
        for (kind, _, _), group in groupby(items, key=lambda item: (item.kind, item.stigg_id, item.plan_id)):
            same = list(group)
            first = same[0]
            for other in same[1:]:
                if kind == "Plan":
                    self.refuse(
                        other.lines[0],
                        "stiggId",
                        f"{other.stigg_id} is on line {first.lines[0]} already: one subscription has one plan",
                    )
                for field, name in (
                    ("price", "price"),
                    ("reset_period", "resetPeriod"),
                    ("cadence", "cadence"),
                ):
                    if getattr(other, field) != getattr(first, field):
                        self.refuse(
                            other.lines[0],
                            name,
                            f"differs from line {first.lines[0]}, which names {first.stigg_id} too",
                        )
            unlimited = any(item.unlimited for item in same)
            total = 1 if unlimited else sum(item.quantity for item in same)
            if len(same) > 1 and total > _most(kind):
                self.refuse(
                    same[-1].lines[0],
                    "quantity",
                    f"with the other lines of {first.stigg_id} is more than Stigg can hold ({_most(kind)})",
                )
            yield replace(
                first,
                quantity=total,
                unlimited=unlimited,
                soft_limit=any(item.soft_limit for item in same),
                lines=tuple(number for item in same for number in item.lines),
            )
