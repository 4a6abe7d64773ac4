"""A customer's deals, played through the oracle of the proofs and the product's contract model side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.instants import At, Instant
from proof import oracle
from unit.agreements import Json, Life


@dataclass
class Both:
    """One customer as the product sees it, and as the oracle does."""

    life: Life
    rules: oracle.Rules
    readings: dict[str, list[Json]] = field(default_factory=dict)
    memory: oracle.Memory = field(default_factory=oracle.Memory)
    approved: set[str] = field(default_factory=set)

    def send(self, *deals: Json) -> None:
        for deal in deals:
            known = self.readings.setdefault(deal["opportunity"]["id"], [])
            if deal not in known:
                known.append(deal)
                known.sort(key=_revision)
        self.life.send(*deals)
        self.look()

    def approve(self, id: str) -> str | None:
        self.approved.add(id)
        refused = self.life.approve(id)
        self.look()
        return refused

    def wait(self, until: Instant) -> None:
        self.life.wait(until)
        self.look()

    def look(self) -> oracle.Expected:
        """What the oracle says now, and remembers."""
        return oracle.expected(self.readings, self.memory, self.approved, (), self.now, self.rules)

    @property
    def now(self) -> datetime:
        return self.life.now.astimezone(UTC)

    def disagreements(self) -> list[str]:
        """Where the two differ now: statuses, and what stands."""
        said, agreement = self.look(), self.life.agreement()
        return [*_of_statuses(said, agreement), *_of_subscriptions(said, agreement, self.now)]


def _revision(deal: Json) -> tuple[datetime, datetime]:
    opportunity = deal["opportunity"]
    return datetime.fromisoformat(opportunity["systemModstamp"]), datetime.fromisoformat(opportunity["readAt"])


def _of_statuses(said: oracle.Expected, agreement: Agreement) -> list[str]:
    wrong = []
    for id, status in agreement.statuses().items():
        if status.kind not in said.statuses[id].split("|"):
            code = status.hold.code if status.hold else status.why
            wrong.append(
                f"{id}: the product says {status.kind} ({code}), the oracle {said.statuses[id]} ({said.codes.get(id)})"
            )
    return wrong


def _of_subscriptions(said: oracle.Expected, agreement: Agreement, now: datetime) -> list[str]:
    wrong = []
    theirs = {oracle.Slot(*slot): _shown(found, now) for slot, found in agreement.desired().subscriptions.items()}
    ours = {slot: _said(found) for slot, found in said.subscriptions.items()}
    for key in sorted({*theirs, *ours}, key=str):
        one, other = theirs.get(key), ours.get(key)
        if one is None or other is None:
            if key not in said.may_stand or one is None or one["trial end"] != said.may_stand[key]:
                wrong.append(f"{key}: the product has {one}, the oracle {other}")
            continue
        wrong += [
            f"{key} {name}: the product has {one[name]}, the oracle {other[name]}"
            for name in one
            if one[name] != other[name] and name in other
        ]
    return list(dict.fromkeys(wrong))


def _said(found: oracle.Stands) -> dict[str, Any]:
    return {
        "plan": found.plan,
        "units": found.units,
        "addons": found.addons,
        "limits": found.limits,
        "charges": found.charges,
        "prices": {name: round(price, 4) for name, price in found.prices.items()},
        "currencies": {found.currency} if found.prices else set(),
        "billing": found.billing,
        "starts": found.starts,
        "ends": found.ends,
        "trial end": found.trial_end,
        "opportunities": found.opportunities,
    }


def _shown(found: Any, now: datetime) -> dict[str, Any]:
    start = found.start.astimezone(UTC) if found.start is not None else None
    return {
        "plan": found.plan_id,
        "units": found.unit_quantity,
        "addons": dict(found.addons),
        "limits": {one.id: "granted" if one.limit is None else one.limit for one in found.entitlements},
        "charges": dict(found.charges),
        "prices": {price.of: round(price.amount, 4) for price in found.prices},
        "currencies": {price.currency for price in found.prices},
        "billing": found.billing_period,
        "starts": start if start is not None and start > now else None,
        "ends": found.cancellation.instant.astimezone(UTC) if isinstance(found.cancellation, At) else None,
        "trial end": found.trial_end.astimezone(UTC) if found.trial_end else None,
        "opportunities": set(found.opportunities),
    }
