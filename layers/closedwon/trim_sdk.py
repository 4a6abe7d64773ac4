"""Leaves in the layer what the functions need of the AWS SDK's data: six services of four hundred, without manuals.

botocore describes every service in files that it searches and reads when a client is made. That was a quarter of the
processor's time of a cold start, and a third of the layer (docs/measurements.md). What a call looks like, and where it
goes, is as before.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

SERVICES = ("dynamodb", "s3", "secretsmanager", "sns", "sqs", "stepfunctions")
"""What the functions and the package make clients of."""

# Waiters and examples are read by nothing that runs; paginators stay, because S3's lists go by them.
UNUSED = ("examples", "waiters")


def trim(data: Path) -> None:
    """In: botocore's folder `data`, which is changed. Trimmed again, it stays as it is."""
    prefixes = set()
    for folder in [path for path in data.iterdir() if path.is_dir()]:
        if folder.name in SERVICES:
            # endpoints.json names a service by its endpoint (states), not by its folder (stepfunctions).
            prefixes.add(_service(folder))
        else:
            shutil.rmtree(folder)
    endpoints = _read(data / "endpoints.json")
    # Every partition stays: a stack may be deployed in any of them (aws, aws-cn, aws-us-gov).
    for partition in endpoints["partitions"]:
        partition["services"] = {name: told for name, told in partition["services"].items() if name in prefixes}
    _write(data / "endpoints.json", endpoints)


def _service(folder: Path) -> str:
    """Keeps the newest version of a service's interface. Out: its name among the endpoints."""
    # Versions are dates; botocore takes the newest where none is asked for.
    *older, newest = sorted(path for path in folder.iterdir() if path.is_dir())
    for version in older:
        shutil.rmtree(version)
    for file in [path for path in newest.iterdir() if path.name.startswith(UNUSED)]:
        file.unlink()
    for file in list(newest.iterdir()):
        content = _without_manual(_read(file))
        file.unlink()
        _write(newest / file.name.removesuffix(".gz"), content)
    return str(_read(newest / "service-2.json")["metadata"]["endpointPrefix"])


def _without_manual(content: Any) -> Any:
    """A text called "documentation" is for people; botocore insists on some of them, so they stay, empty. A member of
    that name would be an object.
    """
    if isinstance(content, dict):
        return {
            name: "" if name == "documentation" and isinstance(told, str) else _without_manual(told)
            for name, told in content.items()
        }
    if isinstance(content, list):
        return [_without_manual(one) for one in content]
    return content


def _read(file: Path) -> Any:
    content = file.read_bytes()
    return json.loads(gzip.decompress(content) if file.suffix == ".gz" else content)


def _write(file: Path, content: Any) -> None:
    """Not packed: unpacking would take its time in each cold start."""
    file.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    trim(Path(sys.argv[1]) / "botocore" / "data")
