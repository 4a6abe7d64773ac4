"""``closedwon approve``: approves what is held on a deal."""

from __future__ import annotations

import json

import click

from ops.show import json_option, stop
from ops.stack import Chosen


@click.command(short_help="Approve what is held on a deal.")
@click.argument("opportunity")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def approve(chosen: Chosen, opportunity: str, yes: bool, as_json: bool) -> None:
    """Approve what is held on an OPPORTUNITY: a large reduction, or replacing a foreign subscription.

    Shows what would happen and asks first. Exit code 1 when nothing waits for approval.
    """
    api = chosen.api
    deal = api.get(f"/v1/provisionings/{opportunity}")
    if deal is None:
        stop(f"{opportunity} has never been accepted")
    if not deal.get("approval"):  # held until another deal arrives, say: nobody can let that through
        stop(f"nothing of {opportunity} waits for approval: it is {deal['status']}. {deal['reason']}".rstrip())
    if not as_json:
        click.echo(f"{opportunity} is {deal['status']}:\n  {deal['reason']}")
    if not yes:
        click.confirm("Approve it?", abort=True, err=as_json)  # the standard output is the JSON's
    body = {
        "organizationId": deal["organizationId"],
        "opportunityId": deal["opportunityId"],
        # The ID that was shown: where another change is held by now, nothing is approved.
        "approval": deal["approval"],
    }
    # By the API and not in the ledger: it reserves a rate slot and starts the execution at once.
    [result] = api.post("/v1/approvals", {"approvals": [body]})["results"]
    if result["status"] != "approved":
        stop(result["message"])
    click.echo(json.dumps(result) if as_json else f"Approved; applied by the execution {result['execution']}.")
