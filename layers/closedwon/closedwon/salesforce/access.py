"""What closed-won does in Salesforce, field by field, against what the schema lets its user do. Pure.

Salesforce describes objects and fields as the user who asks may use them: a field that a user may not see is not there,
and one that it may only see says so. What is done is told by the modules that do it (`reading`, `write_back`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from closedwon.salesforce.export_queries import paths_read
from closedwon.salesforce.mapping_records import Mapped
from closedwon.salesforce.write_back import ACCOUNT_FIELDS, SHOWN_FIELDS

Json = dict[str, Any]
Describe = Callable[[str], Json | None]
"""An object's schema by its name; None where the user may not see the object, or there is none."""

_WRITTEN = {"Account": ACCOUNT_FIELDS, "Stigg_Provisioning__c": SHOWN_FIELDS}
_CREATED = ("Stigg_Provisioning__c",)


@dataclass
class Access:
    """One object: what is done with it, and what of that may not be done.

    visible: whether there is such an object for the user. reads, writes: the names of the fields. unseen: the fields
    that are not there; unwritten: those that may only be seen. lacks: of read, create and edit, what is not allowed on
    the object.
    """

    object: str
    visible: bool = True
    reads: dict[str, str] = field(default_factory=dict)
    writes: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    @property
    def enough(self) -> bool:
        return self.visible and not (self.unseen or self.unwritten or self.lacks)


def access(mappings: Mapped, describe: Describe) -> list[Access]:
    """What is done with each object, and what of it the user may not do.

    In: the Stigg Mappings; how to look at an object's schema. Raises what that raises.
    """
    look = cache(describe)
    found: dict[str, Access] = {}
    for object_name, paths in paths_read(mappings).items():
        for path in paths:
            _walk(object_name, path, look, found)
    for one in found.values():
        _judge(one, look(one.object))
    return list(found.values())


def _walk(object_name: str, path: str, look: Describe, found: dict[str, Access]) -> None:
    """Note every field on a path with the object it is a field of, as far as the schema leads."""
    *steps, last = path.split(".")
    for step in steps:
        one = found.setdefault(object_name.lower(), Access(object_name))
        lookup = _field(look(object_name), "relationshipName", step)
        name = lookup["name"] if lookup else f"{step} (a lookup)"
        one.reads.setdefault(name.lower(), name)
        if lookup is None or not lookup.get("referenceTo"):
            return
        object_name = lookup["referenceTo"][0]
    found.setdefault(object_name.lower(), Access(object_name)).reads.setdefault(last.lower(), last)


def _judge(one: Access, schema: Json | None) -> None:
    one.writes = _WRITTEN.get(one.object, ())
    if schema is None:
        one.visible = False
        return
    one.unseen = tuple(name for name in one.reads.values() if not _field(schema, "name", name))
    creates = one.object in _CREATED
    one.unwritten = tuple(name for name in one.writes if _read_only(_field(schema, "name", name), creates))
    may = {"read": schema.get("queryable"), "edit": schema.get("updateable"), "create": schema.get("createable")}
    needs = ["read", *(["edit"] if one.writes else []), *(["create"] if creates else [])]
    one.lacks = tuple(need for need in needs if not may[need])


def _read_only(field: Json | None, creates: bool) -> bool:
    """Whether a field is seen, and may not be written. creates: whether records of its object are made, too."""
    return field is not None and not (field.get("updateable") and (field.get("createable") or not creates))


def _field(schema: Json | None, by: str, name: str) -> Json | None:
    wanted = name.lower()
    return next((f for f in (schema or {}).get("fields", ()) if (f.get(by) or "").lower() == wanted), None)
