"""What each role of the template may do against what was really called, both ways.

moto asks no policy: a permission that is missing would only show in AWS. So every call that a function made is
looked up in its role's policies, and every permission is looked for among the calls. What AWS itself does with a
role (a state machine invokes functions, a schedule starts something, Lambda hands a failure on) is taken from the
definitions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.lines import Line
from sandbox.aws import AwsSandbox
from sandbox.aws.calls import Call

ONLY_IN_AWS = {
    "s3:PutObjectAcl": "DynamoDB asks for it to write an export (developer guide, requesting a table export)",
    "s3:AbortMultipartUpload": "as above, for an export that fails midway",
    "states:StopExecution": "a Distributed Map stops its children when it is stopped itself",
    "logs:CreateLogDelivery": "a state machine's log delivery (Step Functions' developer guide, logging)",
    "logs:GetLogDelivery": "as above",
    "logs:UpdateLogDelivery": "as above",
    "logs:DeleteLogDelivery": "as above",
    "logs:ListLogDeliveries": "as above",
    "logs:PutResourcePolicy": "as above",
    "logs:DescribeResourcePolicies": "as above",
    "logs:DescribeLogGroups": "as above",
}
"""Permissions that nothing uses in a sandbox, and why they are there."""

BY_AWS = {
    "service-role/AWSLambdaBasicExecutionRole": "its log",
    "service-role/AmazonAPIGatewayPushToCloudWatchLogs": "access logs",
    "AWSXrayWriteOnlyAccess": "traces",
    "AWSXRayDaemonWriteAccess": "traces",
}
"""AWS's own policies that may be attached, and for what. SAM attaches all but the second."""

Json = Mapping[str, Any]


class Grant(NamedTuple):
    """One permission. who: logical ID of the function, state machine or schedule whose role has it."""

    who: str
    action: str
    resource: str
    condition: Json = MappingProxyType({})

    def covers(self, call: Call) -> bool:
        same = self.who == call.caller and self.action.lower() == call.action.lower()
        return same and fnmatchcase(call.resource, self.resource) and self.holds(call)

    def holds(self, call: Call) -> bool:
        """Whether the conditions hold for a call. Raises ValueError for one that is not known here."""
        for operator, wanted in self.condition.items():
            for key, values in wanted.items():
                if key != "dynamodb:LeadingKeys" or not operator.startswith("ForAllValues:String"):
                    raise ValueError(f"unknown condition {operator} {key}")
                like = operator.endswith("Like")
                if call.key and not any(fnmatchcase(call.key, v) if like else call.key == v for v in _list(values)):
                    return False
        return True

    def __str__(self) -> str:
        return f"{self.who}: {self.action} on {self.resource}" + (f" if {self.condition}" if self.condition else "")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class Roles:
    """The roles of a deployed template, with whoever takes them on."""

    def __init__(self, aws: AwsSandbox) -> None:
        self._aws = aws
        self.deployed = aws.deployed
        self.role_of: dict[str, str] = {}
        """Who takes on which role, by logical ID and by the role's."""
        arns = {f":role/{aws.resources[name]}": name for name in self.of_type("AWS::IAM::Role")}

        def role(arn: str) -> str:
            return next(name for end, name in arns.items() if arn.endswith(end))

        for name, properties in self.of_type("AWS::Lambda::Function").items():
            self.role_of[name] = role(str(properties["Role"]))
        for name, properties in self.of_type("AWS::StepFunctions::StateMachine").items():
            self.role_of[name] = role(str(properties["RoleArn"]))
        for name, properties in self.of_type("AWS::Scheduler::Schedule").items():
            self.role_of[name] = role(str(properties["Target"]["RoleArn"]))

    def of_type(self, resource_type: str) -> dict[str, Json]:
        return {name: made.properties for name, made in self.deployed.items() if made.type == resource_type}

    def grants(self) -> list[Grant]:
        """Every permission, by whom it is for. Raises ValueError for a policy nobody knows."""
        return [grant for who, role in self.role_of.items() for grant in self._of_role(who, role)]

    def _of_role(self, who: str, role: str) -> Iterator[Grant]:
        for statement in (statement for document in self._policies(role) for statement in _list(document["Statement"])):
            if not isinstance(statement, Mapping):
                continue  # a condition of the template left nothing of it
            if statement["Effect"] != "Allow" or "NotAction" in statement or "NotResource" in statement:
                raise ValueError(f"{role} has a statement that is not understood here: {statement}")
            for action, resource in product(_list(statement["Action"]), _list(statement["Resource"])):
                if isinstance(resource, str):
                    yield Grant(who, action, resource, statement.get("Condition", {}))

    def _policies(self, role: str) -> list[Json]:
        """A role's policies: its own, managed ones, and those that name it. Raises ValueError for one nobody knows."""
        properties = self.deployed[role].properties
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        managed = {self._aws.resources[n]: p for n, p in self.of_type("AWS::IAM::ManagedPolicy").items()}
        for arn in properties.get("ManagedPolicyArns", []):
            if arn in managed:
                documents.append(managed[arn]["PolicyDocument"])
            elif str(arn).split(":policy/", 1)[-1] not in BY_AWS:
                raise ValueError(f"{role} has a policy that is not known here: {arn}")
        for policy in self.of_type("AWS::IAM::Policy").values():
            if self._aws.resources[role] in policy["Roles"]:
                documents.append(policy["PolicyDocument"])
        return documents

    # ---- what AWS does with the roles

    def by_definition(self) -> Iterator[Call]:
        """What AWS calls for the state machines, the schedules and the failure queues."""
        for name, properties in self.of_type("AWS::StepFunctions::StateMachine").items():
            described = self._aws.client("stepfunctions").describe_state_machine(
                stateMachineArn=self._aws.resources[name]
            )
            yield from _of_machine(name, self._aws.resources[name], json.loads(described["definition"]))
            assert properties
        for name, properties in self.of_type("AWS::Scheduler::Schedule").items():
            target = properties["Target"]
            action = "lambda:InvokeFunction" if ":lambda:" in target["Arn"] else "states:StartExecution"
            yield Call(name, action, target["Arn"])
            if "DeadLetterConfig" in target:
                yield Call(name, "sqs:SendMessage", target["DeadLetterConfig"]["Arn"])
        names = {self._aws.resources[name]: name for name in self.of_type("AWS::Lambda::Function")}
        for config in self.of_type("AWS::Lambda::EventInvokeConfig").values():
            failed = config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
            if failed and ":sqs:" in failed:
                yield Call(names[config["FunctionName"]], "sqs:SendMessage", failed)

    def uninvited(self) -> list[str]:
        """Methods of the API, and its authorizer, whose function does not let API Gateway invoke it."""
        names = {self._aws.resources[name]: name for name in self.of_type("AWS::Lambda::Function")}
        allowed: list[tuple[str, str]] = []
        for permission in self.of_type("AWS::Lambda::Permission").values():
            function = str(permission["FunctionName"]).rsplit(":", 1)[-1]
            allowed.append((names.get(function, function), str(permission["SourceArn"])))
        missing = []
        for api, properties in self.of_type("AWS::ApiGateway::RestApi").items():
            base = f"arn:aws:execute-api:{self._aws.region}:{self._aws.account}:{self._aws.resources[api]}"
            for source, function in _invoked(properties["Body"], base):
                by_name = next((one for arn, one in names.items() if function.endswith(f":{arn}")), function)
                if not any(by_name == who and fnmatchcase(source, pattern) for who, pattern in allowed):
                    missing.append(f"API Gateway may not invoke {by_name} for {source}")
        return missing


def _invoked(document: Json, base: str) -> Iterator[tuple[str, str]]:
    """What API Gateway invokes: the source ARN and the function's."""

    def function(uri: str) -> str:
        return uri.split("/functions/")[1].split("/")[0]

    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            integration = operation.get("x-amazon-apigateway-integration")
            if integration and "/functions/" in str(integration.get("uri")):
                concrete = re.sub(r"\{.*?\}", "*", path)
                yield f"{base}/callout/{method.upper()}{concrete}", function(integration["uri"])
    for scheme in document.get("components", {}).get("securitySchemes", {}).values():
        settings = scheme.get("x-amazon-apigateway-authorizer")
        if settings:
            yield f"{base}/authorizers/one", function(settings["authorizerUri"])


def _of_machine(name: str, arn: str, machine: Json) -> Iterator[Call]:
    """What a state machine's role needs for its states (Step Functions' developer guide, IAM policies)."""
    for state in machine["States"].values():
        if state["Type"] == "Task":
            if not state["Resource"].startswith("arn:aws:lambda:"):
                raise ValueError(f"{name} has a task that is not known here: {state['Resource']}")
            yield Call(name, "lambda:InvokeFunction", state["Resource"])
        reader = state.get("ItemReader")
        if reader:
            if not reader["Resource"].endswith(":states:::s3:getObject") or "ResultWriter" in state:
                raise ValueError(f"{name} has a map that is not known here")
            pattern = re.search(r"States\.Format\('([^']+)'", reader["Parameters"]["Key.$"])
            assert pattern is not None
            yield Call(
                name, "s3:GetObject", f"arn:aws:s3:::{reader['Parameters']['Bucket']}/{pattern[1].replace('{}', 'run')}"
            )
        if state.get("ItemProcessor", {}).get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED":
            execution = arn.replace(":stateMachine:", ":execution:")
            yield Call(name, "states:StartExecution", arn)
            for child in (f"{execution}:child", f"{execution}/{state['Label']}:child"):
                yield Call(name, "states:DescribeExecution", child)
                yield Call(name, "states:StopExecution", child)
        for inner in (*state.get("Branches", ()), state.get("ItemProcessor"), state.get("Iterator")):
            if inner:
                yield from _of_machine(name, arn, inner)


def not_allowed(calls: Iterable[Call], grants: Iterable[Grant]) -> list[Call]:
    """The calls no permission covers."""
    known = list(grants)
    return sorted({call for call in calls if not any(grant.covers(call) for grant in known)})


def not_used(calls: Iterable[Call], grants: Iterable[Grant]) -> list[Grant]:
    """The permissions no call needed, but for those that only AWS needs."""
    made = list(calls)
    return [g for g in grants if g.action not in ONLY_IN_AWS and not any(g.covers(call) for call in made)]


def twice(grants: Iterable[Grant]) -> list[str]:
    """Permissions that stand more than once in a role."""
    seen: set[str] = set()
    return sorted({told for grant in grants if (told := str(grant)) in seen or seen.add(told)})  # type: ignore[func-returns-value]


def compare(aws: AwsSandbox, tell: Callable[[str], None] = print) -> list[Line]:
    """Look at a sandbox in which everything was played."""
    roles = Roles(aws)
    grants = roles.grants()
    calls = {*aws.calls.made(), *roles.by_definition()}
    missing = [f"{c.caller} called {c.action} on {c.resource} {c.key}" for c in not_allowed(calls, grants)]
    missing += roles.uninvited()
    unused = [str(grant) for grant in not_used(calls, grants)]
    doubled = twice(grants)
    for words, found in (("not allowed", missing), ("never used", unused), ("granted twice", doubled)):
        for one in found:
            tell(f"   {words}: {one}")
    only_in_aws = sum(grant.action in ONLY_IN_AWS for grant in grants)
    callers = {call.caller for call in calls}
    silent = sorted(set(roles.role_of) - callers)
    for name in silent:
        tell(f"   never called anything: {name}")
    return [
        Line(
            "calls of AWS that no policy allows",
            f"{len(missing)} of {len(calls)} kinds of call by {len(callers)} roles",
            "0",
            not missing,
        ),
        Line(
            "permissions that nothing uses",
            f"{len(unused) + len(doubled)} of {len(grants)}; {only_in_aws} only AWS uses",
            "0",
            not unused and not doubled and not silent,
        ),
    ]
