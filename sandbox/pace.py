"""How busy this machine is: time limits of tests and proofs grow with it."""

from __future__ import annotations

import os
import time

SPIN = 0.2
"""Seconds of work for a measurement."""

MOST = 10.0
"""Beyond it nothing grows: what fails at ten times the time fails for another reason."""


def slowness() -> float:
    """How many times longer work takes now than with a processor of its own: 1 on a quiet machine, at most `MOST`.

    Measured with a little work, and foreseen by how many others wait for a processor.
    """
    began, worked = time.perf_counter(), time.process_time()
    while time.process_time() - worked < SPIN:
        pass
    measured = (time.perf_counter() - began) / SPIN
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(MOST, max(1.0, measured, waiting))
