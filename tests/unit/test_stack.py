"""A stack's parts: made when they are asked for, by its own settings, and exchanged by assigning another."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from closedwon.domain.errors import SettingMissing
from closedwon.stack import Stack


def made(service: str, **_: Any) -> Any:
    """A client of AWS that only knows what it is for."""
    return SimpleNamespace(service=service)


def test_a_missing_setting_is_an_error_of_the_part_that_needs_it() -> None:
    stack = Stack({"LEDGER_TABLE": "ledger"}, made)
    assert stack.ledger is stack.ledger
    with pytest.raises(SettingMissing, match="PROVISION_STATE_MACHINE_ARN"):
        stack.start  # noqa: B018
    with pytest.raises(SettingMissing, match="RECONCILIATION_BUCKET"):
        stack.storage  # noqa: B018


def test_an_assigned_part_is_used_by_the_parts_made_of_it() -> None:
    stack = Stack({"LEDGER_TABLE": "ledger"}, made)
    stack.dynamodb = made("another")
    assert cast(Any, stack.register)._dynamodb is stack.dynamodb


def test_two_stacks_share_nothing() -> None:
    one, other = Stack({"TIME_ZONE": "UTC"}, made), Stack({"TIME_ZONE": "Europe/Berlin"}, made)
    assert (one.settings["TIME_ZONE"], other.settings["TIME_ZONE"]) == ("UTC", "Europe/Berlin")
    assert one.dynamodb is not other.dynamodb


def test_importing_the_stack_imports_no_part() -> None:
    heavy = "{'requests', 'botocore', 'pydantic', 'simple_salesforce', 'closedwon.aws.ledger'}"
    code = f"import sys, closedwon.stack; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "[]"
