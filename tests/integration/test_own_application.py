"""The user's own application makes accounts or workspaces first: the sample application beside the running sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from closedwon.aws.ledger_items import text_of
from integration.conftest import hurried_sandbox
from integration.scenes import (
    SUBSCRIPTIONS,
    Json,
    call,
    due,
    executions,
    failures,
    opportunity_of,
    provision,
    revised,
    seen,
    sell,
    shown,
    status,
    stigg_writes,
    subscriptions,
    sweep,
    time_passes,
)
from sandbox.application import WorkspaceApplication
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

PROVISIONED = ("Provisioned", None)
ANALYTICS = Sold("plan-analytics", 1, 9000)


@pytest.fixture(scope="module")
def own_sandbox() -> Iterator[Sandbox]:
    with hurried_sandbox(own_application=True) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(own_sandbox: Sandbox) -> Iterator[Sandbox]:
    """A running sandbox with the sample application, in which nothing was sold yet."""
    own_sandbox.reset()
    yield own_sandbox
    own_sandbox.stigg_server.heal()
    own_sandbox.application_server.heal()
    own_sandbox.wait_until_idle()


@pytest.fixture
def application(sandbox: Sandbox) -> WorkspaceApplication:
    assert sandbox.application is not None
    return sandbox.application


def asked(sandbox: Sandbox) -> list[tuple[str, Json]]:
    """What the application was asked: the keys and bodies of all requests, oldest first."""
    return [(e.headers["Idempotency-Key"], json.loads(e.body)) for e in sandbox.application_server.exchanges]


def it_is_time_to_ask_again(sandbox: Sandbox, account: str) -> None:
    """What the application said about the account's opportunities has waited long enough."""
    time_passes(sandbox, account)
    table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
    found = dynamodb.query(
        TableName=table,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
        ExpressionAttributeValues={":pk": {"S": f"ACCOUNT#{account}"}, ":sk": {"S": "OPPORTUNITY#"}},
    )
    for item in found["Items"]:
        body = json.loads(text_of(item))
        if body["application"] and body["application"]["ask_again_at"]:
            body["application"]["ask_again_at"] = 1
            dynamodb.put_item(TableName=table, Item={**item, "body": {"S": json.dumps(body)}})


def states(sandbox: Sandbox, result: Json) -> list[str]:
    return sandbox.aws.states_entered(sandbox.execution_arn(result["execution"]))


def resources(sandbox: Sandbox, customer_id: str) -> set[tuple[str, str | None]]:
    return {(s["planId"], s["resourceId"]) for s in subscriptions(sandbox, customer_id)}


def test_a_deals_workspace_is_made_first_and_its_ids_are_used_in_stigg_and_shown_in_salesforce(
    sandbox: Sandbox, application: WorkspaceApplication
) -> None:
    account = sandbox.sales.account("Northwind Traders")
    deal = sell(sandbox, account, terms={"start": "2026-01-01"})
    [result] = provision(sandbox, deal)
    assert states(sandbox, result)[:3] == ["WaitForRateSlot", "ResourceProvision", "CustomerProvision"]

    [(key, body)] = asked(sandbox)
    assert key == f"{sandbox.salesforce.organization_id}-{opportunity_of(deal)}"
    assert (body["trigger"], body["account"]["name"]) == ("closed_won", "Northwind Traders")
    assert {"type": "Plan", "id": "plan-enterprise", "quantity": 1} in body["lines"]
    assert "customerId" not in body, "it may choose"

    customer_id = f"org-{account}"
    assert set(sandbox.stigg.customers) == {customer_id}
    assert resources(sandbox, customer_id) == {("plan-enterprise", "workspace-1")}
    assert shown(sandbox, deal) == PROVISIONED
    assert sandbox.salesforce.get("Account", account)["Stigg_Customer_ID__c"] == customer_id
    [subscription] = subscriptions(sandbox, customer_id)
    assert subscription["metadata"]["workspaceUrl"].endswith("/workspace-1")
    assert not due(sandbox, account)


def test_it_is_asked_once_and_a_second_deal_of_the_customer_gets_a_workspace_of_its_own(
    sandbox: Sandbox, application: WorkspaceApplication
) -> None:
    account = sandbox.sales.account("Northwind")
    deal = revised(sell(sandbox, account), 0)
    provision(sandbox, deal)
    provision(sandbox, deal, revised(deal, 1, feature_seats=300))
    assert len(asked(sandbox)) == 1
    second = sell(sandbox, account)
    provision(sandbox, second)
    assert asked(sandbox)[1][1]["customerId"] == f"org-{account}"
    assert resources(sandbox, f"org-{account}") == {("plan-enterprise", f"workspace-{n}") for n in (1, 2)}
    assert shown(sandbox, deal) == shown(sandbox, second) == PROVISIONED


def test_while_a_workspace_is_prepared_its_deal_says_so_the_others_go_on_and_it_is_asked_again(
    sandbox: Sandbox, application: WorkspaceApplication
) -> None:
    account = sandbox.sales.account("Northwind")
    first = revised(sell(sandbox, account), 0)
    provision(sandbox, first)
    application.slow = True
    slow = revised(sell(sandbox, account, ANALYTICS), 0)
    call(sandbox, slow)
    [result, _] = provision(sandbox, slow, revised(first, 1, feature_seats=300))

    shown_status, reason = shown(sandbox, slow) or ("", "")
    assert shown_status == "Provisioning"
    assert reason is not None
    assert reason.startswith("Your application is still preparing the workspace; it is asked again at ")
    assert status(sandbox, slow)["reason"] == reason
    [subscription] = subscriptions(sandbox, f"org-{account}")
    assert subscription["entitlements"][0]["usageLimit"] == 300
    assert sandbox.aws.wait_for_execution(sandbox.execution_arn(result["execution"]))["status"] == "SUCCEEDED"
    assert due(sandbox, account)
    times = len(asked(sandbox))

    assert sweep(sandbox) == 0, "asked again in ten minutes"
    it_is_time_to_ask_again(sandbox, account)
    assert sweep(sandbox) == 1
    assert len(asked(sandbox)) == times + 1
    assert (shown(sandbox, slow) or ("",))[0] == "Provisioning", "not ready yet"
    application.finish()
    it_is_time_to_ask_again(sandbox, account)
    assert sweep(sandbox) == 1
    assert shown(sandbox, slow) == PROVISIONED
    assert len({key for key, _ in asked(sandbox)}) == len(application.workspaces) == 2
    assert ("plan-analytics", "workspace-2") in resources(sandbox, f"org-{account}")
    assert not due(sandbox, account)


def test_a_refusal_is_that_deals_failure_with_its_reason_until_it_is_sent_again(
    sandbox: Sandbox, application: WorkspaceApplication
) -> None:
    account = sandbox.sales.account("Northwind")
    good = sell(sandbox, account)
    bad = revised(sell(sandbox, account, ANALYTICS), 0)
    refusal = {"message": "Northwind may have one workspace only"}
    sandbox.application_server.fail("answer", status=422, body=refusal, about=opportunity_of(bad), times=2)
    [_, result] = provision(sandbox, good, bad)
    shown_status, reason = shown(sandbox, bad) or ("", "")
    assert shown_status == "Failed"
    assert reason is not None
    assert reason.startswith("Your application: *** may have one workspace only (HTTP 422)\n")
    assert shown(sandbox, good) == PROVISIONED
    assert resources(sandbox, f"org-{account}") == {("plan-enterprise", "workspace-1")}
    described = sandbox.aws.wait_for_execution(sandbox.execution_arn(result["execution"]))
    assert described["error"] == "DealRefused"
    assert sweep(sandbox) == 0, "not at once"
    it_is_time_to_ask_again(sandbox, account)
    assert sweep(sandbox) == 1
    assert executions(sandbox)[-1]["status"] == "SUCCEEDED", "told once"
    assert shown(sandbox, bad) == ("Failed", reason)

    assert provision(sandbox, bad)[0]["status"] == "duplicate"
    assert shown(sandbox, bad) == PROVISIONED
    assert not due(sandbox, account)


LOSSES: dict[str, Json] = {
    "it answers 500": {"kind": "answer", "status": 500, "times": 2},
    "it answers 429": {"kind": "answer", "status": 429, "times": 2},
    "its answer is lost": {"kind": "drop_after"},
    "the function is killed": {"kind": "delay_after", "seconds": 120},
    "the function runs out of time": {"kind": "delay_after", "seconds": 120},
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_went_wrong_in_passing_is_asked_again_with_the_same_key_and_ends_with_one_workspace(
    sandbox: Sandbox, application: WorkspaceApplication, loss: str
) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account)
    fault = sandbox.application_server.fail(**LOSSES[loss])
    # On a busy machine the function has more time than it waits for the application.
    patience = 8.0 if loss == "the function runs out of time" else 60.0
    with sandbox.aws.functions.limited(patience, "ResourceProvisionFunction"):
        [result] = call(sandbox, deal)
        if loss == "the function is killed":
            seen(sandbox, lambda: len(application.workspaces) == 1)
            assert sandbox.aws.functions.kill("ResourceProvisionFunction") >= 1
        sandbox.wait_until_idle()
    names = {
        "the function is killed": "Runtime.ExitError",
        "the function runs out of time": "Sandbox.Timedout",
    }
    assert names.get(loss, "ApplicationUnavailable") in failures(sandbox, result["execution"])
    assert fault.times == 0
    assert [e["status"] for e in executions(sandbox)] == ["SUCCEEDED"], "by itself, without the sweep"
    assert len({key for key, _ in asked(sandbox)}) == len(application.workspaces) == 1
    assert resources(sandbox, f"org-{account}") == {("plan-enterprise", "workspace-1")}
    assert shown(sandbox, deal) == PROVISIONED
    assert not due(sandbox, account)


def test_while_it_is_down_its_deals_say_so_and_the_customers_other_deals_go_on(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    first = revised(sell(sandbox, account), 0)
    provision(sandbox, first)
    sandbox.application_server.fail("answer", status=503, times=1000)
    second = sell(sandbox, account, ANALYTICS)
    [result, _] = provision(sandbox, second, revised(first, 1, feature_seats=300))
    shown_status, reason = shown(sandbox, second) or ("", "")
    assert shown_status == "Failed"
    assert reason is not None
    assert reason.startswith("Your application: no usable answer (HTTP 503)\n")
    [subscription] = subscriptions(sandbox, f"org-{account}")
    assert subscription["entitlements"][0]["usageLimit"] == 300
    assert "CustomerProvision" in states(sandbox, result)
    assert executions(sandbox)[-1]["status"] == "FAILED", "an alarm hears of it"
    sandbox.application_server.heal()
    assert sweep(sandbox) == 0
    it_is_time_to_ask_again(sandbox, account)
    assert sweep(sandbox) == 1
    assert shown(sandbox, second) == PROVISIONED
    assert not due(sandbox, account)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("a page", "its body is not a JSON object"),
        ({"customerId": "org 7"}, "customerId has a space in it"),
        ({"metadata": {"region": 7}}, "metadata region must be a text"),
    ],
    ids=str,
)
def test_a_wrong_answer_is_told_on_the_deal_and_nothing_is_made_in_stigg(
    sandbox: Sandbox, answer: Any, said: str
) -> None:
    deal = sell(sandbox, sandbox.sales.account("Northwind"))
    sandbox.application_server.fail("answer", status=200, body=answer)
    provision(sandbox, deal)
    shown_status, reason = shown(sandbox, deal) or ("", "")
    assert shown_status == "Failed"
    assert reason is not None
    assert said in reason
    assert stigg_writes(sandbox) == 0


def test_an_id_it_may_not_give_is_told_on_the_deal(sandbox: Sandbox) -> None:
    other, account = sandbox.sales.account("Southwind"), sandbox.sales.account("Northwind")
    provision(sandbox, sell(sandbox, other))
    deal = sell(sandbox, account, resourceId="ours")
    taken = {"customerId": f"org-{other}", "resourceId": "ours"}
    sandbox.application_server.fail("answer", status=200, body=taken)
    provision(sandbox, deal)
    assert f"customerId org-{other} is bound to another account, {other}" in str(shown(sandbox, deal))
    assert set(sandbox.stigg.customers) == {f"org-{other}"}
    sandbox.application_server.fail("answer", status=200, body={"resourceId": "theirs"})
    provision(sandbox, deal)
    assert "resourceId: ours, but your application made theirs" in str(shown(sandbox, deal))
    assert set(sandbox.stigg.customers) == {f"org-{other}"}


def test_a_customer_that_was_made_in_stigg_keeps_its_id_even_where_the_rest_failed(
    sandbox: Sandbox, application: WorkspaceApplication
) -> None:
    account = sandbox.sales.account("Northwind")
    sandbox.application_server.fail("answer", status=200, body={"resourceId": "workspace-0"})
    sandbox.stigg_server.fail("answer", "POST", SUBSCRIPTIONS, status=403)
    provision(sandbox, sell(sandbox, account))
    assert set(sandbox.stigg.customers) == {account}, "it named none"
    assert subscriptions(sandbox, account) == []
    provision(sandbox, sell(sandbox, account, ANALYTICS))
    assert asked(sandbox)[-1][1]["customerId"] == account
    assert set(sandbox.stigg.customers) == {account}
    assert resources(sandbox, account) == {("plan-enterprise", "workspace-0"), ("plan-analytics", "workspace-1")}


def test_a_deal_that_arrives_while_it_is_asked_is_asked_about_before_it_is_provisioned(
    sandbox: Sandbox, application: WorkspaceApplication
) -> None:
    account = sandbox.sales.account("Northwind")
    first, second = sell(sandbox, account), sell(sandbox, account, ANALYTICS)
    sandbox.application_server.fail("delay_after", seconds=1.5)
    [result] = call(sandbox, first)
    seen(sandbox, lambda: len(application.workspaces) == 1)
    provision(sandbox, second)
    assert states(sandbox, result)[:6] == [
        "WaitForRateSlot",
        "ResourceProvision",
        "CustomerProvision",
        "WorkToDo",
        "ResourceProvision",
        "CustomerProvision",
    ]
    assert resources(sandbox, f"org-{account}") == {
        ("plan-enterprise", "workspace-1"),
        ("plan-analytics", "workspace-2"),
    }
    assert shown(sandbox, first) == shown(sandbox, second) == PROVISIONED


def test_what_stiggs_catalogue_refuses_is_not_asked_about_until_it_is_mended(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    deal = revised(sell(sandbox, account, Sold("plan-enterprise"), Sold("addon-legacy-import")), 0)
    provision(sandbox, deal)
    assert shown(sandbox, deal) == (
        "Failed",
        "line 2, stiggId: addon-legacy-import is not compatible with plan-enterprise",
    )
    assert asked(sandbox) == []
    assert not due(sandbox, account), "somebody has to mend the deal"
    mended = revised(deal, 1)
    del mended["lines"][1]
    provision(sandbox, mended)
    assert shown(sandbox, mended) == PROVISIONED
    assert len(asked(sandbox)) == 1


def test_its_signing_key_can_be_changed_while_deals_arrive_and_a_wrong_one_is_refused(
    sandbox: Sandbox, application: WorkspaceApplication
) -> None:
    provision(sandbox, sell(sandbox, sandbox.sales.account("Before")))  # the function has read the old key
    [old], new = application.signing_keys, "a-signing-key-of-tomorrow"
    try:
        application.signing_keys = [new]
        deal = sell(sandbox, sandbox.sales.account("Northwind"))
        provision(sandbox, deal)
        assert "the signature does not fit, or is too old (HTTP 401)" in str(shown(sandbox, deal))
        sandbox.aws.put_secret("OwnApplicationSecret", {"signingKey": new})
        [result] = provision(sandbox, deal)
        assert shown(sandbox, deal) == PROVISIONED
        assert failures(sandbox, result["execution"]) == set()
    finally:
        application.signing_keys = [old]
        sandbox.aws.put_secret("OwnApplicationSecret", {"signingKey": old})
        sandbox.aws.functions.kill("ResourceProvisionFunction")


def test_no_log_and_no_history_has_the_signing_key_or_who_the_customer_is(
    sandbox: Sandbox, application: WorkspaceApplication
) -> None:
    account = sandbox.sales.account("Northwind Traders")
    deal = sell(sandbox, account)
    deal["account"]["email"] = "billing@northwind.example"
    body = {"message": "Northwind Traders, billing@northwind.example"}
    sandbox.application_server.fail("answer", status=400, body=body, times=2)
    [result] = provision(sandbox, deal)
    logs = "\n".join(line for lines in sandbox.aws.functions.logs.values() for line in lines)
    history = json.dumps(sandbox.aws.history(sandbox.execution_arn(result["execution"])), default=str)
    assert "HTTP 400" in history
    for secret in (*application.signing_keys, "Northwind Traders", "billing@northwind"):
        assert secret not in logs
        assert secret not in history
