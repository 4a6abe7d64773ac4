"""Who buys at stacks that chose otherwise: other policies, an application of their own, CPQ, paused, only watching."""

from __future__ import annotations

from collections.abc import Iterator

from recorded.shop import CREDITS, ENTERPRISE, SEATS, SUPPORT, WORKSPACE, Shop, Stack, id_of, line
from sandbox.sales import Cpq, Sold

PLAN = Sold("plan-enterprise", 1, 48000)
TEAM = {"billingPeriod": "MONTHLY", "paymentCollection": "INVOICE"}

END = Stack(
    "end",
    {
        "EndOfTermPolicy": "end",
        "ReopenedDealPolicy": "revoke",
        "ForeignSubscriptionPolicy": "replace",
        "RemovalGuardPercent": "20",
        "TimeZone": "Europe/Berlin",
    },
    "Access ends with the term, a reopened deal loses it, others' subscriptions are replaced, 20 %, Berlin.",
    [],
    reconciled=True,
)
GRACE = Stack(
    "grace",
    {
        "EndOfTermPolicy": "grace",
        "GraceDays": "30",
        "ForeignSubscriptionPolicy": "replace-free",
        "RemovalGuardPercent": "100",
        "TimeZone": "America/Los_Angeles",
        "ChangedByHandPolicy": "repair",
        "ReductionsPolicy": "repair",
    },
    "30 days of grace, free subscriptions of others are replaced, nothing is too large a reduction, Los Angeles.",
    [],
)
OWN = Stack("own", {}, "An application of their own makes workspaces first.", [], own_application=True)
CPQ = Stack("cpq", {}, "Salesforce CPQ: deals come without lines and are read from quotes.", [])
PAUSED = Stack("paused", {}, "Paused by an operator: deals are accepted, nothing is written.", [])
SHADOW = Stack("shadow", {}, "Only watching: deals are accepted and planned, nothing is written.", [])


# Access ends with the term


@END.customer
def a_year_that_ends(shop: Shop) -> None:
    """closed_won: Stigg knows the day on which access ends."""
    shop.expect(shop.sell(shop.account(), *ENTERPRISE, terms=shop.year()), "Provisioned")


@END.customer
def a_year_that_is_over(shop: Shop) -> None:
    """closed_won of a term that was over before it arrived."""
    shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-400))


@END.customer
def a_year_that_just_ended(shop: Shop) -> Iterator[None]:
    """The term has ended, and with it access."""
    terms = {**shop.year(-200), "end": shop.soon(6)}
    shop.sell(shop.account(), *ENTERPRISE, terms=terms)
    yield


@END.customer
def renewed_in_time(shop: Shop) -> None:
    """renewal Scheduled right after the term: access does not end."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-340))
    shop.expect(shop.renew(base, *ENTERPRISE, terms=shop.year(25)), "Scheduled")


@END.customer
def renewed_with_a_gap(shop: Shop) -> None:
    """renewal Scheduled some days after the term: a gap of a week."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-340))
    shop.renew(base, *ENTERPRISE, terms=shop.year(32))


@END.customer
def reopened_and_revoked(shop: Shop) -> None:
    """A deal that is not won any more: its access has ended."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    lost = shop.again(base, {"StageName": "Negotiation/Review"}, trigger="cancellation", lines=[], terms={})
    shop.send(lost)
    shop.expect(lost, "Provisioned", "Access ended")


@END.customer
def replaced_without_asking(shop: Shop) -> None:
    """A paid subscription of somebody else stood there, and was replaced."""
    account = shop.account()
    shop.sandbox.stigg.add_customer(account)
    shop.sandbox.stigg.add_subscription(account, "plan-team", id="made-by-hand-team", billingPeriod="MONTHLY")
    shop.expect(shop.sell(account, *ENTERPRISE, terms=shop.year()), "Provisioned")


@END.customer
def held_for_a_third(shop: Shop) -> None:
    """Held: a third of the seats would go, and 20 % is the most."""
    base = shop.sell(shop.account(), PLAN, Sold(SEATS, 300), terms=shop.year())
    assert shop.told(shop.amend(base, Sold(SEATS, -100)))["approval"]


@END.customer
def amendment_for_a_while(shop: Shop) -> None:
    """amendment of differences with an end of its own, and another one for later."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.amend(base, Sold(SEATS, 50), terms={"start": shop.day(-10), "end": shop.day(20)})
    shop.expect(shop.amend(base, Sold(WORKSPACE, 2, 1200), terms={"start": shop.day(45)}), "Scheduled")


@END.customer
def cancelled_at_its_end(shop: Shop) -> None:
    """cancellation at the end of the term, which ends anyway."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.expect(shop.cancel(base), "Scheduled")


@END.customer
def two_contracts_one_ends(shop: Shop) -> None:
    """Two deals of one plan with other ends: what is left is less, on a day that was agreed."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.sell(account, *ENTERPRISE, terms=shop.year(-340))


@END.customer
def trial_in_berlin(shop: Shop) -> None:
    """trial whose last day is a day in Berlin."""
    shop.sell(shop.account(), PLAN, trigger="trial", terms={"trialEnd": shop.day(7)})


@END.customer
def credits_of_a_year(shop: Shop) -> None:
    """Credits with the term of their deal."""
    lines = [line("Credit grant", CREDITS, 900, end=shop.day(100))]
    shop.sell(shop.account(), PLAN, lines=lines, terms=shop.year())


# Grace


@GRACE.customer
def within_grace(shop: Shop) -> None:
    """The term ended two weeks ago: access goes on for sixteen days more."""
    shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-378))


@GRACE.customer
def grace_is_over(shop: Shop) -> None:
    """The term ended two months ago, before the deal arrived."""
    shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-425))


@GRACE.customer
def in_the_middle_of_its_term(shop: Shop) -> None:
    """The term ends in half a year, and access a month later."""
    shop.expect(shop.sell(shop.account(), *ENTERPRISE, terms=shop.year()), "Provisioned")


@GRACE.customer
def free_plan_replaced(shop: Shop) -> None:
    """A free subscription of somebody else was replaced."""
    account = shop.account()
    shop.sandbox.stigg.add_customer(account)
    shop.sandbox.stigg.add_subscription(account, "plan-free", id="made-by-hand-free")
    shop.expect(shop.sell(account, *ENTERPRISE, terms=shop.year()), "Provisioned")


@GRACE.customer
def paid_plan_not_replaced(shop: Shop) -> None:
    """Held: a paid subscription of somebody else is in the way."""
    account = shop.account()
    shop.sandbox.stigg.add_customer(account)
    shop.sandbox.stigg.add_subscription(account, "plan-team", id="made-by-hand-paid", billingPeriod="MONTHLY")
    shop.expect(shop.sell(account, *ENTERPRISE, terms=shop.year()), "Held")


@GRACE.customer
def reduced_without_asking(shop: Shop) -> None:
    """amendment that takes away nearly everything, at once: this stack holds no reduction."""
    base = shop.sell(shop.account(), PLAN, Sold(SEATS, 500), terms=shop.year())
    shop.expect(shop.amend(base, Sold(SEATS, -490)), "Provisioned")


@GRACE.customer
def changed_by_hand_to_be_repaired(shop: Shop) -> None:
    """Somebody changed the add-ons in Stigg, and the policy is to undo it."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.sandbox.stigg.change_subscription(shop.standing(account)["id"], addons=[{"id": WORKSPACE, "quantity": 6}])


@GRACE.customer
def renewed_within_grace(shop: Shop) -> None:
    """renewal that begins within the grace of the term before."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-378))
    shop.renew(base, PLAN, Sold(SEATS, 90), terms=shop.year(5))


# An application of their own


@OWN.customer
def workspace_made(shop: Shop) -> None:
    """Its application named customer, resource and metadata."""
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.expect(deal, "Provisioned")
    shop.expect(shop.amend(deal, Sold(SEATS, 10)), "Provisioned")


@OWN.customer
def two_workspaces(shop: Shop) -> None:
    """A second deal of the customer got a workspace of its own."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    shop.expect(shop.sell(account, *ENTERPRISE, terms=shop.year(-30)), "Provisioned")


@OWN.customer
def renewed_workspace(shop: Shop) -> None:
    """renewal of a prepared deal, Scheduled: it is not asked about."""
    base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year(-340))
    shop.expect(shop.renew(base, PLAN, Sold(SEATS, 300), terms=shop.year(25)), "Scheduled")


@OWN.customer
def workspace_refused(shop: Shop) -> None:
    """Failed: its application refused one deal, another goes on."""
    account = shop.account()
    shop.sell(account, *ENTERPRISE, terms=shop.year())
    bad = shop.deal(account, Sold("plan-analytics"), terms=shop.year())
    told = {"message": "one workspace is all there is"}
    fault = shop.sandbox.application_server.fail("answer", status=422, body=told, about=id_of(bad), times=9)
    shop.send(bad)
    shop.expect(bad, "Failed", "one workspace")
    fault.times = 0


@OWN.customer
def trial_in_a_workspace(shop: Shop) -> None:
    """trial in a workspace that was made for it."""
    shop.expect(shop.sell(shop.account(), PLAN, trigger="trial", terms={"trialEnd": shop.day(10)}), "Provisioned")


@OWN.customer
def workspace_in_the_making(shop: Shop) -> Iterator[None]:
    """Provisioning: its application is still preparing; asked again in ten minutes."""
    yield
    yield
    assert shop.sandbox.application is not None
    shop.sandbox.application.slow = True
    deal = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
    shop.expect(deal, "Provisioning", "still preparing")


# CPQ


def _cpq(shop: Shop) -> Cpq:
    return Cpq(shop.sandbox.sales)


def _sent(shop: Shop, opportunity: str, trigger: str = "closed_won", **more: object) -> dict[str, object]:
    """A deal without lines, as the flow sends it where CPQ is in use."""
    shop.sandbox.salesforce.update("Opportunity", opportunity, CloseDate=shop.day(-30))
    shop.saved(opportunity)
    whole = shop.sandbox.deal(opportunity, trigger=trigger, **more)
    deal = {name: value for name, value in whole.items() if name != "lines" or trigger == "cancellation"}
    shop.send(deal)
    return deal


@CPQ.customer
def quoted(shop: Shop) -> None:
    """A quote of a year."""
    quote = _cpq(shop).quote(shop.account(), "Quoted", *ENTERPRISE, start=shop.day(-100))
    shop.expect(_sent(shop, quote), "Provisioned")


@CPQ.customer
def quoted_and_amended(shop: Shop) -> None:
    """Two amendments of a contract, the second one re-prices: differences with their prior quantities."""
    cpq = _cpq(shop)
    quote = cpq.quote(shop.account(), "Base", *ENTERPRISE, start=shop.day(-100))
    _sent(shop, quote)
    contract = cpq.contract(quote)
    more = cpq.amend(contract, "More", start=shop.day(-20), feature_seats=300)
    shop.expect(_sent(shop, more), "Provisioned")
    cpq.contract(more)
    other = cpq.amend(contract, "Prices", Sold(WORKSPACE, 3, 1000), start=shop.day(-5), addon_extra_workspace=0)
    shop.expect(_sent(shop, other), "Provisioned")


@CPQ.customer
def quoted_and_amended_later(shop: Shop) -> None:
    """amendment Scheduled for a day ahead."""
    cpq = _cpq(shop)
    quote = cpq.quote(shop.account(), "Base", *ENTERPRISE, start=shop.day(-100))
    _sent(shop, quote)
    later = cpq.amend(cpq.contract(quote), "Later", Sold(SUPPORT), start=shop.day(30), feature_seats=400)
    shop.expect(_sent(shop, later), "Scheduled")


@CPQ.customer
def quoted_and_renewed(shop: Shop) -> None:
    """renewal Scheduled: more seats, an add-on less."""
    cpq = _cpq(shop)
    quote = cpq.quote(shop.account(), "Base", *ENTERPRISE, start=shop.day(-340))
    _sent(shop, quote)
    renewal = cpq.renew(cpq.contract(quote), "Renewal", feature_seats=500, addon_extra_workspace=0)
    shop.expect(_sent(shop, renewal), "Scheduled")


@CPQ.customer
def quoted_in_blocks(shop: Shop) -> None:
    """A block price, and an amendment of it."""
    cpq = _cpq(shop)
    sold = (PLAN, Sold(WORKSPACE, 10, block=True), Sold(SEATS, 40))
    quote = cpq.quote(shop.account(), "Base", *sold, start=shop.day(-100))
    shop.expect(_sent(shop, quote), "Provisioned")
    more = cpq.amend(cpq.contract(quote), "More", start=shop.day(-10), addon_extra_workspace=15)
    _sent(shop, more)


@CPQ.customer
def quoted_in_steps(shop: Shop) -> None:
    """A ramp: quote lines with days of their own."""
    steps = (Sold(SEATS, 100, start=shop.day(-100), end=shop.day(80)), Sold(SEATS, 200, start=shop.day(81)))
    quote = _cpq(shop).quote(shop.account(), "Ramp", PLAN, *steps, start=shop.day(-100))
    shop.expect(_sent(shop, quote), "Provisioned")


@CPQ.customer
def quoted_and_lost(shop: Shop) -> None:
    """cancellation of a contract by a renewal that was lost: it ends with its term."""
    cpq = _cpq(shop)
    account = shop.account()
    quote = cpq.quote(account, "Base", *ENTERPRISE, start=shop.day(-340))
    _sent(shop, quote)
    contract = cpq.contract(quote)
    fields = {"StageName": "Closed Lost", "Stigg_Amends__c": contract}
    lost = shop.sandbox.sales.close(account, "Lost renewal", **fields)
    shop.expect(_sent(shop, lost, "cancellation", amends=contract, lines=[]), "Scheduled")


# Paused, and only watching


def _before(stack: Stack) -> None:
    @stack.customer
    def provisioned_before(shop: Shop) -> None:
        """Provisioned before the operator said so."""
        shop.expect(shop.sell(shop.account(), *ENTERPRISE, terms=shop.year()), "Provisioned")

    @stack.customer
    def amended_meanwhile(shop: Shop) -> Iterator[None]:
        """Provisioning: amended meanwhile, and reduced."""
        base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
        yield
        _says(shop, stack)
        shop.amend(base, Sold(SEATS, 25))
        shop.expect(shop.amend(base, Sold(WORKSPACE, -1, 1200)), "Provisioning")

    @stack.customer
    def cancelled_meanwhile(shop: Shop) -> Iterator[None]:
        """Provisioning: cancelled meanwhile, at once."""
        base = shop.sell(shop.account(), *ENTERPRISE, terms=shop.year())
        yield
        _says(shop, stack)
        shop.expect(shop.cancel(base, terms={"cancel": "now"}), "Provisioning")

    @stack.customer
    def sold_meanwhile(shop: Shop) -> Iterator[None]:
        """Provisioning: a new customer with credits, of whom Stigg knows nothing."""
        yield
        _says(shop, stack)
        lines = [line("Credit grant", CREDITS, 250)]
        shop.expect(shop.sell(shop.account(), *ENTERPRISE, lines=lines, terms=shop.year()), "Provisioning")

    @stack.customer
    def trial_meanwhile(shop: Shop) -> Iterator[None]:
        """Provisioning: a trial that was won meanwhile."""
        deal = shop.sell(shop.account(), PLAN, trigger="trial", terms={"trialEnd": shop.day(14)})
        yield
        _says(shop, stack)
        fields = {"StageName": "Closed Won"}
        shop.send(shop.again(deal, fields, trigger="closed_won", terms=shop.year(0)))

    @stack.customer
    def refused_meanwhile(shop: Shop) -> Iterator[None]:
        """Failed at once: what the mapping refuses needs no execution."""
        yield
        _says(shop, stack)
        shop.send(shop.deal(shop.account(), Sold("plan-enterprise"), lines=[line("Add-on", "workspace", 1)]))


def _says(shop: Shop, stack: Stack) -> None:
    """The operator pauses the stack, or lets it only watch."""
    verb = {"paused": "pause", "shadow": "shadow"}[stack.name]
    if shop.operator.json("mode")["mode"] != verb:
        shop.operator.does(verb, "--why", "for the recording")


_before(PAUSED)
_before(SHADOW)

STACKS = [END, GRACE, OWN, CPQ, PAUSED, SHADOW]
