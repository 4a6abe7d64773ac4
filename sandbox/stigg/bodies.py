"""What the stand-in accepts besides customers, subscriptions and credits: as `models`, for the other endpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .models import (
    Addon,
    BillingPeriod,
    Body,
    Charge,
    Currency,
    CustomerIdentifier,
    Identifier,
    Instant,
    Maybe,
    Metadata,
    MonthlyReset,
    Number,
    ResetPeriod,
    SubscriptionProvision,
    Vendor,
    WeeklyReset,
    Whole,
    YearlyReset,
)
from .records import GrantPeriod

Dimensions = dict[str, str | int | float | bool]
LinkVendor = Literal["STRIPE", "ZUORA", "HUBSPOT", "AWS_MARKETPLACE"]
"""The vendors whose links have endpoints of their own. Others are linked by POST and PATCH of a customer."""


class Nothing(Body):
    """A request that says nothing but where it goes."""


# Customers


class PaymentMethodAttach(Body):
    integration_id: str
    payment_method_id: str
    vendor_identifier: Vendor
    billing_currency: Currency | None = None


class IntegrationLink(Body):
    id: str
    synced_entity_id: str
    vendor_identifier: LinkVendor


class IntegrationUpdate(Body):
    synced_entity_id: str | None


class ImportedCustomer(Body):
    id: CustomerIdentifier
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] | None
    name: str | None
    billing_id: Maybe[str] = None
    metadata: Maybe[Metadata] = None
    payment_method_id: Maybe[str] = None
    salesforce_id: Maybe[str] = None
    updated_at: Maybe[Instant] = None


class CustomerImport(Body):
    customers: Annotated[list[ImportedCustomer], Field(min_length=1)]
    integration_id: Maybe[str] = None


class PromotionalEntitlement(Body):
    """Every field must be there; what does not apply is null."""

    custom_end_date: Instant | None
    enum_values: list[str] | None
    feature_id: str
    has_soft_limit: bool | None
    has_unlimited_usage: bool | None
    is_visible: bool | None
    monthly_reset_period_configuration: MonthlyReset | None
    period: GrantPeriod
    reset_period: ResetPeriod | None
    usage_limit: Annotated[Whole, Field(ge=0)] | None
    weekly_reset_period_configuration: WeeklyReset | None
    yearly_reset_period_configuration: YearlyReset | None


class PromotionalEntitlementCreate(Body):
    promotional_entitlements: Annotated[list[PromotionalEntitlement], Field(min_length=1)]


# Contracts


class ContractSubscription(Body):
    existing_subscription_id: Maybe[str] = None
    new_subscription: Maybe[SubscriptionProvision] = None


class ContractCreate(Body):
    customer_id: str
    activation_end_date: Maybe[Instant] = None
    activation_start_date: Maybe[Instant] = None
    contract_id: Maybe[Identifier] = None
    name: str | None = None
    po_number: str | None = None
    setup_billing: Maybe[bool] = None
    subscriptions: Maybe[list[ContractSubscription]] = None


class ContractUpdate(Body):
    activation_end_date: Maybe[Instant] = None
    activation_start_date: Maybe[Instant] = None
    name: str | None = None
    po_number: str | None = None
    setup_billing: Maybe[bool] = None
    subscription_ids: Maybe[list[str]] = None


# Subscriptions


class SubscriptionDelegate(Body):
    target_customer_id: str


class SubscriptionTransfer(Body):
    destination_resource_id: Identifier


class SubscriptionMigrate(Body):
    subscription_migration_time: Maybe[Literal["END_OF_BILLING_PERIOD", "IMMEDIATE"]] = None


class ImportedSubscription(Body):
    id: Identifier
    customer_id: str
    plan_id: str
    addons: Maybe[list[Addon]] = None
    billing_id: str | None = None
    billing_period: Maybe[BillingPeriod] = None
    charges: Maybe[list[Charge]] = None
    end_date: Instant | None = None
    metadata: Maybe[Metadata] = None
    resource_id: Identifier | None = None
    start_date: Maybe[Instant] = None


class SubscriptionImport(Body):
    subscriptions: Annotated[list[ImportedSubscription], Field(min_length=1)]
    integration_id: str | None = None


# Credits


class Consumption(Body):
    amount: Annotated[Number, Field(gt=0)]
    currency_id: str
    customer_id: str
    idempotency_key: Annotated[str, Field(min_length=1)]
    created_at: Maybe[Instant] = None
    dimensions: Maybe[Dimensions] = None
    resource_id: Maybe[Identifier] = None


class Consumptions(Body):
    consumptions: Annotated[list[Consumption], Field(min_length=1, max_length=1000)]


# Usage


class UsageEstimate(Body):
    customer_id: str
    feature_id: str
    value: Number
    dimensions: Maybe[Dimensions] = None
    resource_id: Identifier | None = None
    update_behavior: Maybe[Literal["DELTA", "SET"]] = None


class UsageReport(UsageEstimate):
    created_at: Maybe[Instant] = None
    idempotency_key: Maybe[Annotated[str, Field(min_length=1)]] = None


class UsageReports(Body):
    usages: Annotated[list[UsageReport], Field(min_length=1)]


class EventEstimate(Body):
    customer_id: str
    event_name: Annotated[str, Field(min_length=1)]
    dimensions: Maybe[Dimensions] = None
    resource_id: Identifier | None = None


class Event(EventEstimate):
    idempotency_key: Annotated[str, Field(min_length=1)]
    timestamp: Maybe[Instant] = None


class EventReports(Body):
    events: Annotated[list[Event], Field(min_length=1)]
