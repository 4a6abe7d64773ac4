"""``closedwon preview``: shows what provisioning would do with a deal, as the API answers it. Writes nothing."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any, get_args

import click

from closedwon.domain.identifiers import normalised_id
from closedwon.intake.deal import Trigger
from closedwon.reconciliation.views import given_of
from closedwon.salesforce.deal_records import trigger_of
from closedwon.stack import Stack as Parts
from closedwon.words.changes import money
from ops import show
from ops.look import ACTS_AS
from ops.show import json_option, say, stop
from ops.stack import Chosen

Json = dict[str, Any]

STYLES = {"ok": "ok", "held": "warning", "invalid": "problem"}

SAID = {
    "ok": "{} would be provisioned.",
    "held": "{} would be held: somebody would have to look at it first.",
    "invalid": "{} would be refused.",
}

_OPPORTUNITY = (
    "SELECT Id, Name, AccountId, Account.Name, IsWon, IsClosed, IsDeleted, StageName, Type, SystemModstamp, "
    "Stigg_Amends__c, Stigg_Cancel_Date__c FROM Opportunity WHERE Id = {id}"
)


def deal_of(opportunity_id: str, trigger: str | None, parts: Parts) -> Json:
    """A deal as a callout without lines would say it: the API reads the rest. trigger: what it is to be looked at as,
    None for what it is. Raises ClickException where there is nothing to preview.
    """
    rows = parts.quick_salesforce.query(_OPPORTUNITY, id=opportunity_id)
    if not rows:
        stop(f"Salesforce knows no opportunity {opportunity_id}, or closed-won's user may not see it")
    [row] = rows
    if row["AccountId"] is None:
        stop(f"{opportunity_id} has no account, so there is no customer to give anything to")
    # Won no more is a cancellation, but only of what the ledger has as won.
    known = parts.ledger.find(opportunity_id)
    wanted = trigger or trigger_of(row, known[1].order.trigger if known else None, parts.settings.trial_stages)
    if wanted is None:
        stop(
            f"{opportunity_id} is not won ({row['StageName']}), so nothing would be sent. To see what it would give if "
            "it were: --trigger closed_won"
        )
    return given_of(row, str(wanted), parts.intake)


def deals_in(file: Path) -> Json:
    """A request's body from a file: {"deals": [...]}, or one deal. Raises UsageError for what is none."""
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise click.UsageError(f"{file} is no JSON: {error}") from None
    if isinstance(content, dict) and "deals" not in content:
        content = {"deals": [content]}
    if not isinstance(content, dict):
        raise click.UsageError(f'{file} holds no deal: it should be {{"deals": [...]}}, as POST /v1/previews takes it')
    return content


def tell(result: Json) -> None:
    """One deal's preview, for people."""
    deal = result["opportunityId"] or "This deal"
    show.check(STYLES[result["status"]], SAID[result["status"]].format(deal))
    for error in result.get("errors") or ():
        _bullet(_error(error))
    for sentence in result.get("summary") or ():
        _bullet(sentence)
    _later(result)
    _charges(result)
    if warnings := result.get("warnings"):
        say()
        for warning in warnings:
            show.check("warning", warning)
    for invoices in result.get("invoices") or ():
        _invoices(invoices)


def _error(error: Json) -> str:
    where = f"line {error['line']}, " if error.get("line") is not None else ""
    return f"{where}{error['field']}: {error['message']}"


def _later(result: Json) -> None:
    if not (moments := result.get("scheduled")):
        return
    say()
    say("Later, by itself:")
    for moment in moments:
        _bullet(f"{moment['at'][:10] if moment['at'] else 'with the billing period'}  {moment['what']}")


def _charges(result: Json) -> None:
    if not (charges := result.get("charges")):
        return
    say()
    say("What one billing period charges, as agreed:")
    for one in charges:
        for begins, text in (("  - ", one["what"]), *(("      ", line) for line in one["explained"])):
            below = " " * len(begins) if begins.strip() else " " * 8
            # Narrow, as sums are read downwards; an ID is never broken at its hyphens.
            say(textwrap.fill(text, 80, initial_indent=begins, subsequent_indent=below, break_on_hyphens=False))


def _invoices(invoices: Json) -> None:
    for name, title in (("immediate", "at once"), ("recurring", "each billing period")):
        invoice = invoices.get(name)
        if not invoice:
            continue
        currency = invoice.get("currency") or ""
        say()
        rows = [
            (
                line["description"],
                _number(line.get("quantity")),
                _money(line.get("unitPrice"), currency),
                _money(line.get("subTotal"), currency),
            )
            for line in invoice["lines"]
        ]
        rows += [
            (label, "", "", _money(invoice.get(key), currency))
            for key, label in (("discount", "Discount"), ("tax", "Tax"), ("total", "Total"))
            if invoice.get(key) or key == "total"
        ]
        columns = ("invoice line", "quantity", "each", "in all")
        show.table(columns, rows, title=f"What {invoices['planId']} costs {title}, by Stigg")
    # Stigg's preview takes neither entitlements nor price overrides: without these words its total would seem whole.
    if missing := invoices.get("notIncluded"):
        say()
        say(f"Left out of Stigg's invoices of {invoices['planId']}:")
        for what in missing:
            _bullet(what)


def _number(value: float | None) -> str:
    # `g` leaves out needless decimals, but writes a million as 1e+06.
    return "" if value is None else f"{value:,g}" if value < 1_000_000 else f"{value:,.0f}"


def _money(value: float | None, currency: str) -> str:
    return "" if value is None else money(value, currency).strip()


def _bullet(text: str) -> None:
    say(textwrap.indent(textwrap.fill(text, show.WIDTH - 4), "    ").replace("    ", "  - ", 1))


def _as_it_is(chosen: Chosen, opportunity: str, trigger: str | None) -> Json:
    """A request's body with an opportunity as it is in Salesforce."""
    try:
        id = normalised_id(opportunity, "006")
    except ValueError as error:
        raise click.UsageError(f"{opportunity} {error}") from None
    return {"deals": [deal_of(id, trigger, chosen.stack.parts(*ACTS_AS))]}


@click.command(short_help="Show what provisioning would do with a deal.")
@click.argument("opportunity", required=False)
@click.option(
    "--trigger",
    type=click.Choice(get_args(Trigger)),
    help="Preview it as this kind of deal; by default, what the opportunity is.",
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON file with a deal, or with the body of a request, instead of an opportunity.",
)
@json_option
@click.pass_obj
def preview(chosen: Chosen, opportunity: str | None, trigger: str | None, file: Path | None, as_json: bool) -> None:
    """Show what provisioning would do with an OPPORTUNITY, in words, with Stigg's invoice. Changes nothing.

    The opportunity is read from Salesforce, won or not. Exit code 1 when it would be refused.
    """
    if bool(opportunity) == bool(file):
        raise click.UsageError("name an opportunity, or a --file with a deal")
    if file and trigger:
        raise click.UsageError("--trigger goes with an opportunity: a file says its own")
    body = deals_in(file) if file else _as_it_is(chosen, str(opportunity), trigger)
    # By the API, so that it is what people see in Salesforce, of the version that is deployed.
    results = chosen.api.post("/v1/previews", body)["results"]
    if as_json:
        show.as_json(results if file else results[0])
    else:
        for number, result in enumerate(results):
            if number:
                say()
            tell(result)
    # Held is no failure: somebody decides, and then it is provisioned.
    if any(result["status"] == "invalid" for result in results):
        raise SystemExit(1)
