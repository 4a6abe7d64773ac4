"""How a subscription ends, once it is known what stands beside it, and what is remembered of it then. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from closedwon.domain.changes import LIVE, Actual, AtOnce, End, Ending, TrialUntil
from closedwon.domain.instants import Instant
from closedwon.domain.records import SlotRecord


def ending_of(end: End, paid: SlotRecord | None, now: Instant) -> Ending | None:
    """How a subscription ends.

    In: the change; of a trial that was won, what is known of the paid subscription; now.
    Out: None while the paid subscription does not stand: the trial is all the customer has.
    """
    if end.at is not None:
        return end.at
    if not end.slot.trial or end.makes_way:
        return AtOnce()
    until = _trial_until(end, paid, now)
    if until is None:
        return None
    if end.converts and until == now:  # its end would make it a paid subscription
        return AtOnce()
    return TrialUntil(until)


def _trial_until(end: End, paid: SlotRecord | None, now: Instant) -> Instant | None:
    """Until when a trial is to run; None while the paid subscription that is to follow it does not stand."""
    if end.after is None:
        return now
    if paid is None or paid.applied is None or paid.status not in ("ACTIVE", "NOT_STARTED"):
        return None
    if paid.status == "NOT_STARTED" and paid.applied.start:
        return trial_end_before(paid.applied.start, end.converts)
    return now


def trial_end_before(start: Instant, converts: bool) -> Instant:
    """When a trial is to end that a paid subscription follows at `start`.

    One that would become a paid subscription itself must not get there: it is given a day more, and cancelled once the
    other has started.
    """
    return start + timedelta(days=1) if converts else start


def ends_in_time(trial: Actual, paid: Actual, converts: bool) -> bool:
    """Whether a trial has the end already that it is to have before a paid subscription that has not started yet."""
    if paid.status != "NOT_STARTED" or not paid.start:
        return False
    return trial.trial_end == trial_end_before(paid.start, converts)


def after_end(record: SlotRecord, ending: Ending, status: str) -> SlotRecord:
    """What to remember of a slot whose subscription was told to end.

    In: what was remembered; how it was told to; the status Stigg answered with: later, it stands until then. The end
    that a trial was given is remembered: whoever finds another one there knows that somebody changed it by hand.
    """
    if status not in LIVE:
        return replace(record, status=status, checkout_url=None, applied=None)
    applied = record.applied
    if applied is not None and isinstance(ending, TrialUntil):
        applied = replace(applied, trial_end=ending.at)
    return replace(record, status=status, applied=applied)
