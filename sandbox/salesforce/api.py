"""The REST API as HTTP: sessions, the day's API calls, bodies and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from threading import RLock
from typing import Any
from urllib.parse import quote

from werkzeug.wrappers import Request, Response

from sandbox.salesforce.bulk import JOBS_A_DAY, Csv, compressed
from sandbox.salesforce.calls import Answer, Call, parse_url, versions
from sandbox.salesforce.errors import Refusal, json_error
from sandbox.salesforce.rest import Rest
from sandbox.salesforce.sessions import Sessions
from sandbox.salesforce.store import Store

MAX_API_CALLS = 100_000  # a day: Enterprise edition without further licences
MAX_URI = 16_384  # bytes of a request's address


class Api:
    """Answers requests below ``/services/data``. lock: held around each; user_id: who calls."""

    def __init__(self, lock: RLock, store: Store, sessions: Sessions, user_id: str) -> None:
        self._lock = lock
        self._store = store
        self._sessions = sessions
        self._rest = Rest(store, self._limits, user_id)
        self._calls = 0

    def reset(self) -> None:
        """No job was started, and no call used. The caller holds the lock."""
        self._rest.jobs.clear()
        self._calls = 0

    def leave_calls(self, left: int = MAX_API_CALLS) -> None:
        """So many calls are left of the day's."""
        self._calls = MAX_API_CALLS - left

    def fail_query_job(self, message: str) -> None:
        """The next query job that is started fails, with these words."""
        self._rest.jobs.fail_next(message)

    def answer(self, request: Request) -> Response:
        address = request.environ.get("REQUEST_URI") or quote(request.path) + "?" + request.query_string.decode()
        if request.path.rstrip("/") == "/services/data" and request.method == "GET":
            return in_json(Answer(200, versions()))
        with self._lock:
            self._store.keep()
            try:
                answer = self._called(request, address)
            except Refusal as refusal:
                answer = Answer(refusal.status, refusal.as_error())
            used = {"Sforce-Limit-Info": f"api-usage={self._calls}/{MAX_API_CALLS}"}
        return _in_csv(answer, answer.csv, used, request) if answer.csv else in_json(answer, used)

    def _called(self, request: Request, address: str) -> Answer:
        """Do what is asked. Raises Refusal."""
        if len(address) > MAX_URI:
            raise Refusal("URI_TOO_LONG", "The request URI is too long", status=414)
        self._sessions.check(request)
        if self._calls >= MAX_API_CALLS:
            raise Refusal("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403)
        self._calls += 1
        version, path, parameters = parse_url(address)
        options = request.headers.get("Sforce-Query-Options", "")
        return self._rest.answer(Call(request.method, version, path, parameters, _body(request), options))

    def _limits(self) -> dict[str, Any]:
        left = {"Max": MAX_API_CALLS, "Remaining": MAX_API_CALLS - self._calls}
        jobs = {"Max": JOBS_A_DAY, "Remaining": JOBS_A_DAY - self._rest.jobs.started}
        return {"DailyApiRequests": left, "DailyBulkV2QueryJobs": jobs}


def _body(request: Request) -> Any:
    """The body as JSON, None where there is none. Raises Refusal."""
    data = request.get_data()
    if not data or request.method in ("GET", "HEAD", "DELETE"):
        return None
    if request.mimetype != "application/json":
        message = f"Content type {request.mimetype or 'missing'} is not supported for this resource"
        raise Refusal("UNSUPPORTED_MEDIA_TYPE", message, status=415)
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise json_error(f"{error.msg} at [line:{error.lineno}, column:{error.colno}]") from None
    except UnicodeDecodeError:
        raise json_error("Invalid UTF-8") from None


def in_json(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    """An answer as HTTP."""
    data = None if answer.status == 204 else json.dumps(answer.body, ensure_ascii=False)
    response = Response(data, answer.status, content_type="application/json;charset=UTF-8")
    if answer.status == 204:
        del response.headers["Content-Type"]
    response.headers.update({**answer.headers, **(headers or {})})
    return response


def _in_csv(answer: Answer, page: Csv, headers: Mapping[str, str], request: Request) -> Response:
    """A page of a query job's result, written while it is sent: compressed, for who takes that."""
    pieces = page.pieces()
    response = Response(content_type="text/csv; charset=UTF-8")
    if request.accept_encodings.quality("gzip"):
        pieces = compressed(pieces)
        response.headers["Content-Encoding"] = "gzip"
    response.response = pieces
    response.headers.update({**answer.headers, **headers})
    return response
