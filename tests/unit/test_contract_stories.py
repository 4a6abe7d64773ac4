"""The contract stories, played through the contract model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unit.agreements import STORIES, play, story

PATHS = sorted(STORIES.glob("*.json"))


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_a_story_comes_out_as_it_says(path: Path) -> None:
    assert play(story(path)) == []


CONTESTED = (
    "27-the-bases-price-is-corrected-after-a",  # nothing of the base had been settled: then its amendment makes way
    "x10-unwon-upsell-others-were-quoted-on",  # what was never provisioned is merely not sold
)
"""Stories whose deals contradict each other, so that it matters what had begun."""


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
@pytest.mark.parametrize("path", [path for path in PATHS if path.stem not in CONTESTED], ids=lambda path: path.stem)
def test_a_story_comes_out_the_same_when_its_deals_come_together(path: Path, backwards: bool) -> None:
    content = story(path)
    events: list[Any] = []
    waiting: list[Any] = []
    for event in content["events"]:
        waiting += event.get("deals", ())
        if "deals" not in event:
            if waiting:
                events.append({"at": event["at"], "deals": waiting[::-1] if backwards else waiting})
            events.append(event)
            waiting = []
    assert play({**content, "events": events}) == []
