"""The flows of the Salesforce package, executed from their XML: what starts them, what they send, what they show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import field as attribute
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from closedwon.domain.identifiers import normalised_id
from closedwon.domain.instants import from_iso
from closedwon.domain.order import netted
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import compile_deal
from closedwon.salesforce.deal_records import trigger_of
from unit.domain import ACCOUNT, ORGANIZATION, RULES, Json, opportunity_id
from unit.flow_interpreter import (
    NODES,
    REACHING,
    Fault,
    Flow,
    FlowFailed,
    Inputs,
    Node,
    NotInterpreted,
    Org,
    Outputs,
    Record,
    Save,
)

PACKAGE = Path(__file__).parents[2] / "salesforce"
DEFAULT = "Opportunity_Stigg_Subscription_Template"
TRIAL = "Opportunity_Stigg_Trial_Template"
AMENDMENT = "Opportunity_Stigg_Amendment_Renewal_Template"
CANCELLATION = "Opportunity_Stigg_Cancellation_Template"
REOPENED = "Opportunity_Stigg_Reopened_Template"
OWN_APPLICATION = "Opportunity_Stigg_Own_Application_First_Template"
PLACEHOLDER = "Provision_in_Own_Application"
CPQ = "Opportunity_Stigg_CPQ_Template"
NOTIFY = "Stigg_Provisioning_Notify_Owner"
APPROVAL = "Stigg_Provisioning_Send_Approval"
FAMILIES = (DEFAULT, OWN_APPLICATION, CPQ)
"""What a won opportunity may start."""

PATHS = {path.name.removesuffix(".flow-meta.xml"): path for path in sorted(PACKAGE.rglob("*.flow-meta.xml"))}
NOW = datetime(2026, 11, 20, 9, 16, tzinfo=UTC)
OWNER = "0055g00000OWNERAAA"
CONTRACT = normalised_id("8005g0000012345")

PRODUCTS: list[Record] = [
    {
        "Id": f"01t5g0000000{number:03d}AAA",
        "Stigg_Type__c": stigg_type,
        "Stigg_ID__c": stigg_id,
        "Stigg_Unlimited__c": unlimited,
        "Stigg_Reset_Period__c": reset_period,
        "Stigg_Price_Override__c": price_override,
    }
    for number, (stigg_type, stigg_id, unlimited, reset_period, price_override) in enumerate(
        [
            ("Plan", "plan-enterprise", False, None, True),
            ("Add-on", "addon-premium-support", False, None, False),
            ("Entitlement", "feature-seats", False, None, False),
            ("Entitlement", "feature-api-calls", False, "MONTH", False),
            ("Entitlement", "feature-sso", True, None, False),
            (None, None, False, None, False),
        ]
    )
]
PLAN, SUPPORT, SEATS, CALLS, SSO, WORKSHOP = (str(product["Id"]) for product in PRODUCTS)


@cache
def flow_of(name: str) -> Flow:
    return Flow(PATHS[name])


def accept_all(requests: list[Inputs]) -> list[Outputs]:
    return [answer(request) for request in requests]


def answer(request: Inputs, status: str = "accepted", error: str | None = None) -> Outputs:
    """What the action Provision in Stigg says of one request."""
    return {
        "opportunityId": request["opportunityId"],
        "accepted": status in ("accepted", "duplicate"),
        "status": status,
        "errorMessage": error,
    }


@dataclass
class Sales:
    """An org with the package, its opportunities, and what was sent from it."""

    provision: Callable[[list[Inputs]], list[Outputs]] = accept_all
    approve: Callable[[list[Inputs]], list[Outputs]] = lambda requests: [{"approved": True} for _ in requests]
    sent: list[list[Inputs]] = attribute(default_factory=list)
    told: list[Inputs] = attribute(default_factory=list)

    def __post_init__(self) -> None:
        self.org = Org(
            now=NOW,
            flows={name: flow_of(name) for name in PATHS},
            records={
                "Product2": PRODUCTS,
                "OpportunityLineItem": [],
                "SBQQ__QuoteLine__c": [],
                "SBQQ__Quote__c": [],
                "Contract": [],
                "Opportunity": [],
                "Stigg_Provisioning__c": [],
                "CustomNotificationType": [
                    {"Id": "0ML5g00000ALERTAAA", "DeveloperName": "Stigg_Provisioning_Alert"},
                    {"Id": "0ML5g00000OTHERAAA", "DeveloperName": "Another"},
                ],
            },
            actions={
                "ClosedWonProvision": self._provision,
                "ClosedWonApprove": self._approve,
                "customNotificationAction": self._notify,
            },
            callouts=frozenset({"ClosedWonProvision", "ClosedWonApprove"}),
        )

    def _provision(self, requests: list[Inputs]) -> list[Outputs]:
        self.sent.append(requests)
        return self.provision(requests)

    def _approve(self, requests: list[Inputs]) -> list[Outputs]:
        self.sent.append(requests)
        return self.approve(requests)

    def _notify(self, requests: list[Inputs]) -> list[Outputs]:
        self.told.extend(requests)
        return [{} for _ in requests]

    def opportunity(self, number: int = 1, *lines: tuple[str, float, float], **fields: Any) -> Record:
        """An opportunity that is Closed Won, with these lines: product, quantity, price of one unit."""
        record: Record = {
            "Id": opportunity_id(number),
            "Name": f"Northwind {number}",
            "AccountId": ACCOUNT,
            "OwnerId": OWNER,
            "StageName": "Closed Won",
            "Type": "New Customer",
            "IsWon": True,
            "IsClosed": True,
            "Stigg_Start_Date__c": date(2026, 12, 1),
            "Stigg_End_Date__c": date(2027, 11, 30),
            "Stigg_Trial_End_Date__c": None,
            "Stigg_Cancel_Date__c": None,
            "Stigg_Billing_Period__c": "ANNUALLY",
            "Stigg_Payment_Collection__c": "INVOICE",
            "Stigg_Amends__c": None,
            **fields,
        }
        self.org.records["Opportunity"].append(record)
        self.org.records["OpportunityLineItem"] += [
            {
                "Id": f"00k{number:06d}{index:06d}AAA",
                "OpportunityId": record["Id"],
                "Product2Id": product,
                "Quantity": quantity,
                "UnitPrice": price,
            }
            for index, (product, quantity, price) in enumerate(lines)
        ]
        return record

    def quote(self, number: int, *lines: tuple[str, float, float | None], **fields: Any) -> Record:
        """A Closed Won opportunity with a primary quote, and these lines: product, quantity, quantity before."""
        id = f"a0q5g0000{number:06d}AAA"
        self.org.records["SBQQ__Quote__c"].append(
            {"Id": id, "SBQQ__StartDate__c": date(2027, 1, 1), "SBQQ__EndDate__c": date(2027, 12, 31)}
        )
        self.org.records["SBQQ__QuoteLine__c"] += [
            {
                "Id": f"a0l{number:06d}{index:06d}AAA",
                "SBQQ__Number__c": index + 1,
                "SBQQ__Quote__c": id,
                "SBQQ__Product__c": product,
                "SBQQ__Quantity__c": quantity,
                "SBQQ__PriorQuantity__c": prior,
                "SBQQ__Optional__c": False,
                "SBQQ__NetPrice__c": 100.0,
                "SBQQ__EffectiveStartDate__c": date(2027, 1, 1),
                "SBQQ__EffectiveEndDate__c": date(2027, 12, 31),
            }
            for index, (product, quantity, prior) in enumerate(lines)
        ]
        contracts = {"SBQQ__AmendedContract__c": None, "SBQQ__RenewedContract__c": None}
        return self.opportunity(number, **{"SBQQ__PrimaryQuote__c": id, **contracts, **fields})

    def close(self, *records: Record, flow: str = DEFAULT) -> int:
        """Save opportunities, open until now, in one transaction; how many started the flow."""
        return self.org.save(flow_of(flow), [Save("Opportunity", record, opened(record)) for record in records])

    def only(self) -> Inputs:
        """The one request of the one call there was."""
        ((request,),) = self.sent
        return request

    def shown(self) -> dict[str, tuple[str, str]]:
        """Status and reason of every Stigg Provisioning, by Opportunity ID."""
        records = self.org.records["Stigg_Provisioning__c"]
        assert len({record["Opportunity_ID__c"] for record in records}) == len(records), "external IDs are unique"
        return {record["Opportunity_ID__c"]: (record["Status__c"], record["Reason__c"]) for record in records}


def opened(record: Record) -> Record:
    return {**record, "StageName": "Negotiation", "IsWon": False, "IsClosed": False}


ENTERPRISE = (
    (PLAN, 1, 48000.0),
    (WORKSHOP, 2, 900.0),
    (SUPPORT, 1, 0.0),
    (SEATS, 250, 0.0),
    (CALLS, 5_000_000, 0.0),
    (SSO, 1, 0.0),
)
LINES: list[Json] = [
    {"line": 1, "stiggType": "Plan", "stiggId": "plan-enterprise", "quantity": 1, "price": 48000},
    {"line": 2, "stiggType": "Add-on", "stiggId": "addon-premium-support", "quantity": 1},
    {"line": 3, "stiggType": "Entitlement", "stiggId": "feature-seats", "quantity": 250},
    {
        "line": 4,
        "stiggType": "Entitlement",
        "stiggId": "feature-api-calls",
        "quantity": 5_000_000,
        "resetPeriod": "MONTH",
    },
    {"line": 5, "stiggType": "Entitlement", "stiggId": "feature-sso", "unlimited": True},
]


def deal_of(request: Inputs) -> Json:
    """The deal in the callout's body: ClosedWonProvision's names for the action's inputs, what is empty left out; and
    what it leaves out by itself.
    """
    differences = request.get("quantities") == "differences"
    lines = request.get("lines", [])
    if differences:
        changed = [product_of(line) for line in lines if line["totalQuantity"] != (line["priorQuantity"] or 0)]
        lines = [line for line in lines if product_of(line) in changed]

    def filled(**fields: Any) -> Json:
        return {
            name: value.isoformat() if isinstance(value, date) else value
            for name, value in fields.items()
            if value not in (None, "")
        }

    return filled(
        organizationId=ORGANIZATION,
        trigger=request["dealTrigger"],
        opportunity={
            "id": request["opportunityId"],
            "name": "Northwind",
            "systemModstamp": "2026-11-20T09:15:31.000Z",
            "readAt": "2026-11-20T09:15:32.118Z",
            "currencyIsoCode": "USD",
        },
        account={"id": ACCOUNT, "name": "Northwind Traders"},
        terms=filled(
            billingPeriod=request.get("billingPeriod"),
            start=request.get("startDate"),
            end=request.get("endDate"),
            trialEnd=request.get("trialEndDate"),
            cancel=request.get("cancel"),
            paymentCollection=request.get("paymentCollection"),
        ),
        quantities=request.get("quantities"),
        amends=request.get("amends"),
        customerId=request.get("customerId"),
        resourceId=request.get("resourceId"),
        lines=[
            filled(
                line=line["lineNumber"],
                stiggType=line["stiggType"],
                stiggId=line["stiggId"],
                quantity=None if line["unlimited"] and not (differences and line["quantity"] < 0) else line["quantity"],
                priorQuantity=line.get("priorQuantity") if differences else None,
                totalQuantity=line.get("totalQuantity") if differences else None,
                price=line["price"],
                unlimited=line["unlimited"] or None,
                resetPeriod=line["resetPeriod"],
                start=line.get("startDate"),
                end=line.get("endDate"),
            )
            for line in lines
        ],
    )


def product_of(line: Inputs) -> tuple[str, str]:
    return line["stiggType"], line["stiggId"]


# The default flow: when it starts


@pytest.mark.parametrize("flow", FAMILIES)
def test_an_opportunity_that_becomes_closed_won_is_sent_once(flow: str) -> None:
    sales = Sales()
    won = sales.quote(1, (PLAN, 1, None))
    sales.org.records["OpportunityLineItem"] = [
        {"Id": "1", "OpportunityId": won["Id"], "Product2Id": PLAN, "Quantity": 1, "UnitPrice": 1.0}
    ]
    won_flow = flow_of(flow)
    sales.org.flows[PLACEHOLDER] = own_application()

    def save(record: Record, prior: Record | None) -> int:
        return sales.org.save(won_flow, [Save("Opportunity", record, prior)])

    assert save(opened(won), None) == 0, "not while it is open"
    assert save(won, opened(won)) == 1, "when it becomes won"
    assert save({**won, "Name": "Northwind, renamed"}, won) == 0, "not on a later save"
    assert save(opened(won), won) == 0, "not when it is reopened"
    assert save({**opened(won), "Name": "x"}, opened(won)) == 0, "not while it stays reopened"
    assert len(sales.sent) == 1
    assert save(won, opened(won)) == 1, "again when it is won again"
    assert sales.sent[1] == sales.sent[0], "with the same deal, which closed-won calls a duplicate"
    assert save(won, None) == 1, "and when it is created won"


def test_a_lost_opportunity_does_not_start_the_default_flow() -> None:
    sales = Sales()
    assert sales.close(sales.opportunity(1, *ENTERPRISE, IsWon=False)) == 0


def test_the_callout_stands_on_the_asynchronous_path_only() -> None:
    for name, flow in opportunity_flows():
        assert flow.start.target() is None, f"{name} calls out within the save"
        assert len(flow.start.all("scheduledPaths")) == 1


# What it sends


def test_only_products_with_a_stigg_type_are_sent_each_with_its_own_terms() -> None:
    sales = Sales()
    sales.close(sales.opportunity(1, *ENTERPRISE))
    request = sales.only()
    assert request["opportunityId"] == opportunity_id(1)
    assert request["throwOnError"] is False
    deal = deal_of(request)
    assert deal["trigger"] == "closed_won"
    assert deal["lines"] == LINES
    assert deal["terms"] == {
        "billingPeriod": "ANNUALLY",
        "start": "2026-12-01",
        "end": "2027-11-30",
        "paymentCollection": "INVOICE",
    }
    assert "amends" not in deal
    assert compile_deal(Deal.model_validate(deal), RULES).problems == ()
    assert sales.shown() == {}, "the record of an accepted deal is closed-won's to write"


def test_one_product_on_two_lines_is_two_lines() -> None:
    sales = Sales()
    sales.close(sales.opportunity(1, (SEATS, 10, 0.0), (PLAN, 1, 7.0), (SEATS, 5, 0.0)))
    lines = deal_of(sales.only())["lines"]
    assert [(line["line"], line["stiggId"], line["quantity"]) for line in lines] == [
        (1, "feature-seats", 10),
        (2, "plan-enterprise", 1),
        (3, "feature-seats", 5),
    ]


def test_all_opportunities_of_one_save_go_in_one_call() -> None:
    sales = Sales()
    records = [sales.opportunity(number, *ENTERPRISE[: 1 + number % 6]) for number in range(1, 200)]
    records.append(sales.opportunity(200, (WORKSHOP, 1, 900.0)))
    assert sales.close(*records) == 200
    (requests,) = sales.sent
    assert [request["opportunityId"] for request in requests] == [record["Id"] for record in records[:-1]]
    assert len(sales.org.made("query")) == 2, "queries do not grow with the records"
    for request in requests:
        number = next(i for i in range(1, 200) if opportunity_id(i) == request["opportunityId"])
        expected = LINES[: max(1, number % 6)]
        assert deal_of(request)["lines"] == expected, "no line of another opportunity"
        Deal.model_validate(deal_of(request))


@pytest.mark.parametrize("flow", [DEFAULT, TRIAL, AMENDMENT, OWN_APPLICATION])
@pytest.mark.parametrize("lines", [(), ((WORKSHOP, 3, 900.0),)])
def test_nothing_is_called_when_nothing_is_mapped(flow: str, lines: tuple[tuple[str, float, float], ...]) -> None:
    sales = Sales()
    needed: dict[str, Json] = {AMENDMENT: {"Stigg_Amends__c": CONTRACT}, TRIAL: TRYING}
    fields = needed.get(flow, {})
    assert sales.close(sales.opportunity(1, *lines, **fields), flow=flow) == 1
    assert sales.sent == []
    assert sales.shown() == {}


def test_a_deal_that_amends_something_is_sent_as_it_is_so_that_closed_won_refuses_it() -> None:
    """The default flow does not know amendments: provisioned as a new deal, a difference would stand for the whole."""
    sales = Sales()
    sales.close(sales.opportunity(1, *ENTERPRISE, Stigg_Amends__c=CONTRACT))
    problems = compile_deal(Deal.model_validate(deal_of(sales.only())), RULES).problems
    assert [problem.field for problem in problems] == ["amends"]


# What it shows when that fails

REFUSED = "Line 2, stiggId: there is no add-on addon-x in Stigg"


def test_an_invalid_answer_becomes_a_failed_record_for_that_opportunity_alone() -> None:
    def second_is_invalid(requests: list[Inputs]) -> list[Outputs]:
        first, second, third = requests
        return [answer(first), answer(second, "invalid", REFUSED), answer(third, "duplicate")]

    sales = Sales(second_is_invalid)
    sales.close(*(sales.opportunity(number, *ENTERPRISE) for number in (1, 2, 3)))
    assert sales.shown() == {opportunity_id(2): ("Failed", f"Not sent to Stigg: {REFUSED}")}
    (record,) = sales.org.records["Stigg_Provisioning__c"]
    assert (record["Opportunity__c"], record["Account__c"]) == (opportunity_id(2), ACCOUNT)
    assert record["Code__c"] == "not_accepted"


def test_a_fault_of_the_action_becomes_a_failed_record_for_each_opportunity() -> None:
    def fail(requests: list[Inputs]) -> list[Outputs]:
        raise Fault("You do not have access to the Apex class named ClosedWonProvision")

    sales = Sales(fail)
    sales.close(*(sales.opportunity(number, *ENTERPRISE) for number in (1, 2)))
    reason = "Not sent to Stigg, the flow failed: You do not have access to the Apex class named ClosedWonProvision"
    assert sales.shown() == {opportunity_id(1): ("Failed", reason), opportunity_id(2): ("Failed", reason)}


@pytest.mark.parametrize("object", ["OpportunityLineItem", "Product2"])
def test_a_fault_of_a_query_becomes_a_failed_record(object: str) -> None:
    sales = Sales()
    refuse(sales, ("query", object))
    sales.close(sales.opportunity(1, *ENTERPRISE))
    assert sales.sent == []
    assert sales.shown() == {opportunity_id(1): ("Failed", f"Not sent to Stigg, the flow failed: no query of {object}")}


def test_a_later_failure_shows_on_the_record_there_is() -> None:
    sales = Sales(lambda requests: [answer(each, "failed", "closed-won did not answer") for each in requests])
    won = sales.opportunity(1, *ENTERPRISE)
    before = {**provisioned(won, NOW - timedelta(days=1)), "Code__c": "of_another_outcome"}
    sales.org.records["Stigg_Provisioning__c"].append(before)
    sales.close(won)
    sales.close(won)
    assert sales.shown() == {won["Id"]: ("Failed", "Not sent to Stigg: closed-won did not answer")}
    assert [one["Code__c"] for one in sales.org.records["Stigg_Provisioning__c"]] == ["not_accepted"]


def test_a_record_that_closed_won_wrote_meanwhile_stands() -> None:
    """The answer got lost, the deal did not."""
    sales = Sales()

    def lose_the_answer(requests: list[Inputs]) -> list[Outputs]:
        sales.org.records["Stigg_Provisioning__c"].append(provisioned(won, sales.org.now))
        raise Fault("Read timed out")

    sales.provision = lose_the_answer
    won = sales.opportunity(1, *ENTERPRISE)
    sales.close(won)
    assert sales.shown() == {won["Id"]: ("Provisioned", "")}


def test_a_superseded_deal_is_no_failure() -> None:
    sales = Sales(lambda requests: [answer(each, "superseded") for each in requests])
    sales.close(sales.opportunity(1, *ENTERPRISE))
    assert sales.shown() == {}
    assert sales.told == []


@pytest.mark.parametrize("kind", ["query", "create", "update"])
def test_the_owner_is_told_of_a_failure_that_cannot_be_recorded(kind: str) -> None:
    sales = Sales(lambda requests: [answer(each, "invalid", "x" * 5000) for each in requests])
    won = sales.opportunity(1, *ENTERPRISE)
    if kind == "update":
        sales.org.records["Stigg_Provisioning__c"].append(provisioned(won, NOW - timedelta(days=1)))
    refuse(sales, (kind, "Stigg_Provisioning__c"))
    sales.close(won)
    (told,) = sales.told
    assert told["customNotifTypeId"] == "0ML5g00000ALERTAAA"
    assert told["recipientIds"] == [OWNER]
    assert told["targetId"] == won["Id"]
    assert told["body"] == f"Northwind 1: Not sent to Stigg: {'x' * 700}"[:700], "as long as a notification may be"


def provisioned(opportunity: Record, at: datetime) -> Record:
    return {
        "Id": "a0x000000000000AAA",
        "Opportunity_ID__c": opportunity["Id"],
        "Status__c": "Provisioned",
        "Reason__c": "",
        "LastModifiedDate": at,
    }


def refuse(sales: Sales, *calls: tuple[str, str]) -> None:
    def refused(kind: str, object: str) -> None:
        if (kind, object) in calls:
            raise Fault(f"no {kind} of {object}")

    sales.org.refused = refused


# The other templates

TRYING: Json = {"StageName": "Proof of Concept", "IsWon": False, "IsClosed": False}


def test_a_trial_starts_at_the_stage_and_ends_on_its_date() -> None:
    sales = Sales()
    trying = sales.opportunity(1, *ENTERPRISE, **TRYING, Stigg_Trial_End_Date__c=date(2026, 12, 31))
    assert sales.close(trying, flow=TRIAL) == 1
    deal = deal_of(sales.only())
    assert (deal["trigger"], deal["terms"]) == ("trial", {"trialEnd": "2026-12-31"}), "the contract's dates come later"
    assert deal["lines"] == LINES
    assert compile_deal(Deal.model_validate(deal), RULES).problems == ()


def test_every_save_of_a_trial_is_sent_so_that_a_later_date_extends_it() -> None:
    """Asynchronous paths do not know what changed; closed-won calls the same deal a duplicate."""
    sales = Sales()
    trying = sales.opportunity(1, *ENTERPRISE, **TRYING, Stigg_Trial_End_Date__c=date(2026, 12, 31))
    longer = {**trying, "Stigg_Trial_End_Date__c": date(2027, 1, 31)}
    sales.close(trying, flow=TRIAL)
    for now, before in (({**trying, "Name": "x"}, trying), (longer, trying)):
        assert sales.org.save(flow_of(TRIAL), [Save("Opportunity", now, before)]) == 1
    first, same, extended = (deal_of(requests[0]) for requests in sales.sent)
    assert same == first
    assert extended == {**first, "terms": {"trialEnd": "2027-01-31"}}
    won = {**longer, "StageName": "Closed Won", "IsWon": True, "IsClosed": True}
    assert sales.org.save(flow_of(TRIAL), [Save("Opportunity", won, longer)]) == 0, "once won it is no trial"


@pytest.mark.parametrize(
    ("type", "trigger"), [("Existing Customer - Upgrade", "amendment"), ("Renewal", "renewal"), (None, "amendment")]
)
def test_an_amendment_or_renewal_says_what_it_is_and_what_it_amends(type: str | None, trigger: str) -> None:
    sales = Sales()
    won = sales.opportunity(1, *ENTERPRISE, Type=type, Stigg_Amends__c=CONTRACT)
    assert sales.close(sales.opportunity(2, *ENTERPRISE), flow=AMENDMENT) == 0, "a deal that amends nothing is not its"
    sales.close(won, flow=AMENDMENT)
    deal = deal_of(sales.only())
    assert (deal["trigger"], deal["amends"], deal["lines"]) == (trigger, CONTRACT, LINES)
    assert Deal.model_validate(deal).amends == (CONTRACT,)


def test_a_renewal_without_mapped_products_is_not_passed_over_in_silence() -> None:
    """The action says that a contract which ends is a cancellation (ClosedWonProvisionTest)."""
    sales = Sales(lambda requests: [answer(each, "not sent", "it would leave nothing") for each in requests])
    records = [
        sales.opportunity(n, *lines, Type="Renewal", Stigg_Amends__c=CONTRACT)
        for n, lines in enumerate([(), ((WORKSHOP, 1, 900.0),)])
    ]
    sales.close(*records, flow=AMENDMENT)
    assert set(sales.shown().values()) == {("Failed", "Not sent to Stigg: it would leave nothing")}


@pytest.mark.parametrize(
    ("cancel_date", "terms"), [(None, {}), (date(2026, 11, 30), {"end": "2026-11-30"})], ids=["lost renewal", "churn"]
)
def test_a_lost_deal_cancels_what_it_names_and_its_own_dates_and_products_mean_nothing(
    cancel_date: date | None, terms: Json
) -> None:
    sales = Sales()
    lost = sales.opportunity(1, *ENTERPRISE, IsWon=False, Stigg_Amends__c=CONTRACT, Stigg_Cancel_Date__c=cancel_date)
    assert sales.close(sales.opportunity(2, IsWon=False), flow=CANCELLATION) == 0, "any other lost deal cancels nothing"
    sales.close(lost, flow=CANCELLATION)
    deal = deal_of(sales.only())
    assert (deal["trigger"], deal["amends"], deal["lines"], deal["terms"]) == ("cancellation", CONTRACT, [], terms)
    order = compile_deal(Deal.model_validate(deal), RULES)
    assert order.problems == ()
    assert order.cancel == (None if terms else "end_of_term")


def test_a_deal_that_is_won_no_more_cancels_itself_and_not_what_it_amended() -> None:
    sales = Sales()
    won = sales.opportunity(1, *ENTERPRISE, Stigg_Amends__c=CONTRACT)

    def save(record: Record, prior: Record | None) -> int:
        return sales.org.save(flow_of(REOPENED), [Save("Opportunity", record, prior)])

    assert save(opened(won), None) == 0, "not when it is created open"
    assert save({**opened(won), "Name": "x"}, opened(won)) == 0, "not while it is open"
    assert save(won, opened(won)) == 0, "not when it is won"
    assert save({**won, "Name": "x"}, won) == 0, "not while it is won"
    assert save(opened(won), won) == 1
    deal = deal_of(sales.only())
    assert (deal["trigger"], deal["amends"], deal["lines"], deal["terms"]) == ("cancellation", won["Id"], [], {})
    order = compile_deal(Deal.model_validate(deal), RULES)
    assert (order.problems, order.amends, order.cancel) == ((), (), None)
    assert save({**opened(won), "IsClosed": True}, won) == 1, "and when it is lost after all"


def own_application(**outputs: str) -> Flow:
    """The placeholder as an admin replaces it; outputs: what the application answers."""
    flow = Flow(PATHS[PLACEHOLDER])
    (item,) = flow.nodes["Not_Replaced_Yet"].all("assignmentItems")
    flow.nodes["Not_Replaced_Yet"].children.remove(item)
    for name, value in outputs.items():
        flow.variables[name].children.append(spelt(value))
    return flow


def spelt(value: str) -> Node:
    node = ElementTree.fromstring("<value><stringValue/></value>")
    node[0].text = value
    return Node(node)


def test_the_own_application_goes_first_and_its_ids_go_to_stigg() -> None:
    sales = Sales()
    sales.org.flows[PLACEHOLDER] = own_application(customerId="tenant-7", resourceId="workspace-9")
    sales.close(sales.opportunity(1, *ENTERPRISE), flow=OWN_APPLICATION)
    deal = deal_of(sales.only())
    assert (deal["customerId"], deal["resourceId"], deal["lines"]) == ("tenant-7", "workspace-9", LINES)
    assert compile_deal(Deal.model_validate(deal), RULES).problems == ()


@pytest.mark.parametrize("error", [None, "no more tenants"])
def test_without_the_own_application_nothing_goes_to_stigg_and_the_deal_shows_why(error: str | None) -> None:
    sales = Sales()
    if error:
        sales.org.flows[PLACEHOLDER] = own_application(errorMessage=error)
    sales.close(sales.opportunity(1, *ENTERPRISE), flow=OWN_APPLICATION)
    assert sales.sent == []
    said = error or "the placeholder was not replaced"
    assert sales.shown() == {
        opportunity_id(1): ("Failed", f"Not sent to Stigg, our own application failed: {said}"),
    }


def test_cpq_sends_the_primary_quote_with_its_term() -> None:
    sales = Sales()
    sales.close(sales.quote(1, (PLAN, 1, None), (WORKSHOP, 1, None), (SEATS, 250, None)), flow=CPQ)
    deal = deal_of(sales.only())
    assert [(line["line"], line["stiggId"], line["quantity"], line.get("price")) for line in deal["lines"]] == [
        (1, "plan-enterprise", 1, 100),
        (2, "feature-seats", 250, None),
    ]
    assert (deal["trigger"], deal["terms"]["start"], deal["terms"]["end"]) == ("closed_won", "2027-01-01", "2027-12-31")
    assert compile_deal(Deal.model_validate(deal), RULES).problems == ()


def test_cpq_sends_what_an_amendment_changes_and_what_a_renewal_is() -> None:
    sales = Sales()
    lines = ((PLAN, 1, 1), (SEATS, 15, 10), (SUPPORT, 1, None), (CALLS, 0, 5), (SSO, 0, 1))
    sales.close(
        sales.quote(1, *lines, SBQQ__AmendedContract__c=CONTRACT),
        sales.quote(2, *lines[:3], SBQQ__RenewedContract__c=CONTRACT),
        flow=CPQ,
    )
    amendment, renewal = (deal_of(request) for request in sales.sent[0])
    assert [(deal["trigger"], deal.get("quantities"), deal["amends"]) for deal in (amendment, renewal)] == [
        ("amendment", "differences", CONTRACT),
        ("renewal", None, CONTRACT),
    ]
    changes = [
        (line["stiggId"], line["quantity"], line.get("priorQuantity"), line["totalQuantity"])
        for line in amendment["lines"]
    ]
    assert changes == [
        ("feature-seats", 5, 10, 15),
        ("addon-premium-support", 1, None, 1),
        ("feature-api-calls", -5, 5, 0),
        ("feature-sso", -1, 1, 0),
    ]
    assert [line["quantity"] for line in renewal["lines"]] == [1, 15, 1]
    orders = [compile_deal(Deal.model_validate(deal), RULES) for deal in (amendment, renewal)]
    assert [order.problems for order in orders] == [(), ()]
    changed = {item.stigg_id: item.quantity for item in orders[0].items}
    assert (changed["feature-seats"], changed["feature-sso"]) == (5, -1)


def test_cpq_says_what_all_lines_of_a_product_that_changes_had_before() -> None:
    sales = Sales()
    lines = ((PLAN, 1, 1), (SEATS, 10, 10), (SEATS, 0, 5), (SEATS, 7, None), (SUPPORT, 1, 1))
    sales.close(sales.quote(1, *lines, SBQQ__AmendedContract__c=CONTRACT), flow=CPQ)
    [item] = netted(compile_deal(Deal.model_validate(deal_of(sales.only())), RULES)).items
    assert (item.stigg_id, item.quantity, item.prior) == ("feature-seats", 2, 15)


def test_cpq_shows_no_failure_where_an_amendment_changes_nothing() -> None:
    sales = Sales(provision=lambda requests: [answer(request, "nothing mapped", "nothing") for request in requests])
    sales.close(sales.quote(1, (PLAN, 1, 1), SBQQ__AmendedContract__c=CONTRACT), flow=CPQ)
    assert (len(sales.sent), sales.shown()) == (1, {})


def test_cpq_sends_no_options() -> None:
    sales = Sales()
    won = sales.quote(1, (PLAN, 1, None), (SUPPORT, 1, None))
    sales.org.records["SBQQ__QuoteLine__c"][1]["SBQQ__Optional__c"] = True
    sales.close(won, flow=CPQ)
    assert [line["stiggId"] for line in sales.only()["lines"]] == ["plan-enterprise"]


def test_cpq_names_the_opportunity_that_a_contract_came_from() -> None:
    """When that was won there was no contract yet: closed-won knows it by its own ID."""
    sales = Sales()
    base = opportunity_id(7)
    sales.org.records["Contract"] = [
        {"Id": CONTRACT, "SBQQ__Opportunity__c": base},
        {"Id": normalised_id("8005g0000067890"), "SBQQ__Opportunity__c": opportunity_id(8)},
    ]
    sales.close(
        sales.quote(1, (SEATS, 15, 10), SBQQ__AmendedContract__c=CONTRACT),
        sales.quote(2, (PLAN, 1, 1), SBQQ__RenewedContract__c=CONTRACT),
        sales.quote(3, (PLAN, 1, None)),
        flow=CPQ,
    )
    named = {request["opportunityId"]: request["amends"] for request in sales.sent[0]}
    assert named == {opportunity_id(1): base, opportunity_id(2): base, opportunity_id(3): None}


def test_cpq_sends_ramps_line_by_line() -> None:
    sales = Sales()
    won = sales.quote(1, (PLAN, 1, None), (SEATS, 100, None), (SEATS, 150, None))
    _, first, second = sales.org.records["SBQQ__QuoteLine__c"]
    first["SBQQ__EffectiveEndDate__c"] = date(2027, 6, 30)
    second["SBQQ__EffectiveStartDate__c"] = date(2027, 7, 1)
    sales.close(won, flow=CPQ)
    order = compile_deal(Deal.model_validate(deal_of(sales.only())), RULES)
    assert order.problems == ()
    middle = from_iso("2027-07-01T00:00:00.000Z")
    times = {(item.stigg_id, item.quantity, item.start, item.end) for item in order.items}
    assert times == {
        ("plan-enterprise", 1, None, None),
        ("feature-seats", 100, None, middle),
        ("feature-seats", 150, middle, None),
    }


def test_cpq_sends_nothing_without_a_primary_quote() -> None:
    sales = Sales()
    sales.close(sales.quote(1, (PLAN, 1, None), SBQQ__PrimaryQuote__c=None), flow=CPQ)
    assert sales.sent == []


# The notification


def change(sales: Sales, to: str, prior: str | None, reason: str = "add-on addon-x is unknown") -> None:
    record = {"Id": "a0x1", "Opportunity__c": opportunity_id(1), "Status__c": to, "Reason__c": reason}
    before = None if prior is None else {**record, "Status__c": prior, "Reason__c": "another reason"}
    sales.org.save(flow_of(NOTIFY), [Save("Stigg_Provisioning__c", record, before)])


@pytest.mark.parametrize(
    ("prior", "to", "title"),
    [
        (None, "Failed", "Stigg provisioning failed"),
        ("Provisioning", "Failed", "Stigg provisioning failed"),
        ("Provisioned", "Held", "Stigg provisioning is held"),
        ("Failed", "Held", "Stigg provisioning is held"),
        ("Failed", "Failed", None),
        ("Held", "Held", None),
        ("Failed", "Provisioned", None),
        (None, "Provisioning", None),
    ],
)
def test_the_owner_is_told_once_when_a_deal_becomes_failed_or_held(
    prior: str | None, to: str, title: str | None
) -> None:
    sales = Sales()
    sales.opportunity(1)
    change(sales, to, prior)
    assert [told["title"] for told in sales.told] == ([title] if title else [])
    for told in sales.told:
        assert told["recipientIds"] == [OWNER]
        assert told["body"] == "Northwind 1: add-on addon-x is unknown"
        assert told["targetId"] == opportunity_id(1)


def test_a_failure_recorded_by_the_flow_notifies_its_owner() -> None:
    sales = Sales(lambda requests: [answer(each, "invalid", REFUSED) for each in requests])
    sales.close(sales.opportunity(1, *ENTERPRISE))
    (record,) = sales.org.records["Stigg_Provisioning__c"]
    sales.org.save(flow_of(NOTIFY), [Save("Stigg_Provisioning__c", record)])
    assert [told["body"] for told in sales.told] == [f"Northwind 1: Not sent to Stigg: {REFUSED}"]


def test_a_notification_that_cannot_be_sent_does_not_undo_the_save() -> None:
    sales = Sales()
    change(sales, "Failed", None)  # its opportunity was deleted
    sales.opportunity(1)
    change(sales, "Failed", None, "x" * 5000)
    assert [len(told["body"]) for told in sales.told] == [700], "as long as a notification may be"
    for refused in (("query", "Opportunity"), ("query", "CustomNotificationType")):
        refuse(sales, refused)
        change(sales, "Failed", None)
    refuse(sales)

    def fail(requests: list[Inputs]) -> list[Outputs]:
        raise Fault("the daily limit of notifications is reached")

    sales.org.actions["customNotificationAction"] = fail
    change(sales, "Failed", None)
    assert len(sales.told) == 1


# The approval

HELD = "The deal would lower feature-seats from 500 to 50."
APPROVER = "0055g00000BOSSAAAA"


def held(sales: Sales, number: int = 1, **fields: Any) -> Record:
    """A Stigg Provisioning whose deal waits for an approval."""
    record: Record = {
        "Id": f"a0x{number:012d}AAA",
        "Name": f"SP-{number:05d}",
        "Opportunity_ID__c": opportunity_id(number),
        "Status__c": "Held",
        "Reason__c": HELD,
        "Approval_ID__c": f"approval-{number}",
        "Approved__c": False,
        "LastModifiedById": APPROVER,
        **fields,
    }
    sales.org.records["Stigg_Provisioning__c"].append(record)
    return record


def tick(sales: Sales, *records: Record) -> int:
    """Tick Approved on these in one save; how many started the flow."""
    before = [dict(record) for record in records]
    for record in records:
        record["Approved__c"] = True
    saves = [Save("Stigg_Provisioning__c", dict(record), prior) for record, prior in zip(records, before, strict=True)]
    return sales.org.save(flow_of(APPROVAL), saves)


def test_approvals_of_one_save_go_in_one_call_and_stay_ticked_until_closed_won_writes() -> None:
    sales = Sales()
    records = [held(sales, number) for number in range(1, 201)]
    assert tick(sales, *records) == 200
    (requests,) = sales.sent
    assert requests[6] == {"opportunityId": opportunity_id(7), "approval": "approval-7", "reason": HELD}
    assert len(requests) == 200
    assert {(record["Approved__c"], record["Reason__c"]) for record in records} == {(True, HELD)}
    assert sales.told == []


def test_nothing_but_a_tick_on_what_waits_sends_an_approval() -> None:
    sales = Sales()
    record = held(sales)
    ticked = {**record, "Approved__c": True}
    flow = flow_of(APPROVAL)
    for now, before in (
        ({**record, "Reason__c": "x"}, record),
        (record, ticked),
        ({**ticked, "Reason__c": "x"}, ticked),
        ({**ticked, "Approval_ID__c": None}, {**record, "Approval_ID__c": None}),
        (ticked, None),
    ):
        assert sales.org.save(flow, [Save("Stigg_Provisioning__c", now, before)]) == 0


def test_an_approval_that_does_not_get_through_is_unticked_says_why_and_can_be_tried_again() -> None:
    sales = Sales(
        approve=lambda requests: [{"approved": False, "reason": f"Not approved: no\n{HELD}"} for _ in requests]
    )
    record = held(sales)
    assert tick(sales, record) == 1
    assert (record["Approved__c"], record["Status__c"]) == (False, "Held")
    assert record["Reason__c"] == f"Not approved: no\n{HELD}"
    (told,) = sales.told
    assert (told["recipientIds"], told["targetId"]) == ([APPROVER], record["Id"])
    assert told["body"] == f"SP-00001: Not approved: no\n{HELD}"
    unticked = Save("Stigg_Provisioning__c", dict(record), {**record, "Approved__c": True})
    assert sales.org.save(flow_of(APPROVAL), [unticked]) == 0, "the flow does not start itself"
    assert tick(sales, record) == 1, "ticked again, it is sent again"


def test_a_fault_of_the_approval_says_why_above_the_reason_there_was() -> None:
    def fail(requests: list[Inputs]) -> list[Outputs]:
        raise Fault("You do not have access to the Apex class named ClosedWonApprove")

    sales = Sales(approve=fail)
    record = held(sales)
    tick(sales, record)
    assert record["Approved__c"] is False
    said = "Not approved, the flow failed: You do not have access to the Apex class named ClosedWonApprove"
    assert record["Reason__c"] == f"{said}\n{HELD}"


def test_what_closed_won_wrote_meanwhile_stands_although_the_answer_got_lost() -> None:
    sales = Sales()

    def lose_the_answer(requests: list[Inputs]) -> list[Outputs]:
        record.update({"Status__c": "Provisioned", "Reason__c": "", "Approval_ID__c": None, "Approved__c": False})
        return [{"approved": False, "reason": "Not approved: it did not answer in time"}]

    sales.approve = lose_the_answer
    record = held(sales)
    tick(sales, record)
    assert (record["Status__c"], record["Reason__c"]) == ("Provisioned", "")
    assert sales.told == []


@pytest.mark.parametrize("kind", ["query", "update"])
def test_who_ticked_is_told_when_not_even_the_tick_can_be_taken_back(kind: str) -> None:
    sales = Sales(approve=lambda requests: [{"approved": False, "reason": "Not approved: no"}])
    refuse(sales, (kind, "Stigg_Provisioning__c"))
    tick(sales, held(sales))
    assert [told["recipientIds"] for told in sales.told] == [[APPROVER]]


# All flows


def opportunity_flows() -> Iterable[tuple[str, Flow]]:
    return ((name, flow_of(name)) for name in PATHS if name not in (PLACEHOLDER, NOTIFY))


NAMED = (*NODES, "rules", "variables", "formulas", "textTemplates")


def every(node: Node) -> Iterable[Node]:
    yield node
    for child in node.children:
        yield from every(child)


def test_the_package_holds_these_flows_and_those_on_opportunities_wait_for_an_admin() -> None:
    assert {name: flow_of(name).status for name in PATHS} == {
        **dict.fromkeys(
            (DEFAULT, TRIAL, AMENDMENT, CANCELLATION, REOPENED, OWN_APPLICATION, PLACEHOLDER, CPQ), "Draft"
        ),
        **dict.fromkeys((NOTIFY, APPROVAL), "Active"),
    }
    assert flow_of(DEFAULT).root.get("label") == "Opportunity - Stigg Subscription Template"
    assert "force-app" not in PATHS[CPQ].parts, "an org without CPQ cannot take it"


@pytest.mark.parametrize("name", PATHS)
def test_a_flow_is_whole_and_readable(name: str) -> None:
    flow = flow_of(name)
    assert flow.root.get("apiVersion") == "66.0"
    assert flow.root.get("description")
    names = [node.need("name").lower() for node in every(flow.root) if node.tag in NAMED]
    assert len(names) == len(set(names)), "API names are unique in a flow"
    reached = {node.need("targetReference") for node in every(flow.root) if node.tag.lower().endswith("connector")}
    assert reached == set(flow.nodes), "every connector leads to an element, every element is led to"
    for node in flow.nodes.values():
        assert node.get("label"), f"{node.get('name')} has no label"
        if node.tag in REACHING:
            assert node.one("faultConnector"), f"{node.get('name')} has no fault path"
    for node in every(flow.root):
        if node.tag in NAMED and node.tag != "rules":
            assert node.get("description"), f"{node.get('name')} has no description"
    if flow.start.get("object"):
        assert flow.start.all("filters"), "an entry condition"
    for node in every(flow.root):
        assert "://" not in node.text
        for word in re.findall(r"\b[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?\b", node.text):
            assert not re.search(r"\d", word), f"{word} looks like a record's ID"


@pytest.mark.parametrize("name", PATHS)
def test_nothing_inside_a_loop_reaches_the_database(name: str) -> None:
    flow = flow_of(name)
    for loop in flow.root.all("loops"):
        inside, ahead = set[str](), [loop.target("nextValueConnector")]
        while ahead:
            at = ahead.pop()
            if at is None or at in inside or at == loop.get("name"):
                continue
            inside.add(at)
            node = flow.nodes[at]
            assert node.tag not in (*REACHING, "subflows"), f"{at} is in the loop {loop.get('label')}"
            ahead += [each.get("targetReference") for each in every(node) if each.tag.lower().endswith("connector")]


@pytest.mark.parametrize("name", PATHS)
def test_fields_and_inputs_a_flow_names_are_in_the_package(name: str) -> None:
    flow = flow_of(name)
    for object, named in fields_of(flow):
        if named.endswith("__c") and not named.startswith("SBQQ__"):
            file = PACKAGE / f"force-app/main/default/objects/{object}/fields/{named}.field-meta.xml"
            assert file.is_file(), f"{object} has no {named}"
    classes = PACKAGE / "force-app/main/default/classes"
    for call in flow.root.all("actionCalls"):
        if call.get("actionType") == "apex":
            source = (classes / f"{call.need('actionName')}.cls").read_text()
            asked, answered = source.split("public class Request", 1)[1].split("public class Result", 1)
            for parameter in call.all("inputParameters"):
                assert re.search(rf"public [\w<>]+ {parameter.need('name')};", asked), parameter.get("name")
            for output in re.findall(rf"\b{call.need('name')}\.(\w+)", all_text(flow)):
                assert re.search(rf"public [\w<>]+ {output};", answered), output
    line = (classes / "ClosedWonLine.cls").read_text()
    for part in re.findall(r"\bLine\.(\w+)", all_text(flow)):
        assert re.search(rf"public \w+ {part};", line), part


def all_text(flow: Flow) -> str:
    return "\n".join(node.text for node in every(flow.root))


def fields_of(flow: Flow) -> set[tuple[str, str]]:
    """Every field the flow filters, reads or writes, with its object."""
    used: set[tuple[str, str]] = set()
    for node in [flow.start, *flow.nodes.values()]:
        if object := node.get("object"):
            used |= {(object, each.need("field")) for tag in ("filters", "inputAssignments") for each in node.all(tag)}
            used |= {(object, each.text) for each in node.all("queriedFields")}
    if object := flow.start.get("object"):
        used |= {(object, found) for found in re.findall(r"\$Record\.(\w+)", all_text(flow))}
    return used


# The interpreter keeps its word


def test_what_the_interpreter_does_not_know_is_refused(tmp_path: Path) -> None:
    whole = PATHS[DEFAULT].read_text()
    changes = {
        "<loops>": "<screens><name>x</name></screens>\n    <loops>",
        "<operator>Add</operator>": "<operator>RemoveAll</operator>",
        "<pathType>AsyncAfterCommit</pathType>": "<pathType>ApprovalRecall</pathType>",
        "<elementReference>For_Each_Line.Quantity</elementReference>": (
            "<elementReference>For_Each_Line.Product2.Quantity</elementReference>"
        ),
        "<queriedFields>Quantity</queriedFields>": "",
        "<sortOrder>Asc</sortOrder>": "<sortOrder>Desc</sortOrder>",
    }
    for old, new in changes.items():
        assert old in whole
        path = tmp_path / "Changed.flow-meta.xml"
        path.write_text(whole.replace(old, new, 1))
        sales = Sales()
        won = sales.opportunity(1, *ENTERPRISE)
        with pytest.raises(NotInterpreted):
            sales.org.save(Flow(path), [Save("Opportunity", won, opened(won))])


def test_a_fault_without_a_fault_path_fails_the_transaction(tmp_path: Path) -> None:
    path = tmp_path / "Changed.flow-meta.xml"
    path.write_text(re.sub(r"\s*<faultConnector>.*?</faultConnector>", "", PATHS[DEFAULT].read_text(), flags=re.DOTALL))
    sales = Sales()
    refuse(sales, ("query", "Product2"))
    won = sales.opportunity(1, *ENTERPRISE)
    with pytest.raises(FlowFailed, match="Get mapped products: no query of Product2"):
        sales.org.save(Flow(path), [Save("Opportunity", won, opened(won))])


def test_a_callout_after_a_write_of_the_same_transaction_fails_and_shows(tmp_path: Path) -> None:
    """Where the own application fails for some of a bulk save: the worst order the platform may take."""
    sales = Sales()
    failing, ready = sales.opportunity(1, *ENTERPRISE), sales.opportunity(2, *ENTERPRISE)
    path = tmp_path / PATHS[PLACEHOLDER].name
    choice = f"""<decisions>
        <name>Down</name>
        <locationX>0</locationX>
        <locationY>0</locationY>
        <rules>
            <name>Is_Down</name>
            <conditionLogic>and</conditionLogic>
            <conditions>
                <leftValueReference>opportunityId</leftValueReference>
                <operator>EqualTo</operator>
                <rightValue><stringValue>{failing["Id"]}</stringValue></rightValue>
            </conditions>
            <connector><targetReference>Not_Replaced_Yet</targetReference></connector>
            <label>Down</label>
        </rules>
    </decisions>
    <description>"""
    placeholder = PATHS[PLACEHOLDER].read_text()
    start = placeholder.index("<start>")
    first = placeholder[start:].replace("Not_Replaced_Yet", "Down")
    path.write_text((placeholder[:start] + first).replace("\n    <description>", f"\n    {choice}", 1))
    sales.org.flows[PLACEHOLDER] = Flow(path)
    sales.close(failing, ready, flow=OWN_APPLICATION)
    assert sales.sent == []
    shown = sales.shown()
    assert shown[failing["Id"]][1].endswith("our own application failed: the placeholder was not replaced")
    assert shown[ready["Id"]][1].startswith("Not sent to Stigg, the flow failed: You have uncommitted work pending")


# What reconciliation takes a callout for


STAGES = {
    "Closed Won": (True, True),
    "Closed Lost": (False, True),
    "Proof of Concept": (False, False),
    "Negotiation": (False, False),
}


@pytest.mark.parametrize("before", ["Closed Won", "Negotiation", "Prospecting"])
@pytest.mark.parametrize("kind", ["New Customer", "Renewal", "Add-on and Renewal", None])
@pytest.mark.parametrize("amends", [None, CONTRACT])
@pytest.mark.parametrize("stage", STAGES)
def test_reconciliation_knows_what_the_flows_would_send(
    stage: str, amends: str | None, kind: str | None, before: str
) -> None:
    """Of a deal that came into its stage from another. As their descriptions say, the default flow leaves alone what
    amends; and what is reopened into a stage of a trial is told both ways: its end counts.
    """
    won, closed = STAGES[stage]
    sales = Sales()
    fields = {"StageName": stage, "IsWon": won, "IsClosed": closed, "Stigg_Amends__c": amends, "Type": kind}
    record = sales.opportunity(1, *ENTERPRISE, **fields, Stigg_Trial_End_Date__c=date(2026, 12, 31))
    was_won = before == "Closed Won"
    prior = {**record, "StageName": before, "IsWon": was_won, "IsClosed": was_won}
    flows = [AMENDMENT, CANCELLATION, REOPENED, TRIAL, *([] if amends else [DEFAULT])]
    for flow in flows:
        if stage != before:
            sales.org.save(flow_of(flow), [Save("Opportunity", record, prior)])
    if won and was_won:
        return  # nothing happened: what it is has been sent
    sent = {request["dealTrigger"] for requests in sales.sent for request in requests}
    trigger = trigger_of(record, "closed_won" if was_won else None, ("Proof of Concept",))
    expected = {trigger} - {None}
    assert sent in (expected, expected | {"trial"} if trigger == "cancellation" and not closed else expected)
