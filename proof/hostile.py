"""Hostile input, from end to end: what nobody should send is sent, to the running sandbox and to every parser.

``python -m proof.hostile <parser> [--inputs N] [--seed N]`` feeds one parser alone, which is how a failure is replayed.
"""

from __future__ import annotations

import argparse
import ast
import http.client
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlsplit

import requests
from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.lines import Line
from closedwon.aws.secrets import Secret
from closedwon.domain import errors
from closedwon.domain.identifiers import normalised_id
from closedwon.intake.deal import Deal
from closedwon.salesforce.client import formatted
from closedwon.salesforce.export_queries import Scope
from closedwon.salesforce.mapping_records import LineSource, Unreadable
from closedwon.stigg.client import Stigg
from proof.fuzz import INJECTIONS, TEXTS, Outcome, run, shown
from proof.parsers import Bench, Keys, Scripted, _function, attacks
from sandbox.sales import Sold
from sandbox.sandbox import ROOT, Sandbox
from sandbox.stand_in import Exchange

Json = dict[str, Any]

PARAMETERS = {
    "WriteLifetimeSeconds": "1",
    "ThrottlingRate": "100000",
    "ThrottlingBurst": "100000",
    "StiggWritesPerMinute": "1000000",
    "StiggListsPerMinute": "1000000",
}
LIMIT_SECONDS = 29.0
"""How long the API has for an answer."""

PATIENCE = 120.0
"""Seconds until the harness gives up on an answer: a loaded machine is no hang of the product's."""


class Sizes(NamedTuple):
    """How much is tried. parsers, requests: inputs made up; injections: canaries for each field."""

    parsers: int
    requests: int
    injections: int


DEFAULT, LONG, SHORT = Sizes(4_700, 300, 5), Sizes(95_000, 5_000, len(INJECTIONS)), Sizes(250, 40, 2)


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


def hostile(seed: int, long: bool, sizes: Sizes | None = None) -> list[Line]:
    """The chapter. Prints what it does; out: the lines of the table at the end."""
    sizes = sizes or (LONG if long else DEFAULT)
    print(f"  {sizes.parsers:,} inputs for the parsers, of which each has its share", flush=True)
    with Bench() as bench:
        outcomes = [fed(attack, sizes.parsers, seed) for attack in attacks(bench)]
        literal = escapes(bench)
    print(
        f"  {sizes.requests:,} requests made up from docs/openapi.json, and tricks, to the running sandbox", flush=True
    )
    found = Found()
    for said in literal:
        found.fail("injections", said)
    for said in compares_in_constant_time():
        found.fail("authentication", said)
    with Sandbox(PARAMETERS, wait_scale=0.04, longest_invocation=20, rate_limits=False) as sandbox:
        recorded = made_up(sandbox, sizes.requests, seed, found)
        recorded |= tricks(sandbox, found, every=1 if sizes.requests >= DEFAULT.requests else 5)
        half_accepted(sandbox, recorded, found)
        injected(sandbox, sizes.injections, found)
        authenticated(sandbox, found)
    return lines(outcomes, found)


def fed(attack: Any, count: int, seed: int) -> Outcome:
    outcome = run(attack, max(3, round(count * attack.share / 100)), seed)
    for said in outcome.told(f"python -m proof.hostile {attack.name!r} --inputs {outcome.inputs} --seed {seed}"):
        print(said, flush=True)
    return outcome


def lines(outcomes: list[Outcome], found: Found) -> list[Line]:
    """The table. Everything that is not meant to be there is counted, and should be nothing."""
    of_parsers = sum(one.inputs for one in outcomes)
    kinds = ", ".join(f"{one.name} {one.inputs:,}" for one in outcomes)
    asked = ", ".join(f"{kind} {count:,}" for kind, count in found.asked.items())
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(found.statuses.items()))
    print(f"  parsers: {kinds}\n  requests: {asked}\n  answered: {statuses}", flush=True)
    undesigned = sum(len(one.undesigned) for one in outcomes)
    hangs = sum(len(one.hangs) for one in outcomes)
    failed = {kind: len(some) for kind, some in found.failures.items()}
    zero = {
        f"errors nobody designed, {of_parsers:,} inputs of {len(outcomes)} parsers": undesigned,
        f"answers of 5xx, {sum(found.asked.values()):,} requests": failed["server errors"],
        "answers that docs/openapi.json does not describe": failed["answers that do not fit"],
        "deals accepted by half": failed["half-accepted deals"],
        "hangs": hangs + failed["hangs"],
        "injections that reached a query or a path": failed["injections"],
        "requests let in, or turned away, that should not be": failed["authentication"],
    }
    return [Line(f"Hostile input: {what}", f"{count}", "0", count == 0) for what, count in zero.items()]


# Made up from the document


def made_up(sandbox: Sandbox, count: int, seed_: int, found: Found) -> set[str]:
    """Requests that fit docs/openapi.json, and requests that almost do. While they come, nothing is started.

    Out: the opportunities that were recorded, by the answers.
    """
    import schemathesis

    pause(sandbox, True)
    recorded: set[str] = set()
    document = known_ids(sandbox, json.loads((ROOT / "docs" / "openapi.json").read_text()))
    found_in: Any = schemathesis.openapi.from_dict(document).get_all_operations()
    operations = [result.ok() for result in found_in]
    modes = schemathesis.GenerationMode
    for number, operation in enumerate(operations):
        for mode in (modes.POSITIVE, modes.NEGATIVE):
            _of_operation(
                sandbox, operation, mode, (count // (2 * len(operations)), seed_ * 100 + number), found, recorded
            )
    pause(sandbox, False)
    return recorded


def _of_operation(
    sandbox: Sandbox, operation: Any, mode: Any, much: tuple[int, int], found: Found, recorded: set[str]
) -> None:
    """Requests to one operation. much: how many, from which seed."""
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    name = f"{operation.method.upper()} {operation.path}, {mode.name.lower()}"
    session = requests.Session()
    session.trust_env = False

    # Each is made by the document; only the key, which is another test's matter, is always there.
    @seed(much[1])
    @settings(
        max_examples=much[0],
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        began = time.monotonic()
        case.headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "x-api-key"}
        headers = {"x-api-key": sandbox.callout_key}
        try:
            answer = case.call(base_url=sandbox.aws.callout_url, session=session, headers=headers, timeout=PATIENCE)
        except (requests.exceptions.InvalidHeader, UnicodeError):
            return  # could not be sent
        except requests.RequestException as error:
            found.fail("hangs", f"{name}: {type(error).__name__} {shown(case.body)}")
            return
        text = answer.content.decode(errors="replace")
        found.answered(name, answer.status_code, time.monotonic() - began, f"{text[:300]} to {shown(case.body)}")
        recorded.update(accepted(answer.status_code, text))
        try:
            case.validate_response(answer, checks=[response_schema_conformance, status_code_conformance])
        except Exception as error:
            found.fail("answers that do not fit", f"{name}: {str(getattr(error, 'exceptions', [error])[0])[:900]}")

    one()


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
        for result in json.loads(text)["results"]:
            if result.get("execution") and "message" not in result:
                yield result["opportunityId"]


def pause(sandbox: Sandbox, paused: bool) -> None:
    """What an operator does, so that deals are taken and nothing is started."""
    body = json.dumps({"mode": "pause" if paused else "run", "since": 0, "why": "the proof"})
    item = {"pk": {"S": "CONTROL"}, "sk": {"S": "CONTROL"}, "body": {"S": body}}
    sandbox.aws.client("dynamodb").put_item(TableName=sandbox.aws.resources["LedgerTable"], Item=item)


# Tricks


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
    for body in large_bodies(sandbox):
        one("sizes", "POST", post, body)
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


# What is left in the ledger


def half_accepted(sandbox: Sandbox, recorded: set[str], found: Found) -> None:
    """Each deal that was answered with an execution is in the ledger whole, and nothing else is."""
    places = {"answered": recorded, **in_the_ledger(sandbox)}
    found.asked["deals accepted"] += len(recorded)
    for id in set().union(*places.values()):
        there = [name for name, some in places.items() if id in some]
        if len(there) < len(places):
            found.fail("half-accepted deals", f"{id}: only {', '.join(there)}")


def in_the_ledger(sandbox: Sandbox) -> dict[str, set[str]]:
    """The opportunities that the ledger holds, by what it holds of them."""
    table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
    found: dict[str, set[str]] = {"owner": set(), "state": set(), "order": set()}
    for page in dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="pk, sk"):
        for item in page["Items"]:
            pk, sk = item["pk"]["S"], item["sk"]["S"]
            if pk.startswith("OPPORTUNITY#") and sk == "OWNER":
                found["owner"].add(pk.partition("#")[2])
            elif sk.startswith("OPPORTUNITY#"):
                found["state"].add(sk.partition("#")[2])
            elif sk.startswith("ORDER#"):
                found["order"].add(pk.partition("#")[2])
    return found


# Injection


LITERAL = re.compile(r"'(?:\\.|[^'\\])*'")


def statement(soql: str) -> str:
    """A query without its values: two with the same statement ask for the same."""
    return re.sub(r"\(\?(?:,\s*\?)*\)", "(?)", LITERAL.sub("?", soql))


def escapes(bench: Bench) -> Iterator[str]:
    """In this process: whatever a value is, queries and paths stay what they are. Out: what does not hold."""
    for text in (*INJECTIONS, *TEXTS):
        if statement(formatted("WHERE Id IN {ids}", {"ids": [text]})) != "WHERE Id IN (?)":
            yield f"a value in a query: {text!r}"
        if statement(Scope(None, (text,)).condition()) != statement(Scope(None, ("Trial",)).condition()):
            yield f"a trial stage in a query: {text!r}"
        mapping = {"MasterLabel": "M", "Active__c": True, **NAMES}
        for column in NAMES:
            try:
                soql = LineSource.of({**mapping, column: text}).soql()
            except Unreadable:
                continue
            if not re.fullmatch(r"SELECT [\w., ]+ FROM \w+ WHERE [\w.]+ IN \{parents\} ORDER BY [\w. ,]+", soql):
                yield f"{column} of a Stigg Mapping in a query: {soql!r}"
        yield from paths_stay(text)


NAMES = {
    "Line_Object__c": "OpportunityLineItem",
    "Parent_Field__c": "OpportunityId",
    "Stigg_Type_Field__c": "Product2.Stigg_Type__c",
    "Stigg_ID_Field__c": "Product2.Stigg_ID__c",
    "Quantity_Field__c": "Quantity",
    "Price_Field__c": "UnitPrice",
    "Total_Quantity_Field__c": "",
}


def paths_stay(text: str) -> Iterator[str]:
    """Every ID that Stigg's client puts into a path or a query arrives there as itself, or is refused."""
    adapter, asked = Scripted(), []
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", adapter)
    answer = adapter.send

    def send(request: requests.PreparedRequest, *given: Any, **more: Any) -> requests.Response:
        asked.append(str(request.url))
        return answer(request, *given, **more)

    adapter.send = send  # type: ignore[method-assign]
    stigg = Stigg("https://api.stigg.io", Keys(), session=session)
    calls: list[tuple[list[str], Callable[[], object]]] = [
        (["customers", text], lambda: stigg.get_customer(text)),
        (["customers", text, "entitlements"], lambda: stigg.entitlements(text, text)),
        (["customers", text], lambda: stigg.update_customer(text, {})),
        (["subscriptions", text], lambda: stigg.get_subscription(text)),
        (["subscriptions", text, "cancel"], lambda: stigg.cancel_subscription(text, {}, "key")),
        (["subscriptions"], lambda: stigg.list_subscriptions(text)),
        (["credits", "grants"], lambda: stigg.list_grants(text, text)),
        (["plans", text, "charges"], lambda: stigg.list_charges("plans", text)),
    ]
    for wanted, call in calls:
        asked.clear()
        with suppress(errors.ClosedWonError, ValueError):  # refused, or the made-up answer was no good
            call()
        for url in asked:
            yield from _led_astray(url, ["", "api", "v1", *wanted], text)


def _led_astray(url: str, wanted: list[str], text: str) -> Iterator[str]:
    split = urlsplit(url)
    if [unquote(part) for part in split.path.split("/")] != wanted or split.fragment:
        yield f"a path of Stigg's: {url!r} for {text!r}"
    values = [v for k, v in parse_qsl(split.query, keep_blank_values=True) if k in ("customerId", "resourceId")]
    if any(value != text for value in values) or len(values) > 2:
        yield f"a query of Stigg's: {url!r} for {text!r}"


def text_fields(model: Any = Deal, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field of a deal that holds one value, by the model itself: none is forgotten."""
    from pydantic import BaseModel

    for field in model.model_fields.values():
        here = (*path, field.alias)
        inner = [kind for kind in _kinds(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if inner:
            yield from text_fields(inner[0], here)
        else:
            yield here


def _kinds(annotation: Any) -> Iterator[Any]:
    arguments = getattr(annotation, "__args__", ())
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _kinds(argument)


def injected(sandbox: Sandbox, count: int, found: Found) -> None:
    """Canaries in every field of a deal, and in the records a deal is read from: what Stigg and Salesforce are asked
    is what they are asked without them.
    """
    sandbox.reset()
    benign = read_deals(sandbox, ["x"])
    send(sandbox, [a_deal(sandbox, 900), *benign])
    statements = {statement(soql) for soql in queries(sandbox)}
    sandbox.reset()
    chosen = tuple(dict.fromkeys(("..", *INJECTIONS[:: max(1, len(INJECTIONS) // count)])))
    deals = spoilt_deals(sandbox, chosen)
    found.asked["injections"] += send(sandbox, deals)
    read = read_deals(sandbox, chosen)
    found.asked["injections"] += send(sandbox, read)
    for canary in chosen:
        target = f"/v1/provisionings/{quote(canary, safe='')}"
        status, text = ask(sandbox, "GET", target, b"", {})
        found.answered("injections", status, 0, f"GET {target}: {text[:200]}")
    for soql in queries(sandbox):
        if statement(soql) not in statements:
            found.fail("injections", f"a query nobody wrote: {soql[:600]}")
    for exchange in sandbox.salesforce_server.exchanges:
        found.failures["injections"] += unexpected(exchange, SALESFORCE_PATHS)
    named = customers_named([*deals, *read])
    for exchange in sandbox.stigg_server.exchanges:
        found.failures["injections"] += unexpected(exchange, STIGG_PATHS)
        for fault in misdirected(exchange.target, named):
            found.fail("injections", fault)


def spoilt_deals(sandbox: Sandbox, canaries: Iterable[str]) -> list[Json]:
    """A deal for each canary and each field of a deal, with the one in the other."""
    deals: list[Json] = []
    for canary in canaries:
        for way in text_fields():
            deal = a_deal(sandbox, 1_000 + len(deals))
            put(deal, way, canary)
            deals.append(deal)
    return deals


def customers_named(deals: Iterable[Json]) -> set[str]:
    """The customers in Stigg that deals name, in any of the fields that can."""
    named: set[Any] = {deal.get("customerId") for deal in deals}
    for deal in deals:
        if isinstance(deal["account"], dict):
            named |= {deal["account"]["id"], deal["account"].get("stiggCustomerId")}
    return set(filter(None, named))


def misdirected(target: str, customers: Container[str]) -> Iterator[str]:
    """What a request to Stigg asks for that no deal named, and that nobody wrote."""
    split = urlsplit(target)
    parts = [unquote(part) for part in split.path.split("/")]
    if parts[3] == "customers" and len(parts) > 4 and parts[4] not in customers:
        yield f"a customer nobody named: {target}"
    for name, values in parse_qs(split.query, keep_blank_values=True).items():
        if len(values) != 1 or name not in ("customerId", "resourceId", "limit", "after", "status"):
            yield f"a parameter nobody wrote: {target}"


SALESFORCE_PATHS = (
    r"/services/oauth2/token",
    r"/services/data/v66\.0/query(?:All)?/\?q=[^&#]*",
    r"/services/data/v66\.0/sobjects/\w+/describe",
    r"/services/data/v66\.0/composite",
    r"/services/data/v66\.0/limits",
)
_SEGMENT = r"[A-Za-z0-9_.:|@~%-]+"
STIGG_PATHS = (
    rf"/api/v1/customers(?:/{_SEGMENT}(?:/entitlements)?)?(?:\?[^#]*)?",
    rf"/api/v1/subscriptions(?:/{_SEGMENT}(?:/cancel)?)?(?:\?[^#]*)?",
    rf"/api/v1/(?:plans|addons|features)(?:/{_SEGMENT}/charges)?(?:\?[^#]*)?",
    r"/api/v1/credits/(?:grants|custom-currencies)(?:\?[^#]*)?",
)
_SUB_REQUESTS = (
    r"/services/data/v66\.0/sobjects/Account/[A-Za-z0-9]{18}",
    r"/services/data/v66\.0/composite/sobjects/Stigg_Provisioning__c/Opportunity_ID__c",
)


def unexpected(exchange: Exchange, known: tuple[str, ...]) -> list[str]:
    """What of a request is none of the paths that are asked."""
    targets = [] if any(re.fullmatch(one, exchange.target) for one in known) else [exchange.target]
    if exchange.path.endswith("/composite"):
        wishes = json.loads(exchange.body)["compositeRequest"]
        targets += [w["url"] for w in wishes if not any(re.fullmatch(one, w["url"]) for one in _SUB_REQUESTS)]
    for target in targets:
        print(f"  injections: a path nobody wrote: {target[:300]}", flush=True)
    return [f"a path nobody wrote: {target}" for target in targets]


def queries(sandbox: Sandbox) -> Iterator[str]:
    """Every query that Salesforce was asked."""
    for exchange in sandbox.salesforce_server.exchanges:
        yield from parse_qs(urlsplit(exchange.target).query).get("q", ())


def send(sandbox: Sandbox, deals: list[Json]) -> int:
    """Deals are sent and previewed, 100 at a time, and provisioned."""
    for start in range(0, len(deals), 100):
        some = deals[start : start + 100]
        for answer in (sandbox.preview(*some), sandbox.call(*some)):
            if answer.status_code not in (200, 202):
                raise RuntimeError(f"a request of canaries was answered {answer.status_code}: {answer.text[:300]}")
    sandbox.wait_until_idle(600)
    return 2 * len(deals)


def read_deals(sandbox: Sandbox, canaries: Any) -> list[Json]:
    """Opportunities whose records say such things, as callouts without lines."""
    deals = []
    for canary in canaries:
        text = canary.replace("\r", "").replace("\n", "")
        sales = sandbox.sales
        for fields in (
            {"Name": text},
            {"Stigg_Coupon_ID__c": text},
            {"Stigg_Amends__c": text[:18]},
            {"Stigg_Paying_Customer_ID__c": text},
        ):
            account = sales.account(f"{text} & sons")
            name = fields.get("Name", "A deal")
            more = {field: value for field, value in fields.items() if field != "Name"}
            opportunity = sales.close(account, name, Sold("plan-enterprise", 1, 48000), **more)
            triggers = ("closed_won", "amendment", "cancellation") if "Stigg_Amends__c" in fields else ("closed_won",)
            for trigger in triggers:
                deal: Json = {
                    "organizationId": sandbox.salesforce.organization_id,
                    "trigger": trigger,
                    "opportunity": {
                        "id": opportunity,
                        "systemModstamp": "2026-01-15T09:15:31Z",
                        "readAt": "2026-01-15T09:15:31Z",
                    },
                    "account": {"id": account, "name": "x"},
                }
                if trigger == "cancellation":
                    deal["amends"] = "8005g00000ABCdEAAX"  # the contract's opportunity is asked for
                deals.append(deal)
    return deals


def put(deal: Json, way: tuple[str, ...], value: str) -> None:
    """Put a value where a field is; into the deal's line where the field is a line's."""
    place: Any = deal
    for step in way[:-1]:
        place = place.setdefault(step, {})
        place = place[0] if isinstance(place, list) else place
    place[way[-1]] = value


# Authentication


def authenticated(sandbox: Sandbox, found: Found) -> None:
    """Who gets in: the current key, the previous one, and nobody else, however it is spelled."""
    gate = sandbox.aws
    target = "/v1/provisionings/0065g00000ABCdEAAX"

    def expect(said: str, wanted: tuple[int, ...], headers: list[tuple[str, str]]) -> None:
        connection = http.client.HTTPConnection(urlsplit(gate.callout_url).netloc, timeout=PATIENCE)
        connection.putrequest("GET", target)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        connection.close()
        found.asked["authentication"] += 1
        found.statuses[response.status] += 1
        if response.status not in wanted or any(key in text for key in keys):
            found.fail("authentication", f"{said}: answered {response.status} {text[:100]}")

    first = sandbox.callout_key
    keys = [first, "second-key-of-the-proof-0123456789", "third-key-of-the-proof-0123456789"]
    inside, outside = (404,), (401, 403)
    expect("no key", (401,), [])
    for spelled in ("x-api-key", "X-API-KEY", "X-Api-Key"):
        expect(f"the key as {spelled}", inside, [(spelled, first)])
    for name in ("Authorization", "x-apikey", "x_api_key", "Cookie"):
        expect(f"the key as {name}", (401,), [(name, first)])
    for wrong in (
        "",
        "x",
        "wrong-key-of-the-proof-0123456789",
        first[:-1],
        f"{first}x",
        first.swapcase(),
        f"Bearer {first}",
        f'"{first}"',
        first.replace("", "\t")[:60],
        "' OR '1'='1' -- padding padding",
        "*" * 40,
        "%" + first[1:],
        "x" * 257,
        "x" * 10_000,
    ):
        expect(f"a wrong key ({wrong[:20]!r}...)", outside, [("x-api-key", wrong)])
    expect("two keys, the right one first", outside, [("x-api-key", first), ("x-api-key", keys[1])])
    # Rotated: the new one is let in once the function reads its secret again, the one before stays, older ones go.
    expect("a key that is not there yet", (403,), [("x-api-key", keys[1])])
    gate.put_secret("CalloutKeySecret", keys[1])
    expect("a denial is kept", (403,), [("x-api-key", keys[1])])
    forget(sandbox)
    expect("the current key", inside, [("x-api-key", keys[1])])
    expect("the previous key", inside, [("x-api-key", first)])
    gate.put_secret("CalloutKeySecret", keys[2])
    expect("a key that was let in is kept in", inside, [("x-api-key", first)])
    forget(sandbox)
    expect("an old key", (403,), [("x-api-key", first)])
    expect("the previous key", inside, [("x-api-key", keys[1])])
    expect("the current key", inside, [("x-api-key", keys[2])])


def forget(sandbox: Sandbox) -> None:
    """As if the five minutes were over for which API Gateway keeps an answer, and the function its secret."""
    if sandbox.aws.gateway is not None:
        sandbox.aws.gateway.forget_verdicts()
    sandbox.aws.functions.kill("AuthorizerFunction")


def compares_in_constant_time() -> Iterator[str]:
    """Nothing compares the key given but `hmac.compare_digest`, with every version. Out: what does not hold."""
    source = (ROOT / "functions" / "authorizer" / "app.py").read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            yield f"functions/authorizer/app.py compares: {ast.unparse(node)}"
    app: ModuleType = _function("authorizer")
    versions = {"AWSCURRENT": "current-key", "AWSPREVIOUS": "previous-key"}
    client = SimpleNamespace(get_secret_value=lambda **given: {"SecretString": versions[given["VersionStage"]]})
    for key, compared, right in (
        ("current-key", 1, True),
        ("previous-key", 3, True),
        ("another-key", 3, False),
        ("k\u00e9y \ud800", 3, False),
        ("", 3, False),
    ):
        with mock.patch.object(app.hmac, "compare_digest", wraps=app.hmac.compare_digest) as compare:
            if app.is_key(key, Secret("arn", client)) is not right or compare.call_count != compared:
                yield f"{key!a}: {compare.call_count} comparisons"
            if not all(isinstance(argument, bytes) for call in compare.call_args_list for argument in call.args):
                yield f"{key!a}: compared as texts"


def main(arguments: list[str]) -> int:
    """Feed one parser alone."""
    parser = argparse.ArgumentParser(prog="python -m proof.hostile", description="One parser alone, as it failed.")
    parser.add_argument("parser", help="its name, as the chapter prints it")
    parser.add_argument("--inputs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    with ExitStack() as exits:
        bench = exits.enter_context(Bench())
        chosen = [attack for attack in attacks(bench) if attack.name == asked.parser]
        if not chosen:
            parser.error(f"no such parser; there are {', '.join(attack.name for attack in attacks(bench))}")
        outcome = run(chosen[0], asked.inputs, asked.seed)
    for said in outcome.told("the same again"):
        print(said)
    print(
        f"{outcome.name}: {outcome.inputs:,} inputs, {outcome.refused:,} refused, {len(outcome.undesigned)} undesigned"
    )
    return 1 if outcome.undesigned or outcome.hangs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
