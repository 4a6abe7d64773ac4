"""What an operator does from a terminal: ``python -m ops approve <opportunity>``.

It talks to the deployed API as Salesforce does. Where the API is, and its key, it finds out from the stack with the
operator's own AWS credentials, or is told through the environment (CLOSEDWON_URL, CLOSEDWON_KEY).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import boto3
import botocore.exceptions
import click
import requests

SECONDS = 30
"""How long an answer may take: as long as API Gateway waits itself."""


class Api:
    """The deployed API."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; None where there is nothing. Raises ClickException in an operator's words."""
        headers = {"x-api-key": self._key}
        try:
            answer = requests.request(method, f"{self._url}{path}", json=body, headers=headers, timeout=SECONDS)
        except requests.RequestException as error:
            raise click.ClickException(f"{self._url} could not be reached ({type(error).__name__})") from None
        if answer.status_code in (401, 403):
            raise click.ClickException("the callout key is not accepted")
        if answer.status_code == 404:
            return None
        content = _json(answer)
        if answer.status_code >= 400 or content is None:
            said = content.get("message", "") if isinstance(content, dict) else ""
            raise click.ClickException(f"{self._url} answered {answer.status_code}: {said or 'no reason given'}")
        return content


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def of_stack(stack: str) -> Api:
    """The API of a stack, found with the operator's AWS credentials."""
    try:
        described = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}
        if not {"CalloutUrl", "CalloutKeySecretArn"} <= outputs.keys():
            raise click.ClickException(f"{stack} is no stack of closed-won: it has no output CalloutUrl")
        secret = boto3.client("secretsmanager").get_secret_value(SecretId=outputs["CalloutKeySecretArn"])
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise click.ClickException(f"AWS said: {error}") from None
    return Api(outputs["CalloutUrl"], secret["SecretString"])


@dataclass(frozen=True)
class Chosen:
    """The stack that is operated, and its API."""

    stack: str
    api: Callable[[], Api]


DAY = click.DateTime(["%Y-%m-%d"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--stack", default="closed-won", show_default=True, help="The stack, in the AWS account you are logged in to."
)
@click.option("--url", envvar="CLOSEDWON_URL", help="Address of the API, instead of asking AWS.")
@click.option("--key", envvar="CLOSEDWON_KEY", help="The callout key, with --url; better in the environment.")
@click.pass_context
def main(context: click.Context, stack: str, url: str | None, key: str | None) -> None:
    """Operate closed-won."""
    if bool(url) != bool(key):
        raise click.UsageError("--url and the callout key go together")
    context.obj = Chosen(stack, lambda: Api(url, key) if url and key else of_stack(stack))


@main.command()
@click.argument("opportunity")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print what became of it as JSON.")
@click.pass_context
def approve(context: click.Context, opportunity: str, yes: bool, as_json: bool) -> None:
    """Let through what is held on an OPPORTUNITY: a reduction nobody expected, or a subscription in the way.

    Shows what would happen and asks. Exit code 1 when nothing waits for approval.
    """
    api: Api = context.obj.api()
    deal = api.get(f"/v1/provisionings/{opportunity}")
    if deal is None:
        stop(f"{opportunity} has never been accepted")
    if not deal.get("approval"):
        stop(f"nothing of {opportunity} waits for approval: it is {deal['status']}. {deal['reason']}".rstrip())
    if not as_json:
        click.echo(f"{opportunity} is {deal['status']}:\n  {deal['reason']}")
    if not yes:
        click.confirm("Let it through?", abort=True, err=as_json)
    body = {
        "organizationId": deal["organizationId"],
        "opportunityId": deal["opportunityId"],
        "approval": deal["approval"],
    }
    [result] = api.post("/v1/approvals", {"approvals": [body]})["results"]
    if result["status"] != "approved":
        stop(result["message"])
    click.echo(json.dumps(result) if as_json else f"Approved; applied by the execution {result['execution']}.")


@main.command()
@click.option("--since", required=True, type=DAY, metavar="DAY", help="Deals closed on this day (2024-01-31) or later.")
@click.option("--until", type=DAY, metavar="DAY", help="And not after this one; today by default.")
@click.option("--run", "really", is_flag=True, help="Bring them in. Without it, nothing is written.")
@click.option("--create", is_flag=True, help="With --run: also what has to be made or changed in Stigg.")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Where to put what is found.")
@click.option("--json", "as_json", is_flag=True, help="Print what is found, a JSON object for each customer.")
@click.pass_context
def backfill(
    context: click.Context,
    since: datetime,
    until: datetime | None,
    really: bool,
    create: bool,
    file: Path | None,
    as_json: bool,
) -> None:
    """Bring in deals that were won before closed-won was there.

    Without --run it only tells: how many customers, what is wrong with the mapping, what would be adopted, made or
    held, and how long it would take. With --run it brings in the customers whose deals stand in Stigg already, and
    reports the others. It can be stopped (Ctrl-C) and started again. Exit code 1 when it could not be done, 130 when
    it was stopped.
    """
    if create and not really:
        raise click.UsageError("--create goes with --run")
    if until is not None and until < since:
        raise click.UsageError("--until is before --since")
    from ops import backfill as work  # with all of the product that it takes

    days = since.date().isoformat(), until.date().isoformat() if until else None
    task = work.Task(context.obj.stack, *days, mode="dry" if not really else "create" if create else "run")
    work.environment_of(task.stack)
    path = file or task.file
    done = work.run(task, path)
    if as_json:
        for entry in done.done.values():
            click.echo(json.dumps(entry))
    else:
        click.echo(work.summary(task, done))
    click.echo(f"Every customer is in {path}.", err=as_json)


def stop(message: str) -> NoReturn:
    raise click.ClickException(message)


if __name__ == "__main__":
    main(prog_name="closedwon")
