"""What one more deal costs in the ledger's table: nothing grows with the customer but what it takes to read it.

The functions of one provisioning run as their state machine says, against both stand-ins; every call to DynamoDB is
counted (`unit.capacity`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import pytest

from closedwon.aws.ledger import Ledger
from sandbox.in_process import InProcess
from sandbox.stigg.packages import Feature
from unit.capacity import CountingTable

Json = dict[str, Any]

RESOURCES = 200
READ, WRITTEN = 300, 150
"""The most units that one more deal of a customer with 200 resources may take, accepted and provisioned."""
ITEM = 8_000
"""Bytes that no item exceeds here, however many resources its customer has."""

TERMS = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE", "start": "2026-11-01", "end": "2027-10-31"}
FEATURES = [
    f"feature-{name}"
    for name in (
        "api-calls seats dashboards projects reports exports webhooks storage environments retention audit-events "
        "sso-domains sandboxes builds minutes models tokens queries alerts monitors pipelines connectors rows contacts "
        "emails campaigns forms pages sites domains branches teams roles guests viewers editors approvals workflows "
        "runs schedules secrets keys tags boards widgets charts views filters imports backups"
    ).split()
]


class Shop:
    """An account that buys workspaces, each with a plan and so many lines; its ledger's table counts."""

    def __init__(self, lines: int) -> None:
        self.house = InProcess()
        for id in FEATURES:
            self.house.stigg.catalogue.features[id] = Feature(id, id, "NUMBER", "FLUCTUATING", (id, id))
        self.table = CountingTable()
        self.house.stack.ledger = Ledger("ledger", self.table, self.house.stack.now)
        self.account = self.house.sales.account("Northwind Traders")
        self._lines = lines
        self._numbers = random.Random(16)
        self._sold = 0

    def sells(self, count: int = 1) -> list[str]:
        """Deals are won and sent in one request, and provisioned. Out: the executions that were started."""
        deals = [self._deal() for _ in range(count)]
        before = len(self.house.executions)
        answer = self.house.call(*deals).json()
        assert {one["status"] for one in answer["results"]} == {"accepted"}
        self.house.wait_until_idle()
        for deal in deals:
            shown = self.house.provisioning(deal["opportunity"]["id"])
            assert shown is not None
            assert shown["Status__c"] == "Provisioned"
        return [execution.name for execution in self.house.executions[before:]]

    def _deal(self) -> Json:
        self._sold += 1
        opportunity = self.house.sales.close(self.account, f"Northwind - workspace {self._sold}")
        resource = f"workspace-{hashlib.sha256(str(self._sold).encode()).hexdigest()[:12]}"
        plan = {"stiggType": "Plan", "stiggId": "plan-enterprise", "quantity": 1, "price": self._number(90_000)}
        sold = [
            {"stiggType": "Entitlement", "stiggId": id, "quantity": self._number(5_000)}
            for id in FEATURES[: self._lines]
        ]
        lines = [{"line": number, **line} for number, line in enumerate([plan, *sold], 1)]
        return self.house.deal(opportunity, lines=lines, resourceId=resource, terms=TERMS)

    def _number(self, below: int) -> int:
        return self._numbers.randrange(1, below)


@pytest.fixture(params=[5, pytest.param(50, marks=pytest.mark.long)])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    shop = Shop(request.param)
    yield shop
    shop.house.close()


def test_a_bulk_save_is_one_execution_and_one_more_deal_costs_little(shop: Shop) -> None:
    assert len(shop.sells(RESOURCES)) == 1, "one bulk save of one account"
    shop.table.start()
    assert len(shop.sells()) == 1
    assert shop.table.read <= READ, shop.table.calls
    assert shop.table.written <= WRITTEN, shop.table.calls
    assert shop.table.largest <= ITEM
