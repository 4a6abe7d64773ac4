"""Salesforce's REST API, as far as closed-won uses it: queries and schemas, and composite requests for the write-back.

The requests go through `simple-salesforce`, which is imported on first use, without what it imports for logins of its
own and for the Metadata API (`put_off`), and only ever gets a session that is already logged in: its own renewal of a
session repeats without a bound that helps here.
This module logs in, says what an answer means in the terms of `closedwon.domain.errors`, and logs in again at most
once a request. Nothing else is retried here; the state machine does that.

===========================================  ========================  ========================
what happened                                a write                   a query, or logging in
===========================================  ========================  ========================
could not connect, 503 SERVER_UNAVAILABLE    SalesforceUnavailable     SalesforceUnavailable
time-out, drop, other 5xx, unreadable        WriteUnanswered           SalesforceUnavailable
429, too many concurrent requests            SalesforceThrottled       SalesforceThrottled
UNABLE_TO_LOCK_ROW                           SalesforceRowLocked       SalesforceRowLocked
REQUEST_LIMIT_EXCEEDED                       SalesforceLimitExceeded   SalesforceLimitExceeded
401 twice, credentials refused twice         SalesforceUnauthorized    SalesforceUnauthorized
any other error                              SalesforceRefused         SalesforceRefused
===========================================  ========================  ========================
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import requests

from closedwon.aws import metrics
from closedwon.aws.secrets import SecretLike
from closedwon.domain.errors import (
    ClosedWonError,
    SalesforceLimitExceeded,
    SalesforceRefused,
    SalesforceRowLocked,
    SalesforceThrottled,
    SalesforceUnauthorized,
    SalesforceUnavailable,
    SecretInvalid,
    Transient,
    WriteUnanswered,
)
from closedwon.wire.private import keep_secret, redacted
from closedwon.wire.sending import never_sent

if TYPE_CHECKING:
    from simple_salesforce.api import Salesforce


def put_off(module: str, name: str) -> None:
    """Import a module when the one name that others take from it is called, not when they do. Too late, it does
    nothing.
    """
    stand_in = ModuleType(module)

    def first_call(*given: Any, **named: Any) -> Any:
        if sys.modules.get(module) is stand_in:
            del sys.modules[module]
        return getattr(import_module(module), name)(*given, **named)

    setattr(stand_in, name, first_call)
    sys.modules.setdefault(module, stand_in)


# Five sixths of the time that importing simple-salesforce takes: zeep with lxml, PyJWT with cryptography.
put_off("simple_salesforce.login", "SalesforceLogin")
put_off("simple_salesforce.metadata", "SfdcMetadataApi")

Json = dict[str, Any]

TIMEOUTS = (3.05, 20.0)
"""Seconds to wait for a connection (a little over one TCP retransmission) and for each read of an answer."""

IDLE_SECONDS = 20.0
"""A connection idle for longer is not used again: while Lambda freezes a function the other side hangs up unnoticed."""

SUB_REQUESTS_LIMIT = 25
"""The most sub-requests of one composite request, by Salesforce's documentation."""

_LIBRARYS = (TypeError, ValueError, LookupError, AttributeError, RecursionError)
"""What simple-salesforce makes of an answer that is not what Salesforce answers."""

_CONSEQUENCES = frozenset({"ALL_OR_NONE_OPERATION_ROLLED_BACK", "PROCESSING_HALTED"})
"""Codes of records and sub-requests that failed only because another one did."""


_API_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")
"""In the header Sforce-Limit-Info; the first one, where an app has a limit of its own."""


class ApiBudget(NamedTuple):
    """The organisation's API calls within 24 hours: how many are used, by whomever, and the most there are."""

    used: int
    most: int


class BoundedSession(requests.Session):
    """A session that never waits without a time-out, follows no redirect and reuses no connection gone stale.

    timeouts: seconds to connect and for each read, used where a request names none.
    """

    def __init__(self, timeouts: tuple[float, float] = TIMEOUTS) -> None:
        super().__init__()
        self.timeouts = timeouts
        self._used_at = time.time()

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As `requests.Session.send`, within the bounds above."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.timeouts
        kwargs["allow_redirects"] = False
        idle = time.time() - self._used_at  # not monotonic, which may stand still while the function is frozen
        if not 0 <= idle <= IDLE_SECONDS:
            self.close()  # closes the connections; the session goes on with new ones
        try:
            return super().send(request, **kwargs)
        finally:
            self._used_at = time.time()


class SalesforceClient:
    """A client of one Salesforce org.

    url: the org's My Domain, the setting SALESFORCE_URL; every request goes there, whatever address a login names.
    secret: ``{"clientId", "clientSecret"}`` for client credentials, or ``{"clientId", "username", "privateKey"}`` for
    JWT bearer, with ``audience`` where it is neither production's nor a sandbox's usual one. api_version: such as
    ``66.0``. session: what to send through (a `BoundedSession` when None; another kind must bring its own time-outs).
    timeouts: seconds to connect, and for each read.

    The access token is kept for as long as the object is: make one object for all calls of a Lambda environment.
    """

    def __init__(
        self,
        url: str,
        secret: SecretLike,
        api_version: str,
        session: requests.Session | None = None,
        timeouts: tuple[float, float] = TIMEOUTS,
    ) -> None:
        self._url = url.rstrip("/")
        self._secret = secret
        self._api_version = api_version
        self._session = session or BoundedSession(timeouts)
        self._logged_in: Salesforce | None = None
        self._budget: ApiBudget | None = None
        self._session.hooks["response"].append(self._note_budget)

    @property
    def data_path(self) -> str:
        """What the path of every sub-request's `url` begins with: ``/services/data/v66.0``."""
        return f"/services/data/v{self._api_version}"

    def query(self, soql: str, with_deleted: bool = False, **values: Any) -> list[Json]:
        """The records a SOQL query finds, on all pages.

        soql: with ``{name}`` (or ``{name:like}``, ``{name:literal}``) where a value belongs; values: by name, quoted
        and escaped by simple-salesforce's `format_soql`; a list becomes ``('a','b')``. Without values the text is sent
        as it is. with_deleted: look into the recycle bin too. The whole query travels in the address: keep it under
        16,000 bytes, or ask in several queries.
        """
        soql = formatted(soql, values)
        records: list[Json] = []
        page = self._call("query", False, lambda salesforce: salesforce.query(soql, include_deleted=with_deleted))
        while True:
            if not isinstance(page, dict) or not isinstance(page.get("records"), list):
                raise SalesforceUnavailable("an answer without records", operation="query")
            records += page["records"]
            following = page.get("nextRecordsUrl")
            if page.get("done", True) or not following:
                return records
            page = self._call("query", False, _following_page(following))

    def count(self, soql: str, **values: Any) -> int:
        """How many records a query for ``COUNT()`` finds. In: as in `query`."""
        soql = formatted(soql, values)
        page = self._call("query", False, lambda salesforce: salesforce.query(soql))
        if not isinstance(page, dict) or not isinstance(page.get("totalSize"), int):
            raise SalesforceUnavailable("an answer without a number", operation="query")
        return cast(int, page["totalSize"])

    def describe(self, object_name: str) -> Json:
        """An object's schema: `fields`, each with `name`, `referenceTo`, `relationshipName` and more."""
        answer = self._call(
            "describe", False, lambda salesforce: salesforce.restful(f"sobjects/{object_name}/describe")
        )
        if not isinstance(answer, dict) or not isinstance(answer.get("fields"), list):
            raise SalesforceUnavailable("an answer without fields", operation="describe")
        return answer

    def composite(self, sub_requests: Sequence[Mapping[str, Any]], all_or_none: bool = False) -> list[Json]:
        """Do up to 25 sub-requests in one call.

        sub_requests: each with `method`, `url` (see `data_path`), `referenceId` and, for a write, `body`.
        Out: their results in the same order, each with `body`, `httpStatusCode`, `referenceId`. **A sub-request that
        failed does not raise**: look at each with `error_of` or `raise_for`, and at the records of a collection with
        `records_of`.
        Raises what the module's table says when the request as a whole failed; as a write unless all only GET.
        """
        if not 1 <= len(sub_requests) <= SUB_REQUESTS_LIMIT:
            raise ValueError(f"a composite request has 1 to {SUB_REQUESTS_LIMIT} sub-requests")
        writes = any(sub_request["method"] != "GET" for sub_request in sub_requests)
        wish = {"allOrNone": all_or_none, "compositeRequest": list(sub_requests)}
        data = json.dumps(wish, allow_nan=False)  # here: a body that is no JSON is a bug, not an outage
        answer = self._call(
            "composite", writes, lambda salesforce: salesforce.restful("composite", method="POST", data=data)
        )
        results = answer.get("compositeResponse") if isinstance(answer, dict) else None
        if (
            not isinstance(results, list)
            or len(results) != len(sub_requests)
            or not all(isinstance(one, dict) and isinstance(one.get("httpStatusCode"), int) for one in results)
        ):
            raise _unanswered("an answer without a result for each sub-request", "composite", writes)
        return results

    def rest(self, operation: str, path: str, method: str = "GET", body: Json | None = None) -> Any:
        """The JSON answer of a resource below `data_path`; None where it has none.

        operation: what is done, for an error's text. For what changes no record: when the answer is lost, nothing is,
        and the error is SalesforceUnavailable.
        """
        data = None if body is None else json.dumps(body, allow_nan=False)
        return self._call(operation, False, lambda salesforce: salesforce.restful(path, method=method, data=data))

    def stream(
        self, operation: str, path: str, params: Mapping[str, str | int], timeouts: tuple[float, float]
    ) -> requests.Response:
        """The answer of a resource below `data_path`, its body still to be read; to be closed by the caller.

        operation: as in `rest`; timeouts: seconds to connect, and for each read.
        """

        def send(salesforce: Salesforce) -> requests.Response:
            from simple_salesforce.util import exception_handler

            headers = {"Authorization": f"Bearer {salesforce.session_id}"}
            url = f"{salesforce.base_url}{path}"
            response = self._session.get(url, params=dict(params), headers=headers, stream=True, timeout=timeouts)
            if response.status_code != 200:
                exception_handler(response, operation)
            return response

        return cast(requests.Response, self._call(operation, False, send))

    def budget(self) -> ApiBudget:
        """The organisation's API calls, as the last answer told them; asked for where none did."""
        if self._budget is None:
            limits = self.rest("read limits", "limits")
            if self._budget is None:  # the answer's own header is newer than its body
                try:
                    daily = limits["DailyApiRequests"]
                    self._budget = ApiBudget(daily["Max"] - daily["Remaining"], daily["Max"])
                except (KeyError, TypeError):
                    raise SalesforceUnavailable("an answer without limits", operation="read limits") from None
        return self._budget

    def _note_budget(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Keep what an answer tells of the API calls; a hook of the session, so that it sees every answer."""
        if found := _API_USAGE.search(response.headers.get("Sforce-Limit-Info", "")):
            self._budget = ApiBudget(int(found[1]), int(found[2]))
            metrics.note("SalesforceApiUsedPercent", metrics.percent(*self._budget))

    def _call(self, operation: str, writes: bool, send: Callable[[Salesforce], Any]) -> Any:
        """What `send` returns, logging in first where needed and again, once, when the session is not accepted."""
        from simple_salesforce.exceptions import SalesforceError

        answer = None
        for last in (False, True):
            salesforce = self._salesforce()
            # Raised after the handlers rather than in them: the exceptions caught hold requests with the access token
            # and whole answers, and must not hang on ours as their context.
            failure: ClosedWonError | None = None
            try:
                answer = send(salesforce)
            except SalesforceError as error:
                failure = _answered(error.status, error.content, operation, writes, (salesforce.session_id,))
            except (requests.RequestException, *_LIBRARYS) as error:
                # The library takes answers apart and trusts them: `null`, or JSON nested too deep, is beyond it.
                name = type(error).__name__
                if never_sent(error):
                    failure = SalesforceUnavailable(f"could not be reached ({name})", operation=operation)
                else:
                    failure = _unanswered(f"no usable answer ({name})", operation, writes)
            if failure is None:
                break
            if last or not isinstance(failure, SalesforceUnauthorized):
                raise failure
            self._logged_in = None
        return answer

    def _salesforce(self) -> Salesforce:
        if self._logged_in is None:
            from simple_salesforce.api import Salesforce

            self._logged_in = Salesforce(
                instance_url=self._url,
                session_id=self._token(),
                session=self._session,
                version=self._api_version,
                object_pairs_hook=dict,
            )
        return self._logged_in

    def _token(self) -> str:
        """A new access token; when the credentials are refused, once more with the secret read again."""
        token, failure = self._log_in()
        if isinstance(failure, SalesforceUnauthorized):
            self._secret.again()
            token, failure = self._log_in()
        if failure is not None:
            raise failure
        return token

    def _log_in(self) -> tuple[str, ClosedWonError | None]:
        """One token request: the token, or why there is none. It writes nothing, so that no answer is no harm."""
        operation = "log in"
        form, basic, hide = self._credentials()
        url = f"{self._url}/services/oauth2/token"
        try:
            response = self._session.post(url, data=form, auth=basic, headers={"Accept": "application/json"})
        except requests.RequestException as error:
            name = type(error).__name__
            return "", SalesforceUnavailable(f"could not be reached ({name})", operation=operation)
        content = _json(response)
        token = content.get("access_token")
        if response.status_code == 200 and isinstance(token, str) and token:
            keep_secret(token)
            return token, None
        code = redacted(content.get("error"), limit=80, hide=hide)
        message = redacted(content.get("error_description"), hide=hide)
        status = response.status_code
        if status == 429 or re.search(r"rate.{0,7}exceeded", f"{code} {message}"):
            metrics.note("Throttled", System="Salesforce")
            return "", SalesforceThrottled("too many logins", operation=operation, status=status, code=code)
        passing = code in ("unknown_error", "server_error", "temporarily_unavailable")
        if passing or status in (200, 408) or status >= 500:
            return "", SalesforceUnavailable("no usable answer", operation=operation, status=status, code=code)
        if 300 <= status < 400 or status == 404:
            message = "there is no login here: is SALESFORCE_URL the org's My Domain?"
        message = message or "the credentials are not accepted"
        return "", SalesforceUnauthorized(message, operation=operation, status=status, code=code)

    def _credentials(self) -> tuple[dict[str, str], tuple[str, str] | None, tuple[str, ...]]:
        """The token request's form and basic authentication, and the strings no error may show."""
        fields = self._secret.json("clientId")
        client_id = fields["clientId"]
        if "clientSecret" in fields:
            client_secret = self._secret.json("clientId", "clientSecret")["clientSecret"]
            if not (client_id.isascii() and client_secret.isascii()):
                raise SecretInvalid("the Salesforce secret's clientId or clientSecret is not plain ASCII")
            return {"grant_type": "client_credentials"}, (client_id, client_secret), (client_secret,)
        if "privateKey" not in fields:
            raise SecretInvalid("the Salesforce secret lacks clientSecret, or username and privateKey")
        fields = self._secret.json("clientId", "username", "privateKey")
        audience = fields.get("audience") or _audience(self._url)
        assertion = _assertion(client_id, fields["username"], fields["privateKey"], audience)
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        return form, None, (assertion, fields["username"])


def formatted(soql: str, values: Mapping[str, Any]) -> str:
    """A SOQL text with its values in place, quoted and escaped; as it is without values."""
    if not values:
        return soql
    from simple_salesforce.format import format_soql

    return str(format_soql(soql, **values))


def records_of(result: Mapping[str, Any]) -> list[Json]:
    """The records' results of a composite result that is a collection's, in the order sent; else an empty list.

    Each has `success`, `errors`, and `id` and `created` where it succeeded; `error_of` takes them.
    """
    body = result.get("body")
    if not isinstance(body, list) or not _ok(result):
        return []
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


def raise_for(result: Mapping[str, Any], operation: str = "write back") -> None:
    """Raise `error_of`, if there is one."""
    if (error := error_of(result, operation)) is not None:
        raise error


def _errors_of(result: Mapping[str, Any], operation: str) -> Iterator[ClosedWonError]:
    if "success" in result:
        if not result["success"]:
            yield _answered(None, result.get("errors"), operation, writes=True)
    elif _ok(result):
        for record in records_of(result):
            yield from _errors_of(record, operation)
    else:
        yield _answered(result.get("httpStatusCode"), result.get("body"), operation, writes=True)


def _precedence(error: ClosedWonError) -> int:
    if isinstance(error, Transient):
        return 0
    return 2 if getattr(error, "code", "") in _CONSEQUENCES else 1


def _ok(result: Mapping[str, Any]) -> bool:
    status = result.get("httpStatusCode")
    return isinstance(status, int) and 200 <= status < 300


def _answered(
    status: int | None, content: Any, operation: str, writes: bool, hide: tuple[str, ...] = ()
) -> ClosedWonError:
    """The error an answer stands for. status: None for a record; content: Salesforce's list of errors, if it is one."""
    first = content[0] if isinstance(content, list) and content else content
    first = first if isinstance(first, dict) else {}
    code = redacted(first.get("errorCode") or first.get("statusCode"), limit=80, hide=hide)
    message = redacted(first.get("message"), hide=hide)
    fields = first.get("fields")
    names = [redacted(name, limit=80) for name in fields] if isinstance(fields, list) else []
    about: dict[str, Any] = {"operation": operation, "status": status}
    if code == "UNABLE_TO_LOCK_ROW":
        return SalesforceRowLocked("somebody else is writing the record", code=code, **about)
    if code == "REQUEST_LIMIT_EXCEEDED":
        # One code for two limits: calls a day, which are gone until later, and requests at the same time.
        if "concurrent" in message.lower():
            metrics.note("Throttled", System="Salesforce")
            return SalesforceThrottled(message, code=code, **about)
        return SalesforceLimitExceeded(message or "the org's API calls are used up", code=code, **about)
    if status == 401 or code == "INVALID_SESSION_ID":
        return SalesforceUnauthorized("the session is not accepted", code=code, **about)
    if status == 429:
        metrics.note("Throttled", System="Salesforce")
        return SalesforceThrottled("too many requests", code=code, **about)
    if code in ("SERVER_UNAVAILABLE", "QUERY_TIMEOUT"):
        return SalesforceUnavailable(message or "unavailable", code=code, **about)
    if status is not None and (status >= 500 or status == 408):
        return _unanswered("no usable answer", operation, writes, status, code)
    if status is not None and 300 <= status < 400:
        message = message or "a redirect, which is not followed: is SALESFORCE_URL the org's My Domain?"
    return SalesforceRefused(code, message or "no reason given", names, **about)


def _unanswered(
    message: str, operation: str, writes: bool, status: int | None = None, code: str = ""
) -> ClosedWonError:
    if writes:
        return WriteUnanswered(message, service="Salesforce", operation=operation, status=status, code=code)
    return SalesforceUnavailable(message, operation=operation, status=status, code=code)


def _following_page(url: str) -> Callable[[Salesforce], Any]:
    return lambda salesforce: salesforce.query_more(url, identifier_is_url=True)


def _json(response: requests.Response) -> Json:
    """The answer's JSON object, empty when it is none."""
    try:
        content = response.json()
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _audience(url: str) -> str:
    """Who a JWT is for: the login server of the org's kind, also when it is sent to the org's My Domain."""
    host = urlsplit(url).hostname or ""
    testing = "--" in host or ".sandbox." in host or ".scratch." in host
    return f"https://{'test' if testing else 'login'}.salesforce.com"


def _assertion(client_id: str, username: str, private_key: str, audience: str) -> str:
    """The signed JWT of the JWT bearer flow, good for three minutes, the longest Salesforce takes."""
    import jwt

    claims = {"iss": client_id, "sub": username, "aud": audience, "exp": int(time.time()) + 180}
    key = private_key.replace("\\n", "\n")  # as it often comes out of a paste into JSON
    try:
        return jwt.encode(claims, key, algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError):
        pass  # raised below, without the library's exception as its context
    raise SecretInvalid("the Salesforce secret's privateKey is not an RSA private key in PEM")
