"""The HTTP API as an OpenAPI 3.0 document, generated from the models the code validates with.

``python -m tools.openapi`` writes docs/openapi.json; ``--check`` fails when it is not what the code says.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from closedwon.intake.answers import ApprovalResults, ProvisioningStatus, Refusal, Results
from closedwon.intake.deal import Approvals, Callout
from closedwon.preview.answers import PreviewResults

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "openapi.json"
NULL = {"type": "null"}


def document() -> dict[str, Any]:
    """The whole document, as plain data."""
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        (Callout, "validation"),
        (Results, "serialization"),
        (ProvisioningStatus, "serialization"),
        (Approvals, "validation"),
        (ApprovalResults, "serialization"),
        (PreviewResults, "serialization"),
        (Refusal, "serialization"),
    ]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")
    example = json.loads((ROOT / "events" / "callout.json").read_text())
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "closed-won",
            "version": "1",
            "description": "Deals from Salesforce become customers and subscriptions in Stigg, soon after the answer.",
        },
        "servers": [
            {
                "url": "{callout}",
                "variables": {"callout": {"default": "/", "description": "The stack's output CalloutUrl."}},
            }
        ],
        "security": [{"callout key": []}],
        "paths": {
            "/v1/provisionings": _post(
                "provision",
                "Provision deals",
                "Takes 1 to 200 deals, one bulk save. One invalid deal does not refuse the others.",
                _json(_ref("Callout"), example),
                ("202", "What became of each deal, in their order.", "Results"),
                reads=True,
            ),
            "/v1/approvals": _post(
                "approve",
                "Let through what is held",
                "What is held waits until somebody approves it. Takes 1 to 200 approvals.",
                _json(_ref("Approvals")),
                ("202", "What became of each approval, in their order.", "ApprovalResults"),
            ),
            "/v1/previews": _post(
                "preview",
                "Tell what provisioning would do",
                "Takes what POST /v1/provisionings takes, and writes nothing.",
                _json(_ref("Callout"), example),
                ("200", "What would become of each deal, in their order.", "PreviewResults"),
                reads=True,
            ),
            "/v1/provisionings/{opportunityId}": {
                "get": {
                    "operationId": "status",
                    "summary": "Where a deal stands",
                    "parameters": [
                        {
                            "name": "opportunityId",
                            "in": "path",
                            "required": True,
                            "description": "15 or 18 characters.",
                            "schema": {"type": "string"},
                        }
                    ],
                    "responses": {
                        "200": {
                            "description": "Its status, reason, subscriptions and links.",
                            "content": _json(_ref("ProvisioningStatus")),
                        },
                        "400": {
                            "description": "Not the ID of an opportunity.",
                            "content": _json(_ref("Refusal")),
                        },
                        "404": {"description": "Never accepted.", "content": _json(_ref("Refusal"))},
                        **_refusals(),
                    },
                }
            },
        },
        "components": {
            "schemas": {name: _as_openapi_3_0(schema) for name, schema in sorted(schemas["$defs"].items())},
            "securitySchemes": {"callout key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }


def _post(
    operation: str,
    summary: str,
    description: str,
    content: dict[str, Any],
    answer: tuple[str, str, str],
    reads: bool = False,
) -> dict[str, Any]:
    """A route that takes a list. answer: its status, what it says, its schema. reads: whether deals without lines are
    read from Salesforce first.
    """
    status, said, schema = answer
    later = {
        "503": {
            "description": "Deals without lines could not be read from Salesforce now. Nothing was recorded; send it "
            "again after Retry-After.",
            "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
            "content": _json(_ref("Refusal")),
        }
    }
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "description": description,
            "requestBody": {"required": True, "content": content},
            "responses": {
                status: {"description": said, "content": _json(_ref(schema))},
                "400": {"description": "The request as a whole is refused.", "content": _json(_ref("Refusal"))},
                **_refusals(),
                **(later if reads else {}),
            },
        }
    }


def _refusals() -> dict[str, Any]:
    return {
        "401": {"description": "No callout key."},
        "403": {"description": "Not the callout key."},
        "429": {"description": "Too many requests; try again later."},
    }


def _json(schema: dict[str, Any], example: Any = None) -> dict[str, Any]:
    return {"application/json": {"schema": schema, **({"example": example} if example is not None else {})}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _as_openapi_3_0(schema: Any) -> Any:
    """JSON Schema as OpenAPI 3.0 writes it: no type null, no const, one example."""
    if isinstance(schema, list):
        return [_as_openapi_3_0(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = _nullable({name: _as_openapi_3_0(part) for name, part in schema.items()})
    if schema.get("default", ...) is None:
        del schema["default"]
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if isinstance(schema.get("examples"), list):
        schema["example"] = schema.pop("examples")[0]
    return schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that may be null says so by a word of its own."""
    choices = schema.get("anyOf") or []
    if NULL not in choices:
        return schema
    others = [choice for choice in choices if choice != NULL]
    rest = {name: part for name, part in schema.items() if name != "anyOf"}
    if len(others) > 1:
        return {**rest, "anyOf": others, "nullable": True}
    if "$ref" in others[0]:
        return {**rest, "allOf": others, "nullable": True}
    return {**others[0], **rest, "nullable": True}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the kept document is not what the code says")
    text = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    if not parser.parse_args().check:
        DOCUMENT.write_text(text)
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text() == text:
        return 0
    print("docs/openapi.json is not what the code says: run `python -m tools.openapi` and commit it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
