"""Views of customers: what Salesforce, the ledger and Stigg hold for one; read live, or taken from exports.

Reading now goes account by account in the ledger and in Stigg, and for all asked accounts together in Salesforce. Which
deals count, and how their rows become the deal a callout would have sent, is `reading`'s and the callout's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from closedwon.aws.ledger import Ledger, at_once
from closedwon.domain.changes import LIVE
from closedwon.domain.customer import Customer
from closedwon.domain.errors import SalesforceRefused, as_read, unreadable
from closedwon.domain.instants import iso_utc
from closedwon.domain.marks import TERMS_KEY
from closedwon.intake.answers import Result
from closedwon.intake.requests import Compiled, Intake, NotNow
from closedwon.reconciliation.drift import AccountSeen, Allowed, CustomerView, DealSeen
from closedwon.salesforce.deal_records import trigger_of
from closedwon.salesforce.export_queries import shown_soql

if TYPE_CHECKING:
    from closedwon.salesforce.client import SalesforceClient
    from closedwon.salesforce.package import InstalledPackage
    from closedwon.stigg.client import Stigg
    from closedwon.stigg.rate_limit import Kind

Json = dict[str, Any]
T = TypeVar("T")

IDS_A_QUERY = 200
"""A query travels in the address, which holds 16,000 bytes."""

_SEEN = (
    "SELECT Id, Name, AccountId, Account.Name, IsWon, IsClosed, IsDeleted, StageName, Type, CloseDate, SystemModstamp, "
    "Stigg_Amends__c, Stigg_Cancel_Date__c FROM Opportunity WHERE "
)
_ACCOUNTS = (
    "SELECT Id, IsDeleted, MasterRecordId, Stigg_Customer_ID__c, Stigg_Customer_URL__c FROM Account WHERE Id IN {ids}"
)


@dataclass(frozen=True)
class Live:
    """Reads customers as they are now.

    intake: compiles their deals as it does those of a callout; trial_stages: the stages of open opportunities that give
    a trial; pace: waits until so many requests of a kind may go to Stigg; package: the one in the organisation.
    """

    salesforce: SalesforceClient
    stigg: Stigg
    ledger: Ledger
    intake: Intake
    trial_stages: tuple[str, ...]
    pace: Callable[[Kind, int], None]
    package: InstalledPackage

    def views(self, accounts: Sequence[str], deep: bool) -> list[CustomerView]:
        """The view of each of these accounts, in their order.

        deep: also what every subscription's entitlements are set to, by a read of each. Raises what the clients raise.
        """
        # The ledger first: what is accepted while the rest is read raises `rev`, and then this view repairs nothing.
        customers = dict(zip(accounts, at_once(self.ledger.customer, accounts), strict=True))
        # For all of them together, before threads ask at the same time.
        self.pace("list subscriptions", len(accounts))
        seen = self.in_salesforce(customers)
        return at_once(lambda account_id: self.in_stigg(seen[account_id], deep), accounts)

    def in_salesforce(self, customers: Mapping[str, Customer]) -> dict[str, CustomerView]:
        """Views of customers, by account: what the ledger and Salesforce say, and nothing yet of Stigg's."""
        rows = self._opportunities(customers)
        # A deal of this account may be another customer's in the ledger: then it was moved, not missed.
        owners = self.ledger.owners(row["Id"] for row in rows)
        deals = {id: replace(deal, known_to=owners.get(id)) for id, deal in self._deals(rows, customers).items()}
        seen = self._accounts(list(customers))
        provisionings = self._provisionings(customers)

        def view_of(account_id: str, customer: Customer) -> CustomerView:
            theirs = [
                deals[row["Id"]]
                for row in rows
                if row["AccountId"] == account_id or row["Id"] in customer.opportunities
            ]
            return CustomerView(
                customer=customer,
                deals=tuple(theirs),
                # Deleted records were asked for as well: one that does not come has left even the recycle bin.
                account=seen.get(account_id, AccountSeen("deleted")),
                provisionings={id: provisionings[id] for id in customer.opportunities if id in provisionings},
            )

        return {account_id: view_of(account_id, customer) for account_id, customer in customers.items()}

    def in_stigg(self, view: CustomerView, deep: bool) -> CustomerView:
        """The view of a customer, completed by what Stigg holds."""
        shown = view.account.customer_id if view.account else None
        # Where the ledger knows no customer yet, these are the IDs that accepting its first deal would bind it to.
        customer_id = view.customer.customer_id or shown or view.customer.account_id
        subscriptions, exists, allowed = self._in_stigg(customer_id, deep)
        # An archived customer answers like one that never was: only of one that was there it is asked.
        archived = not exists and view.customer.ensured and self.stigg.is_archived(customer_id)
        return replace(
            view, subscriptions=tuple(subscriptions), customer_in_stigg=exists, archived=archived, allowed=allowed
        )

    def given(self, opportunities: Mapping[str, str]) -> list[Json]:
        """Deals to be accepted, in the form of a callout without lines."""
        rows = [row for chunk in _chunks(opportunities) for row in self._seen("Id IN {ids}", ids=chunk)]
        return [given_of(row, opportunities[row["Id"]], self.intake) for row in rows]

    def _seen(self, where: str, **values: Any) -> list[Json]:
        return self.salesforce.query(_SEEN + where, with_deleted=True, **values)

    def _opportunities(self, customers: Mapping[str, Customer]) -> list[Json]:
        """The opportunities of the accounts that may matter, and those that the ledger knows, wherever they are now."""
        # All that a flow may send: what was won, what was lost and amends something, and trials by their stage.
        counts = "(IsWon = TRUE OR Stigg_Amends__c != NULL"
        counts += " OR StageName IN {stages})" if self.trial_stages else ")"
        rows: dict[str, Json] = {}
        for chunk in _chunks(customers):
            values: Json = {"ids": chunk, **({"stages": list(self.trial_stages)} if self.trial_stages else {})}
            rows |= {row["Id"]: row for row in self._seen("AccountId IN {ids} AND " + counts, **values)}
        # What was moved, deleted or is not won any more matches no condition: the ledger names it.
        known = [id for customer in customers.values() for id in customer.opportunities if id not in rows]
        for chunk in _chunks(known):
            rows |= {row["Id"]: row for row in self._seen("Id IN {ids}", ids=chunk)}
        return list(rows.values())

    def _deals(self, rows: Sequence[Json], customers: Mapping[str, Customer]) -> dict[str, DealSeen]:
        """Each opportunity as Salesforce has it, with the order that a callout would make of it now."""
        triggers = self._triggers(rows, customers)
        wanted = [
            given_of(row, trigger, self.intake)
            for row in rows
            # A deleted deal cannot be read in full, and would be told as one with a mistake in it.
            if (trigger := triggers[row["Id"]]) and not row["IsDeleted"]
        ]
        found = self._compiled(wanted)
        return {row["Id"]: deal_seen(row, triggers[row["Id"]], found.get(row["Id"])) for row in rows}

    def _triggers(self, rows: Iterable[Json], customers: Mapping[str, Customer]) -> dict[str, str | None]:
        """What each opportunity would be sent as; None where nothing would be sent."""
        states = {id: state for customer in customers.values() for id, state in customer.opportunities.items()}
        known = {row["Id"]: states.get(row["Id"]) for row in rows}
        return {
            row["Id"]: trigger_of(row, state.order.trigger if (state := known[row["Id"]]) else None, self.trial_stages)
            for row in rows
        }

    def _compiled(self, wanted: Sequence[Json]) -> dict[str, Compiled | Result]:
        """What becomes of each deal when it is read and compiled, by opportunity."""
        found: dict[str, Compiled | Result] = {}
        for some in _in_lots(wanted):
            try:
                arrivals, answers = self.intake.compile_all(list(some))
            except NotNow as error:  # the reason itself: the state machine tries again by its name
                raise error.__context__ or error from None
            for index, deal in enumerate(some):
                found[deal["opportunity"]["id"]] = arrivals.get(index) or answers[index]
        return found

    def _accounts(self, accounts: Sequence[str]) -> dict[str, AccountSeen]:
        rows = [
            row for chunk in _chunks(accounts) for row in self.salesforce.query(_ACCOUNTS, with_deleted=True, ids=chunk)
        ]
        return {row["Id"]: account_seen(row) for row in rows}

    def _provisionings(self, customers: Mapping[str, Customer]) -> dict[str, Json]:
        # Only of what the ledger knows: another deal has no outcome that could be shown.
        known = [id for customer in customers.values() for id in customer.opportunities]
        try:
            return self._shown(known)
        except SalesforceRefused as refusal:
            # A field that was there when the organisation was asked is gone: an older package was put back.
            if not self.package.changed(refusal, self.salesforce):
                raise
        return self._shown(known)

    def _shown(self, opportunities: Iterable[str]) -> dict[str, Json]:
        """The Stigg Provisionings of these opportunities, as far as there are any."""
        found: dict[str, Json] = {}
        for chunk in _chunks(opportunities):
            soql = shown_soql(self.package.current(self.salesforce), "Opportunity_ID__c IN {ids}")
            found |= {row["Opportunity_ID__c"]: row for row in self.salesforce.query(soql, ids=chunk)}
        return found

    def _in_stigg(self, customer_id: str, deep: bool) -> tuple[list[Json], bool | None, dict[str, Allowed] | None]:
        """The customer's subscriptions in Stigg, of every state; whether it exists there; what is set on each."""
        subscriptions = self.stigg.list_subscriptions(customer_id)
        live = [one for one in subscriptions if one["status"] in LIVE]
        # Who has a live subscription is there: that saves a call for nearly every customer.
        exists = True if live else self.stigg.get_customer(customer_id) is not None
        return subscriptions, exists, self.allowed(subscriptions) if deep else None

    def allowed(self, subscriptions: Iterable[Mapping[str, Any]], ours: bool = True) -> dict[str, Allowed]:
        """What the customer may use in effect, for each active subscription of these that is closed-won's; for others
        too, unless only `ours` are asked for. Values are not in what Stigg tells of a subscription: they are read by
        customer and resource.
        """
        live = [one for one in subscriptions if one["status"] in LIVE]
        active = [one for one in live if one["status"] == "ACTIVE" and (not ours or is_marked(one))]
        # One read tells of all subscriptions of a customer and resource.
        wanted = {(one["customerId"], one.get("resourceId")) for one in active}
        self.pace("read", len(wanted))
        read = {place: amounts_of(self.stigg.entitlements(*place)) for place in wanted}
        return {
            one["id"]: Allowed(
                read[one["customerId"], one.get("resourceId")],
                # Stigg tells what all sources give together, so beside another one more may be right.
                alone=len(live) == 1 and not one.get("addons"),
            )
            for one in active
        }


def is_marked(subscription: Mapping[str, Any]) -> bool:
    """Whether a subscription, as Stigg lists it, has closed-won's mark."""
    return TERMS_KEY in (subscription.get("metadata") or {})


def amounts_of(entitlements: Iterable[Json]) -> dict[str, float]:
    """How much may be used of each feature: units, infinity for no limit, 1 for one that is on."""

    def amount(one: Json) -> float:
        if one.get("hasUnlimitedUsage"):
            return float("inf")
        limit = one.get("usageLimit")
        # As `plan.amount_of` counts what was sold, so that the two can be compared.
        return 1.0 if limit is None else float(limit)

    with as_read(lambda mistake: unreadable("read entitlements", mistake)):
        return {
            one["feature"]["id"]: amount(one) for one in entitlements if one.get("feature") and one.get("isGranted")
        }


def given_of(row: Json, trigger: str, intake: Intake) -> Json:
    """What a callout without lines would say of an opportunity now. A cancellation is never read, so it says all
    itself, as the flows do: a deal that is lost or was cancelled names what it amends, one that is merely not won any
    more itself.
    """
    deal: Json = {
        "organizationId": intake.organization_id,
        "trigger": trigger,
        "opportunity": {
            "id": row["Id"],
            "name": row.get("Name") or "",
            "systemModstamp": row["SystemModstamp"],
            "readAt": iso_utc(intake.now()),
        },
        "account": {"id": row["AccountId"], "name": (row.get("Account") or {}).get("Name") or ""},
    }
    if trigger == "cancellation":
        lost = row["IsClosed"] and row.get("Stigg_Amends__c")
        deal["amends"] = row["Stigg_Amends__c"] if lost else row["Id"]
        if row.get("Stigg_Cancel_Date__c"):
            deal["terms"] = {"end": row["Stigg_Cancel_Date__c"]}
    return deal


def deal_seen(row: Json, trigger: str | None, found: Compiled | Result | None) -> DealSeen:
    """An opportunity as Salesforce has it. found: what became of it as a deal, None where nothing would be sent.

    A deal none of whose lines says anything about Stigg is not closed-won's.
    """
    arrival, problem = None, ""
    if isinstance(found, Result):
        problem = "; ".join(f"{error.field} {error.message}" for error in found.errors)
    elif found is not None and (found.deal.lines or trigger == "cancellation"):
        arrival = found.arrival
    modified = datetime.fromisoformat(row["SystemModstamp"])
    return DealSeen(
        opportunity_id=row["Id"],
        account_id=row.get("AccountId") or "",
        modified=round(modified.timestamp() * 1000),
        won=bool(row["IsWon"]),
        closed=bool(row["IsClosed"]),
        deleted=bool(row.get("IsDeleted")),
        closed_on=row["CloseDate"],
        trigger=trigger,
        arrival=arrival,
        problem=problem,
    )


def account_seen(row: Json) -> AccountSeen:
    """An account as Salesforce has it."""
    merged = row.get("MasterRecordId")
    return AccountSeen(
        # Salesforce deletes a merged account, and names the one that it became part of.
        "there" if not row.get("IsDeleted") else "merged" if merged else "deleted",
        merged,
        row.get("Stigg_Customer_ID__c"),
        row.get("Stigg_Customer_URL__c"),
    )


def _chunks(ids: Iterable[str]) -> Iterator[Sequence[str]]:
    return _in_lots(sorted(set(ids)))


def _in_lots(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), IDS_A_QUERY):
        yield items[start : start + IDS_A_QUERY]
