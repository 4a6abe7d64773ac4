"""The runbook, executed: its commands, as they stand in docs/runbook.md, mend what its incidents describe."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest

from integration.scenes import (
    access,
    call,
    failures,
    opportunity_of,
    provision,
    sell,
    shown,
    status,
    subscriptions,
)
from integration.terminal import Operator
from sandbox.sales import Sold
from sandbox.sandbox import ROOT, Sandbox

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()


def commands(incident: str) -> list[str]:
    """The commands of an incident, in their order."""
    found = re.search(rf"^### {re.escape(incident)}\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found, f"the runbook has no incident {incident!r}"
    blocks = re.findall(r"^```\n(.*?)^```", found[1], re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def follow(operator: Operator, command: str, known: Mapping[str, str] = {}, *, code: int | None = 0) -> tuple[str, str]:
    """Do what one command of the runbook says. known: what its placeholders stand for. Out: what it said, errors."""
    for name, value in known.items():
        command = command.replace(f"<{name}>", value)
    assert "<" not in command, command
    program, *arguments = shlex.split(command)
    assert program == "./closedwon", command
    ended, said, errors = operator.runs(*arguments)
    assert code is None or ended == code, f"{command}\n{said}\n{errors}"
    return said, errors


def test_every_alarm_has_its_place() -> None:
    template = (ROOT / "template.yaml").read_text()
    alarms = set(re.findall(r"^  (\w+):.*\n    Type: AWS::CloudWatch::Alarm$", template, re.MULTILINE))
    assert alarms == set(re.findall(r"^### (\w+Alarm)$", RUNBOOK, re.MULTILINE))
    named = set(re.findall(r"docs/runbook.md#(\w+)", template))
    assert named == {alarm.lower() for alarm in alarms}


@pytest.fixture
def sweeping(sandbox: Sandbox) -> Iterator[None]:
    """The sweep runs by itself, as it does in AWS: commands that wait rely on it."""
    over = threading.Event()

    def by_the_clock() -> None:
        while not over.wait(0.3):
            sandbox.aws.run_schedule("SweepFunctionSchedule")

    thread = threading.Thread(target=by_the_clock)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.usefixtures("sweeping")
def test_stiggs_key_was_rotated(sandbox: Sandbox, operator: Operator) -> None:
    check, connect, replay = commands("Stigg's key was rotated")
    new_key = "server-0123456789abcdef0123456789abcdef"
    sandbox.stigg.change_api_key(new_key)
    deals = [sell(sandbox, sandbox.sales.account(f"Customer {number}")) for number in range(3)]
    provision(sandbox, *deals)
    assert {status(sandbox, deal)["status"] for deal in deals} == {"Failed"}

    said, _ = follow(operator, check, code=1)
    assert "Stigg" in said
    (operator.folder / "key.txt").write_text(new_key)
    said, errors = follow(operator, connect)
    assert new_key not in said + errors
    follow(operator, replay)
    assert [shown(sandbox, deal) for deal in deals] == [("Provisioned", None)] * 3
    sandbox.stigg.change_api_key(sandbox.stigg_api_key)
    sandbox.aws.put_secret("StiggSecret", {"apiKey": sandbox.stigg_api_key})


def test_stiggs_webhook_has_another_secret(sandbox: Sandbox, operator: Operator) -> None:
    check, connect = commands("Stigg's webhook has another secret")
    another, event = "-".join(["another", "secret", "of", "the", "webhook"]), {"type": "subscription.updated"}
    assert sandbox.tell(event, secret=another).status_code == 403
    said, _ = follow(operator, check)
    assert "Stigg's webhook" in said
    (operator.folder / "secret.txt").write_text(another)
    said, errors = follow(operator, connect)
    assert another not in said + errors
    assert sandbox.aws.gateway is not None
    sandbox.aws.gateway.forget_verdicts()
    sandbox.aws.functions.kill("AuthorizerFunction")  # as if five minutes had passed
    assert sandbox.tell(event, secret=another).status_code == 202
    sandbox.aws.put_secret("StiggEventsSecret", sandbox.stigg_events_secret)
    sandbox.aws.functions.kill("AuthorizerFunction")


@pytest.mark.usefixtures("sweeping")
def test_salesforce_does_not_let_the_server_in(sandbox: Sandbox, operator: Operator) -> None:
    check, connect, replay = commands("Salesforce does not let the server in")
    account = sandbox.sales.account("Northwind Traders")
    deal = sell(sandbox, account)
    sandbox.salesforce.expire_tokens()
    provision(sandbox, deal)
    assert shown(sandbox, deal) == ("Provisioned", None), "a session that was merely revoked mends itself"

    client = {**sandbox.salesforce_client, "clientSecret": "0123456789abcdef" * 2}
    sandbox.salesforce.change_client_secret(client["clientSecret"])
    sandbox.salesforce.expire_tokens()
    another = sell(sandbox, sandbox.sales.account("Fabrikam"))
    [answer] = provision(sandbox, another)
    assert failures(sandbox, answer["execution"]) == {"SalesforceUnauthorized"}
    assert shown(sandbox, another) is None

    said, _ = follow(operator, check, code=1)
    assert "Salesforce" in said
    (operator.folder / "salesforce.json").write_text(json.dumps(client))
    said, errors = follow(operator, connect)
    assert client["clientSecret"] not in said + errors
    follow(operator, replay)
    assert shown(sandbox, another) == ("Provisioned", None)
    sandbox.salesforce.change_client_secret(sandbox.salesforce_client["clientSecret"])
    sandbox.aws.put_secret("SalesforceSecret", sandbox.salesforce_client)


@pytest.mark.usefixtures("sweeping")
def test_a_mapping_mistake(sandbox: Sandbox, operator: Operator) -> None:
    doctor, preview, send = commands("A mapping mistake")
    account = sandbox.sales.account("Northwind Traders")
    deal = sell(sandbox, account, Sold("plan-entreprise"), fields={"CloseDate": today()})
    known = {"opportunity": opportunity_of(deal)}
    provision(sandbox, deal)
    told = shown(sandbox, deal)
    assert told is not None
    assert told[0] == "Failed"
    assert "plan-entreprise" in str(told[1])

    said, _ = follow(operator, doctor, code=1)
    assert "plan-entreprise" in said
    follow(operator, preview, known, code=1)
    [product] = sandbox.salesforce.find("Product2", Stigg_ID__c="plan-entreprise")
    sandbox.salesforce.update("Product2", product["Id"], Stigg_ID__c="plan-enterprise")
    follow(operator, doctor)
    said, _ = follow(operator, preview, known)
    assert "plan-enterprise" in said
    said, _ = follow(operator, send, known)
    assert "It is Provisioned." in said
    assert shown(sandbox, deal) == ("Provisioned", None)
    assert [one["planId"] for one in subscriptions(sandbox, account)] == ["plan-enterprise"]


@pytest.mark.usefixtures("sweeping")
@pytest.mark.long
@pytest.mark.proof
def test_stigg_is_down_while_many_deals_arrive(sandbox: Sandbox, operator: Operator) -> None:
    count = 100 if os.environ.get("HYPOTHESIS_PROFILE") == "prove" else 12
    history, smoke, replay = commands("Stigg is down")
    accounts = [sandbox.sales.account(f"Customer {number}") for number in range(count)]
    deals = [sell(sandbox, account, Sold("plan-enterprise")) for account in accounts]
    sandbox.stigg_server.fail("answer", times=1_000_000, status=503)
    for start in range(0, len(deals), 10):
        assert {answer["status"] for answer in call(sandbox, *deals[start : start + 10])} == {"accepted"}
    sandbox.wait_until_idle(300)
    said, _ = follow(operator, history)
    assert "StiggUnavailable" in said
    said, _ = follow(operator, smoke, code=1)
    assert "✗ Stigg takes the key" in said

    sandbox.stigg_server.heal()
    follow(operator, smoke)
    follow(operator, replay)
    assert {shown(sandbox, deal) for deal in deals} == {("Provisioned", None)}
    assert [len(subscriptions(sandbox, account)) for account in accounts] == [1] * count


@pytest.mark.usefixtures("sweeping")
def test_one_deal_that_always_fails(sandbox: Sandbox, operator: Operator) -> None:
    look, replay = commands("One deal that always fails")
    accounts = [sandbox.sales.account(f"Customer {number}") for number in range(5)]
    deals = [sell(sandbox, account, Sold("plan-enterprise")) for account in accounts]
    poison, *others = deals
    sandbox.stigg_server.fail("answer", path=f".*/{accounts[0]}", times=1_000_000, status=500)
    provision(sandbox, *deals)
    assert {shown(sandbox, deal) for deal in others} == {("Provisioned", None)}
    known = {"opportunity": opportunity_of(poison)}
    said, _ = follow(operator, look, known, code=None)
    assert "StiggUnavailable" in said
    assert "Customer 0" not in said
    follow(operator, replay, known, code=1)
    sandbox.stigg_server.heal()
    follow(operator, replay, known)
    assert shown(sandbox, poison) == ("Provisioned", None)


@pytest.mark.long
@pytest.mark.usefixtures("sweeping")
def test_the_ledger_was_lost(sandbox: Sandbox, operator: Operator) -> None:
    pause, backup, wait, *rest = commands("The ledger was lost")
    accounts = [sandbox.sales.account("Before"), sandbox.sales.account("After")]
    deals = [sell(sandbox, account, fields={"CloseDate": today()}) for account in accounts]
    ledger = sandbox.aws.resources["LedgerTable"]
    known = {"ledger": ledger, "restored": f"{ledger}-restored"}
    provision(sandbox, deals[0])
    aws(sandbox, backup, known)  # the moment that is gone back to; recovery knows every second, the emulator the last
    provision(sandbox, deals[1])
    sandbox.salesforce.backdate("Opportunity", opportunity_of(deals[1]), 3600)  # else its callout may be on its way
    stood = [access(sandbox, account) for account in accounts]
    dynamodb = sandbox.aws.client("dynamodb")
    for item in dynamodb.scan(TableName=ledger, ProjectionExpression="pk, sk")["Items"]:
        dynamodb.delete_item(TableName=ledger, Key=item)
    assert sandbox.status(opportunity_of(deals[0])).status_code == 404

    follow(operator, pause)
    aws(sandbox, wait, known)
    for command in rest:
        follow(operator, command, known)
    sandbox.wait_until_idle()
    assert [access(sandbox, account) for account in accounts] == stood
    assert [status(sandbox, deal)["status"] for deal in deals] == ["Provisioned"] * 2


def aws(sandbox: Sandbox, command: str, known: Mapping[str, str]) -> None:
    """Do what a command of the AWS CLI does."""
    for name, value in known.items():
        command = command.replace(f"<{name}>", value)
    program, service, operation, *rest = shlex.split(command)
    assert (program, "<" in command) == ("aws", False)
    client = sandbox.aws.client(service)
    if operation == "wait":
        operation, *rest = rest
    given: dict[str, str | bool] = {}
    for option, value in zip(rest, [*rest[1:], "--"], strict=True):
        if option.startswith("--"):
            name = "".join(word.capitalize() for word in option.strip("-").split("-"))
            given[name] = True if value.startswith("--") else value
    if operation.startswith("table-"):
        client.get_waiter(operation.replace("-", "_")).wait(**given)
    else:
        getattr(client, operation.replace("-", "_"))(**given)


def today() -> str:
    return datetime.now(UTC).date().isoformat()
