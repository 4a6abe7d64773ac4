"""Credentials for Salesforce and Stigg: typed in or from a file, tried, and stored in the stack's secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import botocore.exceptions
import click

from closedwon.domain.errors import (
    SecretInvalid,
)
from ops.stack import Stack

Fields = dict[str, Any]

DOCS = "docs/salesforce.md"

STORED = "the stack's functions use it within five minutes"


class Given:
    """Credentials that are tried before they are stored, in place of `closedwon.aws.secrets.Secret`."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)

    def json(self, *required: str) -> dict[str, Any]:
        missing = lacking(self._fields, required)
        if missing:
            raise SecretInvalid(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
        return dict(self._fields)

    def again(self) -> str:
        # The clients read a refused secret again; of what was given there is nothing newer.
        return json.dumps(self._fields)


def lacking(fields: Mapping[str, Any], required: tuple[str, ...]) -> list[str]:
    """The names of fields that are not there as texts that say something."""
    return [name for name in required if not (isinstance(fields.get(name), str) and fields[name].strip())]


def wanted_of_salesforce(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that Salesforce's credentials need, by which of the two kinds they are."""
    # With both in it, the login takes the client secret.
    if "privateKey" in fields and "clientSecret" not in fields:
        return ("clientId", "username", "privateKey")
    return ("clientId", "clientSecret")


def parsed(text: str) -> Fields | None:
    """A JSON object; None where the text is none. The text is in no error: it is a secret."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Vault:
    """One of the stack's secrets. output: the output that names it; plain: whether it holds a text and no JSON, which
    is the field `secret` here.
    """

    stack: Stack
    output: str
    plain: bool = False

    def read(self) -> Fields | None:
        """What it holds; None where nothing was put in yet, empty where it is no JSON object."""
        try:
            text = self.stack.secret(self.output)
        except botocore.exceptions.ClientError as error:
            # A secret that nobody filled has no current version, and is answered as if it were not there.
            if error.response["Error"].get("Code") != "ResourceNotFoundException":
                raise
            return None
        return {"secret": text} if self.plain else parsed(text) or {}

    def put(self, fields: Mapping[str, Any]) -> None:
        client = self.stack.client("secretsmanager")
        text = fields["secret"] if self.plain else json.dumps(fields)
        client.put_secret_value(SecretId=self.stack.outputs[self.output], SecretString=text)


def asking(option: str, file: str) -> str:
    return f"Give them in a terminal (./closedwon connect {option}), or with {file}."


def ask_salesforce(jwt: bool) -> Fields:
    """What is typed, hidden. Out: the secret's fields."""
    # Prompts go to the standard error, so that the standard output can be piped.
    click.echo(f"External Client App > Settings > Consumer Key and Secret ({DOCS}, step 3); input is hidden.", err=True)
    client_id = click.prompt("Consumer key", hide_input=True, err=True).strip()
    if not jwt:
        return {
            "clientId": client_id,
            "clientSecret": click.prompt("Consumer secret", hide_input=True, err=True).strip(),
        }
    username = click.prompt("User name of closed-won's user", err=True).strip()
    # A prompt takes one line, and a PEM file has many.
    path: str = click.prompt(
        "File with the private key (PEM)", type=click.Path(exists=True, dir_okay=False, path_type=str), err=True
    )
    return {"clientId": client_id, "username": username, "privateKey": Path(path).read_text()}


def ask_stigg() -> Fields:
    click.echo("Stigg's app > Integrations > API keys: the full access key; input is hidden.", err=True)
    return {"apiKey": click.prompt("Key", hide_input=True, err=True).strip()}


def ask_events() -> Fields:
    said = "Stigg's app > Settings > Integrations > Webhooks > the webhook of this stack: its secret"
    click.echo(f"{said}; input is hidden.", err=True)
    return {"secret": click.prompt("Secret", hide_input=True, err=True).strip()}


def fields_of(text: str, key: str | None) -> Fields:
    """What a file gives: a JSON object, or a bare text where one field (key) is all there is."""
    found = parsed(text)
    if found is None:
        return {key: text.strip()} if key else {}
    return found


def offering(
    file: TextIO | None,
    key: str | None,
    may_ask: bool,
    forced: bool,
    wanted: Callable[[Fields], tuple[str, ...]],
    ask: Callable[[], Fields],
) -> Callable[[Fields | None], Fields | None]:
    """What is offered in place of what a secret holds: a file's content, or what is typed where the secret does not do
    or somebody wants to (forced); None to leave it.
    """

    def offered(held: Fields | None) -> Fields | None:
        if file is not None:
            return fields_of(file.read(), key)
        if may_ask and (forced or held is None or lacking(held, wanted(held))):
            return ask()
        return None

    return offered
