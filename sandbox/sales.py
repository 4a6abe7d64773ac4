"""What a sales team does in Salesforce: keeps products mapped to Stigg, opens accounts, closes deals; with CPQ also
quotes, contracts, amends and renews.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from sandbox.salesforce import cpq
from sandbox.salesforce.app import Salesforce


class Sold(NamedTuple):
    """One product on an opportunity. price: of one unit, in whole units of the currency; 0 overrides nothing.

    On a quote only: block, that the price is for all units together; start and end, its first and last day
    (2026-07-01) where they are not the quote's.
    """

    stigg_id: str
    quantity: float = 1
    price: float = 0
    unlimited: bool = False
    block: bool = False
    start: str | None = None
    end: str | None = None


STIGG_TYPES = {
    "plan-": "Plan",
    "addon-": "Add-on",
    "feature-": "Entitlement",
    "cred-": "Entitlement",
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


class Cpq:
    """The same team with Salesforce CPQ: makes the records that CPQ makes.

    Installs CPQ, and maps its quote lines in place of opportunity products.
    """

    def __init__(self, sales: Sales) -> None:
        self.sales = sales
        self.salesforce = sales.salesforce
        self.salesforce.install_cpq()
        self.salesforce.deploy("Stigg_Mapping__mdt", **cpq.QUOTE_LINES)
        self.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", Active__c=False)

    def quote(self, account: str, name: str, *sold: Sold, start: str = "2026-01-01", months: int = 12) -> str:
        """Win an opportunity with a primary quote; out: the opportunity's ID."""
        opportunity = self.sales.close(account, name)
        lines = [self._line(one) for one in sold]
        self._quote(opportunity, "Quote", lines, SBQQ__StartDate__c=start, SBQQ__SubscriptionTerm__c=months)
        return opportunity

    def contract(self, opportunity: str) -> str:
        """Contract a won opportunity; out: the contract's ID. An amendment goes into the contract it amends."""
        won = self.salesforce.get("Opportunity", opportunity)
        quote = self.salesforce.get("SBQQ__Quote__c", won["SBQQ__PrimaryQuote__c"])
        contract = won["SBQQ__AmendedContract__c"] or self.salesforce.create(
            "Contract",
            AccountId=won["AccountId"],
            Status="Activated",
            StartDate=quote["SBQQ__StartDate__c"],
            ContractTerm=int(quote["SBQQ__SubscriptionTerm__c"]),
            SBQQ__Opportunity__c=opportunity,
            SBQQ__Quote__c=quote["Id"],
        )
        for line in self.salesforce.find("SBQQ__QuoteLine__c", SBQQ__Quote__c=quote["Id"], SBQQ__Optional__c=False):
            quantity = line["SBQQ__Quantity__c"] - (line["SBQQ__PriorQuantity__c"] or 0)
            if quantity:
                self.salesforce.create(
                    "SBQQ__Subscription__c",
                    SBQQ__Contract__c=contract,
                    SBQQ__Account__c=won["AccountId"],
                    SBQQ__QuoteLine__c=line["Id"],
                    SBQQ__Quantity__c=quantity,
                    SBQQ__RevisedSubscription__c=line["SBQQ__UpgradedSubscription__c"],
                    **{f: line[f] for f in ("SBQQ__Product__c", "SBQQ__NetPrice__c", "SBQQ__PricingMethod__c")},
                )
        self.salesforce.update("Opportunity", opportunity, SBQQ__Contracted__c=True)
        return str(contract)

    def amend(self, contract: str, name: str, *added: Sold, start: str = "2026-07-01", **quantities: float) -> str:
        """Win an amendment; out: its opportunity's ID.

        quantities: new totals of what the contract has, by Stigg ID with underscores. To price a product anew, take it
        to 0 and add it again, which is what CPQ does.
        """
        end = self.salesforce.get("Contract", contract)["EndDate"]
        lines = [
            {
                **line,
                "SBQQ__UpgradedSubscription__c": subscription,
                "SBQQ__PriorQuantity__c": line["SBQQ__Quantity__c"],
                "SBQQ__Quantity__c": self._quantity(line, quantities),
            }
            for subscription, line in self._contracted(contract)
        ]
        lines += [self._line(one) for one in added]
        opportunity = self._won(contract, name, SBQQ__AmendedContract__c=contract)
        self._quote(opportunity, "Amendment", lines, SBQQ__StartDate__c=start, SBQQ__EndDate__c=end)
        return opportunity

    def renew(
        self,
        contract: str,
        name: str,
        *added: Sold,
        forecast: bool = False,
        also: Sequence[str] = (),
        **quantities: float,
    ) -> str:
        """Win a renewal; out: its opportunity's ID. forecast: only forecast, with products and without a quote.

        also: further contracts that the same quote renews; the opportunity names the first one only, as in CPQ.
        quantities: of what differs from the contract, by Stigg ID with underscores; 0 is not renewed.
        """
        ending = self.salesforce.get("Contract", contract)
        lines = [
            {
                **line,
                "SBQQ__RenewedSubscription__c": subscription,
                "SBQQ__Quantity__c": self._quantity(line, quantities),
            }
            for each in (contract, *also)
            for subscription, line in self._contracted(each)
        ]
        lines += [self._line(one) for one in added]
        renewed = {"SBQQ__RenewedContract__c": contract, "SBQQ__Renewal__c": True}
        opportunity = self._won(contract, name, **renewed)
        if forecast:
            self._sell(opportunity, [(None, line, line["SBQQ__Quantity__c"]) for line in lines])
        else:
            start = date.fromisoformat(ending["EndDate"]) + timedelta(days=1)
            terms = {"SBQQ__StartDate__c": start.isoformat(), "SBQQ__SubscriptionTerm__c": ending["ContractTerm"]}
            self._quote(opportunity, "Renewal", lines, **terms)
        return opportunity

    def _won(self, contract: str, name: str, **fields: Any) -> str:
        return self.sales.close(self.salesforce.get("Contract", contract)["AccountId"], name, **fields)

    def _line(self, sold: Sold) -> dict[str, Any]:
        return {
            "SBQQ__Product__c": self.sales.product(sold.stigg_id, sold.unlimited, bool(sold.price)),
            "SBQQ__Quantity__c": sold.quantity,
            "SBQQ__NetPrice__c": sold.price,
            "SBQQ__PricingMethod__c": "Block" if sold.block else "List",
            "SBQQ__StartDate__c": sold.start,
            "SBQQ__EndDate__c": sold.end,
        }

    def _contracted(self, contract: str) -> list[tuple[str, dict[str, Any]]]:
        """What a contract has: each subscription with its line, its quantity after all amendments."""
        subscriptions = self.salesforce.find("SBQQ__Subscription__c", SBQQ__Contract__c=contract)
        found = []
        for one in subscriptions:
            if one["SBQQ__RevisedSubscription__c"]:
                continue
            revisions = [s for s in subscriptions if s["SBQQ__RevisedSubscription__c"] == one["Id"]]
            quantity = one["SBQQ__Quantity__c"] + sum(s["SBQQ__Quantity__c"] for s in revisions)
            if quantity:
                kept = {f: one[f] for f in ("SBQQ__Product__c", "SBQQ__NetPrice__c", "SBQQ__PricingMethod__c")}
                found.append((one["Id"], {**kept, "SBQQ__Quantity__c": quantity}))
        return found

    def _quantity(self, line: dict[str, Any], quantities: dict[str, float]) -> float:
        stigg_id = self.salesforce.get("Product2", line["SBQQ__Product__c"])["Stigg_ID__c"]
        return quantities.get(stigg_id.replace("-", "_"), line["SBQQ__Quantity__c"])

    def _quote(self, opportunity: str, type: str, lines: Sequence[dict[str, Any]], **terms: Any) -> None:
        """The opportunity's primary quote, and its products as CPQ keeps them in step with it."""
        quote = self.salesforce.create(
            "SBQQ__Quote__c",
            SBQQ__Opportunity2__c=opportunity,
            SBQQ__Account__c=self.salesforce.get("Opportunity", opportunity)["AccountId"],
            SBQQ__Type__c=type,
            SBQQ__Primary__c=True,
            **terms,
        )
        synced = []
        for number, line in enumerate(lines, 1):
            id = self.salesforce.create("SBQQ__QuoteLine__c", SBQQ__Quote__c=quote, SBQQ__Number__c=number, **line)
            effective = self.salesforce.get("SBQQ__QuoteLine__c", id)["SBQQ__EffectiveQuantity__c"]
            synced.append((id, line, effective))
        self.salesforce.update("Opportunity", opportunity, SBQQ__PrimaryQuote__c=quote)
        self._sell(opportunity, synced)

    def _sell(self, opportunity: str, lines: Sequence[tuple[str | None, dict[str, Any], float]]) -> None:
        for quote_line, line, quantity in lines:
            if quantity:
                self.salesforce.create(
                    "OpportunityLineItem",
                    OpportunityId=opportunity,
                    Product2Id=line["SBQQ__Product__c"],
                    Quantity=quantity,
                    UnitPrice=line["SBQQ__NetPrice__c"],
                    SBQQ__QuoteLine__c=quote_line,
                )


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
