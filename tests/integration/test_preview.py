"""POST /v1/previews: what provisioning would do, as it then does it; and nothing is written anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from integration.scenes import (
    SUBSCRIPTIONS,
    Json,
    access,
    addons,
    everything,
    limits,
    opportunity_of,
    provision,
    revised,
    sell,
    shown,
    subscriptions,
)
from sandbox.sales import Sold
from sandbox.sandbox import ROOT, Sandbox

TERM = {"billingPeriod": "ANNUALLY", "start": "2026-01-01", "end": "2027-12-31", "paymentCollection": "INVOICE"}
READS = {("POST", "/api/v1/subscriptions/preview")}
"""What Stigg is POSTed and nothing is written by."""


def ledger_of(sandbox: Sandbox) -> list[Json]:
    """Every item of the ledger's table."""
    pages = (
        sandbox.aws.client("dynamodb").get_paginator("scan").paginate(TableName=sandbox.aws.resources["LedgerTable"])
    )
    items = [item for page in pages for item in page["Items"]]
    return sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


@contextmanager
def nothing_is_written(sandbox: Sandbox) -> Iterator[None]:
    """Both stand-ins and the whole ledger stay as they are, and nobody is asked to write."""
    before = everything(sandbox), ledger_of(sandbox)
    asked = len(sandbox.stigg_server.exchanges), len(sandbox.salesforce_server.exchanges)
    yield
    assert (everything(sandbox), ledger_of(sandbox)) == before
    exchanges = sandbox.stigg_server.exchanges[asked[0] :]
    assert {(e.method, e.path) for e in exchanges if e.method != "GET"} <= READS
    assert len(sandbox.salesforce_server.exchanges) == asked[1]


def previewed(sandbox: Sandbox, *deals: Json) -> list[Json]:
    """What is told of deals, while nothing is written."""
    with nothing_is_written(sandbox):
        answer = sandbox.preview(*deals)
    assert answer.status_code == 200, answer.text
    results: list[Json] = answer.json()["results"]
    return results


def only(results: list[Json]) -> Json:
    [result] = results
    return result


def amending(sandbox: Sandbox, base: Json, *sold: Sold, **more: Any) -> Json:
    """A deal that changes the contract of another."""
    opportunity = sandbox.sales.close(base["account"]["id"], "A change", *sold)
    change = {"trigger": "amendment", "quantities": "differences", "amends": opportunity_of(base), **more}
    return sandbox.deal(opportunity, **{name: value for name, value in change.items() if value is not None})


def whole(sandbox: Sandbox, base: Json, trigger: str, *sold: Sold, **terms: Any) -> Json:
    return amending(sandbox, base, *sold, trigger=trigger, quantities=None, terms=terms)


# What a preview says, provisioning does

Scene = Callable[[Sandbox, Json], Json]

CHANGES: dict[str, Scene] = {
    "more": lambda s, base: amending(s, base, Sold("addon-extra-workspace", 3), Sold("feature-seats", 50)),
    "less": lambda s, base: amending(s, base, Sold("addon-extra-workspace", -1)),
    "another add-on, later": lambda s, base: amending(
        s, base, Sold("addon-premium-support", 1), terms={"start": "2027-06-01"}
    ),
    "more than there is, away": lambda s, base: amending(s, base, Sold("addon-extra-workspace", -3)),
    "nearly everything away": lambda s, base: amending(
        s, base, Sold("addon-extra-workspace", -2), Sold("feature-seats", -240)
    ),
    "a renewal to another plan": lambda s, base: whole(
        s,
        base,
        "renewal",
        Sold("plan-enterprise-plus", 1, 60000),
        Sold("feature-seats", 100),
        start="2026-11-01",
        end="2027-10-31",
    ),
    "a renewal next year": lambda s, base: whole(s, base, "renewal", Sold("plan-enterprise", 1, 50000)),
    "a cancellation at once": lambda s, base: {**whole(s, base, "cancellation", cancel="now"), "lines": []},
    "a cancellation at the end": lambda s, base: {**whole(s, base, "cancellation"), "lines": []},
    "an add-on ends": lambda s, base: whole(s, base, "cancellation", Sold("addon-extra-workspace", 1), cancel="now"),
    "another product": lambda s, base: sell(
        s, base["account"]["id"], Sold("plan-analytics", 1, 9000), Sold("feature-dashboards", 40), terms=TERM
    ),
    "the same again": lambda _, base: base,
    "an unknown add-on": lambda s, base: sell(
        s, base["account"]["id"], Sold("plan-analytics"), Sold("addon-unheard-of"), terms=TERM
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_preview_says_is_what_provisioning_then_does(sandbox: Sandbox, change: str) -> None:
    base = sell(sandbox, sandbox.sales.account("Northwind"), terms=TERM)
    account = base["account"]["id"]
    provision(sandbox, base)
    before = {s["id"]: s for s in access(sandbox, account)}
    deal = CHANGES[change](sandbox, base)
    told = only(previewed(sandbox, deal))
    provision(sandbox, deal)
    after = {s["id"]: s for s in subscriptions(sandbox, account)}
    status, reason = shown(sandbox, deal) or ("", "")
    if told["status"] == "invalid":
        assert status == "Failed"
        assert [error["message"] in str(reason) for error in told["errors"]] == [True]
        assert {s["id"]: s for s in access(sandbox, account)} == before
        return
    assert (told["status"] == "held") == (status == "Held")
    if told["status"] == "held":
        assert reason in told["warnings"]
    found = {c["subscriptionId"]: c for c in told["changes"] if c["action"] in ("create", "update", "keep")}
    assert set(after) - set(before) == {id for id, said in found.items() if said["action"] == "create"}
    assert {s["id"]: s for s in access(sandbox, account) if s["id"] not in found} == {
        id: before[id] for id in after if id not in found
    }
    for id, said in found.items():
        assert after[id]["planId"] == said["planId"]
        assert addons(after[id]) == {addon["id"]: addon["quantity"] for addon in said["addons"]}
        assert limits(after[id]) == {
            e["id"]: "unlimited" if e["unlimited"] else e["limit"] for e in said["entitlements"]
        }
        assert after[id].get("cancellationDate") == said["end"]
    ended = {c["subscriptionId"] for c in told["changes"] if c["action"] == "end"}
    replaced = {id for id in before if any(f"subscription {id})" in sentence for sentence in told["summary"])}
    assert set(before) - set(after) == ended | replaced


# What is told


def test_a_new_customer_and_its_first_deal(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account, Sold("plan-team", 1), Sold("addon-extra-workspace", 2), terms=TERM)
    told = only(previewed(sandbox, deal))
    assert told["status"] == "ok"
    assert told["customerId"] == account
    assert told["summary"][0] == f"Creates the customer {account} in Stigg."
    [invoices] = told["invoices"]
    assert invoices["recurring"] is None
    assert "this one is new" in invoices["notIncluded"][0]
    provision(sandbox, deal)
    assert [c["subscriptionId"] for c in told["changes"]] == [s["id"] for s in subscriptions(sandbox, account)]


def test_stiggs_invoices_are_shown_with_what_they_leave_out(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    provision(sandbox, sell(sandbox, account, Sold("plan-analytics"), terms=TERM))
    now = {"billingPeriod": "MONTHLY", "paymentCollection": "CHARGE"}
    deal = sell(sandbox, account, Sold("plan-team", 1), Sold("feature-seats", 30), terms=now)
    told = only(previewed(sandbox, deal))
    [invoices] = told["invoices"]
    assert (invoices["immediate"]["total"], invoices["recurring"]["total"]) == (490, 490)
    assert invoices["recurring"]["lines"][0]["description"] == "Team"
    assert invoices["notIncluded"] == ["entitlements: Stigg's preview takes none"]
    assert told["warnings"] == ["The customer has to pay for plan-team first: a checkout link is shown on the deal."]
    without_period = only(previewed(sandbox, {**deal, "terms": {}}))
    assert "Stigg would probably refuse plan-team" in without_period["warnings"][0]
    assert "choose one" in without_period["warnings"][0]


def test_a_trial_and_the_deal_that_wins_it(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    terms = {"billingPeriod": "MONTHLY", "trialEnd": "2099-12-31"}
    trial = sell(sandbox, account, Sold("plan-team"), trigger="trial", terms=terms)
    told = only(previewed(sandbox, trial))
    assert told["summary"][1] == "Starts a trial of plan-team to 2099-12-31; if the deal is not won, access ends."
    provision(sandbox, revised(trial, 1))
    won = {
        **revised(trial, 2),
        "trigger": "closed_won",
        "terms": {"billingPeriod": "MONTHLY", "paymentCollection": "INVOICE"},
    }
    told = only(previewed(sandbox, won))
    assert [c["action"] for c in told["changes"]] == ["create", "end"]
    assert "Ends the trial of plan-team when the paid subscription starts." in told["summary"]
    provision(sandbox, won)
    [paid] = subscriptions(sandbox, account)
    assert paid["id"] == told["changes"][0]["subscriptionId"]


def test_deals_of_several_accounts_are_told_in_their_order_and_one_invalid_deal_does_not_touch_the_others(
    sandbox: Sandbox,
) -> None:
    deals = [sell(sandbox, sandbox.sales.account(name), terms=TERM) for name in ("One", "Two", "Three")]
    deals[1]["lines"][0]["quantity"] = 2.5
    taken = sell(sandbox, deals[2]["account"]["id"], customerId="taken")
    results = previewed(sandbox, *deals, taken, {"opportunity": 1})
    assert [r["opportunityId"] for r in results[:4]] == [opportunity_of(deal) for deal in (*deals, taken)]
    assert [r["status"] for r in results] == ["ok", "invalid", "ok", "invalid", "invalid"]
    assert (results[1]["errors"][0]["line"], results[1]["errors"][0]["field"]) == (1, "quantity")
    # What programs read is there for each of them, also for those that were not even compiled.
    for refused in (results[1], results[3], results[4]):
        assert refused["codes"] == [error["code"] for error in refused["errors"]] != []
        assert len(refused["reasons"]) == len(refused["errors"])


def test_a_customer_of_another_account_in_stigg_is_told_as_provisioning_would_find_it(sandbox: Sandbox) -> None:
    provision(sandbox, sell(sandbox, sandbox.sales.account("One"), customerId="northwind"))
    deal = sell(sandbox, sandbox.sales.account("Two"), customerId="northwind")
    told = only(previewed(sandbox, deal))
    assert (told["status"], told["errors"][0]["field"]) == ("invalid", "customerId")


def test_while_stigg_does_not_answer_the_rest_is_told_and_said(sandbox: Sandbox) -> None:
    base = sell(sandbox, sandbox.sales.account("Northwind"), terms=TERM)
    first = sell(sandbox, sandbox.sales.account("Alder"), terms=TERM)
    sandbox.stigg_server.fail("answer", status=503, times=1000)
    told = only(previewed(sandbox, first))
    assert (told["status"], told["changes"]) == ("ok", [])
    assert "only the deal itself was checked" in told["warnings"][0]
    sandbox.stigg_server.heal()
    provision(sandbox, base)
    sandbox.stigg_server.fail("answer", status=503, times=1000)
    told = only(previewed(sandbox, amending(sandbox, base, Sold("feature-seats", 50))))
    assert told["summary"] == ["Changes entitlements of plan-enterprise: feature-seats 250 -> 300."]
    assert told["invoices"] == []
    assert "Stigg did not answer in time" in told["warnings"][-1]
    assert len(sandbox.stigg_server.asked("POST", f"{SUBSCRIPTIONS}/preview")) == 0


def test_a_request_that_is_none_is_refused_and_a_key_that_stigg_refuses_is_our_fault(sandbox: Sandbox) -> None:
    assert sandbox.post({"deals": []}, path="/v1/previews").status_code == 400
    assert sandbox.post({"deals": [{}]}, key="x" * 40, path="/v1/previews").status_code == 403
    deal = sell(sandbox, sandbox.sales.account("Northwind"))
    sandbox.stigg_server.fail("answer", status=401, times=1000)
    assert sandbox.preview(deal).status_code >= 500


def test_the_function_may_only_read() -> None:
    """moto lets everybody in: what holds in AWS is the template's word."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    [policy] = template["Resources"]["PreviewFunction"]["Properties"]["Policies"]
    assert [statement["Action"] for statement in policy["Statement"]] == [
        ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"],
        "secretsmanager:GetSecretValue",
    ]
