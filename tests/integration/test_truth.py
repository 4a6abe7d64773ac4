"""No default of others decides a sale, and nothing is given back that somebody else ended: through the whole system."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from integration.scenes import (
    ENTERPRISE,
    Json,
    opportunity_of,
    provision,
    sell,
    shown,
    status,
    stigg_requests,
    stigg_writes,
    subscriptions,
)
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

ANNUAL = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}
ANALYTICS = Sold("plan-analytics", 1, 900)


def sold(sandbox: Sandbox, *sold: Sold, account: str, currency: str = "USD") -> Json:
    deal = sell(sandbox, account, *(sold or ENTERPRISE), terms=ANNUAL)
    deal["opportunity"]["currencyIsoCode"] = currency
    return deal


def previewed(sandbox: Sandbox, deal: Json) -> Json:
    answer = sandbox.preview(deal)
    [told] = answer.json()["results"]
    found: Json = told
    return found


def code(sandbox: Sandbox, deal: Json) -> tuple[str, str]:
    told = status(sandbox, deal)
    return told["status"], told["code"]


def in_stigg(sandbox: Sandbox, path: str, **body: Any) -> None:
    """Somebody does something in Stigg."""
    url = f"{sandbox.stigg_server.url}/api/v1{path}"
    answer = requests.post(url, json=body or None, headers={"X-API-KEY": sandbox.stigg_api_key}, timeout=10)
    assert answer.ok, answer.text


@pytest.mark.parametrize("currency", ["EUR", "JPY"])
def test_a_customer_is_billed_in_its_first_deals_currency_and_another_one_is_held(
    sandbox: Sandbox, currency: str
) -> None:
    account = sandbox.sales.account("Nordwind")
    deal = sold(sandbox, Sold("plan-pilot"), account=account, currency=currency)
    assert previewed(sandbox, deal)["status"] == "ok"
    provision(sandbox, deal)
    assert code(sandbox, deal) == ("Provisioned", "")
    assert sandbox.stigg.customers[account]["billingCurrency"] == currency.lower()
    other = sold(sandbox, ANALYTICS, account=account)
    told = previewed(sandbox, other)
    assert (told["status"], told["codes"]) == ("held", ["currency_differs"])
    provision(sandbox, other)
    assert code(sandbox, other) == ("Held", "currency_differs")
    assert len(subscriptions(sandbox, account)) == 1


def test_a_sale_of_a_plan_with_a_default_trial_is_no_trial_and_is_made_once(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Pilot")
    deal = sold(sandbox, Sold("plan-pilot"), account=account)
    provision(sandbox, deal)
    assert code(sandbox, deal) == ("Provisioned", "")
    [made] = subscriptions(sandbox, account)
    assert (made["status"], made["trialEndDate"]) == ("ACTIVE", None)
    provision(sandbox, sold(sandbox, ANALYTICS, account=account))
    assert {one["id"] for one in subscriptions(sandbox, account)} > {made["id"]}


def test_what_a_person_ended_in_stigg_is_held_and_sold_again_by_approval(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Ended")
    deal = sold(sandbox, account=account)
    provision(sandbox, deal)
    [made] = subscriptions(sandbox, account)
    in_stigg(sandbox, f"/subscriptions/{made['id']}/cancel", cancellationTime="IMMEDIATE")
    other = sold(sandbox, ANALYTICS, account=account)
    provision(sandbox, other)
    assert code(sandbox, other) == ("Provisioned", "")
    assert code(sandbox, deal) == ("Held", "ended_in_stigg")
    assert [one["planId"] for one in subscriptions(sandbox, account)] == ["plan-analytics"]
    told = shown(sandbox, deal)
    assert told is not None
    assert told[0] == "Held"
    assert "somebody cancelled it there" in (told[1] or "")
    body = {
        "approvals": [
            {
                "organizationId": deal["organizationId"],
                "opportunityId": opportunity_of(deal),
                "approval": status(sandbox, deal)["approval"],
            }
        ]
    }
    assert sandbox.post(body, path="/v1/approvals").json()["results"][0]["status"] == "approved"
    sandbox.wait_until_idle()
    assert code(sandbox, deal) == ("Provisioned", "")
    assert sorted(one["planId"] for one in subscriptions(sandbox, account)) == ["plan-analytics", "plan-enterprise"]


def test_nothing_is_written_to_an_archived_customer_and_its_new_deals_are_held(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Archived")
    provision(sandbox, sold(sandbox, account=account))
    in_stigg(sandbox, f"/customers/{account}/archive")
    written = stigg_writes(sandbox)
    other = sold(sandbox, ANALYTICS, account=account)
    told = previewed(sandbox, other)
    assert (told["status"], told["codes"]) == ("held", ["customer_archived"])
    provision(sandbox, other)
    assert code(sandbox, other) == ("Held", "customer_archived")
    assert stigg_writes(sandbox) == written
    assert stigg_requests(sandbox, "GET", "/api/v1/customers/.*/entitlements") == 2, "once each: preview, provisioning"
