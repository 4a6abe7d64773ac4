"""Who buys where the stack is as its template makes it: nothing ends by itself, what is doubtful waits for people."""

from __future__ import annotations

from collections.abc import Iterator

from integration.scenes import no_execution_starts
from recorded.shop import (
    CALLS,
    CREDITS,
    ENTERPRISE,
    SEATS,
    SSO,
    STORAGE,
    SUPPORT,
    WORKSPACE,
    Shop,
    Stack,
    id_of,
    line,
)
from sandbox.sales import Sold

STACK = Stack("keep", {}, "The template's defaults: keep, flag, hold, 50 %, UTC.", [])
PLAN = Sold("plan-enterprise", 1, 48000)


# What is sold


@STACK.customer
def whole_enterprise(shop: Shop) -> None:
    """closed_won of a year: plan and add-ons with prices, seats, calls a month, a feature that is on."""
    deal = shop.deal(
        shop.account(Industry="Retail"),
        PLAN,
        Sold(SUPPORT),
        Sold(WORKSPACE, 5, 1200),
        Sold(SEATS, 250),
        Sold(SSO, unlimited=True),
        lines=[line("Entitlement", CALLS, 5_000_000, resetPeriod="MONTH")],
        terms=shop.year(),
    )
    deal["account"]["email"] = "billing@whole-enterprise.example"
    shop.send(deal)
    shop.expect(deal, "Provisioned")


@STACK.customer
def evergreen_team(shop: Shop) -> None:
    """closed_won by the month without an end, of a plan with prices of the catalogue."""
    terms = {"billingPeriod": "MONTHLY", "paymentCollection": "INVOICE", "start": shop.day(-45)}
    shop.expect(shop.sell(shop.account(), Sold("plan-team"), Sold(WORKSPACE, 2), terms=terms), "Provisioned")


@STACK.customer
def by_the_unit(shop: Shop) -> None:
    """closed_won of three units of a plan, with a price a unit."""
    deal = shop.sell(shop.account(), Sold("plan-team", 3, 4500), terms=shop.year())
    shop.expect(deal, "Provisioned")


@STACK.customer
def all_kinds_of_entitlements(shop: Shop) -> None:
    """Unlimited seats, a soft limit, storage, credits a month and credits a year."""
    lines = [
        line("Entitlement", CALLS, 2_000_000, softLimit=True, resetPeriod="MONTH"),
        line("Credit entitlement", CREDITS, 20_000, cadence="MONTH"),
    ]
    sold = (Sold("plan-enterprise-plus"), Sold(SEATS, unlimited=True), Sold(STORAGE, 900))
    shop.expect(shop.sell(shop.account(), *sold, lines=lines, terms=shop.year()), "Provisioned")


@STACK.customer
def no_terms_at_all(shop: Shop) -> None:
    """closed_won that says nothing but its lines: it starts when it is provisioned."""
    shop.expect(shop.sell(shop.account(), *ENTERPRISE), "Provisioned")


@STACK.customer
def two_products(shop: Shop) -> None:
    """One deal of two plans: two subscriptions, a line that says which it belongs to."""
    sold = (Sold("plan-enterprise-plus", 1, 96000), Sold("plan-analytics", 1, 18000), Sold("addon-data-export", 2))
    lines = [line("Entitlement", SEATS, 40, planId="plan-analytics"), line("Add-on", "addon-audit-log", 1)]
    shop.expect(shop.sell(shop.account(), *sold, lines=lines, terms=shop.year()), "Provisioned")


@STACK.customer
def two_deals_add_up(shop: Shop) -> None:
    """Two deals of one plan: seats, add-ons and prices add up; the second ends before the first."""
    account = shop.account()
    first = shop.sell(account, *ENTERPRISE, terms=shop.year())
    second = shop.sell(account, *ENTERPRISE, Sold(SUPPORT), terms=shop.year(-100, 200))
    shop.expect(first, "Provisioned")
    shop.expect(second, "Provisioned")


@STACK.customer
def two_resources(shop: Shop) -> None:
    """Two deals for two resources of one customer, and one amendment of the second."""
    account = shop.account()
    shop.sell(account, PLAN, Sold(SEATS, 30), terms=shop.year(), resourceId="workspace-eu")
    second = shop.sell(account, PLAN, Sold(SEATS, 60), terms=shop.year(-90), resourceId="workspace-us")
    shop.expect(shop.amend(second, Sold(SEATS, 15), resourceId="workspace-us"), "Provisioned")


@STACK.customer
def sent_together(shop: Shop) -> None:
    """Three deals of one account in one request, the last of another product."""
    account = shop.account()
    deals = [shop.deal(account, PLAN, Sold(SEATS, seats), terms=shop.year()) for seats in (10, 20)]
    deals.append(shop.deal(account, Sold("plan-analytics", 1, 9000), terms=shop.year(-20)))
    shop.send(*deals)
    for deal in deals:
        shop.expect(deal, "Provisioned")


@STACK.customer
def ramp_of_seats(shop: Shop) -> None:
    """Lines with days of their own: seats of last quarter, of now and of next quarter."""
    lines = [
        line("Entitlement", SEATS, 100, start=shop.day(-180), end=shop.day(-91)),
        line("Entitlement", SEATS, 200, start=shop.day(-90), end=shop.day(60)),
        line("Entitlement", SEATS, 300, start=shop.day(61)),
    ]
    shop.expect(shop.sell(shop.account(), PLAN, lines=lines, terms=shop.year()), "Provisioned")


@STACK.customer
def ramp_of_prices(shop: Shop) -> None:
    """Three years at rising prices: the plan on three lines of other days."""
    days = [-180, 185, 550, 915]
    lines = [
        line("Plan", "plan-enterprise", 1, price=price, start=shop.day(first), end=shop.day(after - 1))
        for price, first, after in zip((40000, 44000, 48000), days[:-1], days[1:], strict=True)
    ]
    terms = shop.year(days=1095)
    shop.expect(shop.sell(shop.account(), Sold(SEATS, 80), lines=lines, terms=terms), "Provisioned")


@STACK.customer
def terms_of_money(shop: Shop) -> None:
    """Coupon, budget, minimum spend and another customer that pays."""
    payer = shop.sandbox.stigg.add_customer("holding-of-terms-of-money")["id"]
    terms = shop.year(
        coupon="coupon-partner-20",
        budget={"limit": 5000, "softLimit": True},
        minimumSpend=100,
        payingCustomerId=payer,
    )
    shop.expect(shop.sell(shop.account(), PLAN, Sold(WORKSPACE, 2, 1100), terms=terms), "Provisioned")


@STACK.customer
def waits_for_payment(shop: Shop) -> None:
    """Payment required: charged, and there is no card; a checkout link is shown."""
    deal = shop.sell(
        shop.account(), Sold("plan-team"), terms={"billingPeriod": "MONTHLY", "paymentCollection": "CHARGE"}
    )
    shop.expect(deal, "Payment required")


@STACK.customer
def has_paid(shop: Shop) -> Iterator[None]:
    """Charged: paid at the checkout, and seen by the sweep's next look."""
    account = shop.account()
    deal = shop.sell(account, Sold("plan-team"), terms={"billingPeriod": "MONTHLY", "paymentCollection": "CHARGE"})
    shop.sandbox.stigg.pay(shop.standing(account)["id"])
    yield
    shop.look_now(account)
    shop.expect(deal, "Provisioned")


@STACK.customer
def has_paid_unseen(shop: Shop) -> None:
    """Charged: paid at the checkout, and nobody has looked since."""
    account = shop.account()
    shop.sell(account, Sold("plan-team"), terms={"billingPeriod": "MONTHLY", "paymentCollection": "CHARGE"})
    shop.sandbox.stigg.pay(shop.standing(account)["id"])


@STACK.customer
def starts_next_month(shop: Shop) -> None:
    """Scheduled: sold for later; Stigg starts it."""
    shop.expect(shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(30)), "Scheduled")


@STACK.customer
def read_from_salesforce(shop: Shop) -> None:
    """A callout without lines: the deal is read from Salesforce."""
    whole = shop.deal(shop.account(), *ENTERPRISE, terms=shop.year())
    deal = {name: whole[name] for name in ("organizationId", "trigger")} | {"opportunity": {"id": id_of(whole)}}
    shop.send(deal)
    shop.expect(deal, "Provisioned")


@STACK.customer
def customer_of_an_own_name(shop: Shop) -> None:
    """The deal says what the customer is called in Stigg, and the account shows it ever after."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year(), customerId="org-4711")
    shop.expect(shop.sell(account, Sold("plan-analytics"), terms=shop.year()), "Provisioned")


# Trials


def _trial(shop: Shop, *sold: Sold, **terms: object) -> tuple[str, dict[str, object]]:
    account = shop.account()
    return account, shop.sell(account, *(sold or (PLAN, Sold(SEATS, 20))), trigger="trial", terms=terms)


@STACK.customer
def on_trial(shop: Shop) -> None:
    """trial that runs, with a day at which access ends."""
    _, deal = _trial(shop, trialEnd=shop.day(14))
    shop.expect(deal, "Provisioned")


@STACK.customer
def trial_extended(shop: Shop) -> None:
    """trial whose end was moved twice."""
    _, deal = _trial(shop, trialEnd=shop.day(5))
    for days in (10, 25):
        deal = shop.again(deal, {"Stigg_Trial_End_Date__c": shop.day(days)}, terms={"trialEnd": shop.day(days)})
        shop.send(deal)


@STACK.customer
def trial_won(shop: Shop) -> None:
    """trial that was won: the paid subscription stands, the trial has ended."""
    _, deal = _trial(shop, trialEnd=shop.day(14))
    won = _won(shop, deal, shop.year(0))
    shop.expect(won, "Provisioned")


def _won(shop: Shop, deal: dict[str, object], terms: dict[str, object]) -> dict[str, object]:
    fields = {"StageName": "Closed Won", "Stigg_Start_Date__c": terms["start"], "Stigg_End_Date__c": terms.get("end")}
    fields |= {"Stigg_Billing_Period__c": "ANNUALLY", "Stigg_Payment_Collection__c": terms["paymentCollection"]}
    won = shop.again(deal, fields, trigger="closed_won", terms=terms)
    shop.send(won)
    return won


@STACK.customer
def trial_won_for_later(shop: Shop) -> None:
    """trial that was won for a day after its end: extended until then, the paid subscription is scheduled."""
    _, deal = _trial(shop, trialEnd=shop.day(5))
    shop.expect(_won(shop, deal, shop.year(20)), "Scheduled")


@STACK.customer
def trial_won_unpaid(shop: Shop) -> None:
    """trial that was won and is to be charged: it goes on until somebody pays."""
    _, deal = _trial(shop, Sold("plan-team"), trialEnd=shop.day(14))
    shop.expect(_won(shop, deal, shop.year(0, paymentCollection="CHARGE")), "Payment required")


@STACK.customer
def trial_lost(shop: Shop) -> None:
    """trial that was lost: access has ended, the customer stays."""
    _, deal = _trial(shop, trialEnd=shop.day(14))
    lost = shop.again(deal, {"StageName": "Closed Lost"}, trigger="cancellation", lines=[], terms={})
    shop.send(lost)
    shop.expect(lost, "Provisioned")


@STACK.customer
def trial_over(shop: Shop) -> Iterator[None]:
    """trial that ended by itself."""
    _, deal = _trial(shop, trialEnd=shop.soon(6))
    yield
    shop.expect(deal, "Provisioned", "The trial ended")


@STACK.customer
def trial_converting(shop: Shop) -> None:
    """trial that becomes paid by itself in two weeks."""
    _, deal = _trial(shop, trialEnd=shop.day(14), trialEndBehavior="CONVERT_TO_PAID", paymentCollection="INVOICE")
    shop.expect(deal, "Provisioned")


@STACK.customer
def trial_converted(shop: Shop) -> Iterator[None]:
    """trial that became paid by itself: nobody won or lost it."""
    _trial(shop, trialEnd=shop.soon(6), trialEndBehavior="CONVERT_TO_PAID", paymentCollection="INVOICE")
    yield


@STACK.customer
def trial_converted_and_extended(shop: Shop) -> Iterator[None]:
    """Held: a trial that became paid by itself, and is to go on as a trial."""
    terms = {"trialEndBehavior": "CONVERT_TO_PAID", "paymentCollection": "INVOICE"}
    _, deal = _trial(shop, trialEnd=shop.soon(6), **terms)
    yield
    longer = shop.again(deal, {"Stigg_Trial_End_Date__c": shop.day(9)}, terms={**terms, "trialEnd": shop.day(9)})
    shop.send(longer)
    shop.expect(longer, "Held", "became a paid subscription already")


@STACK.customer
def trial_missed(shop: Shop) -> None:
    """Held: a trial that would have become paid was over before anything was provisioned."""
    _, deal = _trial(shop, trialEnd=shop.day(-3), trialEndBehavior="CONVERT_TO_PAID")
    shop.expect(deal, "Held")


# Amendments


@STACK.customer
def amended_by_differences(shop: Shop) -> None:
    """amendment of differences: more seats, fewer workspaces at another price, an add-on more."""
    base = shop.sell(shop.account(), *ENTERPRISE, Sold(WORKSPACE, 3, 1200), terms=shop.year())
    shop.amend(base, Sold(SEATS, 50), Sold(SUPPORT))
    shop.expect(shop.amend(base, Sold(WORKSPACE, -1, 1200)), "Provisioned")


@STACK.customer
def amended_whole(shop: Shop) -> None:
    """amendment that says all there is, in force since a month."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    sold = (Sold("plan-enterprise", 1, 52000), Sold(SEATS, 400))
    more = {"quantities": "whole", "terms": {"start": shop.day(-30)}}
    shop.expect(shop.amend(base, *sold, **more), "Provisioned")


@STACK.customer
def amended_later(shop: Shop) -> None:
    """amendment Scheduled for a day; and another one that ends before its contract."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.expect(shop.amend(base, Sold(SEATS, 25), terms={"start": shop.day(40)}), "Scheduled")
    shop.amend(base, Sold(WORKSPACE, 4, 1200), terms={"start": shop.day(-10), "end": shop.day(20)})


@STACK.customer
def amended_by_contract(shop: Shop) -> None:
    """amendment that names the contract its base became."""
    account = shop.account()
    contract = shop.sandbox.salesforce.create("Contract", AccountId=account, Status="Activated")
    base = shop.sell(account, *ENTERPRISE, terms=shop.year(), contractId=contract, fields={"ContractId": contract})
    more = {"trigger": "amendment", "amends": contract, "quantities": "differences"}
    shop.expect(shop.sell(base["account"]["id"], Sold(SEATS, 33), **more), "Provisioned")


@STACK.customer
def amended_before_its_base(shop: Shop) -> None:
    """amendment that arrived before its base and was held until then."""
    account = shop.account()
    base = shop.deal(account, *ENTERPRISE, terms=shop.year())
    early = shop.amend(base, Sold(SEATS, 5))
    shop.expect(early, "Held")
    shop.send(base)
    shop.expect(early, "Provisioned")


# Renewals


@STACK.customer
def renewed(shop: Shop) -> None:
    """renewal in force: the base is Superseded, what was not renewed has ended."""
    base = shop.sell(shop.account(), *ENTERPRISE, Sold(SUPPORT), terms=shop.year(-400))
    again = shop.renew(base, Sold("plan-enterprise", 1, 50000), Sold(SEATS, 60), terms=shop.year(-35))
    shop.expect(again, "Provisioned")
    shop.expect(base, "Superseded")


@STACK.customer
def renewed_to_another_plan_later(shop: Shop) -> None:
    """renewal Scheduled: another plan from the end of the term on."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-340))
    again = shop.renew(base, Sold("plan-enterprise-plus", 1, 60000), Sold(SEATS, 250), terms=shop.year(25))
    shop.expect(again, "Scheduled")


@STACK.customer
def renewed_twice_and_amended(shop: Shop) -> None:
    """Two renewals after each other, the running one amended, the next one scheduled."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-400))
    first = shop.renew(base, *ENTERPRISE, terms=shop.year(-35))
    shop.amend(first, Sold(SEATS, 40))
    shop.expect(shop.renew(first, *ENTERPRISE, terms=shop.year(330)), "Scheduled")


@STACK.customer
def renewed_where_the_term_ends(shop: Shop) -> None:
    """renewal without a start: it takes over where the term ends."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-340))
    terms = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}
    shop.expect(shop.renew(base, *ENTERPRISE, terms=terms), "Scheduled")


@STACK.customer
def past_its_term(shop: Shop) -> None:
    """The term has ended without a renewal, and access goes on."""
    shop.expect(shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-400)), "Provisioned", "no renewal came")


# Cancellations


@STACK.customer
def cancelled_on_a_day(shop: Shop) -> None:
    """cancellation with a day ahead."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.expect(shop.cancel(base, terms={"end": shop.day(40)}), "Scheduled")


@STACK.customer
def cancelled_now(shop: Shop) -> None:
    """cancellation at once."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.expect(shop.cancel(base, terms={"cancel": "now"}), "Provisioned", "Access ended")
    shop.expect(base, "Superseded")


@STACK.customer
def cancelled_at_the_end_of_the_term(shop: Shop) -> None:
    """cancellation that says no time: at the end of the term."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.expect(shop.cancel(base), "Scheduled")


@STACK.customer
def one_line_cancelled(shop: Shop) -> None:
    """cancellation of one product of a contract, at once."""
    base = shop.sell(shop.account(), *ENTERPRISE, Sold(SUPPORT), terms=shop.year())
    lines = [line("Add-on", WORKSPACE, 2)]
    shop.expect(shop.cancel(base, lines=lines, terms={"cancel": "now"}), "Provisioned")


@STACK.customer
def cancelled_at_the_end_of_the_billing_period(shop: Shop) -> None:
    """cancellation of an evergreen contract: with the billing period that is under way."""
    terms = {"billingPeriod": "MONTHLY", "paymentCollection": "INVOICE", "start": shop.day(-45)}
    base = shop.sell(shop.account(), Sold("plan-team"), terms=terms)
    shop.expect(shop.cancel(base, terms={"cancel": "end_of_term"}), "Scheduled")


@STACK.customer
def custom_plan_cancelled_without_a_day(shop: Shop) -> None:
    """cancellation of an evergreen contract of a custom plan: Stigg has no billing period to end it with."""
    terms = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE", "start": shop.day(-45)}
    base = shop.sell(shop.account(), *ENTERPRISE, terms=terms)
    shop.cancel(base, terms={"cancel": "end_of_term"})


@STACK.customer
def won_back(shop: Shop) -> None:
    """Cancelled at once, and sold anew: the next generation of the subscription."""
    account = shop.account()
    base = shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.cancel(base, terms={"cancel": "now"})
    shop.expect(shop.sell(account, PLAN, Sold(SEATS, 3), terms=shop.year(0)), "Provisioned")


@STACK.customer
def own_deal_cancelled_on_a_day(shop: Shop) -> None:
    """cancellation by the deal's own opportunity, with a day ahead."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    fields = {"StageName": "Closed Lost", "Stigg_Cancel_Date__c": shop.day(15)}
    lost = shop.again(base, fields, trigger="cancellation", lines=[], terms={"end": shop.day(15)})
    shop.send(lost)
    shop.expect(lost, "Scheduled")


@STACK.customer
def reopened(shop: Shop) -> None:
    """Held: the deal is not won any more, and nothing says when its access ends: it goes on."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    lost = shop.again(base, {"StageName": "Negotiation/Review"}, trigger="cancellation", lines=[], terms={})
    shop.send(lost)
    shop.expect(lost, "Held", "not won any more")


# Other revisions


@STACK.customer
def superseded_revision(shop: Shop) -> None:
    """An older revision arrived after a newer one, and was answered superseded."""
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    newer = shop.again(
        deal, lines=[{**one, "quantity": 260} if one["stiggId"] == SEATS else one for one in deal["lines"]]
    )
    older = {**deal, "lines": [{**one, "quantity": 9} if one["stiggId"] == SEATS else one for one in deal["lines"]]}
    shop.send(newer)
    [result] = shop.send(older)
    assert result["status"] == "superseded"


@STACK.customer
def sent_three_times(shop: Shop) -> None:
    """The same deal sent three times: accepted once, a duplicate ever after, under a newer revision too."""
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    assert [shop.send(one)[0]["status"] for one in (deal, shop.again(deal))] == ["duplicate", "duplicate"]


@STACK.customer
def erased(shop: Shop) -> None:
    """An account whose people the ledger has forgotten: its orders have no names."""
    account = shop.account()
    base = shop.deal(account, *ENTERPRISE, terms=shop.year())
    base["account"]["email"] = "someone@erased.example"
    shop.send(base)
    shop.amend(base, Sold(SEATS, 12))
    shop.operator.does("erase", account, "--yes")


# What runs when the recording ends


@STACK.customer
def never_started(shop: Shop) -> Iterator[None]:
    """Provisioning: accepted, and its execution could not be started; due."""
    yield
    yield
    with no_execution_starts():
        shop.call(shop.deal(shop.account(), *ENTERPRISE, terms=shop.year()))


@STACK.customer
def approved_and_not_yet_done(shop: Shop) -> Iterator[None]:
    """A reduction was approved, and the execution that makes it could not be started."""
    base = shop.sell(shop.account(), PLAN, Sold(SEATS, 500), terms=shop.year())
    fewer = shop.amend(base, Sold(SEATS, -450))
    yield
    yield
    with no_execution_starts():
        shop.approve(fewer)
