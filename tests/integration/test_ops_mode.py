"""Pausing: deals are accepted and wait. Shadow: they are planned as well. Resuming brings all of it about."""

from __future__ import annotations

import json

from integration.scenes import (
    call,
    due,
    everything,
    executions,
    opportunity_of,
    provision,
    revised,
    sell,
    shown,
    subscriptions,
    sweep,
    time_passes,
)
from integration.terminal import Operator
from sandbox.sandbox import Sandbox


def end_of(sandbox: Sandbox, execution: str) -> tuple[str, dict[str, object]]:
    """The state an execution ended in, and its output."""
    told = sandbox.aws.wait_for_execution(sandbox.execution_arn(execution))
    return sandbox.aws.states_entered(sandbox.execution_arn(execution))[-1], json.loads(told["output"])


def test_while_paused_deals_are_accepted_and_nothing_is_written_and_resuming_brings_all_about(
    sandbox: Sandbox, operator: Operator
) -> None:
    assert "Provisioning runs." in operator.does("mode")
    account = sandbox.sales.account("Northwind Traders")
    deal = sell(sandbox, account)
    assert "Provisioning is paused" in operator.does("pause", "--why", "Stigg moves the environment")
    before = everything(sandbox)
    [answer] = call(sandbox, deal)
    assert answer["status"] == "accepted"
    time_passes(sandbox, account)
    sweep(sandbox)
    assert executions(sandbox) == []
    assert everything(sandbox) == before
    assert due(sandbox, account)
    said = operator.json("mode")
    assert (said["mode"], said["why"]) == ("pause", "Stigg moves the environment")

    assert "Provisioning runs." in operator.does("resume")
    time_passes(sandbox, account)
    sweep(sandbox)
    sandbox.wait_until_idle()
    assert shown(sandbox, deal) == ("Provisioned", None)
    assert len(subscriptions(sandbox, account)) == 1


def test_an_execution_that_was_started_before_ends_as_paused_and_its_customer_stays_due(
    sandbox: Sandbox, operator: Operator
) -> None:
    account = sandbox.sales.account("Northwind Traders")
    operator.does("pause")
    [answer] = call(sandbox, sell(sandbox, account))
    before = everything(sandbox)
    sandbox.aws.client("stepfunctions").start_execution(
        stateMachineArn=sandbox.aws.state_machine_arns["ProvisionStateMachine"],
        name=answer["execution"],
        input=json.dumps({"accountId": account, "token": 0, "notBefore": "2026-11-20T09:00:00.000Z"}),
    )
    assert end_of(sandbox, answer["execution"])[0] == "Paused"
    assert everything(sandbox) == before
    assert due(sandbox, account)


def test_while_it_only_watches_each_execution_says_what_it_would_do_and_writes_nothing(
    sandbox: Sandbox, operator: Operator
) -> None:
    account = sandbox.sales.account("Northwind Traders")
    deal = revised(sell(sandbox, account), 0)
    operator.does("shadow")
    before = everything(sandbox)
    [answer] = provision(sandbox, deal)
    state, output = end_of(sandbox, answer["execution"])
    assert state == "Watched"
    assert output["would"] == [
        f"Creates the customer {account} in Stigg.",
        "Creates a subscription to plan-enterprise, at 48,000.00 USD.",
        "It includes addon-extra-workspace 2 (1,200.00 USD each), feature-seats 250.",
    ]
    assert everything(sandbox) == before
    time_passes(sandbox, account)
    sweep(sandbox)
    assert len(executions(sandbox)) == 1, "nothing is started again and again"

    operator.does("resume")
    sweep(sandbox)
    sandbox.wait_until_idle()
    assert shown(sandbox, deal) == ("Provisioned", None)

    operator.does("shadow")
    [answer] = provision(sandbox, revised(deal, 1, feature_seats=300))
    state, output = end_of(sandbox, answer["execution"])
    assert output["would"] == ["Changes entitlements of plan-enterprise: feature-seats 250 -> 300."]
    assert opportunity_of(deal) in answer["execution"]
