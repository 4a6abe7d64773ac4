"""What template.yaml lets whom do: nothing on everything, unless it says why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


def statements(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Every IAM statement below a node, in whatever resource."""
    if isinstance(node, yaml.MappingNode):
        if {"Effect", "Action"} <= {key.value for key, _ in node.value}:
            yield node
        for _, value in node.value:
            yield from statements(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from statements(item)


def texts(node: yaml.Node) -> Iterator[str]:
    """Every scalar at or below a node."""
    if isinstance(node, yaml.ScalarNode):
        yield node.value
    else:
        for child in node.value:
            for one in child if isinstance(child, tuple) else (child,):
                yield from texts(one)


def is_everything(resource: str) -> bool:
    """Whether a resource names none: a wildcard where an ARN has service, region, account or the resource's name."""
    *place, name = re.sub(r"\$\{.*?\}", "x", resource).split(":", 5)
    return name.startswith("*") or any("*" in part for part in place)


def parsed(template: str) -> yaml.Node:
    node = yaml.compose(template, Loader=yaml.SafeLoader)
    assert node is not None
    return node


def unexplained(template: str) -> list[str]:
    """The statements that allow something on everything, or everything, without a comment beside them."""
    lines = template.splitlines()
    found = []
    for statement in statements(parsed(template)):
        parts: dict[str, Any] = {key.value: value for key, value in statement.value}
        if next(texts(parts["Effect"])) != "Allow":
            continue
        resources = list(texts(parts["Resource"])) if "Resource" in parts else []
        wide = any(is_everything(resource) for resource in resources)
        wide |= any("*" in action for action in texts(parts["Action"]))
        first = statement.start_mark.line
        if wide and not any("# " in line for line in lines[first : statement.end_mark.line]):
            found.append(f"line {first + 1}: {lines[first].strip()}")
    return found


def test_no_permission_is_for_everything_without_a_reason_beside_it() -> None:
    assert unexplained(TEMPLATE.read_text()) == []


def test_every_statement_is_looked_at() -> None:
    found = list(statements(parsed(TEMPLATE.read_text())))
    assert len(found) == TEMPLATE.read_text().count("Effect: ")


@pytest.mark.parametrize(
    ("resource", "wide"),
    [
        ('"*"', True),
        ("arn:aws:s3:::*", True),
        ("arn:aws:dynamodb:*:123456789012:table/ledger", True),
        ("!Sub arn:aws:lambda:eu-central-1:${AWS::AccountId}:function:one", False),
        ("!Sub ${ReconciliationBucket.Arn}/runs/*/report/*", False),
        ("!GetAtt LedgerTable.Arn", False),
    ],
)
def test_what_counts_as_everything(resource: str, wide: bool) -> None:
    statement = f"Statement:\n  - Effect: Allow\n    Action: s3:GetObject\n    Resource: {resource}\n"
    assert bool(unexplained(statement)) is wide
    assert unexplained(statement.replace("Allow", "Allow # for a reason")) == []
