"""What was looked at, one check after the other, and how each came out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import botocore.exceptions
import click

from closedwon.domain.errors import (
    ClosedWonError,
)
from ops.show import check, say
from ops.stack import in_words


class Check(NamedTuple):
    """One thing that was looked at. result: ok, warning, problem or skipped."""

    part: str
    result: str
    words: str
    remedy: str = ""


@dataclass
class Checks:
    """What was looked at so far; shown at once unless all of it is printed as JSON in the end."""

    quiet: bool
    made: list[Check] = field(default_factory=list)
    part: str = ""

    def begin(self, part: str) -> None:
        self.part = part
        if not self.quiet:
            say(f"\n{part}" if self.made else part)

    def add(self, result: str, words: str, remedy: str = "") -> None:
        self.made.append(Check(self.part, result, words, remedy))
        if not self.quiet:
            check(result, words, remedy)

    def ok(self, words: str) -> None:
        self.add("ok", words)

    def bad(self, words: str, remedy: str = "") -> None:
        self.add("problem", words, remedy)

    def warn(self, words: str, remedy: str = "") -> None:
        self.add("warning", words, remedy)

    def skip(self, words: str, remedy: str = "") -> None:
        self.add("skipped", words, remedy)

    @contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """What fails in here is a problem of this step, and the next one follows. what: what is looked at."""
        try:
            yield
        # Only what others refuse: a bug goes through, with its traceback.
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            self.bad(f"{what}: {in_words(error)}")
        except ClosedWonError as error:
            self.bad(f"{what}: {error}")
        except click.ClickException as error:
            self.bad(f"{what}: {error.message}")

    @property
    def good(self) -> bool:
        return not any(one.result == "problem" for one in self.made)  # a warning may be as it is meant to be
