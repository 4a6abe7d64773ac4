"""Reads a SAM template as plain values, and what it says of state machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

try:
    from yaml import CSafeLoader as _SafeLoader  # ten times as fast
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]


class _TemplateLoader(_SafeLoader):
    """YAML with CloudFormation's short forms: ``!GetAtt A.Arn`` becomes ``{"Fn::GetAtt": "A.Arn"}``."""


def _short_form(loader: _TemplateLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = node.value
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_TemplateLoader.add_multi_constructor("!", _short_form)


def read_template(path: Path) -> dict[str, Any]:
    """A SAM template as plain values, short forms spelled out. Raises OSError and yaml.YAMLError."""
    content = _TemplateLoader(path.read_text(encoding="utf-8")).get_single_data()
    return content if isinstance(content, dict) else {}


class StateMachine(NamedTuple):
    """A state machine as a template declares it. uri: its DefinitionUri, None where it has none of text; given: its
    DefinitionSubstitutions.
    """

    name: str
    uri: str | None
    given: dict[str, Any]

    def definition(self, template: Path) -> Path | None:
        """Its file, found from the template's folder."""
        return (template.parent / self.uri).resolve() if self.uri is not None else None


def state_machines(content: dict[str, Any]) -> Iterator[StateMachine]:
    """The state machines of a template, in order."""
    for name, resource in (content.get("Resources") or {}).items():
        if resource.get("Type") == "AWS::Serverless::StateMachine":
            properties = resource.get("Properties") or {}
            uri = properties.get("DefinitionUri")
            yield StateMachine(
                name, uri if isinstance(uri, str) else None, properties.get("DefinitionSubstitutions") or {}
            )


def timeout(content: dict[str, Any], function: str) -> Any:
    """A function's own Timeout, or the one of all functions. function: its logical ID."""
    common = ((content.get("Globals") or {}).get("Function") or {}).get("Timeout")
    properties = ((content.get("Resources") or {}).get(function) or {}).get("Properties") or {}
    return properties.get("Timeout", common)


def logical_id(reference: Any) -> str | None:
    """The resource that a ``!GetAtt`` names, None where it is none."""
    attribute = reference.get("Fn::GetAtt") if isinstance(reference, dict) else None
    if isinstance(attribute, str):
        return attribute.split(".")[0]
    return attribute[0] if isinstance(attribute, list) and attribute else None


def names_chosen(reference: Any) -> tuple[str, ...]:
    """What a substitution can be where it is plain text, or a choice of two texts with ``!If``; nothing otherwise."""
    values = reference.get("Fn::If", [])[1:] if isinstance(reference, dict) else [reference]
    return tuple(values) if all(isinstance(value, str) for value in values) else ()
