"""Guards: nothing shrinks by accident. Judged when a deal is accepted, for every coming moment. Pure.

Compared are two timelines at one instant, never one with its past: what was agreed before passes by itself. Who lets a
change through approves what there is before and after it, not the day and not the share.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from math import fsum
from typing import TYPE_CHECKING, Any, NamedTuple

from closedwon.domain.contract.facts import NOTHING, Contribution, History
from closedwon.domain.contract.faults import Fault, tiers_of
from closedwon.domain.contract.pieces import Line
from closedwon.domain.contract.references import Deal
from closedwon.domain.contract.sweep import PLAN
from closedwon.domain.contract.timeline import SlotTimeline
from closedwon.domain.desired import Slot
from closedwon.domain.instants import Moment, from_milliseconds, starting

if TYPE_CHECKING:
    from closedwon.domain.contract.standing import Evaluation, Standing

Amounts = Mapping[str, float]
"""How much there is of each entity."""


class Loss(NamedTuple):
    """What is less in a slot at a moment. share: 0 to 1, the mean over all there was. found: what there was."""

    share: float
    found: SlotTimeline
    at: Moment
    before: dict[str, float]
    after: dict[str, float]

    @property
    def slot(self) -> Slot:
        return self.found.slot

    @property
    def plan(self) -> str | None:
        """The plan that stands there."""
        return self.found.plan_at(self.at)


def loss(found: SlotTimeline, at: Moment, before: Amounts, after: Amounts) -> Loss | None:
    """What is less after than before in a slot; None where nothing is."""
    less = {id: amount for id, amount in before.items() if after.get(id, 0) < amount}
    if not less:
        return None
    left: dict[str, float] = {id: after.get(id, 0) for id in less}
    return Loss(_share(before, after, left), found, at, less, left)


def _share(before: Amounts, after: Amounts, left: Amounts) -> float:
    """The mean share of all there was that is lost, 0 to 1; all of it with the plan. left: of what is less."""
    if PLAN in left and not left[PLAN]:
        return 1.0
    # The plan counts where it is sold by the unit, or where it goes.
    counted = {id: amount for id, amount in before.items() if id != PLAN or amount > 1 or PLAN in left}
    return fsum(_lost(amount, after.get(id, 0)) for id, amount in counted.items()) / len(counted)


def _lost(was: float, now: float) -> float:
    if now >= was:
        return 0.0
    return 1.0 if was == float("inf") else (was - max(now, 0)) / was


def _plain(amounts: Amounts) -> dict[str, Any]:
    """Amounts as facts: whole numbers, and a word for no limit."""
    return {id: "unlimited" if amount == float("inf") else int(amount) for id, amount in sorted(amounts.items())}


class Guard:
    """The guards of one customer's deals. In: who stands."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._now = starting(standing.world.now)

    def faults(self, evaluation: Evaluation) -> Iterator[Fault]:
        """What the guards hold of what stands now."""
        for history in self._standing.histories:
            deal = evaluation.deals.get(history.id)
            if self._standing.level(history.id) or history.stands or history.id in self._standing.lapsed:
                continue
            if history.contribution.unwon:
                yield from self._reopened(history, evaluation)
            elif deal is not None and (found := self._losses(deal, history, evaluation)) is not None:
                yield from self._removal(deal, *found)

    def has_lapsed(self, history: History, evaluation: Evaluation) -> bool:
        """Whether a deal that a guard held, and that stands now, has nothing left to take."""
        deal = evaluation.deals.get(history.id)
        found = None if deal is None else self._losses(deal, history, evaluation)
        return found is not None and next(iter(found[0](max(found[1], self._now))), None) is None

    def _reopened(self, history: History, evaluation: Evaluation) -> Iterator[Fault]:
        """A deal that is not won any more, where the policy is to flag that, if something is less without it."""
        settled = history.settled
        if settled is None or settled.order is None or self._standing.world.policy.reopened_deal == "revoke":
            return
        worst = max(self._changed(history, settled, evaluation, self._now), key=_by_share, default=None)
        if worst is not None:
            at = _later(worst.at, self._now)
            yield Fault("reopened", tiers_of([(history.id, 0)]), worst.slot, at, _facts(worst))

    def _losses(
        self, deal: Deal, history: History, evaluation: Evaluation
    ) -> tuple[Callable[[Moment], Iterable[Loss]], Moment] | None:
        """What a deal takes away from a moment on: by a later reading, as a whole amendment, or by differences; and
        from when on it is guarded. None where no guard looks at it: a first sale takes nothing.
        """
        since = _sold(history)
        if _exempt(deal, history.contribution):
            return None
        if history.settled is not None and not _won(history):
            # Before it has begun, its start may be moved; what has begun is not taken back.
            since = since if history.begun else max(since, deal.effective)
            return partial(self._changed, history, history.settled, evaluation), since
        if deal.is_whole_amendment:
            return partial(self._changed, history, NOTHING, evaluation), since
        return (partial(self._taken, deal, evaluation), since) if deal.order.differences else None

    def _removal(self, deal: Deal, losses: Callable[[Moment], Iterable[Loss]], since: Moment) -> Iterator[Fault]:
        """The worst of what a deal takes away in each slot, where that is more than the stack lets pass. losses: from a
        moment on.
        """
        percent = self._standing.world.policy.removal_guard_percent
        worst: dict[Slot, Loss] = {}
        for one in losses(since):
            if 100 * one.share > percent and (one.slot not in worst or _by_share(one) > _by_share(worst[one.slot])):
                worst[one.slot] = one
        for slot in sorted(worst, key=lambda slot: slot.key):
            one = worst[slot]
            item = min(one.before, key=lambda id: (one.after[id] / one.before[id] if one.before[id] else 1, id))
            facts = {**_facts(one), "plan": one.plan, "share": round(100 * one.share), "percent": percent, "item": item}
            yield Fault("removal_guard", tiers_of([(deal.id, deal.depth)]), slot, _later(one.at, since), facts)

    def _changed(self, history: History, before: Contribution, evaluation: Evaluation, since: Moment) -> Iterator[Loss]:
        """What is less at some moment to come with a deal's newest facts than with others."""
        without, slots = self._standing.otherwise(history.id, before).timeline, evaluation.timeline.slots
        catalogue = self._standing.world.catalogue
        for slot, found in without.slots.items():
            now, trial = (slots.get(one, SlotTimeline(one, catalogue)) for one in (slot, slot._replace(trial=True)))
            # When the trial ends as well: what comes back as one is less from then on.
            moments = sorted({*found.moments, *now.moments, *trial.moments})
            for moment in moments[max(bisect_right(moments, since) - 1, 0) :]:
                at = max(moment, since)
                after = now.amounts(at)
                if slot.trial and not after:
                    continue  # a trial that ends on another day is an end of its own
                after = after or trial.amounts(at)  # one that goes on longer becomes paid later
                if (one := loss(found, at, found.amounts(at), after)) is not None:
                    yield one

    def _taken(self, deal: Deal, evaluation: Evaluation, since: Moment) -> Iterator[Loss]:
        """What a deal's own minus lines take of all that is given: the same in any batch."""
        for slot, lines in _taking(evaluation.contracts.index.of_deal(deal)).items():
            found, gross = evaluation.timeline.slots[slot], evaluation.gross(slot)
            for moment in _moments(lines, gross, since):
                own, added = _own(lines, moment), _own(lines, moment, only_added=True)
                if own.get(PLAN, 0) < 0 and not _planned(found, lines, moment):
                    continue  # a plan that is taken to zero is CPQ's way to cancel
                before = {id: amount - added.get(id, 0) for id, amount in gross.at(moment).items()}
                after = {id: amount + min(own.get(id, 0), 0) for id, amount in before.items()}
                if (one := loss(found, moment, _limited(before), _limited(after))) is not None:
                    yield one


def _exempt(deal: Deal, contribution: Contribution) -> bool:
    """Whether no guard looks at a deal: renewals, cancellations and own ends are there to take something away."""
    return deal.is_renewal or deal.is_churn or contribution.own_end is not None


def _sold(history: History) -> Moment:
    """From when on a deal is guarded: from when it was saved, so that no later day decides anything anew."""
    return starting(from_milliseconds(history.newest.revision.modified))


def _later(at: Moment, since: Moment) -> Moment | None:
    """A moment to come; None for at once, which has no day of its own."""
    return at if at > since else None


def _taking(lines: Iterable[Line]) -> dict[Slot, list[Line]]:
    """A deal's lines that ever count, by slot: those of the slots in which it takes something."""
    slots: dict[Slot, list[Line]] = defaultdict(list)
    for line in lines:
        if line.ever and not line.is_grant and not line.moved:
            slots[line.slot].append(line)
    return {slot: some for slot, some in slots.items() if any(line.item.quantity < 0 for line in some)}


def _planned(found: SlotTimeline, lines: Iterable[Line], moment: Moment) -> bool:
    """Whether a contract of these lines gives a slot its plan at a moment."""
    contracts = {line.contract for line in lines}
    return any(giving.times.hold(moment) for giving in found.plan_givings if giving.contract in contracts)


def _moments(lines: list[Line], gross: Gross, since: Moment) -> list[Moment]:
    """When the share that lines take may be the largest: when they start, and when what is given falls."""
    start, end = min(line.start for line in lines), max(line.end for line in lines)
    own = {line.start for line in lines if line.item.quantity < 0}
    falls = gross.falls[bisect_right(gross.falls, start) : bisect_left(gross.falls, end)]
    found = {max(moment, since) for moment in (*own, *falls)}
    return sorted(moment for moment in found if any(line.at(moment) for line in lines))


def _won(history: History) -> bool:
    """Whether a trial became a sale: its first reading as one."""
    before, now = history.settled, history.contribution
    return before is not None and before.order is not None and before.order.trigger == "trial" != _trigger(now)


def _trigger(contribution: Contribution) -> str | None:
    return None if contribution.order is None else contribution.order.trigger


def _own(lines: Iterable[Line], moment: Moment, *, only_added: bool = False) -> dict[str, int]:
    """What a deal's lines change of each entity at a moment, all of it or what is added; see `UNLIMITED`."""
    found: dict[str, int] = defaultdict(int)
    for line in lines:
        if line.at(moment) and (line.item.quantity > 0 or not only_added):
            found[PLAN if line.is_plan else line.item.stigg_id] += _counted(line)
    return {id: amount for id, amount in found.items() if amount}


def _counted(line: Line) -> int:
    """How much a line gives, or takes."""
    return line.item.quantity * (UNLIMITED if line.item.unlimited else 1)


def _limited(amounts: Mapping[str, int]) -> dict[str, float]:
    """Amounts that were counted with `UNLIMITED`, as they are compared."""
    return {id: float("inf") if amount >= UNLIMITED else amount for id, amount in amounts.items()}


class Gross:
    """All that is given in a slot, before anybody takes of it. falls: the moments at which some of it ends."""

    def __init__(self, found: SlotTimeline) -> None:
        self._changes: dict[str, tuple[list[Moment], list[int]]] = {}
        falls: set[Moment] = set()
        edges: dict[str, dict[Moment, int]] = defaultdict(lambda: defaultdict(int))
        for giving in found.givings:
            id = PLAN if giving.is_plan else giving.entity[1]
            for line in giving.track.lines:
                if line.item.quantity <= 0:
                    continue
                edges[id][line.start] += _counted(line)
                edges[id][line.end] -= _counted(line)
                falls.add(line.end)
        for id, by_moment in edges.items():
            moments = sorted(by_moment)
            total, totals = 0, []
            for moment in moments:
                total += by_moment[moment]
                totals.append(total)
            self._changes[id] = (moments, totals)
        self.falls = sorted(falls)

    def at(self, moment: Moment) -> dict[str, int]:
        """How much is given of each entity at a moment; see `UNLIMITED`."""
        found: dict[str, int] = {}
        for id, (moments, totals) in self._changes.items():
            place = bisect_right(moments, moment)
            if place and totals[place - 1] > 0:
                found[id] = totals[place - 1]
        return found


UNLIMITED = 2**60
"""What has no limit is counted as so many: more than any limit, and what is left without it is known."""


def _by_share(one: Loss) -> tuple[float, Any, str]:
    """The larger share first; of equals the earlier, wherever it is."""
    place, instant = one.at
    return (one.share, (-place, -instant.timestamp() if instant else 0.0), one.slot.key)


def _facts(one: Loss) -> dict[str, Any]:
    return {"before": _plain(one.before), "after": _plain(one.after)}
