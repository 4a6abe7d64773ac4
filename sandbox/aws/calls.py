"""Who called what of AWS: every request's caller, IAM action and resource, as a policy would be asked about it.

moto asks no policy. What is noted here is compared with the template's policies afterwards (proof/permissions.py).
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote
from wsgiref.types import WSGIEnvironment

from moto.dynamodb.models import dynamodb_backends

CALLER = "sandbox-"
"""What a function's access key starts with; its logical ID follows. Nobody else's calls are noted."""

# Signature Version 4 says access key, day, region and service in the header.
CREDENTIAL = re.compile(r"Credential=([^/,]+)/\d{8}/([^/,]+)/([^/,]+)/aws4_request")
EQUALS = re.compile(r"([#\w]+)\s*=\s*(:\w+)")
TRANSACTED = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
"""What a transaction's items need the permission of (DynamoDB's developer guide, IAM and transactions)."""

Json = Mapping[str, Any]


class Call(NamedTuple):
    """caller: a function's logical ID; action: as IAM names it; resource: an ARN, * where there is none.

    key: of an item of DynamoDB the partition key, up to its first #; "" where the call names none.
    """

    caller: str
    action: str
    resource: str
    key: str = ""


class Calls:
    """The calls of the functions of one account, and how often each was made."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._made: Counter[Call] = Counter()
        self._lock = threading.Lock()

    def made(self) -> dict[Call, int]:
        """Each call and how often."""
        with self._lock:
            return dict(self._made)

    def note(self, environ: WSGIEnvironment) -> None:
        """Take note of a request. Its body can be read again afterwards."""
        signed = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if signed is None or not signed[1].startswith(CALLER):
            return
        caller, region, service = signed[1].removeprefix(CALLER), signed[2], signed[3]
        asked = _of_s3(environ) if service == "s3" else self._of_body(service, region, environ)
        with self._lock:
            # As a set: of several alike in one request, a policy would be asked once.
            self._made.update({Call(caller, *what) for what in asked})

    def _of_body(self, service: str, region: str, environ: WSGIEnvironment) -> list[tuple[str, str, str]]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if not operation:  # the query protocol
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            return [(f"{service}:{form.get('Action', '?')}", form.get("TopicArn", "*"), "")]
        asked = json.loads(body or b"{}")
        if service == "dynamodb":
            return list(self._of_dynamodb(region, operation, asked))
        named = ("stateMachineArn", "executionArn", "SecretId", "QueueUrl")
        return [(f"{service}:{operation}", next((str(asked[name]) for name in named if name in asked), "*"), "")]

    def _of_dynamodb(self, region: str, operation: str, asked: Json) -> Iterator[tuple[str, str, str]]:
        if operation == "TransactWriteItems":
            for item in asked["TransactItems"]:
                [(kind, what)] = item.items()
                yield self._of_table(region, TRANSACTED[kind], what)
        elif operation == "TransactGetItems":
            for item in asked["TransactItems"]:
                yield self._of_table(region, "GetItem", item["Get"])
        elif operation == "BatchGetItem":
            for table, wanted in asked["RequestItems"].items():
                for key in wanted["Keys"]:
                    yield self._of_table(region, operation, {"TableName": table, "Key": key})
        elif operation == "BatchWriteItem":
            for table, writes in asked["RequestItems"].items():
                for write in writes:
                    [what] = write.values()
                    yield self._of_table(region, operation, {"TableName": table, **what})
        elif operation == "ExportTableToPointInTime":
            yield f"dynamodb:{operation}", asked["TableArn"], ""
            # DynamoDB writes the files with the permissions of who asked for them.
            yield "s3:PutObject", f"arn:aws:s3:::{asked['S3Bucket']}/{asked.get('S3Prefix', '')}/AWSDynamoDB", ""
        elif operation == "DescribeExport":
            yield f"dynamodb:{operation}", asked["ExportArn"], ""
        else:
            yield self._of_table(region, operation, asked)

    def _of_table(self, region: str, operation: str, asked: Json) -> tuple[str, str, str]:
        # A table may be named by its ARN.
        name = str(asked["TableName"]).rpartition("/")[2]
        arn = f"arn:aws:dynamodb:{region}:{self._account}:table/{name}"
        index = asked.get("IndexName")
        table: Any = dynamodb_backends[self._account][region].tables.get(name)
        key_name = "" if table is None else table.hash_key_attr
        if index is not None and table is not None:
            [schema] = [one.schema for one in table.all_indexes() if one.name == index]
            key_name = next(attribute["AttributeName"] for attribute in schema if attribute["KeyType"] == "HASH")
            arn += f"/index/{index}"
        value = (asked.get("Key") or asked.get("Item") or {}).get(key_name)
        if value is None and "KeyConditionExpression" in asked:
            names = asked.get("ExpressionAttributeNames", {})
            compared = EQUALS.findall(asked["KeyConditionExpression"])
            placeholder = next((v for n, v in compared if names.get(n, n) == key_name), None)
            value = asked.get("ExpressionAttributeValues", {}).get(placeholder)
        key = "" if value is None else str(next(iter(value.values())))
        beginning, hash_sign, _ = key.partition("#")
        return f"dynamodb:{operation}", arn, beginning + hash_sign


def _of_s3(environ: WSGIEnvironment) -> list[tuple[str, str, str]]:
    """In: a request with the bucket in its path."""
    method, query = environ["REQUEST_METHOD"], parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    bucket, _, key = unquote(environ["PATH_INFO"]).lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
    if not key:
        return [("s3:ListBucket" if method in ("GET", "HEAD") else f"s3:{method}Bucket", arn, "")]
    if method in ("GET", "HEAD"):
        return [("s3:GetObject", arn, "")]
    if method == "DELETE":
        return [("s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject", arn, "")]
    copied = environ.get("HTTP_X_AMZ_COPY_SOURCE")
    source = [("s3:GetObject", f"arn:aws:s3:::{unquote(copied).lstrip('/')}", "")] if copied else []
    # Beginning and completing a multipart upload needs this permission, too.
    return [("s3:PutObject", arn, ""), *source]
