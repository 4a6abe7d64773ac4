"""What Stigg's events say, as far as closed-won listens: of which customer something changed. Pure.

An event is a reason to look, and never the truth: events come late, twice, out of order or not at all. Nothing of one
is believed but whom it is about, so that whatever else is in it, or is added to it, does not matter.

Source: Stigg's API reference, *Webhook events*: flat objects with `type`, `messageId`, `entityId`, `id` and
`customer.id`. Its skills repository shows another envelope, with the same inside `data`; both are read. The messages
in a durable queue are the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from closedwon.domain.identifiers import STIGG_ID, STIGG_ID_LENGTH

MOST_BYTES = 262_144
"""The largest event that is read: a message in Stigg's queue, an SQS queue, cannot be larger (256 KB)."""

NO_CONCERN = ("entitlement.", "credit.", "usage.", "feature.", "product.", "plan.", "addon.", "coupon.", "measurement.")
"""How the names of events begin that tell nothing of a subscription: what a customer used, and the catalogue."""

CREATED = "subscription.created"
CUSTOMER_CREATED = "customer.created"
"""A customer that was just made has nothing yet that could be looked at."""

_ID = re.compile(STIGG_ID)


class Event(NamedTuple):
    """One event. type: Stigg's name for it; message_id: the same each time it is sent, "" where it has none;
    customer_id: whom it is about, None where it names nobody; subscription_id: what it is about, where it is one.
    """

    type: str
    message_id: str
    customer_id: str | None
    subscription_id: str | None = None

    @property
    def concerns(self) -> bool:
        """Whether it may tell of something that closed-won looks at. Names that are not known may."""
        return self.customer_id is not None and self.type != CUSTOMER_CREATED and not self.type.startswith(NO_CONCERN)


def event_in(text: str | None) -> Event | None:
    """The event in a request's body or a message; None where there is none that could be read."""
    if text is None or len(text) > MOST_BYTES:
        return None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):  # the second is what Python's reader raises of deep nesting
        return None
    if not isinstance(told, dict):
        return None
    type = _text(told.get("type"))
    return Event(
        type,
        _text(told.get("messageId")),
        next(_customers(type, told), None),
        next((id for one in _places(told) if (id := _id(one.get("id")))), None)
        if _is_of(type, "subscription")
        else None,
    )


def _places(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Where an event may say what it is about."""
    yield told
    if isinstance(inside := told.get("data"), dict):
        yield inside


def _customers(type: str, told: Mapping[str, Any]) -> Iterator[str]:
    """The customers that an event names, the most certain first."""
    for one in _places(told):
        customer = one.get("customer")
        named = [customer.get("id") if isinstance(customer, dict) else None, one.get("customerId")]
        if _is_of(type, "customer"):
            named += [one.get("entityId"), one.get("id")]
        yield from (id for name in named if (id := _id(name)))


def _is_of(type: str, kind: str) -> bool:
    return type.partition(".")[0] == kind


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _id(value: Any) -> str | None:
    """A value as an ID in Stigg; None where it is none: it becomes part of a key."""
    return value if isinstance(value, str) and len(value) <= STIGG_ID_LENGTH and _ID.fullmatch(value) else None
