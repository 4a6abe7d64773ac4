"""``closedwon status``: the history of a deal or a customer, from the ledger, Step Functions, Stigg and Salesforce.

First it is gathered (`story`), as what ``--json`` prints; then it is told from that (`story_told`).
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

import click

from ops import show
from ops.executions import Executions
from ops.look import ACTS_AS
from ops.show import json_option
from ops.stack import Chosen
from ops.story import story
from ops.story_told import Teller
from ops.who import resolved


@click.command(short_help="Show the history of a deal or a customer.")
@click.argument("id")
@click.option("--all", "everything", is_flag=True, help="Show all deals, orders and subscriptions, ended ones too.")
@json_option
@click.pass_obj
def status(chosen: Chosen, id: str, everything: bool, as_json: bool) -> None:
    """Show the history of an ID: an opportunity, an account, a customer in Stigg, or an execution.

    It shows what the ledger holds, who changed what and when, which executions ran, what Stigg and Salesforce hold now,
    and whether that is as it should be. It changes nothing. Exit code 1 when Stigg or Salesforce did not answer.
    """
    parts = chosen.stack.parts(*ACTS_AS)
    executions = Executions(chosen.stack.client("stepfunctions"), chosen.stack.outputs["ProvisionStateMachineArn"])
    told = story(resolved(id, parts), executions, everything, parts)
    if as_json:
        show.as_json(told)
    else:
        Teller(told, ZoneInfo(parts.settings["TIME_ZONE"]), everything).tell()
    # What there is was told, but a script must not take it for all.
    if told["notReached"]:
        raise SystemExit(1)
