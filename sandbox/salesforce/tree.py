"""Data files of Salesforce CLI (``sf data import tree --plan``), as the stand-in takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def records_of(plan: Path) -> list[dict[str, Any]]:
    """All records of a plan, in the order they are to be created; for `Salesforce.load`.

    In: a plan file, whose data files lie beside it.
    Raises ValueError when a file holds another object's record than the plan says, which the CLI refuses too.
    """
    records = []
    for step in json.loads(plan.read_text(encoding="utf-8")):
        for name in step["files"]:
            for record in json.loads((plan.parent / name).read_text(encoding="utf-8"))["records"]:
                if record["attributes"]["type"] != step["sobject"]:
                    raise ValueError(f"{name} has a {record['attributes']['type']}, the plan says {step['sobject']}")
                records.append(record)
    return records
