"""CloudFormation types moto does not create, or creates where nothing runs.

moto reports CREATE_COMPLETE for a type it does not know, creates nothing, and lets every reference to it vanish. Here
each type a template uses is one of three: created by moto, created by a class in this module, or recorded (in
`LEFT_OUT`, with the reason). Any other is refused before anything is deployed.
"""

from __future__ import annotations

import json
import re
from typing import Any

import moto.cloudformation.parsing as parsing  # first: it imports all of moto's models
from moto.awslambda.utils import get_backend as lambda_backend
from moto.cloudwatch.models import Dimension, Metric, MetricDataQuery, MetricStat, cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.s3.cloud_formation import cfn_to_api_encryption
from moto.s3.models import s3_backends
from moto.scheduler.models import scheduler_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.stepfunctions.parser.models import StepFunctionsParserBackend  # noqa: F401  (its BackendDict comes with it)
from moto.stepfunctions.responses import get_backend as stepfunctions_backend

LEFT_OUT = {
    "AWS::ApiGateway::RestApi": "its routes, authorizer and models are served by sandbox.aws.gateway",
    "AWS::ApiGateway::Stage": "its throttling is kept by sandbox.aws.gateway; access logs and tracing are not",
    "AWS::ApiGateway::Deployment": "sandbox.aws.gateway serves the API as it stands",
    "AWS::ApiGateway::Account": "there are no access logs to write",
    "AWS::Lambda::Permission": "nothing in the sandbox asks who may invoke a function",
    "AWS::S3::BucketPolicy": "moto would keep its statements without their conditions, and so refuse everything",
}
"""Types that are only recorded: references resolve, properties can be read, nothing is created in moto."""


class UnsupportedResource(Exception):
    """A template uses a type that would vanish silently."""


class _Resource(CloudFormationModel):
    """What all classes here share: a physical ID, attributes, and the properties with all references resolved."""

    type_name = ""
    name_property = ""

    def __init__(self, physical_id: str, properties: dict[str, Any], attributes: dict[str, str]) -> None:
        self.physical_id = physical_id
        self.properties = properties
        self.attributes = attributes

    @property
    def physical_resource_id(self) -> str:
        return self.physical_id

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.attributes[attribute_name]

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return True

    @classmethod
    def create(cls, name: str, properties: dict[str, Any], account: str, region: str) -> _Resource:
        raise NotImplementedError


def _deployable(implementation: type[_Resource]) -> type[CloudFormationModel]:
    """A class moto finds: it looks at direct subclasses of CloudFormationModel only, and tracks them by module."""

    def create_from_cloudformation_json(
        cls: Any,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> _Resource:
        return implementation.create(resource_name, cloudformation_json["Properties"], account_id, region_name)

    return type(
        implementation.__name__.lstrip("_") + "Model",
        (CloudFormationModel,),
        {
            "__module__": __name__,
            "cloudformation_type": staticmethod(lambda: implementation.type_name),
            "cloudformation_name_type": staticmethod(lambda: implementation.name_property),
            "has_cfn_attr": classmethod(lambda cls, attr: True),
            "create_from_cloudformation_json": classmethod(create_from_cloudformation_json),  # type: ignore[arg-type]
        },
    )


class Secret(_Resource):
    """Its value may be given, generated, or (as in AWS) missing until somebody puts one."""

    type_name = "AWS::SecretsManager::Secret"
    name_property = "Name"

    @classmethod
    def create(cls, name: str, properties: dict[str, Any], account: str, region: str) -> Secret:
        backend = secretsmanager_backends[account][region]
        value = properties.get("SecretString")
        if (wanted := properties.get("GenerateSecretString")) is not None:
            value = backend.get_random_password(
                password_length=int(wanted.get("PasswordLength", 32)),
                exclude_characters=wanted.get("ExcludeCharacters", ""),
                exclude_numbers=_flag(wanted, "ExcludeNumbers"),
                exclude_punctuation=_flag(wanted, "ExcludePunctuation"),
                exclude_uppercase=_flag(wanted, "ExcludeUppercase"),
                exclude_lowercase=_flag(wanted, "ExcludeLowercase"),
                include_space=_flag(wanted, "IncludeSpace"),
                require_each_included_type=_flag(wanted, "RequireEachIncludedType", True),
            )
            value = json.loads(value)["RandomPassword"] if value.startswith("{") else value
            if key := wanted.get("GenerateStringKey"):
                value = json.dumps({**json.loads(wanted.get("SecretStringTemplate", "{}")), key: value})
        made = backend.create_secret(
            name=name,
            secret_string=value,
            secret_binary=None,
            description=properties.get("Description"),
            tags=properties.get("Tags"),
            kms_key_id=properties.get("KmsKeyId"),
            client_request_token=None,
            replica_regions=[],
            force_overwrite=False,
        )
        arn = json.loads(made)["ARN"] if isinstance(made, str) else made["ARN"]
        return cls(arn, properties, {"Id": arn})


class StateMachine(_Resource):
    """In the backend that executes, with its substitutions applied. moto's own class does neither."""

    type_name = "AWS::StepFunctions::StateMachine"
    name_property = "StateMachineName"

    @classmethod
    def create(cls, name: str, properties: dict[str, Any], account: str, region: str) -> StateMachine:
        definition = properties.get("DefinitionString") or json.dumps(properties["Definition"])
        substitutions = {key: str(value) for key, value in properties.get("DefinitionSubstitutions", {}).items()}
        definition = re.sub(r"\$\{(\w+)\}", lambda m: substitutions.get(m.group(1), m.group(0)), definition)
        made = stepfunctions_backend(account, region).create_state_machine(
            name=name,
            definition=definition,
            roleArn=properties["RoleArn"],
            sm_type=properties.get("StateMachineType", "STANDARD"),
        )
        return cls(made.arn, properties, {"Arn": made.arn, "Name": name})


class Schedule(_Resource):
    """Created in moto, where it can be read; run by sandbox.aws.scheduler."""

    type_name = "AWS::Scheduler::Schedule"
    name_property = "Name"

    @classmethod
    def create(cls, name: str, properties: dict[str, Any], account: str, region: str) -> Schedule:
        made = scheduler_backends[account][region].create_schedule(
            description=properties.get("Description", ""),
            end_date=properties.get("EndDate"),
            flexible_time_window=properties["FlexibleTimeWindow"],
            group_name=properties.get("GroupName", "default"),
            kms_key_arn=properties.get("KmsKeyArn", ""),
            name=name,
            schedule_expression=properties["ScheduleExpression"],
            schedule_expression_timezone=properties.get("ScheduleExpressionTimezone", "UTC"),
            start_date=properties.get("StartDate"),
            state=properties.get("State", "ENABLED"),
            target=properties["Target"],
            action_after_completion=None,
        )
        return cls(name, properties, {"Arn": made.arn})


class Alarm(_Resource):
    """Created in moto, where it can be read. Nothing raises it: moto publishes none of these metrics."""

    type_name = "AWS::CloudWatch::Alarm"
    name_property = "AlarmName"

    @classmethod
    def create(cls, name: str, properties: dict[str, Any], account: str, region: str) -> Alarm:
        made = cloudwatch_backends[account][region].put_metric_alarm(
            name=name,
            namespace=properties.get("Namespace", ""),
            metric_name=properties.get("MetricName", ""),
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=int(properties["EvaluationPeriods"]),
            period=int(properties.get("Period", 0)),
            threshold=float(properties["Threshold"]),
            statistic=properties.get("Statistic", ""),
            description=properties.get("AlarmDescription", ""),
            dimensions=properties.get("Dimensions", []),
            alarm_actions=properties.get("AlarmActions", []),
            treat_missing_data=properties.get("TreatMissingData"),
            metric_data_queries=[_metric_query(query) for query in properties.get("Metrics", []) if query],
        )
        return cls(name, properties, {"Arn": made.alarm_arn})


def _metric_query(query: dict[str, Any]) -> MetricDataQuery:
    """One line of an alarm on several metrics."""
    stat = query.get("MetricStat")
    dimensions = [Dimension(one["Name"], one["Value"]) for one in stat["Metric"]["Dimensions"]] if stat else []
    return MetricDataQuery(
        query["Id"],
        query.get("Label", ""),
        query.get("Period"),
        str(query.get("ReturnData", True)).lower(),
        query.get("Expression"),
        stat
        and MetricStat(
            Metric(stat["Metric"]["MetricName"], stat["Metric"]["Namespace"], dimensions),
            str(stat["Period"]),
            stat["Stat"],
            stat.get("Unit"),
        ),
    )


class Dashboard(_Resource):
    """Created in moto, where it can be read."""

    type_name = "AWS::CloudWatch::Dashboard"
    name_property = "DashboardName"

    @classmethod
    def create(cls, name: str, properties: dict[str, Any], account: str, region: str) -> Dashboard:
        name = properties.get("DashboardName", name)  # moto's own class, which it asks for the name, knows another
        json.loads(properties["DashboardBody"])  # CloudWatch refuses what is no JSON
        cloudwatch_backends[account][region].put_dashboard(name, properties["DashboardBody"])
        return cls(name, properties, {})


class EventInvokeConfig(_Resource):
    """Created in moto, where it can be read; kept by sandbox.aws.lambdas."""

    type_name = "AWS::Lambda::EventInvokeConfig"

    @classmethod
    def create(cls, name: str, properties: dict[str, Any], account: str, region: str) -> EventInvokeConfig:
        config = {k: v for k, v in properties.items() if k not in ("FunctionName", "Qualifier")}
        for key in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"):
            # What a parameter says comes as text.
            if key in config:
                config[key] = int(config[key])
        lambda_backend(account, region).put_function_event_invoke_config(properties["FunctionName"], config)
        return cls(name, properties, {})


class Bucket(_Resource):
    """Created in moto with all that the template says of it; moto's own class leaves most of it out."""

    type_name = "AWS::S3::Bucket"
    name_property = "BucketName"

    @classmethod
    def create(cls, name: str, properties: dict[str, Any], account: str, region: str) -> Bucket:
        unknown = set(properties) - {"BucketName", "BucketEncryption", "PublicAccessBlockConfiguration"}
        unknown -= {"OwnershipControls", "LifecycleConfiguration"}
        # What would be left out without a word is refused instead.
        if unknown:
            raise UnsupportedResource(f"properties of a bucket: {', '.join(sorted(unknown))}")
        backend = s3_backends[account]["aws"]
        bucket = backend.create_bucket(name, region)
        if (encryption := properties.get("BucketEncryption")) is not None:
            backend.put_bucket_encryption(name, cfn_to_api_encryption(encryption))
        if (block := properties.get("PublicAccessBlockConfiguration")) is not None:
            backend.put_public_access_block(name, {key: str(value).lower() for key, value in block.items()})
        if (ownership := properties.get("OwnershipControls")) is not None:
            backend.put_bucket_ownership_controls(name, ownership["Rules"][0]["ObjectOwnership"])
        if (lifecycle := properties.get("LifecycleConfiguration")) is not None:
            backend.put_bucket_lifecycle_configuration(name, [_lifecycle_rule(rule) for rule in lifecycle["Rules"]])
        attributes = {"Arn": bucket.arn, "DomainName": f"{name}.s3.amazonaws.com"}
        return cls(name, properties, attributes)


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """From CloudFormation's words to those of S3's API."""
    said = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    if "ExpirationInDays" in rule:
        said["Expiration"] = {"Days": str(rule["ExpirationInDays"])}
    if (unfinished := rule.get("AbortIncompleteMultipartUpload")) is not None:
        said["AbortIncompleteMultipartUpload"] = {key: str(value) for key, value in unfinished.items()}
    return said


CREATED_HERE: tuple[type[_Resource], ...] = (
    Secret,
    StateMachine,
    Schedule,
    Alarm,
    Dashboard,
    EventInvokeConfig,
    Bucket,
)


def _recorded(recorded_type: str) -> type[_Resource]:
    class Recorded(_Resource):
        type_name = recorded_type

        @classmethod
        def create(cls, name: str, properties: dict[str, Any], account: str, region: str) -> _Resource:
            return cls(name, properties, {})

    Recorded.__name__ = "Recorded" + recorded_type.replace("::", "")
    return Recorded


# moto keeps its classes in caches; ours come after its own, and the last one of a type wins.
_MODELS = [_deployable(cls) for cls in (*CREATED_HERE, *(_recorded(name) for name in LEFT_OUT))]
parsing.get_model_list.cache_clear()
parsing.get_model_map.cache_clear()
parsing.get_name_type_map.cache_clear()


def require_supported(template: dict[str, Any]) -> None:
    """Raise UnsupportedResource when a resource of the (translated) template would vanish silently in moto."""
    known = parsing.get_model_map()
    vanishing = sorted({r["Type"] for r in template["Resources"].values()} - set(known))
    if vanishing:
        raise UnsupportedResource(f"neither created nor on the list of what is left out: {', '.join(vanishing)}")


def _flag(properties: dict[str, Any], name: str, default: bool = False) -> bool:
    return str(properties.get(name, default)).lower() == "true"
