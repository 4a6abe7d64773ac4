"""What the flow in Salesforce does, for the demo and the tests: reads an opportunity, compiles the deal, calls out.

Reads the stand-in as Apex reads the organisation; nothing of the product is used.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sandbox.salesforce.app import Salesforce


def deal_of(salesforce: Salesforce, opportunity_id: str, trigger: str = "closed_won", **more: Any) -> dict[str, Any]:
    """The deal of an opportunity as the callout takes it (version 1).

    In: the organisation; the opportunity; further fields of the deal (customerId, resourceId, terms ...), which win.
    Out: plain data for JSON. Lines are numbered in the order they were added.
    """
    opportunity = salesforce.get("Opportunity", opportunity_id)
    account = salesforce.get("Account", opportunity["AccountId"])
    return {
        "organizationId": salesforce.organization_id,
        "trigger": trigger,
        "opportunity": {
            "id": opportunity["Id"],
            "name": opportunity["Name"],
            "systemModstamp": opportunity["SystemModstamp"],
            "readAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "currencyIsoCode": opportunity["CurrencyIsoCode"] or "USD",
        },
        "account": {
            "id": account["Id"],
            "name": account["Name"],
            "stiggCustomerId": account["Stigg_Customer_ID__c"],
        },
        "lines": [
            _line(salesforce, number, item)
            for number, item in enumerate(salesforce.find("OpportunityLineItem", OpportunityId=opportunity["Id"]), 1)
        ],
        **more,
    }


def _line(salesforce: Salesforce, number: int, item: dict[str, Any]) -> dict[str, Any]:
    product = salesforce.get("Product2", item["Product2Id"])
    stigg_type = product["Stigg_Type__c"]
    line = {
        "line": number,
        "stiggType": stigg_type,
        "stiggId": product["Stigg_ID__c"],
        "quantity": item["Quantity"],
    }
    if product["Stigg_Price_Override__c"]:
        line["price"] = item["UnitPrice"]
    if product["Stigg_Unlimited__c"]:
        line["unlimited"] = True
    if product["Stigg_Reset_Period__c"]:
        line["resetPeriod"] = product["Stigg_Reset_Period__c"]
    return line
