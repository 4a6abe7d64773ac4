"""Stigg's REST API, as far as closed-won uses it: a thin client that never guesses what happened.

Every method returns the `data` of Stigg's answer as plain JSON and raises one of `closedwon.domain.errors`. Nothing is
retried in here, with one exception: after a 401 the API key is read again and the request, which Stigg did not look
at, sent once more. The state machine retries, because it waits without being paid for.

What an exchange that went wrong means depends on what was asked:

=====================================  =========================  ====================
what happened                          a write                    a read or a preview
=====================================  =========================  ====================
could not connect                      StiggUnavailable           StiggUnavailable
time-out, drop, 5xx, unreadable        WriteUnanswered            StiggUnavailable
429                                    StiggThrottled             StiggThrottled
401 twice, 403                         StiggUnauthorized          StiggUnauthorized
any other status                       StiggRefused               StiggRefused (404 of a single read: None)
=====================================  =========================  ====================

The shape of the API is that of Stigg's own SDK (``stigg`` on PyPI), which is the contract in the tests and too heavy
to import here. Not documented by Stigg, hence read leniently: the shape of its errors, the header of its request ID.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import requests

from closedwon.aws import metrics
from closedwon.aws.secrets import SecretLike
from closedwon.domain.errors import (
    ClosedWonError,
    SecretInvalid,
    StiggRefused,
    StiggThrottled,
    StiggUnauthorized,
    StiggUnavailable,
    WriteUnanswered,
)
from closedwon.wire.private import redacted
from closedwon.wire.sending import never_sent
from closedwon.wire.session import TIMEOUTS, BoundedSession

if TYPE_CHECKING:
    from closedwon.stigg.rate_limit import Governor, Kind

Json = dict[str, Any]

PAGE_LIMIT = 100
"""The most a list returns at once, by Stigg's documentation."""


ARCHIVED = "CustomerIsArchived"
"""Why an archived customer has no access (`accessDeniedReason` in the SDK's types of the entitlements)."""


def idempotency_key(execution: str, entity_id: str, body: Mapping[str, Any]) -> str:
    """The Idempotency-Key of one write: it is the same only for the same write of the same execution.

    In: the execution's name; the ID of what is written (the customer's or the subscription's); the body as sent.
    Out: 64 hexadecimal digits. Stigg replays its first answer to a key for 24 hours, so the execution is part of it: a
    later execution that wishes the same again after something else came in between must not get an old answer.
    """
    wish = [execution, entity_id, body]
    # Sorted: the same wish has the same key, in whatever order its body was put together.
    canonical = json.dumps(wish, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class Stigg:
    """A client of one Stigg environment.

    base_url: the setting STIGG_API_URL, without the path; secret: holds ``{"apiKey": ...}``; session: what to send
    through (a `BoundedSession` when None); timeouts: seconds to connect, and for each read; governor: where each write
    waits for its rate slot, None for a client that does not write; root: what all paths begin with.
    """

    def __init__(
        self,
        base_url: str,
        secret: SecretLike,
        session: requests.Session | None = None,
        timeouts: tuple[float, float] = TIMEOUTS,
        governor: Governor | None = None,
        root: str = "/api/v1/",
    ) -> None:
        self._governor = governor
        self._base_url = base_url.rstrip("/") + root
        self._secret = secret
        self._session = session or BoundedSession(timeouts)
        self._timeouts = timeouts

    # Customers

    def get_customer(self, customer_id: str) -> Json | None:
        """The customer, or None when Stigg does not know the ID."""
        return self._find("read customer", ("customers", customer_id))

    def entitlements(self, customer_id: str, resource_id: str | None = None) -> list[Json]:
        """What a customer may use, from all its subscriptions of one resource (None: those without a resource)."""
        query = {"resourceId": resource_id} if resource_id else None
        answer = self._exchange("read entitlements", "GET", ("customers", customer_id, "entitlements"), query=query)
        found = _object(answer, "read entitlements", writes=False).get("entitlements")
        return found if isinstance(found, list) else []

    def is_archived(self, customer_id: str) -> bool:
        """Whether somebody archived the customer: to every other question Stigg answers as if it had never been."""
        answer = self._find("read entitlements", ("customers", customer_id, "entitlements"))
        return answer is not None and answer.get("accessDeniedReason") == ARCHIVED

    def provision_customer(self, body: Json, idempotency_key: str) -> Json:
        """Create a customer."""
        self._wait_for_rate_slot("provision customer", f"customer {body.get('id')}")
        return self._write("provision customer", "POST", ("customers",), body, idempotency_key)

    def update_customer(self, customer_id: str, body: Json) -> Json:
        """Change a customer. `metadata` in the body replaces the customer's whole metadata."""
        self._wait_for_rate_slot("update", f"customer {customer_id}")
        return self._write("update customer", "PATCH", ("customers", customer_id), body)

    def queue_credentials(self, queue_url: str, seconds: int) -> Json:
        """Credentials of AWS for a durable queue of events, for so many seconds (900 to 3600): of the edge API only,
        which has no other call.
        """
        query = {"queueUrl": queue_url, "durationSeconds": str(seconds)}
        return self._exchange("read queue credentials", "GET", ("credentials", "event-queue.json"), query=query)

    # Subscriptions

    def list_subscriptions(self, customer_id: str, statuses: Iterable[str] = ()) -> list[Json]:
        """All subscriptions of a customer, on all pages.

        statuses: only these (ACTIVE, IN_TRIAL, NOT_STARTED, PAYMENT_PENDING, EXPIRED, CANCELED); none means any. The
        items have metadata and no entitlements (see `get_subscription`).
        """
        return self._list("list subscriptions", ("subscriptions",), {"customerId": customer_id, **_status(statuses)})

    def subscription_pages(
        self, after: str | None = None, statuses: Iterable[str] = ()
    ) -> Iterator[tuple[list[Json], str | None]]:
        """The subscriptions of the whole environment, page by page: one request for each page that is read.

        after: the cursor of the page before, None for the first; statuses: as in `list_subscriptions`.
        Out: the page's items, and the cursor to go on from, None on the last page.
        """
        return self._pages("list subscriptions", ("subscriptions",), _status(statuses), after)

    def get_subscription(self, subscription_id: str) -> Json | None:
        """The subscription with the entitlements set on it (its overrides), or None when Stigg does not know the ID."""
        return self._find("read subscription", ("subscriptions", subscription_id))

    def provision_subscription(self, body: Json, idempotency_key: str) -> Json:
        """Create a subscription; Stigg cancels the one that stands in its slot.

        Out: `id`, `status` (``SUCCESS`` or ``PAYMENT_REQUIRED`` with `checkoutUrl`: both normal), `subscription`.
        """
        self._wait_for_rate_slot("provision subscription", _resource_of(body))
        answer = self._write("provision subscription", "POST", ("subscriptions",), body, idempotency_key)
        _saying(answer, "provision subscription", "id", "status")
        if answer["status"] == "SUCCESS":
            _saying(answer.get("subscription"), "provision subscription", "status")
        return answer

    def update_subscription(self, subscription_id: str, body: Json) -> Json:
        """Change a subscription. A list in the body replaces the whole list; the plan cannot be changed."""
        self._wait_for_rate_slot("update", f"subscription {subscription_id}")
        answer = self._write("update subscription", "PATCH", ("subscriptions", subscription_id), body)
        return _saying(answer, "update subscription", "status")

    def cancel_subscription(self, subscription_id: str, body: Json, idempotency_key: str) -> Json:
        """End a subscription, when `cancellationTime` in the body says."""
        self._wait_for_rate_slot("cancel", f"subscription {subscription_id}")
        path = ("subscriptions", subscription_id, "cancel")
        answer = self._write("cancel subscription", "POST", path, body, idempotency_key)
        return _saying(answer, "cancel subscription", "status")

    def preview_subscription(self, body: Json) -> Json:
        """The invoices a subscription would lead to. Writes nothing."""
        # It is a POST, but where its answer is lost, nothing is left open.
        answer = self._exchange("preview subscription", "POST", ("subscriptions", "preview"), body=body)
        return _object(answer, "preview subscription", writes=False)

    def grant_credits(self, body: Json, idempotency_key: str) -> Json:
        """Grant credits. A grant has no ID of ours and cannot be changed: it is recorded as `Intended` first."""
        self._wait_for_rate_slot("grant", _resource_of(body))
        answer = self._write("grant credits", "POST", ("credits", "grants"), body, idempotency_key)
        return _saying(answer, "grant credits", "id")

    def list_grants(self, customer_id: str, resource_id: str | None = None) -> list[Json]:
        """The credit grants of a customer, on all pages: of one resource, or (None) those without a resource."""
        wanted = {"customerId": customer_id, **({"resourceId": resource_id} if resource_id else {})}
        return self._list("list credit grants", ("credits", "grants"), wanted)

    # Contracts, which not every account has

    def list_contracts(self, customer_id: str) -> list[Json]:
        """A customer's contracts, all in one answer, each with its subscriptions."""
        operation = "list contracts"
        return _items(self._exchange(operation, "GET", ("customers", customer_id, "contracts")), operation)

    def first_contracts(self) -> list[Json]:
        """Some of the environment's contracts, in one answer: shows whether the account has contracts at all."""
        return next(self._pages("list contracts", ("contracts",), {}))[0]

    def create_contract(self, body: Json, idempotency_key: str) -> Json:
        """Create a contract. Where its `contractId` was used, Stigg answers the contract that has it, as it is."""
        self._wait_for_rate_slot("provision subscription", f"contract {body.get('contractId')}")
        answer = self._write("create contract", "POST", ("contracts",), body, idempotency_key)
        return _saying(answer, "create contract", "contractId", "state")

    def update_contract(self, contract_id: str, body: Json) -> Json:
        """Change a contract. `subscriptionIds` in the body replaces the whole set."""
        self._wait_for_rate_slot("update", f"contract {contract_id}")
        answer = self._write("update contract", "PATCH", ("contracts", contract_id), body)
        return _saying(answer, "update contract", "contractId", "state")

    # Catalogue

    def list_plans(self) -> list[Json]:
        """All plans, on all pages."""
        return self._list("list plans", ("plans",))

    def list_addons(self) -> list[Json]:
        """All add-ons, on all pages."""
        return self._list("list addons", ("addons",))

    def list_features(self) -> list[Json]:
        """All features, on all pages."""
        return self._list("list features", ("features",))

    def list_custom_currencies(self) -> list[Json]:
        """All custom currencies (what credits are counted in), on all pages."""
        return self._list("list custom currencies", ("credits", "custom-currencies"))

    def list_charges(self, of: Literal["plans", "addons"], id: str) -> list[Json]:
        """The recurring prices of a plan or an add-on, on all pages."""
        return self._list("list charges", (of, id, "charges"))

    def list_plan_entitlements(self, id: str) -> list[Json]:
        """The entitlements that come with a plan, features and credits with amounts: one page, as its SDK asks."""
        operation = "list plan entitlements"
        return _items(self._exchange(operation, "GET", ("plans", id, "entitlements")), operation)

    # What they are made of

    def _wait_for_rate_slot(self, kind: Kind, entity: str) -> None:
        """Wait for the rate slot of a write. Raises GovernorBusy. Reads stay far below the limits and do not wait."""
        if self._governor is not None:
            self._governor.write(kind, entity)

    def _find(self, operation: str, path: tuple[str, ...]) -> Json | None:
        try:
            answer = self._exchange(operation, "GET", path)
        except StiggRefused as error:
            if error.status == 404:
                return None
            raise
        return _object(answer, operation, writes=False)

    def _write(
        self,
        operation: str,
        method: str,
        path: tuple[str, ...],
        body: Json,
        idempotency_key: str | None = None,
    ) -> Json:
        answer = self._exchange(operation, method, path, body=body, idempotency_key=idempotency_key, writes=True)
        return _object(answer, operation, writes=True)

    def _list(self, operation: str, path: tuple[str, ...], wanted: Mapping[str, str] | None = None) -> list[Json]:
        return [item for items, _ in self._pages(operation, path, wanted or {}) for item in items]

    def _pages(
        self, operation: str, path: tuple[str, ...], wanted: Mapping[str, str], after: str | None = None
    ) -> Iterator[tuple[list[Json], str | None]]:
        query = {**wanted, "limit": str(PAGE_LIMIT), **({"after": after} if after else {})}
        cursors: set[str] = set()
        while True:
            answer = self._exchange(operation, "GET", path, query=query)
            page = _items(answer, operation)
            pagination = answer.get("pagination")
            cursor = pagination.get("next") if isinstance(pagination, dict) else None
            if not isinstance(cursor, str) or not cursor:
                yield page, None
                return
            # Else it would be read round and round until the function is cut off.
            if cursor in cursors:
                raise StiggUnavailable("the list leads back to a page already read", operation=operation)
            yield page, cursor
            cursors.add(cursor)
            query["after"] = cursor

    def _exchange(
        self,
        operation: str,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        idempotency_key: str | None = None,
        writes: bool = False,
    ) -> Json:
        """Send one request. Out: the JSON object of its answer. Raises as in the module's table."""
        url = self._base_url + "/".join(_segment(part) for part in path)
        headers = {"Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            # Not left to `requests`: a body that is no JSON is a bug, and must not look like an outage.
            data = json.dumps(body, allow_nan=False).encode()
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        key = self._api_key()
        response = self._send(operation, method, url, query, data, headers, key, writes)
        # The key may have been changed within the minutes for which it is kept in memory.
        if response.status_code == 401:
            self._secret.again()
            key = self._api_key()
            response = self._send(operation, method, url, query, data, headers, key, writes)
        content = _json(response)
        if 200 <= response.status_code < 300 and isinstance(content, dict):
            return content
        raise _error(response, content, operation, writes, key)

    def _api_key(self) -> str:
        # A key that was pasted may bring its line's end along.
        key = str(self._secret.json("apiKey")["apiKey"]).strip()
        if not re.fullmatch(r"[\x21-\x7e]+", key):
            # `requests` would quote a key it cannot send in its own error.
            raise SecretInvalid("the Stigg secret's apiKey holds characters a header cannot")
        return key

    def _send(
        self,
        operation: str,
        method: str,
        url: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        headers: Mapping[str, str],
        key: str,
        writes: bool,
    ) -> requests.Response:
        # Raised below rather than in the handler: the exception of `requests` holds the request with the API key, and
        # must not hang on ours as its context.
        failure: ClosedWonError
        try:
            return self._session.request(
                method,
                url,
                params=query,
                data=data,
                headers={**headers, "X-API-KEY": key},
                timeout=self._timeouts,
                # `requests` takes only Authorization off a redirect: the API key would go to whatever host it names.
                allow_redirects=False,
            )
        except requests.RequestException as error:
            name = type(error).__name__
            if never_sent(error):
                failure = StiggUnavailable(f"could not be reached ({name})", operation=operation)
            else:
                failure = _unanswered(f"no answer ({name})", operation, writes)
        raise failure


def _status(statuses: Iterable[str]) -> dict[str, str]:
    """The filter by status; none for any."""
    status = ",".join(statuses)
    return {"status": status} if status else {}


def _resource_of(body: Json) -> str:
    """What a new subscription or grant belongs to, as Stigg's limits count it."""
    resource_id = body.get("resourceId")
    return f"customer {body.get('customerId')}" + (f" resource {resource_id}" if resource_id else "")


def _segment(text: str) -> str:
    """One segment of a path. Raises ValueError for one that would name another resource."""
    if text in ("", ".", ".."):
        raise ValueError("an ID cannot be empty or consist of dots")
    return quote(text, safe="")


def _json(response: requests.Response) -> Any:
    """The answer's JSON; None where the body is not JSON."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _object(answer: Json, operation: str, writes: bool) -> Json:
    """The `data` of an answer that succeeded."""
    data = answer.get("data")
    if not isinstance(data, dict):
        raise _unanswered("an answer without data", operation, writes)
    return data


def _items(answer: Json, operation: str) -> list[Json]:
    """The `data` of an answer that is a list."""
    items = answer.get("data")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _unanswered("an answer without data", operation, writes=False)
    return items


def _saying(answer: Any, operation: str, *names: str) -> Json:
    """The answer to a write, checked to have these fields: without them nobody knows what the write did."""
    if not isinstance(answer, dict) or not all(isinstance(answer.get(name), str) for name in names):
        raise _unanswered(f"an answer without {' and '.join(names)}", operation, writes=True)
    return answer


def _unanswered(
    message: str, operation: str, writes: bool, status: int | None = None, request_id: str = ""
) -> ClosedWonError:
    if writes:
        return WriteUnanswered(message, service="Stigg", operation=operation, status=status, request_id=request_id)
    return StiggUnavailable(message, operation=operation, status=status, request_id=request_id)


def _error(response: requests.Response, content: Any, operation: str, writes: bool, key: str) -> ClosedWonError:
    status = response.status_code
    request_id = _request_id(response)
    # It says that something was done, and not what: after a write that is as good as no answer.
    if 200 <= status < 300:
        return _unanswered("an answer that cannot be read", operation, writes, status, request_id)
    # 408 is a time-out on the other side: like a 5xx it does not say what became of the request.
    if status >= 500 or status == 408:
        return _unanswered("no usable answer", operation, writes, status, request_id)
    if status == 429:
        metrics.note("Throttled", System="Stigg")
        return StiggThrottled("too many requests", operation=operation, status=status, request_id=request_id)
    if status == 401:
        message = "the API key is not accepted, also after it was read again"
        return StiggUnauthorized(message, operation=operation, status=status, request_id=request_id)
    message, code = _reason(content, key)
    if status == 403:
        message = message or "the API key lacks the scope"
        return StiggUnauthorized(message, operation=operation, status=status, request_id=request_id, code=code)
    if status < 400:
        message = "a redirect, which is not followed: is STIGG_API_URL right?"
    return StiggRefused(status, message or "no reason given", request_id, operation=operation, code=code)


def _reason(content: Any, key: str) -> tuple[str, str]:
    """Message and code of an error answer: at the top, or in `error`, or in the first of `errors`."""
    if not isinstance(content, dict):
        return "", ""
    several = content.get("errors")
    places = [content, content.get("error"), *(several[:1] if isinstance(several, list) else [])]
    message = code = ""
    for place in places:
        if isinstance(place, str):  # {"error": "Bad Request"}
            message = message or place
        elif isinstance(place, dict):
            message, code = message or _message_of(place), code or _text(place.get("code"))
    return redacted(message, hide=(key,)), redacted(code, limit=80, hide=(key,))


def _message_of(place: Json) -> str:
    text = place.get("message")
    if isinstance(text, list):  # one text a field
        return "; ".join(part for part in text if isinstance(part, str))
    return _text(text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _request_id(response: requests.Response) -> str:
    for name in ("x-request-id", "x-amzn-requestid", "x-trace-id", "cf-ray"):
        # It goes into logs and histories, so it must look like an ID.
        if re.fullmatch(r"[\w.:=-]{1,100}", value := response.headers.get(name, "")):
            return value
    return ""
