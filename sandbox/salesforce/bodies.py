"""What bodies say: records' fields, flags, lists of names. Raises Refusal for what cannot be meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.salesforce.errors import Refusal, json_error, not_found
from sandbox.salesforce.schema import Field, SObject


def texts(body: Mapping[str, Any], name: str) -> list[str]:
    value = body.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise json_error(f"{name} is required, and has to be an array of strings")
    return value


def named(target: SObject, names: list[str]) -> list[Field]:
    found = []
    for name in names:
        one = target.field(name.strip()) if isinstance(name, str) else None
        if not one:
            raise Refusal("INVALID_FIELD", f"No such column '{name}' on sobject of type {target.name}")
        found.append(one)
    return found


def values(target: SObject, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's fields without its attributes, which name its type."""
    kind = record.get("attributes")
    if kind is not None and (
        not isinstance(kind, dict) or str(kind.get("type", target.name)).lower() != target.name.lower()
    ):
        raise json_error("attributes do not fit the record's type")
    return {name: value for name, value in record.items() if name != "attributes"}


def new_values(target: SObject, record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that is to be created: no ID among them."""
    found = values(target, record)
    if keys(found, "Id"):
        raise Refusal("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", ["Id"])
    return found


def external_id(target: SObject, name: str) -> Field:
    """The field by which records are known elsewhere."""
    found = target.field(name)
    if not found or not found.external_id:
        raise not_found(f"Provided external ID field does not exist or is not accessible: {name}")
    return found


def keys(values: Mapping[str, Any], name: str) -> list[str]:
    return [one for one in values if one.lower() == name.lower()]


def pop(values: dict[str, Any], name: str) -> Any:
    found = None
    for one in keys(values, name):
        found = values.pop(one)
    return found


def refuse_key(values: Mapping[str, Any], name: str) -> None:
    if keys(values, name):
        raise Refusal("INVALID_FIELD", f"The {name} field should not be specified in the sobject data.")


def flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise json_error(f"{name} has to be true or false")
    return value
