"""Customers, and the credits that are granted to them, as the stand-in remembers them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .packages import stamp
from .records import cursor


@dataclass
class Customer:
    id: str
    created_at: datetime
    updated_at: datetime
    fields: dict[str, Any] = field(default_factory=dict)
    payment_method: dict[str, Any] | None = None
    archived_at: datetime | None = None
    card_declines: bool = False
    """Whether charging the payment method fails."""
    cursor: str = field(default_factory=cursor)

    @property
    def chargeable(self) -> bool:
        """Whether there is a payment method that pays."""
        return self.payment_method is not None and not self.card_declines

    @property
    def billing_currency(self) -> str:
        return self.fields.get("billingCurrency") or "usd"

    def json(self) -> dict[str, Any]:
        get = self.fields.get
        return {
            "id": self.id,
            "archivedAt": stamp(self.archived_at) if self.archived_at else None,
            "createdAt": stamp(self.created_at),
            "updatedAt": stamp(self.updated_at),
            "billingCurrency": get("billingCurrency"),
            "billingId": get("billingId"),
            "couponId": get("couponId"),
            "defaultPaymentMethod": self.payment_method,
            "email": get("email"),
            "integrations": get("integrations", []),
            "language": get("language"),
            "metadata": get("metadata", {}),
            "name": get("name"),
            "passthrough": get("passthrough"),
            "timezone": get("timezone"),
        }


@dataclass
class CreditGrant:
    id: str
    customer_id: str
    currency_id: str
    amount: float
    fields: dict[str, Any]
    created_at: datetime
    effective_at: datetime
    expire_at: datetime | None
    pending: bool
    voided_at: datetime | None = None
    consumed: float = 0
    cursor: str = field(default_factory=cursor)

    @property
    def resource_id(self) -> str | None:
        return self.fields.get("resourceId")

    def status(self, now: datetime) -> str:
        if self.voided_at:
            return "VOIDED"
        if self.pending:
            return "PAYMENT_PENDING"
        if self.expire_at and self.expire_at <= now:
            return "EXPIRED"
        return "SCHEDULED" if self.effective_at > now else "ACTIVE"

    def json(self, now: datetime) -> dict[str, Any]:
        get = self.fields.get
        return {
            "id": self.id,
            "amount": self.amount,
            "comment": get("comment"),
            "consumedAmount": self.consumed,
            "cost": get("cost") or {"amount": 0, "currency": "usd"},
            "createdAt": stamp(self.created_at),
            "currencyId": self.currency_id,
            "customerId": self.customer_id,
            "displayName": get("displayName"),
            "effectiveAt": stamp(self.effective_at),
            "expireAt": stamp(self.expire_at) if self.expire_at else None,
            "grantType": get("grantType"),
            "invoiceId": None,
            "latestInvoice": None,
            "metadata": get("metadata", {}),
            "paymentCollection": "PROCESSING" if self.pending else "NOT_REQUIRED",
            "priority": get("priority", 50),
            "resourceId": self.resource_id,
            "sourceType": None,
            "status": self.status(now),
            "syncStates": [],
            "updatedAt": stamp(self.voided_at or self.created_at),
            "voidedAt": stamp(self.voided_at) if self.voided_at else None,
        }
