"""The facts of an opportunity: what is kept of its readings, and what they say together. Pure.

A *reading* is one revision of an opportunity. A `History` is all that has to be stored of one: no rule looks at when
something arrived, so the same readings give the same history in whatever order they are recorded. `stand` says what an
opportunity contributes by its readings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Instant, from_iso, from_milliseconds, iso_utc, milliseconds
from closedwon.domain.order import Item, Order, Revision

Sort = Literal["sale", "trial", "churn", "own end"]
"""What a reading is: a churn is a cancellation that names something, an own end one that names nothing."""

MOST_SAID = 32
"""The most cancellations of one opportunity whose times are remembered."""


def sort_of(order: Order) -> Sort:
    """What a reading is."""
    if order.trigger == "trial":
        return "trial"
    if order.trigger != "cancellation":
        return "sale"
    on_lines = (name.partition("/")[0] for item in order.items for name in (*item.ends, *item.renews, *item.amends))
    return "churn" if {*order.amends, *on_lines} - {order.opportunity_id} else "own end"


def when_of(order: Order) -> str:
    """What a cancellation says about when it takes effect: a day, now, the end of the term, or nothing at all."""
    if order.end is not None:
        return "day"
    return order.cancel or ("now" if order.items else "nothing")


class Reading(NamedTuple):
    """One revision of an opportunity."""

    order: Order
    revision: Revision


@dataclass(frozen=True)
class OwnEnd:
    """The end of an opportunity's own lines.

    at: from when; None: with each line's term, or where it has none with the billing period under way `since`.
    since: when the opportunity said so first. items: the lines that end; none: all of them.
    """

    at: Instant | None
    since: Instant
    items: tuple[Item, ...] = ()

    def to_json(self) -> dict[str, Any]:
        items = [item.to_json() for item in self.items]
        return {"at": self.at and iso_utc(self.at), "since": iso_utc(self.since), "items": items}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OwnEnd:
        items = tuple(Item.from_json(item) for item in data.get("items", ()))
        return cls(data["at"] and from_iso(data["at"]), from_iso(data["since"]), items)


@dataclass(frozen=True)
class Contribution:
    """What an opportunity contributes: the facts that the timeline is made of.

    order: what it sells or cancels, None where it contributes nothing. trial: the trial that the sale grew from, which
    goes on until the sale starts. own_end: the end of its own lines. since: of a cancellation that takes effect now or
    with the billing period, when it said so first. unwon: whether it was won once and is not any more. extra: see
    `domain.stored`; no part of the digest.
    """

    order: Order | None = None
    trial: Order | None = None
    own_end: OwnEnd | None = None
    since: Instant | None = None
    unwon: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def ends_with_term(self) -> bool:
        """Whether it ends something with its term, or with the billing period that is under way."""
        if self.own_end is not None:
            return self.own_end.at is None
        order = self.order
        return order is not None and order.trigger == "cancellation" and order.end is None and order.cancel != "now"

    @property
    def lapses_since(self) -> Instant | None:
        """When it said first that it ends something with its term; None where it does not."""
        if not self.ends_with_term:
            return None
        return self.own_end.since if self.own_end is not None else self.since

    @cached_property
    def digest(self) -> str:
        """What makes two contributions the same: names that Salesforce gives later are no part of it."""
        said = [
            self.order and self.order.digest,
            self.trial and self.trial.digest,
            self.own_end and self.own_end.to_json(),
            self.since and iso_utc(self.since),
            self.unwon,
        ]
        return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()

    def with_orders(self, changed: Callable[[Order], Order]) -> Contribution:
        """The contribution with all its orders changed."""
        return replace(self, order=self.order and changed(self.order), trial=self.trial and changed(self.trial))

    def without_orders_json(self) -> dict[str, Any]:
        """Plain data for the ledger of all but its orders, which are stored apart; `from_json` is its inverse."""
        data = {
            "own_end": self.own_end and self.own_end.to_json(),
            "since": self.since and iso_utc(self.since),
            "unwon": self.unwon,
        }
        return {**{name: value for name, value in data.items() if value}, **self.extra}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], order: Order | None, trial: Order | None) -> Contribution:
        end, since = data.get("own_end"), data.get("since")
        return cls(
            order=order,
            trial=trial,
            own_end=end and OwnEnd.from_json(end),
            since=since and from_iso(since),
            unwon=bool(data.get("unwon")),
            extra={name: value for name, value in data.items() if name not in ("own_end", "since", "unwon")},
        )


NOTHING = Contribution()


@dataclass(frozen=True)
class History:
    """All that is kept of one opportunity.

    newest: its newest reading. sells: the newest that sells, tries or names what it cancels. trial: the newest trial.
    said: of each cancellation, when it takes effect, oldest first; of very many, where that changed. first: the oldest
    reading that sold something or named what it cancels: when it was sold. settled: what it contributed when it was
    last provisioned without a hold. begun: whether something of that has begun: a line has started, or an end has come.
    """

    newest: Reading
    sells: Reading | None = None
    trial: Reading | None = None
    said: tuple[tuple[Revision, str], ...] = ()
    first: Revision | None = None
    settled: Contribution | None = None
    begun: bool = False

    @property
    def id(self) -> OpportunityId:
        return self.newest.order.opportunity_id

    @property
    def plan_ids(self) -> frozenset[str]:
        """The Stigg plans that any of its orders names: more of the catalogue has to be known of these."""
        readings = (self.newest, self.sells, self.trial)
        orders = [reading.order for reading in readings if reading is not None]
        if self.settled is not None:
            orders += [order for order in (self.settled.order, self.settled.trial) if order is not None]
        return frozenset().union(*(order.plan_ids for order in orders))

    @cached_property
    def contribution(self) -> Contribution:
        """What it contributes by its newest readings."""
        return stand(self)

    @property
    def stands(self) -> bool:
        """Whether what it contributes was provisioned as it is."""
        return self.settled is not None and self.settled.digest == self.contribution.digest

    @property
    def lapses_since(self) -> Instant | None:
        """When the cancellation said so first whose billing period is to be learned: the newest, else what stands."""
        newest = self.contribution.lapses_since
        return newest if newest is not None or self.settled is None else self.settled.lapses_since

    def with_orders(self, changed: Callable[[Order], Order]) -> History:
        """The history with all its orders changed alike."""

        def read(reading: Reading | None) -> Reading | None:
            return reading and reading._replace(order=changed(reading.order))

        return replace(
            self,
            newest=self.newest._replace(order=changed(self.newest.order)),
            sells=read(self.sells),
            trial=read(self.trial),
            settled=self.settled and self.settled.with_orders(changed),
        )


def is_selling(order: Order) -> bool:
    """Whether a reading sells, tries or names what it cancels; what is refused does nothing of it."""
    return not order.problems and sort_of(order) != "own end"


def record(history: History | None, reading: Reading) -> History:
    """Record a reading, new or late; None: it is the opportunity's first.

    Readings are ordered by their revisions alone, so that one that arrives late is the newest that sells where it is.
    """
    if history is None:
        history = History(newest=reading)
    sort = sort_of(reading.order)
    said = history.said
    if reading.order.trigger == "cancellation":
        said = _remembered(sorted({*said, (reading.revision, when_of(reading.order))}))
    firsts = [revision for revision in (history.first, reading.revision) if revision is not None]
    sells = is_selling(reading.order)
    return replace(
        history,
        newest=_newer(history.newest, reading),
        sells=_newer(history.sells, reading) if sells else history.sells,
        trial=_newer(history.trial, reading) if sells and sort == "trial" else history.trial,
        said=said,
        first=min(firsts) if sells and sort != "trial" else history.first,
    )


def _remembered(said: list[tuple[Revision, str]]) -> tuple[tuple[Revision, str], ...]:
    """As many of the cancellations as are remembered. In: with their revisions, oldest first."""
    while len(said) > MOST_SAID:
        # One between two that say the same decides nothing; the first of them is when it was said. Else the oldest.
        whens = [when for _, when in said]
        between = (n for n in range(1, len(said) - 1) if len({*whens[n - 1 : n + 2]}) == 1)
        del said[next(between, 0)]
    return tuple(said)


def _newer(known: Reading | None, reading: Reading) -> Reading:
    """The newer of two readings; of one revision, always the same one."""
    if known is None or (reading.revision, reading.order.digest) >= (known.revision, known.order.digest):
        return reading
    return known


def settle(history: History, contribution: Contribution) -> History:
    """Record that what an opportunity contributes was provisioned without a hold."""
    same = history.settled is not None and history.settled.digest == contribution.digest
    return history if same else replace(history, settled=contribution, begun=False)


def begin(history: History) -> History:
    """Record that something of what was settled has begun."""
    return history if history.begun else replace(history, begun=True)


def stand(history: History) -> Contribution:
    """What an opportunity contributes by its newest readings."""
    newest, revision = history.newest
    match sort_of(newest):
        case "trial":
            return Contribution(newest)
        case "sale":
            return Contribution(newest, trial=_trial_before(history, revision))
        case "churn":
            return Contribution(newest, since=_since(history, revision) if newest.end is None else None)
        case "own end":
            return _ended_by_itself(history)


def _ended_by_itself(history: History) -> Contribution:
    """What an opportunity contributes whose newest reading is a cancellation that names nothing."""
    newest, revision = history.newest
    if history.sells is None:
        return NOTHING
    sold = history.sells.order
    trial = _trial_before(history, history.sells.revision) if sold.trigger != "trial" else None
    since = _since(history, revision, sold_at=history.sells.revision)
    if when_of(newest) == "nothing":
        if sold.trigger == "trial":
            return Contribution(sold, own_end=OwnEnd(since, since))
        return Contribution(trial, unwon=True)
    if sort_of(sold) == "churn":  # it has no lines of its own that could end
        return Contribution(sold, since=_since(history, history.sells.revision) if sold.end is None else None)
    at = newest.end or (since if newest.cancel != "end_of_term" else None)
    # With a day, when it was said does not matter: a rename must not look like a change.
    own_end = OwnEnd(at, at if newest.end else since, newest.items)  # type: ignore[arg-type]
    return Contribution(sold, trial=trial, own_end=own_end)


def _trial_before(history: History, revision: Revision) -> Order | None:
    trial = history.trial
    return trial.order if trial is not None and trial.revision < revision else None


def _since(history: History, revision: Revision, sold_at: Revision | None = None) -> Instant:
    """When the readings up to a cancellation began to say what it says about when it takes effect.

    sold_at: of the reading that sold what ends: what was said before it was of a deal that was won again.
    """
    before = [(at, when) for at, when in history.said if (sold_at or at) <= at <= revision]
    since = revision
    for at, when in reversed(before):
        if when != before[-1][1]:
            break
        since = at
    return from_milliseconds(since.modified)


def of_first_version(order: Order, revision: Revision, provisioned: Order | None, won: Order | None) -> History:
    """The history of an opportunity as the first version stored it.

    In: its newest order and revision; the order that Stigg stands for, None where it stands for none; the last of these
    that was no cancellation, None where it is the same. What it stands for has begun as far as anybody can tell: it is
    what stands, and nobody is to lose it by an upgrade.
    """
    earlier = [one for one in (won, provisioned) if one is not None]
    settled: History | None = None
    for place, one in enumerate(earlier):
        settled = record(settled, Reading(one, _before(one, revision, len(earlier) - place)))
    newest = Reading(order, revision)
    if settled is None:
        return record(None, newest)
    if provisioned is not None and provisioned.digest == order.digest:  # it was read at the newest revision
        first = record(None, Reading(won, _before(won, revision, 1))) if won is not None else None
        history = record(first, newest)
        return replace(history, settled=stand(history), begun=True)
    return replace(record(settled, newest), settled=stand(settled), begun=True)


def _before(order: Order, revision: Revision, steps: int) -> Revision:
    """A revision for an order whose own was not kept: when it was saved, and before the newest one."""
    saved = revision.modified if order.as_of is None else milliseconds(order.as_of)
    return Revision(min(saved, revision.modified - steps), 0)
