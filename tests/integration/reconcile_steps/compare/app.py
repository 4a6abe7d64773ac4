"""Stands in for compare: says what it read of a partition, or fails as ``orders.json`` in the bucket says."""

from __future__ import annotations

import json
from typing import Any

from closedwon.domain.errors import SalesforceRefused
from closedwon.reconciliation import runs
from closedwon.reconciliation.runs import SOURCES, Run


def lambda_handler(event: dict[str, Any], context: Any) -> None:
    run, partition = Run.of(event["run"]), event["partition"]
    orders = json.loads(runs.s3().get_object(Bucket=runs.bucket(), Key="orders.json")["Body"].read())
    if partition in orders["fail"]:
        raise SalesforceRefused("INVALID_FIELD", "as the test wants it")
    read = {source: list(runs.read(run, source, partition)) for source in SOURCES}
    runs.put_summary(run, partition, {"partition": partition, **read})
