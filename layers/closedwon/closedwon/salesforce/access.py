"""Compares what closed-won does in Salesforce, field by field, with what its user is allowed to do. Pure.

Salesforce describes objects and fields for the user who asks: a field the user may not see is missing, and one it may
only read is marked so. What closed-won reads and writes is listed by the modules that do it (`reading`, `write_back`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from closedwon.salesforce.export_queries import paths_read
from closedwon.salesforce.mapping_records import Mapped
from closedwon.salesforce.package import PROVISIONING, Package
from closedwon.salesforce.write_back import ACCOUNT_FIELDS, SHOWN_FIELDS

Json = dict[str, Any]
Describe = Callable[[str], Json | None]
"""An object's schema by its name; None where the user may not see the object, or there is none."""

_WRITTEN = {"Account": ACCOUNT_FIELDS, PROVISIONING: SHOWN_FIELDS}
_CREATED = (PROVISIONING,)


@dataclass
class Access:
    """One object: what closed-won does with it, and what of that is not allowed.

    visible: whether there is such an object for the user. reads, writes: the names of the fields. unseen: the fields
    that are missing; unwritten: those that may only be read. lacks: which of read, create and edit is not allowed on
    the object. behind: what the package there is too old for, in words; closed-won does without it.
    """

    object: str
    visible: bool = True
    reads: dict[str, str] = field(default_factory=dict)
    writes: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    behind: str = ""

    @property
    def enough(self) -> bool:
        return self.visible and not (self.unseen or self.unwritten or self.lacks)


def access(mappings: Mapped, describe: Describe) -> list[Access]:
    """The objects closed-won uses, each with what its user lacks.

    In: the Stigg Mappings; a function from an object's name to its schema. Raises what that function raises.
    """
    # Each describe is an API call, and an object is looked at for many fields.
    schema_of = cache(describe)
    found: dict[str, Access] = {}
    for object_name, paths in paths_read(mappings).items():
        for path in paths:
            _walk(object_name, path, schema_of, found)
    for one in found.values():
        _check(one, schema_of(one.object))
    return list(found.values())


def _walk(object_name: str, path: str, schema_of: Describe, found: dict[str, Access]) -> None:
    """Note each field on a path with its object, following lookups as far as the schema knows them."""
    *steps, last = path.split(".")
    for step in steps:
        # Names in a Stigg Mapping may be in any case, as in a query.
        one = found.setdefault(object_name.lower(), Access(object_name))
        lookup = _field(schema_of(object_name), "relationshipName", step)
        # Salesforce shows no field that the user may not see, so only the name of the relationship is known.
        name = lookup["name"] if lookup else f"{step} (a lookup)"
        one.reads.setdefault(name.lower(), name)
        if lookup is None or not lookup.get("referenceTo"):
            return
        object_name = lookup["referenceTo"][0]
    found.setdefault(object_name.lower(), Access(object_name)).reads.setdefault(last.lower(), last)


def _check(one: Access, schema: Json | None) -> None:
    """Fill in what the user lacks on one object, by its schema (None where the user may not see it)."""
    one.writes = _WRITTEN.get(one.object, ())
    if schema is None:
        one.visible = False
        return
    _leave_out_what_may_be_missing(one, schema)
    one.unseen = tuple(name for name in one.reads.values() if not _field(schema, "name", name))
    creates = one.object in _CREATED
    one.unwritten = tuple(name for name in one.writes if _read_only(_field(schema, "name", name), creates))
    may = {"read": schema.get("queryable"), "edit": schema.get("updateable"), "create": schema.get("createable")}
    needs = ["read", *(["edit"] if one.writes else []), *(["create"] if creates else [])]
    one.lacks = tuple(need for need in needs if not may[need])


def _leave_out_what_may_be_missing(one: Access, schema: Json) -> None:
    """Leave out what closed-won does without where the organisation's package does not have it."""
    if one.object != PROVISIONING:
        return
    package = Package.of(schema)
    one.behind = package.lacking()
    one.reads = {name.lower(): name for name in package.shown(one.reads.values())}
    one.writes = package.shown(one.writes)


def _read_only(field: Json | None, creates: bool) -> bool:
    """Whether a field may be read but not written. creates: whether closed-won also creates records of its object."""
    # One PATCH by external ID creates or changes, so a field that is written needs both permissions.
    return field is not None and not (field.get("updateable") and (field.get("createable") or not creates))


def _field(schema: Json | None, by: str, name: str) -> Json | None:
    wanted = name.lower()
    # relationshipName is null where a field is no lookup.
    return next((f for f in (schema or {}).get("fields", ()) if (f.get(by) or "").lower() == wanted), None)
