"""``closedwon pause``, ``shadow``, ``resume`` and ``mode``: set and show what the stack may do."""

from __future__ import annotations

from typing import Any, Literal

import click

from closedwon.aws.ledger import Control
from closedwon.domain.instants import iso_of
from ops import show
from ops.stack import Chosen

WORDS = {
    "run": "Provisioning runs.",
    "pause": "Provisioning is paused: deals are accepted and wait; nothing is written to Stigg or Salesforce.",
    "shadow": "Provisioning only plans: deals are accepted and planned, and nothing is written. Each execution's "
    "output says what it would do.",
}

why_option = click.option("--why", default="", help="The reason, for the next operator.")


@click.command("mode")
@show.json_option
@click.pass_obj
def mode(chosen: Chosen, as_json: bool) -> None:
    """Show whether the stack runs, is paused or only plans (shadow)."""
    tell(chosen.stack.parts().ledger.control(), as_json)


@click.command()
@why_option
@show.json_option
@click.pass_obj
def pause(chosen: Chosen, why: str, as_json: bool) -> None:
    """Accept deals, but provision nothing until `resume`.

    Callouts are answered as usual, and everything that is due waits in the ledger. Writes that are under way are
    finished first, which takes seconds.
    """
    change(chosen, "pause", why, as_json)


@click.command()
@why_option
@show.json_option
@click.pass_obj
def shadow(chosen: Chosen, why: str, as_json: bool) -> None:
    """Accept and plan deals, but write nothing until `resume`.

    Each deal still gets an execution, and its output says what provisioning would do. Use it to try a mapping, or a new
    stack next to another integration.
    """
    change(chosen, "shadow", why, as_json)


@click.command()
@show.json_option
@click.pass_obj
def resume(chosen: Chosen, as_json: bool) -> None:
    """Provision again. What waited is started by the next sweeps, within Stigg's limits."""
    change(chosen, "run", "", as_json)  # the reason was the pause's


def change(chosen: Chosen, to: Literal["run", "pause", "shadow"], why: str, as_json: bool) -> None:
    ledger = chosen.stack.parts().ledger
    ledger.set_control(to, why)
    tell(ledger.control(), as_json)  # read again: as the ledger has it


def tell(control: Control, as_json: bool) -> None:
    since = iso_of(control.since) if control.since else None
    if as_json:
        content: dict[str, Any] = {"mode": control.mode, "since": since, "why": control.why}
        show.as_json(content)
        return
    show.say(WORDS[control.mode])
    show.facts((("Since", since), ("Why", control.why)))
    if control.mode != "run":
        show.say("Everything again: closedwon resume")
