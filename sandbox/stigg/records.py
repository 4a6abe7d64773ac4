"""What the stand-in remembers besides customers, subscriptions and credits: contracts, promotions, usage, credits
spent.

Plain records; what becomes of them is in `contracts`, `promotional`, `usage` and `spending`.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from .packages import stamp

ContractState = Literal["DRAFT", "ACTIVE", "CANCELED", "END_BILLING"]
InvoiceStatus = Literal["OPEN", "CANCELED", "PAID"]
BillingReason = Literal["SUBSCRIPTION_CREATION", "SUBSCRIPTION_UPDATE", "BILLING_CYCLE"]
GrantPeriod = Literal["1 week", "1 month", "6 month", "1 year", "lifetime", "custom"]


def cursor() -> str:
    """A name for a place in a list that says nothing about the record."""
    return uuid.uuid4().hex


@dataclass
class Invoice:
    """The latest invoice of a subscription. billing_id: the billing provider's name for it."""

    billing_id: str
    created_at: datetime
    status: InvoiceStatus
    reason: BillingReason
    requires_action: bool = False

    def json(self) -> dict[str, Any]:
        """What the API shows. The SDK's types let amounts be left out, and they are: nobody may count on them."""
        return {
            "billingId": self.billing_id,
            "createdAt": stamp(self.created_at),
            "requiresAction": self.requires_action,
            "status": self.status,
            "amountDue": None,
            "billingReason": self.reason,
            "currency": None,
            "pdfUrl": None,
            "total": None,
        }


@dataclass
class Contract:
    """What was agreed with a customer. contract_id: the caller's name for it; id: Stigg's own, which subscriptions
    refer to. billing: whether it is charged for by way of a billing provider.
    """

    id: str
    contract_id: str
    customer_id: str
    created_at: datetime
    billing: bool = False
    name: str | None = None
    po_number: str | None = None
    activation_start_date: datetime | None = None
    activation_end_date: datetime | None = None
    canceled_at: datetime | None = None
    cursor: str = field(default_factory=cursor)

    def state(self, now: datetime) -> ContractState:
        """Stigg names the states and does not say when each holds: they are taken by their names here."""
        if self.canceled_at is not None:
            return "CANCELED"
        if self.activation_start_date is not None and self.activation_start_date > now:
            return "DRAFT"
        if self.activation_end_date is not None and self.activation_end_date <= now:
            return "END_BILLING"
        return "ACTIVE"


@dataclass
class Promotion:
    """A feature given to a customer outside of any subscription. fields: as sent, by wire names."""

    id: str
    customer_id: str
    feature_id: str
    period: GrantPeriod
    created_at: datetime
    updated_at: datetime
    end_date: datetime | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    cursor: str = field(default_factory=cursor)

    def active(self, now: datetime) -> bool:
        return self.end_date is None or self.end_date > now


@dataclass
class Measurement:
    """Usage of a feature that was reported. value: what it adds to the usage at `timestamp`, less than nothing too."""

    id: str
    customer_id: str
    feature_id: str
    timestamp: datetime
    created_at: datetime
    value: float = 0
    resource_id: str | None = None
    dimensions: dict[str, str | float | bool] = field(default_factory=dict)
    idempotency_key: str | None = None


@dataclass
class Spending:
    """Credits that were spent. grant_id: the grant they were of; None for those that a plan includes."""

    customer_id: str
    currency_id: str
    idempotency_key: str
    timestamp: datetime
    created_at: datetime
    resource_id: str | None = None
    grant_id: str | None = None
    amount: float = 0
