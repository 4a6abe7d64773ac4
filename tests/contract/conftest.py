"""A stand-in for Stigg on a day of its own, and the official client for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.stigg_client import KEY, Client, Clock
from sandbox.stand_in import StandIn
from sandbox.stigg import Stigg


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(clock: Clock) -> Stigg:
    return Stigg(KEY, now=clock.now, clock=clock.seconds, salesforce_url="https://northwind.my.salesforce.example")


@pytest.fixture
def url(app: Stigg) -> Iterator[str]:
    with StandIn(app) as stand_in:
        yield stand_in.url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(api_key=KEY, base_url=url, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def acme(client: Client) -> str:
    client.v1.customers.provision(id="acme", name="Acme", email="billing@acme.example")
    return "acme"
