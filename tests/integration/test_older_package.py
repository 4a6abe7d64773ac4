"""Server and Salesforce package are upgraded on different days: with a package one version behind nothing fails, and
what it has no place for appears once it is deployed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from closedwon.domain.customer import Outcome
from closedwon.domain.errors import SalesforceRefused
from closedwon.settings import Settings
from integration.scenes import COMPOSITE, Json, opportunity_of, provision, sell, shown, status, sweep
from sandbox.in_process import InProcess

OF_COMPARE = {
    "HELD_TOO_LONG_DAYS": "7",
    "REPAIRED_DRIFT": "stale_write_back",
    "CHANGED_BY_HAND_POLICY": "report",
    "REDUCTIONS_POLICY": "report",
}
"""The settings of the function that compares."""

DESCRIBE = "/services/data/.*/sobjects/Stigg_Provisioning__c/describe"
SAID = "The term of this deal is over."
ENDED = Outcome("Ended", SAID, code="term_over")


def became(house: InProcess, outcome: Outcome, *deals: Json) -> None:
    """Deals have an outcome that Salesforce does not show yet, and their customers' next executions run."""
    for deal in deals:
        known = house.ledger.customer(deal["account"]["id"])
        state = known.opportunities[opportunity_of(deal)]
        states = {**known.opportunities, opportunity_of(deal): state.became(outcome, state.at + 1)}
        house.ledger.put(replace(known, opportunities=states, due_at=1))
    sweep(house)


def record(house: InProcess, deal: Json) -> Json:
    found = house.provisioning(opportunity_of(deal))
    assert found is not None
    return found


def sold(house: InProcess, *accounts: str) -> list[Json]:
    """A provisioned deal of each account."""
    deals = [sell(house, house.sales.account(name)) for name in accounts or ("Northwind Traders",)]
    provision(house, *deals)
    return deals


def asked(house: InProcess) -> int:
    """How often Salesforce was asked what its package has."""
    return len(house.salesforce_server.asked("GET", DESCRIBE))


def drift(house: InProcess, deal: Json) -> list[tuple[str, str]]:
    """What a reconciliation finds of a deal's customer, read live: kind and remedy."""
    house.stack.settings = Settings({**house.stack.settings._environment, **OF_COMPARE})
    comparer = house.stack.comparer("")
    [view] = house.stack.live.views([deal["account"]["id"]], deep=False)
    return [(finding.kind, finding.remedy) for finding in comparer.verdict(view)[0]]


def forgotten(house: InProcess) -> None:
    """Another process runs from now on: it remembers nothing."""
    for part in ("package", "live"):
        house.stack.__dict__.pop(part, None)


def an_hour_later(house: InProcess) -> None:
    house.clock.forward(3_600_000)


def test_with_the_newest_package_code_and_status_show(in_process: InProcess) -> None:
    [deal] = sold(in_process)
    became(in_process, ENDED, deal)
    assert (record(in_process, deal)["Status__c"], record(in_process, deal)["Code__c"]) == ("Ended", "term_over")
    assert drift(in_process, deal) == []
    became(in_process, Outcome("Provisioned"), deal)
    assert record(in_process, deal)["Code__c"] is None, "what it says no more is emptied"


def test_with_the_first_package_nothing_fails_and_ended_shows_as_superseded(in_process: InProcess) -> None:
    in_process.salesforce.deploy_package("first")
    [deal] = sold(in_process)
    became(in_process, ENDED, deal)
    assert shown(in_process, deal) == ("Superseded", SAID)
    assert "Code__c" not in record(in_process, deal)
    assert not in_process.due(deal["account"]["id"]), "it counts as shown: nothing writes it over and over"
    assert (status(in_process, deal)["status"], status(in_process, deal)["writtenBack"]) == ("Ended", True)
    assert all(execution.status == "SUCCEEDED" for execution in in_process.executions)


def test_a_write_back_costs_no_call_to_learn_what_the_package_has(in_process: InProcess) -> None:
    in_process.salesforce.deploy_package("first")
    sold(in_process, "Northwind Traders", "Kestrel", "Halden Foods")
    forgotten(in_process)
    sold(in_process, "Acme")
    assert asked(in_process) == 1
    assert len(in_process.salesforce_server.asked("POST", COMPOSITE)) == 4


def test_a_package_that_was_put_back_is_noticed_by_the_first_refusal(in_process: InProcess) -> None:
    [deal, other] = sold(in_process, "Northwind Traders", "Kestrel")
    in_process.salesforce.deploy_package("first")
    became(in_process, ENDED, deal)
    assert shown(in_process, deal) == ("Superseded", SAID)
    assert asked(in_process) == 2
    became(in_process, ENDED, other)
    assert shown(in_process, other) == ("Superseded", SAID)
    assert asked(in_process) == 2
    assert all(execution.status == "SUCCEEDED" for execution in in_process.executions)


def test_a_status_that_was_switched_off_is_noticed_while_the_rest_is_taken(in_process: InProcess) -> None:
    account = in_process.sales.account("Northwind Traders")
    ended, held = sell(in_process, account), sell(in_process, account, name="Another")
    provision(in_process, ended, held)
    in_process.salesforce.switch_off("Stigg_Provisioning__c", "Status__c", "Ended")
    known = in_process.ledger.customer(account)
    outcomes = {opportunity_of(ended): ENDED, opportunity_of(held): Outcome("Held", "It waits.", code="no_base")}
    states = {id: state.became(outcomes[id], state.at + 1) for id, state in known.opportunities.items()}
    in_process.ledger.put(replace(known, opportunities=states, due_at=1))
    sweep(in_process)
    assert (shown(in_process, ended), record(in_process, ended)["Code__c"]) == (("Superseded", SAID), "term_over")
    assert (shown(in_process, held), record(in_process, held)["Code__c"]) == (("Held", "It waits."), "no_base")


def test_a_refusal_that_has_another_cause_is_told_as_before(in_process: InProcess) -> None:
    [deal] = sold(in_process)
    in_process.salesforce.hide("Stigg_Provisioning__c", "Reason__c")
    with pytest.raises(SalesforceRefused, match="Reason__c"):
        became(in_process, ENDED, deal)
    assert in_process.due(deal["account"]["id"]), "the sweep tries again"


def test_reconciliation_finds_nothing_in_what_the_first_package_cannot_show(in_process: InProcess) -> None:
    in_process.salesforce.deploy_package("first")
    [deal] = sold(in_process)
    became(in_process, ENDED, deal)
    assert drift(in_process, deal) == []
    in_process.salesforce.update("Stigg_Provisioning__c", record(in_process, deal)["Id"], Status__c="Held")
    assert drift(in_process, deal) == [("stale_write_back", "repair")]


def test_reconciliation_reads_on_where_an_older_package_was_put_back(in_process: InProcess) -> None:
    [deal] = sold(in_process)
    in_process.salesforce.deploy_package("first")
    assert drift(in_process, deal) == []


def test_once_the_package_is_upgraded_reconciliation_brings_code_and_status(in_process: InProcess) -> None:
    in_process.salesforce.deploy_package("first")
    [deal] = sold(in_process)
    became(in_process, ENDED, deal)
    in_process.salesforce.deploy_package("newest")
    an_hour_later(in_process)
    assert drift(in_process, deal) == [("stale_write_back", "repair")]
    known = in_process.ledger.customer(deal["account"]["id"])
    in_process.ledger.make_due(known.account_id, known.rev, False, [opportunity_of(deal)], False)
    sweep(in_process)
    assert (record(in_process, deal)["Status__c"], record(in_process, deal)["Code__c"]) == ("Ended", "term_over")
    assert drift(in_process, deal) == []
