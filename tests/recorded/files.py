"""The files of a recording: one folder a stack, one JSON object a line, sorted, so that people and git can read them.

| file | what |
|---|---|
| ``stack.json`` | commit, moment, parameters, addresses |
| ``ledger.jsonl`` | every item of the table, with plain values; what is JSON in a text is JSON here |
| ``stigg.jsonl`` | the stand-in's customers, subscriptions and credit grants, as `sandbox.stigg.keeping` tells them |
| ``salesforce.jsonl`` | the records of the stand-in, as the REST API shows them |
| ``deals.jsonl`` | every deal as it was sent, in turn, and what it was answered |
| ``customers.jsonl`` | every customer as the product saw it then: statuses, access, plan, future, findings |
| ``again.json`` | what came of sending the newest of each deal once more |
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

DATA = Path(__file__).resolve().parent.parent / "data"


@dataclass
class Recording:
    """One stack as it was recorded; see the module's docstring."""

    stack: Json
    ledger: list[Json]
    stigg: list[Json]
    salesforce: list[Json]
    deals: list[Json]
    customers: list[Json] = field(default_factory=list)
    again: Json = field(default_factory=dict)

    @property
    def newest(self) -> list[Json]:
        """Of each opportunity the deal that was sent last of those that were taken, in the order of their sending."""
        found: dict[str, Json] = {}
        for sent in self.deals:
            if sent["answer"] != "superseded":
                id = sent["deal"]["opportunity"]["id"]
                found.pop(id, None)
                found[id] = sent["deal"]
        return list(found.values())


def recordings() -> list[Path]:
    """The folders of all recorded stacks."""
    return sorted(path.parent for path in DATA.glob("ledger-*/*/stack.json"))


def write(folder: Path, recording: Recording) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("stack", "again"):
        text = json.dumps(getattr(recording, name), indent=1, sort_keys=True, ensure_ascii=False)
        (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    for name in ("ledger", "stigg", "salesforce", "deals", "customers"):
        lines = (_line(one) for one in getattr(recording, name))
        (folder / f"{name}.jsonl").write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")


def read(folder: Path) -> Recording:
    whole = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    lines: dict[str, Any] = {
        path.stem: [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
        for path in folder.glob("*.jsonl")
    }
    return Recording(**whole, **lines)


def _line(one: Any) -> str:
    return json.dumps(one, ensure_ascii=False, separators=(",", ":"))


# Items of the table


def plain_items(items: Iterable[Json]) -> list[Json]:
    """DynamoDB's items with plain values, sorted."""
    items = list(items)
    found = [_plain(item) for item in items]
    assert [_plain(stored_item(item)) for item in found] == found
    return sorted(found, key=lambda item: (item["pk"], item["sk"]))


def stored_item(plain: Json) -> Json:
    """A plain item as DynamoDB keeps it."""
    return {name: _stored(value) for name, value in plain.items()}


def _plain(item: Json) -> Json:
    def value(given: Json) -> Any:
        [(kind, said)] = given.items()
        if kind == "N":
            return int(said)
        if kind == "B":  # a text that was deflated
            return json.loads(zlib.decompress(said))
        assert kind == "S"
        return json.loads(said) if said.startswith("{") else said

    return {name: value(given) for name, given in sorted(item.items(), key=_body_last)}


def _body_last(named: tuple[str, Any]) -> tuple[bool, bool, str]:
    return named[0] == "body", named[0] not in ("pk", "sk"), named[0]


def _stored(value: Any) -> Json:
    if isinstance(value, int):
        return {"N": str(value)}
    return {"S": value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))}
