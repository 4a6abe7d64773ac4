"""What is sent to the user's own application, and what each of its answers means; against the sample application and a
real HTTP server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from werkzeug.wrappers import Request, Response

from closedwon.domain.errors import ApplicationAnswerInvalid, ApplicationRefused, ApplicationUnavailable, ClosedWonError
from closedwon.domain.identifiers import CustomerId
from closedwon.own_application.client import (
    ANSWER_LIMIT,
    LATEST,
    SOONEST,
    USUAL,
    NotYet,
    OwnApplication,
    Ready,
    signature,
)
from sandbox.application import WorkspaceApplication, verified
from sandbox.stand_in import StandIn

NOW = 1_795_338_931
KEY, NEXT_KEY = "a-signing-key-of-the-day", "the-one-of-tomorrow"
BODY = {
    "opportunity": {"id": "0065g00000ABCdEAAX"},
    "account": {"id": "0015g00000XyZaBAAV", "name": "Northwind", "email": "billing@northwind.example"},
}


class Keys:
    """A secret that has the next key when it is read again."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)

    def json(self, *required: str) -> dict[str, Any]:
        assert required == ("signingKey",)
        return {"signingKey": self.keys[0]}

    def again(self) -> str:
        if len(self.keys) > 1:
            del self.keys[0]
        return json.dumps(self.json("signingKey"))


class Answering:
    """Gives one answer to everything."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], Response] = lambda _: Response("{}")
        self.asked: list[Request] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        request.get_data()
        self.asked.append(request)
        return self.answer(request)(environ, start_response)

    def reset(self) -> None:
        pass

    def error(self, status: int) -> Response:
        return Response(json.dumps({"message": f"status {status}"}), status)


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture
def server(answering: Answering) -> Iterator[StandIn]:
    with StandIn(answering) as server:
        yield server


@pytest.fixture
def own(server: StandIn) -> OwnApplication:
    return OwnApplication(f"{server.url}/workspaces", Keys(KEY), timeouts=(10.0, 0.5), clock=lambda: NOW)


def ask(own: OwnApplication) -> Ready | NotYet:
    return own.ask(BODY, "the-key")


# What is sent


def test_the_signature_is_that_of_a_known_example() -> None:
    """Computed with ``openssl dgst -sha256 -hmac``: an application in any language can check itself against it."""
    assert signature("secret", 1795338931, b'{"version":1}') == (
        "v1=2369d3b80e40f3ad4eae84e11bcd397ff4fa26bdac5a4d7ca51256cc4a57e225"
    )


def test_the_request_is_one_post_signed_over_its_time_and_its_very_bytes(own: OwnApplication, server: StandIn) -> None:
    ask(own)
    [asked] = server.exchanges
    assert (asked.method, asked.path, asked.headers["Idempotency-Key"]) == ("POST", "/workspaces", "the-key")
    assert asked.headers["X-Closed-Won-Timestamp"] == str(NOW)
    assert asked.headers["X-Closed-Won-Signature"] == signature(KEY, NOW, asked.body)
    assert json.loads(asked.body) == BODY


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"now": NOW + 299}, True),
        ({"now": NOW + 301}, False),
        ({"body": b'{"version": 2}'}, False),
        ({"keys": [NEXT_KEY, KEY]}, True),
        ({"keys": [NEXT_KEY]}, False),
        ({"timestamp": str(NOW + 1)}, False),
        ({"timestamp": "now"}, False),
    ],
    ids=str,
)
def test_the_sample_application_takes_only_what_was_signed_lately(change: dict[str, Any], fits: bool) -> None:
    body = b'{"version": 1}'
    headers = {
        "X-Closed-Won-Timestamp": change.get("timestamp", str(NOW)),
        "X-Closed-Won-Signature": signature(KEY, NOW, body),
    }
    assert verified(headers, change.get("body", body), change.get("keys", [KEY]), change.get("now", NOW)) is fits


def test_a_key_that_was_changed_is_read_again_at_once() -> None:
    application = WorkspaceApplication()
    application.signing_keys = [NEXT_KEY]
    with StandIn(application) as server:
        assert isinstance(OwnApplication(server.url, Keys(KEY, NEXT_KEY)).ask(BODY, "one"), Ready)
        with pytest.raises(ApplicationRefused, match="the signature does not fit"):
            OwnApplication(server.url, Keys(KEY)).ask(BODY, "two")
    assert list(application.workspaces) == ["one"]


def test_the_same_request_again_gets_the_same_workspace() -> None:
    application = WorkspaceApplication()
    application.signing_keys = [KEY]
    with StandIn(application) as server:
        own = OwnApplication(server.url, Keys(KEY))
        assert own.ask(BODY, "one") == own.ask(BODY, "one") != own.ask(BODY, "two")


# What it answers


def reply(content: Any, status: int = 200, **headers: str) -> Callable[[Request], Response]:
    text = content if isinstance(content, str) else json.dumps(content)
    return lambda _: Response(text, status, {name.replace("_", "-"): value for name, value in headers.items()})


def test_a_good_answer_may_say_everything_or_nothing(own: OwnApplication, answering: Answering) -> None:
    answering.answer = reply({})
    assert ask(own) == Ready()
    whole = {"customerId": "org-7", "resourceId": "ws|7", "metadata": {"b": "2", "a": ""}, "plan": "not ours"}
    answering.answer = reply(whole, 201)
    assert ask(own) == Ready(CustomerId("org-7"), "ws|7", (("a", ""), ("b", "2")))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<html>", "its body is not a JSON object"),
        ("", "its body is not a JSON object"),
        ([], "its body is not a JSON object"),
        ({"customerId": 7}, "customerId must be a text"),
        ({"customerId": ""}, "customerId is empty"),
        ({"resourceId": "a/b"}, "resourceId has / in it: an ID in Stigg has letters, digits and _ | . -"),
        ({"resourceId": "me@acme"}, "resourceId has @ in it: an ID in Stigg has letters, digits and _ | . -"),
        ({"customerId": "_org"}, "customerId begins with _: an ID in Stigg begins with a letter or a digit"),
        ({"resourceId": "a\n"}, "resourceId has U+000A in it: an ID in Stigg has letters, digits and _ | . -"),
        ({"resourceId": "x" * 256}, "resourceId is longer than 255 characters"),
        ({"metadata": ["a"]}, "metadata must be an object"),
        ({"metadata": {"a": 1}}, "metadata a must be a text of at most 500 characters"),
        ({"metadata": {"a": "x" * 501}}, "metadata a must be a text of at most 500 characters"),
        ({"metadata": {"": "x"}}, "metadata entry 1 has a key that is not"),
        ({"metadata": {str(n): "x" for n in range(21)}}, "metadata has more than 20 entries"),
        ("x" * (ANSWER_LIMIT + 1), "its body is longer than 65536 bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_answer_is_told_by_field_and_reason(
    own: OwnApplication, answering: Answering, content: Any, said: str
) -> None:
    answering.answer = reply(content)
    with pytest.raises(ApplicationAnswerInvalid) as caught:
        ask(own)
    assert str(caught.value).startswith(f"Your application's answer cannot be used: {said}")


IN_AN_HOUR = datetime.fromtimestamp(NOW + 3600, UTC)


@pytest.mark.parametrize(
    ("content", "headers", "wait"),
    [
        ("", {}, USUAL),
        ({}, {}, USUAL),
        ({"askAgainAt": IN_AN_HOUR.isoformat()}, {"Retry_After": "7"}, 3_600_000),
        ("", {"Retry_After": "600"}, 600_000),
        ("", {"Retry_After": format_datetime(IN_AN_HOUR, usegmt=True)}, 3_600_000),
        ("", {"Retry_After": "0"}, SOONEST),
        ({"askAgainAt": "2020-01-01T00:00:00Z"}, {}, SOONEST),
        ({"askAgainAt": "2099-01-01T00:00:00Z"}, {}, LATEST),
    ],
    ids=str,
)
def test_an_answer_that_is_not_ready_says_when_to_ask_again_within_bounds(
    own: OwnApplication, answering: Answering, content: Any, headers: dict[str, str], wait: int
) -> None:
    answering.answer = reply(content, 202, **headers)
    assert ask(own) == NotYet(NOW * 1000 + wait)


@pytest.mark.parametrize(
    ("content", "headers", "said"),
    [
        ({"askAgainAt": "tomorrow"}, {}, "askAgainAt is not a time with its zone"),
        ({"askAgainAt": "2026-12-01T09:00:00"}, {}, "askAgainAt is not a time with its zone"),
        ({"askAgainAt": 1795338931}, {}, "askAgainAt is not a time with its zone"),
        ("", {"Retry_After": "soon"}, "Retry-After is neither seconds nor a date"),
    ],
    ids=str,
)
def test_a_time_that_cannot_be_read_is_a_wrong_answer(
    own: OwnApplication, answering: Answering, content: Any, headers: dict[str, str], said: str
) -> None:
    answering.answer = reply(content, 202, **headers)
    with pytest.raises(ApplicationAnswerInvalid, match=said):
        ask(own)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ({"kind": "answer", "status": 500}, ApplicationUnavailable, "no usable answer (HTTP 500)"),
        ({"kind": "answer", "status": 429}, ApplicationUnavailable, "no usable answer (HTTP 429)"),
        ({"kind": "drop_before"}, ApplicationUnavailable, "did not answer (ConnectionError)"),
        ({"kind": "drop_after"}, ApplicationUnavailable, "did not answer (ConnectionError)"),
        ({"kind": "delay_after", "seconds": 1.5}, ApplicationUnavailable, "did not answer (ReadTimeout)"),
        ({"kind": "answer", "status": 403}, ApplicationRefused, "status 403 (HTTP 403)"),
        ({"kind": "answer", "status": 422}, ApplicationRefused, "status 422 (HTTP 422)"),
        ({"kind": "answer", "status": 307}, ApplicationRefused, "a redirect, which is not followed (HTTP 307)"),
        ({"kind": "answer", "status": 204}, ApplicationAnswerInvalid, "is HTTP 204; use 200, 201 or 202"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_what_goes_wrong_is_told_apart(
    own: OwnApplication, server: StandIn, fault: dict[str, Any], error: type[ClosedWonError], said: str
) -> None:
    server.fail(**fault)
    with pytest.raises(error) as caught:
        ask(own)
    assert str(caught.value).endswith(said)
    assert caught.value.__context__ is None, "what requests raises holds the request"
    assert len(server.exchanges) == 1


def test_an_application_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(ApplicationUnavailable, match=r"could not be reached \(ConnectionError\)"):
        ask(OwnApplication("http://127.0.0.1:9/", Keys(KEY)))


def test_a_reason_shows_neither_the_accounts_name_nor_an_address(own: OwnApplication, answering: Answering) -> None:
    answering.answer = reply({"message": "Northwind (billing@northwind.example) is taken"}, 409)
    with pytest.raises(ApplicationRefused) as caught:
        ask(own)
    assert str(caught.value) == "Your application: *** (***@***) is taken (HTTP 409)"
