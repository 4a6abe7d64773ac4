"""The deliberate defects of `make prove` fit the product as it is, and a harness that broke has caught nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from proof.defects import ROOT, attempt, copy_of, seen_in
from proof.planted import DEFECTS


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_changes_the_product_and_is_played_by_a_test_that_is_there(tmp_path: Path, defect: object) -> None:
    [one] = [each for each in DEFECTS if each is defect]
    copy_of(one, tmp_path)
    changed = {file for file, *_ in one.edits}
    assert all((tmp_path / file).read_text() != (ROOT / file).read_text() for file in changed)
    file, _, name = one.test.partition("::")
    assert not file or f"def {name or 'test_'}" in (ROOT / file).read_text()


def test_there_are_defects_of_every_part_and_the_campaign_plays_some() -> None:
    assert len(DEFECTS) >= 12
    assert sum(not defect.test for defect in DEFECTS) >= 3


def test_a_defect_is_caught_by_what_plays_it() -> None:
    [defect] = [one for one in DEFECTS if one.name == "an idempotency key without its execution"]
    assert attempt(defect).by.startswith("test_stigg_client.py::test_the_idempotency_key")


def test_a_trial_that_broke_or_passed_has_caught_nothing() -> None:
    assert seen_in("E   ModuleNotFoundError\n1 error in 0.2s", tests=True) == ""
    assert seen_in("3 passed in 0.2s", tests=True) == ""
    assert seen_in("Traceback (most recent call last):\nTimeoutError", tests=False) == ""
    assert seen_in("violation: stale: 0015g it has 5, not 7", tests=False) == "stale"
