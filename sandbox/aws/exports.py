"""DynamoDB's export to S3, as AWS does it: by and by, in several files, with the manifests that name them.

moto writes one file at once, under a name of its own and in a time that grows with the square of the table.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table_export import TableExport
from moto.dynamodb.responses import DynamoHandler

FILES = 4
"""Data files an export is spread over; AWS makes as many as it sees fit."""

PREPARED: dict[str, list[tuple[int, bytes]]] = {}
"""Further data files of a table's exports, by the table's name: the number of their items, and gzip of lines as AWS
writes them. For measurements: moto takes a time for each operation that grows with its table.
"""


class Export(TableExport):
    """The table as it was at the moment it was asked for. Under way until it was looked at once."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        # It is a thread, and must not keep a process that ends from ending.
        self.daemon = True
        # In the form of AWS's own: 14 digits of milliseconds, then 8 of hex.
        self.export_id = f"{time.time_ns() // 1_000_000:014d}-{uuid.uuid4().hex[:8]}"
        self.arn = f"{self.table.table_arn}/export/{self.export_id}"
        # Called while nobody else writes to the table. Values are replaced as a whole, never changed.
        self._items = [dict(item.attrs) for item in self.table.all_items()]
        self._folder = "/".join(filter(None, [self.s3_prefix, "AWSDynamoDB", self.export_id]))
        self._looked_at = False

    def _backup_to_s3_file(self, s3_backend: Any) -> None:
        began = _instant()
        self.item_count = 0

        def put(name: str, content: bytes) -> str:
            key = f"{self._folder}/{name}"
            s3_backend.put_object(bucket_name=self.s3_bucket, key_name=key, value=content)
            return key

        # AWS writes this empty file first, to see whether it may: it lies beside the data and is none.
        put("_started", b"")
        manifest = []
        own = [self._items[number::FILES] for number in range(FILES)]
        files_of = [(len(items), gzip.compress(b"".join(_lines(items)), 5)) for items in own]
        for count, content in [*files_of, *PREPARED.get(self.table.name, ())]:
            self.item_count += count
            manifest.append(
                {
                    "itemCount": count,
                    "md5Checksum": base64.b64encode(hashlib.md5(content).digest()).decode(),
                    "etag": f"{uuid.uuid4().hex}-1",
                    "dataFileS3Key": put(f"data/{uuid.uuid4().hex[:26]}.json.gz", content),
                }
            )
        files = put("manifest-files.json", b"".join(json.dumps(file).encode() + b"\n" for file in manifest))
        summary = {
            "version": "2020-06-30",
            "exportArn": self.arn,
            "startTime": began,
            "endTime": _instant(),
            "tableArn": self.table.table_arn,
            "exportTime": began,
            "s3Bucket": self.s3_bucket,
            "s3Prefix": self.s3_prefix,
            "s3SseAlgorithm": "AES256",
            "manifestFilesS3Key": files,
            "billedSizeBytes": self.processed_bytes,
            "itemCount": self.item_count,
            "outputFormat": "DYNAMODB_JSON",
            "exportType": self.export_type,
        }
        put("manifest-summary.json", json.dumps(summary).encode())
        # moto remembers the export for as long as it runs; the copy of the table is not needed any more.
        self._items = []
        self.status = "COMPLETED"

    def response(self) -> dict[str, Any]:
        said: dict[str, Any] = super().response()
        if self._looked_at and said["ExportStatus"] == "COMPLETED":
            return {**said, "ExportManifest": f"{self._folder}/manifest-summary.json"}
        self._looked_at = True
        return said if said["ExportStatus"] == "FAILED" else {**said, "ExportStatus": "IN_PROGRESS"}


def export_table_to_point_in_time(handler: DynamoHandler) -> ActionResult:
    """The same token asks for the same export, for eight hours."""
    backend: DynamoDBBackend = handler.dynamodb_backend
    body: dict[str, Any] = handler.body
    token = body.get("ClientToken")
    for export in backend.table_exports.values():
        if token is not None and getattr(export, "token", None) == token:
            return ActionResult({"ExportDescription": export.response()})
    made: Any = backend.export_table(
        s3_bucket=body["S3Bucket"],
        s3_prefix=body.get("S3Prefix", ""),
        table_arn=body["TableArn"],
        export_format=body.get("ExportFormat", "DYNAMODB_JSON"),
        export_type=body.get("ExportType", "FULL_EXPORT"),
        s3_bucket_owner=body.get("S3BucketOwner", ""),
    )
    made.token = token
    return ActionResult({"ExportDescription": made.response()})


def _lines(items: list[dict[str, Any]]) -> Iterator[bytes]:
    for item in items:
        plain = {name: value.to_regular_json() for name, value in item.items()}
        yield json.dumps({"Item": plain}, separators=(",", ":"), default=_base64).encode() + b"\n"


def _base64(binary: bytes) -> str:
    """A binary value, as DYNAMODB_JSON has it."""
    return base64.b64encode(binary).decode()


def _instant() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
