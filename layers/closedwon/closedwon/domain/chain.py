"""A chain: the orders of one contract, and what they give together at any moment. Pure.

A base, its amendments, its renewals and its cancellation belong together by what each says it amends, renews or
cancels. Within a chain orders are laid over each other by their effective dates: a whole order (base, renewal,
amendment without CPQ) is all there is from its date on, differences add to what there is, a cancellation ends it. What
arrived first does not matter, nor does a revision: the same orders always make the same chain.

When something counts is a `Moment`: an instant, the beginning, or a day that nobody knows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Literal, NamedTuple

from closedwon.domain.codes import Reason
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import BEGINNING, NO_DAY, Instant, Moment, day_of, ending, iso_utc, starting
from closedwon.domain.order import Item, Kind, Order

TERMS = ("billing_period", "payment_collection", "paying_customer_id")
"""Terms that a renewal keeps unless it says others; an amendment keeps all."""

MOST_SUMS = 4096
"""How many sums of amendments a prior quantity is looked for among: twelve amendments of one product."""


class Placed(NamedTuple):
    """An order in its chain. effective: from when it counts. depth: how many links lead to the base."""

    order: Order
    effective: Moment
    depth: int

    @property
    def whole(self) -> bool:
        """Whether it is all there is from its date on."""
        return self.order.trigger != "cancellation" and not self.order.differences


class Fault(NamedTuple):
    """What does not fit in a chain. yields: the opportunities whose order could make way, first choice first, each
    with the reason from its side.
    """

    yields: tuple[tuple[OpportunityId, Reason], ...]


class Fate(NamedTuple):
    """What became of an order's contribution: it is `in force`, `past its term` (and access goes on for now),
    `scheduled` for a day, `replaced` or `cancelled` by an opportunity's order, `over` with its term, or `trial over`.
    """

    kind: Literal["in force", "past its term", "scheduled", "replaced", "cancelled", "over", "trial over"]
    at: Moment = BEGINNING
    by: str = ""


@dataclass(frozen=True)
class State:
    """What a chain gives at one moment.

    orders: those it comes from, in the chain's order. items: one for each entity, with its total quantity; those below
    zero are in here too, and are a fault. terms: an order that says the terms (and nothing else of it counts). trial:
    whether it is a trial.
    """

    orders: tuple[Order, ...]
    items: tuple[Item, ...]
    terms: Order
    trial: bool


Key = tuple[Kind, str, str | None]


class _Share(NamedTuple):
    """One item of one order, while it counts."""

    order: Order
    item: Item
    start: Moment
    end: Moment
    difference: bool


class Laid(NamedTuple):
    """What is laid over each other up to a moment: the shares that count, the terms, what became of each order.

    milestones: the renewals, cancellations and dates that lie behind: what may lower something without anybody's
    approval.
    """

    shares: tuple[_Share, ...] = ()
    terms: Order | None = None
    fates: Mapping[str, Fate] = {}
    milestones: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Chain:
    """The orders of one contract in the order they are laid over each other.

    grace: seconds after the end of a term that access goes on; None for ever. time_zone: the zone of the days in
    reasons.
    """

    placed: tuple[Placed, ...]
    grace: int | None
    time_zone: str = "UTC"

    @cached_property
    def moments(self) -> tuple[Moment, ...]:
        """The moments at which something may change, in order; the beginning where something counts from there."""
        found: set[Moment] = set()
        for order, effective, _ in self.placed:
            found |= {effective, starting(trial_over(order)), starting(order.end)}
            if order.end and (over := self._over(order.end)):
                found.add(starting(over))
            for item in order.items:
                if item.kind != "Credit grant":
                    found |= {max(starting(item.start), effective), starting(item.end)}
        return tuple(sorted(found - {NO_DAY}))

    @cached_property
    def ends_with_billing_period(self) -> bool:
        """Whether it was cancelled for the end of a term that nobody said the day of."""
        return any(order.trigger == "cancellation" and effective == NO_DAY for order, effective, _ in self.placed)

    def _day(self, moment: Moment) -> str:
        return day_of(moment.instant, self.time_zone) if moment.instant else "any day"

    def _over(self, end: Instant) -> Instant | None:
        """When access ends after a term that ended, by the stack's policy."""
        if self.grace is None:
            return None
        return end + timedelta(seconds=self.grace)

    def laid(self, at: Moment) -> Laid:
        """What is laid over each other at a moment."""
        if at not in self._known:
            self._known[at] = self._laid(at)
        return self._known[at]

    @cached_property
    def _known(self) -> dict[Moment, Laid]:
        return {}

    def _laid(self, at: Moment) -> Laid:
        shares: list[_Share] = []
        terms: Order | None = None
        fate = Fate("in force")
        fates: dict[str, Fate] = {}
        milestones: set[str] = set()

        def done(why: Fate, orders: Iterable[Order]) -> None:
            for order in orders:
                if order.opportunity_id != why.by:
                    fates[order.opportunity_id] = why

        in_force: list[Order] = []
        for placed in self.placed:
            order, effective, _ = placed
            if effective > at:
                fates[order.opportunity_id] = Fate("scheduled", effective)
                continue
            if order.trigger in ("renewal", "cancellation"):
                milestones.add(order.opportunity_id)
            if order.trigger == "cancellation":
                if order.items:
                    gone = {(item.kind, item.stigg_id) for item in order.items}
                    shares = [share for share in shares if (share.item.kind, share.item.stigg_id) not in gone]
                    in_force.append(order)
                    fates[order.opportunity_id] = Fate("in force")
                    continue
                fate = Fate("cancelled", effective, order.opportunity_id)
                done(fate, in_force)
                fates[order.opportunity_id] = fate
                shares, in_force = [], []
                continue
            if placed.whole and (order.trigger != "amendment" or fate.kind != "cancelled"):
                done(Fate("replaced", effective, order.opportunity_id), in_force)
                shares, in_force, fate = [], [], Fate("in force")
                terms = order if terms is None else _over_terms(terms, order, order.trigger == "amendment")
            elif terms is not None and fate.kind != "cancelled":
                terms = _over_terms(terms, order, keeps_end=True)
            if fate.kind == "cancelled":
                fates[order.opportunity_id] = fate
                continue
            in_force.append(order)
            fates[order.opportunity_id] = Fate("in force")
            # A difference that ends before its term does is for a while only.
            while_only = order.differences and order.end and terms and starting(order.end) < ending(terms.end)
            until = order.end if while_only else None
            shares += [
                _Share(order, item, max(starting(item.start), effective), ending(item.end or until), order.differences)
                for item in order.items
                if item.kind != "Credit grant"
            ]
        for share in shares:
            milestones |= {
                f"{share.order.opportunity_id}@{iso_utc(day)}"
                for day in (share.item.start, share.end.instant)
                if day and starting(day) <= at
            }
        if terms is not None and shares:
            over = trial_over(terms)
            if terms.trigger == "trial" and terms.trial_end and over and starting(over) <= at:
                milestones.add(f"{terms.opportunity_id}@{iso_utc(terms.trial_end)}")
                if terms.trial_end_behavior != "CONVERT_TO_PAID":
                    done(Fate("trial over", starting(terms.trial_end)), in_force)
                    shares = []
            over = self._over(terms.end) if terms.end else None
            if over and starting(over) <= at:
                milestones.add(f"{terms.opportunity_id}@{iso_utc(over)}")
                done(Fate("over", starting(over)), in_force)
                shares = []
            elif terms.end and starting(terms.end) <= at and terms.trigger != "trial":
                past = Fate("past its term", starting(terms.end))
                done(past, [order for order in in_force if order.trigger != "cancellation"])
        counted = tuple(share for share in shares if share.start <= at < share.end)
        return Laid(counted, terms, fates, frozenset(milestones))

    def state(self, at: Moment) -> State | None:
        """What the chain gives at a moment; None when that is nothing."""
        place = bisect_right(self.moments, at)  # nothing changes between two moments
        if place == 0:
            return None
        moment = self.moments[place - 1]
        if moment not in self._states:
            self._states[moment] = self._state(moment)
        return self._states[moment]

    def _totals(self, at: Moment) -> list[Item]:
        """What is laid over each other at a moment, as one item for each entity."""
        if at not in self._added_up:
            self._added_up[at] = _totals(self.laid(at).shares)
        return self._added_up[at]

    @cached_property
    def _added_up(self) -> dict[Moment, list[Item]]:
        return {}

    @cached_property
    def _states(self) -> dict[Moment, State | None]:
        return {}

    def since(self, at: Moment, plan_id: str) -> Moment:
        """From when the chain gave a plan without a break that it gives at a moment."""
        state = self.state(at)
        since = at
        for moment in reversed(self.moments[: bisect_right(self.moments, at)]):
            then = self.state(moment)
            if (
                state is None
                or then is None
                or (then.trial, then.terms.resource_id) != (state.trial, state.terms.resource_id)
                or not any((i.kind, i.stigg_id) == ("Plan", plan_id) and i.quantity > 0 for i in then.items)
            ):
                break
            since = moment
        return since

    def _state(self, at: Moment) -> State | None:
        laid = self.laid(at)
        if laid.terms is None or not laid.shares:
            return None
        items = tuple(item for item in self._totals(at) if item.quantity)
        if not items:
            return None
        orders = tuple({share.order.opportunity_id: share.order for share in laid.shares}.values())
        terms = laid.terms
        trial = terms.trigger == "trial" and at < ending(trial_over(terms))
        return State(orders, items, terms, trial)

    def faults(self) -> Iterable[Fault]:
        """What does not fit, as far as the orders alone show it: no base, below zero (units or money), another prior
        quantity, nothing to end.
        """
        based = ended = False
        for order, effective, _ in self.placed:
            if order.trigger in ("closed_won", "trial", "renewal"):
                if order.trigger == "renewal" and not order.start and not based and not ended:
                    why = Reason.of("reference_unknown", reference=_named(order), does="renews")
                    yield Fault(((order.opportunity_id, why),))
                based, ended = True, False
            elif not based and not ended and (order.trigger == "amendment" or order.amends):
                does = "amends" if order.trigger == "amendment" else "ends"
                yield Fault(((order.opportunity_id, Reason.of("no_base", reference=_named(order), does=does)),))
            elif order.trigger == "cancellation" and not order.items:
                ended = True
            elif order.trigger == "cancellation" and not ended:
                yield from self._nothing_to_end(order, effective)
            if order.trigger == "amendment" and based and not ended:
                yield from self._another_currency(order, effective)
                yield from self._another_prior(order, effective)
        for at in self.moments:
            yield from self._below_zero(at)

    def _without(self, order: Order) -> Chain:
        return replace(self, placed=tuple(placed for placed in self.placed if placed.order is not order))

    def _another_currency(self, order: Order, effective: Moment) -> Iterable[Fault]:
        if all(placed.order.currency == order.currency for placed in self.placed):
            return
        others = self._without(order)
        terms = others.laid(effective).terms
        if terms is not None and terms.currency != order.currency:
            why = Reason.of("currency_conflict", before=terms.currency.upper(), after=order.currency.upper())
            yield Fault(((order.opportunity_id, why),))

    def _nothing_to_end(self, order: Order, effective: Moment) -> Iterable[Fault]:
        others = self._without(order)
        held = {(item.kind, item.stigg_id) for share in others.laid(effective).shares for item in (share.item,)}
        for item in order.items:
            if (item.kind, item.stigg_id) not in held:
                why = Reason.of("nothing_to_end", item=item.stigg_id, day=self._day(effective))
                yield Fault(((order.opportunity_id, why),))

    def _below_zero(self, at: Moment) -> Iterable[Fault]:
        laid = self.laid(at)
        for item in self._totals(at):
            key = (item.kind, item.stigg_id)
            concerned = [share for share in laid.shares if (share.item.kind, share.item.stigg_id) == key]
            if item.quantity > 0 and item.price is not None and item.price < 0:
                why = Reason.of("price_conflict", item=item.stigg_id)
                changes = [share for share in concerned if share.difference]
                yield Fault(tuple((share.order.opportunity_id, why) for share in (*changes[::-1], *concerned[::-1])))
            if item.quantity >= 0:
                continue
            takers = [share for share in concerned if share.difference and share.item.quantity < 0]
            givers = [share for share in concerned if share not in takers]
            below = Reason.of("below_zero", item=item.stigg_id, day=self._day(at) if at.instant else None)
            yields = []
            for share in reversed(takers):
                rest = item.quantity - share.item.quantity
                why = below.knowing(quantity=-share.item.quantity, there=max(rest, 0))
                yields.append((share.order.opportunity_id, why))
            for share in reversed(givers):
                yields.append((share.order.opportunity_id, below.knowing(leaves=item.quantity)))
            yield Fault(tuple(yields))

    def _another_prior(self, order: Order, effective: Moment) -> Iterable[Fault]:
        """A quote line knows how many there were. Amendments of one day may not know of each other, so any of them
        count or not.
        """
        if all(item.prior is None or item.unlimited for item in order.items):
            return
        before = self._without(order)
        shares = [share for share in before.laid(effective).shares if _place(share.order, self) < _place(order, self)]
        for item in order.items:
            if item.prior is None or item.unlimited:
                continue
            same = [s for s in shares if (s.item.kind, s.item.stigg_id) == (item.kind, item.stigg_id)]
            whole = sum(share.item.quantity for share in same if not share.difference)
            sums = {whole}
            for share in same:
                if share.difference and len(sums) < MOST_SUMS:
                    sums |= {total + share.item.quantity for total in sums}
            if item.prior in sums:
                continue
            total = sum(share.item.quantity for share in same)
            quoted = Reason.of("prior_mismatch", item=item.stigg_id, quantity=item.prior)
            theirs = quoted.knowing(other=order.opportunity_id)
            yields = [(order.opportunity_id, quoted.knowing(there=total))]
            yields += [(share.order.opportunity_id, theirs.knowing(there=total)) for share in reversed(same)]
            if not same:  # a whole order that left it out since
                yields += [
                    (p.order.opportunity_id, theirs)
                    for p in reversed(self.placed)
                    if p.whole and p.effective <= effective
                ][:1]
            yield Fault(tuple(yields))


def _named(order: Order) -> str:
    return " or ".join(order.amends)


def _place(order: Order, chain: Chain) -> int:
    return next(place for place, placed in enumerate(chain.placed) if placed.order is order)


def _over_terms(terms: Order, order: Order, keeps_end: bool) -> Order:
    """The terms with what a later order says of them: an amendment keeps what it does not say, a renewal how it is
    paid.
    """
    kept = (*TERMS, "coupon", "budget", "minimum_spend") if keeps_end else TERMS
    changes = {name: getattr(terms, name) for name in kept if getattr(order, name) is None}
    changes["resource_id"] = order.resource_id or terms.resource_id
    if keeps_end:
        changes |= {"trigger": terms.trigger, "trial_end": terms.trial_end}
        changes["trial_end_behavior"] = terms.trial_end_behavior
        changes["end"] = terms.end if order.differences else order.end or terms.end
        if order.budget is None:
            changes["budget_soft"] = terms.budget_soft
    changes["metadata"] = tuple(sorted({**dict(terms.metadata), **dict(order.metadata)}.items()))
    return replace(order, **changes)


def _totals(shares: Iterable[_Share]) -> list[Item]:
    """The shares of each entity as one item, below zero and zero included."""
    groups: dict[Key, list[_Share]] = defaultdict(list)
    for share in shares:
        groups[_key(share, groups)].append(share)
    return [_total(key, group) for key, group in groups.items()]


def _key(share: _Share, known: Mapping[Key, object]) -> Key:
    """What a share is of. A difference need not repeat which plan an add-on belongs to."""
    item = share.item
    key: Key = (item.kind, item.stigg_id, item.plan_id)
    if share.difference and key not in known:
        same = [other for other in known if other[:2] == key[:2] and None in (other[2], key[2])]
        if len(same) == 1:
            return same[0]
    return key


def _total(key: Key, shares: list[_Share]) -> Item:
    added = [share.item for share in shares if share.item.quantity > 0] or [share.item for share in shares]
    limited = sum(share.item.quantity for share in shares if not share.item.unlimited)
    unlimited = sum(share.item.quantity for share in shares if share.item.unlimited)
    newest = added[-1]
    return Item(
        kind=key[0],
        stigg_id=key[1],
        quantity=1 if unlimited > 0 and limited >= 0 else unlimited if unlimited else limited,
        lines=added[0].lines,
        price=_price(shares, limited),
        unlimited=unlimited > 0,
        soft_limit=any(item.soft_limit for item in added),
        reset_period=next((item.reset_period for item in reversed(added) if item.reset_period), None),
        cadence=newest.cadence,
        plan_id=key[2],
    )


def _price(shares: list[_Share], units: int) -> float | None:
    """The price of one unit that charges what the shares charge together; None where no deal overrides it.

    Units without a price of their own cost what the others cost; where no price is known, they are unknown, and what a
    later deal says of the price holds for all, until it is taken back.
    """
    money, known, unknown = 0.0, 0, 0
    each: float | None = None  # what one of the known ones costs: still so when all of them are taken away
    costs: dict[tuple[int, float], float | None] = {(0, 0.0): None}  # the same, by what was known until then
    told, priced = 0.0, 0
    latest: float | None = None
    said: dict[tuple[int, float], float | None] = {(0, 0.0): None}  # the price, by what was told until then
    for share in shares:
        item = share.item
        value = item.value if share.difference else (None if item.price is None else item.price * item.quantity)
        if value is not None and share.difference:
            told, priced = told + value, priced + item.quantity
            latest = said.setdefault((priced, round(told, 6)), item.price or latest)
        at_the_same = value is None and share.difference and not unknown and each is not None
        if at_the_same:
            value = (each or 0.0) * item.quantity
        if value is None:
            unknown += item.quantity
            continue
        money, known = money + value, known + item.quantity
        if not at_the_same:
            each = costs.get((known, round(money, 6)), money / known if known else each)
        costs[known, round(money, 6)] = each
    return latest if unknown or units <= 0 else round(money / units, 6)


def trial_over(order: Order) -> Instant | None:
    """When a trial is over as far as the fold is concerned; None where the order is none.

    Stigg makes a paid subscription of one that converts. It is given a minute to do so: looked for any earlier, the
    paid subscription would be missing, and made a second time.
    """
    if order.trial_end is None or order.trial_end_behavior != "CONVERT_TO_PAID":
        return order.trial_end
    return order.trial_end + timedelta(minutes=1)


def chained(orders: Iterable[Order]) -> list[tuple[Placed, ...]]:
    """A customer's orders chain by chain, by what each order says it amends, renews or cancels.

    In: at most one order an opportunity, but for a cancellation beside the order of its own opportunity that it ends.
    """
    given = list(orders)
    links = _Links(given)
    groups: dict[str, list[Placed]] = defaultdict(list)
    for order in given:
        groups[links.chain_of(order)].append(Placed(order, links.effective(order), links.depth(order)))
    return sorted((tuple(sorted(group, key=_layer)) for group in groups.values()), key=lambda group: _layer(group[0]))


def _layer(placed: Placed) -> tuple[Moment, int, int, str]:
    """The place of an order in its chain: by effective date, links, then ID.

    Of one day, what ends a contract goes first: a renewal that was won after another was lost goes on from there. Then
    whole orders, differences, and what ends parts.
    """
    order = placed.order
    if order.trigger == "cancellation":
        rank = 3 if order.items else 0
    else:
        rank = 2 if order.differences else 1
    return (placed.effective, placed.depth, rank, order.opportunity_id)


class _Links:
    """What the orders say of each other."""

    def __init__(self, orders: list[Order]) -> None:
        self._deals: dict[str, Order] = {
            order.opportunity_id: order for order in orders if order.trigger != "cancellation"
        }
        cancellations = [order for order in orders if order.trigger == "cancellation"]
        self._ended: dict[str, Order] = {
            o.opportunity_id: o for o in cancellations if o.opportunity_id not in self._deals
        }
        self._contracts: dict[str, Order] = {}
        for order in sorted(self._deals.values(), key=self._claim):
            if order.contract_id:
                self._contracts.setdefault(order.contract_id, order)

    @staticmethod
    def _claim(order: Order) -> tuple[bool, Moment, str]:
        """Of several that say they became a contract, it is the base or renewal, the earliest, the lowest ID."""
        return (order.trigger not in ("closed_won", "trial", "renewal"), starting(order.start), order.opportunity_id)

    def named(self, order: Order) -> Order | None:
        """The order that an order amends, renews or cancels."""
        if not order.amends:
            own = self._deals.get(order.opportunity_id) if order.trigger == "cancellation" else None
            return own if own is not order else None
        found = (self._deals.get(name) or self._contracts.get(name) or self._ended.get(name) for name in order.amends)
        return next((named for named in found if named is not None and named is not order), None)

    def _way(self, order: Order) -> list[Order]:
        """The order, what it names, what that names and so on, as far as that leads."""
        way = [order]
        while (named := self.named(way[-1])) is not None and all(named is not other for other in way):
            way.append(named)
        return way

    def depth(self, order: Order) -> int:
        return len(self._way(order)) - 1

    def chain_of(self, order: Order) -> str:
        """What names an order's chain: its base's opportunity, or the name that leads nowhere."""
        way = self._way(order)
        named = self.named(way[-1])
        if named is not None:  # they name each other in a circle
            return min(other.opportunity_id for other in way[way.index(named) :])
        last = way[-1]
        return last.amends[0] if last.amends else last.opportunity_id

    def effective(self, order: Order) -> Moment:
        """From when an order counts: never before what it names. A deal that is known only as cancelled says nothing of
        when it began: had it come before its cancellation, that would not count either.
        """
        way = [other for other in self._way(order) if other is order or other.trigger != "cancellation"]
        return max(own for other in way if (own := self._own(other)) != NO_DAY or other is order)

    def _own(self, order: Order) -> Moment:
        if order.trigger == "cancellation":
            if order.end:
                return starting(order.end)
            if order.cancel == "end_of_term":
                return ending(self._last_term_end(order))
            return starting(order.as_of)
        if order.trigger == "renewal" and not order.start:
            return starting(self._term_end(order))
        return starting(order.start)

    def _term_end(self, order: Order) -> Instant | None:
        """When the term ends that an order renews or cancels."""
        return next((other.end for other in self._way(order)[1:] if other.end and not other.differences), None)

    def _last_term_end(self, order: Order) -> Instant | None:
        """When the term ends that an order cancels, or the one that took its place before it was over."""
        end = self._term_end(order)
        chain = self.chain_of(order)
        renewals = [o for o in self._deals.values() if o.trigger == "renewal" and self.chain_of(o) == chain]
        for renewal in sorted(renewals, key=self._own):
            renews = end is not None and self._own(renewal) < starting(end)
            if renews and ending(renewal.end) > ending(end):
                end = renewal.end
        return end
