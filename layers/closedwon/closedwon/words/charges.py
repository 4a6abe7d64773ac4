"""What a billing period charges, in words: each line, which deals it comes from, and until when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.charges import PRICED, Charge, ChargeLine
from closedwon.domain.identifiers import OpportunityId
from closedwon.words.changes import Calendar, listed, money

Names = Callable[[OpportunityId], str]
"""How a deal is called: "the base Deal 1"."""

CALLED = {"closed_won": "the base", "trial": "the trial"}
"""What a deal is called by its trigger, where that is not the trigger itself."""


def called(trigger: str, name: str) -> str:
    """A deal in the middle of a sentence: what it is, and its name."""
    return f"{CALLED.get(trigger, f'the {trigger}')} {name}"


def names_in(agreement: Agreement, by_id: bool = False) -> Names:
    """How the deals of an agreement are called, by what they contribute."""

    def named(id: OpportunityId) -> str:
        history = agreement.histories.get(id)
        if history is None:
            return id
        order = agreement.contribution(id).order or history.newest.order
        return called(order.trigger, id if by_id else order.opportunity_name or id)

    return named


def sum_of(charge: Charge) -> str:
    """What a period charges: 1,490.00 USD; what is the catalogue's is said."""
    if not charge.listed:
        return money(float(charge.agreed), charge.currency)
    catalogue = f"the catalogue's price of {listed(charge.listed)}"
    return f"{money(float(charge.agreed), charge.currency)} and {catalogue}" if charge.agreed else catalogue


def period_of(charge: Charge) -> str:
    """How a period is called in a sentence."""
    return {"MONTHLY": "a month", "ANNUALLY": "a year"}.get(charge.billing_period or "", "a billing period")


def lines_of(charge: Charge, named: Names) -> list[str]:
    """What each line comes to, and which deals that comes from."""
    return [line_of(line, charge.currency, named) for line in charge.lines]


def line_of(line: ChargeLine, currency: str, named: Names) -> str:
    """One line: feature-seats: 105 = 100 of the base Deal 1 + 5 of the amendment Deal 2."""
    whole = listed(dict.fromkeys(named(share.deal) for share in line.shares))
    if line.quantity is None:
        return f"{line.id}: unlimited, of {whole}"
    units = [(f"{abs(share.quantity):,}", share.quantity, named(share.deal)) for share in line.shares]
    counted = f"{line.quantity:,}{_explained(units, whole)}"
    if line.kind not in PRICED:
        return f"{line.id}: {counted}"
    what = line.id if line.kind == "Plan" and line.quantity == 1 else f"{line.quantity:,} x {line.id}"
    if line.amount is None:
        return f"{what}: {_catalogues(line)}{f'; {counted}' if len(_counting(units)) > 1 else f', of {whole}'}"
    return f"{what}: {money(float(line.amount), currency)}{_explained(_amounts(line, named), whole)}"


def _catalogues(line: ChargeLine) -> str:
    all_of_it = line.kind == "Plan" or line.listed == line.quantity
    return "the catalogue's price" if all_of_it else f"the catalogue's price of {_number(line.listed)}"


def _amounts(line: ChargeLine, named: Names) -> Counted:
    amounts = ((share.amount or Fraction(0), named(share.deal)) for share in line.shares)
    return [(f"{abs(float(amount)):,.2f}", amount, of) for amount, of in amounts]


Counted = Sequence[tuple[str, int | Fraction, str]]
"""Numbers as they are told, what they are, and whose."""


def _counting(shares: Counted) -> list[tuple[str, int | Fraction, str]]:
    return [share for share in shares if share[1]]


def _explained(shares: Counted, whole: str) -> str:
    """Where a number comes from: = 100 of the base + 5 of the amendment. whole: all whose it is, for a single one."""
    counting = _counting(shares)
    if len(counting) < 2:
        return f" of {counting[0][2] if counting else whole}"
    said = ""
    for number, amount, of in counting:
        sign = (" + " if said else " = ") if amount > 0 else (" - " if said else " = -")
        said += f"{sign}{number} of {of}"
    return said


def _number(amount: Fraction) -> str:
    return f"{int(amount):,}" if amount.denominator == 1 else f"{float(amount):,.2f}"


def until(charge: Charge, named: Names, calendar: Calendar) -> str:
    """Why this ends: until the renewal Deal 3 on 2027-01-01; empty where it does not, or where nobody says why."""
    at = charge.end.instant
    if at is None:
        return ""
    day = calendar.first(at)
    kinds = {cause.kind: cause for cause in charge.end_causes}
    for kind in ("renewed", "amended", "cancelled"):
        if kind in kinds and (by := kinds[kind].by) is not None:
            return f"until {named(by)} on {day}"
    if charge.next_deals:
        return f"until {listed(named(deal) for deal in charge.next_deals)} on {day}"
    if "term" in kinds:
        return f"until its term is over on {day}"
    return f"until it is cancelled on {day}" if kinds else f"until {day}"


def comparison(before: Charge | None, after: Charge | None) -> str:
    """What a period charges with a deal, beside what it charges without it: the end of a sentence."""
    if after is None or before is None:
        charge = after or before
        assert charge is not None, "nobody compares nothing with nothing"
        said = f"{sum_of(charge)} {period_of(charge)}"
        return said if after is not None else f"nothing instead of {said}"
    now = f"{sum_of(after)} {period_of(after)}"
    if (sum_of(before), period_of(before)) == (sum_of(after), period_of(after)):
        return f"{now}, as before"
    return f"{now} instead of {sum_of(before)}" + (
        f" {period_of(before)}" if period_of(before) != period_of(after) else ""
    )
