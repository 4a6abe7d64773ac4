"""The history of a deal or a customer, gathered as data from the ledger, Step Functions, Stigg and Salesforce."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from closedwon.aws.ledger import at_once
from closedwon.aws.ledger_items import Accepted
from closedwon.domain.changes import LIVE
from closedwon.domain.customer import Customer, OpportunityState
from closedwon.domain.due import execution_name
from closedwon.domain.instants import iso_of
from closedwon.domain.links import salesforce_record_url, stigg_customer_url, stigg_subscription_url
from closedwon.reconciliation.drift import CustomerView
from closedwon.salesforce.write_back import account_fields
from closedwon.stack import Stack as Parts
from closedwon.words import reasons
from closedwon.words.counted import counted
from ops import orders
from ops.executions import Execution, Executions
from ops.look import Look, look_at
from ops.who import Who

Json = dict[str, Any]

NEWEST = 10
"""How many deals, orders and executions are told where nobody asks for all."""

GUESSED = 40
"""Executions of one deal that are looked for by the names they may have."""


def story(who: Who, executions: Executions, everything: bool, parts: Parts) -> Json:
    """All there is to tell. everything: also what is not among the newest."""
    customer = who.customer
    chosen = _chosen(who, everything)
    app_url, salesforce_url = parts.settings["STIGG_APP_URL"], parts.settings["SALESFORCE_URL"]
    look = look_at(customer, parts)
    accepted = dict(zip(chosen, at_once(parts.ledger.orders, chosen), strict=True))
    now = time.time_ns() // 1_000_000
    return {
        "asked": {"kind": who.kind, "id": who.text, "opportunityId": who.opportunity_id},
        "account": {"id": customer.account_id, "url": salesforce_record_url(salesforce_url, customer.account_id)},
        "customer": {
            "id": customer.shown_id,
            "url": customer.shown_id and stigg_customer_url(app_url, customer.shown_id),
        },
        "ledger": _ledger(customer, now),
        "deals": [_deal(customer, customer.opportunities[id], salesforce_url) for id in chosen],
        "dealsInAll": len(customer.opportunities),
        "statuses": Counter(state.outcome.status for state in customer.opportunities.values()),
        "orders": _orders(accepted),
        "executions": _executions(who, _named(who, chosen, accepted, everything), executions),
        "stigg": _stigg(look, app_url),
        "salesforce": _in_salesforce(look, app_url),
        "underWay": look.under_way,
        "compared": look.compared,
        "findings": {
            where: [finding.to_json() for finding in look.found(where)] for where in ("Stigg", "Salesforce", "deals")
        },
        "notReached": look.not_reached,
    }


def _chosen(who: Who, everything: bool) -> list[str]:
    """The opportunities to tell of: the one that was asked for, or the customer's newest ones."""
    if who.opportunity_id is not None and who.opportunity_id in who.customer.opportunities:
        return [who.opportunity_id]
    newest = sorted(
        who.customer.opportunities.items(), key=lambda pair: (pair[1].version, pair[1].revision, pair[0]), reverse=True
    )
    return [id for id, _ in (newest if everything else newest[:NEWEST])]


def _ledger(customer: Customer, now: int) -> Json:
    lease = customer.lease
    return {
        "version": customer.version,
        "applied": customer.applied,
        "dueAt": _at(customer.due_at),
        "due": due(customer, now),
        "lease": lease and {"execution": lease.owner, "until": _at(lease.until), "held": now < lease.until},
        "failures": customer.failures,
    }


def due(customer: Customer, now: int) -> str:
    """What is to be done for a customer, and why: in words."""
    lease = customer.lease
    if lease is not None and now < lease.until:
        return "an execution is at work"
    if customer.due_at is None:
        return "nothing is due"
    when = "now, at the next sweep (one each minute)" if customer.due_at <= now else f"at {_at(customer.due_at)}"
    return f"{when}: {_why_due(customer)}"


def _why_due(customer: Customer) -> str:
    if customer.lease is not None:
        # A lease in its time is told by `due`: this one ran out, so its execution died.
        return "an execution stopped in the middle, and its work is taken up again"
    if customer.failures:
        return f"it failed {counted(customer.failures, 'time')}, and is tried again"
    if customer.applied < customer.version:
        return "what was accepted is to be provisioned"
    if customer.due_at == customer.look_again_at:
        return "a payment, a start or an end is to be looked at"
    if customer.unwritten or customer.account_unwritten:
        return "Salesforce is to be brought up to date"
    return "Stigg is to be looked at"


def _at(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else iso_of(milliseconds)


def _deal(customer: Customer, state: OpportunityState, salesforce_url: str) -> Json:
    outcome, id = state.outcome, state.order.opportunity_id
    return {
        "opportunityId": id,
        "url": salesforce_record_url(salesforce_url, id),
        "trigger": state.order.trigger,
        "status": outcome.status,
        "reason": reasons.told(outcome),
        "code": outcome.code,
        "facts": outcome.facts.to_json(),
        "since": _at(state.at),
        "revision": _at(state.revision.modified),
        "execution": state.execution,
        "approval": outcome.approval,
        "dueAt": _at(outcome.due_at),
        "writtenBack": state.written == state.mark(customer.shown_id),
        "application": state.application and state.application.to_json(),
        "subscriptions": [
            {
                "planId": one.plan_id,
                "subscriptionId": one.subscription_id,
                "status": one.status,
                "checkoutUrl": one.checkout_url,
            }
            for one in outcome.subscriptions
        ],
    }


def _orders(accepted: Mapping[str, Sequence[Accepted]]) -> list[Json]:
    """Every accepted order of these deals, the newest first, with what it changed."""
    told: list[tuple[int, Json]] = []
    for id, found in accepted.items():
        for before, one in pairwise([None, *found]):
            if one is None:
                continue
            changes = orders.changes(one.order, before.order if before else None)
            if before and not changes:  # saved again without any difference
                continue
            order = {
                "acceptedAt": _at(one.at),
                "opportunityId": id,
                "revision": _at(one.revision.modified),
                "trigger": one.order.trigger,
                "first": before is None,
                "lowers": any(change.lowers for change in changes),
                "changes": [change.words for change in changes],
            }
            told.append((one.at, order))
    return [order for _, order in sorted(told, key=lambda pair: pair[0], reverse=True)]


def _named(who: Who, chosen: Sequence[str], accepted: Mapping[str, Sequence[Accepted]], everything: bool) -> list[str]:
    """The executions to tell of: those that the ledger names; and of one opportunity those that it can have had, by the
    orders it had. They are not kept anywhere, and Step Functions finds none by anything but its name.
    """
    customer = who.customer
    # What was asked for first, so that the cut below cannot drop it.
    names = [who.execution, customer.lease.owner if customer.lease else None]
    names += [customer.opportunities[id].execution for id in chosen]
    wanted = [name for name in dict.fromkeys(names) if name][: None if everything else NEWEST]
    if who.opportunity_id is not None:
        could = _possible(who.opportunity_id, accepted.get(who.opportunity_id, ()), customer.attempt)
        wanted = list(dict.fromkeys([*wanted, *could[: None if everything else GUESSED]]))
    return wanted


def _possible(id: str, accepted: Sequence[Accepted], attempts: int) -> list[str]:
    """The executions that an opportunity can have had, the newest first, by its orders and how often it was tried."""
    revisions = [one.revision for one in reversed(accepted)]
    return [execution_name(id, one, attempt) for one in revisions for attempt in range(attempts, 0, -1)]


def _executions(who: Who, wanted: Sequence[str], executions: Executions) -> list[Json]:
    """Executions, newest first; with what they went through: the newest one, the one that was asked for, and those that
    failed.
    """
    named = {state.execution for state in who.customer.opportunities.values()} | {who.execution}
    found = at_once(lambda name: executions.describe(executions.arn(name)), wanted)
    # Most guessed names never began; those that the ledger names did, and are only not kept any more.
    found = [one for one in found if one.status != "FORGOTTEN" or one.name in named]
    found.sort(key=lambda one: one.started.timestamp() if one.started else 0, reverse=True)

    def told(one: Execution) -> Json:
        # A history takes a request for each of its pages.
        interesting = one.failed or one.name == who.execution or one is found[0]
        steps = executions.steps(one.arn) if interesting else []
        return {**one.to_json(), "steps": [step.to_json() for step in steps]}

    return at_once(told, found)


def _stigg(look: Look, app_url: str) -> Json:
    view = look.view
    subscriptions = sorted(
        view.subscriptions or (), key=lambda one: (one["status"] in LIVE, one.get("startDate") or ""), reverse=True
    )
    return {
        "reached": view.subscriptions is not None,
        "exists": view.customer_in_stigg,
        "subscriptions": [_subscription(one, view, app_url) for one in subscriptions],
    }


def _subscription(one: Mapping[str, Any], view: CustomerView, app_url: str) -> Json:
    allowed = (view.allowed or {}).get(one["id"])
    marks = one.get("metadata") or {}
    return {
        "id": one["id"],
        "url": stigg_subscription_url(app_url, one["id"]),
        "planId": one.get("planId"),
        "resourceId": one.get("resourceId"),
        "status": one["status"],
        "start": one.get("startDate"),
        "end": one.get("cancellationDate") or one.get("effectiveEndDate"),
        "trialEnd": one.get("trialEndDate"),
        "addons": {addon["id"]: addon.get("quantity", 1) for addon in one.get("addons") or ()},
        "entitlements": allowed and _finite(allowed.amounts),
        "opportunities": [id for id in marks.get("salesforceOpportunityIds", "").split(",") if id],
    }


def _finite(amounts: Mapping[str, float]) -> Json:
    """What may be used, by entitlement; None for what is unlimited, which JSON cannot say."""
    return {id: None if amount == float("inf") else amount for id, amount in amounts.items()}


def _in_salesforce(look: Look, app_url: str) -> Json:
    """What Salesforce shows, of all deals: whether it should is among the findings."""
    view = look.view
    account = view.account
    # Until the customer exists in Stigg the account shows none.
    wanted = account_fields(view.customer, app_url) if view.customer.ensured else {}
    return {
        "reached": view.provisionings is not None,
        "account": account
        and {
            "state": account.state,
            "mergedInto": account.merged_into,
            "customerId": account.customer_id,
            "customerUrl": account.customer_url,
            "shouldShow": wanted.get("Stigg_Customer_ID__c"),
        },
        "provisionings": {
            id: {"status": row.get("Status__c"), "reason": row.get("Reason__c")}
            for id, row in (view.provisionings or {}).items()
        },
    }
