"""The guarantees G1 to G8, each by what would break it."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import pytest

from integration.scenes import (
    COMPOSITE,
    CUSTOMERS,
    ENTERPRISE,
    SUBSCRIPTION,
    SUBSCRIPTIONS,
    Json,
    access,
    addons,
    call,
    due,
    executions,
    failures,
    head,
    limits,
    no_execution_starts,
    opportunity_of,
    provision,
    put_head,
    revised,
    seen,
    sell,
    shown,
    status,
    stigg_requests,
    stigg_writes,
    subscriptions,
    sweep,
    time_passes,
)
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

PROVISIONED = ("Provisioned", None)


# G1 once


def test_g1_one_order_sent_five_times_at_once_and_again_under_other_revisions_is_provisioned_once(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    deal = revised(sell(sandbox, account), 0)
    with ThreadPoolExecutor(5) as senders:
        results = list(senders.map(lambda _: call(sandbox, deal)[0], range(5)))
    sandbox.wait_until_idle()
    assert sorted(result["status"] for result in results) == ["accepted", *["duplicate"] * 4]
    [execution] = {result["execution"] for result in results}

    for later in (0, 5, -5):
        [result] = provision(sandbox, revised(deal, later))
        assert (result["status"], result["execution"]) == ("duplicate", execution)

    assert shown(sandbox, deal) == PROVISIONED
    assert len(sandbox.stigg.customers) == 1
    assert len(subscriptions(sandbox, account, live=False)) == 1
    assert [e["name"] for e in executions(sandbox)] == [execution]
    assert stigg_requests(sandbox, "POST", CUSTOMERS) == stigg_requests(sandbox, "POST", SUBSCRIPTIONS) == 1
    composites = [e.status for e in sandbox.salesforce_server.asked("POST", COMPOSITE)]
    assert composites.count(200) == 1  # before it perhaps one whose session was over


# G2 in order


def test_g2_the_newest_revision_decides_in_whatever_order_and_company_revisions_arrive(
    sandbox: Sandbox,
) -> None:
    ends = []
    for order in permutations((0, 1, 2)):
        account = sandbox.sales.account("Northwind")
        deal = sell(sandbox, account)
        revisions = [revised(deal, later, feature_seats=250 + later) for later in order]
        answers = [call(sandbox, revision)[0]["status"] for revision in revisions]
        newest_so_far = [max(order[: place + 1]) == later for place, later in enumerate(order)]
        assert answers == ["accepted" if newest else "superseded" for newest in newest_so_far]
        ends.append((account, deal))
    account = sandbox.sales.account("Northwind, all in one request")
    deal = sell(sandbox, account)
    call(sandbox, *(revised(deal, later, feature_seats=250 + later) for later in (1, 2, 0)))
    ends.append((account, deal))
    sandbox.wait_until_idle()
    for account, deal in ends:
        [subscription] = subscriptions(sandbox, account, live=False)
        assert limits(subscription) == {"feature-seats": 252}
        assert shown(sandbox, deal) == PROVISIONED
        assert not due(sandbox, account)


def test_g2_a_newer_revision_keeps_older_ones_superseded_though_it_is_a_duplicate_or_refused(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account)
    provision(sandbox, revised(deal, 0))
    assert call(sandbox, revised(deal, 5))[0]["status"] == "duplicate"
    assert call(sandbox, revised(deal, 3, feature_seats=999))[0]["status"] == "superseded"
    assert provision(sandbox, revised(deal, 8, feature_seats=0.5))[0]["status"] == "invalid"
    assert provision(sandbox, revised(deal, 7, feature_seats=999))[0]["status"] == "superseded"
    [subscription] = subscriptions(sandbox, account)
    assert limits(subscription) == {"feature-seats": 250}, "a mistake in a new revision takes nothing away"
    told, reason = shown(sandbox, deal) or ("", "")
    assert told == "Failed"
    assert reason == "line 3, quantity: 0.5 is not a whole number"


# G3 together


@pytest.mark.parametrize("arriving", ["at once", "while another is written"])
def test_g3_deals_of_one_customer_end_in_the_state_that_contains_them_all(sandbox: Sandbox, arriving: str) -> None:
    account = sandbox.sales.account("Northwind")
    first, second = (
        sell(sandbox, account),
        sell(sandbox, account, *ENTERPRISE, Sold("addon-premium-support", 1)),
    )
    third = sell(sandbox, account)
    other_product = sell(sandbox, account, Sold("plan-analytics", 1, 9000), Sold("feature-dashboards", 40))
    deals = [first, second, third, other_product]
    if arriving == "at once":
        with ThreadPoolExecutor(4) as senders:
            list(senders.map(lambda deal: call(sandbox, deal), deals))
    else:
        provision(sandbox, first)
        slow = sandbox.stigg_server.fail("delay_before", "PATCH", SUBSCRIPTION, seconds=2)
        call(sandbox, second)
        seen(sandbox, lambda: slow.times == 0)
        call(sandbox, third)
        call(sandbox, other_product)
    sandbox.wait_until_idle()
    held = {s["plan"]: s for s in access(sandbox, account)}
    assert set(held) == {"plan-enterprise", "plan-analytics"}
    assert held["plan-enterprise"]["addons"] == {"addon-extra-workspace": 6, "addon-premium-support": 1}
    assert held["plan-enterprise"]["limits"] == {"feature-seats": 750}
    assert held["plan-enterprise"]["prices"] == {None: 144_000, "addon-extra-workspace": 1200}
    assert held["plan-enterprise"]["opportunities"] == {opportunity_of(deal) for deal in (first, second, third)}
    assert held["plan-analytics"]["limits"] == {"feature-dashboards": 40}
    assert len(subscriptions(sandbox, account, live=False)) == 2, "none was made to be replaced"
    assert [shown(sandbox, deal) for deal in deals] == [PROVISIONED] * 4
    assert not due(sandbox, account)


def test_g3_a_first_good_deal_accepted_between_two_steps_has_its_customer_made_before_its_subscription(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    refused = sell(sandbox, account, Sold("plan-enterprise"), Sold("feature-unknown", 3))
    good = sell(sandbox, account)
    with no_execution_starts():
        [answer] = call(sandbox, refused)
    given = {"accountId": account, "token": 0, "execution": answer["execution"]}
    given |= sandbox.aws.functions.invoke("CustomerProvisionFunction", given)  # sees a deal that needs no customer
    with no_execution_starts():
        call(sandbox, good)
    given |= sandbox.aws.functions.invoke("SubscriptionProvisionFunction", given)
    assert stigg_writes(sandbox) == 0
    assert sandbox.aws.functions.invoke("AccountWriteBackFunction", given)["result"] == "again"
    given |= {"token": head(sandbox, account)[1]["token"]}
    for step in ("CustomerProvisionFunction", "SubscriptionProvisionFunction", "AccountWriteBackFunction"):
        given |= sandbox.aws.functions.invoke(step, given)
    assert shown(sandbox, good) == ("Provisioned", None)
    assert status(sandbox, refused)["status"] == "Failed"


def test_g3_more_deals_of_one_customer_than_a_transaction_takes_are_one_provisioning(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    deals = [sell(sandbox, account, Sold("plan-enterprise"), Sold("feature-seats", 10)) for _ in range(40)]
    results = provision(sandbox, *deals)
    assert {result["status"] for result in results} == {"accepted"}
    [subscription] = subscriptions(sandbox, account, live=False)
    assert limits(subscription) == {"feature-seats": 400}
    records = sandbox.salesforce.find("Stigg_Provisioning__c", Account__c=account)
    assert [record["Status__c"] for record in records] == ["Provisioned"] * 40
    assert stigg_requests(sandbox, "PATCH", SUBSCRIPTION) <= 1
    assert not due(sandbox, account)


# G4 resumable

LOSSES: dict[str, dict[str, Any]] = {
    "the function is killed": {"kind": "delay_after", "seconds": 120},
    "the function runs out of time": {"kind": "delay_after", "seconds": 120},
    "the connection drops": {"kind": "drop_after"},
    "the write never arrives": {"kind": "drop_before"},
}


SHORT_OF_TIME = 8.0
"""Seconds; their clients wait longer for an answer."""


def come_to_rest(sandbox: Sandbox, steps: list[str], loss: str) -> None:
    """All four answers are lost; then everything runs to its end."""

    def lost() -> list[Any]:
        exchanges = (*sandbox.stigg_server.exchanges, *sandbox.salesforce_server.exchanges)
        return [e for e in exchanges if e.fault and (e.status or e.fault == "drop_before")]

    seen(sandbox, lambda: len(lost()) == 4)
    if loss == "the function is killed":
        for step in steps:
            assert sandbox.aws.functions.kill(step) >= 1
    sandbox.wait_until_idle()


@pytest.mark.parametrize(
    "loss",
    [
        "the function is killed",
        "the connection drops",
        pytest.param("the function runs out of time", marks=pytest.mark.long),
        pytest.param("the write never arrives", marks=pytest.mark.long),
    ],
)
def test_g4_whichever_write_loses_its_answer_the_execution_goes_on_to_the_same_end(sandbox: Sandbox, loss: str) -> None:
    names = ("customer", "subscription", "change", "write-back")
    accounts = {name: sandbox.sales.account(name) for name in names}
    deals = {name: revised(sell(sandbox, account), 0) for name, account in accounts.items()}
    provision(sandbox, deals["change"])  # this one's subscription is changed below
    deals["change"] = revised(deals["change"], 1, feature_seats=300)

    def fails(server: Any, name: str, method: str, path: str) -> None:
        server.fail(**LOSSES[loss], method=method, path=path, about=accounts[name])

    fails(sandbox.stigg_server, "customer", "POST", CUSTOMERS)
    fails(sandbox.stigg_server, "subscription", "POST", SUBSCRIPTIONS)
    fails(sandbox.stigg_server, "change", "PATCH", SUBSCRIPTION)
    fails(sandbox.salesforce_server, "write-back", "POST", COMPOSITE)
    steps = [f"{function}Function" for function in ("CustomerProvision", "SubscriptionProvision", "AccountWriteBack")]
    # On a busy machine functions have more time than their clients have patience.
    patience = SHORT_OF_TIME if loss == "the function runs out of time" else 60
    with sandbox.aws.functions.limited(patience, *steps):
        results = call(sandbox, *deals.values())
        come_to_rest(sandbox, steps, loss)

    name = {
        "the function is killed": "Runtime.ExitError",
        "the function runs out of time": "Sandbox.Timedout",
    }
    for result in results:
        assert name.get(loss, "WriteUnanswered") in failures(sandbox, result["execution"])
    assert {e["status"] for e in executions(sandbox)} == {"SUCCEEDED"}, "by itself, without the sweep"
    assert set(sandbox.stigg.customers) == set(accounts.values())
    for name_, account in accounts.items():
        [subscription] = subscriptions(sandbox, account, live=False)
        assert limits(subscription) == {"feature-seats": 300 if name_ == "change" else 250}
        assert addons(subscription) == {"addon-extra-workspace": 2}
        assert shown(sandbox, deals[name_]) == PROVISIONED
        assert not due(sandbox, account)
    if loss != "the write never arrives":  # found again, not made again
        assert stigg_requests(sandbox, "POST", CUSTOMERS) == stigg_requests(sandbox, "POST", SUBSCRIPTIONS) == 4
        assert stigg_requests(sandbox, "PATCH", SUBSCRIPTION) == 1


def test_g4_a_write_that_lands_after_its_function_died_does_not_undo_a_newer_order(sandbox: Sandbox) -> None:
    changing, making = sandbox.sales.account("changing"), sandbox.sales.account("making")
    changed, made = revised(sell(sandbox, changing), 0), revised(sell(sandbox, making), 0)
    provision(sandbox, changed)
    # Later than the first retry comes, and within the write's lifetime.
    patch = sandbox.stigg_server.fail("delay_before", "PATCH", SUBSCRIPTION, seconds=4, about=changing)
    post = sandbox.stigg_server.fail("delay_before", "POST", SUBSCRIPTIONS, seconds=4, about=making)
    call(sandbox, revised(changed, 1, feature_seats=260), made)
    seen(sandbox, lambda: patch.times == post.times == 0)
    sandbox.aws.functions.kill("SubscriptionProvisionFunction")
    late = [e for e in sandbox.stigg_server.exchanges if e.fault]
    call(sandbox, revised(changed, 2, feature_seats=270), revised(made, 2, feature_seats=270))
    assert sweep(sandbox) == 0, "what may still land is nobody's to overtake"
    assert {e.status for e in late} == {200, 201}, "they did land"
    for account, deal in ((changing, changed), (making, made)):
        [subscription] = subscriptions(sandbox, account, live=False)
        assert limits(subscription) == {"feature-seats": 270}
        assert shown(sandbox, deal) == PROVISIONED
        assert not due(sandbox, account)


def test_g4_an_execution_that_is_stopped_for_good_is_picked_up_by_the_sweep_after_its_lease(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account)
    sandbox.stigg_server.fail("delay_after", "POST", SUBSCRIPTIONS, seconds=120)
    [result] = call(sandbox, deal)
    seen(sandbox, lambda: bool(subscriptions(sandbox, account)))
    arn = sandbox.execution_arn(result["execution"])
    sandbox.aws.client("stepfunctions").stop_execution(executionArn=arn)
    sandbox.aws.functions.kill("SubscriptionProvisionFunction")
    sandbox.wait_until_idle()
    assert sweep(sandbox) == 0, "its write may still be under way"
    time_passes(sandbox, account)
    assert sweep(sandbox) == 1
    assert len(subscriptions(sandbox, account, live=False)) == 1
    assert shown(sandbox, deal) == PROVISIONED
    assert stigg_requests(sandbox, "POST", SUBSCRIPTIONS) == 1
    last = executions(sandbox)[-1]
    assert (last["status"], status(sandbox, deal)["execution"]) == ("SUCCEEDED", last["name"])
    assert not due(sandbox, account)


# G5 durable


def test_g5_what_was_answered_202_is_provisioned_by_the_sweep_when_it_could_not_be_started(
    sandbox: Sandbox,
) -> None:
    accounts = [sandbox.sales.account("Northwind"), sandbox.sales.account("Southwind")]
    deals = [sell(sandbox, account) for account in accounts]
    with no_execution_starts():
        assert [result["status"] for result in call(sandbox, *deals)] == ["accepted"] * 2
        assert sweep(sandbox) == 0, "the callout's own start gets its time first"
        time_passes(sandbox, *accounts)
        assert sweep(sandbox) == 0, "it cannot start them either: they stay due"
    assert [status(sandbox, deal)["status"] for deal in deals] == ["Provisioning"] * 2
    assert executions(sandbox) == []
    assert sandbox.stigg_server.exchanges == []
    time_passes(sandbox, *accounts)
    assert sweep(sandbox) == 2
    for account, deal in zip(accounts, deals, strict=True):
        assert shown(sandbox, deal) == PROVISIONED
        assert len(subscriptions(sandbox, account)) == 1
        assert not due(sandbox, account)
    assert sweep(sandbox) == 0


# G6 visible


def test_g6_what_only_stiggs_catalogue_shows_is_refused_on_the_deal_with_line_and_reason(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    good = sell(sandbox, account)
    provision(sandbox, good)
    before = sandbox.stigg.customers, sandbox.stigg.subscriptions()
    writes = stigg_writes(sandbox)
    unknown = sell(sandbox, account, Sold("plan-enterprice"))
    incompatible = sell(sandbox, account, Sold("plan-enterprise"), Sold("addon-legacy-import", 1))
    currency = sell(sandbox, account, Sold("plan-enterprise", 1, 48000))
    currency["opportunity"]["currencyIsoCode"] = "XTS"
    reasons = {
        opportunity_of(unknown): "line 1, stiggId: Stigg has no plan plan-enterprice",
        opportunity_of(incompatible): "line 2, stiggId: addon-legacy-import is not compatible with plan-enterprise",
        opportunity_of(currency): "line 1, price: Stigg has no prices in XTS",
    }
    refused = [unknown, incompatible, currency]
    results = provision(sandbox, *refused)
    assert {result["status"] for result in results} == {"accepted"}
    [execution] = {result["execution"] for result in results}
    described = sandbox.wait([execution])[0]
    assert (described["status"], described["error"]) == ("FAILED", "DealRefused")
    for deal in refused:
        reason = reasons[opportunity_of(deal)]
        assert shown(sandbox, deal) == ("Failed", reason)
        assert (status(sandbox, deal)["status"], status(sandbox, deal)["reason"]) == ("Failed", reason)
        assert f"{opportunity_of(deal)}: {reason}" in described["cause"]
    assert (sandbox.stigg.customers, sandbox.stigg.subscriptions()) == before
    assert stigg_writes(sandbox) == writes
    assert shown(sandbox, good) == PROVISIONED
    assert not due(sandbox, account)


def test_g6_what_stigg_itself_refuses_is_the_deals_reason_and_touches_no_other(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    refusal = {"message": "the plan is being migrated", "code": "PlanBusy"}
    sandbox.stigg_server.fail("answer", "POST", SUBSCRIPTIONS, status=400, body=refusal, about="plan-analytics")
    refused, good = sell(sandbox, account, Sold("plan-analytics")), sell(sandbox, account)
    results = provision(sandbox, refused, good)
    told, reason = shown(sandbox, refused) or ("", "")
    assert told == "Failed"
    assert reason is not None
    assert "the plan is being migrated" in reason
    assert shown(sandbox, good) == PROVISIONED
    assert [s["plan"] for s in access(sandbox, account)] == ["plan-enterprise"]
    assert sandbox.wait([results[0]["execution"]])[0]["error"] == "DealRefused"
    assert provision(sandbox, refused)[0]["status"] == "duplicate"
    assert shown(sandbox, refused) == PROVISIONED, "the same deal sent again is tried again"


def test_g6_a_key_that_stigg_does_not_take_shows_on_the_deal_and_heals_once_it_is_corrected(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account)
    old = sandbox.stigg_api_key
    try:
        sandbox.stigg.change_api_key("server-of-tomorrow")
        [result] = provision(sandbox, deal)
        told, reason = shown(sandbox, deal) or ("", "")
        assert told == "Failed"
        assert reason is not None
        assert "the API key is not accepted" in reason
        assert result["execution"] in reason
        assert sandbox.wait([result["execution"]])[0]["error"] == "StiggUnauthorized"
        assert sweep(sandbox) == 0, "not at once"
        sandbox.aws.put_secret("StiggSecret", {"apiKey": "server-of-tomorrow"})
        time_passes(sandbox, account)
        assert sweep(sandbox) == 1
        assert shown(sandbox, deal) == PROVISIONED
        assert not due(sandbox, account)
    finally:
        sandbox.stigg.change_api_key(old)
        sandbox.aws.put_secret("StiggSecret", {"apiKey": old})


def test_g6_a_write_back_that_keeps_failing_fails_the_execution_and_reruns_without_touching_stigg(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account)
    sandbox.salesforce_server.fail("answer", "POST", COMPOSITE, status=503, times=99)
    [result] = provision(sandbox, deal)
    assert sandbox.wait([result["execution"]])[0]["error"] == "SalesforceUnavailable"
    assert shown(sandbox, deal) is None
    assert (status(sandbox, deal)["status"], status(sandbox, deal)["writtenBack"]) == ("Provisioned", False)
    sandbox.salesforce_server.heal()
    asked = stigg_requests(sandbox)
    time_passes(sandbox, account)
    assert sweep(sandbox) == 1
    assert stigg_requests(sandbox) == asked
    assert shown(sandbox, deal) == PROVISIONED
    assert sandbox.salesforce.get("Account", account)["Stigg_Customer_ID__c"] == account
    assert not due(sandbox, account)


def test_g6_a_record_salesforce_refuses_keeps_no_other_from_being_written(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    gone, stays = sell(sandbox, account), sell(sandbox, account)
    sandbox.salesforce.delete("Opportunity", opportunity_of(gone))
    [result, _] = provision(sandbox, gone, stays)
    assert shown(sandbox, stays) == PROVISIONED
    assert shown(sandbox, gone) is None
    assert sandbox.wait([result["execution"]])[0]["error"] == "SalesforceRefused"
    assert sandbox.salesforce.get("Account", account)["Stigg_Customer_ID__c"] == account
    assert due(sandbox, account), "tried again, ever more seldom"
    assert sweep(sandbox) == 0


# G7 gentle


def test_g7_throttling_outages_and_locked_rows_of_either_side_are_waited_out_by_name(
    sandbox: Sandbox,
) -> None:
    stigg, salesforce = sandbox.stigg_server, sandbox.salesforce_server
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "StiggThrottled": (stigg, {"method": "POST", "path": CUSTOMERS, "status": 429, "times": 3}),
        "StiggUnavailable": (stigg, {"method": "GET", "path": f"{CUSTOMERS}/.+", "status": 500}),
        "WriteUnanswered": (stigg, {"method": "POST", "path": SUBSCRIPTIONS, "status": 500}),
        "SalesforceThrottled": (salesforce, {"path": COMPOSITE, "status": 429, "times": 3}),
        "SalesforceUnavailable": (salesforce, {"path": COMPOSITE, "status": 503}),
    }
    expected: list[tuple[str, str, Json]] = []
    for error, (server, fault) in kinds.items():
        account = sandbox.sales.account(error)
        server.fail("answer", **fault, about=account)
        expected.append((error, account, sell(sandbox, account)))
    account = sandbox.sales.account("Salesforce's 500 to a write")
    salesforce.fail("answer", path=COMPOSITE, status=500, about=account)
    expected.append(("WriteUnanswered", account, sell(sandbox, account)))
    for locked in ("account", "opportunity"):
        account = sandbox.sales.account(f"{locked} locked")
        deal = sell(sandbox, account)
        sandbox.salesforce.lock_row(account if locked == "account" else opportunity_of(deal), times=2)
        expected.append(("SalesforceRowLocked", account, deal))

    results = provision(sandbox, *(deal for _, _, deal in expected))
    for (error, account, deal), result in zip(expected, results, strict=True):
        assert failures(sandbox, result["execution"]) == {error}
        assert sandbox.wait([result["execution"]])[0]["status"] == "SUCCEEDED"
        assert shown(sandbox, deal) == PROVISIONED
        assert sandbox.salesforce.get("Account", account)["Stigg_Customer_ID__c"] == account
        assert len(subscriptions(sandbox, account, live=False)) == 1
        assert not due(sandbox, account)


def test_g7_salesforces_used_up_api_calls_are_left_alone_until_the_sweep_or_a_new_deal(sandbox: Sandbox) -> None:
    accounts = [sandbox.sales.account("Northwind"), sandbox.sales.account("Southwind")]
    deals = [sell(sandbox, account) for account in accounts]
    sandbox.salesforce.use_up_api_calls()
    results = provision(sandbox, *deals)
    for result in results:
        assert sandbox.wait([result["execution"]])[0]["error"] == "SalesforceLimitExceeded"
    assert [e.status for e in sandbox.salesforce_server.asked("POST", COMPOSITE)].count(403) == 2
    assert sweep(sandbox) == 0, "not at once"
    sandbox.salesforce.renew_api_calls()
    time_passes(sandbox, accounts[0])
    assert sweep(sandbox) == 1
    deals.append(sell(sandbox, accounts[1]))  # need not wait for the dead execution's lease
    provision(sandbox, deals[-1])
    assert [shown(sandbox, deal) for deal in deals] == [PROVISIONED] * 3
    assert not any(due(sandbox, account) for account in accounts)


OURS_ON_A_PROVISIONING = {
    *("attributes", "Opportunity_ID__c", "Opportunity__c", "Account__c", "Status__c", "Reason__c", "Code__c"),
    "Contract_ID__c",
    *(
        "Subscriptions__c",
        "Subscription_URL__c",
        "Checkout_URL__c",
        "Stigg_Customer_ID__c",
        "Stigg_Customer_URL__c",
    ),
    *("Execution__c", "Provisioned_At__c", "Due_At__c", "Approval_ID__c", "Approved__c"),
}
"""Every field closed-won writes; all others are an admin's."""


def test_g7_what_others_wrote_on_customer_subscription_and_account_stays(sandbox: Sandbox) -> None:
    theirs = {"id": "hubspot-main", "vendorIdentifier": "HUBSPOT", "syncedEntityId": "42"}
    sandbox.stigg.add_customer("northwind", name="Northwind", metadata={"tier": "gold"}, integrations=[theirs])
    account = sandbox.sales.account("Northwind", Description="Our oldest customer")
    deal = revised(sell(sandbox, account, customerId="northwind"), 0)
    provision(sandbox, deal)
    [subscription] = subscriptions(sandbox, "northwind")
    metadata = {**subscription["metadata"], "csm": "Dana"}
    sandbox.stigg.change_subscription(subscription["id"], metadata=metadata)
    provision(sandbox, revised(deal, 1, feature_seats=300))

    customer = sandbox.stigg.customers["northwind"]
    assert customer["metadata"]["tier"] == "gold"
    assert customer["metadata"]["salesforceAccountId"] == account
    assert theirs in customer["integrations"]
    assert len(customer["integrations"]) == 2
    [subscription] = subscriptions(sandbox, "northwind")
    assert limits(subscription) == {"feature-seats": 300}
    assert subscription["metadata"]["csm"] == "Dana"
    assert sandbox.salesforce.get("Account", account)["Description"] == "Our oldest customer"
    for exchange in sandbox.salesforce_server.asked("POST", COMPOSITE):
        for request in json.loads(exchange.body)["compositeRequest"]:
            if "records" in request["body"]:
                assert all(set(record) == OURS_ON_A_PROVISIONING for record in request["body"]["records"])
            else:
                assert set(request["body"]) == {"Stigg_Customer_ID__c", "Stigg_Customer_URL__c"}


def test_g7_a_subscription_the_customer_bought_alone_is_not_trampled_but_adopted_when_it_is_what_was_sold(
    sandbox: Sandbox,
) -> None:
    sandbox.stigg.add_customer("bought-team")
    bought = sandbox.stigg.add_subscription("bought-team", "plan-team", billing_period="MONTHLY")
    sandbox.stigg.add_customer("bought-enterprise")
    match = sandbox.stigg.add_subscription(
        "bought-enterprise",
        "plan-enterprise",
        addons=[{"id": "addon-extra-workspace", "quantity": 2}],
        entitlements=[{"type": "FEATURE", "id": "feature-seats", "usageLimit": 250}],
        price_overrides=[
            {"baseCharge": True, "amount": 48000, "currency": "usd"},
            {"addonId": "addon-extra-workspace", "amount": 1200, "currency": "usd"},
        ],
        metadata={"source": "self-serve"},
    )
    upgrade = sell(sandbox, sandbox.sales.account("Bought Team"), customerId="bought-team")
    agreed = sell(sandbox, sandbox.sales.account("Bought Enterprise"), customerId="bought-enterprise")
    provision(sandbox, upgrade, agreed)

    told, reason = shown(sandbox, upgrade) or ("", "")
    assert told == "Held"
    assert reason is not None
    assert "plan-team" in reason
    assert bought["id"] in reason
    assert sandbox.stigg.subscription(bought["id"]) == bought
    assert len(subscriptions(sandbox, "bought-team", live=False)) == 1

    assert shown(sandbox, agreed) == PROVISIONED
    [adopted] = subscriptions(sandbox, "bought-enterprise", live=False)
    assert adopted["id"] == match["id"]
    assert adopted["metadata"]["source"] == "self-serve"
    assert adopted["salesforceId"] == opportunity_of(agreed)
    assert stigg_requests(sandbox, "POST", SUBSCRIPTIONS) == 0


def test_g7_a_second_look_at_what_stands_writes_nothing_anywhere(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account, terms={"billingPeriod": "ANNUALLY"})
    provision(sandbox, deal)
    writes = stigg_writes(sandbox), len(sandbox.salesforce_server.exchanges)
    item, body = head(sandbox, account)
    body["applied"] -= 1  # as if the execution had died before it could record what it did
    put_head(sandbox, {**item, "due": {"S": "DUE"}, "due_at": {"N": "1"}}, {**body, "due_at": 1})
    assert sweep(sandbox) == 1
    last = executions(sandbox)[-1]["executionArn"]
    assert "SubscriptionProvision" in sandbox.aws.states_entered(last)
    assert (stigg_writes(sandbox), len(sandbox.salesforce_server.exchanges)) == writes
    assert not due(sandbox, account)


def test_g7_five_hundred_seats_do_not_become_fifty_by_accident(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    deal = revised(sell(sandbox, account, Sold("plan-enterprise"), Sold("feature-seats", 480)), 0)
    other = sell(sandbox, account, Sold("plan-enterprise"), Sold("feature-seats", 20))
    provision(sandbox, deal, other)
    provision(sandbox, revised(deal, 1, feature_seats=30))
    told, reason = shown(sandbox, deal) or ("", "")
    assert told == "Held"
    assert reason is not None
    assert "feature-seats from 500 to 50" in reason
    assert [s["limits"] for s in access(sandbox, account)] == [{"feature-seats": 500}]
    assert shown(sandbox, other) == PROVISIONED, "the deal beside it, which nobody changed, waits for nothing"
    provision(sandbox, revised(deal, 2, feature_seats=480))
    assert shown(sandbox, deal) == PROVISIONED, "corrected before it did harm"


# G8 private


def test_g8_no_secret_and_nothing_personal_is_in_any_log_line_history_or_error(sandbox: Sandbox) -> None:
    person, email = "Zephyrine Quux-Sorensen", "z.quux@private.example"
    stiggs_echo = f"no {email}, and not with {sandbox.stigg_api_key}"
    salesforces_echo = f"not sent to {email}"

    def deal(name: str, **more: Any) -> Json:
        made = sell(sandbox, sandbox.sales.account(f"{person} {name}"), name=f"{person}'s {name}", **more)
        made["account"]["email"] = email
        return made

    # Well, and every kind of failure: refused by closed-won, Stigg or Salesforce; lost, throttled.
    kinds = "well refused customer subscription record composite dropped throttled taken"
    deals = {kind: deal(kind) for kind in kinds.split()}
    provision(sandbox, deal("customer whose ID is an address", customerId=email))
    results = provision(sandbox, deal("customer of somebody else", customerId=email))
    deals["refused"]["lines"][0]["stiggId"] = "plan-nobody-knows"
    stigg, salesforce = sandbox.stigg_server, sandbox.salesforce_server
    about = {kind: made["account"]["id"] for kind, made in deals.items()}
    others = {"salesforceAccountId": "0015g00000XyZaBAAV"}
    sandbox.stigg.add_customer(about["taken"], name=person, email=email, metadata=others)
    refusal = {"message": stiggs_echo, "code": "Echo"}
    errors = [{"message": salesforces_echo, "errorCode": "ECHO", "fields": []}]
    stigg.fail("answer", "POST", CUSTOMERS, status=400, body=refusal, about=about["customer"])
    stigg.fail("answer", "POST", SUBSCRIPTIONS, status=422, body=refusal, about=about["subscription"])
    record = {"success": False, "errors": [{"statusCode": "ECHO", "message": salesforces_echo, "fields": []}]}
    failed = {
        "compositeResponse": [
            {"body": errors, "httpHeaders": {}, "httpStatusCode": 400, "referenceId": "account"},
            {"body": [record], "httpHeaders": {}, "httpStatusCode": 200, "referenceId": "provisionings0"},
        ]
    }
    salesforce.fail("answer", "POST", COMPOSITE, status=200, body=failed, about=about["record"])
    salesforce.fail("answer", "POST", COMPOSITE, status=400, body=errors, about=about["composite"])
    stigg.fail("drop_after", "POST", CUSTOMERS, about=about["dropped"])
    stigg.fail("answer", "POST", CUSTOMERS, status=429, about=about["throttled"])
    results += provision(sandbox, *deals.values())
    told: list[Any] = []
    # Bad input that holds what is private where it does not belong.
    bad = deal("bad", terms={})
    bad["account"]["name"], bad["customerId"], bad["terms"]["start"] = person * 20, email, f"{person} {email}"
    bad["lines"][0]["stiggId"], bad["lines"][1]["quantity"] = f"plan-{person}", email
    told += provision(sandbox, bad)[0]["errors"]
    bad = deal("worse")
    bad["trigger"] = bad["organizationId"] = bad["opportunity"]["readAt"] = bad["account"]["id"] = email
    told += provision(sandbox, bad)[0]["errors"]
    told += [sandbox.post(f"{person} {email}").text, sandbox.call(deals["well"], key=f"wrong-{email}").text]
    # The credentials of both sides stop being good.
    keys = [sandbox.stigg_api_key, sandbox.callout_key, sandbox.salesforce_client["clientSecret"]]
    try:
        sandbox.stigg.change_api_key("server-of-tomorrow")
        results += provision(sandbox, deal("key"))
        sandbox.stigg.change_api_key(sandbox.stigg_api_key)
        sandbox.salesforce.expire_tokens()
        wrong = {**sandbox.salesforce_client, "clientSecret": "not-the-secret-of-anybody"}
        keys.append(wrong["clientSecret"])
        sandbox.aws.put_secret("SalesforceSecret", wrong)
        sandbox.aws.functions.kill("AccountWriteBackFunction")
        results += provision(sandbox, deal("login"))
    finally:
        sandbox.stigg.change_api_key(sandbox.stigg_api_key)
        sandbox.aws.put_secret("SalesforceSecret", sandbox.salesforce_client)

    met = set().union(*(failures(sandbox, result["execution"]) for result in results))
    assert met >= {"StiggRefused", "StiggThrottled", "StiggUnauthorized", "CustomerTaken", "WriteUnanswered"}
    assert met >= {"SalesforceRefused", "SalesforceUnauthorized"}
    headers = [exchange.headers.get("Authorization", "") for exchange in salesforce.exchanges]
    tokens = {header.removeprefix("Bearer ") for header in headers if header.startswith("Bearer ")}
    assert tokens

    arns = [execution["executionArn"] for execution in executions(sandbox)]
    histories = [json.dumps(sandbox.aws.history(arn), default=str) for arn in arns]
    histories += [json.dumps(sandbox.wait([arn.rsplit(":", 1)[1]]), default=str) for arn in arns]
    reasons = [str(r["Reason__c"]) for r in sandbox.salesforce.find("Stigg_Provisioning__c")]
    lines = [line for printed in sandbox.aws.functions.logs.values() for line in printed]
    secret = (*keys, *tokens, "Zephyrine", "Quux", "private.example")
    private = re.compile("|".join(re.escape(text) for text in secret), re.IGNORECASE)
    for text in (*lines, *histories, *map(str, told)):
        assert not (found := private.search(text)), f"{found}: {text[:2000]}"
    # And what was searched is where it would have been.
    assert any(results[-1]["execution"] in line for line in lines)
    assert any(about["customer"] in history for history in histories)
    assert any("no ***@***, and not with ***" in reason for reason in reasons)
    assert any("not sent to ***@***" in history for history in histories)
