"""Salesforce's REST API, as far as closed-won uses it: queries and schemas, and composite requests for the write-back.

The requests go through `simple-salesforce`, which is imported on first use, without what it imports for logins of its
own and for the Metadata API (`put_off`), and only ever gets a session that is already logged in: its own renewal of a
session repeats without a bound that helps here.
This module logs in (`login`), says what an answer means (`answers`), and logs in again at most once a request. Nothing
else is retried here; the state machine does that.

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
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import requests

from closedwon.aws import metrics
from closedwon.aws.secrets import SecretLike
from closedwon.domain.errors import ClosedWonError, SalesforceUnauthorized, SalesforceUnavailable
from closedwon.salesforce.answers import answered, unanswered
from closedwon.salesforce.login import Login
from closedwon.wire.sending import never_sent
from closedwon.wire.session import TIMEOUTS, BoundedSession

if TYPE_CHECKING:
    from simple_salesforce.api import Salesforce


def put_off(module: str, name: str) -> None:
    """Import a module only when the one name that others import from it is called. Where the module is loaded already,
    it does nothing.
    """
    stand_in = ModuleType(module)

    def first_call(*given: Any, **named: Any) -> Any:
        if sys.modules.get(module) is stand_in:
            # Out of the way first: the import would find the stand-in again.
            del sys.modules[module]
        return getattr(import_module(module), name)(*given, **named)

    setattr(stand_in, name, first_call)
    sys.modules.setdefault(module, stand_in)


# Five sixths of the time that importing simple-salesforce takes: zeep with lxml, PyJWT with cryptography.
put_off("simple_salesforce.login", "SalesforceLogin")
put_off("simple_salesforce.metadata", "SfdcMetadataApi")

Json = dict[str, Any]

SUB_REQUESTS_LIMIT = 25
"""The most sub-requests of one composite request, by Salesforce's documentation."""

_LIBRARYS = (TypeError, ValueError, LookupError, AttributeError, RecursionError)
"""What simple-salesforce raises for an answer that is not in Salesforce's form."""

_API_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")
"""In the header Sforce-Limit-Info; the first one, where an app has a limit of its own."""


class ApiBudget(NamedTuple):
    """The organisation's API calls within 24 hours: how many are used, by anybody, and how many there are."""

    used: int
    most: int


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
        self._api_version = api_version
        self._session = session or BoundedSession(timeouts)
        self._login = Login(self._url, secret, self._session)
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
        # Not by the library's object classes, which log in again without a bound.
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
        failed does not raise**: look at each with `error_of`, and at the records of a collection with `records_of`.
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
            raise unanswered("an answer without a result for each sub-request", "composite", writes)
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
            # The library reads an answer whole; a page of a bulk query is read while it arrives.
            response = self._session.get(url, params=dict(params), headers=headers, stream=True, timeout=timeouts)
            if response.status_code != 200:
                # The library's own error, so that `_call` tells it apart like every other.
                exception_handler(response, operation)
            return response

        return cast(requests.Response, self._call(operation, False, send))

    def budget(self) -> ApiBudget:
        """The organisation's API calls, from the last answer's header; requested where no answer had one."""
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
        """Remember an answer's count of API calls; a hook of the session, so that it sees every answer."""
        if found := _API_USAGE.search(response.headers.get("Sforce-Limit-Info", "")):
            self._budget = ApiBudget(int(found[1]), int(found[2]))
            metrics.note("SalesforceApiUsedPercent", metrics.percent(*self._budget))

    def _call(self, operation: str, writes: bool, send: Callable[[Salesforce], Any]) -> Any:
        """Call `send`, after logging in where needed; once more, logged in again, when the session is not accepted."""
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
                failure = answered(error.status, error.content, operation, writes, (salesforce.session_id,))
            except (requests.RequestException, *_LIBRARYS) as error:
                # The library takes answers apart and trusts them: `null`, or JSON nested too deep, is beyond it.
                name = type(error).__name__
                if never_sent(error):
                    failure = SalesforceUnavailable(f"could not be reached ({name})", operation=operation)
                else:
                    failure = unanswered(f"no usable answer ({name})", operation, writes)
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
                session_id=self._login.token(),
                session=self._session,
                version=self._api_version,
                # The library's own default, OrderedDict, is of no use here.
                object_pairs_hook=dict,
            )
        return self._logged_in


def formatted(soql: str, values: Mapping[str, Any]) -> str:
    """A SOQL text with its values in place, quoted and escaped; as it is without values."""
    if not values:
        return soql
    from simple_salesforce.format import format_soql

    return str(format_soql(soql, **values))


def _following_page(url: str) -> Callable[[Salesforce], Any]:
    return lambda salesforce: salesforce.query_more(url, identifier_is_url=True)
