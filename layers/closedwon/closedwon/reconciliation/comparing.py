"""Compares customers for a reconciliation: joins one partition of the exports by customer, and decides remedies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from closedwon.aws.ledger_items import customer_of
from closedwon.domain.catalogue import Catalogue
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Policy
from closedwon.domain.errors import SettingMissing
from closedwon.domain.identifiers import AccountId
from closedwon.domain.marks import Backlinks
from closedwon.intake.answers import Result, invalid
from closedwon.intake.requests import Intake
from closedwon.reconciliation import drift
from closedwon.reconciliation.drift import CustomerView, DealSeen, Watch
from closedwon.reconciliation.finding import KINDS, Compared, Finding, Remedy, Repair, repair_of
from closedwon.reconciliation.runs import Run, Storage
from closedwon.reconciliation.views import Live, account_seen, deal_seen, given_of, is_marked
from closedwon.salesforce.deal_records import deal_from_rows, trigger_of
from closedwon.salesforce.mapping_records import Row, Unreadable, mapped

Json = dict[str, Any]


@dataclass(frozen=True)
class Comparer:
    """Compares customers, and decides remedies, by one catalogue and the stack's policies.

    catalogue: the catalogue with all of some plans, one for all; backlinks: the way from Stigg back to an account;
    watch: what to look out for; remedies: what the stack repairs by itself, by kind of drift; by_hand, reductions:
    whether it repairs what somebody changed in Stigg by hand, and what would take something from the customer; now:
    epoch milliseconds.
    """

    catalogue: Callable[[Collection[str]], Catalogue]
    policy: Policy
    backlinks: Callable[[str], Backlinks]
    watch: Watch
    remedies: Mapping[str, Remedy]
    by_hand: Remedy
    reductions: Remedy
    now: Callable[[], int]

    def compare(self, view: CustomerView) -> Compared:
        """See `drift.compare`."""
        links = self.backlinks(view.customer.account_id)
        catalogue = self.catalogue(view.plan_ids)
        return drift.compare(view, catalogue, self.policy, links, self.watch, self.now())

    def verdict(self, view: CustomerView) -> tuple[tuple[Finding, ...], Repair | None]:
        """What differs, with what is to be done about each, and the repair, if there is one."""
        return repair_of(self.compare(view), self.remedies, by_hand=self.by_hand, reductions=self.reductions)


def remedies_of(repaired: str) -> dict[str, Remedy]:
    """What the stack repairs by itself, by kind of drift. In: the setting REPAIRED_DRIFT, kinds with commas.

    Raises SettingMissing for a kind that there is not.
    """
    kinds = {kind.strip() for kind in repaired.split(",")} - {"none"}
    # A misspelt kind would otherwise never be repaired, and nothing would say so.
    if unknown := kinds - KINDS.keys():
        raise SettingMissing(f"REPAIRED_DRIFT: there is no drift called {' or '.join(sorted(unknown))}")
    return {kind: "repair" if kind in kinds else "report" for kind in KINDS}


@dataclass
class Export:
    """One partition of what was exported, by account.

    read_at: when the run began; intake: compiles deals as it does those of a callout; trial_stages: the stages of open
    opportunities that give a trial.
    """

    read_at: datetime
    intake: Intake
    trial_stages: tuple[str, ...]
    opportunities: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    lines: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    provisionings: dict[str, dict[str, Json]] = field(default_factory=lambda: defaultdict(dict))
    subscriptions: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    heads: dict[str, Json] = field(default_factory=dict)
    parts: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    owners: dict[str, str] = field(default_factory=dict)
    accounts: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, storage: Storage, run: Run, partition: int, intake: Intake, trial_stages: tuple[str, ...]) -> Export:
        """Read a partition whole: about two thousand deals, whatever the size of the organisation."""
        export = cls(datetime.fromisoformat(run.started_at), intake, trial_stages)
        # In mode `changed` the exports only name accounts, each of which is read live: no line of theirs is compiled.
        mappings = mapped(storage.mappings(run)) if run.mode == "all" else None
        seen: set[str] = set()
        for record in storage.read(run, "opportunities", partition):
            export.opportunities[record["k"]].append(record["row"])
            seen.add(record["k"])
        for record in storage.read(run, "lines", partition):
            if mappings is not None:
                export.lines[record["opportunity"]].append(mappings.row(record["mapping"], record["row"]))
            seen.add(record["k"])
        for record in storage.read(run, "provisionings", partition):
            export.provisionings[record["k"]][record["row"]["Opportunity_ID__c"]] = record["row"]
            seen.add(record["k"])
        for record in storage.read(run, "customers", partition):
            seen.add(record["k"])
            export._keep(record["k"], record.get("item"))
        # Not in `seen`: a key may be the ID of a customer in Stigg instead of an account; `_unknown` tells.
        for record in storage.read(run, "subscriptions", partition):
            export.subscriptions[record["k"]].append(record["row"])
        export.owners = {record["k"]: record["account"] for record in storage.read(run, "owners", partition)}
        # Sorted, because time may run out: a second try then looks at the same ones first.
        export.accounts = sorted(seen)
        return export

    def _keep(self, account_id: str, item: Json | None) -> None:
        """Keep one item of the ledger, where it was exported."""
        # In mode `changed` the ledger's export is a list of overdue accounts without what it holds of them.
        if item is None:
            return
        if item["sk"] == "CUSTOMER":
            self.heads[account_id] = item
        elif "body" in item:  # else it is of a kind that a newer version added
            self.parts[account_id][item["sk"]] = item["body"]

    @property
    def deals(self) -> int:
        return sum(map(len, self.opportunities.values()))

    def suspects(self, comparer: Comparer, live: Live, deep: bool) -> Iterator[str]:
        """The accounts that may differ, by what was exported. deep: and by a read of each subscription of ours, now,
        by `live`, which shows what Stigg's lists leave out.
        """
        for account_id in self.accounts:
            view = self.view(account_id)
            # Before the comparison: no export holds these values, so that a changed one would make nobody a suspect.
            if deep:
                view = replace(view, allowed=live.allowed(view.subscriptions or ()))
            if comparer.compare(view).suspect:
                yield account_id
        yield from self._unknown()

    def _unknown(self) -> Iterator[str]:
        """The accounts of subscriptions whose customer the ledger does not know by that ID."""
        for key, subscriptions in self.subscriptions.items():
            if key in self.heads:
                continue
            if key in self.owners:  # not marked as ours, and of a customer whose ID is not its account's
                yield self.owners[key]
            elif any(map(is_marked, subscriptions)):
                yield key  # made by closed-won, and its ledger does not know the customer

    def view(self, account_id: str) -> CustomerView:
        """One customer's view as it was exported, each at its own moment."""
        customer = Customer(AccountId(account_id))
        if head := self.heads.get(account_id):
            customer = customer_of(account_id, int(head["rev"]), head["body"], self.parts[account_id])
        rows = self.opportunities.get(account_id, [])
        return CustomerView(
            customer=customer,
            deals=tuple(self.deal(row, customer) for row in rows),
            account=account_seen(rows[0]["Account"]) if rows and rows[0].get("Account") else None,
            provisionings=self.provisionings.get(account_id, {}),
            subscriptions=tuple(self.subscriptions.get(account_id, ())),
            # Unknown: a customer without a subscription is in no list that was exported.
            customer_in_stigg=None,
            allowed=None,
            live=False,
        )

    def deal(self, row: Json, customer: Customer) -> DealSeen:
        """An opportunity as it was exported, with the order a callout would have made of it."""
        known = customer.opportunities.get(row["Id"])
        trigger = trigger_of(row, known.order.trigger if known else None, self.trial_stages)
        if trigger is None:
            return deal_seen(row, None, None)
        try:
            content = given_of(row, trigger, self.intake)
            # The lines and dates of an opportunity that cancels are those of what was not sold: they are not read.
            if trigger != "cancellation":
                content = deal_from_rows(content, row, self.lines.get(row["Id"], ()), self.read_at)
        except Unreadable as error:
            return deal_seen(row, trigger, invalid(row["Id"], [error.problem]))
        # Contracts that deals name are not looked up here, one by one: what differs because of it is looked at live.
        found = self.intake.valid_deal(content)
        return deal_seen(row, trigger, found if isinstance(found, Result) else self.intake.compiled(found))
