"""Stands in for weigh: decides as ``orders.json`` in the bucket says."""

from __future__ import annotations

import json
from typing import Any

from closedwon.reconciliation import runs


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    orders = json.loads(runs.s3().get_object(Bucket=runs.bucket(), Key="orders.json")["Body"].read())
    return {"repair": orders["repair"]}
