"""What the stand-in for Stigg does besides selling, driven by the official SDK, its answers parsed strictly."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import pytest
import stigg
from stigg.types.v1.customers.promotional_entitlement_create_params import PromotionalEntitlement

from contract.stigg_client import KEY, START, Client, Clock
from sandbox.stigg import Stigg

SEATS, CALLS, SSO, TIER = "feature-seats", "feature-api-calls", "feature-sso", "feature-support-tier"


def promotion(feature: str, **more: Any) -> PromotionalEntitlement:
    nothing: dict[str, Any] = dict.fromkeys(PromotionalEntitlement.__annotations__)
    return {**nothing, "feature_id": feature, "period": "lifetime", **more}  # type: ignore[typeddict-item]


# Archived customers


def test_an_archived_customer_loses_name_email_and_subscriptions_and_gets_none_back(
    client: Client, app: Stigg, acme: str
) -> None:
    app.add_subscription(acme, "plan-enterprise", id="s1")
    app.add_subscription(acme, "plan-analytics", id="s2", start_date=START + timedelta(days=9))
    gone = client.v1.customers.archive(acme).data
    assert (gone.name, gone.email, gone.archived_at) == (None, None, START)
    ended = [(s["id"], s["status"], s["cancelReason"]) for s in app.subscriptions(acme)]
    assert ended == [("s1", "CANCELED", "CustomerArchived"), ("s2", "CANCELED", "CustomerArchived")]
    with pytest.raises(stigg.NotFoundError):
        client.v1.customers.archive(acme)

    back = client.v1.customers.unarchive(acme).data
    assert (back.name, back.email, back.archived_at) == (None, None, None)
    assert app.entitlements(acme) == {}
    with pytest.raises(stigg.BadRequestError):
        client.v1.customers.unarchive(acme)
    with pytest.raises(stigg.NotFoundError):
        client.v1.customers.unarchive("nobody")


# Contracts


def new(plan: str, **more: Any) -> Any:
    return {"new_subscription": {"customer_id": "acme", "plan_id": plan, **more}}


def test_a_contract_comes_with_its_subscriptions_and_is_made_once(client: Client, app: Stigg, acme: str) -> None:
    app.add_subscription(acme, "plan-enterprise", id="standing")
    wanted: Any = {
        "customer_id": acme,
        "contract_id": "contract-1",
        "po_number": "PO-7",
        "name": "Order form 7",
        "activation_start_date": START,
        "setup_billing": False,
        "subscriptions": [{"existing_subscription_id": "standing"}, new("plan-analytics", id="made")],
    }
    made = client.v1.contracts.create(**wanted).data
    assert (made.contract_id, made.external_id, made.customer_external_id) == ("contract-1", "contract-1", acme)
    assert (made.name, made.po_number, made.state, made.billing_id) == ("PO-7", "PO-7", "ACTIVE", None)
    parts = [(part.subscription_id, part.plan_display_name) for part in made.subscriptions]
    assert parts == [("standing", "Enterprise"), ("made", "Analytics")]
    assert {s.contract_id for s in client.v1.subscriptions.list(customer_id=acme)} == {made.id}

    assert client.v1.contracts.create(**wanted).data == made
    assert client.v1.contracts.retrieve("contract-1").data.to_dict() == made.to_dict()
    assert [c.id for c in client.v1.contracts.list(customer_external_id=acme, name="PO-7", state="ACTIVE")] == [made.id]
    assert list(client.v1.contracts.list(state="DRAFT")) == []
    assert [c.id for c in client.v1.customers.list_contracts(acme).data] == [made.id]
    app.add_customer("other")
    with pytest.raises(stigg.ConflictError):
        client.v1.contracts.create(customer_id="other", contract_id="contract-1")


def test_without_an_id_of_its_own_a_contract_is_made_again_and_billing_is_set_up_unless_told(
    client: Client, acme: str
) -> None:
    one, two = (client.v1.contracts.create(customer_id=acme).data for _ in range(2))
    assert one.contract_id != two.contract_id
    assert one.billing_id is not None
    assert (one.billing_state, one.name) == ("ACTIVE", "Acme")


@pytest.mark.parametrize(
    "wrong",
    [
        new("plan-team", billing_period="MONTHLY"),
        new("plan-nowhere"),
        new("plan-analytics", customer_id="other"),
        new("plan-analytics", id="taken"),
        new("plan-analytics", id="first"),
        {"existing_subscription_id": "taken"},
        {"existing_subscription_id": "paid"},
        {"existing_subscription_id": "linked"},
        {"existing_subscription_id": "ended"},
        {},
        {"existing_subscription_id": "standing", **new("plan-analytics")},
    ],
    ids=str,
)
def test_a_contract_with_a_subscription_that_cannot_be_part_of_it_changes_nothing(
    client: Client, app: Stigg, acme: str, wrong: Any
) -> None:
    app.add_customer("other")
    app.add_subscription("other", "plan-enterprise", id="taken")
    app.add_subscription(acme, "plan-enterprise", id="standing")
    app.add_subscription(acme, "plan-enterprise", id="linked", resource_id="r1")
    app.add_subscription(acme, "plan-team", id="paid", billing_period="MONTHLY", resource_id="r2")
    app.add_subscription(acme, "plan-enterprise", id="ended", resource_id="r3")
    app.cancel_subscription("ended")
    client.v1.contracts.create(
        customer_id=acme, contract_id="another", subscriptions=[{"existing_subscription_id": "linked"}]
    )
    before = app.kept()
    with pytest.raises(stigg.APIStatusError):
        client.v1.contracts.create(
            customer_id=acme,
            subscriptions=[{"existing_subscription_id": "standing"}, new("plan-enterprise", id="first"), wrong],
        )
    assert app.kept() == before


def test_the_subscriptions_of_a_contract_are_replaced_as_a_set_and_end_with_it(
    client: Client, app: Stigg, clock: Clock, acme: str
) -> None:
    app.add_subscription(acme, "plan-enterprise", id="s1")
    app.add_subscription(acme, "plan-analytics", id="s2")
    starts = START + timedelta(days=1)
    made = client.v1.contracts.create(
        customer_id=acme,
        contract_id="c",
        activation_start_date=starts,
        activation_end_date=START + timedelta(days=9),
        subscriptions=[{"existing_subscription_id": "s1"}],
    ).data
    assert made.state == "DRAFT"
    changed = client.v1.contracts.update("c", subscription_ids=["s2"], po_number="PO-8").data
    assert [part.subscription_id for part in changed.subscriptions] == ["s2"]
    assert (changed.name, changed.activation_start_date) == ("PO-8", starts)
    assert app.subscription("s1")["contractId"] is None
    with pytest.raises(stigg.BadRequestError):
        client.v1.contracts.update("c", activation_end_date=starts)
    clock.wait(days=1)
    assert client.v1.contracts.retrieve("c").data.state == "ACTIVE"
    clock.wait(days=8)
    assert client.v1.contracts.retrieve("c").data.state == "END_BILLING"

    assert client.v1.contracts.delete("c").data.state == "CANCELED"
    states = {s["id"]: s["status"] for s in app.subscriptions(acme)}
    assert states == {"s1": "ACTIVE", "s2": "CANCELED"}
    with pytest.raises(stigg.BadRequestError):
        client.v1.contracts.update("c", name="late")
    with pytest.raises(stigg.NotFoundError):
        client.v1.contracts.retrieve("never")


# Links and payment methods


def test_a_customer_is_linked_once_by_each_integration(client: Client, acme: str) -> None:
    links = client.v1.customers.integrations
    client.v1.customers.update(
        acme, integrations=[{"id": "sf", "vendor_identifier": "SALESFORCE", "synced_entity_id": "001"}]
    )
    made: Any = {"body_id": "billing", "vendor_identifier": "STRIPE", "synced_entity_id": "cus_1"}
    assert links.link(acme, **made).data.synced_entity_id == "cus_1"
    with pytest.raises(stigg.ConflictError):
        links.link(acme, **made)
    assert [link.id for link in links.list(acme, vendor_identifier=["STRIPE", "ZUORA"])] == ["billing"]
    assert links.update("billing", id=acme, synced_entity_id="cus_2").data.synced_entity_id == "cus_2"
    assert [link.id for link in client.v1.customers.retrieve(acme).data.integrations or ()] == ["sf", "billing"]
    assert links.unlink("billing", id=acme).data.id == "billing"
    with pytest.raises(stigg.NotFoundError):
        links.retrieve("billing", id=acme)
    assert [link.id for link in client.v1.customers.retrieve(acme).data.integrations or ()] == ["sf"]


def test_a_payment_method_comes_and_goes(client: Client, acme: str) -> None:
    card = client.v1.customers.payment_method
    paid = card.attach(
        acme, integration_id="i", payment_method_id="pm_1", vendor_identifier="STRIPE", billing_currency="eur"
    ).data
    assert paid.default_payment_method is not None
    assert (paid.default_payment_method.billing_id, paid.billing_currency) == ("pm_1", "eur")
    assert card.detach(acme).data.default_payment_method is None
    with pytest.raises(stigg.NotFoundError):
        card.detach(acme)


def test_customers_and_subscriptions_are_imported(client: Client, app: Stigg, acme: str) -> None:
    people: Any = [{"id": acme, "name": "Acme Inc", "email": None}, {"id": "new", "name": None, "email": None}]
    assert client.v1.customers.import_(customers=people).data.new_customers == ["new"]
    assert app.customers[acme]["name"] == "Acme Inc"
    came = START - timedelta(days=100)
    client.v1.subscriptions.import_(
        subscriptions=[{"id": "old", "customer_id": "new", "plan_id": "plan-enterprise", "start_date": came}]
    )
    assert app.subscription("old")["startDate"].startswith(came.date().isoformat())


# Entitlements


def test_a_promotion_comes_on_top_until_its_time_is_over_and_stays_listed(
    client: Client, app: Stigg, clock: Clock, acme: str
) -> None:
    given = client.v1.customers.promotional_entitlements
    given.create(acme, promotional_entitlements=[promotion(SEATS, usage_limit=5, period="1 week")])
    assert app.entitlements(acme) == {SEATS: 5}, "it needs no subscription"
    app.add_subscription(acme, "plan-enterprise", id="s1")
    assert app.entitlements(acme)[SEATS] == 50, "the more generous counts"
    more: Any = [promotion(SEATS, usage_limit=60, period="1 month"), promotion(SSO)]
    made = given.create(acme, promotional_entitlements=more).data
    assert made[0].end_date == datetime.fromisoformat("2027-01-01T09:00:00Z")
    assert (app.entitlements(acme)[SEATS], len(list(given.list(acme)))) == (60, 2)

    app.cancel_subscription("s1")
    assert app.entitlements(acme) == {SEATS: 60, SSO: True}
    clock.wait(days=31)
    assert app.entitlements(acme) == {SSO: True}
    assert [one.feature_id for one in given.list(acme, status=["Expired"])] == [SEATS]
    assert given.revoke(SSO, id=acme).data.feature_id == SSO
    assert app.entitlements(acme) == {}
    with pytest.raises(stigg.NotFoundError):
        given.revoke(SSO, id=acme)


@pytest.mark.parametrize(
    "wrong",
    [
        promotion("feature-nowhere"),
        promotion(SSO, usage_limit=3),
        promotion(SEATS),
        promotion(SEATS, usage_limit=1, enum_values=["standard"]),
        promotion(SEATS, usage_limit=1, reset_period="MONTH"),
        promotion(SEATS, usage_limit=1, period="custom"),
        promotion(SEATS, usage_limit=1, custom_end_date=START + timedelta(days=1)),
        promotion(SEATS, usage_limit=1, period="custom", custom_end_date=START),
        promotion(TIER, enum_values=["gold"]),
        promotion(TIER, enum_values=[]),
    ],
    ids=str,
)
def test_a_promotion_that_does_not_fit_its_feature_is_refused_with_those_beside_it(
    client: Client, app: Stigg, acme: str, wrong: PromotionalEntitlement
) -> None:
    with pytest.raises(stigg.APIStatusError):
        client.v1.customers.promotional_entitlements.create(
            acme, promotional_entitlements=[promotion(CALLS, usage_limit=1), wrong]
        )
    assert app.entitlements(acme) == {}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"feature_id": SEATS}, None),
        ({"feature_id": SEATS, "requested_usage": 50}, None),
        ({"feature_id": SEATS, "requested_usage": 51}, "RequestedUsageExceedingLimit"),
        ({"feature_id": CALLS, "requested_usage": 999_999}, "RequestedUsageExceedingLimit"),
        ({"feature_id": SSO}, None),
        ({"feature_id": SSO, "requested_usage": 1}, "FeatureTypeMismatch"),
        ({"feature_id": TIER, "requested_values": ["standard"]}, None),
        ({"feature_id": TIER, "requested_values": ["premium"]}, "RequestedValuesMismatch"),
        ({"feature_id": "feature-dashboards"}, "NoFeatureEntitlementInSubscription"),
        ({"feature_id": "feature-nowhere"}, "FeatureNotFound"),
        ({"currency_id": "currency-ai-credits", "requested_usage": 1000}, None),
        ({"currency_id": "currency-ai-credits", "requested_usage": 1001}, "InsufficientCredits"),
    ],
)
def test_a_check_says_why_something_may_not_be_used(
    client: Client, app: Stigg, acme: str, asked: Any, reason: str | None
) -> None:
    app.add_subscription(acme, "plan-enterprise-plus")
    client.v1.usage.report(usages=[{"customer_id": acme, "feature_id": CALLS, "value": 2}])
    answer = client.v1.customers.check_entitlement(acme, **asked).data
    assert (answer.access_denied_reason, answer.is_granted) == (reason, reason is None)


def test_a_check_of_a_stranger_says_so(client: Client, app: Stigg, acme: str) -> None:
    def reason(customer: str) -> str | None:
        return client.v1.customers.check_entitlement(customer, feature_id=SEATS).data.access_denied_reason

    assert (reason("nobody"), reason(acme)) == ("CustomerNotFound", "NoActiveSubscription")
    client.v1.customers.archive(acme)
    assert reason(acme) == "CustomerIsArchived"
    neither_or_both: list[Any] = [{}, {"feature_id": SEATS, "currency_id": "currency-ai-credits"}]
    for wrong in neither_or_both:
        with pytest.raises(stigg.BadRequestError):
            client.v1.customers.check_entitlement(acme, **wrong)


# Usage


def test_usage_counts_until_its_period_is_over(client: Client, app: Stigg, clock: Clock, acme: str) -> None:
    app.add_subscription(acme, "plan-enterprise")

    def report(value: float, **more: Any) -> float | None:
        usage: Any = {"customer_id": acme, "feature_id": CALLS, "value": value, **more}
        [told] = client.v2.usage.report(usages=[usage]).data.usages
        return told.current_usage

    assert report(10) == 10
    assert report(2.000004, idempotency_key="k") == 12
    assert report(99, idempotency_key="k") == 12, "a key counts once"
    assert report(-3) == 9
    assert report(40, update_behavior="SET") == 40
    assert report(1, resource_id="workspace-7") == 1
    held = {
        e.feature.id: e
        for e in client.v1.customers.retrieve_entitlements(acme).data.entitlements
        if e.type == "FEATURE" and e.feature
    }
    calls, seats = held[CALLS], held[SEATS]
    assert (calls.current_usage, calls.usage_limit) == (40, 1_000_000)
    assert (calls.usage_period_start, calls.usage_period_end) == (START, datetime.fromisoformat("2027-01-01T09:00:00Z"))
    assert (seats.current_usage, seats.usage_period_end) == (0, None)
    clock.wait(days=31)
    assert report(5) == 5
    assert report(1, idempotency_key="k") == 6, "a key is known for seven days"
    history = client.v1.usage.history(CALLS, customer_id=acme, start_date=START).data.series[0]
    assert [point.value for point in history.points] == [10, 12, 9, 40, 45, 46]


@pytest.mark.parametrize(
    "usage", [{"feature_id": SEATS}, {"feature_id": "nowhere"}, {"value": 2**53}, {"value": 2**35 + 0.5}]
)
def test_usage_that_no_meter_takes_is_refused(client: Client, acme: str, usage: Any) -> None:
    wanted: Any = {"customer_id": acme, "feature_id": CALLS, "value": 1, **usage}
    with pytest.raises(stigg.APIStatusError):
        client.v2.usage.report(usages=[wanted])


# Credits


def test_a_voided_grant_counts_no_more(client: Client, app: Stigg, acme: str) -> None:
    grants = client.v1.credits.grants
    made = grants.create(
        customer_id=acme, currency_id="currency-ai-credits", amount=7, display_name="Gift", grant_type="PROMOTIONAL"
    ).data
    assert app.entitlements(acme) == {"currency-ai-credits": 7}
    gone = grants.void(made.id).data
    assert (gone.status, gone.voided_at) == ("VOIDED", START)
    assert app.entitlements(acme) == {}
    for wrong in (made.id, "nothing"):
        with pytest.raises(stigg.APIStatusError):
            grants.void(wrong)


def test_credits_are_spent_from_the_plan_first_then_from_grants_by_priority(
    client: Client, app: Stigg, clock: Clock, acme: str
) -> None:
    app.add_subscription(acme, "plan-enterprise-plus")
    common: Any = {"customer_id": acme, "currency_id": "currency-ai-credits", "grant_type": "PROMOTIONAL"}
    grants, spend = client.v1.credits.grants, client.v1.credits.consumption.consume
    usual = grants.create(amount=30, display_name="usual", **common).data
    first = grants.create(amount=20, display_name="first", priority=1, **common).data

    def spent(amount: float, key: str) -> tuple[float, float]:
        told = spend(amount=amount, customer_id=acme, currency_id="currency-ai-credits", idempotency_key=key).data
        assert told.credit is not None
        assert told.credit.usage_period_end == datetime.fromisoformat("2027-01-01T09:00:00Z")
        return told.credit.current_usage, told.credit.usage_limit

    def consumed() -> dict[str, float]:
        return {grant.display_name: grant.consumed_amount for grant in grants.list(customer_id=acme)}

    assert spent(990, "a") == (990, 1050)
    assert (spent(25, "b"), consumed()) == ((1015, 1050), {"usual": 0, "first": 15})
    assert spent(25, "b") == (1015, 1050), "a key spends once"
    with pytest.raises(stigg.BadRequestError):
        spent(36, "c")
    assert (spent(10, "d"), consumed()) == ((1025, 1050), {"usual": 5, "first": 20})
    grants.void(usual.id)
    ledger = [(one.event_type, one.amount) for one in client.v1.credits.list_ledger(customer_id=acme)]
    assert sorted(ledger) == [
        ("CREDITS_CONSUMED", -15),
        ("CREDITS_CONSUMED", -5),
        ("CREDITS_CONSUMED", -5),
        ("CREDITS_GRANTED", 20),
        ("CREDITS_GRANTED", 30),
        ("CREDITS_VOIDED", -25),
    ]
    [left] = [one for one in client.v1.customers.retrieve_entitlements(acme).data.entitlements if one.type == "CREDIT"]
    assert (left.current_usage, left.usage_limit) == (1020, 1020)
    clock.wait(days=31)
    check = client.v1.customers.check_entitlement(acme, currency_id="currency-ai-credits", requested_usage=1000).data
    assert (check.is_granted, check.current_usage) == (True, 20), "what a plan includes comes back each month"
    assert first.consumed_amount == 0


def test_the_ledger_tells_what_became_of_grants(client: Client, app: Stigg, clock: Clock, acme: str) -> None:
    common: Any = {"customer_id": acme, "display_name": "Gift", "grant_type": "PROMOTIONAL"}
    grants = client.v1.credits.grants
    voided = grants.create(currency_id="currency-ai-credits", amount=7, **common).data
    grants.create(currency_id="currency-ai-credits", amount=3, expire_at=START + timedelta(days=2), **common)
    later = grants.create(currency_id="currency-ai-credits", amount=1, effective_at=START + timedelta(days=9), **common)
    clock.wait(days=1)
    grants.void(voided.id)
    clock.wait(days=1)
    told = [(event.event_type, event.amount) for event in client.v1.credits.list_ledger(customer_id=acme)]
    assert told == [
        ("CREDITS_EXPIRED", -3),
        ("CREDITS_VOIDED", -7),
        ("CREDITS_GRANTED", 3),
        ("CREDITS_GRANTED", 7),
    ]
    clock.wait(days=7)
    granted = client.v1.credits.list_ledger(customer_id=acme, event_type="CREDITS_GRANTED")
    assert next(event.credit_grant_id for event in granted) == later.data.id


def test_what_is_for_sale_besides_plans_can_be_read(client: Client) -> None:
    assert [coupon.id for coupon in client.v1.coupons.list(type="PERCENTAGE")] == ["coupon-partner-20"]
    assert client.v1.coupons.retrieve("coupon-partner-20").data.percent_off == 20
    users = client.v1.credits.custom_currencies.list_associated_entities("currency-ai-credits").data
    assert ("plan-enterprise-plus", "Plan") in [(user.id, user.type) for user in users]
    assert list(client.v1.plans.list_overage_charges("plan-team")) == []


# Subscriptions


def test_an_update_that_waits_can_be_called_off(client: Client, app: Stigg, clock: Clock, acme: str) -> None:
    app.add_subscription(acme, "plan-team", id="s1", billing_period="MONTHLY", metadata={"v": "1"})
    app.change_subscription("s1", metadata={"v": "2"}, schedule_strategy="END_OF_BILLING_PERIOD")
    assert client.v1.subscriptions.future_update.cancel_schedule("s1").data.id == "s1"
    clock.wait(days=40)
    after = client.v1.subscriptions.retrieve("s1").data
    assert (after.metadata, after.future_updates) == ({"v": "1"}, [])
    for call in ("cancel_schedule", "cancel_pending_payment"):
        with pytest.raises(stigg.BadRequestError):
            getattr(client.v1.subscriptions.future_update, call)("s1")


def test_a_subscription_goes_to_another_resource_and_another_customer(client: Client, app: Stigg, acme: str) -> None:
    app.add_subscription(acme, "plan-enterprise", id="s1")
    app.add_subscription(acme, "plan-enterprise", id="s2", resource_id="r2")
    app.add_customer("other")
    with pytest.raises(stigg.ConflictError):
        client.v1.subscriptions.transfer("s1", destination_resource_id="r2")
    assert client.v1.subscriptions.transfer("s1", destination_resource_id="r1").data.resource_id == "r1"
    assert [one.id for one in client.v1.customers.list_resources(acme)] == ["r2", "r1"]
    moved = client.v1.subscriptions.delegate("s1", target_customer_id="other").data
    assert (moved.customer_id, moved.paying_customer_id) == ("other", acme)
    assert [s["id"] for s in app.subscriptions("other")] == ["s1"]
    assert [s["id"] for s in app.subscriptions(acme)] == ["s2"]


def test_an_open_invoice_is_listed_for_who_pays_and_can_be_marked_as_paid(
    client: Client, app: Stigg, clock: Clock, acme: str
) -> None:
    app.add_customer("payer")
    common: Any = {"billing_period": "MONTHLY", "payment_collection_method": "INVOICE"}
    app.add_subscription(acme, "plan-team", id="s1", **common)
    clock.wait(days=1)
    app.add_subscription(acme, "plan-team", id="s2", resource_id="r2", **common)
    app.add_subscription(acme, "plan-team", id="s3", resource_id="r3", paying_customer_id="payer", **common)

    def listed(customer: str, **more: Any) -> list[tuple[str, str]]:
        found = client.v1.customers.list_invoices(customer, **more)
        return [(one.invoice_id, one.state) for one in found]

    first, second = listed(acme)
    assert (first[1], second[1], len(listed("payer"))) == ("OPEN", "OPEN", 1)
    assert client.v1.subscriptions.invoice.mark_as_paid("s1").data.id == "s1"
    latest = client.v1.subscriptions.retrieve("s1").data.latest_invoice
    assert latest is not None
    assert (latest.billing_id, latest.status) == (first[0], "PAID")
    assert listed(acme, order_dir="DESC") == [second, (first[0], "PAID")]
    assert listed(acme, state_in="PAID") == [(first[0], "PAID")]
    assert listed(acme, issued_after=START + timedelta(hours=1)) == [second]
    assert listed(acme, issued_before=START) == [(first[0], "PAID")]
    with pytest.raises(stigg.BadRequestError):
        client.v1.subscriptions.invoice.mark_as_paid("s1")


# What is kept


def test_all_of_it_can_be_kept_and_put_back(client: Client, app: Stigg, clock: Clock, acme: str) -> None:
    app.add_subscription(acme, "plan-enterprise", id="s1")
    client.v1.contracts.create(
        customer_id=acme,
        contract_id="c",
        setup_billing=False,
        activation_end_date=START + timedelta(days=3),
        subscriptions=[{"existing_subscription_id": "s1"}],
    )
    given: Any = [promotion(CALLS, has_unlimited_usage=True, period="1 week")]
    client.v1.customers.promotional_entitlements.create(acme, promotional_entitlements=given)
    client.v2.usage.report(usages=[{"customer_id": acme, "feature_id": CALLS, "value": 0}])
    client.v2.usage.report(usages=[{"customer_id": acme, "feature_id": CALLS, "value": 3, "idempotency_key": "k"}])
    grant: Any = {"customer_id": acme, "currency_id": "currency-ai-credits", "amount": 7, "grant_type": "PROMOTIONAL"}
    client.v1.credits.grants.create(display_name="Gift", **grant)
    spent: Any = {"customer_id": acme, "currency_id": "currency-ai-credits", "amount": 2, "idempotency_key": "k"}
    client.v1.credits.consumption.consume_async(consumptions=[spent])
    client.v1.customers.provision(id="gone")
    client.v1.customers.archive("gone")
    other = Stigg(KEY, now=clock.now)
    other.put_back(app.kept())
    assert other.kept() == app.kept()
    assert other.entitlements(acme)[CALLS] == math.inf
    assert (other.customers["gone"]["archivedAt"], other.subscription("s1")) == (
        app.customers["gone"]["archivedAt"],
        app.subscription("s1"),
    )
