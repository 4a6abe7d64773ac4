"""A sample of the user's own application: makes a workspace for each new deal when closed-won asks for one.

All it has to do is in `verified` and `WorkspaceApplication._provision`; docs/own-application.md is the contract. It
works at once, or, told to take its time, answers "not yet" until `finish`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Request, Response

MOST_SECONDS_OLD = 300
"""An older request may be one that somebody recorded and sends again."""


def verified(headers: Mapping[str, str], body: bytes, signing_keys: Iterable[str], now: float) -> bool:
    """Whether closed-won has signed this request, and not long ago. signing_keys: the current one, the one before."""
    timestamp = headers.get("X-Closed-Won-Timestamp", "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > MOST_SECONDS_OLD:
        return False
    given = headers.get("X-Closed-Won-Signature", "").encode()
    signed = timestamp.encode() + b"." + body
    right = ("v1=" + hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in signing_keys)
    return any(hmac.compare_digest(given, one.encode()) for one in right)


class WorkspaceApplication:
    """Workspaces, by the key of the request they were made for: the same request again gets the same workspace.

    signing_keys: the versions of the key that are accepted. slow: whether workspaces take until `finish`.
    """

    def __init__(self) -> None:
        self.signing_keys: list[str] = []
        self.reset()
        self._lock = threading.Lock()

    def reset(self) -> None:
        self.workspaces: dict[str, dict[str, Any]] = {}
        self.slow = False

    def finish(self) -> None:
        """What was being prepared is ready now."""
        for workspace in self.workspaces.values():
            workspace["ready"] = True

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        body = request.get_data()
        if request.method != "POST":
            response = _answer({"message": "POST only"}, 405)
        elif not verified(dict(request.headers), body, self.signing_keys, time.time()):
            response = _answer({"message": "the signature does not fit, or is too old"}, 401)
        else:
            response = self._provision(request.headers.get("Idempotency-Key", ""), json.loads(body))
        return response(environ, start_response)

    def _provision(self, key: str, asked: dict[str, Any]) -> Response:
        if not key:
            return _answer({"message": "an Idempotency-Key is needed"}, 400)
        with self._lock:
            status = 200 if key in self.workspaces else 201
            number = len(self.workspaces) + 1
            workspace = self.workspaces.setdefault(
                key,
                {
                    "id": f"workspace-{number}",
                    "customer": asked.get("customerId", f"org-{asked['account']['id']}"),
                    "name": asked["account"]["name"],
                    "ready": not self.slow,
                },
            )
        if not workspace["ready"]:
            return Response(status=202, headers={"Retry-After": "600"})
        return _answer(
            {
                "customerId": workspace["customer"],
                "resourceId": workspace["id"],
                "metadata": {"workspaceUrl": f"https://app.example.com/{workspace['id']}"},
            },
            status,
        )

    def error(self, status: int) -> Response:
        return _answer({"message": "something went wrong"}, status)


def _answer(content: Mapping[str, Any], status: int) -> Response:
    return Response(json.dumps(content), status, content_type="application/json")
