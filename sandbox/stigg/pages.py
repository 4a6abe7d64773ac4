"""Small read-only pages, so that deep links into Stigg's app open in a browser."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from .customers import CreditGrant, Customer
from .entitlements import Allowances
from .packages import Catalogue, stamp
from .state import Subscription

_STYLE = Markup("""
:root{color-scheme:light dark;--ink:#1c1e2b;--soft:#6b7086;--line:#e4e6ef;--card:#fff;--ground:#f6f7fb;--accent:#4b47d1}
@media(prefers-color-scheme:dark){:root{--ink:#eceef7;--soft:#9aa0b8;--line:#2d3142}
:root{--card:#1b1e2b;--ground:#12141d;--accent:#9d9aff}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
header{padding:.9rem 1.5rem;border-bottom:1px solid var(--line);background:var(--card);color:var(--soft)}
header a{font-weight:600}main{max-width:60rem;margin:0 auto;padding:1.5rem}h1{margin:.2rem 0 0;font-size:1.6rem}
h2{margin:0 0 .6rem;font-size:1rem}a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem 1.2rem;margin-top:1rem}
section{overflow-x:auto}
table{border-collapse:collapse;width:100%}th{color:var(--soft);font-weight:500;text-align:left}
th,td{padding:.35rem 1rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child>*{border-bottom:0}code{font:13px ui-monospace,monospace}.soft{color:var(--soft)}
.badge{display:inline-block;padding:.05rem .55rem;border-radius:99px;font-size:.8rem;background:#8883;color:var(--soft)}
.ACTIVE,.IN_TRIAL{background:#1a9c5b26;color:#1a9c5b}
.PAYMENT_PENDING,.NOT_STARTED,.SCHEDULED{background:#d98a0026;color:#c57d00}
form{display:inline-block;margin:.2rem}
button{padding:.6rem 1.2rem;border:0;border-radius:8px;background:var(--accent);color:#fff;font:inherit;cursor:pointer}
""")


def _page(title: str, environment: str, body: Iterable[Markup]) -> str:
    return Markup(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>{} · Stigg stand-in</title>'
        "<style>{}</style><header><a href='/{}/customers'>Stigg stand-in</a> · {}</header><main>{}</main></html>"
    ).format(title, _STYLE, environment, environment, Markup("").join(body))


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> Markup:
    if not rows:
        return Markup("<p class=soft>{}</p>").format(empty)

    def row(cells: Iterable[Any], tag: str) -> Markup:
        one = Markup(f"<{tag}>{{}}</{tag}>")
        return Markup("<tr>{}</tr>").format(Markup("").join(one.format(cell) for cell in cells))

    top = row(head, "th") if head else Markup("")
    return Markup("<table>{}{}</table>").format(top, Markup("").join(row(cells, "td") for cells in rows))


def _section(title: str, content: Markup) -> Markup:
    return Markup("<section><h2>{}</h2>{}</section>").format(title, content)


def _facts(pairs: Iterable[tuple[str, Any]]) -> Markup:
    rows = [
        (Markup("<span class=soft>{}</span>").format(name), value) for name, value in pairs if value not in (None, "")
    ]
    return _table((), rows, "Nothing.")


def _badge(status: str) -> Markup:
    return Markup('<span class="badge {}">{}</span>').format(status, status.replace("_", " ").capitalize())


def _link(href: str, text: str) -> Markup:
    return Markup('<a href="{}">{}</a>').format(href, text)


def _date(moment: datetime | None) -> str | None:
    return moment.strftime("%-d %B %Y, %H:%M UTC") if moment else None


def _metadata(metadata: dict[str, str]) -> Markup:
    rows = [(Markup("<code>{}</code>").format(name), value) for name, value in sorted(metadata.items())]
    return _table((), rows, "No metadata.")


def _amount(limit: float | None, units: str = "") -> str:
    if limit is None:
        return "Included"
    return (
        "Unlimited"
        if math.isinf(limit)
        else f"{limit:,g} {units}".strip()
        if limit % 1
        else f"{limit:,.0f} {units}".strip()
    )


def _entitlements(catalogue: Catalogue, allowed: Allowances) -> Markup:
    rows = []
    for (kind, identifier), allowance in allowed.items():
        if kind == "CREDIT":
            name, units = (
                catalogue.currencies[identifier].display_name,
                catalogue.currencies[identifier].units,
            )
        else:
            name, units = (
                catalogue.features[identifier].display_name,
                catalogue.features[identifier].units or ("", ""),
            )
        reset = f"each {allowance.reset_period.lower()}" if allowance.reset_period else ""
        unit = units[0] if allowance.limit == 1 else units[1]
        rows.append((name, Markup("<code>{}</code>").format(identifier), _amount(allowance.limit, unit), reset))
    return _table(("Name", "ID", "Value", "Resets"), rows, "None.")


def _subscriptions(environment: str, subscriptions: Iterable[Subscription]) -> Markup:
    rows = [
        (
            _link(f"/{environment}/subscriptions/{quote(s.id)}", s.id),
            s.plan.display_name,
            s.resource_id or "",
            _badge(s.status),
            _date(s.start_date),
        )
        for s in reversed(list(subscriptions))
    ]
    return _table(("Subscription", "Plan", "Resource", "Status", "Start"), rows, "No subscriptions.")


def customers(environment: str, found: Iterable[Customer]) -> str:
    """All customers."""
    rows = [
        (
            _link(f"/{environment}/customers/{quote(c.id)}", c.fields.get("name") or c.id),
            c.id,
            c.fields.get("email") or "",
        )
        for c in found
    ]
    table = _table(("Name", "ID", "Email"), rows, "No customers yet.")
    return _page("Customers", environment, [Markup("<h1>Customers</h1>"), _section("All customers", table)])


def customer(
    environment: str,
    catalogue: Catalogue,
    found: Customer,
    subscriptions: Iterable[Subscription],
    grants: Iterable[CreditGrant],
    allowed: Allowances,
    salesforce_url: str | None,
    now: datetime,
) -> str:
    """One customer: who it is, its links, metadata, subscriptions, credits and what it may use."""

    def integration(link: dict[str, Any]) -> tuple[str, Any, Any]:
        entity = link["syncedEntityId"]
        target: Any = entity
        if link["vendorIdentifier"] == "SALESFORCE" and salesforce_url:
            target = _link(
                f"{salesforce_url.rstrip('/')}/lightning/r/Account/{quote(entity)}/view", f"Account {entity}"
            )
        return link["vendorIdentifier"].replace("_", " ").capitalize(), target, link["id"]

    name = found.fields.get("name") or found.id
    credits_rows = [
        (
            g.fields["displayName"],
            catalogue.currencies[g.currency_id].display_name,
            _amount(g.amount),
            _badge(g.status(now)),
        )
        for g in grants
    ]
    return _page(
        name,
        environment,
        [
            Markup("<span class=soft>Customer</span><h1>{}</h1>").format(name),
            _section(
                "Details",
                _facts(
                    [
                        ("ID", Markup("<code>{}</code>").format(found.id)),
                        ("Email", found.fields.get("email")),
                        ("Billing currency", (found.fields.get("billingCurrency") or "").upper()),
                        ("Payment method", "On file" if found.payment_method else "None"),
                        ("Created", _date(found.created_at)),
                        ("Updated", _date(found.updated_at)),
                    ]
                ),
            ),
            _section(
                "Integrations",
                _table(
                    ("Integration", "Linked to", "Integration ID"),
                    [integration(link) for link in found.fields.get("integrations", ())],
                    "Not linked to anything.",
                ),
            ),
            _section("Metadata", _metadata(found.fields.get("metadata", {}))),
            _section("Subscriptions", _subscriptions(environment, subscriptions)),
            _section("Entitlements in effect", _entitlements(catalogue, allowed)),
            _section("Credit grants", _table(("Name", "Currency", "Amount", "Status"), credits_rows, "None.")),
            _section(
                "Make happen",
                _buttons(f"/{environment}/customers/{quote(found.id)}", [("archive", "Archive the customer")]),
            ),
        ],
    )


def subscription(
    environment: str, catalogue: Catalogue, found: Subscription, allowed: Allowances, checkout_url: str | None
) -> str:
    """One subscription: plan, dates, add-ons, entitlements, metadata."""
    held = [
        (catalogue.addons[a["id"]].display_name, Markup("<code>{}</code>").format(a["id"]), a["quantity"])
        for a in found.addons
    ]
    prices = [
        (
            price.get("addonId") or price.get("featureId") or "Base charge",
            f"{price.get('amount', 'tiers')} {price.get('currency', '').upper()}",
        )
        for price in found.price_overrides
    ]
    charges = [(Markup("<code>{}</code>").format(charge["id"]), charge["quantity"]) for charge in found.charges]
    waiting = ", ".join(found.deferred.kinds) + f" at {stamp(found.deferred.at)}" if found.deferred else None
    return _page(
        found.id,
        environment,
        [
            Markup("<span class=soft>Subscription</span><h1>{}</h1>{}").format(
                found.plan.display_name, _badge(found.status)
            ),
            _section(
                "Details",
                _facts(
                    [
                        ("ID", Markup("<code>{}</code>").format(found.id)),
                        (
                            "Customer",
                            _link(f"/{environment}/customers/{quote(found.customer_id)}", found.customer_id),
                        ),
                        ("Resource", found.resource_id),
                        ("Billing period", (found.billing_period or "").capitalize()),
                        ("Payment collection", (found.payment_collection_method or "").capitalize()),
                        ("Payment", found.payment.replace("_", " ").capitalize()),
                        ("Latest invoice", found.invoice.status.capitalize() if found.invoice else None),
                        ("Units", found.unit_quantity),
                        ("Start", _date(found.start_date)),
                        ("Trial ends", _date(found.trial_end_date)),
                        ("Cancellation date", _date(found.cancellation_date)),
                        ("Ended", _date(found.ended_at)),
                        ("Cancel reason", found.cancel_reason),
                        ("Waiting update", waiting),
                        ("Salesforce ID", found.salesforce_id),
                        ("Checkout", _link(checkout_url, "Pay") if checkout_url else None),
                    ]
                ),
            ),
            _section("Add-ons", _table(("Name", "ID", "Quantity"), held, "None.")),
            _section("Charges", _table(("Charge", "Quantity"), charges, "None by the unit.")),
            _section("Entitlements", _entitlements(catalogue, allowed)),
            _section("Price overrides", _table(("Charge", "Price"), prices, "None: prices of the catalogue.")),
            _section("Metadata", _metadata(found.metadata)),
            _section("Make happen", _buttons(f"/{environment}/subscriptions/{quote(found.id)}", _possible(found))),
        ],
    )


def _possible(found: Subscription) -> Iterator[tuple[str, str]]:
    """What may happen to a subscription as it is: the last part of the path, and what the button says."""
    owes = found.invoice is not None and found.invoice.status == "OPEN"
    if found.ended:
        return
    if owes or found.checkout:
        yield "pay", "Pay"
    if found.status in ("ACTIVE", "PAYMENT_PENDING"):
        yield "fail-payment", "The payment fails"
        yield "require-action", "The bank asks for a confirmation"
    if owes:
        yield "void-invoice", "The invoice is taken back"
    if found.checkout:
        yield "expire-checkout", "Nobody pays in time"
    yield "cancel-by-billing", "The billing provider cancels"


def _buttons(path: str, actions: Iterable[tuple[str, str]]) -> Markup:
    """A button for each action."""
    button = Markup('<form method=post action="{}/{}"><button>{}</button></form>')
    shown = [button.format(path, action, text) for action, text in actions]
    return Markup(" ").join(shown) if shown else Markup("<p class=soft>Nothing: it has ended.</p>")


def checkout(environment: str, found: Subscription) -> str:
    """A checkout that takes no card: the button pays."""
    return _page(
        "Checkout",
        environment,
        [
            Markup("<span class=soft>Checkout</span><h1>{}</h1>").format(found.plan.display_name),
            _section(
                "Pay",
                Markup(
                    "<p>For {}. Nothing is charged: this is a stand-in.</p>"
                    "<form method=post><button>Pay</button></form>"
                ).format(found.customer_id),
            ),
        ],
    )


def missing(environment: str, message: str) -> str:
    """The page for a link that leads nowhere."""
    return _page("Not found", environment, [Markup("<h1>Not found</h1><p class=soft>{}</p>").format(message)])
