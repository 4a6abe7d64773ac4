"""Somebody else who works in Stigg during the fault campaign: makes subscriptions by hand, and notes things."""

from __future__ import annotations

from random import Random

import requests

from proof.shop import Customer, Json
from sandbox.sandbox import Sandbox

LIVE = ("ACTIVE", "IN_TRIAL", "NOT_STARTED", "PAYMENT_PENDING")
"""Statuses of a subscription that stands."""

MARK = {"toldBy": "somebody else"}
"""Metadata that others keep in Stigg."""


class Strangers:
    """foreign: the subscriptions they made, by account. marks: the IDs of those they noted something on, by account."""

    def __init__(self, sandbox: Sandbox, rng: Random) -> None:
        self._sandbox = sandbox
        self._rng = rng
        self.foreign: dict[str, Json] = {}
        self.marks: dict[str, set[str]] = {}

    def make(self, customers: list[Customer]) -> None:
        """What stands before anything is sold."""
        for each in customers:
            if each.foreign:
                self._sandbox.stigg.add_customer(each.account)
                self.foreign[each.account] = self._sandbox.stigg.add_subscription(each.account, **each.foreign)

    def mark(self) -> int:
        """They note something of their own on customers and subscriptions. Out: on how many there is a note now."""
        sandbox = self._sandbox
        api, key = f"{sandbox.stigg_server.url}/api/v1", {"X-API-KEY": sandbox.stigg_api_key}
        for customer_id, customer in sandbox.stigg.customers.items():
            metadata = {**customer["metadata"], **MARK}
            requests.patch(f"{api}/customers/{customer_id}", json={"metadata": metadata}, headers=key, timeout=30)
        for one in sandbox.stigg.subscriptions():
            if one["status"] in LIVE and self._rng.random() < 0.5:
                marked = sandbox.stigg.change_subscription(one["id"], metadata={**one["metadata"], **MARK})
                self.marks.setdefault(one["customerId"], set()).add(one["id"])
                if self.foreign_id(one["customerId"]) == one["id"]:
                    self.foreign[one["customerId"]] = marked
        return sum(map(len, self.marks.values())) + len(sandbox.stigg.customers)

    def foreign_id(self, account: str) -> str | None:
        """The ID of the subscription that they made for a customer."""
        made = self.foreign.get(account)
        return None if made is None else str(made["id"])
