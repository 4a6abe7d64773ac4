"""Canaries: secrets and people are planted in everything that goes in, and searched for wherever something comes out.

`plant` works on a running sandbox, whatever is played in it afterwards; `search` looks at all that is left behind, in
every form a text is known to travel in. Where something may stand, it must stand: so it is seen that the search sees.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from urllib.parse import quote, quote_plus

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto.s3.models import s3_backends
from moto.stepfunctions.responses import get_backend as stepfunctions_backend

from benchmarks.lines import Line
from sandbox.ledger import readable
from sandbox.sandbox import ROOT, Sandbox
from tools.check_secrets import scan

SHORTEST = 6
"""Bytes: a shorter text would be found everywhere."""

NAMES = ("account name", "opportunity name", "e-mail")
"""Personal data that a deal has to bring; all else has no business outside Salesforce."""

CHOSEN = "ID that is an address"
"""A customer's ID in Stigg is the user's choice. Who makes an address of it has it wherever IDs are, but in no log."""


@dataclass
class Canaries:
    """What was planted, by what it is. secret: keys; personal: who the customer is. answers: what the API answered."""

    secret: dict[str, str]
    personal: dict[str, str]
    answers: list[str] = field(default_factory=list)

    def echo(self, *keys: str, names: bool = True) -> str:
        """What another system says in an error when it repeats what it was told; keys: of the secrets it knows; names:
        whether it was asked about somebody.
        """
        repeated = (*NAMES, CHOSEN) if names else ("e-mail", CHOSEN)
        known = {**{what: self.personal[what] for what in repeated}, **{key: self.secret[key] for key in keys}}
        return "; ".join(f"{what} '{text}'" for what, text in known.items())

    def everything(self) -> str:
        """All that may not be told, as somebody pastes it where it does not belong."""
        return "; ".join([*self.personal.values(), self.secret["callout key"]])


def plant(sandbox: Sandbox) -> Canaries:
    """Give every secret a value that is known, and every record of a customer people and places.

    Works on the sandbox's own surface: accounts, opportunities, lines and deals that are made from now on have them.
    """
    marks = iter(secrets.token_hex(48)[n : n + 6] for n in range(0, 96, 6))
    before = sandbox.callout_key
    sandbox.callout_key = f"callout{secrets.token_urlsafe(24)}"
    sandbox.aws.put_secret("CalloutKeySecret", sandbox.callout_key)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    canaries = Canaries(
        secret={
            "callout key": sandbox.callout_key,
            "callout key before": before,
            "Stigg's key": sandbox.stigg_api_key,
            "Stigg webhook secret": sandbox.stigg_events_secret,
            "Salesforce's client secret": sandbox.salesforce_client["clientSecret"],
            "wrong client secret": secrets.token_urlsafe(24),
            "private key": pem,
            "access token": f"{sandbox.salesforce.organization_id[:15]}!AQ",  # all of them begin so
        },
        personal={
            "account name": f"Zéphyrine Quux{next(marks)}",
            "opportunity name": f"Würzfleisch{next(marks)} & Søn",
            "e-mail": f"zq{next(marks)}@private{next(marks)}.example",
            "ID that is an address": f"id{next(marks)}@chosen{next(marks)}.example",
            "contact": f"Ottokar Brömmel{next(marks)}",
            "address": f"Königsallee{next(marks)} 7",
            "free text": f"Rabattcode NIMM{next(marks)}",
            "line's description": f"für Frau Dr. Ilse Pförtner{next(marks)}",
        },
    )
    if sandbox.application is not None:
        canaries.secret["signing key"] = json.loads(sandbox.aws.secret("OwnApplicationSecret"))["signingKey"]
    _plant_in_records(sandbox, canaries.personal)
    _keep_answers(sandbox, canaries.answers)
    return canaries


def _plant_in_records(sandbox: Sandbox, personal: Mapping[str, str]) -> None:
    create, deal = sandbox.salesforce.create, sandbox.deal

    def created(object: str, **fields: Any) -> str:
        name = fields.get("Name", "")
        match object:
            case "Account":
                fields["Name"] = f"{name} {personal['account name']}".strip()
                fields = {"BillingStreet": personal["address"], "Description": personal["free text"], **fields}
            case "Opportunity":
                fields["Name"] = f"{name[:60]} {personal['opportunity name']}".strip()
                fields = {"Description": personal["free text"], **fields}
            case "OpportunityLineItem":
                fields = {"Description": personal["line's description"], **fields}
        record = create(object, **fields)
        if object == "Account":
            create("Contact", AccountId=record, LastName=personal["contact"], Email=personal["e-mail"])
        return record

    def compiled(opportunity_id: str, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = deal(opportunity_id, **more)
        return {**made, "account": {"email": personal["e-mail"], **made["account"]}}

    sandbox.salesforce.create = created  # type: ignore[method-assign]
    sandbox.deal = compiled  # type: ignore[method-assign]


def _keep_answers(sandbox: Sandbox, answers: list[str]) -> None:
    post, status = sandbox.post, sandbox.status

    def kept(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*given: Any, **more: Any) -> Any:
            answer = ask(*given, **more)
            answers.append(f"{answer.status_code} {dict(answer.headers)} {answer.text}")
            return answer

        return asked

    sandbox.post, sandbox.status = kept(post), kept(status)  # type: ignore[method-assign]


# Searching


def forms(text: str) -> set[bytes]:
    """A text as it is found in other things: as it is, escaped for JSON, HTML and addresses, and as base64.

    Each word by itself too, where it is a name: who is called so would be known by it.
    """
    words = [text, *(word for word in re.split(r"[\s.&@]+", text) if re.search(r"[0-9a-f]{6}", word))]
    found: set[str] = set()
    for word in words:
        plain = {word, json.dumps(word)[1:-1], html.escape(word), quote(word), quote(word, safe=""), quote_plus(word)}
        found |= plain | {json.dumps(escaped)[1:-1] for escaped in plain}
    found |= {line for line in text.splitlines() if len(line) > 40}  # a key of several lines
    encoded = {_base64(text.encode()[left_out:]) for left_out in range(3) if len(text) > 12}
    encoded |= {one.replace(b"+", b"-").replace(b"/", b"_") for one in encoded}
    return {form for form in chain((f.encode() for f in found), encoded) if len(form) >= SHORTEST}


def _base64(content: bytes) -> bytes:
    """The part of its base64 that is the same whatever comes after."""
    return base64.b64encode(content[: len(content) // 3 * 3])


def unpacked(content: bytes) -> Iterator[bytes]:
    """A content, and what is packed in it: gzip, as it is or as base64."""
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    for packed in re.findall(rb"H4sI[A-Za-z0-9+/=_-]{20,}", content):
        try:
            standard = packed.translate(bytes.maketrans(b"-_", b"+/"))
            yield zlib.decompressobj(31).decompress(base64.b64decode(standard + b"=" * (-len(standard) % 4)))
        except (ValueError, zlib.error):
            continue


def found_in(texts: Iterable[str | bytes], canaries: Mapping[str, str]) -> dict[str, str]:
    """Which canaries stand in texts. Out: for each the surroundings of the first place."""
    needles = {what: {form.lower() for form in forms(text)} for what, text in canaries.items()}
    found: dict[str, str] = {}
    for text in texts:
        for content in unpacked(text.encode() if isinstance(text, str) else text):
            lowered = content.lower()
            for what, wanted in needles.items():
                if what not in found and (at := max(lowered.find(form) for form in wanted)) >= 0:
                    found[what] = content[max(0, at - 160) : at + 200].decode(errors="replace")
    return found


@dataclass
class Place:
    """Where is searched. must: what has to be there, or the search sees nothing; may: what else may be there."""

    name: str
    texts: list[str | bytes]
    must: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


def search(sandbox: Sandbox, canaries: Canaries, more: Mapping[str, Iterable[str]] = {}) -> list[Line]:
    """Look everywhere. more: further texts, by where they were seen, such as what a command printed. Out: a line for
    each place; what was found is printed.
    """
    wanted = {**canaries.secret, **canaries.personal}
    lines = []
    for place in [*_places(sandbox, canaries), *_more(more)]:
        texts = place.texts
        found = found_in(texts, wanted)
        leaked = {what: where for what, where in found.items() if what not in (*place.must, *place.may)}
        missed = [what for what in place.must if what not in found]
        for what, where in leaked.items():
            print(f"   {place.name}: {what} stands in: ...{where}...")
        for what in missed:
            print(f"   {place.name}: no {what}, which should be there: the search does not see it")
        measured = f"{len(leaked)} of {len(wanted)} canaries in {len(texts):,} texts"
        there = [what for what in found if what not in leaked]
        measured += f"; as it should be: {', '.join(there)}" if there else ""
        lines.append(Line(f"secrets and people in {place.name}", measured, "0", not leaked and not missed))
    return lines


def in_the_repository() -> Line:
    """Whether anything that looks like a secret is among what git knows."""
    problems = scan(ROOT)
    return Line("secrets in the repository", str(len(problems)), "0", not problems)


def _more(more: Mapping[str, Iterable[str]]) -> Iterator[Place]:
    for name, texts in more.items():
        yield Place(name, list(texts), (), (CHOSEN,) if "command" in name or "preview" in name else ())


def _places(sandbox: Sandbox, canaries: Canaries) -> Iterator[Place]:
    aws = sandbox.aws
    yield Place("the functions' logs and metrics", ["\n".join(lines) for lines in aws.functions.logs.values()])
    yield Place("executions: inputs, outputs, histories", list(_executions(sandbox)))
    yield Place("the API's answers, refusals too", [*canaries.answers], (), (CHOSEN,))
    items = aws.client("dynamodb").get_paginator("scan").paginate(TableName=aws.resources["LedgerTable"])
    ledger = [json.dumps(readable(item), ensure_ascii=False) for page in items for item in page["Items"]]
    personal = [text for text in ledger if '"ACCOUNT#' in text[:200] or '"ORDER#' in text or '"OPPORTUNITY#' in text]
    yield Place("the ledger: customers and orders", [*personal], ("account name",), (*NAMES, CHOSEN))
    yield Place("the ledger: all else", [text for text in ledger if text not in set(personal)], (), (CHOSEN,))
    objects = dict(_objects(sandbox))
    exports = [content for key, content in objects.items() if key.startswith("exports/")]
    yield Place("the bucket: exports, kept three days", [*exports], (), (*NAMES, CHOSEN))
    yield Place("the bucket: reports", [content for key, content in objects.items() if not key.startswith("exports/")])
    yield Place("the bucket: names of objects", [*objects])
    stack = [json.dumps(dict(r.properties), default=str) for r in aws.deployed.values()]
    environments = [json.dumps(dict(aws.functions.find(name).environment)) for name in aws.functions.logs]
    yield Place("the stack's properties and outputs, the environments", [*stack, *environments, *aws.outputs.values()])
    yield from _sides(sandbox, canaries)


def _sides(sandbox: Sandbox, canaries: Canaries) -> Iterator[Place]:
    """What each side is sent: its own key and no other; of people no more than it needs."""
    stigg, salesforce = sandbox.stigg_server.exchanges, sandbox.salesforce_server.exchanges
    told = [json.dumps(e.headers) + e.body.decode(errors="replace") for e in stigg]
    theirs = [what for what in canaries.secret if what.startswith("Stigg's key")]
    yield Place("what Stigg is sent", [*told], ("account name", *theirs), (*NAMES, CHOSEN))
    sides = [*stigg, *salesforce]
    if sandbox.application is not None:
        own = sandbox.application_server.exchanges
        sides += own
        told = [json.dumps(e.headers) + e.body.decode(errors="replace") for e in own]
        yield Place("what the own application is sent", [*told], (), (*NAMES, CHOSEN))
    yield Place("the addresses that are asked", [e.path for e in sides], (), (CHOSEN,))
    told = [json.dumps(e.headers) + e.body.decode(errors="replace") for e in salesforce]
    theirs = [what for what in canaries.secret if what.startswith("Salesforce's client secret")]
    yield Place("what Salesforce is sent", [*told], tuple(theirs), ("wrong client secret", "access token", CHOSEN))


def _executions(sandbox: Sandbox) -> Iterator[str]:
    backend = stepfunctions_backend(sandbox.aws.account, sandbox.aws.region)
    for machine in backend.state_machines:
        for execution in machine.executions:
            described = execution.to_describe_output()
            events = execution.to_history_output()["events"]
            yield json.dumps([described, events], default=str, ensure_ascii=False)


def _objects(sandbox: Sandbox) -> Iterator[tuple[str, bytes]]:
    for bucket in s3_backends[sandbox.aws.account]["aws"].buckets.values():
        for key in list(bucket.keys.values()):
            yield key.name, key.value
