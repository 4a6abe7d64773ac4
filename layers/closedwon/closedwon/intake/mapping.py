"""The mapping: a deal becomes an order, or the reasons why it cannot.

Pure. Problems that the deal itself shows are found here and answered at once; those that only Stigg's catalogue shows
are found by `desired.catalogue_problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from closedwon.domain.catalogue import CREDIT_PREFIX
from closedwon.domain.identifiers import AccountId, ContractId, CustomerId, OpportunityId, entity_id_fault
from closedwon.domain.instants import Instant, instant_of, iso_utc, starting
from closedwon.domain.lines import KINDS, added_up, groups_of, netted_item
from closedwon.domain.order import FORM, Item, Kind, Order, Problem, Revision, lines_that_differ, plans_named_twice
from closedwon.intake.deal import Deal, Line, Terms, line_number
from closedwon.intake.relations import ON_LINES, amended, ends_itself, relation_problems

MOST_UNITS = 2**31 - 1
"""The largest quantity of a plan or an add-on: what a 32-bit integer holds."""

MOST_USAGE = 2**53 - 1
"""The largest usage limit: the largest whole number that JSON carries everywhere without loss."""

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*")

MOST_PROBLEMS = 50
"""The most problems that one deal shows: more help nobody, and all are kept with it in one ledger item."""

MOST_ID_CHARACTERS = 40_000
"""The most characters of all IDs and references of a deal together: 200 for each of the most lines. The ledger keeps up
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
    if sum(map(len, _ids(deal))) > MOST_ID_CHARACTERS:
        problems.append(Problem(None, "lines", f"have IDs of more than {MOST_ID_CHARACTERS} characters together"))
    return tuple(problems)


def _ids(deal: Deal) -> Iterator[str]:
    yield from deal.amends
    for line in deal.lines or ():
        yield from (line.stigg_id or "", line.plan_id or "", *line.renews, *line.amends, *line.ends)


def organization_problems(deal: Deal, rules: MappingRules) -> tuple[Problem, ...]:
    """Why a deal is not ours: it is of another organisation, which may have records of the same IDs."""
    if deal.organization_id == rules.organization_id:
        return ()
    return (Problem(None, "organizationId", f"is not the organisation this stack serves ({rules.organization_id})"),)


def is_included_credits(kind: Kind, stigg_id: str | None) -> bool:
    """Whether a line names credits that come with a plan: an Entitlement with the ID of a credit currency, as in
    mappings that were made for Stigg's own Salesforce app.
    """
    return kind == "Entitlement" and (stigg_id or "").startswith(CREDIT_PREFIX)


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
    Out: its order, line by line. Left out are lines without a Stigg Type and of quantity 0; lines that agree in
    everything but the quantity are added up; times are in UTC. What is wrong is in the order's `problems`, each naming
    line and field; such an order contributes nothing.
    """
    return _Compiler(deal, rules).order()


def _customer(id: str | None) -> CustomerId | None:
    return None if id is None else CustomerId(id)


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
            if self.counts(line)
        ]

    def counts(self, line: Line) -> bool:
        """Whether a line is a concern of ours, and sells or changes anything."""
        if self.ends:
            # Without a type, but with what it ends, it is refused: left out, the deal could end all there is.
            return bool(line.stigg_type or line.stigg_id or line.ends)
        # CPQ keeps what was quoted and not bought with the quantity 0.
        total = line.total_quantity if self.differences else None
        nothing = line.quantity == 0 and total is None and not line.unlimited
        return bool(line.stigg_type or line.stigg_id) and not nothing

    def refuse(self, line: int | None, field: str, message: str, code: str = "invalid") -> None:
        self.problems.append(Problem(line, field, message, code))

    def order(self) -> Order:
        deal = self.deal
        self.problems += relation_problems(deal, ((placed.line, placed.number) for placed in self.lines))
        if deal.quantities == "differences" and not self.differences:
            self.refuse(None, "quantities", "only an amendment's lines can be differences")
        terms = self.terms()
        items = self.items(terms["start"], terms["end"])
        return Order(
            opportunity_id=OpportunityId(deal.opportunity.id),
            opportunity_name=deal.opportunity.name,
            account_id=AccountId(deal.account.id),
            account_name=deal.account.name,
            account_email=deal.account.email,
            stored_customer_id=_customer(deal.account.stigg_customer_id),
            customer_id=_customer(self.customer_id()),
            resource_id=deal.resource_id,
            trigger=deal.trigger,
            currency=deal.opportunity.currency_iso_code.lower(),
            amends=amended(deal),
            contract_id=ContractId(deal.contract_id) if deal.contract_id else None,
            differences=self.differences,
            as_of=instant_of(deal.opportunity.system_modstamp),
            items=items,
            **terms,
            problems=self.first_problems(),
            form=FORM,
        )

    def first_problems(self) -> tuple[Problem, ...]:
        """The problems; of very many, the first."""
        left = len(self.problems) - MOST_PROBLEMS
        if left <= 0:
            return tuple(self.problems)
        return (*self.problems[:MOST_PROBLEMS], Problem(None, "lines", f"and {left} more problems, not told here"))

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
        self.check_place(terms, trial)
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
            "purchase_order": terms.purchase_order or None,
            "activation": self.instant("terms.activationDate", terms.activation_date),
            "setup_billing": terms.setup_billing or None,  # an order without it keeps its digest
        }

    def check_place(self, terms: Terms, trial: bool) -> None:
        """Refuse terms that are not this kind of deal's."""
        for field, given in (("trialEnd", terms.trial_end), ("trialEndBehavior", terms.trial_end_behavior)):
            if given and not trial:
                self.refuse(None, f"terms.{field}", "belongs to a trial, and this deal is none")
        self.check_spending(terms)
        if terms.cancel and not self.ends:
            self.refuse(None, "terms.cancel", "belongs to a cancellation, and this deal is none")
        elif terms.cancel and terms.end:
            self.refuse(None, "terms.cancel", "goes without terms.end: that says the day already")

    def check_spending(self, terms: Terms) -> None:
        """Refuse a budget or minimum spend that several subscriptions would have to share."""
        for field, value in (("budget", terms.budget), ("minimumSpend", terms.minimum_spend)):
            # Stigg keeps these on one subscription, and nobody knows how to divide them between several.
            if value is not None and len(self.plans) > 1:
                said = "is one subscription's, and this deal has several plans: give each its own deal"
                self.refuse(None, f"terms.{field}", said)

    def cancel(self, given: Literal["now", "end_of_term"] | None) -> Literal["now", "end_of_term"] | None:
        """When a cancellation without a date takes effect: a contract's when it is over; of a deal that says nothing,
        but that it is not won any more, the policy for reopened deals decides.
        """
        return given or (None if ends_itself(self.deal) else "end_of_term")

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
        if not (self.differences or self.ends):
            self.check_whole(mapped)
        self.check_together(mapped)
        return added_up(mapped, self.differences)

    def check_whole(self, items: list[Item]) -> None:
        """Check that a deal that lists all there is has a plan, and parts of no other plan."""
        types = {placed.line.stigg_type for placed in self.lines}
        if not self.lines:
            self.refuse(None, "lines", f"the deal has {self.nothing()}: nothing to provision")
        elif "Plan" not in types and types != {"Credit grant"}:
            self.refuse(None, "lines", "the deal has no plan: one line needs the Stigg Type Plan")
        plans = self.plans
        for item in items:
            if item.plan_id and item.plan_id not in plans:
                self.refuse(item.lines[0], "planId", f"no line of the deal has the plan {item.plan_id}")

    @property
    def plans(self) -> set[str | None]:
        return {placed.line.stigg_id for placed in self.lines if placed.line.stigg_type == "Plan"}

    def nothing(self) -> str:
        typed = any(line.stigg_type or line.stigg_id for line in self.deal.lines or ())
        return "only lines of quantity 0" if typed else "no line with a Stigg Type"

    def check_together(self, items: list[Item]) -> None:
        """Check what lines of one entity have in common, whatever they are named: names may come later."""
        groups = groups_of(items, self.differences)
        if not (self.differences or self.ends):
            self.plans_apart(item for group in groups for item in group if item.kind == "Plan")
        for group in groups:
            self.problems += lines_that_differ(group, "reset_period", "cadence")
            most = _most(group[0].kind)
            if len(group) > 1 and abs(netted_item(group, self.differences, ends=False).quantity) > most:
                said = f"with the other lines of {group[0].stigg_id} is more than Stigg can hold ({most})"
                self.refuse(group[-1].lines[0], "quantity", said)

    def plans_apart(self, plans: Iterable[Item]) -> None:
        """Of one contract, and of what is renewed as one, a plan is there once at a time."""
        by_contract: dict[tuple[Any, ...], list[Item]] = {}
        for plan in plans:
            by_contract.setdefault((plan.contract_id, plan.renews, plan.amends), []).append(plan)
        for of_one in by_contract.values():
            self.problems += plans_named_twice(of_one)

    def item(self, placed: _Placed, start: Instant | None, end: Instant | None) -> Item | None:
        """One line as an item; None where it has problems, which are noted."""
        line, number, starts, ends = placed
        before = len(self.problems)
        kind = self.kind(line, number)
        if kind is None:
            return None
        self.check_id(kind, line, number)
        quantity = self.quantity(kind, line, number)
        if line.unlimited and kind != "Entitlement":
            self.refuse(number, "unlimited", f"{kind} cannot be unlimited, only an entitlement can")
        included = is_included_credits(kind, line.stigg_id)
        if line.price is not None and (kind == "Credit entitlement" or included):
            what = "what comes with a plan" if included else kind
            said = f"{what} has no price of its own: a price override goes on the plan, an add-on or a feature"
            self.refuse(number, "price", said)
        if line.plan_id and (fault := entity_id_fault(line.plan_id)):
            self.refuse(number, "planId", fault, "id_not_taken")
        if line.plan_id and kind in ("Plan", "Credit grant"):
            self.refuse(number, "planId", f"belongs on add-ons and entitlements, not on a {kind.lower()}")
        if line.prior_quantity is not None and line.prior_quantity != int(line.prior_quantity):
            self.refuse(number, "priorQuantity", f"{line.prior_quantity} is not a whole number")
        if starts and ends and ends <= starts:
            self.refuse(number, "end", "is not after the line's start")
        references: dict[str, Any] = {
            field: self.references(field, getattr(line, field), number) for field in ON_LINES.values()
        }
        # All problems of a line are listed before it is dropped, so that an admin corrects them in one go.
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
            prior=int(line.prior_quantity) if line.prior_quantity is not None and self.differences else None,
            # A line's date that its deal has anyway is left out: the digest is then the same with and without it.
            start=starts if starting(starts) > starting(start) else None,
            end=ends if ends and (end is None or ends < end or kind == "Credit grant") else None,
            contract_id=ContractId(line.contract_id) if line.contract_id else None,
            record=line.subscription_record,
            **references,
        )

    def kind(self, line: Line, number: int) -> Kind | None:
        """What a line sells; None where its Stigg Type does not say, which is noted."""
        kind = next((kind for kind in KINDS if kind == line.stigg_type), None)
        if not line.stigg_type:
            self.refuse(number, "stiggType", "is missing: a line with a Stigg ID needs a Stigg Type")
        elif kind is None:
            said = f"{line.stigg_type[:40]} is not a Stigg Type: use one of {', '.join(KINDS)}"
            self.refuse(number, "stiggType", said)
        return kind

    def references(self, field: str, said: tuple[str, ...], number: int) -> tuple[str, ...]:
        """What a line refers to, sorted; a day in it as an instant."""
        found = set()
        for reference in said:
            line, _, start = reference.rpartition("/") if reference.count("/") == 2 else (reference, "", "")
            instant = self.instant(field, start, line=number) if start else None
            found.add(f"{line}/{iso_utc(instant)}" if instant else line)
        return tuple(sorted(found))

    def check_id(self, kind: Kind, line: Line, number: int) -> None:
        prefix = CREDIT_PREFIX if is_included_credits(kind, line.stigg_id) else self.rules.prefix(kind)
        if not line.stigg_id:
            self.refuse(number, "stiggId", f"is missing: {kind} needs the ID it has in Stigg")
        elif fault := entity_id_fault(line.stigg_id):
            self.refuse(number, "stiggId", fault, "id_not_taken")
        elif not line.stigg_id.startswith(prefix):
            said = f"{line.stigg_id} does not start with {prefix}, as the ID of every {kind.lower()} does"
            self.refuse(number, "stiggId", said)
        elif line.stigg_id == prefix:
            self.refuse(number, "stiggId", f"has nothing after {prefix}")

    def quantity(self, kind: Kind, line: Line, number: int) -> int:
        """Units of a line. Salesforce sends quantities as decimals: 10.0 is whole."""
        if self.ends:
            return self.listed(kind, line, number)
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
        # Credits that were granted are never taken back.
        if given == int(given) and given <= 0 and (not self.differences or kind == "Credit grant"):
            said = "on a new deal" if kind != "Credit grant" else "for a credit grant"
            self.refuse(number, "quantity", f"{int(given)} is not possible {said}: it takes 1 or more")
            return 0
        return self.whole(kind, given, number)

    def listed(self, kind: Kind, line: Line, number: int) -> int:
        """How many of it have to be there for a cancellation, however it is said that they go; 0 for all of it."""
        return 0 if line.unlimited else self.whole(kind, abs(line.quantity or 0), number)

    def whole(self, kind: Kind, given: float, number: int) -> int:
        """A quantity as the whole number it has to be."""
        most = _most(kind)
        if given != int(given):
            self.refuse(number, "quantity", f"{given} is not a whole number")
        elif abs(given) > most:
            self.refuse(number, "quantity", f"is more than Stigg can hold ({most})")
        return int(given)


class _Placed(NamedTuple):
    """A line with its number in messages, and when it counts."""

    line: Line
    number: int
    start: Instant | None
    end: Instant | None
