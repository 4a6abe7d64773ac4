"""The changes of one deal as data, each with the whole subscription it leads to. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from closedwon.domain.changes import Change, Create, End, Hold, Update
from closedwon.domain.desired import Subscription
from closedwon.domain.instants import EndOfBillingPeriod, Instant, iso_utc
from closedwon.domain.records import SlotRecord
from closedwon.domain.subscription_ids import subscription_id
from closedwon.preview.answers import (
    PreviewedAddon,
    PreviewedChange,
    PreviewedEntitlement,
    PreviewedGrant,
    PreviewedPrice,
    PreviewedUnits,
)
from closedwon.preview.deal_view import DealView
from closedwon.preview.summary import when
from closedwon.words.reasons import in_words, told


class Described:
    """The changes of one deal as data."""

    def __init__(self, view: DealView) -> None:
        self.view, self.foresight = view, view.foresight

    def changes(self) -> list[PreviewedChange]:
        """What is done, kept, granted and held."""
        found = [self.change(change) for change in self.view.changes]
        found += [
            _described("keep", keep.subscription, keep.subscription_id, start=keep.subscription.start)
            for keep in self.view.kept
        ]
        found += [
            PreviewedChange(
                action="grant",
                resource_id=grant.resource_id,
                start=_text(grant.effective_at),
                opportunities=[grant.opportunity_id],
                grant=PreviewedGrant(
                    currency_id=grant.currency_id,
                    amount=grant.amount,
                    cost=grant.cost,
                    currency=grant.money,
                    expire_at=_text(grant.expire_at),
                ),
            )
            for grant in self.view.grants
        ]
        found += [self.hold(hold) for hold in self.view.holds]
        # A deal that the agreement holds back comes to no slot, so that no hold of the plan stands for it.
        if self.view.id in self.foresight.desired.held:
            said, code = told(self.view.outcome), self.view.outcome.code
            found.append(PreviewedChange(action="hold", opportunities=[self.view.id], reason=said, code=code))
        return found

    def change(self, change: Change) -> PreviewedChange:
        match change:
            case Create(wanted, generation, _, start):
                id = subscription_id(self.foresight.customer_id, wanted.slot, generation)
                return _described("create", wanted, id, start=self.foresight.begins(start))
            case Update(wanted, id):
                return _described("update", wanted, id, start=wanted.start, differs=list(change.changes))
            case End(slot, id, plan_id, opportunities):
                return PreviewedChange(
                    action="end",
                    plan_id=plan_id,
                    subscription_id=id,
                    resource_id=slot.resource_id,
                    trial=slot.trial,
                    opportunities=list(opportunities),
                    reason="makes way for the new one" if change.makes_way else when(change),
                )

    def hold(self, hold: Hold) -> PreviewedChange:
        wanted = self.foresight.desired.subscriptions.get(hold.slot)
        record = self.foresight.records.get(hold.slot, SlotRecord())
        said, code = in_words(hold.reason), hold.reason.code
        if wanted is not None:
            id = record.subscription_id
            return _described("hold", wanted, id, start=wanted.start, reason=said, code=code)
        return PreviewedChange(
            action="hold",
            plan_id=record.applied.plan_id if record.applied else None,
            subscription_id=record.subscription_id,
            resource_id=hold.slot.resource_id,
            trial=hold.slot.trial,
            opportunities=list(hold.opportunities),
            reason=said,
            code=code,
        )


def _described(
    action: str, wanted: Subscription, id: str | None, *, start: Instant | None, **more: Any
) -> PreviewedChange:
    """A change with the whole subscription it leads to."""
    if isinstance(wanted.cancellation, EndOfBillingPeriod):
        # Not instead of a hold's reason, which says what somebody has to decide.
        more.setdefault("reason", "ends with the billing period that is under way")
    return PreviewedChange.model_validate(
        {
            "action": action,
            "plan_id": wanted.plan_id,
            "subscription_id": id,
            "resource_id": wanted.slot.resource_id,
            "trial": wanted.slot.trial,
            "start": _text(start),
            "end": _text(wanted.cancellation.instant),
            "trial_end": _text(wanted.trial_end),
            "units": wanted.unit_quantity,
            "charges": [PreviewedUnits(feature_id=id, quantity=quantity) for id, quantity in wanted.charges],
            "addons": [PreviewedAddon(id=addon, quantity=quantity) for addon, quantity in wanted.addons],
            "entitlements": [PreviewedEntitlement(**asdict(entitlement)) for entitlement in wanted.entitlements],
            "prices": [PreviewedPrice(**asdict(price)) for price in wanted.prices],
            "billing_period": wanted.billing_period,
            "opportunities": list(wanted.opportunities),
            **more,
        }
    )


def _text(at: Instant | None) -> str | None:
    return None if at is None else iso_utc(at)
