"""The whole of a template's AWS on one machine, for as long as a `with` lasts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from wsgiref.types import WSGIEnvironment

import boto3
from botocore.config import Config
from moto.awslambda.utils import get_backend as lambda_backend
from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.parsing import clean_json
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.base_backend import BackendDict
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends
from moto.stepfunctions.responses import get_backend as stepfunctions_backend

from sandbox.aws import resources as cfn  # first: it imports all of moto's models
from sandbox.aws.calls import Calls
from sandbox.aws.gateway import Gateway
from sandbox.aws.lambdas import AsyncConfig, Functions
from sandbox.aws.patches import Running, corrected, waiting_less
from sandbox.aws.runtime import Outcome
from sandbox.aws.scheduler import Scheduler
from sandbox.aws.server import LoopbackServer, moto_application
from sandbox.aws.template import TemplateError, Translation, translate
from sandbox.started import Started

STACK_NAME = "sandbox"


class Deployed(NamedTuple):
    """A resource of the stack. type: such as AWS::IAM::Role; properties: with all references resolved."""

    type: str
    properties: dict[str, Any]


class AwsSandbox(Started):
    """Deploys a SAM template into moto and runs it.

    template: path of template.yaml; code, layers and definitions are found relative to it.
    parameters: values of the template's parameters; its defaults hold for the rest.
    environment: variables every function gets besides those of the template (REQUESTS_CA_BUNDLE, for example).
    concurrency: processes a function may have at once; further calls wait.
    wait_scale: multiplies the state machines' Retry and Wait delays and Lambda's delays between asynchronous retries.
    ports: of the gateway and of AWS's API; 0 takes a free one.
    longest_invocation: seconds that cap every function's time-out, so that tests of time-outs need not wait for it.

    Usable as a context manager. Several can run in one process: each has an AWS account of its own.
    Raises TemplateError or UnsupportedResource from `start`.
    """

    _accounts = threading.Lock()
    _taken: ClassVar[set[str]] = set()

    def __init__(
        self,
        template: Path,
        parameters: Mapping[str, str],
        environment: Mapping[str, str] = {},
        concurrency: int = 4,
        wait_scale: float = 1.0,
        *,
        region: str = "us-east-1",
        callout_port: int = 0,
        aws_port: int = 0,
        longest_invocation: float | None = None,
    ) -> None:
        self.template = template
        self.parameters = dict(parameters)
        self.environment = dict(environment)
        self.concurrency = concurrency
        self.wait_scale = wait_scale
        self.region = region
        self._ports = (callout_port, aws_port)
        self._longest_invocation = longest_invocation
        super().__init__()
        self._clients: dict[str, Any] = {}
        self.account = ""
        self.endpoint_url = ""
        self.callout_url = ""
        self.outputs: dict[str, str] = {}
        self.resources: dict[str, str] = {}
        self.state_machine_arns: dict[str, str] = {}
        self.functions: Functions
        self.calls: Calls
        self.deployed: dict[str, Deployed] = {}
        self.gateway: Gateway | None = None
        self._scheduler: Scheduler

    # ---- life

    def _start(self) -> None:
        """Deploy, and serve."""
        translation = translate(self.template, self.parameters, self.region)
        cfn.require_supported(translation.cloudformation)
        self.account = self._take_account()
        # Undone in reverse: the account is given back when nothing uses it any more.
        self._exits.callback(self._give_account_back)
        self.calls = Calls(self.account)
        self._aws = moto_application(self.account, self.calls)
        server = LoopbackServer(self._aws, self._ports[1], moto=True)
        self._exits.callback(server.stop)
        self.endpoint_url = server.url
        self.functions = Functions(
            self.region,
            {"AWS_ENDPOINT_URL": server.url, **self.environment},
            self.concurrency,
            self.wait_scale,
            self._send_message,
        )
        running = Running(self.functions, self.wait_scale, server.port)
        self._exits.enter_context(corrected(self.account, running))
        # Before the corrections are undone: what still runs looks up its sandbox in them.
        self._exits.callback(self.functions.stop)
        self._deploy(translation)
        self._exits.callback(self._stop_executions)
        self._exits.callback(self._scheduler.stop)  # before them: it could start another

    def _take_account(self) -> str:
        with self._accounts:
            # Never moto's default account: a test that mocks AWS in this process uses and empties that one.
            numbers = (str(number) for number in count(int(DEFAULT_ACCOUNT_ID) + 1))
            account = next(number for number in numbers if number not in self._taken)
            self._taken.add(account)
        return account

    def _give_account_back(self) -> None:
        # moto's backends live as long as the process, and the next sandbox with this number has to find them empty.
        for backends in list(BackendDict._instances):
            if self.account in backends:
                backends[self.account].reset()
        with self._accounts:
            self._taken.discard(self.account)

    def _deploy(self, translation: Translation) -> None:
        stack = cloudformation_backends[self.account][self.region].create_stack(
            name=STACK_NAME,
            template=json.dumps(translation.cloudformation),
            parameters=translation.parameters,
        )
        if stack.status != "CREATE_COMPLETE":
            raise TemplateError(f"the stack ended as {stack.status}")
        made = {name: stack.resource_map[name] for name in translation.cloudformation["Resources"]}
        # What has a condition that does not hold is None.
        made = {name: resource for name, resource in made.items() if resource is not None}
        self.resources = {name: _physical_id(resource) for name, resource in made.items()}
        self.deployed = {
            name: Deployed(resource["Type"], clean_json(resource.get("Properties", {}), stack.resource_map))
            for name, resource in translation.cloudformation["Resources"].items()
            if name in made
        }
        for logical_id, source in translation.functions.items():
            deployed = lambda_backend(self.account, self.region).get_function(self.resources[logical_id])
            variables = {name: str(value) for name, value in deployed.environment_vars.items()}
            if self._longest_invocation is not None:
                source = replace(source, timeout=min(source.timeout, self._longest_invocation))
            self.functions.add(logical_id, deployed.function_name, deployed.function_arn, source, variables)
        of_type = _ByType(translation.cloudformation, made)
        self._enable_recovery(translation)
        for config in of_type("AWS::Lambda::EventInvokeConfig").values():
            self.functions.find(config["FunctionName"]).asynchronous = AsyncConfig(
                retries=int(config.get("MaximumRetryAttempts", 2)),
                on_failure=config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"),
            )
        self.state_machine_arns = {name: self.resources[name] for name in of_type("AWS::StepFunctions::StateMachine")}
        schedules = of_type("AWS::Scheduler::Schedule")
        self._scheduler = Scheduler(
            schedules, self.functions, self._start_scheduled, self._send_message, self.account, self.region
        )
        self._exits.callback(self._scheduler.stop)
        self._serve_api(of_type)
        outputs = [output for output in stack.output_map.values() if output is not None]  # its condition holds
        self.outputs = {output.key: self._served(str(output.value)) for output in outputs}

    def _enable_recovery(self, translation: Translation) -> None:
        """Point-in-time recovery, which moto's CloudFormation passes over; without it a table cannot be exported."""
        for name, resource in translation.cloudformation["Resources"].items():
            wanted = resource.get("Properties", {}).get("PointInTimeRecoverySpecification")
            if resource["Type"] == "AWS::DynamoDB::Table" and wanted is not None:
                backend = dynamodb_backends[self.account][self.region]
                backend.update_continuous_backups(self.resources[name], wanted)

    def _serve_api(self, of_type: _ByType) -> None:
        apis = of_type("AWS::ApiGateway::RestApi")
        if not apis:
            return
        (logical_id, api), *others = apis.items()
        if others:
            raise TemplateError("the sandbox serves one REST API")
        stages = list(of_type("AWS::ApiGateway::Stage").values())
        self.gateway = Gateway(
            api["Body"],
            self.functions,
            api_id=self.resources[logical_id],
            stage=stages[0]["StageName"] if stages else "sandbox",
            method_settings=stages[0].get("MethodSettings", []) if stages else [],
            account=self.account,
            region=self.region,
        )
        server = LoopbackServer(self.gateway, self._ports[0])
        self._exits.callback(server.stop)
        self.callout_url = server.url
        self._aws_callout_url = f"https://{self.resources[logical_id]}.execute-api.{self.region}.amazonaws.com"

    def _served(self, output: str) -> str:
        """An output with the API's address in AWS replaced by its address here."""
        if not self.callout_url or not output.startswith(self._aws_callout_url):
            return output
        _, _, path = output[len(self._aws_callout_url) :].lstrip("/").partition("/")  # the stage goes
        return f"{self.callout_url}/{path}".rstrip("/")

    def _stop_executions(self) -> None:
        for machine in stepfunctions_backend(self.account, self.region).state_machines:
            for execution in machine.executions:
                if execution.status == "RUNNING":
                    execution.stop(stop_date=None, error=None, cause=None)

    def _start_scheduled(self, state_machine_arn: str, execution_input: str) -> Future[Outcome]:
        """What a schedule does with a state machine. Out: how the execution ended, once it has. Raises KeyError."""
        stepfunctions = self.client("stepfunctions")
        try:
            started = stepfunctions.start_execution(stateMachineArn=state_machine_arn, input=execution_input)
        except stepfunctions.exceptions.StateMachineDoesNotExist:
            raise KeyError(state_machine_arn) from None
        arn = started["executionArn"]
        future: Future[Outcome] = Future()

        def wait() -> None:
            ended = self.wait_for_execution(arn, seconds=3600)
            if ended["status"] == "SUCCEEDED":
                future.set_result(Outcome(ended["output"].encode()))
            else:
                future.set_result(Outcome.failed(ended.get("error") or ended["status"], ended.get("cause") or ""))

        threading.Thread(target=wait, daemon=True, name=f"scheduled {arn.rsplit(':', 1)[1]}").start()
        return future

    def _send_message(self, queue_arn: str, body: str) -> None:
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=queue_arn.rsplit(":", 1)[1])["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=body)

    # ---- use

    def client(self, service: str) -> Any:
        """A boto3 client of the sandbox's AWS. Kept, and safe to use in several threads."""
        if service not in self._clients:
            session: Any = boto3.session.Session(
                aws_access_key_id="sandbox", aws_secret_access_key="sandbox", region_name=self.region
            )
            # Tests ask from many threads, and botocore keeps ten connections unless it is told otherwise.
            config = Config(retries={"total_max_attempts": 1}, max_pool_connections=32)
            self._clients[service] = session.client(service, endpoint_url=self.endpoint_url, config=config)
        return self._clients[service]

    def secret(self, logical_id: str) -> str:
        """The current value of a secret. Raises the client's ResourceNotFoundException when it has none."""
        value: str = self.client("secretsmanager").get_secret_value(SecretId=self.resources[logical_id])["SecretString"]
        return value

    def put_secret(self, logical_id: str, value: str | Mapping[str, Any]) -> None:
        """Give a secret a new value; the one before becomes AWSPREVIOUS. Data is stored as JSON."""
        text = value if isinstance(value, str) else json.dumps(value)
        self.client("secretsmanager").put_secret_value(SecretId=self.resources[logical_id], SecretString=text)

    def run_schedule(self, logical_id: str) -> Outcome:
        """Do now what this schedule does at its time; wait for it, retries included."""
        return self._scheduler.run(logical_id)

    def start_schedules(self, every: float | None = None) -> None:
        """Run the schedules by the clock until `stop`; `every` overrides their rate, in seconds."""
        self._scheduler.start(every)

    def throttle_dynamodb(self, throttle: Callable[[str], bool] | None) -> None:
        """Have requests of functions to DynamoDB throttled from now on where this says so, by their target."""
        self._aws.throttle = throttle

    def guard_queues(self, admits: Callable[[WSGIEnvironment, bytes], bool]) -> None:
        """Have requests to SQS refused from now on that this does not admit, by their body."""
        self._aws.admits = admits

    def waiting_less(self, scale: float) -> AbstractContextManager[None]:
        """While it lasts, the state machines' Retry and Wait delays are multiplied by this."""
        return waiting_less(self.account, scale)

    def executions(self, state_machine: str, status: str | None = None) -> list[dict[str, Any]]:
        """The executions of a state machine (logical ID or ARN), newest first, as ListExecutions tells them."""
        arn = self.state_machine_arns.get(state_machine, state_machine)
        wanted = {"stateMachineArn": arn, **({"statusFilter": status} if status else {})}
        pages = self.client("stepfunctions").get_paginator("list_executions").paginate(**wanted, maxResults=1000)
        return [execution for page in pages for execution in page["executions"]]

    def busy(self) -> bool:
        """Whether an execution runs. Asked of moto itself: who waits asks often, and a request costs milliseconds."""
        machines = stepfunctions_backend(self.account, self.region).state_machines
        return any(execution.status == "RUNNING" for machine in machines for execution in list(machine.executions))

    def forget_executions(self) -> None:
        """End all executions and give their names back, which AWS keeps taken for 90 days."""
        self._stop_executions()
        for machine in stepfunctions_backend(self.account, self.region).state_machines:
            machine.executions.clear()

    def empty_table(self, logical_id: str) -> None:
        """Delete every item of a DynamoDB table."""
        dynamodb_backends[self.account][self.region].get_table(self.resources[logical_id]).items.clear()

    def empty_bucket(self, logical_id: str) -> None:
        """Delete every object of a bucket."""
        bucket = s3_backends[self.account]["aws"].get_bucket(self.resources[logical_id])
        for name in list(bucket.keys):
            bucket.keys.pop(name)

    def history(self, execution_arn: str) -> list[dict[str, Any]]:
        """An execution's events, oldest first."""
        pages = self.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=execution_arn)
        return [event for page in pages for event in page["events"]]

    def states_entered(self, execution_arn: str) -> list[str]:
        """The names of the states an execution went through, in order."""
        entered = (event.get("stateEnteredEventDetails") for event in self.history(execution_arn))
        return [details["name"] for details in entered if details]

    def wait_for_execution(self, execution_arn: str, seconds: float = 300.0) -> dict[str, Any]:
        """Wait for an execution's end. Out: what DescribeExecution tells. Raises TimeoutError."""
        backend = stepfunctions_backend(self.account, self.region)
        deadline = time.monotonic() + seconds
        while backend.describe_execution(execution_arn).status == "RUNNING":
            if time.monotonic() > deadline:
                raise TimeoutError(f"still running after {seconds} s: {execution_arn.rsplit(':', 1)[1]}")
            time.sleep(0.01)
        described: dict[str, Any] = self.client("stepfunctions").describe_execution(executionArn=execution_arn)
        return described


def _physical_id(resource: Any) -> str:
    """moto's layers have only an ARN, which is what AWS gives them as physical ID."""
    return str(getattr(resource, "physical_resource_id", None) or resource.arn)


class _ByType:
    """The properties of the deployed resources of a type, by logical ID, references resolved."""

    def __init__(self, template: Mapping[str, Any], made: Mapping[str, Any]) -> None:
        self._types = {name: resource["Type"] for name, resource in template["Resources"].items()}
        self._made = made

    def __call__(self, resource_type: str) -> dict[str, dict[str, Any]]:
        return {n: r.properties for n, r in self._made.items() if self._types[n] == resource_type}
