"""Read-only record pages, so that a link written into another system opens something in a browser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from html import escape
from typing import Any

from sandbox.salesforce.errors import not_found
from sandbox.salesforce.schema import NUMBER_KINDS, Field, SObject
from sandbox.salesforce.store import Store
from sandbox.salesforce.tables import Record

_STYLE = """
:root { color-scheme: light; --ink: #181818; --quiet: #5c5c5c; --line: #e5e5e5; --link: #0b5cab; }
* { box-sizing: border-box; }
body { margin: 0; background: linear-gradient(#0b5cab 0, #1b96ff 9rem, #f3f3f3 9rem) no-repeat #f3f3f3;
       font: 14px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--ink); }
nav { padding: .8rem 1.5rem; } nav a { color: #fff; font-weight: 600; text-decoration: none; }
main { max-width: 72rem; margin: 0 auto; padding: 0 1.5rem 3rem; }
section, header { background: #fff; border-radius: .4rem; box-shadow: 0 1px 3px #0002; margin-bottom: 1rem; }
header { display: flex; align-items: center; gap: 1rem; padding: 1rem 1.25rem; }
header i { flex: none; width: 2.5rem; height: 2.5rem; border-radius: .35rem; color: #fff;
           font: 700 1.1rem/2.5rem system-ui; text-align: center; }
header small { display: block; color: var(--quiet); } h1 { margin: 0; font-size: 1.25rem; line-height: 1.3; }
h2 { margin: 0; padding: .7rem 1.25rem; font-size: .95rem; border-bottom: 1px solid var(--line); }
h2 span { color: var(--quiet); font-weight: 400; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 0 2rem; margin: 0;
     padding: .5rem 1.25rem 1rem; }
dl div { padding: .4rem 0; border-bottom: 1px solid var(--line); min-width: 0; }
dt { color: var(--quiet); font-size: .78rem; }
dd { margin: 0; min-height: 1.5em; overflow-wrap: anywhere; white-space: pre-wrap; }
.scroll { overflow-x: auto; } table { width: 100%; border-collapse: collapse; }
th, td { padding: .45rem 1.25rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--quiet); font-size: .78rem; font-weight: 600; background: #fafafa; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
p { margin: 0; padding: .7rem 1.25rem; color: var(--quiet); }
a { color: var(--link); } .badge { display: inline-block; padding: 0 .6rem; border-radius: 1rem; background: #e5e5e5; }
.good { background: #cdefc4; } .bad { background: #feded8; } .open { background: #d8e6fe; }
.wait { background: #fbf3e0; }
"""
_COLOURS = {
    "Account": "#5867e8",
    "Opportunity": "#ff5d2d",
    "Stigg_Provisioning__c": "#3ba755",
    "Product2": "#b781d3",
}
_BADGES = {
    "Provisioned": "good", "Closed Won": "good", "Failed": "bad", "Closed Lost": "bad", "Held": "wait",
    "Payment required": "wait", "Provisioning": "open", "Scheduled": "open",
}  # fmt: skip

# Object -> its related lists: child object, the lookup, and the fields shown. The first column links to the record.
_RELATED: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "Account": (
        ("Opportunity", "AccountId", ("Name", "StageName", "Amount", "CurrencyIsoCode", "CloseDate")),
        ("Stigg_Provisioning__c", "Account__c", ("Name", "Status__c", "Opportunity__c", "Reason__c",
                                                 "Provisioned_At__c")),
        ("Contact", "AccountId", ("Name", "Title", "Email")),
    ),
    "Opportunity": (
        ("OpportunityLineItem", "OpportunityId", ("Product2Id", "Quantity", "UnitPrice", "TotalPrice", "ServiceDate")),
        ("Stigg_Provisioning__c", "Opportunity__c", ("Name", "Status__c", "Reason__c", "Subscription_URL__c",
                                                     "Provisioned_At__c")),
    ),
    "Product2": (("PricebookEntry", "Product2Id", ("Pricebook2Id", "UnitPrice", "CurrencyIsoCode", "IsActive")),),
}  # fmt: skip
_LISTED = ("Opportunity", "Account", "Stigg_Provisioning__c", "Product2")


def shown(store: Store, path: str) -> str:
    """The page at a path: home, or a record by its ID, as Lightning's addresses name it too. Raises Refusal."""
    match [segment for segment in path.split("/") if segment]:
        case []:
            return home_page(store)
        case [record_id] | ["lightning", "r", record_id] | ["lightning", "r", _, record_id, "view"]:
            target = store.schema.of_id(record_id)
        case _:
            raise not_found()
    if not target:
        raise not_found()
    return record_page(store, target, store.record(target, record_id))


def record_page(store: Store, target: SObject, record: Record) -> str:
    """A record as HTML: its fields with their labels, then its related lists."""
    title = _title(target, record)
    cells = "".join(
        f"<div><dt>{escape(field.shown.removesuffix(' ID') if field.to else field.shown)}</dt>"
        f"<dd>{_cell(store, field, record[field.name])}</dd></div>"
        for field in target.fields.values()
        if field.name != "IsDeleted"
    )
    parts = [_header(target, title), f"<section><h2>Details</h2><dl>{cells}</dl></section>"]
    for child_name, lookup, columns in _RELATED.get(target.name, ()):
        child = store.schema.objects[child_name]
        parts.append(_table(store, child, columns, [r for r in store.records(child) if r[lookup] == record["Id"]]))
    return _page(title, parts)


def home_page(store: Store) -> str:
    """What there is, newest first."""
    organization = next(iter(store.records(store.schema.objects["Organization"])))
    parts = [_header(store.schema.objects["Organization"], organization["Name"])]
    for name in _LISTED:
        target = store.schema.objects[name]
        columns = [f for f in target.fields.values() if f.kind != "textarea" and f.name != "Id"][:5]
        parts.append(_table(store, target, [f.name for f in columns], list(store.records(target))[:-51:-1]))
    return _page(organization["Name"], parts)


def missing_page() -> str:
    """What a link to nothing shows."""
    return _page(
        "Not found",
        ["<section><h2>Not found</h2><p>There is no such record, or it was deleted.</p></section>"],
    )


def _page(title: str, parts: Iterable[str]) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} | Salesforce (sandbox)</title><style>{_STYLE}</style>"
        f'<nav><a href="/">Salesforce &middot; sandbox</a></nav><main>{"".join(parts)}</main></html>'
    )


def _header(target: SObject, title: str) -> str:
    colour = _COLOURS.get(target.name, "#706e6b")
    return (
        f'<header><i style="background:{colour}">{escape(target.label[0])}</i>'
        f"<div><small>{escape(target.label)}</small><h1>{escape(title)}</h1></div></header>"
    )


def _table(store: Store, target: SObject, columns: Sequence[str], records: Sequence[Record]) -> str:
    heading = f"<h2>{escape(target.plural)} <span>({len(records)})</span></h2>"
    if not records:
        return f"<section>{heading}<p>None.</p></section>"
    fields = [target.fields[name] for name in columns]
    head = "".join(f"<th{_align(f)}>{escape(f.shown.removesuffix(' ID') if f.to else f.shown)}</th>" for f in fields)
    rows = "".join(
        "<tr>"
        + "".join(f"<td{_align(f)}>{_table_cell(store, target, f, r, i)}</td>" for i, f in enumerate(fields))
        + "</tr>"
        for r in records
    )
    return f'<section>{heading}<div class="scroll"><table><tr>{head}</tr>{rows}</table></div></section>'


def _table_cell(store: Store, target: SObject, field: Field, record: Record, place: int) -> str:
    if place == 0 and not field.to:
        return f'<a href="/{record["Id"]}">{escape(_title(target, record))}</a>'
    return _cell(store, field, record[field.name])


def _align(field: Field) -> str:
    return ' class="number"' if field.kind in NUMBER_KINDS else ""


def _cell(store: Store, field: Field, value: Any) -> str:
    if value is None:
        return ""
    if field.kind == "boolean":
        return "&#10003;" if value else "&ndash;"
    if field.to:
        found = store.peek(field.to, value)
        name = _title(store.schema.objects[field.to], found) if found else value
        return f'<a href="/{escape(value)}">{escape(name)}</a>'
    if field.kind == "url":
        shown = escape(value)
        return f'<a href="{shown}" rel="noreferrer">{shown}</a>' if value.startswith(("https://", "http://")) else shown
    if field.kind == "picklist" and value in _BADGES:
        return f'<span class="badge {_BADGES[value]}">{escape(value)}</span>'
    if field.kind in NUMBER_KINDS:
        return f"{value:,.{field.scale}f}" if field.kind == "currency" else f"{value:,g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return value.isoformat() if isinstance(value, date) else escape(str(value))


def _title(target: SObject, record: Record) -> str:
    return str(record.get(target.title) or record["Id"])
