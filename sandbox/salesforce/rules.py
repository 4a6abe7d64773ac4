"""What Salesforce works out by itself: names, stages, line prices, roll-ups.

The store calls these around each save; a record given to `before_save` is new and may be changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from sandbox.salesforce import cpq
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.schema import LOST, STAGES, WON, SObject
from sandbox.salesforce.tables import Record, Tables


def before_save(tables: Tables, target: SObject, record: Record, old: Record | None, given: Mapping[str, Any]) -> None:
    """Fill in what follows from other fields. given: what the client wrote, by field. Raises Refusal."""
    match target.name:
        case "Contact":
            record["Name"] = " ".join(filter(None, (record["FirstName"], record["LastName"]))) or None
        case "Contract":
            record["EndDate"] = _contract_end(record["StartDate"], record["ContractTerm"])
        case "Opportunity":
            _opportunity(record, old, given)
        case "OpportunityLineItem":
            _line(tables, record, old, given)
        case "SBQQ__QuoteLine__c":
            cpq.quote_line(tables, record)
        case "PricebookEntry":
            product = tables.peek("Product2", record["Product2Id"])
            if product:
                record["Name"], record["ProductCode"] = product["Name"], product["ProductCode"]


def after_save(tables: Tables, target: SObject, record: Record) -> None:
    """Carry a line's change up to its opportunity."""
    if target.name == "OpportunityLineItem":
        _roll_up(tables, record["OpportunityId"])


def after_delete(tables: Tables, target: SObject, record: Record) -> None:
    """Carry a line's end up to its opportunity."""
    if target.name == "OpportunityLineItem":
        _roll_up(tables, record["OpportunityId"])


def _contract_end(start: date | None, months: int | None) -> date | None:
    """The last day of a term: the day before its anniversary."""
    if start is None or months is None:
        return None
    if not 0 < months <= 1200:
        message = "Contract Term (months): value outside of valid range"
        raise Refusal("NUMBER_OUTSIDE_VALID_RANGE", message, ["ContractTerm"])
    years, month = divmod(start.month - 1 + months, 12)
    first = date(start.year + years, month + 1, 1)
    following = (first + timedelta(days=31)).replace(day=1)
    return min(first + timedelta(days=start.day - 1), following) - timedelta(days=1)


def _opportunity(record: Record, old: Record | None, given: Mapping[str, Any]) -> None:
    stage = record["StageName"]
    if stage is None:
        return  # the store refuses it as a missing field
    record["IsWon"] = stage == WON
    record["IsClosed"] = stage in (WON, LOST)
    if "Probability" not in given and (old is None or old["StageName"] != stage):
        record["Probability"] = float(STAGES[stage])
    if old is not None and old["HasOpportunityLineItem"]:
        record["Amount"] = old["Amount"]  # the sum of its lines: what a client writes is ignored
        if old["CurrencyIsoCode"] != record["CurrencyIsoCode"] or old["Pricebook2Id"] != record["Pricebook2Id"]:
            message = "the currency and the price book of an opportunity with products cannot be changed"
            raise Refusal("FIELD_INTEGRITY_EXCEPTION", f"field integrity exception: {message}", [])


def _line(tables: Tables, record: Record, old: Record | None, given: Mapping[str, Any]) -> None:
    opportunity = tables.peek("Opportunity", record["OpportunityId"])
    if old is None and opportunity:
        _take_from_entry(tables, record, opportunity)
    quantity = record["Quantity"]
    written = [name for name in ("UnitPrice", "TotalPrice") if given.get(name) is not None]
    if len(written) == 2:
        message = "field integrity exception: TotalPrice (specify either the sales price or the total price)"
        raise Refusal("FIELD_INTEGRITY_EXCEPTION", message, ["TotalPrice"])
    if quantity is None:
        return
    if quantity == 0:
        raise Refusal("FIELD_INTEGRITY_EXCEPTION", "Quantity must be nonzero", ["Quantity"])
    if old is None and not written:
        raise Refusal("REQUIRED_FIELD_MISSING", "Required fields are missing: [UnitPrice]", ["UnitPrice"])
    if written == ["TotalPrice"]:
        record["UnitPrice"] = round(record["TotalPrice"] / quantity, 2)
    else:
        record["TotalPrice"] = round(record["UnitPrice"] * quantity, 2)


def _take_from_entry(tables: Tables, line: Record, opportunity: Record) -> None:
    """Fill in what a new line has from its price book entry and its opportunity."""
    entry = _price_book_entry(tables, line, opportunity)
    product = tables.peek("Product2", entry["Product2Id"])
    line["PricebookEntryId"], line["Product2Id"] = entry["Id"], entry["Product2Id"]
    line["ListPrice"], line["ProductCode"] = entry["UnitPrice"], entry["ProductCode"]
    line["CurrencyIsoCode"] = opportunity["CurrencyIsoCode"]
    line["Name"] = f"{opportunity['Name']} {product['Name'] if product else ''}"[:376]


def _price_book_entry(tables: Tables, line: Record, opportunity: Record) -> Record:
    """The entry a new line is priced by: named, or found by product in the opportunity's or the standard price book."""
    book = opportunity["Pricebook2Id"]
    if line["PricebookEntryId"]:
        entry = tables.peek("PricebookEntry", line["PricebookEntryId"])
        if not entry:
            raise Refusal("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ["PricebookEntryId"])
    else:
        book = book or _standard_price_book(tables)
        entry = _entry_of_product(tables, line, book, opportunity["CurrencyIsoCode"])
    if not entry or not entry["IsActive"]:
        reason = "PricebookEntryId (pricebook entry has been inactivated or does not exist)"
    elif book and entry["Pricebook2Id"] != book:
        reason = "PricebookEntryId (pricebook entry is in a different pricebook than the opportunity's)"
    elif entry["CurrencyIsoCode"] != opportunity["CurrencyIsoCode"]:
        reason = "PricebookEntryId (pricebook entry currency code does not match opportunity currency code)"
    else:
        return entry
    raise Refusal("FIELD_INTEGRITY_EXCEPTION", f"field integrity exception: {reason}", ["PricebookEntryId"])


def _standard_price_book(tables: Tables) -> str | None:
    books = tables.records(tables.schema.objects["Pricebook2"])
    return next((book["Id"] for book in books if book["IsStandard"]), None)


def _entry_of_product(tables: Tables, line: Record, book: str | None, currency: str) -> Record | None:
    """The first entry of a line's product in a price book, in this currency."""
    if not line["Product2Id"]:
        missing = ["PricebookEntryId"]
        raise Refusal("REQUIRED_FIELD_MISSING", "Required fields are missing: [PricebookEntryId]", missing)
    wanted = (line["Product2Id"], book, currency)
    entries = tables.records(tables.schema.objects["PricebookEntry"])
    return next((e for e in entries if (e["Product2Id"], e["Pricebook2Id"], e["CurrencyIsoCode"]) == wanted), None)


def _roll_up(tables: Tables, opportunity_id: str) -> None:
    """An opportunity's amount is the sum of its lines, so changing a line changes its opportunity's SystemModstamp."""
    opportunity = tables.peek("Opportunity", opportunity_id)
    if not opportunity:
        return  # deleted together with its lines
    line = tables.schema.objects["OpportunityLineItem"]
    lines = tables.having(line, line.fields["OpportunityId"], [opportunity_id])
    book = opportunity["Pricebook2Id"]
    if lines and not book:
        entry = tables.peek("PricebookEntry", lines[0]["PricebookEntryId"])
        book = entry and entry["Pricebook2Id"]
    tables.touch(
        tables.schema.objects["Opportunity"],
        opportunity,
        Amount=round(sum(line["TotalPrice"] for line in lines), 2) if lines else opportunity["Amount"],
        HasOpportunityLineItem=bool(lines),
        Pricebook2Id=book,
    )
