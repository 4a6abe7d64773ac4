"""The Salesforce package holds together, as far as that shows without an organisation.

Its source is read as plain XML. What the server writes, the stand-in has and the permission sets grant is compared with
what the package declares; every name that one file mentions is looked for in the others.
"""

from __future__ import annotations

import json
import re
import string
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from simple_salesforce.format import format_soql

from closedwon.domain.customer import Customer, OpportunityState, Outcome, Status, SubscriptionLink
from closedwon.domain.identifiers import CustomerId, SubscriptionId, entity_id_fault
from closedwon.domain.lines import KINDS
from closedwon.intake.deal import Deal, Line, Terms
from closedwon.intake.mapping import MappingRules, compile_deal, revision_of
from closedwon.preview.answers import PreviewResult, PreviewResults
from closedwon.salesforce.access import access
from closedwon.salesforce.mapping_records import MAPPINGS_SOQL, mapped
from closedwon.salesforce.reading import opportunities_of, read
from closedwon.salesforce.write_back import composite_request
from sandbox.flow import deal_of
from sandbox.sales import Cpq, Sales, Sold
from sandbox.salesforce.app import Salesforce
from sandbox.salesforce.cpq import QUOTE_LINES, installed
from sandbox.salesforce.schema import STANDARD, Field
from sandbox.salesforce.tree import records_of
from sandbox.sandbox import packaged_configuration
from tools.salesforce_manifest import main as manifest_tool
from unit.domain import RULES, a_deal

PACKAGE = Path(__file__).resolve().parents[2] / "salesforce"
SOURCE = PACKAGE / "force-app" / "main" / "default"
CPQ_SOURCE = PACKAGE / "cpq" / "main" / "default"
NAMESPACE = "{http://soap.sforce.com/2006/04/metadata}"

PROVISIONING, MAPPING = "Stigg_Provisioning__c", "Stigg_Mapping__mdt"
SHARED_OBJECTS = ("Product2", "Account", "Opportunity", PROVISIONING)
"""Objects that both the package and the stand-in know the fields of."""

KINDS_OF_FIELD = {
    "Checkbox": "boolean",
    "Currency": "currency",
    "Date": "date",
    "DateTime": "datetime",
    "LongTextArea": "textarea",
    "Lookup": "reference",
    "Picklist": "picklist",
    "Text": "string",
    "Url": "url",
}
"""Metadata's field types in the words of Salesforce's describe, which are the stand-in's."""

LENGTHS = {"Url": 255, "Lookup": 18, "Picklist": 255}
"""Of fields whose length Salesforce fixes, as describe tells it."""

BUILT_IN = {PROVISIONING: {"Name", "OwnerId", "CreatedById", "CreatedDate", "LastModifiedById", "LastModifiedDate"}}
"""What every custom object has besides the fields of the package."""


class Xml:
    """One metadata file. Steps of a path are element names without their namespace."""

    def __init__(self, path: Path) -> None:
        self.root = ET.parse(path).getroot()

    def all(self, path: str) -> list[ET.Element]:
        return self.root.findall("/".join(NAMESPACE + step for step in path.split("/")))

    def texts(self, path: str) -> list[str]:
        return [element.text or "" for element in self.all(path)]

    def text(self, path: str) -> str:
        return (self.texts(path) or [""])[0]

    def entries(self, path: str) -> list[dict[str, str]]:
        """Elements that hold plain values, as these by name."""
        return [{part.tag.removeprefix(NAMESPACE): part.text or "" for part in element} for element in self.all(path)]


def files(pattern: str, source: Path = SOURCE) -> dict[str, Xml]:
    """Metadata files, by name."""
    return {path.name.rsplit(".", 2)[0]: Xml(path) for path in sorted(source.glob(pattern))}


@cache
def declared() -> dict[str, dict[str, Xml]]:
    """The package's fields, by object and name."""
    owners = {path.parent.name for path in SOURCE.glob("objects/*/fields")}
    return {owner: files(f"objects/{owner}/fields/*.field-meta.xml") for owner in sorted(owners)}


def every_field() -> Iterator[tuple[str, str, Xml]]:
    return ((owner, name, field) for owner, found in declared().items() for name, field in found.items())


def values_of(owner: str, name: str) -> tuple[str, ...]:
    return tuple(declared()[owner][name].texts("valueSet/valueSetDefinition/value/fullName"))


def exists(owner: str, name: str) -> bool:
    """Whether an object has a field: the package's, or a standard one, which the stand-in knows."""
    if name in declared().get(owner, {}) or name in BUILT_IN.get(owner, ()):
        return True
    standard = STANDARD.get(owner) if not owner.endswith("__c") else None
    found = standard and standard.field(name)
    return bool(found and not found.custom)


def leads_to_a_field(owner: str, path: str) -> bool:
    """Whether a path such as Product2.Stigg_ID__c leads from an object to a field."""
    *steps, last = path.split(".")
    for step in steps:
        here = STANDARD.get(owner)
        lookup = here.parent(step) if here else None
        if not lookup:
            return False
        owner = lookup.to
    return exists(owner, last)


PERMISSION_SETS = ("Closed_Won_Admin", "Closed_Won_Flow_User", "Closed_Won_Integration")
FOR_CPQ = "Closed_Won_Integration_CPQ"


def permission_set(name: str) -> Xml:
    return files("permissionsets/*.xml", CPQ_SOURCE if name == FOR_CPQ else SOURCE)[name]


def editable_fields(name: str) -> dict[str, bool]:
    """The fields a permission set shows, and whether they may be edited."""
    return {entry["field"]: entry["editable"] == "true" for entry in permission_set(name).entries("fieldPermissions")}


def allowed(name: str) -> dict[str, set[str]]:
    """What a permission set allows on objects: Read, Edit, modifyAllRecords ..."""
    return {
        entry["object"]: {what.removeprefix("allow") for what, value in entry.items() if value == "true"}
        for entry in permission_set(name).entries("objectPermissions")
    }


def written_by_the_server() -> dict[str, dict[str, Any]]:
    """A write-back with everything in it, at its longest: the values written, by object and field."""
    deal = Deal.model_validate(a_deal())
    order = compile_deal(deal, RULES)
    links = tuple(
        SubscriptionLink(
            "plan-" + "p" * 250, SubscriptionId("s" * 200), "PAYMENT_PENDING", "https://pay.example/" + "c" * 235
        )
        for _ in range(200)
    )
    state = OpportunityState(
        order=order,
        revision=revision_of(deal),
        version=1,
        execution="x" * 80,
        outcome=Outcome(
            "Payment required", "r" * 40_000, links, approval="a" * 64, due_at=1_772_323_200_000, code="c" * 80
        ),
        at=1_768_468_531_000,
    )
    customer = Customer(
        order.account_id, customer_id=CustomerId("c" * 255), ensured=True, opportunities={order.opportunity_id: state}
    )
    written: dict[str, dict[str, Any]] = {}
    requests = composite_request(customer, [order.opportunity_id], "https://app.stigg.io/production", "/data")
    for request, _ in requests:
        for record in request["body"].get("records", [request["body"]]):
            object_name = record.get("attributes", {}).get("type", "Account")
            written[object_name] = {name: value for name, value in record.items() if name != "attributes"}
    return written


# What the server writes


def test_every_field_the_server_writes_exists_and_holds_its_longest_value() -> None:
    written = written_by_the_server()
    assert set(written) == {"Account", PROVISIONING}
    for owner, values in written.items():
        for name, value in values.items():
            field = declared()[owner][name]
            if field.text("type") == "Picklist":
                assert value in values_of(owner, name)
            elif field.text("type") == "Checkbox":
                assert isinstance(value, bool)
            elif field.text("type") != "DateTime" and value is not None:
                length = int(field.text("length") or LENGTHS[field.text("type")])
                assert len(value) <= length, f"{owner}.{name}"


def test_a_write_back_says_what_waits_and_until_when_and_withdraws_an_earlier_approval() -> None:
    record = written_by_the_server()[PROVISIONING]
    assert record["Approval_ID__c"] == "a" * 64
    assert record["Approved__c"] is False
    assert record["Due_At__c"] == "2026-03-01T00:00:00.000+00:00"


def test_the_integration_user_may_write_what_the_server_writes_and_nothing_else() -> None:
    written = {f"{owner}.{name}" for owner, values in written_by_the_server().items() for name in values}
    assert {field for field, may in editable_fields("Closed_Won_Integration").items() if may} == written
    assert allowed("Closed_Won_Integration") == {
        "Account": {"Read", "Edit"},
        "Opportunity": {"Read"},
        "Pricebook2": {"Read"},
        "Product2": {"Read"},
        PROVISIONING: {"Create", "Read", "Edit"},
    }
    granted = {element.tag.removeprefix(NAMESPACE) for element in permission_set("Closed_Won_Integration").root}
    plain = {"description", "fieldPermissions", "hasActivationRequired", "label", "objectPermissions"}
    assert granted == {*plain, "customMetadataTypeAccesses"}


# What the server reads

VISIBLE = {"Account.Name", "Account.MasterRecordId", "SBQQ__QuoteLine__c.SBQQ__Quote__c"}
VISIBLE |= {f"Opportunity.{name}" for name in ("Name", "StageName", "CloseDate", "IsClosed", "IsWon", "IsDeleted")}
VISIBLE |= {
    f"OpportunityLineItem.{name}" for name in ("OpportunityId", "Product2Id", "Quantity", "SortOrder", "UnitPrice")
}
"""What everybody sees who sees the record (so do Id and SystemModstamp): Salesforce takes no permission for it."""


WITH_CPQ = installed(STANDARD)


class Asked:
    """An organisation that keeps the queries it was asked."""

    def __init__(self) -> None:
        self.salesforce = Salesforce("the-app", "the-secret")
        self.salesforce.load(packaged_configuration())
        self.sales = Sales(self.salesforce)
        self.queries: list[str] = []

    def query(self, soql: str, **values: Any) -> list[dict[str, Any]]:
        self.queries.append(soql)
        return self.salesforce.query(format_soql(soql, **values))

    def describe(self, object_name: str) -> dict[str, Any]:
        return self.salesforce.describe(object_name)

    def read(self, opportunity: str) -> set[str]:
        """Every field that reading an opportunity asks for, as Object.Field, with the lookups on the way to it."""
        deal = {"organizationId": self.salesforce.organization_id, "trigger": "closed_won"}
        [answer] = read([{**deal, "opportunity": {"id": opportunity}}], self, datetime.now(UTC))
        assert isinstance(answer, dict), answer
        return {field for soql in self.queries for field in self.fields_in(soql)}

    def needed(self) -> set[str]:
        """Every field that is read of any deal, one by one or in bulk, and what is shown of it; without the mappings'
        own. All of them are there.
        """
        found = access(mapped(self.salesforce.query(MAPPINGS_SOQL)), self.describe)
        assert all(one.enough for one in found)
        return {f"{one.object}.{name}" for one in found if one.object != MAPPING for name in one.reads.values()}

    def fields_in(self, soql: str) -> Iterator[str]:
        query = re.match(
            r"SELECT (?P<shown>.+) FROM (?P<object>\w+)( WHERE (?P<where>.+?))?( ORDER BY (?P<order>.+))?$", soql
        )
        assert query, soql
        paths = query["shown"].split(", ")
        paths += re.findall(r"(?:^|AND )(\S+) (?:IN|!=)", query["where"] or "")
        paths += re.findall(r"(\S+)(?: NULLS LAST)?(?:, |$)", query["order"] or "")
        for path in paths:
            *steps, last = path.split(".")
            owner = WITH_CPQ.objects[query["object"]]
            for step in steps:
                lookup = owner.parent(step)
                assert lookup, path
                yield f"{owner.name}.{lookup.name}"
                owner = WITH_CPQ.objects[lookup.to]
            yield f"{owner.name}.{last}"


def taking_permission(fields: set[str]) -> set[str]:
    return {field for field in fields - VISIBLE if not field.endswith((".Id", ".SystemModstamp", ".CurrencyIsoCode"))}


def of_mappings(fields: set[str]) -> set[str]:
    """Fields of Stigg Mapping: a permission for its type shows them all."""
    return {field for field in fields if field.startswith(f"{MAPPING}.")}


def test_the_integration_user_sees_what_deals_are_read_from_and_nothing_else() -> None:
    org = Asked()
    fields = taking_permission(
        org.read(org.sales.close(org.sales.account("Northwind"), "Deal", Sold("plan-enterprise")))
    )
    assert of_mappings(fields)
    assert permission_set("Closed_Won_Integration").entries("customMetadataTypeAccesses") == [
        {"enabled": "true", "name": MAPPING}
    ]
    shown = set(editable_fields("Closed_Won_Integration"))
    needed = taking_permission(org.needed())
    assert shown == needed
    assert fields - of_mappings(fields) <= needed


def test_with_cpq_a_second_permission_set_shows_the_rest_and_allows_no_writing() -> None:
    org = Asked()
    cpq = Cpq(org.sales)
    quoted = cpq.quote(org.sales.account("Northwind"), "Deal", Sold("plan-enterprise"))
    assert opportunities_of([cpq.contract(quoted)], org)
    fields = taking_permission(org.read(quoted))
    needed = taking_permission(org.needed())
    shown = editable_fields(FOR_CPQ)
    assert set(shown) == needed - set(editable_fields("Closed_Won_Integration"))
    assert fields - of_mappings(fields) <= needed
    assert not any(shown.values())
    read = ("Contract", "SBQQ__Quote__c", "SBQQ__QuoteLine__c", "SBQQ__Subscription__c")
    assert allowed(FOR_CPQ) == {name: {"Read"} for name in read}


def test_the_external_id_makes_one_record_of_an_opportunity() -> None:
    field = declared()[PROVISIONING]["Opportunity_ID__c"]
    assert (field.text("externalId"), field.text("unique"), field.text("length")) == ("true", "true", "18")


def test_the_integration_user_can_update_a_record_that_a_flow_created() -> None:
    # Sharing by ownership would refuse it; object permissions say who may write.
    assert files(f"objects/{PROVISIONING}/*.xml")[PROVISIONING].text("sharingModel") == "ReadWrite"
    assert allowed("Closed_Won_Flow_User")[PROVISIONING] == {"Read"}


# Words that the code has too


def test_picklists_have_the_values_that_the_code_has() -> None:
    def choices(model: type[Any], name: str) -> tuple[str, ...]:
        literal, *_ = get_args(model.model_fields[name].annotation)
        return get_args(literal)

    assert values_of(PROVISIONING, "Status__c") == get_args(Status)
    assert values_of("Product2", "Stigg_Type__c") == KINDS
    assert values_of("Product2", "Stigg_Reset_Period__c") == choices(Line, "reset_period")
    assert values_of("Opportunity", "Stigg_Billing_Period__c") == choices(Terms, "billing_period")
    assert values_of("Opportunity", "Stigg_Payment_Collection__c") == choices(Terms, "payment_collection")
    assert values_of("Opportunity", "Stigg_Trial_End_Behavior__c") == choices(Terms, "trial_end_behavior")


def test_the_preview_in_salesforce_understands_what_previews_answer() -> None:
    code = {
        name: (SOURCE / "classes" / f"{name}.cls").read_text() for name in ("ClosedWonPreview", "ClosedWonPreviewTest")
    }
    shown = set(re.findall(r"deal\.answer\.get\('(\w+)'\)", code["ClosedWonPreview"]))
    assert shown == {"summary", "warnings"}
    assert shown <= set(PreviewResult.model_fields)
    said = re.search(r"label='Status'\s+description='(.*?)\.?'", code["ClosedWonPreview"])
    words = re.sub(r" \(.*?\)", "", said[1]).replace(" or ", ", ").split(", ") if said else []
    own = {"nothing mapped", "not sent", "failed"}
    assert set(words) == {*get_args(PreviewResult.model_fields["status"].annotation), *own}
    answers = re.findall(r"server\.answer =\s*((?:'[^']*'[\s+]*)+);", code["ClosedWonPreviewTest"])
    assert len(answers) == 2
    for answer in answers:
        [result] = PreviewResults.model_validate_json("".join(re.findall(r"'([^']*)'", answer))).results
        assert result.summary


def rule(name: str) -> Xml:
    return files("objects/Product2/validationRules/*.xml")[name]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Stigg_Plan_ID_Prefix", "Plan"),
        ("Stigg_Addon_ID_Prefix", "Add-on"),
        ("Stigg_Entitlement_ID_Prefix", "Entitlement"),
    ],
)
def test_the_validation_rules_want_the_prefixes_that_the_mapping_wants(name: str, kind: Any) -> None:
    prefix = MappingRules(RULES.organization_id).prefix(kind)
    formula = rule(name).text("errorConditionFormula")
    assert f'ISPICKVAL(Stigg_Type__c, "{kind}")' in formula
    assert f'BEGINS(Stigg_ID__c, "{prefix}")' in formula
    assert f" {prefix} " in rule(name).text("errorMessage")


def test_the_validation_rule_takes_the_characters_that_the_callout_takes() -> None:
    in_salesforce = re.search(
        r'REGEX\(Stigg_ID__c, "(.*)"\)', rule("Stigg_ID_Characters").text("errorConditionFormula")
    )
    assert in_salesforce
    for character in string.printable:
        for id in (character, f"a{character}"):
            assert bool(re.fullmatch(in_salesforce[1], id)) == (entity_id_fault(id) is None), id


def test_validation_rules_speak_of_existing_fields_and_say_what_to_do() -> None:
    rules = [(owner, files(f"objects/{owner}/validationRules/*.xml")) for owner in ("Product2", PROVISIONING)]
    for owner, name, one in ((owner, name, one) for owner, found in rules for name, one in found.items()):
        formula = one.text("errorConditionFormula")
        assert set(re.findall(r"\w+__c", formula)) <= set(declared()[owner]), name
        assert formula.count("(") == formula.count(")")
        for value in re.findall(r'ISPICKVAL\(Stigg_Type__c, "(.*?)"\)', formula):
            assert value in values_of("Product2", "Stigg_Type__c")
        assert one.text("errorDisplayField") in declared()[owner]
        assert one.text("active") == "true"
        message = one.text("errorMessage")
        assert len(message) <= 255
        assert re.search(r"Copy|Choose|choose|Clear|clear", message), name
        assert "__c" not in message


def test_only_what_waits_for_an_approval_can_be_approved() -> None:
    (one,) = files(f"objects/{PROVISIONING}/validationRules/*.xml").values()
    assert "".join(one.text("errorConditionFormula").split()) == "AND(Approved__c,ISBLANK(Approval_ID__c))"


def test_every_field_says_what_it_is_for() -> None:
    for owner, name, field in every_field():
        assert field.text("fullName") == name
        assert 0 < len(field.text("label")) <= 40, name
        assert field.text("description"), name
        assert len(field.text("inlineHelpText")) <= 510, name
        if owner in ("Product2", "Opportunity", MAPPING):  # what people fill in
            assert field.text("inlineHelpText"), name


# The stand-in


def test_the_stand_in_has_the_fields_of_the_package() -> None:
    for owner in SHARED_OBJECTS:
        stand_in = STANDARD.objects[owner]
        assert {f.name for f in stand_in.fields.values() if f.custom} == set(declared()[owner]), owner
        for name, field in declared()[owner].items():
            assert as_the_stand_in_says(field) == told(stand_in.fields[name]), f"{owner}.{name}"


def test_the_stand_in_knows_the_object_of_the_package() -> None:
    package, stand_in = files(f"objects/{PROVISIONING}/*.xml")[PROVISIONING], STANDARD.objects[PROVISIONING]
    assert (package.text("label"), package.text("pluralLabel")) == (stand_in.label, stand_in.plural)
    assert package.text("nameField/label") == stand_in.fields["Name"].shown
    assert package.text("nameField/displayFormat").replace("{00000}", "00007") == stand_in.fields[
        "Name"
    ].autonumber.format(7)


def as_the_stand_in_says(field: Xml) -> dict[str, Any]:
    kind = field.text("type")
    relationship = field.text("relationshipName")
    return {
        "kind": KINDS_OF_FIELD[kind],
        "label": field.text("label"),
        "length": int(field.text("length") or LENGTHS.get(kind, 0)),
        "unique": field.text("unique") == "true",
        "external_id": field.text("externalId") == "true",
        "required": field.text("required") == "true",
        "values": tuple(field.texts("valueSet/valueSetDefinition/value/fullName")),
        "to": field.text("referenceTo"),
        "children": f"{relationship}__r" if relationship else "",
        "clears": field.text("deleteConstraint") in ("", "SetNull"),
    }


def told(field: Field) -> dict[str, Any]:
    plain = {name: getattr(field, name) for name in ("kind", "length", "unique", "external_id", "required")}
    plain |= {"values": field.values, "to": field.to, "children": field.children}
    return {**plain, "label": field.shown, "clears": field.on_delete == "clear"}


# Names that files mention


def test_permission_sets_grant_what_exists() -> None:
    classes = {path.stem for path in SOURCE.glob("classes/*.cls")}
    credentials = {
        f"{name}-{principal['parameterName']}"
        for name, credential in files("externalCredentials/*.xml").items()
        for principal in credential.entries("externalCredentialParameters")
        if principal["parameterType"] == "NamedPrincipal"
    }
    for name in PERMISSION_SETS:
        one = permission_set(name)
        for path in editable_fields(name):
            owner, _, field = path.partition(".")
            assert exists(owner, field), path
            assert not STANDARD.objects[owner].fields[field].required, f"{path}: a required field takes no permission"
            assert path not in VISIBLE
        assert set(one.texts("classAccesses/apexClass")) <= classes
        assert set(one.texts("applicationVisibilities/application")) <= set(files("applications/*.xml"))
        assert set(one.texts("tabSettings/tab")) <= set(files("tabs/*.xml"))
        assert set(one.texts("customMetadataTypeAccesses/name")) <= set(declared())
        assert set(one.texts("externalCredentialPrincipalAccesses/externalCredentialPrincipal")) <= credentials
        assert set(allowed(name)) <= {*STANDARD.objects, "UserExternalCredential"}


def test_who_closes_deals_may_use_the_actions_and_read_what_they_read() -> None:
    for name in ("Closed_Won_Flow_User", "Closed_Won_Admin"):
        assert "Read" in allowed(name)["UserExternalCredential"]
        assert permission_set(name).texts("externalCredentialPrincipalAccesses/enabled") == ["true"]
        ours = {f"{owner}.{field}" for owner, field, _ in every_field() if owner != MAPPING}
        assert set(editable_fields(name)) == ours
    # Only the server writes what only the server knows; what it holds, an admin may approve.
    for name, expected in (("Closed_Won_Flow_User", set()), ("Closed_Won_Admin", {f"{PROVISIONING}.Approved__c"})):
        editable = {field for field, may in editable_fields(name).items() if may and field.startswith(PROVISIONING)}
        assert editable == expected


def test_the_classes_that_flows_and_components_call_are_granted() -> None:
    called = {"Closed_Won_Flow_User": set[str](), "Closed_Won_Admin": set[str]()}
    for path in SOURCE.glob("classes/*.cls"):
        code = path.read_text(encoding="utf-8")
        if re.search(r"@(InvocableMethod|InvocableVariable|AuraEnabled)\b", code) and "@IsTest" not in code:
            called["Closed_Won_Admin"].add(path.stem)
            if path.stem not in ("ClosedWonConfigurationController", "ClosedWonApprove"):
                called["Closed_Won_Flow_User"].add(path.stem)
    for name, classes in called.items():
        assert set(permission_set(name).texts("classAccesses/apexClass")) == classes


def test_the_app_and_its_tabs_show_what_exists() -> None:
    tabs, components = files("tabs/*.xml"), {path.parent.name for path in SOURCE.glob("lwc/*/*.js-meta.xml")}
    for app in files("applications/*.xml").values():
        own = [tab for tab in app.texts("tabs") if not tab.startswith("standard-")]
        assert set(own) == set(tabs)
        assert app.text("defaultLandingTab") in own
    for name, tab in tabs.items():
        if tab.text("customObject") == "true":
            assert name in declared()
        else:
            assert tab.text("lwcComponent") in components


def test_the_quick_action_opens_what_exists() -> None:
    components = {path.parent.name for path in SOURCE.glob("lwc/*/*.js-meta.xml")}
    actions = files("quickActions/*.xml")
    assert set(actions) == {"Opportunity.Preview_in_Stigg"}
    for action in actions.values():
        if action.text("type") == "Flow":
            assert action.text("flowDefinition") in files("flows/*.xml")
        else:
            assert action.text("lightningWebComponent") in components


def test_list_views_and_layouts_show_existing_fields() -> None:
    views = files(f"objects/{PROVISIONING}/listViews/*.xml")
    assert {view.text("label") for view in views.values()} == {"All", "Failed", "Held", "Payment required", "Scheduled"}
    for view in views.values():
        assert all(exists(PROVISIONING, name) for name in view.texts("columns") if name != "NAME")
        for entry in view.entries("filters"):
            assert entry["value"] in values_of(PROVISIONING, entry["field"])
            assert entry["value"] == view.text("label")
    owner = files(f"objects/{PROVISIONING}/*.xml")[PROVISIONING]
    for kind in ("customTabListAdditionalFields", "lookupDialogsAdditionalFields", "searchResultsAdditionalFields"):
        assert all(exists(PROVISIONING, name) for name in owner.texts(f"searchLayouts/{kind}"))
    compact = files(f"objects/{PROVISIONING}/compactLayouts/*.xml")
    assert owner.text("compactLayoutAssignment") in compact
    for layout in compact.values():
        assert all(exists(PROVISIONING, name) for name in layout.texts("fields"))


@pytest.mark.parametrize("owner", [PROVISIONING, MAPPING])
def test_the_page_layouts_show_every_field_once(owner: str) -> None:
    # Salesforce puts a deployed field on no layout by itself.
    (layout,) = [one for name, one in files("layouts/*.xml").items() if name.startswith(f"{owner}-")]
    shown = layout.texts("layoutSections/layoutColumns/layoutItems/field")
    assert len(shown) == len(set(shown))
    assert {name for name in shown if name.endswith("__c")} == set(declared()[owner])
    for item in layout.entries("layoutSections/layoutColumns/layoutItems"):
        if item["field"] in declared()[owner]:
            required = declared()[owner][item["field"]].text("required") == "true"
            assert (item["behavior"] == "Required") == required


def test_the_report_shows_what_failed_is_held_or_waits_for_payment() -> None:
    kinds = files("reportTypes/*.xml")
    for kind in kinds.values():
        for column in kind.entries("sections/columns"):
            assert exists(column["table"], column["field"]), column
    (report,) = files("reports/*/*.report-meta.xml").values()
    kind = kinds[report.text("reportType").removesuffix("__c")]
    offered = {f"{column['table']}${column['field']}" for column in kind.entries("sections/columns")}
    mentioned = [*report.texts("columns/field"), *report.texts("groupingsDown/field"), report.text("sortColumn")]
    (only,) = report.entries("filter/criteriaItems")
    assert {*mentioned, only["column"], report.text("timeFrameFilter/dateColumn")} <= offered
    assert set(only["value"].split(",")) == {"Failed", "Held", "Payment required"}
    assert set(only["value"].split(",")) <= set(values_of(PROVISIONING, "Status__c"))
    assert (SOURCE / "reports" / "Closed_Won.reportFolder-meta.xml").exists()


REQUIRED_OF_A_MAPPING = {"Parent_Field__c", "Stigg_Type_Field__c", "Stigg_ID_Field__c", "Quantity_Field__c"}


def test_the_mapping_for_cpq_is_the_one_that_is_tried_out() -> None:
    [record] = files("customMetadata/*.xml", CPQ_SOURCE).values()
    values = {entry["field"]: entry["value"] for entry in record.entries("values")}
    assert set(values) == set(declared()[MAPPING])
    filled = {name: value == "true" if name == "Active__c" else value for name, value in values.items() if value}
    names = {"DeveloperName": "CPQ_Quote_Lines", "MasterLabel": record.text("label")}
    assert {**names, **filled} == QUOTE_LINES


def test_the_default_mapping_leads_to_existing_fields() -> None:
    (record,) = files("customMetadata/*.xml").values()
    values = {entry["field"]: entry["value"] for entry in record.entries("values")}
    assert set(values) == set(declared()[MAPPING])
    assert values.pop("Active__c") == "true"
    line_object = values.pop("Line_Object__c")
    for name, path in values.items():
        required = name in REQUIRED_OF_A_MAPPING
        assert leads_to_a_field(line_object, path) if path else not required, f"{name}: {path}"


def test_the_credentials_send_the_key_and_hold_none() -> None:
    external = files("externalCredentials/*.xml")["Closed_Won"].entries("externalCredentialParameters")
    (header,) = [entry for entry in external if entry["parameterType"] == "AuthHeader"]
    assert header["parameterName"] == "x-api-key"
    assert header["parameterValue"] == "{!$Credential.Closed_Won.ApiKey}"
    named = files("namedCredentials/*.xml")["Closed_Won"]
    kinds = {entry["parameterType"]: entry for entry in named.entries("namedCredentialParameters")}
    assert kinds["Authentication"]["externalCredential"] == "Closed_Won"
    assert re.fullmatch(r"https://example\.\S+/callout", kinds["Url"]["parameterValue"])


def test_code_and_flows_speak_of_existing_objects_and_fields() -> None:
    known = set(declared()) | {name for _, name, _ in every_field()}
    known |= {f"{field.text('relationshipName')}__r" for _, _, field in every_field() if field.text("relationshipName")}
    known |= {f"{name.removesuffix('__c')}__r" for _, name, field in every_field() if field.text("type") == "Lookup"}
    mentioned: dict[str, Path] = {}
    for path in [*SOURCE.rglob("*.cls"), *SOURCE.rglob("*.js"), *PACKAGE.rglob("*.flow-meta.xml")]:
        names = re.findall(r"\bStigg_\w+?__(?:c|r|mdt)\b", path.read_text(encoding="utf-8"))
        mentioned |= dict.fromkeys(names, path)
    assert {name: path.name for name, path in mentioned.items() if name not in known} == {}


def test_custom_labels_are_those_that_are_used() -> None:
    existing = {name for one in files("labels/*.xml").values() for name in one.texts("labels/fullName")}
    used = set()
    for path in [*SOURCE.rglob("*.cls"), *SOURCE.rglob("*.js"), *SOURCE.rglob("*.flow-meta.xml")]:
        code = path.read_text(encoding="utf-8")
        used |= set(re.findall(r"(?:System\.Label\.|\$Label\.|@salesforce/label/c\.)(\w+)", code))
    assert used == existing


# Manifests and project


def test_the_manifests_list_what_is_there() -> None:
    assert manifest_tool(["--check"]) == 0, "run python -m tools.salesforce_manifest"


def test_the_removal_deletes_every_field_and_object_of_ours_and_no_one_elses() -> None:
    removal = Xml(PACKAGE / "manifest" / "destructiveChanges.xml")
    deleted = {
        child.findtext(f"{NAMESPACE}name"): {one.text for one in child.findall(f"{NAMESPACE}members")}
        for child in removal.all("types")
    }
    assert deleted["CustomObject"] == {PROVISIONING, MAPPING}
    assert deleted["CustomField"] == {
        f"{owner}.{name}" for owner, name, _ in every_field() if owner not in (PROVISIONING, MAPPING)
    }
    assert not Xml(PACKAGE / "manifest" / "nothing.xml").all("types")


def test_the_project_has_the_folders_and_the_version_it_names() -> None:
    project = json.loads((PACKAGE / "sfdx-project.json").read_text())
    assert all((PACKAGE / folder["path"]).is_dir() for folder in project["packageDirectories"])
    assert {Xml(PACKAGE / "manifest" / "package.xml").text("version")} == {project["sourceApiVersion"]}


# Sample data


@pytest.fixture(scope="module")
def sample() -> Salesforce:
    made = Salesforce("the-app", "the-secret")
    made.load(records_of(PACKAGE / "data" / "plan.json"))
    return made


def test_the_sample_data_load_into_the_stand_in_and_make_deals_without_a_problem(sample: Salesforce) -> None:
    opportunities = sample.find("Opportunity")
    assert len(opportunities) >= 3
    for opportunity in opportunities:
        assert not opportunity["IsClosed"], "a deal that is won before it has products would be sent without them"
        deal = Deal.model_validate(deal_of(sample, opportunity["Id"]))
        assert not compile_deal(deal, MappingRules(sample.organization_id)).problems


def test_the_sample_products_keep_the_validation_rules(sample: Salesforce) -> None:
    rules = MappingRules(sample.organization_id)
    products = sample.find("Product2")
    assert {product["Stigg_Type__c"] for product in products} >= {*KINDS, None}
    for product in products:
        kind, stigg_id = product["Stigg_Type__c"], product["Stigg_ID__c"]
        assert (kind is None) == (stigg_id is None)
        assert kind is None or stigg_id.startswith(rules.prefix(kind))
        assert kind == "Entitlement" or not (product["Stigg_Unlimited__c"] or product["Stigg_Reset_Period__c"])
        assert kind in ("Plan", "Add-on", "Credit grant") or not product["Stigg_Price_Override__c"]


def test_the_sample_data_have_what_an_organisation_needs_too() -> None:
    seen = {"standardPricebook"}  # the one thing the CLI cannot look up: docs/salesforce.md says what to do
    for record in records_of(PACKAGE / "data" / "plan.json"):
        for name, value in record.items():
            if isinstance(value, str) and value.startswith("@"):
                assert value[1:] in seen, f"{value} is used before it is created"
            assert name not in ("Id", "CurrencyIsoCode"), "not in every organisation, or never"
        reference = record["attributes"]["referenceId"]
        assert reference not in seen
        seen.add(reference)
