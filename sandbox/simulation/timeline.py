"""A played story for people, in 80 columns: what happened, what stood from when until when, and what each deal said."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from closedwon.domain.instants import from_milliseconds, milliseconds
from closedwon.words.changes import Calendar
from closedwon.words.charges import lines_of, period_of, sum_of, until
from sandbox.simulation.looks import STANDS, Json, Seen, charge_of, subscription_of
from sandbox.simulation.story import Event, Story

WIDTH = 80
T = TypeVar("T", bound=Hashable)


class Span(NamedTuple):
    """Something held from then until then (epoch milliseconds); until: None where it still does."""

    since: int
    until: int | None
    what: str


def spans(held: Iterable[tuple[int, str | None]]) -> list[Span]:
    """What held one after the other. In: what was seen, in the order of time; None where nothing was."""
    found: list[Span] = []
    for at, what in held:
        if found and found[-1].until is None:
            if found[-1].what == what:
                continue
            found[-1] = found[-1]._replace(until=at)
        if what is not None:
            found.append(Span(at, None, what))
    # What was replaced at the very moment at which it came never held.
    return [span for span in found if span.until != span.since]


def lines(story: Story, seen: Sequence[Seen], looks: Sequence[Json], summaries: Mapping[int, list[str]]) -> list[str]:
    """The lines of a story that was played.

    In: the story; what was seen, in the order of time; a look for each event; what previews said, by event.
    """
    calendar = _Calendar(story.time_zone)
    said = ", ".join(f"{name} {value}" for name, value in story.parameters.items() if name != "TimeZone")
    return [
        *_wrapped(story.title),
        *_wrapped(f"{said or 'Default parameters'}; times in {story.time_zone}."),
        "",
        "What happens",
        *_events(story, looks, summaries, calendar),
        "",
        "What stands in Stigg (prices are the catalogue's where none is said)",
        *(_standing(seen, calendar) or ["  Nothing."]),
        *_credits(seen[-1], calendar),
        "",
        "What each deal says",
        *_deals(story, seen, calendar),
    ]


class _Calendar:
    """Tells times where the story's people live."""

    def __init__(self, time_zone: str) -> None:
        self._zone = ZoneInfo(time_zone)
        self.days = Calendar(self._zone)

    def time(self, at: int) -> str:
        """A day where it begins there, else a day and a time."""
        moment = from_milliseconds(at).astimezone(self._zone)
        return f"{moment:%Y-%m-%d}" if (moment.hour, moment.minute) == (0, 0) else f"{moment:%Y-%m-%d %H:%M}"


def _entry(first: str, text: str, room: int) -> Iterator[str]:
    """A time, or what else begins a paragraph, and a text beside it. room: for the first."""
    begins, below = f"{first:{room}}  ", " " * (room + 2)
    for line in text.splitlines() or [""]:
        # An ID is never broken at its hyphens: it could be copied wrong.
        yield from _wrapped(line, begins, below) or [begins.rstrip()]
        begins = below


def _wrapped(text: str, begins: str = "", below: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=begins, subsequent_indent=below, break_on_hyphens=False)


def _events(
    story: Story, looks: Sequence[Json], summaries: Mapping[int, list[str]], calendar: _Calendar
) -> Iterator[str]:
    for event, look in zip(story.events, looks, strict=True):
        said = "\n".join(_sentences(event, look, summaries.get(event.number, [])))
        if said:
            yield from _entry(f"  {calendar.time(event.moment)}", said, 18)


def _sentences(event: Event, look: Json, summary: Sequence[str]) -> Iterator[str]:
    match event.kind:
        case "deals":
            yield from (f"{_named(deal)} arrives." for deal in event.content)
        case "preview":
            yield from (f"{_named(deal)} is previewed:" for deal in event.content)
            yield from (f"- {sentence}" for sentence in summary)
            yield from (f"! {sentence}" for sentence in (*look["reasons"], *look["warnings"]))
        case "approve" if "error" in look:
            yield f"{event.content} cannot be approved: {look['error']}"
        case "approve":
            yield f"What is held of {event.content} is approved."


def _named(deal: Json) -> str:
    opportunity = deal["opportunity"]
    return f"{opportunity.get('name') or 'A deal'} ({deal['trigger']}, {opportunity['id']})"


def _standing(seen: Sequence[Seen], calendar: _Calendar) -> list[str]:
    """What stood, by slot."""
    slots: dict[tuple[str, str, str], None] = {}
    held: list[tuple[int, dict[tuple[str, str, str], str]]] = []
    for moment in seen:
        standing = [one for one in moment.subscriptions if one["status"] in STANDS]
        now = {_slot(one): "\n".join([_content(one), *_charged(moment, one)]) for one in standing}
        slots |= dict.fromkeys(now)
        held.append((moment.at, now))
    rows = {slot: spans((at, now.get(slot)) for at, now in held) for slot in slots}
    times = {span: _times(span, calendar) for some in rows.values() for span in some}
    room = max((len(said) for said in times.values()), default=0) + 4
    told: list[str] = []
    for slot, some in rows.items():
        customer, product, resource = slot
        told.append("  " + ", ".join(filter(None, (product, resource, f"customer {customer}"))))
        for span in some:
            why = _until(seen, slot, span, calendar)
            what, *charges = span.what.split("\n")
            told += _entry(f"    {times[span]}", what, room)
            for line in filter(None, (*charges, why)):
                told += _wrapped(line, "      ", "          ")
    return told


def _charged(moment: Seen, one: Json) -> Iterator[str]:
    """What a billing period of a subscription charges, and where each part of that comes from."""
    charge = charge_of(moment, one)
    if charge is None:
        return
    yield f"charges {sum_of(charge)} {period_of(charge)}:"
    yield from (f"  {line}" for line in lines_of(charge, moment.agreed[one["customerId"]].named))


def _until(seen: Sequence[Seen], slot: tuple[str, str, str], span: Span, calendar: _Calendar) -> str:
    """Why a span ended, by what was known last before it did: a renewal may have been sold meanwhile."""
    if span.until is None:
        return ""
    known = [moment for moment in seen if span.since <= moment.at < span.until]
    for moment in reversed(known):
        for one in moment.subscriptions:
            charge = charge_of(moment, one)
            if _slot(one) == slot and charge is not None and charge.end.instant is not None:
                if milliseconds(charge.end.instant) != span.until:
                    return ""
                return until(charge, moment.agreed[one["customerId"]].named, calendar.days)
    return ""


def _times(span: Span, calendar: _Calendar) -> str:
    until = "on" if span.until is None else f"until {calendar.time(span.until)}"
    return f"{calendar.time(span.since)} {until}"


def _slot(one: Json) -> tuple[str, str, str]:
    trial = "trial" if one["status"] == "IN_TRIAL" else ""
    resource = f"resource {one['resourceId']}" if one["resourceId"] else ""
    return one["customerId"], one["productId"], ", ".join(filter(None, (resource, trial)))


def _content(one: Json) -> str:
    """A subscription as one sentence: plan, add-ons, entitlements, with the prices that are not the catalogue's."""
    look = subscription_of(one)
    currencies = {
        price.get("addonId") or price.get("featureId") or "plan": price["currency"] for price in one["priceOverrides"]
    }

    def priced(what: str, of: str) -> str:
        if of not in look["prices"]:
            return what
        return f"{what} at {look['prices'][of]:,} {currencies[of].upper()}"

    units = f"{look['units']} x " if look["units"] != 1 else ""
    period = f" billed {one['billingPeriod'].lower()}" if one["billingPeriod"] else ""
    parts = [priced(f"{units}{look['planId']}{period}", "plan")]
    parts += [priced(f"{quantity} x {id}", id) for id, quantity in look["addons"].items()]
    parts += [priced(f"{quantity} x {id}", id) for id, quantity in look["charges"].items()]
    parts += [id if limit is True else f"{id} {_amount(limit)}" for id, limit in look["entitlements"].items()]
    return "; ".join(parts)


def _amount(limit: object) -> str:
    return limit if isinstance(limit, str) else f"{limit:,}"


def _credits(seen: Seen, calendar: _Calendar) -> Iterator[str]:
    if seen.grants:
        yield "  Credits granted"
    for grant in seen.grants:
        at = int(datetime.fromisoformat(grant["effectiveAt"]).astimezone(UTC).timestamp() * 1000)
        yield from _entry(f"    {calendar.time(at)}", f"{grant['amount']:,} {grant['currencyId']}", 20)


def _deals(story: Story, seen: Sequence[Seen], calendar: _Calendar) -> Iterator[str]:
    """What each deal said, one after the other, where that changed."""
    named = {
        deal["opportunity"]["id"]: _named(deal)
        for event in story.events
        if event.kind == "deals"
        for deal in event.content
    }
    for id in seen[-1].deals:
        yield from _wrapped(next((name for given, name in named.items() if given[:15] == id[:15]), id), "  ", "  ")
        for span in spans((moment.at, _status(moment.deals.get(id))) for moment in seen):
            yield from _entry(f"    {calendar.time(span.since)}", span.what, 20)


def _status(deal: Json | None) -> str | None:
    if deal is None:
        return None
    code = f" ({deal['code']})" if deal["code"] else ""
    return f"{deal['status']}{code}{': ' if deal['reason'] else ''}{deal['reason']}"
