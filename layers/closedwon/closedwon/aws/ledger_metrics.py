"""Metrics of the outcomes that the ledger records."""

from __future__ import annotations

from closedwon.aws import metrics
from closedwon.domain.code_list import CODES
from closedwon.domain.customer import Customer, OpportunityState
from closedwon.domain.errors import FAILURES, UNEXPECTED

BROUGHT_IN_LATE = 172_800_000
"""A deal that was accepted, or failed last, so long after its revision was not on its way: the backfill brought it in,
or somebody had to mend something. How long it took says nothing about provisioning. In milliseconds.
"""


def measure(known: Customer, changed: Customer) -> None:
    """Note the outcomes that a write of the ledger changed. To be called once it is written."""
    for id, state in changed.opportunities.items():
        before = known.opportunities.get(id)
        status, was = state.outcome.status, before.outcome.status if before else None
        # Provisioning is no outcome yet; the same status once more would count one deal twice.
        if status in (was, "Provisioning"):
            continue
        metrics.note("Deals", Status=status)
        if status in ("Held", "Failed"):  # only these, which somebody may have to settle
            metrics.note("DealsByCode", Code=_counted_code(state.outcome.code))
        if status == "Held":
            metrics.note("Held", For="Approval" if state.outcome.approval else "Change")
        # Salesforce's clock made the revision, and may be ahead of this one: never less than nothing.
        if status == "Provisioned" and before is not None and _was_on_its_way(before, state):
            metrics.note("SecondsToProvisioned", max(0.0, (state.at - state.revision.modified) / 1000))


def _counted_code(code: str) -> str:
    """A code as a dimension, of which there must be few: only those there are."""
    return code if code in CODES or code in FAILURES or code == UNEXPECTED else "other"


def _was_on_its_way(before: OpportunityState, state: OpportunityState) -> bool:
    """Whether a deal that is provisioned now waited for closed-won alone, and since it was won."""
    # What was scheduled, held or to be paid waited for a date or for somebody.
    if before.settled is not None or before.outcome.status not in ("Provisioning", "Failed"):
        return False
    return before.at - state.revision.modified <= BROUGHT_IN_LATE
