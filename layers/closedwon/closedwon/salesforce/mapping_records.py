"""Stigg Mapping: where a deal's lines are in Salesforce, and what their fields mean. Pure.

The organisation says it once, in the records of the custom metadata type Stigg Mapping, which the package's Apex reads
too. An active mapping that names a field of CPQ (``SBQQ__``) says that CPQ is in use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from closedwon.domain.order import Problem

Json = dict[str, Any]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")


class Unreadable(Exception):
    """One deal, or every deal, cannot be read; the reason is for the deal."""

    def __init__(self, field: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(line, field, message)


QUOTE_LINE = "SBQQ__QuoteLine__c"
_OPPORTUNITY_PRODUCT = "OpportunityLineItem"

# What a quote line itself says, whatever the mapping's fields are.
EFFECTIVE, PRIOR, TOTAL = "SBQQ__EffectiveQuantity__c", "SBQQ__PriorQuantity__c", "SBQQ__Quantity__c"
UPGRADED, OPTIONAL, PRICING = "SBQQ__UpgradedSubscription__c", "SBQQ__Optional__c", "SBQQ__PricingMethod__c"
STARTS, ENDS = "SBQQ__EffectiveStartDate__c", "SBQQ__EffectiveEndDate__c"

# What a quote line amends or renews: a subscription, which came from a line of another quote, and is of a contract.
UPGRADED_FROM = "SBQQ__UpgradedSubscription__r.SBQQ__QuoteLine__r"
RENEWED_FROM = "SBQQ__RenewedSubscription__r.SBQQ__QuoteLine__r"
RENEWED_CONTRACT = "SBQQ__RenewedSubscription__r.SBQQ__Contract__c"
RENEWED_BASE = "SBQQ__RenewedSubscription__r.SBQQ__Contract__r.SBQQ__Opportunity__c"
SOLD_BY = "SBQQ__Quote__r.SBQQ__Opportunity2__c"

_LOOKUPS = {
    ("opportunitylineitem", "opportunityid"): "Id",
    ("quotelineitem", "quoteid"): "SyncedQuoteId",
    ("sbqq__quoteline__c", "sbqq__quote__c"): "SBQQ__PrimaryQuote__c",
}
"""The opportunity's field that holds what the lines' parent field points at, where it needs no looking up."""

_ORDERS = {"opportunitylineitem": "SortOrder", "sbqq__quoteline__c": "SBQQ__Number__c"}
"""The field that lines are sorted by, those without a value last; lines of one place by their ID."""

COLUMNS = {
    "object": ("Line_Object__c", "Line Object", True),
    "parent": ("Parent_Field__c", "Parent Field", True),
    "stigg_type": ("Stigg_Type_Field__c", "Stigg Type Field", True),
    "stigg_id": ("Stigg_ID_Field__c", "Stigg ID Field", True),
    "quantity": ("Quantity_Field__c", "Quantity Field", True),
    "price": ("Price_Field__c", "Price Field", False),
    "price_override": ("Price_Override_Field__c", "Price Override Field", False),
    "unlimited": ("Unlimited_Field__c", "Unlimited Field", False),
    "reset_period": ("Reset_Period_Field__c", "Reset Period Field", False),
    "start": ("Start_Date_Field__c", "Start Date Field", False),
    "end": ("End_Date_Field__c", "End Date Field", False),
    "prior": ("Prior_Quantity_Field__c", "Prior Quantity Field", False),
    "total": ("Total_Quantity_Field__c", "Total Quantity Field", False),
}
"""A mapping's fields in Stigg Mapping: API name, label, whether it must be filled."""

# The inactive ones too: one of opportunity products says which fields those have where there is no quote.
MAPPINGS_SOQL = (
    f"SELECT MasterLabel, Active__c, {', '.join(column for column, _, _ in COLUMNS.values())} "  # nosec B608 - names above
    "FROM Stigg_Mapping__mdt"
)


@dataclass(frozen=True)
class LineSource:
    """One Stigg Mapping: where lines are, and what their fields mean.

    object: the API name of the lines' object; parent: the lookup that leads to the opportunity, or to what the
    opportunity has its one lookup to (a quote). The others are paths of fields, dots across lookups, "" where there is
    none.
    """

    object: str = _OPPORTUNITY_PRODUCT
    parent: str = "OpportunityId"
    stigg_type: str = "Product2.Stigg_Type__c"
    stigg_id: str = "Product2.Stigg_ID__c"
    quantity: str = "Quantity"
    price: str = "UnitPrice"
    price_override: str = "Product2.Stigg_Price_Override__c"
    unlimited: str = "Product2.Stigg_Unlimited__c"
    reset_period: str = "Product2.Stigg_Reset_Period__c"
    start: str = ""
    end: str = ""
    prior: str = ""
    total: str = ""

    @classmethod
    def of(cls, record: Json) -> LineSource:
        """In: a record of Stigg Mapping. Raises Unreadable where a name in it is none: they all get into queries."""
        given: dict[str, str] = {}
        for name, (column, label, required) in COLUMNS.items():
            value = record.get(column)
            path = value.strip() if isinstance(value, str) else str(value or "")
            if not path and not required:
                given[name] = ""
                continue
            # Custom metadata is typed in by people, and SOQL has no way to quote a name.
            if not (_NAME if name == "object" else _PATH).fullmatch(path):
                said = f"{label} {'holds no name of a field' if path else 'is empty'}"
                raise unusable(str(record.get("MasterLabel")), said)
            given[name] = path
        return cls(**given)

    @property
    def uses_cpq(self) -> bool:
        return any("sbqq__" in getattr(self, field.name).lower() for field in fields(self))

    @property
    def quotes(self) -> bool:
        """Whether its lines are CPQ's quote lines."""
        return self.object.lower() == QUOTE_LINE.lower()

    @property
    def opportunity_products(self) -> bool:
        return self.object.lower() == _OPPORTUNITY_PRODUCT.lower()

    @property
    def lookup(self) -> str | None:
        """The opportunity's field that holds what `parent` points at; None where the schema has to be asked."""
        return _LOOKUPS.get((self.object.lower(), self.parent.lower()))

    @property
    def order(self) -> str | None:
        """The field its lines are sorted by before their ID, those without a value last; None for the ID alone."""
        return _ORDERS.get(self.object.lower())

    def paths(self, relations: bool = True) -> list[str]:
        """What is selected of a line. relations: with what quote lines amend and renew, which the first version's
        permission set does not let its user read.
        """
        paths = [getattr(self, name) for name in COLUMNS if name != "object"]
        if self.quotes:
            paths += [EFFECTIVE, PRIOR, TOTAL, UPGRADED, OPTIONAL, PRICING, STARTS, ENDS]
        if self.quotes and relations:
            for sold in (UPGRADED_FROM, RENEWED_FROM):
                paths += [f"{sold}.{SOLD_BY}", f"{sold}.{self.stigg_id}"]
            paths += [RENEWED_CONTRACT, RENEWED_BASE]
        return paths

    def soql(self, relations: bool = True) -> str:
        """The query for all lines of the parents in ``{parents}``."""
        paths, order = distinct(self.paths(relations)), f"{self.order} NULLS LAST, Id" if self.order else "Id"
        # Nothing in it comes from a user: every name has been looked at (`of`), and the IDs are quoted by the client.
        return f"SELECT {paths} FROM {self.object} WHERE {self.parent} IN {{parents}} ORDER BY {order}"  # nosec B608


def distinct(paths: Iterable[str]) -> str:
    """Fields to select. Salesforce refuses a field that is named twice, in whatever case."""
    return ", ".join({path.lower(): path for path in paths if path}.values())


def value_at(row: Json, path: str) -> Any:
    """The value a path leads to in a row; None where the way ends. Names match in any case, as in a query."""
    found: Any = row
    for step in path.split("."):
        if not isinstance(found, dict):
            return None
        if step in found:  # as a rule: looking at all of them takes its time where there are a million rows
            found = found[step]
        else:
            found = next((value for name, value in found.items() if name.lower() == step.lower()), None)
    return found


class Row(NamedTuple):
    """A line as it was found, and how to read it. mapping: the place of its source among all (`Mapped.sources`)."""

    source: LineSource
    content: Json
    mapping: int = 0

    def get(self, path: str) -> Any:
        return value_at(self.content, path) if path else None

    @property
    def mapped(self) -> bool:
        """Whether it says anything about Stigg."""
        return bool(self.get(self.source.stigg_type) or self.get(self.source.stigg_id))


class Mapped(NamedTuple):
    """The mappings that are active.

    cpq: whether CPQ is in use. without_quote: where the lines of an opportunity without a quote are, as those of a
    forecast renewal; None where there are no quotes.
    """

    active: list[LineSource]
    cpq: bool
    without_quote: LineSource | None

    @property
    def sources(self) -> list[LineSource]:
        """All that lines are read by, in their order."""
        return [*self.active, *([self.without_quote] if self.without_quote else [])]

    def row(self, mapping: int, content: Json) -> Row:
        """A line that was read in bulk, by the number of its mapping."""
        return Row(self.sources[mapping], content, mapping)


def mapped(records: Sequence[Json]) -> Mapped:
    """The active mappings, from the records of Stigg Mapping. Raises Unreadable where none can be used."""
    active = [LineSource.of(record) for record in records if record.get("Active__c") is True]
    if not active:
        said = "no Stigg Mapping is active, so it is not known where a deal's lines are"
        raise Unreadable("lines", f"could not be read from Salesforce: {said}")
    if not any(each.quotes for each in active):
        return Mapped(active, any(each.uses_cpq for each in active), None)
    # CPQ keeps the opportunity's products in step with its quote: if they counted too, every line would count twice.
    return Mapped([each for each in active if not each.opportunity_products], True, _opportunity_products(records))


def _opportunity_products(records: Sequence[Json]) -> LineSource:
    """The mapping of opportunity products, for opportunities without a quote. A record that is not active still says
    which fields they have; without one they are the package's.
    """
    products = [record for record in records if record.get("Line_Object__c") == _OPPORTUNITY_PRODUCT]
    # Where several records name the object, an active one says it rather than one that was switched off.
    products.sort(key=lambda record: record.get("Active__c") is not True)
    return LineSource.of(products[0]) if products else LineSource()


def unusable(mapping: str, reason: str) -> Unreadable:
    return Unreadable("lines", f"could not be read from Salesforce: Stigg Mapping {mapping}: {reason}")
