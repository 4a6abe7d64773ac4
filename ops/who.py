"""Finds what an operator means by an ID: an opportunity, an account, a customer in Stigg or an execution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import click

from closedwon.domain.customer import Customer
from closedwon.domain.identifiers import normalised_id
from closedwon.stack import Stack as Parts
from ops.executions import NAME
from ops.show import stop

Kind = Literal["opportunity", "account", "customer", "execution"]


@dataclass(frozen=True)
class Who:
    """What was meant. text: as it was asked for, in its long form; opportunity_id, execution: where that names one;
    customer: the whole customer in the ledger.
    """

    kind: Kind
    text: str
    customer: Customer
    opportunity_id: str | None = None
    execution: str | None = None


def resolved(text: str, parts: Parts) -> Who:
    """Find whom the ledger knows by this. Raises ClickException where it knows nobody, UsageError for what is no ID."""
    text = text.strip()
    if text.startswith("arn:") and ":execution:" not in text:
        raise click.UsageError(f"{text} is no execution's ARN")
    name = text.rpartition(":")[2] if text.startswith("arn:") else text
    if found := NAME.fullmatch(name):
        customer = _of_opportunity(found[1], parts)
        return Who("execution", name, customer, found[1], name)
    if text.startswith("arn:"):
        stop(f"{name} is no provisioning: their names begin with an opportunity's ID")
    if id := _salesforce_id(text, "006"):
        return Who("opportunity", id, _of_opportunity(id, parts), id)
    if id := _salesforce_id(text, "001"):
        return Who("account", id, _of_account(id, parts))
    # Last, because a customer's ID in Stigg may be nearly any text.
    account_id = parts.ledger.bound_to(text)
    if account_id is None:
        stop(
            f"the ledger knows no {text}: give an opportunity's ID (006...), an account's (001...), a customer's ID in "
            "Stigg, or an execution's name or ARN"
        )
    return Who("customer", text, parts.ledger.customer(str(account_id)))


def _salesforce_id(text: str, prefix: str) -> str | None:
    """A record's ID in 18 characters; None for a text that does not look like one of this kind. Raises UsageError."""
    # Only what has the form of one: a customer's ID in Stigg may begin with the same digits.
    if not (text.startswith(prefix) and len(text) in (15, 18) and text.isalnum()):
        return None
    try:
        return normalised_id(text, prefix)
    except ValueError as error:
        raise click.UsageError(f"{text} {error}") from None


def _of_opportunity(id: str, parts: Parts) -> Customer:
    # `find` would read this opportunity alone, and its customer is told whole.
    account_id = parts.ledger.owners([id]).get(id)
    if account_id is None:
        stop(
            f"{id} never reached closed-won: no callout of it was accepted. `closedwon preview {id}` shows what it "
            "would do; `closedwon reconcile` brings in what was missed"
        )
    return parts.ledger.customer(str(account_id))


def _of_account(id: str, parts: Parts) -> Customer:
    customer = parts.ledger.customer(id)
    if not customer.opportunities:
        stop(
            f"the ledger knows no deal of the account {id}: no callout of one was accepted. `closedwon reconcile` "
            "brings in what was missed"
        )
    return customer
