"""The settings of a stack's functions, from template.yaml and the parameters it would be deployed with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tools.sam_template import read_template

ROOT = Path(__file__).resolve().parent.parent


class ParameterRefused(ValueError):
    """A parameter that the template does not know, or a value that it does not allow. name: the parameter's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def settings_of(parameters: Mapping[str, str] = {}) -> dict[str, str]:
    """The variables that template.yaml gives every function. In: parameters that differ from their defaults.

    Raises ParameterRefused, as CloudFormation would refuse a deployment.
    """
    template = _template()
    known = template["Parameters"]
    for name, value in parameters.items():
        if name not in known:
            raise ParameterRefused(name, "is no parameter of template.yaml")
        if problem := _problem(known[name], value):
            raise ParameterRefused(name, problem)
    values = {name: str(one.get("Default", "")) for name, one in known.items()} | dict(parameters)
    given = template["Globals"]["Function"]["Environment"]["Variables"]
    return {
        name: str(value) if not isinstance(value, dict) else values.get(value.get("Ref", ""), "")
        for name, value in given.items()
    }


def _problem(parameter: Mapping[str, Any], value: str) -> str:
    """What a parameter's declaration has against a value; "" where nothing."""
    if (allowed := parameter.get("AllowedValues")) and value not in map(str, allowed):
        return f"must be one of {', '.join(map(str, allowed))}"
    if (pattern := parameter.get("AllowedPattern")) and not re.fullmatch(pattern, value):
        return parameter.get("ConstraintDescription") or f"must match {pattern}"
    if parameter["Type"] != "Number":
        return ""
    if not re.fullmatch(r"-?\d+(\.\d+)?", value):
        return "must be a number"
    least, most = parameter.get("MinValue"), parameter.get("MaxValue")
    if least is not None and float(value) < least:
        return f"must be at least {least}"
    return f"must be at most {most}" if most is not None and float(value) > most else ""


@cache
def _template() -> dict[str, Any]:
    return read_template(ROOT / "template.yaml")
