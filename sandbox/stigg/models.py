"""What the stand-in accepts: one model for each request body, every field the API knows and no other.

The models are strict: an unknown field, a null where the API takes none, a number in quotes or a date without a zone
is refused. Names and types follow the official SDK's params types; `tests/contract/test_stigg_stand_in.py` compares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel

from .errors import Refused

CURRENCIES = frozenset(
    """
    aed all amd ang aud awg azn bam bbd bdt bgn bif bmd bnd brl bsd bwp byn bzd cad cdf chf clp cny
    czk djf dkk dop dzd egp etb eur fjd gbp gel gip gmd gnf gyd hkd hrk htg idr ils inr isk jmd jpy
    kes kgs khr kmf krw kyd kzt lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mro mvr mwk mxn myr mzn
    nad ngn nok npr nzd pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd sle sll sos szl
    thb tjs top try ttd tzs uah ugx usd uzs vnd vuv wst xaf xcd xof xpf yer zar zmw
    """.split()
)
"""The ISO 4217 codes Stigg takes, in lower case."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")


def _given(value: Any) -> Any:
    """Refuses null: a field may be left out, but not emptied."""
    if value is None:
        raise ValueError("null is not allowed here; leave the field out")
    return value


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 5.0 is 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _instant(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise ValueError("must be an ISO 8601 date-time with a zone")
    return datetime.fromisoformat(value).astimezone(UTC)


def _currency(value: Any) -> Any:
    if value not in CURRENCIES:
        raise ValueError("must be an ISO 4217 code in lower case")
    return value


T = TypeVar("T")
Maybe = Annotated[T | None, BeforeValidator(_given)]
"""A field that may be absent but not null."""

Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[int | float, Field(allow_inf_nan=False)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Currency = Annotated[str, BeforeValidator(_currency)]
Identifier = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_|.-]*$", min_length=1, max_length=255)]
"""Of a plan, a resource, and (no pattern was found for them, so the narrower one) a subscription, in JSON bodies."""

CustomerIdentifier = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_|.@-]*$", min_length=1, max_length=255)]
"""Of a customer: an e-mail address will do. Both: Stigg's API reference, which also says 1 to 255 characters."""
Metadata = dict[str, str]

BillingPeriod = Literal["MONTHLY", "ANNUALLY"]
CancellationTime = Literal["END_OF_BILLING_PERIOD", "IMMEDIATE", "SPECIFIC_DATE"]
PaymentCollectionMethod = Literal["CHARGE", "INVOICE", "NONE"]
ResetPeriod = Literal["YEAR", "MONTH", "WEEK", "DAY", "HOUR"]
ScheduleStrategy = Literal["END_OF_BILLING_PERIOD", "END_OF_BILLING_MONTH", "IMMEDIATE"]
TrialEndBehavior = Literal["CONVERT_TO_PAID", "CANCEL_SUBSCRIPTION"]
Vendor = Literal[
    "AUTH0",
    "ZUORA",
    "STRIPE",
    "HUBSPOT",
    "AWS_MARKETPLACE",
    "SNOWFLAKE",
    "SALESFORCE",
    "BIG_QUERY",
    "OPEN_FGA",
    "APP_STORE",
    "RECEIVED",
    "PREQUEL",
    "AIRWALLEX",
    "STRIPE_INVOICING",
]


class Body(BaseModel):
    """Base of all request bodies: camelCase names on the wire, nothing unknown, nothing coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _wire_names_only(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic lets a field's Python name pass, unread, beside its alias; on the wire it is an unknown field.
        if isinstance(value, dict) and info.context is None:
            for name, field in cls.model_fields.items():
                if name in value and name != field.alias:
                    raise ValueError(f"{name}: unknown field")
        return value

    def sent(self) -> dict[str, Any]:
        """The fields as they were sent, by their wire names."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class Money(Body):
    amount: Number
    currency: Currency


class Address(Body):
    city: Maybe[str] = None
    country: Maybe[str] = None
    line1: Maybe[str] = None
    line2: Maybe[str] = None
    postal_code: Maybe[str] = None
    state: Maybe[str] = None


class TaxId(Body):
    type: str
    value: str


# Customers


class DefaultPaymentMethod(Body):
    billing_id: str | None
    card_expiry_month: Number | None
    card_expiry_year: Number | None
    card_last4_digits: str | None
    type: Literal["CARD", "BANK", "CASH_APP", "PAYPAL"] | None


class Integration(Body):
    id: str
    synced_entity_id: str | None
    vendor_identifier: Vendor


class PassthroughStripe(Body):
    billing_address: Maybe[Address] = None
    customer_name: Maybe[str] = None
    invoice_custom_fields: Maybe[Metadata] = None
    metadata: Maybe[Metadata] = None
    payment_method_id: Maybe[str] = None
    shipping_address: Maybe[Address] = None
    tax_ids: Maybe[list[TaxId]] = None


class PassthroughZuora(Body):
    billing_address: Maybe[Address] = None
    currency: Maybe[Currency] = None
    metadata: Maybe[Metadata] = None
    payment_method_id: Maybe[str] = None


class Passthrough(Body):
    stripe: Maybe[PassthroughStripe] = None
    zuora: Maybe[PassthroughZuora] = None


class CustomerUpdate(Body):
    billing_currency: Currency | None = None
    billing_id: str | None = None
    coupon_id: str | None = None
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    integrations: Maybe[list[Integration]] = None
    language: str | None = None
    metadata: Maybe[Metadata] = None
    name: str | None = None
    passthrough: Maybe[Passthrough] = None
    timezone: str | None = None


class CustomerProvision(CustomerUpdate):
    id: CustomerIdentifier
    default_payment_method: DefaultPaymentMethod | None = None


# Subscriptions


class Addon(Body):
    id: str
    quantity: Annotated[Whole, Field(ge=1)]


class CouponConfiguration(Body):
    start_date: Maybe[Instant] = None


class CouponDiscount(Body):
    amounts_off: list[Money] | None = None
    description: Maybe[str] = None
    duration_in_months: Maybe[Number] = None
    name: Maybe[str] = None
    percent_off: Maybe[Annotated[Number, Field(ge=0, le=100)]] = None


class AppliedCoupon(Body):
    billing_coupon_id: Maybe[str] = None
    configuration: Maybe[CouponConfiguration] = None
    coupon_id: Maybe[str] = None
    discount: Maybe[CouponDiscount] = None
    promotion_code: Maybe[str] = None


class AppliedCouponUpdate(AppliedCoupon):
    promotion_code: str | None = None  # an update may empty it


class PreviewBillingInformation(Body):
    billing_address: Maybe[Address] = None
    charge_on_behalf_of_account: Maybe[str] = None
    integration_id: Maybe[str] = None
    invoice_days_until_due: Maybe[Number] = None
    is_backdated: Maybe[bool] = None
    is_invoice_paid: Maybe[bool] = None
    metadata: Maybe[Metadata] = None
    proration_behavior: Maybe[Literal["INVOICE_IMMEDIATELY", "CREATE_PRORATIONS", "NONE"]] = None
    tax_ids: Maybe[list[TaxId]] = None
    tax_percentage: Maybe[Annotated[Number, Field(ge=0, le=100)]] = None
    tax_rate_ids: Maybe[list[str]] = None


class BillingInformation(PreviewBillingInformation):
    charge_on_behalf_of_account: str | None = None
    integration_id: str | None = None


class BillingInformationUpdate(PreviewBillingInformation):
    coupon_id: Maybe[str] = None


class Budget(Body):
    has_soft_limit: bool
    limit: Annotated[Number, Field(ge=0)]


class Charge(Body):
    id: str
    quantity: Annotated[Number, Field(ge=0)]
    type: Literal["FEATURE", "CREDIT"]


class BillableFeature(Body):
    feature_id: str
    quantity: Annotated[Number, Field(ge=0)]


class CheckoutOptions(Body):
    cancel_url: str
    success_url: str
    allow_promo_codes: Maybe[bool] = None
    allow_tax_id_collection: Maybe[bool] = None
    collect_billing_address: Maybe[bool] = None
    collect_phone_number: Maybe[bool] = None
    reference_id: str | None = None


class YearlyReset(Body):
    according_to: Literal["SubscriptionStart"]


class MonthlyReset(Body):
    according_to: Literal["SubscriptionStart", "StartOfTheMonth"]


class WeeklyReset(Body):
    according_to: Literal[
        "SubscriptionStart",
        "EverySunday",
        "EveryMonday",
        "EveryTuesday",
        "EveryWednesday",
        "EveryThursday",
        "EveryFriday",
        "EverySaturday",
    ]


class FeatureEntitlement(Body):
    id: str
    type: Literal["FEATURE"]
    has_soft_limit: Maybe[bool] = None
    has_unlimited_usage: Maybe[bool] = None
    monthly_reset_period_configuration: MonthlyReset | None = None
    reset_period: Maybe[ResetPeriod] = None
    usage_limit: Maybe[Annotated[Whole, Field(ge=0)]] = None
    weekly_reset_period_configuration: WeeklyReset | None = None
    yearly_reset_period_configuration: YearlyReset | None = None


class CreditEntitlement(Body):
    id: str
    amount: Annotated[Number, Field(gt=0)]
    cadence: Literal["MONTH", "YEAR"]
    type: Literal["CREDIT"]
    has_soft_limit: Maybe[bool] = None


Entitlement = Annotated[FeatureEntitlement | CreditEntitlement, Field(discriminator="type")]


class MinimumSpend(Body):
    amount: Maybe[Number] = None
    currency: Maybe[Currency] = None


class CreditRate(Body):
    amount: Number
    currency_id: str
    cost_formula: str | None = None


class Tier(Body):
    flat_price: Maybe[Money] = None
    unit_price: Maybe[Money] = None
    up_to: Maybe[Number] = None


class PriceOverride(Body):
    addon_id: str | None = None
    amount: Maybe[Annotated[Number, Field(ge=0)]] = None
    base_charge: Maybe[bool] = None
    billing_country_code: Maybe[str] = None
    block_size: Maybe[Number] = None
    credit_grant_cadence: Maybe[Literal["BEGINNING_OF_BILLING_PERIOD", "MONTHLY"]] = None
    credit_rate: Maybe[CreditRate] = None
    currency: Maybe[Currency] = None
    feature_id: str | None = None
    tiers: Maybe[list[Tier]] = None


class PriceOverrideUpdate(Body):
    """An update takes fewer fields than a provisioning: no tiers, no country, no credit rate."""

    addon_id: Maybe[str] = None
    amount: Maybe[Annotated[Number, Field(ge=0)]] = None
    base_charge: Maybe[bool] = None
    currency: Maybe[Currency] = None
    currency_id: Maybe[str] = None
    feature_id: Maybe[str] = None


class TrialOverride(Body):
    is_trial: bool
    trial_end_behavior: Maybe[TrialEndBehavior] = None
    trial_end_date: Maybe[Instant] = None


class SubscriptionProvision(Body):
    customer_id: str
    plan_id: str
    id: Maybe[Identifier] = None
    addons: Maybe[list[Addon]] = None
    applied_coupon: Maybe[AppliedCoupon] = None
    await_payment_confirmation: Maybe[bool] = None
    billing_country_code: str | None = None
    billing_cycle_anchor: Maybe[Literal["UNCHANGED", "NOW"]] = None
    billing_id: str | None = None
    billing_information: Maybe[BillingInformation] = None
    billing_period: Maybe[BillingPeriod] = None
    budget: Budget | None = None
    cancellation_date: Maybe[Instant] = None
    charges: Maybe[list[Charge]] = None
    checkout_options: Maybe[CheckoutOptions] = None
    entitlements: Maybe[list[Entitlement]] = None
    metadata: Maybe[Metadata] = None
    minimum_spend: MinimumSpend | None = None
    paying_customer_id: str | None = None
    payment_collection_method: Maybe[PaymentCollectionMethod] = None
    price_overrides: Maybe[list[PriceOverride]] = None
    resource_id: Identifier | None = None
    salesforce_id: str | None = None
    schedule_strategy: Maybe[ScheduleStrategy] = None
    start_date: Maybe[Instant] = None
    trial_override_configuration: Maybe[TrialOverride] = None
    unit_quantity: Maybe[Annotated[Whole, Field(ge=0)]] = None


class SubscriptionUpdate(Body):
    addons: Maybe[list[Addon]] = None
    applied_coupon: Maybe[AppliedCouponUpdate] = None
    await_payment_confirmation: Maybe[bool] = None
    billing_cycle_anchor: Maybe[Literal["UNCHANGED", "NOW"]] = None
    billing_information: Maybe[BillingInformationUpdate] = None
    billing_period: Maybe[BillingPeriod] = None
    budget: Budget | None = None
    cancellation_date: Instant | None = None
    charges: Maybe[list[Charge]] = None
    entitlements: Maybe[list[Entitlement]] = None
    metadata: Maybe[Metadata] = None
    minimum_spend: MinimumSpend | None = None
    price_overrides: Maybe[list[PriceOverrideUpdate]] = None
    promotion_code: Maybe[str] = None
    salesforce_id: str | None = None
    schedule_strategy: Maybe[ScheduleStrategy] = None
    trial_end_date: Maybe[Instant] = None


class SubscriptionCancel(Body):
    cancellation_action: Maybe[Literal["DEFAULT", "REVOKE_ENTITLEMENTS"]] = None
    cancellation_time: Maybe[CancellationTime] = None
    end_date: Maybe[Instant] = None
    prorate: Maybe[bool] = None


class SubscriptionPreview(Body):
    customer_id: str
    plan_id: str
    addons: Maybe[list[Addon]] = None
    applied_coupon: Maybe[AppliedCoupon] = None
    billable_features: Maybe[list[BillableFeature]] = None
    billing_country_code: Maybe[str] = None
    billing_cycle_anchor: Maybe[Literal["UNCHANGED", "NOW"]] = None
    billing_information: Maybe[PreviewBillingInformation] = None
    billing_period: Maybe[BillingPeriod] = None
    charges: Maybe[list[Charge]] = None
    paying_customer_id: Maybe[str] = None
    resource_id: Maybe[str] = None
    schedule_strategy: Maybe[ScheduleStrategy] = None
    start_date: Maybe[Instant] = None
    trial_override_configuration: Maybe[TrialOverride] = None
    unit_quantity: Maybe[Annotated[Whole, Field(ge=0)]] = None


# Credits


class GrantBillingInformation(Body):
    billing_address: Maybe[Address] = None
    invoice_days_until_due: Maybe[Number] = None
    is_invoice_paid: Maybe[bool] = None


class GrantCreate(Body):
    amount: Annotated[Number, Field(gt=0)]
    currency_id: str
    customer_id: str
    display_name: Annotated[str, Field(min_length=1)]
    grant_type: Literal["PAID", "PROMOTIONAL"]
    await_payment_confirmation: Maybe[bool] = None
    billing_information: Maybe[GrantBillingInformation] = None
    comment: Maybe[str] = None
    cost: Maybe[Money] = None
    effective_at: Maybe[Instant] = None
    expire_at: Maybe[Instant] = None
    metadata: Maybe[Metadata] = None
    payment_collection_method: Maybe[PaymentCollectionMethod] = None
    priority: Maybe[Annotated[Whole, Field(ge=0, le=100)]] = None
    resource_id: Maybe[Identifier] = None


B = TypeVar("B", bound=Body)


def read(model: type[B], body: bytes | Mapping[str, Any]) -> B:
    """Read a request: JSON bytes as they came, or Python names and values from a test.

    Raises `Refused` (400) naming every field at fault, without repeating what was sent.
    """
    try:
        if isinstance(body, bytes):
            return model.model_validate_json(body)
        return model.model_validate(body, by_alias=True, by_name=True, context={"names": "both"})
    except ValidationError as invalid:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in error['loc']) or 'body'}: {error['msg']}"
            for error in invalid.errors(include_url=False, include_input=False, include_context=False)
        )
        raise Refused(400, "BadUserInput", faults) from None
