"""Secrets are read seldom, shown never, and a rotating one has two versions."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from closedwon.aws.secrets import Secret
from closedwon.domain.errors import SecretInvalid, SecretUnavailable
from closedwon.stack import Stack

HIDDEN = "s3cr3t-value"


class Manager:
    """Secrets Manager, as far as Secret asks it: answers in turn, the last one for ever."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def get_secret_value(self, **_: Any) -> dict[str, Any]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"SecretString": answer}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": HIDDEN}}, "GetSecretValue")


def test_a_value_is_read_once_in_its_lifetime_and_at_once_when_asked() -> None:
    manager, clock = Manager("one", "two", "three"), Clock()
    secret = Secret("arn", client=lambda: manager, lifetime_seconds=300, clock=clock)
    assert [secret.value(), secret.value()] == ["one", "one"]
    clock.now = 299
    assert secret.value() == "one"
    clock.now = 300
    assert secret.value() == "two"
    assert secret.again() == "three"
    assert secret.value() == "three"
    assert manager.asked == 3


def test_an_old_value_outlives_an_outage_of_secrets_manager_but_not_its_removal() -> None:
    silent = EndpointConnectionError(endpoint_url="https://secretsmanager.test")
    clock = Clock()
    gone = refusal("ResourceNotFoundException")
    manager = Manager("one", silent, refusal("InternalServiceError"), gone)
    secret = Secret("arn", client=lambda: manager, clock=clock)
    secret.value()
    clock.now = 1000
    assert [secret.value(), secret.value()] == ["one", "one"]
    with pytest.raises(SecretInvalid):
        secret.value()
    with pytest.raises(SecretUnavailable):
        Secret("arn", client=lambda: Manager(silent)).value()


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (HIDDEN, "JSON object"),
        (json.dumps([HIDDEN]), "JSON object"),
        (json.dumps({"other": HIDDEN}), "apiKey"),
        (json.dumps({"apiKey": " ", "other": HIDDEN}), "apiKey"),
        (json.dumps({"apiKey": 7, "other": HIDDEN}), "apiKey"),
    ],
)
def test_an_unusable_secret_is_named_by_what_it_lacks_and_never_shown(text: str, missing: str) -> None:
    secret = Secret("arn:of-the-secret", client=lambda: Manager(text))
    with pytest.raises(SecretInvalid, match=missing) as caught:
        secret.json("apiKey")
    shown = repr(secret) + "".join(traceback.format_exception(caught.value))
    assert HIDDEN not in shown
    assert "arn:of-the-secret" in str(caught.value)
    assert caught.value.__context__ is None


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield boto3.client("secretsmanager")


def test_a_rotating_key_has_its_current_and_its_previous_version(manager: Any) -> None:
    arn = manager.create_secret(Name="callout-key", SecretString="first")["ARN"]
    secret = Secret(arn, client=lambda: manager, lifetime_seconds=0)
    assert secret.versions() == ["first"]  # never rotated: there is no previous version, and that is fine
    manager.put_secret_value(SecretId=arn, SecretString="second")
    assert secret.versions() == ["second", "first"]
    manager.put_secret_value(SecretId=arn, SecretString="third")
    assert secret.versions() == ["third", "second"]


def test_that_there_is_no_previous_version_is_remembered_too() -> None:
    manager = Manager("one", refusal("ResourceNotFoundException"))
    secret = Secret("arn", client=lambda: manager)
    assert [secret.versions(), secret.versions()] == [["one"], ["one"]]
    assert manager.asked == 2


def test_a_client_is_made_when_the_first_value_is_read(manager: Any) -> None:
    arn = manager.create_secret(Name="stigg", SecretString='{"apiKey": "key"}')["ARN"]
    stack = Stack({"STIGG_SECRET_ARN": arn})
    assert stack.secret("STIGG_SECRET_ARN").json("apiKey") == {"apiKey": "key"}


def test_a_secret_without_a_value_is_invalid(manager: Any) -> None:
    bytes_only = manager.create_secret(Name="bytes", SecretBinary=b"1")["ARN"]
    for arn in (bytes_only, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:unknown"):
        with pytest.raises(SecretInvalid):
            Secret(arn, client=lambda: manager).value()
