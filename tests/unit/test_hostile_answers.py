"""What others answer or left behind is not always what it has to be: each reader says so in an error of its own.

One of each kind that the proof's hostile chapter brought to light; `python -m proof hostile` makes up thousands.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from closedwon.aws.ledger_items import customer_of, exported
from closedwon.aws.secrets import Secret
from closedwon.domain.catalogue import Catalogue
from closedwon.domain.errors import (
    ClosedWonError,
    LedgerUnreadable,
    RunInputInvalid,
    SalesforceUnavailable,
    StiggUnavailable,
    WriteUnanswered,
    failure_text,
    safe_text,
)
from closedwon.provisioning.step import Step
from closedwon.reconciliation.runs import Run
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.package import Package
from closedwon.stigg.answers import actual_of
from closedwon.stigg.catalogue import fetch_catalogue
from closedwon.stigg.client import Stigg
from proof.bench import Keys, scripted
from unit.domain import CATALOGUE

DEEP = b"[" * 100_000


def stigg(content: bytes) -> Stigg:
    adapter, session = scripted()
    adapter.answer = (200, {}, content)
    return Stigg("https://api.stigg.io", Keys(), session=session)


def salesforce(content: bytes) -> SalesforceClient:
    adapter, session = scripted()
    adapter.answer = (200, {}, content)
    return SalesforceClient("https://x.my.salesforce.com", Keys(), "66.0", session=session)


WISH = [{"method": "PATCH", "url": "/x", "referenceId": "a", "body": {}}]

UNREADABLE: dict[str, tuple[Callable[[], object], type[ClosedWonError]]] = {
    "Stigg: nested too deep": (lambda: stigg(DEEP).list_plans(), StiggUnavailable),
    "Stigg: a write, nested too deep": (lambda: stigg(DEEP).update_customer("c", {}), WriteUnanswered),
    "Stigg: a list of nothing": (lambda: stigg(b'{"data": [null]}').list_plans(), StiggUnavailable),
    "Stigg: a plan without an ID": (lambda: fetch_catalogue(stigg(b'{"data": [{}]}'), 0), StiggUnavailable),
    "Stigg: a subscription without a plan": (
        lambda: actual_of({"id": "s", "status": "ACTIVE"}, CATALOGUE),
        StiggUnavailable,
    ),
    "Stigg: a new subscription without an ID": (
        lambda: stigg(b'{"data": {"status": "SUCCESS"}}').provision_subscription({"customerId": "c"}, "key"),
        WriteUnanswered,
    ),
    "Stigg: a change without a status": (
        lambda: stigg(b'{"data": {}}').update_subscription("s", {}),
        WriteUnanswered,
    ),
    "Stigg: a grant without an ID": (lambda: stigg(b'{"data": {}}').grant_credits({}, "key"), WriteUnanswered),
    "Salesforce: nothing": (lambda: salesforce(b"null").composite(WISH), WriteUnanswered),
    "Salesforce: nested too deep": (lambda: salesforce(DEEP).query("SELECT Id FROM Account"), SalesforceUnavailable),
    "Salesforce: too many digits": (
        lambda: salesforce(b'{"records": ' + b"1" * 5_000 + b"}").query("SELECT Id FROM Account"),
        SalesforceUnavailable,
    ),
    "Salesforce: fields that are none": (lambda: Package.of({"fields": [None]}), SalesforceUnavailable),
    "Salesforce: a picklist's value that is none": (
        lambda: Package.of({"fields": [{"name": "Status__c", "picklistValues": [7], "restrictedPicklist": True}]}),
        SalesforceUnavailable,
    ),
    "Salesforce: a result that is none": (
        lambda: salesforce(b'{"compositeResponse": [7]}').composite(WISH),
        WriteUnanswered,
    ),
    "the ledger: no JSON": (lambda: customer_of("001", 1, "{", {}), LedgerUnreadable),
    "the ledger: no customer": (lambda: customer_of("001", 1, "{}", {}), LedgerUnreadable),
    "the ledger: a line of its export": (lambda: exported(b'{"Item": {"pk": "ACCOUNT#"}} "ACCOUNT#'), LedgerUnreadable),
    "a step without its customer": (lambda: Step.of({"token": 0, "execution": "x"}), RunInputInvalid),
    "a step with another token": (
        lambda: Step.of({"accountId": "001", "token": "0", "execution": "x"}),
        RunInputInvalid,
    ),
    "a run that is none": (lambda: Run.of({"run": "x"}), RunInputInvalid),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_an_error_of_its_own_that_quotes_nothing(case: str) -> None:
    read, expected = UNREADABLE[case]
    with pytest.raises(expected) as caught:
        read()
    shown = "".join(traceback.format_exception(caught.value))
    assert "During handling" not in shown, "a parser's own error may quote the text"
    assert "direct cause" not in shown


def test_a_kept_catalogue_that_cannot_be_read_is_none() -> None:
    assert Catalogue.kept(CATALOGUE.to_json()) == CATALOGUE
    never_read = [json.dumps({**json.loads(CATALOGUE.to_json()), "readAt": at}) for at in (None, float("inf"))]
    for text in (None, "", "{", "{}", "[" * 100_000, '{"plans": {"p": 1}}', *never_read):
        assert Catalogue.kept(text) is None


def test_a_secret_that_is_nested_too_deep_is_no_object() -> None:
    class Manager:
        def get_secret_value(self, **_: Any) -> dict[str, str]:
            return {"SecretString": "[" * 100_000}

    with pytest.raises(ClosedWonError, match="is not a JSON object"):
        Secret("arn", Manager).json("apiKey")


def test_half_a_character_gets_into_no_text_of_ours() -> None:
    assert safe_text("half \ud800 a pair") == "half ? a pair"


def test_a_cause_that_is_no_answer_of_lambdas_is_an_unexpected_failure() -> None:
    for cause in ("[" * 100_000, "7", "null", json.dumps({"errorMessage": None})):
        assert failure_text({"Error": "StiggRefused", "Cause": cause}).startswith("An unexpected failure")
