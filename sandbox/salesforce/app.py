"""A strict stand-in of one Salesforce organisation: token endpoint, REST API and record pages.

A WSGI application for `sandbox.stand_in.StandIn`, or any other server; clients insist on https (see sandbox.tls). What
it answers follows Salesforce's REST API Developer Guide and SOQL reference. It knows nothing of who is calling.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Request, Response

from sandbox.salesforce import cpq, pages
from sandbox.salesforce.api import Api, in_json
from sandbox.salesforce.calls import Answer
from sandbox.salesforce.describe import detail
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.ids import make_id, to_18
from sandbox.salesforce.oauth import Clients
from sandbox.salesforce.query import run
from sandbox.salesforce.schema import FLOWS, PROVISIONINGS, STANDARD, Schema
from sandbox.salesforce.sessions import Sessions
from sandbox.salesforce.store import Store
from sandbox.salesforce.tables import Savepoint
from sandbox.salesforce.values import to_json

_HTML = "text/html;charset=UTF-8"
_ERRORS: dict[int, tuple[str, str]] = {
    400: ("MALFORMED_QUERY", "unexpected token"),
    401: ("INVALID_SESSION_ID", "Session expired or invalid"),
    403: ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    404: ("NOT_FOUND", "The requested resource does not exist"),
    429: ("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
    500: (
        "UNKNOWN_EXCEPTION",
        "An unexpected error occurred. Please include this ErrorId if you contact support: 1-1 (1)",
    ),
    503: ("SERVER_UNAVAILABLE", "The server is temporarily unavailable. Please try again later."),
}


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Salesforce:
    """One organisation with one integration user and one connected app.

    client_id, client_secret: the connected app's, for the client credentials flow. public_key: PEM, for the JWT bearer
    flow, whose ``sub`` is `username`. organization_id: 15 or 18 characters. now: the organisation's clock, aware.
    schema: the objects it has.

    Safe to use from several threads, the Python surface too. Records go in and out of it as the REST API shows them
    (dates as text), and what the REST API would refuse raises `Refusal` here.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        organization_id: str = "00D5g000004xYzA",
        username: str = "closed-won@northwind.example",
        public_key: str | bytes | None = None,
        now: Callable[[], datetime] = _utc_now,
        schema: Schema = STANDARD,
    ) -> None:
        self.organization_id = to_18(organization_id)
        self.user_id = make_id("005", 1)
        self._lock = threading.RLock()
        self._store = Store(schema, now)
        clients = Clients(client_id, client_secret, username, public_key, self.organization_id, self.user_id, now)
        self._sessions = Sessions(clients)
        self._api = Api(self._lock, self._store, self._sessions, self.user_id)
        self.standard_pricebook_id = _found(self._store, self.organization_id, self.user_id, username)
        self._first: Savepoint = self._store.savepoint()

    # For tests and the demo

    def create(self, object: str, **fields: Any) -> str:
        """Create a record; out: its 18-character ID. ``Id=...`` chooses it. Raises Refusal."""
        record_id = fields.pop("Id", "")
        with self._lock:
            return self._store.insert(self._store.object(object), fields, record_id=record_id)

    def update(self, object: str, record_id: str, **fields: Any) -> None:
        """Change a record's fields, as a user would: its SystemModstamp moves. Raises Refusal."""
        with self._lock:
            self._store.update(self._store.object(object), record_id, fields)

    def delete(self, object: str, record_id: str) -> None:
        """Move a record to the recycle bin. Raises Refusal."""
        with self._lock:
            self._store.delete(self._store.object(object), record_id)

    def merge(self, object: str, master_id: str, other_id: str) -> None:
        """Merge a record into another, as a user merges accounts: all that looked up to it looks up to the master."""
        with self._lock:
            self._store.merge(self._store.object(object), master_id, other_id)

    def backdate(self, object: str, record_id: str, seconds: float) -> None:
        """Let a record have been saved so many seconds before it was."""
        with self._lock:
            self._store.backdate(self._store.object(object), record_id, timedelta(seconds=seconds))

    def get(self, object: str, record_id: str) -> dict[str, Any]:
        """A record's fields. Raises Refusal (NOT_FOUND, ENTITY_IS_DELETED)."""
        with self._lock:
            record = self._store.record(self._store.object(object), record_id)
            return {name: to_json(value) for name, value in record.items()}

    def find(self, object: str, **fields: Any) -> list[dict[str, Any]]:
        """The records whose fields have these values, oldest first. Raises Refusal for unknown names."""
        with self._lock:
            target = self._store.object(object)
            found = self._store.matching(target, fields)
            return [{name: to_json(value) for name, value in record.items()} for record in found]

    def query(self, soql: str) -> list[dict[str, Any]]:
        """The records a SOQL query finds, as the REST API shows them. Raises Refusal."""
        with self._lock:
            return run(self._store, soql, "").records

    def describe(self, object: str) -> dict[str, Any]:
        """An object's schema, as the REST API describes it. Raises Refusal."""
        with self._lock:
            return detail(self._store.schema, self._store.object(object), "")

    def add_product(self, name: str, price: float = 0.0, currency: str = "USD", **fields: Any) -> str:
        """Create an active product with its entry in the standard price book; out: the product's ID.

        An opportunity's line then needs no more than ``Product2Id``, ``Quantity`` and ``UnitPrice``.
        """
        with self._lock:
            product_id = self.create("Product2", Name=name, **{"IsActive": True, **fields})
            self.create(
                "PricebookEntry",
                Pricebook2Id=self.standard_pricebook_id,
                Product2Id=product_id,
                UnitPrice=price,
                IsActive=True,
                CurrencyIsoCode=currency,
            )
            return product_id

    def deploy(self, object: str, **fields: Any) -> str:
        """Deploy a record of a custom metadata type, which no API writes: a new DeveloperName makes one, a known one
        changes it. Out: its ID. Raises Refusal.
        """
        with self._lock:
            target = self._store.object(object)
            known = self._store.by_key(target, target.fields["DeveloperName"], fields["DeveloperName"])
            if not known:
                return self._store.insert(target, fields, trusted=True)
            self._store.update(target, known["Id"], fields, trusted=True)
            return str(known["Id"])

    def install_cpq(self) -> None:
        """Install Salesforce CPQ: its objects, and its fields on opportunities and contracts. Until `reset`."""
        with self._lock:
            self._store.become(cpq.installed(self._store.schema))

    def deploy_package(self, version: Literal["first", "newest"]) -> None:
        """Deploy closed-won's package in one of its versions, in place of the one that is there. Records keep what they
        hold; with the first version what the newest added is neither seen nor taken. Until `reset`.
        """
        with self._lock:
            self._store.become(self._store.schema.having(PROVISIONINGS[version]))

    def switch_off(self, object: str, field: str, value: str) -> None:
        """Deactivate a value of a picklist. Until `reset`."""
        with self._lock:
            self._store.become(self._store.schema.switched_off(object, field, value))

    def hide(self, object: str, *fields: str) -> None:
        """Take fields away from the permission set: no query knows them any more. Until `reset`."""
        with self._lock:
            self._store.become(self._store.schema.without(object, fields))

    def forbid(self, object: str, *fields: str) -> None:
        """Fields may be read and not edited any more; without fields the whole object. Until `reset`."""
        with self._lock:
            self._store.become(self._store.schema.read_only(object, fields))

    def show_flows(self, *flows: Mapping[str, Any]) -> None:
        """The user may look at the organisation's flows (View Setup and Configuration); these are there. Until
        `reset`.
        """
        with self._lock:
            self._store.become(self._store.schema.extended([FLOWS], {}))
            for flow in flows:
                self._store.insert(FLOWS, flow, trusted=True)

    def load(self, records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Create seed records; out: their IDs by reference.

        In: records as in Salesforce CLI's ``data import tree`` files: each with fields and with ``attributes``
        ``{"type", "referenceId"}``, where ``"@reference"`` stands for an earlier record's ID (``@standardPricebook`` is
        always there). Records of custom metadata types are deployed.
        Afterwards this is the first state: `reset` comes back to it.
        """
        ids = {"standardPricebook": self.standard_pricebook_id}
        with self._lock:
            for record in records:
                fields = {name: self._referred(value, ids) for name, value in record.items() if name != "attributes"}
                attributes = record["attributes"]
                put = self.deploy if attributes["type"].endswith("__mdt") else self.create
                record_id = put(attributes["type"], **fields)
                if "referenceId" in attributes:
                    ids[attributes["referenceId"]] = record_id
            self._first = self._store.savepoint()
        return ids

    def seed(self, object: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Add very many records, for measurements; out: their IDs. Nothing is checked, and nothing is worked out.

        In: rows that are valid as they are: fields in their canonical names, with all that Salesforce would have worked
        out (``IsWon``, ``TotalPrice``), IDs in 18 characters, days and moments as text. What is not given is blank, or
        the server's own: IDs, moments, owners. Afterwards this is the first state, as after `load`.
        """
        with self._lock:
            ids = self._store.seed(self._store.object(object), rows)
            self._first = self._store.savepoint()
        return ids

    def kept(self) -> list[dict[str, Any]]:
        """Every record as plain data, deleted ones and configuration too; each with its `object`."""
        with self._lock:
            return self._store.kept()

    def put_back(self, records: Sequence[Mapping[str, Any]]) -> None:
        """What `kept` gave, in place of all records there are; with CPQ's objects, where there are records of them.
        Afterwards this is the first state, as after `load`.
        """
        with self._lock:
            if any(record["object"].startswith("SBQQ__") for record in records):
                self.install_cpq()
            self._store.put_back(records)
            self._first = self._store.savepoint()

    @staticmethod
    def _referred(value: Any, ids: Mapping[str, str]) -> Any:
        return ids[value[1:]] if isinstance(value, str) and value[:1] == "@" and value[1:] in ids else value

    def issue_token(self) -> str:
        """A session for a client that does not log in by itself; it survives `reset`."""
        with self._lock:
            return self._sessions.issue()

    def change_client_secret(self, client_secret: str) -> None:
        """From now on only this secret of the connected app is let in; sessions there are go on."""
        with self._lock:
            self._sessions.change_secret(client_secret)

    def trust(self, public_key: str | bytes | None) -> None:
        """From now on the connected app takes assertions that this key's private half signed (JWT bearer)."""
        with self._lock:
            self._sessions.trust(public_key)

    def expire_tokens(self) -> None:
        """End every session there is."""
        with self._lock:
            self._sessions.expire()

    def lock_row(self, record_id: str, times: int = 1) -> None:
        """Make the next `times` writes that need this record's lock fail with UNABLE_TO_LOCK_ROW.

        These are changes of the record, and creations of records that look up to it.
        """
        with self._lock:
            self._store.locked[to_18(record_id)] = times

    def unlock_rows(self) -> None:
        """Nothing is locked any more."""
        with self._lock:
            self._store.locked.clear()

    def use_up_api_calls(self, left: int = 0) -> None:
        """Refuse all further calls but so many with REQUEST_LIMIT_EXCEEDED, until `reset` or `renew_api_calls`."""
        with self._lock:
            self._api.leave_calls(left)

    def fail_query_job(self, message: str) -> None:
        """Make the next query job that is started fail, with these words."""
        with self._lock:
            self._api.fail_query_job(message)

    def renew_api_calls(self) -> None:
        """A new day: no API call is used up."""
        with self._lock:
            self._api.leave_calls()

    # As an Application

    def reset(self) -> None:
        """Return to the first state: the seed records, no sessions but the issued ones, no locks, no calls used."""
        with self._lock:
            self._store.roll_back(self._first)
            self._store.locked.clear()
            self._sessions.log_out()
            self._api.reset()

    def error(self, status: int) -> Response:
        """Salesforce's answer with this HTTP status; gateways answer 502 and 504 in HTML."""
        if status in (502, 504):
            return Response("<html><body>Bad Gateway</body></html>", status, content_type="text/html")
        code, message = _ERRORS.get(status, _ERRORS[500])
        return in_json(Answer(status, Refusal(code, message).as_error()))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        if request.path.rstrip("/") == "/services/oauth2/token":
            response = self._token(request)
        elif request.path.startswith("/services/"):
            response = self._api.answer(request)
        else:
            response = self._page(request)
        return response(environ, start_response)

    def _token(self, request: Request) -> Response:
        with self._lock:
            answer = self._sessions.token(request)
        return in_json(answer, {"Cache-Control": "no-cache, no-store", "Pragma": "no-cache"})

    def _page(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(status=405)
        with self._lock:
            try:
                return Response(pages.shown(self._store, request.path), content_type=_HTML)
            except Refusal:
                return Response(pages.missing_page(), 404, content_type=_HTML)


def _found(store: Store, organization_id: str, user_id: str, username: str) -> str:
    """Put the records there with which an organisation begins. Out: the ID of its standard price book."""
    objects = store.schema.objects
    store.user_id = user_id
    user = {
        "Username": username,
        "Name": "Integration User",
        "LastName": "User",
        "FirstName": "Integration",
        "Email": "integration@northwind.example",
    }
    store.insert(objects["User"], user, record_id=user_id, trusted=True)
    organization = {"Name": "Northwind Cloud (sandbox)"}
    store.insert(objects["Organization"], organization, record_id=organization_id, trusted=True)
    book = {"Name": "Standard Price Book", "IsStandard": True, "IsActive": True}
    return store.insert(objects["Pricebook2"], book, trusted=True)
