"""From template.yaml to what moto can deploy: SAM's own transform, plus where each function's code lies.

The template stays the only description of the deployment. Nothing here knows the product's functions, parameters or
resources by name.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

CODE_BUCKET = "sandbox-code"
"""Bucket named in the translated template. It does not exist: functions run from their source folders."""

logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it warns of its own feature toggles


class TemplateError(Exception):
    """The template cannot be deployed: a parameter is missing or refused, or SAM rejects the template."""


@dataclass(frozen=True)
class FunctionSource:
    """What of a function only its template says, and what CloudFormation would have packed away.

    folder: the source folder; layers: the source folders of its layers, in order; timeout: seconds; memory: megabytes;
    log_format: ``Text`` or ``JSON``.
    """

    folder: Path
    handler: str
    layers: tuple[Path, ...]
    timeout: float
    memory: int
    log_format: str


@dataclass(frozen=True)
class Translation:
    """A template after SAM's transform.

    cloudformation: the plain CloudFormation template, parameters still in it; parameters: their values;
    functions: logical ID -> source.
    """

    cloudformation: dict[str, Any]
    parameters: dict[str, str]
    functions: dict[str, FunctionSource]


class _NoManagedPolicies:
    """SAM asks for AWS's managed policies by name only when a template uses short names; it is told of none."""

    def load(self) -> dict[str, str]:
        return {}


def translate(path: Path, parameters: Mapping[str, str], region: str) -> Translation:
    """Apply SAM's transform to the template at `path`, with these parameters, as if it was deployed to `region`.

    CodeUri, ContentUri and DefinitionUri are taken relative to the template's folder. Raises TemplateError.
    """
    template = yaml_parse(path.read_text(encoding="utf-8"))
    values = _parameter_values(template.get("Parameters", {}), parameters)
    functions = _function_sources(template, path.parent)
    _inline_local_files(template, path.parent)
    try:
        with mock.patch.dict(os.environ, {"AWS_DEFAULT_REGION": region}):  # SAM asks boto3 for the region
            # A copy, because the transform changes what it is given.
            translated = transform(copy.deepcopy(template), dict(values), _NoManagedPolicies())
    except InvalidDocumentException as error:
        raise TemplateError("; ".join(cause.message for cause in error.causes) or error.message) from error
    return Translation(translated, values, functions)


def _parameter_values(declared: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise TemplateError(f"parameters the template does not have: {', '.join(unknown)}")
    values: dict[str, str] = {}
    for name, declaration in declared.items():
        if name not in given and "Default" not in declaration:
            raise TemplateError(f"parameter {name} has no default and was not given")
        value = str(given.get(name, declaration.get("Default")))
        # CloudFormation refuses these, too, before it makes anything.
        pattern = declaration.get("AllowedPattern")
        if pattern and not re.fullmatch(pattern, value):
            raise TemplateError(f"parameter {name} does not match its pattern {pattern}")
        allowed = declaration.get("AllowedValues")
        if allowed and value not in [str(a) for a in allowed]:
            raise TemplateError(f"parameter {name} must be one of {', '.join(str(a) for a in allowed)}")
        low, high = declaration.get("MinValue"), declaration.get("MaxValue")
        if (low is not None and float(value) < float(low)) or (high is not None and float(value) > float(high)):
            raise TemplateError(f"parameter {name} must be between {low} and {high}")
        values[name] = value
    return values


def _function_sources(template: Mapping[str, Any], root: Path) -> dict[str, FunctionSource]:
    shared = template.get("Globals", {}).get("Function", {})
    resources = template["Resources"]
    sources: dict[str, FunctionSource] = {}
    for logical_id, resource in resources.items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        own = {**shared, **resource["Properties"]}
        layers = [*shared.get("Layers", []), *resource["Properties"].get("Layers", [])]  # SAM appends lists
        sources[logical_id] = FunctionSource(
            folder=(root / own["CodeUri"]).resolve(),
            handler=own["Handler"],
            layers=tuple((root / resources[layer["Ref"]]["Properties"]["ContentUri"]).resolve() for layer in layers),
            # The defaults are Lambda's own.
            timeout=int(own.get("Timeout", 3)),
            memory=int(own.get("MemorySize", 128)),
            log_format=own.get("LoggingConfig", {}).get("LogFormat", "Text"),
        )
    return sources


def _inline_local_files(template: dict[str, Any], root: Path) -> None:
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        for key in ("CodeUri", "ContentUri"):
            if key in properties:
                properties[key] = f"s3://{CODE_BUCKET}/{logical_id}"
        if isinstance(uri := properties.get("DefinitionUri"), str):
            # The transform reads no local file: `sam deploy` would have put it into S3 before.
            del properties["DefinitionUri"]
            text = (root / uri).read_text(encoding="utf-8")
            properties["Definition"] = json.loads(text) if uri.endswith(".json") else yaml.safe_load(text)
