"""The plain paths: a deal is closed in Salesforce, and the customer has what was sold."""

from __future__ import annotations

import json

from closedwon.aws.ledger_items import text_of
from integration.scenes import (
    COMPOSITE,
    ENTERPRISE,
    SUBSCRIPTIONS,
    addons,
    call,
    due,
    executions,
    failures,
    limits,
    opportunity_of,
    provision,
    revised,
    sell,
    shown,
    status,
    stigg_requests,
    stigg_writes,
    subscriptions,
    sweep,
    time_passes,
)
from sandbox.sales import Sold
from sandbox.sandbox import STIGG_INTEGRATION, Sandbox


def test_a_closed_deal_becomes_a_customer_with_a_subscription_and_both_sides_link_to_each_other(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind Traders")
    deal = sell(
        sandbox,
        account,
        Sold("plan-enterprise", 1, 48000),
        Sold("addon-premium-support", 1),
        Sold("addon-extra-workspace", 5, 1200),
        Sold("feature-seats", 250),
        Sold("feature-api-calls", unlimited=True),
        Sold("feature-sso"),
        terms={"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"},
    )
    deal["account"]["email"] = "billing@northwind.example"
    [result] = provision(sandbox, deal)
    assert result["status"] == "accepted"
    assert result["errors"] == []

    customer = sandbox.stigg.customers[account]
    assert customer["name"] == "Northwind Traders"
    assert customer["email"] == "billing@northwind.example"
    assert customer["metadata"]["salesforceAccountUrl"] == f"{sandbox.salesforce_server.url}/{account}"
    assert customer["integrations"] == [
        {"id": STIGG_INTEGRATION, "vendorIdentifier": "SALESFORCE", "syncedEntityId": account}
    ]
    [subscription] = subscriptions(sandbox, account)
    assert subscription["planId"] == "plan-enterprise"
    assert subscription["status"] == "ACTIVE"
    assert subscription["billingPeriod"] == "ANNUALLY"
    assert subscription["paymentCollectionMethod"] == "INVOICE"
    assert subscription["salesforceId"] == opportunity_of(deal)
    assert subscription["metadata"]["salesforceOpportunityUrl"].endswith(opportunity_of(deal))
    assert addons(subscription) == {"addon-premium-support": 1, "addon-extra-workspace": 5}
    assert limits(subscription) == {
        "feature-seats": 250,
        "feature-api-calls": "unlimited",
        "feature-sso": None,
    }
    prices = {(p.get("addonId"), p.get("baseCharge"), p["amount"]) for p in subscription["priceOverrides"]}
    assert prices == {(None, True, 48000), ("addon-extra-workspace", None, 1200)}

    in_stigg = f"{sandbox.stigg_server.url}/{sandbox.stigg.environment}"
    shown_account = sandbox.salesforce.get("Account", account)
    assert shown_account["Stigg_Customer_ID__c"] == account
    assert shown_account["Stigg_Customer_URL__c"] == f"{in_stigg}/customers/{account}"
    record = sandbox.provisioning(opportunity_of(deal))
    assert record is not None
    assert (record["Status__c"], record["Reason__c"]) == ("Provisioned", None)
    assert record["Subscriptions__c"] == f"plan-enterprise - {subscription['id']}"
    assert record["Subscription_URL__c"] == f"{in_stigg}/subscriptions/{subscription['id']}"
    assert record["Execution__c"] == result["execution"]
    assert (record["Account__c"], record["Opportunity__c"]) == (account, opportunity_of(deal))

    told = status(sandbox, deal)
    assert (told["status"], told["writtenBack"], told["customerId"]) == ("Provisioned", True, account)
    assert [s["subscriptionId"] for s in told["subscriptions"]] == [subscription["id"]]
    assert not due(sandbox, account)


def test_an_undisturbed_deal_takes_five_round_trips_of_which_three_write_and_eight_state_transitions(
    sandbox: Sandbox,
) -> None:
    # A deal of another customer has logged in to Salesforce and read the catalogue.
    provision(sandbox, sell(sandbox, sandbox.sales.account("Before")))
    asked = len(sandbox.stigg_server.exchanges), len(sandbox.salesforce_server.exchanges)
    [result] = provision(sandbox, sell(sandbox, sandbox.sales.account("Northwind")))
    exchanges = sandbox.stigg_server.exchanges[asked[0] :] + sandbox.salesforce_server.exchanges[asked[1] :]
    assert len(exchanges) <= 5, [(e.method, e.path) for e in exchanges]
    assert sum(e.method != "GET" for e in exchanges) == 3
    history = sandbox.aws.history(sandbox.execution_arn(result["execution"]))
    assert history[-1]["type"] == "ExecutionSucceeded"
    assert sum(event["type"].endswith("StateEntered") for event in history) + 1 <= 8  # and the start


def test_several_plans_of_one_deal_become_a_subscription_each_with_what_is_compatible(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(
        sandbox,
        account,
        *ENTERPRISE,
        Sold("plan-analytics", 1, 9000),
        Sold("addon-data-export", 1),
        Sold("feature-dashboards", 40),
    )
    deal["lines"][2]["planId"] = "plan-enterprise"  # both plans know seats
    provision(sandbox, deal)
    found = {s["planId"]: s for s in subscriptions(sandbox, account)}
    assert set(found) == {"plan-enterprise", "plan-analytics"}
    assert addons(found["plan-analytics"]) == {"addon-data-export": 1}
    assert limits(found["plan-analytics"]) == {"feature-dashboards": 40}
    assert limits(found["plan-enterprise"]) == {"feature-seats": 250}
    record = sandbox.provisioning(opportunity_of(deal))
    assert record is not None
    assert len(record["Subscriptions__c"].splitlines()) == 2


def test_a_revised_deal_changes_its_subscription_in_place(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account)
    provision(sandbox, revised(deal, 0))
    [before] = subscriptions(sandbox, account)
    [result] = provision(sandbox, revised(deal, 1, feature_seats=300, addon_extra_workspace=3))
    assert result["status"] == "accepted"
    [after] = subscriptions(sandbox, account, live=False)
    assert after["id"] == before["id"]
    assert limits(after) == {"feature-seats": 300}
    assert addons(after) == {"addon-extra-workspace": 3}


def test_a_deal_that_must_be_paid_first_shows_the_checkout_link_and_is_provisioned_once_it_is_paid(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    terms = {"billingPeriod": "MONTHLY", "paymentCollection": "CHARGE"}
    deal = sell(sandbox, account, Sold("plan-team"), terms=terms)
    [result] = provision(sandbox, deal)
    record = sandbox.provisioning(opportunity_of(deal))
    assert record is not None
    assert record["Status__c"] == "Payment required"
    assert "checkout link" in record["Reason__c"]
    assert record["Checkout_URL__c"]
    assert status(sandbox, deal)["subscriptions"][0]["checkoutUrl"] == record["Checkout_URL__c"]

    assert sweep(sandbox) == 0, "looked at again in an hour, not at once"
    [pending] = subscriptions(sandbox, account)
    sandbox.stigg.pay(pending["id"])
    writes = stigg_writes(sandbox)
    time_passes(sandbox, account)
    assert sweep(sandbox) == 1
    record = sandbox.provisioning(opportunity_of(deal))
    assert record is not None
    assert (record["Status__c"], record["Reason__c"], record["Checkout_URL__c"]) == (
        "Provisioned",
        None,
        None,
    )
    assert stigg_writes(sandbox) == writes
    assert not due(sandbox, account)
    assert executions(sandbox)[-1]["name"] != result["execution"]


def test_a_checkout_link_too_long_for_its_field_is_shown_in_the_reason(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    terms = {"billingPeriod": "MONTHLY", "paymentCollection": "CHARGE"}
    link = f"https://checkout.example/{'x' * 400}"
    body = {"data": {"id": "any", "status": "PAYMENT_REQUIRED", "checkoutUrl": link, "subscription": None}}
    sandbox.stigg_server.fail("answer", "POST", SUBSCRIPTIONS, status=201, body=body)
    deal = sell(sandbox, account, Sold("plan-team"), terms=terms)
    provision(sandbox, deal)
    record = sandbox.provisioning(opportunity_of(deal))
    assert record is not None
    assert (record["Status__c"], record["Checkout_URL__c"]) == ("Payment required", None)
    assert record["Reason__c"].endswith(link)


def test_a_deal_that_starts_later_is_scheduled_and_looked_at_again_when_it_has_started(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account, terms={"start": "2099-01-01"})
    provision(sandbox, deal)
    assert shown(sandbox, deal) == ("Scheduled", "Access starts on 2099-01-01.")
    [subscription] = subscriptions(sandbox, account)
    assert subscription["status"] == "NOT_STARTED"
    assert sweep(sandbox) == 0
    time_passes(sandbox, account)  # somebody looks too early: nothing is written, and it is looked at again
    writes = stigg_writes(sandbox)
    assert sweep(sandbox) == 1
    assert stigg_writes(sandbox) == writes
    assert shown(sandbox, deal) == ("Scheduled", "Access starts on 2099-01-01.")
    assert due(sandbox, account)


def test_an_id_of_fifteen_characters_is_the_same_record(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account)
    provision(sandbox, deal)
    deal["opportunity"]["id"] = opportunity_of(deal)[:15]
    deal["account"]["id"] = account[:15]
    assert call(sandbox, deal)[0]["status"] == "duplicate"
    assert sandbox.status(opportunity_of(deal)).json()["status"] == "Provisioned"


def test_a_key_that_was_changed_in_stigg_is_read_again_at_once(sandbox: Sandbox) -> None:
    provision(sandbox, sell(sandbox, sandbox.sales.account("Before")))
    old = sandbox.stigg_api_key
    try:
        sandbox.stigg.change_api_key("server-of-tomorrow")
        sandbox.aws.put_secret("StiggSecret", {"apiKey": "server-of-tomorrow"})
        account = sandbox.sales.account("Northwind")
        deal = sell(sandbox, account)
        [result] = provision(sandbox, deal)
        assert shown(sandbox, deal) == ("Provisioned", None)
        assert failures(sandbox, result["execution"]) == set()
    finally:
        sandbox.stigg.change_api_key(old)
        sandbox.aws.put_secret("StiggSecret", {"apiKey": old})


def test_a_session_that_salesforce_ended_is_renewed_without_a_trace(sandbox: Sandbox) -> None:
    provision(sandbox, sell(sandbox, sandbox.sales.account("Before")))
    sandbox.salesforce.expire_tokens()
    deal = sell(sandbox, sandbox.sales.account("Northwind"))
    [result] = provision(sandbox, deal)
    assert shown(sandbox, deal) == ("Provisioned", None)
    assert failures(sandbox, result["execution"]) == set()
    assert stigg_requests(sandbox, "POST", "/api/v1/subscriptions") == 2
    assert sandbox.salesforce_server.asked("POST", COMPOSITE)[-1].status == 200


def test_a_plan_that_stigg_published_after_the_catalogue_was_read_is_found(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    provision(sandbox, sell(sandbox, account))
    table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
    key = {"pk": {"S": "CATALOGUE"}, "sk": {"S": "CATALOGUE"}}
    snapshot = json.loads(text_of(dynamodb.get_item(TableName=table, Key=key)["Item"]))
    del snapshot["plans"]["plan-analytics"]  # as it was a minute ago
    snapshot["readAt"] -= 60_000
    dynamodb.put_item(TableName=table, Item={**key, "body": {"S": json.dumps(snapshot)}})

    new = sell(sandbox, account, Sold("plan-analytics"))
    provision(sandbox, new)

    assert shown(sandbox, new) == ("Provisioned", None)
