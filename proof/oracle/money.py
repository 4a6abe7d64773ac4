"""What one billing period charges: the tiers of one place in one contract (the model's section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from proof.oracle.words import Line

Pot = dict[Fraction | None, Fraction]
"""Price of one unit to units; None: the catalogue's price."""


CENT = Fraction(1, 100)


class Charged(NamedTuple):
    """Units, and what they charge together; None: the catalogue's price, all of them."""

    units: int
    amount: Fraction | None


class PriceFault(Exception):
    """No sum that anybody agreed to. code: price_conflict, price_unknown. by: the deal that does not fit, if one."""

    def __init__(self, code: str, by: str | None = None) -> None:
        super().__init__(code)
        self.code, self.by = code, by


def pot_of(lines: Sequence[Line]) -> Pot:
    """The tiers of lines that count together in one place of one contract.

    Deals of one day all see what there was before that day. Raises PriceFault.
    """
    pot: Pot = {}
    for day in sorted({line.day for line in lines}):
        before = dict(pot)
        for deal in sorted({line.deal for line in lines if line.day == day}):
            _deal([line for line in lines if line.day == day and line.deal == deal], before, pot)
    if any(units < 0 for units in pot.values()) and sum(pot.values()) >= 0:
        raise PriceFault("price_conflict")  # more were taken at a price than there were at it
    return {price: units for price, units in pot.items() if units}


def _deal(lines: Sequence[Line], before: Pot, pot: Pot) -> None:
    rest = {price: units for price, units in before.items() if units}
    for line in sorted((line for line in lines if line.quantity < 0), key=lambda line: line.price is None):
        _take(line, rest, pot)
    left = {price: units for price, units in rest.items() if units}
    for line in lines:
        if line.quantity > 0:
            _add(line, left, pot)


def _take(line: Line, rest: Pot, pot: Pot) -> None:
    units, price = Fraction(-line.quantity), line.price
    there = sum(rest.values(), Fraction())
    taken: Pot
    if price is None:
        taken = {tier: n * units / there for tier, n in rest.items()} if there else {None: units}
    elif rest.get(price, Fraction()) >= units:
        taken = {price: units}
    elif there and None not in rest and abs(_charge(rest) / there - price) <= CENT / 2:  # as it was shown
        taken = {tier: n * units / there for tier, n in rest.items()}
    elif set(rest) == {None}:
        taken = {None: units}
    else:
        raise PriceFault("price_conflict", line.deal)
    for tier, n in taken.items():
        rest[tier] = rest.get(tier, Fraction()) - n
        pot[tier] = pot.get(tier, Fraction()) - n


def _add(line: Line, left: Pot, pot: Pot) -> None:
    units = Fraction(line.quantity)
    there = sum(left.values(), Fraction())
    added: Pot
    if line.price is not None or not line.difference or not there:
        added = {line.price: units}
    else:
        added = {tier: n * units / there for tier, n in left.items()}
    for tier, n in added.items():
        pot[tier] = pot.get(tier, Fraction()) + n


def _charge(pot: Pot) -> Fraction:
    return sum((price * units for price, units in pot.items() if price is not None), Fraction())


def charged(places: Iterable[Sequence[Line]]) -> Charged:
    """What one place of a slot comes to, all contracts together. In: its lines, contract by contract.

    Raises PriceFault.
    """
    together: Pot = {}
    for lines in places:
        for price, units in pot_of(lines).items():
            together[price] = together.get(price, Fraction()) + units
    together = {price: units for price, units in together.items() if units}
    count = int(sum(together.values(), Fraction()))
    known = {price for price in together if price is not None}
    if not known:
        return Charged(count, None)
    if None in together:
        raise PriceFault("price_unknown")
    return Charged(count, _charge(together))
