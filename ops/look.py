"""Reads one customer as it is now in Salesforce, the ledger and Stigg, and compares by the rules of reconciliation.

Writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import botocore.exceptions

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.customer import Customer
from closedwon.domain.errors import ClosedWonError
from closedwon.reconciliation.drift import CustomerView
from closedwon.reconciliation.finding import Finding, Repair
from closedwon.reconciliation.views import Live
from closedwon.salesforce.package import NEWEST, InstalledPackage
from closedwon.stack import Stack as Parts
from closedwon.stigg.catalogue import detailed, fetch_catalogue, kept_catalogue
from ops.stack import in_words

T = TypeVar("T")

ACTS_AS = ("ReconcileBeginFunction", "ReportFunction", "CompareFunction")
"""The functions whose settings a look needs."""

IN_SALESFORCE = ("missing_write_back", "stale_write_back")
"""What Salesforce shows wrong."""

OF_DEALS = (
    "missed_deal",
    "missed_revision",
    "mapping_changed",
    "held_too_long",
    "failed_not_rerun",
    "moved_deal",
    "merged_account",
    "deleted_deal",
    "unreadable_deal",
)
"""What is wrong between Salesforce and the ledger. All other kinds are Stigg's."""


@dataclass
class Look:
    """What was seen. not_reached: who could not be asked, with why. compared: whether all was there to compare by, and
    nobody works on the customer. repair: what the stack's policy would repair.
    """

    view: CustomerView
    not_reached: dict[str, str] = field(default_factory=dict)
    under_way: bool = False
    compared: bool = False
    findings: tuple[Finding, ...] = ()
    repair: Repair | None = None

    def found(self, where: str) -> list[Finding]:
        """What differs in Salesforce's records, between the deals and the ledger ("deals"), or in Stigg."""
        kinds = {"Salesforce": IN_SALESFORCE, "deals": OF_DEALS}.get(where)
        if kinds is None:
            return [one for one in self.findings if one.kind not in IN_SALESFORCE + OF_DEALS]
        return [one for one in self.findings if one.kind in kinds]


def look_at(customer: Customer, parts: Parts) -> Look:
    """Look at a customer of the ledger. Salesforce and Stigg are asked each by itself: where one does not answer, the
    other is still seen.
    """
    look = Look(CustomerView(customer))
    account_id = customer.account_id

    def asked(whom: str, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except ClosedWonError as error:
            look.not_reached[whom] = f"{type(error).__name__}: {error}"
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            look.not_reached[whom] = in_words(error)
        return None

    # A look writes nothing: what it is told of the package is not kept.
    package = InstalledPackage(parts.ledger, parts.now, keeps=False)
    live = _live(parts, package)
    # Salesforce first: the account may name its customer in Stigg where the ledger does not.
    if found := asked("Salesforce", lambda: live.in_salesforce({account_id: customer})):
        look.view = found[account_id]
    # Deep: an entitlement's value that somebody changed by hand shows only in what is in effect.
    if seen := asked("Stigg", lambda: live.in_stigg(look.view, deep=True)):
        look.view = seen
    catalogue = _catalogue(parts, lambda: asked("Stigg", lambda: fetch_catalogue(parts.quick_stigg, parts.now())), look)
    if catalogue is not None and catalogue.undetailed(look.view.plan_ids):
        # What these plans charge decides what the customer should have: without it nothing is compared.
        known = catalogue
        catalogue = asked("Stigg", lambda: detailed(known, look.view.plan_ids, parts.quick_stigg))
    if catalogue is not None:
        # Where Salesforce did not answer, no record is there to be compared.
        shows = asked("Salesforce", lambda: package.current(parts.quick_salesforce)) if found else None
        comparer = parts.comparer(deals_since(parts), catalogue, shows or NEWEST)
        look.under_way = comparer.compare(look.view).under_way
        look.compared = not look.under_way
        look.findings, look.repair = comparer.verdict(look.view)
    return look


def _catalogue(parts: Parts, fetched: Callable[[], Catalogue | None], look: Look) -> Catalogue | None:
    """The catalogue to compare by. fetched: it, as Stigg has it now."""
    # What provisioning itself would decide by, where it is fresh enough.
    catalogue = kept_catalogue(parts.ledger, parts.now())
    if catalogue is None and "Stigg" not in look.not_reached:
        # Not kept as the snapshot: a look writes nothing.
        catalogue = fetched()
    # Too old to provision by, but most differences do not depend on what changed since.
    return catalogue or Catalogue.kept(parts.ledger.snapshot())


def deals_since(parts: Parts) -> str:
    """The day of the first deals that had to arrive: as the stack says, since the first reconciliation, or today."""
    since = parts.settings.get("DEALS_SINCE") or parts.register.read().deals_since
    return since or datetime.now(UTC).date().isoformat()


def _live(parts: Parts, package: InstalledPackage) -> Live:
    stages = parts.settings.trial_stages
    return Live(parts.quick_salesforce, parts.quick_stigg, parts.ledger, parts.intake, stages, _no_pace, package)


def _no_pace(*_: Any) -> None:
    """Somebody waits for one customer: that is too little to ask the governor for."""
