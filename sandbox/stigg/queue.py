"""The durable queue of the stand-in: an SQS queue in Stigg's account, for which its edge API gives credentials.

As in docs.stigg.io, *Getting temporary credentials for event queues*: by the API key, for one queue, for 15 to 60
minutes. SQS is moto's; it takes nothing for this queue that is not signed with such credentials, in their time.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from wsgiref.types import WSGIEnvironment

from werkzeug.wrappers import Request, Response

from .packages import stamp

PATH = "/v1/credentials/event-queue.json"
SHORTEST, LONGEST = 900, 3600
"""Seconds for which credentials may be asked for; the longest where nothing is said."""

_SIGNED_BY = re.compile(r"Credential=([^/,]+)/")


class DurableQueue:
    """One queue's guard. url: the queue's; now: the time of day, with a zone."""

    def __init__(self, url: str, now: Callable[[], datetime]) -> None:
        self.url = url
        self._now = now
        self._given: dict[str, tuple[str, datetime]] = {}  # by access key: the session token, and until when
        self.asked = 0
        """How often credentials were asked for."""

    def credentials(self, request: Request) -> Response:
        """The edge API's answer; the key was looked at already."""
        self.asked += 1
        if request.args.get("queueUrl") != self.url:
            return _answer(403, {"message": "the queue is not one of this environment"})
        seconds = request.args.get("durationSeconds", str(LONGEST))
        if not seconds.isdecimal() or not SHORTEST <= int(seconds) <= LONGEST:
            return _answer(400, {"message": f"durationSeconds must be between {SHORTEST} and {LONGEST}"})
        key, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(48)
        until = self._now() + timedelta(seconds=int(seconds))
        self._given[key] = token, until
        return _answer(
            200,
            {
                "accessKeyId": key,
                "secretAccessKey": secrets.token_urlsafe(30),
                "sessionToken": token,
                "expiration": stamp(until),
            },
        )

    def admits(self, environ: WSGIEnvironment, body: bytes) -> bool:
        """Whether AWS takes a request: one for this queue only with credentials that it gave, in their time."""
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("AmazonSQS.") or self.url.encode() not in body:
            return True
        signed = _SIGNED_BY.search(environ.get("HTTP_AUTHORIZATION", ""))
        token, until = self._given.get(signed[1] if signed else "", ("", self._now()))
        return environ.get("HTTP_X_AMZ_SECURITY_TOKEN") == token and self._now() < until


def _answer(status: int, content: dict[str, str]) -> Response:
    return Response(json.dumps(content), status, content_type="application/json")
