"""Stands in for compare: says what it read of a partition, or fails as ``orders.json`` in the bucket says."""

from __future__ import annotations

import json
from typing import Any

from closedwon.domain.errors import SalesforceRefused
from closedwon.reconciliation.runs import SOURCES, Run
from closedwon.stack import STACK


def lambda_handler(event: dict[str, Any], context: Any) -> None:
    run, partition = Run.of(event["run"]), event["partition"]
    orders = json.loads(STACK.storage.s3.get_object(Bucket=STACK.storage.bucket, Key="orders.json")["Body"].read())
    if partition in orders["fail"]:
        raise SalesforceRefused("INVALID_FIELD", "as the test wants it")
    read = {source: list(STACK.storage.read(run, source, partition)) for source in SOURCES}
    STACK.storage.put_summary(run, partition, {"partition": partition, **read})
