"""Every body the product sends fits the official SDK's parameter types, whatever the deals say."""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stigg.types.v1 import (
    CustomerProvisionParams,
    CustomerUpdateParams,
    SubscriptionCancelParams,
    SubscriptionPreviewParams,
    SubscriptionProvisionParams,
    SubscriptionUpdateParams,
)
from stigg.types.v1.credits import GrantCreateParams

from closedwon.domain.catalogue import CURRENCIES
from closedwon.domain.changes import Create, End, Update
from closedwon.domain.desired import Policy, Slot
from closedwon.domain.endings import ending_of
from closedwon.domain.instants import EndOfBillingPeriod, from_milliseconds
from closedwon.domain.marks import Backlinks
from closedwon.domain.plan import plan
from closedwon.domain.records import SlotRecord
from closedwon.preview.invoicing import PREVIEWED
from closedwon.stigg.answers import actual_of
from closedwon.stigg.bodies import customer_body, customer_difference, end_call, grant_body, provision_body, update_body
from contract.stigg_contract import accepts, bare, fields
from unit.domain import (
    ACCOUNT,
    AT,
    CATALOGUE,
    CREDITS,
    PLATFORM,
    Standing,
    a_deal,
    a_line,
    an_order,
    fold,
    folded,
    names,
    order_of,
    standings,
)

CUSTOMER = "northwind"
POLICY = Policy("end", foreign_subscription="replace", removal_guard_percent=100)

backlinks = st.sampled_from([None, "integration-salesforce"]).map(
    lambda integration: Backlinks("https://northwind.my.salesforce.com", ACCOUNT, integration)
)


@given(first=standings(), second=standings(), links=backlinks)
@settings(max_examples=40)
def test_subscriptions_are_made_and_changed_in_stiggs_words(
    first: list[Standing], second: list[Standing], links: Backlinks
) -> None:
    actual, records = [], {}
    for change in plan(CUSTOMER, fold(first, CATALOGUE, POLICY, AT), [], {}, POLICY, links, AT).changes:
        assert isinstance(change, Create)
        body = provision_body(CUSTOMER, change, links, paid=False)
        assert accepts(SubscriptionProvisionParams, json.dumps(body))
        actual.append(actual_of({**body, "pricingType": "CUSTOM", "status": "ACTIVE"}, CATALOGUE))
        slot = change.subscription.slot
        records[slot] = SlotRecord(change.generation, True, body["id"], "ACTIVE", None, change.subscription)
    for change in plan(CUSTOMER, fold(second, CATALOGUE, Policy(), AT), actual, records, POLICY, links, AT).changes:
        if isinstance(change, Update):
            assert accepts(SubscriptionUpdateParams, json.dumps(update_body(change, links)))


TERMS = {
    "terms.coupon": "coupon-launch",
    "terms.budget": {"limit": 5000, "softLimit": True},
    "terms.minimumSpend": 100.5,
    "terms.payingCustomerId": "holding",
}
TRIAL = {"trigger": "trial", "terms.trialEnd": "2027-01-31", "terms.trialEndBehavior": "CONVERT_TO_PAID"}
LINKS = Backlinks("https://northwind.my.salesforce.com", ACCOUNT)


@pytest.mark.parametrize("changes", [TERMS, TRIAL, {**TERMS, **TRIAL}], ids=["money", "trial", "both"])
def test_trials_and_terms_of_money_are_sent_in_stiggs_words(changes: dict[str, Any]) -> None:
    [create] = plan(CUSTOMER, folded(an_order(**changes)), [], {}, POLICY, LINKS, AT).changes
    assert isinstance(create, Create)
    body = provision_body(CUSTOMER, create, LINKS, paid=False)
    assert accepts(SubscriptionProvisionParams, json.dumps(body))
    previewed = {name: body[name] for name in PREVIEWED if name in body}
    assert accepts(SubscriptionPreviewParams, json.dumps(previewed))
    sent = {"appliedCoupon", "budget", "minimumSpend", "payingCustomerId"} if "terms.coupon" in changes else set()
    assert sent | ({"trialOverrideConfiguration"} if "trigger" in changes else set()) <= body.keys()

    trial = {"status": "IN_TRIAL", "trialEndDate": "2027-01-01T00:00:00.000Z"} if "trigger" in changes else {}
    shown = {**body, "pricingType": "CUSTOM", "status": "ACTIVE", **trial, "metadata": {}, "addons": []}
    records = {create.subscription.slot: SlotRecord(1, True, body["id"], "ACTIVE", None, create.subscription)}
    standing = [actual_of(shown, CATALOGUE)]
    [update] = plan(CUSTOMER, folded(an_order(**changes)), standing, records, POLICY, LINKS, AT).changes
    assert isinstance(update, Update)
    body = update_body(update, LINKS)
    assert accepts(SubscriptionUpdateParams, json.dumps(body))
    assert ("trialEndDate" in body) == ("trigger" in changes)


@pytest.mark.parametrize("at", [None, EndOfBillingPeriod()])
@pytest.mark.parametrize("trial", [False, True])
@pytest.mark.parametrize("converts", [False, True])
def test_subscriptions_are_ended_in_stiggs_words(at: EndOfBillingPeriod | None, trial: bool, converts: bool) -> None:
    end = End(Slot(PLATFORM, None, trial), "northwind-1", "plan-enterprise", (), at, converts=converts)
    ending = ending_of(end, None, from_milliseconds(AT))
    assert ending is not None
    kind, body = end_call(ending)
    assert accepts(SubscriptionCancelParams if kind == "cancel" else SubscriptionUpdateParams, json.dumps(body))


@pytest.mark.parametrize("line", [{}, {"price": 0.01}, {"end": "2027-06-30"}])
def test_credits_are_granted_in_stiggs_words(line: dict[str, Any]) -> None:
    order = an_order(a_line("Credit grant", CREDITS, 5000, **line), resourceId="workspace-1", terms__start="2026-11-01")
    [grant] = folded(order).grants
    body = grant_body(CUSTOMER, grant)
    assert accepts(GrantCreateParams, json.dumps(body))
    assert body["resourceId"] == "workspace-1"


@given(first=names, second=names, email=st.sampled_from([None, "billing@northwind.example"]), links=backlinks)
def test_customers_are_made_and_changed_in_stiggs_words(
    first: str, second: str, email: str | None, links: Backlinks
) -> None:
    order = order_of(a_deal(changes={"account.name": first, "account.email": email}))
    body = customer_body(CUSTOMER, order, links)
    assert accepts(CustomerProvisionParams, json.dumps(body))
    assert customer_difference(body, order, links) == {}
    renamed = order_of(a_deal(changes={"account.name": second, "account.email": "new@northwind.example"}))
    theirs = {"id": CUSTOMER, "name": "x", "metadata": {"tier": "gold"}, "integrations": []}
    for existing in (body, theirs):
        assert accepts(CustomerUpdateParams, json.dumps(customer_difference(existing, renamed, links)))


@pytest.mark.parametrize("params", [SubscriptionProvisionParams, SubscriptionUpdateParams])
def test_the_currencies_of_prices_are_stiggs(params: Any) -> None:
    [override] = get_args(bare(fields(params)["priceOverrides"]))
    currency = bare(fields(override)["currency"])
    assert get_origin(currency) is not None
    assert set(get_args(currency)) == CURRENCIES
