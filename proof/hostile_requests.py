"""Requests to the API as somebody who means harm would write them, and what they were answered."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from closedwon.domain.identifiers import normalised_id
from proof.fuzz import TEXTS
from sandbox.sandbox import Sandbox
from sandbox.stigg.events import HEADER as EVENTS_HEADER

Json = dict[str, Any]

LIMIT_SECONDS = 29.0
"""How long the API has for an answer."""

EVENTS = "/v1/stigg-events"

PATIENCE = 120.0
"""Seconds until the harness gives up on an answer: a loaded machine is no hang of the product's."""


class Found:
    """What was tried over HTTP, and what came of it. asked: requests by their kind."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.failures: dict[str, list[str]] = {
            "server errors": [],
            "answers that do not fit": [],
            "hangs": [],
            "half-accepted deals": [],
            "injections": [],
            "authentication": [],
        }

    def fail(self, kind: str, said: str) -> None:
        self.failures[kind].append(said)
        print(f"  {kind}: {said}", flush=True)

    def answered(self, kind: str, status: int, seconds: float, told: str) -> None:
        self.asked[kind] += 1
        self.statuses[status] += 1
        if status == 504:
            self.fail("hangs", f"{kind}: {told}")
        elif status >= 500 and not (status == 503 and "Nothing was recorded" in told):
            self.fail("server errors", f"{kind}: {status} {told}")


def known_ids(sandbox: Sandbox, document: Json) -> Json:
    """The document with IDs that exist, so that requests come farther than the first check of an ID."""
    ids = {
        "00D": [sandbox.salesforce.organization_id],
        "006": [normalised_id(f"0065g{number:010d}") for number in range(1, 6)],
        "001": [normalised_id(f"0015g{number:010d}") for number in range(1, 4)],
    }
    waiting: list[Any] = [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get("maxLength") == 18 and (known := ids.get(str(one.get("example"))[:3])):
                one["enum"] = known
            if one.get("format") == "date-time":
                one["enum"] = ["2026-01-15T09:15:31Z", "1969-12-31T23:59:59Z", "2026-02-30T00:00:00Z"]
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return document


def accepted(status: int, text: str) -> Iterator[str]:
    """The opportunities that an answer says are recorded."""
    if status == 202:
        for result in json.loads(text).get("results", ()):  # an event's answer has none
            if result.get("execution") and "message" not in result:
                yield result["opportunityId"]


def pause(sandbox: Sandbox, paused: bool) -> None:
    """What an operator does, so that deals are taken and nothing is started."""
    body = json.dumps({"mode": "pause" if paused else "run", "since": 0, "why": "the proof"})
    item = {"pk": {"S": "CONTROL"}, "sk": {"S": "CONTROL"}, "body": {"S": body}}
    sandbox.aws.client("dynamodb").put_item(TableName=sandbox.aws.resources["LedgerTable"], Item=item)


def a_deal(sandbox: Sandbox, number: int) -> Json:
    return {
        "organizationId": sandbox.salesforce.organization_id,
        "trigger": "closed_won",
        "opportunity": {
            "id": normalised_id(f"0065g{number:010d}"),
            "name": "A deal",
            "systemModstamp": "2026-01-15T09:15:31.000Z",
            "readAt": "2026-01-15T09:15:32.118Z",
        },
        "account": {"id": normalised_id(f"0015g{number:010d}"), "name": "Northwind"},
        "lines": [{"line": 1, "stiggType": "Plan", "stiggId": "plan-enterprise", "quantity": 1}],
    }


def ask(sandbox: Sandbox, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    """One request whose target and headers nobody mends on their way. Out: status and text; 0 where none came."""
    host = urlsplit(sandbox.aws.callout_url).netloc
    connection = http.client.HTTPConnection(host, timeout=PATIENCE)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in {"x-api-key": sandbox.callout_key, **headers}.items():
            connection.putheader(name, value)
        if "Transfer-Encoding" not in headers and "Content-Length" not in headers:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except http.client.HTTPException as error:
        return 0, type(error).__name__
    except (TimeoutError, ConnectionError) as error:
        return 0, type(error).__name__
    finally:
        connection.close()


def tricks(sandbox: Sandbox, found: Found, every: int) -> set[str]:
    """Bodies (every so many-th of them), sizes, paths, methods, headers. Out: the opportunities that were recorded."""
    pause(sandbox, True)
    recorded: set[str] = set()
    plain = {"Content-Type": "application/json"}
    post = "/v1/provisionings"

    def one(kind: str, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = plain) -> int:
        began = time.monotonic()
        status, text = ask(sandbox, method, target, body, headers)
        told = f"{method} {target[:120]} {dict(headers)} {body[:200]!r} ({len(body)} bytes): {text[:300]}"
        found.answered(kind, status, time.monotonic() - began, told)
        recorded.update(accepted(status, text) if text.startswith("{") else ())
        return status

    good = json.dumps({"deals": [a_deal(sandbox, 100)]}).encode()
    for path in (post, "/v1/previews", "/v1/approvals"):
        for body in list(hostile_bodies(sandbox))[::every]:
            one("bodies", "POST", path, body, {"Content-Type": "text/plain"})  # past the gateway's model
            if path == post:
                one("bodies", "POST", path, body)
    stigg = {EVENTS_HEADER: sandbox.stigg_events_secret, **plain}
    for body in [*list(hostile_bodies(sandbox))[::every], *hostile_events(sandbox)]:
        if one("events", "POST", EVENTS, body, stigg) not in (202, 413):
            found.fail("answers that do not fit", f"an event was not taken: {body[:200]!r}")
    for body in large_bodies(sandbox):
        one("sizes", "POST", post, body)
        one("sizes", "POST", EVENTS, body, stigg)
    for path in hostile_paths():
        one("paths", "GET", path)
        one("paths", "POST", path, good)
    for method in (
        "PUT",
        "DELETE",
        "PATCH",
        "HEAD",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "post",
        "G\u00cbT".encode().hex(),
        "X" * 300,
    ):
        one("methods", method, post, good)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(good), good)
    for headers, body in (
        ({"Content-Type": "application/json; charset=utf-16"}, good.decode().encode("utf-16")),
        ({"Content-Type": "application/json; charset=x"}, good),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n" + good + b"\r\n--x--"),
        ({"Content-Type": "application/xml"}, b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"),
        ({"Content-Type": "x" * 5_000}, good),
        ({"Content-Encoding": "gzip"}, good),
        ({"Transfer-Encoding": "chunked"}, chunked),
        ({"X-HTTP-Method-Override": "DELETE", **plain}, good),
        ({"X-Amzn-Trace-Id": "x" * 4_000, **plain}, good),
        ({"X-Forwarded-For": "127.0.0.1, ' OR 1=1", "X-Forwarded-Host": "evil.example", **plain}, good),
        ({"Expect": "100-continue", **plain}, good),
        ({}, good),
    ):
        one("headers", "POST", post, body, headers)
    pause(sandbox, False)
    return recorded


def hostile_bodies(sandbox: Sandbox) -> Iterator[bytes]:
    """Bodies that are hardly JSON, or JSON that hardly anybody means."""
    good = json.dumps(a_deal(sandbox, 101))
    yield from (b"", b"null", b"\xff\xfe", b"\x00" * 100, b'{"deals":', b'"deals"', b"\xef\xbb\xbf{}", b"{}" * 10)
    for depth in (500, 1_000, 100_000):
        yield b"[" * depth
        yield b'{"deals":[' + b"[" * depth + b"]" * depth + b"]}"
        yield b'{"deals":[{"lines":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}]}"
        yield b'{"approvals":[' + b'{"a":' * depth + b"1" + b"}" * depth + b"]}"
    for number in (
        "NaN",
        "-Infinity",
        "1e400",
        "-0",
        "1E-400",
        "9" * 4_300,
        "9" * 4_301,
        "1e99999999999",
        "0x10",
        "1_0",
    ):
        for old in ('"quantity": 1', '"line": 1'):
            yield ('{"deals":[' + good.replace(old, f"{old.split(': ')[0]}: {number}") + "]}").encode()
    for text in TEXTS[:30]:
        name = json.dumps(text)
        yield ('{"deals":[' + good.replace('"Northwind"', name) + "]}").encode()
        yield ('{"deals":[' + good.replace('"terms"', name).replace('"trigger"', name) + "]}").encode()
        yield json.dumps({"approvals": [{"organizationId": text, "opportunityId": text, "approval": text}]}).encode()
    yield f'{{"deals":[{good}], "deals":[]}}'.encode()
    yield f'{{"deals":[], "deals":[{good}]}}'.encode()
    yield f'{{"deals":[{good.replace("{", chr(123) + chr(34) + "trigger" + chr(34) + ": 7, ", 1)}]}}'.encode()
    yield json.dumps({"deals": [a_deal(sandbox, 102)] * 200}).encode()
    yield json.dumps({"deals": [a_deal(sandbox, 102)] * 201}).encode()


def hostile_events(sandbox: Sandbox) -> Iterator[bytes]:
    """Events as Stigg would not send them, about customers that closed-won knows and others."""
    known = sandbox.salesforce.find("Account")[:1]
    customer: list[Any] = [one["Id"] for one in known] or ["0015g00000XyZaBAAV"]
    for text in [*TEXTS[:30], *customer, None, 7, [], {}, True]:
        for event in (
            {"type": text, "messageId": text, "customer": {"id": text}},
            {"type": "subscription.created", "messageId": text, "id": text, "customer": {"id": customer[0]}},
            {"type": "customer.updated", "entityId": text, "customer": text, "customerId": text, "data": text},
            {"data": {"data": text, "customer": {"id": text}}},
        ):
            yield json.dumps(event).encode()
    yield json.dumps(
        {"type": "subscription.updated", "customer": {"id": customer[0]}, "metadata": "x" * 200_000}
    ).encode()
    yield json.dumps(
        {"type": "subscription.updated", "messageId": "x" * 100_000, "customer": {"id": customer[0]}}
    ).encode()


def large_bodies(sandbox: Sandbox) -> Iterator[bytes]:
    """Bodies at and just over the limits: of the gateway (10 MB), of a ledger item (400 KB), of a transaction."""
    deal = a_deal(sandbox, 103)
    line = {"line": 1, "stiggType": "Entitlement", "quantity": 1, "planId": "plan-enterprise"}

    def of_lines(number: int, **more: Any) -> Json:
        some = [{**line, "stiggId": f"feature-{place}", **more} for place in range(199)]
        opportunity = {**deal["opportunity"], "id": normalised_id(f"0065g{number:010d}")}
        return {**deal, "opportunity": opportunity, "lines": [*deal["lines"], *some]}

    yield json.dumps({"deals": [of_lines(200, line=int("9" * 4_000))]}).encode()
    yield json.dumps({"deals": [of_lines(201, planId="x" * 3_000)]}).encode()
    yield json.dumps({"deals": [of_lines(202, start="x" * 3_000)]}).encode()
    yield json.dumps({"deals": [{**deal, "lines": deal["lines"] * 200}]}).encode()
    yield json.dumps({"deals": [of_lines(300 + number) for number in range(30)]}).encode()
    yield json.dumps({"deals": [of_lines(300 + number, quantity=0.5, price=1) for number in range(30)]}).encode()
    limit = 10 * 1024 * 1024
    start, end = b'{"deals":[{"x":"', b'"}]}'
    for size in (limit, limit + 1):
        yield start + b"x" * (size - len(start) - len(end)) + end
    yield b" " * (limit - 2) + b"{}"


def hostile_paths() -> Iterator[str]:
    """Targets that are not what they look like."""
    known = "0065g00000ABCdEAAX"
    for last in (
        *("..", ".", "%2e%2e", "%2e%2e%2fpreviews", "..%2f..%2f", "%252e%252e%252f", "%00", "%c0%af", "%ff", "%u002e"),
        *(
            f"{known}/",
            f"{known}//",
            f"{known}/..",
            f"{known}%00",
            f"{known}%2f..%2f{known}",
            f"{known};x=1",
            f"{known}?x=1",
        ),
        *(
            f"/{known}",
            f"{known[:15]}",
            known.lower(),
            "%E2%80%AE",
            "%F0%9F%A6%84",
            "x" * 8_000,
            "%27%20OR%20Id%20!=%20%27",
        ),
        *("{opportunityId}", "$%7Bx%7D", "~", "*", "%0d%0aX-Evil:%201", "0065g00000ABCd%45AAX"),
    ):
        yield f"/v1/provisionings/{last}"
    yield from (
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v1/provisionings/",
        "/v1//provisionings",
        "/V1/PROVISIONINGS",
        "/v1/../v1/previews",
    )
    yield from (
        "/callout/v1/provisionings",
        "/v1/provisionings?deals=1&deals=2",
        "/_sandbox/faults",
        "/v1/provisionings%2f",
    )
    yield "/v1/provisionings?" + "&".join(f"a{number}={number}" for number in range(1_000))
