"""The operators' command: ``./closedwon``.

It finds the stack with the operator's own AWS credentials, and works with that stack's settings: what an operator may
do is what AWS lets them. Exit codes: 0 done, 1 not done or something is wrong, 2 misused, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import botocore.exceptions
import click

from closedwon import __version__
from closedwon.domain.errors import ClosedWonError
from ops.api import Api
from ops.stack import Chosen, Stack, in_words

COMMANDS: dict[str, tuple[str, ...]] = {
    "Set up and check": ("connect", "doctor", "smoke"),
    "See": ("status", "history", "preview", "simulate"),
    "Correct": ("replay", "send", "approve", "reconcile", "backfill", "restore"),
    "Pause and resume": ("mode", "pause", "shadow", "resume"),
    "Remove": ("erase", "disconnect"),
}
"""The commands by what an operator wants to do. Each is a function of its name, in a module of its name."""

MODULES = dict.fromkeys(("pause", "shadow", "resume"), "mode")
"""Where a command is, if it is in another's module."""


class Commands(click.Group):
    """The group of commands, each imported when it is asked for: all of them take longer to import than some to run.
    Shows refusals of other systems as messages; a bug still shows its traceback.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in COMMANDS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(import_module(f"ops.{MODULES.get(cmd_name, cmd_name)}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # By what an operator wants to do: click's own list is by name.
        for title, names in COMMANDS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, one.get_short_help_str(limit=100)) for name, one in commands if one])

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
