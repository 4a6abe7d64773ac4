"""Contracts in Stigg, where the account has them (parameter StiggContracts): one for each base or renewal, whatever
happens, and never in the way of access.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests

from closedwon.domain.identifiers import CustomerId, OpportunityId
from closedwon.domain.stigg_contracts import contract_id
from integration.scenes import Json, limits, opportunity_of, provision, sell, shown, subscriptions, sweep, time_passes
from ops.doctor import contracts_there
from sandbox.in_process import InProcess
from sandbox.sales import Sold

ENTERPRISE = (Sold("plan-enterprise", 1, 48000), Sold("feature-seats", 250))
CONTRACTS = "/api/v1/(customers/[^/]+/)?contracts.*"
WRITES = "POST|PATCH|DELETE"


@pytest.fixture
def house() -> Iterator[InProcess]:
    """A stack whose account in Stigg has contracts."""
    house = InProcess({"StiggContracts": "on"})
    yield house
    house.close()


def day(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def contracts(house: InProcess, account: str) -> dict[str, Json]:
    """An account's contracts in Stigg, by their IDs."""
    return {one["contractId"]: one for one in house.stack.stigg.list_contracts(account)}


def parts(contract: Json) -> list[str]:
    return [one["subscriptionId"] for one in contract["subscriptions"]]


def id_of(account: str, deal: Json) -> str:
    return contract_id(CustomerId(account), OpportunityId(opportunity_of(deal)))


def asked(house: InProcess, method: str = ".*", path: str = CONTRACTS) -> list[tuple[str, Json]]:
    """What Stigg was asked about contracts."""
    return [(one.method, json.loads(one.body or b"{}")) for one in house.stigg_server.asked(method, path)]


def test_a_deal_has_its_contract_and_both_lead_to_each_other(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    terms = {"start": day(0), "end": day(364), "purchaseOrder": "PO-4711", "activationDate": day(3)}
    deal = sell(house, account, *ENTERPRISE, terms=terms)
    provision(house, deal)
    [subscription] = subscriptions(house, account)
    [(id, contract)] = contracts(house, account).items()
    assert id == id_of(account, deal)
    assert opportunity_of(deal) in id
    assert (contract["poNumber"], contract["activationStartDate"][:10]) == ("PO-4711", day(3))
    assert contract["billingId"] is None  # no billing that nobody asked for
    assert contract["activationEndDate"] is None
    assert parts(contract) == [subscription["id"]]
    assert subscription["contractId"] == contract["id"]
    assert shown(house, deal) == ("Provisioned", None)
    record = house.provisioning(opportunity_of(deal))
    assert record is not None
    assert record["Contract_ID__c"] == id
    [_, (method, body)] = asked(house)[:2]
    assert (method, body["setupBilling"], body["name"]) == ("POST", False, "A deal")
    assert asked(house, WRITES) == [(method, body)]


def test_billing_is_set_up_where_the_deal_says_so(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    provision(house, sell(house, account, *ENTERPRISE, terms={"setupBilling": True}))
    [contract] = contracts(house, account).values()
    assert contract["billingId"] is not None


def test_an_amendment_changes_its_contract_and_nothing_is_written_twice(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, *ENTERPRISE, terms={"purchaseOrder": "PO-1"})
    provision(house, base)
    more: Json = {"trigger": "amendment", "amends": opportunity_of(base), "quantities": "differences"}
    provision(house, sell(house, account, Sold("feature-seats", 50), terms={"purchaseOrder": "PO-2"}, **more))
    [contract] = contracts(house, account).values()
    assert contract["contractId"] == id_of(account, base)
    assert contract["poNumber"] == "PO-2"
    assert asked(house, "PATCH") == [("PATCH", {"poNumber": "PO-2"})]  # the set is not sent, and so not replaced
    silent = sell(house, account, Sold("feature-seats", 50), **more)
    provision(house, silent)
    assert len(asked(house, WRITES)) == 2
    record = house.provisioning(opportunity_of(silent))
    assert record is not None
    assert record["Contract_ID__c"] == id_of(account, base)


def test_another_purchase_order_is_written_without_touching_access(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    opportunity = house.sales.close(account, "A deal", *ENTERPRISE)
    provision(house, house.deal(opportunity, terms={"purchaseOrder": "PO-1"}))
    before = subscriptions(house, account)
    house.salesforce.update("Opportunity", opportunity, Name="Another name")
    provision(house, house.deal(opportunity, terms={"purchaseOrder": "PO-2"}))
    [contract] = contracts(house, account).values()
    assert contract["poNumber"] == "PO-2"
    assert [one["id"] for one in subscriptions(house, account)] == [one["id"] for one in before]


def test_a_renewal_takes_the_subscription_into_a_contract_of_its_own(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, *ENTERPRISE, terms={"start": day(-365), "end": day(-1), "purchaseOrder": "PO-1"})
    renewal = sell(
        house,
        account,
        *ENTERPRISE,
        trigger="renewal",
        amends=opportunity_of(base),
        terms={"start": day(0), "end": day(364), "purchaseOrder": "PO-2"},
    )
    provision(house, base)
    [subscription] = subscriptions(house, account)
    # Somebody attaches one of their own: it stays where it is when ours moves.
    stigg = house.stack.stigg
    theirs = {"id": "theirs", "customerId": account, "planId": "plan-assistant", "scheduleStrategy": "IMMEDIATE"}
    stigg.provision_subscription(theirs, "by-hand")
    stigg.update_contract(id_of(account, base), {"subscriptionIds": [subscription["id"], "theirs"]})
    provision(house, renewal)
    found = contracts(house, account)
    assert parts(found[id_of(account, renewal)]) == [subscription["id"]]
    assert found[id_of(account, renewal)]["poNumber"] == "PO-2"
    assert parts(found[id_of(account, base)]) == ["theirs"]
    assert {one["id"]: one["status"] for one in subscriptions(house, account)} == {
        subscription["id"]: "ACTIVE",
        "theirs": "ACTIVE",
    }
    record = house.provisioning(opportunity_of(renewal))
    assert record is not None
    assert record["Contract_ID__c"] == id_of(account, renewal)


def test_what_somebody_put_into_a_contract_of_their_own_stays_there(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, *ENTERPRISE)
    provision(house, base)
    [subscription] = subscriptions(house, account)
    stigg = house.stack.stigg
    stigg.update_contract(id_of(account, base), {"subscriptionIds": []})
    stigg.create_contract(
        {
            "customerId": account,
            "contractId": "theirs",
            "setupBilling": False,
            "subscriptions": [{"existingSubscriptionId": subscription["id"]}],
        },
        "by-hand",
    )
    writes = len(asked(house, WRITES))
    more = sell(
        house,
        account,
        Sold("feature-seats", 50),
        trigger="amendment",
        amends=opportunity_of(base),
        quantities="differences",
    )
    provision(house, more)
    assert len(asked(house, WRITES)) == writes
    record = house.provisioning(opportunity_of(more))
    assert record is not None
    assert record["Contract_ID__c"] == "theirs"


def test_a_cancellation_ends_access_by_its_day_and_leaves_the_contract(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, *ENTERPRISE)
    provision(house, base)
    before = asked(house, WRITES)
    gone = sell(house, account, trigger="cancellation", amends=opportunity_of(base), lines=[], terms={"cancel": "now"})
    provision(house, gone)
    assert subscriptions(house, account) == []
    assert asked(house, WRITES) == before
    assert [one["state"] for one in contracts(house, account).values()] == ["ACTIVE"]
    record = house.provisioning(opportunity_of(base))
    assert record is not None
    assert record["Contract_ID__c"] == id_of(account, base)  # it is still to be found


@pytest.mark.parametrize("loss", ["drop_after", "drop_before", "drop_midway"])
def test_a_lost_answer_makes_no_second_contract(house: InProcess, loss: str) -> None:
    account = house.sales.account("Northwind Traders")
    house.stigg_server.fail(loss, "POST", "/api/v1/contracts")  # type: ignore[arg-type]
    deal = sell(house, account, *ENTERPRISE, terms={"purchaseOrder": "PO-1"})
    provision(house, deal)
    [contract] = contracts(house, account).values()
    assert len(parts(contract)) == 1
    assert [one for execution in house.executions for one in execution.failures] == ["WriteUnanswered"]
    assert len(house.stigg_server.asked("POST", "/api/v1/subscriptions")) == 1
    assert shown(house, deal) == ("Provisioned", None)


def test_a_contract_that_is_not_answered_at_all_is_made_later_by_itself(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    house.stigg_server.fail("answer", "GET", CONTRACTS, status=503, times=100)
    deal = sell(house, account, *ENTERPRISE)
    provision(house, deal)
    [standing] = subscriptions(house, account)
    assert standing["status"] == "ACTIVE"
    assert shown(house, deal) is not None
    assert shown(house, deal)[0] == "Failed"  # type: ignore[index]
    house.stigg_server.heal()
    time_passes(house, account)
    assert sweep(house) == 1
    assert list(contracts(house, account)) == [id_of(account, deal)]
    assert shown(house, deal) == ("Provisioned", None)


def test_an_account_without_contracts_gives_access_and_says_what_is_wrong(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    house.stigg.narrow_api_key("contracts", f"customers/{account}/contracts")
    deal = sell(house, account, *ENTERPRISE)
    provision(house, deal)
    [standing] = subscriptions(house, account)
    assert standing["status"] == "ACTIVE"
    record = house.provisioning(opportunity_of(deal))
    assert record is not None
    assert (record["Status__c"], record["Code__c"]) == ("Failed", "contracts_unavailable")
    assert "StiggContracts" in record["Reason__c"]
    assert record["Subscriptions__c"]
    assert house.executions[-1].failures == []
    # Once Stigg has enabled them, the same deal sent again is complete.
    house.stigg.narrow_api_key()
    provision(house, deal)
    assert shown(house, deal) == ("Provisioned", None)


def test_a_contract_that_stigg_refuses_is_its_deals_outcome_alone(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    house.stigg_server.fail("answer", "POST", "/api/v1/contracts", status=400)
    deal = sell(house, account, *ENTERPRISE)
    provision(house, deal)
    record = house.provisioning(opportunity_of(deal))
    assert record is not None
    assert (record["Status__c"], record["Code__c"]) == ("Failed", "contract_refused")
    assert len(subscriptions(house, account)) == 1


def test_a_lost_answer_to_a_move_leaves_the_subscription_in_one_contract(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, *ENTERPRISE, terms={"start": day(-365), "end": day(-1)})
    provision(house, base)
    [subscription] = subscriptions(house, account)
    terms = {"start": day(0), "end": day(364)}
    renewal = sell(house, account, *ENTERPRISE, trigger="renewal", amends=opportunity_of(base), terms=terms)
    # Taken out of the base's contract, and the step dies before it is part of the renewal's.
    house.stigg_server.fail("drop_after", "PATCH", "/api/v1/contracts/.*")
    house.stigg_server.fail("drop_before", "POST", "/api/v1/contracts")
    provision(house, renewal)
    found = contracts(house, account)
    assert len(found) == 2
    assert parts(found[id_of(account, base)]) == []
    assert parts(found[id_of(account, renewal)]) == [subscription["id"]]
    assert shown(house, renewal) == ("Provisioned", None)


def test_two_deals_in_one_subscription_are_in_the_contract_of_the_first(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    first = sell(house, account, *ENTERPRISE, terms={"start": day(-10), "purchaseOrder": "PO-1"})
    second = sell(house, account, *ENTERPRISE, terms={"start": day(-5), "purchaseOrder": "PO-2"})
    provision(house, first)
    provision(house, second)
    [contract] = contracts(house, account).values()
    assert (contract["contractId"], contract["poNumber"]) == (id_of(account, first), "PO-1")
    for deal in (first, second):
        record = house.provisioning(opportunity_of(deal))
        assert record is not None
        assert record["Contract_ID__c"] == id_of(account, first)


def test_what_stigg_has_no_contracts_for_costs_no_call(house: InProcess) -> None:
    """Stigg's contracts take custom plans only; a trial was not agreed on."""
    account = house.sales.account("Northwind Traders")
    provision(house, sell(house, account, Sold("plan-team", 1)))
    opportunity = house.sales.close(account, "B", Sold("plan-enterprise"), StageName="Proposal/Price Quote")
    provision(house, house.deal(opportunity, trigger="trial", terms={"trialEnd": day(14)}))
    assert asked(house) == []


def test_the_doctor_says_that_an_account_has_no_contracts(house: InProcess) -> None:
    stigg = house.stack.stigg
    assert list(contracts_there(stigg, on=True)) == []
    house.stigg.narrow_api_key("contracts")
    [told] = contracts_there(stigg, on=True)
    assert told.severity == "error"
    assert "StiggContracts" in told.words
    asked_before = len(asked(house))
    assert list(contracts_there(stigg, on=False)) == []
    assert len(asked(house)) == asked_before


def test_a_key_that_is_not_accepted_at_all_is_no_matter_of_contracts(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    house.stigg_server.fail("answer", "GET", CONTRACTS, status=401, times=100)
    deal = sell(house, account, *ENTERPRISE)
    provision(house, deal)
    record = house.provisioning(opportunity_of(deal))
    assert record is not None
    assert (record["Status__c"], record["Code__c"]) == ("Failed", "stigg_unauthorized")


def test_an_archived_contract_is_left_as_it_is(house: InProcess) -> None:
    account = house.sales.account("Northwind Traders")
    base = sell(house, account, *ENTERPRISE)
    provision(house, base)
    house.stack.stigg.update_contract(id_of(account, base), {"subscriptionIds": []})
    archived = requests.post(
        f"{house.stigg_server.url}/api/v1/contracts/{id_of(account, base)}/archive",
        headers={"X-API-KEY": house.stigg_api_key},
        timeout=10,
    )
    assert archived.status_code == 200, archived.text
    writes = len(asked(house, WRITES))
    more: Json = {"trigger": "amendment", "amends": opportunity_of(base), "quantities": "differences"}
    amendment = sell(house, account, Sold("feature-seats", 50), **more)
    provision(house, amendment)
    record = house.provisioning(opportunity_of(amendment))
    assert record is not None
    assert (record["Status__c"], record["Code__c"]) == ("Failed", "contract_refused")
    assert "archived" in record["Reason__c"]
    assert len(asked(house, WRITES)) == writes
    [subscription] = subscriptions(house, account)
    assert limits(subscription) == {"feature-seats": 300}


def test_off_nothing_is_asked_or_said_that_was_not_before() -> None:
    seen: dict[str, list[tuple[str, str, bytes]]] = {}
    for value in ("on", "off"):
        house = InProcess({"StiggContracts": value})
        try:
            account = house.sales.account("Northwind Traders")
            provision(house, sell(house, account, *ENTERPRISE, terms={"purchaseOrder": "PO-1"}))
            record = house.salesforce.find("Stigg_Provisioning__c")[0]
            assert bool(record["Contract_ID__c"]) == (value == "on")
            moves = house.stigg_server.asked()
            mask = [(account.encode(), b"ACCOUNT"), (record["Opportunity_ID__c"].encode(), b"OPPORTUNITY")]
            seen[value] = [(one.method, one.path, one.body) for one in moves]
            for was, becomes in mask:
                seen[value] = [
                    (method, path.replace(was.decode(), becomes.decode()), body.replace(was, becomes))
                    for method, path, body in seen[value]
                ]
        finally:
            house.close()
    assert [one for one in seen["on"] if "contracts" not in one[1]] == seen["off"]
    assert len(seen["on"]) == len(seen["off"]) + 2
