"""The bodies of contracts fit the official SDK's types, and say what Stigg would decide otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stigg.types.v1 import ContractCreateParams, ContractUpdateParams

from closedwon.domain.identifiers import CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.instants import Instant, from_iso
from closedwon.domain.order import Order
from closedwon.domain.stigg_contracts import StiggContract, contract_id, is_ours
from closedwon.reconciliation.recorded_orders import as_recorded
from closedwon.stigg.contract_bodies import contract_difference, create_body, parts_of
from contract.stigg_contract import accepts
from unit.domain import a_deal, order_of

CUSTOMER = CustomerId("northwind")
DEAL = OpportunityId("0065g00000ABCdEAAX")
START = from_iso("2026-12-01T00:00:00.000Z")
PARTS = [SubscriptionId("northwind-product-1-1")]


def a_contract(purchase_order: str | None = None, activation: Instant | None = None) -> StiggContract:
    deals = dict.fromkeys(PARTS, (DEAL,))
    return StiggContract(contract_id(CUSTOMER, DEAL), "A deal", purchase_order, activation, False, deals)


@pytest.mark.parametrize("purchase_order", [None, "PO-4711"])
@pytest.mark.parametrize("activation", [None, START])
def test_contracts_are_made_in_stiggs_words(purchase_order: str | None, activation: Instant | None) -> None:
    body = create_body(CUSTOMER, a_contract(purchase_order, activation), PARTS)
    assert accepts(ContractCreateParams, json.dumps(body))
    assert body["setupBilling"] is False, "left out, it is true"
    assert ("poNumber" in body, "activationStartDate" in body) == (purchase_order is not None, activation is not None)
    assert "activationEndDate" not in body


@pytest.mark.parametrize(
    ("there", "differs"),
    [
        ({"poNumber": "PO-4711", "activationStartDate": "2026-12-01T00:00:00Z"}, set()),
        ({"poNumber": "PO-4711", "activationStartDate": "2026-12-01T01:00:00+01:00"}, set()),
        ({"poNumber": "PO-1", "activationStartDate": "2026-12-01T00:00:00Z"}, {"poNumber"}),
        ({"poNumber": None, "activationStartDate": None}, {"poNumber", "activationStartDate"}),
        ({}, {"poNumber", "activationStartDate"}),
    ],
)
def test_contracts_are_changed_in_stiggs_words(there: dict[str, Any], differs: set[str]) -> None:
    body = contract_difference(there, a_contract("PO-4711", START))
    assert body.keys() == differs
    assert accepts(ContractUpdateParams, json.dumps({**body, "subscriptionIds": PARTS}))


def test_what_no_deal_says_stays_as_somebody_wrote_it() -> None:
    there = {"poNumber": "by hand", "activationStartDate": "2025-01-01T00:00:00Z", "subscriptions": []}
    assert contract_difference(there, a_contract()) == {}
    assert parts_of(there) == []


def test_a_contract_has_one_id_for_ever_and_another_for_another_customer() -> None:
    own, others = contract_id(CUSTOMER, DEAL), contract_id(CustomerId("kestrel"), DEAL)
    assert own == "closed-won-0065g00000ABCdEAAX-84e2cdb7"
    assert own != others
    assert (is_ours(CUSTOMER, own), is_ours(CUSTOMER, others), is_ours(CUSTOMER, "theirs")) == (True, False, False)


def test_what_only_a_callout_says_of_a_contract_is_no_drift() -> None:
    said = {"terms.purchaseOrder": "PO-1", "terms.activationDate": "2026-12-03", "terms.setupBilling": True}
    recorded, read = order_of(a_deal(changes=said)), order_of(a_deal())
    assert recorded.digest != read.digest
    assert not {"purchase_order", "activation", "setup_billing"} & read.to_json().keys(), "or every digest would change"
    assert Order.from_json(json.loads(json.dumps(recorded.to_json()))) == recorded
    assert as_recorded(read, recorded, []) == recorded
