"""What is started, runs, and is stopped with all that it started."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Self


class Started(ABC):
    """Usable as a context manager. What `_start` enters into `_exits` ends with it, and with a start that failed."""

    def __init__(self) -> None:
        self._exits = ExitStack()

    @abstractmethod
    def _start(self) -> None:
        """Start everything."""

    def start(self) -> Self:
        """Run until `stop`."""
        try:
            self._start()
        # Also after Ctrl-C: servers and processes must not outlive a start that failed.
        except BaseException:
            self._exits.close()
            raise
        return self

    def stop(self) -> None:
        """End everything that was started."""
        self._exits.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
