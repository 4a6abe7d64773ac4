"""What one run of reconciliation leaves in S3: its exports by partition, its findings, repairs and report.

Everything is keyed by the Salesforce account (18 characters), and a partition holds all that is known of its accounts:
so each is compared alone, and nobody ever holds a whole export. It lies below ``runs/<run>/``, and what was
exported below ``exports/<run>/``, which is deleted after a few days:

| key | what |
|---|---|
| ``partitions.json`` | ``[{"partition": 0}, ...]``: what the state machine's maps go over |
| ``mappings.json`` | the Stigg Mappings by which lines were exported |
| ``ledger/...`` | DynamoDB's own export of the ledger, from which the customers are taken |
| ``export/<source>/<partition>/<name>.jsonl.gz`` | one record a line, see `SOURCES` |
| ``findings/<partition>.jsonl.gz`` | what was found, one a line |
| ``repairs/<partition>.json``, ``summaries/<partition>.json`` | what is to be repaired; what was counted |
| ``repaired/<partition>.json`` | what was repaired |
| ``report/...`` | the report |

A summary is written last: a partition without one failed. An object is written whole or not at all, and a step that is
done again writes the same names again. A record may nonetheless be there twice, where what was exported changed between
a step's two tries: that makes a customer suspect at most, and suspects are looked at live. S3 that does not answer is
StorageUnavailable everywhere in here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast

from closedwon.domain.errors import RunInputInvalid, StorageUnavailable, as_read

Json = dict[str, Any]
Mode = Literal["changed", "all"]

SOURCES = ("opportunities", "lines", "provisionings", "subscriptions", "customers", "owners")
"""What is exported: opportunities, their lines and Stigg Provisionings from Salesforce; subscriptions from Stigg;
customers from the ledger, and `owners`, the accounts of customers whose ID in Stigg is another than the account's.
"""

BUDGET = 24 * 1024 * 1024
"""Compressed bytes a writer holds before it writes them out: with them, what is not compressed yet."""

BLOCK = 64 * 1024
"""Bytes of a partition that are compressed together. Smaller ones take more room, larger ones more memory: that of as
many as there are partitions.
"""

PART = 8 * 1024 * 1024
"""Bytes of a part of a large object: S3 takes none below 5 MiB but the last, and 10,000 at most."""

AT_ONCE = 8
"""Objects written at the same time: the time goes into waiting for S3."""

LEVEL = 5
"""Of compression: half the time of gzip's own default, and a few per cent more to store."""

# Made once: with options, `json.dumps` makes an encoder for every record. NaN is no JSON, and no reader would take it.
_as_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True)
class Run:
    """One run of reconciliation, as it travels through the state machine.

    id: sorts by time. mode: ``changed`` looks only at what changed since `since`, ``all`` at everything. deep: also
    read what Stigg's list does not show. approved: somebody let a large repair go on. since: an ISO instant, "" in mode
    ``all``. started_at: an ISO instant. deals_since: the date of the first deals that are closed-won's business.
    partitions: how many.
    """

    id: str
    mode: Mode
    deep: bool
    approved: bool
    since: str
    started_at: str
    deals_since: str
    partitions: int

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From the state machine's `$.run`. Raises RunInputInvalid."""
        with as_read(lambda mistake: RunInputInvalid(f"the run cannot be read ({mistake})")):
            return cls(
                id=data["run"],
                mode=data["mode"],
                deep=data["deep"],
                approved=data["approved"],
                since=data["since"],
                started_at=data["startedAt"],
                deals_since=data["dealsSince"],
                partitions=int(data["partitions"]),
            )

    def to_json(self) -> Json:
        """As the state machine's `$.run`."""
        return {
            "run": self.id,
            "mode": self.mode,
            "deep": self.deep,
            "approved": self.approved,
            "since": self.since,
            "startedAt": self.started_at,
            "dealsSince": self.deals_since,
            "partitions": self.partitions,
        }


def partition_of(key: str, partitions: int) -> int:
    """The partition of an account, the same in every run with as many partitions."""
    # Not `hash`, which differs from process to process: each export writes in a process of its own.
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % partitions


def key(run: Run, name: str) -> str:
    """The S3 key of one of the run's objects (``report/report.html``). What was exported holds personal data, and lies
    where it is deleted after a few days.
    """
    place = "exports" if name.startswith(("export/", "ledger")) else "runs"
    return f"{place}/{run.id}/{name}"


class Storage:
    """The bucket in which runs leave what they exported and found. In: a boto3 S3 client; the bucket's name."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self.s3 = s3
        self.bucket = bucket

    def read(self, run: Run, source: str, partition: int) -> Iterator[Json]:
        """The records of one partition of a source, in the order of their objects' names. Flat in memory."""
        for name in self._names(key(run, f"export/{source}/{partition:04d}/")):
            yield from self._lines(name)

    def batch(self, run: Run, name: str) -> PartitionWriter:
        """What writes one batch of an export; see there."""
        return PartitionWriter(self, run, name)

    def put_partitions(self, run: Run) -> None:
        """What the state machine's maps go over."""
        self.put_json(run, "partitions.json", [{"partition": number} for number in range(run.partitions)])

    def put_mappings(self, run: Run, records: list[Json]) -> None:
        """Store the active Stigg Mappings the lines were exported by; see `salesforce.mapping_records.mapped`."""
        self.put_json(run, "mappings.json", records)

    def mappings(self, run: Run) -> list[Json]:
        """What `put_mappings` wrote."""
        return cast(list[Json], self.get_json(run, "mappings.json") or [])

    def put_findings(self, run: Run, partition: int, findings: Iterable[Mapping[str, Any]]) -> int:
        """A partition's findings. Out: how many."""
        count = 0
        spool = io.BytesIO()
        with gzip.GzipFile(fileobj=spool, mode="wb", compresslevel=LEVEL, mtime=0) as zipped:
            for finding in findings:
                zipped.write(json.dumps(finding, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
                count += 1
        self.put(key(run, f"findings/{partition:04d}.jsonl.gz"), spool.getvalue())
        return count

    def findings(self, run: Run, partition: int) -> Iterator[Json]:
        """A partition's findings; none where it has not come so far."""
        name = key(run, f"findings/{partition:04d}.jsonl.gz")
        if self._exists(name):
            yield from self._lines(name)

    def put_repairs(self, run: Run, partition: int, repairs: Iterable[Mapping[str, Any]]) -> None:
        """What is to be repaired in a partition."""
        self.put_json(run, f"repairs/{partition:04d}.json", list(repairs))

    def repairs(self, run: Run, partition: int) -> list[Json]:
        """What is to be repaired in a partition; nothing where it has not come so far."""
        return cast(list[Json], self.get_json(run, f"repairs/{partition:04d}.json") or [])

    def put_summary(self, run: Run, partition: int, summary: Mapping[str, Any]) -> None:
        """What was counted in a partition; written last, since it says that the partition was compared."""
        self.put_json(run, f"summaries/{partition:04d}.json", summary)

    def summaries(self, run: Run) -> Iterator[Json]:
        """The summaries there are, by partition. A partition that is not among them failed, or was not come to."""
        # S3 lists by name, and the number in the name always has four digits: so they come by partition.
        for name in self._names(key(run, "summaries/")):
            yield json.loads(self._get(name))

    def put_json(self, run: Run, name: str, value: Any) -> None:
        """Any other small object of the run."""
        self.put(key(run, name), json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())

    def get_json(self, run: Run, name: str) -> Any:
        """What `put_json` wrote; None where there is nothing."""
        return json.loads(self._get(key(run, name))) if self._exists(key(run, name)) else None

    def put(self, name: str, body: bytes) -> None:
        """One object of the bucket, by its key."""
        with _storage():
            self.s3.put_object(Bucket=self.bucket, Key=name, Body=body)

    def _get(self, name: str) -> bytes:
        with _storage():
            return cast(bytes, self.s3.get_object(Bucket=self.bucket, Key=name)["Body"].read())

    def _exists(self, name: str) -> bool:
        return name in self._names(name)

    def _names(self, prefix: str) -> Iterator[str]:
        # Around the whole loop, as each page is a request of its own.
        with _storage():
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                yield from (item["Key"] for item in page.get("Contents", ()))

    def _lines(self, name: str) -> Iterator[Json]:
        for line in self.unzipped_lines(name):
            yield json.loads(line)

    def lines_of(self, name: str) -> Iterator[bytes]:
        """The lines of a plain object of the bucket, by its key. Flat in memory."""
        with _storage():
            yield from self.s3.get_object(Bucket=self.bucket, Key=name)["Body"].iter_lines()

    def unzipped_lines(self, name: str) -> Iterator[bytes]:
        """The lines of a gzip object of the bucket, by its key. Flat in memory."""
        with _storage(), gzip.open(self.s3.get_object(Bucket=self.bucket, Key=name)["Body"]) as unzipped:
            yield from unzipped


# Writing what is large


@dataclass
class _Held:
    """One partition in memory: the newest lines as text, the earlier ones compressed block by block."""

    lines: bytearray = field(default_factory=bytearray)
    zipped: bytearray = field(default_factory=bytearray)

    def compress(self) -> int:
        """Compress the lines there are. Out: the bytes they take now. Blocks one after another are one gzip file."""
        if not self.lines:
            return 0
        block, self.lines = _zipped(self.lines), bytearray()
        self.zipped += block
        return len(block)


class PartitionWriter:
    """Writes one batch of an export: records in any order, of any sources, into their partitions.

    In: where it is stored; the run; the batch's name, unique among the run's batches of these sources and the same
    when the batch is written again (such as a job and a page's place in it): its objects are then overwritten, not
    added to. budget: compressed bytes it may hold; block: bytes that are compressed together. To be used in a `with`:
    what is left is written at its end, and nothing more after an error.
    """

    def __init__(self, storage: Storage, run: Run, batch: str, budget: int = BUDGET, block: int = BLOCK) -> None:
        self._storage = storage
        self._run = run
        # A batch may be named after a cursor of any length: the beginning is for people, the hash keeps names apart.
        self._batch = re.sub(r"[^\w-]", "_", batch)[:80] + "-" + hashlib.sha256(batch.encode()).hexdigest()[:12]
        self._budget = budget
        self._block = block
        self._held: dict[tuple[str, int], _Held] = defaultdict(_Held)
        self._bytes = 0
        self._flushes = 0
        self.records = 0

    def add(self, source: str, account: str, record: Mapping[str, Any]) -> None:
        """One record of an account; `k` is added to it."""
        held = self._held[source, partition_of(account, self._run.partitions)]
        held.lines += _as_json({"k": account, **record}).encode()
        held.lines += b"\n"
        self.records += 1
        if len(held.lines) >= self._block:
            self._bytes += held.compress()
            if self._bytes >= self._budget:
                self.flush()

    def flush(self) -> None:
        """Write out what is held."""
        held, self._held, self._bytes = self._held, defaultdict(_Held), 0
        # Numbered, so that what a batch writes out early is not overwritten by what follows.
        name = f"{self._batch}-{self._flushes:04d}"
        self._flushes += 1

        def put(place: tuple[str, int]) -> None:
            source, partition = place
            one = held.pop(place)  # popped, so that it is held only as long as it must
            one.compress()
            self._storage.put(key(self._run, f"export/{source}/{partition:04d}/{name}.jsonl.gz"), bytes(one.zipped))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            # The results are taken, because only that raises what went wrong in a thread.
            list(pool.map(put, list(held)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._held:
            self.flush()


class ObjectWriter:
    """Writes one large object as its text comes, in parts, so that it is flat in memory. To be used in a `with`: the
    object is there at its end, whole, and not at all after an error. Parts of one that was not finished are cleared
    away by the bucket's lifecycle. In: where it is stored; the run; the object's name in it; its media type.
    """

    def __init__(self, storage: Storage, run: Run, name: str, content_type: str) -> None:
        self._s3 = storage.s3
        self._place = {"Bucket": storage.bucket, "Key": key(run, name)}
        self._content_type = content_type
        self._held = bytearray()
        self._upload = ""
        self._parts: list[Json] = []

    def write(self, text: str) -> None:
        self._held += text.encode()
        if len(self._held) >= PART:
            self._send()

    def _send(self) -> None:
        body, self._held = bytes(self._held), bytearray()
        with _storage():
            # Begun with the first part, as most objects are smaller than one.
            if not self._upload:
                begun = self._s3.create_multipart_upload(**self._place, ContentType=self._content_type)
                self._upload = begun["UploadId"]
            part = {"PartNumber": len(self._parts) + 1}
            sent = self._s3.upload_part(**self._place, **part, UploadId=self._upload, Body=body)
        # S3 wants the ETag of each part again when it puts them together.
        self._parts.append({**part, "ETag": sent["ETag"]})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if not self._upload:  # too little for parts, of which there must be one
            with _storage():
                self._s3.put_object(**self._place, ContentType=self._content_type, Body=bytes(self._held))
            return
        if self._held:
            self._send()
        with _storage():
            self._s3.complete_multipart_upload(
                **self._place, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
            )


@contextmanager
def _storage() -> Iterator[None]:
    """Wraps a request to S3: a transient failure becomes StorageUnavailable, which is retried by name."""
    # Here, so that who only imports this module does not pay for the AWS SDK.
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or status in (408, 429):
            # Also SlowDown, which is a 503. Without its cause, since no error's text may quote a request.
            raise StorageUnavailable(f"S3 answered {status}") from None
        # A missing permission or object does not pass by itself: nothing may try that again.
        raise
    except BotoCoreError as error:
        raise StorageUnavailable(f"no usable answer from S3 ({type(error).__name__})") from None


def _zipped(data: bytes | bytearray) -> bytes:
    # Without the time, so that writing the same records again gives the same bytes.
    return gzip.compress(data, LEVEL, mtime=0)
