"""What a billing period charges without some deals and with them, from one moment to the next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.charges import Charge
from closedwon.domain.desired import Slot
from closedwon.domain.instants import Instant, Moment, iso_utc, starting
from closedwon.preview.answers import PreviewedCharge, PreviewedChargeLine, PreviewedCharges, PreviewedShare
from closedwon.words.changes import Calendar
from closedwon.words.charges import Names, comparison, lines_of, names_in, until


class Pair(NamedTuple):
    """What one period of a slot charges without some deals and with them; None where nothing stands."""

    before: Charge | None
    after: Charge | None

    @property
    def charge(self) -> Charge | None:
        return self.after or self.before

    @property
    def plan_id(self) -> str:
        return self.charge.plan_id if self.charge is not None else ""

    @property
    def content(self) -> tuple[object, object]:
        """What is compared: the lines, not until when they are so."""
        before, after = ((charge.lines, charge.currency) if charge else None for charge in self)
        return before, after

    @property
    def deals(self) -> set[str]:
        return {deal for charge in self if charge is not None for deal in charge.deals}


def compared(
    before: Agreement, after: Agreement, moments: Sequence[Instant], concerned: frozenset[str], calendar: Calendar
) -> Iterator[PreviewedCharges]:
    """Where one period charges something else, or for something else, than it did.

    In: what was agreed without the deals, and with them; the later moments to look at; whose charges are told: those
    that any of these deals has a part in.
    """
    named = names_in(after, by_id=True)  # a name may be a person's, and answers are logged by those who ask
    now = starting(after.world.now)
    for slot in sorted({*before.slots, *after.slots}, key=lambda slot: slot.key):
        pairs = ((at, Pair(before.charge(slot, at), after.charge(slot, at))) for at in (now, *map(starting, moments)))
        for at, pair in _changes(pairs):
            if not concerned.isdisjoint(pair.deals):
                yield _told(slot, None if at == now else at.instant, pair, named, calendar)


def _changes(pairs: Iterable[tuple[Moment, Pair]]) -> Iterator[tuple[Moment, Pair]]:
    """The first of those that differ, each that differs otherwise, and the one that is equal again: then it is over."""
    said: tuple[object, object] | None = None
    for at, pair in pairs:
        differs = pair.content[0] != pair.content[1]
        if pair.charge is not None and pair.content != said and (differs or said is not None):
            said = pair.content
            yield at, pair


def _told(slot: Slot, at: Instant | None, pair: Pair, named: Names, calendar: Calendar) -> PreviewedCharges:
    before, after = pair
    return PreviewedCharges(
        at=None if at is None else iso_utc(at),
        product_id=slot.product_id,
        plan_id=pair.plan_id,
        resource_id=slot.resource_id,
        trial=slot.trial,
        before=None if before is None else charged(before),
        after=None if after is None else charged(after),
        what=_sentence(slot, at, pair, named, calendar),
        explained=[] if after is None else lines_of(after, named),
    )


def _sentence(slot: Slot, at: Instant | None, pair: Pair, named: Names, calendar: Calendar) -> str:
    start = "From now on" if at is None else f"From {calendar.first(at)} on"
    what = f"the trial of {pair.plan_id}" if slot.trial else pair.plan_id
    resource = f" for {slot.resource_id}" if slot.resource_id else ""
    ends = until(pair.after, named, calendar) if pair.after is not None else ""
    return f"{start} {what}{resource} charges {comparison(*pair)}{f', {ends}' if ends else ''}."


def charged(charge: Charge) -> PreviewedCharge:
    """A charge as the API answers it."""
    lines = [
        PreviewedChargeLine.model_validate(
            {
                "type": line.kind,
                "id": line.id,
                "quantity": line.quantity,
                "amount": _float(line.amount),
                "catalogue": bool(line.listed),
                "shares": [
                    PreviewedShare(opportunity_id=share.deal, quantity=share.quantity, amount=_float(share.amount))
                    for share in line.shares
                ],
            }
        )
        for line in charge.lines
    ]
    return PreviewedCharge.model_validate(
        {
            "amount": _float(charge.amount),
            "agreed": float(charge.agreed),
            "catalogue": list(charge.listed),
            "currency": charge.currency.upper(),
            "billing_period": charge.billing_period,
            "lines": lines,
            "end": None if charge.end.instant is None else iso_utc(charge.end.instant),
        }
    )


def _float(amount: Fraction | None) -> float | None:
    return None if amount is None else round(float(amount), 6)
