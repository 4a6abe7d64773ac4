"""The history of figures: what `make bench ARGS=--keep` measured, a file each time, below benchmarks/results/."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.lines import Line

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """What figures depend on: processors and their name, memory in GB, the load of the last minute, Python, system."""
    about: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "processor": platform.processor() or "unknown",
    }
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
        about["processor"] = ", ".join(sorted(names)) or about["processor"]
    if "SC_PHYS_PAGES" in os.sysconf_names:
        about["memory"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    if hasattr(os, "getloadavg"):
        about["load"] = round(os.getloadavg()[0], 1)
    return about


def keep(lines: Sequence[Line], about: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write what was measured, named after the moment and the commit it was measured of."""
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    now = datetime.now(UTC)
    content = {
        "at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit,
        "machine": about,
        "lines": [line._asdict() for line in lines],
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{now:%Y-%m-%dT%H%M}-{commit}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def last_kept(folder: Path = RESULTS) -> dict[str, tuple[str, str]]:
    """Of each figure the newest that was kept, and its commit; of those whose name does not change with the size."""
    known: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        known.update({line["what"]: (line["measured"], content["commit"]) for line in content["lines"]})
    return known
