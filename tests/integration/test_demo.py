"""The demo and the standing sandbox, run as a user runs them: each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

ROOT = Path(__file__).parents[2]

CHAPTERS = (
    "A deal is won in Salesforce",
    "Salesforce calls",
    "The provisioning runs",
    "What Stigg holds now",
    "What Salesforce shows now",
    "The same callout, five times at once",
    "An older revision comes late",
    "A deal names a plan that Stigg does not have",
    "A deal names an ID that cannot be one",
    "A deal is paid for by card",
    "A deal's life, from trial to cancellation",
    "A lost callout and an edit by hand are found",
)

BROKEN = """
import sys
from sandbox.demo import tell
from sandbox.narration import Narration
from sandbox.sandbox import Sandbox

with Sandbox(wait_scale=0.02, events=True) as sandbox:
    sandbox.stigg_server.fail("answer", "POST", "/api/v1/subscriptions", times=1000, status=400)
    sys.exit(tell(sandbox, Narration(sys.stdout)))
"""

SECRETS = re.compile(
    r"server-[0-9a-f]{8}"  # a key of Stigg's
    r"|\b00D\w{12,15}!"  # a session of Salesforce's
    r"|\b[A-Za-z0-9]{48}\b"  # the callout key
)


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers" / "closedwon")]),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
    }


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo is run, and leaves its report."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def told(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "sandbox.demo")


@pytest.mark.long
def test_the_demo_tells_every_chapter_and_ends_well_when_every_check_held(
    told: subprocess.CompletedProcess[str],
) -> None:
    assert told.returncode == 0, told.stdout + told.stderr
    headings = re.findall(r"^\d+  (.+)$", told.stdout, re.MULTILINE)
    assert tuple(headings) == CHAPTERS
    assert re.findall(r"^   ✓ +\d+  (.+?)  ", told.stdout, re.MULTILINE) == list(CHAPTERS)
    assert "✗" not in told.stdout
    assert "Everything held." in told.stdout


@pytest.mark.long
def test_the_demo_shows_states_as_they_passed_and_links_that_it_opened(
    told: subprocess.CompletedProcess[str],
) -> None:
    states = re.findall(r"^ +\d+\.\d\d  (\w+)", told.stdout, re.MULTILINE)
    assert states[:2] == ["WaitForRateSlot", "CustomerProvision"]
    assert states[-1] == "Provisioned"
    links = re.findall(r"^   ✓ it opens (.+)\n +(https?://\S+)$", told.stdout, re.MULTILINE)
    assert {what for what, _ in links} == {
        "the account's page",
        "the opportunity's page",
        "the customer's page",
        "the subscription's page",
        "the provisioning's page",
    }


@pytest.mark.long
def test_the_demo_leaves_the_reconciliations_report_where_it_says(
    told: subprocess.CompletedProcess[str], folder: Path
) -> None:
    [path] = re.findall(r"^     Page +(\S+)$", told.stdout, re.MULTILINE)
    [says] = re.findall(r"^     It says +(.+)$", told.stdout, re.MULTILINE)
    assert says in (folder / path).read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert stat.S_IMODE((folder / path).stat().st_mode) == 0o600


@pytest.mark.long
def test_the_demos_output_is_plain_narrow_and_without_secrets(told: subprocess.CompletedProcess[str]) -> None:
    assert told.stderr == ""
    assert "\x1b" not in told.stdout
    assert max(len(line) for line in told.stdout.splitlines()) <= 100
    assert not SECRETS.search(told.stdout)


@pytest.mark.long
def test_the_demo_fails_and_names_what_did_not_hold_when_stigg_refuses_the_subscription(tmp_path: Path) -> None:
    broken = run(tmp_path, "-c", BROKEN)
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert re.search(
        r"✗ it succeeds after .*\n +expected  \('SUCCEEDED', 'Provisioned'\)\n +found     \('FAILED'",
        broken.stdout,
    )
    assert re.search(r"✗ with one subscription\n +expected  1\n +found     0", broken.stdout)
    assert "What the functions logged last:" in broken.stdout
    assert re.findall(r"^   ([✓✗])  *\d+  ", broken.stdout, re.MULTILINE)[:5] == ["✓", "✓", "✗", "✗", "✗"]


@pytest.fixture
def standing(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`python -m sandbox` in a folder of its own, and where it writes its addresses."""
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox"],
        env=environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process, tmp_path / ".sandbox" / "endpoints.json"
        finally:
            process.kill()


def wait_for(seen: Any, what: str, seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return found


@pytest.mark.long
def test_the_sandbox_serves_any_client_until_it_is_told_to_end(
    standing: tuple[subprocess.Popen[str], Path],
) -> None:
    process, endpoints = standing
    wait_for(lambda: endpoints.exists() or process.poll() is not None, "endpoints.json")
    at = json.loads(endpoints.read_text())
    assert stat.S_IMODE(endpoints.stat().st_mode) == 0o600

    body = (ROOT / "events" / "callout.json").read_bytes()
    deal = json.loads(body)["deals"][0]
    headers = {"x-api-key": at["callout_api_key"], "Content-Type": "application/json"}
    answer = requests.post(f"{at['callout_url']}/v1/provisionings", data=body, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["results"][0]["status"]) == (202, "accepted")

    def written_back() -> Any:
        url = f"{at['callout_url']}/v1/provisionings/{deal['opportunity']['id']}"
        status = requests.get(url, headers=headers, timeout=60).json()
        return status if status["writtenBack"] else None

    assert wait_for(written_back, "written back")["status"] == "Provisioned"
    account = requests.get(
        f"{at['salesforce_url']}/services/data/v66.0/sobjects/Account/{deal['account']['id']}",
        headers={"Authorization": f"Bearer {at['salesforce_token']}"},
        verify=at["salesforce_ca_file"],
        timeout=60,
    ).json()
    customer = requests.get(
        f"{at['stigg_url']}/api/v1/customers/{account['Stigg_Customer_ID__c']}",
        headers={"X-API-KEY": at["stigg_api_key"]},
        timeout=60,
    ).json()
    assert customer["data"]["name"] == deal["account"]["name"]
    states = boto3.client("stepfunctions", endpoint_url=at["aws_endpoint_url"], region_name=at["aws_region"])
    executions = states.list_executions(stateMachineArn=at["state_machine_arns"]["ProvisionStateMachine"])["executions"]
    assert [execution["name"] for execution in executions] == [answer.json()["results"][0]["execution"]]

    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert not endpoints.exists()
    assert all(at[key] not in said for key in ("callout_api_key", "stigg_api_key", "salesforce_token"))
    assert "endpoints.json" in said
