"""The sandbox's AWS does what AWS does, as far as closed-won relies on it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import moto.cloudformation.parsing as parsing
import pytest
import requests
from botocore.exceptions import ClientError
from moto import mock_aws

from sandbox.aws import LEFT_OUT, AwsSandbox, FunctionError, TemplateError, UnsupportedResource
from sandbox.aws.patches import dangling_transitions
from sandbox.aws.runtime import FunctionProcess
from sandbox.aws.scheduler import rate_seconds
from sandbox.aws.template import translate

ROOT = Path(__file__).parents[2]
REQUIRED = {
    "SalesforceUrl": "https://example.my.salesforce.com",
    "SalesforceOrganizationId": "00D5g000004xYzAEAU",
}

TINY_TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Greeting: { Type: String, Default: hello, AllowedPattern: "[a-z]+" }
Globals:
  Function:
    Runtime: python3.13
    Handler: app.lambda_handler
    Timeout: 2
    Layers: [!Ref Shared]
    Environment: { Variables: { GREETING: !Ref Greeting } }
Resources:
  Shared: { Type: "AWS::Serverless::LayerVersion", Properties: { ContentUri: layer } }
  Counters:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{ AttributeName: pk, AttributeType: S }]
      KeySchema: [{ AttributeName: pk, KeyType: HASH }]
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true }
  Store:
    Type: AWS::S3::Bucket
    Properties:
      PublicAccessBlockConfiguration: { BlockPublicAcls: true, BlockPublicPolicy: true }
      LifecycleConfiguration: { Rules: [{ Id: old, Status: Enabled, Prefix: a/, ExpirationInDays: 7 }] }
  Key:
    Type: AWS::SecretsManager::Secret
    Properties: { GenerateSecretString: { PasswordLength: 48, ExcludePunctuation: true } }
  Empty: { Type: "AWS::SecretsManager::Secret", Properties: { Description: no value yet } }
  DeadLetters: { Type: "AWS::SQS::Queue" }
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: live
      OpenApiVersion: 3.0.1
      MethodSettings:
        - { ResourcePath: "/*", HttpMethod: "*", ThrottlingRateLimit: 1, ThrottlingBurstLimit: 30 }
      Auth:
        DefaultAuthorizer: ByKey
        Authorizers:
          ByKey: { FunctionArn: !GetAtt Guard.Arn, Identity: { Header: x-api-key, ReauthorizeEvery: 300 } }
      Models:
        Things: { type: object, required: [things], properties: { things: { type: array, minItems: 1 } } }
  Guard: { Type: "AWS::Serverless::Function", Properties: { CodeUri: guard } }
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: worker
      Environment: { Variables: { TABLE: !Ref Counters } }
      EventInvokeConfig:
        MaximumRetryAttempts: 1
        DestinationConfig: { OnFailure: { Type: SQS, Destination: !GetAtt DeadLetters.Arn } }
      Events:
        Post:
          Type: Api
          Properties:
            { RestApiId: !Ref Api, Path: /v1/things, Method: POST, RequestModel: { Model: Things, ValidateBody: true } }
        Get: { Type: Api, Properties: { RestApiId: !Ref Api, Path: "/v1/things/{id}", Method: GET } }
        Tick:
          Type: ScheduleV2
          Properties: { ScheduleExpression: rate(5 minutes), Input: '{"do": "tick"}' }
        Trip:
          Type: ScheduleV2
          Properties: { ScheduleExpression: rate(5 minutes), Input: '{"do": "raise", "error": "Broken"}' }
  Machine:
    Type: AWS::Serverless::StateMachine
    Properties:
      DefinitionUri: machine.asl.yaml
      DefinitionSubstitutions: { WorkerArn: !GetAtt Worker.Arn }
      Role: arn:aws:iam::123456789012:role/machine
      Events:
        Nightly:
          Type: ScheduleV2
          Properties: { ScheduleExpression: "cron(15 2 * * ? *)", Input: '{"name": "nightly", "rounds": 2}' }
Outputs:
  Url: { Value: !Sub "https://${Api}.execute-api.${AWS::Region}.amazonaws.com/live" }
"""

MACHINE = """
StartAt: Work
States:
  Work:
    Type: Task
    Resource: ${WorkerArn}
    Retry:
      - { ErrorEquals: [Busy], IntervalSeconds: 60, MaxAttempts: 2, BackoffRate: 1 }
      - { ErrorEquals: [Runtime.ExitError, Sandbox.Timedout], IntervalSeconds: 60, MaxAttempts: 1 }
    Catch: [{ ErrorEquals: [States.ALL], ResultPath: $.failure, Next: Failed }]
    ResultPath: $.result
    Next: Again
  Again:
    Type: Choice
    Choices: [{ Variable: $.result.again, BooleanEquals: true, Next: Pause }]
    Default: Done
  Pause: { Type: Wait, Seconds: 60, Next: Work }
  Done: { Type: Succeed }
  Failed: { Type: Fail, ErrorPath: $.failure.Error, CausePath: $.failure.Cause }
"""

SHARED = """
class Busy(Exception): ...
class Broken(Exception): ...
"""

WORKER = """
import json, os, time
import boto3
import shared

table = boto3.resource("dynamodb").Table(os.environ["TABLE"])

def count(name):
    answer = table.update_item(Key={"pk": name}, UpdateExpression="ADD n :one",
                               ExpressionAttributeValues={":one": 1}, ReturnValues="ALL_NEW")
    return int(answer["Attributes"]["n"])

def lambda_handler(event, context):
    if "httpMethod" in event:
        if event["body"] and json.loads(event["body"]).get("crash"):
            raise ValueError("crash")
        seen = {k: event[k] for k in ("resource", "path", "pathParameters", "queryStringParameters", "body")}
        seen["principal"] = event["requestContext"]["authorizer"]["principalId"]
        return {"statusCode": 202, "headers": {"X-Seen": "yes"}, "body": json.dumps(seen)}
    number = count(event.get("name", "calls"))
    print(f"call {number}: {os.environ['GREETING']} {os.environ.get('EXTRA', '')}")
    for fault in event.get("faults", [])[number - 1 : number]:
        event = {**event, **fault}
    match event.get("do"):
        case "raise":
            raise getattr(shared, event["error"])("told to")
        case "hang":
            time.sleep(60)
        case "exit":
            os._exit(3)
    return {"number": number, "again": number < event.get("rounds", 0), "pid": os.getpid()}
"""

GUARD = """
def lambda_handler(event, context):
    token = event["authorizationToken"]
    print("asked")
    if token == "unknown":
        raise Exception("Unauthorized")
    if token == "broken":
        raise ValueError(token)
    effect = "Deny" if token == "denied" else "Allow"
    arn = event["methodArn"].split("/", 1)[0] + "/*"
    statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": arn}
    return {"principalId": "tester", "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}}
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsSandbox]:
    folder = tmp_path_factory.mktemp("tiny")
    files = {
        "template.yaml": TINY_TEMPLATE,
        "machine.asl.yaml": MACHINE,
        "layer/shared.py": SHARED,
        "worker/app.py": WORKER,
        "guard/app.py": GUARD,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    with AwsSandbox(folder / "template.yaml", {"Greeting": "salut"}, {"EXTRA": "more"}, wait_scale=0.001) as running:
        yield running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name no other test uses: the worker counts its calls by it."""
    return str(request.node.name)[:70]


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns after a microsecond, so that what is not atomic comes to light."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def run(aws: AwsSandbox, name: str, **event: Any) -> dict[str, Any]:
    started = aws.client("stepfunctions").start_execution(
        stateMachineArn=aws.state_machine_arns["Machine"],
        name=name,
        input=json.dumps({"name": name, "again": False, **event}),
    )
    return aws.wait_for_execution(started["executionArn"])


# ---- functions


def test_a_function_runs_in_a_process_that_stays_warm_with_the_templates_environment(
    aws: AwsSandbox, name: str
) -> None:
    first, second = (aws.functions.invoke("Worker", {"name": name}) for _ in range(2))
    assert (first["number"], second["number"]) == (1, 2)
    assert first["pid"] == second["pid"]
    assert aws.functions.logs["Worker"][-2:] == ["call 1: salut more", "call 2: salut more"]


def test_a_custom_exception_keeps_its_name_also_for_boto3(aws: AwsSandbox, name: str) -> None:
    event = {"name": name, "do": "raise", "error": "Broken"}
    with pytest.raises(FunctionError) as caught:
        aws.functions.invoke("Worker", event)
    assert caught.value.error_type == "Broken"
    answer = aws.client("lambda").invoke(FunctionName=aws.resources["Worker"], Payload=json.dumps(event))
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"].read())["errorType"] == "Broken"


def test_a_function_over_its_time_is_ended_as_sandbox_timedout(aws: AwsSandbox, name: str) -> None:
    with pytest.raises(FunctionError) as caught:
        aws.functions.invoke("Worker", {"name": name, "do": "hang"})
    assert caught.value.error_type == "Sandbox.Timedout"


def test_a_function_killed_under_way_ends_as_runtime_exit_error_and_the_next_call_starts_anew(
    aws: AwsSandbox, name: str
) -> None:
    before = len(aws.functions.logs["Worker"])
    with ThreadPoolExecutor() as pool:
        call = pool.submit(aws.functions.invoke, "Worker", {"name": name, "do": "hang"})
        while not any("call 1" in line for line in aws.functions.logs["Worker"][before:]):
            time.sleep(0.01)
        assert aws.functions.kill("Worker") >= 1
        with pytest.raises(FunctionError, match="signal: killed") as caught:
            call.result()
    assert caught.value.error_type == "Runtime.ExitError"
    assert aws.functions.invoke("Worker", {"name": name})["number"] == 2


def test_a_module_that_cannot_be_imported_is_an_error_of_the_invocation(tmp_path: Path) -> None:
    from sandbox.aws.lambdas import Functions
    from sandbox.aws.template import FunctionSource

    (tmp_path / "app.py").write_text("import not_there")
    functions = Functions("us-east-1", {}, 1, 1.0, lambda queue, body: None)
    functions.add("F", "f", "arn:f", FunctionSource(tmp_path, "app.lambda_handler", (), 3, 128, "Text"), {})
    with pytest.raises(FunctionError, match="not_there") as caught:
        functions.invoke("F", {})
    functions.stop()
    assert caught.value.error_type == "Runtime.ImportModuleError"


def test_calls_at_once_are_served_by_several_processes_and_no_more_than_allowed(aws: AwsSandbox, name: str) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: aws.functions.invoke("Worker", {"name": name}), range(40)))
    assert sorted(a["number"] for a in answers) == list(range(1, 41))
    assert 1 < len({a["pid"] for a in answers}) <= aws.concurrency


# ---- the state machine


def test_a_named_error_is_retried_and_the_execution_goes_on(aws: AwsSandbox, name: str) -> None:
    ended = run(aws, name, faults=[{"do": "raise", "error": "Busy"}, {"do": "raise", "error": "Busy"}])
    assert ended["status"] == "SUCCEEDED"
    assert json.loads(ended["output"])["result"]["number"] == 3


def test_an_error_nobody_retries_is_caught_with_its_name_and_cause(aws: AwsSandbox, name: str) -> None:
    ended = run(aws, name, do="raise", error="Broken")
    assert (ended["status"], ended["error"]) == ("FAILED", "Broken")
    assert json.loads(ended["cause"])["errorMessage"] == "told to"
    assert aws.states_entered(ended["executionArn"]) == ["Work", "Failed"]


@pytest.mark.parametrize("fault", ["exit", "hang"])
def test_a_process_that_dies_or_hangs_is_retried_by_lambdas_error_names(aws: AwsSandbox, name: str, fault: str) -> None:
    assert run(aws, name.strip("]").replace("[", "-"), faults=[{"do": fault}])["status"] == "SUCCEEDED"


def test_retries_are_counted_anew_each_time_a_state_is_entered(aws: AwsSandbox, name: str) -> None:
    busy = {"do": "raise", "error": "Busy"}
    ended = run(aws, name, rounds=5, faults=[busy, busy, {}, busy, busy])  # two retries allowed, four needed
    assert ended["status"] == "SUCCEEDED"
    assert aws.states_entered(ended["executionArn"]) == ["Work", "Again", "Pause", "Work", "Again", "Done"]


@pytest.mark.usefixtures("hasty_threads")
def test_one_name_is_one_execution_however_many_start_it_at_once(aws: AwsSandbox, name: str) -> None:
    machine = aws.state_machine_arns["Machine"]

    def start(_: int) -> str:
        arn: str = aws.client("stepfunctions").start_execution(
            stateMachineArn=machine, name=name, input=json.dumps({"name": name, "do": "hang"})
        )["executionArn"]
        return arn

    aws.client("stepfunctions")
    with ThreadPoolExecutor(8) as pool:
        arns = set(pool.map(start, range(8)))
    assert len(arns) == 1
    assert [e["name"] for e in aws.executions("Machine")].count(name) == 1
    assert aws.wait_for_execution(arns.pop())["status"] == "FAILED"
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        start(0)


@pytest.mark.parametrize("bad", ["x" * 81, "a:b", "a b", "a/b", "ä\u0007"])
def test_names_that_aws_refuses_are_refused(aws: AwsSandbox, bad: str) -> None:
    with pytest.raises(ClientError, match="InvalidName"):
        aws.client("stepfunctions").start_execution(stateMachineArn=aws.state_machine_arns["Machine"], name=bad)


def test_a_transition_to_a_state_that_does_not_exist_is_refused(aws: AwsSandbox) -> None:
    definition = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "Nowhere"}}}
    assert dangling_transitions(definition) == ["A -> Nowhere"]
    with pytest.raises(ClientError, match="InvalidDefinition"):
        aws.client("stepfunctions").create_state_machine(
            name="dangling", definition=json.dumps(definition), roleArn="arn:aws:iam::123456789012:role/r"
        )


STEPS = """
def lambda_handler(event, context):
    step, script = "STEP", dict(part.split("=") for part in event["accountId"].split(","))
    if "failure" in event:
        print(event["failure"]["Error"])
        if "tell" in script:
            raise type(script["tell"], (Exception,), {})("cannot be told")
        return {}
    assert event["execution"]
    if script.get("fail") == step:
        raise type(script["error"], (Exception,), {})("told to")
    token = event["token"] + (step == "account_write_back")
    again = script.get("again") and token < 2
    result = "again" if again else script.get("result", "provisioned")
    answer = {"work": script.get("work"), "result": result, "cause": "no"}
    return {"accountId": event["accountId"], "token": token, **answer}
"""
ROUND = ["CustomerProvision", "WorkToDo", "SubscriptionProvision", "AccountWriteBack", "WrittenBack"]


ASKING = ["ResourceProvision", *ROUND]


@pytest.fixture(scope="module")
def provision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsSandbox]:
    """The real template and state machine over handlers that do what their account's ID says."""
    with scripted(tmp_path_factory.mktemp("provision"), REQUIRED) as running:
        yield running


@pytest.fixture(scope="module")
def asking_provision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsSandbox]:
    """The same where the user's own application is asked first."""
    with scripted(
        tmp_path_factory.mktemp("asking"), {**REQUIRED, "OwnApplicationUrl": "https://app.example"}
    ) as running:
        yield running


def scripted(folder: Path, parameters: dict[str, str]) -> AwsSandbox:
    shutil.copy(ROOT / "template.yaml", folder)
    shutil.copytree(ROOT / "statemachines", folder / "statemachines")
    for step in ("resource_provision", "customer_provision", "subscription_provision", "account_write_back"):
        (folder / "functions" / step).mkdir(parents=True)
        (folder / "functions" / step / "app.py").write_text(STEPS.replace("STEP", step))
    return AwsSandbox(folder / "template.yaml", parameters, wait_scale=0.0005)


@pytest.mark.parametrize(
    ("script", "status", "error", "states"),
    [
        ("work=provision", "SUCCEEDED", None, [*ROUND, "Provisioned"]),
        ("work=write_back", "SUCCEEDED", None, [s for s in ROUND if s[0] != "S"] + ["Provisioned"]),
        ("work=none", "SUCCEEDED", None, ["CustomerProvision", "WorkToDo", "NothingToDo"]),
        ("work=paused", "SUCCEEDED", None, ["CustomerProvision", "WorkToDo", "Paused"]),
        ("work=shadow", "SUCCEEDED", None, ["CustomerProvision", "WorkToDo", "Watched"]),
        ("work=provision,again=1", "SUCCEEDED", None, [*ROUND, *ROUND, "Provisioned"]),
        ("work=provision,result=refused", "FAILED", "DealRefused", [*ROUND, "Refused"]),
        (
            "fail=customer_provision,error=StiggRefused",
            "FAILED",
            "StiggRefused",
            ["CustomerProvision", "FailureWriteBack", "ProvisioningFailed"],
        ),
        (
            "work=provision,fail=subscription_provision,error=StiggUnavailable,tell=SalesforceRefused",
            "FAILED",
            "StiggUnavailable",
            [*ROUND[:3], "FailureWriteBack", "ProvisioningFailed"],
        ),
    ],
)
def test_the_provisioning_machine_goes_the_way_its_steps_say(
    provision: AwsSandbox, script: str, status: str, error: str | None, states: list[str]
) -> None:
    assert went(provision, script) == (status, error, states)


@pytest.mark.parametrize(
    ("script", "status", "error", "states"),
    [
        ("work=provision", "SUCCEEDED", None, [*ASKING, "Provisioned"]),
        ("work=provision,again=1", "SUCCEEDED", None, [*ASKING, *ASKING, "Provisioned"]),
        (
            "work=provision,fail=resource_provision,error=ApplicationUnavailable",
            "SUCCEEDED",
            None,
            [*ASKING, "Provisioned"],
        ),
        (
            "fail=resource_provision,error=SecretInvalid",
            "FAILED",
            "SecretInvalid",
            ["ResourceProvision", "FailureWriteBack", "ProvisioningFailed"],
        ),
    ],
)
def test_where_the_users_own_application_is_asked_first_every_round_begins_with_it(
    asking_provision: AwsSandbox, script: str, status: str, error: str | None, states: list[str]
) -> None:
    assert went(asking_provision, script) == (status, error, states)


def went(provision: AwsSandbox, script: str) -> tuple[str, str | None, list[str]]:
    """Status, error and states of an execution whose steps follow a script."""
    started = provision.client("stepfunctions").start_execution(
        stateMachineArn=provision.state_machine_arns["ProvisionStateMachine"],
        input=json.dumps({"accountId": script, "token": 0, "notBefore": "2026-11-20T09:00:00.000Z"}),
    )
    ended = provision.wait_for_execution(started["executionArn"])
    turn, *states = provision.states_entered(started["executionArn"])
    assert turn == "WaitForRateSlot"  # once, however often it goes round
    return ended["status"], ended.get("error"), states


# ---- the ledger's and the secrets' promises


@pytest.mark.long
@pytest.mark.usefixtures("hasty_threads")
def test_conditional_writes_and_transactions_lose_nothing_among_many_threads_and_sandboxes(
    aws: AwsSandbox, name: str
) -> None:
    with AwsSandbox(aws.template, {}, wait_scale=0.001) as other, ThreadPoolExecutor(8) as pool:
        counters = [Counter(sandbox, name) for sandbox in (aws, other)]
        list(pool.map(lambda turn: counters[turn % 2].raise_by_one(), range(160)))
        assert [counter.value() for counter in counters] == [80, 80]


class Counter:
    """A number in a sandbox's ledger that many raise at once."""

    def __init__(self, sandbox: AwsSandbox, name: str) -> None:
        self.dynamodb, self.table = sandbox.client("dynamodb"), sandbox.resources["Counters"]
        self.key = {"pk": {"S": name}}
        self.dynamodb.put_item(TableName=self.table, Item={**self.key, "n": {"N": "0"}})

    def value(self) -> int:
        return int(self.dynamodb.get_item(TableName=self.table, Key=self.key)["Item"]["n"]["N"])

    def raise_by_one(self) -> None:
        while True:
            seen = self.value()
            update = {
                "TableName": self.table,
                "Key": self.key,
                "UpdateExpression": "SET n = :new",
                "ConditionExpression": "n = :seen",
                "ExpressionAttributeValues": {":new": {"N": str(seen + 1)}, ":seen": {"N": str(seen)}},
            }
            try:
                self.dynamodb.transact_write_items(TransactItems=[{"Update": update}])
                return
            except self.dynamodb.exceptions.TransactionCanceledException:
                continue


def test_a_secret_is_generated_rotated_and_missing_as_in_aws(aws: AwsSandbox) -> None:
    secrets = aws.client("secretsmanager")
    first = aws.secret("Key")
    assert len(first) == 48
    assert first.isalnum()
    with pytest.raises(secrets.exceptions.ResourceNotFoundException):
        secrets.get_secret_value(SecretId=aws.resources["Key"], VersionStage="AWSPREVIOUS")
    aws.put_secret("Key", "second")
    previous = secrets.get_secret_value(SecretId=aws.resources["Key"], VersionStage="AWSPREVIOUS")
    assert (aws.secret("Key"), previous["SecretString"]) == ("second", first)

    with pytest.raises(secrets.exceptions.ResourceNotFoundException):
        aws.secret("Empty")
    aws.put_secret("Empty", {"apiKey": "k"})
    assert json.loads(aws.secret("Empty")) == {"apiKey": "k"}
    with pytest.raises(secrets.exceptions.ResourceNotFoundException):
        secrets.get_secret_value(SecretId=aws.resources["Empty"], VersionStage="AWSPREVIOUS")


# ---- the schedule


def test_a_schedule_runs_on_demand_and_dead_letters_what_keeps_failing(aws: AwsSandbox) -> None:
    assert aws.run_schedule("WorkerTick").error_type is None
    assert aws.run_schedule("WorkerTrip").error_type == "Broken"
    queue = aws.resources["DeadLetters"]
    (message,) = aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    record = json.loads(message["Body"])
    assert record["requestPayload"] == {"do": "raise", "error": "Broken"}
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responsePayload"]["errorType"] == "Broken"


def test_a_schedule_starts_an_execution_of_its_state_machine(aws: AwsSandbox) -> None:
    ended = aws.run_schedule("MachineNightly")
    assert (ended.error_type, ended.value()["result"]["number"]) == (None, 2)
    newest = aws.executions("Machine")[0]["executionArn"]
    described = aws.client("stepfunctions").describe_execution(executionArn=newest)
    assert json.loads(described["input"]) == {"name": "nightly", "rounds": 2}


def test_rates_are_read_and_other_expressions_refused() -> None:
    assert (rate_seconds("rate(5 minutes)"), rate_seconds("rate(1 hour)")) == (300.0, 3600.0)
    with pytest.raises(ValueError, match="cron"):
        rate_seconds("cron(0 1 * * ? *)")


# ---- the bucket, and the table's export to it


def test_a_bucket_is_as_the_template_says(aws: AwsSandbox) -> None:
    s3, bucket = aws.client("s3"), aws.resources["Store"]
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [
        {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "a/"}, "Expiration": {"Days": 7}}
    ]
    blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert (blocked["BlockPublicAcls"], blocked["IgnorePublicAcls"]) == (True, False)
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"")
    aws.empty_bucket("Store")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_table_is_exported_as_it_was_when_that_was_asked_for(aws: AwsSandbox) -> None:
    dynamodb, s3, bucket = aws.client("dynamodb"), aws.client("s3"), aws.resources["Store"]
    table = aws.resources["Counters"]

    def put(number: int, text: str) -> None:
        item = {"pk": {"S": f"exported {number}"}, "n": {"N": str(number)}, "text": {"S": text}}
        dynamodb.put_item(TableName=table, Item=item)

    for number in range(20):
        put(number, "then")
    arn = dynamodb.describe_table(TableName=table)["Table"]["TableArn"]
    asked = {"TableArn": arn, "S3Bucket": bucket, "S3Prefix": "some/where", "ClientToken": "once"}
    export = dynamodb.export_table_to_point_in_time(**asked)["ExportDescription"]
    for number in range(20):
        put(number, "later")
    again = dynamodb.export_table_to_point_in_time(**asked)["ExportDescription"]
    assert (export["ExportStatus"], again["ExportArn"]) == ("IN_PROGRESS", export["ExportArn"])
    while export["ExportStatus"] == "IN_PROGRESS":
        export = dynamodb.describe_export(ExportArn=export["ExportArn"])["ExportDescription"]

    def read(key: str) -> bytes:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    manifest = json.loads(read(export["ExportManifest"]))
    files = [json.loads(line) for line in read(manifest["manifestFilesS3Key"]).splitlines()]
    assert len(files) > 1
    assert all(file["dataFileS3Key"].startswith("some/where/AWSDynamoDB/") for file in files)
    lines = [line for file in files for line in gzip.decompress(read(file["dataFileS3Key"])).splitlines()]
    assert len(lines) == manifest["itemCount"] == sum(file["itemCount"] for file in files)
    items = [json.loads(line)["Item"] for line in lines]
    found = {item["n"]["N"]: item["text"] for item in items if item["pk"]["S"].startswith("exported")}
    assert found == {str(number): {"S": "then"} for number in range(20)}


# ---- the gateway


def call(aws: AwsSandbox, method: str, path: str, key: str | None = "good", **more: Any) -> requests.Response:
    headers = {} if key is None else {"x-api-key": key}
    return requests.request(method, aws.callout_url + path, headers=headers, timeout=30, **more)


def test_the_output_that_names_the_api_leads_to_the_gateway(aws: AwsSandbox) -> None:
    assert aws.outputs["Url"] == aws.callout_url


def test_the_gateway_hands_the_request_to_the_function_and_its_answer_back(aws: AwsSandbox) -> None:
    answer = call(aws, "POST", "/v1/things?a=1", json={"things": [1]})
    assert (answer.status_code, answer.headers["X-Seen"]) == (202, "yes")
    assert answer.json()["queryStringParameters"] == {"a": "1"}
    assert answer.json()["principal"] == "tester"
    assert json.loads(answer.json()["body"]) == {"things": [1]}
    got = call(aws, "GET", "/v1/things/42").json()
    assert (got["resource"], got["pathParameters"]) == ("/v1/things/{id}", {"id": "42"})


@pytest.mark.parametrize(
    ("key", "status", "body"),
    [
        (None, 401, {"message": "Unauthorized"}),
        ("unknown", 401, {"message": "Unauthorized"}),
        ("denied", 403, {"Message": "User is not authorized to access this resource with an explicit deny"}),
        ("broken", 500, {"message": None}),
    ],
)
def test_the_gateway_refuses_as_api_gateway_does(aws: AwsSandbox, key: str | None, status: int, body: Any) -> None:
    answer = call(aws, "GET", "/v1/things/1", key)
    assert (answer.status_code, answer.json()) == (status, body)


def test_the_authorizers_answer_is_kept_and_a_missing_key_never_reaches_it(aws: AwsSandbox) -> None:
    asked = len(aws.functions.logs["Guard"])
    call(aws, "GET", "/v1/things/1", "kept")
    call(aws, "GET", "/v1/things/2", "kept")
    call(aws, "GET", "/v1/things/2", None)
    assert aws.functions.logs["Guard"][asked:] == ["asked"]


def test_the_gateway_answers_for_bad_bodies_unknown_paths_and_failing_functions(aws: AwsSandbox) -> None:
    invalid = [
        call(aws, "POST", "/v1/things", json={"things": []}),
        call(aws, "POST", "/v1/things", data="{"),
    ]
    assert [(a.status_code, a.json()) for a in invalid] == [(400, {"message": "Invalid request body"})] * 2
    unknown = call(aws, "GET", "/v2/things")
    assert (unknown.status_code, unknown.json()) == (403, {"message": "Missing Authentication Token"})
    crashed = call(aws, "POST", "/v1/things", json={"things": [1], "crash": True})
    assert (crashed.status_code, crashed.json()) == (502, {"message": "Internal server error"})


def test_more_calls_than_the_stage_allows_are_answered_429(aws: AwsSandbox) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: call(aws, "GET", "/v1/things/1", None), range(60)))
    refused = [a.json() for a in answers if a.status_code == 429]
    assert refused
    assert refused[0] == {"message": "Too Many Requests"}


# ---- templates


def test_every_resource_of_the_real_template_is_created_or_on_the_list_of_what_is_left_out() -> None:
    translated = translate(ROOT / "template.yaml", REQUIRED, "us-east-1").cloudformation
    types = {resource["Type"] for resource in translated["Resources"].values()}
    assert types - set(LEFT_OUT) <= set(parsing.get_model_map())
    assert set(LEFT_OUT) <= types, "something is on the list without need"


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "SalesforceUrl has no default"),
        ({**REQUIRED, "SalesforceUrl": "http://example.com"}, "SalesforceUrl does not match"),
        ({**REQUIRED, "EndOfTermPolicy": "forget"}, "EndOfTermPolicy must be one of keep, grace, end"),
        ({**REQUIRED, "WriteLifetimeSeconds": "0"}, "between 1 and 180"),
        ({**REQUIRED, "NoSuch": "1"}, "does not have: NoSuch"),
    ],
)
def test_parameters_are_checked_as_cloudformation_checks_them(parameters: dict[str, str], told: str) -> None:
    with pytest.raises(TemplateError, match=told):
        translate(ROOT / "template.yaml", parameters, "us-east-1")


def test_a_type_that_would_vanish_silently_is_refused() -> None:
    from sandbox.aws.resources import require_supported

    with pytest.raises(UnsupportedResource, match="AWS::Pipes::Pipe"):
        require_supported({"Resources": {"P": {"Type": "AWS::Pipes::Pipe"}}})


def test_sandboxes_in_one_process_do_not_see_each_other(aws: AwsSandbox, name: str) -> None:
    aws.functions.invoke("Worker", {"name": name})
    with AwsSandbox(aws.template, {}, wait_scale=0.001) as other:
        assert other.functions.invoke("Worker", {"name": name})["number"] == 1
        assert run(other, name, faults=[{}, {"do": "raise", "error": "Busy"}])["status"] == "SUCCEEDED"
        assert other.client("sts").get_caller_identity()["Account"] == other.account != aws.account
        assert other.secret("Key") != aws.secret("Key")
    assert [e["name"] for e in aws.executions("Machine")].count(name) == 0
    assert aws.functions.invoke("Worker", {"name": name})["number"] == 2


def test_a_mock_of_moto_in_the_same_process_begins_empty_and_leaves_the_sandbox_as_it_is(
    aws: AwsSandbox, name: str
) -> None:
    """Tests share a worker's process: one with a sandbox, and one that mocks AWS, in any order."""
    aws.functions.invoke("Worker", {"name": name})
    for _ in range(2):
        with mock_aws():
            mocked = boto3.client("dynamodb")
            assert mocked.list_tables()["TableNames"] == []
            mocked.create_table(
                TableName="t",
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            )
    assert aws.functions.invoke("Worker", {"name": name})["number"] == 2


def test_a_process_that_died_reads_nothing_of_what_has_its_number_next(tmp_path: Path) -> None:
    process = FunctionProcess("app.lambda_handler", tmp_path, [], {"PATH": os.environ["PATH"]}, lambda line: None)
    process.kill()
    pipes = [os.pipe() for _ in range(16)]  # files get the least numbers that are free
    try:
        for read, write in pipes:
            os.set_blocking(read, False)
            os.write(write, b"somebody else's")
        assert not process._drain()
        assert [os.read(read, 100) for read, _ in pipes] == [b"somebody else's"] * 16
    finally:
        for end in (end for pipe in pipes for end in pipe):
            os.close(end)
