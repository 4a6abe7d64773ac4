"""Bad input is answered at once, naming deal, line and field; nothing is provisioned for it, nothing else disturbed.

One representative of each kind, through the gateway; tests/unit/test_mapping.py has every field.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from integration.scenes import (
    Json,
    call,
    due,
    everything,
    executions,
    head,
    limits,
    opportunity_of,
    provision,
    revised,
    sell,
    shown,
    stigg_requests,
    stigg_writes,
    subscriptions,
)
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

# The request as a whole


def raw(sandbox: Sandbox, body: bytes, **headers: str) -> requests.Response:
    """POST bytes to the callout."""
    given = {"x-api-key": sandbox.callout_key, "Content-Type": "application/json", **headers}
    return requests.post(f"{sandbox.aws.callout_url}/v1/provisionings", data=body, headers=given, timeout=60)


def test_without_the_key_or_with_another_nobody_gets_in(sandbox: Sandbox) -> None:
    deal = sell(sandbox, sandbox.sales.account("Northwind"))
    body = json.dumps({"deals": [deal]}).encode()
    url = f"{sandbox.aws.callout_url}/v1/provisionings"
    assert requests.post(url, data=body, timeout=60).status_code == 401
    assert requests.get(f"{url}/{opportunity_of(deal)}", timeout=60).status_code == 401
    for wrong in (
        "short",
        "a-wrong-key-long-enough-to-be-asked-about",
        sandbox.callout_key[:-1],
        f"{sandbox.callout_key}x",
    ):
        answer = raw(sandbox, body, **{"x-api-key": wrong})
        assert answer.status_code == (401 if wrong == "short" else 403)
        assert sandbox.callout_key not in answer.text
    assert executions(sandbox) == []
    assert sandbox.status(opportunity_of(deal)).status_code == 404


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"", "application/json"),
        (b"not JSON", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b'{"deals": {}}', "application/json"),
        (b'{"deals": []}', "application/json"),
        (b'{"deals": [null]}', "application/json"),
        (json.dumps({"deals": [{}] * 201}).encode(), "application/json"),
        # Past the gateway's model, which looks at JSON only: the function says no itself.
        (b"", "text/plain"),
        (b"\xff\xfe", "text/plain"),
        (b"not JSON", "text/plain"),
        (b'"deals"', "text/plain"),
        (b'{"deals": []}', "text/plain"),
        (json.dumps({"deals": [{}] * 201}).encode(), "text/plain"),
        (b"[" * 100_000, "text/plain"),
    ],
    ids=lambda value: value[:16].decode(errors="replace") if isinstance(value, bytes) else value,
)
def test_what_is_no_list_of_1_to_200_deals_is_refused_whole(sandbox: Sandbox, body: bytes, media_type: str) -> None:
    answer = raw(sandbox, body, **{"Content-Type": media_type})
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"]


def test_a_status_is_told_of_known_opportunities_only(sandbox: Sandbox) -> None:
    assert sandbox.status("0065g00000ABCdEAAX").status_code == 404
    for malformed in (
        "0065g00000ABCdE1",
        "0015g00000XyZaBAAV",
        "0065g00000ABCdEAAA",
        "0065g00000ABC%20E",
        "%00",
        "é",
    ):
        answer = sandbox.status(malformed)
        assert answer.status_code == 400
        assert answer.json()["message"].startswith("opportunityId ")


# One deal among others

Bad = tuple[str, Callable[[Json], None], int | None, str, str]


def puts(path: str, value: Any) -> Callable[[Json], None]:
    """What puts a value into a deal, by path; a list at its end grows."""

    def change(deal: Json) -> None:
        *way, last = path.split(".")
        place: Any = deal
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        if last == "+":
            place.append(value)
        else:
            place[int(last) if last.isdigit() else last] = value

    return change


def takes(path: str) -> Callable[[Json], None]:
    """What takes a field away."""

    def change(deal: Json) -> None:
        *way, last = path.split(".")
        place: Any = deal
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        del place[last]

    return change


FUTURE = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="milliseconds")

UNRECORDED: list[Bad] = [
    (
        "another organisation",
        puts("organizationId", "00D5g000004xYzBEAU"),
        None,
        "organizationId",
        "organisation",
    ),
    ("an unknown trigger", puts("trigger", "won"), None, "trigger", "must be one of"),
    (
        "a bad opportunity",
        puts("opportunity.id", "006-not-an-id"),
        None,
        "opportunity.id",
        "not a Salesforce record ID",
    ),
    (
        "a wrong suffix",
        puts("opportunity.id", "0065g00000ABCdEAAA"),
        None,
        "opportunity.id",
        "last three characters",
    ),
    ("an account that is a lead", puts("account.id", "00Q5g00000ABCdEAAX"), None, "account.id", "001"),
    ("no account", takes("account"), None, "account", "is missing"),
    ("no list of lines", puts("lines", {}), None, "lines", "must be a list"),
    ("too many lines", puts("lines", [{}] * 201), None, "lines", "more than 200"),
    (
        "a revision of tomorrow",
        puts("opportunity.systemModstamp", FUTURE),
        None,
        "opportunity.systemModstamp",
        "future",
    ),
    ("a field nobody knows", puts("discount", 5), None, "discount", "is not a field"),
    ("half a character", puts("account.name", "\ud800"), None, "account.name", "must be a text"),
    ("a name too long", puts("account.name", "x" * 256), None, "account.name", "longer than 255"),
    ("no number", puts("lines.2.quantity", "many"), 3, "quantity", "is not a number"),
    ("more than a number", puts("lines.2.quantity", 10**4000), 3, "quantity", "too large"),
    ("no reference", puts("lines.1.renews", ["the old one"]), 2, "renews", "is not a Salesforce record ID"),
    ("no object", puts("lines.1", "addon-extra-workspace"), 2, "line", "must be an object"),
]
"""What cannot be recorded: there is no opportunity, no order in time, or no sense in it."""

REFUSED: list[Bad] = [
    ("an unknown type", puts("lines.1.stiggType", "Addon"), 2, "stiggType", "Addon"),
    ("a wrong prefix", puts("lines.1.stiggId", "feature-seats"), 2, "stiggId", "does not start with addon-"),
    ("no ID", puts("lines.2.stiggId", ""), 3, "stiggId", "is missing"),
    ("a fraction", puts("lines.2.quantity", 2.5), 3, "quantity", "2.5 is not a whole number"),
    ("a negative quantity", puts("lines.1.quantity", -1), 2, "quantity", "-1 is not possible"),
    (
        "nothing of anything",
        puts("lines", [{"stiggType": "Plan", "stiggId": "plan-team", "quantity": 0}]),
        None,
        "lines",
        "only lines of quantity 0",
    ),
    ("a line that renews", puts("lines.1.renews", "8005g00000ABCdEAAX"), 2, "renews", "of a renewal, and this deal"),
    ("too much of it", puts("lines.1.quantity", 2**31), 2, "quantity", "more than Stigg can hold"),
    ("no plan", puts("lines.0.stiggType", None), 1, "stiggType", "is missing"),
    (
        "two plans of a product",
        puts("lines.+", {"stiggType": "Plan", "stiggId": "plan-team"}),
        4,
        "stiggId",
        "one product",
    ),
    ("nothing mapped", puts("lines", [{"quantity": 1}]), None, "lines", "nothing to provision"),
    ("an empty list", puts("lines", []), None, "lines", "nothing to provision"),
    ("a date that is none", puts("terms", {"start": "2026-02-30"}), None, "terms.start", "is not a date"),
    (
        "an end before the start",
        puts("terms", {"start": "2026-02-01", "end": "2026-01-01"}),
        None,
        "terms.end",
        "after",
    ),
    ("an amendment of nothing", puts("trigger", "amendment"), None, "amends", "is missing"),
    ("a renewal", puts("trigger", "renewal"), None, "amends", "is missing"),
    ("a trial without its end", puts("trigger", "trial"), None, "terms.trialEnd", "is missing"),
    ("two IDs of the customer", puts("customerId", "somebody-else"), None, "customerId", "not the account's"),
]
"""What is recorded as the opportunity's newest, and refused."""


def test_every_bad_deal_of_a_bulk_is_answered_by_line_and_field_and_disturbs_no_other(
    sandbox: Sandbox,
) -> None:
    account = sandbox.sales.account("Northwind")
    standing = sell(sandbox, account)
    provision(sandbox, standing)  # the customer has something, and the catalogue has been read
    held_before, customers_before = sandbox.stigg.subscriptions(), sandbox.stigg.customers
    cases = [*UNRECORDED, *REFUSED]
    deals, opportunities = [], []
    for _, change, *_ in cases:
        deal = sell(sandbox, account)
        opportunities.append(opportunity_of(deal))
        change(deal)
        deals.append(deal)
    elsewhere = sandbox.sales.account("Southwind")
    good = sell(sandbox, elsewhere)
    half = len(deals) // 2
    writes = stigg_writes(sandbox)
    results = provision(sandbox, *deals[:half], good, *deals[half:])

    assert results.pop(half)["status"] == "accepted"
    assert shown(sandbox, good) == ("Provisioned", None)
    assert len(subscriptions(sandbox, elsewhere)) == 1
    assert stigg_writes(sandbox) == writes + 2, "the good deal's customer and subscription, and no more"
    assert [s for s in sandbox.stigg.subscriptions() if s["customerId"] == account] == held_before
    assert {id: c for id, c in sandbox.stigg.customers.items() if id == account} == customers_before
    assert shown(sandbox, standing) == ("Provisioned", None)
    for (case, _, line, field, message), result in zip(cases, results, strict=True):
        assert result["status"] == "invalid", case
        matching = [e for e in result["errors"] if (e["line"], e["field"]) == (line, field) and message in e["message"]]
        assert matching, f"{case}: {result['errors']}"
    for (case, *_), opportunity, result in zip(cases, opportunities, results, strict=True):
        record = sandbox.provisioning(opportunity)
        if case in [case for case, *_ in UNRECORDED]:
            assert result["execution"] is None, case
            assert record is None, case
        else:
            assert record is not None, case
            assert record["Status__c"] == "Failed", case
            assert all(e["message"] in record["Reason__c"] for e in result["errors"]), case
            assert sandbox.status(opportunity).json()["status"] == "Failed"
    [execution] = {result["execution"] for result in results if result["execution"]}
    assert sandbox.wait([execution])[0]["error"] == "DealRefused"
    assert not due(sandbox, account)


def test_a_refused_deal_is_provisioned_once_it_is_corrected(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account)
    [refused] = provision(sandbox, revised(deal, 0, feature_seats=2.5))
    assert refused["status"] == "invalid"
    assert sandbox.stigg.customers == {}, "not even the customer is made"
    assert stigg_requests(sandbox, "POST") == 0
    assert shown(sandbox, deal) == (
        "Failed",
        refused["errors"][0]["field"] and "line 3, quantity: " + refused["errors"][0]["message"],
    )
    assert sandbox.salesforce.get("Account", account)["Stigg_Customer_ID__c"] is None
    [corrected] = provision(sandbox, revised(deal, 1))
    assert corrected["status"] == "accepted"
    assert shown(sandbox, deal) == ("Provisioned", None)
    assert sandbox.salesforce.get("Account", account)["Stigg_Customer_ID__c"] == account


def test_a_moved_opportunity_and_a_customer_of_another_account_are_refused_and_move_nothing(
    sandbox: Sandbox,
) -> None:
    northwind, southwind = sandbox.sales.account("Northwind"), sandbox.sales.account("Southwind")
    deal = revised(sell(sandbox, northwind, customerId="northwind"), 0)
    other = revised(sell(sandbox, southwind), 0)
    provision(sandbox, deal, other)
    before = everything(sandbox)

    moved = revised(deal, 1)
    moved["account"] = {**other["account"]}
    del moved["customerId"]
    [result] = provision(sandbox, moved)
    assert (result["status"], result["execution"]) == ("invalid", None)
    [error] = result["errors"]
    assert error["field"] == "account.id"
    assert northwind in error["message"]
    assert everything(sandbox) == before

    stolen = sell(sandbox, sandbox.sales.account("Eastwind"), customerId="northwind")
    renamed = sell(sandbox, southwind, customerId="another-name")
    results = provision(sandbox, stolen, renamed)
    for result, owner in zip(results, (northwind, southwind), strict=True):
        assert result["status"] == "invalid"
        [error] = result["errors"]
        assert error["field"] == "customerId"
        assert owner in error["message"]
    after = everything(sandbox)
    assert (after["customers"], after["subscriptions"]) == (before["customers"], before["subscriptions"])
    assert [shown(sandbox, d) for d in (deal, other)] == [("Provisioned", None)] * 2
    assert [(shown(sandbox, d) or ("",))[0] for d in (stolen, renamed)] == ["Failed"] * 2


# Not bad at all


def test_unusual_texts_and_whole_decimals_and_lines_that_add_up_are_provisioned_as_they_are(
    sandbox: Sandbox,
) -> None:
    name = "Žluťoučký kůň ‮ 株式会社 🦄 <script>'\"&;--" + "n" * 300
    account = sandbox.sales.account(name[:255])
    twice = (Sold("addon-extra-workspace", 2, 1200), Sold("addon-extra-workspace", 3, 1200))
    deal = sell(sandbox, account, Sold("plan-enterprise", 1), *twice, Sold("feature-seats", 10), name=name[:120])
    assert deal["lines"][3]["quantity"] == 10.0
    deal["lines"][3]["quantity"] = 10.0
    deal["lines"].append({"line": 9, "quantity": 0.5})  # a product that is not in Stigg
    deal["customerId"] = "c" * 255
    [result] = provision(sandbox, deal)
    assert result["errors"] == []
    assert shown(sandbox, deal) == ("Provisioned", None)
    assert sandbox.stigg.customers["c" * 255]["name"] == name[:255]
    [subscription] = subscriptions(sandbox, "c" * 255)
    assert subscription["addons"] == [{"id": "addon-extra-workspace", "quantity": 5}]
    assert limits(subscription) == {"feature-seats": 10}
    record = sandbox.provisioning(opportunity_of(deal))
    assert record is not None
    assert requests.get(record["Subscription_URL__c"], timeout=60).status_code == 200
    assert record["Stigg_Customer_URL__c"] is None, "a field holds 255 characters, and half a link is none"
    assert head(sandbox, account)[1]["customer_id"] == "c" * 255
    assert call(sandbox, deal)[0]["status"] == "duplicate"
