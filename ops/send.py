"""``closedwon send``: sends deals again, without lines, so that closed-won reads them from Salesforce."""

from __future__ import annotations

from typing import Any

import click

from closedwon.domain.identifiers import normalised_id
from ops import show
from ops.disconnect import DEALS_A_REQUEST, waited_for
from ops.look import ACTS_AS
from ops.preview import deal_of
from ops.stack import Chosen

Json = dict[str, Any]

STYLES = {"accepted": "ok", "duplicate": "ok", "superseded": "warning", "invalid": "problem"}


@click.command(short_help="Send deals again, as Salesforce has them now.")
@click.argument("opportunities", metavar="OPPORTUNITY...", nargs=-1, required=True)
@click.option("--wait", is_flag=True, help="Wait until they are provisioned; exit code 1 if any is not.")
@show.json_option
@click.pass_obj
def send(chosen: Chosen, opportunities: tuple[str, ...], wait: bool, as_json: bool) -> None:
    """Send deals again, as Salesforce has them now.

    For a deal whose mapping was corrected, or whose callout was lost. What did not change is not done twice. Look first
    with `preview`. Exit code 1 when one is refused.
    """
    parts = chosen.stack.parts(*ACTS_AS)
    try:
        # All are read before any is sent: one that cannot be sent stops the command before it did anything.
        deals = [deal_of(normalised_id(id, "006"), None, parts) for id in dict.fromkeys(opportunities)]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="OPPORTUNITY") from None
    results = accepted(chosen, deals)
    if wait:
        waited_for(chosen.stack, executions_of(results))
        # A callout is answered before its deal is provisioned, so what became of it is asked for now.
        results = [{**one, "deal": chosen.api.get(f"/v1/provisionings/{one['opportunityId']}")} for one in results]
    if as_json:
        show.as_json(results)
    else:
        for result in results:
            tell(result)
    if any(result["status"] == "invalid" or failed(result) for result in results):
        raise SystemExit(1)


def accepted(chosen: Chosen, deals: list[Json]) -> list[Json]:
    """Send deals. Out: the answer to each."""
    results: list[Json] = []
    for start in range(0, len(deals), DEALS_A_REQUEST):
        body = {"deals": deals[start : start + DEALS_A_REQUEST]}
        results += chosen.api.post("/v1/provisionings", body)["results"]
    return results


def executions_of(results: list[Json]) -> list[str]:
    """The executions that were started, each once."""
    return list(dict.fromkeys(one["execution"] for one in results if one["execution"]))


def failed(result: Json) -> bool:
    """Whether a deal that was waited for is not provisioned."""
    # Its execution has ended: one that still says Provisioning did not get through.
    return bool(result.get("deal")) and result["deal"]["status"] in ("Failed", "Provisioning")


def tell(result: Json) -> None:
    """What became of one deal, for people."""
    deal = result.get("deal")
    became = f" It is {deal['status']}. {deal['reason']}".rstrip() if deal else ""
    style = "problem" if failed(result) else STYLES[result["status"]]
    show.check(style, f"{result['opportunityId']}: {result['status']}.{became}")
    for error in result["errors"] or ():
        where = f"line {error['line']}, " if error.get("line") is not None else ""
        show.say(f"  {where}{error['field']}: {error['message']}")
    if result["execution"] and not deal:
        show.say(f"  Its execution: {result['execution']}")
