"""The lookups between a mapping's lines and their opportunity, in both directions.

Those of Salesforce's own objects and of CPQ are known; for others the organisation's schema is asked.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from closedwon.domain.errors import Permanent
from closedwon.salesforce.mapping_records import LineSource, unusable

Json = dict[str, Any]


class Way(NamedTuple):
    """The path from a line up to its opportunity's ID and to the opportunity; only: the condition for lines that have
    it.
    """

    id: str
    record: str
    only: str = ""


_QUOTE = "SBQQ__Quote__r."
# An opportunity has several quotes: only the synced one, with CPQ the primary one, is what was sold.
WAYS = {
    ("opportunitylineitem", "opportunityid"): Way("OpportunityId", "Opportunity"),
    ("quotelineitem", "quoteid"): Way("Quote.OpportunityId", "Quote.Opportunity", "Quote.IsSyncing = TRUE"),
    ("sbqq__quoteline__c", "sbqq__quote__c"): Way(
        f"{_QUOTE}SBQQ__Opportunity2__c", f"{_QUOTE}SBQQ__Opportunity2__r", f"{_QUOTE}SBQQ__Primary__c = TRUE"
    ),
}
"""The ways up that need no looking up: the reverse of `LineSource.lookup`."""


class Source(Protocol):
    """What is asked: in production, the client of `closedwon.salesforce.client`."""

    def query(self, soql: str, **values: Any) -> list[Json]: ...

    def describe(self, object_name: str) -> Json: ...


def lookup_of(each: LineSource, source: Source) -> str:
    """The opportunity's field that holds what a mapping's parent field points at, by the organisation's schema."""
    at, _ = _target(each, source)
    if at == "Opportunity":
        return "Id"
    found = [f["name"] for f in source.describe("Opportunity")["fields"] if at in f["referenceTo"]]
    # With several, nobody but an admin knows which one leads to what was sold.
    if len(found) != 1:
        lookups = "several lookups" if found else "no lookup"
        raise unusable(each.object, f"{each.parent} leads to {at}, and the opportunity has {lookups} to it")
    return str(found[0])


def relations_readable(source: Source) -> bool:
    """Whether the user may read what quote lines amend and renew, which takes the newer permission set for CPQ."""
    wanted = {
        "SBQQ__QuoteLine__c": {"SBQQ__UpgradedSubscription__c", "SBQQ__RenewedSubscription__c", "SBQQ__Quote__c"},
        "SBQQ__Subscription__c": {"SBQQ__QuoteLine__c", "SBQQ__Contract__c"},
    }
    try:
        return all(
            names <= {field["name"] for field in source.describe(object_name)["fields"]}
            for object_name, names in wanted.items()
        )
    except Permanent:  # an object that the user may not read is not described
        return False


def way_up(each: LineSource, source: Source) -> Way | None:
    """The way from a mapping's lines up to their opportunities; None where their parent field leads elsewhere."""
    if known := WAYS.get((each.object.lower(), each.parent.lower())):
        return known
    at, relationship = _target(each, source)
    *before, _ = each.parent.split(".")
    return Way(each.parent, ".".join([*before, relationship])) if at == "Opportunity" else None


def _target(each: LineSource, source: Source) -> tuple[str, str]:
    """What a mapping's parent field points at, and the name of that relationship, by the organisation's schema."""
    at, relationship = each.object, ""
    *way, last = each.parent.lower().split(".")
    for name, step in [("relationshipName", step) for step in way] + [("name", last)]:
        known = source.describe(at)["fields"]
        found = next((f for f in known if (f[name] or "").lower() == step and f["referenceTo"]), None)
        if not found:
            raise unusable(each.object, f"there is no lookup {each.parent} on {each.object}")
        targets = found["referenceTo"]
        # A lookup may lead to several objects; what matters is whether the opportunity is one of them.
        at, relationship = "Opportunity" if "Opportunity" in targets else targets[0], found["relationshipName"]
    return at, relationship
