"""Reconciliation, the real state machine and functions: drift of each kind is planted, found, named, and repaired or
reported as the policy says; a second run finds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from closedwon.aws.ledger_items import text_of
from integration.scenes import (
    Json,
    addons,
    call,
    head,
    no_execution_starts,
    opportunity_of,
    provision,
    put_head,
    seen,
    sell,
    shown,
    subscriptions,
    sweep,
    time_passes,
)
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

ALL = {"mode": "all", "deep": False, "approved": False}
PLAN, SEATS, WORKSPACES = (
    Sold("plan-enterprise", 1, 48000),
    Sold("feature-seats", 250),
    Sold("addon-extra-workspace", 2),
)


def reconcile(sandbox: Sandbox, **given: Any) -> Json:
    """Run the reconciliation by hand. Out: what DescribeExecution says of it, and its output."""
    arn = sandbox.aws.state_machine_arns["ReconcileStateMachine"]
    started = sandbox.aws.client("stepfunctions").start_execution(
        stateMachineArn=arn, input=json.dumps({**ALL, **given})
    )
    return sandbox.aws.wait_for_execution(started["executionArn"])


def objects(sandbox: Sandbox, run: str, part: str, place: str = "runs") -> list[bytes]:
    """The objects of a run whose keys contain this."""
    s3, bucket = sandbox.aws.client("s3"), sandbox.aws.resources["ReconciliationBucket"]
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"{place}/{run}/").get("Contents", ())
    wanted = [item["Key"] for item in listed if part in item["Key"]]
    return [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in wanted]


def reconciled(sandbox: Sandbox, **given: Any) -> tuple[str, list[Json]]:
    """A run that succeeds. Out: its ID, and what it found, by its report for machines."""
    done = reconcile(sandbox, **given)
    assert done["status"] == "SUCCEEDED", done
    run = json.loads(done["output"])["run"]["run"]
    [report] = objects(sandbox, run, "report/findings.jsonl")
    return run, [json.loads(line) for line in report.decode().splitlines()]


def findings(sandbox: Sandbox, **given: Any) -> list[Json]:
    return reconciled(sandbox, **given)[1]


def told(found: list[Json]) -> dict[str, str]:
    """Kind and remedy of each finding."""
    return {finding["kind"]: finding["remedy"] for finding in found}


def deals_run_through(sandbox: Sandbox) -> None:
    """What was made due is provisioned."""
    for account in {item["Id"] for item in sandbox.salesforce.find("Account")}:
        try:
            time_passes(sandbox, account)
        except (AssertionError, KeyError):
            continue
    sweep(sandbox)


@pytest.fixture
def sold(sandbox: Sandbox) -> Json:
    """A deal that went through."""
    [deal] = sold_to(sandbox, "Northwind Traders")
    return deal


def sold_to(sandbox: Sandbox, *names: str) -> list[Json]:
    """A deal of each of several customers, which went through."""
    deals = []
    for name in names:
        account = sandbox.sales.account(name)
        opportunity = sandbox.sales.close(account, "A deal", PLAN, SEATS, WORKSPACES, CloseDate="2027-01-15")
        sandbox.salesforce.backdate("Opportunity", opportunity, 3 * 3600)
        deals.append(sandbox.deal(opportunity))
    provision(sandbox, *deals)
    assert {shown(sandbox, deal) for deal in deals} == {("Provisioned", None)}
    return deals


def account_of(deal: Json) -> str:
    return str(deal["account"]["id"])


def the_subscription(sandbox: Sandbox, deal: Json) -> Json:
    [subscription] = subscriptions(sandbox, account_of(deal))
    return subscription


def won_lately(sandbox: Sandbox, name: str) -> Json:
    """A deal whose callout was lost."""
    deal = sell(sandbox, sandbox.sales.account(name), PLAN, SEATS, fields={"CloseDate": "2027-01-20"})
    sandbox.salesforce.backdate("Opportunity", opportunity_of(deal), 660)
    return deal


def sent_again(sandbox: Sandbox, deal: Json, seats: int) -> None:
    """The deal is corrected, and its callout arrives."""
    corrected = sandbox.deal(opportunity_of(deal))
    for line in corrected["lines"]:
        line["quantity"] = seats if line["stiggId"] == "feature-seats" else line["quantity"]
    if seats < 100:
        corrected["lines"] = [line for line in corrected["lines"] if line["stiggId"] != "addon-extra-workspace"]
    corrected["opportunity"]["readAt"] = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    call(sandbox, corrected)


def by_hand(sandbox: Sandbox, deal: Json, **changes: Any) -> None:
    """Somebody changes the deal's subscription in Stigg."""
    sandbox.stigg.change_subscription(the_subscription(sandbox, deal)["id"], **changes)


def test_systems_that_agree_have_no_drift(sandbox: Sandbox, sold: Json) -> None:
    assert findings(sandbox, deep=True) == []
    run, found = reconciled(sandbox)
    assert found == []
    [page] = objects(sandbox, run, "report/report.html")
    assert b"<html" in page


def test_a_callout_that_was_lost_is_found_and_its_deal_provisioned(sandbox: Sandbox, sold: Json) -> None:
    lost = won_lately(sandbox, "Harbor Freight")
    [finding] = findings(sandbox)
    assert (finding["kind"], finding["remedy"], finding["opportunity_id"]) == (
        "missed_deal",
        "repair",
        opportunity_of(lost),
    )
    deals_run_through(sandbox)
    assert shown(sandbox, lost) == ("Provisioned", None)
    assert findings(sandbox) == []


def test_what_somebody_changed_by_hand_is_reported_and_left_as_it_is(sandbox: Sandbox, sold: Json) -> None:
    by_hand(sandbox, sold, addons=[{"id": "addon-extra-workspace", "quantity": 7}])
    [finding] = findings(sandbox)
    assert (finding["kind"], finding["by_hand"], finding["remedy"]) == ("wrong_addon", True, "report")
    assert "7" in finding["is_now"]
    assert "2" in finding["should"]
    deals_run_through(sandbox)
    assert addons(the_subscription(sandbox, sold)) == {"addon-extra-workspace": 7}


def ended_by_hand(sandbox: Sandbox, deal: Json) -> None:
    requests.post(
        f"{sandbox.stigg_server.url}/api/v1/subscriptions/{the_subscription(sandbox, deal)['id']}/cancel",
        json={"cancellationTime": "IMMEDIATE"},
        headers={"X-API-KEY": sandbox.stigg_api_key},
        timeout=60,
    ).raise_for_status()


def record_of(sandbox: Sandbox, deal: Json) -> str:
    record = sandbox.provisioning(opportunity_of(deal))
    assert record is not None
    return str(record["Id"])


def remapped(sandbox: Sandbox, deal: Json) -> None:
    """The product that was sold means another add-on now."""
    [product] = sandbox.salesforce.find("Product2", Stigg_ID__c="addon-extra-workspace")
    sandbox.salesforce.update("Product2", product["Id"], Stigg_ID__c="addon-premium-support")


def sold_more(sandbox: Sandbox, deal: Json) -> None:
    """A line of the won deal is changed, and the callout that should follow is lost."""
    lines = sandbox.salesforce.find("OpportunityLineItem", OpportunityId=opportunity_of(deal))
    [seats] = [line for line in lines if line["Quantity"] == 250]
    sandbox.salesforce.update("OpportunityLineItem", seats["Id"], Quantity=300)
    sandbox.salesforce.update("Opportunity", opportunity_of(deal), Description="Hand over")
    sandbox.salesforce.backdate("Opportunity", opportunity_of(deal), 3600)


def long_held(sandbox: Sandbox, deal: Json) -> None:
    """Half a year ago the deal was held for somebody's approval, and nobody has looked at it."""
    sent_again(sandbox, deal, seats=10)
    sandbox.wait_until_idle()
    key = {"pk": {"S": f"ACCOUNT#{account_of(deal)}"}, "sk": {"S": f"OPPORTUNITY#{opportunity_of(deal)}"}}
    table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    state = json.loads(text_of(item))
    assert state["outcome"]["status"] == "Held"
    dynamodb.put_item(
        TableName=table, Item={**item, "body": {"S": json.dumps({**state, "at": state["at"] - 180 * 86_400_000})}}
    )


def forgotten(sandbox: Sandbox, deal: Json) -> None:
    """The deal was accepted, and what should start it is gone from the ledger."""
    with no_execution_starts():
        sent_again(sandbox, deal, seats=260)
    item, body = head(sandbox, account_of(deal))
    del item["due"], item["due_at"]
    put_head(sandbox, item, {**body, "due_at": None})


def in_the_way(sandbox: Sandbox, deal: Json) -> None:
    """Somebody made a subscription in Stigg, and then a deal of the same product is won."""
    sandbox.stigg.add_subscription(account_of(deal), "plan-analytics")
    second = sandbox.sales.close(account_of(deal), "Analytics", Sold("plan-analytics", 1, 900), CloseDate="2027-01-15")
    sandbox.salesforce.backdate("Opportunity", second, 3600)
    provision(sandbox, sandbox.deal(second))


PLANTED: dict[str, tuple[Callable[[Sandbox, Json], None], str, str]] = {
    "an add-on changed by hand": (
        lambda s, d: by_hand(s, d, addons=[{"id": "addon-extra-workspace", "quantity": 7}]),
        "wrong_addon",
        "report",
    ),
    "a price changed by hand": (
        lambda s, d: by_hand(s, d, priceOverrides=[{"baseCharge": True, "amount": 1.0, "currency": "usd"}]),
        "wrong_price",
        "report",
    ),
    "an end set by hand": (lambda s, d: by_hand(s, d, cancellationDate="2030-01-01T00:00:00Z"), "wrong_date", "report"),
    "ended by hand": (ended_by_hand, "changed_by_hand", "report"),
    "a subscription that is gone": (lambda s, d: s.stigg.lose(account_of(d)), "missing_subscription", "repair"),
    "a customer that is gone": (lambda s, d: s.stigg.lose(account_of(d), customer=True), "missing_customer", "repair"),
    "somebody else's subscription in the way": (in_the_way, "foreign_subscription", "report"),
    "a subscription of ours that no deal gives": (
        lambda s, d: s.stigg.add_subscription(account_of(d), "plan-analytics", metadata={"closedWonTerms": "1-0"}),
        "orphan_subscription",
        "report",
    ),
    "a record that was deleted": (
        lambda s, d: s.salesforce.delete("Stigg_Provisioning__c", record_of(s, d)),
        "missing_write_back",
        "repair",
    ),
    "a record that somebody changed": (
        lambda s, d: s.salesforce.update("Stigg_Provisioning__c", record_of(s, d), Status__c="Failed"),
        "stale_write_back",
        "repair",
    ),
    "an account that shows no customer": (
        lambda s, d: s.salesforce.update(
            "Account", account_of(d), Stigg_Customer_ID__c=None, Stigg_Customer_URL__c=None
        ),
        "missing_write_back",
        "repair",
    ),
    "a deal that changed": (sold_more, "missed_revision", "report"),
    "a product that is mapped to something else": (remapped, "mapping_changed", "report"),
    "a deal that was moved": (
        lambda s, d: s.salesforce.update("Opportunity", opportunity_of(d), AccountId=s.sales.account("Elsewhere")),
        "moved_deal",
        "report",
    ),
    "a deal that was deleted": (
        lambda s, d: s.salesforce.delete("Opportunity", opportunity_of(d)),
        "deleted_deal",
        "report",
    ),
    "an account that was merged away": (
        lambda s, d: s.salesforce.merge("Account", s.sales.account("The other one"), account_of(d)),
        "merged_account",
        "report",
    ),
    "a deal that is held for long": (long_held, "held_too_long", "report"),
    "a deal nobody works on": (forgotten, "failed_not_rerun", "repair"),
}


FOR_EVERYBODY = "a product that is mapped to something else"
"""Drift of all who bought it, and not only of one."""


@pytest.mark.parametrize("planted", [[FOR_EVERYBODY], [what for what in PLANTED if what != FOR_EVERYBODY]], ids=len)
def test_drift_is_found_by_its_name_and_settled_as_the_policy_says(sandbox: Sandbox, planted: list[str]) -> None:
    """Each kind has a customer of its own: one run finds them all."""
    deals = dict(zip(planted, sold_to(sandbox, *planted), strict=True))
    for what, deal in deals.items():
        PLANTED[what][0](sandbox, deal)
    found = findings(sandbox, approved=True)  # so many at once would have to be looked at first

    def told_of(deal: Json) -> list[tuple[str, str]]:
        ours = (account_of(deal), opportunity_of(deal))
        return [(f["kind"], f["remedy"]) for f in found if f["account_id"] in ours or f["opportunity_id"] in ours]

    missed = {what: told_of(deal) for what, deal in deals.items() if PLANTED[what][1:] not in told_of(deal)}
    assert missed == {}
    deals_run_through(sandbox)

    def left_to_people(findings: list[Json]) -> set[tuple[str, str]]:
        return {(finding["account_id"], finding["kind"]) for finding in findings if finding["remedy"] == "report"}

    again = findings(sandbox)
    assert left_to_people(again) == left_to_people(found)
    assert [finding for finding in again if finding["remedy"] != "report"] == []


def test_an_entitlement_changed_by_hand_is_found_by_the_deep_run(sandbox: Sandbox, sold: Json) -> None:
    by_hand(sandbox, sold, entitlements=[{"type": "FEATURE", "id": "feature-seats", "usageLimit": 100}])
    assert findings(sandbox) == []
    [finding] = findings(sandbox, deep=True)
    assert (finding["kind"], finding["by_hand"], finding["remedy"]) == ("wrong_entitlement", True, "report")


def test_the_hourly_run_looks_at_what_changed(sandbox: Sandbox, sold: Json) -> None:
    assert findings(sandbox) == []
    lost = won_lately(sandbox, "Harbor Freight")
    run, [finding] = reconciled(sandbox, mode="changed")
    assert (finding["kind"], finding["opportunity_id"]) == ("missed_deal", opportunity_of(lost))
    assert not objects(sandbox, run, "export/subscriptions", "exports")


def test_a_run_that_would_change_too_many_customers_asks_first(sandbox: Sandbox) -> None:
    lost = [won_lately(sandbox, f"Customer {number}") for number in range(7)]
    found = findings(sandbox)
    assert {(f["kind"], f["remedy"]) for f in found} == {("missed_deal", "repair")}
    assert [shown(sandbox, deal) for deal in lost] == [None] * 7
    deals_run_through(sandbox)
    assert [shown(sandbox, deal) for deal in lost] == [None] * 7
    findings(sandbox, approved=True)
    deals_run_through(sandbox)
    assert {shown(sandbox, deal) for deal in lost} == {("Provisioned", None)}


def test_a_run_that_was_stopped_holds_up_nobody_and_the_next_finds_the_same(sandbox: Sandbox, sold: Json) -> None:
    by_hand(sandbox, sold, addons=[{"id": "addon-extra-workspace", "quantity": 7}])
    stepfunctions, arn = sandbox.aws.client("stepfunctions"), sandbox.aws.state_machine_arns["ReconcileStateMachine"]
    started = stepfunctions.start_execution(stateMachineArn=arn, input=json.dumps(ALL))
    seen(sandbox, lambda: "Export" in sandbox.aws.states_entered(started["executionArn"]))
    stepfunctions.stop_execution(executionArn=started["executionArn"])
    sandbox.aws.wait_for_execution(started["executionArn"])  # moto goes on a little where AWS stops at once
    assert told(findings(sandbox)) == {"wrong_addon": "report"}
