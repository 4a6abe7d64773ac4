"""Money: how many units one contract has of one entity, and what they charge, from moment to moment. Pure.

Units bought at different prices are tiers of a pot. Differences of deals that take effect on one day all see the pot as
it was before that day. Amounts are exact fractions; only a price override is rounded, last.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from closedwon.domain.contract.pieces import Line, exact
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Moment
from closedwon.domain.order import Item

CENT = Fraction(1, 100)


class Holding(NamedTuple):
    """What one contract has of one entity while nothing of it changes.

    units: of those with a limit. unlimited: more than 0 where it has no limit. charge: of one period, for the units
    with a known price. listed: how many units are at the catalogue's price. told: the price that was told last.
    """

    units: int = 0
    unlimited: int = 0
    charge: Fraction = Fraction(0)
    listed: Fraction = Fraction(0)
    told: Fraction | None = None

    @property
    def gives(self) -> bool:
        return self.units > 0 or self.unlimited > 0

    @property
    def below_zero(self) -> bool:
        return self.units < 0 or self.unlimited < 0

    @property
    def priced(self) -> bool:
        """Whether a price is known of any of it."""
        return self.told is not None and self.listed < self.units

    @property
    def mixed(self) -> bool:
        """Whether units with a known price stand beside some at the catalogue's, so that no price follows."""
        return self.priced and self.listed > 0


NONE = Holding()


@dataclass(slots=True)
class Track:
    """The holdings of one entity in one contract, from moment to moment, with the lines that they come from.

    priced: whether any line says a price. conflicts: lines whose price is none that the contract charged, each with the
    moment. span: of the one line there is; None where there are several.
    """

    lines: Sequence[Line]
    moments: Sequence[Moment] = ()
    holdings: Sequence[Holding] = ()
    priced: bool = False
    conflicts: Sequence[tuple[Moment, Line]] = ()

    @property
    def span(self) -> tuple[Moment, Moment] | None:
        return (self.moments[0], self.moments[1]) if len(self.lines) == 1 else None

    @property
    def is_given(self) -> bool:
        """Whether it is one line that gives, of a deal that says all there is: within it nothing can contradict."""
        return len(self.lines) == 1 and self.lines[0].item.quantity > 0 and not self.lines[0].difference

    def at(self, moment: Moment) -> Holding:
        """What there is at a moment."""
        place = bisect_right(self.moments, moment)
        return self.holdings[place - 1] if place else NONE


def track(lines: Sequence[Line]) -> Track:
    """The holdings that lines of one entity and contract come to, by a sweep over their starts and ends."""
    if len(lines) == 1 and lines[0].ever and not _says_price(lines[0]):
        return _alone(lines[0])
    counting = [line for line in lines if line.ever]
    priced = any(map(_says_price, counting))
    changes: dict[Moment, list[Line]] = defaultdict(list)
    for line in counting:
        changes[line.start].append(line)
        changes[line.end].append(line)
    moments = sorted(changes)
    if not priced:
        return Track(counting, moments, list(_counted(moments, changes)))
    conflicts: dict[Line, Moment] = {}
    holdings = list(_priced(moments, changes, conflicts))
    return Track(counting, moments, holdings, True, [(moment, line) for line, moment in conflicts.items()])


def _says_price(line: Line) -> bool:
    return line.item.price is not None or line.item.value is not None


@lru_cache(maxsize=4096)
def _units(units: int, unlimited: int) -> Holding:
    """The holding of units without a price."""
    return Holding(units, unlimited, Fraction(0), Fraction(units))


def _alone(line: Line) -> Track:
    """The holdings of one line without a price: that of most of what is sold."""
    quantity = line.item.quantity
    held = _units(0, quantity) if line.item.unlimited else _units(quantity, 0)
    return Track((line,), (line.start, line.end), (held, NONE))


Day = tuple[Moment, int]
"""When a deal takes effect; of one day, what is amended comes before what amends it."""


def _day(line: Line) -> Day:
    """The day of a line's deal. Deals of one day see the same pot, with what they amend: base, or whole amendment."""
    return (line.deal.effective, 0 if line.deal.is_root else 1 if line.deal.is_whole_amendment else 2)


def _counted(moments: Iterable[Moment], changes: Mapping[Moment, list[Line]]) -> Iterator[Holding]:
    """The holdings of what has no price: units alone."""
    units = unlimited = 0
    for moment in moments:
        for line in changes[moment]:
            sign = 1 if line.start == moment else -1
            if line.item.unlimited:
                unlimited += sign * line.item.quantity
            else:
                units += sign * line.item.quantity
        yield _units(units, unlimited)


def _priced(
    moments: Iterable[Moment], changes: Mapping[Moment, list[Line]], conflicts: dict[Line, Moment]
) -> Iterator[Holding]:
    """The holdings of what has prices. Only groups from the first that changed on are laid anew. conflicts: the lines
    whose price is none that there was are put there, each with its moment.
    """
    layers = _Layers()
    unlimited = 0
    for moment in moments:
        for line in changes[moment]:
            starts = line.start == moment
            if line.item.unlimited:
                unlimited += line.item.quantity if starts else -line.item.quantity
            else:
                layers.change(line, starts)
        pot, wrong = layers.lay_from(min(_day(line) for line in changes[moment]))
        for line in wrong:
            conflicts.setdefault(line, moment)
        yield pot.holding(unlimited)


class Pot:
    """Units of one entity by what one of them costs; None: the catalogue's price. below: the tiers below zero."""

    __slots__ = ("below", "charge", "tiers", "told", "units")

    def __init__(self) -> None:
        self.tiers: dict[Fraction | None, Fraction] = {}
        self.units = Fraction(0)
        self.charge = Fraction(0)
        self.told: Fraction | None = None
        self.below: set[Fraction | None] = set()

    def copy(self) -> Pot:
        other = Pot()
        other.tiers, other.units, other.charge = dict(self.tiers), self.units, self.charge
        other.told, other.below = self.told, set(self.below)
        return other

    def put(self, price: Fraction | None, units: Fraction | int) -> None:
        """Add units of a price, or take them."""
        left = self.tiers.get(price, Fraction(0)) + units
        if left:
            self.tiers[price] = left
        else:
            self.tiers.pop(price, None)
        if left < 0:
            self.below.add(price)
        else:
            self.below.discard(price)
        self.units += units
        if price is not None:
            self.charge += price * units

    def put_all(self, tiers: Iterable[tuple[Fraction | None, Fraction]]) -> None:
        """Add units of several prices, or take them."""
        for price, units in tiers:
            self.put(price, units)

    def shares(self, units: Fraction | int) -> list[tuple[Fraction | None, Fraction]]:
        """A number of units in proportion to what there is; where there is nothing, at the catalogue's price."""
        if self.units <= 0:
            return [(None, Fraction(units))]
        return [(price, Fraction(units) * there / self.units) for price, there in self.tiers.items()]

    @property
    def average(self) -> Fraction | None:
        """What one unit costs on average; None where that is not known."""
        return None if None in self.tiers or self.units <= 0 else self.charge / self.units

    @property
    def all_listed(self) -> bool:
        """Whether all of it is at the catalogue's price."""
        return not self.tiers or self.tiers.keys() == {None}

    def holding(self, unlimited: int) -> Holding:
        return Holding(int(self.units), unlimited, self.charge, self.tiers.get(None, Fraction(0)), self.told)


def lay(before: Pot, group: Sequence[Line]) -> tuple[Pot, list[Line]]:
    """Lay the lines of deals that take effect on one day over a pot.

    In: the pot before that day; the lines. Out: the pot after it; the lines whose price is none that the pot had.
    """
    after = before.copy()
    wrong: list[Line] = []
    deals: dict[str, list[Line]] = defaultdict(list)
    for line in group:
        deals[line.deal.id].append(line)
    for lines in deals.values():
        _lay_deal(before, after, lines, wrong)
    if after.units >= 0 and after.below:
        wrong += [line for line in group if line.item.quantity < 0]
    return after, wrong


class _Layers:
    """The lines that count at a moment, by the day of their deal, with the pot that there is after each day."""

    def __init__(self) -> None:
        self._groups: dict[Day, dict[Line, None]] = {}
        self._days: list[Day] = []
        self._pots: list[Pot] = []

    def change(self, line: Line, starts: bool) -> None:
        """Add a line that starts to its day, or take out one that ends."""
        day = _day(line)
        if not starts:
            del self._groups[day][line]
            return
        if day not in self._groups:
            self._groups[day] = {}
            self._pots.insert(bisect_right(self._days, day), Pot())
            insort(self._days, day)
        self._groups[day][line] = None

    def lay_from(self, first: Day) -> tuple[Pot, list[Line]]:
        """Lay anew what changed. In: the first day that did. Out: the pot after the last day; the lines laid anew whose
        price is none that there was.
        """
        begin = max(bisect_right(self._days, first) - 1, 0)
        pot = self._pots[begin - 1] if begin > 0 else Pot()
        conflicts: list[Line] = []
        for place in range(begin, len(self._days)):
            pot, wrong = lay(pot, tuple(self._groups[self._days[place]]))
            self._pots[place] = pot
            conflicts += wrong
        return pot, conflicts


class Share(NamedTuple):
    """What one deal adds to a holding: units (also those without a limit), and what they charge; listed: how many of
    them are at the catalogue's price. What takes units away is below zero.
    """

    deal: OpportunityId
    units: int
    charge: Fraction
    listed: Fraction


def shares_of(lines: Iterable[Line]) -> Iterator[Share]:
    """What each deal adds to what lines of one entity and contract come to: together, the holding. In the order in
    which the deals take effect. In: the lines that count at one moment.
    """
    groups: dict[Day, dict[str, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        groups[_day(line)][line.deal.id].append(line)
    pot = Pot()
    for day in sorted(groups):
        before, pot = pot, pot.copy()
        for _, some in sorted(groups[day].items()):
            units, charge, listed = pot.units, pot.charge, pot.tiers.get(None, Fraction(0))
            _lay_deal(before, pot, [line for line in some if not line.item.unlimited], [])
            unlimited = sum(line.item.quantity for line in some if line.item.unlimited)
            now = pot.tiers.get(None, Fraction(0))
            yield Share(some[0].deal.id, int(pot.units - units) + unlimited, pot.charge - charge, now - listed)


def _order_in_deal(line: Line) -> tuple[bool, bool, float, int]:
    """Minus before plus, known prices before others: the lines of a deal have no order of their own."""
    item = line.item
    return (item.quantity >= 0, item.price is None, item.price or 0.0, item.quantity)


def _lay_deal(before: Pot, after: Pot, lines: Sequence[Line], wrong: list[Line]) -> None:
    rest: Pot | None = None  # what the deal leaves of what there was, as soon as it matters
    for line in sorted(lines, key=_order_in_deal):
        if _is_netted(line):
            _reprice(before, after, line)
            continue
        price, quantity = _price_of(line.item), line.item.quantity
        if price is not None:
            after.told = price
        if quantity > 0 and (price is not None or not line.difference):
            after.put(price, quantity)
            continue
        rest = rest or before.copy()
        if quantity < 0:
            _take(rest, after, line, price, wrong)
        else:
            after.put_all(rest.shares(quantity))


def _price_of(item: Item) -> Fraction | None:
    """The price of one unit that an item tells: its own, or else that which its value comes to."""
    if item.price is not None:
        return exact(item.price)
    return exact(item.value) / item.quantity if item.value is not None and item.quantity else None


def _take(rest: Pot, after: Pot, line: Line, price: Fraction | None, wrong: list[Line]) -> None:
    """Take what a minus takes from both pots; where its price is none that there is, at that price all the same."""
    taken = _taken(rest, -line.item.quantity, price)
    if taken is None:
        wrong.append(line)
        taken = [(price, Fraction(-line.item.quantity))]
    for pot in (rest, after):
        pot.put_all((tier, -units) for tier, units in taken)


def _taken(rest: Pot, units: int, price: Fraction | None) -> list[tuple[Fraction | None, Fraction]] | None:
    """The tiers that a minus takes; None where its price is none that there is."""
    if price is None:
        return rest.shares(units)
    if rest.tiers.get(price, 0) >= units:
        return [(price, Fraction(units))]
    average = rest.average
    if average is not None and abs(price - average) <= CENT / 2:  # the customer saw it rounded to the cent
        return rest.shares(units)
    return [(None, Fraction(units))] if rest.all_listed else None


def _is_netted(line: Line) -> bool:
    """Whether an item of the first form is minus and plus in one: its value is not its quantity at its price."""
    item = line.item
    if item.value is None or line.deal.order.form != 0 or not line.difference:
        return False
    if not item.quantity:
        return True
    if item.price is None:
        return item.quantity > 0
    return exact(item.value) != exact(item.price) * item.quantity


def _reprice(before: Pot, after: Pot, line: Line) -> None:
    """Lay an item of the first form that nets minus and plus: from then on all units have one price."""
    item = line.item
    value = exact(item.value or 0.0)
    units = after.units + item.quantity
    told = exact(item.price) if item.price is not None else None
    if before.all_listed and None in after.tiers:
        price = told  # what there was has no known price: what is told of it holds for all
    else:
        price = (after.charge + value) / units if units > 0 else told
    after.tiers, after.units, after.charge, after.below = {}, Fraction(0), Fraction(0), set()
    after.told = told or price
    if units:
        after.put(price, units)


class Override(NamedTuple):
    """A price override of one unit; exact: whether it charges what it should to half a cent."""

    amount: float
    exact: bool


def override(charge: Fraction, units: int) -> Override:
    """The price of one unit that charges a sum for some units."""
    amount = round(float(charge / units), 6)
    return Override(amount, abs(exact(amount) * units - charge) <= CENT / 2)
