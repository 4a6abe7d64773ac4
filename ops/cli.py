"""The operators' command: ``./closedwon``.

It finds the stack with the operator's own AWS credentials, and works with that stack's settings: what an operator may
do is what AWS lets them. Exit codes: 0 done, 1 not done or something is wrong, 2 misused, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

from typing import Any

import botocore.exceptions
import click

from closedwon import __version__
from closedwon.domain.errors import ClosedWonError
from ops.api import Api
from ops.approve import approve
from ops.backfill import backfill
from ops.connect import connect
from ops.disconnect import disconnect
from ops.doctor import doctor
from ops.erase import erase
from ops.history import history
from ops.mode import mode, pause, resume, shadow
from ops.preview import preview
from ops.reconcile import reconcile
from ops.replay import replay
from ops.restore import restore
from ops.send import send
from ops.simulate import simulate
from ops.smoke import smoke
from ops.stack import Chosen, Stack, in_words
from ops.status import status

COMMANDS: dict[str, tuple[click.Command, ...]] = {
    "Set up and check": (connect, doctor, smoke),
    "See": (status, history, preview, simulate),
    "Correct": (replay, send, approve, reconcile, backfill, restore),
    "Pause and resume": (mode, pause, shadow, resume),
    "Remove": (erase, disconnect),
}


class Commands(click.Group):
    """The group of commands. Shows refusals of other systems as messages; a bug still shows its traceback."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # By what an operator wants to do: click's own list is by name.
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(str(one.name), one.get_short_help_str(limit=100)) for one in commands])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            raise click.ClickException(in_words(error)) from None
        except ClosedWonError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--stack",
    default="closed-won",
    show_default=True,
    envvar="CLOSEDWON_STACK",
    help="The stack, in the AWS account you are logged in to.",
)
@click.option("--profile", envvar="AWS_PROFILE", help="The profile of your AWS configuration.")
@click.option("--region", help="The AWS region; by default the profile's, or AWS_REGION.")
@click.option("--url", envvar="CLOSEDWON_URL", help="The address of the API; by default the stack's.")
# As an option it shows in the list of processes and stays in the shell's history.
@click.option("--key", envvar="CLOSEDWON_KEY", help="The callout key, with --url; better set as CLOSEDWON_KEY.")
@click.version_option(__version__, prog_name="closedwon")
@click.pass_context
def main(
    context: click.Context, stack: str, profile: str | None, region: str | None, url: str | None, key: str | None
) -> None:
    """Operate closed-won: see what happened to a deal, correct it, look after the stack."""
    # One of them alone would be ignored in silence, and the stack's own used.
    if bool(url) != bool(key):
        raise click.UsageError("--url and the callout key go together")
    # Nothing is looked up yet, so that the help of a command needs no AWS credentials.
    context.obj = Chosen(Stack(stack, profile, region), Api(url, key) if url and key else None)


for commands in COMMANDS.values():
    for command in commands:
        main.add_command(command)
