"""The layer's own data of the AWS SDK says less, and nothing else."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any, cast

import botocore
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.loaders import Loader
from botocore.session import Session

ROOT = Path(__file__).resolve().parents[2]
FULL = Path(botocore.__file__).parent / "data"

spec = importlib.util.spec_from_file_location("trim_sdk", ROOT / "layers" / "closedwon" / "trim_sdk.py")
assert spec is not None
assert spec.loader is not None
trim_sdk = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trim_sdk)

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamodb": ("get_item", {"TableName": "ledger", "Key": {"pk": {"S": "a"}}}),
    "s3": ("put_object", {"Bucket": "runs", "Key": "a/b c.json", "Body": b"{}"}),
    "secretsmanager": ("get_secret_value", {"SecretId": "stigg"}),
    "sns": ("publish", {"TopicArn": "arn:aws:sns:eu-central-1:1:told", "Message": "m", "Subject": "s"}),
    "sqs": ("receive_message", {"QueueUrl": "https://sqs.eu-central-1.amazonaws.com/1/events"}),
    "stepfunctions": ("start_execution", {"stateMachineArn": "arn:aws:states:eu-central-1:1:m", "input": "{}"}),
}


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("botocore") / "data"
    data.mkdir()
    for path in FULL.iterdir():
        if path.is_file():
            shutil.copy(path, data)
        elif path.name in (*trim_sdk.SERVICES, "ec2", "events"):
            shutil.copytree(path, data / path.name)
    trim_sdk.trim(data)
    return data


def asked(data: Path, service: str, region: str) -> tuple[str, str, dict[str, str], bytes]:
    """What would be sent for a service's call: method, address, what of the headers is the same each time, body."""
    session = Session()
    session.register_component("data_loader", Loader([str(data)], include_default_search_paths=False))
    client = session.create_client(service, region_name=region)
    sent: list[AWSPreparedRequest] = []

    def instead(request: AWSPreparedRequest, **_: Any) -> Any:
        sent.append(request)
        return AWSResponse(request.url, 200, cast(Any, {}), None)

    client.meta.events.register("before-send", instead)
    operation, arguments = CALLS[service]
    try:
        getattr(client, operation)(**arguments)
    except AttributeError:  # an answer without a body
        pass
    [request] = sent
    headers = {name: str(value) for name, value in request.headers.items() if name in ("X-Amz-Target", "Content-Type")}
    sending: Any = request.body
    body = sending.read() if hasattr(sending, "read") else sending
    return request.method, request.url, headers, body


@pytest.mark.parametrize("region", ["eu-central-1", "us-east-1", "us-gov-west-1", "cn-north-1"])
@pytest.mark.parametrize("service", CALLS)
def test_a_call_is_the_same_and_goes_to_the_same_place(trimmed: Path, service: str, region: str) -> None:
    assert asked(trimmed, service, region) == asked(FULL, service, region)


def test_there_is_every_service_that_the_functions_use_and_no_other(trimmed: Path) -> None:
    sources = [*(ROOT / "layers" / "closedwon" / "closedwon").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
    used = {name for file in sources for name in re.findall(r'\bclient\(\s*"([a-z0-9]+)"', file.read_text())}
    assert used == set(trim_sdk.SERVICES) == CALLS.keys()
    assert {path.name for path in trimmed.iterdir() if path.is_dir()} == used


def test_it_is_small_and_trimming_it_again_changes_nothing(trimmed: Path) -> None:
    def files() -> dict[str, bytes]:
        return {str(path.relative_to(trimmed)): path.read_bytes() for path in trimmed.rglob("*") if path.is_file()}

    before = files()
    assert sum(map(len, before.values())) < 1_000_000
    assert "dynamodb/2012-08-10/paginators-1.json" in before
    trim_sdk.trim(trimmed)
    assert files() == before
