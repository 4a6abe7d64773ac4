"""A step with more to write than its function has time for goes on where it left off, and nothing is done twice.

The step is the product's own, its ledger moto's, Stigg the stand-in with its limits on, all on one clock that is moved:
each request takes a while, and whoever waits moves it on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
import requests
from moto import mock_aws
from moto.dynamodb.models import dynamo_type

from closedwon.aws.ledger import Ledger
from closedwon.domain.acceptance import Arrival
from closedwon.domain.errors import GovernorBusy
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import compile_deal, revision_of
from closedwon.stack import Stack
from closedwon.stigg.client import Stigg
from closedwon.stigg.rate_limit import ENTITY, Governor, Rate
from functions.customer_provision import app as customer_provision
from functions.subscription_provision import app as subscription_provision
from sandbox.stigg.app import Stigg as StandIn
from sandbox.wsgi_session import session_to
from unit.aws import make_ledger
from unit.domain import ACCOUNT, AT, CREDITS, POLICY, RULES, a_deal, a_line, plan

GRANTS = 40
TIME_OUT = 60_000
"""Milliseconds, of the function in the template."""
LATENCY = 250
RETRIES = 8
"""Of the state machine, for GovernorBusy."""


class Clock:
    now = AT

    def __call__(self) -> int:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


class Key:
    def json(self, *_: str) -> dict[str, Any]:
        return {"apiKey": "server-key"}


class Slow:
    """A session whose every request takes a while, and is remembered."""

    def __init__(self, session: requests.Session, clock: Clock) -> None:
        self._session, self._clock = session, clock
        self.answers: Counter[tuple[str, int]] = Counter()

    def request(self, method: str, url: str, **given: Any) -> requests.Response:
        self._clock.now += LATENCY
        response = self._session.request(method, url, **given)
        self.answers[f"{method} {url.partition('/v1/')[2].split('?')[0]}", response.status_code] += 1
        return response

    def close(self) -> None:
        self._session.close()


class Invocation:
    """Lambda's context of one invocation, which must end in time."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._until = clock, clock.now + TIME_OUT

    def get_remaining_time_in_millis(self) -> int:
        return self._until - self._clock.now


class World:
    def __init__(self, client: Any) -> None:
        self.clock = Clock()
        self.stigg = StandIn(
            "server-key",
            now=lambda: datetime.fromtimestamp(self.clock.now / 1000, UTC),
            clock=lambda: self.clock.now / 1000,
        )
        self.session = Slow(session_to(self.stigg), self.clock)
        rates: Any = dict.fromkeys(("provision customer", "provision subscription", "grant"), Rate.within(250, 80))
        self.governor = Governor("ledger", client, rates, ENTITY, self.clock, self.clock.pause)
        self.client = Stigg("https://stigg.example", Key(), self.session, governor=self.governor)  # type: ignore[arg-type]
        self.ledger = Ledger("ledger", client, self.clock, self.clock.pause)
        self.stack = Stack({"WRITE_LIFETIME_SECONDS": "60", "SALESFORCE_URL": "https://northwind.my.salesforce.com"})
        self.stack.now = self.clock
        self.stack.ledger, self.stack.governor, self.stack.stigg = self.ledger, self.governor, self.client
        self.stack.settings.policy = POLICY

    def run(self, handler: Any, token: int) -> tuple[dict[str, Any], int]:
        """A step with the state machine's retries. Out: its output, and how many tries it took."""
        for attempt in range(RETRIES + 1):
            invocation = Invocation(self.clock)
            try:
                given = {"accountId": ACCOUNT, "token": token, "execution": "execution"}
                output: dict[str, Any] = handler(given, invocation, self.stack)
            except GovernorBusy:
                assert invocation.get_remaining_time_in_millis() > 0, "else Lambda would have ended it"
                self.clock.now += min(60_000, 2_000 * 2**attempt) // 2  # full jitter, on average
                continue
            assert invocation.get_remaining_time_in_millis() > 0
            return output, attempt + 1
        raise AssertionError("the state machine gave up")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for kind in (dynamo_type.Item, dynamo_type.DynamoType):  # as in test_ledger: no copies before a transaction
        monkeypatch.setattr(kind, "__deepcopy__", lambda self, memo: self)
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        make_ledger(client)
        world = World(client)
        yield world


def test_more_writes_of_one_customer_than_fit_into_an_invocation_are_all_made_once(world: World) -> None:
    started = {"terms.start": "2026-11-01", "terms.end": "2027-10-31"}
    deals = [
        a_deal(*[plan()] * (n == 1), a_line("Credit grant", CREDITS, 100 + n), number=n, changes=started)
        for n in range(1, GRANTS + 1)
    ]
    read = [Deal.model_validate(deal) for deal in deals]
    world.ledger.accept([Arrival(compile_deal(deal, RULES), revision_of(deal)) for deal in read])

    output, _ = world.run(customer_provision.lambda_handler, 0)
    began = world.clock.now
    output, tries = world.run(subscription_provision.lambda_handler, output["token"])

    assert tries > 2, "it does not fit into one, nor two"
    assert world.clock.now - began < 4 * 60_000, "it takes hardly longer than Stigg's limit for one customer says"
    amounts = sorted(grant["amount"] for grant in world.stigg.grants(ACCOUNT))
    assert amounts == [100 + n for n in range(1, GRANTS + 1)], "each once"
    answers = world.session.answers
    assert answers["POST credits/grants", 201] == GRANTS, "nothing is sent again that was answered"
    assert answers["POST subscriptions", 201] == 1
    assert not [status for _, status in answers if status == 429]
    assert answers["GET credits/grants", 200] == tries, "what stands is looked for once in each try"
    customer = world.ledger.customer(ACCOUNT)
    assert customer.applied == customer.version
    assert {state.outcome.status for state in customer.opportunities.values()} <= {"Provisioned", "Scheduled"}
    assert all(record.grant_id for record in customer.grants.values())
