"""``closedwon erase``: erases names and e-mail addresses of one account from the ledger."""

from __future__ import annotations

from typing import Any

import click

from closedwon.domain.errors import SalesforceRefused
from closedwon.domain.identifiers import normalised_id
from closedwon.stack import Stack as Parts
from ops import show
from ops.stack import Chosen

STAYS = (
    "in the ledger: record IDs, products, quantities, prices, dates. They say what the customer may use and was billed "
    "for; none names a person.",
    "in Stigg: the customer {customer_id} with the name and e-mail address it has there. Invoices are made of them: "
    "change or archive it in Stigg once the law lets you.",
    "in the ledger's point-in-time backups: the names, for the 35 days DynamoDB keeps them.",
    "in the exports of reconciliations: the names, until they are deleted by themselves after three days.",
    "in your own application, where one is configured: whatever it keeps of what it was told.",
)
"""What erasing leaves, and why."""


@click.command()
@click.argument("account")
@click.option("--yes", is_flag=True, help="Do not ask.")
@show.json_option
@click.pass_obj
def erase(chosen: Chosen, account: str, yes: bool, as_json: bool) -> None:
    """Erase the names and e-mail addresses of one ACCOUNT (a Salesforce account's ID) from the ledger.

    Erase the account in Salesforce first: while it has a name there, the next change of a deal brings the name back.
    Provisioning goes on as before. The output says what stays, and where.
    """
    try:
        account_id = normalised_id(account, "001")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ACCOUNT") from None
    parts = chosen.stack.parts()
    customer = parts.ledger.customer(account_id)
    if not customer.version:  # the ledger reads any account: one it does not know has version 0
        raise click.ClickException(f"the ledger knows nothing of {account_id}: there is nothing to erase")
    there = in_salesforce(account_id, parts)
    if there and not as_json:
        show.check(
            "warning",
            f"Salesforce still has the account {account_id}.",
            "Erase it there first, or the next change of one of its deals brings its name back.",
        )
    if not yes:
        count = len(customer.opportunities)
        click.confirm(
            f"Erase names and e-mail addresses of {account_id}, with {count} deals? They cannot be brought back",
            abort=True,
            err=as_json,  # the standard output is the JSON's
        )
    # Names go and orders stay: they are the reason for what the customer may use.
    opportunities = parts.ledger.erase(account_id)
    stays = [words.format(customer_id=customer.customer_id or "(none)") for words in STAYS]
    if as_json:
        done: dict[str, Any] = {"accountId": account_id, "opportunities": opportunities, "stays": stays}
        show.as_json({**done, "stillInSalesforce": there})
        return
    show.check("ok", f"The ledger has no names of {account_id} any more ({len(opportunities)} deals).")
    show.say("What stays:")
    for words in stays:
        show.say(f"- {words}")


def in_salesforce(account_id: str, parts: Parts) -> bool:
    """Whether Salesforce still has the account. Raises what `closedwon.salesforce.client` does."""
    try:
        found = parts.quick_salesforce.query("SELECT Id FROM Account WHERE Id = {id}", id=account_id)
    except SalesforceRefused:
        return False
    return bool(list(found))
