"""More who buy where the stack is as its template makes it: deals that are held, refused or failed, subscriptions of
others, credits, what people changed behind everybody's back, and executions that died.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recorded.shop import CREDITS, ENTERPRISE, SEATS, SUPPORT, WORKSPACE, Shop, Stack, id_of, line
from sandbox.sales import Sold

STACK = Stack(
    "held",
    {"NotificationTopic": "arn:aws:sns:us-east-1:123456789012:notices"},
    "The template's defaults again: what is held, fails, was made by others or changed by people.",
    [],
)
PLAN = Sold("plan-enterprise", 1, 48000)

# Held


@STACK.customer
def held_without_a_base(shop: Shop) -> None:
    """Held: an amendment of a deal nobody has heard of."""
    account = shop.account()
    base = shop.deal(account, *ENTERPRISE, terms=shop.year(), stage="Negotiation/Review")
    shop.expect(shop.amend(base, Sold(SEATS, 5)), "Held")


@STACK.customer
def held_below_zero(shop: Shop) -> None:
    """Held: an amendment that would take away more than there is."""
    base = shop.sell(shop.account(), PLAN, Sold(SEATS, 10), terms=shop.year())
    shop.expect(shop.amend(base, Sold(SEATS, -20)), "Held")


@STACK.customer
def held_for_another_quantity(shop: Shop) -> None:
    """Held: an amendment that was quoted on another quantity than the contract ever had."""
    base = shop.sell(shop.account(), PLAN, Sold(SEATS, 10), terms=shop.year())
    lines = [line("Entitlement", SEATS, 5, priorQuantity=12)]
    shop.expect(shop.amend(base, lines=lines), "Held")


@STACK.customer
def held_by_the_removal_guard(shop: Shop) -> None:
    """Held: takes away most of what there is, and waits for approval."""
    base = shop.sell(shop.account(), PLAN, Sold(SEATS, 500), terms=shop.year())
    fewer = shop.amend(base, Sold(SEATS, -450))
    assert shop.told(fewer)["approval"]


@STACK.customer
def approved_reduction(shop: Shop) -> None:
    """A reduction that was held, approved and made."""
    base = shop.sell(shop.account(), PLAN, Sold(SEATS, 500), terms=shop.year())
    fewer = shop.amend(base, Sold(SEATS, -450))
    shop.approve(fewer)
    shop.expect(fewer, "Provisioned")


@STACK.customer
def held_for_a_plan_no_deal_says(shop: Shop) -> None:
    """Held: the deal was corrected to another resource; the old subscription does not end by itself."""
    deal = shop.sell(shop.account(), PLAN, Sold(SEATS, 10), terms=shop.year(), resourceId="workspace-old")
    shop.send(shop.again(deal, resourceId="workspace-new"))


@STACK.customer
def held_for_payment_collection(shop: Shop) -> None:
    """Held: the deal was corrected to be charged, which Stigg cannot change while it runs."""
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    fields = {"Stigg_Payment_Collection__c": "CHARGE"}
    other = shop.again(deal, fields, terms={**deal["terms"], "paymentCollection": "CHARGE"})
    shop.send(other)
    shop.expect(other, "Held")


@STACK.customer
def held_for_a_coupon(shop: Shop) -> None:
    """Held: the deal was corrected to have no coupon any more."""
    terms = shop.year(coupon="coupon-partner-20")
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=terms)
    other = shop.again(deal, {"Stigg_Coupon_ID__c": None}, terms=shop.year())
    shop.send(other)
    shop.expect(other, "Held")


@STACK.customer
def held_for_its_currency(shop: Shop) -> None:
    """Held: a second deal for the same plan in another currency."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    book = shop.sandbox.salesforce.standard_pricebook_id
    for product in (shop.sandbox.sales.product("plan-enterprise", priced=True), shop.sandbox.sales.product(SEATS)):
        price = {"Pricebook2Id": book, "Product2Id": product, "UnitPrice": 1, "IsActive": True}
        shop.sandbox.salesforce.create("PricebookEntry", CurrencyIsoCode="EUR", **price)
    other = shop.deal(account, PLAN, Sold(SEATS, 10), terms=shop.year(), fields={"CurrencyIsoCode": "EUR"})
    shop.send(other)
    shop.expect(other, "Held", "currency")


@STACK.customer
def held_for_another_price(shop: Shop) -> None:
    """Held: a second deal with another price for the same add-on."""
    account = shop.account()
    shop.sell(account, PLAN, Sold(WORKSPACE, 2, 1200), terms=shop.year())
    shop.expect(shop.sell(account, PLAN, Sold(WORKSPACE, 2, 900), terms=shop.year()), "Held", "price")


@STACK.customer
def held_for_another_plan(shop: Shop) -> None:
    """Held: a second deal for another plan of the same product."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.expect(shop.sell(account, Sold("plan-enterprise-plus"), terms=shop.year()), "Held", "same product")


@STACK.customer
def held_renewal_of_no_known_term(shop: Shop) -> None:
    """Held: a renewal without a start of a deal that nobody has heard of."""
    account = shop.account()
    base = shop.deal(account, *ENTERPRISE, terms=shop.year(), stage="Negotiation/Review")
    terms = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}
    shop.expect(shop.renew(base, *ENTERPRISE, terms=terms), "Held")


@STACK.customer
def corrected_beneath_its_amendment(shop: Shop) -> None:
    """The base was corrected after an amendment had been quoted on it."""
    base = shop.sell(shop.account(), PLAN, Sold(SEATS, 10), terms=shop.year())
    shop.amend(base, lines=[line("Entitlement", SEATS, 5, priorQuantity=10)])
    lines = [{**one, "quantity": 7} if one["stiggId"] == SEATS else one for one in base["lines"]]
    shop.send(shop.again(base, lines=lines))


# Subscriptions of others


def _somebody_made(shop: Shop, account: str, plan: str, **more: Any) -> None:
    shop.sandbox.stigg.add_customer(account)
    shop.sandbox.stigg.add_subscription(account, plan, **more)


@STACK.customer
def adopted(shop: Shop) -> None:
    """A subscription that somebody else had made matched the deal, and is kept as its own."""
    account = shop.account()
    _somebody_made(
        shop,
        account,
        "plan-enterprise",
        id="made-by-hand-adopted",
        entitlements=[{"type": "FEATURE", "id": SEATS, "usageLimit": 250}],
        metadata={"madeBy": "customer success"},
    )
    shop.expect(shop.sell(account, Sold("plan-enterprise"), Sold(SEATS, 250), terms=shop.year()), "Provisioned")
    assert shop.standing(account)["id"] == "made-by-hand-adopted"


@STACK.customer
def held_for_a_subscription_of_others(shop: Shop) -> None:
    """Held: another plan of the same product stands there, made by somebody else; waits for approval."""
    account = shop.account()
    _somebody_made(shop, account, "plan-team", id="made-by-hand-held", billingPeriod="MONTHLY")
    deal = shop.sell(account, *ENTERPRISE, terms=shop.year())
    assert shop.told(deal)["approval"]


@STACK.customer
def replaced_by_approval(shop: Shop) -> None:
    """A subscription of somebody else was in the way, and was replaced once that was approved."""
    account = shop.account()
    _somebody_made(shop, account, "plan-free", id="made-by-hand-replaced")
    deal = shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.approve(deal)
    shop.expect(deal, "Provisioned")


@STACK.customer
def customer_already_in_stigg(shop: Shop) -> None:
    """The account shows a customer that Stigg had already, with metadata of others and another subscription."""
    shop.sandbox.stigg.add_customer("org-0815", name="Old name", metadata={"tier": "gold"})
    shop.sandbox.stigg.add_subscription("org-0815", "plan-analytics", id="made-by-hand-beside")
    account = shop.account(Stigg_Customer_ID__c="org-0815")
    shop.expect(shop.sell(account, *ENTERPRISE, terms=shop.year()), "Provisioned")


# Credits


@STACK.customer
def credits_granted(shop: Shop) -> None:
    """Credit grants: paid ones, given ones that expire, and ones whose day is still to come."""
    lines = [
        line("Credit grant", CREDITS, 5000, price=0.01),
        line("Credit grant", CREDITS, 700, end=shop.day(90)),
        line("Credit grant", CREDITS, 800, start=shop.day(45), end=shop.day(120)),
    ]
    account = shop.account()
    shop.expect(shop.sell(account, PLAN, lines=lines, terms=shop.year()), "Provisioned")
    assert len(shop.sandbox.stigg.grants(account)) == 2


@STACK.customer
def credits_alone_for_a_resource(shop: Shop) -> None:
    """A deal of nothing but credits, for a resource."""
    deal = shop.sell(shop.account(), lines=[line("Credit grant", CREDITS, 100)], resourceId="workspace-1")
    shop.expect(deal, "Provisioned")


@STACK.customer
def credits_corrected_after_the_grant(shop: Shop) -> None:
    """Held: other credits than were granted; they are never corrected."""
    deal = shop.sell(shop.account(), PLAN, lines=[line("Credit grant", CREDITS, 1000)], terms=shop.year())
    lines = [{**one, "quantity": 1500} if one["stiggId"] == CREDITS else one for one in deal["lines"]]
    other = shop.again(deal, lines=lines)
    shop.send(other)
    shop.expect(other, "Held", "1000 of")


# Refused and failed


@STACK.customer
def refused_by_the_mapping(shop: Shop) -> None:
    """Failed: an ID without its prefix and half a seat; nothing was provisioned."""
    lines = [line("Add-on", "workspace", 1), line("Entitlement", SEATS, 0.5)]
    [result] = shop.send(shop.deal(shop.account(), Sold("plan-enterprise"), lines=lines))
    assert result["status"] == "invalid"


@STACK.customer
def mistake_in_a_new_revision(shop: Shop) -> None:
    """Failed: the newest revision is refused, and what was provisioned before stands."""
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    wrong = shop.again(deal, lines=[{**one, "quantity": -1} for one in deal["lines"]])
    shop.send(wrong)
    shop.expect(wrong, "Failed")


@STACK.customer
def refused_by_the_catalogue(shop: Shop) -> None:
    """Failed: an unknown plan, and in a second deal an add-on that does not fit; a third deal is well."""
    account = shop.account()
    shop.expect(shop.sell(account, Sold("plan-enterprice"), terms=shop.year()), "Failed")
    shop.expect(shop.sell(account, PLAN, Sold("addon-legacy-import", 1), terms=shop.year()), "Failed")
    shop.expect(shop.sell(account, Sold("plan-analytics"), terms=shop.year()), "Provisioned")


@STACK.customer
def archived_plan(shop: Shop) -> None:
    """Failed: a plan that is archived in Stigg."""
    shop.expect(shop.sell(shop.account(), Sold("plan-starter"), terms=shop.year()), "Failed")


@STACK.customer
def refused_by_stigg(shop: Shop) -> None:
    """Failed: Stigg refuses the subscription, because the customer is billed in a currency the plan has no price in."""
    account = shop.account()
    shop.sandbox.stigg.add_customer(account, billingCurrency="eur")
    deal = shop.sell(account, Sold("plan-team"), terms=shop.year())
    shop.expect(deal, "Failed", "Stigg refused")


@STACK.customer
def customer_of_another_account(shop: Shop) -> None:
    """Failed: the customer in Stigg belongs to another account; tried again later."""
    shop.sandbox.stigg.add_customer("org-taken", metadata={"salesforceAccountId": "0015g00000ZzZzZAAV"})
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(), customerId="org-taken")
    shop.expect(deal, "Failed", "another Salesforce account")


@STACK.customer
def write_back_refused(shop: Shop) -> Iterator[None]:
    """Salesforce refuses the record of the deal: the outcome is still to be shown."""
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    yield
    yield
    more = shop.again(deal, lines=[*deal["lines"], line("Add-on", SUPPORT, 1, line=9)])
    record = shop.sandbox.provisioning(id_of(deal))
    assert record is not None
    shop.sandbox.salesforce.lock_row(record["Id"], 99)
    shop.send(more)
    shop.sandbox.salesforce.unlock_rows()


# What people do


@STACK.customer
def moved_deal(shop: Shop) -> None:
    """The deal was moved to another account after it had been provisioned."""
    account = shop.account()
    deal = shop.sell(account, *ENTERPRISE, terms=shop.year())
    other = shop.account("Moved deal, the other account")
    moved = shop.again(deal, {"AccountId": other})
    [result] = shop.send(moved)
    assert result["status"] == "invalid"


@STACK.customer
def deleted_deal(shop: Shop) -> None:
    """The deal was deleted in Salesforce after it had been provisioned."""
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.sandbox.salesforce.delete("Opportunity", id_of(deal))


@STACK.customer
def merged_account(shop: Shop) -> None:
    """The account was merged into another one."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.sandbox.salesforce.merge("Account", shop.account("Merged account, the master"), account)


@STACK.customer
def add_ons_changed_by_hand(shop: Shop) -> None:
    """Somebody changed the add-ons in Stigg."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.sandbox.stigg.change_subscription(shop.standing(account)["id"], addons=[{"id": WORKSPACE, "quantity": 6}])


@STACK.customer
def ended_by_hand(shop: Shop) -> None:
    """Somebody ended the subscription in Stigg."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.sandbox.stigg.cancel_subscription(shop.standing(account)["id"])


@STACK.customer
def orphan(shop: Shop) -> None:
    """Stigg holds a subscription that bears closed-won's marks, and no deal gives it."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    marks = shop.standing(account)["metadata"]
    shop.sandbox.stigg.add_subscription(account, "plan-analytics", id="left-behind", metadata=marks)


@STACK.customer
def seats_changed_by_hand(shop: Shop) -> None:
    """Somebody changed in Stigg what only effective entitlements show."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    seats = [{"type": "FEATURE", "id": SEATS, "usageLimit": 100}]
    shop.sandbox.stigg.change_subscription(shop.standing(account)["id"], entitlements=seats)


@STACK.customer
def changed_beneath_a_hold(shop: Shop) -> None:
    """A reduction waits for approval, and somebody changed the price in Stigg meanwhile."""
    account = shop.account()
    base = shop.sell(account, PLAN, Sold(SEATS, 500), terms=shop.year())
    shop.amend(base, Sold(SEATS, -450))
    prices = [{"baseCharge": True, "amount": 40000, "currency": "usd"}]
    shop.sandbox.stigg.change_subscription(shop.standing(account)["id"], priceOverrides=prices)


@STACK.customer
def lost_in_stigg(shop: Shop) -> None:
    """Stigg was restored from a backup: the subscription is gone without a trace."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.sandbox.stigg.lose(account)


@STACK.customer
def customer_lost_in_stigg(shop: Shop) -> None:
    """The customer is gone from Stigg, with all it had."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.sandbox.stigg.lose(account, customer=True)


@STACK.customer
def missed_deal(shop: Shop) -> None:
    """A second deal was won, and its callout never arrived."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.deal(account, Sold("plan-analytics", 1, 9000), terms=shop.year())


@STACK.customer
def unknown_to_the_ledger(shop: Shop) -> None:
    """A first deal was won, and its callout never arrived: the ledger has never heard of the customer."""
    shop.deal(shop.account(), *ENTERPRISE, terms=shop.year())


@STACK.customer
def missed_revision(shop: Shop) -> None:
    """The deal was changed in Salesforce, and the callout never arrived."""
    account = shop.account()
    deal = shop.sell(account, *ENTERPRISE, terms=shop.year())
    [seats] = [
        item
        for item in shop.sandbox.salesforce.find("OpportunityLineItem", OpportunityId=id_of(deal))
        if item["Quantity"] == 250
    ]
    shop.sandbox.salesforce.update("OpportunityLineItem", seats["Id"], Quantity=275)
    shop.again(deal)


@STACK.customer
def status_changed_in_salesforce(shop: Shop) -> None:
    """Somebody changed the status that Salesforce shows, and emptied the account's customer."""
    account = shop.account()
    deal = shop.sell(account, *ENTERPRISE, terms=shop.year())
    record = shop.sandbox.provisioning(id_of(deal))
    assert record is not None
    shop.sandbox.salesforce.update("Stigg_Provisioning__c", record["Id"], Status__c="Failed")
    shop.sandbox.salesforce.update("Account", account, Stigg_Customer_ID__c=None)


# Executions that died


@STACK.customer
def died_before_the_subscription(shop: Shop) -> Iterator[None]:
    """A lease and a generation are left: the execution died, and Stigg never got the subscription."""
    yield
    yield
    deal = shop.deal(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.dies(deal, "drop_before", "POST", "/api/v1/subscriptions", stall=True)


@STACK.customer
def died_after_the_subscription(shop: Shop) -> Iterator[None]:
    """A lease and a generation are left: Stigg made the subscription, and the execution died before it heard."""
    yield
    yield
    deal = shop.deal(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.dies(deal, "delay_after", "POST", "/api/v1/subscriptions")


@STACK.customer
def died_after_a_change(shop: Shop) -> Iterator[None]:
    """A lease is left: Stigg has changed the subscription, and the ledger does not know."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    yield
    yield
    more = shop.deal(
        base["account"]["id"],
        Sold(SEATS, 40),
        trigger="amendment",
        amends=id_of(base),
        quantities="differences",
    )
    shop.dies(more, "delay_after", "PATCH", "/api/v1/subscriptions/.+")


@STACK.customer
def died_before_the_credits(shop: Shop) -> Iterator[None]:
    """An intended grant is left: the execution died, and Stigg never got it."""
    yield
    yield
    deal = shop.deal(shop.account(), PLAN, lines=[line("Credit grant", CREDITS, 300)], terms=shop.year())
    shop.dies(deal, "drop_before", "POST", "/api/v1/credits/grants", stall=True)


@STACK.customer
def died_after_the_credits(shop: Shop) -> Iterator[None]:
    """An intended grant is left: Stigg has granted it, and the execution died before it heard."""
    yield
    yield
    deal = shop.deal(shop.account(), PLAN, lines=[line("Credit grant", CREDITS, 400)], terms=shop.year())
    shop.dies(deal, "delay_after", "POST", "/api/v1/credits/grants")
