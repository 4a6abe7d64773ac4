"""The fault campaign's sales reps: they save deals in Salesforce, and say what each save's callout carries."""

from __future__ import annotations

import copy
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from proof.shop import FIELDS, PAID, SAVED_AGO, Customer, Json, Save, is_day, iso
from sandbox.sales import Sales
from sandbox.salesforce import cpq


class Seller:
    """Sells in one organisation. began: the day of its deals. saves: how many there were."""

    def __init__(self, sales: Sales, began: datetime) -> None:
        self._sales = sales
        self._salesforce = sales.salesforce
        self._began = began
        self._products: dict[tuple[Any, ...], str] = {}
        self._revisions: Counter[str] = Counter()
        self.saves = 0

    def open(self, customers: list[Customer]) -> None:
        """Set the organisation up, with CPQ and a mapping of its quote lines, and the customers' accounts."""
        self._salesforce.install_cpq()
        self._salesforce.deploy("Stigg_Mapping__mdt", **cpq.QUOTE_LINES)
        self._salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", Active__c=False)
        for each in customers:
            self._sales.account(f"Customer {each.seed}", Id=each.account)

    def save(self, customer: Customer, save: Save) -> Json:
        """Save a deal as its rep does. Out: the callout."""
        id = save.opportunity
        self._save_opportunity(customer, save)
        self._save_contract(customer, save)
        if save.deal["trigger"] != "cancellation":
            self._save_lines(customer, save)
        self._revisions[id] += 1  # Salesforce tells the time of a save to the second, and these come in one
        self._salesforce.backdate("Opportunity", id, SAVED_AGO - 2 * self._revisions[id])
        self.saves += 1
        return self._callout(customer, save)

    def _save_opportunity(self, customer: Customer, save: Save) -> None:
        fields = {**self._terms(customer, save), "StageName": save.stage}
        if not save.first:
            self._salesforce.update("Opportunity", save.opportunity, **fields)
            return
        today = self._began.date().isoformat()
        named = {"AccountId": customer.account, "Name": save.deal["opportunity"]["name"], "CloseDate": today}
        named["CurrencyIsoCode"] = customer.currency
        self._salesforce.create("Opportunity", Id=save.opportunity, **named, **fields)

    def _terms(self, customer: Customer, save: Save) -> Json:
        """What the opportunity's own fields say of the deal."""
        deal = save.deal
        terms, trigger, amends = deal["terms"], deal["trigger"], deal.get("amends")
        fields: Json = {
            column: terms.get(name) if name in PAID or is_day(terms.get(name)) else None
            for name, column in FIELDS.items()
        }
        if trigger == "cancellation":
            fields["Stigg_Cancel_Date__c"] = fields["Stigg_End_Date__c"]
            fields["Stigg_End_Date__c"] = None
        if deal.get("quantities") == "differences":
            fields["SBQQ__AmendedContract__c"] = _contract_of(customer, str(amends))
        elif isinstance(amends, str):
            fields["Stigg_Amends__c"] = amends
        if trigger == "cancellation" and not amends and not save.first:  # what it named is taken back
            fields |= {"Stigg_Amends__c": None, "SBQQ__AmendedContract__c": None}
        if trigger == "renewal":
            fields["Type"] = "Renewal"
        return fields

    def _save_contract(self, customer: Customer, save: Save) -> None:
        """The contract that CPQ makes of an opportunity, where it makes one."""
        id, contract = save.opportunity, customer.contracts.get(save.opportunity)
        if not contract:
            return
        if not self._salesforce.find("Contract", Id=contract):
            made = {"AccountId": customer.account, "Status": "Activated", "SBQQ__Opportunity__c": id}
            self._salesforce.create("Contract", Id=contract, StartDate="2026-01-01", ContractTerm=12, **made)
        if save.deal.get("contractId"):
            self._salesforce.update("Opportunity", id, ContractId=contract)

    def _save_lines(self, customer: Customer, save: Save) -> None:
        for one in self._salesforce.find("OpportunityLineItem", OpportunityId=save.opportunity):
            self._salesforce.delete("OpportunityLineItem", one["Id"])
        for each in save.deal["lines"]:
            self._salesforce.create(
                "OpportunityLineItem",
                OpportunityId=save.opportunity,
                Product2Id=self._product_of(each, customer.currency),
                Quantity=each.get("quantity", 1),
                UnitPrice=each.get("price", 0),
            )

    def _product_of(self, line: Json, currency: str) -> str:
        """The product that is mapped to what a line sells, in a currency."""
        terms = {
            "Stigg_Type__c": line["stiggType"],
            "Stigg_ID__c": line["stiggId"],
            "Stigg_Unlimited__c": bool(line.get("unlimited")),
            "Stigg_Reset_Period__c": line.get("resetPeriod"),
            "Stigg_Price_Override__c": line.get("price") is not None,
        }
        key = (*terms.values(), currency)
        if key not in self._products:
            self._products[key] = self._salesforce.add_product(" ".join(map(str, key[:2])), currency=currency, **terms)
        return self._products[key]

    def _callout(self, customer: Customer, save: Save) -> Json:
        """What the flow sends for a save, with what Salesforce worked out itself."""
        opportunity = self._salesforce.get("Opportunity", save.opportunity)
        modified = opportunity["SystemModstamp"]
        read = iso(datetime.fromisoformat(modified) + timedelta(seconds=1))
        callout = copy.deepcopy(save.deal)
        callout["account"]["name"] = self._salesforce.get("Account", customer.account)["Name"]
        callout["opportunity"] |= {"name": opportunity["Name"], "systemModstamp": modified, "readAt": read}
        return callout


def _contract_of(customer: Customer, base: str) -> str | None:
    """The contract that CPQ amends; None where the base is known to nobody."""
    return customer.contracts.get(base) if base in customer.newest else None
