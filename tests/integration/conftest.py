"""One sandbox for all integration tests: the real template, state machine and functions; emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.sandbox import Sandbox

PARAMETERS = {"WriteLifetimeSeconds": "1"}
"""A write without an answer is given up after a second instead of a minute: the tests wait for it."""


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox(PARAMETERS, wait_scale=0.02, longest_invocation=10, rate_limits=False) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    """A running sandbox in which nothing was sold yet."""
    running_sandbox.reset()
    return running_sandbox
