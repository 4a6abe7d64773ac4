"""The answer to POST /v1/previews: what provisioning would do, in words and data.

`summary`, `warnings` and the messages of `errors` are sentences for people; the rest is for programs. Times are ISO
8601 in UTC; money is in whole units of its currency.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from closedwon.domain.errors import as_read, unreadable
from closedwon.intake.answers import CODE, LineError


class _Answer(BaseModel):
    # Validators are built at first use, since building all of them would slow each cold start; and what Stigg's
    # invoices say beyond these fields is left out.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", defer_build=True
    )


class PreviewedAddon(_Answer):
    """An add-on of a subscription."""

    id: str
    quantity: int


class PreviewedEntitlement(_Answer):
    """An entitlement of a subscription: a feature with a limit (units), unlimited, or granted (neither); or credits."""

    type: Literal["FEATURE", "CREDIT"]
    id: str
    limit: int | None = None
    unlimited: bool = False
    soft_limit: bool = False
    reset_period: str | None = None
    cadence: str | None = None


class PreviewedPrice(_Answer):
    """A price that the deal overrides: of an add-on, a unit of a feature, or (both null) the plan's base charge."""

    addon_id: str | None = None
    feature_id: str | None = None
    amount: float
    currency: str


class PreviewedUnits(_Answer):
    """How many there are of a feature that the plan charges by the unit."""

    feature_id: str
    quantity: int


class PreviewedGrant(_Answer):
    """Credits that are granted once."""

    currency_id: str
    amount: int
    cost: Annotated[float | None, Field(description="What the customer pays for them.")] = None
    currency: Annotated[str, Field(description="The money's currency.")]
    expire_at: str | None = None


class PreviewedChange(_Answer):
    """One thing that provisioning would do, or leave as it is (keep), or wait with (hold)."""

    action: Literal["create", "update", "end", "keep", "grant", "hold"]
    plan_id: str | None = None
    subscription_id: Annotated[
        str | None, Field(description="The subscription's ID in Stigg: of a new one, the ID it will have.")
    ] = None
    resource_id: str | None = None
    trial: bool = False
    differs: Annotated[list[str], Field(description="Of an update: what differs, in words.")] = []
    start: Annotated[str | None, Field(description="Null: at once.")] = None
    end: Annotated[
        str | None, Field(description="When access ends, if that is known. Of an end, null: see reason.")
    ] = None
    trial_end: str | None = None
    units: int | None = None
    charges: list[PreviewedUnits] = []
    addons: list[PreviewedAddon] = []
    entitlements: list[PreviewedEntitlement] = []
    prices: list[PreviewedPrice] = []
    billing_period: Literal["MONTHLY", "ANNUALLY"] | None = None
    grant: PreviewedGrant | None = None
    opportunities: Annotated[list[str], Field(description="The deals it comes from.")] = []
    reason: Annotated[str | None, Field(description="Of a hold: what it waits for. Of an end: when and why.")] = None
    code: Annotated[str | None, Field(description=f"Of a hold: {CODE[0].lower()}{CODE[1:]}")] = None


class PreviewedMoment(_Answer):
    """Something that happens later by itself."""

    at: Annotated[str | None, Field(description="Null: when a billing period ends.")]
    what: str


class PreviewedInvoiceLine(_Answer):
    """One line of an invoice."""

    description: str
    quantity: float | None = None
    unit_price: float | None = None
    sub_total: float | None = None


class PreviewedInvoice(_Answer):
    """An invoice as Stigg computes it."""

    total: float
    sub_total: float
    discount: float | None = None
    tax: float | None = None
    currency: str | None = None
    lines: list[PreviewedInvoiceLine] = []

    @classmethod
    def from_stigg(cls, invoice: Any) -> PreviewedInvoice | None:
        """From Stigg's preview; None where there is none. Lists may be null there."""
        if not isinstance(invoice, dict):
            return None
        with as_read(lambda mistake: unreadable("preview subscription", mistake)):
            return cls.model_validate({**invoice, "lines": invoice.get("lines") or []})


class PreviewedInvoices(_Answer):
    """What Stigg's own preview says a subscription costs."""

    plan_id: str
    immediate: Annotated[PreviewedInvoice | None, Field(description="What is asked for at once.")] = None
    recurring: Annotated[PreviewedInvoice | None, Field(description="What each billing period costs.")] = None
    not_included: Annotated[list[str], Field(description="What Stigg's preview cannot count in, and why.")] = []


class PreviewedShare(_Answer):
    """What one deal adds to a line of a charge."""

    opportunity_id: str
    quantity: Annotated[int, Field(description="Less than 0 for what it takes away.")]
    amount: Annotated[
        float | None, Field(description="Null: some of it is at the catalogue's price, or it has no price.")
    ] = None


class PreviewedChargeLine(_Answer):
    """One line of a charge. An entitlement has no price of its own: it is what the others are paid for."""

    type: Literal["Plan", "Add-on", "Entitlement", "Credit entitlement"]
    id: str
    quantity: Annotated[int | None, Field(description="Null: no limit.")] = None
    amount: Annotated[
        float | None,
        Field(description="For one billing period. Null: some of it is at the catalogue's price, or it has no price."),
    ] = None
    catalogue: Annotated[bool, Field(description="Whether any of it is at the catalogue's price.")] = False
    shares: Annotated[list[PreviewedShare], Field(description="The deals that it comes from.")] = []


class PreviewedCharge(_Answer):
    """What one billing period of a subscription charges, by what was agreed, without tax and usage."""

    amount: Annotated[float | None, Field(description="Null: some of it is at the catalogue's price.")]
    agreed: Annotated[float, Field(description="The sum of the lines with an agreed price.")]
    catalogue: Annotated[list[str], Field(description="What is charged at the catalogue's price.")] = []
    currency: Annotated[str, Field(description="The contract's.")]
    billing_period: Literal["MONTHLY", "ANNUALLY"] | None = None
    lines: list[PreviewedChargeLine] = []
    end: Annotated[str | None, Field(description="When any of it changes next by itself. Null: it does not.")] = None


class PreviewedCharges(_Answer):
    """What one billing period of a subscription charges without the deal and with it, from a moment on."""

    at: Annotated[str | None, Field(description="From when on. Null: from now on.")] = None
    product_id: str
    plan_id: str
    resource_id: str | None = None
    trial: bool = False
    before: Annotated[PreviewedCharge | None, Field(description="Without the deal. Null: nothing stands there.")] = None
    after: Annotated[PreviewedCharge | None, Field(description="With the deal. Null: nothing stands there.")] = None
    what: Annotated[str, Field(description="Both, in a sentence.")]
    explained: Annotated[list[str], Field(description="Each line with the deals it comes from, in words.")] = []


class PreviewResult(_Answer):
    """What provisioning would do for one deal of the request."""

    opportunity_id: str | None
    status: Annotated[
        Literal["ok", "held", "invalid"],
        Field(description="held: it would wait for somebody, see warnings. invalid: it would be refused, see errors."),
    ]
    summary: Annotated[list[str], Field(description="What it would do, in sentences.")] = []
    warnings: Annotated[list[str], Field(description="What somebody should look at first, in sentences.")] = []
    reasons: Annotated[
        list[str], Field(description="Why it, or another deal because of it, would wait or be refused, in sentences.")
    ] = []
    codes: Annotated[list[str], Field(description=f"The codes of these reasons. {CODE}")] = []
    # As the callout answers them, so that a sender reads one form.
    errors: list[LineError] = []
    customer_id: Annotated[str | None, Field(description="The customer's ID in Stigg.")] = None
    changes: list[PreviewedChange] = []
    scheduled: Annotated[list[PreviewedMoment], Field(description="What happens later by itself.")] = []
    charges: Annotated[
        list[PreviewedCharges],
        Field(description="What a billing period charges before and after. Only where the deal changes any line."),
    ] = []
    invoices: list[PreviewedInvoices] = []


class PreviewResults(_Answer):
    """The answer to POST /v1/previews, in the order of the request's deals."""

    results: list[PreviewResult]
