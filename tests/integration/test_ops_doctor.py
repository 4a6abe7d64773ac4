"""``closedwon doctor``, as an operator runs it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from integration.scenes import everything
from integration.terminal import Operator
from sandbox.sales import Cpq, Sold
from sandbox.sandbox import Sandbox

DAYS = ("--days", "5000")
"""The sandbox's deals are closed on fixed days."""


def errors(operator: Operator) -> dict[str, dict[str, Any]]:
    """What it finds for scripts, by the words."""
    code, said, err = operator.runs("doctor", *DAYS, "--json")
    found = [one for one in json.loads(said)["findings"] if one["severity"] == "error"]
    assert code == bool(found), err
    return {one["words"]: one for one in found}


@pytest.fixture
def account(sandbox: Sandbox) -> str:
    return sandbox.sales.account("Northwind Traders")


def test_a_mapping_that_holds_is_said_to(sandbox: Sandbox, operator: Operator, account: str) -> None:
    sandbox.sales.close(account, "A deal", Sold("plan-enterprise"), Sold("feature-seats", 40))
    before = everything(sandbox)
    said = operator.does("doctor", *DAYS)
    assert everything(sandbox) == before
    assert "2 mapped products and 1 deal won in the last 5000 days" in " ".join(said.split())
    assert "nothing by which a deal would be refused" in " ".join(said.split())
    assert errors(operator) == {}


def test_each_error_names_product_link_deals_and_what_to_do(sandbox: Sandbox, operator: Operator, account: str) -> None:
    deal = sandbox.sales.close(account, "A deal", Sold("plan-enterprise"), Sold("addon-legacy-import"))
    unknown = sandbox.sales.product("plan-enterprize")
    paid = sandbox.sales.close(account, "Paid", Sold("plan-team"))
    found = errors(operator)
    assert set(found) == {
        "addon-legacy-import is not compatible with plan-enterprise",
        "Stigg has no plan plan-enterprize",
        "plan-team is billed ANNUALLY or MONTHLY, and the deal does not say which",
    }
    wrong = found["Stigg has no plan plan-enterprize"]
    assert (wrong["productId"], wrong["opportunities"]) == (unknown, [])
    assert wrong["link"] == f"{sandbox.salesforce_server.url}/{unknown}"
    assert "did you mean plan-enterprise?" in wrong["fix"]
    assert found["addon-legacy-import is not compatible with plan-enterprise"]["opportunities"] == [deal]

    code, said, _ = operator.runs("doctor", *DAYS)
    assert code == 1
    assert "Errors" in said
    assert f"On {paid}" in said
    assert "3 errors, by which deals are refused." in " ".join(said.split())

    sandbox.salesforce.update("Product2", unknown, IsActive=False)
    assert "Stigg has no plan plan-enterprize" not in errors(operator), "what is not for sale does not matter"


def test_what_is_not_mapped_is_told_apart(sandbox: Sandbox, operator: Operator, account: str) -> None:
    consulting = sandbox.salesforce.add_product("=Consulting")
    deal = sandbox.sales.close(account, "A deal", Sold("plan-enterprise"))
    sandbox.salesforce.create("OpportunityLineItem", OpportunityId=deal, Product2Id=consulting, Quantity=1, UnitPrice=9)
    rows = list(csv.DictReader(io.StringIO(operator.does("doctor", *DAYS, "--csv"))))
    [note] = [row for row in rows if row["productId"] == consulting]
    assert (note["severity"], note["product"], note["opportunities"]) == ("note", "'=Consulting", deal)


def test_with_cpq_the_primary_quotes_are_looked_at(sandbox: Sandbox, operator: Operator, account: str) -> None:
    cpq = Cpq(sandbox.sales)
    deal = cpq.quote(account, "Quoted", Sold("plan-enterprise"), Sold("addon-legacy-import", 2))
    found = errors(operator)
    assert found["addon-legacy-import is not compatible with plan-enterprise"]["opportunities"] == [deal]


def test_a_flow_of_stiggs_own_app_is_found_where_the_user_may_see_flows(sandbox: Sandbox, operator: Operator) -> None:
    def words() -> list[str]:
        findings = operator.json("doctor")["findings"]
        return [one["words"] for one in findings if "never told" not in one["words"]]

    assert ["could not be looked at" in one for one in words()] == [True]
    ours = {"ApiName": "Opportunity_Stigg_Subscription_Template", "ActiveVersionId": "301000000000001AAA"}
    sandbox.salesforce.show_flows(ours)
    assert words() == []
    sandbox.salesforce.show_flows({**ours, "NamespacePrefix": "stigg"})
    assert words() == ["the flow stigg__Opportunity_Stigg_Subscription_Template of Stigg's own app is active"]


def test_a_package_that_is_one_version_behind_is_a_warning(sandbox: Sandbox, operator: Operator, account: str) -> None:
    sandbox.sales.close(account, "A deal", Sold("plan-enterprise"))
    assert not [one for one in operator.json("doctor")["findings"] if "package" in one["words"]]
    sandbox.salesforce.deploy_package("first")
    code, said, _ = operator.runs("doctor", *DAYS, "--json")
    [told] = [one for one in json.loads(said)["findings"] if "package" in one["words"]]
    assert (code, told["severity"]) == (0, "warning")
    lacks = "the field Code (Code__c) and the field Contract_ID (Contract_ID__c) and the status Ended"
    assert f"Stigg Provisioning lacks {lacks}" in told["words"]
    assert "Deploy the package" in told["fix"]
    assert "shows as Superseded" in told["fix"]


def test_what_cannot_be_looked_at_is_said_in_a_sentence(sandbox: Sandbox, operator: Operator) -> None:
    sandbox.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", Active__c=False)
    code, _, err = operator.runs("doctor")
    assert (code, "no Stigg Mapping is active" in err) == (1, True)
    sandbox.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", Active__c=True)
    sandbox.stigg.narrow_api_key("plans")
    code, _, err = operator.runs("doctor")
    assert (code, "Stigg" in err) == (1, True)
    assert operator.runs("doctor", "--csv", "--json")[0] == 2


def test_whether_stigg_tells_what_changes_is_seen(sandbox: Sandbox, operator: Operator) -> None:
    def told() -> list[str]:
        return [one["words"] for one in operator.json("doctor")["findings"] if one["words"].startswith("Stigg ")]

    assert told() == ["Stigg has never told closed-won that anything changed: a payment shows up to an hour later"]
    sandbox.aws.functions.kill("StiggEventsFunction")  # it tells the time of an event once a minute
    sandbox.tell({"type": "subscription.updated"})
    assert told() == []
    item = {"pk": {"S": "EVENTS"}, "sk": {"S": "WEBHOOK"}, "at": {"N": "1790000000000"}}
    sandbox.aws.client("dynamodb").put_item(TableName=sandbox.aws.resources["LedgerTable"], Item=item)
    assert told() == ["Stigg told something last on 2026-09-21, more than 30 days ago"]
