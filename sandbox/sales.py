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

NAMES = {
    "feature-api-calls": "API Calls",
    "feature-storage-gb": "Storage (GB)",
    "feature-sso": "Single Sign-On",
    "currency-ai-credits": "AI Credits",
}
"""Products whose name is not their Stigg ID in words."""


class Sales:
    """Works in one organisation. Products are added the first time they are sold."""

    def __init__(self, salesforce: Salesforce) -> None:
        self.salesforce = salesforce

    def account(self, name: str, **fields: Any) -> str:
        """Open an account; out: its ID."""
        return self.salesforce.create("Account", Name=name, **fields)

    def product(self, stigg_id: str, unlimited: bool = False, priced: bool = False) -> str:
        """The product mapped to a Stigg ID, made when there is none; its Stigg Type goes by the ID's prefix.

        unlimited, priced: whether it sells without a limit, and whether a line's price overrides Stigg's: terms that a
        product carries, so that there is one product for each.
        """
        terms: dict[str, Any] = {
            "Stigg_ID__c": stigg_id,
            "Stigg_Unlimited__c": unlimited,
            "Stigg_Price_Override__c": priced,
        }
        known = self.salesforce.find("Product2", **terms)
        if known:
            return str(known[0]["Id"])
        prefix, _, name = stigg_id.partition("-")
        title = NAMES.get(stigg_id) or name.replace("-", " ").title()
        return self.salesforce.add_product(title, Stigg_Type__c=STIGG_TYPES.get(f"{prefix}-", "Plan"), **terms)

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
                Product2Id=self.product(product.stigg_id, product.unlimited, bool(product.price)),
                Quantity=product.quantity,
                UnitPrice=product.price,
            )
        return opportunity_id


def open_for_business(sales: Sales) -> dict[str, str]:
    """A small organisation on a busy day: products mapped to Stigg, accounts, and deals that were just won.

    Out: the deals' opportunity IDs, by what each one shows. The first is the one in events/callout.json.
    """
    northwind = sales.account("Northwind Traders", Id="0015g00000XyZaBAAV", Industry="Retail")
    alder = sales.account("Alder & Finch", Industry="Consulting")
    kestrel = sales.account("Kestrel Health", Industry="Healthcare")
    fjord = sales.account("Fjord Logistics", Industry="Transportation")
    return {
        "enterprise plan, add-ons, entitlements": sales.close(
            northwind,
            "Northwind - Enterprise 2026",
            Sold("plan-enterprise", 1, 48_000),
            Sold("addon-premium-support"),
            Sold("addon-extra-workspace", 5, 1_200),
            Sold("feature-seats", 250),
            Sold("feature-api-calls", 5_000_000),
            Sold("feature-sso", unlimited=True),
            Id="0065g00000ABCdEAAX",
        ),
        "a paid plan: Stigg asks for payment first": sales.close(
            alder, "Alder & Finch - Team", Sold("plan-team"), Sold("addon-extra-workspace", 2)
        ),
        "two plans: two subscriptions": sales.close(
            kestrel,
            "Kestrel Health - Platform and Analytics",
            Sold("plan-enterprise-plus", 1, 96_000),
            Sold("addon-audit-log"),
            Sold("plan-analytics", 1, 18_000),
            Sold("addon-data-export"),
            Sold("currency-ai-credits", 20_000),
        ),
        "an add-on that does not fit its plan: refused": sales.close(
            fjord,
            "Fjord Logistics - Enterprise",
            Sold("plan-enterprise", 1, 30_000),
            Sold("addon-legacy-import"),
        ),
    }
