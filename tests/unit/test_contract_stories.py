"""The contract stories, played through the contract model alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.agreements import STORIES, play, story
from unit.stories import CONTESTED, shuffled

PATHS = sorted(STORIES.glob("*.json"))


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_a_story_comes_out_as_it_says(path: Path) -> None:
    assert play(story(path)) == []


@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
@pytest.mark.parametrize("path", [path for path in PATHS if path.stem not in CONTESTED], ids=lambda path: path.stem)
def test_a_story_comes_out_the_same_shuffled_and_batched(path: Path, together: bool) -> None:
    for seed in range(4):
        assert play(shuffled(story(path), seed, together)) == []
