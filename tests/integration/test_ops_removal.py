"""Erasing one account's personal data, and removing the whole integration."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from integration.scenes import (
    access,
    call,
    everything,
    opportunity_of,
    provision,
    revised,
    sell,
    shown,
    stigg_writes,
    subscriptions,
)
from integration.terminal import Operator
from sandbox.ledger import readable
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

NAME, EMAIL = "Maria Sommer Immobilien", "maria.sommer@example.com"


def ledger_text(sandbox: Sandbox) -> str:
    items = sandbox.aws.client("dynamodb").scan(TableName=sandbox.aws.resources["LedgerTable"])["Items"]
    return json.dumps([readable(item) for item in items])


def named(deal: dict[str, object], email: str = EMAIL) -> dict[str, object]:
    account = deal["account"]
    assert isinstance(account, dict)
    return {**deal, "account": {**account, "email": email}}


def test_erasing_an_account_leaves_no_name_in_the_ledger_and_provisioning_goes_on(
    sandbox: Sandbox, operator: Operator
) -> None:
    account = sandbox.sales.account(NAME)
    deal = named(sell(sandbox, account, name=f"{NAME} 2026"))
    provision(sandbox, revised(deal, 0), revised(named(sell(sandbox, sandbox.sales.account("Other"))), 0))
    provision(sandbox, revised(deal, 1, feature_seats=300))
    assert NAME in ledger_text(sandbox)
    before, writes = everything(sandbox), stigg_writes(sandbox)

    code, said, _ = operator.runs("erase", account, answer="n\n")
    assert code == 1
    assert "Salesforce still has the account" in said
    assert NAME in ledger_text(sandbox)

    told = operator.json("erase", account, "--yes")
    assert told["opportunities"] == [opportunity_of(deal)]
    assert any("Invoices" in words for words in told["stays"])
    text = ledger_text(sandbox)
    assert NAME not in text
    assert text.count(EMAIL) == ledger_text(sandbox).count(EMAIL) > 0, "the other account keeps its own"
    assert everything(sandbox) == before
    assert stigg_writes(sandbox) == writes
    operator.does("erase", account, "--yes")  # again changes nothing

    # Erased in Salesforce too, it goes by another name there; the next deal of the account counts as ever.
    sandbox.salesforce.update("Account", account, Name="Erased 7")
    deal["account"] = {**deal["account"], "name": "Erased 7", "email": None}  # type: ignore[dict-item]
    deal["opportunity"] = {**deal["opportunity"], "name": "Erased 7"}  # type: ignore[dict-item]
    provision(sandbox, revised(deal, 2, feature_seats=350))
    [standing] = access(sandbox, account)
    assert standing["limits"]["feature-seats"] == 350
    assert sandbox.stigg.customers[account]["name"] == "Erased 7"
    assert NAME not in ledger_text(sandbox)


def test_who_is_not_there_cannot_be_erased(sandbox: Sandbox, operator: Operator) -> None:
    code, _, errors = operator.runs("erase", "0015g00000XyZaBAAV", "--yes")
    assert (code, "there is nothing to erase" in errors) == (1, True)
    code, _, errors = operator.runs("erase", "acme", "--yes")
    assert (code, "is not a Salesforce record ID" in errors) == (2, True)


def test_disconnecting_stops_everything_and_customers_keep_their_access(sandbox: Sandbox, operator: Operator) -> None:
    account = sandbox.sales.account("Northwind Traders")
    deal = sell(sandbox, account)
    provision(sandbox, deal)
    before = access(sandbox, account)

    code, said, errors = operator.runs("disconnect", answer="no\n")
    assert code == 1
    assert "customers keep access" in said
    assert "nothing was done" in errors
    assert sandbox.status(opportunity_of(deal)).status_code == 200

    said = operator.does("disconnect", "--links", "--yes")
    assert "delete-stack --stack-name sandbox" in said
    assert sandbox.aws.resources["LedgerTable"] in said
    assert operator.json("mode")["mode"] == "pause"
    assert access(sandbox, account) == before
    assert sandbox.callout_key not in said
    assert sandbox.aws.secret("CalloutKeySecret") not in said
    [shown_account] = sandbox.salesforce.find("Account")
    assert (shown_account["Stigg_Customer_ID__c"], shown_account["Stigg_Customer_URL__c"]) == (None, None)
    record = sandbox.provisioning(opportunity_of(deal))
    assert record is not None
    assert (record["Status__c"], record["Subscription_URL__c"]) == ("Provisioned", None)
    put_back(sandbox)


def test_disconnecting_ends_access_where_it_is_told_to(sandbox: Sandbox, operator: Operator) -> None:
    northwind, fabrikam = sandbox.sales.account("Northwind Traders"), sandbox.sales.account("Fabrikam")
    first = sell(sandbox, northwind)
    provision(sandbox, first, sell(sandbox, fabrikam, Sold("plan-analytics")))
    base = opportunity_of(first)
    # What it renews has no end, so it says when it starts.
    terms = {"start": datetime.now(UTC).date().isoformat()}
    renewal = sell(
        sandbox, northwind, Sold("plan-enterprise"), name="Renewal", trigger="renewal", amends=base, terms=terms
    )
    provision(sandbox, renewal)
    standing = sandbox.stigg.add_subscription(fabrikam, "plan-enterprise")  # somebody made it by hand
    said = operator.does("disconnect", "--end-access", "--yes")
    assert "Access to what 3 deals gave has ended." in said
    assert subscriptions(sandbox, northwind) == []
    assert [one["id"] for one in subscriptions(sandbox, fabrikam)] == [standing["id"]]
    assert shown(sandbox, renewal) is not None
    put_back(sandbox)


def put_back(sandbox: Sandbox) -> None:
    """The tests after this one call again."""
    sandbox.aws.put_secret("CalloutKeySecret", sandbox.callout_key)
    assert call(sandbox, sell(sandbox, sandbox.sales.account("After"))) != []
