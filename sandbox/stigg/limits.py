"""Stigg's rate limits, and its memory of Idempotency-Key."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .errors import Refused

WINDOW = 60.0
"""Seconds a request counts for."""

ENTITY_LIMIT = 30
"""Mutations of one customer, subscription, or customer and resource, in a minute."""

LIMITS = {
    "provision customer": 250,
    "provision subscription": 250,
    "update": 250,
    "cancel": 250,
    "grant": 250,
    "read": 3000,
    "list subscriptions": 1500,
}
"""Requests of one kind in the whole environment, in a minute. Of grants Stigg says nothing: they get the usual."""


class RateLimits:
    """Counts requests in a sliding minute. clock: seconds, from anywhere, never going back. scale: what the limits of
    the environment are multiplied by, so that a queue need not take minutes to be seen.
    """

    def __init__(self, clock: Callable[[], float], enabled: bool = True, scale: float = 1.0) -> None:
        self._clock = clock
        self._enabled = enabled
        self._scale = scale
        self._seen: dict[str, deque[float]] = {}

    def count(self, operation: str, entity: str | None = None) -> None:
        """Count a request, or raise `Refused` (429): a refused one does not count.

        entity: what the request changes, such as ``customer acme``; None for a read.
        """
        if not self._enabled:
            return
        buckets = [(operation, round(LIMITS[operation] * self._scale))]
        if entity is not None:
            buckets.append((entity, ENTITY_LIMIT))
        now = self._clock()
        for name, limit in buckets:
            seen = self._seen.setdefault(name, deque())
            while seen and seen[0] <= now - WINDOW:
                seen.popleft()
            if len(seen) >= limit:
                raise Refused(429, "RateLimitExceeded", "too many requests")
        for name, _ in buckets:
            self._seen[name].append(now)


@dataclass(frozen=True)
class Kept:
    """A first answer: what was asked, what was said, when."""

    fingerprint: str
    status: int
    body: bytes
    at: datetime


class Idempotency:
    """First answers by key. The caller holds one lock over look, handling and keep."""

    KEPT_FOR = timedelta(hours=24)

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def look(self, key: str, fingerprint: str, now: datetime) -> Kept | None:
        """The answer to replay, or None for a new key. Raises `Refused` (409) when it was used for another request."""
        kept = self._kept.get(key)
        if kept is None or now - kept.at >= self.KEPT_FOR:
            return None
        if kept.fingerprint != fingerprint:
            raise Refused(409, "IdempotencyKeyReused", "this Idempotency-Key was used for another request")
        return kept

    def keep(self, key: str, fingerprint: str, status: int, body: bytes, now: datetime) -> None:
        self._kept[key] = Kept(fingerprint, status, body, now)


def fingerprint(path: str, body: bytes) -> str:
    """What makes two requests the same: where they go and, byte for byte, what they say."""
    return hashlib.sha256(path.encode() + b"\0" + body).hexdigest()
