"""The client of the user's own application: one signed POST for an opportunity, and what its answer means.

Nothing is retried in here, with one exception: after a 401 the signing key is read again and the request sent once
more. A request without an answer may have had its effect. It is sent again all the same, because its Idempotency-Key
stays the same.

=================================================  ==========================
the answer                                         what `ask` does
=================================================  ==========================
200, 201                                           returns `Ready`
202                                                returns `NotYet`
none, 408, 429, 5xx                                ApplicationUnavailable
any other 4xx, a redirect                          ApplicationRefused
any other 2xx, or one that cannot be used          ApplicationAnswerInvalid
=================================================  ==========================
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import requests

from closedwon.aws.secrets import SecretLike
from closedwon.domain.errors import ApplicationAnswerInvalid, ApplicationRefused, ApplicationUnavailable, ClosedWonError
from closedwon.domain.identifiers import CustomerId, customer_id_fault, entity_id_fault
from closedwon.wire.private import keep_private, redacted
from closedwon.wire.sending import never_sent

Json = dict[str, Any]

TIMEOUTS = (3.05, 15.0)
"""Seconds to wait for a connection (a little over one TCP retransmission) and for each read of an answer."""

LONGEST = 20.0
"""Seconds after which an answer that is still arriving is given up: `requests` limits each read, not the whole."""

ANSWER_LIMIT = 65_536
"""The most bytes of an answer that are read."""

METADATA_ENTRIES, METADATA_VALUE = 20, 500
"""The most entries of an answer's metadata, and characters of a value."""

_METADATA_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")

SOONEST, USUAL, LATEST = 60_000, 300_000, 24 * 3_600_000
"""Milliseconds until the application is asked again: at least, where it does not say, and at most."""


class Ready(NamedTuple):
    """The application is done. metadata: for the subscription."""

    customer_id: CustomerId | None = None
    resource_id: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


class NotYet(NamedTuple):
    """The application has taken the request and is to be asked again then, in epoch milliseconds."""

    ask_again_at: int


class OwnApplication:
    """A client of the user's own application.

    url: the setting OWN_APPLICATION_URL; secret: holds ``{"signingKey": ...}``; timeouts: seconds to connect, and for
    each read; clock: epoch seconds.
    """

    def __init__(
        self,
        url: str,
        secret: SecretLike,
        timeouts: tuple[float, float] = TIMEOUTS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._secret = secret
        self._timeouts = timeouts
        self._clock = clock

    def ask(self, body: Json, key: str) -> Ready | NotYet:
        """Ask the application about one opportunity. In: the request's JSON; its Idempotency-Key. Raises as in the
        table.
        """
        # The signature is over bytes, so these very bytes are sent.
        content = json.dumps(body, allow_nan=False).encode()
        status, headers, answer = self._exchange(content, key)
        # The key may have been rotated within the five minutes for which it is kept.
        if status == 401:
            self._secret.again()
            status, headers, answer = self._exchange(content, key)
        if status in (200, 201):
            return ready(_object(answer))
        if status == 202:
            return NotYet(ask_again_at(answer, headers, round(self._clock() * 1000)))
        if status < 300:
            raise ApplicationAnswerInvalid("its status", f"is HTTP {status}; use 200, 201 or 202")
        if status in (408, 429) or status >= 500:
            raise ApplicationUnavailable("no usable answer", status=status)
        if status < 400:
            raise ApplicationRefused("a redirect, which is not followed", status=status)
        raise ApplicationRefused(_message(answer, body) or "it refused, and gave no reason", status=status)

    def _exchange(self, content: bytes, key: str) -> tuple[int, Mapping[str, str], bytes]:
        """One request. Out: the answer's status, headers and first bytes."""
        # A key that was pasted may bring its line's end along.
        signing_key = str(self._secret.json("signingKey")["signingKey"]).strip()
        # Part of what is signed, so that the application can refuse a request that somebody recorded.
        timestamp = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Idempotency-Key": key,
            "X-Closed-Won-Timestamp": str(timestamp),
            "X-Closed-Won-Signature": signature(signing_key, timestamp, content),
        }
        # Raised below rather than in the handler: the exception of `requests` holds the request.
        failure: ClosedWonError
        until = time.monotonic() + LONGEST
        try:
            # No redirect: names and signature would go to an address that nobody configured.
            # A connection of its own: there are few requests, and an idle one is lost while Lambda freezes a function.
            with requests.post(
                self._url, data=content, headers=headers, timeout=self._timeouts, allow_redirects=False, stream=True
            ) as response:
                answer = b""
                # Streamed and read in parts, so that an answer without an end can be given up.
                for part in response.iter_content(8192):
                    answer += part
                    if len(answer) > ANSWER_LIMIT or time.monotonic() > until:
                        break
                else:
                    return response.status_code, response.headers, answer
                if len(answer) > ANSWER_LIMIT:
                    failure = ApplicationAnswerInvalid("its body", f"is longer than {ANSWER_LIMIT} bytes")
                else:
                    failure = ApplicationUnavailable("an answer that does not end", status=response.status_code)
        except requests.RequestException as error:
            said = "could not be reached" if never_sent(error) else "did not answer"
            failure = ApplicationUnavailable(f"{said} ({type(error).__name__})")
        raise failure


def signature(signing_key: str, timestamp: int, body: bytes) -> str:
    """The signature of one request: ``v1=`` and the hexadecimal HMAC-SHA256 of ``<timestamp>.<body>``."""
    signed = f"{timestamp}.".encode() + body
    return "v1=" + hmac.new(signing_key.encode(), signed, hashlib.sha256).hexdigest()


def ready(answer: Json) -> Ready:
    """The checked content of an answer 200 or 201. Fields closed-won does not know are ignored: the application may
    have other readers. Raises ApplicationAnswerInvalid.
    """
    customer_id = _id(answer, "customerId", customer_id_fault)
    named = None if customer_id is None else CustomerId(customer_id)
    return Ready(named, _id(answer, "resourceId", entity_id_fault), _metadata(answer.get("metadata")))


def _id(answer: Json, field: str, fault_of: Callable[[str], str | None]) -> str | None:
    value = answer.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ApplicationAnswerInvalid(field, "must be a text")
    if fault := fault_of(value):
        raise ApplicationAnswerInvalid(field, fault)
    return value


def _metadata(given: Any) -> tuple[tuple[str, str], ...]:
    if given is None:
        return ()
    if not isinstance(given, dict):
        raise ApplicationAnswerInvalid("metadata", "must be an object")
    if len(given) > METADATA_ENTRIES:
        raise ApplicationAnswerInvalid("metadata", f"has more than {METADATA_ENTRIES} entries")
    for place, (key, value) in enumerate(given.items(), 1):
        if not _METADATA_KEY.fullmatch(key):
            said = f"entry {place} has a key that is not 1 to 64 letters, digits and _ . -"
            raise ApplicationAnswerInvalid("metadata", said)
        if not isinstance(value, str) or len(value) > METADATA_VALUE:
            said = f"{key} must be a text of at most {METADATA_VALUE} characters"
            raise ApplicationAnswerInvalid("metadata", said)
    return tuple(sorted(given.items()))


def ask_again_at(answer: bytes, headers: Mapping[str, str], now: int) -> int:
    """When an application that is not ready yet is to be asked again: as its body or else its Retry-After says, within
    bounds. now, out: epoch milliseconds. Raises ApplicationAnswerInvalid for a time that cannot be read.
    """
    given = _object(answer).get("askAgainAt") if answer.strip() else None
    after = headers.get("Retry-After", "").strip()
    if given is not None:
        try:
            at = _milliseconds(datetime.fromisoformat(given))
        except (TypeError, ValueError):
            raise ApplicationAnswerInvalid("askAgainAt", "is not a time with its zone (2026-12-01T09:00:00Z)") from None
    # isdecimal alone takes the digits of every script.
    elif after.isdecimal() and after.isascii():
        at = now + 1000 * int(after[:10])  # ten digits lie beyond LATEST already
    elif after:
        try:
            at = _milliseconds(parsedate_to_datetime(after))
        except ValueError:
            raise ApplicationAnswerInvalid("Retry-After", "is neither seconds nor a date") from None
    else:
        at = now + USUAL
    # So that a slip in the application neither has it asked without a pause nor has a deal forgotten.
    return min(max(at, now + SOONEST), now + LATEST)


def _milliseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def _object(answer: bytes) -> Json:
    try:
        content = json.loads(answer)
    # RecursionError: JSON that is nested some thousand levels deep.
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ApplicationAnswerInvalid("its body", "is not a JSON object")
    return content


def _message(answer: bytes, body: Json) -> str:
    """Why the application refused, from ``{"message": ...}``, without the names that it may have repeated."""
    try:
        message = _object(answer).get("message")
    except ApplicationAnswerInvalid:
        return ""
    # The application knows the names from the request, and may repeat them in its message.
    keep_private(*(body[about].get("name") for about in ("account", "opportunity") if about in body))
    return redacted(message)
