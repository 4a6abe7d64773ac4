"""Every payload in events/ is what its function really gets: the same files serve ``sam local invoke``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.scenes import (
    CUSTOMERS,
    SUBSCRIPTIONS,
    Json,
    no_execution_starts,
    stigg_requests,
    subscriptions,
    time_passes,
)
from sandbox.sandbox import ROOT, Sandbox

EVENTS = ROOT / "events"
FUNCTIONS = {
    "authorizer": "AuthorizerFunction",
    "flow_callout_post": "FlowCalloutFunction",
    "flow_callout_get": "FlowCalloutFunction",
    "resource_provision": "ResourceProvisionFunction",
    "customer_provision": "CustomerProvisionFunction",
    "subscription_provision": "SubscriptionProvisionFunction",
    "account_write_back": "AccountWriteBackFunction",
    "account_write_back_failure": "AccountWriteBackFunction",
    "sweep": "SweepFunction",
}
STATES = {
    "resource_provision": "ResourceProvision",
    "customer_provision": "CustomerProvision",
    "subscription_provision": "SubscriptionProvision",
    "account_write_back": "AccountWriteBack",
    "account_write_back_failure": "FailureWriteBack",
}


def event(name: str) -> Json:
    content: Json = json.loads((EVENTS / f"{name}.json").read_text())
    return content


def invoke(sandbox: Sandbox, name: str, payload: Json | None = None) -> Any:
    """What the function answers to an event's file, or to a payload instead of it."""
    return sandbox.aws.functions.invoke(FUNCTIONS[name], event(name) if payload is None else payload)


@pytest.fixture
def account(sandbox: Sandbox) -> str:
    """The account and the opportunity that the events are about, in Salesforce."""
    deal = event("callout")["deals"][0]
    account = sandbox.sales.account(deal["account"]["name"], Id=deal["account"]["id"])
    sandbox.sales.close(account, deal["opportunity"]["name"], Id=deal["opportunity"]["id"])
    return account


def test_every_file_is_the_event_of_a_function() -> None:
    bodies = {"callout", "apex_callout", "apex_amendment"}  # Apex's are used by test_salesforce_package.py
    assert {path.stem for path in Path(EVENTS).glob("*.json")} == {*bodies, *FUNCTIONS}


@pytest.mark.parametrize("name", STATES)
def test_a_steps_event_has_the_fields_the_state_machine_gives_it(name: str) -> None:
    machine = yaml.safe_load((ROOT / "statemachines/provision.asl.yaml").read_text())
    parameters = machine["States"][STATES[name]]["Parameters"]
    assert {field.removesuffix(".$") for field in parameters} == set(event(name))


def test_the_callout_is_sent_as_it_is_and_as_api_gateways_event(sandbox: Sandbox, account: str) -> None:
    [sent] = sandbox.post(event("callout")).json()["results"]
    sandbox.settle()
    assert sent["status"] == "accepted"
    assert json.loads(event("flow_callout_post")["body"]) == event("callout")
    answer = invoke(sandbox, "flow_callout_post")
    assert (answer["statusCode"], json.loads(answer["body"])["results"][0]["status"]) == (202, "duplicate")
    answer = invoke(sandbox, "flow_callout_get")
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (200, "Provisioned")
    [subscription] = subscriptions(sandbox, account)
    assert len(subscription["entitlements"]) == 3


def test_each_steps_output_is_the_next_steps_event(sandbox: Sandbox, account: str) -> None:
    with no_execution_starts():
        result = json.loads(invoke(sandbox, "flow_callout_post")["body"])["results"][0]
    outputs = []
    steps = ("customer_provision", "subscription_provision", "account_write_back")
    given = {"accountId": account, "token": 0}  # the execution's input
    for step in steps:
        assert event(step) == {
            **{name: given[name] for name in ("accountId", "token")},
            "execution": result["execution"],
        }
        given = invoke(sandbox, step)
        outputs.append(given)
    assert outputs[0]["work"] == "provision"
    assert outputs[2]["result"] == "provisioned"
    record = sandbox.provisioning(event("callout")["deals"][0]["opportunity"]["id"])
    assert record is not None
    assert record["Status__c"] == "Provisioned"
    assert stigg_requests(sandbox, "POST", CUSTOMERS) == stigg_requests(sandbox, "POST", SUBSCRIPTIONS) == 1


def test_where_the_user_has_no_application_its_step_hands_the_work_on(sandbox: Sandbox, account: str) -> None:
    with no_execution_starts():
        invoke(sandbox, "flow_callout_post")
    assert invoke(sandbox, "resource_provision") == {"accountId": account, "token": 1}
    assert invoke(sandbox, "customer_provision", event("customer_provision") | {"token": 1})["work"] == "provision"


def test_the_failure_is_written_back_and_the_sweeps_event_starts_what_is_due(sandbox: Sandbox, account: str) -> None:
    with no_execution_starts():
        invoke(sandbox, "flow_callout_post")
    assert invoke(sandbox, "customer_provision")["work"] == "provision"
    invoke(sandbox, "account_write_back_failure")
    opportunity = event("callout")["deals"][0]["opportunity"]["id"]
    record = sandbox.provisioning(opportunity)
    assert record is not None
    assert record["Status__c"] == "Failed"
    assert "the API key is not accepted" in record["Reason__c"]
    assert invoke(sandbox, "sweep") == {"started": 0}
    time_passes(sandbox, account)
    assert invoke(sandbox, "sweep") == {"started": 1}
    sandbox.settle()
    assert sandbox.status(opportunity).json()["status"] == "Provisioned"


def test_the_authorizer_lets_the_current_and_the_previous_key_in_and_no_other(sandbox: Sandbox) -> None:
    def effect(token: str) -> str:
        policy = invoke(sandbox, "authorizer", {**event("authorizer"), "authorizationToken": token})["policyDocument"]
        [statement] = policy["Statement"]
        api = event("authorizer")["methodArn"].removesuffix("/POST/v1/provisionings")
        assert statement["Resource"] == f"{api}/*", "the answer is kept for every route"
        return str(statement["Effect"])

    assert effect(event("authorizer")["authorizationToken"]) == "Deny"
    assert effect(sandbox.callout_key) == "Allow"
    try:
        sandbox.aws.put_secret("CalloutKeySecret", "a-new-key-of-at-least-sixteen")
        sandbox.aws.functions.kill("AuthorizerFunction")  # or five minutes pass
        assert effect("a-new-key-of-at-least-sixteen") == "Allow"
        assert effect(sandbox.callout_key) == "Allow", "until Salesforce has the new one"
        assert effect("") == effect("a-new-key") == "Deny"
    finally:
        sandbox.aws.put_secret("CalloutKeySecret", sandbox.callout_key)
        sandbox.aws.functions.kill("AuthorizerFunction")
