"""The tests of the official SDK: taken from the source distribution of the very version that is installed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "requirements-dev.txt"
CACHE = ROOT / ".build" / "stigg-suite"
PACKAGE = "stigg"

_PIN = re.compile(rf"^{PACKAGE}==(?P<version>\S+)(?P<hashes>(?: \\\n +--hash=sha256:[0-9a-f]{{64}})+)$", re.MULTILINE)
_HASH = re.compile(r"[0-9a-f]{64}")


class Unavailable(Exception):
    """The tests could not be had. Says why, in a sentence."""


def fetched(pins: Path = PINS, cache: Path = CACHE) -> Path:
    """The folder that holds the SDK's package ``tests``; downloaded when it is not in the cache yet.

    In: the file that pins the SDK's version and the hashes of its distributions; where downloads are kept. Raises
    `Unavailable`.
    """
    version, hashes = pinned(pins.read_text(encoding="utf-8"))
    installed = metadata.version(PACKAGE)
    if installed != version:
        raise Unavailable(f"{PACKAGE} {installed} is installed and {version} is pinned: run make setup")
    archive = cache / f"{PACKAGE}-{version}.tar.gz"
    if not archive.exists():
        _download(version, hashes, cache)
    if not archive.exists():
        raise Unavailable(f"pip has put no {archive.name} into {cache}")
    if hashlib.sha256(archive.read_bytes()).hexdigest() not in hashes:
        raise Unavailable(
            f"{archive} has none of the hashes that {pins.name} pins: remove it, and ask where it is from"
        )
    return _unpacked(archive, cache)


def pinned(text: str) -> tuple[str, frozenset[str]]:
    """The SDK's version and the SHA-256 of its distributions, out of a requirements file. Raises `Unavailable`."""
    found = _PIN.search(text)
    if found is None:
        raise Unavailable(f"no version of {PACKAGE} is pinned with its hashes")
    return found["version"], frozenset(_HASH.findall(found["hashes"]))


def _download(version: str, hashes: frozenset[str], cache: Path) -> None:
    """Have pip fetch the source distribution, and nothing that does not have its hash."""
    cache.mkdir(parents=True, exist_ok=True)
    wanted = cache / "wanted.txt"
    wanted.write_text(
        f"{PACKAGE}=={version} " + " ".join(f"--hash=sha256:{one}" for one in sorted(hashes)) + "\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--no-deps", "--require-hashes", "--no-binary", PACKAGE, "--retries", "1", "--timeout", "20"]
    command += ["-r", str(wanted), "-d", str(cache)]
    done = subprocess.run(  # nosec B603 - fixed
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.strip()]
        raise Unavailable(
            f"pip could not download the source of {PACKAGE} {version}; it takes a network and a package registry.\n"
            + "\n".join(said[-4:])
        )


def _unpacked(archive: Path, cache: Path) -> Path:
    """The archive's tests, unpacked anew: what somebody changed there is gone."""
    name = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as packed:
        members = [member for member in packed.getmembers() if member.name.startswith(f"{name}/tests/")]
        if not members:
            raise Unavailable(f"{archive.name} holds no tests")
        packed.extractall(cache, members, filter="data")
    return cache / name
