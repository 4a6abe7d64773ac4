"""What Stigg knows at a moment, and what it does to customers and credits, free of HTTP.

What it does to subscriptions is in `provisioning` and `changing`. The caller holds the lock and has let time advance.
Everything that is refused raises `Refused`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from . import entitlements, models, rules, usage
from .customers import CreditGrant, Customer
from .errors import Refused, invalid, not_found
from .packages import Catalogue
from .state import Book, Subscription

Archiving = Literal["cancels", "keeps", "refuses"]
"""What archiving does to a customer's subscriptions, which is told in three ways: "All active subscriptions are
canceled" (docs.stigg.io, *Archive Customer*); "preventing new subscriptions. Optionally cancels existing" (the SDK,
whose call has no such option); "Ensure the customer has no active paid or custom subscriptions" (*Archiving a
customer*). Strictest for who made them is the first.
"""

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class Service:
    """A book and the catalogue it goes by.

    now: the present, as of the last `catch_up`. defer_updates: the environment puts updates off to the end of the
    billing period unless told IMMEDIATE. environment: the first part of its pages' paths. archiving: what becomes of an
    archived customer's subscriptions.
    """

    catalogue: Catalogue
    defer_updates: bool = False
    environment: str = "sandbox"
    archiving: Archiving = "cancels"
    now: datetime = NEVER
    book: Book = field(default_factory=Book)

    def catch_up(self, now: datetime) -> None:
        """Let time pass until `now`, which holds for all that is asked until the next call."""
        self.now = now
        self.book.advance(now)

    # Customers

    def customer(self, customer_id: str) -> Customer:
        """A customer. One that is archived is answered like one that never was (docs.stigg.io, *Archiving a customer*:
        "no longer returned by the Stigg API").
        """
        found = self.book.customers.get(customer_id)
        if found is None or found.archived_at is not None:
            raise not_found("Customer", customer_id)
        return found

    def stranger(self, customer_id: str) -> str | None:
        """Why nothing can be said about a customer, as `accessDeniedReason` does; None for one that is known."""
        found = self.book.customers.get(customer_id)
        if found is None:
            return "CustomerNotFound"
        return "CustomerIsArchived" if found.archived_at is not None else None

    def provision_customer(self, wanted: models.CustomerProvision) -> tuple[Customer, bool]:
        """Make a customer, or change the one of that ID. Returns it, and whether it is new.

        The ID of an archived customer stays taken: what Stigg answers is not documented, so it is refused.
        """
        now = self.now
        if self.stranger(wanted.id) == "CustomerIsArchived":
            raise Refused(409, "EntityIsArchivedError", f"customer {wanted.id} is archived")
        created = wanted.id not in self.book.customers
        sent = self._customer_fields(wanted)
        customer = self.book.customers.get(wanted.id) or Customer(wanted.id, now, now)
        sent.pop("id")
        if "defaultPaymentMethod" in sent:
            method = sent.pop("defaultPaymentMethod")
            customer.payment_method = method and {"cardBrand": None, "walletType": None, **method}
        customer.fields.update(sent)
        customer.updated_at = now
        self.book.customers[wanted.id] = customer
        return customer, created

    def update_customer(self, customer_id: str, wanted: models.CustomerUpdate) -> Customer:
        """Change what is sent. Metadata and integrations are replaced as a whole."""
        customer = self.customer(customer_id)
        customer.fields.update(self._customer_fields(wanted))
        customer.updated_at = self.now
        return customer

    def _customer_fields(self, wanted: models.CustomerUpdate) -> dict[str, Any]:
        rules.once("integrations", (link.id for link in wanted.integrations or ()))
        if any(link.synced_entity_id is None for link in wanted.integrations or ()):
            raise invalid("syncedEntityId is required to link an integration")
        if wanted.coupon_id and wanted.coupon_id not in self.catalogue.coupons:
            raise not_found("Coupon", wanted.coupon_id)
        return wanted.sent()

    def seed_customer(self, sent: dict[str, Any]) -> None:
        """A customer as it would be after POST, unchecked."""
        id = sent.pop("id")
        self.book.customers[id] = Customer(id, self.now, self.now, sent)

    def attach_payment_method(self, customer_id: str, declines: bool = False) -> None:
        """The customer has a card from now on. Subscriptions that wait for payment go on waiting.

        declines: charging it fails.
        """
        customer = self.customer(customer_id)
        customer.card_declines = declines
        customer.payment_method = {
            "billingId": f"pm_{secrets.token_hex(8)}",
            "cardBrand": "visa",
            "cardExpiryMonth": 12,
            "cardExpiryYear": 2039,
            "cardLast4Digits": "4242",
            "type": "CARD",
            "walletType": None,
        }

    def allowances(self, customer_id: str, resource_id: str | None = None) -> entitlements.Allowances:
        """What the customer may use: without a resource what is the customer's own, with one that resource's too."""
        return self._allowed(customer_id, resource_id, self.grants(customer_id, resource_id))

    def included(self, customer_id: str, resource_id: str | None = None) -> entitlements.Allowances:
        """As `allowances`, without what was granted once."""
        return self._allowed(customer_id, resource_id, ())

    def grants(self, customer_id: str, resource_id: str | None) -> list[CreditGrant]:
        """The customer's own credit grants, and those of a resource."""
        known = self.book.grants.values()
        return [one for one in known if one.customer_id == customer_id and one.resource_id in (None, resource_id)]

    def _allowed(
        self, customer_id: str, resource_id: str | None, grants: Iterable[CreditGrant]
    ) -> entitlements.Allowances:
        self.customer(customer_id)
        book = self.book
        held = (one for one in book.subscriptions.of(customer_id) if one.resource_id in (None, resource_id))
        given = (one for one in book.promotions.values() if one.customer_id == customer_id)
        allowed = entitlements.effective(self.catalogue, held, grants, given, self.now)
        allowed = usage.counted(book, customer_id, resource_id, allowed, self.now)
        return entitlements.spent(book.spendings.get(customer_id, ()), resource_id, allowed, self.now)

    # Subscriptions

    def subscription(self, subscription_id: str) -> Subscription:
        found = self.book.subscriptions.get(subscription_id)
        if found is None:
            raise not_found("Subscription", subscription_id)
        return found

    # Credits

    def grant_credits(self, wanted: models.GrantCreate) -> CreditGrant:
        """Grant credits once. With INVOICE and a cost they wait for payment."""
        now = self.now
        self.customer(wanted.customer_id)
        if wanted.currency_id not in self.catalogue.currencies:
            raise not_found("CustomCurrency", wanted.currency_id)
        effective = wanted.effective_at or now
        if wanted.expire_at is not None and wanted.expire_at <= effective:
            raise invalid("expireAt must lie after effectiveAt", "ExpireAtMustBeLaterThanEffectiveAtError")
        billing = wanted.billing_information
        grant = CreditGrant(
            id=f"credit-grant-{secrets.token_hex(6)}",
            customer_id=wanted.customer_id,
            currency_id=wanted.currency_id,
            amount=wanted.amount,
            fields=wanted.sent(),
            created_at=now,
            effective_at=effective,
            expire_at=wanted.expire_at,
            pending=bool(
                wanted.payment_collection_method == "INVOICE"
                and wanted.cost
                and wanted.cost.amount
                and not (billing and billing.is_invoice_paid)
            ),
        )
        self.book.grants[grant.id] = grant
        return grant
