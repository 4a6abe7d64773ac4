"""The objects this stand-in knows, declared: fields, relationships, and what the server itself keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import Any, Literal

Kind = Literal[
    "id", "string", "textarea", "picklist", "boolean", "int", "double", "currency", "percent", "date", "datetime",
    "reference", "url", "email", "phone",
]  # fmt: skip
OnDelete = Literal["clear", "cascade", "restrict"]

TEXT_KINDS: frozenset[Kind] = frozenset({"string", "textarea", "picklist", "url", "email", "phone"})
NUMBER_KINDS: frozenset[Kind] = frozenset({"int", "double", "currency", "percent"})
ID_KINDS: frozenset[Kind] = frozenset({"id", "reference"})


@dataclass(frozen=True)
class Field:
    """One field of an object.

    values: a picklist's, restricted: no others are accepted, nor those of them that are switched `off`. to,
    relationship, children: a lookup's object, the name of the way up (``Account``) and of the way down from there
    (``Opportunities``). on_delete: what happens to this record when the one it looks up to is deleted. computed: kept
    by the server, never written by a client.
    """

    name: str
    kind: Kind
    label: str = ""
    length: int = 0
    scale: int = 2
    required: bool = False
    unique: bool = False
    external_id: bool = False
    values: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    default: Any = None
    to: str = ""
    relationship: str = ""
    children: str = ""
    on_delete: OnDelete = "clear"
    autonumber: str = ""
    computed: bool = False
    updateable: bool = True

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    @property
    def shown(self) -> str:
        """The label, made from the name when none is declared."""
        if self.label:
            return self.label
        stem = self.name.removesuffix("__c").removesuffix("Id") or self.name
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem).replace("_", " ") + (" ID" if self.kind == "reference" else "")

    @property
    def filterable(self) -> bool:
        """Long text areas can be neither filtered nor sorted."""
        return self.kind != "textarea"


@dataclass(frozen=True)
class SObject:
    """One object: its fields by name, in the order they are shown; prefix is what its record IDs start with."""

    name: str
    label: str
    plural: str
    prefix: str
    fields: dict[str, Field]
    writable: bool = True
    title: str = "Name"
    _by_lower: dict[str, Field] = dataclass_field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_lower.update({name.lower(): one for name, one in self.fields.items()})

    def field(self, name: str) -> Field | None:
        """The field of this name in any case, as Salesforce does not mind it."""
        return self._by_lower.get(name.lower())

    def parent(self, relationship: str) -> Field | None:
        """The lookup behind a relationship's name (``Account`` -> AccountId)."""
        wanted = relationship.lower()
        return next((f for f in self.fields.values() if f.relationship.lower() == wanted and f.to), None)


class Schema:
    """All objects, by name in any case."""

    def __init__(self, objects: Iterable[SObject]) -> None:
        self.objects = {one.name: one for one in objects}
        self._by_lower = {name.lower(): one for name, one in self.objects.items()}
        self._by_prefix = {one.prefix: one for one in self.objects.values()}

    def get(self, name: str) -> SObject | None:
        return self._by_lower.get(name.lower())

    def of_id(self, record_id: str) -> SObject | None:
        """The object a record ID belongs to, as its first three characters tell."""
        return self._by_prefix.get(record_id[:3])

    def children(self, parent: SObject) -> list[tuple[SObject, Field]]:
        """Every lookup to `parent`, with the object it is a field of."""
        return [(o, f) for o in self.objects.values() for f in o.fields.values() if f.to == parent.name]

    def extended(self, objects: Iterable[SObject], fields: dict[str, Iterable[Field]]) -> Schema:
        """The same with more objects, and with more fields on objects there are: what installing a package adds."""
        added = {
            name: replace(one, fields={**one.fields, **{f.name: f for f in fields.get(name, ())}})
            for name, one in self.objects.items()
        }
        return Schema([*added.values(), *objects])

    def without(self, name: str, hidden: Iterable[str]) -> Schema:
        """The same without some fields of one object."""
        gone = {field.lower() for field in hidden}
        one = self.objects[name]
        return self.having(replace(one, fields={n: f for n, f in one.fields.items() if n.lower() not in gone}))

    def having(self, one: SObject) -> Schema:
        """The same with another version of one object."""
        return Schema([one if each.name == one.name else each for each in self.objects.values()])

    def switched_off(self, name: str, field: str, value: str) -> Schema:
        """The same with a picklist's value that is switched off: records keep it, and no more of it is accepted."""
        one = self.objects[name]
        less = replace(one.fields[field], off=(*one.fields[field].off, value))
        return self.having(replace(one, fields={**one.fields, field: less}))

    def read_only(self, name: str, fields: Iterable[str]) -> Schema:
        """The same with some fields of one object that may only be read; the whole object, where none are named."""
        fixed = {field.lower() for field in fields}
        one = self.objects[name]
        seen = {n: replace(f, computed=f.computed or n.lower() in fixed) for n, f in one.fields.items()}
        return self.having(replace(one, fields=seen, writable=one.writable and bool(fixed)))

    def child(self, parent: SObject, relationship: str) -> tuple[SObject, Field] | None:
        """What a child relationship's name (``OpportunityLineItems``) stands for."""
        wanted = relationship.lower()
        return next(((o, f) for o, f in self.children(parent) if f.children.lower() == wanted), None)


def _object(
    name: str,
    label: str,
    plural: str,
    prefix: str,
    *fields: Field,
    writable: bool = True,
    title: str = "Name",
) -> SObject:
    system = (
        Field("IsDeleted", "boolean", "Deleted", default=False, computed=True),
        Field("CreatedDate", "datetime", computed=True),
        _lookup("CreatedById", "User", label="Created By ID", computed=True),
        Field("LastModifiedDate", "datetime", computed=True),
        _lookup("LastModifiedById", "User", label="Last Modified By ID", computed=True),
        Field("SystemModstamp", "datetime", "System Modstamp", computed=True),
    )
    every = (Field("Id", "id", f"{label} ID", length=18, computed=True), *fields, *system)
    return SObject(name, label, plural, prefix, {f.name: f for f in every}, writable, title)


def _metadata(name: str, label: str, plural: str, prefix: str, *fields: Field) -> SObject:
    """A custom metadata type: configuration that is deployed. The REST API reads its records and writes none."""
    every = (
        Field("Id", "id", f"{label} ID", length=18, computed=True),
        _text("DeveloperName", 40, required=True, unique=True),
        _text("MasterLabel", 40, "Label", required=True),
        _text("Language", 40, "Master Language", default="en_US"),
        _text("NamespacePrefix", 15),
        *fields,
    )
    return SObject(name, label, plural, prefix, {f.name: f for f in every}, writable=False, title="MasterLabel")


def _text(name: str, length: int = 255, label: str = "", **more: Any) -> Field:
    return Field(name, "string", label, length=length, **more)


def _long(name: str, length: int = 32000, label: str = "") -> Field:
    return Field(name, "textarea", label, length=length)


def _url(name: str, label: str = "") -> Field:
    return Field(name, "url", label, length=255)


def _pick(name: str, *values: str, label: str = "", **more: Any) -> Field:
    return Field(name, "picklist", label, length=255, values=values, **more)


def _lookup(name: str, to: str, children: str = "", label: str = "", **more: Any) -> Field:
    relationship = name.removesuffix("__c") + "__r" if name.endswith("__c") else name.removesuffix("Id")
    return Field(name, "reference", label, length=18, to=to, relationship=relationship, children=children, **more)


def _currency_code(**more: Any) -> Field:
    codes = ("USD", "EUR", "GBP", "CAD", "AUD", "CHF", "JPY")
    more.setdefault("default", "USD")
    return Field("CurrencyIsoCode", "picklist", "Currency ISO Code", length=3, values=codes, **more)


_OWNER = _lookup("OwnerId", "User")  # the creator, unless told otherwise (store)

# Stage -> probability in percent. What is closed and what is won follows from it, as in an org's stage settings.
STAGES: dict[str, int] = {
    "Prospecting": 10,
    "Qualification": 10,
    "Needs Analysis": 20,
    "Value Proposition": 50,
    "Id. Decision Makers": 60,
    "Perception Analysis": 70,
    "Proposal/Price Quote": 75,
    "Negotiation/Review": 90,
    "Closed Won": 100,
    "Closed Lost": 0,
}
WON, LOST = "Closed Won", "Closed Lost"

PROVISIONING_STATUSES = (
    "Provisioning", "Provisioned", "Payment required", "Scheduled", "Held", "Failed", "Superseded", "Ended",
)  # fmt: skip
STIGG_TYPES = ("Plan", "Add-on", "Entitlement", "Credit entitlement", "Credit grant")
RESET_PERIODS = ("YEAR", "MONTH", "WEEK", "DAY", "HOUR")

FLOWS = _object(
    "FlowDefinitionView", "Flow Definition", "Flow Definitions", "300",
    _text("ApiName"),
    _text("Label"),
    _text("NamespacePrefix"),
    _text("InstalledPackageName"),
    _text("ActiveVersionId", 18),
    Field("IsActive", "boolean", default=False),
    writable=False,
    title="Label",
)  # fmt: skip
"""An organisation's flows: only who has *View Setup and Configuration* can ask for them."""

STANDARD = Schema(
    [
        _object(
            "Organization", "Organization", "Organizations", "00D",
            _text("Name", 80),
            _text("OrganizationType", 40, default="Enterprise Edition"),
            _text("InstanceName", 5, default="SBX1"),
            Field("IsSandbox", "boolean", default=False),
            _text("TimeZoneSidKey", 40, "Time Zone", default="GMT"),
            writable=False,
        ),
        _object(
            "User", "User", "Users", "005",
            _text("Username", 80, required=True, unique=True),
            _text("Name", 121, "Full Name"),
            _text("FirstName", 40),
            _text("LastName", 80, required=True),
            Field("Email", "email", length=128, required=True),
            Field("IsActive", "boolean", "Active", default=True),
            writable=False,
        ),
        _object(
            "Account", "Account", "Accounts", "001",
            _text("Name", 255, "Account Name", required=True),
            _text("AccountNumber", 40),
            _pick("Type", "Prospect", "Customer - Direct", "Customer - Channel", "Partner", "Other"),
            _lookup("ParentId", "Account", "ChildAccounts", label="Parent Account ID"),
            _lookup("MasterRecordId", "Account", label="Master Record ID", computed=True),
            _url("Website"),
            Field("Phone", "phone", length=40),
            _text("Industry", 255),
            Field("NumberOfEmployees", "int", "Employees"),
            _text("BillingStreet", 255),
            _text("BillingCity", 40),
            _text("BillingPostalCode", 20),
            _text("BillingCountry", 80),
            _long("Description"),
            _currency_code(),
            _text("Stigg_Customer_ID__c", 255, "Stigg Customer ID"),
            _url("Stigg_Customer_URL__c", "Stigg Customer URL"),
            _OWNER,
        ),
        _object(
            "Contact", "Contact", "Contacts", "003",
            _lookup("AccountId", "Account", "Contacts", on_delete="cascade"),
            _text("FirstName", 40),
            _text("LastName", 80, required=True),
            _text("Name", 121, "Full Name", computed=True),
            Field("Email", "email", length=80),
            Field("Phone", "phone", length=40),
            _text("Title", 128),
            _OWNER,
        ),
        _object(
            "Contract", "Contract", "Contracts", "800",
            _text("ContractNumber", 30, computed=True, autonumber="{:08d}"),
            _text("Name", 80, "Contract Name"),
            _lookup("AccountId", "Account", "Contracts", required=True, on_delete="restrict"),
            _pick("Status", "Draft", "In Approval Process", "Activated", default="Draft"),
            Field("StartDate", "date", "Contract Start Date"),
            Field("EndDate", "date", "Contract End Date", computed=True),
            Field("ContractTerm", "int", "Contract Term (months)"),
            _currency_code(),
            _OWNER,
            title="ContractNumber",
        ),
        _object(
            "Opportunity", "Opportunity", "Opportunities", "006",
            _text("Name", 120, "Opportunity Name", required=True),
            _lookup("AccountId", "Account", "Opportunities", on_delete="cascade"),
            _pick("StageName", *STAGES, label="Stage", required=True),
            Field("IsClosed", "boolean", "Closed", computed=True, default=False),
            Field("IsWon", "boolean", "Won", computed=True, default=False),
            Field("CloseDate", "date", required=True),
            Field("Amount", "currency"),
            Field("Probability", "percent", "Probability (%)", scale=0),
            _currency_code(),
            _pick("Type", "New Customer", "Existing Customer - Upgrade", "Existing Customer - Replacement",
                  "Existing Customer - Downgrade", "Renewal", label="Opportunity Type"),
            _text("NextStep", 255),
            _text("LeadSource", 255),
            _long("Description"),
            _lookup("ContractId", "Contract", "Opportunities"),
            _lookup("Pricebook2Id", "Pricebook2", "Opportunities", label="Price Book ID", on_delete="restrict"),
            Field("HasOpportunityLineItem", "boolean", "Has Line Item", computed=True, default=False),
            Field("Stigg_Start_Date__c", "date", "Stigg Start Date"),
            Field("Stigg_End_Date__c", "date", "Stigg End Date"),
            _pick("Stigg_Billing_Period__c", "MONTHLY", "ANNUALLY", label="Stigg Billing Period"),
            _pick("Stigg_Payment_Collection__c", "CHARGE", "INVOICE", "NONE", label="Stigg Payment Collection"),
            _text("Stigg_Amends__c", 18, "Stigg Amends"),
            Field("Stigg_Trial_End_Date__c", "date", "Stigg Trial End Date"),
            _pick("Stigg_Trial_End_Behavior__c", "CANCEL_SUBSCRIPTION", "CONVERT_TO_PAID",
                  label="Stigg Trial End Behavior"),
            Field("Stigg_Cancel_Date__c", "date", "Stigg Cancel Date"),
            _text("Stigg_Coupon_ID__c", 255, "Stigg Coupon ID"),
            Field("Stigg_Minimum_Spend__c", "currency", "Stigg Minimum Spend"),
            Field("Stigg_Budget__c", "currency", "Stigg Budget"),
            _text("Stigg_Paying_Customer_ID__c", 255, "Stigg Paying Customer ID"),
            _text("Stigg_Purchase_Order__c", 255, "Stigg Purchase Order"),
            Field("Stigg_Activation_Date__c", "date", "Stigg Activation Date"),
            _OWNER,
        ),
        _object(
            "OpportunityLineItem", "Opportunity Product", "Opportunity Products", "00k",
            _text("Name", 376, "Opportunity Product Name", computed=True),
            _lookup("OpportunityId", "Opportunity", "OpportunityLineItems", required=True, on_delete="cascade",
                    updateable=False),
            _lookup("PricebookEntryId", "PricebookEntry", "OpportunityLineItems", label="Price Book Entry ID",
                    on_delete="restrict", updateable=False),
            _lookup("Product2Id", "Product2", "OpportunityLineItems", label="Product ID", on_delete="restrict",
                    updateable=False),
            _text("ProductCode", 255, computed=True),
            Field("Quantity", "double", required=True),
            Field("UnitPrice", "currency", "Sales Price"),
            Field("ListPrice", "currency", computed=True),
            Field("TotalPrice", "currency"),
            Field("ServiceDate", "date", "Date"),
            _text("Description", 255, "Line Description"),
            Field("SortOrder", "int"),
            _currency_code(computed=True),
        ),
        _object(
            "Product2", "Product", "Products", "01t",
            _text("Name", 255, "Product Name", required=True),
            _text("ProductCode", 255),
            _text("Family", 255, "Product Family"),
            Field("IsActive", "boolean", "Active", default=False),
            _long("Description", 4000),
            _currency_code(),
            _pick("Stigg_Type__c", *STIGG_TYPES, label="Stigg Type"),
            _text("Stigg_ID__c", 255, "Stigg ID"),
            Field("Stigg_Unlimited__c", "boolean", "Stigg Unlimited", default=False),
            _pick("Stigg_Reset_Period__c", *RESET_PERIODS, label="Stigg Reset Period"),
            Field("Stigg_Price_Override__c", "boolean", "Stigg Price Override", default=False),
        ),
        _object(
            "Pricebook2", "Price Book", "Price Books", "01s",
            _text("Name", 255, "Price Book Name", required=True),
            Field("IsActive", "boolean", "Active", default=False),
            Field("IsStandard", "boolean", "Is Standard Price Book", computed=True, default=False),
            _text("Description", 255),
        ),
        _object(
            "PricebookEntry", "Price Book Entry", "Price Book Entries", "01u",
            _text("Name", 255, computed=True),
            _lookup("Pricebook2Id", "Pricebook2", "PricebookEntries", label="Price Book ID", required=True,
                    updateable=False, on_delete="cascade"),
            _lookup("Product2Id", "Product2", "PricebookEntries", label="Product ID", required=True,
                    updateable=False, on_delete="cascade"),
            _text("ProductCode", 255, computed=True),
            Field("UnitPrice", "currency", "List Price", required=True),
            Field("IsActive", "boolean", "Active", default=False),
            _currency_code(updateable=False),
        ),
        _object(
            "Stigg_Provisioning__c", "Stigg Provisioning", "Stigg Provisionings", "a0X",
            _text("Name", 80, "Stigg Provisioning Number", computed=True, autonumber="SP-{:05d}"),
            _pick("Status__c", *PROVISIONING_STATUSES),
            _long("Reason__c", 32768),
            _text("Code__c", 80),
            _text("Contract_ID__c", 255, "Stigg Contract ID"),
            _lookup("Opportunity__c", "Opportunity", "Stigg_Provisionings__r", label="Opportunity"),
            _lookup("Account__c", "Account", "Stigg_Provisionings__r", label="Account"),
            _long("Subscriptions__c", 32768),
            _url("Subscription_URL__c"),
            _url("Checkout_URL__c"),
            _text("Stigg_Customer_ID__c", 255, "Stigg Customer ID"),
            _url("Stigg_Customer_URL__c", "Stigg Customer URL"),
            _text("Execution__c", 80),
            Field("Provisioned_At__c", "datetime"),
            Field("Due_At__c", "datetime"),
            _text("Approval_ID__c", 64, "Approval ID"),
            Field("Approved__c", "boolean", default=False),
            _text("Opportunity_ID__c", 18, "Opportunity ID", external_id=True, unique=True),
            _OWNER,
        ),
        _metadata(
            "Stigg_Mapping__mdt", "Stigg Mapping", "Stigg Mappings", "m00",
            Field("Active__c", "boolean", default=True),
            _text("Line_Object__c"),
            _text("Parent_Field__c"),
            _text("Stigg_Type_Field__c"),
            _text("Stigg_ID_Field__c", label="Stigg ID Field"),
            _text("Quantity_Field__c"),
            _text("Price_Field__c"),
            _text("Price_Override_Field__c"),
            _text("Unlimited_Field__c"),
            _text("Reset_Period_Field__c"),
            _text("Start_Date_Field__c"),
            _text("End_Date_Field__c"),
            _text("Prior_Quantity_Field__c"),
            _text("Total_Quantity_Field__c"),
        ),
    ]
)  # fmt: skip


def _first_version(one: SObject) -> SObject:
    """Stigg Provisioning as the first version of closed-won's package has it (0.2.0)."""
    fields = {name: field for name, field in one.fields.items() if name not in ("Code__c", "Contract_ID__c")}
    status = fields["Status__c"]
    fields["Status__c"] = replace(status, values=tuple(value for value in status.values if value != "Ended"))
    return replace(one, fields=fields)


PROVISIONINGS = {
    "first": _first_version(STANDARD.objects["Stigg_Provisioning__c"]),
    "newest": STANDARD.objects["Stigg_Provisioning__c"],
}
"""Stigg Provisioning by the version of closed-won's package that is deployed."""
