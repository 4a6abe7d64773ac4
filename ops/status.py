"""``closedwon status``: the history of a deal or a customer, from the ledger, Step Functions, Stigg and Salesforce.

First it is gathered, as what ``--json`` prints; then it is told from that.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.text import Text

from closedwon.aws.ledger import at_once
from closedwon.aws.ledger_items import Accepted
from closedwon.domain.customer import Customer, OpportunityState, execution_name
from closedwon.domain.instants import iso_of
from closedwon.domain.links import salesforce_record_url, stigg_customer_url, stigg_subscription_url
from closedwon.domain.plan import LIVE
from closedwon.reconciliation.drift import CustomerView
from closedwon.salesforce.write_back import account_fields
from closedwon.stack import Stack as Parts
from closedwon.words.counted import counted
from ops import orders, show
from ops.executions import Execution, Executions
from ops.look import ACTS_AS, Look, look_at
from ops.show import json_option, say
from ops.stack import Chosen
from ops.who import Who, resolved

Json = dict[str, Any]

NEWEST = 10
"""How many deals, orders and executions are told where nobody asks for all."""

GUESSED = 40
"""Executions of one deal that are looked for by the names they may have."""

LOUD = {
    "Provisioned": "green",
    "Failed": "red",
    "Held": "yellow",
    "Payment required": "yellow",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "ABORTED": "red",
    "SUCCEEDED": "green",
}


# Gathering


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
    if lease is not None:
        why = "an execution stopped in the middle, and its work is taken up again"
    elif customer.failures:
        why = f"it failed {counted(customer.failures, 'time')}, and is tried again"
    elif customer.applied < customer.version:
        why = "what was accepted is to be provisioned"
    elif customer.due_at == customer.look_again_at:
        why = "a payment, a start or an end is to be looked at"
    elif customer.unwritten or customer.account_unwritten:
        why = "Salesforce is to be brought up to date"
    else:
        why = "Stigg is to be looked at"
    return f"{when}: {why}"


def _at(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else iso_of(milliseconds)


def _deal(customer: Customer, state: OpportunityState, salesforce_url: str) -> Json:
    outcome, id = state.outcome, state.order.opportunity_id
    return {
        "opportunityId": id,
        "url": salesforce_record_url(salesforce_url, id),
        "trigger": state.order.trigger,
        "status": outcome.status,
        "reason": outcome.reason,
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
    names = [who.execution, customer.lease.owner if customer.lease else None]
    names += [customer.opportunities[id].execution for id in chosen]
    wanted = [name for name in dict.fromkeys(names) if name][: None if everything else NEWEST]
    if who.opportunity_id is not None:
        revisions = [one.revision for one in reversed(accepted.get(who.opportunity_id, ()))]
        attempts = range(customer.attempt, 0, -1)
        could = [execution_name(who.opportunity_id, one, attempt) for one in revisions for attempt in attempts]
        wanted = list(dict.fromkeys([*wanted, *could[: None if everything else GUESSED]]))
    return wanted


def _executions(who: Who, wanted: Sequence[str], executions: Executions) -> list[Json]:
    """Executions, newest first; with what they went through: the newest one, the one that was asked for, and those that
    failed.
    """
    named = {state.execution for state in who.customer.opportunities.values()} | {who.execution}
    found = at_once(lambda name: executions.describe(executions.arn(name)), wanted)
    found = [one for one in found if one.status != "FORGOTTEN" or one.name in named]
    found.sort(key=lambda one: one.started.timestamp() if one.started else 0, reverse=True)

    def told(one: Execution) -> Json:
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
        "entitlements": {id: None if amount == float("inf") else amount for id, amount in allowed.amounts.items()}
        if allowed
        else None,
        "opportunities": [id for id in marks.get("salesforceOpportunityIds", "").split(",") if id],
    }


def _in_salesforce(look: Look, app_url: str) -> Json:
    """What Salesforce shows, of all deals: whether it should is among the findings."""
    view = look.view
    account = view.account
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


# Telling


class Teller:
    """Tells a story to people. zone: the stack's time zone; everything: also the long lists."""

    def __init__(self, told: Json, zone: ZoneInfo, everything: bool) -> None:
        self.told = told
        self.zone = zone
        self.everything = everything
        self.now = datetime.now(zone)

    def tell(self) -> None:
        self.heading()
        self.facts()
        if len(self.told["deals"]) > 1 or self.told["asked"]["opportunityId"] is None:
            self.deals()
        self.orders()
        self.executions()
        self.stigg()
        self.verdict()
        self.next_steps()

    def when(self, instant: str | None) -> str:
        """An instant on the operator's clock: the stack's time zone, the year only where it is another."""
        if not instant:
            return ""
        local = datetime.fromisoformat(instant).astimezone(self.zone)
        return f"{local:%m-%d %H:%M:%S}" if local.year == self.now.year else f"{local:%Y-%m-%d %H:%M}"

    def day(self, instant: str | None) -> str:
        return f"{datetime.fromisoformat(instant).astimezone(self.zone):%Y-%m-%d}" if instant else ""

    def heading(self) -> None:
        told = self.told
        if told["asked"]["opportunityId"] is not None and told["deals"]:
            [deal] = told["deals"]
            heading = Text.assemble(f"Opportunity {deal['opportunityId']} is ", _loud(deal["status"]), ".")
            show.console().print(heading)
            if deal["reason"]:
                say(deal["reason"])
        else:
            words = ", ".join(f"{count:,} {status}" for status, count in told["statuses"].items())
            say(f"Account {told['account']['id']} has {counted(told['dealsInAll'], 'deal')}: {words}.")
        say()

    def facts(self) -> None:
        told, ledger_ = self.told, self.told["ledger"]
        deal = told["deals"][0] if told["asked"]["opportunityId"] and told["deals"] else None
        behind = ledger_["version"] - ledger_["applied"]
        applied = "all of it carried out" if not behind else f"{counted(behind, 'version')} not carried out yet"
        pairs: list[tuple[str, object]] = []
        if deal:
            pairs += [
                ("Opportunity", deal["url"]),
                ("Trigger", deal["trigger"].replace("_", " ")),
                ("Since", self.when(deal["since"])),
                ("Takes effect", self.when(deal["dueAt"])),
                ("In Salesforce", self.shown(deal)),
            ]
        pairs += [
            ("Account", told["account"]["url"]),
            ("Account shows", self.account_shows()),
            ("Customer", told["customer"]["url"] or "not in Stigg yet"),
            ("Ledger", f"version {ledger_['version']}, {applied}"),
            ("Due", self.due()),
            ("Failures", f"{ledger_['failures']} in a row" if ledger_["failures"] else ""),
        ]
        show.facts(pairs)
        say()

    def shown(self, deal: Json) -> Text:
        """What Salesforce shows of a deal; by the ledger where it could not be asked."""
        if not self.told["salesforce"]["reached"]:
            return Text("written" if deal["writtenBack"] else "not written yet")
        record = self.told["salesforce"]["provisionings"].get(deal["opportunityId"])
        if record is None:
            return Text("nothing", style="yellow")
        # a link too long for its own field goes behind the reason
        same = record["status"] == deal["status"] and (record["reason"] or "").startswith(deal["reason"][:1000])
        return Text("the same" if same else f"{record['status']}, which differs", style="" if same else "yellow")

    def account_shows(self) -> str:
        """What the account's record shows of its customer."""
        account = self.told["salesforce"]["account"]
        if account is None:
            return ""
        if account["state"] != "there":
            return f"it was {account['state']}{' into ' + account['mergedInto'] if account['mergedInto'] else ''}"
        return f"customer {account['customerId']}" if account["customerId"] else "no customer in Stigg"

    def due(self) -> str:
        ledger_ = self.told["ledger"]
        words = str(ledger_["due"])
        if ledger_["dueAt"]:
            words = words.replace(ledger_["dueAt"], self.when(ledger_["dueAt"]))
        if ledger_["lease"] and ledger_["lease"]["held"]:
            words += f", until {self.when(ledger_['lease']['until'])} at the latest: {ledger_['lease']['execution']}"
        return words

    def deals(self) -> None:
        rows = [
            (
                deal["opportunityId"],
                deal["trigger"].replace("_", " "),
                _loud(deal["status"]),
                self.when(deal["since"]),
                self.shown(deal),
                _first_line(deal["reason"]),
            )
            for deal in self.told["deals"]
        ]
        columns = ("opportunity", "trigger", "status", "since", "in Salesforce", "reason")
        show.table(columns, rows, title="Deals", whole=("since",))
        self.more(len(rows), self.told["dealsInAll"], "deal")

    def orders(self) -> None:
        """Who lowered what, and when."""
        told = self.told["orders"]
        shown = told if self.everything else told[:NEWEST]
        one_deal = self.told["asked"]["opportunityId"] is not None
        rows = [
            (
                self.when(order["acceptedAt"]),
                *(() if one_deal else (order["opportunityId"],)),
                order["trigger"].replace("_", " "),
                self.when(order["revision"]),
                Text("; ".join(order["changes"]), style="yellow" if order["lowers"] else ""),
            )
            for order in shown
        ]
        deal = () if one_deal else ("opportunity",)
        columns = ("accepted", *deal, "trigger", "saved in Salesforce", "what it said")
        show.table(columns, rows, title="Orders, newest first")
        self.more(len(shown), len(told), "order")

    def executions(self) -> None:
        told = self.told["executions"]
        rows = [
            (
                self.when(one["startedAt"]) or "-",
                one["name"],
                _loud(one["status"]),
                "" if one["seconds"] is None else f"{one['seconds']:.1f}",
                ": ".join(filter(None, (one["error"], one["cause"]))) or _forgotten(one["status"]),
            )
            for one in told
        ]
        if not rows:
            return
        columns = ("started", "execution", "status", "seconds", "error")
        show.table(columns, rows, title="Executions", whole=("execution",))
        first = next((one for one in told if one["steps"]), None)
        if first is not None:
            steps = [
                (
                    self.when(step["enteredAt"]),
                    step["state"],
                    step["tries"] if step["tries"] > 1 else "",
                    "" if step["seconds"] is None else f"{step['seconds']:.1f}",
                    _errors(step["errors"]),
                )
                for step in first["steps"]
            ]
            title = f"What {first['name']} went through"
            show.table(("entered", "state", "tries", "seconds", "errors"), steps, title=title)
            show.verbatim(first["url"])
            say()

    def stigg(self) -> None:
        told = self.told["stigg"]
        if not told["reached"]:
            return
        live = [one for one in told["subscriptions"] if one["status"] in LIVE]
        shown = told["subscriptions"] if self.everything else live
        rows = [
            (
                one["id"],
                " for ".join(filter(None, (one["planId"], one["resourceId"]))),
                one["status"],
                self.day(one["start"]),
                self.day(one["trialEnd"] if one["status"] == "IN_TRIAL" else one["end"]),
                _holds(one),
            )
            for one in shown
        ]
        if rows:
            columns = ("subscription", "plan", "status", "from", "to", "add-ons and what may be used")
            show.table(columns, rows, title="In Stigg now")
            for one in shown[: None if self.everything else 3]:
                show.verbatim(one["url"])
        else:
            say("In Stigg now: no subscription." if told["exists"] else "In Stigg now: the customer is not there.")
        ended = len(told["subscriptions"]) - len(shown)
        if ended:
            say(f"{counted(ended, 'subscription')} that ended: --all shows {'it' if ended == 1 else 'them'}.")
        say()

    def verdict(self) -> None:
        told = self.told
        for whom, why in told["notReached"].items():
            show.check("problem", f"{whom} could not be asked, so what it holds is not told here. {why}")
        if told["underWay"]:
            show.check("skipped", "Work is under way or about to begin: whether all is as it should be shows after it.")
            return
        if not told["compared"]:
            return
        without = bool(told["statuses"].keys() & {"Failed", "Held"})
        undone = any(finding["kind"] == "failed_not_rerun" for finding in told["findings"]["deals"])
        fine = {
            "Stigg": f"Stigg is as it should be{', without the deals that failed or are held' if without else ''}.",
            "Salesforce": "Salesforce shows what became of the deals.",
            "deals": "No deal was missed, and none waits too long.",
        }
        reached = {"Stigg": told["stigg"]["reached"], "Salesforce": told["salesforce"]["reached"]}
        for where, words in fine.items():
            found = told["findings"][where]
            if not found and reached.get(where, reached["Salesforce"]) and not (where == "Stigg" and undone):
                show.check("ok", words)
            for finding in found:
                show.check("problem", finding["words"], _remedy(finding))

    def next_steps(self) -> None:
        """What to do now."""
        told = self.told
        hints: dict[str, str] = {}
        for deal in told["deals"]:
            id = deal["opportunityId"]
            if deal["approval"]:
                hints.setdefault(show.command("approve", id), "To let through what is held:")
            elif deal["status"] == "Failed":
                hints.setdefault(show.command("replay", id), "Once the reason is mended, to try again at once:")
        repairs = [one for found in told["findings"].values() for one in found if one["remedy"] == "repair"]
        if repairs and not hints:
            hints[show.command("replay", told["account"]["id"])] = "To have it repaired now:"
        if hints:
            say()
        for command, words in list(hints.items())[:3]:
            say(words)
            show.verbatim(f"  {command}")

    def more(self, shown: int, there: int, what: str) -> None:
        if shown < there:
            say(f"The newest {shown} of {counted(there, what)}: --all shows them all.")
            say()


def _loud(status: str) -> Text:
    return Text(status, style=LOUD.get(status, ""))


def _first_line(text: str) -> str:
    line, _, more = text.partition("\n")
    return f"{line} ..." if more else line


def _forgotten(status: str) -> str:
    return "Step Functions keeps executions for 90 days" if status == "FORGOTTEN" else ""


def _errors(errors: Sequence[Json]) -> str:
    """What a step met; the same error many times is told once."""
    counts: dict[str, int] = {}
    for one in errors:
        said = ": ".join(filter(None, (one["error"], one["cause"])))
        counts[said] = counts.get(said, 0) + 1
    return "; ".join(f"{said} ({count} times)" if count > 1 else said for said, count in counts.items())


def _holds(one: Json) -> str:
    return ", ".join(_parts(one))


def _parts(one: Json) -> Iterator[str]:
    for id, quantity in one["addons"].items():
        yield f"{id} {quantity:,}"
    for id, amount in (one["entitlements"] or {}).items():
        yield f"{id} {'unlimited' if amount is None else f'{amount:,.0f}'}"


def _remedy(finding: Json) -> str:
    values = ""
    if finding["should"] and finding["is_now"]:
        values = f"Should be {finding['should']}; is {finding['is_now']}. "
    if finding["remedy"] == "repair":
        return f"{values}Reconciliation repairs it."
    return f"{values}Left to people: {finding['why']}."


@click.command(short_help="Show the history of a deal or a customer.")
@click.argument("id")
@click.option("--all", "everything", is_flag=True, help="Show all deals, orders and subscriptions, ended ones too.")
@json_option
@click.pass_obj
def status(chosen: Chosen, id: str, everything: bool, as_json: bool) -> None:
    """Show the history of an ID: an opportunity, an account, a customer in Stigg, or an execution.

    It shows what the ledger holds, who changed what and when, which executions ran, what Stigg and Salesforce hold now,
    and whether that is as it should be. It changes nothing. Exit code 1 when Stigg or Salesforce did not answer.
    """
    parts = chosen.stack.parts(*ACTS_AS)
    executions = Executions(chosen.stack.client("stepfunctions"), chosen.stack.outputs["ProvisionStateMachineArn"])
    told = story(resolved(id, parts), executions, everything, parts)
    if as_json:
        show.as_json(told)
    else:
        Teller(told, ZoneInfo(parts.settings["TIME_ZONE"]), everything).tell()
    if told["notReached"]:
        raise SystemExit(1)
