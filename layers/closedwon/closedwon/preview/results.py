"""The preview of one deal, put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from closedwon.domain.acceptance import Acceptance
from closedwon.domain.changes import slot_of
from closedwon.domain.desired import Slot
from closedwon.domain.order import Order, Problem, same_deal
from closedwon.intake.answers import errors_of
from closedwon.intake.deal import Deal
from closedwon.preview.answers import PreviewedCharges, PreviewedInvoices, PreviewResult
from closedwon.preview.cautions import Warnings
from closedwon.preview.charging import compared
from closedwon.preview.deal_view import DealView
from closedwon.preview.described import Described
from closedwon.preview.foresight import Foresight
from closedwon.preview.summary import Summary
from closedwon.words.reasons import sentence


def preview_of(
    foresight: Foresight,
    deal: Deal,
    order: Order,
    acceptance: Acceptance,
    customer_changes: Sequence[str] = (),
    invoices: Mapping[Slot, PreviewedInvoices] = {},
    refusals: Mapping[Slot, str] = {},
) -> PreviewResult:
    """The answer to one deal.

    In: its customer's future; the deal as it was sent and compiled; how the ledger would answer it; what of the
    customer itself would be made or changed in Stigg, in sentences; by slot, Stigg's invoices, and why Stigg refused
    to compute them.
    """
    state = foresight.customer.opportunities.get(order.opportunity_id)
    if acceptance.problems or state is None:
        return invalid(order.opportunity_id, acceptance.problems)
    # Of several revisions in one request only the newest was planned for.
    if acceptance.status == "superseded" or not same_deal(state.order, order):
        return PreviewResult(
            opportunity_id=order.opportunity_id,
            status="ok",
            summary=["Nothing is done for this deal as it was sent."],
            warnings=["A newer revision of this deal was accepted: this older one is ignored."],
            customer_id=foresight.customer.customer_id,
        )
    return _result(DealView(foresight, deal, order, refusals), customer_changes, invoices)


def invalid(opportunity_id: str | None, problems: Iterable[Problem], warnings: Sequence[str] = ()) -> PreviewResult:
    problems = list(problems)
    return PreviewResult(
        opportunity_id=opportunity_id,
        status="invalid",
        errors=errors_of(problems),
        warnings=list(warnings),
        reasons=[str(problem) for problem in problems],
        codes=[problem.code for problem in problems],
    )


def _result(
    view: DealView, customer_changes: Sequence[str], invoices: Mapping[Slot, PreviewedInvoices]
) -> PreviewResult:
    # To a callout this comes later, as the deal's status: the catalogue is not read for its answer.
    if view.id in view.foresight.desired.refused:
        refusal = invalid(view.id, view.foresight.desired.refused[view.id], Warnings(view).told())
        return refusal.model_copy(update={"customer_id": view.foresight.customer.customer_id})
    summary = Summary(view)
    later_changes = list(summary.later_changes())
    return PreviewResult(
        opportunity_id=view.id,
        status="held" if view.outcome.status == "Held" else "ok",
        summary=summary.told(customer_changes, later_changes),
        warnings=Warnings(view).told(),
        reasons=[sentence(why) for why in view.whys()],
        codes=[code for why in view.whys() for code in why.codes],
        customer_id=view.foresight.customer.customer_id,
        changes=Described(view).changes(),
        scheduled=[*summary.starts(), *later_changes],
        charges=_charges(view),
        invoices=[invoices[slot_of(change)] for change in view.changes if slot_of(change) in invoices],
    )


def _charges(view: DealView) -> list[PreviewedCharges]:
    """What one billing period charges before and after, where this deal, or one it is linked with, has a part."""
    foresight = view.foresight
    moments = [at for at, _ in foresight.moments]
    return list(compared(foresight.before, foresight.agreement, moments, view.relatives, view.calendar))
