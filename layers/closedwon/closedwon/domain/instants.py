"""Instants, ends and places on a timeline; each is read from a text and written as one in a single place, here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, NamedTuple, NewType

Instant = NewType("Instant", datetime)
"""A moment to the millisecond, in UTC: instants are compared by time, never as texts. `instant_of` makes one."""

_EPOCH = Instant(datetime(1970, 1, 1, tzinfo=UTC))
_MILLISECOND = timedelta(milliseconds=1)


def instant_of(moment: datetime) -> Instant:
    """The instant of a time, cut to the millisecond. Raises ValueError where the time has no zone, OverflowError where
    the calendar ends.
    """
    if moment.tzinfo is not UTC:
        # Python would take the machine's zone, which is not the stack's.
        if moment.tzinfo is None:
            raise ValueError("a time without a zone is no instant")
        moment = moment.astimezone(UTC)
    # What is stored has milliseconds: a finer instant would differ from itself once it was read back.
    cut = moment.microsecond % 1000
    return Instant(moment.replace(microsecond=moment.microsecond - cut) if cut else moment)


def from_iso(text: str) -> Instant:
    """The instant that an ISO 8601 text with a zone tells, as it is stored or Stigg writes it. Raises ValueError."""
    return instant_of(datetime.fromisoformat(text))


def from_milliseconds(milliseconds: int) -> Instant:
    """The instant of epoch milliseconds."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def milliseconds(instant: Instant) -> int:
    """An instant in epoch milliseconds."""
    return (instant - _EPOCH) // _MILLISECOND  # whole numbers: the float of `timestamp()` can lose one


def iso_utc(moment: datetime) -> str:
    """An instant, or any time with a zone, as it is stored and sent: ISO 8601 in UTC with milliseconds."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    # Every order's digest holds this form: another one would make a new deal of each that is sent again.
    return moment.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def iso_of(milliseconds: int) -> str:
    """Epoch milliseconds as `iso_utc` writes an instant."""
    return iso_utc(from_milliseconds(milliseconds))


def day_of(instant: Instant, time_zone: str) -> str:
    """The day of an instant where the stack's users live. In: a zone such as Europe/Berlin."""
    from zoneinfo import ZoneInfo  # reads the zone's rules: only who tells a day pays for it

    return instant.astimezone(ZoneInfo(time_zone)).date().isoformat()


@dataclass(frozen=True)
class At:
    """An end at an instant."""

    instant: Instant


@dataclass(frozen=True)
class EndOfBillingPeriod:
    """An end with the billing period that is under way then: only Stigg knows the day."""

    instant: ClassVar[None] = None


@dataclass(frozen=True)
class Never:
    """No end."""

    instant: ClassVar[None] = None


Until = At | EndOfBillingPeriod | Never
"""Until when a subscription lasts."""

_END_OF_BILLING_PERIOD = "END_OF_BILLING_PERIOD"


def until_to_json(until: Until) -> str | None:
    """As it is stored: an instant, END_OF_BILLING_PERIOD or null; `until_from_json` is its inverse."""
    match until:
        case At(instant):
            return iso_utc(instant)
        case EndOfBillingPeriod():
            return _END_OF_BILLING_PERIOD
        case Never():
            return None


def until_from_json(data: str | None) -> Until:
    """As `until_to_json` wrote it."""
    if data is None:
        return Never()
    return EndOfBillingPeriod() if data == _END_OF_BILLING_PERIOD else At(from_iso(data))


class Moment(NamedTuple):
    """A place on a timeline: `BEGINNING`, an instant, or `NO_DAY`, in this order. Made by `starting` and `ending`,
    never by hand: place says which of the three, so that no instant has to stand for the others.
    """

    place: int
    instant: Instant | None


BEGINNING = Moment(0, None)
"""Before every instant: what counts from the beginning."""

NO_DAY = Moment(2, None)
"""After every instant: what never comes, or on a day that nobody knows."""


def starting(at: Instant | None) -> Moment:
    """When something starts; None: it always was."""
    return BEGINNING if at is None else Moment(1, at)


def ending(at: Instant | None) -> Moment:
    """When something ends; None: never."""
    return NO_DAY if at is None else Moment(1, at)
