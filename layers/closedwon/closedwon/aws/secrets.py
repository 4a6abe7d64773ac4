"""Reads Secrets Manager: seldom, and without ever showing what was read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from closedwon.domain.errors import ClosedWonError, SecretInvalid, SecretUnavailable
from closedwon.wire.private import keep_secret

_LASTING = frozenset(
    {
        "ResourceNotFoundException",
        "AccessDeniedException",
        "InvalidRequestException",
        "InvalidParameterException",
        "DecryptionFailure",
        "UnrecognizedClientException",
    }
)
"""Error codes of GetSecretValue that do not pass by themselves: a person has to act."""

NOT_SECRET = frozenset({"clientId", "username", "audience"})
"""Fields of a secret that are not secret: they name who asks, and may be shown."""


class SecretLike(Protocol):
    """What the clients need of a secret; `Secret` is the one in use."""

    def json(self, *required: str) -> dict[str, Any]:
        """The secret's JSON object; raises SecretInvalid unless each required field is a string that says something."""
        ...

    def again(self) -> str:
        """The secret's text, read at once; from then on `json` answers from it."""
        ...


class Secret:
    """One secret of Secrets Manager, kept in memory for a while.

    arn: which; client: what gives a boto3 ``secretsmanager`` client, asked for the first read; lifetime_seconds: how
    long a value is used before it is read again; clock: seconds that never go back.

    When a value is past its lifetime and Secrets Manager does not answer, the old value stays in use.
    """

    def __init__(
        self,
        arn: str,
        client: Callable[[], Any],
        lifetime_seconds: float = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.arn = arn
        self._client = client
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock
        self._kept: dict[str, tuple[float, str | None]] = {}  # by version stage: until when, and the text

    def __repr__(self) -> str:
        return f"Secret({self.arn!r})"

    def value(self) -> str:
        """The current text.

        Raises SecretInvalid when it does not exist, may not be read or holds no text; SecretUnavailable when Secrets
        Manager does not answer and there is no earlier value.
        """
        return self._required(self._read("AWSCURRENT"))

    def again(self) -> str:
        """The current text, read at once whatever is kept: for when the kept one was refused. Raises as `value`."""
        return self._required(self._read("AWSCURRENT", at_once=True))

    def json(self, *required: str) -> dict[str, Any]:
        """The current text as a JSON object.

        required: names of fields that must be there as strings that are not blank.
        Raises as `value`, and SecretInvalid naming what is missing.
        """
        parsed = _parsed(self.value())
        if not isinstance(parsed, dict):
            raise SecretInvalid(f"the secret {self.arn} is not a JSON object")
        missing = [name for name in required if not _says_something(parsed.get(name))]
        if missing:
            raise SecretInvalid(f"the secret {self.arn} lacks {', '.join(missing)}")
        return parsed

    def versions(self) -> list[str]:
        """The current text and, when there is one, the text before it: what a rotating key is compared with.

        Raises as `value`; a previous version that does not exist or cannot be read is left out.
        """
        current = self.value()
        try:
            previous = self._read("AWSPREVIOUS")
        except (SecretInvalid, SecretUnavailable):
            previous = None  # a caller with the current key must not fail because of the previous one
        return [current] if previous is None or previous == current else [current, previous]

    def _required(self, text: str | None) -> str:
        if text is None:
            raise SecretInvalid(f"the secret {self.arn} has no value, or one that is not text")
        return text

    def _read(self, stage: str, at_once: bool = False) -> str | None:
        """The text of one version stage; None when there is no such version or it is not text."""
        kept = self._kept.get(stage)
        now = self._clock()
        if kept is not None and not at_once and now < kept[0]:
            return kept[1]
        text, failure = self._fetch(stage)
        if failure is not None:
            # An old key mostly still works; one that does not is refused, and then read again at once.
            if kept is not None and not at_once and isinstance(failure, SecretUnavailable):
                return kept[1]
            raise failure
        # Before anybody has it: the first error that quotes it must not show it.
        keep_secret(*_hidden_of(text))
        self._kept[stage] = (now + self._lifetime_seconds, text)
        return text

    def _fetch(self, stage: str) -> tuple[str | None, ClosedWonError | None]:
        # Errors are returned and raised elsewhere, so that they carry no other exception as their context.
        from botocore.exceptions import BotoCoreError, ClientError

        client = self._client()
        try:
            answer = client.get_secret_value(SecretId=self.arn, VersionStage=stage)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown error"))
            # A secret that was never changed has no previous version, which is no error.
            if code == "ResourceNotFoundException" and stage != "AWSCURRENT":
                return None, None
            if code in _LASTING:
                return None, SecretInvalid(f"the secret {self.arn} cannot be read: {code}")
            return None, SecretUnavailable(f"the secret {self.arn} could not be read: {code}")
        except BotoCoreError as error:
            return None, SecretUnavailable(f"the secret {self.arn} could not be read: {type(error).__name__}")
        text = answer.get("SecretString")
        return (text if isinstance(text, str) else None), None


def _hidden_of(text: str | None) -> list[str]:
    """The texts of a secret that are never shown: all of it, or of a JSON object every field not in `NOT_SECRET`."""
    parsed = _parsed(text) if text else None
    if not isinstance(parsed, dict):
        return [text] if text else []  # the callout key is such a text
    return [value for name, value in parsed.items() if name not in NOT_SECRET and isinstance(value, str)]


def _says_something(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _parsed(text: str) -> Any:
    """The JSON value, None when it is none: a JSONDecodeError would carry the whole text along."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
