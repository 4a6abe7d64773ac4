"""A deal without lines is read from Salesforce: which rows become which deal, with CPQ and without.

The rows are the strict stand-in's, and the deals they become are judged by the callout's own model and mapping. Every
deal that is read here is read in bulk as well, by the product's own client, and has to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import pytest
from simple_salesforce.format import format_soql

from closedwon.domain.errors import SalesforceLimitExceeded, SalesforceRefused, SalesforceThrottled
from closedwon.domain.order import Order, Problem, netted
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import MappingRules, compile_deal
from closedwon.salesforce.bulk import BulkQueries
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.deal_records import deal_from_rows, trigger_of
from closedwon.salesforce.export_queries import Bulk, Scope, bulk_queries
from closedwon.salesforce.mapping_records import MAPPINGS_SOQL, LineSource, Row, Unreadable, mapped, value_at
from closedwon.salesforce.reading import opportunities_of, read
from sandbox.sales import Cpq, Sales, Sold
from sandbox.salesforce.app import Salesforce
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.schema import STANDARD, Schema, _lookup, _object, _text
from sandbox.sandbox import packaged_configuration
from sandbox.wsgi_session import session_to
from unit.domain import iso

Json = dict[str, Any]


TRIAL_STAGE = "Proposal/Price Quote"


class Org:
    """An organisation asked without a network, and what it was asked."""

    def __init__(self, schema: Schema = STANDARD) -> None:
        self.salesforce = Salesforce("client", "hush", schema=schema)
        self.salesforce.load(packaged_configuration())
        self.sales = Sales(self.salesforce)
        self.asked: list[str] = []

    def query(self, soql: str, **values: Any) -> list[Json]:
        self.asked.append(soql)
        try:
            return self.salesforce.query(format_soql(soql, **values))
        except Refusal as refusal:
            raise SalesforceRefused(refusal.code, refusal.message) from None

    def describe(self, object_name: str) -> Json:
        return self.salesforce.describe(object_name)

    def deal(self, opportunity: str, trigger: str = "closed_won", **said: Any) -> Json:
        """What a callout says of a deal that is to be read."""
        deal = {"organizationId": self.salesforce.organization_id, "trigger": trigger}
        return {**deal, "opportunity": {"id": opportunity}, **said}

    def read(self, opportunity: str, trigger: str = "closed_won", **said: Any) -> Json:
        """The deal as it was read, which it also is when it is read in bulk."""
        [answer] = read([self.deal(opportunity, trigger, **said)], self, datetime.now(UTC))
        assert isinstance(answer, dict), answer
        asked = self.bulk(Scope(trial_stages=[TRIAL_STAGE]))
        if not asked.unreachable:
            in_bulk = self.read_in_bulk(self.deal(opportunity, trigger, **said), asked)
            assert unnumbered(in_bulk) == unnumbered(answer)
        return answer

    @cached_property
    def client(self) -> SalesforceClient:
        return SalesforceClient("https://organisation.test", Keys(), "66.0", session_to(self.salesforce))

    def bulk(self, scope: Scope) -> Bulk:
        """What is asked in bulk."""
        return bulk_queries(mapped(self.client.query(MAPPINGS_SOQL)), scope, self.client)

    def rows(self, soql: str) -> list[Json]:
        """All rows of a query in bulk, each page with no more than two of them."""
        queries = BulkQueries(self.client)
        job = queries.start(soql)
        while queries.finished(job) is None:
            pass
        return [row for page in queries.pages(job, most=2) for row in page.rows]

    def read_in_bulk(self, deal: Json, asked: Bulk) -> Json:
        """A deal made of the rows that were read in bulk, in a bad order."""
        mappings = mapped(self.client.query(MAPPINGS_SOQL))
        id, rows, opportunities = deal["opportunity"]["id"], list[Row](), list[Json]()
        for query in asked.queries:
            for content in self.rows(query.soql):
                account = value_at(content, query.account)
                assert self.salesforce.get("Account", account), "every row leads to its account"
                if value_at(content, query.opportunity) != id:
                    continue
                if query.source == "opportunities":
                    opportunities.append(content)
                elif query.mapping is not None:
                    rows.insert(0, mappings.row(query.mapping, content))
        [opportunity] = opportunities
        return deal_from_rows(deal, opportunity, rows, datetime.now(UTC))

    def problem(self, opportunity: str, trigger: str = "closed_won", **said: Any) -> Problem:
        """Why it cannot be read."""
        [answer] = read([self.deal(opportunity, trigger, **said)], self, datetime.now(UTC))
        assert isinstance(answer, Problem), answer
        return answer

    def order(self, deal: Json) -> Order:
        """What the mapping makes of a deal that was read: no problem."""
        order = compile_deal(Deal.model_validate(deal), MappingRules(self.salesforce.organization_id))
        assert order.problems == ()
        return order


class Keys:
    """The stack's Salesforce secret."""

    def json(self, *required: str) -> dict[str, Any]:
        return {"clientId": "client", "clientSecret": "hush"}

    def again(self) -> str:
        return ""


def unnumbered(deal: Json) -> Json:
    """A deal without when it was read, and without the numbers of its lines: in bulk, those that say nothing about
    Stigg are not asked for, and not counted.
    """
    lines = [{name: value for name, value in line.items() if name != "line"} for line in deal["lines"]]
    opportunity = {name: value for name, value in deal["opportunity"].items() if name != "readAt"}
    return {**deal, "opportunity": opportunity, "lines": lines}


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def account(org: Org) -> str:
    return org.sales.account("Northwind", Stigg_Customer_ID__c="northwind")


def amounts(deal: Json, *fields: str) -> list[tuple[Any, ...]]:
    """A deal's lines: of each its Stigg ID and these fields."""
    return [(line["stiggId"], *(line.get(field) for field in fields)) for line in deal["lines"]]


def items(order: Order) -> dict[str, int]:
    return {item.stigg_id: item.quantity for item in order.items}


# Without CPQ


def test_no_query_names_a_field_that_an_older_package_lacks() -> None:
    org = Org()
    [shown] = [query for query in org.bulk(Scope()).queries if query.source == "provisionings"]
    assert "Code__c" in shown.soql
    org.salesforce.deploy_package("first")
    [shown] = [query for query in org.bulk(Scope()).queries if query.source == "provisionings"]
    assert "Code__c" not in shown.soql
    assert org.rows(shown.soql) == []


def test_an_opportunity_is_read_with_its_account_terms_and_products(org: Org, account: str) -> None:
    terms = {"Stigg_Start_Date__c": "2026-12-01", "Stigg_Billing_Period__c": "ANNUALLY"}
    opportunity = org.sales.close(
        account,
        "Northwind - Enterprise",
        Sold("plan-enterprise", 1, 48000),
        Sold("feature-sso", unlimited=True),
        Sold("feature-seats", 250),
        Stigg_Trial_End_Date__c="2026-11-30",  # of the trial before: no term of a deal that is won
        CurrencyIsoCode="USD",
        **terms,
    )
    service = org.salesforce.add_product("Onboarding")
    org.salesforce.create("OpportunityLineItem", OpportunityId=opportunity, Product2Id=service, Quantity=2, UnitPrice=9)

    deal = org.read(opportunity)

    assert deal["opportunity"].pop("readAt") >= deal["opportunity"]["systemModstamp"][:16]
    assert deal == {
        "organizationId": org.salesforce.organization_id,
        "trigger": "closed_won",
        "opportunity": {
            "id": opportunity,
            "name": "Northwind - Enterprise",
            "systemModstamp": org.salesforce.get("Opportunity", opportunity)["SystemModstamp"],
            "currencyIsoCode": "USD",
        },
        "account": {"id": account, "name": "Northwind", "stiggCustomerId": "northwind"},
        "terms": {"start": "2026-12-01", "billingPeriod": "ANNUALLY"},
        "lines": [
            {"line": 1, "stiggType": "Plan", "stiggId": "plan-enterprise", "quantity": 1.0, "price": 48000.0},
            {"line": 2, "stiggType": "Entitlement", "stiggId": "feature-sso", "quantity": 1.0, "unlimited": True},
            {"line": 3, "stiggType": "Entitlement", "stiggId": "feature-seats", "quantity": 250.0},
        ],
    }
    deal["opportunity"]["readAt"] = deal["opportunity"]["systemModstamp"]
    assert items(org.order(deal)) == {"plan-enterprise": 1, "feature-sso": 1, "feature-seats": 250}


@pytest.mark.parametrize(
    ("trigger", "stage", "said"),
    [
        ("trial", "Closed Won", "is trial, but in Salesforce this opportunity is won"),
        ("closed_won", "Closed Lost", "is closed_won, but in Salesforce this opportunity is lost"),
        ("renewal", "Closed Lost", "is renewal, but in Salesforce this opportunity is lost"),
    ],
)
def test_a_callout_that_comes_late_does_not_say_of_the_newest_save_what_was_so_before(
    org: Org, account: str, trigger: str, stage: str, said: str
) -> None:
    opportunity = org.sales.close(account, "Since then", Sold("plan-enterprise"), StageName=stage)
    assert org.problem(opportunity, trigger) == Problem(None, "trigger", said)


def test_what_was_said_of_terms_customer_and_resource_stays_and_the_rest_is_read(org: Org, account: str) -> None:
    sold, fields = Sold("plan-enterprise"), {"Stigg_End_Date__c": "2027-11-30", "Stigg_Billing_Period__c": "ANNUALLY"}
    opportunity = org.sales.close(account, "As it is", sold, **fields)
    deal = org.read(
        opportunity,
        terms={"billingPeriod": "MONTHLY", "coupon": "coupon-10"},
        customerId="chosen",
        resourceId="site-1",
        account={"name": "As it was", "email": "billing@northwind.example"},
    )
    assert deal["terms"] == {"billingPeriod": "MONTHLY", "coupon": "coupon-10", "end": "2027-11-30"}
    assert (deal["customerId"], deal["resourceId"]) == ("chosen", "site-1")
    assert (deal["account"]["name"], deal["account"]["email"]) == ("Northwind", "billing@northwind.example")


@pytest.mark.parametrize(("trigger", "amends"), [("renewal", True), ("amendment", True), ("closed_won", False)])
def test_stigg_amends_links_amendments_and_renewals(org: Org, account: str, trigger: str, amends: bool) -> None:
    base = org.sales.close(account, "Base", Sold("plan-enterprise"))
    contract = org.salesforce.create("Contract", AccountId=account)
    fields = {"Stigg_Amends__c": base, "ContractId": contract}
    deal = org.read(org.sales.close(account, "Next", Sold("plan-enterprise"), **fields), trigger)
    assert deal.get("amends") == (base if amends else None)
    assert deal["contractId"] == contract
    assert "quantities" not in deal  # whole, unless the deal says that its lines are differences


def test_a_trial_has_its_end_and_not_the_dates_of_the_contract_it_may_become(org: Org, account: str) -> None:
    fields = {"Stigg_Trial_End_Date__c": "2026-11-30", "Stigg_Trial_End_Behavior__c": "CONVERT_TO_PAID"}
    fields |= {"Stigg_Start_Date__c": "2026-12-01", "Stigg_End_Date__c": "2027-11-30"}
    opportunity = org.sales.close(account, "Try", Sold("plan-enterprise"), StageName=TRIAL_STAGE, **fields)
    trial = {"trialEnd": "2026-11-30", "trialEndBehavior": "CONVERT_TO_PAID"}
    assert org.read(opportunity, "trial")["terms"] == trial
    assert org.read(opportunity)["terms"] == {"start": "2026-12-01", "end": "2027-11-30"}


def test_what_was_agreed_about_money_is_read(org: Org, account: str) -> None:
    fields: Json = {"Stigg_Coupon_ID__c": "coupon-10", "Stigg_Paying_Customer_ID__c": "holding"}
    fields |= {"Stigg_Budget__c": 500, "Stigg_Minimum_Spend__c": 100}
    order = org.order(org.read(org.sales.close(account, "Agreed", Sold("plan-enterprise"), **fields)))
    assert (order.coupon, order.paying_customer_id) == ("coupon-10", "holding")
    assert (order.budget, order.budget_soft, order.minimum_spend) == (500, False, 100)


# Where lines are, says Stigg Mapping


def test_names_in_a_mapping_match_in_any_case_and_lines_of_all_active_ones_add_up(org: Org, account: str) -> None:
    again = {f"{name}__c": "" for name in ("Price_Field", "Price_Override_Field", "Unlimited_Field")}
    again |= {"Stigg_Type_Field__c": "pricebookentry.PRODUCT2.stigg_type__C", "Quantity_Field__c": "QUANTITY"}
    again |= {"Line_Object__c": "opportunitylineitem", "Stigg_ID_Field__c": "PricebookEntry.Product2.Stigg_ID__c"}
    again |= {"Parent_Field__c": "OpportunityID", "Start_Date_Field__c": "ServiceDate"}
    org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Again", MasterLabel="Again", **again)
    opportunity = org.sales.close(account, "Twice", Sold("feature-seats", 5), Sold("addon-audit-log", 2))
    once = [("feature-seats", 5), ("addon-audit-log", 2)]
    deal = org.read(opportunity)
    assert amounts(deal, "quantity") == once + once
    assert [line["line"] for line in deal["lines"]] == [1, 2, 3, 4]


def test_objects_of_ones_own_are_found_through_the_opportunitys_one_lookup_to_their_parent() -> None:
    basket = _object("Basket__c", "Basket", "Baskets", "a2B", _text("Name", 80))
    entry = _object(
        "Entry__c",
        "Entry",
        "Entries",
        "a2E",
        _text("Name", 80),
        _lookup("Basket__c", "Basket__c", "Entries__r"),
        _lookup("Product__c", "Product2", "Entries__r"),
        _text("Seats__c"),
    )
    org = Org(STANDARD.extended([basket, entry], {"Opportunity": [_lookup("Basket__c", "Basket__c", "Deals__r")]}))
    fields = {"Stigg_Type_Field__c": "Product__r.Stigg_Type__c", "Stigg_ID_Field__c": "Product__r.Stigg_ID__c"}
    fields |= {"Line_Object__c": "Entry__c", "Parent_Field__c": "Basket__c", "Quantity_Field__c": "Seats__c"}
    org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Own", MasterLabel="Own", **fields)
    org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", Active__c=False)
    full = org.salesforce.create("Basket__c", Name="Full")
    product = org.sales.product("feature-seats")
    org.salesforce.create("Entry__c", Basket__c=full, Product__c=product, Seats__c="7")
    opportunity = org.sales.close(org.sales.account("Northwind"), "Basket", Basket__c=full)
    assert amounts(org.read(opportunity), "quantity") == [("feature-seats", "7")]

    org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Own", Parent_Field__c="Basket__r.CreatedById")
    said = "Stigg Mapping Entry__c: Basket__r.CreatedById leads to User, and the opportunity has several lookups to it"
    assert org.problem(opportunity).message == f"could not be read from Salesforce: {said}"


NO_NAMES = (
    "Quantity FROM User",
    "Quantity, Id",
    "Quantity--",
    "(SELECT Id FROM Contacts)",
    "Product2..Name",
    ".Quantity",
    "{parents}",
    "Quantité",
    "'",
)


@pytest.mark.parametrize(
    "column", [name for name in packaged_configuration()[0] if name.endswith(("Field__c", "Object__c"))]
)
def test_what_is_no_name_makes_no_query(column: str) -> None:
    [record] = packaged_configuration()
    for name in (*NO_NAMES, *(["Two.Steps"] if column == "Line_Object__c" else [])):
        with pytest.raises(Unreadable, match="holds no name of a field"):
            LineSource.of({**record, column: name})


def test_a_mapping_that_is_no_good_is_named_and_nothing_else_is_asked(org: Org, account: str) -> None:
    opportunity = org.sales.close(account, "A deal", Sold("plan-enterprise"))
    for name, said in (("Quantity FROM User", "holds no name of a field"), ("", "is empty")):
        org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", Quantity_Field__c=name)
        about = "could not be read from Salesforce: Stigg Mapping Opportunity Products: Quantity Field"
        assert org.problem(opportunity) == Problem(None, "lines", f"{about} {said}")
    assert all(soql.endswith("FROM Stigg_Mapping__mdt") for soql in org.asked)


def test_an_organisation_without_an_active_mapping_says_so(org: Org, account: str) -> None:
    org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", Active__c=False)
    problem = org.problem(org.sales.close(account, "A deal", Sold("plan-enterprise")))
    assert (problem.field, "no Stigg Mapping is active" in problem.message) == ("lines", True)


# With CPQ: what is sold, changed, renewed

CONTRACTED = (
    Sold("plan-enterprise", 1, 48000),
    Sold("addon-extra-workspace", 5, 1200),
    Sold("feature-seats", 10),
    Sold("feature-api-calls", 1000, block=True),
)


@pytest.fixture
def cpq(org: Org) -> Cpq:
    return Cpq(org.sales)


@pytest.fixture
def base(cpq: Cpq, account: str) -> str:
    return cpq.quote(account, "Base", *CONTRACTED)


@pytest.fixture
def contract(cpq: Cpq, base: str) -> str:
    return cpq.contract(base)


def test_a_new_quote_is_whole_and_dated(org: Org, cpq: Cpq, account: str) -> None:
    dated = Sold("feature-seats", 40, start="2026-07-01")
    opportunity = cpq.quote(
        account, "Ramp", Sold("plan-enterprise"), Sold("feature-seats", 10, end="2026-06-30"), dated
    )
    deal = org.read(opportunity)
    assert (deal["trigger"], deal.get("quantities"), deal.get("amends")) == ("closed_won", None, None)
    assert amounts(deal, "quantity", "start", "end") == [
        ("plan-enterprise", 1, "2026-01-01", "2026-12-31"),
        ("feature-seats", 10, "2026-01-01", "2026-06-30"),
        ("feature-seats", 40, "2026-07-01", "2026-12-31"),
    ]
    order = org.order(deal)
    assert (iso(order.start), iso(order.end)) == ("2026-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z")
    assert [(i.stigg_id, iso(i.start), iso(i.end)) for i in order.items] == [
        ("plan-enterprise", None, None),
        ("feature-seats", None, "2026-07-01T00:00:00.000Z"),
        ("feature-seats", "2026-07-01T00:00:00.000Z", None),
    ]


def test_an_opportunitys_own_dates_win_over_its_quotes(org: Org, cpq: Cpq, base: str) -> None:
    assert org.read(base)["terms"] == {"start": "2026-01-01"}  # its lines have the end
    org.salesforce.update("Opportunity", base, Stigg_Start_Date__c="2026-01-15", Stigg_End_Date__c="2026-11-30")
    assert org.read(base)["terms"] == {"start": "2026-01-15", "end": "2026-11-30"}


def test_opportunity_products_can_be_read_with_what_their_quote_lines_say(org: Org, cpq: Cpq, account: str) -> None:
    org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="CPQ_Quote_Lines", Active__c=False)
    fields = {"Prior_Quantity_Field__c": "SBQQ__QuoteLine__r.SBQQ__PriorQuantity__c", "Active__c": True}
    org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", **fields)
    base = cpq.quote(account, "Base", Sold("plan-enterprise"), Sold("feature-seats", 10), start="2026-03-31", months=11)
    deal = org.read(base)
    # Neither the quote nor these lines have an end: the quote's term counts, in months.
    assert deal["terms"] == {"start": "2026-03-31", "end": "2027-02-27"}
    deal = org.read(cpq.amend(cpq.contract(base), "More", feature_seats=15))
    assert (deal["trigger"], deal["amends"]) == ("amendment", base)
    assert amounts(deal, "quantity", "priorQuantity") == [("feature-seats", 5, 10)]


def test_opportunity_products_never_count_beside_the_quote_they_are_made_from(org: Org, cpq: Cpq, base: str) -> None:
    unticked = org.read(base)["lines"]
    org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", Active__c=True)
    assert org.read(base)["lines"] == unticked
    unquoted = org.sales.close(org.sales.account("Southwind"), "No quote", Sold("plan-team"))
    assert amounts(org.read(unquoted), "quantity") == [("plan-team", 1)]


def test_a_trial_of_what_is_quoted_has_none_of_the_quotes_dates(org: Org, base: str) -> None:
    org.salesforce.update("Opportunity", base, StageName=TRIAL_STAGE)
    deal = org.read(base, "trial", terms={"trialEnd": "2026-11-30"})
    assert deal["terms"] == {"trialEnd": "2026-11-30"}
    assert {(line.get("start"), line.get("end")) for line in deal["lines"]} == {(None, None)}


AMENDMENTS = [
    (
        "10 to 15 seats",
        {"feature_seats": 15},
        (),
        [("feature-seats", 5, 10, 15)],
        {"feature-seats": 5},
    ),
    ("fewer", {"feature_seats": 4}, (), [("feature-seats", -6, 10, 4)], {"feature-seats": -6}),
    (
        "an add-on is taken away",
        {"addon_extra_workspace": 0},
        (),
        [("addon-extra-workspace", -5, 5, 0)],
        {"addon-extra-workspace": -5},
    ),
    (
        "a new one",
        {},
        (Sold("addon-audit-log"),),
        [("addon-audit-log", 1, None, 1)],
        {"addon-audit-log": 1},
    ),
    (
        "a new price: the old line to zero, the product again",
        {"addon_extra_workspace": 0},
        (Sold("addon-extra-workspace", 6, 1000),),
        [("addon-extra-workspace", -5, 5, 0), ("addon-extra-workspace", 6, None, 6)],
        {"addon-extra-workspace": 1},
    ),
    (
        "a block price: the effective quantity is 1, the totals count",
        {"feature_api_calls": 5000},
        (),
        [("feature-api-calls", 1, 1000, 5000)],
        {"feature-api-calls": 4000},
    ),
]


@pytest.mark.parametrize(
    ("quantities", "added", "lines", "together"), [row[1:] for row in AMENDMENTS], ids=[row[0] for row in AMENDMENTS]
)
def test_an_amendment_carries_differences_of_what_changes(
    org: Org,
    cpq: Cpq,
    base: str,
    contract: str,
    quantities: dict[str, float],
    added: tuple[Sold, ...],
    lines: list[tuple[Any, ...]],
    together: dict[str, int],
) -> None:
    deal = org.read(cpq.amend(contract, "Change", *added, start="2026-07-01", **quantities))
    assert (deal["trigger"], deal["quantities"], deal["amends"]) == ("amendment", "differences", base)
    assert (deal["terms"]["start"], deal["terms"]["end"]) == ("2026-07-01", "2026-12-31")
    assert amounts(deal, "quantity", "priorQuantity", "totalQuantity") == lines
    assert items(netted(org.order(deal))) == together


def test_lines_of_a_product_that_changes_say_together_what_there_was(org: Org, cpq: Cpq, account: str) -> None:
    contract = cpq.contract(cpq.quote(account, "Two lines", Sold("plan-enterprise"), Sold("feature-seats", 10)))
    cpq.contract(cpq.amend(contract, "More", Sold("feature-seats", 5)))
    deal = org.read(cpq.amend(contract, "And more", Sold("feature-seats", 2)))
    assert amounts(deal, "totalQuantity", "priorQuantity") == [
        ("feature-seats", 10, 10),
        ("feature-seats", 5, 5),
        ("feature-seats", 2, None),
    ]
    order = org.order(deal)
    assert [(item.quantity, item.prior) for item in order.items] == [(0, 10), (0, 5), (2, None)]
    [item] = netted(order).items
    assert (item.quantity, item.prior) == (2, 15)


def test_a_renewal_is_whole_and_what_it_takes_to_zero_is_churn(org: Org, cpq: Cpq, base: str, contract: str) -> None:
    renewal = cpq.renew(contract, "2027", Sold("addon-audit-log"), feature_seats=20, addon_extra_workspace=0)
    deal = org.read(renewal)
    assert (deal["trigger"], deal["quantities"], deal["amends"]) == ("renewal", "whole", base)
    order = org.order(deal)
    assert items(order) == {"plan-enterprise": 1, "addon-audit-log": 1, "feature-seats": 20, "feature-api-calls": 1000}
    assert (iso(order.start), iso(order.end)) == ("2027-01-01T00:00:00.000Z", "2028-01-01T00:00:00.000Z")
    assert all(item.prior is None for item in order.items)


def test_a_quote_line_says_which_line_of_which_deal_it_amends_or_renews(
    org: Org, cpq: Cpq, base: str, contract: str
) -> None:
    """CPQ names subscription records, which came after the ledger knew the deals."""
    more = cpq.amend(contract, "More", Sold("addon-audit-log"), feature_seats=15)
    assert amounts(org.read(more), "amends") == [("feature-seats", f"{base}/feature-seats"), ("addon-audit-log", None)]
    cpq.contract(more)
    fewer = org.read(cpq.amend(contract, "Fewer", addon_audit_log=0))
    assert amounts(fewer, "amends") == [("addon-audit-log", f"{more}/addon-audit-log")]
    renewal = org.read(cpq.renew(contract, "2027", Sold("addon-data-export")))
    renewed = dict(amounts(renewal, "renews"))
    assert renewed["feature-seats"] == f"{base}/feature-seats"
    assert (renewed["addon-audit-log"], renewed["addon-data-export"]) == (f"{more}/addon-audit-log", None)
    assert renewal["amends"] == base
    assert org.order(renewal).references == {base, more}


def test_a_renewal_of_several_contracts_names_them_all(org: Org, cpq: Cpq, base: str, contract: str) -> None:
    other = cpq.quote(org.salesforce.get("Opportunity", base)["AccountId"], "Other", Sold("plan-analytics"))
    unknown = cpq.quote(org.salesforce.get("Opportunity", base)["AccountId"], "Third", Sold("plan-team"))
    contracts = [cpq.contract(other), cpq.contract(unknown)]
    org.salesforce.update("Contract", contracts[1], SBQQ__Opportunity__c=None)
    deal = org.read(cpq.renew(contract, "2027", also=contracts))
    assert deal["amends"] == [base, other, contracts[1]]
    assert dict(amounts(deal, "renews"))["plan-analytics"] == f"{other}/plan-analytics"
    assert org.order(deal).amends == tuple(sorted(deal["amends"]))


@pytest.mark.parametrize(
    "unseen",
    [
        ("SBQQ__QuoteLine__c", "SBQQ__RenewedSubscription__c"),
        ("SBQQ__Subscription__c", "SBQQ__QuoteLine__c"),
        ("SBQQ__Subscription__c", "SBQQ__Contract__c"),
    ],
)
def test_without_permission_for_relations_a_deal_is_read_without_them(
    org: Org, cpq: Cpq, base: str, contract: str, unseen: tuple[str, ...]
) -> None:
    """As with the first version's permission set, which has none of them."""
    opportunity = cpq.renew(contract, "2027", feature_seats=20)
    org.salesforce.hide(*unseen)
    renewal = org.read(opportunity)
    assert (renewal["trigger"], renewal["amends"]) == ("renewal", base)
    assert items(org.order(renewal))["feature-seats"] == 20
    assert not any("renews" in line for line in renewal["lines"])


def test_a_forecast_renewal_has_products_and_no_quote(org: Org, cpq: Cpq, base: str, contract: str) -> None:
    deal = org.read(cpq.renew(contract, "2027", forecast=True, feature_seats=20))
    assert (deal["trigger"], deal["amends"], deal["terms"]) == ("renewal", base, {})
    assert items(org.order(deal))["feature-seats"] == 20


def test_a_bundles_components_count_as_they_are_and_options_do_not(org: Org, cpq: Cpq, account: str) -> None:
    opportunity = cpq.quote(
        account, "Suite", Sold("plan-enterprise"), Sold("feature-seats", 10), Sold("addon-audit-log")
    )
    quote = org.salesforce.get("Opportunity", opportunity)["SBQQ__PrimaryQuote__c"]
    plan, seats, audit = org.salesforce.find("SBQQ__QuoteLine__c", SBQQ__Quote__c=quote)
    suite = org.salesforce.create(
        "SBQQ__QuoteLine__c",
        SBQQ__Quote__c=quote,
        SBQQ__Quantity__c=3,
        SBQQ__Product__c=org.salesforce.add_product("Suite"),  # without a Stigg Type: not mapped
    )
    for component in (plan, seats):
        org.salesforce.update("SBQQ__QuoteLine__c", component["Id"], SBQQ__RequiredBy__c=suite)
    org.salesforce.update("SBQQ__QuoteLine__c", audit["Id"], SBQQ__Optional__c=True)
    assert amounts(org.read(opportunity), "quantity") == [("plan-enterprise", 1), ("feature-seats", 10)]


def test_a_block_price_is_shared_out_and_refused_as_a_difference(org: Org, cpq: Cpq, account: str) -> None:
    contract = cpq.contract(
        base := cpq.quote(
            account, "Block", Sold("plan-enterprise"), Sold("addon-extra-workspace", 50, 1000, block=True)
        )
    )
    assert amounts(org.read(base), "quantity", "price")[1] == ("addon-extra-workspace", 50, 20)
    problem = org.problem(cpq.amend(contract, "More", addon_extra_workspace=80))
    assert (problem.line, problem.field) == (2, "price")
    assert "Stigg Price Override" in problem.message
    gone = org.read(cpq.amend(contract, "None", addon_extra_workspace=0))
    assert amounts(gone, "totalQuantity", "priorQuantity", "price") == [("addon-extra-workspace", 0, 50, None)]


def test_one_of_several_contracts_of_a_deal_is_not_named_by_the_deal(
    org: Org, cpq: Cpq, base: str, account: str
) -> None:
    alone = cpq.quote(account, "Alone", Sold("plan-analytics"))
    one, other, single = cpq.contract(base), cpq.contract(base), cpq.contract(alone)
    assert opportunities_of([one, single], org) == {single: alone}
    org.salesforce.update("Contract", other, SBQQ__Opportunity__c=None)
    assert opportunities_of([one, single], org) == {one: base, single: alone}
    assert opportunities_of([other], org) == {}


def test_a_contract_that_no_opportunity_made_is_named_itself(org: Org, cpq: Cpq, account: str, contract: str) -> None:
    org.salesforce.update("Contract", contract, SBQQ__Opportunity__c=None)
    assert org.read(cpq.amend(contract, "Change", feature_seats=15))["amends"] == contract


@pytest.mark.parametrize("trigger", ["trial", "renewal"])
def test_a_deal_that_says_what_its_opportunity_is_not_is_refused(
    org: Org, cpq: Cpq, contract: str, trigger: str
) -> None:
    problem = org.problem(cpq.amend(contract, "Change", feature_seats=15), trigger)
    said = f"is {trigger}, but in Salesforce this opportunity amends a contract (SBQQ__AmendedContract__c)"
    assert problem == Problem(None, "trigger", said)


# What cannot be read


def test_however_many_deals_it_takes_three_queries_and_one_more_for_those_without_a_quote(
    org: Org, account: str
) -> None:
    plain = [org.sales.close(account, f"Deal {n}", Sold("plan-enterprise")) for n in range(200)]
    assert all(isinstance(deal, dict) for deal in read([org.deal(id) for id in plain], org, datetime.now(UTC)))
    assert len(org.asked) == 3
    cpq = Cpq(org.sales)
    quoted = [cpq.quote(account, f"Quote {n}", Sold("plan-enterprise")) for n in range(3)]
    org.asked.clear()
    deals = read([org.deal(id) for id in plain + quoted], org, datetime.now(UTC))
    assert all(isinstance(deal, dict) and len(deal["lines"]) == 1 for deal in deals)
    assert len(org.asked) == 4


def test_what_is_not_there_is_the_answer_of_that_deal_alone(org: Org, account: str) -> None:
    there = org.sales.close(account, "There", Sold("plan-enterprise"))
    homeless = org.salesforce.create("Opportunity", Name="No account", CloseDate="2026-01-15", StageName="Closed Won")
    gone, lonely, found = read(
        [org.deal("0065g00000ABCdEAAX"), org.deal(homeless), org.deal(there)], org, datetime.now(UTC)
    )
    assert isinstance(gone, Problem)
    assert (gone.field, "does not exist in Salesforce" in gone.message) == ("opportunity.id", True)
    assert lonely == Problem(None, "account.id", "is missing: the opportunity has no account in Salesforce")
    assert isinstance(found, dict)


def test_a_field_that_is_missing_is_named_without_the_statement_around_it(org: Org, account: str) -> None:
    opportunity = org.sales.close(account, "A deal", Sold("plan-enterprise"))
    org.salesforce.hide("Product2", "Stigg_Type__c")
    said = "could not be read from Salesforce: No such column 'Stigg_Type__c' on entity 'Product2'."
    assert org.problem(opportunity) == Problem(None, "lines", said)


def test_an_organisation_with_one_currency_has_no_field_for_it(org: Org, account: str) -> None:
    opportunity = org.sales.close(account, "A deal", Sold("plan-enterprise"))
    org.salesforce.hide("Opportunity", "CurrencyIsoCode")
    deal = org.deal(opportunity)
    deal["opportunity"]["currencyIsoCode"] = "EUR"
    [answer] = read([deal], org, datetime.now(UTC))
    assert isinstance(answer, dict)
    assert answer["opportunity"]["currencyIsoCode"] == "EUR"


@pytest.mark.parametrize("error", [SalesforceThrottled("slow down"), SalesforceLimitExceeded("used up")], ids=repr)
def test_what_passes_is_no_answer_of_a_deal(error: Exception) -> None:
    class Failing:
        def query(self, soql: str, **values: Any) -> list[Json]:
            raise error

        def describe(self, object_name: str) -> Mapping[str, Any]:
            raise AssertionError

    with pytest.raises(type(error)):
        read([{"opportunity": {"id": "0065g00000ABCdEAAX"}}], Failing(), datetime.now(UTC))  # type: ignore[arg-type]


# In bulk: which deals there are


def in_scope(org: Org, scope: Scope) -> set[str]:
    return {row["Id"] for row in org.rows(org.bulk(scope).queries[0].soql)}


def test_all_deals_are_asked_for_that_a_callout_may_be_due_for(org: Org, account: str) -> None:
    def opportunity(stage: str, **fields: Any) -> str:
        return org.sales.close(account, stage, Sold("plan-enterprise"), StageName=stage, **fields)

    won, amended = opportunity("Closed Won"), opportunity("Closed Won", Stigg_Amends__c="8005g0000012345AAA")
    cancelled = opportunity("Closed Lost", Stigg_Amends__c="8005g0000012345AAA")
    tried = opportunity("Value Proposition")
    opportunity("Closed Lost")
    opportunity("Negotiation/Review", Stigg_Amends__c="8005g0000012345AAA")
    opportunity("Closed Won", AccountId=None)
    org.salesforce.delete("Opportunity", opportunity("Closed Won"))
    assert in_scope(org, Scope()) == {won, amended, cancelled}
    trials = Scope(trial_stages=("Value Proposition", "Jane's stage"))
    assert in_scope(org, trials) == {won, amended, cancelled, tried}
    [lines] = [query for query in org.bulk(trials).queries if query.source == "lines"]
    found = {value_at(row, lines.opportunity) for row in org.rows(lines.soql)}
    assert found == {won, amended, cancelled, tried}, "each with its lines"


def test_since_a_moment_all_that_changed_counts_whatever_it_is_now(account: str, org: Org) -> None:
    def opportunity(stamp: str, **fields: Any) -> str:
        given = {"AccountId": account, "CloseDate": "2026-01-15", "StageName": "Closed Lost", "Name": "A deal"}
        return org.salesforce.seed("Opportunity", [{**given, "SystemModstamp": stamp, **fields}])[0]

    opportunity("2026-11-20T09:15:31Z", IsWon=True)
    lost = opportunity("2026-11-20T09:15:32Z")
    asked = org.bulk(Scope(since="2026-11-20T10:15:32+01:00"))
    assert [query.source for query in asked.queries] == ["opportunities"]
    assert [row["Id"] for row in org.rows(asked.queries[0].soql)] == [lost]


def test_what_salesforce_shows_is_read_with_the_deals(org: Org, account: str) -> None:
    opportunity = org.sales.close(account, "A deal", Sold("plan-enterprise"), Stigg_Cancel_Date__c="2026-12-31")
    fields = {"Opportunity_ID__c": opportunity, "Opportunity__c": opportunity, "Account__c": account}
    org.salesforce.create("Stigg_Provisioning__c", Status__c="Held", Reason__c='a "reason"\nof two lines', **fields)
    deals, _, shown = org.bulk(Scope()).queries
    [row] = org.rows(deals.soql)
    assert (row["StageName"], row["IsWon"], row["IsDeleted"], row["CloseDate"]) == (
        "Closed Won",
        True,
        False,
        "2026-01-15",
    )
    assert (row["Stigg_Cancel_Date__c"], row["Account"]["Stigg_Customer_ID__c"]) == ("2026-12-31", "northwind")
    [record] = org.rows(shown.soql)
    assert (record["Status__c"], record["Reason__c"]) == ("Held", 'a "reason"\nof two lines')
    assert (value_at(record, shown.account), value_at(record, shown.opportunity)) == (account, opportunity)


def test_objects_of_ones_own_are_in_bulk_where_their_parent_is_the_opportunity() -> None:
    entry = _object(
        "Entry__c",
        "Entry",
        "Entries",
        "a2E",
        _text("Name", 80),
        _lookup("Deal__c", "Opportunity", "Entries__r"),
        _lookup("Above__c", "Entry__c", "Parts__r"),
        _lookup("Product__c", "Product2", "Entries__r"),
        _text("Seats__c"),
    )
    org = Org(STANDARD.extended([entry], {}))
    fields = {"Stigg_Type_Field__c": "Product__r.Stigg_Type__c", "Stigg_ID_Field__c": "Product__r.Stigg_ID__c"}
    fields |= {"Line_Object__c": "Entry__c", "Parent_Field__c": "above__R.deal__c", "Quantity_Field__c": "Seats__c"}
    org.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Own", MasterLabel="Own", **fields)
    opportunity = org.sales.close(org.sales.account("Northwind"), "Entries", Sold("plan-enterprise"))
    top = org.salesforce.create("Entry__c", Deal__c=opportunity)
    org.salesforce.create("Entry__c", Above__c=top, Product__c=org.sales.product("feature-seats"), Seats__c="7")
    assert org.bulk(Scope()).unreachable == ()
    assert amounts(org.read(opportunity), "quantity") == [("plan-enterprise", 1), ("feature-seats", "7")]


def test_a_line_of_a_quote_that_is_not_the_primary_one_is_none_of_the_deals(org: Org, cpq: Cpq, base: str) -> None:
    before = org.read(base)
    other = org.salesforce.create("SBQQ__Quote__c", SBQQ__Opportunity2__c=base, SBQQ__Primary__c=True)
    product = org.sales.product("addon-audit-log")
    org.salesforce.create("SBQQ__QuoteLine__c", SBQQ__Quote__c=other, SBQQ__Product__c=product, SBQQ__Quantity__c=1)
    assert unnumbered(org.read(base)) == unnumbered(before)


@pytest.mark.parametrize("field", ["SBQQ__AmendedContract__c", "SBQQ__RenewedContract__c"])
def test_what_cpq_amends_and_renews_the_quote_says_whatever_else_is_filled(field: str) -> None:
    won = {"IsWon": True, "IsClosed": True, "Stigg_Amends__c": "800", "Type": "Renewal", field: "800"}
    assert trigger_of(won, None) == "closed_won"


@pytest.mark.parametrize("known", ["trial", "cancellation", None])
@pytest.mark.parametrize("stage", ["Closed Lost", "Negotiation"])
def test_what_was_never_won_is_not_cancelled_by_being_lost(known: str | None, stage: str) -> None:
    row = {"IsWon": False, "IsClosed": stage == "Closed Lost", "StageName": stage}
    assert trigger_of(row, known, ("Proof of Concept", "Closed Lost")) is None
