"""A contract story, as its file says it: deals, previews, approvals and looks, in the order in which they happen.

    {"title", "why", "timeZone": "UTC", "parameters": {"EndOfTermPolicy": "end"}, "events": [{"at", ...}, ...]}

An event has its time and one of `deals`, `preview` (with `warns`), `approve`, `expect`. What a story expects is for
whoever compares: playing it does not look at that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from closedwon.domain.identifiers import normalised_id
from closedwon.domain.instants import instant_of, milliseconds

Json = dict[str, Any]
Kind = Literal["deals", "preview", "approve", "expect"]

STORY_FIELDS = frozenset({"title", "why", "timeZone", "parameters", "events"})
EVENT_FIELDS = frozenset({"at", "warns", *get_args(Kind)})


class StoryInvalid(Exception):
    """A story cannot be played. The message names the event (counted from 1) and the field."""


@dataclass(frozen=True)
class Event:
    """One event. number: counted from 1; at: as the story says it; moment: the same in epoch milliseconds; content: the
    deals, the opportunity whose deal is approved, or what is expected.
    """

    number: int
    at: str
    moment: int
    kind: Kind
    content: Any

    def fault(self, field: str, message: str) -> StoryInvalid:
        """The error that something of this event is wrong."""
        return StoryInvalid(f"event {self.number}, {field}: {message}")


@dataclass(frozen=True)
class Story:
    """A story. parameters: of template.yaml, by name, where they are not the defaults; its time zone is one of them."""

    title: str
    parameters: Mapping[str, str]
    events: tuple[Event, ...]

    @property
    def time_zone(self) -> str:
        return self.parameters["TimeZone"]


def read(file: Path) -> Story:
    """The story in a file. Raises StoryInvalid, and OSError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StoryInvalid(f"the story is no JSON: {error}") from None
    return story_of(content, file.stem)


def story_of(content: Any, title: str = "A story") -> Story:
    """The story that plain data says. title: where it has none. Raises StoryInvalid."""
    if not isinstance(content, dict):
        raise StoryInvalid("the story is no object with events")
    _known(content, STORY_FIELDS, "")
    for name in ("title", "why"):
        if not isinstance(content.get(name, ""), str):
            raise StoryInvalid(f"{name}: must be a text")
    events = content.get("events")
    if not isinstance(events, list) or not events:
        raise StoryInvalid("events: must be a list with an event" if "events" in content else "events: is missing")
    return Story(content.get("title") or title, _parameters(content), tuple(_events(events)))


def _parameters(content: Json) -> dict[str, str]:
    given = content.get("parameters", {})
    if not isinstance(given, dict):
        raise StoryInvalid("parameters: must be an object of names and values")
    parameters: dict[str, str] = {}
    for name, value in given.items():
        if not isinstance(value, str | int | float):
            raise StoryInvalid(f"parameters.{name}: must be a text or a number")
        # As CloudFormation takes them: texts.
        parameters[name] = str(value).lower() if isinstance(value, bool) else str(value)
    zone = content.get("timeZone", parameters.get("TimeZone", "UTC"))
    if parameters.get("TimeZone", zone) != zone:
        raise StoryInvalid("parameters.TimeZone: is not what timeZone says")
    try:
        ZoneInfo(zone)
    # A zone that is not there is a KeyError, one that names a folder an OSError.
    except (KeyError, ValueError, TypeError, OSError):
        raise StoryInvalid(f"timeZone: {zone!r} is no time zone such as Europe/Berlin") from None
    return {**parameters, "TimeZone": zone}


def _events(events: list[Any]) -> Iterator[Event]:
    before: Event | None = None
    for number, content in enumerate(events, 1):
        event = _event(number, content)
        if before is not None and event.moment < before.moment:
            raise event.fault("at", f"{event.at} comes before event {before.number}, which is at {before.at}")
        before = event
        yield event


def _event(number: int, content: Any) -> Event:
    if not isinstance(content, dict):
        raise StoryInvalid(f"event {number}: is no object")
    where = f"event {number}, "
    _known(content, EVENT_FIELDS, where)
    if "at" not in content:
        raise StoryInvalid(f"{where}at: is missing")
    kinds = [kind for kind in get_args(Kind) if kind in content]
    if len(kinds) != 1:
        raise StoryInvalid(f"{where}deals: an event has one of deals, preview, approve and expect")
    try:
        moment = milliseconds(instant_of(datetime.fromisoformat(content["at"])))
    except (ValueError, TypeError, OverflowError):
        raise StoryInvalid(f"{where}at: must be an instant such as 2026-12-01T09:00:00Z") from None
    event = Event(number, content["at"], moment, kinds[0], content[kinds[0]])
    if "warns" in content and (event.kind != "preview" or not isinstance(content["warns"], str)):
        raise event.fault("warns", "must be a text, and goes with a preview")
    match event.kind:
        case "deals" | "preview":
            _check_deals(event)
        case "approve":
            _check_approval(event)
        case "expect" if not isinstance(event.content, dict):
            raise event.fault("expect", "must be an object")
    return event


def _check_deals(event: Event) -> None:
    """What the callout answers for the whole request, and what it would read from Salesforce; it judges the rest."""
    if not isinstance(event.content, list) or not event.content:
        raise event.fault(event.kind, "must be a list with a deal")
    for place, deal in enumerate(event.content, 1):
        if not isinstance(deal, dict):
            raise event.fault(f"{event.kind} {place}", "is no object")
        if deal.get("lines") is None and deal.get("trigger") != "cancellation":
            raise event.fault(f"{event.kind} {place}, lines", "is missing: a story reads nothing from Salesforce")


def _check_approval(event: Event) -> None:
    try:
        normalised_id(event.content, "006")
    except (ValueError, TypeError) as error:
        raise event.fault("approve", f"must be the ID of an opportunity: {error}") from None


def _known(content: Json, fields: frozenset[str], where: str) -> None:
    if unknown := sorted(set(content) - fields):
        raise StoryInvalid(f"{where}{unknown[0]}: is not known; there are {', '.join(sorted(fields))}")
