"""The Stigg client says exactly what it knows about each request: refused, not applied, or perhaps applied.

Against a real HTTP server on loopback, because the difference between "could not connect" and "sent, then dropped" is
one of sockets. What the bodies must look like is the contract tests' matter.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from werkzeug.wrappers import Request, Response

from closedwon.domain import errors
from closedwon.domain.errors import StiggRefused, StiggUnauthorized, StiggUnavailable, WriteUnanswered
from closedwon.stigg.client import Stigg, idempotency_key
from closedwon.wire.session import BoundedSession
from sandbox.stand_in import StandIn

KEY = "server-key-1"
RESOURCE = {"id": "one", "status": "ACTIVE"}
"""The least that an answer to a write says."""


class Api:
    """Accepts one API key and answers every request with `answer`, by default with the least there is of a resource."""

    def __init__(self) -> None:
        self.key = KEY
        self.answer: Callable[[Request], Response] | None = None
        self.queries: list[dict[str, str]] = []
        self.addresses: list[str] = []  # as sent, before decoding

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        self.queries.append(request.args.to_dict())
        self.addresses.append(environ["REQUEST_URI"])
        if request.headers.get("x-api-key") != self.key:
            response = self.error(401)
        else:
            response = self.answer(request) if self.answer else reply({"data": RESOURCE})
        return response(environ, start_response)

    def reset(self) -> None:
        pass

    def error(self, status: int) -> Response:
        return reply({"message": f"status {status}"}, status)


def reply(body: Any, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(body), status, headers, content_type="application/json")


class Keys:
    """A secret whose value changes when it is read again, as long as there are more."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)

    def json(self, *required: str) -> dict[str, Any]:
        assert required == ("apiKey",)
        return {"apiKey": self.keys[0]}

    def again(self) -> str:
        if len(self.keys) > 1:
            del self.keys[0]
        return json.dumps(self.json("apiKey"))


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def server(api: Api) -> Iterator[StandIn]:
    with StandIn(api) as server:
        yield server


@pytest.fixture
def stigg(server: StandIn) -> Stigg:
    return Stigg(server.url + "/", Keys(KEY), timeouts=(30.0, 30.0))


def write(stigg: Stigg) -> Any:
    return stigg.provision_subscription({"id": "subscription-1"}, "key")


def update(stigg: Stigg) -> Any:
    return stigg.update_customer("customer-1", {"name": "Northwind"})


def read(stigg: Stigg) -> Any:
    return stigg.list_plans()


def preview(stigg: Stigg) -> Any:
    return stigg.preview_subscription({"planId": "plan-team"})


@pytest.mark.parametrize("wish", [write, update, read, preview], ids=lambda wish: wish.__name__)
@pytest.mark.parametrize(
    ("fault", "of_a_write", "of_a_read"),
    [
        ({"kind": "answer", "status": 429}, "StiggThrottled", "StiggThrottled"),
        ({"kind": "answer", "status": 403}, "StiggUnauthorized", "StiggUnauthorized"),
        ({"kind": "answer", "status": 422}, "StiggRefused", "StiggRefused"),
        ({"kind": "answer", "status": 302}, "StiggRefused", "StiggRefused"),
        ({"kind": "answer", "status": 500}, "WriteUnanswered", "StiggUnavailable"),
        ({"kind": "answer", "status": 503}, "WriteUnanswered", "StiggUnavailable"),
        ({"kind": "answer", "status": 200, "body": "not an object"}, "WriteUnanswered", "StiggUnavailable"),
        ({"kind": "answer", "status": 200, "body": {"id": "x"}}, "WriteUnanswered", "StiggUnavailable"),
        ({"kind": "drop_before"}, "WriteUnanswered", "StiggUnavailable"),
        ({"kind": "drop_after"}, "WriteUnanswered", "StiggUnavailable"),
        ({"kind": "delay_after", "seconds": 5.0}, "WriteUnanswered", "StiggUnavailable"),
    ],
    ids=lambda value: "-".join(str(part) for part in value.values()) if isinstance(value, dict) else "",
)
def test_what_went_wrong_is_named_by_what_it_means(
    server: StandIn, wish: Callable[[Stigg], Any], fault: Any, of_a_write: str, of_a_read: str
) -> None:
    # Patient enough for a busy machine, but where the answer is to be missed.
    patience = 1.5 if fault["kind"] == "delay_after" else 30.0
    stigg = Stigg(server.url + "/", Keys(KEY), timeouts=(30.0, patience))
    server.fail(**fault)
    expected = of_a_write if wish in (write, update) else of_a_read
    with pytest.raises(errors.ClosedWonError) as caught:
        wish(stigg)
    assert type(caught.value).__name__ == expected
    assert caught.value.service == "Stigg"  # type: ignore[attr-defined]
    assert len(server.exchanges) == 1  # nothing is repeated in here
    assert caught.value.__context__ is None  # which would hold the request with the API key


def test_a_write_that_was_never_sent_is_not_taken_for_an_unanswered_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(StiggUnavailable, match="ConnectionError"):
        write(Stigg(f"http://127.0.0.1:{port}", Keys(KEY)))
    with pytest.raises(StiggUnavailable):
        write(Stigg("http://name.invalid", Keys(KEY)))

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]  # nobody accepts them: the next one cannot connect
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with pytest.raises(StiggUnavailable, match="ConnectTimeout"):
            write(Stigg(f"http://127.0.0.1:{full.getsockname()[1]}", Keys(KEY), timeouts=(0.3, 5.0)))
        for one in waiting:
            one.close()


def test_a_rotated_api_key_is_read_again_and_the_request_repeated_once(api: Api, server: StandIn) -> None:
    api.key = "server-key-2"
    assert write(Stigg(server.url, Keys(KEY, "server-key-2"))) == RESOURCE
    assert [exchange.status for exchange in server.exchanges] == [401, 200]
    api.key = "server-key-3"
    with pytest.raises(StiggUnauthorized) as caught:
        write(Stigg(server.url, Keys(KEY, "server-key-2")))
    assert len(server.exchanges) == 4
    assert "server-key" not in str(caught.value)


def test_an_api_key_that_no_header_can_hold_is_not_quoted(server: StandIn) -> None:
    assert write(Stigg(server.url, Keys(KEY + "\n"))) == RESOURCE  # pasted with its line's end
    unusable = Keys("two\nlines")
    with pytest.raises(errors.SecretInvalid) as caught:
        write(Stigg(server.url, unusable))
    assert not any(part in "".join(traceback.format_exception(caught.value)) for part in ("two\n", "two\\n"))


@pytest.mark.parametrize(
    "body",
    [
        {"message": "{text}", "code": "PlanNotFound"},
        {"message": ["{text}"], "error": "Bad Request", "code": "PlanNotFound"},
        {"error": {"message": "{text}", "code": "PlanNotFound"}},
        {"errors": [{"message": "{text}", "code": "PlanNotFound"}]},
    ],
)
def test_a_refusal_keeps_stiggs_own_words_without_personal_data_or_the_key(api: Api, stigg: Stigg, body: Any) -> None:
    text = f"no plan for jane.doe+x@northwind.example with {KEY}, " + "and so on " * 100
    answer = json.loads(json.dumps(body).replace("{text}", text))
    api.answer = lambda _: reply(answer, 409, **{"X-Request-Id": "request-7"})
    with pytest.raises(StiggRefused) as caught:
        write(stigg)
    error = caught.value
    assert (error.status, error.code, error.request_id) == (409, "PlanNotFound", "request-7")
    assert error.message.startswith("no plan for ***@*** with ***, and so on")
    assert len(error.message) == 500
    assert str(error).endswith("(HTTP 409, PlanNotFound, request request-7)")
    assert KEY not in str(error)
    assert "jane" not in str(error)


def test_what_stigg_does_not_know_is_none_where_it_is_read_and_refused_where_it_is_written(
    api: Api, stigg: Stigg
) -> None:
    api.answer = lambda _: api.error(404)
    assert stigg.get_customer("customer-1") is None
    assert stigg.get_subscription("subscription-1") is None
    for wish in (write, update, read):
        with pytest.raises(StiggRefused, match="404"):
            wish(stigg)


def test_a_redirect_is_refused_and_not_followed_with_the_key(api: Api, server: StandIn, stigg: Stigg) -> None:
    api.answer = lambda _: Response(status=307, headers={"Location": "/elsewhere"})
    with pytest.raises(StiggRefused, match="STIGG_API_URL"):
        write(stigg)
    assert len(server.exchanges) == 1


def test_an_id_cannot_lead_to_another_resource(api: Api, stigg: Stigg) -> None:
    stigg.get_customer("a/b?c=d#é %2F")
    assert api.addresses == ["/api/v1/customers/a%2Fb%3Fc%3Dd%23%C3%A9%20%252F"]
    for elsewhere in ("", ".", ".."):
        with pytest.raises(ValueError):
            stigg.cancel_subscription(elsewhere, {}, "key")


def test_a_list_is_read_to_its_last_page(api: Api, stigg: Stigg) -> None:
    def page(request: Request) -> Response:
        number = int(request.args.get("after", "0"))
        following = str(number + 1) if number < 2 else None
        return reply({"data": [{"id": f"subscription-{number}"}], "pagination": {"next": following, "prev": None}})

    api.answer = page
    found = stigg.list_subscriptions("customer 1", ["ACTIVE", "IN_TRIAL"])
    assert [one["id"] for one in found] == ["subscription-0", "subscription-1", "subscription-2"]
    asked = {"customerId": "customer 1", "status": "ACTIVE,IN_TRIAL", "limit": "100"}
    assert api.queries == [asked, {**asked, "after": "1"}, {**asked, "after": "2"}]


def test_the_whole_environment_is_listed_page_by_page_from_any_cursor_on(api: Api, stigg: Stigg) -> None:
    def page(request: Request) -> Response:
        number = int(request.args.get("after", "0"))
        following = str(number + 1) if number < 3 else None
        return reply({"data": [{"id": f"subscription-{number}"}], "pagination": {"next": following, "prev": None}})

    api.answer = page
    pages = stigg.subscription_pages("1", ["ACTIVE"])
    assert next(pages) == ([{"id": "subscription-1"}], "2")
    assert api.queries == [{"status": "ACTIVE", "limit": "100", "after": "1"}]  # one request for each page taken
    assert list(pages) == [([{"id": "subscription-2"}], "3"), ([{"id": "subscription-3"}], None)]


def test_a_list_without_an_end_is_noticed(api: Api, stigg: Stigg) -> None:
    api.answer = lambda _: reply({"data": [], "pagination": {"next": "1"}})
    with pytest.raises(StiggUnavailable):
        stigg.list_features()
    assert len(api.queries) == 2


def test_every_post_that_writes_carries_its_idempotency_key(server: StandIn, stigg: Stigg) -> None:
    body = {"customerId": "customer-1"}
    stigg.provision_customer(body, "key-1")
    stigg.provision_subscription(body, "key-2")
    stigg.cancel_subscription("subscription-1", body, "key-3")
    stigg.grant_credits(body, "key-4")
    stigg.update_subscription("subscription-1", body)
    stigg.preview_subscription(body)
    seen = [(one.method, one.path, one.headers.get("Idempotency-Key")) for one in server.exchanges]
    assert seen == [
        ("POST", "/api/v1/customers", "key-1"),
        ("POST", "/api/v1/subscriptions", "key-2"),
        ("POST", "/api/v1/subscriptions/subscription-1/cancel", "key-3"),
        ("POST", "/api/v1/credits/grants", "key-4"),
        ("PATCH", "/api/v1/subscriptions/subscription-1", None),
        ("POST", "/api/v1/subscriptions/preview", None),
    ]
    assert all(json.loads(one.body) == body for one in server.exchanges)


def test_the_idempotency_key_is_one_for_each_wish_of_an_execution() -> None:
    wish = idempotency_key(
        "execution-1", "subscription-1", {"planId": "plan-team", "addons": [{"id": "a", "quantity": 1}]}
    )
    same = idempotency_key(
        "execution-1", "subscription-1", {"addons": [{"quantity": 1, "id": "a"}], "planId": "plan-team"}
    )
    others = {
        idempotency_key("execution-2", "subscription-1", {"planId": "plan-team"}),
        idempotency_key("execution-1", "subscription-2", {"planId": "plan-team"}),
        idempotency_key("execution-1", "subscription-1", {"planId": "plan-team"}),
        idempotency_key(
            "execution-1", "subscription-1", {"planId": "plan-team", "addons": [{"id": "a", "quantity": 2}]}
        ),
    }
    assert wish == same
    assert len(wish) == 64
    assert len(others | {wish}) == 5


class KeepsAlive(BaseHTTPRequestHandler):
    """Answers any read on connections that stay open, and notes from which port each came."""

    protocol_version = "HTTP/1.1"
    ports: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        self.ports.append(self.client_address[1])
        body = b'{"data": {}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_connection_is_kept_while_it_is_busy_and_replaced_after_lambda_froze_it() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), KeepsAlive) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        session = BoundedSession()
        stigg = Stigg(f"http://127.0.0.1:{server.server_port}", Keys(KEY), session)
        stigg.get_customer("customer-1")
        stigg.get_customer("customer-1")
        session._used_at -= 60
        stigg.get_customer("customer-1")
        session.close()
        server.shutdown()
    assert KeepsAlive.ports[0] == KeepsAlive.ports[1] != KeepsAlive.ports[2]


@pytest.mark.parametrize(
    "module", ["domain.errors", "domain.links", "aws.secrets", "stigg.client", "salesforce.client"]
)
def test_importing_the_module_imports_nothing_heavy(module: str) -> None:
    heavy = ["boto3", "botocore", "simple_salesforce", "zeep", "jwt", "cryptography", "pydantic", "stigg"]
    if module in ("domain.errors", "domain.links", "aws.secrets"):
        heavy.append("requests")
    code = f"import sys, closedwon.{module}; print([name for name in {heavy} if name in sys.modules])"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_simple_salesforce_brings_for_other_uses_is_imported_when_it_is_used() -> None:
    code = """
import sys, closedwon.salesforce.client
from simple_salesforce import Salesforce, SalesforceLogin, exceptions
def heavy(): return [name for name in ("zeep", "jwt", "cryptography") if name in sys.modules]
print(heavy())
try: SalesforceLogin()
except exceptions.SalesforceAuthenticationFailed: print(heavy())
print(type(Salesforce(instance_url="https://salesforce.test", session_id="session").mdapi).__name__, heavy())
"""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    none, login, metadata = done.stdout.splitlines()
    assert (none, login) == ("[]", "['jwt', 'cryptography']")
    assert metadata == "SfdcMetadataApi ['zeep', 'jwt', 'cryptography']"


def test_unanswered_writes_are_transient_and_refusals_are_not() -> None:
    assert issubclass(WriteUnanswered, errors.Transient)
    assert not issubclass(StiggRefused, errors.Transient)
