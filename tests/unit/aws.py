"""What unit tests make in moto: the ledger's table, a topic whose messages can be read; and Lambda's context."""

from __future__ import annotations

import json
from typing import Any

import boto3


class Invocation:
    """Lambda's context, of an invocation that has just begun. milliseconds: the function's time."""

    def __init__(self, milliseconds: int = 60_000) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


def make_ledger(dynamodb: Any) -> None:
    """The table "ledger", without the index of what is due."""
    dynamodb.create_table(
        TableName="ledger",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )


def make_topic() -> str:
    """Out: the ARN of a topic; `told` reads its messages."""
    sns, sqs = boto3.client("sns"), boto3.client("sqs")
    topic = str(sns.create_topic(Name="told")["TopicArn"])
    queue = sqs.create_queue(QueueName="told")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    return topic


def told() -> list[dict[str, Any]]:
    """What SNS sent since the topic was made, or since the last look."""
    sqs = boto3.client("sqs")
    queue = sqs.get_queue_url(QueueName="told")["QueueUrl"]
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(one["Body"]) for one in found]
