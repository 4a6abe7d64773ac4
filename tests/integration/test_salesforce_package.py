"""What the Salesforce package's Apex sends is what the callout takes.

events/apex_callout.json is the contract of both sides: an Apex test asserts that the action's body equals it letter by
letter (with its own organisation's IDs and times), and the callout takes it here.
"""

from __future__ import annotations

import json
import re

import pytest

from integration.scenes import Json, addons, limits, provision, subscriptions
from sandbox.sandbox import ROOT, Sandbox

CLASSES = ROOT / "salesforce" / "force-app" / "main" / "default" / "classes"
FIXTURE = ROOT / "events" / "apex_callout.json"

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


def test_the_apex_tests_assert_on_the_fixture(sent: Json) -> None:
    text = apex_constant("ClosedWonTestData", "FIXTURE")
    assert json.loads(text) == sent
    # In the same order and without a space, as Apex generates it: the Apex test compares letter by letter.
    assert text == json.dumps(sent, separators=(",", ":"))
    test = (CLASSES / "ClosedWonProvisionTest.cls").read_text()
    assert "Assert.areEqual(fixtureFor(sold), sent.getBody());" in test


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
