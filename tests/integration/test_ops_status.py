"""closedwon status, as an operator runs it: the whole story of a deal, also of one that went wrong."""

from __future__ import annotations

import pytest
import requests

from integration.scenes import (
    SUBSCRIPTIONS,
    Json,
    executions,
    opportunity_of,
    provision,
    revised,
    sell,
    subscriptions,
    time_passes,
)
from integration.terminal import Operator
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

PLAN = Sold("plan-enterprise", 1, 48000)


@pytest.fixture
def account(sandbox: Sandbox) -> str:
    return sandbox.sales.account("Northwind Traders")


@pytest.fixture
def deal(sandbox: Sandbox, account: str) -> Json:
    """A deal of 250 seats that was lowered to 200."""
    deal = sell(sandbox, account, PLAN, Sold("feature-seats", 250))
    provision(sandbox, revised(deal, 0))
    provision(sandbox, revised(deal, 1, feature_seats=200))
    return deal


def test_the_story_of_a_deal_is_told_by_any_of_its_ids(
    sandbox: Sandbox, operator: Operator, account: str, deal: Json
) -> None:
    id = opportunity_of(deal)
    ledger = sandbox.aws.client("dynamodb").scan(TableName=sandbox.aws.resources["LedgerTable"])["Items"]
    said = operator.does("status", id[:15])
    assert f"Opportunity {id} is Provisioned." in said
    assert "lowered feature-seats from 250 to 200" in said
    assert "plan-enterprise 1 at 48,000.00 USD" in said
    assert "SubscriptionProvision" in said
    assert "Stigg is as it should be." in said
    assert "Salesforce shows what became of the deals." in said
    assert "Northwind" not in said
    execution = executions(sandbox)[-1]
    for asked in (account, execution["name"], execution["executionArn"]):
        assert "lowered feature-seats from 250 to 200" in operator.does("status", asked)
    now = sandbox.aws.client("dynamodb").scan(TableName=sandbox.aws.resources["LedgerTable"])["Items"]
    assert now == ledger  # it only looked


def test_scripts_get_all_of_it(sandbox: Sandbox, operator: Operator, account: str, deal: Json) -> None:
    told = operator.json("status", account)
    assert told["customer"]["id"] == account
    assert (told["ledger"]["version"], told["ledger"]["applied"], told["ledger"]["failures"]) == (2, 2, 0)
    [one] = told["deals"]
    assert (one["opportunityId"], one["status"], one["writtenBack"]) == (opportunity_of(deal), "Provisioned", True)
    assert [order["lowers"] for order in told["orders"]] == [True, False]
    [subscription] = told["stigg"]["subscriptions"]
    assert (subscription["planId"], subscription["entitlements"]["feature-seats"]) == ("plan-enterprise", 200)
    assert told["findings"] == {"Stigg": [], "Salesforce": [], "deals": []}


def test_every_execution_of_a_deal_is_told_with_what_it_went_through(
    sandbox: Sandbox, operator: Operator, deal: Json
) -> None:
    told = operator.json("status", opportunity_of(deal))["executions"]
    assert [one["name"] for one in reversed(told)] == [one["name"] for one in executions(sandbox)]
    assert {one["status"] for one in told} == {"SUCCEEDED"}
    assert [step["state"] for step in told[0]["steps"]][:2] == ["WaitForRateSlot", "CustomerProvision"]


def test_what_somebody_changed_in_stigg_is_said_with_both_values(
    sandbox: Sandbox, operator: Operator, account: str, deal: Json
) -> None:
    [subscription] = subscriptions(sandbox, account)
    url = f"{sandbox.stigg_server.url}/api/v1/subscriptions/{subscription['id']}/cancel"
    headers = {"X-API-KEY": sandbox.stigg_api_key}
    requests.post(url, json={"cancellationTime": "IMMEDIATE"}, headers=headers, timeout=60).raise_for_status()
    said = operator.does("status", account)
    assert "Somebody ended plan-enterprise in Stigg; no deal ends it." in said
    assert "Left to people" in said
    assert "Stigg is as it should be" not in said


def test_a_failure_is_told_with_its_error_and_what_happens_next(
    sandbox: Sandbox, operator: Operator, account: str
) -> None:
    sandbox.stigg_server.fail("answer", "GET", SUBSCRIPTIONS, status=503, times=99)
    deal = sell(sandbox, account, PLAN)
    provision(sandbox, deal)
    sandbox.stigg_server.heal()
    said = operator.does("status", opportunity_of(deal))
    assert "is Failed." in said
    assert "StiggUnavailable" in said
    assert "it failed 1 time, and is tried again" in said
    assert f"./closedwon --stack sandbox replay {opportunity_of(deal)}" in said
    steps = operator.json("status", opportunity_of(deal))["executions"][0]["steps"]
    [step] = [one for one in steps if one["state"] == "SubscriptionProvision"]
    assert step["tries"] == len(step["errors"]) > 1


@pytest.mark.parametrize("lost", ["Stigg", "Salesforce"])
def test_who_cannot_be_asked_is_named_and_the_rest_is_told(
    sandbox: Sandbox, operator: Operator, deal: Json, lost: str
) -> None:
    server = sandbox.stigg_server if lost == "Stigg" else sandbox.salesforce_server
    server.fail("answer", status=503, times=99)
    code, said, errors = operator.runs("status", opportunity_of(deal))
    assert code == 1, errors
    assert f"{lost} could not be asked" in said
    assert "lowered feature-seats from 250 to 200" in said
    other = {"Stigg": "Salesforce shows what became", "Salesforce": "Stigg is as it should be"}[lost]
    assert other in said


def test_a_customer_of_many_deals_stays_readable(sandbox: Sandbox, operator: Operator, account: str) -> None:
    deals = [sell(sandbox, account, Sold("feature-seats", 1), name=f"Deal {n}") for n in range(25)]
    provision(sandbox, *deals)
    said = operator.does("status", account)
    assert "has 25 deals: 25 Failed." in said
    assert "The newest 10 of 25 deals: --all shows them all." in said
    assert len(said.splitlines()) < 120
    everything = operator.does("status", account, "--all")
    assert all(opportunity_of(deal) in everything for deal in deals)


def test_unknown_and_mistyped_ids_are_said_plainly(sandbox: Sandbox, operator: Operator) -> None:
    code, _, error = operator.runs("status", "0065g00000ABCdEAAX")
    assert code == 1
    assert "never reached closed-won" in error
    code, _, error = operator.runs("status", "0015g00000XyZaBAAV")
    assert code == 1
    assert "knows no deal of the account" in error
    code, _, error = operator.runs("status", "0065g00000ABCdEAAA")
    assert code == 2
    assert "its last three characters do not fit the rest" in error
    assert "the ledger knows no acme" in operator.runs("status", "acme")[2]
    assert "there is no stack called elsewhere" in operator.runs("status", "acme", stack="elsewhere")[2]


def test_what_waits_for_its_time_says_when_and_why(sandbox: Sandbox, operator: Operator, account: str) -> None:
    deal = sell(sandbox, account, Sold("plan-team"), terms={"billingPeriod": "MONTHLY", "paymentCollection": "CHARGE"})
    provision(sandbox, deal)
    said = operator.does("status", opportunity_of(deal))
    assert "is Payment required." in said
    assert "a payment, a start or an end is to be looked at" in said
    time_passes(sandbox, account)
    assert "now, at the next sweep" in operator.does("status", opportunity_of(deal))
