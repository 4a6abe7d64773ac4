"""Every payload in events/ is what its function really gets: the same files serve ``sam local invoke``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from integration.scenes import (
    CUSTOMERS,
    SUBSCRIPTIONS,
    Json,
    addons,
    limits,
    no_execution_starts,
    provision,
    shown,
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
    "preview": "PreviewFunction",
    "stigg_events": "StiggEventsFunction",
    "customer_provision": "CustomerProvisionFunction",
    "subscription_provision": "SubscriptionProvisionFunction",
    "account_write_back": "AccountWriteBackFunction",
    "account_write_back_failure": "AccountWriteBackFunction",
    "sweep": "SweepFunction",
}
BODIES = {
    "callout",
    "callout_trial",
    "callout_amendment",
    "callout_renewal",
    "callout_cancellation",
    "approvals",
    "apex_callout",  # Apex's are used by test_salesforce_package.py
    "apex_amendment",
}
"""Bodies of requests. Their dates are such that they mean the same on whatever day they are sent."""
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
    assert {path.stem for path in Path(EVENTS).glob("*.json")} == {*BODIES, *FUNCTIONS}


@pytest.mark.parametrize("name", STATES)
def test_a_steps_event_has_the_fields_the_state_machine_gives_it(name: str) -> None:
    machine = yaml.safe_load((ROOT / "statemachines/provision.asl.yaml").read_text())
    parameters = machine["States"][STATES[name]]["Parameters"]
    assert {field.removesuffix(".$") for field in parameters} == set(event(name))


def test_the_callout_is_sent_as_it_is_and_as_api_gateways_event(sandbox: Sandbox, account: str) -> None:
    [sent] = sandbox.post(event("callout")).json()["results"]
    sandbox.wait_until_idle()
    assert sent["status"] == "accepted"
    assert json.loads(event("flow_callout_post")["body"]) == event("callout")
    answer = invoke(sandbox, "flow_callout_post")
    assert (answer["statusCode"], json.loads(answer["body"])["results"][0]["status"]) == (202, "duplicate")
    answer = invoke(sandbox, "flow_callout_get")
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (200, "Provisioned")
    [subscription] = subscriptions(sandbox, account)
    assert len(subscription["entitlements"]) == 3


def test_the_previews_event_is_answered_as_its_route_answers_the_callouts_body(sandbox: Sandbox, account: str) -> None:
    assert json.loads(event("preview")["body"]) == event("callout")
    answer = invoke(sandbox, "preview")
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == sandbox.post(event("callout"), path="/v1/previews").json()
    [told] = json.loads(answer["body"])["results"]
    assert (told["status"], [change["action"] for change in told["changes"]]) == ("ok", ["create"])


def test_stiggs_event_is_heard_as_its_route_hears_it(sandbox: Sandbox) -> None:
    answer = invoke(sandbox, "stigg_events")
    told = sandbox.tell(event("stigg_events")["body"])
    assert (answer["statusCode"], answer["body"]) == (told.status_code, told.text) == (202, '{"message": "heard"}')


def test_the_callouts_tell_the_life_of_a_deal(sandbox: Sandbox, account: str) -> None:
    stages = ("trial", "", "amendment", "renewal", "cancellation")
    deals = {stage: event(f"callout_{stage}".rstrip("_"))["deals"][0] for stage in stages}
    for stage in ("amendment", "renewal", "cancellation"):
        opportunity = deals[stage]["opportunity"]
        sandbox.sales.close(account, opportunity["name"], Id=opportunity["id"])
    won, amended, renewed, cancelled = (shown_of(deals[stage]) for stage in stages[1:])

    trial = tell(sandbox, account, deals["trial"])
    assert (trial["planId"], trial["status"], limits(trial)["feature-seats"]) == ("plan-enterprise", "IN_TRIAL", 25)

    paid = tell(sandbox, account, deals[""])
    assert (paid["planId"], paid["status"], limits(paid)["feature-seats"]) == ("plan-enterprise", "ACTIVE", 250)

    more = tell(sandbox, account, deals["amendment"])
    assert more["id"] == paid["id"]
    assert limits(more) == {"feature-seats": 300, "feature-api-calls": 8_000_000, "feature-sso": None}  # granted
    assert addons(more) == {"addon-premium-support": 1, "addon-extra-workspace": 7}
    assert [p["amount"] for p in more["priceOverrides"] if p.get("addonId")] == [round((5 * 1200 + 2 * 1100) / 7, 6)]
    assert (won(sandbox), amended(sandbox)) == ("Provisioned", "Provisioned")

    new = tell(sandbox, account, deals["renewal"])
    assert (new["planId"], limits(new)["feature-seats"]) == ("plan-enterprise-plus", 280)
    assert (won(sandbox), amended(sandbox), renewed(sandbox)) == ("Superseded", "Superseded", "Provisioned")

    provision(sandbox, deals["cancellation"])
    assert subscriptions(sandbox, account) == []
    assert (renewed(sandbox), cancelled(sandbox)) == ("Superseded", "Provisioned")


def tell(sandbox: Sandbox, account: str, deal: Json) -> Json:
    """Send a deal as it is. Out: the one subscription that stands then."""
    [result] = provision(sandbox, deal)
    assert result["status"] == "accepted"
    [subscription] = subscriptions(sandbox, account)
    return subscription


def shown_of(deal: Json) -> Callable[[Sandbox], str]:
    """What tells the status that Salesforce shows on a deal."""

    def told(sandbox: Sandbox) -> str:
        found = shown(sandbox, deal)
        assert found is not None
        return found[0]

    return told


def test_the_approval_lets_the_deal_replace_what_the_customer_bought_alone(sandbox: Sandbox, account: str) -> None:
    sandbox.stigg.add_customer(account)
    sandbox.stigg.add_subscription(account, "plan-team", id="subscription-self-serve", billing_period="MONTHLY")
    provision(sandbox, *event("callout")["deals"])
    [approval] = event("approvals")["approvals"]
    held = sandbox.status(approval["opportunityId"]).json()
    assert (held["status"], held["approval"]) == ("Held", approval["approval"])
    answer = requests.post(
        f"{sandbox.aws.callout_url}/v1/approvals",
        json=event("approvals"),
        headers={"x-api-key": sandbox.callout_key},
        timeout=60,
    )
    assert [result["status"] for result in answer.json()["results"]] == ["approved"]
    sandbox.wait_until_idle()
    [subscription] = subscriptions(sandbox, account)
    assert subscription["planId"] == "plan-enterprise"
    assert sandbox.status(approval["opportunityId"]).json()["status"] == "Provisioned"


def test_each_steps_output_is_the_next_steps_event(sandbox: Sandbox, account: str) -> None:
    with no_execution_starts():
        result = json.loads(invoke(sandbox, "flow_callout_post")["body"])["results"][0]
    outputs = []
    steps = ("customer_provision", "subscription_provision", "account_write_back")
    given = {"accountId": account, "token": 0}  # the execution's input
    for step in steps:
        more = {"executionArn": event(step)["executionArn"]} if step == "account_write_back" else {}
        assert event(step) == {
            **more,
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
    sandbox.wait_until_idle()
    assert sandbox.status(opportunity).json()["status"] == "Provisioned"


def test_the_authorizer_lets_the_current_and_the_previous_key_in_and_no_other(sandbox: Sandbox) -> None:
    def effect(token: str) -> str:
        policy = invoke(sandbox, "authorizer", {**event("authorizer"), "authorizationToken": token})["policyDocument"]
        statement, *others = policy["Statement"]
        api = event("authorizer")["methodArn"].removesuffix("/POST/v1/provisionings")
        assert statement["Resource"] == f"{api}/*", "the answer is kept for every route"
        assert {one["Resource"] for one in others} <= {f"{api}/POST/v1/stigg-events"}, "but Stigg's own"
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
