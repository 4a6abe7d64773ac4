"""What an answer of Salesforce means, in the terms of `closedwon.domain.errors`: the table in `client`.

Pure, but that it counts the requests that were throttled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from closedwon.aws import metrics
from closedwon.domain.errors import (
    ClosedWonError,
    SalesforceLimitExceeded,
    SalesforceRefused,
    SalesforceRowLocked,
    SalesforceThrottled,
    SalesforceUnauthorized,
    SalesforceUnavailable,
    Transient,
    WriteUnanswered,
)
from closedwon.wire.private import redacted

Json = dict[str, Any]

_CONSEQUENCES = frozenset({"ALL_OR_NONE_OPERATION_ROLLED_BACK", "PROCESSING_HALTED"})
"""Error codes of records and sub-requests that failed only because another one did."""


def records_of(result: Mapping[str, Any]) -> list[Json]:
    """The records' results of a composite result that is a collection's, in the order sent; else an empty list.

    Each has `success`, `errors`, and `id` and `created` where it succeeded; `error_of` takes them.
    """
    body = result.get("body")
    if not isinstance(body, list) or not _ok(result):
        return []
    # A request that was refused answers a list too: of errors, which have no `success`.
    return [item for item in body if isinstance(item, dict) and "success" in item]


def error_of(result: Mapping[str, Any], operation: str = "write back") -> ClosedWonError | None:
    """What went wrong with one sub-request of `SalesforceClient.composite`, or with one record of a collection.

    In: a composite result, or an item of `records_of`; what was being done, for the error's text.
    Out: None when it succeeded. Else one of the module's table; of several errors (a collection answers HTTP 200 even
    when records fail) a transient one, since trying again then helps some, before a permanent one, before a mere
    consequence of another's failure.
    """
    errors = list(_errors_of(result, operation))
    return min(errors, key=_precedence) if errors else None


def _errors_of(result: Mapping[str, Any], operation: str) -> Iterator[ClosedWonError]:
    if "success" in result:
        if not result["success"]:
            yield answered(None, result.get("errors"), operation, writes=True)
    elif _ok(result):
        for record in records_of(result):
            yield from _errors_of(record, operation)
    else:
        yield answered(result.get("httpStatusCode"), result.get("body"), operation, writes=True)


def _precedence(error: ClosedWonError) -> int:
    if isinstance(error, Transient):
        return 0
    return 2 if getattr(error, "code", "") in _CONSEQUENCES else 1


def _ok(result: Mapping[str, Any]) -> bool:
    status = result.get("httpStatusCode")
    return isinstance(status, int) and 200 <= status < 300


def answered(
    status: int | None, content: Any, operation: str, writes: bool, hide: tuple[str, ...] = ()
) -> ClosedWonError:
    """The error that an answer means. status: None for a record; content: Salesforce's list of errors, if it is one."""
    code, message, names = _first_error(content, hide)
    about: dict[str, Any] = {"operation": operation, "status": status}
    # Codes before statuses: a record of a collection has a code only.
    if code == "UNABLE_TO_LOCK_ROW":
        return SalesforceRowLocked("somebody else is writing the record", code=code, **about)
    if code == "REQUEST_LIMIT_EXCEEDED":
        return _limit_exceeded(message, code, about)
    if status == 401 or code == "INVALID_SESSION_ID":
        return SalesforceUnauthorized("the session is not accepted", code=code, **about)
    if status == 429:
        return _throttled("too many requests", code, about)
    # Salesforce says that it did nothing: a write is not left open by it, as it is by any other 5xx.
    if code in ("SERVER_UNAVAILABLE", "QUERY_TIMEOUT"):
        return SalesforceUnavailable(message or "unavailable", code=code, **about)
    if _says_nothing(status):
        return unanswered("no usable answer", operation, writes, status, code)
    return _refused(status, code, message, names, about)


def _says_nothing(status: int | None) -> bool:
    """Whether a status leaves open what became of a request."""
    return status is not None and (status >= 500 or status == 408)


def _refused(
    status: int | None, code: str, message: str, names: list[str], about: Mapping[str, Any]
) -> SalesforceRefused:
    redirect = status is not None and 300 <= status < 400
    unsaid = "a redirect, which is not followed: is SALESFORCE_URL the org's My Domain?" if redirect else ""
    return SalesforceRefused(code, message or unsaid or "no reason given", names, **about)


def _first_error(content: Any, hide: tuple[str, ...]) -> tuple[str, str, list[str]]:
    """Code, message and fields of the first error of Salesforce's list; empty where it is none."""
    first = content[0] if isinstance(content, list) and content else content
    first = first if isinstance(first, dict) else {}
    # A request calls it errorCode, a record of a collection statusCode.
    code = redacted(first.get("errorCode") or first.get("statusCode"), limit=80, hide=hide)
    fields = first.get("fields")
    names = [redacted(name, limit=80) for name in fields] if isinstance(fields, list) else []
    return code, redacted(first.get("message"), hide=hide), names


def _limit_exceeded(message: str, code: str, about: Mapping[str, Any]) -> ClosedWonError:
    """One code for two limits: calls a day, which are gone until later, and requests at the same time."""
    if "concurrent" in message.lower():
        return _throttled(message, code, about)
    return SalesforceLimitExceeded(message or "the org's API calls are used up", code=code, **about)


def _throttled(message: str, code: str, about: Mapping[str, Any]) -> SalesforceThrottled:
    metrics.note("Throttled", System="Salesforce")
    return SalesforceThrottled(message, code=code, **about)


def unanswered(message: str, operation: str, writes: bool, status: int | None = None, code: str = "") -> ClosedWonError:
    if writes:
        return WriteUnanswered(message, service="Salesforce", operation=operation, status=status, code=code)
    return SalesforceUnavailable(message, operation=operation, status=status, code=code)
