"""What a billing period charges without some deals and with them, from one moment to the next. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.charges import Charge
from closedwon.domain.desired import Slot
from closedwon.domain.instants import Instant, Moment, iso_utc, starting
from closedwon.preview.answers import PreviewedCharge, PreviewedChargeLine, PreviewedCharges, PreviewedShare
from closedwon.words.changes import Calendar
from closedwon.words.charges import Names, comparison, lines_of, names_in, until


def compared(
    before: Agreement, after: Agreement, moments: Sequence[Instant], concerned: frozenset[str], calendar: Calendar
) -> Iterator[PreviewedCharges]:
    """Where one period charges something else, or for something else, than it did.

    In: what was agreed without the deals, and with them; the later moments to look at; whose charges are told: those
    that any of these deals has a part in.
    """
    named = names_in(after)
    now = starting(after.world.now)
    for slot in sorted({*before.slots, *after.slots}, key=lambda slot: slot.key):
        said: tuple[object, object] | None = None
        for at in (now, *map(starting, moments)):
            was, is_then = before.charge(slot, at), after.charge(slot, at)
            found = (was and (was.lines, was.currency), is_then and (is_then.lines, is_then.currency))
            # Equal again after a difference is told: that is when it is over.
            if found == said or (was is None and is_then is None) or (said is None and found[0] == found[1]):
                continue
            if concerned.isdisjoint({*(was.deals if was else ()), *(is_then.deals if is_then else ())}):
                continue
            said = found
            yield _told(slot, None if at == now else at, was, is_then, named, calendar)


def _told(
    slot: Slot, at: Moment | None, before: Charge | None, after: Charge | None, named: Names, calendar: Calendar
) -> PreviewedCharges:
    charge = after or before
    assert charge is not None, "a charge is told where something stands"
    day = at.instant if at is not None else None
    ends = "" if after is None else until(after, named, calendar)
    resource = f" for {slot.resource_id}" if slot.resource_id else ""
    trial = "the trial of " if slot.trial else ""
    start = "From now on" if day is None else f"From {calendar.first(day)} on"
    sums = ", ".join(filter(None, (comparison(before, after), ends)))
    said = f"{start} {trial}{charge.plan_id}{resource} charges {sums}."
    return PreviewedCharges(
        at=None if day is None else iso_utc(day),
        product_id=slot.product_id,
        plan_id=charge.plan_id,
        resource_id=slot.resource_id,
        trial=slot.trial,
        before=None if before is None else charged(before),
        after=None if after is None else charged(after),
        what=said,
        explained=[] if after is None else lines_of(after, named),
    )


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
