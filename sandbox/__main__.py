"""``make sandbox``: AWS, Stigg and Salesforce on this machine until Ctrl-C or SIGTERM.

In Salesforce a small organisation has just won a few deals. Addresses and keys are in ``.sandbox/endpoints.json`` while
it runs, for curl, the AWS CLI, SDKs and browsers alike.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sandbox.aws.stack import STACK_NAME
from sandbox.narration import Narration

if TYPE_CHECKING:
    from sandbox.sandbox import Sandbox

ENDPOINTS = "endpoints.json"
OPERATOR = "operator.env"
CA_FILE = "salesforce-ca.pem"
CALLOUT = "events/callout.json"

# No jq: addresses and keys come out of endpoints.json with sed, so that they are in no shell history.
CURL = """\
at() {{ sed -n "s/^  \\"$1\\": \\"\\(.*\\)\\",*$/\\1/p" {endpoints}; }}
curl -sS "$(at callout_url)/v1/provisionings" -H "x-api-key: $(at callout_api_key)" \\
  -H "content-type: application/json" -d @{callout}
curl -sS "$(at callout_url)/v1/provisionings/{opportunity}" -H "x-api-key: $(at callout_api_key)"
"""

OPERATE = """\
source {operator}
./closedwon --help
"""

BOTO3 = """\
.venv/bin/python - <<'END'
import boto3, json
at = json.load(open("{endpoints}"))
states = boto3.client("stepfunctions", endpoint_url=at["aws_endpoint_url"], region_name="{region}",
                      aws_access_key_id="sandbox", aws_secret_access_key="sandbox")
machine = at["state_machine_arns"]["ProvisionStateMachine"]
for execution in states.list_executions(stateMachineArn=machine)["executions"]:
    print(execution["status"], execution["name"])
END
"""


class Kept:
    """The files in ``.sandbox`` while the sandbox runs; removed at the end, unless another one replaced them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._written: dict[Path, bytes] = {}

    def write(self, name: str, content: bytes) -> Path:
        """Readable by its owner only, and never half written. Out: where."""
        path = self._folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        new.replace(path)
        self._written[path] = content
        return path

    def remove(self) -> None:
        for path, content in self._written.items():
            if path.exists() and path.read_bytes() == content:
                path.unlink()
        for folder in sorted({self._folder, *(path.parent for path in self._written)}, reverse=True):
            with suppress(OSError):  # others keep something there too
                folder.rmdir()


def as_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def serve(out: Narration, folder: Path) -> NoReturn:
    """Serve until an exception (a signal's) ends it; then everything is gone again."""
    out.title("closed-won's sandbox: AWS, Stigg and Salesforce on this machine")
    with ExitStack() as exits:
        with out.waiting("starting"):
            from sandbox.sales import open_for_business
            from sandbox.sandbox import Sandbox, reach_loopback_directly

            reach_loopback_directly()
            sandbox = exits.enter_context(Sandbox(events=True))
            deals = open_for_business(sandbox.sales)
            sandbox.aws.start_schedules()
        kept = Kept(folder)
        exits.callback(kept.remove)
        exits.callback(ignore_signals)  # the first thing at the end: nothing interrupts what follows
        first, *others = deals.items()
        callouts = {first[0]: Path(CALLOUT)}
        for number, (what, opportunity_id) in enumerate(others, 2):
            # By card: a paid plan whose customer has none on file waits for its first payment.
            terms = {"billingPeriod": "ANNUALLY", "paymentCollection": "CHARGE"}
            deal = sandbox.deal(opportunity_id, terms=terms)
            callouts[what] = kept.write(f"callouts/{number}.json", as_json({"deals": [deal]}))
        ca_file = kept.write(CA_FILE, sandbox.ca_file.read_bytes())
        more = {
            "salesforce_ca_file": str(ca_file),
            "salesforce_organization_id": sandbox.salesforce.organization_id,
        }
        kept.write(OPERATOR, operator_environment(sandbox, ca_file))
        endpoints = {**sandbox.endpoints(), **more, "aws_region": sandbox.aws.region}
        show(out, sandbox, kept.write(ENDPOINTS, as_json(endpoints)), callouts, first[1])
        while True:
            time.sleep(3600)


def operator_environment(sandbox: Sandbox, ca_file: Path) -> bytes:
    """What an operator's shell says, so that their command finds the sandbox as it finds an AWS account."""
    said = {
        "AWS_ENDPOINT_URL": sandbox.aws.endpoint_url,
        "AWS_REGION": sandbox.aws.region,
        "AWS_DEFAULT_REGION": sandbox.aws.region,
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "REQUESTS_CA_BUNDLE": str(ca_file),
        "CLOSEDWON_STACK": STACK_NAME,
        "CLOSEDWON_URL": sandbox.aws.callout_url,  # the stack's output says where it would be in AWS
        "CLOSEDWON_KEY": sandbox.callout_key,
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in said.items()).encode()


def show(out: Narration, sandbox: Sandbox, endpoints: Path, callouts: Mapping[str, Path], opportunity_id: str) -> None:
    """What it serves, and three ways to use it. No key is printed."""
    shown = os.path.relpath(endpoints)
    stigg, salesforce = sandbox.stigg_server.url, sandbox.salesforce_server.url
    out.fact("Callout", f"{sandbox.aws.callout_url}/v1/provisionings")
    out.fact("AWS", f"{sandbox.aws.endpoint_url}  ({sandbox.aws.region}; any credentials)")
    out.fact("Stigg", f"{stigg}/api/v1  (header X-API-KEY)")
    out.fact("Salesforce", f"{salesforce}/services/data/v66.0  (bearer token)")
    out.fact("Events", "of Stigg go to the callout's /v1/stigg-events, as its webhook sends them")
    out.fact("Schedules", "run at their own rates, as in AWS")
    out.fact("Addresses", f"and keys are in {shown}, which only you can read")
    out.say()
    out.say("Deals that were just won and wait for their callout:")
    for what, path in callouts.items():
        out.row(f"{os.path.relpath(path):<26} {what}")
    out.heading("Send a deal as Salesforce does, and ask where it stands")
    out.verbatim(CURL.format(endpoints=shown, callout=CALLOUT, opportunity=opportunity_id))
    out.heading("See the executions in AWS")
    out.verbatim(BOTO3.format(endpoints=shown, region=sandbox.aws.region))
    out.heading("Operate it, in a shell of its own")
    out.verbatim(OPERATE.format(operator=os.path.relpath(endpoints.with_name(OPERATOR))))
    out.heading("Look at both sides in a browser (Salesforce's certificate was made for this run: accept it)")
    out.link(f"{stigg}/{sandbox.stigg.environment}/customers")
    out.link(f"{salesforce}/")
    out.link(f"{salesforce}/{opportunity_id}")
    out.say()
    out.say("Ctrl-C ends it, and forgets everything.")


def ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def end(number: int, _: object) -> NoReturn:
    raise KeyboardInterrupt


def main(folder: Path = Path(".sandbox")) -> int:
    out = Narration(sys.stdout)
    signal.signal(signal.SIGTERM, end)
    try:
        serve(out, folder.absolute())
    except KeyboardInterrupt:
        out.say()
        out.say("Ended.")
        return 0


if __name__ == "__main__":
    sys.exit(main())
