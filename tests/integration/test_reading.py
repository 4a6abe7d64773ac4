"""Deals that are sent without lines: the callout reads them from Salesforce, through the gateway and over the network.

Which rows become which lines is tests/unit/test_reading.py's; here it is what the ledger holds and what callers see.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from closedwon.aws.ledger_items import text_of
from integration.scenes import (
    ENTERPRISE,
    Json,
    access,
    call,
    executions,
    no_execution_starts,
    provision,
    shown,
    subscriptions,
)
from sandbox.sales import Cpq, Sold
from sandbox.sandbox import Sandbox

QUERIES = "/services/data/.*/query.*"


def unread(sandbox: Sandbox, opportunity: str, trigger: str = "closed_won", **more: Any) -> Json:
    """All that has to be said of a deal that Salesforce knows."""
    organization = sandbox.salesforce.organization_id
    return {"organizationId": organization, "trigger": trigger, "opportunity": {"id": opportunity}, **more}


def order(sandbox: Sandbox, account: str, opportunity: str) -> Json:
    """The newest order the ledger holds of an opportunity."""
    key = {"pk": {"S": f"ACCOUNT#{account}"}, "sk": {"S": f"OPPORTUNITY#{opportunity}"}}
    found = sandbox.aws.client("dynamodb").get_item(
        TableName=sandbox.aws.resources["LedgerTable"], Key=key, ConsistentRead=True
    )
    ordered: Json = json.loads(text_of(found["Item"]))["order"]
    return ordered


def quantities(ordered: Json) -> dict[str, int]:
    return {item["stigg_id"]: item["quantity"] for item in ordered["items"]}


def test_a_deal_named_by_its_opportunity_alone_is_provisioned_as_if_it_had_been_sent_whole(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    opportunity = sandbox.sales.close(account, "Enterprise", *ENTERPRISE, Stigg_Billing_Period__c="ANNUALLY")
    [result] = provision(sandbox, unread(sandbox, opportunity))
    assert (result["status"], result["errors"]) == ("accepted", [])
    assert shown(sandbox, {"opportunity": {"id": opportunity}}) == ("Provisioned", None)
    [subscription] = subscriptions(sandbox, account)
    assert subscription["billingPeriod"] == "ANNUALLY"
    assert quantities(order(sandbox, account, opportunity)) == {
        "plan-enterprise": 1,
        "addon-extra-workspace": 2,
        "feature-seats": 250,
    }
    whole = sandbox.deal(opportunity, terms={"billingPeriod": "ANNUALLY"})
    assert [result["status"] for result in call(sandbox, whole, unread(sandbox, opportunity))] == ["duplicate"] * 2


def test_with_cpq_a_new_price_and_more_seats_arrive_in_stigg_whichever_deal_comes_first(sandbox: Sandbox) -> None:
    cpq = Cpq(sandbox.sales)
    account = sandbox.sales.account("Northwind")
    start, later = (datetime.now(UTC).date() - timedelta(days=days) for days in (100, 10))
    base = cpq.quote(account, "Base", *ENTERPRISE, start=start.isoformat())
    again = Sold("addon-extra-workspace", 3, 1000)
    changes: Json = {"start": later.isoformat(), "feature_seats": 300, "addon_extra_workspace": 0}
    amendment = cpq.amend(cpq.contract(base), "Change", again, **changes)
    for opportunity in (amendment, base):
        assert provision(sandbox, unread(sandbox, opportunity))[0]["status"] == "accepted"
    [given] = access(sandbox, account)
    assert (given["limits"], given["addons"]) == ({"feature-seats": 300}, {"addon-extra-workspace": 3})
    assert given["prices"] == {None: 48000, "addon-extra-workspace": 1000}
    assert given["opportunities"] == {base, amendment}


def test_with_cpq_a_contract_is_sold_amended_and_renewed_in_one_chain(sandbox: Sandbox) -> None:
    cpq = Cpq(sandbox.sales)
    account = sandbox.sales.account("Northwind")
    base = cpq.quote(account, "2026", *ENTERPRISE)
    contract = cpq.contract(base)
    amendment = cpq.amend(contract, "More", feature_seats=300)
    cpq.contract(amendment)
    renewal = cpq.renew(contract, "2027", addon_extra_workspace=0)
    deals = [unread(sandbox, opportunity) for opportunity in (base, amendment, renewal)]
    with no_execution_starts():
        assert [result["status"] for result in call(sandbox, *deals)] == ["accepted"] * 3
    first, second, third = (order(sandbox, account, opportunity) for opportunity in (base, amendment, renewal))
    assert (second["trigger"], second["amends"], second["differences"]) == ("amendment", base, True)
    assert quantities(second) == {"feature-seats": 50}
    assert second["items"][0]["prior"] == 250
    assert (third["trigger"], third["amends"]) == ("renewal", base)
    assert quantities(third) == {"plan-enterprise": 1, "feature-seats": 300}
    assert (first["end"], third["start"]) == ("2027-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z")


def test_a_bulk_save_is_read_in_three_queries(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    opportunities = [sandbox.sales.close(account, f"Deal {n}", Sold("plan-enterprise")) for n in range(200)]
    with no_execution_starts():
        results = call(sandbox, *(unread(sandbox, opportunity) for opportunity in opportunities))
    assert {result["status"] for result in results} == {"accepted"}
    answered = [asked for asked in sandbox.salesforce_server.asked("GET", QUERIES) if asked.status == 200]
    assert len(answered) == 3  # the mapping, the opportunities, their products; not one more for a session that ended


def test_a_deal_that_cannot_be_read_is_answered_and_the_others_are_taken(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    there, gone = (sandbox.sales.close(account, name, *ENTERPRISE) for name in ("There", "Gone"))
    sandbox.salesforce.delete("Opportunity", gone)
    whole = sandbox.deal(sandbox.sales.close(sandbox.sales.account("Southwind"), "Whole", *ENTERPRISE))
    foreign = {**unread(sandbox, there), "organizationId": "00D5g000004xYzBEAU"}
    incomplete: Json = {**unread(sandbox, there), "opportunity": {}}
    taken, *refused, last = provision(
        sandbox, unread(sandbox, there), unread(sandbox, gone), foreign, incomplete, whole
    )
    assert (taken["status"], last["status"]) == ("accepted", "accepted")
    assert [(r["status"], r["opportunityId"], [e["field"] for e in r["errors"]]) for r in refused] == [
        ("invalid", gone, ["opportunity.id"]),
        ("invalid", there, ["organizationId"]),
        ("invalid", None, ["opportunity.id"]),
    ]


def test_a_field_the_integration_user_may_not_see_is_named(sandbox: Sandbox) -> None:
    opportunity = sandbox.sales.close(sandbox.sales.account("Northwind"), "A deal", *ENTERPRISE)
    sandbox.salesforce.hide("Product2", "Stigg_ID__c")
    [result] = call(sandbox, unread(sandbox, opportunity))
    assert result["status"] == "invalid"
    said = "could not be read from Salesforce: No such column 'Stigg_ID__c' on entity 'Product2'."
    assert result["errors"] == [{"line": None, "field": "lines", "message": said, "code": "invalid"}]
    assert sandbox.status(opportunity).status_code == 404


def test_while_salesforce_is_down_nothing_is_recorded_and_the_sender_is_told_when_to_try_again(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    first, second = (sandbox.sales.close(account, name, *ENTERPRISE) for name in ("Whole", "Unread"))
    whole, named = sandbox.deal(first), unread(sandbox, second)
    for status, seconds in ((503, "60"), (403, "3600")):  # unavailable; the day's calls are used up
        sandbox.salesforce_server.fail("answer", "GET", QUERIES, status=status)
        answer = sandbox.call(whole, named)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, seconds)
        assert "could not be read from Salesforce" in answer.json()["message"]
    assert [sandbox.status(opportunity).status_code for opportunity in (first, second)] == [404, 404]
    assert executions(sandbox) == []
    assert [result["status"] for result in provision(sandbox, whole, named)] == ["accepted", "accepted"]


def test_a_cancellation_without_lines_is_whole_and_asks_nobody(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sandbox.deal(sandbox.sales.close(account, "Lost", *ENTERPRISE), trigger="cancellation")
    del deal["lines"]
    with no_execution_starts():
        assert call(sandbox, deal)[0]["status"] == "accepted"
    assert sandbox.salesforce_server.asked("GET", QUERIES) == []


# A contract is known by the opportunity it was made from


def ending(sandbox: Sandbox, account: str, contract: str, **more: Any) -> Json:
    """A cancellation of a contract as Apex sends it: a lost opportunity, and no lines."""
    lost = sandbox.sales.close(account, "Not renewed", StageName="Closed Lost")
    return sandbox.deal(lost, trigger="cancellation", amends=contract, **{"lines": [], **more})


def test_with_cpq_a_cancellation_finds_the_deal_that_its_contract_was_made_from(sandbox: Sandbox) -> None:
    cpq = Cpq(sandbox.sales)
    account = sandbox.sales.account("Northwind")
    base = cpq.quote(account, "Base", *ENTERPRISE, start=datetime.now(UTC).date().isoformat())
    provision(sandbox, sandbox.deal(base))  # before it has a contract
    contract = cpq.contract(base)
    deal = ending(sandbox, account, contract[:15], terms={"cancel": "now"})
    del deal["lines"]
    assert provision(sandbox, deal)[0]["status"] == "accepted"
    status, reason = shown(sandbox, deal)
    assert (status, "Access ended" in (reason or "")) == ("Provisioned", True)
    assert access(sandbox, account) == []


def test_with_cpq_what_says_no_time_still_ends_with_the_contracts_term(sandbox: Sandbox) -> None:
    cpq = Cpq(sandbox.sales)
    account = sandbox.sales.account("Northwind")
    base = cpq.quote(account, "Base", *ENTERPRISE)
    contract = cpq.contract(base)
    other, own = (
        ending(sandbox, account, contract),
        sandbox.deal(base, trigger="cancellation", amends=contract, lines=[]),
    )
    with no_execution_starts():
        assert [result["status"] for result in call(sandbox, other, own)] == ["accepted"] * 2
    for deal, named in ((other, base), (own, None)):
        cancellation = order(sandbox, account, deal["opportunity"]["id"])
        assert (cancellation.get("amends"), cancellation["cancel"]) == (named, "end_of_term")


def test_a_contract_that_cannot_be_looked_up_stays_what_the_deal_names(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    contract = sandbox.salesforce.create("Contract", AccountId=account)
    without_cpq = ending(sandbox, account, contract)
    with no_execution_starts():
        assert call(sandbox, without_cpq)[0]["status"] == "accepted"
        Cpq(sandbox.sales)
        by_hand = ending(sandbox, account, contract)
        assert call(sandbox, by_hand)[0]["status"] == "accepted"
        sandbox.salesforce.hide("Contract", "SBQQ__Opportunity__c")
        unseen = ending(sandbox, account, contract)
        assert call(sandbox, unseen)[0]["status"] == "accepted"
    for deal in (without_cpq, by_hand, unseen):
        assert order(sandbox, account, deal["opportunity"]["id"])["amends"] == contract


def test_an_amendment_that_is_read_and_names_a_contract_finds_its_deal_too(sandbox: Sandbox) -> None:
    cpq = Cpq(sandbox.sales)
    account = sandbox.sales.account("Northwind")
    base = cpq.quote(account, "Base", *ENTERPRISE)
    contract = cpq.contract(base)
    more = cpq.quote(account, "More", *ENTERPRISE)  # a new quote: only Stigg Amends says that it is an amendment
    sandbox.salesforce.update("Opportunity", more, Stigg_Amends__c=contract)
    with no_execution_starts():
        assert call(sandbox, unread(sandbox, more, "amendment"))[0]["status"] == "accepted"
    assert order(sandbox, account, more)["amends"] == base


def test_while_salesforce_is_down_only_deals_without_lines_wait_for_it(sandbox: Sandbox) -> None:
    cpq = Cpq(sandbox.sales)
    account = sandbox.sales.account("Northwind")
    contract = cpq.contract(cpq.quote(account, "Base", *ENTERPRISE))
    line = {"stiggType": "Add-on", "stiggId": "addon-extra-workspace", "quantity": 1}
    singly, all_of_it = (ending(sandbox, account, contract, lines=lines) for lines in ([line], []))
    sandbox.salesforce_server.fail("answer", "GET", QUERIES, status=503)
    with no_execution_starts():
        assert call(sandbox, singly)[0]["status"] == "accepted"
        answer = sandbox.call(all_of_it)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert sandbox.status(all_of_it["opportunity"]["id"]).status_code == 404
    assert order(sandbox, account, singly["opportunity"]["id"])["amends"] == contract
