"""The API's front door: who is let in, how often, and what was answered already."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from . import answers
from .answers import Endpoint
from .endpoints import ENDPOINTS, ENDPOINTS_OF_SECOND
from .errors import CODES, Refused
from .limits import Idempotency, RateLimits, fingerprint
from .service import Service

PATH = "/api/v1"
SECOND = "/api/v2"

_ROUTES = Map(
    [
        Rule(base + path, endpoint=endpoint, methods=[method], strict_slashes=True)
        for base, endpoints in ((PATH, ENDPOINTS), (SECOND, ENDPOINTS_OF_SECOND))
        for (method, path), endpoint in endpoints.items()
    ],
    merge_slashes=False,
)


class Api:
    """Answers requests below ``/api``.

    present: holds the lock over a service that time has caught up with. api_key: the only key that is let in. limits:
    makes rate limits that have counted nothing.
    """

    def __init__(
        self,
        present: Callable[[], AbstractContextManager[Service]],
        api_key: str,
        limits: Callable[[], RateLimits],
    ) -> None:
        self._present = present
        self._new_limits = limits
        self.change_key(api_key)
        self.reset()

    def reset(self) -> None:
        """Nothing was asked yet, and the key has every scope. The caller holds the lock."""
        self._out_of_scope: frozenset[str] = frozenset()
        self._limits = self._new_limits()
        self._idempotency = Idempotency()

    def change_key(self, api_key: str, old: str | None = None) -> None:
        """From now on only this key is let in; while it lasts, an old one too."""
        self._keys = (api_key.encode(), (old or api_key).encode())

    def narrow_key(self, resources: frozenset[str]) -> None:
        """The key is a scoped one, without these, until `reset`."""
        self._out_of_scope = resources

    def credentials(self, request: Request, give: Callable[[Request], Response]) -> Response:
        """Answer the edge API's one request, which the same key opens."""
        try:
            if request.method != "GET":
                raise Refused(405, CODES[405], f"{request.method} {request.path}: no such endpoint")
            self._let_in(request)
            return give(request)
        except Refused as refused:
            return answers.refusal(refused)

    def _let_in(self, request: Request) -> None:
        """Raises `Refused` (401)."""
        key = request.headers.get("X-API-KEY", "").encode()
        if not any(hmac.compare_digest(key, known) for known in self._keys):
            raise Refused(401, "Unauthenticated", "the X-API-KEY header is missing or wrong")

    def answer(self, request: Request) -> Response:
        try:
            self._let_in(request)
            endpoint, values = _routed(request)
            body = request.get_data(cache=True)
            path = request.path.removeprefix(f"{PATH}/")
            if any(path == scope or path.startswith(f"{scope}/") for scope in self._out_of_scope):
                raise Refused(403, CODES[403], "the API key lacks the scope for this")
            # The lock is held throughout: a second request under one key waits for the first and gets its answer.
            with self._present() as service:
                return self._answer_once(service, request, endpoint, values, body)
        except Refused as refused:
            return answers.refusal(refused)

    def _answer_once(
        self, service: Service, request: Request, endpoint: Endpoint, values: Mapping[str, Any], body: bytes
    ) -> Response:
        """Rate limits first, then the idempotency key, then the call."""
        fields = answers.fields(request, body, endpoint.bare) if request.method in ("POST", "PATCH") else {}
        self._limits.count(endpoint.operation, endpoint.entity(values, fields) if endpoint.entity else None)
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if key is None:
            return _handled(service, request, endpoint, values)
        if not key.strip():
            raise Refused(400, "BadUserInput", "Idempotency-Key is empty")
        now, mark = service.now, fingerprint(request.path, body)
        kept = self._idempotency.look(key, mark, now)
        if kept is not None:
            replay = Response(kept.body, kept.status, content_type="application/json")
            replay.headers["x-idempotent-replay"] = "true"
            return replay
        response = _handled(service, request, endpoint, values)
        self._idempotency.keep(key, mark, response.status_code, response.get_data(), now)
        return response


def _routed(request: Request) -> tuple[Endpoint, Mapping[str, Any]]:
    """The endpoint that is asked, and what its path says. Raises `Refused` (404, 405)."""
    try:
        return _ROUTES.bind_to_environ(request.environ).match()
    except HTTPException as no_route:
        status = no_route.code if no_route.code in (404, 405) else 404
        raise Refused(status, CODES[status], f"{request.method} {request.path}: no such endpoint") from None


def _handled(service: Service, request: Request, endpoint: Endpoint, values: Mapping[str, Any]) -> Response:
    try:
        answer = endpoint.handle(service, request, **values)
        return answers.response(answer.status, answer.body)
    except Refused as refused:
        return answers.refusal(refused)
