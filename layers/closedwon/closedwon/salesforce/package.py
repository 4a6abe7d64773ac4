"""What the closed-won package in the Salesforce organisation has: server and package are upgraded on different days.

A Stigg Provisioning shows what the organisation has a place for. It is not asked for each write: its answer is kept in
the ledger's table, for good where nothing is missing, else for an hour. A refusal that another package would explain
has it asked again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from closedwon.domain.errors import ClosedWonError, SalesforceRefused, SalesforceUnavailable, as_read

Json = Mapping[str, Any]

PROVISIONING = "Stigg_Provisioning__c"
STATUS = "Status__c"

LATER_FIELDS = ("Code__c", "Contract_ID__c")
"""The fields of Stigg Provisioning that a later version of the package added. Only these may be missing: without one of
the others a deal would not show where it stands, and the write fails, which tells somebody.
"""

LATER_STATUSES: Mapping[str, str] = {"Ended": "Superseded"}
"""The statuses that a later version of the package added, each with the one that shows in its place."""

UNTIL_DEPLOYED = "Until then they are left out, and a deal that Ended shows as Superseded; nothing fails."
"""What happens where the package lacks something, for those who are told that it does."""

ASKED_AGAIN_AFTER = 3_600_000
"""How long an answer counts in which something is missing, in milliseconds: the package may be upgraded any moment."""

OF_ANOTHER_PACKAGE = frozenset(
    {"INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"}
)
"""Salesforce's codes for what it refuses where a field or a value of a picklist is not there, or may not be written."""


@dataclass(frozen=True)
class Package:
    """What a Stigg Provisioning of an organisation has.

    fields: those that closed-won's user may write. statuses: the values that Status takes, None for any. read_at: when
    the organisation was asked, epoch milliseconds.
    """

    fields: frozenset[str]
    statuses: frozenset[str] | None
    read_at: int = 0

    @classmethod
    def of(cls, schema: Json, read_at: int = 0) -> Package:
        """In: Salesforce's description of the object, for closed-won's user; when it was read.

        Raises SalesforceUnavailable for one that is not in Salesforce's form.
        """
        with as_read(_unreadable):
            fields = {str(field["name"]): field for field in schema["fields"]}
            # Salesforce describes no field that the user may not see, and one PATCH by external ID creates or changes.
            written = (name for name, field in fields.items() if field.get("createable") and field.get("updateable"))
            status = fields.get(STATUS, {})
            active = (str(value["value"]) for value in status.get("picklistValues") or () if value.get("active"))
            # A picklist that is not restricted takes what it does not list.
            return cls(frozenset(written), frozenset(active) if status.get("restrictedPicklist") else None, read_at)

    @property
    def missing_fields(self) -> tuple[str, ...]:
        return tuple(name for name in LATER_FIELDS if name not in self.fields)

    @property
    def missing_statuses(self) -> tuple[str, ...]:
        return tuple(status for status in LATER_STATUSES if self.status(status) != status)

    @property
    def behind(self) -> bool:
        """Whether it lacks something that the server would show."""
        return bool(self.missing_fields or self.missing_statuses)

    def lacking(self) -> str:
        """What it lacks, in words; "" where it lacks nothing."""
        fields = [f"the field {name.removesuffix('__c')} ({name})" for name in self.missing_fields]
        return " and ".join([*fields, *(f"the status {status}" for status in self.missing_statuses)])

    def shown(self, fields: Iterable[str]) -> tuple[str, ...]:
        """Those of some fields of a Stigg Provisioning that are there."""
        missing = self.missing_fields
        return tuple(name for name in fields if name not in missing)

    def status(self, status: str) -> str:
        """How a status shows."""
        if self.statuses is None or status in self.statuses:
            return status
        return LATER_STATUSES.get(status, status)

    def to_json(self) -> str:
        # Whole, with what this version asks nothing about: a later version of the server reads it too.
        statuses = None if self.statuses is None else sorted(self.statuses)
        return json.dumps({"fields": sorted(self.fields), "statuses": statuses, "readAt": self.read_at})

    @classmethod
    def kept(cls, text: str | None) -> Package | None:
        """As it was kept; None where it was not, or cannot be read: the organisation is asked again."""
        try:
            data = json.loads(text) if text is not None else None
            if data is None:
                return None
            statuses = None if data["statuses"] is None else frozenset(data["statuses"])
            return cls(frozenset(data["fields"]), statuses, int(data["readAt"]))
        # Any form is possible: another version may have kept it. OverflowError: JSON as Python reads it has Infinity.
        except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
            return None


def _unreadable(mistake: str) -> SalesforceUnavailable:
    return SalesforceUnavailable(f"an answer that cannot be read ({mistake})", operation="describe")


NEWEST = Package(frozenset(LATER_FIELDS), None)
"""A package that lacks nothing."""


class PackageStore(Protocol):
    """Where what is known of the package is kept between invocations; the ledger's table in production."""

    def package(self) -> str | None: ...

    def keep_package(self, text: str) -> None: ...


class Describes(Protocol):
    """The one call of `client.SalesforceClient` that is needed."""

    def describe(self, object_name: str) -> dict[str, Any]: ...


class InstalledPackage:
    """The package that is in the organisation, as far as closed-won's user sees it.

    In: where what is known is kept; the clock, epoch milliseconds. keeps: whether an answer is kept, which a look is
    not to do. One object for all calls of a Lambda environment.
    """

    def __init__(self, store: PackageStore, now: Callable[[], int], keeps: bool = True) -> None:
        self._store = store
        self._now = now
        self._keeps = keeps
        self._known: Package | None = None

    def current(self, salesforce: Describes) -> Package:
        """What it has. salesforce: whom to ask, where nothing is known that counts; raises what that raises."""
        if not self._counts(self._known):
            self._known = Package.kept(self._store.package())
        # Others may have asked since: only then Salesforce is.
        known = self._known if self._counts(self._known) else None
        return known or self._asked(salesforce)

    def changed(self, refusal: ClosedWonError, salesforce: Describes) -> bool:
        """Whether Salesforce refused something because the package is not the one that was known: it is asked again,
        where the refusal may come from that. Raises nothing: where it cannot be asked, the refusal stands.
        """
        if not isinstance(refusal, SalesforceRefused) or refusal.code not in OF_ANOTHER_PACKAGE:
            return False
        known = self._known
        try:
            asked = self._asked(salesforce)
        except ClosedWonError:
            return False
        return known is None or (known.fields, known.statuses) != (asked.fields, asked.statuses)

    def _counts(self, known: Package | None) -> bool:
        return known is not None and not (known.behind and self._now() - known.read_at >= ASKED_AGAIN_AFTER)

    def _asked(self, salesforce: Describes) -> Package:
        self._known = Package.of(salesforce.describe(PROVISIONING), self._now())
        if self._keeps:
            self._store.keep_package(self._known.to_json())
        return self._known
