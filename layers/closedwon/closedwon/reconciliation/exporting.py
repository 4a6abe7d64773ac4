"""What the exports of a reconciliation share: they work in rounds, each as long as one invocation, until all is done.

Between rounds the state machine carries the export's progress, a small JSON object. It always has `done`, `calls`
(requests to the service) and `records` (written), and `wait` (seconds until the next round) until it is done; the rest
is the export's own and says where to go on. A step writes its records under names that follow from where it begins, so
that a step that is done again overwrites what it wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.logging import Logger

from closedwon.domain.errors import ClosedWonError, Transient

Json = dict[str, Any]

AFTER_A_FAULT = 5
"""Seconds to wait after a transient fault."""

logger = Logger()


class Shift:
    """The time of one invocation: steps begin in its first half; the second half is for finishing the last one.

    In: a function that gives the milliseconds that are left, as Lambda's context does.
    """

    def __init__(self, left: Callable[[], int]) -> None:
        self._left = left
        self._half = left() / 2

    @property
    def goes_on(self) -> bool:
        return self._left() > self._half


def one_round(progress: Json, step: Callable[[Json], Json], shift: Shift) -> Json:
    """Run steps until the export is complete, one says to wait, or the shift is over. Out: the progress to go on from.

    In: the progress so far, empty at first; a step, from one progress to the next: it sets `done` when there is nothing
    left, and `wait` to have its next step in another round.
    Raises what the first step raises. A later transient fault leaves the rest to the next round; what was exported is
    kept.
    """
    progress = {"calls": 0, "records": 0, **progress, "done": False, "wait": 0}
    first = True
    # One step in any case, or a round could hand on what it was given, and so could the next, for ever.
    while not progress["done"] and not progress["wait"] and (first or shift.goes_on):
        try:
            progress = step(progress)
        except Transient as fault:
            # Nothing is lost yet, and the state machine knows by the error's name how long to wait before the next try.
            if first:
                raise
            logger.warning("the rest later", extra={"fault": _named(fault)})
            return {**progress, "wait": AFTER_A_FAULT}
        first = False
    # Cursors and the like end here; the report needs the numbers only.
    if progress["done"]:
        return {name: progress[name] for name in ("calls", "records", "done")}
    return {**progress, "wait": max(1, progress["wait"])}


def _named(fault: ClosedWonError) -> str:
    return f"{type(fault).__name__}: {fault.message}"
