"""Reads deals that come without lines from Salesforce, with or without CPQ.

All deals of a request are read together: one query for the mappings, one for the opportunities, one for the lines of
each active mapping; with CPQ one more for opportunities without a quote. What deals without lines name as contracts
takes another. How the rows become deals is in `deal_records`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from closedwon.domain.errors import Permanent, SalesforceLimitExceeded, SalesforceRefused
from closedwon.domain.order import Problem
from closedwon.salesforce.deal_records import deal_of, opportunities_soql
from closedwon.salesforce.lookups import Source, lookup_of
from closedwon.salesforce.mapping_records import MAPPINGS_SOQL, LineSource, Mapped, Row, Unreadable, mapped, value_at

Json = dict[str, Any]

_WHERE = re.compile(r".*ERROR at Row:\d+:Column:\d+\s*", re.DOTALL)
_ADVICE = re.compile(r"\s*If you are attempting to use a custom .*", re.DOTALL)
_NO_CURRENCY = re.compile(r"No such column 'CurrencyIsoCode'", re.IGNORECASE)


def read(deals: Sequence[Json], source: Source, read_at: datetime) -> list[Json | Problem]:
    """Read deals that came without lines.

    In: what the callout said of each, IDs in 18 characters; whom to ask; when they are read.
    Out: for each the whole deal, or why it cannot be read.
    Raises what is nobody's fault, because it concerns them all and passes: the Transient errors of the client, and
    SalesforceLimitExceeded.
    """
    try:
        return _read(deals, source, read_at)
    # Permanent, but no fault of these deals, so it must not be recorded as a problem of theirs.
    except SalesforceLimitExceeded:
        raise
    except Permanent as error:
        return [Problem(None, "lines", f"could not be read from Salesforce: {in_words(error)}")] * len(deals)
    except Unreadable as error:
        return [error.problem] * len(deals)


CONTRACTS_SOQL = (
    "SELECT Id, SBQQ__Opportunity__c FROM Contract WHERE Id IN {contracts} AND SBQQ__Opportunity__c != NULL"
)
SIBLINGS_SOQL = "SELECT Id, SBQQ__Opportunity__c FROM Contract WHERE SBQQ__Opportunity__c IN {opportunities}"


def opportunities_of(contracts: Iterable[str], source: Source) -> dict[str, str]:
    """The opportunities that contracts were made from, which CPQ notes on them.

    In: contracts' IDs in 18 characters; whom to ask.
    Out: opportunities by contract; without contracts that are not there, or that no opportunity made. Nor those of an
    opportunity that became several: its name would stand for all of them, and one may be ended without the others.
    Raises what the client raises: SalesforceRefused where CPQ is not installed, or closed-won's user may not see it.
    """
    rows = source.query(CONTRACTS_SOQL, contracts=sorted(set(contracts)))
    found = {row["Id"]: row["SBQQ__Opportunity__c"] for row in rows}
    if not found:
        return {}
    siblings = source.query(SIBLINGS_SOQL, opportunities=sorted(set(found.values())))
    became = Counter(row["SBQQ__Opportunity__c"] for row in siblings)
    return {contract: opportunity for contract, opportunity in found.items() if became[opportunity] == 1}


def in_words(error: Permanent) -> str:
    """Salesforce's message, without the quoted query and the advice to programmers."""
    return _ADVICE.sub("", _WHERE.sub("", error.message))


def _read(deals: Sequence[Json], source: Source, read_at: datetime) -> list[Json | Problem]:
    mappings = mapped(source.query(MAPPINGS_SOQL))
    lookups = [each.lookup or lookup_of(each, source) for each in mappings.active]
    ids = sorted({deal["opportunity"]["id"] for deal in deals})
    opportunities = {row["Id"]: row for row in _opportunities(source, ids, mappings.cpq, lookups)}
    rows = _lines_below(opportunities, mappings, lookups, source)
    return [_whole(deal, opportunities, rows, read_at) for deal in deals]


def _whole(
    deal: Json, opportunities: Mapping[str, Json], rows: Mapping[str, list[Row]], read_at: datetime
) -> Json | Problem:
    """One deal, whole, or why it cannot be read. In: what was said of it; what was read of all, by opportunity."""
    id = deal["opportunity"]["id"]
    if id not in opportunities:
        return Problem(None, "opportunity.id", "does not exist in Salesforce, or closed-won's user may not see it")
    try:
        return deal_of(deal, opportunities[id], rows[id], read_at)
    except Unreadable as error:
        return error.problem


def _opportunities(source: Source, ids: Sequence[str], cpq: bool, lookups: Sequence[str]) -> list[Json]:
    try:
        # Tried, not looked up: a look at the schema would cost every organisation a call for every request.
        return source.query(opportunities_soql(cpq, True, lookups), ids=ids)
    except SalesforceRefused as refused:
        if not _NO_CURRENCY.search(refused.message):
            raise
    # An organisation with one currency has no such field; the deal says which it is.
    return source.query(opportunities_soql(cpq, False, lookups), ids=ids)


def _lines_below(
    opportunities: Mapping[str, Json], mappings: Mapped, lookups: Sequence[str], source: Source
) -> dict[str, list[Row]]:
    """The rows of all lines of these opportunities, by opportunity. lookups: the opportunity's field to each mapping's
    parents.
    """
    rows: dict[str, list[Row]] = {id: [] for id in opportunities}
    for each, lookup in zip(mappings.active, lookups, strict=True):
        _find_lines(each, {id: value_at(row, lookup) for id, row in opportunities.items()}, rows, source)
    if mappings.without_quote:
        unquoted = [id for id, row in opportunities.items() if not row.get("SBQQ__PrimaryQuote__c")]
        _find_lines(mappings.without_quote, dict(zip(unquoted, unquoted, strict=True)), rows, source)
    return rows


def _find_lines(
    each: LineSource, parents: Mapping[str, str | None], rows: dict[str, list[Row]], source: Source
) -> None:
    """Add the lines below these parents to the rows of their opportunities."""
    opportunities: dict[str, list[str]] = {}
    for id, parent in parents.items():
        if parent:
            # Nothing keeps two opportunities from pointing at the same parent.
            opportunities.setdefault(parent, []).append(id)
    if not opportunities:
        return
    for content in _rows_of(each, sorted(opportunities), source):
        for id in opportunities.get(value_at(content, each.parent), ()):
            rows[id].append(Row(each, content))


def _rows_of(each: LineSource, parents: list[str], source: Source) -> list[Json]:
    try:
        return source.query(each.soql(), parents=parents)
    except SalesforceRefused:
        # Of whatever it is that the user may not read, the relations can be done without: what the deal as a whole
        # amends or renews then counts. Where it was something else, it is refused again.
        if not each.quotes:
            raise
    return source.query(each.soql(relations=False), parents=parents)
