"""Builds what ``sam deploy`` uploads, and gives it bytecode of the Lambda runtime's own Python.

``sam build`` ships sources only, and a Lambda function cannot keep the bytecode it makes: compiling beforehand halves
a cold start. The mode ``unchecked-hash`` never compares with the source again, because in a zip file there is no time
of change to rely on. Bytecode is bound to one minor version of Python, so this needs the very one template.yaml names.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.sam_template import read_template

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".aws-sam" / "build"
VERSION = (3, 13)
INTERPRETER = f"python{VERSION[0]}.{VERSION[1]}"
UNZIPPED_LIMIT_MB = 250
"""A function with its layers, unzipped (Lambda quotas, developer guide)."""

HASH_BASED_UNCHECKED = 0b01
"""The flags field of such bytecode (PEP 552)."""

WHO_ARE_YOU = (
    "import importlib.util, sys;"
    "print(*sys.version_info[:2], importlib.util.MAGIC_NUMBER.hex(), sys.base_prefix, sep='\\n')"
)


class BuildError(Exception):
    """The build cannot be made or cannot be used; the message says what to do."""


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    # Fixed commands, without a shell.
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # nosec B603
    if code:
        raise BuildError(f"{Path(command[0]).name} {' '.join(command[1:3])} ended with code {code}")


def find_interpreter() -> tuple[str, bytes]:
    """The runtime's Python on this machine: its path, and the magic number its bytecode starts with.

    Looks at PYTHON313, then at the PATH. Raises BuildError when there is none.
    """
    for name in (os.environ.get("PYTHON313"), INTERPRETER):
        path = shutil.which(name) if name else None
        if not path:
            continue
        asked = subprocess.run([path, "-c", WHO_ARE_YOU], capture_output=True, text=True, check=False)  # nosec B603
        answer = asked.stdout.splitlines()
        if asked.returncode == 0 and tuple(map(int, answer[:2])) == VERSION:
            # A version manager's wrapper would not find its way from within sam's own environment.
            real = Path(answer[3]) / "bin" / INTERPRETER
            return str(real if real.exists() else path), bytes.fromhex(answer[2])
    raise BuildError(
        f"{INTERPRETER} was not found. Lambda runs this code with it; sam build and the bytecode need the same."
        f" Install Python {VERSION[0]}.{VERSION[1]} (system packages, pyenv or python.org), so that '{INTERPRETER}'"
        f" works, or name it: make build PYTHON313=/path/to/{INTERPRETER}"
    )


def parts(build: Path) -> list[tuple[Path, str]]:
    """The folders of a build, one a function or layer, with its path on Lambda."""
    folders = sorted(path for path in build.iterdir() if path.is_dir())
    return [(folder, "/opt" if (folder / "python").is_dir() else "/var/task") for folder in folders]


def without_sources(build: Path) -> list[str]:
    """The functions of a built template that have no source: sam says "Build Succeeded" without them."""
    resources = read_template(build / "template.yaml").get("Resources") or {}
    return [
        name
        for name, resource in resources.items()
        if resource.get("Type") == "AWS::Serverless::Function"
        and not any((build / str(resource["Properties"].get("CodeUri"))).rglob("*.py"))
    ]


def cache_of(source: Path) -> Path:
    """Where the runtime looks for a source's bytecode."""
    return source.parent / "__pycache__" / f"{source.stem}.cpython-{VERSION[0]}{VERSION[1]}.pyc"


def without_bytecode(folder: Path, magic: bytes) -> list[Path]:
    """The sources in a folder whose bytecode is absent, of another Python, or compared with the source when loaded."""
    wanted = magic + HASH_BASED_UNCHECKED.to_bytes(4, "little")
    missing = []
    for source in sorted(folder.rglob("*.py")):
        cached = cache_of(source)
        if not cached.is_file() or cached.read_bytes()[:8] != wanted:
            missing.append(source)
    return missing


def compile_folder(interpreter: str, folder: Path, target: str) -> None:
    """Compile every source in a folder anew; traces and bytes are the same on whichever machine it was built.

    In: the runtime's Python, the folder, the folder's path on Lambda. Raises BuildError when a source does not compile.
    """
    # Bytecode of another Python, or of a source that is gone, would only weigh.
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)
    mode = ["-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", target]
    _run([interpreter, "-m", "compileall", *mode, str(folder)])


def size(folder: Path) -> int:
    """A folder's size in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def compile_and_verify(build: Path, interpreter: str, magic: bytes) -> None:
    """Compile a finished build, make sure nothing was left out, and print each part's size.

    Raises BuildError when a source has no usable bytecode, or when a function with its layers would be too large.
    """
    if empty := without_sources(build):
        raise BuildError(f"no source in the CodeUri of {', '.join(empty)}")
    layers = largest = 0
    for folder, target in parts(build):
        compile_folder(interpreter, folder, target)
        if missing := without_bytecode(folder, magic):
            names = ", ".join(str(path.relative_to(build)) for path in missing[:5])
            raise BuildError(f"{len(missing)} files have no {INTERPRETER} bytecode: {names}")
        megabytes = size(folder) / 1e6
        files = sum(1 for _ in folder.rglob("*.py"))
        print(f"  {folder.name:<32} {megabytes:7.1f} MB, {files} files compiled")
        if target == "/opt":
            layers += size(folder)
        else:
            largest = max(largest, size(folder))
    total = (layers + largest) / 1e6
    print(f"  a function with its layer: at most {total:.1f} MB of {UNZIPPED_LIMIT_MB}")
    if total > UNZIPPED_LIMIT_MB:
        raise BuildError("too large for Lambda")


def main() -> int:
    """Build with SAM unless told not to, compile, verify: 0 when the build can be deployed, 1 otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sam", help="the sam command; without it, an existing build is compiled")
    arguments = parser.parse_args()
    try:
        interpreter, magic = find_interpreter()
        if arguments.sam:
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            environment["PATH"] = f"{Path(interpreter).parent}{os.pathsep}{environment['PATH']}"
            environment["SAM_CLI_TELEMETRY"] = "0"
            _run([str(Path(arguments.sam).absolute()), "build"], environment)
        if not BUILD.is_dir():
            raise BuildError("there is no .aws-sam/build yet: run make build")
        compile_and_verify(BUILD, interpreter, magic)
    except BuildError as error:
        print(f"make build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
