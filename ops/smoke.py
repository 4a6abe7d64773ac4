"""``closedwon smoke``: tests a deployed stack without leaving anything behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click
import requests

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.errors import ClosedWonError
from closedwon.domain.instants import iso_of
from closedwon.stack import Stack as Parts
from closedwon.stigg.catalogue import fetch_catalogue
from ops import show
from ops.api import SECONDS
from ops.stack import Chosen, Stack

UNKNOWN = "006000000000000AAA"
"""A deal that no organisation has."""


class Check(NamedTuple):
    """One thing that was tried. wrong: what is wrong with it, "" for nothing."""

    what: str
    wrong: str = ""


@click.command()
@show.json_option
@click.pass_obj
def smoke(chosen: Chosen, as_json: bool) -> None:
    """Test the deployed stack: API, keys, functions, Stigg, Salesforce, ledger, schedules.

    Sends one made-up deal that must be refused and one to preview: nothing is recorded, written or provisioned.
    Exit code 1 when something is wrong.
    """
    found = []
    for check in checks(chosen, chosen.stack.parts()):
        found.append(check)
        if not as_json:
            show.check("problem" if check.wrong else "ok", check.what, check.wrong)
    wrong = [check for check in found if check.wrong]
    if as_json:
        show.as_json([{"check": check.what, "ok": not check.wrong, "wrong": check.wrong} for check in found])
    else:
        show.say()
        show.say(f"{len(wrong)} of {len(found)} checks failed." if wrong else f"All {len(found)} checks are well.")
    if wrong:
        raise SystemExit(1)


def checks(chosen: Chosen, parts: Parts) -> Iterator[Check]:
    """Everything there is to try, one after the other; what one finds keeps no other from being tried."""
    stack = chosen.stack
    attempts: tuple[tuple[str, Callable[[], str]], ...] = (
        ("The stack is deployed", lambda: complete(stack)),
        ("The API refuses who has no key", lambda: no_key(chosen)),
        ("The API answers who has it", lambda: unknown_deal(chosen)),
        ("A deal that is none is refused, with the reason", lambda: refused_deal(chosen)),
        ("Stigg takes the key", lambda: catalogue_there(parts)),
        ("Salesforce lets the server in", lambda: organisation(parts)),
        ("A deal is previewed", lambda: previewed(chosen, parts)),
        ("The ledger is there", lambda: ledger_there(parts)),
        ("The state machines are there", lambda: machines(stack)),
        ("The sweep is scheduled", lambda: scheduled(stack)),
    )
    for what, attempt in attempts:
        try:
            yield Check(what, attempt())
        except (ClosedWonError, click.ClickException) as error:
            yield Check(what, error.message)


def complete(stack: Stack) -> str:
    status = stack.described["StackStatus"]
    # UPDATE_ROLLBACK_COMPLETE ends so too, and says that the last deployment failed.
    return "" if status.endswith("_COMPLETE") and "ROLLBACK" not in status else f"its status is {status}"


def no_key(chosen: Chosen) -> str:
    url = f"{chosen.api.url}/v1/provisionings/{UNKNOWN}"
    try:
        # The wrong key is in the form of one: anything else is refused before the authorizer sees it.
        answers = [requests.get(url, headers=headers, timeout=SECONDS) for headers in ({}, {"x-api-key": "x" * 48})]
    except requests.RequestException as error:
        return f"{chosen.api.url} could not be reached ({type(error).__name__})"
    said = [answer.status_code for answer in answers]
    return "" if set(said) <= {401, 403} else f"it answered {said[0]} without a key, and {said[1]} with a wrong one"


def unknown_deal(chosen: Chosen) -> str:
    found = chosen.api.get(f"/v1/provisionings/{UNKNOWN}")
    return "" if found is None else f"it knows the deal {UNKNOWN}, which does not exist"


def refused_deal(chosen: Chosen) -> str:
    # Refused deals are recorded too, but only under an opportunity and an account: this one names neither.
    [result] = chosen.api.post("/v1/provisionings", {"deals": [{"trigger": "closed_won", "lines": []}]})["results"]
    named = {error["field"] for error in result["errors"]}
    return "" if result["status"] == "invalid" and "organizationId" in named else f"it was {result['status']}"


def catalogue_there(parts: Parts) -> str:
    plans = fetch_catalogue(parts.stigg, parts.now()).plans
    return "" if plans else "Stigg's catalogue has no plan: is the environment right?"


def organisation(parts: Parts) -> str:
    parts.quick_salesforce.query("SELECT Id FROM Organization")
    return ""


def previewed(chosen: Chosen, parts: Parts) -> str:
    """The first plan of the catalogue, sold to an account that no organisation has."""
    catalogue: Catalogue = fetch_catalogue(parts.stigg, parts.now())
    plan_id = next(iter(sorted(catalogue.plans)), None)  # sorted: the same plan each time
    if plan_id is None:
        return "there is no plan to preview"
    at = iso_of(parts.now())
    deal: dict[str, Any] = {
        "organizationId": chosen.stack.parameters["SalesforceOrganizationId"],
        "trigger": "closed_won",
        "opportunity": {
            "id": UNKNOWN,
            "name": "Smoke test",
            "systemModstamp": at,
            "readAt": at,
            "currencyIsoCode": "USD",
        },
        "account": {"id": "001000000000000AAA", "name": "Smoke test"},
        "lines": [{"stiggType": "Plan", "stiggId": plan_id, "quantity": 1}],
    }
    [result] = chosen.api.post("/v1/previews", {"deals": [deal]})["results"]
    if result["errors"]:
        return "; ".join(error["message"] for error in result["errors"])
    return "" if result["summary"] else f"nothing was told of {plan_id}: {' '.join(result['warnings'])}"


def ledger_there(parts: Parts) -> str:
    parts.ledger.control()  # raises where the table cannot be read
    return ""


def machines(stack: Stack) -> str:
    client = stack.client("stepfunctions")
    found = {
        output: client.describe_state_machine(stateMachineArn=stack.outputs[output])["status"]
        for output in ("ProvisionStateMachineArn", "ReconcileStateMachineArn")
    }
    return ", ".join(f"{output} is {status}" for output, status in found.items() if status != "ACTIVE")


def scheduled(stack: Stack) -> str:
    # SAM names a schedule after its function and the event.
    name = stack.physical("SweepFunctionSchedule").rpartition("/")[2]
    state = stack.client("scheduler").get_schedule(Name=name)["State"]
    return "" if state == "ENABLED" else f"its schedule is {state}: nothing that is due starts by itself"
