"""Statuses: what each deal says, and the cause of it. Pure.

Held before Scheduled before Provisioned before Superseded before Ended. Each follows from the timeline, and none from
what was said before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from closedwon.domain.contract.cuts import Churn
from closedwon.domain.contract.facts import History
from closedwon.domain.contract.faults import Fault, Hold
from closedwon.domain.contract.pieces import Cause, Line
from closedwon.domain.contract.references import Deal
from closedwon.domain.contract.standing import Evaluation, Standing
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import BEGINNING, NO_DAY, Moment, starting

Kind = Literal["Failed", "Held", "Scheduled", "Provisioned", "Superseded", "Ended"]

Why = Literal[
    "refused",
    "held",
    "plan lost",
    "starts",
    "ends",
    "gives",
    "past its term",
    "ended",
    "nothing to end",
    "not won",
    "renewed",
    "amended",
    "cancelled",
    "trial over",
    "term over",
    "stopped",
]
"""The cause of a status: starts and ends lie ahead; ended is what a cancellation did."""


@dataclass(frozen=True)
class Status:
    """What a deal says. at: since when, or from when on; NO_DAY: with the billing period that is under way. by: the
    deal that superseded it. hold: why it is held, and what lets it through.
    """

    kind: Kind
    why: Why
    at: Moment = BEGINNING
    by: OpportunityId | None = None
    hold: Hold | None = None


class Statuses:
    """The statuses of one customer's deals at a moment. In: who stands; the moment."""

    def __init__(self, standing: Standing, at: Moment) -> None:
        self._standing = standing
        self._evaluation: Evaluation = standing.evaluation
        self._at = at
        self._churns = {churn.deal: churn for churn in self._evaluation.contracts.cuts.churns}

    def of(self, history: History) -> Status:
        """The status of one deal."""
        if history.id in self._standing.refused:
            return Status("Failed", "refused")
        if (hold := self.hold(history)) is not None:
            return Status("Held", "held", hold=hold)
        deal = self._evaluation.deals.get(history.id)
        if deal is None:
            return Status("Provisioned", "not won" if history.sells is not None else "nothing to end")
        if deal.is_churn:
            return self._of_churn(self._churns[deal])
        return self._of_sale(deal)

    def hold(self, history: History) -> Hold | None:
        """Why a deal is held; None where it is not."""
        faults = self._standing.held.get(history.id)
        if not faults or (not self._standing.level(history.id) and faults[0].code != "trial_missed"):
            return None
        fault = min(faults, key=lambda fault: fault.rank)
        hold = self._standing.hold_of(history.id, fault)
        if fault.code != "removal_guard" or history.settled is not None or not history.newest.order.differences:
            return hold
        return replace(hold, reason=hold.reason.knowing(**self._left(fault)))

    def _left(self, fault: Fault) -> dict[str, int]:
        """What the customer has of an item when a guarded deal of differences is to take effect, and what would be left
        of it. The guard compares with all that is given: who has had some of it taken away before has less than that.
        """
        slot, item = self._evaluation.timeline.slots.get(fault.slot), fault.facts["item"]  # type: ignore[arg-type]
        was, would_be = (fault.facts[name][item] for name in ("before", "after"))
        has = slot.amounts(fault.at or self._at).get(item, 0) if slot is not None else 0
        if isinstance(was, str) or has in (was, float("inf")):  # said already; or without a limit
            return {}
        return {"there": int(has), "leaves": int(has) - (was - would_be)}

    def _of_churn(self, churn: Churn) -> Status:
        """A cancellation: from what it really ends."""
        moments = sorted(at for _, at in self._evaluation.contracts.cuts.effective(churn))
        if not moments:
            by = sorted(id for line in churn.hits for id in line.ended_by("renewed"))
            return Status("Superseded", "renewed", by=by[0]) if by else Status("Provisioned", "nothing to end")
        if moments[0] > self._at:
            return Status("Scheduled", "ends", moments[0])
        return Status("Provisioned", "ended", max(at for at in moments if at <= self._at))

    def _of_sale(self, deal: Deal) -> Status:
        """A deal that sells: from what became of its lines."""
        pieces = self._pieces(deal)
        if not pieces:
            return self._without_lines(deal)
        starts = _starts(pieces)
        if starts and starts[0] > self._at:
            return Status("Scheduled", "starts", starts[0])
        if any(self._counts(line) for line in pieces):
            return self._giving(pieces)
        later = [start for start in starts if start > self._at]
        if later:
            return Status("Scheduled", "starts", later[0])
        return self._over(deal, pieces)

    def _pieces(self, deal: Deal) -> list[Line]:
        """The lines that say what became of a deal: credits only where it sells nothing else."""
        lines = [line for line in self._evaluation.contracts.index.of_deal(deal) if not line.moved]
        return [line for line in lines if not line.is_grant] or lines

    def _without_lines(self, deal: Deal) -> Status:
        if deal.id in self._evaluation.contracts.lost:
            return Status("Held", "plan lost")
        start = starting(deal.order.start)
        return Status("Scheduled", "starts", start) if start > self._at else Status("Provisioned", "gives")

    def _counts(self, line: Line) -> bool:
        """Whether a line does what it is for: it gives with its plan, or takes what there would be. Credits are given
        once, so that they always do.
        """
        if line.is_grant or self._evaluation.timeline.counts(line, self._at):
            return True
        return line.at(self._at) and line.deal in self._takers(line)

    def _takers(self, line: Line) -> list[Deal]:
        """The deals that take the plan of a line's contract to zero."""
        return [
            other.deal
            for other in line.contract.lines
            if other.is_plan and other.slot == line.slot and other.item.quantity < 0 and other.at(self._at)
        ]

    def _giving(self, pieces: Iterable[Line]) -> Status:
        over = max((line.natural for line in pieces if line.is_plan), default=NO_DAY)
        if over <= self._at and not any(line.slot.trial for line in pieces):
            return Status("Provisioned", "past its term", over)
        return Status("Provisioned", "gives")

    def _over(self, deal: Deal, pieces: list[Line]) -> Status:
        """What became of a deal none of whose lines counts any more."""
        ends = [self._end_of(line) for line in pieces]
        at = max(moment for moment, _ in ends)
        # What ran out before, as the first segment of a ramp does, has no say in what became of the rest.
        lasts = [causes for moment, causes in ends if moment == at]
        if (first := _superseding(lasts)) is not None:
            return Status("Superseded", first.kind, at, first.by)  # type: ignore[arg-type]
        if "own" in _kinds(causes for _, causes in ends):
            return Status("Provisioned", "ended", at)
        if "stopped" in _kinds(lasts):
            return Status("Ended", "stopped", at)
        return Status("Ended", "trial over" if deal.order.trigger == "trial" else "term over", at)

    def _end_of(self, line: Line) -> tuple[Moment, tuple[Cause, ...]]:
        """When and why a line ended: with its plan, where that ended before."""
        if not line.at(self._at):
            return line.end, line.causes
        if takers := self._takers(line):
            first = min(takers, key=lambda deal: (deal.effective, deal.id))
            return first.effective, (Cause("amended", first.id),)
        plans = [o for o in line.contract.lines if o.is_plan and o.slot == line.slot and o.end <= self._at]
        last = max(plans, key=lambda plan: plan.end, default=None)
        return (last.end, last.causes) if last is not None else (line.start, ())

    def begun(self, history: History) -> bool:
        """Whether something of what a deal contributes as it stands has begun: a line has started, an end has come."""
        deal = self._evaluation.deals.get(history.id)
        if deal is None:
            return False
        if deal.is_churn:
            effective = self._evaluation.contracts.cuts.effective(self._churns[deal])
            return any(at <= self._at for _, at in effective)
        return any(line.ever and line.start <= self._at and not line.moved for line in self._lines(deal))

    def _lines(self, deal: Deal) -> Iterator[Line]:
        """The lines of a deal that sells, and those of the trial that it grew from, which runs until it starts."""
        contracts = self._evaluation.contracts
        yield from contracts.index.of_deal(deal)
        if deal.contribution.trial is not None:
            for contract in contracts.contracts:
                if contract.root.shadow and contract.root.id == deal.id:
                    yield from contracts.index.of_deal(contract.root)


def _starts(pieces: Iterable[Line]) -> list[Moment]:
    """When the lines start that count at any time, in order."""
    return sorted(line.start for line in pieces if line.ever)


_OTHERS = ("renewed", "amended", "cancelled")
"""How other deals end a line."""


def _superseding(ends: Iterable[tuple[Cause, ...]]) -> Cause | None:
    """What superseded a deal, where other deals ended each of its lines. In: the causes of each line's end."""
    by_others = [[cause for cause in causes if cause.kind in _OTHERS] for causes in ends]
    if not all(by_others):
        return None
    # What was renewed and cancelled on one day goes on with the renewal.
    return min(chain.from_iterable(by_others), key=lambda cause: (_OTHERS.index(cause.kind), cause.by or ""))


def _kinds(ends: Iterable[tuple[Cause, ...]]) -> set[str]:
    """The ways in which lines ended. In: the causes of each line's end."""
    return {cause.kind for causes in ends for cause in causes}
