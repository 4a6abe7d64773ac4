"""What function processes are started from: the build closed-won ships, and the usual way's, for this machine's Python.

The packages are installed once and kept under ``.build/bench``, in folders named after a hash of what was asked for.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tools import compile_build

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build" / "bench"
LAYER = ROOT / "layers" / "closedwon"
USUAL_WAY = Path(__file__).resolve().parent / "usual_way"
VERSIONS = ROOT / "requirements-dev.txt"
"""Both ways get the same version of every package."""

PIP_OPTIONS = ["--disable-pip-version-check", "--no-input", "--no-compile", "--progress-bar", "off", "--prefer-binary"]

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
    """What is compared. python: the interpreter it is built for; runtime: AWS's runtime client, which Lambda brings.
    before: closed-won as it was at an earlier commit, None where none was asked for.
    """

    python: str
    runtime: Path
    ours: Way
    usual: Way
    usual_compiled: Way
    before: Way | None = None

    @property
    def ways(self) -> tuple[Way, ...]:
        return tuple(filter(None, (self.ours, self.usual, self.usual_compiled, self.before)))


def python() -> str:
    """The interpreter the functions run on: of Lambda's own version where there is one, else the one that runs this."""
    try:
        return compile_build.find_interpreter()[0]
    except compile_build.BuildError:
        return sys.executable


def build(before: str | None = None) -> Folders:
    """Build whatever is not there yet. The package registry is asked the first time only.

    before: a commit to build as well, with the packages of today. Raises BuildError.
    """
    interpreter = python()
    constraints = _versions()
    runtime = _packages(interpreter, "runtime", ["awslambdaric", "--constraint", constraints], compiled=True)
    requirements = LAYER / "requirements.txt"
    wanted = ["--no-deps", "--requirement", str(requirements)]
    ours = _packages(interpreter, "ours", wanted, requirements, trimmed=LAYER / "trim_sdk.py", compiled=True)
    _copy(LAYER / "closedwon", ours / "closedwon")
    _compile(interpreter, ours / "closedwon")
    requirements = USUAL_WAY / "requirements.txt"
    wanted = ["--requirement", str(requirements), "--constraint", constraints]
    usual = _packages(interpreter, "usual", wanted, requirements)
    usual_compiled = _packages(interpreter, "usual-compiled", wanted, requirements, compiled=True)
    functions = BUILD / "functions"
    shutil.rmtree(functions, ignore_errors=True)
    sources = {"ours": ROOT / "functions", "usual": USUAL_WAY, "usual-compiled": USUAL_WAY}
    for name, source in sources.items():
        for step in STEPS:
            _copy(source / step, functions / name / step)
        if name != "usual":
            _compile(interpreter, functions / name)
    return Folders(
        interpreter,
        runtime,
        Way("ours", functions / "ours", ours),
        Way("usual", functions / "usual", usual),
        Way("usual, compiled", functions / "usual-compiled", usual_compiled),
        None if before is None else _earlier(interpreter, before, ours),
    )


def _earlier(interpreter: str, commit: str, packages: Path) -> Way:
    """closed-won as a commit has it."""
    folder = BUILD / "before"
    unpack(commit, folder, "functions", "layers/closedwon/closedwon")
    _copy(packages, folder / "packages")
    _copy(folder / "layers" / "closedwon" / "closedwon", folder / "packages" / "closedwon")
    for part in ("functions", "packages"):
        _compile(interpreter, folder / part)
    return Way(f"at {commit}", folder / "functions", folder / "packages")


def unpack(commit: str, folder: Path, *paths: str) -> None:
    """Put these paths, as a commit has them, into a folder of their own. Raises BuildError."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    packed = subprocess.run(["git", "archive", commit, *paths], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        raise BuildError(f"there is no commit {commit} here: {packed.stderr.decode(errors='replace').strip()}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)


def _versions() -> str:
    """A file with the versions alone: pip takes hashes for all that it installs, or for nothing."""
    BUILD.mkdir(parents=True, exist_ok=True)
    pinned = [line.rstrip(" \\") for line in VERSIONS.read_text(encoding="utf-8").splitlines() if "==" in line]
    path = BUILD / "versions.txt"
    path.write_text("\n".join(pinned) + "\n", encoding="utf-8")
    return str(path)


def _packages(
    interpreter: str,
    name: str,
    wanted: list[str],
    *files: Path,
    trimmed: Path | None = None,
    compiled: bool = False,
) -> Path:
    """A folder with these packages, made once; with bytecode, and trimmed by a script, only where asked for."""
    files = (*files, trimmed) if trimmed else files
    about = "import platform, sys; print(sys.version, platform.platform())"
    version = subprocess.run([interpreter, "-c", about], capture_output=True, text=True, check=True).stdout
    asked = [*wanted, version, *(path.read_text(encoding="utf-8") for path in (*files, VERSIONS))]
    key = hashlib.sha256("\0".join(asked).encode()).hexdigest()[:12]
    folder = BUILD / f"{name}-{key}"
    if folder.is_dir():
        return folder
    BUILD.mkdir(parents=True, exist_ok=True)
    unfinished = BUILD / f"{name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    _install(interpreter, name, wanted, unfinished)
    if trimmed:
        subprocess.run([interpreter, str(trimmed), str(unfinished)], check=True)
    if compiled:
        _compile(interpreter, unfinished)
    for old in BUILD.glob(f"{name}-{'[0-9a-f]' * 12}"):
        shutil.rmtree(old)
    return unfinished.rename(folder)


def _install(interpreter: str, name: str, wanted: list[str], folder: Path) -> None:
    print(f"Installing what {name} needs, once ", end="", flush=True, file=sys.stderr)
    command = [interpreter, "-m", "pip", "install", *PIP_OPTIONS, "--target", str(folder), *wanted]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            said.append(line)
            if line.startswith("Collecting"):
                print(".", end="", flush=True, file=sys.stderr)
    if pip.returncode:
        raise BuildError(f"the packages of {name} could not be installed:\n{''.join(said[-20:])}")
    print(" done", file=sys.stderr)


def megabytes(folder: Path) -> float:
    """All files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _compile(interpreter: str, folder: Path) -> None:
    """Bytecode that is never compared with its source, as tools/compile_build.py makes it."""
    mode = ["-q", "-f", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    command = [interpreter, "-m", "compileall", *mode, str(folder)]
    # A few packages carry files for another Python, which do not compile and are not imported either.
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
