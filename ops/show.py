"""How the operators' command shows things: tables and facts for people, JSON for scripts.

What is for people goes through rich: colours and the terminal's width where there is one, plain text of 120 columns
where there is none. Where JSON was asked for, nothing else is printed to the standard output.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

WIDTH = 120
"""Columns where the output is no terminal."""

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red"), "skipped": ("-", "dim")}
"""How a check ended, with its mark."""

F = TypeVar("F", bound=Callable[..., Any])


def console(err: bool = False) -> Console:
    """Where to write, made anew each time: tests and pipes change what the standard output is."""
    stream = sys.stderr if err else sys.stdout
    # Without markup and highlighting: a name in brackets is a name.
    return Console(file=stream, width=None if stream.isatty() else WIDTH, highlight=False, markup=False)


def say(text: str = "", err: bool = False) -> None:
    """A paragraph, broken at the terminal's width. What somebody may copy goes through `verbatim`."""
    console(err).print(text)


def verbatim(text: str) -> None:
    """A command or an address, never broken."""
    click.echo(text)


def command(*words: str) -> str:
    """A command of this tool that can be copied: for the same stack, where the operator chose one by options."""
    context = click.get_current_context(silent=True)
    options: list[str] = []
    # The stack's options belong to the command's group, the outermost context.
    while context is not None and context.parent is not None:
        context = context.parent
    for name in ("stack", "profile", "region") if context is not None else ():
        # What the environment says holds for the next command as well.
        if context is not None and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            options += [f"--{name}", str(context.params[name])]
    return shlex.join(["./closedwon", *options, *words])


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", whole: Collection[str] = ()
) -> None:
    """A table. Cells are texts; None and "" are empty. The last column takes the room that is left. whole: columns that
    are never broken.
    """
    shown = Table(*columns, title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in shown.columns[:-1]:
        column.overflow = "fold"  # rich would cut an ID short, and who copies it would not see that
        column.no_wrap = column.header in whole
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else "" if cell is None else str(cell) for cell in row))
    console().print(shown)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names with what is known of them, below each other; empty ones are left out."""
    shown = Table.grid(padding=(0, 2))
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, ""):
            shown.add_row(name, value if isinstance(value, Text) else str(value))
    console().print(shown)


def check(result: str, what: str, remedy: str = "") -> None:
    """One check's end (a key of MARKS), what was looked at or found, and what to do about it."""
    mark, style = MARKS[result]
    out = console()
    for begins, text in ((Text.assemble((mark, style), " "), what), (Text("  "), remedy)):
        for number, line in enumerate(Text(text).wrap(out, out.width - 2) if text else ()):
            # It is broken already, with room for the mark: rich must not break it again.
            out.print(Text.assemble(begins if number == 0 else "  ", line), soft_wrap=True)


def as_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """What scripts read: one JSON document."""
    click.echo(json.dumps(content, indent=2, default=str))  # str: JSON has no form for an instant


def progress() -> Progress:
    """A bar on the standard error; nothing where that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(err=True),
        disable=not sys.stderr.isatty(),
    )


def json_option(command: F) -> F:
    """``--json``, as the parameter as_json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)


def stop(message: str) -> Any:
    """End the command with exit code 1 and a reason."""
    raise click.ClickException(message)
