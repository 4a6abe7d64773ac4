"""Telling a story in a terminal: chapters, tables, checks, and something that moves while one waits.

Plain text, at most 100 columns. Colours and the moving line only on a terminal, and no colours where NO_COLOR is set.
"""

from __future__ import annotations

import itertools
import os
import textwrap
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

WIDTH = 100
PATIENCE = 1.0
"""Seconds one waits without being told what for."""


@dataclass
class Chapter:
    """A chapter and how its checks went. failed: what each one that did not hold had said."""

    title: str
    held: int = 0
    failed: list[str] = field(default_factory=list)


class Narration:
    """Writes to a text stream and counts what held."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._coloured = self._live and not os.environ.get("NO_COLOR")
        marks = "✓✗·⠋⠙⠸⠴⠦⠇"
        try:
            marks.encode(stream.encoding or "ascii")
        except (LookupError, UnicodeEncodeError):
            marks = "+x-|/-\\|/"
        self._tick, self._cross, self._dot, *self._frames = list(marks)
        self._lock = threading.Lock()
        self._moving = ""
        self.chapters: list[Chapter] = []

    @property
    def failed(self) -> bool:
        return any(chapter.failed for chapter in self.chapters)

    # Text

    def title(self, text: str) -> None:
        self._line(self._in("1", text))
        self._line()

    def chapter(self, title: str) -> Chapter:
        """Begin a chapter; checks count for it from now on."""
        chapter = Chapter(title)
        self.chapters.append(chapter)
        self.heading(f"{len(self.chapters)}  {title}")
        return chapter

    def heading(self, text: str) -> None:
        self._line()
        self._line(self._in("1;36", text))

    def say(self, *paragraphs: str) -> None:
        """Paragraphs, filled; nothing for an empty line."""
        for paragraph in paragraphs or ("",):
            for line in textwrap.wrap(" ".join(paragraph.split()), WIDTH - 3) or [""]:
                self._line(f"   {line}" if line else "")

    def fact(self, name: str, value: Any, *more: Any) -> None:
        """A named value; what does not fit, and further values, go below it."""
        lines = [line for shown in (value, *more) for line in textwrap.wrap(str(shown), WIDTH - 20) or [""]]
        for label, line in zip(itertools.chain([name], itertools.repeat("")), lines, strict=False):
            self._line(f"     {self._in('2', f'{label:<14}')} {line}")

    def link(self, url: str) -> None:
        """An address, on a line of its own so that it can be clicked and copied."""
        self._line(f"     {self._in('4;34', url)}")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Any]], right: Collection[int] = ()) -> None:
        """A table as wide as what it holds. right: the columns whose values end together."""
        cells = [[str(cell) for cell in row] for row in (head, *rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
        for number, row in enumerate(cells):
            shown = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            line = "  ".join(shown).rstrip()
            self._line("     " + (self._in("2", line) if number == 0 else line))

    def row(self, text: str) -> None:
        """One line as it is."""
        self._line(f"     {text}")

    def verbatim(self, text: str) -> None:
        """Lines that can be copied as they are: not indented, not filled."""
        for line in text.rstrip("\n").split("\n"):
            self._line(line)

    def number(self, name: str, value: str) -> None:
        """One of the numbers at the end."""
        self._line(f"     {self._in('2', f'{name:<30}')} {value}")

    # Checks

    def check(self, said: str, expected: Any, found: Any, held: bool | None = None) -> bool:
        """A step of the story: it held when what was found is what was expected, or when `held` says so.

        One that did not hold shows both; the story goes on.
        """
        chapter = self.chapters[-1]
        if held if held is not None else expected == found:
            chapter.held += 1
            self._line(f"   {self._in('32', self._tick)} {said}")
            return True
        chapter.failed.append(said)
        self._line(f"   {self._in('1;31', self._cross)} {said}")
        for name, value in (("expected", expected), ("found", found)):
            first, *rest = textwrap.wrap(str(value), WIDTH - 17) or ["nothing"]
            self._line(f"       {name:<9} {first}")
            for line in rest:
                self._line(f"       {'':<9} {line}")
        return False

    def summary(self) -> None:
        """Every chapter with its mark."""
        self.heading("Summary")
        for number, chapter in enumerate(self.chapters, 1):
            mark = self._in("1;31", self._cross) if chapter.failed else self._in("32", self._tick)
            total = chapter.held + len(chapter.failed)
            counted = f"{total:2} checks" if not chapter.failed else f"{len(chapter.failed)} of {total} checks failed"
            self._line(
                f"   {mark} {number:>{len(str(len(self.chapters)))}}  {chapter.title:<52} {self._in('2', counted)}"
            )
            for said in chapter.failed:
                for line in textwrap.wrap(said, WIDTH - 10):
                    self._line(f"          {self._in('31', line)}")

    # Waiting

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Around what may take a while: says what is waited for and for how long, on a terminal in one moving line."""
        over = threading.Event()
        self._moving = what
        thread = threading.Thread(target=self._move, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def now_waiting(self, what: str) -> None:
        """What is waited for from here on, within `waiting`."""
        self._moving = what

    def _move(self, over: threading.Event) -> None:
        begun = time.monotonic()
        if not self._live:
            told = ""
            while not over.wait(PATIENCE):
                if self._moving != told:
                    told = self._moving
                    self._line(f"   {self._dot} {told} ...")
            return
        for frame in itertools.cycle(self._frames):
            with self._lock:
                line = f"   {frame} {self._moving} ... {time.monotonic() - begun:.0f} s"[: WIDTH - 1]
                self._stream.write(f"\r\x1b[2K{self._in('2', line)}")
                self._stream.flush()
            if over.wait(0.1):
                break
        with self._lock:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()

    def _line(self, text: str = "") -> None:
        with self._lock:
            self._stream.write(("\r\x1b[2K" if self._live else "") + text + "\n")
            self._stream.flush()

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured and text else text
