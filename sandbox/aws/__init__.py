"""AWS on one machine: the project's template.yaml deployed into moto, its functions in processes of their own."""

from sandbox.aws.lambdas import FunctionError, Functions
from sandbox.aws.resources import LEFT_OUT, UnsupportedResource
from sandbox.aws.runtime import Outcome
from sandbox.aws.stack import AwsSandbox
from sandbox.aws.template import TemplateError

__all__ = [
    "LEFT_OUT",
    "AwsSandbox",
    "FunctionError",
    "Functions",
    "Outcome",
    "TemplateError",
    "UnsupportedResource",
]
