"""Every place where the product reads what others wrote, with what its input usually looks like.

All of it runs in this process, without a network: the API's handlers over a table in memory that is as strict as
DynamoDB, and the product's own clients, which are answered with whatever was made up.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from benchmarks.table import MemoryTable
from closedwon.aws.ledger import Ledger
from closedwon.aws.ledger_items import accepted_order, customer_of, exported, text_of
from closedwon.aws.secrets import Secret
from closedwon.domain.errors import ClosedWonError, failure_text
from closedwon.domain.order import Order
from closedwon.intake.answers import Result, errors_of, invalid
from closedwon.intake.deal import Approval, Deal, DealToRead, problems_of
from closedwon.intake.mapping import compile_deal, revision_of, unrecordable
from closedwon.intake.requests import opportunity_id_of
from closedwon.provisioning import approvals
from closedwon.provisioning.step import Step
from closedwon.reconciliation import report_page
from closedwon.reconciliation.finding import Finding, Repair
from closedwon.reconciliation.runs import Run
from closedwon.salesforce.client import SalesforceClient
from closedwon.stigg.catalogue import fetch_catalogue
from closedwon.stigg.client import Stigg
from proof.bench import ITEM_LIMIT, Bench, Keys, event, promise, scripted
from proof.fuzz import Attack, any_text, any_value, json_texts, spoilt
from proof.parsers_of_answers import (
    application_answers,
    bulk_results,
    salesforce_answers,
    salesforce_rows,
    stigg_answers,
)
from sandbox.wsgi_session import session_to
from unit import reports

Json = dict[str, Any]


def compiled(bench: Bench, content: Any) -> None:
    """What a deal is judged to be, recorded and read again; every refusal can be told."""
    try:
        deal = Deal.model_validate(content)
    except ValueError as error:
        problems = problems_of(content, error)  # type: ignore[arg-type]
        promise(bool(problems), "refused without a reason")
        answer = invalid(opportunity_id_of(content), problems)
    else:
        problems = unrecordable(deal, bench.rules, datetime.now(UTC))
        if problems:  # it goes no farther
            invalid(deal.opportunity.id, problems).model_dump_json(by_alias=True).encode()
            return
        order = compile_deal(deal, bench.rules)
        revision_of(deal)
        text = json.dumps(order.to_json())
        promise(Order.from_json(json.loads(text)).digest == order.digest, "an order changes when it is read again")
        promise(len(text) < ITEM_LIMIT // 3, f"an order of {len(text)} characters")
        answer = Result(opportunity_id=deal.opportunity.id, status="invalid", errors=errors_of(order.problems))
    json.loads(answer.model_dump_json(by_alias=True).encode())


def readable(content: Any) -> None:
    """A deal without lines, as far as it is looked at before it is read."""
    try:
        DealToRead.model_validate(content).model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    except ValueError as error:
        invalid(None, problems_of(content, error)).model_dump_json(by_alias=True)  # type: ignore[arg-type]


def approved(content: Any) -> None:
    try:
        Approval.model_validate(content)
    except ValueError as error:
        said = "; ".join(str(problem) for problem in problems_of(content, error))  # type: ignore[arg-type]
        approvals.unknown(None, said).model_dump_json(by_alias=True)


def ledger_items(bench: Bench) -> tuple[Any, Callable[[Any], None]]:
    bench.table.clear()
    bench.post(event("/v1/provisionings", json.dumps({"deals": bench.deals})))
    items = [copy.deepcopy(item) for item in bench.table.items.values()]
    heads = [item for item in items if item["sk"]["S"] == "CUSTOMER"]
    opportunities = [item for item in items if item["sk"]["S"].startswith("OPPORTUNITY#")]
    orders = [item for item in items if item["sk"]["S"].startswith("ORDER#")]
    bench.table.clear()

    @st.composite
    def corrupt(draw: st.DrawFn) -> tuple[str, Any]:
        kind = draw(st.sampled_from(["head", "opportunity", "order", "export", "control"]))
        item = copy.deepcopy(draw(st.sampled_from({"head": heads, "opportunity": opportunities}.get(kind, orders))))
        if kind == "control":
            item = {"pk": {"S": "CONTROL"}, "sk": {"S": "CONTROL"}, "body": {"S": '{"mode": "run", "since": 0}'}}
        item["body"] = {"S": draw(json_texts(spoilt(st.just(json.loads(text_of(item))))))}
        if kind == "export":
            text = json.dumps({"Item": draw(spoilt(st.just(item)))}) if draw(st.booleans()) else draw(any_text)
            return kind, text.encode(errors="surrogatepass") + b' "ACCOUNT#'
        return kind, item

    def feed(given: tuple[str, Any]) -> None:
        kind, item = given
        match kind:
            case "head":
                customer_of("001", 1, item["body"]["S"], {})
            case "opportunity":
                customer_of("001", 1, heads[0]["body"]["S"], {"OPPORTUNITY#006": item["body"]["S"]})
            case "order":
                accepted_order(item)
            case "export":
                exported(item)
            case "control":
                table = MemoryTable()
                table.put_item(Item=item)
                Ledger("ledger", table).control()

    return corrupt(), feed


def snapshots(bench: Bench) -> tuple[Any, Callable[[Any], None]]:
    """The kept catalogue, damaged: it is read anew."""
    client = Stigg("https://api.stigg.io", Keys(), session=session_to(bench.stigg_app))
    good = json.loads(fetch_catalogue(client, 0).to_json())

    def feed(text: str) -> None:
        from closedwon.stigg.catalogue import kept_catalogue

        kept_catalogue(SimpleNamespace(snapshot=lambda: text), 1000)

    return json_texts(spoilt(st.just(good))), feed


def secrets() -> tuple[Any, Callable[[Any], None]]:
    good = {"apiKey": "server-1", "clientId": "c", "clientSecret": "s", "username": "u", "privateKey": "-----BEGIN"}

    def feed(text: str) -> None:
        client = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": text})
        secret = Secret("arn", lambda: client)
        _, session = scripted()
        for use in (
            lambda: Stigg("https://api.stigg.io", secret, session=session).list_plans(),
            lambda: SalesforceClient("https://x.my.salesforce.com", secret, "66.0", session=session).query("SELECT Id"),
        ):
            with contextlib.suppress(ClosedWonError):
                use()

    some = spoilt(st.just(good)) | spoilt(
        st.just({name: good[name] for name in ("clientId", "username", "privateKey")})
    )
    return json_texts(some) | any_text, feed


def steps() -> tuple[Any, Callable[[Any], None]]:
    """What the state machines hand to functions, where somebody starts an execution with an input of their own."""
    from functions.reconcile_begin import app as reconcile_begin

    step = {"accountId": "0015g00000XyZaBAAV", "token": 0, "execution": "0015g00000XyZaBAAV-1"}
    run = reports.RUN.to_json()
    failure = {"Error": "StiggRefused", "Cause": json.dumps({"errorMessage": "no", "errorType": "StiggRefused"})}
    wish = {"mode": "all", "deep": False, "approved": False}

    def feed(given: tuple[str, Any]) -> None:
        kind, value = given
        match kind:
            case "step":
                Step.of(value)
            case "run":
                Run.of(value)
            case "failure":
                failure_text(value)
            case "wish":
                reconcile_begin.wanted(value)

    def some(kind: str, good: Any) -> Any:
        return st.tuples(st.just(kind), spoilt(st.just(good)) | any_value)

    texts = st.fixed_dictionaries({"Error": any_text, "Cause": json_texts(spoilt(st.just(failure)))})
    return st.one_of(
        some("step", step), some("run", run), some("wish", wish), st.tuples(st.just("failure"), texts)
    ), feed


def findings() -> tuple[Any, Callable[[Any], None]]:
    """The report, where what was found holds any text: nothing of it is markup or a formula."""
    good = reports.finding().to_json()
    repair = Repair("0015g00000XyZaBAAV", 1, (("0065g00000ABCdEAAX", "closed_won"),)).to_json()
    names = st.sampled_from(["words", "should", "is_now", "why", "customer_id", "subscription_id"])

    def feed(given: Mapping[str, str]) -> None:
        files = reports.Files()
        told = reports.report([Finding.from_json({**good, **given})], files=files)
        "".join(report_page.page(told, reports.PLACES)).encode()
        files.rows.encode()
        for line in files.lines.splitlines():
            json.loads(line)
        Repair.from_json(repair)

    return st.dictionaries(names, any_text, max_size=4), feed


def differing(deal: Json) -> Json:
    """A deal as an amendment that says differences."""
    lines = [{**line, "priorQuantity": 3, "totalQuantity": 5} for line in deal["lines"]]
    return {
        **deal,
        "trigger": "amendment",
        "quantities": "differences",
        "amends": "8005g00000ABCdEAAX",
        "lines": lines,
    }


def attacks(bench: Bench) -> list[Attack]:
    """Every parser. Where a parser answers instead of raising, it has no designed error."""
    deal = st.sampled_from(bench.deals)
    without_lines = deal.map(lambda one: {**{k: v for k, v in one.items() if k != "lines"}, "trigger": "closed_won"})
    ends = deal.map(lambda one: {**one, "trigger": "cancellation", "amends": one["opportunity"]["id"]})
    amends = deal.map(differing)
    trials = deal.map(lambda one: {**one, "trigger": "trial", "terms": {"trialEnd": "2026-12-01"}})
    any_deal = deal | deal | ends | amends | trials
    bodies = st.lists(any_deal, min_size=1, max_size=3).map(lambda some: {"deals": some})
    read = without_lines.map(lambda one: {"deals": [one]})
    approval = {"organizationId": bench.organization_id, "opportunityId": "0065g00000ABCdEAAX", "approval": "abc123"}
    ids = any_text | st.sampled_from(["0065g00000ABCdEAAX", "0065g00000ABCdE"])

    def posts(path: str, some: Any) -> Any:
        return json_texts(spoilt(some)).map(lambda body: event(path, body))

    made: list[Any] = [
        ("callout", posts("/v1/provisionings", bodies), bench.post, (), 16.0),
        ("callout, to be read", posts("/v1/provisionings", read), bench.post, (), 4.0),
        ("callout, any body", json_texts(any_value).map(lambda b: event("/v1/provisionings", b)), bench.post, (), 4.0),
        ("preview", posts("/v1/previews", bodies), bench.post_preview, (), 3.0),
        ("approvals", posts("/v1/approvals", st.just({"approvals": [approval]})), bench.post_approvals, (), 4.0),
        ("status", st.fixed_dictionaries({"opportunityId": ids}), bench.get, (), 4.0),
        ("deal", spoilt(any_deal), lambda one: compiled(bench, one), (), 18.0),
        ("deal without lines", spoilt(without_lines), readable, (), 4.0),
        ("approval", spoilt(st.just(approval)), approved, (), 2.0),
        ("answers of Stigg", *stigg_answers(bench), (ClosedWonError,), 10.0),
        ("answers of Salesforce", *salesforce_answers(bench), (ClosedWonError,), 7.0),
        ("records of Salesforce", *salesforce_rows(bench), (ClosedWonError,), 7.0),
        ("results in bulk", *bulk_results(bench), (ClosedWonError,), 4.0),
        ("answers of the own application", *application_answers(), (ClosedWonError,), 4.0),
        ("items of the ledger", *ledger_items(bench), (ClosedWonError,), 4.0),
        ("kept catalogue", *snapshots(bench), (ClosedWonError,), 1.0),
        ("secrets", *secrets(), (ClosedWonError,), 1.0),
        ("inputs of steps", *steps(), (ClosedWonError,), 2.0),
        ("report", *findings(), (ClosedWonError,), 1.0),
    ]
    return [Attack(name, inputs, feed, designed, share) for name, inputs, feed, designed, share in made]
