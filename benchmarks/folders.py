"""What function processes are started from: the build closed-won ships, and the usual way's, for this machine's Python.

The packages are installed once and kept under ``.build/bench``, in folders named after a hash of what was asked for.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build" / "bench"
LAYER = ROOT / "layers" / "closedwon"
USUAL_WAY = Path(__file__).resolve().parent / "usual_way"
VERSIONS = ROOT / "requirements-dev.txt"
"""Both ways get the same version of every package."""

STEPS = (
    "authorizer",
    "flow_callout",
    "customer_provision",
    "subscription_provision",
    "account_write_back",
    "sweep",
)


class BuildError(Exception):
    """What is to be measured could not be built; the message says why."""


class Way(NamedTuple):
    """One way to write and ship the steps. functions: holds a folder for each step; packages: what they import."""

    name: str
    functions: Path
    packages: Path


class Folders(NamedTuple):
    """What is compared; and runtime: AWS's runtime client, which Lambda brings along."""

    runtime: Path
    ours: Way
    usual: Way
    usual_compiled: Way

    @property
    def ways(self) -> tuple[Way, ...]:
        return (self.ours, self.usual, self.usual_compiled)


def build() -> Folders:
    """Build whatever is not there yet. The package registry is asked the first time only. Raises BuildError."""
    runtime = _packages("runtime", ["awslambdaric", "--constraint", str(VERSIONS)])
    _compile(runtime)
    requirements = LAYER / "requirements.txt"
    ours = _packages("ours", ["--no-deps", "--requirement", str(requirements)], requirements)
    _copy(LAYER / "closedwon", ours / "closedwon")
    _compile(ours)  # as layers/closedwon/Makefile and tools/compile_build.py do
    requirements = USUAL_WAY / "requirements.txt"
    wanted = ["--requirement", str(requirements), "--constraint", str(VERSIONS)]
    usual = _packages("usual", wanted, requirements)
    usual_compiled = _packages("usual-compiled", wanted, requirements, made_from=usual)
    _compile(usual_compiled)
    return Folders(
        runtime,
        Way("ours", _functions("ours", ROOT / "functions", compiled=True), ours),
        Way("usual", _functions("usual", USUAL_WAY, compiled=False), usual),
        Way("usual, compiled", _functions("usual-compiled", USUAL_WAY, compiled=True), usual_compiled),
    )


def _packages(name: str, wanted: list[str], *files: Path, made_from: Path | None = None) -> Path:
    """A folder with these packages, without bytecode; from another folder where given."""
    asked = [*wanted, sys.version, platform.platform()]
    asked += [path.read_text(encoding="utf-8") for path in (*files, VERSIONS)]
    key = hashlib.sha256("\0".join(asked).encode()).hexdigest()[:12]
    folder = BUILD / f"{name}-{key}"
    if folder.is_dir():
        return folder
    BUILD.mkdir(parents=True, exist_ok=True)
    unfinished = BUILD / f"{name}-{key}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    if made_from is not None:
        _copy(made_from, unfinished)
    else:
        _install(name, wanted, unfinished)
    for old in BUILD.glob(f"{name}-{'[0-9a-f]' * 12}"):
        shutil.rmtree(old)
    return unfinished.rename(folder)


def _install(name: str, wanted: list[str], folder: Path) -> None:
    print(f"Installing what {name} needs, once ", end="", flush=True, file=sys.stderr)
    options = ["--disable-pip-version-check", "--no-input", "--no-compile", "--progress-bar", "off", "--prefer-binary"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), *wanted]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            said.append(line)
            if line.startswith("Collecting"):
                print(".", end="", flush=True, file=sys.stderr)
    if pip.returncode:
        raise BuildError(f"the packages of {name} could not be installed:\n{''.join(said[-20:])}")
    print(" done", file=sys.stderr)


def _functions(name: str, source: Path, *, compiled: bool) -> Path:
    """The steps' folders, made anew: they are small and change often."""
    folder = BUILD / "functions" / name
    shutil.rmtree(folder, ignore_errors=True)
    for step in STEPS:
        _copy(source / step, folder / step)
    if compiled:
        _compile(folder)
    return folder


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _compile(folder: Path) -> None:
    """Bytecode that is never compared with its source. What has any keeps it, unless it changed."""
    mode = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    # Some packages carry files that are not for this Python and do not compile: they are not imported either.
    subprocess.run(
        [sys.executable, "-m", "compileall", *mode, str(folder)], check=False, stdout=subprocess.DEVNULL
    )
