"""Deep links into Stigg's app, into Salesforce, and into AWS's console. Pure.

Stigg's app shows a customer at ``<app>/customers/<id>`` and a subscription at ``<app>/subscriptions/<id>``, where
``<app>`` holds the environment (``https://app.stigg.io/production``). That form was read off the app and is not
promised in its documentation, which is why the base is a setting. Salesforce leads ``<My Domain>/<record ID>`` to the
record's page in whichever user interface its reader has. AWS's console has an address of its own in each region and
in each partition; ARNs name both.
"""

from __future__ import annotations

from urllib.parse import quote


def stigg_customer_url(app_url: str, customer_id: str) -> str:
    """The page of a customer in Stigg's app. app_url: the setting STIGG_APP_URL, with or without a slash at its end."""
    return _join(app_url, "customers", customer_id)


def stigg_subscription_url(app_url: str, subscription_id: str) -> str:
    """The page of a subscription in Stigg's app. app_url: as for `stigg_customer_url`."""
    return _join(app_url, "subscriptions", subscription_id)


def salesforce_record_url(base_url: str, record_id: str) -> str:
    """The page of a record in Salesforce. base_url: the setting SALESFORCE_URL, with or without a slash at its end."""
    return _join(base_url, record_id)


_CONSOLES = {"aws-us-gov": "console.amazonaws-us-gov.com", "aws-cn": "console.amazonaws.cn"}


def execution_url(execution: str) -> str:
    """The page of an execution in AWS's console, by its ARN."""
    # The console takes an ARN's colons as they are.
    return f"{_states(execution)}#/v2/executions/details/{quote(execution, safe=':')}"


def state_machine_url(state_machine: str) -> str:
    """The page of a state machine in AWS's console, by its ARN: executions are started there."""
    return f"{_states(state_machine)}#/statemachines/view/{quote(state_machine, safe=':')}"


def object_url(execution: str, bucket: str, key: str) -> str:
    """The page of an object of S3 in AWS's console; execution: the ARN of one in the bucket's region."""
    console, region = _console(execution)
    prefix = quote(key, safe="/")
    return f"https://{region}.{console}/s3/object/{quote(bucket, safe='')}?region={region}&prefix={prefix}"


def _states(arn: str) -> str:
    console, region = _console(arn)
    return f"https://{region}.{console}/states/home?region={region}"


def _console(arn: str) -> tuple[str, str]:
    _, partition, _, region, *_ = arn.split(":")  # what follows the region may have colons of its own
    return _CONSOLES.get(partition, "console.aws.amazon.com"), quote(region, safe="")


def _join(base: str, *segments: str) -> str:
    # Not even a slash is left as it is: an ID must not lead to another page.
    return "/".join((base.rstrip("/"), *(quote(segment, safe="") for segment in segments)))
