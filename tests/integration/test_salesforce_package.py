"""What the Salesforce package's Apex sends is what the callout takes.

events/apex_callout.json and apex_amendment.json are the contract of both sides: Apex tests assert that the action's
body equals them letter by letter (with their own organisation's IDs and times), and they are taken here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from closedwon.intake.deal import Deal
from closedwon.intake.mapping import MappingRules, compile_deal
from integration.scenes import Json, addons, limits, provision, subscriptions
from sandbox.sandbox import ROOT, Sandbox
from unit.domain import iso

CLASSES = ROOT / "salesforce" / "force-app" / "main" / "default" / "classes"
FIXTURE = ROOT / "events" / "apex_callout.json"
AMENDMENT = ROOT / "events" / "apex_amendment.json"

APEX_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'")


@pytest.fixture
def sent() -> Json:
    """The body that Apex sends."""
    body: Json = json.loads(FIXTURE.read_text())
    return body


def apex_constant(class_name: str, constant: str) -> str:
    """The value of a constant that concatenates texts, as Apex reads it."""
    source = (CLASSES / f"{class_name}.cls").read_text()
    declaration = re.search(rf"\b{constant} =((?:\s*{APEX_TEXT.pattern}\s*\+?)+);", source)
    assert declaration, f"{class_name} declares no constant {constant} of plain texts"
    return "".join(re.sub(r"\\(.)", r"\1", part) for part in APEX_TEXT.findall(declaration[1]))


@pytest.mark.parametrize(("constant", "fixture"), [("FIXTURE", FIXTURE), ("AMENDMENT", AMENDMENT)])
def test_the_apex_tests_assert_on_the_fixtures(constant: str, fixture: Path) -> None:
    content = json.loads(fixture.read_text())
    text = apex_constant("ClosedWonTestData", constant)
    assert json.loads(text) == content
    # In the same order and without a space, as Apex generates it: the Apex test compares letter by letter.
    assert text == json.dumps(content, separators=(",", ":"))
    test = (CLASSES / "ClosedWonProvisionTest.cls").read_text()
    assert re.search(rf"areEqual\(inThisOrganisation\(ClosedWonTestData.{constant}, sold\), .+\.getBody\(\)\);", test)


def test_an_amendment_that_apex_sends_says_what_the_callout_understands() -> None:
    [sent] = json.loads(AMENDMENT.read_text())["deals"]
    order = compile_deal(Deal.model_validate(sent), MappingRules(sent["organizationId"]))
    assert order.problems == ()
    assert order.differences
    assert (order.amends, order.contract_id) == ((sent["amends"],), sent["contractId"])
    assert (order.budget, order.budget_soft, order.minimum_spend) == (5000, True, 1000.25)
    assert (order.coupon, order.paying_customer_id) == ("coupon-partner", "customer-parent")
    items = {item.stigg_id: item for item in order.items}
    assert (items["feature-seats"].quantity, items["feature-seats"].prior) == (5, 10)
    assert (items["feature-sso"].quantity, items["feature-sso"].unlimited) == (-1, True)
    later = items["addon-extra-workspace"]
    assert (iso(later.start), iso(later.end)) == ("2026-06-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z")


def test_what_apex_sends_is_taken_and_provisioned(sandbox: Sandbox, sent: Json) -> None:
    [deal] = sent["deals"]
    account = sandbox.sales.account(
        deal["account"]["name"],
        Id=deal["account"]["id"],
        Stigg_Customer_ID__c=deal["account"]["stiggCustomerId"],
    )
    sandbox.sales.close(account, deal["opportunity"]["name"], Id=deal["opportunity"]["id"])

    [result] = provision(sandbox, deal)

    assert (result["status"], result["errors"]) == ("accepted", [])
    [subscription] = subscriptions(sandbox, deal["account"]["stiggCustomerId"])
    assert subscription["planId"] == "plan-enterprise"
    assert subscription["billingPeriod"] == "ANNUALLY"
    assert addons(subscription) == {"addon-premium-support": 1, "addon-extra-workspace": 5}
    assert limits(subscription) == {"feature-seats": 250, "feature-api-calls": 5_000_000, "feature-sso": None}
    prices = {(price.get("addonId"), price["amount"]) for price in subscription["priceOverrides"]}
    assert prices == {(None, 48_000), ("addon-extra-workspace", 1199.95)}
    record = sandbox.provisioning(deal["opportunity"]["id"])
    assert record is not None
    assert (record["Status__c"], record["Reason__c"]) == ("Provisioned", None)
