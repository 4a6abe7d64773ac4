"""The life of a deal through the running system: trial, sale, amendment, renewal, cancellation, approval, credits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.scenes import (
    House,
    Json,
    access,
    addons,
    due,
    limits,
    opportunity_of,
    provision,
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


@pytest.fixture(params=["in process", pytest.param("sandbox", marks=pytest.mark.long)])
def house(request: pytest.FixtureRequest) -> House:
    """In this process; `make prove` plays the same through the sandbox."""
    return request.getfixturevalue(str(request.param).replace(" ", "_"))  # type: ignore[no-any-return]


SEATS, WORKSPACE = "feature-seats", "addon-extra-workspace"
ANNUAL = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}


def day(days: int) -> str:
    """The day some days from now, as Salesforce writes it."""
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def soon(seconds: float) -> str:
    """An instant some seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def later(sandbox: House, account: str, when: str) -> None:
    """The sweep runs after an instant."""
    seen(sandbox, lambda: datetime.now(UTC) > datetime.fromisoformat(when))
    time_passes(sandbox, account)
    assert sweep(sandbox) == 1


def amend(sandbox: House, account: str, base: Json, *sold: Sold, whole: bool = False, **terms: Any) -> Json:
    """Win an amendment of a deal: of differences, unless whole."""
    more = {} if whole else {"quantities": "differences"}
    return sell(sandbox, account, *sold, trigger="amendment", amends=opportunity_of(base), terms=terms, **more)


def states(sandbox: House, account: str) -> dict[str, str]:
    return {
        s["planId"] + (" trial" if s["trialEndDate"] else ""): s["status"] for s in sandbox.stigg.subscriptions(account)
    }


def test_a_trial_is_extended_won_and_ends_once_the_paid_subscription_stands(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    opportunity = house.sales.close(
        account, "Northwind", Sold("plan-enterprise"), Sold(SEATS, 20), StageName="Proposal/Price Quote"
    )
    provision(house, house.deal(opportunity, trigger="trial", terms={"trialEnd": day(14)}))
    [trial] = subscriptions(house, account)
    assert (trial["status"], trial["trialEndDate"][:10]) == ("IN_TRIAL", day(15))
    assert limits(trial) == {SEATS: 20}
    provision(house, house.deal(opportunity, trigger="trial", terms={"trialEnd": day(30)}))
    [trial] = subscriptions(house, account)
    assert trial["trialEndDate"][:10] == day(31)

    won = house.deal(opportunity, terms={**ANNUAL, "start": day(0), "end": day(364)})
    provision(house, won)
    assert states(house, account) == {"plan-enterprise trial": "EXPIRED", "plan-enterprise": "ACTIVE"}
    [paid] = subscriptions(house, account)
    assert paid["startDate"][:10] == day(0)
    assert shown(house, won) == ("Provisioned", None)
    writes = house.stigg_server.asked("POST|PATCH", "/api/v1/subscriptions.*")
    assert [w.method for w in writes] == ["POST", "PATCH", "POST", "PATCH"]  # trial, longer, paid; then the trial ends


def test_a_trial_that_was_won_for_later_lasts_until_then(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    opportunity = house.sales.close(account, "Northwind", Sold("plan-enterprise"), StageName="Proposal/Price Quote")
    provision(house, house.deal(opportunity, trigger="trial", terms={"trialEnd": day(5)}))
    won = house.deal(opportunity, terms={**ANNUAL, "start": day(20)})
    provision(house, won)
    trial, paid = sorted(subscriptions(house, account), key=lambda s: s["createdAt"])
    assert (trial["status"], trial["trialEndDate"]) == ("IN_TRIAL", paid["startDate"])
    assert paid["status"] == "NOT_STARTED"
    assert shown(house, won) == ("Scheduled", f"Access starts on {day(20)}.")
    writes = stigg_writes(house)
    provision(house, house.deal(opportunity, terms={**ANNUAL, "start": day(20), "end": day(400)}))
    assert stigg_writes(house) == writes  # another end is nothing to write under the policy keep


def test_a_trial_that_is_lost_ends(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    opportunity = house.sales.close(account, "Northwind", Sold("plan-enterprise"), StageName="Proposal/Price Quote")
    provision(house, house.deal(opportunity, trigger="trial", terms={"trialEnd": day(14)}))
    lost = house.deal(opportunity, trigger="cancellation", lines=[])
    provision(house, lost)
    assert states(house, account) == {"plan-enterprise trial": "EXPIRED"}
    assert shown(house, lost) == ("Provisioned", f"Access ended on {day(0)}.")
    assert account in house.stigg.customers  # the customer stays


def test_amendments_count_once_in_whatever_order_they_come(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, Sold("plan-enterprise"), Sold(SEATS, 10), Sold(WORKSPACE, 3), terms=ANNUAL)
    more = amend(house, account, base, Sold(SEATS, 5))
    fewer = amend(house, account, base, Sold(WORKSPACE, -2))
    provision(house, more)
    assert shown(house, more) is not None
    assert shown(house, more)[0] == "Held"  # type: ignore[index]  # nothing is known of its base yet
    provision(house, fewer, base, more, fewer)
    [subscription] = subscriptions(house, account)
    assert limits(subscription) == {SEATS: 15}
    assert addons(subscription) == {WORKSPACE: 1}
    for deal in (base, more, fewer):
        assert shown(house, deal) == ("Provisioned", None)
    [linked] = access(house, account)
    assert linked["opportunities"] == {opportunity_of(deal) for deal in (base, more, fewer)}


def test_a_change_for_later_is_scheduled_and_made_when_its_time_has_come(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, Sold("plan-enterprise"), Sold(SEATS, 10), terms=ANNUAL)
    provision(house, base)
    when = soon(2)
    renewal = sell(
        house,
        account,
        Sold("plan-enterprise-plus"),
        Sold(SEATS, 4),
        trigger="renewal",
        amends=opportunity_of(base),
        terms={**ANNUAL, "start": when},
    )
    provision(house, renewal)
    [before] = subscriptions(house, account)
    assert (before["planId"], limits(before)) == ("plan-enterprise", {SEATS: 10})
    told = status(house, renewal)
    assert told["status"] == "Scheduled"
    assert datetime.fromisoformat(told["dueAt"]) == datetime.fromisoformat(when)
    assert due(house, account)

    later(house, account, when)
    [after] = subscriptions(house, account)  # fewer seats than before: a renewal may
    assert (after["planId"], limits(after)) == ("plan-enterprise-plus", {SEATS: 4})
    assert shown(house, renewal) == ("Provisioned", None)
    assert shown(house, base) == (
        "Superseded",
        f"Since {when[:10]} opportunity {opportunity_of(renewal)} takes its place.",
    )


def test_a_contract_is_cancelled_at_its_end_or_now_and_won_back(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, Sold("plan-enterprise"), Sold(SEATS, 10), terms={**ANNUAL, "end": day(100)})
    provision(house, base)
    lost_renewal = sell(house, account, trigger="cancellation", amends=opportunity_of(base), lines=[])
    provision(house, lost_renewal)
    [subscription] = subscriptions(house, account)
    assert subscription["cancellationDate"][:10] == day(101)
    assert shown(house, lost_renewal) == ("Scheduled", f"Access ends on {day(101)}.")
    churn = sell(house, account, trigger="cancellation", amends=opportunity_of(base), lines=[], terms={"cancel": "now"})
    provision(house, churn)
    assert subscriptions(house, account) == []
    assert shown(house, churn) == ("Provisioned", f"Access ended on {day(0)}.")
    again = sell(house, account, Sold("plan-enterprise"), Sold(SEATS, 3), terms=ANNUAL)
    provision(house, again)
    [back] = subscriptions(house, account)
    assert (limits(back), back["id"] != subscription["id"]) == ({SEATS: 3}, True)


def test_a_reopened_deal_is_flagged_and_takes_nothing_away(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    deal = sell(house, account, Sold("plan-enterprise"), Sold(SEATS, 10), terms=ANNUAL)
    provision(house, deal)
    before = access(house, account)
    reopened = house.deal(opportunity_of(deal), trigger="cancellation", lines=[])
    provision(house, reopened)
    assert access(house, account) == before
    told = shown(house, deal)
    assert told is not None
    assert told[0] == "Held"
    assert "not won any more" in (told[1] or "")


def approve(sandbox: House, deal: Json, approval: str | None) -> Json:
    body = {
        "approvals": [
            {
                "organizationId": sandbox.salesforce.organization_id,
                "opportunityId": opportunity_of(deal),
                "approval": approval,
            }
        ]
    }
    answer = sandbox.post(body, path="/v1/approvals")
    assert answer.status_code == 202, answer.text
    sandbox.wait_until_idle()
    [result] = answer.json()["results"]
    return dict(result)


def test_an_unexpected_reduction_waits_for_approval_and_is_applied_once_approved(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, Sold("plan-enterprise"), Sold(SEATS, 500), terms=ANNUAL)
    provision(house, base)
    fewer = amend(house, account, base, Sold(SEATS, -450))
    provision(house, fewer)
    [subscription] = subscriptions(house, account)
    assert limits(subscription) == {SEATS: 500}
    told = status(house, fewer)
    assert told["status"] == "Held"
    assert "from 500 to 50" in told["reason"]
    assert approve(house, fewer, "0123456789abcdef")["status"] == "unknown"
    assert approve(house, base, told["approval"])["status"] == "unknown"  # another deal's
    [subscription] = subscriptions(house, account)
    assert limits(subscription) == {SEATS: 500}

    assert approve(house, fewer, told["approval"])["status"] == "approved"
    [subscription] = subscriptions(house, account)
    assert limits(subscription) == {SEATS: 50}
    assert shown(house, fewer) == ("Provisioned", None)
    assert status(house, fewer)["approval"] is None
    assert approve(house, fewer, told["approval"])["status"] == "unknown"  # done: nothing waits any more
    # What was approved is that reduction: more is another one, and so is the same of another contract.
    provision(house, amend(house, account, base, Sold(SEATS, 450)))
    most = amend(house, account, base, Sold(SEATS, -490))
    other = sell(house, account, Sold("plan-enterprise"), Sold(SEATS, 500), terms=ANNUAL, resourceId="workspace-2")
    provision(house, other)
    same = amend(house, account, other, Sold(SEATS, -450))
    provision(house, most, same)
    assert [status(house, each)["code"] for each in (most, same)] == ["removal_guard", "removal_guard"]
    assert len({told["approval"], *(status(house, each)["approval"] for each in (most, same))}) == 3
    assert [limits(one) for one in subscriptions(house, account)] == [{SEATS: 500}, {SEATS: 500}]


def test_credits_are_granted_once_whatever_happens(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    deal = sell(house, account, Sold("plan-enterprise"), terms=ANNUAL)
    deal["lines"].append(
        {"stiggType": "Credit grant", "stiggId": "currency-ai-credits", "quantity": 5000, "price": 0.01}
    )
    # The answer to the grant is lost after it landed: the next try looks first.
    house.stigg_server.fail("drop_after", method="POST", path="/api/v1/credits/grants")
    provision(house, deal)
    [grant] = house.stigg.grants(account)
    assert (grant["amount"], grant["cost"]) == (5000, {"amount": 50, "currency": "usd"})
    assert shown(house, deal) == ("Provisioned", None)
    provision(house, deal)
    deal["lines"][-1]["quantity"] = 6000
    deal["opportunity"]["readAt"] = soon(1)
    provision(house, deal)
    assert len(house.stigg.grants(account)) == 1
    told = shown(house, deal)
    assert told is not None
    assert told[0] == "Held"
    assert "5000 of currency-ai-credits were granted, and the deal says 6000 now" in (told[1] or "")
    assert stigg_requests(house, "POST", "/api/v1/credits/grants") == 1


def test_credits_alone_are_a_deal(house: House) -> None:
    account = house.sales.account("Northwind Traders")
    deal = sell(
        house,
        account,
        terms=ANNUAL,
        lines=[{"stiggType": "Credit grant", "stiggId": "currency-ai-credits", "quantity": 100, "end": day(30)}],
    )
    provision(house, deal)
    [grant] = house.stigg.grants(account)
    assert (grant["grantType"], grant["expireAt"][:10]) == ("PROMOTIONAL", day(31))
    assert shown(house, deal) == ("Provisioned", None)


def test_terms_of_money_are_passed_through_and_changed(house: House) -> None:
    payer = house.stigg.add_customer("holding")["id"]
    account = house.sales.account("Northwind Traders")
    terms = {**ANNUAL, "budget": {"limit": 5000}, "minimumSpend": 100, "payingCustomerId": payer}
    deal = sell(house, account, Sold("plan-enterprise", 1, 48000), Sold(WORKSPACE, 2, 1100), terms=terms)
    provision(house, deal)
    [subscription] = subscriptions(house, account)
    assert subscription["budget"] == {"limit": 5000, "hasSoftLimit": False}
    assert subscription["minimumSpend"] == {"amount": 100, "currency": "usd"}
    assert subscription["payingCustomerId"] == payer
    amendment = amend(house, account, deal, Sold(WORKSPACE, 1, 800), budget={"limit": 9000, "softLimit": True})
    provision(house, amendment)
    [subscription] = subscriptions(house, account)
    assert subscription["budget"] == {"limit": 9000, "hasSoftLimit": True}
    assert addons(subscription) == {WORKSPACE: 3}
    assert {p.get("addonId"): p["amount"] for p in subscription["priceOverrides"]} == {None: 48000, WORKSPACE: 1000}
