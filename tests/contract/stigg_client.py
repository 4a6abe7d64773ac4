"""The official client, driven over HTTP against the stand-in, by a clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import requests
import stigg

from contract.stigg_contract import answers

KEY = "server-key-of-the-tests"
START = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)


class Clock:
    """A day that passes only when told to."""

    def __init__(self) -> None:
        self.today = START

    def now(self) -> datetime:
        return self.today

    def seconds(self) -> float:
        return (self.today - START).total_seconds()

    def wait(self, **spans: float) -> None:
        self.today += timedelta(**spans)


class Client(stigg.Stigg):
    """The official client; on top, each answer must be exactly what its response model knows."""

    def _process_response(self, *, cast_to: Any, response: Any, **more: Any) -> Any:
        answers(cast_to, response.text)
        return super()._process_response(cast_to=cast_to, response=response, **more)


def post(url: str, path: str, body: Any, **headers: str) -> requests.Response:
    return requests.post(f"{url}/api/v1{path}", json=body, headers={"X-API-KEY": KEY, **headers}, timeout=60)
