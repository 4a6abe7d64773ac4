"""Runs the SDK's tests against a stand-in and says of each operation how it went.

The tests are written for a mock that answers whatever is asked, and are shipped with skip marks. Here the marks are
off, and each test of an operation finds the same site: what `made_up` has put there. Asynchronous tests are left out;
they send what their synchronous twins send.
"""

from __future__ import annotations

import json
import os
import re
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from sandbox.stand_in import StandIn
from sandbox.stigg import Stigg

API_KEY = "My API Key"
"""As the SDK's conftest has it."""

Form = Literal["short", "full", "local"]
"""How a test calls an operation: with what it must have, with all there is, or so that nothing is sent."""

_TEST = re.compile(
    r"tests/api_resources/(?P<module>[\w/]+)\.py::\w+::"
    r"test_(?P<kind>method|raw_response|streaming_response|path_params)_(?P<name>\w+?)(?P<full>_with_all_params)?"
    r"(?:_overload_\d)?\["
)


@dataclass
class Outcome:
    """How the tests of one operation's form went. answers: of those that failed, ``status code: message`` or what was
    wrong with an answer.
    """

    tests: int = 0
    passed: int = 0
    answers: list[str] = field(default_factory=list)


Outcomes = Mapping[str, Mapping[Form, Outcome]]
"""By operation, such as ``v1.customers.retrieve``, and form."""


Site = Callable[[str], Iterable[Mapping[str, Any]]]
"""What is there when an operation is tested, as `Stigg.put_back` takes it."""


class Overheard(Stigg):
    """A stand-in that remembers the last thing it said: the status and the body."""

    last: tuple[int, bytes] | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        statuses: list[str] = []

        def hear(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            statuses.append(status)
            return start_response(status, headers, *more)

        body = b"".join(super().__call__(environ, hear))
        self.last = int(statuses[-1].split()[0]), body
        return [body]


class _Plugin:
    """Takes the skip marks off, gives each test its site, and keeps what came of it."""

    def __init__(self, app: Overheard, site: Site) -> None:
        self.found: dict[str, dict[Form, Outcome]] = defaultdict(dict)
        self._app = app
        self._site = site

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if "async_client" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
        items[:] = chosen
        for item in chosen:
            item.own_markers = [mark for mark in item.own_markers if mark.name != "skip"]
            # Tracebacks in full, which nobody reads, would take three quarters of the time.
            item.repr_failure = _in_one_line  # type: ignore[assignment, method-assign]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._app.put_back(self._site(operation_of(item.nodeid)[0]))
        self._app.last = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.passed and report.when != "call":
            return
        operation, form = operation_of(report.nodeid)
        outcome = self.found[operation].setdefault(form, Outcome())
        outcome.tests += 1
        if report.passed:
            outcome.passed += 1
        else:
            outcome.answers.append(self._said(report))

    def _said(self, report: pytest.TestReport) -> str:
        """What the stand-in answered to a test that failed."""
        if self._app.last is None:
            return f"nothing was asked: {report.longreprtext}"
        status, body = self._app.last
        if status < 400:
            return f"{status}, and the SDK does not take it: {report.longreprtext}"
        refusal = json.loads(body)
        return f"{status} {refusal['code']}: {refusal['message']}"


def _in_one_line(failure: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
    return " ".join(failure.exconly().split())[:300]


def operation_of(test: str) -> tuple[str, Form]:
    """What a test of the SDK calls, and how. In: its node ID."""
    found = _TEST.match(test)
    if found is None:
        raise ValueError(f"the SDK's test {test} is not named as the others are")
    module = ".".join(part.removeprefix("test_") for part in found["module"].split("/"))
    form: Form = "full" if found["full"] else "local" if found["kind"] == "path_params" else "short"
    return f"{module}.{found['name']}", form


def run(folder: Path, app: Overheard, site: Site, chosen: str = "") -> Outcomes:
    """Run the SDK's tests of its operations. folder: holds its package ``tests``. site: what a test finds.

    chosen: an expression of pytest's -k. Raises `RuntimeError` where pytest itself failed.
    """
    plugin = _Plugin(app, site)
    arguments = ["-c", os.devnull, "--rootdir", str(folder), "--assert=plain"]
    arguments += ["-k", chosen] if chosen else []
    for unwanted in ("terminal", "cacheprovider", "xdist"):
        arguments += ["-p", f"no:{unwanted}"]
    with StandIn(app) as stand_in, _told(stand_in.url):
        code = pytest.main([*arguments, str(folder / "tests" / "api_resources")], plugins=[plugin])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {code!r}")
    return plugin.found


@contextmanager
def _told(url: str) -> Iterator[None]:
    """The SDK's tests find the stand-in, and afterwards this process is as it was before them."""
    environment, path, modules = dict(os.environ), list(sys.path), set(sys.modules)
    os.environ["TEST_API_BASE_URL"] = url
    # The SDK's conftest asks this package which tests are asynchronous; there are none among the chosen.
    sys.modules.setdefault("pytest_asyncio", _nothing_asynchronous())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] in ("tests", "pytest_asyncio"):
                del sys.modules[name]


def _nothing_asynchronous() -> types.ModuleType:
    module = types.ModuleType("pytest_asyncio")
    module.is_async_test = lambda item: False  # type: ignore[attr-defined]
    return module
