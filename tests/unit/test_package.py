"""What the organisation's package has: read from its description, kept, and asked again when that may have changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from closedwon.domain.errors import ClosedWonError, SalesforceRefused, SalesforceUnavailable
from closedwon.salesforce.package import (
    ASKED_AGAIN_AFTER,
    LATER_FIELDS,
    NEWEST,
    PROVISIONING,
    InstalledPackage,
    Package,
)
from closedwon.salesforce.write_back import SHOWN_FIELDS
from sandbox.ledger import MemoryLedger
from sandbox.salesforce.app import Salesforce

REFUSED = SalesforceRefused("INVALID_FIELD", "No such column 'Code__c' on sobject of type Stigg_Provisioning__c")


class Organisation:
    """A stand-in's description of the object, and how often it was asked for."""

    def __init__(self) -> None:
        self.salesforce = Salesforce("client", "hush")
        self.asked = 0
        self.fails: ClosedWonError | None = None

    def describe(self, object_name: str) -> dict[str, Any]:
        self.asked += 1
        if self.fails:
            raise self.fails
        return self.salesforce.describe(object_name)


class Clock:
    def __init__(self) -> None:
        self.at = 1_800_000_000_000

    def __call__(self) -> int:
        return self.at


def package(version: Any) -> Package:
    organisation = Organisation()
    organisation.salesforce.deploy_package(version)
    return Package.of(organisation.describe(PROVISIONING))


def described(**changes: Any) -> Package:
    """The newest package, with changes of the description of a field, by its name."""
    schema = Organisation().describe(PROVISIONING)
    return Package.of({"fields": [{**field, **changes.get(field["name"], {})} for field in schema["fields"]]})


# What it has


def test_the_newest_package_shows_everything() -> None:
    assert not package("newest").behind
    assert package("newest").lacking() == ""
    for one in (package("newest"), NEWEST):
        assert one.shown(SHOWN_FIELDS) == SHOWN_FIELDS
        assert one.status("Ended") == "Ended"


def test_the_first_package_shows_no_code_and_ended_as_superseded() -> None:
    first = package("first")
    assert first.behind
    assert first.lacking() == "the field Code (Code__c) and the field Contract_ID (Contract_ID__c) and the status Ended"
    assert first.shown(SHOWN_FIELDS) == tuple(
        name for name in SHOWN_FIELDS if name not in ("Code__c", "Contract_ID__c")
    )
    assert [first.status(one) for one in ("Ended", "Superseded", "Held")] == ["Superseded", "Superseded", "Held"]


def test_a_field_that_the_user_may_not_write_counts_as_missing() -> None:
    assert described(Code__c={"updateable": False}).lacking() == "the field Code (Code__c)"
    assert described(Code__c={"createable": False}).lacking() == "the field Code (Code__c)"


def test_a_value_that_was_switched_off_counts_as_missing() -> None:
    values = [{"value": "Superseded", "active": True}, {"value": "Ended", "active": False}]
    assert described(Status__c={"picklistValues": values}).status("Ended") == "Superseded"


def test_a_picklist_that_is_not_restricted_takes_every_status() -> None:
    loose = described(Status__c={"picklistValues": [], "restrictedPicklist": False})
    assert (loose.status("Ended"), loose.behind) == ("Ended", False)


def test_only_what_a_later_version_added_may_be_missing() -> None:
    # Without its reason a deal would not show where it stands: Salesforce is to refuse it, which somebody is told of.
    hidden = described(Reason__c={"createable": False, "updateable": False})
    assert "Reason__c" in hidden.shown(SHOWN_FIELDS)
    assert not hidden.behind


# What is kept


@pytest.mark.parametrize("version", ["first", "newest"])
def test_what_is_kept_is_read_back(version: str) -> None:
    assert Package.kept(package(version).to_json()) == package(version)


@pytest.mark.parametrize(
    "text",
    [None, "", "null", "[]", "{}", '{"fields": 1, "statuses": null, "readAt": 1}', '{"fields": [], "statuses": []}'],
)
def test_what_cannot_be_read_counts_as_not_kept(text: str | None) -> None:
    assert Package.kept(text) is None


def test_what_a_later_version_keeps_besides_does_no_harm() -> None:
    later = {"fields": [*LATER_FIELDS, "Later__c"], "statuses": ["Ended", "Later"], "readAt": 1, "new": {}}
    kept = Package.kept(json.dumps(later))
    assert kept is not None
    assert not kept.behind


# When it is asked


def test_it_is_asked_once_for_all_processes() -> None:
    ledger, organisation, clock = MemoryLedger(), Organisation(), Clock()
    for _ in range(3):
        installed = InstalledPackage(ledger, clock)
        for _ in range(3):
            assert not installed.current(organisation).behind
    assert organisation.asked == 1


def test_where_nothing_is_missing_it_is_never_asked_again() -> None:
    organisation, clock = Organisation(), Clock()
    installed = InstalledPackage(MemoryLedger(), clock)
    installed.current(organisation)
    clock.at += 1000 * ASKED_AGAIN_AFTER
    installed.current(organisation)
    assert organisation.asked == 1


def test_where_something_is_missing_it_is_asked_again_after_an_hour() -> None:
    ledger, organisation, clock = MemoryLedger(), Organisation(), Clock()
    organisation.salesforce.deploy_package("first")
    installed, other = InstalledPackage(ledger, clock), InstalledPackage(ledger, clock)
    assert installed.current(organisation).behind
    organisation.salesforce.deploy_package("newest")
    clock.at += ASKED_AGAIN_AFTER - 1
    assert installed.current(organisation).behind
    clock.at += 1
    assert not installed.current(organisation).behind
    assert not other.current(organisation).behind
    assert organisation.asked == 2, "the other process reads what was kept"


def test_a_look_keeps_nothing() -> None:
    ledger = MemoryLedger()
    assert not InstalledPackage(ledger, Clock(), keeps=False).current(Organisation()).behind
    assert ledger.package() is None


def test_a_refusal_that_another_package_explains_has_it_asked_again() -> None:
    ledger, organisation = MemoryLedger(), Organisation()
    installed = InstalledPackage(ledger, Clock())
    installed.current(organisation)
    organisation.salesforce.deploy_package("first")
    assert installed.changed(REFUSED, organisation)
    assert installed.current(organisation).behind
    assert Package.kept(ledger.package()) == installed.current(organisation)
    assert organisation.asked == 2


@pytest.mark.parametrize("code", ["INVALID_FIELD_FOR_INSERT_UPDATE", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"])
def test_a_refusal_by_the_package_that_is_known_stands(code: str) -> None:
    organisation = Organisation()
    installed = InstalledPackage(MemoryLedger(), Clock())
    installed.current(organisation)
    assert not installed.changed(SalesforceRefused(code, "no"), organisation)
    assert organisation.asked == 2


@pytest.mark.parametrize(
    "fault", [SalesforceRefused("FIELD_CUSTOM_VALIDATION_EXCEPTION", "no"), SalesforceUnavailable("down")]
)
def test_other_refusals_ask_nothing(fault: ClosedWonError) -> None:
    organisation = Organisation()
    installed = InstalledPackage(MemoryLedger(), Clock())
    installed.current(organisation)
    assert not installed.changed(fault, organisation)
    assert organisation.asked == 1


def test_where_it_cannot_be_asked_the_refusal_stands() -> None:
    organisation = Organisation()
    installed = InstalledPackage(MemoryLedger(), Clock())
    known = installed.current(organisation)
    organisation.fails = SalesforceUnavailable("down")
    assert not installed.changed(REFUSED, organisation)
    assert installed.current(organisation) == known
