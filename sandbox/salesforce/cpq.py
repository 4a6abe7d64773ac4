"""Salesforce CPQ, as far as deals need it: what installing the package adds to an organisation, and what it works out.

Field names and meanings follow the package's own (namespace SBQQ). The records CPQ makes when a quote is contracted,
amended or renewed are made by `sandbox.sales`, as CPQ makes them.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from dateutil.relativedelta import relativedelta

from sandbox.salesforce.schema import Field, Schema, SObject, _lookup, _object, _pick, _text
from sandbox.salesforce.tables import Record, Tables

QUOTE_LINES = {
    "DeveloperName": "CPQ_Quote_Lines",
    "MasterLabel": "CPQ Quote Lines",
    "Active__c": True,
    "Line_Object__c": "SBQQ__QuoteLine__c",
    "Parent_Field__c": "SBQQ__Quote__c",
    "Stigg_Type_Field__c": "SBQQ__Product__r.Stigg_Type__c",
    "Stigg_ID_Field__c": "SBQQ__Product__r.Stigg_ID__c",
    "Quantity_Field__c": "SBQQ__Quantity__c",
    "Price_Field__c": "SBQQ__NetPrice__c",
    "Price_Override_Field__c": "SBQQ__Product__r.Stigg_Price_Override__c",
    "Unlimited_Field__c": "SBQQ__Product__r.Stigg_Unlimited__c",
    "Reset_Period_Field__c": "SBQQ__Product__r.Stigg_Reset_Period__c",
    "Start_Date_Field__c": "SBQQ__EffectiveStartDate__c",
    "End_Date_Field__c": "SBQQ__EffectiveEndDate__c",
    "Prior_Quantity_Field__c": "SBQQ__PriorQuantity__c",
    "Total_Quantity_Field__c": "SBQQ__Quantity__c",
}
"""The Stigg Mapping that the package's folder for CPQ deploys; an admin unticks Opportunity Products with it."""

_OBJECTS: tuple[SObject, ...] = (
    _object(
        "SBQQ__Quote__c", "Quote", "Quotes", "a1Q",
        _text("Name", 80, "Quote Number", computed=True, autonumber="Q-{:05d}"),
        _lookup("SBQQ__Opportunity2__c", "Opportunity", "SBQQ__Quotes2__r", label="Opportunity"),
        _lookup("SBQQ__Account__c", "Account", "SBQQ__Quotes__r", label="Account"),
        _pick("SBQQ__Type__c", "Quote", "Amendment", "Renewal", "Re-Quote", label="Type", default="Quote"),
        Field("SBQQ__Primary__c", "boolean", "Primary", default=False),
        Field("SBQQ__StartDate__c", "date", "Start Date"),
        Field("SBQQ__EndDate__c", "date", "End Date"),
        Field("SBQQ__SubscriptionTerm__c", "double", "Subscription Term"),
    ),
    _object(
        "SBQQ__QuoteLine__c", "Quote Line", "Quote Lines", "a1L",
        _text("Name", 80, "Line Name", computed=True, autonumber="QL-{:07d}"),
        _lookup("SBQQ__Quote__c", "SBQQ__Quote__c", "SBQQ__LineItems__r", label="Quote", required=True,
                on_delete="cascade", updateable=False),
        _lookup("SBQQ__Product__c", "Product2", "SBQQ__QuoteLines__r", label="Product"),
        _lookup("SBQQ__RequiredBy__c", "SBQQ__QuoteLine__c", "SBQQ__Components__r", label="Required By"),
        _lookup("SBQQ__UpgradedSubscription__c", "SBQQ__Subscription__c", label="Upgraded Subscription"),
        _lookup("SBQQ__RenewedSubscription__c", "SBQQ__Subscription__c", label="Renewed Subscription"),
        Field("SBQQ__Number__c", "double", "Number", scale=0),
        Field("SBQQ__Quantity__c", "double", "Quantity"),
        Field("SBQQ__PriorQuantity__c", "double", "Prior Quantity"),
        Field("SBQQ__EffectiveQuantity__c", "double", "Effective Quantity", computed=True),
        Field("SBQQ__NetPrice__c", "currency", "Net Unit Price"),
        _pick("SBQQ__PricingMethod__c", "List", "Cost", "Block", "Percent Of Total", "Custom", label="Pricing Method",
              default="List"),
        Field("SBQQ__Optional__c", "boolean", "Optional", default=False),
        Field("SBQQ__StartDate__c", "date", "Start Date"),
        Field("SBQQ__EndDate__c", "date", "End Date"),
        Field("SBQQ__EffectiveStartDate__c", "date", "Effective Start Date", computed=True),
        Field("SBQQ__EffectiveEndDate__c", "date", "Effective End Date", computed=True),
    ),
    _object(
        "SBQQ__Subscription__c", "Subscription", "Subscriptions", "a1S",
        _text("Name", 80, "Subscription #", computed=True, autonumber="SUB-{:07d}"),
        _lookup("SBQQ__Contract__c", "Contract", "SBQQ__Subscriptions__r", label="Contract", on_delete="cascade"),
        _lookup("SBQQ__Account__c", "Account", "SBQQ__Subscriptions__r", label="Account"),
        _lookup("SBQQ__Product__c", "Product2", "SBQQ__Subscriptions__r", label="Product"),
        _lookup("SBQQ__QuoteLine__c", "SBQQ__QuoteLine__c", "SBQQ__Subscriptions__r", label="Quote Line"),
        _lookup("SBQQ__RevisedSubscription__c", "SBQQ__Subscription__c", "SBQQ__Revisions__r",
                label="Revised Subscription"),
        Field("SBQQ__Quantity__c", "double", "Quantity"),
        Field("SBQQ__NetPrice__c", "currency", "Net Price"),
        _pick("SBQQ__PricingMethod__c", "List", "Cost", "Block", "Percent Of Total", "Custom", label="Pricing Method",
              default="List"),
    ),
)  # fmt: skip

_FIELDS: dict[str, tuple[Field, ...]] = {
    "Opportunity": (
        _lookup("SBQQ__AmendedContract__c", "Contract", "SBQQ__AmendmentOpportunities__r", label="Amended Contract"),
        _lookup("SBQQ__RenewedContract__c", "Contract", "SBQQ__RenewalOpportunities__r", label="Renewed Contract"),
        Field("SBQQ__Renewal__c", "boolean", "Renewal", default=False),
        Field("SBQQ__Contracted__c", "boolean", "Contracted", default=False),
        _lookup("SBQQ__PrimaryQuote__c", "SBQQ__Quote__c", "SBQQ__Opportunities__r", label="Primary Quote"),
    ),
    "OpportunityLineItem": (
        _lookup("SBQQ__QuoteLine__c", "SBQQ__QuoteLine__c", "SBQQ__OpportunityProducts__r", label="Quote Line"),
    ),
    "Contract": (
        _lookup("SBQQ__Opportunity__c", "Opportunity", "SBQQ__Contracts__r", label="Opportunity"),
        _lookup("SBQQ__Quote__c", "SBQQ__Quote__c", "SBQQ__Contracts__r", label="Quote"),
    ),
}


def installed(schema: Schema) -> Schema:
    """An organisation's objects after CPQ was installed."""
    return schema.extended(_OBJECTS, {name: list(fields) for name, fields in _FIELDS.items()})


def quote_line(tables: Tables, record: Record) -> None:
    """What a quote line's formulas say of it."""
    quantity, prior = record["SBQQ__Quantity__c"], record["SBQQ__PriorQuantity__c"]
    block = record["SBQQ__PricingMethod__c"] == "Block"
    record["SBQQ__EffectiveQuantity__c"] = 1.0 if block else (quantity or 0.0) - (prior or 0.0)
    quote = tables.peek("SBQQ__Quote__c", record["SBQQ__Quote__c"]) or {}
    record["SBQQ__EffectiveStartDate__c"] = record["SBQQ__StartDate__c"] or quote.get("SBQQ__StartDate__c")
    record["SBQQ__EffectiveEndDate__c"] = record["SBQQ__EndDate__c"] or _end(quote)


def _end(quote: dict[str, Any]) -> date | None:
    start, months = quote.get("SBQQ__StartDate__c"), quote.get("SBQQ__SubscriptionTerm__c")
    if quote.get("SBQQ__EndDate__c") or not (start and months):
        return quote.get("SBQQ__EndDate__c")
    return start + relativedelta(months=int(months)) - timedelta(days=1)
