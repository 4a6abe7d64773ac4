"""A deal as the callout sends it (version 1): an opportunity with its account and lines.

The models say what a deal looks like; what a deal means is `mapping`'s. They are also where the OpenAPI document comes
from, so their descriptions are written for the people who call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from closedwon.domain.identifiers import (
    CUSTOMER_ID,
    ENTITY_ID,
    STIGG_ID,
    STIGG_ID_LENGTH,
    customer_id_fault,
    entity_id_fault,
    normalised_id,
)
from closedwon.domain.order import Problem
from closedwon.intake.references import RECORD, RECORD_ID_SHOWN, of_a_line, one_or_more

MOST_DEALS = 200
"""Deals in one request: a bulk save in Salesforce handles at most this many records in one transaction."""

MOST_LINES = 200
"""Lines in one deal: twice what a large enterprise deal has, and its order still fits well into one ledger item (400
KB).
"""

MOST_LINE_NUMBER = 2**31 - 1
"""The largest number of a line: JSON bounds none, and 200 numbers of 4,000 digits fit into no ledger item."""

Trigger = Literal["closed_won", "trial", "amendment", "renewal", "cancellation"]


def _record_id(key_prefix: str) -> Any:
    """A field that takes both forms of a record's ID and keeps the one of 18 characters."""
    # For the OpenAPI document only: the validator below says the same in words a person can use.
    shown = dict(RECORD_ID_SHOWN)
    if key_prefix:
        shown["examples"] = [f"{key_prefix}5g00000ABCdEAAX"[:18]]
    return (
        Field(json_schema_extra=shown),
        AfterValidator(lambda value: normalised_id(value, key_prefix)),
    )


OrganizationId = Annotated[str, *_record_id("00D")]
OpportunityId = Annotated[str, *_record_id("006")]
AccountId = Annotated[str, *_record_id("001")]
RecordId = Annotated[str, *_record_id("")]


def _stigg_id(pattern: str, fault_of: Callable[[str], str | None]) -> Any:
    """A field that takes what Stigg takes as an ID."""

    def judged(id: str) -> str:
        if fault := fault_of(id):
            raise PydanticCustomError("id_not_taken", "{fault}", {"fault": fault})
        return id

    # For the OpenAPI document only, as with record IDs.
    shown: dict[str, Any] = {"minLength": 1, "maxLength": STIGG_ID_LENGTH, "pattern": pattern}
    return Field(json_schema_extra=shown), AfterValidator(judged)


CustomerId = Annotated[str, *_stigg_id(CUSTOMER_ID, customer_id_fault)]
"""A customer's ID in Stigg."""

ResourceId = Annotated[str, *_stigg_id(ENTITY_ID, entity_id_fault)]
"""A resource's ID in Stigg."""

CouponId = Annotated[str, Field(min_length=1, max_length=STIGG_ID_LENGTH, pattern=STIGG_ID)]
"""A coupon's ID in Stigg, for which no pattern is known."""


def _number(value: Any) -> Any:
    """JSON bounds no number: what no float can hold is refused here, where it is still a fault of this deal alone."""
    # To Python True is 1, and would be sold as one unit.
    if isinstance(value, bool):
        raise ValueError("is not a number")
    if isinstance(value, int) and abs(value) >= 2**1023:
        raise ValueError("is too large a number")
    return value


# Every whole number up to mapping.MOST_USAGE is exact in a float; larger ones are refused there.
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
Price = Annotated[float, Field(allow_inf_nan=False, ge=0), BeforeValidator(_number)]


class ApiModel(BaseModel):
    """What the API's models have in common."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",  # a misspelled field would be overlooked
        frozen=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,  # an input may be personal data, and errors are logged
        defer_build=True,  # a cold start builds the models it uses, once, and not their parts one by one
    )


class Opportunity(ApiModel):
    """The opportunity, with the two times that make its revision."""

    id: OpportunityId
    name: Annotated[str, Field(max_length=120, description="Salesforce keeps at most 120 characters.")] = ""
    system_modstamp: Annotated[AwareDatetime, Field(description="The record's SystemModstamp: orders its revisions.")]
    read_at: Annotated[
        AwareDatetime,
        Field(description="When Apex read the record: orders revisions with one SystemModstamp."),
    ]
    currency_iso_code: Annotated[str, Field(pattern=r"^[A-Za-z]{3}$", description="The currency of all prices.")] = (
        "USD"
    )


class Account(ApiModel):
    """The opportunity's account: the customer."""

    id: AccountId
    name: Annotated[str, Field(min_length=1, max_length=255)]
    email: Annotated[
        str | None, Field(max_length=255, pattern=r"^[^@\s]+@[^@\s]+$", description="Where Stigg sends mail.")
    ] = None
    stigg_customer_id: Annotated[
        CustomerId | None, Field(description="The account's Stigg Customer ID field, where filled.")
    ] = None


class Budget(ApiModel):
    """How much the customer may spend on usage in a billing period."""

    limit: Annotated[Price, Field(description="In whole units of the currency.")]
    soft_limit: Annotated[bool, Field(description="Spending above the limit is reported, not refused.")] = False


class Terms(ApiModel):
    """What the contract says beside its lines. A date without a time is a day in the stack's time zone."""

    billing_period: Literal["MONTHLY", "ANNUALLY"] | None = None
    # Dates are texts: a day becomes an instant in the stack's time zone, which only the mapping knows.
    start: Annotated[
        str | None,
        Field(
            description="First day (2026-12-01) or instant: of the term, or of the change an amendment makes. None: "
            "when it is provisioned; of an amendment, with what it amends; of a renewal, where the term it renews ends."
        ),
    ] = None
    end: Annotated[
        str | None,
        Field(description="Last day of the term (of a cancellation: of access), that day included, or an instant."),
    ] = None
    trial_end: Annotated[str | None, Field(description="Last day of a trial, that day included, or an instant.")] = None
    trial_end_behavior: Annotated[
        Literal["CANCEL_SUBSCRIPTION", "CONVERT_TO_PAID"] | None,
        Field(description="What becomes of a trial that is not won by its end; none: its access ends."),
    ] = None
    cancel: Annotated[
        Literal["now", "end_of_term"] | None,
        Field(
            description="When a cancellation without an end takes effect; none: a deal's own at once, else end_of_term."
        ),
    ] = None
    payment_collection: Literal["CHARGE", "INVOICE", "NONE"] | None = None
    coupon: Annotated[CouponId | None, Field(description="ID of a coupon in Stigg.")] = None
    budget: Budget | None = None
    minimum_spend: Annotated[
        Price | None, Field(description="The least a billing period costs, in whole units of the currency.")
    ] = None
    paying_customer_id: Annotated[
        CustomerId | None, Field(description="The customer in Stigg that pays, if another.")
    ] = None
    purchase_order: Annotated[
        str | None,
        Field(max_length=255, description="The purchase order's number: of the contract in Stigg (StiggContracts)."),
    ] = None
    activation_date: Annotated[
        str | None,
        Field(description="First day or instant of the contract in Stigg (StiggContracts); none: the deal's start."),
    ] = None
    setup_billing: Annotated[
        bool,
        Field(
            description="Whether Stigg sets up billing for the contract (StiggContracts). It counts when the contract "
            "is made."
        ),
    ] = False


class Line(ApiModel):
    """One product of the deal, mapped to Stigg."""

    line: Annotated[
        int | None,
        Field(ge=1, le=MOST_LINE_NUMBER, description="Its number in messages; counted from 1 where left out."),
    ] = None
    # Any text, no Literal: the mapping refuses an unknown one, and a deal that the mapping refuses is recorded
    # (decision 6).
    stigg_type: Annotated[
        str | None, Field(description="Plan, Add-on, Entitlement, Credit entitlement or Credit grant.")
    ] = None
    stigg_id: str | None = None
    # Not an int, because Salesforce has decimals: 10.0 is whole, and the mapping refuses what is not.
    quantity: Annotated[
        Number | None,
        Field(description="Units; of an amendment that says differences, how many more or (negative) fewer."),
    ] = None
    prior_quantity: Annotated[
        Number | None,
        Field(description="On a difference: how many the customer had before, as the quote line says. It is checked."),
    ] = None
    total_quantity: Annotated[
        Number | None,
        Field(
            description="On a difference: how many there are with it. Counts instead of the quantity (block prices)."
        ),
    ] = None
    price: Annotated[Price | None, Field(description="Net price of one unit, in whole units of the currency.")] = None
    unlimited: bool = False
    soft_limit: Annotated[bool, Field(description="Usage above the limit is reported, not refused.")] = False
    reset_period: Literal["YEAR", "MONTH", "WEEK", "DAY", "HOUR"] | None = None
    cadence: Annotated[Literal["MONTH", "YEAR"], Field(description="How often a credit entitlement is granted.")] = (
        "MONTH"
    )
    plan_id: Annotated[
        str | None,
        Field(description="The plan it belongs to, where several plans of the deal would take it."),
    ] = None
    start: Annotated[
        str | None, Field(description="First day the line counts, where that is later than the deal's start (a ramp).")
    ] = None
    end: Annotated[
        str | None,
        Field(
            description="Last day the line counts, where that is before the deal's end; of a credit grant, its last."
        ),
    ] = None
    contract_id: Annotated[
        RecordId | None,
        Field(description="The contract of its own that the line belongs to, where a deal became several."),
    ] = None
    subscription_record: Annotated[
        RecordId | None, Field(description="The subscription record in Salesforce (CPQ) that the line became.")
    ] = None
    renews: Annotated[tuple[str, ...], *of_a_line("of a renewal renews")] = ()
    amends: Annotated[tuple[str, ...], *of_a_line("of an amendment amends")] = ()
    ends: Annotated[tuple[str, ...], *of_a_line("of a cancellation ends")] = ()


class Deal(ApiModel):
    """One opportunity with its account and lines."""

    organization_id: OrganizationId
    trigger: Trigger
    opportunity: Opportunity
    account: Account
    lines: Annotated[
        list[Line] | None,
        Field(
            max_length=MOST_LINES,
            description="Left out, the deal is read from Salesforce. A cancellation without lines ends all of it, one "
            "with lines ends those.",
        ),
    ] = None
    terms: Terms = Terms()
    quantities: Annotated[
        Literal["whole", "differences"] | None,
        Field(
            description="What an amendment's lines are: all there is from its start on (the default), or differences."
        ),
    ] = None
    contract_id: Annotated[
        RecordId | None, Field(description="The contract this opportunity was turned into: what later deals may name.")
    ] = None
    amends: Annotated[
        tuple[str, ...],
        *one_or_more(normalised_id, RECORD, "The contract or base opportunity it amends, renews or cancels"),
    ] = ()
    customer_id: Annotated[CustomerId | None, Field(description="The customer's ID in Stigg, where you choose it.")] = (
        None
    )
    resource_id: Annotated[ResourceId | None, Field(description="The resource the subscription is for, in Stigg.")] = (
        None
    )


class OpportunityToRead(Opportunity):
    """The opportunity; of what is read only the ID is needed."""

    system_modstamp: AwareDatetime | None = None  # type: ignore[assignment]
    read_at: AwareDatetime | None = None  # type: ignore[assignment]


class AccountToRead(Account):
    """The account; all but the e-mail address is read."""

    id: AccountId | None = None  # type: ignore[assignment]
    name: Annotated[str | None, Field(max_length=255)] = None  # type: ignore[assignment]


class DealToRead(Deal):
    """A deal without lines that is read from Salesforce: every trigger but cancellation. What was read is then judged
    as a Deal."""

    opportunity: OpportunityToRead
    account: AccountToRead | None = None  # type: ignore[assignment]
    # None alone: what brings lines is a `Deal`, for which nothing is read.
    lines: None = None


class Callout(BaseModel):
    """The body of POST /v1/provisionings."""

    deals: Annotated[list[Deal | DealToRead], Field(min_length=1, max_length=MOST_DEALS)]


class Approval(ApiModel):
    """Somebody's decision to let through what is held."""

    organization_id: OrganizationId
    opportunity_id: OpportunityId
    approval: Annotated[
        str,
        Field(min_length=1, max_length=64, pattern=r"^[0-9a-f]+$", description="As the deal's status shows it."),
    ]


class Approvals(BaseModel):
    """The body of POST /v1/approvals."""

    approvals: Annotated[list[Approval], Field(min_length=1, max_length=MOST_DEALS)]


def problems_of(deal: Any, error: ValidationError) -> tuple[Problem, ...]:
    """A validation error as problems that name line and field in the caller's words.

    In: the deal as it was sent; the error its validation raised.
    Out: one problem for each fault, never with the value that was sent (it may be personal data).
    """
    return tuple(
        _problem(deal, fault["loc"], fault["type"], fault["msg"], fault.get("ctx") or {}) for fault in error.errors()
    )


def _problem(deal: Any, location: tuple[int | str, ...], kind: str, message: str, context: dict[str, Any]) -> Problem:
    line = None
    path = [str(part) for part in location]
    if len(location) > 1 and location[0] == "lines" and isinstance(location[1], int):
        line = line_number(deal["lines"][location[1]], location[1])
        path = path[2:] or ["line"]
    said = _said(kind, path, context) or message[0].lower() + message[1:]
    code = "id_not_taken" if kind == "id_not_taken" else "invalid"
    return Problem(line=line, field=".".join(path) or "deal", message=said, code=code)


def _said(kind: str, path: list[str], context: dict[str, Any]) -> str:
    """A fault in words, by pydantic's kind of it and the facts it adds; "" where pydantic's own words have to do."""
    if kind == "too_long":
        return f"has more than {MOST_LINES} lines" if path == ["lines"] else ""
    # Pydantic would quote the pattern.
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(path[-1], "is not an ID in Stigg (letters, digits and _ . : @ | -)")
    if kind.startswith(("datetime_", "timezone_")):
        return "is not a time with its zone (2026-12-01T09:00:00Z)"
    return _FAULTS.get(kind, "").format(**context)


# Pydantic's own words speak to programmers; these reach the people who close deals.
_FAULTS = {
    "missing": "is missing",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    **dict.fromkeys(("string_type", "string_unicode"), "must be a text"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "is not a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size"), "is not a number"),
    "int_from_float": "is not a whole number",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le} or less",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be an object"),
    "list_type": "must be a list",
    "extra_forbidden": "is not a field closed-won knows",
    "literal_error": "must be one of {expected}",
    "value_error": "{error}",
    "id_not_taken": "{fault}",
}
"""What is wrong in words, by pydantic's kinds of faults, with the facts that they add in braces."""

_PATTERNS = {
    "email": "is not an e-mail address",
    "currencyIsoCode": "is not a currency code of three letters",
    "approval": "is not what a deal's status shows to approve",
}


def line_number(line: Any, index: int) -> int:
    """The number a line has in messages: its own, or its place counted from 1."""
    given = line.get("line") if isinstance(line, dict) else getattr(line, "line", None)
    return given if isinstance(given, int) and not isinstance(given, bool) else index + 1
