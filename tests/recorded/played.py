"""A recorded stack that stands again, in this process, at the moment of its recording.

The ledger's items are in a table (`table`), Stigg and Salesforce are the stand-ins with their recorded content, the
settings are those that today's template makes of the recorded parameters, and it is the time it was. What runs is the
product: its handlers, its readers, its rules. Here, and nowhere else in the recording, it is imported: where modules
move or rules take something else, this is the place to follow.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal
from unittest import mock
from urllib.parse import urlsplit

import boto3
import requests
import yaml
from moto import mock_aws

from closedwon.aws import ledger_items
from closedwon.domain.catalogue import Catalogue
from closedwon.domain.changes import Create, End, Hold, Plan
from closedwon.domain.customer import Customer, Outcome
from closedwon.domain.desired import Desired, Slot, Subscription
from closedwon.domain.endings import ending_of
from closedwon.domain.former_approvals import former_approval_of
from closedwon.domain.instants import from_milliseconds
from closedwon.domain.outcome import applied
from closedwon.domain.planned import records_of
from closedwon.salesforce.write_back import composite_request
from closedwon.stack import Stack
from closedwon.stigg.bodies import end_call, provision_body, update_body
from closedwon.stigg.catalogue import kept_catalogue
from closedwon.words.reasons import in_words, told
from functions.account_write_back import app as account_write_back
from functions.customer_provision import app as customer_provision
from functions.flow_callout import app as flow_callout
from functions.resource_provision import app as resource_provision
from functions.subscription_provision import app as subscription_provision
from recorded.files import Recording, plain_items, stored_item
from recorded.table import Table
from sandbox.salesforce.app import Salesforce
from sandbox.started import Started
from sandbox.stigg.app import Stigg
from sandbox.wsgi_session import InProcess

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = "ledger"
MOMENTS = 12
"""How many moments of a customer's future are looked at."""

PASSING_ITEMS = ("GOVERNOR#", "NOTICE#", "CATALOGUE", "PACKAGE")
"""Items that say nothing about a customer: the rate limits, who was told, the copy of Stigg's catalogue."""


@cache
def session() -> boto3.Session:
    """One for all stacks: what a session knows of AWS's services takes long to read."""
    return boto3.Session()


class Context:
    """Lambda's: there is time enough."""

    aws_request_id = "played"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 29_000


class Played(Started):
    """One recorded stack. Usable as a context manager, one at a time."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording
        self.at: int = recording.stack["at"]
        self.stigg: Stigg
        self.salesforce: Salesforce
        self.written: list[str] = []

    def _start(self) -> None:
        def moment() -> datetime:
            return datetime.fromtimestamp(self.at / 1000, UTC)

        self._exits.enter_context(mock_aws())
        known = self._aws()
        self._environment = {"AWS_REGION": "eu-central-1", **settings_of(self.recording.stack["parameters"], known)}
        # Some rules read the clock themselves, such as the one that a deal must not come from the future.
        self._exits.enter_context(mock.patch.object(time, "time_ns", return_value=self.at * 1_000_000))
        self.stigg = Stigg("made-up", rate_limits=False, now=moment)
        self.stigg.salesforce_url = self._environment["SALESFORCE_URL"]
        organization = self.recording.stack["parameters"]["SalesforceOrganizationId"]
        self.salesforce = Salesforce("made-up", "made-up", organization, now=moment)
        applications = {"STIGG_API_URL": self.stigg, "SALESFORCE_URL": self.salesforce}
        adapters = {
            urlsplit(self._environment[name]).netloc: _Noting(app, self.written) for name, app in applications.items()
        }
        elsewhere = requests.Session.get_adapter

        def get_adapter(session: requests.Session, url: str) -> Any:
            return adapters.get(urlsplit(url).netloc) or elsewhere(session, url)

        self._exits.enter_context(mock.patch.object(requests.Session, "get_adapter", get_adapter))
        self.put_back()

    def put_back(self) -> Played:
        """Everything is as it was recorded, whatever was done since. Out: itself."""
        self.table = Table(map(stored_item, self.recording.ledger), self._dynamodb)
        self.product = Stack(self._environment, lambda service, **_: session().client(service))
        self.product.dynamodb = self.table
        self.product.now = lambda: self.at
        self.stigg.put_back(self.recording.stigg)
        self.salesforce.put_back(self.recording.salesforce)
        self.salesforce.deploy_package("first")  # as it was: the organisation is upgraded on another day
        self.written.clear()
        self._stepfunctions.delete_state_machine(stateMachineArn=self._state_machine)
        self._make_state_machine()
        return self

    def _aws(self) -> Json:
        """Make in moto what of the template's resources is needed. Out: what `!Ref` says of them."""
        self._dynamodb = session().client("dynamodb")
        keys: dict[str, Literal["HASH", "RANGE"]] = {"pk": "HASH", "sk": "RANGE"}
        self._dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        )
        logins = {"apiKey": "made-up", "clientId": "made-up", "clientSecret": "made-up"}  # nosec B105
        secrets = session().client("secretsmanager")
        secret = secrets.create_secret(Name="logins", SecretString=json.dumps(logins))["ARN"]
        self._stepfunctions = session().client("stepfunctions")
        self._make_state_machine()
        known = dict.fromkeys(("StiggSecret", "SalesforceSecret", "OwnApplicationSecret"), secret)
        return {**known, "LedgerTable": TABLE, "ProvisionStateMachine": self._state_machine}

    def _make_state_machine(self) -> None:
        role = "arn:aws:iam::123456789012:role/played"
        made = self._stepfunctions.create_state_machine(name="provision", definition="{}", roleArn=role)
        self._state_machine = made["stateMachineArn"]

    # As Salesforce calls

    def send(self, *deals: Json) -> list[Json]:
        """Deals arrive at the callout, in one request. Out: what each is answered."""
        answer = self._asked("POST", "/v1/provisionings", body=json.dumps({"deals": list(deals)}))
        assert answer["statusCode"] == 202, answer
        results: list[Json] = json.loads(answer["body"])["results"]
        return results

    def status(self, opportunity_id: str) -> Json | None:
        """What GET says of a deal, as far as fc354fb said it; None of one that was never accepted."""
        path = {"opportunityId": opportunity_id}
        answer = self._asked("GET", "/v1/provisionings/{opportunityId}", pathParameters=path)
        assert answer["statusCode"] in (200, 404), answer
        said: Json = json.loads(answer["body"])
        if answer["statusCode"] == 404:
            return None
        # Said since; what was stored without a code has none (its words and its mark are what they were).
        assert (said.pop("code"), said.pop("facts")) == ("", {}) or self.written
        return said

    def _asked(self, method: str, resource: str, **more: Any) -> Json:
        event = {"httpMethod": method, "resource": resource, **more}
        answer: Json = flow_callout.lambda_handler(event, Context(), self.product)
        return answer

    def started(self) -> list[str]:
        """The executions that were started since all was put back, by name."""
        pages = self._stepfunctions.get_paginator("list_executions").paginate(stateMachineArn=self._state_machine)
        return sorted(one["name"] for page in pages for one in page["executions"])

    def items(self) -> list[Json]:
        """The ledger's items as they are now, without those that say nothing about a customer."""
        return [item for item in plain_items(self.table.all()) if not item["pk"].startswith(PASSING_ITEMS)]

    # As an execution runs

    def run(self, account_id: str) -> list[str]:
        """A customer is looked at again, by the steps of one execution.

        Out: what they wrote to Stigg and Salesforce, and how the execution fails, where it does.
        """
        ledger = self.product.ledger
        known = ledger.customer(account_id)
        if known.rev:
            ledger.make_due(account_id, known.rev, look=True, opportunities=(), account=False)
        before = len(self.written)
        given: Json = {"accountId": account_id, "token": 0, "execution": "played"}
        steps = [customer_provision, subscription_provision, account_write_back]
        if self.product.settings.own_application_url:
            steps = [resource_provision, *steps]
        for step in steps:
            try:
                given |= step.lambda_handler(given, Context(), self.product)
            except Exception as error:
                self.written.append(f"fails: {type(error).__name__}")
                break
            if given.get("work") in ("none", "paused", "shadow"):
                break
        return [_timeless(one) for one in self.written[before:]]

    # What the product sees

    def seen(self, account_id: str) -> Json:
        """All that the product says of a customer, in plain words and numbers."""
        product = self.product
        customer = product.ledger.customer(account_id)
        planned = product.provisioner.planned(customer, product.provisioner.agreed(customer))
        agreement, plan = planned.agreement, planned.plan
        desired = agreement.desired()
        records = records_of(customer)
        report = applied(customer, planned, records, {}, self.at, customer.grants)
        moments: list[Json] = []
        later = desired
        while later.next_change is not None and len(moments) < MOMENTS:
            at = later.next_change
            later = agreement.desired(from_milliseconds(at))
            moments.append({"at": _instant(at), **_desired(later)})
        return {
            "deals": {id: self.status(id) for id in sorted(customer.opportunities)},
            "access": self.access(customer.customer_id or account_id),
            "desired": _desired(desired),
            "plan": self._plan(plan, customer, records, agreement.world.catalogue),
            "future": moments,
            "outcomes": {
                id: _filled(status=one.status, reason=told(one), approval=_approval(one), dueAt=_instant(one.due_at))
                for id, one in sorted(report.outcomes.items())
            },
            "lookAgainAt": _instant(report.look_again_at),
            "toShow": self._to_show(customer),
        }

    def holds(self, account_id: str) -> tuple[Hold, ...]:
        """What of a customer waits for somebody in Stigg."""
        customer = self.product.ledger.customer(account_id)
        return self.product.provisioner.planned(customer, self.product.provisioner.agreed(customer)).plan.holds

    def access(self, customer_id: str) -> Json:
        """What Stigg says a customer has."""
        if customer_id not in self.stigg.customers:
            return {}
        subscriptions = self.stigg.subscriptions(customer_id)
        resources = [None, *sorted({s["resourceId"] for s in subscriptions if s["resourceId"]})]
        return {
            "customer": _filled(**{n: self.stigg.customers[customer_id][n] for n in ("name", "email", "metadata")}),
            "subscriptions": [_filled(**{name: s[name] for name in _ACCESS}) for s in subscriptions],
            "entitlements": {
                resource or "": {
                    id: "unlimited" if amount == float("inf") else amount
                    for id, amount in sorted(self.stigg.entitlements(customer_id, resource).items())
                }
                for resource in resources
            },
            "grants": [
                {name: g[name] for name in ("currencyId", "amount", "cost", "status", "expireAt", "resourceId")}
                for g in self.stigg.grants(customer_id)
            ],
        }

    def verdicts(self, accounts: Iterable[str]) -> dict[str, Json]:
        """What a deep reconciliation finds of each customer, and what it would repair."""
        comparer = self.product.comparer(self.recording.stack["parameters"]["DealsSince"])
        found: dict[str, Json] = {}
        for view in self.product.live.views(list(accounts), deep=True):
            findings, repair = comparer.verdict(view)
            repaired = repair and {name: value for name, value in repair.to_json().items() if name != "rev"}
            found[view.customer.account_id] = {
                "underWay": comparer.compare(view).under_way,
                "findings": [finding_of(finding.to_json()) for finding in findings],
                "repair": json.loads(json.dumps(repaired)),
            }
        return found

    def _plan(self, plan: Plan, customer: Customer, records: Mapping[Slot, Any], catalogue: Catalogue) -> Json:
        """The plan as the calls it would make, by slot."""
        links = self.product.settings.backlinks(customer.account_id)
        changes = []
        said: Json
        for change in plan.changes:
            if isinstance(change, End):
                paid = records.get(change.after) if change.after else None
                ending = ending_of(change, paid, from_milliseconds(self.at))
                call, body = end_call(ending) if ending else (None, None)
                said = {"slot": change.slot.key, "call": call, "id": change.subscription_id}
            elif isinstance(change, Create):
                sold = catalogue.plan(change.subscription.plan_id)
                paid = sold is not None and sold.pricing_type == "PAID"
                body = provision_body(customer.bound_id, change, links, paid=paid)
                said = {"slot": change.subscription.slot.key, "call": "create", "replaces": change.replaces}
            else:
                body = update_body(change, links)
                said = {"slot": change.subscription.slot.key, "call": "update", "id": change.subscription_id}
                said |= {"changes": list(change.changes), "adopts": change.adopts}
            changes.append(json.loads(json.dumps({**_filled(**said), "body": body})))
        return {
            "changes": changes,
            "kept": {keep.subscription.slot.key: [keep.subscription_id, keep.status] for keep in plan.kept},
            "held": [
                _filled(
                    slot=hold.slot.key,
                    opportunities=list(hold.opportunities),
                    reason=in_words(hold.reason),
                    approval=hold.approval and (former_approval_of(hold.reason) or hold.approval),
                    foreign=hold.foreign,
                )
                for hold in plan.holds
            ],
            "grants": [grant.key for grant in plan.grants],
            "approved": {slot.key: approval for slot, approval in plan.approved.items()},
        }

    def _to_show(self, customer: Customer) -> list[Json]:
        """What the write-back would send to Salesforce."""
        package = self.product.package.current(self.product.salesforce)
        requests_ = composite_request(
            customer, customer.unwritten, self.product.settings["STIGG_APP_URL"], "/services/data", package
        )
        return [{"url": request["url"], "body": request["body"]} for request, _ in requests_]

    # What is stored

    def read_back(self, account_id: str) -> tuple[Json, Json]:
        """What is stored of a customer, and what the product would write of what it read there."""
        customer = self.product.ledger.customer(account_id)
        written = ledger_items.part_items(ledger_items.Stored(Customer(customer.account_id)), customer)
        head = [ledger_items.head_item(customer, customer.rev, 0, {})] if customer.rev else []
        stored = [item for item in self.recording.ledger if item["pk"] == f"ACCOUNT#{account_id}"]
        return _content(stored), _content(plain_items([*head, *written.values()]))

    def histories(self) -> Iterator[tuple[Json, Json]]:
        """Every order ever accepted as it is stored, with what the product reads there."""
        stored: dict[str, list[Json]] = {}
        for item in self.recording.ledger:
            if item["sk"].startswith("ORDER#"):
                stored.setdefault(item["pk"].partition("#")[2], []).append(item)
        for opportunity_id, items in stored.items():
            orders = self.product.ledger.orders(opportunity_id)
            assert len(orders) == len(items)
            by_time = sorted(items, key=lambda item: (item["accepted_at"], item["sk"]))
            for item, accepted in zip(by_time, orders, strict=True):
                assert item["accepted_at"] == accepted.at
                yield item["body"], json.loads(json.dumps(accepted.order.to_json()))

    def read_the_rest(self) -> None:
        """Read what does not belong to a customer, and whose customers and deals are."""
        ledger = self.product.ledger
        for item in self.recording.ledger:
            kind, _, name = item["pk"].partition("#")
            match kind, item["sk"]:
                case "CATALOGUE", _:
                    # Of an older form: it is a cache, and Stigg is asked again.
                    assert ledger.snapshot() is not None
                    assert kept_catalogue(ledger, self.at) is None
                case "CONTROL", _:
                    assert ledger.control()._asdict() == item["body"]
                case "STIGG", "OWNER":
                    assert ledger.bound_to(name) == item["account_id"]
                case "OPPORTUNITY", "OWNER":
                    assert ledger.owners([name]) == {name: item["account_id"]}
                case "ACCOUNT" | "OPPORTUNITY" | "GOVERNOR" | "NOTICE" | "RECONCILIATION", _:
                    pass
                case _:
                    raise AssertionError(f"nobody reads {item['pk']}")

    def again(self, *deals: Json) -> Json:
        """Deals are sent once more: of each the newest as it was sent, unless others are given.

        Out: the answers, by opportunity; the executions that were started; the items that were changed.
        """
        before = {(item["pk"], item["sk"]): item for item in self.items()}
        newest = list(deals) or self.recording.newest
        answers = self.send(*newest)
        after = {(item["pk"], item["sk"]): item for item in self.items()}
        return {
            "answers": {
                deal["opportunity"]["id"]: _filled(status=answer["status"], errors=_errors(answer["errors"]))
                for deal, answer in zip(newest, answers, strict=True)
            },
            "started": self.started(),
            # Of a history only whose it is: a deal that is read from Salesforce was read at another time.
            "changed": sorted(
                {
                    f"{pk} {'ORDER' if sk.startswith('ORDER#') else sk}"
                    for pk, sk in after
                    if after[pk, sk] != before.get((pk, sk))
                }
            ),
        }


_PARTS = {"SLOT": "slots", "GRANT": "grants", "APPROVAL": "approved"}
"""What the first version kept in a customer's head, and later ones in items of their own."""


def _content(items: Iterable[Json]) -> Json:
    """What a customer's items say, wherever they say it."""
    content: Json = {name: {} for name in (*_PARTS.values(), "opportunities")}
    for item in items:
        kind, _, key = item["sk"].partition("#")
        body = item["body"] if isinstance(item["body"], dict) else json.loads(item["body"])
        if kind == "CUSTOMER":
            content |= {name: value for name, value in item.items() if name not in ("body", "revs")}
            content |= {name: value for name, value in body.items() if name not in content}
            for name in _PARTS.values():
                told = body.get(name, {})  # of approvals a list of their IDs
                content[name] |= told if isinstance(told, dict) else {id: {} for id in told}
        elif kind == "OPPORTUNITY":
            whole = {name: body[value["as"]] if _points(value) else value for name, value in body.items()}
            content["opportunities"][key] = whole
        else:
            content[_PARTS[kind]][key] = body
    return content


def _points(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"as"}


def _timeless(written: str) -> str:
    """A write, whenever it is made."""
    written = re.sub(r'("trialEndDate": ")[^"]*', r"\1now", written)
    return re.sub(r"\brequest [0-9a-f-]{36}", "request ...", written)  # Stigg's name of a request it refused


class _Noting(InProcess):
    """Carries requests to a stand-in, and notes those that write."""

    def __init__(self, application: Any, written: list[str]) -> None:
        super().__init__(application)
        self._written = written

    def send(self, request: requests.PreparedRequest, *more: Any, **options: Any) -> requests.Response:
        path = urlsplit(request.url or "").path
        if request.method != "GET" and not path.endswith("/oauth2/token"):
            body = request.body.decode() if isinstance(request.body, bytes) else request.body
            self._written.append(f"{request.method} {path} {body}")
        return super().send(request, *more, **options)


_ACCESS = (
    "id", "planId", "status", "resourceId", "startDate", "cancellationDate", "trialEndDate", "endDate", "billingPeriod",
    "unitQuantity", "addons", "entitlements", "priceOverrides", "coupons", "budget", "minimumSpend", "payingCustomerId",
    "paymentCollectionMethod", "metadata", "salesforceId",
)  # fmt: skip
"""What a subscription in Stigg comes to for a customer."""

_FOUND = ("kind", "remedy", "opportunity_id", "subscription_id", "should", "is_now", "by_hand", "lowers", "since")


def finding_of(finding: Mapping[str, Any]) -> Json:
    """A finding, as far as it is compared: what it is about, and both values."""
    return _filled(**{name: finding[name] for name in _FOUND})


def _desired(desired: Desired) -> Json:
    return {
        "subscriptions": {
            slot.key: _subscription(one) for slot, one in sorted(desired.subscriptions.items(), key=_key)
        },
        "held": {id: in_words(why) for id, why in sorted(desired.held.items())},
        "refused": {id: [str(problem) for problem in found] for id, found in sorted(desired.refused.items())},
        "grants": {g.key: [g.currency_id, g.amount, g.cost] for g in desired.grants},
    }


def _key(entry: tuple[Slot, Any]) -> str:
    return entry[0].key


def _subscription(one: Subscription) -> Json:
    """A subscription as it should be."""
    spend, stored = one.minimum_spend, one.to_json()
    return _filled(
        plan=one.plan_id,
        units=one.unit_quantity,
        addons=dict(one.addons),
        entitlements={e.id: _filled(**{n: v for n, v in asdict(e).items() if n != "id"}) for e in one.entitlements},
        prices={price.addon_id or "": [price.amount, price.currency] for price in one.prices},
        billingPeriod=one.billing_period,
        paymentCollection=one.payment_collection,
        start=stored["start"],
        end=stored["cancellation"],
        trialEnd=stored["trial_end"],
        trialEndBehavior=one.trial_end_behavior,
        coupon=one.coupon,
        budget=one.budget,
        softBudget=one.budget_soft,
        minimumSpend=spend and [spend.amount, spend.currency],
        payer=one.paying_customer_id,
        opportunities=list(one.opportunities),
        metadata=dict(one.metadata),
    )


def _errors(errors: list[Json]) -> list[Json]:
    """What is wrong with a deal, as fc354fb said it: without codes."""
    return [{name: value for name, value in error.items() if name != "code"} for error in errors]


def _approval(outcome: Outcome) -> str | None:
    """The approval under the ID that the first version gave it."""
    return (former_approval_of(outcome.why) if outcome.why and outcome.approval else None) or outcome.approval


def _instant(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    said = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return said.replace("+00:00", "Z")


def _filled(**said: Any) -> Json:
    """Without what is empty."""
    return {name: value for name, value in said.items() if value not in (None, "", [], {}, (), False)}


@contextmanager
def played(recording: Recording) -> Iterator[Played]:
    with Played(recording) as stands:
        yield stands


# The settings


class _Loader(yaml.SafeLoader):
    """Reads a template: `!Ref X` as {"Ref": "X"}, and the other tags alike."""


def _tagged(loader: yaml.Loader, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {tag: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tagged)


@cache
def template() -> Json:
    """Today's template."""
    read: Json = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), _Loader)  # nosec B506
    return read


def settings_of(parameters: Mapping[str, str], resources: Mapping[str, str]) -> dict[str, str]:
    """The variables that today's template gives its functions, all together, with the recorded parameters; defaults
    hold for parameters that came since.
    """
    declared = template()["Parameters"]
    values = {name: str(one["Default"]) for name, one in declared.items() if "Default" in one}
    values |= {name: value for name, value in parameters.items() if name in declared} | dict(resources)
    values["AWS::StackName"] = "recorded"
    functions = [one for one in template()["Resources"].values() if one["Type"] == "AWS::Serverless::Function"]
    given = dict(template()["Globals"]["Function"]["Environment"]["Variables"])
    for function in functions:
        given |= function["Properties"].get("Environment", {}).get("Variables", {})
    return {name: _resolved(value, values) for name, value in given.items()}


def _resolved(value: Any, known: Mapping[str, str]) -> str:
    """A value of the template as text; what only a deployment could say is "unused"."""
    match value:
        case {"Ref": str(name)}:
            return known.get(name, "unused")
        case {"Join": [str(_), {"Ref": str(name)}]}:  # a list, which is its text already
            return known.get(name, "unused")
        case dict():
            return "unused"
    return str(value)
