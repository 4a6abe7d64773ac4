"""A strict stand-in of one Salesforce organisation: token endpoint, REST API and record pages.

A WSGI application for `sandbox.stand_in.StandIn`, or any other server; clients insist on https (see sandbox.tls). What
it answers follows Salesforce's REST API Developer Guide and SOQL reference. It knows nothing of who is calling.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Request, Response

from sandbox.salesforce import cpq, pages
from sandbox.salesforce.bulk import JOBS_A_DAY, compressed
from sandbox.salesforce.describe import detail
from sandbox.salesforce.errors import Refusal, json_error, not_found
from sandbox.salesforce.ids import make_id, to_18
from sandbox.salesforce.oauth import Clients, TokenRefused
from sandbox.salesforce.query import run
from sandbox.salesforce.rest import Answer, Call, Rest, parse_url, versions
from sandbox.salesforce.schema import FLOWS, PROVISIONINGS, STANDARD, Schema
from sandbox.salesforce.store import Store
from sandbox.salesforce.tables import Savepoint
from sandbox.salesforce.values import accept, to_json

MAX_API_CALLS = 100_000  # a day: Enterprise edition without further licences
MAX_URI = 16_384  # bytes of a request's address

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
        self._rest = Rest(self._store, self._limits, self.user_id)
        self._clients = Clients(client_id, client_secret, username, public_key, self.organization_id, self.user_id, now)
        self._given_tokens: set[str] = set()
        self._tokens: set[str] = set()
        self._calls = 0
        self.standard_pricebook_id = self._start(username)
        self._first: Savepoint = self._store.savepoint()

    def _start(self, username: str) -> str:
        objects = self._store.schema.objects
        self._store.user_id = self.user_id
        user = {
            "Username": username,
            "Name": "Integration User",
            "LastName": "User",
            "FirstName": "Integration",
        }
        user["Email"] = "integration@northwind.example"
        self._store.insert(objects["User"], user, record_id=self.user_id, trusted=True)
        organization = {"Name": "Northwind Cloud (sandbox)"}
        self._store.insert(objects["Organization"], organization, record_id=self.organization_id, trusted=True)
        book = {"Name": "Standard Price Book", "IsStandard": True, "IsActive": True}
        return self._store.insert(objects["Pricebook2"], book, trusted=True)

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
            wanted: dict[str, Any] = {}
            for name, value in fields.items():
                field = target.field(name)
                if not field:
                    raise Refusal("INVALID_FIELD", f"No such column '{name}' on sobject of type {target.name}")
                wanted[field.name] = None if value is None else accept(field, value)
            found = [r for r in self._store.records(target) if all(r[n] == v for n, v in wanted.items())]
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
            token = self._clients.new_token()
            self._given_tokens.add(token)
            return token

    def change_client_secret(self, client_secret: str) -> None:
        """From now on only this secret of the connected app is let in; sessions there are go on."""
        with self._lock:
            self._clients = replace(self._clients, client_secret=client_secret)

    def trust(self, public_key: str | bytes | None) -> None:
        """From now on the connected app takes assertions that this key's private half signed (JWT bearer)."""
        with self._lock:
            self._clients = replace(self._clients, public_key=public_key)

    def expire_tokens(self) -> None:
        """End every session there is."""
        with self._lock:
            self._tokens.clear()
            self._given_tokens.clear()

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
            self._calls = MAX_API_CALLS - left

    def fail_query_job(self, message: str) -> None:
        """Make the next query job that is started fail, with these words."""
        with self._lock:
            self._rest.jobs.fail_next(message)

    def renew_api_calls(self) -> None:
        """A new day: no API call is used up."""
        with self._lock:
            self._calls = 0

    # As an Application

    def reset(self) -> None:
        """Return to the first state: the seed records, no sessions but the issued ones, no locks, no calls used."""
        with self._lock:
            self._store.roll_back(self._first)
            self._store.locked.clear()
            self._rest.jobs.clear()
            self._tokens.clear()
            self._calls = 0

    def error(self, status: int) -> Response:
        """Salesforce's answer with this HTTP status; gateways answer 502 and 504 in HTML."""
        if status in (502, 504):
            return Response("<html><body>Bad Gateway</body></html>", status, content_type="text/html")
        code, message = _ERRORS.get(status, _ERRORS[500])
        return self._json(Answer(status, Refusal(code, message).as_error()))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        if request.path.rstrip("/") == "/services/oauth2/token":
            response = self._token(request)
        elif request.path.startswith("/services/"):
            response = self._services(request)
        else:
            response = self._page(request)
        return response(environ, start_response)

    # Sessions

    def _token(self, request: Request) -> Response:
        try:
            if request.method != "POST":
                raise TokenRefused("invalid_request", "must use HTTP POST")
            login = request.authorization
            basic = None
            if login and login.type == "basic":
                basic = (login.username or "", login.password or "")
            body = self._clients.token(request.form, basic, request.host_url.rstrip("/"))
        except TokenRefused as refused:
            answer = Answer(refused.status, refused.body)
        else:
            with self._lock:
                self._tokens.add(body["access_token"])
            answer = Answer(200, body)
        return self._json(answer, {"Cache-Control": "no-cache, no-store", "Pragma": "no-cache"})

    def _check_session(self, request: Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme and scheme not in ("Bearer", "OAuth"):
            raise Refusal("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", status=401)
        if token not in self._tokens and token not in self._given_tokens:
            raise Refusal("INVALID_SESSION_ID", "Session expired or invalid", status=401)

    # The REST API

    def _services(self, request: Request) -> Response:
        address = request.environ.get("REQUEST_URI") or quote(request.path) + "?" + request.query_string.decode()
        if request.path.rstrip("/") == "/services/data" and request.method == "GET":
            return self._json(Answer(200, versions()))
        with self._lock:
            self._store.keep()
            try:
                if len(address) > MAX_URI:
                    raise Refusal("URI_TOO_LONG", "The request URI is too long", status=414)
                self._check_session(request)
                if self._calls >= MAX_API_CALLS:
                    raise Refusal("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403)
                self._calls += 1
                version, path, parameters = parse_url(address)
                options = request.headers.get("Sforce-Query-Options", "")
                body = self._body(request)
                answer = self._rest.answer(Call(request.method, version, path, parameters, body, options))
            except Refusal as refusal:
                answer = Answer(refusal.status, refusal.as_error())
            used = {"Sforce-Limit-Info": f"api-usage={self._calls}/{MAX_API_CALLS}"}
        return self._csv(answer, used, request) if answer.csv else self._json(answer, used)

    @staticmethod
    def _csv(answer: Answer, headers: Mapping[str, str], request: Request) -> Response:
        """A page of a query job's result, written while it is sent: compressed, for who takes that."""
        assert answer.csv is not None
        pieces = answer.csv.pieces()
        response = Response(content_type="text/csv; charset=UTF-8")
        if request.accept_encodings.quality("gzip"):
            pieces = compressed(pieces)
            response.headers["Content-Encoding"] = "gzip"
        response.response = pieces
        response.headers.update({**answer.headers, **headers})
        return response

    @staticmethod
    def _body(request: Request) -> Any:
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

    def _limits(self) -> dict[str, Any]:
        left = {"Max": MAX_API_CALLS, "Remaining": MAX_API_CALLS - self._calls}
        jobs = {"Max": JOBS_A_DAY, "Remaining": JOBS_A_DAY - self._rest.jobs.started}
        return {"DailyApiRequests": left, "DailyBulkV2QueryJobs": jobs}

    @staticmethod
    def _json(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
        data = None if answer.status == 204 else json.dumps(answer.body, ensure_ascii=False)
        response = Response(data, answer.status, content_type="application/json;charset=UTF-8")
        if answer.status == 204:
            del response.headers["Content-Type"]
        response.headers.update({**answer.headers, **(headers or {})})
        return response

    # Pages

    def _page(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(status=405)
        with self._lock:
            try:
                match [segment for segment in request.path.split("/") if segment]:
                    case []:
                        return Response(pages.home_page(self._store), content_type="text/html;charset=UTF-8")
                    case [record_id] | ["lightning", "r", record_id] | ["lightning", "r", _, record_id, "view"]:
                        target = self._store.schema.of_id(record_id)
                    case _:
                        raise not_found()
                if not target:
                    raise not_found()
                html = pages.record_page(self._store, target, self._store.record(target, record_id))
                return Response(html, content_type="text/html;charset=UTF-8")
            except Refusal:
                return Response(pages.missing_page(), 404, content_type="text/html;charset=UTF-8")
