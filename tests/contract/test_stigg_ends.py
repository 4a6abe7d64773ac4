"""Payments, ends and archived customers in the stand-in, driven by the official SDK."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args

import pytest
import requests
import stigg
from stigg.types.v1 import subscription as sdk

from contract.stigg_client import KEY, START, Client, Clock, post
from sandbox.stand_in import StandIn
from sandbox.stigg import Stigg
from sandbox.stigg.errors import Refused
from sandbox.stigg.service import Archiving
from sandbox.stigg.state import CancelReason, PaymentCollection

TEAM: dict[str, Any] = {"billing_period": "MONTHLY"}
CHARGED: dict[str, Any] = {**TEAM, "payment_collection_method": "CHARGE"}


def reached(app: Stigg, id: str) -> tuple[str, str | None]:
    """How a subscription stands, and why it ended."""
    shown = app.subscription(id)
    return shown["status"], shown["cancelReason"]


def test_the_reasons_and_the_states_of_payments_are_spelled_as_the_sdk_spells_them() -> None:
    def literals(name: str) -> set[Any]:
        return {word for part in get_args(sdk.Data.model_fields[name].annotation) for word in get_args(part) or (part,)}

    assert set(get_args(CancelReason)) == literals("cancel_reason") - {type(None)}
    assert set(get_args(PaymentCollection)) == literals("payment_collection")


# Payments


def test_a_failed_payment_is_shown_and_takes_no_access_away(client: Client, app: Stigg, acme: str) -> None:
    app.attach_payment_method(acme)
    app.add_subscription(acme, "plan-team", id="s1", **CHARGED)
    paid = client.v1.subscriptions.retrieve("s1").data
    assert paid.latest_invoice is not None
    assert (paid.payment_collection, paid.latest_invoice.status) == ("NOT_REQUIRED", "PAID")

    app.fail_payment("s1")
    failed = client.v1.subscriptions.retrieve("s1").data
    assert failed.latest_invoice is not None
    assert (failed.status, failed.payment_collection, failed.latest_invoice.status) == ("ACTIVE", "FAILED", "OPEN")
    assert failed.latest_invoice.billing_reason == "BILLING_CYCLE"
    assert app.entitlements(acme)["feature-seats"] == 20
    app.fail_payment("s1", "ACTION_REQUIRED")
    asked = client.v1.subscriptions.retrieve("s1").data
    assert asked.latest_invoice is not None
    assert (asked.payment_collection, asked.latest_invoice.requires_action) == ("ACTION_REQUIRED", True)

    app.pay("s1")
    settled = client.v1.subscriptions.retrieve("s1").data
    assert settled.latest_invoice is not None
    assert (settled.payment_collection, settled.latest_invoice.status) == ("NOT_REQUIRED", "PAID")
    assert settled.latest_invoice.requires_action is False


def test_an_invoice_waits_while_access_does_not(client: Client, app: Stigg, acme: str) -> None:
    app.add_subscription(acme, "plan-team", id="s1", **TEAM, payment_collection_method="INVOICE")
    shown = client.v1.subscriptions.retrieve("s1").data
    assert shown.latest_invoice is not None
    assert (shown.status, shown.latest_invoice.status) == ("ACTIVE", "OPEN")
    app.void_invoice("s1")
    taken_back = client.v1.subscriptions.retrieve("s1").data
    assert taken_back.latest_invoice is not None
    assert taken_back.latest_invoice.status == "CANCELED"


@pytest.mark.parametrize(
    ("plan", "more"),
    [
        ("plan-team", {**TEAM, "payment_collection_method": "NONE"}),
        ("plan-team", {**CHARGED, "start_date": START - timedelta(days=3)}),  # billed with its next period
        ("plan-pilot", CHARGED),  # a trial
        ("plan-enterprise", {"payment_collection_method": "INVOICE"}),  # custom plans are billed elsewhere
    ],
)
def test_what_is_not_billed_has_no_invoice(client: Client, app: Stigg, acme: str, plan: str, more: Any) -> None:
    app.attach_payment_method(acme)
    app.add_subscription(acme, plan, id="s1", **more)
    assert client.v1.subscriptions.retrieve("s1").data.latest_invoice is None


def test_a_card_that_declines_leaves_a_new_subscription_waiting(client: Client, app: Stigg, acme: str) -> None:
    app.attach_payment_method(acme, declines=True)
    wanted: Any = {"customer_id": acme, "plan_id": "plan-team", "id": "s1", **CHARGED}
    answer = client.v1.subscriptions.provision(**wanted).data
    assert answer.status == "PAYMENT_REQUIRED"
    shown = client.v1.subscriptions.retrieve("s1").data
    assert (shown.status, shown.payment_collection) == ("PAYMENT_PENDING", "FAILED")
    assert app.entitlements(acme) == {}
    app.pay("s1")
    assert reached(app, "s1") == ("ACTIVE", None)


def test_a_checkout_expires_after_a_day_or_when_told(client: Client, app: Stigg, clock: Clock, acme: str) -> None:
    app.add_subscription(acme, "plan-team", id="s1", **CHARGED)
    app.add_subscription(acme, "plan-team", id="s2", resource_id="other", **CHARGED)
    app.expire_checkout("s2")
    assert reached(app, "s2") == ("EXPIRED", "PENDING_PAYMENT_EXPIRED")
    clock.wait(hours=23, minutes=59)
    assert app.subscription("s1")["paymentCollection"] == "ACTION_REQUIRED"
    clock.wait(minutes=1)
    gone = client.v1.subscriptions.retrieve("s1").data
    assert (gone.status, gone.cancel_reason) == ("EXPIRED", "PENDING_PAYMENT_EXPIRED")
    assert gone.payment_collection == "NOT_REQUIRED"
    with pytest.raises(stigg.BadRequestError):
        client.v1.subscriptions.update("s1", metadata={})


def test_what_cannot_fail_or_be_paid_is_refused(app: Stigg, acme: str) -> None:
    app.add_subscription(acme, "plan-enterprise", id="s1")
    app.cancel_subscription("s1")
    app.add_subscription(acme, "plan-enterprise", id="s2")
    refusals: list[Callable[[], object]] = [
        lambda: app.fail_payment("s1"),
        lambda: app.expire_checkout("s2"),
        lambda: app.pay("s2"),
        lambda: app.void_invoice("s2"),
        lambda: app.cancel_by_billing("s1"),
    ]
    for refused in refusals:
        with pytest.raises(Refused):
            refused()


# Ends


def test_why_a_subscription_ended_is_told(client: Client, app: Stigg, acme: str) -> None:
    app.add_subscription(acme, "plan-team", id="unpaid", **TEAM, payment_collection_method="INVOICE")
    app.cancel_by_billing("unpaid")
    ended = client.v1.subscriptions.retrieve("unpaid").data
    assert ended.latest_invoice is not None
    assert (ended.status, ended.cancel_reason) == ("CANCELED", "CANCELLED_BY_BILLING")
    assert ended.latest_invoice.status == "CANCELED"
    reasons: list[Any] = ["DETACH_BILLING", "EXPIRED", "AutoCancellationRule"]
    for reason in reasons:
        app.add_subscription(acme, "plan-team", id=reason, **TEAM)
        app.cancel_by_billing(reason, reason)
        assert client.v1.subscriptions.retrieve(reason).data.cancel_reason == reason
    app.add_subscription(acme, "plan-team", id="by-a-person", **TEAM)
    client.v1.subscriptions.cancel("by-a-person", cancellation_time="IMMEDIATE")
    assert client.v1.subscriptions.retrieve("by-a-person").data.cancel_reason == "Immediate"


def test_a_rule_ends_another_products_subscription(app: Stigg, acme: str) -> None:
    app.auto_cancel("product-platform", "product-analytics")
    app.add_subscription(acme, "plan-analytics", id="analytics")
    app.add_subscription(acme, "plan-enterprise", id="platform")
    assert reached(app, "analytics") == ("CANCELED", "AutoCancellationRule")
    assert reached(app, "platform") == ("ACTIVE", None)
    app.add_subscription(acme, "plan-analytics", id="again")
    assert reached(app, "platform") == ("ACTIVE", None), "the rule goes one way"


# Archived customers


def test_an_archived_customer_is_answered_like_one_that_never_was(client: Client, url: str, app: Stigg) -> None:
    app.add_customer("acme", name="Acme", email="a@acme.example")
    app.add_subscription("acme", "plan-enterprise", id="s1")
    app.archive("acme")
    for ask in (
        lambda: client.v1.customers.retrieve("acme"),
        lambda: client.v1.customers.update("acme", name="Acme again"),
        lambda: client.v1.subscriptions.provision(customer_id="acme", plan_id="plan-team", billing_period="MONTHLY"),
        lambda: client.v1.subscriptions.preview(customer_id="acme", plan_id="plan-team", billing_period="MONTHLY"),
        lambda: client.v1.customers.archive("acme"),
    ):
        with pytest.raises(stigg.NotFoundError):
            ask()
    assert list(client.v1.customers.list()) == []
    with pytest.raises(stigg.ConflictError) as refused:
        client.v1.customers.provision(id="acme", name="Acme again")
    assert refused.value.body == {"message": "customer acme is archived", "code": "EntityIsArchivedError"}
    assert (app.customers["acme"]["name"], app.customers["acme"]["email"]) == (None, None)
    assert reached(app, "s1") == ("CANCELED", "CustomerArchived")
    assert client.v1.subscriptions.retrieve("s1").data.customer_id == "acme"
    assert requests.get(f"{url}/sandbox/customers/acme", timeout=60).status_code == 404
    client.v1.customers.unarchive("acme")
    assert client.v1.customers.retrieve("acme").data.name is None


def test_entitlements_tell_an_archived_customer_from_one_that_never_was(client: Client, app: Stigg, acme: str) -> None:
    assert client.v1.customers.retrieve_entitlements("nobody").data.access_denied_reason == "CustomerNotFound"
    app.add_subscription(acme, "plan-enterprise")
    assert client.v1.customers.retrieve_entitlements(acme).data.access_denied_reason is None
    app.archive(acme)
    told = client.v1.customers.retrieve_entitlements(acme).data
    assert (told.access_denied_reason, told.entitlements) == ("CustomerIsArchived", [])


@pytest.mark.parametrize(
    ("archiving", "archived", "status"),
    [("cancels", True, "CANCELED"), ("keeps", True, "ACTIVE"), ("refuses", False, "ACTIVE")],
)
def test_what_archiving_does_to_subscriptions_is_a_switch(
    clock: Clock, archiving: Archiving, archived: bool, status: str
) -> None:
    app = Stigg(KEY, now=clock.now, archiving=archiving)
    app.add_customer("acme")
    app.add_subscription("acme", "plan-enterprise", id="s1")
    with StandIn(app) as stand_in:
        answer = post(stand_in.url, "/customers/acme/archive", {})
    assert (answer.status_code == 200) == archived, answer.text
    assert app.subscription("s1")["status"] == status
    assert (app.customers["acme"]["archivedAt"] is not None) == archived


# IDs


@pytest.mark.parametrize("id", ["acme", "a", "A.b_c|d-e", "a@acme.example", "x" * 255])
def test_a_customers_id_may_be_an_email_address(url: str, id: str) -> None:
    assert post(url, "/customers", {"id": id}).status_code == 201


@pytest.mark.parametrize("id", ["", "-a", "_a", "@a", "a b", "a+b", "a:b", "a/b", "a\n", "é", "x" * 256])
def test_an_id_with_another_character_is_refused(url: str, app: Stigg, id: str) -> None:
    assert post(url, "/customers", {"id": id}).status_code == 400
    app.add_customer("acme")
    wanted = {"customerId": "acme", "planId": "plan-enterprise"}
    for field in ("id", "resourceId"):
        assert post(url, "/subscriptions", {**wanted, field: id}).status_code == 400
        assert post(url, "/subscriptions", {**wanted, field: "a@acme.example"}).status_code == 400


# Pages and memory


def test_what_happens_to_a_subscription_can_be_made_to_happen_on_its_page(url: str, app: Stigg) -> None:
    app.add_customer("acme")
    app.add_subscription("acme", "plan-team", id="s1", **TEAM, payment_collection_method="INVOICE")
    page = f"{url}/sandbox/subscriptions/s1"
    assert "The payment fails" in requests.get(page, timeout=60).text
    assert requests.post(f"{page}/fail-payment", timeout=60).status_code == 200  # back on the page
    assert app.subscription("s1")["paymentCollection"] == "FAILED"
    requests.post(f"{page}/pay", timeout=60)
    assert app.subscription("s1")["paymentCollection"] == "NOT_REQUIRED"
    requests.post(f"{page}/cancel-by-billing", timeout=60)
    assert reached(app, "s1") == ("CANCELED", "CANCELLED_BY_BILLING")
    assert "Nothing: it has ended." in requests.get(page, timeout=60).text
    assert requests.post(f"{page}/expire-checkout", timeout=60).status_code == 400
    assert requests.post(f"{page}/nothing", timeout=60).status_code == 404
    assert requests.post(f"{url}/sandbox/customers/acme/archive", timeout=60).status_code == 200
    assert app.customers["acme"]["archivedAt"] is not None


def test_payments_and_archived_customers_are_kept_and_put_back(app: Stigg, clock: Clock) -> None:
    app.add_customer("acme")
    app.add_subscription("acme", "plan-team", id="waits", **CHARGED)
    app.add_subscription(
        "acme", "plan-team", id="owes", resource_id="other", **TEAM, payment_collection_method="INVOICE"
    )
    app.fail_payment("owes")
    app.add_customer("gone")
    app.archive("gone")
    other = Stigg(KEY, now=clock.now)
    other.put_back(app.kept())
    assert other.kept() == app.kept()
    assert [other.subscription(id) for id in ("waits", "owes")] == [app.subscription(id) for id in ("waits", "owes")]
    assert other.customers == app.customers


# Currency


def test_a_customers_currency_is_kept_until_it_is_said_again_and_may_be_emptied(client: Client, url: str) -> None:
    made = client.v1.customers.provision(id="acme", billing_currency="jpy").data
    assert made.billing_currency == "jpy"
    assert client.v1.customers.update("acme", name="Acme").data.billing_currency == "jpy"
    assert client.v1.customers.provision(id="acme", name="Acme KK").data.billing_currency == "jpy"
    assert post(url, "/customers", {"id": "acme", "billingCurrency": "JPY"}).status_code == 400
    sold = {"customerId": "acme", "planId": "plan-enterprise"}
    override = {"baseCharge": True, "amount": 100}
    in_dollars = post(url, "/subscriptions", {**sold, "priceOverrides": [{**override, "currency": "usd"}]})
    assert (in_dollars.status_code, in_dollars.json()["code"]) == (400, "CurrencyMismatch")
    in_yen = post(url, "/subscriptions", {**sold, "priceOverrides": [override]}).json()
    assert in_yen["data"]["subscription"]["prices"] == [{"baseCharge": True, "amount": 100, "currency": "jpy"}]
    assert client.v1.customers.update("acme", billing_currency=None).data.billing_currency is None
