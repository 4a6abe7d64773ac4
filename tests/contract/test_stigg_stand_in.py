"""The stand-in for Stigg, driven over HTTP by the official SDK, whose every answer is parsed strictly."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic
import pytest
import requests
import stigg
from stigg.types import v1

from contract.stigg_client import KEY, START, Client, Clock, post
from contract.stigg_contract import accepts, answers, faults
from sandbox.stand_in import StandIn
from sandbox.stigg import Stigg

# A whole life


def test_a_customer_and_its_subscription_live_through_the_sdk(client: Client, app: Stigg, clock: Clock) -> None:
    made = client.v1.customers.provision(
        id="northwind",
        name="Northwind Traders",
        email="billing@northwind.example",
        metadata={"region": "emea"},
        integrations=[
            {
                "id": "integration-1",
                "vendor_identifier": "SALESFORCE",
                "synced_entity_id": "0015g00000XyZaBAAV",
            }
        ],
    ).data
    assert (made.id, made.metadata) == ("northwind", {"region": "emea"})
    assert client.v1.customers.retrieve("northwind").data == made

    answer = client.v1.subscriptions.provision(
        id="northwind-platform-1",
        customer_id="northwind",
        plan_id="plan-enterprise",
        billing_period="ANNUALLY",
        payment_collection_method="INVOICE",
        addons=[
            {"id": "addon-premium-support", "quantity": 1},
            {"id": "addon-extra-workspace", "quantity": 5},
        ],
        entitlements=[
            {"type": "FEATURE", "id": "feature-seats", "usage_limit": 250},
            {"type": "FEATURE", "id": "feature-api-calls", "usage_limit": 5_000_000, "reset_period": "MONTH"},
            {"type": "FEATURE", "id": "feature-sso"},
            {"type": "CREDIT", "id": "currency-ai-credits", "amount": 1000, "cadence": "MONTH"},
        ],
        price_overrides=[
            {"base_charge": True, "amount": 48000, "currency": "usd"},
            {"addon_id": "addon-extra-workspace", "amount": 1200},
        ],
        metadata={"closedWonOpportunity": "0065g00000ABCdEAAX"},
        salesforce_id="0065g00000ABCdEAAX",
    ).data
    assert (answer.id, answer.status, answer.is_scheduled) == ("northwind-platform-1", "SUCCESS", False)
    assert answer.subscription is not None
    assert answer.subscription.status == "ACTIVE"
    assert [(e.id, e.type) for e in answer.subscription.subscription_entitlements or ()] == [
        ("feature-seats", "FEATURE"),
        ("feature-api-calls", "FEATURE"),
        ("feature-sso", "FEATURE"),
        ("currency-ai-credits", "CREDIT"),
    ]
    assert client.v1.subscriptions.retrieve("northwind-platform-1").data.metadata == answer.subscription.metadata
    assert [s.id for s in client.v1.subscriptions.list(customer_id="northwind", status=["ACTIVE", "IN_TRIAL"])] == [
        "northwind-platform-1"
    ]
    assert app.entitlements("northwind") == {
        "feature-seats": 250,
        "feature-api-calls": 5_000_000,
        "feature-storage-gb": 500 + 5 * 100,
        "feature-sso": True,
        "feature-audit-retention-days": 90,
        "feature-support-tier": True,
        "currency-ai-credits": 1000,
    }

    ended = client.v1.subscriptions.cancel(
        "northwind-platform-1", cancellation_time="SPECIFIC_DATE", end_date=START + timedelta(days=365)
    )
    assert (ended.data.status, ended.data.cancellation_date) == ("ACTIVE", START + timedelta(days=365))
    clock.wait(days=365)
    gone = client.v1.subscriptions.retrieve("northwind-platform-1").data
    assert (gone.status, gone.cancel_reason) == ("CANCELED", "ScheduledCancellation")
    assert client.v1.customers.retrieve_entitlements("northwind").data.access_denied_reason == "NoActiveSubscription"


def test_the_internal_state_shows_what_the_api_hides(client: Client, app: Stigg, acme: str) -> None:
    client.v1.subscriptions.provision(
        customer_id=acme,
        plan_id="plan-enterprise",
        salesforce_id="0065g00000ABCdEAAX",
        billing_period="ANNUALLY",
        entitlements=[{"type": "FEATURE", "id": "feature-seats", "has_unlimited_usage": True}],
    )
    [full] = app.subscriptions(acme)
    assert full["entitlements"] == [{"type": "FEATURE", "id": "feature-seats", "hasUnlimitedUsage": True}]
    assert (full["salesforceId"], full["billingPeriod"]) == ("0065g00000ABCdEAAX", "ANNUALLY")
    assert app.entitlements(acme)["feature-seats"] == math.inf


# Writing replaces


def test_a_customers_metadata_is_replaced_and_absent_fields_stay(client: Client, acme: str) -> None:
    client.v1.customers.update(acme, metadata={"a": "1", "b": "2"})
    changed = client.v1.customers.update(acme, metadata={"b": "3"}).data
    assert (changed.metadata, changed.name) == ({"b": "3"}, "Acme")
    assert client.v1.customers.update(acme, name="Acme Inc").data.metadata == {"b": "3"}


def test_provisioning_a_known_customer_changes_it_and_makes_no_second_one(url: str, client: Client, acme: str) -> None:
    again = post(url, "/customers", {"id": acme, "metadata": {"seen": "twice"}})
    assert (again.status_code, again.json()["data"]["email"]) == (200, "billing@acme.example")
    assert [customer.id for customer in client.v1.customers.list()] == [acme]


def test_a_list_sent_replaces_the_whole_list(client: Client, app: Stigg, acme: str) -> None:
    app.add_subscription(
        acme,
        "plan-enterprise",
        id="s1",
        addons=[
            {"id": "addon-premium-support", "quantity": 1},
            {"id": "addon-extra-workspace", "quantity": 5},
        ],
        entitlements=[
            {"type": "FEATURE", "id": "feature-seats", "usageLimit": 250},
            {"type": "FEATURE", "id": "feature-sso"},
        ],
        price_overrides=[
            {"baseCharge": True, "amount": 100},
            {"addonId": "addon-extra-workspace", "amount": 7},
        ],
        metadata={"kept": "no"},
    )
    client.v1.subscriptions.update("s1", addons=[{"id": "addon-premium-support", "quantity": 2}])
    now = app.subscription("s1")
    assert now["addons"] == [{"id": "addon-premium-support", "quantity": 2}]
    assert [price["amount"] for price in now["priceOverrides"]] == [100], "the price of a removed add-on goes with it"
    assert len(now["entitlements"]) == 2, "a list that is not sent stays"

    client.v1.subscriptions.update(
        "s1",
        entitlements=[{"type": "FEATURE", "id": "feature-seats", "usage_limit": 300}],
        price_overrides=[],
        metadata={"new": "yes"},
    )
    now = app.subscription("s1")
    assert now["entitlements"] == [{"type": "FEATURE", "id": "feature-seats", "usageLimit": 300}]
    assert (now["priceOverrides"], now["metadata"]) == ([], {"new": "yes"})


# Slots


def test_a_new_subscription_cancels_the_one_in_its_slot_and_no_other(client: Client, app: Stigg, acme: str) -> None:
    app.add_subscription(acme, "plan-team", id="old", billing_period="MONTHLY")
    app.add_subscription(acme, "plan-team", id="workspace", billing_period="MONTHLY", resource_id="workspace-7")
    app.add_subscription(acme, "plan-analytics", id="other-product")
    client.v1.subscriptions.provision(customer_id=acme, plan_id="plan-enterprise", id="new")
    old = client.v1.subscriptions.retrieve("old").data
    assert (old.status, old.cancel_reason) == ("CANCELED", "UPGRADE_OR_DOWNGRADE")
    active = {s.id for s in client.v1.subscriptions.list(customer_id=acme, status=["ACTIVE"])}
    assert active == {"new", "workspace", "other-product"}
    assert [s.id for s in client.v1.subscriptions.list(customer_id=acme, resource_id="workspace-7")] == ["workspace"]


def test_a_start_in_the_future_takes_the_slot_when_it_comes(
    client: Client, app: Stigg, clock: Clock, acme: str
) -> None:
    app.add_subscription(acme, "plan-team", id="old", billing_period="MONTHLY")
    answer = client.v1.subscriptions.provision(
        customer_id=acme, plan_id="plan-enterprise", id="new", start_date=START + timedelta(days=30)
    ).data
    assert (answer.is_scheduled, answer.status) == (True, "SUCCESS")
    assert answer.subscription is not None
    assert answer.subscription.status == "NOT_STARTED"
    assert app.subscription("old")["status"] == "ACTIVE"
    clock.wait(days=30)
    assert (app.subscription("old")["status"], app.subscription("new")["status"]) == ("CANCELED", "ACTIVE")


def test_an_id_is_never_used_twice_even_after_its_subscription_ended(client: Client, acme: str) -> None:
    wanted: Any = {"customer_id": acme, "plan_id": "plan-enterprise", "id": "once"}
    client.v1.subscriptions.provision(**wanted)
    client.v1.subscriptions.cancel("once", cancellation_time="IMMEDIATE")
    with pytest.raises(stigg.ConflictError) as refused:
        client.v1.subscriptions.provision(**wanted)
    assert refused.value.body == {
        "message": "subscription ID once was already used",
        "code": "DuplicatedEntityNotAllowed",
    }


# Trials


def test_a_paid_subscription_over_a_trial_starts_when_the_trial_ends(
    client: Client, app: Stigg, clock: Clock, acme: str
) -> None:
    trial = client.v1.subscriptions.provision(
        customer_id=acme,
        plan_id="plan-enterprise",
        id="trial",
        trial_override_configuration={
            "is_trial": True,
            "trial_end_date": START + timedelta(days=14),
            "trial_end_behavior": "CONVERT_TO_PAID",
        },
    ).data.subscription
    assert trial is not None
    assert trial.status == "IN_TRIAL"
    paid = client.v1.subscriptions.provision(customer_id=acme, plan_id="plan-enterprise", id="paid").data
    assert (paid.is_scheduled, app.subscription("trial")["status"]) == (True, "IN_TRIAL")

    clock.wait(days=14)
    ended = app.subscription("trial")
    assert (ended["status"], ended["cancelReason"]) == ("EXPIRED", "TRIAL_CONVERTED")
    assert app.subscription("paid")["status"] == "ACTIVE"


def test_a_trial_ends_by_changing_its_end_date_while_the_paid_subscription_stands(
    client: Client, app: Stigg, acme: str
) -> None:
    trial = {
        "isTrial": True,
        "trialEndDate": START + timedelta(days=14),
        "trialEndBehavior": "CONVERT_TO_PAID",
    }
    app.add_subscription(acme, "plan-enterprise", id="trial", trial_override_configuration=trial)
    client.v1.subscriptions.provision(customer_id=acme, plan_id="plan-enterprise", id="paid", start_date=START)
    assert {s.id for s in client.v1.subscriptions.list(status=["ACTIVE", "IN_TRIAL"])} == {"trial", "paid"}
    over = client.v1.subscriptions.update("trial", trial_end_date=START, schedule_strategy="IMMEDIATE").data
    assert (over.status, app.subscription("paid")["status"]) == ("EXPIRED", "ACTIVE")
    with pytest.raises(stigg.BadRequestError):
        client.v1.subscriptions.update("paid", trial_end_date=START + timedelta(days=1))


@pytest.mark.parametrize(
    ("behavior", "status", "reason"),
    [("CONVERT_TO_PAID", "ACTIVE", None), ("CANCEL_SUBSCRIPTION", "EXPIRED", "TRIAL_ENDED")],
)
def test_a_trial_ends_by_its_behavior(app: Stigg, clock: Clock, behavior: str, status: str, reason: str | None) -> None:
    app.add_customer("acme")
    trial = {"isTrial": True, "trialEndDate": START + timedelta(days=14), "trialEndBehavior": behavior}
    app.add_subscription("acme", "plan-enterprise", id="trial", trial_override_configuration=trial)
    clock.wait(days=14)
    ended = app.subscription("trial")
    assert (ended["status"], ended["cancelReason"]) == (status, reason)


def test_a_plan_with_a_default_trial_starts_in_it_unless_told_otherwise(
    client: Client, app: Stigg, clock: Clock, acme: str
) -> None:
    wanted: Any = {"customer_id": acme, "plan_id": "plan-pilot", "billing_period": "MONTHLY"}
    tried = client.v1.subscriptions.provision(id="tried", **wanted).data.subscription
    assert tried is not None
    assert (tried.status, tried.trial_end_date) == ("IN_TRIAL", START + timedelta(days=14))
    asked: Any = {"trial_override_configuration": {"is_trial": True, "trial_end_behavior": "CANCEL_SUBSCRIPTION"}}
    asked_for = client.v1.subscriptions.provision(id="asked", resource_id="other", **wanted, **asked).data.subscription
    assert asked_for is not None
    assert (asked_for.status, asked_for.trial_end_date) == ("IN_TRIAL", START + timedelta(days=14))
    no_trial: Any = {"trial_override_configuration": {"is_trial": False}}
    sold = client.v1.subscriptions.provision(id="sold", resource_id="third", **wanted, **no_trial).data.subscription
    assert sold is not None
    assert (sold.status, sold.trial, sold.trial_end_date) == ("ACTIVE", None, None)

    clock.wait(days=14)
    states = {s["id"]: (s["status"], s["cancelReason"]) for s in app.subscriptions(acme)}
    assert states == {"tried": ("ACTIVE", None), "asked": ("EXPIRED", "TRIAL_ENDED"), "sold": ("ACTIVE", None)}


def test_a_preview_of_a_default_trial_costs_nothing_at_once(client: Client, acme: str) -> None:
    wanted: Any = {"customer_id": acme, "plan_id": "plan-pilot", "billing_period": "MONTHLY"}
    tried = client.v1.subscriptions.preview(**wanted).data
    sold = client.v1.subscriptions.preview(**wanted, trial_override_configuration={"is_trial": False}).data
    assert (tried.immediate_invoice.total, sold.immediate_invoice.total) == (0, 200)
    assert tried.recurring_invoice is not None
    assert tried.recurring_invoice.total == 200


# Updates that wait


def test_an_environment_that_defers_puts_updates_off_unless_told_immediate(url: str, clock: Clock) -> None:
    app = Stigg(KEY, now=clock.now, defer_updates=True)
    app.add_customer("acme")
    app.add_subscription("acme", "plan-team", id="s1", billing_period="MONTHLY", metadata={"v": "1"})
    with StandIn(app) as stand_in, Client(api_key=KEY, base_url=stand_in.url, max_retries=0) as client:
        waiting = client.v1.subscriptions.update("s1", addons=[{"id": "addon-extra-workspace", "quantity": 2}]).data
        assert waiting.addons == []
        [update] = waiting.future_updates or []
        assert (update.subscription_schedule_type, update.schedule_status) == ("ADDON", "SCHEDULED")
        assert update.scheduled_execution_time == datetime(2027, 1, 1, 9, 0, tzinfo=UTC)

        done = client.v1.subscriptions.update("s1", metadata={"v": "2"}, schedule_strategy="IMMEDIATE").data
        assert (done.metadata, done.future_updates) == ({"v": "2"}, []), "a new update takes the waiting one's place"

        client.v1.subscriptions.update("s1", metadata={"v": "3"})
        clock.wait(days=31)
        assert client.v1.subscriptions.retrieve("s1").data.metadata == {"v": "3"}


# Cancelling


@pytest.mark.parametrize(
    ("plan", "trial"),
    [("plan-enterprise", None), ("plan-team", {"isTrial": True, "trialEndDate": START + timedelta(9)})],
)
def test_custom_plans_and_trials_do_not_end_with_a_billing_period(
    client: Client, app: Stigg, plan: str, trial: dict[str, Any] | None
) -> None:
    app.add_customer("acme")
    more = {"trial_override_configuration": trial} if trial else {}
    app.add_subscription("acme", plan, id="s1", billing_period="MONTHLY", **more)
    with pytest.raises(stigg.BadRequestError):
        client.v1.subscriptions.cancel("s1", cancellation_time="END_OF_BILLING_PERIOD")
    client.v1.subscriptions.cancel("s1", cancellation_time="IMMEDIATE")
    assert app.subscription("s1")["cancelReason"] == "Immediate"


def test_a_paid_subscription_ends_with_its_billing_period_by_default(client: Client, app: Stigg, clock: Clock) -> None:
    app.add_customer("acme")
    app.add_subscription("acme", "plan-team", id="s1", billing_period="MONTHLY")
    client.v1.subscriptions.cancel("s1")
    clock.wait(days=30)
    assert app.subscription("s1")["status"] == "ACTIVE"
    clock.wait(days=1)
    assert app.subscription("s1")["status"] == "CANCELED"


# Payment


def test_a_paid_plan_without_a_payment_method_waits_at_its_checkout(client: Client, app: Stigg, acme: str) -> None:
    app.add_subscription(acme, "plan-enterprise", id="old")
    answer = client.v1.subscriptions.provision(
        customer_id=acme,
        plan_id="plan-team",
        id="new",
        billing_period="ANNUALLY",
        payment_collection_method="CHARGE",
        checkout_options={
            "success_url": "https://acme.example/thanks",
            "cancel_url": "https://acme.example/no",
        },
    ).data
    assert (answer.status, answer.subscription) == ("PAYMENT_REQUIRED", None)
    assert app.subscription("new")["status"] == "PAYMENT_PENDING"
    assert app.subscription("old")["status"] == "ACTIVE", "what is not paid for replaces nothing"

    assert answer.checkout_url is not None
    assert "<button>Pay</button>" in requests.get(answer.checkout_url, timeout=60).text
    paid = requests.post(answer.checkout_url, timeout=60, allow_redirects=False)
    assert (paid.status_code, paid.headers["Location"]) == (303, "https://acme.example/thanks")
    assert (app.subscription("new")["status"], app.subscription("old")["status"]) == ("ACTIVE", "CANCELED")
    assert requests.post(answer.checkout_url, timeout=60).status_code == 404, "a checkout is paid once"


def test_a_payment_method_on_file_makes_a_checkout_unnecessary(client: Client, app: Stigg, acme: str) -> None:
    app.attach_payment_method(acme)
    answer = client.v1.subscriptions.provision(
        customer_id=acme, plan_id="plan-team", billing_period="MONTHLY", payment_collection_method="CHARGE"
    ).data
    assert (answer.status, answer.checkout_url) == ("SUCCESS", None)


# What is refused

SUBSCRIPTION = {"customerId": "acme", "planId": "plan-enterprise"}
TEAM = {"customerId": "acme", "planId": "plan-team", "billingPeriod": "MONTHLY"}


def feature(name: str, **values: Any) -> dict[str, Any]:
    return {"type": "FEATURE", "id": f"feature-{name}", **values}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {**SUBSCRIPTION, "customerId": "nobody"}),
        (404, {**SUBSCRIPTION, "planId": "plan-nothing"}),
        (400, {**SUBSCRIPTION, "planId": "plan-starter"}),  # archived
        (400, {**TEAM, "billingPeriod": "QUARTERLY"}),
        (400, {"customerId": "acme", "planId": "plan-team"}),  # several periods, none chosen
        (404, {**SUBSCRIPTION, "addons": [{"id": "addon-nothing", "quantity": 1}]}),
        (400, {**SUBSCRIPTION, "addons": [{"id": "addon-legacy-import", "quantity": 1}]}),  # incompatible
        (400, {**SUBSCRIPTION, "addons": [{"id": "addon-audit-log", "quantity": 2}]}),  # at most one
        (400, {**SUBSCRIPTION, "addons": [{"id": "addon-audit-log", "quantity": 0}]}),
        (400, {**SUBSCRIPTION, "addons": [{"id": "addon-extra-workspace", "quantity": 1}] * 2}),
        (404, {**SUBSCRIPTION, "entitlements": [feature("nothing", usageLimit=1)]}),
        (400, {**TEAM, "entitlements": [feature("seats", usageLimit=1)]}),  # not a custom plan
        (400, {**SUBSCRIPTION, "entitlements": [feature("sso", usageLimit=1)]}),
        (400, {**SUBSCRIPTION, "entitlements": [feature("seats")]}),
        (400, {**SUBSCRIPTION, "entitlements": [feature("seats", usageLimit=1, hasUnlimitedUsage=True)]}),
        (400, {**SUBSCRIPTION, "entitlements": [feature("seats", usageLimit=1.5)]}),
        (400, {**SUBSCRIPTION, "entitlements": [feature("seats", usageLimit="1")]}),
        (400, {**SUBSCRIPTION, "entitlements": [feature("seats", usageLimit=1, resetPeriod="MONTH")]}),
        (400, {**SUBSCRIPTION, "entitlements": [feature("support-tier", usageLimit=1)]}),
        (400, {**SUBSCRIPTION, "entitlements": [feature("seats", usageLimit=1)] * 2}),
        (
            400,
            {**SUBSCRIPTION, "entitlements": [{"type": "CREDIT", "id": "currency-ai-credits", "amount": 1}]},
        ),
        (
            404,
            {**SUBSCRIPTION, "entitlements": [{"type": "CREDIT", "id": "c", "amount": 1, "cadence": "YEAR"}]},
        ),
        (400, {**SUBSCRIPTION, "priceOverrides": [{"amount": 5}]}),  # of what?
        (400, {**SUBSCRIPTION, "priceOverrides": [{"addonId": "addon-audit-log", "amount": 5}]}),  # not held
        (
            400,
            {**SUBSCRIPTION, "priceOverrides": [{"featureId": "feature-seats", "amount": 5}]},
        ),  # no such charge
        (400, {**SUBSCRIPTION, "priceOverrides": [{"baseCharge": True, "amount": 5, "currency": "eur"}]}),
        (400, {**SUBSCRIPTION, "priceOverrides": [{"baseCharge": True, "amount": 5, "currency": "USD"}]}),
        (
            400,
            {
                "customerId": "acme",
                "planId": "plan-free",
                "priceOverrides": [{"baseCharge": True, "amount": 5}],
            },
        ),
        (400, {**SUBSCRIPTION, "startDate": "2026-12-01"}),  # a date without a time and zone
        (400, {**SUBSCRIPTION, "cancellationDate": "2026-11-30T00:00:00Z"}),
        (400, {**SUBSCRIPTION, "addons": None}),
        (400, {**SUBSCRIPTION, "metadata": {"n": 1}}),
        (400, {**SUBSCRIPTION, "trialOverrideConfiguration": {"isTrial": True}}),
        (400, {**SUBSCRIPTION, "opportunityId": "0065g00000ABCdEAAX"}),
        (400, {**SUBSCRIPTION, "customer_id": "acme"}),
        (400, [SUBSCRIPTION]),
    ],
)
def test_a_subscription_that_breaks_a_rule_is_refused_and_leaves_nothing(
    url: str, app: Stigg, status: int, body: Any
) -> None:
    app.add_customer("acme")
    answer = post(url, "/subscriptions", body)
    assert (answer.status_code, set(answer.json())) == (status, {"message", "code"}), answer.text
    assert app.subscriptions() == []


def test_a_price_must_exist_in_the_customers_currency_unless_it_is_overridden(url: str, app: Stigg) -> None:
    app.add_customer("acme", billing_currency="eur")
    assert post(url, "/subscriptions", TEAM).json()["code"] == "PriceNotFound"
    overridden = {**TEAM, "priceOverrides": [{"baseCharge": True, "amount": 450, "currency": "eur"}]}
    assert post(url, "/subscriptions", overridden).status_code == 201


def test_an_update_keeps_the_rules_of_provisioning(client: Client, app: Stigg) -> None:
    app.add_customer("acme", billing_currency="eur")
    app.add_subscription("acme", "plan-enterprise", id="s1")
    before = app.subscription("s1")
    changes: list[dict[str, Any]] = [
        {"addons": [{"id": "addon-legacy-import", "quantity": 1}]},
        {"addons": [{"id": "addon-audit-log", "quantity": 1}]},  # no price in euros
        {"entitlements": [{"type": "FEATURE", "id": "feature-sso", "usage_limit": 1}]},
        {"price_overrides": [{"base_charge": True, "amount": 1, "currency": "usd"}]},
        {"cancellation_date": START},
    ]
    for change in changes:
        with pytest.raises(stigg.BadRequestError):
            client.v1.subscriptions.update("s1", **change)
    assert app.subscription("s1") == before
    client.v1.subscriptions.cancel("s1", cancellation_time="IMMEDIATE")
    with pytest.raises(stigg.BadRequestError):
        client.v1.subscriptions.update("s1", metadata={})


@pytest.mark.parametrize(
    "field",
    ["planId", "startDate", "unitQuantity", "payingCustomerId", "paymentCollectionMethod", "resourceId"],
)
def test_an_update_refuses_what_it_cannot_change(url: str, app: Stigg, field: str) -> None:
    app.add_customer("acme")
    app.add_subscription("acme", "plan-enterprise", id="s1")
    answer = requests.patch(f"{url}/api/v1/subscriptions/s1", json={field: "x"}, headers={"X-API-KEY": KEY}, timeout=60)
    assert answer.status_code == 400
    assert field in answer.json()["message"]


def test_a_preview_computes_invoices_and_refuses_entitlements_and_price_overrides(
    client: Client, app: Stigg, url: str, acme: str
) -> None:
    shown = client.v1.subscriptions.preview(
        customer_id=acme,
        plan_id="plan-team",
        billing_period="ANNUALLY",
        addons=[{"id": "addon-extra-workspace", "quantity": 3}],
        applied_coupon={"coupon_id": "coupon-partner-20"},
    ).data
    assert (shown.immediate_invoice.sub_total, shown.immediate_invoice.total) == (4900 + 3 * 1200, 6800)
    assert shown.recurring_invoice is not None
    assert [line.sub_total for line in shown.recurring_invoice.lines or ()] == [4900, 3600]
    later = client.v1.subscriptions.preview(
        customer_id=acme, plan_id="plan-team", billing_period="MONTHLY", start_date=START + timedelta(days=9)
    ).data
    assert later.recurring_invoice is not None
    assert (later.immediate_invoice.total, later.recurring_invoice.total) == (0, 490)
    for field in ("entitlements", "priceOverrides"):
        assert post(url, "/subscriptions/preview", {**TEAM, field: []}).status_code == 400
    assert app.subscriptions() == []


def test_every_answer_names_its_request_and_the_key_is_asked_for(url: str, acme: str) -> None:
    for key in ("", "wrong"):
        answer = requests.get(f"{url}/api/v1/customers/{acme}", headers={"X-API-KEY": key}, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (401, "Unauthenticated")
        assert answer.headers["x-request-id"]
    answer = requests.get(f"{url}/api/v1/nothing", headers={"X-API-KEY": KEY}, timeout=60)
    assert (answer.status_code, bool(answer.headers["x-request-id"])) == (404, True)


# Credits


def test_credits_are_granted_and_lists_leave_out_those_of_a_resource(client: Client, app: Stigg, acme: str) -> None:
    grant: Any = {
        "customer_id": acme,
        "currency_id": "currency-ai-credits",
        "amount": 500,
        "display_name": "Launch credits",
        "grant_type": "PROMOTIONAL",
        "metadata": {"closedWon": "grant-1"},
    }
    own = client.v1.credits.grants.create(**grant).data
    scoped = client.v1.credits.grants.create(**grant, resource_id="workspace-7", effective_at=START + timedelta(1)).data
    assert (own.status, scoped.status, own.metadata) == ("ACTIVE", "SCHEDULED", {"closedWon": "grant-1"})
    assert [g.id for g in client.v1.credits.grants.list(customer_id=acme)] == [own.id]
    assert [g.id for g in client.v1.credits.grants.list(customer_id=acme, resource_id="workspace-7")] == [scoped.id]
    assert app.entitlements(acme) == {"currency-ai-credits": 500}
    [effective] = client.v1.customers.retrieve_entitlements(acme).data.entitlements
    assert (effective.type, effective.usage_limit) == ("CREDIT", 500)


# Idempotency keys


def test_a_key_replays_its_first_answer_for_a_day_errors_too(url: str, app: Stigg, clock: Clock) -> None:
    app.add_customer("acme")
    body = {**SUBSCRIPTION, "metadata": {"try": "1"}}
    first = post(url, "/subscriptions", body, **{"Idempotency-Key": "k1"})
    replay = post(url, "/subscriptions", body, **{"Idempotency-Key": "k1"})
    assert (first.status_code, replay.status_code, replay.json()) == (201, 201, first.json())
    assert (first.headers.get("x-idempotent-replay"), replay.headers["x-idempotent-replay"]) == (None, "true")
    assert len(app.subscriptions()) == 1

    other = post(url, "/subscriptions", SUBSCRIPTION, **{"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (409, "IdempotencyKeyReused")

    late = {**SUBSCRIPTION, "customerId": "late"}
    assert post(url, "/subscriptions", late, **{"Idempotency-Key": "k2"}).status_code == 404
    app.add_customer("late")
    assert post(url, "/subscriptions", late, **{"Idempotency-Key": "k2"}).status_code == 404
    clock.wait(hours=24)
    assert post(url, "/subscriptions", late, **{"Idempotency-Key": "k2"}).status_code == 201


def test_many_senders_of_one_key_make_one_subscription(url: str, app: Stigg) -> None:
    app.add_customer("acme")
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(post, url, "/subscriptions", SUBSCRIPTION, **{"Idempotency-Key": "k"}) for _ in range(16)]
        got = [one.result() for one in sent]
    assert {answer.status_code for answer in got} == {201}
    assert len({answer.json()["data"]["id"] for answer in got}) == len(app.subscriptions()) == 1
    assert sum("x-idempotent-replay" in answer.headers for answer in got) == 15


# Rate limits


def test_the_thirty_first_change_of_one_customer_in_a_minute_is_refused(
    client: Client, url: str, clock: Clock, acme: str
) -> None:
    for _ in range(29):  # provisioning was the first
        client.v1.customers.update(acme, language="en")
    with pytest.raises(stigg.RateLimitError):
        client.v1.customers.update(acme, language="en")
    client.v1.customers.provision(id="another")
    keyed = post(url, "/customers", {"id": acme}, **{"Idempotency-Key": "k"})
    assert (keyed.status_code, "Retry-After" in keyed.headers) == (429, False)
    clock.wait(seconds=60)
    again = post(url, "/customers", {"id": acme}, **{"Idempotency-Key": "k"})
    assert again.status_code == 200, "a 429 is not kept under a key"


def test_the_environment_has_a_limit_of_its_own_and_limits_can_be_switched_off(clock: Clock) -> None:
    for limited, last in ((True, 429), (False, 201)):
        with (
            StandIn(Stigg(KEY, limited, now=clock.now, clock=clock.seconds)) as stand_in,
            requests.Session() as session,
        ):
            session.headers["X-API-KEY"] = KEY
            statuses = [
                session.post(f"{stand_in.url}/api/v1/customers", json={"id": f"c{n}"}, timeout=60).status_code
                for n in range(251)
            ]
        assert statuses == [201] * 250 + [last]


# Lists


def test_lists_go_page_by_page_in_both_directions(client: Client, app: Stigg) -> None:
    for number in range(45):
        app.add_customer(f"c{number}", name=f"Customer {number % 2}")
    first = client.v1.customers.list(limit=20)
    assert (len(first.data), first.pagination and first.pagination.prev) == (20, None)
    everyone = [customer.id for customer in first]
    assert (len(everyone), len(set(everyone))) == (45, 45)

    second = first.get_next_page()
    assert second.pagination is not None
    assert second.pagination.prev is not None
    back = client.v1.customers.list(limit=20, before=second.pagination.prev)
    assert [customer.id for customer in back.data] == [customer.id for customer in first.data]
    assert len(list(client.v1.customers.list(name="Customer 1"))) == 22
    for limit in (0, 101):
        with pytest.raises(stigg.BadRequestError):
            client.v1.customers.list(limit=limit)


def test_a_list_goes_on_from_its_cursor_whatever_ends_or_is_added_meanwhile(client: Client, app: Stigg) -> None:
    for number in range(45):
        app.add_customer(f"c{number}")
        app.add_subscription(f"c{number}", "plan-enterprise", id=f"s{number}")
    first = client.v1.subscriptions.list(limit=20, status="ACTIVE")
    assert [s.id for s in first.data] == [f"s{number}" for number in range(44, 24, -1)]
    for number in (25, 24, 3):  # that the cursor is at, one that is to come, one that comes later
        client.v1.subscriptions.cancel(f"s{number}", cancellation_time="IMMEDIATE")
    app.add_customer("new")
    app.add_subscription("new", "plan-enterprise", id="new")
    second = first.get_next_page()
    third = second.get_next_page()
    there = [f"s{number}" for number in range(23, -1, -1) if number != 3]
    assert [s.id for s in (*second.data, *third.data)] == there
    assert third.pagination is not None
    assert third.pagination.next is None
    back = client.v1.subscriptions.list(limit=20, status="ACTIVE", before=third.pagination.prev)
    assert [s.id for s in back.data] == [s.id for s in second.data]


def test_what_is_seeded_is_as_if_it_had_been_made(client: Client, app: Stigg, clock: Clock) -> None:
    body: dict[str, Any] = {
        "startDate": "2026-01-01T00:00:00.000Z",
        "cancellationDate": "2099-01-01T00:00:00.000Z",
        "addons": [{"id": "addon-extra-workspace", "quantity": 5}],
        "entitlements": [{"type": "FEATURE", "id": "feature-seats", "usageLimit": 50}],
        "priceOverrides": [{"baseCharge": True, "amount": 48000}],
        "metadata": {"a": "b"},
        "paymentCollectionMethod": "NONE",
    }
    app.seed(
        [{"id": "acme", "name": "Acme"}], [{"id": "seeded", "customerId": "acme", "planId": "plan-enterprise", **body}]
    )
    app.add_customer("other", name="Acme")
    app.add_subscription("other", "plan-enterprise", id="made", **body)
    (seeded,), (made,) = app.subscriptions("acme"), app.subscriptions("other")
    assert {**seeded, "id": "", "customerId": ""} == {**made, "id": "", "customerId": ""}
    assert {**app.customers["acme"], "id": ""} == {**app.customers["other"], "id": ""}
    assert client.v1.subscriptions.retrieve("seeded").data.status == "ACTIVE"


def test_lists_filter_by_date_of_creation(client: Client, app: Stigg, clock: Clock) -> None:
    app.add_customer("early")
    clock.wait(hours=1)
    app.add_customer("late")
    assert [c.id for c in client.v1.customers.list(created_at={"gt": START})] == ["late"]
    assert [c.id for c in client.v1.customers.list(created_at={"lte": START})] == ["early"]


def test_a_filter_the_api_does_not_know_is_refused_rather_than_ignored(url: str, acme: str) -> None:
    for query in ("customer=acme", "status=active", "customerId=acme&customerId=other", "after=nowhere"):
        answer = requests.get(f"{url}/api/v1/subscriptions?{query}", headers={"X-API-KEY": KEY}, timeout=60)
        assert answer.status_code == 400, query


def test_every_part_of_the_catalogue_can_be_listed_and_read(client: Client) -> None:
    api = client.v1
    plans = {plan.id: plan for plan in api.plans.list(status=["PUBLISHED"])}
    assert set(plans) == {
        "plan-free",
        "plan-team",
        "plan-enterprise",
        "plan-enterprise-plus",
        "plan-analytics",
        "plan-analytics-pro",
        "plan-growth",
        "plan-per-seat",
        "plan-pilot",
        "plan-metered",
        "plan-assistant",
    }
    assert plans["plan-team"].compatible_addon_ids == [
        "addon-premium-support",
        "addon-extra-workspace",
        "addon-legacy-import",
    ]
    for name, plan in plans.items():
        assert api.plans.retrieve(name).data.display_name == plan.display_name
        assert [e.id for e in api.plans.entitlements.list(name).data] == [e.id for e in plan.entitlements]
    assert {(c.billing_period, c.price and c.price.amount) for c in api.plans.list_charges("plan-team")} == {
        ("MONTHLY", 490),
        ("ANNUALLY", 4900),
    }
    addons = {addon.id: addon for addon in api.addons.list(product_id="product-platform")}
    assert set(addons) == {
        "addon-premium-support",
        "addon-extra-workspace",
        "addon-audit-log",
        "addon-legacy-import",
        "addon-sso-domains",
    }
    domains = addons["addon-sso-domains"]
    assert (domains.dependencies, domains.max_quantity) == (["addon-audit-log"], 5)
    for name in addons:
        assert api.addons.retrieve(name).data.id == name
        assert len(api.addons.entitlements.list(name).data) == len(addons[name].entitlements)
        assert list(api.addons.list_charges(name))
    features = {one.id: one.feature_type for one in api.features.list_features()}
    assert (len(features), features["feature-sso"]) == (7, "BOOLEAN")
    assert api.features.retrieve_feature("feature-api-calls").data.meter_type == "INCREMENTAL"
    assert {product.id for product in api.products.list_products()} == {
        "product-platform",
        "product-analytics",
    }
    currencies = {currency.id for currency in api.credits.custom_currencies.list()}
    assert currencies == {"currency-ai-credits", "cred-type-tokens"}


def test_a_plan_says_what_it_charges_includes_and_starts_with(client: Client) -> None:
    def charges(plan: str) -> list[Any]:
        return list(client.v1.plans.list_charges(plan, limit=50))

    def amounts(plan: str, currency: str) -> set[tuple[str | None, str, float]]:
        return {
            (charge.feature_id, charge.billing_period, charge.price.amount)
            for charge in charges(plan)
            if charge.price and charge.price.currency == currency
        }

    growth = {
        (None, "MONTHLY", 300),
        (None, "ANNUALLY", 3000),
        ("feature-seats", "MONTHLY", 30),
        ("feature-seats", "ANNUALLY", 300),
    }
    assert amounts("plan-growth", "usd") == amounts("plan-growth", "eur") == growth
    assert amounts("plan-growth", "jpy") == {(feature, period, amount * 100) for feature, period, amount in growth}
    assert {charge.billing_model for charge in charges("plan-per-seat")} == {"PER_UNIT"}

    metered = {(c.feature_id, c.billing_model): c for c in charges("plan-metered") if c.billing_period == "MONTHLY"}
    tiered = metered["feature-dashboards", "PER_UNIT"]
    assert (tiered.price, tiered.tiers_mode) == (None, "GRADUATED")
    assert [(t.up_to, t.unit_price.amount, t.flat_price and t.flat_price.amount) for t in tiered.tiers] == [
        (10, 10, None),
        (50, 8, None),
        (None, 5, 40),
    ]
    assert metered["feature-api-calls", "PER_UNIT"].block_size == 1000
    assert metered["feature-storage-gb", "USAGE_BASED"].price.amount == 1

    trial = client.v1.plans.retrieve("plan-pilot").data.default_trial_config
    assert trial is not None
    assert (trial.duration, trial.units, trial.trial_end_behavior) == (14, "DAY", "CONVERT_TO_PAID")
    assert client.v1.plans.retrieve("plan-team").data.default_trial_config is None

    [tokens] = [e for e in client.v1.plans.entitlements.list("plan-assistant").data if e.type == "CREDIT"]
    assert (tokens.id, tokens.amount, tokens.cadence) == ("cred-type-tokens", 10_000, "MONTH")


# Pages


def test_deep_links_open_pages_that_show_what_was_provisioned(url: str, app: Stigg) -> None:
    app.add_customer(
        "acme",
        name="Acme <& Sons>",
        metadata={"region": "emea"},
        integrations=[{"id": "i1", "vendorIdentifier": "SALESFORCE", "syncedEntityId": "0015g00000XyZaBAAV"}],
    )
    app.add_subscription("acme", "plan-enterprise", id="s1", addons=[{"id": "addon-extra-workspace", "quantity": 5}])
    customer = requests.get(f"{url}/sandbox/customers/acme", timeout=60).text
    assert "Acme &lt;&amp; Sons&gt;" in customer
    assert "https://northwind.my.salesforce.example/lightning/r/Account/0015g00000XyZaBAAV/view" in customer
    assert "/sandbox/subscriptions/s1" in customer
    for path in ("/sandbox/subscriptions/s1", "/sandbox/customers/acme/subscriptions/s1"):
        page = requests.get(url + path, timeout=60)
        assert page.headers["Content-Type"].startswith("text/html")
        assert "Extra Workspace" in page.text
        assert "1,000 GB" in page.text
    assert requests.get(f"{url}/sandbox/customers/nobody", timeout=60).status_code == 404


def test_reset_forgets_everything(url: str, app: Stigg) -> None:
    app.add_customer("acme")
    requests.post(f"{url}/_sandbox/reset", timeout=60)
    assert app.customers == {}


# The contract helper itself

GOOD = {
    "customerId": "acme",
    "planId": "plan-enterprise",
    "startDate": "2026-12-01T00:00:00Z",
    "addons": [{"id": "addon-audit-log", "quantity": 1}],
    "entitlements": [
        {"type": "FEATURE", "id": "feature-seats", "usageLimit": 5, "monthlyResetPeriodConfiguration": None},
        {"type": "CREDIT", "id": "currency-ai-credits", "amount": 10.5, "cadence": "MONTH"},
    ],
    "priceOverrides": [{"addonId": None, "amount": 5, "currency": "usd"}],
    "billingInformation": {"taxRateIds": ["t1"]},
    "metadata": {"a": "b"},
    "budget": None,
}


def test_a_body_the_sdk_could_send_is_accepted() -> None:
    assert accepts(v1.SubscriptionProvisionParams, GOOD)
    assert accepts(v1.SubscriptionCancelParams, b"{}")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"customer_id": "acme"}, "body.customer_id is not known"),
        ({"X-ACCOUNT-ID": "a"}, "body.X-ACCOUNT-ID is not known"),
        ({"customerId": 7}, "body.customerId must be of type str"),
        ({"planId": None}, "body.planId must be of type str"),
        ({"startDate": "2026-12-01"}, "body.startDate must be an ISO 8601 date-time with a zone"),
        ({"startDate": 5}, "body.startDate must be an ISO 8601 date-time with a zone"),
        ({"billingPeriod": "YEARLY"}, "body.billingPeriod must be one of 'MONTHLY', 'ANNUALLY'"),
        ({"addons": [{"id": "a"}]}, "body.addons[0].quantity is required"),
        ({"addons": [{"id": "a", "quantity": 1.5}]}, "body.addons[0].quantity must be a whole number"),
        ({"addons": [{"id": "a", "quantity": True}]}, "body.addons[0].quantity must be a whole number"),
        ({"addons": {"id": "a"}}, "body.addons must be a list"),
        ({"addons": None}, "body.addons must be a list"),
        (
            {"entitlements": [{"type": "CREDIT", "id": "c", "amount": "1", "cadence": "MONTH"}]},
            "body.entitlements[0].amount must be a number",
        ),
        (
            {"entitlements": [{"type": "FEATURE", "id": "f", "featureId": "f"}]},
            "body.entitlements[0].featureId is not known",
        ),
        ({"metadata": {"a": 1}}, "body.metadata.a must be of type str"),
        ({"billingInformation": {"taxRateIds": "t1"}}, "body.billingInformation.taxRateIds must be a list"),
        ({"budget": {"limit": 5}}, "body.budget.hasSoftLimit is required"),
    ],
)
def test_a_body_the_sdk_could_not_send_is_refused_with_its_fault(change: dict[str, Any], fault: str) -> None:
    assert faults(v1.SubscriptionProvisionParams, {**GOOD, **change}) == [fault]
    with pytest.raises(AssertionError):
        accepts(v1.SubscriptionProvisionParams, {**GOOD, **change})


def test_what_is_required_must_be_there_and_no_variant_may_be_guessed() -> None:
    assert faults(v1.SubscriptionProvisionParams, {}) == [
        "body.customerId is required",
        "body.planId is required",
    ]
    assert faults(v1.SubscriptionProvisionParams, []) == ["body must be an object"]
    assert faults(v1.SubscriptionUpdateParams, {"entitlements": [{"type": "NEITHER", "id": "x"}]})
    assert faults(v1.SubscriptionUpdateParams, {"planId": "plan-team"}) == ["body.planId is not known"]
    assert accepts(v1.SubscriptionUpdateParams, {"cancellationDate": None})


def test_an_answer_with_a_field_too_many_or_too_few_is_not_accepted() -> None:
    from stigg.types.v1.subscriptions import CancelSubscription

    assert answers(CancelSubscription, '{"data": {"id": "s1"}}').data.id == "s1"
    with pytest.raises(AssertionError, match=r"CancelSubscription\.data\.extra"):
        answers(CancelSubscription, '{"data": {"id": "s1", "extra": 1}}')
    with pytest.raises(pydantic.ValidationError):
        answers(CancelSubscription, '{"data": {}}')
    with pytest.raises(pydantic.ValidationError):
        answers(CancelSubscription, '{"data": {"id": 1}}')
