"""``closedwon disconnect``: stops the integration, and lists what stays."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from closedwon.aws.ledger import Ledger
from closedwon.domain.customer import Customer
from closedwon.domain.errors import ClosedWonError
from closedwon.domain.instants import iso_of
from closedwon.salesforce.answers import error_of, records_of
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.write_back import RECORDS_A_COLLECTION
from closedwon.stack import Stack as Parts
from ops import show
from ops.stack import Chosen, Stack

DEALS_A_REQUEST = 200
"""The most deals of one callout."""

UNLINKED = {
    "Account": ("Stigg_Customer_ID__c", "Stigg_Customer_URL__c"),
    "Stigg_Provisioning__c": (
        "Subscription_URL__c",
        "Checkout_URL__c",
        "Stigg_Customer_ID__c",
        "Stigg_Customer_URL__c",
    ),
}
"""What leads from Salesforce to Stigg."""

KEY_LENGTH = 48
"""As the template generates it."""

RETAINED = (
    "LedgerTable",
    "ReconciliationBucket",
    "CalloutKeySecret",
    "StiggSecret",
    "StiggEventsSecret",
    "SalesforceSecret",
)
"""What stays when the stack is deleted."""


@click.command()
@click.option("--links", is_flag=True, help="Also clear the fields in Salesforce that link to Stigg.")
@click.option("--end-access", is_flag=True, help="Also end, now, all access that closed-won provisioned.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def disconnect(chosen: Chosen, links: bool, end_access: bool, yes: bool) -> None:
    """Stop the integration: nothing is accepted or written from then on.

    Customers keep their access unless you give --end-access. It is safe to repeat. Afterwards you can delete the stack
    and remove the package; the last lines say how, and what stays.
    """
    stack = chosen.stack
    parts = stack.parts()
    tell_what_happens(links, end_access)
    if not yes:
        # A name is not typed by habit, as a yes is.
        said = click.prompt(f"Type the stack's name, {stack.name}, to go on", default="", show_default=False)
        if said != stack.name:
            raise click.ClickException("that is not the stack's name; nothing was done")
    if end_access:
        end_all(chosen, parts)  # first: ending access is provisioning, which a pause stops
    # Before the key: API Gateway may accept that for five minutes more, and what comes by it must not be provisioned.
    parts.ledger.set_control("pause", "disconnected")
    show.check("ok", "Provisioning is paused.")
    revoke(stack)
    show.check("ok", "The callout key is revoked. API Gateway may accept it from its cache for five minutes more.")
    if links:
        for name in UNLINKED:
            show.check("ok", f"{unlink(name, parts.quick_salesforce)} records of {name} lead to Stigg no more.")
    tell_what_is_next(stack)


def tell_what_happens(links: bool, end_access: bool) -> None:
    show.say("This stops: callouts from Salesforce, provisioning, scheduled changes (ends of trials and terms that are")
    show.say("not in Stigg yet), reconciliation's repairs.")
    ends = "customers' access to everything closed-won provisioned ends now" if end_access else "customers keep access"
    show.say(f"In Stigg, {ends}. What stands there ends only where it has an end already.")
    show.say(f"In Salesforce, links and IDs {'are emptied' if links else 'stay'}; the records stay.")


def end_all(chosen: Chosen, parts: Parts) -> None:
    """Cancel every contract, as a callout does, and wait until that is in Stigg. Raises ClickException where it is not:
    nothing is disconnected then.
    """
    ledger, salesforce = parts.ledger, parts.quick_salesforce
    if ledger.control().mode != "run":
        raise click.ClickException("the stack does not run, so no access would end: closedwon resume, then again")
    deals = list(cancellations(map(ledger.customer, accounts(salesforce)), salesforce))
    waited_for(chosen.stack, list(dict.fromkeys(sent(chosen, deals))))  # deals of one account share an execution
    left = [deal["opportunity"]["id"] for deal in deals if not ended(deal, ledger)]
    if left:
        raise click.ClickException(
            f"{len(left)} of {len(deals)} deals have not ended: {', '.join(left[:5])}. Look at them with closedwon "
            "status, then start again"
        )
    show.check("ok", f"Access to what {len(deals)} deals gave has ended.")


def sent(chosen: Chosen, deals: list[dict[str, Any]]) -> list[str]:
    """Send deals as a callout does. Out: the executions that were started. Raises ClickException for a refusal."""
    executions: list[str] = []
    for start in range(0, len(deals), DEALS_A_REQUEST):
        results = chosen.api.post("/v1/provisionings", {"deals": deals[start : start + DEALS_A_REQUEST]})["results"]
        refused = [f"{one['opportunityId']}: {one['errors'][0]['message']}" for one in results if one["errors"]]
        if refused:
            raise click.ClickException(f"not cancelled: {'; '.join(refused)}")
        executions += [one["execution"] for one in results if one["execution"]]
    return executions


def accounts(salesforce: SalesforceClient) -> list[str]:
    """The accounts closed-won wrote to."""
    # The ledger is keyed by account and has no list of them.
    found = salesforce.query("SELECT Id FROM Account WHERE Stigg_Customer_ID__c != NULL ORDER BY Id")
    return [record["Id"] for record in found]


def cancellations(customers: Iterable[Customer], salesforce: SalesforceClient) -> Iterator[dict[str, Any]]:
    """For each deal that gives a customer something, the deal that ends it now."""
    organization_id = salesforce.query("SELECT Id FROM Organization")[0]["Id"]
    for customer in customers:
        for id, state in sorted(customer.opportunities.items()):
            order = state.settled.order if state.settled is not None else None
            # What was never provisioned gives nothing, and an amendment ends with what it amends.
            if order is None or order.trigger not in ("closed_won", "trial", "renewal"):
                continue
            # Later than the newest revision even where clocks differ, or it would be superseded.
            at = iso_of(max(time.time_ns() // 1_000_000, state.revision.modified + 1))
            named = {"id": id, "name": order.opportunity_name or id}
            yield {
                "organizationId": organization_id,
                "trigger": "cancellation",
                "opportunity": {**named, "systemModstamp": at, "readAt": at, "currencyIsoCode": order.currency.upper()},
                # An erased account has no name in the ledger, and a deal without one is refused.
                "account": {"id": customer.account_id, "name": order.account_name or customer.account_id},
                "terms": {"cancel": "now"},
                "lines": [],
            }


def ended(deal: dict[str, Any], ledger: Ledger) -> bool:
    """Whether a cancellation is in Stigg."""
    found = ledger.find(deal["opportunity"]["id"])
    # Accepted is not enough: it may be held, or have failed.
    return found is not None and found[1].stands and found[1].order.trigger == "cancellation"


def waited_for(stack: Stack, executions: list[str]) -> None:
    """Wait until executions have ended, however they did."""
    client = stack.client("stepfunctions")
    with show.progress() as progress:
        for name in progress.track(executions, description="Ending access"):
            # Without a limit: many executions wait minutes for their rate slots.
            while client.describe_execution(executionArn=stack.execution_arn(name))["status"] == "RUNNING":
                time.sleep(0.5)


def revoke(stack: Stack) -> None:
    """Nobody knows the callout key any more, nor the one before it, which counts as well."""
    arn = stack.outputs["CalloutKeySecretArn"]
    for _ in range(2):
        stack.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=secrets.token_hex(KEY_LENGTH // 2))


def unlink(name: str, client: SalesforceClient) -> int:
    """Empty the fields of one kind of record that lead to Stigg. Out: how many records had any."""
    fields = UNLINKED[name]
    # Only these are written: every write runs the organisation's own flows and validation rules.
    filled = " OR ".join(f"{field} != NULL" for field in fields)
    ids = [record["Id"] for record in client.query(f"SELECT Id FROM {name} WHERE {filled}")]  # nosec B608 - constants
    for start in range(0, len(ids), RECORDS_A_COLLECTION):
        records = [
            {"attributes": {"type": name}, "Id": id, **dict.fromkeys(fields)}
            for id in ids[start : start + RECORDS_A_COLLECTION]
        ]
        url = f"{client.data_path}/composite/sobjects"
        request = {
            "method": "PATCH",
            "url": url,
            "referenceId": "unlink",
            # One record that a rule of the organisation refuses keeps no other from being emptied.
            "body": {"allOrNone": False, "records": records},
        }
        [result] = client.composite([request])
        # A collection answers 200 even where records fail, and without records where it failed as a whole.
        faults: list[ClosedWonError] = [
            fault for answer in records_of(result) or [result] if (fault := error_of(answer)) is not None
        ]
        if faults:
            raise faults[0]
    return len(ids)


def tell_what_is_next(stack: Stack) -> None:
    show.say()
    show.say("Next, in Salesforce: deactivate the flows and remove the package (docs/salesforce.md, Remove).")
    show.say("In Stigg's app: delete the webhook of this stack (Settings > Integrations > Webhooks).")
    show.say("Then delete the stack:")
    show.verbatim(f"  aws cloudformation delete-stack --stack-name {stack.name} --region {stack.region}")
    show.say("These stay, so that nothing is lost by accident; delete them by hand when nobody needs them any more:")
    for logical in RETAINED:
        show.verbatim(f"  {logical}: {stack.physical(logical)}")
    show.say(f"Disconnected at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.")
