"""From the records of Salesforce to the deal as a callout would have sent it. Pure.

What to select of an opportunity, how its row and the rows of its lines become a deal, which is then judged like any
other, and which trigger a callout would have sent for it (`trigger_of`). Records that are read one by one and those
that are read in bulk mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from closedwon.domain.identifiers import STIGG_ID
from closedwon.domain.instants import iso_utc
from closedwon.salesforce.mapping_records import (
    EFFECTIVE,
    ENDS,
    OPTIONAL,
    PRICING,
    PRIOR,
    RENEWED_BASE,
    RENEWED_CONTRACT,
    RENEWED_FROM,
    SOLD_BY,
    STARTS,
    TOTAL,
    UPGRADED,
    UPGRADED_FROM,
    Row,
    Unreadable,
    distinct,
    value_at,
)

Json = dict[str, Any]

_OPPORTUNITY = (
    "Id",
    "Name",
    "SystemModstamp",
    "ContractId",
    "AccountId",
    "Account.Name",
    "Account.Stigg_Customer_ID__c",
    "Stigg_Amends__c",
    "IsWon",
    "IsClosed",
)

_TERMS = {
    "Stigg_Start_Date__c": "start",
    "Stigg_End_Date__c": "end",
    "Stigg_Billing_Period__c": "billingPeriod",
    "Stigg_Payment_Collection__c": "paymentCollection",
    "Stigg_Trial_End_Date__c": "trialEnd",
    "Stigg_Trial_End_Behavior__c": "trialEndBehavior",
    "Stigg_Coupon_ID__c": "coupon",
    "Stigg_Budget__c": "budget",
    "Stigg_Minimum_Spend__c": "minimumSpend",
    "Stigg_Paying_Customer_ID__c": "payingCustomerId",
}
"""The opportunity's fields that are terms, by what the deal calls them."""

_DATES = ("start", "end")
"""Terms of a contract and its lines, which a trial does not have."""

_CPQ_OPPORTUNITY = (
    "SBQQ__AmendedContract__c",
    "SBQQ__AmendedContract__r.SBQQ__Opportunity__c",
    "SBQQ__RenewedContract__c",
    "SBQQ__RenewedContract__r.SBQQ__Opportunity__c",
    "SBQQ__PrimaryQuote__c",
    "SBQQ__PrimaryQuote__r.SBQQ__StartDate__c",
    "SBQQ__PrimaryQuote__r.SBQQ__EndDate__c",
    "SBQQ__PrimaryQuote__r.SBQQ__SubscriptionTerm__c",
)


def opportunities_soql(cpq: bool, currencies: bool, lookups: Iterable[str] = ()) -> str:
    """The query for all opportunities in ``{ids}``.

    cpq: with CPQ's fields. currencies: whether the organisation has more than one; otherwise there is no such field.
    lookups: further fields that lead to lines.
    """
    paths = opportunity_paths(cpq, currencies, lookups)
    return f"SELECT {distinct(paths)} FROM Opportunity WHERE Id IN {{ids}}"  # nosec B608 - see LineSource.soql


def opportunity_paths(cpq: bool, currencies: bool, lookups: Iterable[str]) -> list[str]:
    paths = [*_OPPORTUNITY, *_TERMS, *(["CurrencyIsoCode"] if currencies else ())]
    return [*paths, *(_CPQ_OPPORTUNITY if cpq else ()), *lookups]


def deal_of(given: Json, opportunity: Json, rows: Sequence[Row], read_at: datetime) -> Json:
    """One deal, whole.

    In: what the callout said of it; its opportunity's row; the rows of its lines, in their order; when they were asked
    for. Out: the deal as the callout takes it. What was read stands instead of what was said of the opportunity, its
    account, what it amends and the lines; terms, customer and resource that were said stay.
    Raises Unreadable where the rows contradict what was said, or cannot be said in a deal.
    """
    account = opportunity.get("Account")
    # A missing account and a hidden one look alike in a query, and need different people to correct them.
    if not opportunity.get("AccountId"):
        raise Unreadable("account.id", "is missing: the opportunity has no account in Salesforce")
    if not account:
        raise Unreadable("account.id", "closed-won's user may not see the opportunity's account in Salesforce")
    deal = {**given, **_links(given, opportunity)}
    lines = lines_of(rows, deal["trigger"], differences=deal.get("quantities") == "differences")
    deal |= _renewed(deal, rows)
    # A trial's lines carry the dates of the contract that may follow: the trial has its own end.
    if deal["trigger"] == "trial":
        lines = [{name: value for name, value in line.items() if name not in _DATES} for line in lines]
    return {
        **deal,
        "opportunity": {
            **_filled(given["opportunity"], currencyIsoCode=opportunity.get("CurrencyIsoCode")),
            "id": opportunity["Id"],
            "name": opportunity.get("Name") or "",
            "systemModstamp": opportunity["SystemModstamp"],
            "readAt": iso_utc(read_at),
        },
        "account": {
            # A business account in Salesforce has no field for it: only the callout can say one.
            **_filled({}, email=(given.get("account") or {}).get("email")),
            "id": opportunity["AccountId"],
            "name": account.get("Name"),
            "stiggCustomerId": account.get("Stigg_Customer_ID__c"),
        },
        "terms": {**_terms(opportunity, deal["trigger"], lines), **(given.get("terms") or {})},
        "lines": lines,
    }


def _filled(said: Json, **read: Any) -> Json:
    return {**said, **{name: value for name, value in read.items() if value is not None}}


def _links(given: Json, opportunity: Json) -> Json:
    """What kind of deal it is and what it amends: the fields of the deal that Salesforce knows better.

    CPQ names the contract. Where that was made from an opportunity, the opportunity is named instead: that is what the
    ledger knows the base deal by, while a contract comes into being after the deal it is made from was won.
    """
    trigger = given["trigger"]
    links: Json = {"trigger": trigger}
    for kind, field in (("amendment", "SBQQ__AmendedContract"), ("renewal", "SBQQ__RenewedContract")):
        contract = opportunity.get(f"{field}__c")
        if not contract:
            continue
        if trigger not in ("closed_won", kind):
            does = "amends" if kind == "amendment" else "renews"
            raise Unreadable(
                "trigger", f"is {trigger}, but in Salesforce this opportunity {does} a contract ({field}__c)"
            )
        links["trigger"] = kind
        links["amends"] = value_at(opportunity, f"{field}__r.SBQQ__Opportunity__c") or contract
        # CPQ's amendments carry what changes, its renewals all there is.
        links["quantities"] = "differences" if kind == "amendment" else "whole"
        break
    else:
        # Without CPQ, the package's own field names it.
        if trigger in ("amendment", "renewal") and opportunity.get("Stigg_Amends__c"):
            links["amends"] = opportunity["Stigg_Amends__c"]
    _still_so(trigger, opportunity)
    return _filled(links, contractId=opportunity.get("ContractId"))


def _still_so(trigger: str, opportunity: Json) -> None:
    """What is read is the newest there is, whenever the callout was sent. One that comes late must not say of a deal
    that was won or lost since what it was before: the later save has a callout of its own. Raises Unreadable.
    """
    won, closed = opportunity.get("IsWon"), opportunity.get("IsClosed")
    if trigger == "trial" and won:
        raise Unreadable("trigger", "is trial, but in Salesforce this opportunity is won")
    if trigger != "trial" and closed and not won:
        raise Unreadable("trigger", f"is {trigger}, but in Salesforce this opportunity is lost")


def _terms(opportunity: Json, trigger: str, lines: Sequence[Json]) -> Json:
    """The opportunity's terms; with CPQ the quote's dates where the opportunity says none.

    An opportunity's dates are the contract's, and its quote's too: a trial comes before that, and stays on it after.
    """
    terms = {name: opportunity[field] for field, name in _TERMS.items() if opportunity.get(field) is not None}
    terms = {**_quote_dates(opportunity.get("SBQQ__PrimaryQuote__r") or {}, lines), **terms}
    # Salesforce has one number; whether the budget is soft is only in a callout.
    if "budget" in terms:
        terms["budget"] = {"limit": terms["budget"]}
    apart = _DATES if trigger == "trial" else ("trialEnd", "trialEndBehavior")
    return {name: value for name, value in terms.items() if name not in apart}


def _quote_dates(quote: Json, lines: Sequence[Json]) -> Json:
    """The first and the last day of a CPQ quote."""
    start, end = quote.get("SBQQ__StartDate__c"), quote.get("SBQQ__EndDate__c")
    months = quote.get("SBQQ__SubscriptionTerm__c")
    # CPQ works out each line's last day itself; the term is its last resort, and taken for months, as CPQ's default is.
    if start and months and not end and not all(line.get("end") for line in lines):
        end = _last_day(date.fromisoformat(start), months)
    return _filled({}, start=start, end=end)


def _last_day(start: date, months: float) -> str:
    # It knows that a month after 31 January is the last day of February.
    from dateutil.relativedelta import relativedelta

    after: date = start + relativedelta(months=int(months))
    return (after - timedelta(days=1)).isoformat()


def lines_of(rows: Sequence[Row], trigger: str, differences: bool) -> list[Json]:
    """The lines of one deal, numbered by their place among all of its lines.

    Left out is what says nothing about Stigg, and what sells or changes nothing. Of a product that changes on one line,
    the lines that stay as they are are kept: together they are what the customer had before.
    Raises Unreadable for a block price that would have to be sent as a difference.
    """
    read = [(row, line) for number, row in enumerate(rows, 1) if (line := _line(row, number, trigger, differences))]
    # A line that does not say its units counts as a change: the mapping has to see it.
    changed = [_product(line) for _, line in read if _units(line) != 0]
    lines = []
    for row, line in read:
        product = _product(line)
        if product not in changed or (_units(line) == 0 and not differences):
            continue
        if _has_block_price(row, line):
            _price_block(row, line, differences, alone=changed.count(product) == 1)
        lines.append(line)
    return lines


def _line(row: Row, number: int, trigger: str, differences: bool) -> Json | None:
    """One line of the deal; None for one without a Stigg Type, or an option that was quoted and not bought."""
    if _not_sold(row):
        return None
    source = row.source
    quantity, prior, total = _quoted_quantities(row, differences) if source.quotes else _quantities(row)
    start, end = _dates(row)
    line = {
        "line": number,
        "stiggType": row.get(source.stigg_type),
        "stiggId": row.get(source.stigg_id),
        "quantity": quantity,
        # Without the override Stigg's own price holds.
        "price": row.get(source.price) if row.get(source.price_override) is True else None,
        "unlimited": True if row.get(source.unlimited) is True else None,
        "resetPeriod": row.get(source.reset_period),
        "start": start,
        "end": end,
        "priorQuantity": prior if differences else None,
        "totalQuantity": total if differences else None,
        **_relation(row, trigger),
    }
    return {name: value for name, value in line.items() if value is not None}


def _relation(row: Row, trigger: str) -> Json:
    """What a line says it amends or renews."""
    if trigger == "amendment":
        return {"amends": _sold_before(row, UPGRADED_FROM)}
    return {"renews": _sold_before(row, RENEWED_FROM)} if trigger == "renewal" else {}


def _sold_before(row: Row, sold: str) -> str | None:
    """The line of another deal that a quote line amends or renews; None where CPQ names none, or not the deal's.

    CPQ names the subscription record. The ledger knows the line by its deal instead: that was sold before there was a
    record. sold: the path to the quote line that the record came from.
    """
    if not row.source.quotes:
        return None
    opportunity, stigg_id = row.get(f"{sold}.{SOLD_BY}"), row.get(f"{sold}.{row.source.stigg_id}")
    if not opportunity or not re.fullmatch(STIGG_ID, stigg_id or ""):
        return None
    return f"{opportunity}/{stigg_id}"


def _renewed(deal: Json, rows: Sequence[Row]) -> Json:
    """All that a renewal renews; nothing of another deal.

    CPQ makes one renewal of several contracts, and the opportunity names the first of them only: the others are those
    of the subscriptions that its lines renew.
    """
    if deal["trigger"] != "renewal":
        return {}
    said = deal.get("amends")
    found = (_contract_renewed(row) for row in rows)
    several = list(dict.fromkeys(filter(None, (*([said] if isinstance(said, str) else said or ()), *found))))
    return {"amends": several[0] if len(several) == 1 else several or None}


def _contract_renewed(row: Row) -> str | None:
    """The deal that the contract of a renewed line was made from, else the contract; None where it renews nothing."""
    if not (row.source.quotes and row.mapped):
        return None
    found: str | None = row.get(RENEWED_BASE) or row.get(RENEWED_CONTRACT)
    return found


def _not_sold(row: Row) -> bool:
    return not row.mapped or (row.source.quotes and row.get(OPTIONAL))


def _dates(row: Row) -> tuple[Any, Any]:
    start, end = row.get(row.source.start), row.get(row.source.end)
    if row.source.quotes:
        return start or row.get(STARTS), end or row.get(ENDS)
    return start, end


def _quantities(row: Row) -> tuple[Any, Any, Any]:
    """A line's quantity, the prior and the total one, as its mapping says."""
    return row.get(row.source.quantity), row.get(row.source.prior), row.get(row.source.total)


def _quoted_quantities(row: Row, differences: bool) -> tuple[Any, Any, Any]:
    """The same three of a quote line, from CPQ's own fields, whatever the mapping names."""
    # Each line's total is sent, not only where the effective quantity tells nothing (block and slab prices).
    total = row.get(TOTAL)
    # Only an amended line has a prior quantity: what is new on an amendment stood nowhere before.
    return row.get(EFFECTIVE) if differences else total, row.get(PRIOR) if row.get(UPGRADED) else None, total


def _product(line: Json) -> tuple[Any, Any]:
    return line.get("stiggType"), line.get("stiggId")


def _units(line: Json) -> float | None:
    """How many units a line sells, or changes; None where it does not say."""
    total = line.get("totalQuantity")
    units: float | None = line.get("quantity") if total is None else total - (line.get("priorQuantity") or 0)
    return units


def _has_block_price(row: Row, line: Json) -> bool:
    return row.source.quotes and row.get(PRICING) == "Block" and line.get("price") is not None


def _price_block(row: Row, line: Json, differences: bool, alone: bool) -> None:
    """A block price is for all units together: the price of one is worked out, which a mere difference has not.

    alone: no other line changes the same product, so that taking all of it away needs no price.
    """
    if differences and row.get(UPGRADED):
        if row.get(TOTAL) != 0 or not alone:
            said = "a block price cannot be sent as a difference: untick Stigg Price Override on the product"
            raise Unreadable("price", said, line["line"])
        del line["price"]
    elif row.get(TOTAL):
        line["price"] = round(line["price"] / row.get(TOTAL), 6)


def deal_from_rows(given: Json, opportunity: Json, rows: Iterable[Row], read_at: datetime) -> Json:
    """One deal, whole, from rows that were read in bulk: what `read` makes of the same records.

    In: as in `deal_of`, but for the rows: those of the opportunity's lines from all mappings, in any order. Lines that
    hang on something the opportunity does not (any more) point at, such as another quote than its primary one, are left
    out. A line's number is its place among those that were read: in bulk, only what says something about Stigg.
    """
    # In bulk, the lines of every quote arrive, but only those of the primary quote were sold.
    own = [row for row in rows if row.get(row.source.parent) == value_at(opportunity, row.source.lookup or "Id")]
    return deal_of(given, opportunity, sorted(own, key=_place), read_at)


def _place(row: Row) -> tuple[int, bool, float, str]:
    at = row.get(row.source.order or "")
    # As ORDER BY sorts for a single deal; in bulk it would keep Salesforce from working in parallel (decision 46).
    return row.mapping, at is None, at or 0, row.get("Id")


def trigger_of(row: Json, known: str | None, trial_stages: Sequence[str] = ()) -> str | None:
    """What a callout would say of an opportunity as it is now, as the flow templates in ``salesforce/`` decide it.

    In: its row, with IsWon, IsClosed, StageName, Type, Stigg_Amends__c and, with CPQ, the contracts it amends and
    renews; the trigger of the ledger's newest order of it, None where it has none; the stages that give a trial.
    Out: one of `intake.deal.Trigger`; None where no flow would send it.
    """
    if row["IsWon"]:
        return _trigger_of_won(row)
    # A renewal that was not won, or a deal that only records a churn.
    if row["IsClosed"] and row.get("Stigg_Amends__c"):
        return "cancellation"
    # The ledger knows it as won, and Salesforce does not any more.
    if known in ("closed_won", "amendment", "renewal"):
        return "cancellation"  # won no more; a trial that is not won ends as its own terms say
    if not row["IsClosed"] and row.get("StageName") in trial_stages:
        return "trial"
    return None


def _trigger_of_won(row: Json) -> str:
    if any(row.get(field) for field in ("SBQQ__AmendedContract__c", "SBQQ__RenewedContract__c")):
        return "closed_won"  # which of the two it is, the quote says (`_links`)
    if not row.get("Stigg_Amends__c"):
        return "closed_won"
    return "renewal" if "Renewal" in (row.get("Type") or "") else "amendment"
