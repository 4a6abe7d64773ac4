"""What the describe resources tell about the objects."""

from __future__ import annotations

from typing import Any

from sandbox.salesforce.schema import ID_KINDS, NUMBER_KINDS, TEXT_KINDS, Field, Schema, SObject

_SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "date": "xsd:date",
}
_SOAP_TYPES |= {
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "datetime": "xsd:dateTime",
}


def summary(target: SObject, base: str) -> dict[str, Any]:
    """An object as the global describe lists it; base: ``/services/data/vNN.0``."""
    url = f"{base}/sobjects/{target.name}"
    return {
        "name": target.name,
        "label": target.label,
        "labelPlural": target.plural,
        "keyPrefix": target.prefix,
        "custom": target.name.endswith("__c"),
        "createable": target.writable,
        "updateable": target.writable,
        "deletable": target.writable,
        "undeletable": False,
        "queryable": True,
        "retrieveable": True,
        "urls": {"sobject": url, "describe": f"{url}/describe", "rowTemplate": url + "/{ID}"},
    }


def detail(schema: Schema, target: SObject, base: str) -> dict[str, Any]:
    """An object with its fields and child relationships."""
    children = [
        {
            "childSObject": child.name,
            "field": field.name,
            "relationshipName": field.children or None,
            "cascadeDelete": field.on_delete == "cascade",
            "restrictedDelete": field.on_delete == "restrict",
        }
        for child, field in schema.children(target)
    ]
    fields = [_field(field, target) for field in target.fields.values()]
    return {**summary(target, base), "fields": fields, "childRelationships": children, "recordTypeInfos": []}


def _field(field: Field, target: SObject) -> dict[str, Any]:
    writable = target.writable and not field.computed
    number = field.kind in NUMBER_KINDS and field.kind != "int"
    return {
        "name": field.name,
        "label": field.shown,
        "type": field.kind,
        "soapType": _SOAP_TYPES.get(field.kind, "xsd:string"),
        "length": field.length if field.kind in (*TEXT_KINDS, *ID_KINDS) else 0,
        **({"precision": 18, "scale": field.scale} if number else {"precision": 0, "scale": 0}),
        "digits": 9 if field.kind == "int" else 0,
        "custom": field.custom,
        "nillable": _nillable(field),
        "defaultedOnCreate": field.computed or field.default is not None or field.kind == "boolean",
        "defaultValue": field.default,
        "createable": writable,
        "updateable": writable and field.updateable,
        "calculated": False,
        "autoNumber": bool(field.autonumber),
        "unique": field.unique,
        "externalId": field.external_id,
        "idLookup": field.external_id or field.kind == "id",
        "caseSensitive": False,
        "filterable": field.filterable,
        "sortable": field.filterable,
        "groupable": field.filterable and field.kind not in ("datetime", *NUMBER_KINDS),
        "nameField": field.name == target.title,
        "htmlFormatted": False,
        "restrictedPicklist": bool(field.values),
        "picklistValues": [_picklist_value(field, value) for value in field.values],
        "referenceTo": [field.to] if field.to else [],
        "relationshipName": field.relationship or None,
    }


def _nillable(field: Field) -> bool:
    return not (field.required or field.kind in ("id", "boolean") or field.name.endswith("ById"))


def _picklist_value(field: Field, value: str) -> dict[str, Any]:
    on = value not in field.off
    return {"active": on, "defaultValue": value == field.default, "label": value, "validFor": None, "value": value}
