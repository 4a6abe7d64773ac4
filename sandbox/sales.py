"""What a sales team does in Salesforce: keeps products mapped to Stigg, opens accounts, closes deals."""

from __future__ import annotations

from typing import Any, NamedTuple

from sandbox.salesforce.app import Salesforce


class Sold(NamedTuple):
    """One product on an opportunity. price: of one unit, in whole units of the currency; 0 overrides nothing."""

    stigg_id: str
    quantity: float = 1
    price: float = 0
    unlimited: bool = False


STIGG_TYPES = {
    "plan-": "Plan",
    "addon-": "Add-on",
    "feature-": "Entitlement",
    "currency-": "Credit entitlement",
}


class Sales:
    """Works in one organisation. Products are added the first time they are sold."""

    def __init__(self, salesforce: Salesforce) -> None:
        self.salesforce = salesforce

    def account(self, name: str, **fields: Any) -> str:
        """Open an account; out: its ID."""
        return self.salesforce.create("Account", Name=name, **fields)

    def product(self, stigg_id: str) -> str:
        """The product mapped to a Stigg ID, made when there is none; its Stigg Type goes by the ID's prefix."""
        known = self.salesforce.find("Product2", Stigg_ID__c=stigg_id)
        if known:
            return str(known[0]["Id"])
        prefix, _, name = stigg_id.partition("-")
        title = name.replace("-", " ").title()
        return self.salesforce.add_product(
            title, Stigg_Type__c=STIGG_TYPES.get(f"{prefix}-", "Plan"), Stigg_ID__c=stigg_id
        )

    def close(self, account_id: str, name: str, *sold: Sold, **fields: Any) -> str:
        """Win an opportunity with these products; out: its ID."""
        opportunity = {
            "AccountId": account_id,
            "Name": name,
            "CloseDate": "2026-01-15",
            "StageName": "Closed Won",
        }
        opportunity_id = self.salesforce.create("Opportunity", **{**opportunity, **fields})
        for product in sold:
            self.salesforce.create(
                "OpportunityLineItem",
                OpportunityId=opportunity_id,
                Product2Id=self.product(product.stigg_id),
                Quantity=product.quantity,
                UnitPrice=product.price,
                Description="unlimited" if product.unlimited else None,
            )
        return opportunity_id
