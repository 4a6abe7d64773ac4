"""``closedwon simulate``: plays a story of deals on a clock, without a stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops import show
from ops.show import json_option

if TYPE_CHECKING:  # imported where it is used: no other command plays anything
    from sandbox.simulation.looks import Seen
    from sandbox.simulation.play import Play
    from sandbox.simulation.story import Story

YEARS_ON = 10
"""How far a story is followed after its last event, for as long as something is still to come."""


@click.command(short_help="Play a story of deals on a clock, without a stack.")
@click.argument("story", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def simulate(story: Path, as_json: bool) -> None:
    """Play the deals of a STORY on its own clock: what a customer would have and when, and what each deal would say.

    STORY is a JSON file (docs/simulate.md). No stack is needed, nothing is sent: the deals go through the same code as
    in production, and a stand-in plays Stigg with the sandbox's catalogue. With --json a look after each event, of
    which nothing is compared with what the story expects.
    """
    from sandbox.simulation.play import NeverRests, Play
    from sandbox.simulation.story import StoryInvalid, read

    try:
        found = read(story)
        if as_json:
            show.as_json({"looks": Play(found).run()})
        else:
            tell(found, Play)
    except StoryInvalid as error:
        raise click.UsageError(str(error)) from None
    except NeverRests as error:
        show.stop(str(error))


def tell(story: Story, play: type[Play]) -> None:
    """Play a story, and print its timeline."""
    from sandbox.simulation import timeline

    seen: list[Seen] = []
    played = play(story, seen.append)
    looks = played.run()
    played.run_on(story.events[-1].moment + YEARS_ON * 365 * 86_400_000)
    seen.append(played.seen())
    for line in timeline.lines(story, seen, looks, played.summaries):
        show.verbatim(line)
