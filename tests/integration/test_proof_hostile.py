"""The proof's hostile chapter in short: it runs, tries every kind of input, and finds nothing."""

from __future__ import annotations

import pytest

from proof.hostile import SHORT, hostile


@pytest.mark.long
def test_hostile_input_is_answered_refused_or_a_designed_error() -> None:
    lines = hostile(seed=1, long=False, sizes=SHORT)
    assert len(lines) == 7
    assert [line for line in lines if not line.met] == []
