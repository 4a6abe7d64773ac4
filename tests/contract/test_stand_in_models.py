"""The stand-in's own models against the SDK's types: every field that the SDK can send, and no other."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
import pytest
from stigg.types import v1, v2
from stigg.types.v1 import credits, customers
from typing_extensions import is_typeddict

from contract.stigg_contract import bare, fields, required
from sandbox.stigg import bodies, models


def _shape_of_sdk(annotation: Any) -> Any:
    annotation = bare(annotation)
    origin = get_origin(annotation)
    if is_typeddict(annotation):
        return {
            name: (required(field), type(None) in _variants(field), _shape_of_sdk(field))
            for name, field in fields(annotation).items()
        }
    if origin is Literal:
        return frozenset(get_args(annotation))
    if origin is Union:
        variants = [v for v in get_args(annotation) if v is not type(None) and v != Literal[""]]
        if set(variants) == {str, datetime}:
            return "date"
        shapes = [_shape_of_sdk(variant) for variant in variants]
        return shapes[0] if len(shapes) == 1 else sorted(shapes, key=repr)
    if origin is dict:
        return "metadata"
    if origin is not None:
        return [_shape_of_sdk(get_args(annotation)[0])]
    return {str: "text", float: "number", int: "whole", bool: "bool"}[annotation]


def _variants(annotation: Any) -> tuple[Any, ...]:
    annotation = bare(annotation)
    return get_args(annotation) if get_origin(annotation) is Union else (annotation,)


def _shape_of_model(annotation: Any, metadata: list[Any]) -> Any:
    if hasattr(annotation, "__metadata__"):
        return _shape_of_model(annotation.__origin__, [*metadata, *annotation.__metadata__])
    validators = {getattr(extra, "func", None) for extra in metadata}
    origin = get_origin(annotation)
    if models._currency in validators:
        return models.CURRENCIES
    if annotation in (int | float, float):
        return "number"
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return {
            field.alias: (
                field.is_required(),
                _nullable(field),
                _shape_of_model(field.annotation, field.metadata),
            )
            for field in annotation.model_fields.values()
        }
    if origin is Literal:
        return frozenset(get_args(annotation))
    if origin is list:
        return [_shape_of_model(get_args(annotation)[0], [])]
    if origin is dict:
        return "metadata"
    if origin is not None:
        shapes = [_shape_of_model(v, []) for v in get_args(annotation) if v is not type(None)]
        return shapes[0] if len(shapes) == 1 else sorted(shapes, key=repr)
    return {str: "text", int: "whole", bool: "bool", datetime: "date"}[annotation]


def _nullable(field: Any) -> bool:
    given = models._given in {getattr(extra, "func", None) for extra in field.metadata}
    return type(None) in get_args(field.annotation) and not given


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (models.CustomerProvision, v1.CustomerProvisionParams),
        (models.CustomerUpdate, v1.CustomerUpdateParams),
        (models.SubscriptionProvision, v1.SubscriptionProvisionParams),
        (models.SubscriptionUpdate, v1.SubscriptionUpdateParams),
        (models.SubscriptionCancel, v1.SubscriptionCancelParams),
        (models.SubscriptionPreview, v1.SubscriptionPreviewParams),
        (models.GrantCreate, credits.GrantCreateParams),
        (bodies.PaymentMethodAttach, customers.PaymentMethodAttachParams),
        (bodies.IntegrationLink, customers.IntegrationLinkParams),
        (bodies.CustomerImport, v1.CustomerImportParams),
        (bodies.PromotionalEntitlementCreate, customers.PromotionalEntitlementCreateParams),
        (bodies.ContractCreate, v1.ContractCreateParams),
        (bodies.ContractUpdate, v1.ContractUpdateParams),
        (bodies.SubscriptionDelegate, v1.SubscriptionDelegateParams),
        (bodies.SubscriptionTransfer, v1.SubscriptionTransferParams),
        (bodies.SubscriptionMigrate, v1.SubscriptionMigrateParams),
        (bodies.SubscriptionImport, v1.SubscriptionImportParams),
        (bodies.UsageEstimate, v1.UsageEstimateParams),
        (bodies.UsageReports, v1.UsageReportParams),
        (bodies.UsageReports, v2.UsageReportParams),
        (bodies.EventEstimate, v1.EventEstimateParams),
        (bodies.Consumption, credits.ConsumptionConsumeParams),
        (bodies.Consumptions, credits.ConsumptionConsumeAsyncParams),
        (bodies.EventReports, v1.EventReportParams),
    ],
)
def test_the_stand_in_takes_exactly_what_the_sdk_can_send(model: type[pydantic.BaseModel], params: type) -> None:
    assert _shape_of_model(model, []) == _shape_of_sdk(params)


def test_a_link_is_changed_by_what_the_sdk_sends_besides_the_path() -> None:
    sent = _shape_of_sdk(customers.IntegrationUpdateParams)
    assert sent.pop("id")
    assert _shape_of_model(bodies.IntegrationUpdate, []) == sent
