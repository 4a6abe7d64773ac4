"""One sandbox for a worker's integration tests: the real template, state machine and functions; emptied each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.terminal import Operator
from sandbox.in_process import InProcess
from sandbox.pace import slowness
from sandbox.sandbox import Sandbox

PARAMETERS = {
    "WriteLifetimeSeconds": "1",  # tests wait for a write without an answer: a second, not a minute
    "LogLevel": "DEBUG",  # no level logs what is private, and this one says most
    "ThrottlingRate": "1000",  # tests call faster than Salesforce
    "ThrottlingBurst": "1000",
    "StiggWritesPerMinute": "1000000",  # tests provision more than a minute's worth, and the stand-in has no limit
    "StiggListsPerMinute": "1000000",
}


def hurried_sandbox(**given: Any) -> Sandbox:
    """A sandbox whose waits and time-outs are short, and less so on a busy machine.

    They shrink alike: as in AWS, the retries after a lost answer (4 times 65 s) last nearly twice as long as the lease
    of a function that died (its time-out and a write's lifetime).
    """
    busy = slowness()
    return Sandbox(
        PARAMETERS, **{"wait_scale": 0.04 * busy, "longest_invocation": 5 * busy, "rate_limits": False} | given
    )


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with hurried_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Iterator[Sandbox]:
    """A running sandbox in which nothing was sold yet."""
    running_sandbox.reset()
    yield running_sandbox
    running_sandbox.stigg_server.heal()
    running_sandbox.salesforce_server.heal()
    running_sandbox.wait_until_idle()  # nothing of this test may reach into the next one


@pytest.fixture
def in_process() -> Iterator[InProcess]:
    """The product in this process, in which nothing was sold yet."""
    house = InProcess()
    yield house
    house.close()


@pytest.fixture
def operator(sandbox: Sandbox, tmp_path: Path) -> Operator:
    """Somebody at a terminal."""
    return Operator(sandbox, tmp_path)
