"""A deployed stack, found with the operator's own AWS credentials: outputs, resources, settings, secrets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import click

from closedwon.stack import Stack as Parts
from ops.api import Api

if TYPE_CHECKING:  # imported where it is used: it takes longer than all else, and not every command needs AWS
    import boto3

REQUIRED = {"CalloutUrl", "CalloutKeySecretArn"}
"""The outputs that tell a stack of closed-won from others."""


class Stack:
    """One stack, in the account and region that the environment and ``--profile`` and ``--region`` say.

    Everything is looked up when it is first asked for. Raises ClickException, in an operator's words, where AWS does
    not answer or the stack is none of closed-won's; what AWS refuses later goes through as AWS says it.
    """

    def __init__(self, name: str, profile: str | None = None, region: str | None = None) -> None:
        self.name = name
        self._profile, self._region = profile, region

    @cached_property
    def session(self) -> boto3.Session:
        import boto3

        session = boto3.Session(profile_name=self._profile, region_name=self._region)
        # Else the first client would fail, in words that name no remedy.
        if session.region_name is None:
            raise click.ClickException("no AWS region is chosen: name one with --region, or set AWS_REGION")
        return session

    @property
    def region(self) -> str:
        return str(self.session.region_name)

    def client(self, service: str) -> Any:
        """A client of an AWS service, in the stack's account and region."""
        if service not in self._clients:
            self._clients[service] = self.session.client(service)  # type: ignore[call-overload]
        return self._clients[service]

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    @cached_property
    def account(self) -> str:
        """The AWS account the operator is logged in to."""
        return str(self.client("sts").get_caller_identity()["Account"])

    @cached_property
    def described(self) -> dict[str, Any]:
        """What CloudFormation says of the stack."""
        cloudformation = self.client("cloudformation")
        try:
            described: dict[str, Any] = cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        except botocore.exceptions.ClientError as error:
            # CloudFormation has no error of its own for a stack that is not there.
            if error.response["Error"].get("Code") != "ValidationError":
                raise
            raise click.ClickException(
                f"there is no stack called {self.name} in account {self.account}, {self.region}. {self._others()}"
            ) from None
        if not {output["OutputKey"] for output in described.get("Outputs", ())} >= REQUIRED:
            raise click.ClickException(f"{self.name} is no stack of closed-won: it has no output CalloutUrl")
        return described

    def _others(self) -> str:
        pages = self.client("cloudformation").get_paginator("describe_stacks").paginate()
        ours = [
            stack["StackName"]
            for page in pages
            for stack in page["Stacks"]
            if {output["OutputKey"] for output in stack.get("Outputs", ())} >= REQUIRED
        ]
        if not ours:
            return "None there is closed-won's: log in to another account, or name another --region."
        return f"Name one with --stack: {', '.join(ours)}."

    @cached_property
    def outputs(self) -> dict[str, str]:
        return {output["OutputKey"]: output["OutputValue"] for output in self.described["Outputs"]}

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The parameters it was deployed with, defaults too."""
        found = self.described.get("Parameters", ())
        return {parameter["ParameterKey"]: parameter.get("ParameterValue", "") for parameter in found}

    def physical(self, logical: str) -> str:
        """A resource's name or ARN, by its name in template.yaml."""
        stack = self.described["StackName"]  # first: it says whether there is one
        found = self.client("cloudformation").describe_stack_resource(StackName=stack, LogicalResourceId=logical)
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def settings(self, function: str = "RepairFunction") -> dict[str, str]:
        """The environment that template.yaml gives one of its functions."""
        # Of the function as it is deployed, so that the command decides by just what the functions decide by.
        found = self.client("lambda").get_function_configuration(FunctionName=self.physical(function))
        return {name: str(value) for name, value in found["Environment"]["Variables"].items()}

    def parts(self, *functions: str) -> Parts:
        """The product's parts, put together with the settings of those functions (by default of the one that repairs)
        and with the operator's credentials.
        """
        from botocore.config import Config

        making = Lock()  # a session makes one client at a time
        environment: dict[str, str] = {}
        for function in functions or ("RepairFunction",):
            environment.update(self.settings(function))

        def client(service: str, **config: Any) -> Any:
            with making:
                return self.session.client(service, config=Config(**config))  # type: ignore[call-overload]

        return Parts(environment, client)

    def secret(self, output: str) -> str:
        """A secret's value, by the output that names it. Never print it."""
        return str(self.client("secretsmanager").get_secret_value(SecretId=self.outputs[output])["SecretString"])

    @cached_property
    def api(self) -> Api:
        """Its API, with its key."""
        return Api(self.outputs["CalloutUrl"], self.secret("CalloutKeySecretArn"))

    def execution_arn(self, name: str) -> str:
        """The ARN of one of its provisionings."""
        return f"{self.outputs['ProvisionStateMachineArn'].replace(':stateMachine:', ':execution:')}:{name}"


@dataclass(frozen=True)
class Chosen:
    """What the command works on; each command gets it as ``click.get_current_context().obj``."""

    stack: Stack
    told: Api | None

    @property
    def api(self) -> Api:
        """The API: of the stack, or the one that was told."""
        return self.told or self.stack.api  # what was told needs no AWS credentials


@cache
def what_to_do() -> dict[str, str]:
    """What AWS's refusals mean to an operator."""
    expired = "your AWS credentials have expired: log in again (aws sso login)"
    return {
        # AWS's services have several names for one refusal.
        "ExpiredToken": expired,
        "ExpiredTokenException": expired,
        "RequestExpired": expired,
        "InvalidClientTokenId": "AWS does not know your credentials: log in again, or name a profile with --profile",
        "UnrecognizedClientException": "AWS does not know your credentials: log in again, or name a --profile",
    }


def in_words(error: botocore.exceptions.BotoCoreError | botocore.exceptions.ClientError) -> str:
    """What AWS, or its SDK, says, in an operator's words."""
    if isinstance(error, botocore.exceptions.ClientError):
        code = error.response["Error"].get("Code", "")
        if known := what_to_do().get(code):
            return known
        message = error.response["Error"].get("Message") or code
        # AccessDenied or AccessDeniedException, by the service; EC2 has a name of its own.
        if code.startswith("AccessDenied") or code == "UnauthorizedOperation":
            return f"your AWS credentials do not allow {error.operation_name}: {message}"
        return f"AWS refused {error.operation_name}: {message}"
    if isinstance(error, botocore.exceptions.NoCredentialsError):
        return "no AWS credentials: log in (aws sso login), or name a profile with --profile"
    if isinstance(error, botocore.exceptions.ProfileNotFound):
        return f"{error}: name one of `aws configure list-profiles` with --profile"
    return f"AWS could not be asked: {error}"
