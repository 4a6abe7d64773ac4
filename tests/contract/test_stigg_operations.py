"""The list for `make check-stigg` marks the operations that the product calls: those, and no others."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import unquote, urlsplit

import requests
import stigg.resources

from closedwon.domain.errors import ClosedWonError
from closedwon.stigg.client import Stigg
from tools.stigg_suite.expected import LIST, read

REQUEST = re.compile(
    r'self\._(?P<verb>get|post|patch|put|delete)(?:_api_list)?\(\s*(?:path_template\(\s*)?f?"(?P<path>[^"]+)"'
)
PART = "x"
OF_THE_EDGE = frozenset(("queue_credentials",))
"""What the client asks of Stigg's edge API, which the SDK does not call."""


class Recorder(requests.Session):
    """Reaches nobody, and remembers what was to be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []

    def request(self, method: Any, url: Any, *parts: Any, **more: Any) -> Any:
        self.asked.append((method, unquote(urlsplit(url).path)))
        raise requests.ConnectionError


class Secret:
    def json(self, *names: str) -> dict[str, str]:
        return {"apiKey": "key"}

    def again(self) -> str:
        return "the same"


def choices(annotation: Any) -> list[Any]:
    """What to call a method of the client with, for a parameter that is annotated so."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [PART] if annotation is str else [{"id": PART}]


def asked_by_the_product() -> set[tuple[str, str]]:
    recorder = Recorder()
    client = Stigg("https://stigg.example", Secret(), recorder)
    for name, method in inspect.getmembers(client, inspect.ismethod):
        if name.startswith("_") or name in OF_THE_EDGE:
            continue
        hints = get_type_hints(method)
        needed = [one.name for one in inspect.signature(method).parameters.values() if one.default is one.empty]
        for values in itertools.product(*(choices(hints[one]) for one in needed)):
            before = len(recorder.asked)
            with suppress(ClosedWonError):
                answer = method(*values)
                if isinstance(answer, Iterator):
                    next(answer)
            assert len(recorder.asked) > before, f"{name} asks nothing"
    return set(recorder.asked)


def operations_of_the_sdk() -> dict[tuple[str, str], str]:
    """Each operation by its method and path, in which everything that varies is one letter."""
    found = {}
    for module in pkgutil.walk_packages(stigg.resources.__path__, "stigg.resources."):
        parts = module.name.split(".")[2:]
        if len(parts) > 1 and parts[-1] == parts[-2]:
            parts.pop()
        for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if kind.__module__ != module.name or name.startswith("Async"):
                continue
            for operation, function in inspect.getmembers(kind, inspect.isfunction):
                if request := REQUEST.search(inspect.getsource(function)):
                    path = re.sub(r"\{[^}]+\}", PART, request["path"])
                    found[request["verb"].upper(), path] = ".".join([*parts, operation.rstrip("_")])
    return found


def test_what_the_product_calls_is_marked_and_nothing_else() -> None:
    known = operations_of_the_sdk()
    called = {known[asked] for asked in asked_by_the_product()}
    listed = read(LIST.read_text(encoding="utf-8"))
    assert called == {name for name, one in listed.operations.items() if one.used}


def test_each_operation_of_the_sdk_is_listed() -> None:
    listed = read(LIST.read_text(encoding="utf-8"))
    assert set(operations_of_the_sdk().values()) == set(listed.operations)
