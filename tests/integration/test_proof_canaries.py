"""Secrets and people are nowhere but where they belong, and no role may do more or less than it does: a short tour of
what closed-won does, looked at afterwards. `make prove` makes the whole tour.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from proof.canaries import found_in, search
from proof.permissions import Grant, Roles, compare, not_allowed, not_used
from proof.tour import Tour, toured
from sandbox.aws.calls import Call

PERSON = "Zéphyrine & Quux1a2b3c"
PLANTED = {"account name": PERSON}


@pytest.fixture(scope="module")
def tour() -> Iterator[Tour]:
    with toured(short=True) as made:
        yield made


@pytest.mark.long
def test_secrets_and_people_are_nowhere_but_where_they_belong(tour: Tour) -> None:
    missed = [line for line in search(tour.sandbox, tour.canaries, tour.said) if not line.met]
    assert missed == []


@pytest.mark.long
def test_every_call_is_allowed_and_every_permission_is_used(tour: Tour) -> None:
    told: list[str] = []
    lines = compare(tour.sandbox.aws, told.append)
    assert told == []
    assert all(line.met for line in lines)


@pytest.mark.long
def test_a_permission_that_is_missing_is_seen(tour: Tour) -> None:
    grants, calls = Roles(tour.sandbox.aws).grants(), tour.sandbox.aws.calls.made()
    for lost in grants:
        if lost.action == "s3:ListBucket" and lost.who == "CompareFunction":
            assert not_allowed(calls, [grant for grant in grants if grant != lost])
            return
    pytest.fail("no such permission")


LEDGER = "arn:aws:dynamodb:us-east-1:123456789012:table/ledger"
BUDGETS = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["GOVERNOR#*"]}}


@pytest.mark.parametrize(
    ("grant", "allowed"),
    [
        (Grant("Sweep", "dynamodb:UpdateItem", LEDGER), True),
        (Grant("Sweep", "dynamodb:UpdateItem", LEDGER, BUDGETS), True),
        (Grant("Sweep", "dynamodb:UpdateItem", f"{LEDGER}/index/*"), False),
        (Grant("Sweep", "dynamodb:PutItem", LEDGER), False),
        (Grant("Report", "dynamodb:UpdateItem", LEDGER), False),
        (
            Grant("Sweep", "dynamodb:UpdateItem", LEDGER, {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": "X"}}),
            False,
        ),
    ],
)
def test_a_call_is_allowed_by_role_action_resource_and_condition(grant: Grant, allowed: bool) -> None:
    call = Call("Sweep", "dynamodb:UpdateItem", LEDGER, "GOVERNOR#")
    assert not_allowed([call], [grant]) == ([] if allowed else [call])
    assert not_used([call], [grant]) == ([] if allowed else [grant])


def test_a_condition_nobody_knows_is_not_passed_over() -> None:
    grant = Grant("Sweep", "s3:GetObject", "*", {"StringEquals": {"aws:SourceVpc": "x"}})
    with pytest.raises(ValueError, match="unknown condition"):
        grant.covers(Call("Sweep", "s3:GetObject", "arn:aws:s3:::bucket/key"))


@pytest.mark.parametrize(
    "packed",
    [
        lambda text: text,
        lambda text: text.upper(),
        lambda text: json.dumps({"name": text}),
        lambda text: json.dumps(json.dumps(text)),
        lambda text: quote(text, safe=""),
        lambda text: base64.b64encode(f"xx{text}yy".encode()),
        lambda text: base64.b64encode(f"xy{{{text}".encode()),
        lambda text: base64.urlsafe_b64encode(f"{{{text}".encode()),
        lambda text: gzip.compress(text.encode()),
        lambda text: b"data: " + base64.b64encode(gzip.compress(f"{text} and much more that is told of it".encode())),
    ],
)
def test_what_is_packed_is_found(packed: Callable[[str], str | bytes]) -> None:
    assert found_in([packed(PERSON)], PLANTED) == {"account name": found_in([packed(PERSON)], PLANTED)["account name"]}
    assert found_in([packed("somebody else, far away")], PLANTED) == {}
