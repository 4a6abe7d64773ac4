"""The deployed API, called as Salesforce calls it."""

from __future__ import annotations

from typing import Any

import click
import requests

SECONDS = 30
"""How long an answer may take: as long as API Gateway waits itself."""


class Api:
    """The deployed API. In: its address; the callout key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")  # every path begins with one
        self._key = key

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, body)

    def looks(self, path: str, with_key: bool = True) -> tuple[int, str]:
        """What GET is answered, whatever it is: the HTTP status and the message. Raises ClickException without one."""
        headers = {"x-api-key": self._key} if with_key else {}
        try:
            answer = requests.get(f"{self.url}{path}", headers=headers, timeout=SECONDS)
        except requests.RequestException as error:
            raise click.ClickException(f"{self.url} could not be reached ({type(error).__name__})") from None
        # Whatever stands at the address may answer: a page, or JSON in another form.
        content = _json(answer)
        return answer.status_code, str(content.get("message") or "") if isinstance(content, dict) else ""

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; None where there is nothing. Raises ClickException in an operator's words."""
        headers = {"x-api-key": self._key}
        try:
            answer = requests.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=SECONDS)
        except requests.RequestException as error:
            raise click.ClickException(f"{self.url} could not be reached ({type(error).__name__})") from None
        # API Gateway answers 401 where the header is missing or cannot be a key, 403 where the authorizer denies it.
        if answer.status_code in (401, 403):
            raise click.ClickException("the callout key is not accepted")
        # The answer about a deal that was never accepted, which each command tells in words of its own.
        if answer.status_code == 404:
            return None
        content = _json(answer)
        # A proxy on the way may answer 200 with a page: what is no JSON is no answer of closed-won's.
        if answer.status_code >= 400 or content is None:
            said = content.get("message", "") if isinstance(content, dict) else ""
            raise click.ClickException(f"{self.url} answered {answer.status_code}: {said or 'no reason given'}")
        return content


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
