"""The Salesforce client logs in as seldom as it can, and says what each answer means for a write and for a query.

Against a real HTTPS server on loopback: simple-salesforce, which carries the requests, speaks nothing else.
"""

from __future__ import annotations

import base64
import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from werkzeug.wrappers import Request, Response

from closedwon.domain import errors
from closedwon.domain.errors import SalesforceUnauthorized, SalesforceUnavailable, SecretInvalid
from closedwon.domain.links import salesforce_record_url, stigg_customer_url, stigg_subscription_url
from closedwon.salesforce.answers import error_of, records_of
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.login import _audience
from closedwon.wire.session import BoundedSession
from sandbox.stand_in import StandIn
from sandbox.tls import Tls, make_tls

CREDENTIALS = {"clientId": "client", "clientSecret": "hush-1"}
DATA = "/services/data/v66.0"
ACCOUNT = {"method": "PATCH", "url": f"{DATA}/sobjects/Account/001", "referenceId": "account", "body": {}}


class Org:
    """Gives tokens to whoever knows the client secret or signs an assertion, and answers queries and composites."""

    def __init__(self) -> None:
        self.client_secret = "hush-1"
        self.forms: list[dict[str, str]] = []
        self.tokens: set[str] = set()
        self.accepts_tokens = True
        self.moved = ""  # the path that is redirected
        self.queries: list[str] = []
        self.wishes: list[Any] = []

    @property
    def logins(self) -> int:
        return len(self.forms)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request: Request = environ["werkzeug.request"]  # the stand-in's own, which has already read the body
        return self.answer(request)(environ, start_response)

    def answer(self, request: Request) -> Response:
        if request.path == self.moved:
            return Response(status=307, headers={"Location": "/elsewhere"})
        if request.path == "/services/oauth2/token":
            return self.log_in(request)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens or not self.accepts_tokens:
            return self.error(401)
        if request.path == f"{DATA}/sobjects/Basket__c/describe":
            return reply({"fields": [{"name": "Deal__c", "referenceTo": ["Opportunity"]}]})
        if request.path.endswith("/describe"):
            return reply({})
        if request.path.startswith(f"{DATA}/query/"):
            self.queries.append(request.args.get("q", "") or request.path)
            done = "page" in request.path
            following = {} if done else {"nextRecordsUrl": f"{DATA}/query/page-2"}
            return reply({"done": done, "records": [{"Id": f"{len(self.queries)}"}], **following})
        self.wishes.append(request.get_json())
        results = [
            {"referenceId": wish["referenceId"], "httpStatusCode": 204, "body": None}
            for wish in self.wishes[-1]["compositeRequest"]
        ]
        return reply({"compositeResponse": results})

    def log_in(self, request: Request) -> Response:
        self.forms.append(request.form.to_dict())
        basic = base64.b64encode(f"client:{self.client_secret}".encode()).decode()
        if "assertion" not in request.form and request.headers.get("authorization") != f"Basic {basic}":
            description = f"invalid client credentials {CREDENTIALS['clientSecret']} of jane@northwind.example"
            return reply({"error": "invalid_client", "error_description": description}, 401)
        token = f"token-{len(self.forms)}"
        self.tokens.add(token)
        return reply({"access_token": token, "instance_url": "https://elsewhere.invalid", "token_type": "Bearer"})

    def reset(self) -> None:
        pass

    def error(self, status: int) -> Response:
        code = {401: "INVALID_SESSION_ID", 503: "SERVER_UNAVAILABLE"}.get(status, "SOME_ERROR")
        return reply([{"errorCode": code, "message": "a message"}], status)


def reply(body: Any, status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


class Fields:
    """A secret whose fields change when it is read again, as long as there are more."""

    def __init__(self, *versions: dict[str, str]) -> None:
        self.versions = list(versions)

    def json(self, *required: str) -> dict[str, Any]:
        if missing := [name for name in required if name not in self.versions[0]]:
            raise SecretInvalid(", ".join(missing))
        return dict(self.versions[0])

    def again(self) -> str:
        if len(self.versions) > 1:
            del self.versions[0]
        return json.dumps(self.versions[0])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def server(org: Org, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they would outdo a session's own `verify`
        monkeypatch.delenv(name, raising=False)
    with StandIn(org, ssl_context=tls.context) as server:
        yield server


Connect = Callable[..., SalesforceClient]


@pytest.fixture
def connect(server: StandIn, tls: Tls) -> Connect:
    def connect(*versions: dict[str, str], patience: float = 30.0) -> SalesforceClient:
        session = BoundedSession((patience, patience))
        session.verify = str(tls.ca_file)
        return SalesforceClient(server.url + "/", Fields(*(versions or (CREDENTIALS,))), "66.0", session)

    return connect


def patience(fault: dict[str, Any]) -> float:
    """Seconds a client waits: long enough for a busy machine, but where the answer is to be missed."""
    return 1.5 if fault["kind"] == "delay_after" else 30.0


def write(salesforce: SalesforceClient) -> Any:
    return salesforce.composite([ACCOUNT])


def look(salesforce: SalesforceClient) -> Any:
    return salesforce.composite([{"method": "GET", "url": f"{DATA}/sobjects/Account/001", "referenceId": "one"}])


def query(salesforce: SalesforceClient) -> Any:
    return salesforce.query("SELECT Id FROM Account")


def refused(code: str, message: str = "a message") -> dict[str, Any]:
    return {"kind": "answer", "status": 403, "body": [{"errorCode": code, "message": message}]}


@pytest.mark.parametrize("wish", [write, look, query], ids=lambda wish: wish.__name__)
@pytest.mark.parametrize(
    ("fault", "of_a_write", "of_a_read"),
    [
        ({"kind": "answer", "status": 429}, "SalesforceThrottled", "SalesforceThrottled"),
        ({"kind": "answer", "status": 503}, "SalesforceUnavailable", "SalesforceUnavailable"),
        ({"kind": "answer", "status": 502}, "WriteUnanswered", "SalesforceUnavailable"),
        ({"kind": "answer", "status": 500}, "WriteUnanswered", "SalesforceUnavailable"),
        ({"kind": "answer", "status": 200, "body": {"a": 1}}, "WriteUnanswered", "SalesforceUnavailable"),
        ({"kind": "answer", "status": 302}, "SalesforceRefused", "SalesforceRefused"),
        ({"kind": "answer", "status": 400}, "SalesforceRefused", "SalesforceRefused"),
        (refused("REQUEST_LIMIT_EXCEEDED"), "SalesforceLimitExceeded", "SalesforceLimitExceeded"),
        (
            refused("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests Limit exceeded."),
            "SalesforceThrottled",
            "SalesforceThrottled",
        ),
        ({"kind": "drop_before"}, "WriteUnanswered", "SalesforceUnavailable"),
        ({"kind": "drop_after"}, "WriteUnanswered", "SalesforceUnavailable"),
        ({"kind": "delay_after", "seconds": 5.0}, "WriteUnanswered", "SalesforceUnavailable"),
    ],
)
def test_what_went_wrong_is_named_by_what_it_means(
    server: StandIn,
    connect: Connect,
    wish: Callable[[SalesforceClient], Any],
    fault: Any,
    of_a_write: str,
    of_a_read: str,
) -> None:
    server.fail(path=f"{DATA}/.*", **fault)
    with pytest.raises(errors.ClosedWonError) as caught:
        wish(connect(patience=patience(fault)))
    assert type(caught.value).__name__ == (of_a_write if wish is write else of_a_read)
    assert caught.value.service == "Salesforce"  # type: ignore[attr-defined]
    assert len(server.asked(path=f"{DATA}/.*")) == 1  # nothing is repeated in here
    assert caught.value.__context__ is None  # which would hold the request with the access token


def test_a_write_that_was_never_sent_is_not_taken_for_an_unanswered_one(server: StandIn, connect: Connect) -> None:
    salesforce = connect()
    write(salesforce)
    server.stop()
    with pytest.raises(SalesforceUnavailable, match="could not be reached"):
        write(salesforce)


def test_a_server_that_cannot_prove_who_it_is_gets_nothing(server: StandIn, org: Org) -> None:
    with pytest.raises(SalesforceUnavailable, match="SSLError"):
        write(SalesforceClient(server.url, Fields(CREDENTIALS), "66.0"))
    assert org.logins == 0


def test_an_untrusted_certificate_after_a_login_is_known_as_never_sent(connect: Connect) -> None:
    salesforce = connect()
    write(salesforce)
    salesforce._session.close()
    salesforce._session.verify = True
    with pytest.raises(SalesforceUnavailable, match="could not be reached"):
        write(salesforce)


def test_one_login_serves_many_requests_and_all_go_to_the_address_configured(org: Org, connect: Connect) -> None:
    salesforce = connect()
    write(salesforce)
    write(salesforce)
    query(salesforce)
    assert org.forms == [{"grant_type": "client_credentials"}]
    assert salesforce.data_path == DATA


@pytest.mark.parametrize("escaped", [False, True])
def test_a_jwt_is_signed_by_the_private_key_for_the_user_and_soon_over(
    org: Org, connect: Connect, escaped: bool
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    fields = {"clientId": "client", "username": "integration@example.com", "privateKey": pem}
    write(connect({**fields, "privateKey": pem.replace("\n", "\\n")} if escaped else fields))
    [form] = org.forms
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    audience = "https://login.salesforce.com"
    claims = jwt.decode(form["assertion"], key.public_key(), algorithms=["RS256"], audience=audience)
    assert (claims["iss"], claims["sub"]) == ("client", "integration@example.com")
    assert 0 < claims["exp"] - time.time() <= 180


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        ("https://northwind.my.salesforce.com", "https://login.salesforce.com"),
        ("https://northwind--uat.sandbox.my.salesforce.com", "https://test.salesforce.com"),
        ("https://northwind-dev-ed.develop.my.salesforce.com", "https://login.salesforce.com"),
    ],
)
def test_a_jwt_is_for_the_login_server_of_the_orgs_kind(url: str, audience: str) -> None:
    assert _audience(url) == audience


@pytest.mark.parametrize(
    "fields",
    [
        {"clientId": "client"},
        {"clientSecret": "hush-1"},
        {"clientId": "client", "privateKey": "hush-1"},
        {"clientId": "client", "username": "jane@northwind.example", "privateKey": "hush-1"},
        {"clientId": "client", "clientSecret": "hush-1é"},
    ],
)
def test_a_secret_that_cannot_log_in_is_invalid_and_not_shown(connect: Connect, fields: dict[str, str]) -> None:
    with pytest.raises(SecretInvalid) as caught:
        write(connect(fields))
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_a_session_that_ended_is_renewed_once(org: Org, server: StandIn, connect: Connect) -> None:
    salesforce = connect()
    write(salesforce)
    org.tokens.clear()
    assert [result["httpStatusCode"] for result in write(salesforce)] == [204]
    assert org.logins == 2

    org.accepts_tokens = False
    before = len(server.asked(path=f"{DATA}/.*"))
    with pytest.raises(SalesforceUnauthorized) as caught:
        write(salesforce)
    assert org.logins == 3
    assert len(server.asked(path=f"{DATA}/.*")) == before + 2
    assert "token-" not in str(caught.value)


def test_refused_credentials_are_read_again_once_and_never_shown(org: Org, connect: Connect) -> None:
    org.client_secret = "hush-2"
    write(connect(CREDENTIALS, {**CREDENTIALS, "clientSecret": "hush-2"}))
    assert org.logins == 2

    with pytest.raises(SalesforceUnauthorized) as caught:
        write(connect(CREDENTIALS))
    assert org.logins == 4
    assert caught.value.code == "invalid_client"
    assert caught.value.message == "invalid client credentials *** of ***@***"
    assert org.wishes == [{"allOrNone": False, "compositeRequest": [ACCOUNT]}]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "answer", "status": 500}, "SalesforceUnavailable"),
        ({"kind": "answer", "status": 429}, "SalesforceThrottled"),
        ({"kind": "answer", "status": 400, "body": {"error": "unknown_error"}}, "SalesforceUnavailable"),
        ({"kind": "answer", "status": 400, "body": {"error": "invalid_grant"}}, "SalesforceUnauthorized"),
        ({"kind": "answer", "status": 302}, "SalesforceUnauthorized"),
        ({"kind": "answer", "status": 200, "body": {"instance_url": "x"}}, "SalesforceUnavailable"),
        ({"kind": "drop_after"}, "SalesforceUnavailable"),
        ({"kind": "delay_after", "seconds": 5.0}, "SalesforceUnavailable"),
    ],
)
def test_a_login_that_fails_leaves_nothing_written(
    server: StandIn, org: Org, connect: Connect, fault: Any, expected: str
) -> None:
    server.fail(path="/services/oauth2/token", times=2, **fault)
    with pytest.raises(errors.ClosedWonError) as caught:
        write(connect(patience=patience(fault)))
    assert type(caught.value).__name__ == expected
    assert org.wishes == []


@pytest.mark.parametrize(
    ("moved", "expected"),
    [("/services/oauth2/token", "SalesforceUnauthorized"), (f"{DATA}/composite", "SalesforceRefused")],
)
def test_a_redirect_is_not_followed_with_a_secret_or_a_token(
    org: Org, server: StandIn, connect: Connect, moved: str, expected: str
) -> None:
    org.moved = moved
    with pytest.raises(errors.ClosedWonError, match="SALESFORCE_URL") as caught:
        write(connect())
    assert type(caught.value).__name__ == expected
    assert server.asked(path="/elsewhere") == []


def test_a_query_escapes_its_values_and_follows_its_pages(org: Org, connect: Connect) -> None:
    soql = "SELECT Id FROM Account WHERE Name = {name} AND Id IN {ids}"
    records = connect().query(soql, name="O'Neil\\", ids=["001a", "001b"])
    assert org.queries[0] == r"SELECT Id FROM Account WHERE Name = 'O\'Neil\\' AND Id IN ('001a','001b')"
    assert [record["Id"] for record in records] == ["1", "2"]


def test_an_objects_schema_is_told_by_its_fields(connect: Connect) -> None:
    assert connect().describe("Basket__c")["fields"][0]["referenceTo"] == ["Opportunity"]
    with pytest.raises(SalesforceUnavailable):
        connect().describe("Nothing__c")


def test_a_session_may_end_between_two_pages(org: Org, server: StandIn, connect: Connect) -> None:
    server.fail("answer", path=f"{DATA}/query/page-2", status=401)
    assert len(query(connect())) == 2
    assert (org.logins, len(org.queries)) == (2, 2)


def failure(code: str, message: str = "a message", fields: list[str] | None = None) -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": code, "message": message, "fields": fields or []}]}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"httpStatusCode": 204, "body": None}, None),
        ({"httpStatusCode": 201, "body": {"id": "001", "success": True, "errors": []}}, None),
        ({"httpStatusCode": 200, "body": [{"id": "001", "success": True, "errors": []}]}, None),
        ({"httpStatusCode": 400, "body": [{"errorCode": "UNABLE_TO_LOCK_ROW"}]}, "SalesforceRowLocked"),
        ({"httpStatusCode": 404, "body": [{"errorCode": "ENTITY_IS_DELETED"}]}, "SalesforceRefused"),
        ({"httpStatusCode": 500, "body": [{"errorCode": "UNKNOWN_EXCEPTION"}]}, "WriteUnanswered"),
        ({"httpStatusCode": 400, "body": "no list of errors"}, "SalesforceRefused"),
        ({"httpStatusCode": 200, "body": [failure("REQUIRED_FIELD_MISSING")]}, "SalesforceRefused"),
        (
            {"httpStatusCode": 200, "body": [failure("INVALID_FIELD"), failure("UNABLE_TO_LOCK_ROW")]},
            "SalesforceRowLocked",
        ),
        (failure("UNABLE_TO_LOCK_ROW"), "SalesforceRowLocked"),
    ],
)
def test_a_sub_request_fails_by_its_own_status_or_by_any_of_its_records(result: Any, expected: str | None) -> None:
    error = error_of(result)
    assert (type(error).__name__ if error else None) == expected


def test_of_several_failures_the_cause_is_named_with_its_fields_and_without_personal_data() -> None:
    cause = failure("FIELD_CUSTOM_VALIDATION_EXCEPTION", "ask jane@northwind.example", ["Status__c"])
    records = [failure("ALL_OR_NONE_OPERATION_ROLLED_BACK"), cause, {"id": "a00", "success": True}]
    result = {"httpStatusCode": 200, "body": records, "referenceId": "provisionings"}
    error = error_of(result)
    assert isinstance(error, errors.SalesforceRefused)
    assert (error.code, error.fields) == ("FIELD_CUSTOM_VALIDATION_EXCEPTION", ("Status__c",))
    assert error.message == "ask ***@***"
    assert [type(error_of(record)).__name__ for record in records_of(result)] == [
        "SalesforceRefused",
        "SalesforceRefused",
        "NoneType",
    ]


def test_a_composite_request_has_1_to_25_sub_requests(connect: Connect) -> None:
    for count in (0, 26):
        with pytest.raises(ValueError):
            connect().composite([ACCOUNT] * count)


def test_links_take_any_id_and_a_base_with_or_without_a_slash() -> None:
    for app in ("https://app.stigg.io/production", "https://app.stigg.io/production/"):
        assert stigg_customer_url(app, "a b/c?") == "https://app.stigg.io/production/customers/a%20b%2Fc%3F"
        assert stigg_subscription_url(app, "s-1") == "https://app.stigg.io/production/subscriptions/s-1"
    base = "https://northwind.my.salesforce.com/"
    assert salesforce_record_url(base, "0065g00000ABCdEAAX") == base + "0065g00000ABCdEAAX"
