"""Hostile input, from end to end: what nobody should send is sent, to the running sandbox and to every parser.

``python -m proof.hostile <parser> [--inputs N] [--seed N]`` feeds one parser alone, which is how a failure is replayed.
"""

from __future__ import annotations

import argparse
import ast
import http.client
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import urlsplit

import requests
from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.lines import Line
from closedwon.aws.secrets import Secret
from proof.bench import Bench, function_of
from proof.fuzz import INJECTIONS, Outcome, run, shown
from proof.hostile_requests import EVENTS, PATIENCE, Found, accepted, known_ids, pause, tricks
from proof.injection import escapes, injected
from proof.parsers import attacks
from sandbox.sandbox import ROOT, Sandbox

PARAMETERS = {
    "WriteLifetimeSeconds": "1",
    "ThrottlingRate": "100000",
    "ThrottlingBurst": "100000",
    "StiggWritesPerMinute": "1000000",
    "StiggListsPerMinute": "1000000",
}


class Sizes(NamedTuple):
    """How much is tried. parsers, requests: inputs made up; injections: canaries for each field."""

    parsers: int
    requests: int
    injections: int


DEFAULT, LONG, SHORT = Sizes(4_700, 300, 5), Sizes(95_000, 5_000, len(INJECTIONS)), Sizes(250, 40, 2)


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
        heard_from_stigg_alone(sandbox, found)
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


def heard_from_stigg_alone(sandbox: Sandbox, found: Found) -> None:
    """Who may tell events: the current secret, the previous one, and nobody else, Salesforce's key least of all."""
    first, second, third = sandbox.stigg_events_secret, "second-secret-of-the-proof-01", "third-secret-of-the-proof-012"
    key, event = sandbox.aws.secret("CalloutKeySecret"), json.dumps({"type": "subscription.updated"})

    def expect(said: str, wanted: tuple[int, ...], **headers: str) -> None:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = requests.post(f"{sandbox.aws.callout_url}{EVENTS}", data=event, headers=sent, timeout=PATIENCE)
        found.asked["authentication"] += 1
        found.statuses[answer.status_code] += 1
        if answer.status_code not in wanted or any(one in answer.text for one in (first, second, third, key)):
            found.fail("authentication", f"events, {said}: answered {answer.status_code} {answer.text[:100]}")

    outside = (401, 403)
    expect("no secret", (401,))
    expect("Salesforce's key in its own header", (401,), x_api_key=key)
    for name in ("Stigg_Webhooks_Secret", "stigg_webhooks_secret", "STIGG_WEBHOOKS_SECRET"):
        expect(f"the secret as {name}", (202,), **{name: first})
    for wrong in ("x", key, first[:-1], f"{first}x", first.swapcase(), f"Bearer {first}", "*" * 40, "x" * 257):
        expect(f"a wrong secret ({wrong[:12]!r}...)", outside, Stigg_Webhooks_Secret=wrong)
    for value, current, previous, old in ((second, second, first, ""), (third, third, second, first)):
        sandbox.aws.put_secret("StiggEventsSecret", value)
        forget(sandbox)
        expect("the current secret", (202,), Stigg_Webhooks_Secret=current)
        expect("the previous secret", (202,), Stigg_Webhooks_Secret=previous)
        expect("an old secret", outside, Stigg_Webhooks_Secret=old)
        target = f"{sandbox.aws.callout_url}/v1/provisionings/0065g00000ABCdEAAX"
        answer = requests.get(target, headers={"x-api-key": current}, timeout=PATIENCE)
        found.asked["authentication"] += 1
        if answer.status_code not in outside:
            found.fail("authentication", f"Stigg's secret opens {target}: {answer.status_code}")
    sandbox.aws.put_secret("StiggEventsSecret", first)
    forget(sandbox)


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
    app: ModuleType = function_of("authorizer")
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
            if app.is_key(key, Secret("arn", lambda: client)) is not right or compare.call_count != compared:
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
