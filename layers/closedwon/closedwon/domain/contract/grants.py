"""Grants: the credits that deals grant once. Pure."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING

from closedwon.domain.contract.pieces import Line
from closedwon.domain.desired import Grant
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import NO_DAY, Moment, iso_utc

if TYPE_CHECKING:
    from closedwon.domain.contract.standing import Evaluation


class Grants:
    """The credits that the deals of an evaluation grant. In: the evaluation."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation

    def at(self, at: Moment) -> tuple[Grant, ...]:
        """The credits of which the day has come at a moment, and whose deal is not over."""
        found: dict[str, Grant] = {}
        for line in self._grant_lines:
            # Who comes with a deal that is over, as a backfill does, is not given credits for it.
            if line.start > at or self._over.get(line.deal.id, NO_DAY) <= at:
                continue
            grant = self._grant(line)
            known = found.get(grant.key)
            if known is not None:  # lines of one currency and the same dates are one grant
                cost = None if known.cost is None and grant.cost is None else (known.cost or 0) + (grant.cost or 0)
                grant = Grant(**{**vars(grant), "amount": known.amount + grant.amount, "cost": cost})
            found[grant.key] = grant
        return tuple(found.values())

    @cached_property
    def _grant_lines(self) -> list[Line]:
        lines = (line for line in self._evaluation.contracts.lines if line.is_grant and line.ever)
        return sorted(lines, key=lambda line: line.deal.id)

    @cached_property
    def _over(self) -> dict[OpportunityId, Moment]:
        """When each deal is over: when the last of its lines ends."""
        over: dict[OpportunityId, Moment] = {}
        for line in self._evaluation.contracts.lines:
            if line.ever and not line.is_grant:
                over[line.deal.id] = max(over.get(line.deal.id, line.end), line.end)
        return over

    def _grant(self, line: Line) -> Grant:
        order, item = line.deal.order, line.item
        terms = self._evaluation.terms.at(line.contract, line.slot, line.start).terms
        name = [line.deal.id, item.stigg_id, *(day and iso_utc(day) for day in (item.start, item.end))]
        return Grant(
            key=hashlib.sha256(json.dumps(name).encode()).hexdigest()[:32],
            opportunity_id=line.deal.id,
            opportunity_name=order.opportunity_name,
            currency_id=item.stigg_id,
            amount=item.quantity,
            resource_id=line.slot.resource_id,
            effective_at=line.start.instant,
            expire_at=item.end,
            cost=round(item.price * item.quantity, 6) if item.price else None,
            money=order.currency,
            payment_collection=order.payment_collection or terms.payment_collection,
        )
