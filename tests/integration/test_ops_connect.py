"""``closedwon connect``, as an operator runs it: wrong things are named, and no secret is ever shown."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from integration.scenes import everything
from integration.terminal import Operator
from sandbox.aws.stack import STACK_NAME
from sandbox.sandbox import Sandbox


@pytest.fixture
def secrets(sandbox: Sandbox) -> Iterator[None]:
    """Both secrets hold again what they should, whatever the test puts in."""
    yield
    sandbox.aws.put_secret("StiggSecret", {"apiKey": sandbox.stigg_api_key})
    sandbox.aws.put_secret("StiggEventsSecret", sandbox.stigg_events_secret)
    sandbox.aws.put_secret("SalesforceSecret", sandbox.salesforce_client)
    sandbox.aws.functions.kill("AuthorizerFunction")  # it keeps what it read for minutes


def looked_at(operator: Operator, *arguments: str, answer: str = "") -> dict[str, Any]:
    """What it prints for scripts; the exit code says the same."""
    code, said, errors = operator.runs("connect", *arguments, "--json", answer=answer)
    assert said, errors
    found: dict[str, Any] = json.loads(said)
    assert found["connected"] == (code == 0)
    return found


def problems(operator: Operator, *arguments: str, answer: str = "") -> dict[str, str]:
    """What is wrong, with what to do."""
    found = looked_at(operator, *arguments, answer=answer)
    return {one["words"]: one["remedy"] for one in found["checks"] if one["result"] == "problem"}


def test_a_stack_that_is_connected_is_told_step_by_step(sandbox: Sandbox, operator: Operator) -> None:
    sweep = [{"Name": "FunctionName", "Value": sandbox.aws.resources["SweepFunction"]}]
    a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    run = {"MetricName": "Invocations", "Dimensions": sweep, "Value": 1.0, "Timestamp": a_minute_ago}
    sandbox.aws.client("cloudwatch").put_metric_data(Namespace="AWS/Lambda", MetricData=[run])  # as Lambda does
    before = everything(sandbox)
    said = operator.does("connect", "--check")
    assert everything(sandbox) == before
    for line in (
        "✓ API version 66.0 is offered",
        "✓ Salesforce accepts the credentials (client credentials)",
        f"✓ It is the organisation this stack serves: {sandbox.salesforce.organization_id}",
        "✓ Account: reads 4 fields, edits 2",
        "✓ Stigg_Provisioning__c: reads 17 fields, creates it and edits 17",
        "✓ Stigg accepts the key",
        "✓ The callout refuses who has no key",
        "✓ The callout takes the key",
        "✓ The sweep ran 1 time in the last 15 minutes",
        "! Nobody is told when something fails: AlarmTopic is empty",
        "! Stigg's webhook has told nothing yet",
        "Everything is connected, with 3 warnings",
        f"{sandbox.aws.callout_url}/v1/stigg-events",
        sandbox.aws.callout_url,
        "closed-won Flow user",
    ):
        assert line in said
    for secret in (
        *(sandbox.callout_key, sandbox.stigg_api_key, sandbox.stigg_events_secret),
        sandbox.salesforce_client["clientSecret"],
    ):
        assert secret not in said
    assert operator.does("connect", "--show-key") == f"{sandbox.callout_key}\n"


@pytest.mark.usefixtures("secrets")
def test_credentials_from_files_are_tried_and_then_stored(sandbox: Sandbox, operator: Operator) -> None:
    sandbox.aws.put_secret("StiggSecret", "not JSON")
    sandbox.aws.put_secret("SalesforceSecret", {"clientId": "closed-won"})
    found = problems(operator, "--check")
    assert "The secret StiggSecretArn has no apiKey" in found
    assert "--salesforce-file" in found["The secret SalesforceSecretArn lacks clientSecret"]

    wrong = json.dumps({"clientId": "closed-won", "clientSecret": "wrong-secret"})
    [refused, *_] = problems(operator, "--salesforce-file", "-", answer=wrong)
    assert "does not accept the credentials" in refused
    assert "Nothing was stored" in refused
    assert "wrong-secret" not in refused
    assert json.loads(sandbox.aws.secret("SalesforceSecret")) == {"clientId": "closed-won"}
    assert "This is a publishable key, which may change nothing. Nothing was stored." in problems(
        operator, "--stigg-key-file", "-", answer="client-1234"
    )

    file = operator.folder / "salesforce.json"
    file.write_text(json.dumps(sandbox.salesforce_client))
    done = looked_at(
        operator, "--salesforce-file", str(file), "--stigg-key-file", "-", answer=f"{sandbox.stigg_api_key}\n"
    )
    assert done["connected"]
    assert json.loads(sandbox.aws.secret("StiggSecret")) == {"apiKey": sandbox.stigg_api_key}
    assert json.loads(sandbox.aws.secret("SalesforceSecret")) == sandbox.salesforce_client


@pytest.mark.usefixtures("secrets")
def test_the_webhooks_secret_is_stored_and_its_last_event_told(sandbox: Sandbox, operator: Operator) -> None:
    secret = "-".join(["the", "secret", "of", "the", "webhook"])
    refused = problems(operator, "--events-secret-file", "-", answer="short")
    assert any("What was given is no secret of a webhook" in words for words in refused)
    assert sandbox.aws.secret("StiggEventsSecret") == sandbox.stigg_events_secret
    found = looked_at(operator, "--events-secret-file", "-", answer=f"{secret}\n")
    told = [one["words"] for one in found["checks"] if one["part"] == "Stigg's events"]
    assert told == [
        "The webhook's secret is stored, the stack's functions use it within five minutes",
        "Stigg's webhook has told nothing yet",
    ]
    assert sandbox.aws.secret("StiggEventsSecret") == secret
    assert secret not in json.dumps(found)
    assert found["stiggEventsUrl"].endswith("/v1/stigg-events")

    for name in ("AuthorizerFunction", "StiggEventsFunction"):  # as if minutes had passed
        sandbox.aws.functions.kill(name)
    assert sandbox.tell({"type": "subscription.updated"}, secret=secret).status_code == 202
    said = operator.does("connect", "--check")
    assert f"✓ Stigg's webhook told something last at {datetime.now(UTC):%Y-%m-%d}" in said
    assert secret not in said


@pytest.mark.usefixtures("secrets")
def test_at_a_terminal_it_asks_for_what_is_missing_and_shows_nothing_of_it(
    sandbox: Sandbox, operator: Operator
) -> None:
    sandbox.aws.put_secret("StiggSecret", {})
    typed = sandbox.stigg_api_key
    code, shown = at_a_terminal(operator, "connect", typing={"Key: ": typed})
    assert code == 0, shown
    assert "Stigg accepts the key; stored" in shown
    assert typed not in shown
    assert json.loads(sandbox.aws.secret("StiggSecret")) == {"apiKey": typed}


@pytest.mark.usefixtures("secrets")
def test_at_a_terminal_it_takes_a_private_key_instead_of_a_secret(
    sandbox: Sandbox, operator: Operator, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = tmp_path / "key.pem"
    file.write_text(pem)
    username = "closed-won@northwind.example"
    fields = {"clientId": sandbox.salesforce_client["clientId"], "username": username, "privateKey": pem}
    typing = {"Consumer key: ": fields["clientId"], "User name of closed-won's user: ": username, "(PEM): ": str(file)}

    code, shown = at_a_terminal(operator, "connect", "--jwt", typing=typing)
    assert code == 1, shown  # Salesforce does not know the certificate yet
    assert "Nothing was stored." in shown
    assert json.loads(sandbox.aws.secret("SalesforceSecret")) == sandbox.salesforce_client

    sandbox.salesforce.trust(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    try:
        code, shown = at_a_terminal(operator, "connect", "--jwt", typing=typing)
    finally:
        sandbox.salesforce.trust(None)
    assert code == 0, shown
    assert "JWT bearer" in shown
    assert "PRIVATE KEY" not in shown
    assert json.loads(sandbox.aws.secret("SalesforceSecret")) == fields


def at_a_terminal(operator: Operator, *arguments: str, typing: dict[str, str]) -> tuple[int, str]:
    """Run the command at a terminal of its own, and type when it asks. Out: exit code, all that is seen."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ops", "--stack", STACK_NAME, *arguments]
    process = subprocess.Popen(
        command,
        cwd=operator.folder,
        env=operator.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen, left = b"", dict(typing)
    try:
        while piece := os.read(ours, 4096):
            seen += piece
            for asked in [asked for asked in left if seen.endswith(asked.encode())]:
                os.write(ours, f"{left.pop(asked)}\n".encode())
    except OSError:  # the terminal is gone with its process
        pass
    os.close(ours)
    return process.wait(timeout=600), seen.decode()


def test_what_the_user_may_not_do_is_named_field_by_field(sandbox: Sandbox, operator: Operator) -> None:
    sandbox.salesforce.hide("Opportunity", "Stigg_Amends__c", "Stigg_Cancel_Date__c")
    sandbox.salesforce.forbid("Account", "Stigg_Customer_URL__c")
    sandbox.salesforce.forbid("Stigg_Provisioning__c")
    found = problems(operator)
    assert set(found) == {
        "Opportunity: the user cannot see Stigg_Amends__c, Stigg_Cancel_Date__c",
        "Account: the user may not edit Stigg_Customer_URL__c",
        "Stigg_Provisioning__c: the user may not edit it; may not create it",
    }
    assert all("closed-won Integration" in remedy for remedy in found.values())


def test_a_package_that_is_one_version_behind_is_a_warning(sandbox: Sandbox, operator: Operator) -> None:
    sandbox.salesforce.deploy_package("first")
    found = looked_at(operator, "--check")
    assert found["connected"]
    [told] = [one for one in found["checks"] if "the package is older" in one["words"]]
    assert told["result"] == "warning"
    assert "the field Code (Code__c) and the field Contract_ID (Contract_ID__c) and the status Ended" in told["words"]
    assert "Deploy the package" in told["remedy"]


def test_a_scoped_key_that_lacks_something_is_named(sandbox: Sandbox, operator: Operator) -> None:
    sandbox.stigg.narrow_api_key("plans", "credits/custom-currencies")
    assert set(problems(operator)) == {"The key may not read plans, credit currencies"}


@pytest.mark.usefixtures("secrets")
def test_what_is_wrong_elsewhere_does_not_stop_the_rest(sandbox: Sandbox, operator: Operator) -> None:
    sandbox.salesforce_server.fail("answer", "GET", "/services/data", times=1, status=503)
    sandbox.stigg.change_api_key("server-another")
    found = problems(operator)
    sandbox.stigg.change_api_key(sandbox.stigg_api_key)
    assert any("is no Salesforce organisation (HTTP 503)" in words for words in found)
    assert any(words.startswith("Stigg does not accept the key") for words in found)
    code, said, _ = operator.runs("connect", CLOSEDWON_KEY="x" * 48)
    assert (code, "✗ The callout does not take the key" in said, "x" * 48 in said) == (1, True, False)


def test_no_stack_no_terminal_and_contradictions_are_said_in_a_sentence(
    sandbox: Sandbox, operator: Operator, tmp_path: Path
) -> None:
    code, said, _ = operator.runs("connect", stack="elsewhere")
    assert (code, "there is no stack called elsewhere" in said) == (1, True)
    for arguments, words in (
        (("--salesforce",), "there is no terminal to ask at"),
        (("--check", "--stigg"), "--check stores nothing"),
        (("--salesforce-file", "-", "--stigg-key-file", "-"), "only one of the files can be stdin"),
        (("--stigg-key-file", str(tmp_path / "none")), "No such file"),
    ):
        code, _, errors = operator.runs("connect", *arguments)
        assert (code, words in errors) == (2, True), errors
