"""The bodies of Stigg's API for contracts. Pure.

Source: `stigg/types/v1/contract_create_params.py`, `contract_update_params.py` (SDK 0.1.0b53). No end is sent: what it
would do to the subscriptions is not documented, and those have their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from closedwon.domain.identifiers import CustomerId, SubscriptionId
from closedwon.domain.instants import from_iso, iso_utc
from closedwon.domain.stigg_contracts import StiggContract

ARCHIVED = "CANCELED"
"""The state of a contract that was archived."""


def create_body(
    customer_id: CustomerId, wanted: StiggContract, subscriptions: Iterable[SubscriptionId]
) -> dict[str, Any]:
    """The body of Stigg's POST for a contract with subscriptions that stand already."""
    body = {
        "customerId": customer_id,
        # Without an ID of ours, a retry would make a second contract, and contracts cannot be deleted.
        "contractId": wanted.id,
        "name": wanted.name,
        "poNumber": wanted.purchase_order,
        "activationStartDate": wanted.activation and iso_utc(wanted.activation),
        # Always said: left out, it is true, and a contract would be made in the billing provider too.
        "setupBilling": wanted.setup_billing,
        "subscriptions": [{"existingSubscriptionId": id} for id in subscriptions],
    }
    return {name: value for name, value in body.items() if value not in (None, [])}


def contract_difference(there: Mapping[str, Any], wanted: StiggContract) -> dict[str, Any]:
    """What of the body of Stigg's PATCH makes a contract say what the deal says; empty where it does.

    The name is not compared: Stigg answers the purchase order's number in its place. Billing is not sent: left out, it
    stays as it is.
    """
    body: dict[str, Any] = {}
    if wanted.purchase_order and there.get("poNumber") != wanted.purchase_order:
        body["poNumber"] = wanted.purchase_order
    activation = there.get("activationStartDate")
    if wanted.activation and (activation is None or from_iso(activation) != wanted.activation):
        body["activationStartDate"] = iso_utc(wanted.activation)
    return body


def parts_of(there: Mapping[str, Any]) -> list[SubscriptionId]:
    """The subscriptions that are part of a contract, ended ones too."""
    return [SubscriptionId(one["subscriptionId"]) for one in there["subscriptions"]]
