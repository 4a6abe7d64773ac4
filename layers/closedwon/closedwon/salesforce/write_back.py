"""The write-back's content: the fields of the account and of each opportunity's Stigg Provisioning. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from closedwon.domain.customer import Customer, OpportunityState
from closedwon.domain.links import stigg_customer_url, stigg_subscription_url
from closedwon.salesforce.package import NEWEST, PROVISIONING, Package
from closedwon.words.reasons import told

RECORDS_A_COLLECTION = 200
"""Records in one sObject collection, by Salesforce's documentation."""

_REASON_LENGTH = 32_768
_LONG_TEXT_LENGTH = 32_768
_URL_LENGTH = 255
"""The most characters of a URL field, which cannot be raised; a longer link would get the whole record refused."""


SHOWN_FIELDS = (
    "Opportunity_ID__c",
    "Opportunity__c",
    "Account__c",
    "Status__c",
    "Reason__c",
    "Code__c",
    "Contract_ID__c",
    "Subscriptions__c",
    "Subscription_URL__c",
    "Checkout_URL__c",
    "Stigg_Customer_ID__c",
    "Stigg_Customer_URL__c",
    "Execution__c",
    "Provisioned_At__c",
    "Due_At__c",
    "Approval_ID__c",
    "Approved__c",
)
"""The fields of a Stigg Provisioning, where the package is the server's own (`package.Package.shown`)."""

ACCOUNT_FIELDS = ("Stigg_Customer_ID__c", "Stigg_Customer_URL__c")
"""The fields of an account that are written."""


def account_fields(customer: Customer, app_url: str) -> dict[str, Any]:
    """The account's fields: its customer in Stigg, and the link that opens it."""
    # Only a customer that exists in Stigg is written to its account (`account_unwritten`).
    assert customer.customer_id is not None
    url = _url(stigg_customer_url(app_url, customer.customer_id))
    return dict(zip(ACCOUNT_FIELDS, (customer.customer_id, url), strict=True))


def _url(address: str | None) -> str | None:
    """A link that fits a URL field, else None: half a link would lead nowhere."""
    return address if address is not None and len(address) <= _URL_LENGTH else None


def provisioning_record(
    customer: Customer, state: OpportunityState, app_url: str, package: Package = NEWEST
) -> dict[str, Any]:
    """All fields of one Stigg Provisioning that the organisation's package has, as JSON; null empties a field.

    Its external ID is the opportunity's, so that there is one record for each opportunity. Every write unticks
    Approved, because an approval holds only for what was held when it was given.
    """
    known = customer.shown_id
    subscriptions = state.outcome.subscriptions
    # The record has one field for the link: it shows the first that waits for payment.
    checkout = next((s.checkout_url for s in subscriptions if s.checkout_url), None)
    record = {
        "attributes": {"type": PROVISIONING},
        "Opportunity_ID__c": state.order.opportunity_id,
        "Opportunity__c": state.order.opportunity_id,
        "Account__c": customer.account_id,
        "Status__c": package.status(state.outcome.status),
        "Reason__c": _reason(told(state.outcome), checkout),
        "Code__c": state.outcome.code or None,
        "Contract_ID__c": state.outcome.contract_id,
        "Subscriptions__c": "\n".join(f"{s.plan_id} - {s.subscription_id}" for s in subscriptions)[:_LONG_TEXT_LENGTH]
        or None,
        "Subscription_URL__c": _url(stigg_subscription_url(app_url, subscriptions[0].subscription_id))
        if subscriptions
        else None,
        "Checkout_URL__c": _url(checkout),
        "Stigg_Customer_ID__c": known,
        "Stigg_Customer_URL__c": _url(stigg_customer_url(app_url, known)) if known else None,
        "Execution__c": state.execution,
        "Provisioned_At__c": _instant(state.at),
        "Due_At__c": None if state.outcome.due_at is None else _instant(state.outcome.due_at),
        "Approval_ID__c": state.outcome.approval,
        "Approved__c": False,
    }
    return {name: record[name] for name in package.shown(record)}


def _reason(reason: str, checkout: str | None) -> str | None:
    """The reason, with a link that is too long for its own field: a person must be able to send it on."""
    if checkout != _url(checkout):
        reason = f"{reason}\n{checkout}"
    return reason[:_REASON_LENGTH] or None


def _instant(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def composite_request(
    customer: Customer, opportunities: Iterable[str], app_url: str, data_path: str, package: Package = NEWEST
) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
    """The composite request that brings Salesforce up to date, in one call.

    In: the customer; the opportunities whose outcome Salesforce does not show yet; STIGG_APP_URL; the path of
    Salesforce's data API; the organisation's package.
    Out: its sub-requests, each with the opportunities whose records it carries (none for the account's).
    """
    requests: list[tuple[dict[str, Any], tuple[str, ...]]] = []
    if customer.account_unwritten:
        url = f"{data_path}/sobjects/Account/{customer.account_id}"
        requests.append((_patch(url, "account", account_fields(customer, app_url)), ()))
    ids = sorted(opportunities)
    for start in range(0, len(ids), RECORDS_A_COLLECTION):
        chunk = tuple(ids[start : start + RECORDS_A_COLLECTION])
        records = [provisioning_record(customer, customer.opportunities[id], app_url, package) for id in chunk]
        # By external ID, so that the record is made where there is none, without a look first.
        url = f"{data_path}/composite/sobjects/{PROVISIONING}/Opportunity_ID__c"
        # Not all or none: a record that is refused must keep no other from being written (G6).
        requests.append((_patch(url, f"provisionings{start}", {"allOrNone": False, "records": records}), chunk))
    return requests


def _patch(url: str, reference: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"method": "PATCH", "url": url, "referenceId": reference, "body": body}
