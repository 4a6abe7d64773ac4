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
    SubscriptionProvisionParams,
    SubscriptionUpdateParams,
)

from closedwon.catalogue import CURRENCIES
from closedwon.desired import Policy, Standing, fold
from closedwon.plan import (
    Actual,
    Backlinks,
    Create,
    SlotRecord,
    Update,
    customer_body,
    customer_difference,
    plan,
    provision_body,
)
from contract.stigg_contract import accepts, bare, fields
from unit.domain import ACCOUNT, AT, CATALOGUE, a_deal, names, order_of, standings

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
    for change in plan(CUSTOMER, fold(first, CATALOGUE, POLICY, AT), [], {}, POLICY, links).changes:
        assert isinstance(change, Create)
        body = provision_body(CUSTOMER, change, links)
        assert accepts(SubscriptionProvisionParams, json.dumps(body))
        actual.append(Actual.from_stigg({**body, "pricingType": "CUSTOM", "status": "ACTIVE"}, CATALOGUE))
        slot = change.subscription.slot
        records[slot] = SlotRecord(change.generation, True, body["id"], "ACTIVE", None, change.subscription)
    for change in plan(CUSTOMER, fold(second, CATALOGUE, Policy(), AT), actual, records, POLICY, links).changes:
        if isinstance(change, Update):
            assert accepts(SubscriptionUpdateParams, json.dumps(change.body))


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
