"""The contract stories, played through the contract model alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.agreements import STORIES, play, story

PATHS = sorted(STORIES.glob("*.json"))


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_a_story_comes_out_as_it_says(path: Path) -> None:
    assert play(story(path)) == []
