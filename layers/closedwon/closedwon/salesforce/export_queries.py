"""The queries by which reconciliation exports the deals in a scope, whole, by the thousand.

What is selected and what its rows mean is the same as for a deal that is read by itself (`deal_records`,
`mapping_records`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from closedwon.domain.instants import iso_utc
from closedwon.salesforce.deal_records import opportunity_paths
from closedwon.salesforce.lookups import WAYS, Source, Way, relations_readable, way_up
from closedwon.salesforce.mapping_records import COLUMNS, LineSource, Mapped, distinct
from closedwon.salesforce.package import PROVISIONING, Package
from closedwon.salesforce.write_back import ACCOUNT_FIELDS, SHOWN_FIELDS


@dataclass(frozen=True)
class Scope:
    """Which opportunities reconciliation looks at.

    since: an ISO instant: all that changed from then on, whatever they are, because one that is not won any more counts
    as well; None for all that a callout may be due for. trial_stages: the stages of open opportunities that give a
    trial.
    """

    since: str | None = None
    trial_stages: Sequence[str] = ()

    def condition(self, opportunity: str = "") -> str:
        """The scope as a condition of a query. opportunity: the path that leads to the opportunity, "" from itself.

        Opportunities without an account are out of it: a callout is refused for them, and says so in Salesforce.
        """
        at = f"{opportunity}." if opportunity else ""
        if self.since:
            since = iso_utc(datetime.fromisoformat(self.since))
            return f"{at}AccountId != NULL AND {at}SystemModstamp >= {since}"
        kinds = [f"{at}IsWon = TRUE", f"({at}IsClosed = TRUE AND {at}Stigg_Amends__c != NULL)"]
        if self.trial_stages:
            from closedwon.salesforce.client import formatted

            stages = formatted("{stages}", {"stages": list(self.trial_stages)})
            kinds.append(f"({at}IsClosed = FALSE AND {at}StageName IN {stages})")
        return f"{at}AccountId != NULL AND ({' OR '.join(kinds)})"


class BulkQuery(NamedTuple):
    """One query of an export.

    source: what its rows are. mapping: of lines, the place of their source in `Mapped.sources`. account, opportunity:
    the paths that lead in a row to the 18-character IDs of the account and the opportunity it belongs to.
    """

    source: Literal["opportunities", "lines", "provisionings"]
    soql: str
    account: str
    opportunity: str
    mapping: int | None = None


class Bulk(NamedTuple):
    """The queries of an export. unreachable: the mappings whose lines no path leads up from to an opportunity, so that
    they are in none of the queries: deals have to be read one by one (`read`) in an organisation that has such.
    """

    queries: tuple[BulkQuery, ...]
    unreachable: tuple[int, ...]


_SEEN = (
    "IsDeleted",
    "StageName",
    "CloseDate",
    "Type",
    "Account.Stigg_Customer_URL__c",
    "Stigg_Cancel_Date__c",
)
"""Fields of an opportunity that reconciliation reads besides those of the deal."""


def _opportunities_in_bulk(mappings: Mapped, currencies: bool, scope: Scope) -> BulkQuery:
    lookups = [each.lookup for each in mappings.active if each.lookup]
    paths = [*opportunity_paths(mappings.cpq, currencies, lookups), *_SEEN]
    soql = f"SELECT {distinct(paths)} FROM Opportunity WHERE {scope.condition()}"  # nosec B608 - see LineSource.soql
    return BulkQuery("opportunities", soql, account="AccountId", opportunity="Id")


def _lines_in_bulk(number: int, each: LineSource, way: Way, scope: Scope, unquoted: bool, relations: bool) -> BulkQuery:
    account = f"{way.record}.AccountId"
    paths = ["Id", each.order or "", way.id, account, *each.paths(relations)]
    conditions = [
        # The others say nothing about Stigg, and would be left out of the deal in any case (`_not_sold`).
        f"({each.stigg_type} != NULL OR {each.stigg_id} != NULL)",
        way.only,
        # With a quote its lines count: CPQ's opportunity products repeat them (decision 38).
        f"{way.record}.SBQQ__PrimaryQuote__c = NULL" if unquoted else "",
        scope.condition(way.record),
    ]
    where = " AND ".join(filter(None, conditions))
    soql = f"SELECT {distinct(paths)} FROM {each.object} WHERE {where}"  # nosec B608 - see LineSource.soql
    return BulkQuery("lines", soql, account=account, opportunity=way.id, mapping=number)


def shown_soql(package: Package, where: str) -> str:
    """The query for what Stigg Provisionings show, of the fields that the organisation's package has."""
    return f"SELECT {', '.join(package.shown(SHOWN_FIELDS))} FROM {PROVISIONING} WHERE {where}"  # nosec B608 - names of ours


def _provisionings_in_bulk(package: Package) -> BulkQuery:
    # Without an account it belongs to no partition.
    soql = shown_soql(package, "Account__c != NULL")
    return BulkQuery("provisionings", soql, account="Account__c", opportunity="Opportunity_ID__c")


def paths_read(mappings: Mapped) -> dict[str, tuple[str, ...]]:
    """The fields that are read of each object, singly and in bulk: paths, with dots across lookups."""
    lookups = [each.lookup for each in mappings.active if each.lookup]
    # Without CurrencyIsoCode, which an organisation with one currency does not have.
    paths: dict[str, list[str]] = {"Opportunity": [*opportunity_paths(mappings.cpq, False, lookups), *_SEEN]}
    paths["Account"] = [*ACCOUNT_FIELDS, "MasterRecordId"]
    paths[PROVISIONING] = list(SHOWN_FIELDS)
    paths["Stigg_Mapping__mdt"] = ["MasterLabel", "Active__c", *(column for column, _, _ in COLUMNS.values())]
    for each in mappings.sources:
        way = WAYS.get((each.object.lower(), each.parent.lower()))
        # The field of a condition such as `Quote.IsSyncing = TRUE` is read too.
        up = (way.id, f"{way.record}.AccountId", way.only.partition(" ")[0]) if way else ()
        paths.setdefault(each.object, []).extend(filter(None, ("Id", each.order, *up, *each.paths())))
    if mappings.cpq:
        paths["Contract"] = ["Id", "SBQQ__Opportunity__c"]
    return {name: tuple({path.lower(): path for path in some if path}.values()) for name, some in paths.items()}


def bulk_queries(mappings: Mapped, scope: Scope, source: Source) -> Bulk:
    """What to ask in bulk for the deals in a scope, whole, and for what Salesforce shows of them.

    In: the mappings; the scope; whom to ask for schemas. Where the scope is what changed since a moment, the
    opportunities are all that is asked for: their accounts are looked at one by one.
    Raises Unreadable for a mapping that is no good, and what the client raises.
    """
    fields_of = source.describe("Opportunity")["fields"]
    currencies = any(field["name"] == "CurrencyIsoCode" for field in fields_of)
    opportunities = _opportunities_in_bulk(mappings, currencies, scope)
    if scope.since:
        return Bulk((opportunities,), ())
    queries, unreachable = [opportunities], []
    for number, each in enumerate(mappings.sources):
        # The last source, behind the active mappings, is that of opportunities without a quote (`Mapped.sources`).
        if way := way_up(each, source):
            unquoted = number == len(mappings.active)
            relations = each.quotes and relations_readable(source)
            queries.append(_lines_in_bulk(number, each, way, scope, unquoted, relations))
        else:
            unreachable.append(number)
    # Asked, rather than what is kept: for an export one more call is nothing.
    package = Package.of(source.describe(PROVISIONING))
    return Bulk((*queries, _provisionings_in_bulk(package)), tuple(unreachable))
