"""``closedwon replay``: tries again what failed, and repairs what differs, now.

It only makes customers due in the ledger; the sweep then starts them as it starts everything that is due. So it is safe
to repeat, and to interrupt: nothing else is ever written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click
from rich.status import Status

from closedwon.aws.ledger import Ledger, at_once
from closedwon.domain.customer import Customer, OpportunityState
from closedwon.domain.instants import iso_of
from closedwon.stack import Stack as Parts
from closedwon.words import reasons
from closedwon.words.counted import counted
from ops import show
from ops.executions import FAILURES, Execution, Executions, opportunity_of
from ops.history import Since
from ops.look import ACTS_AS, Look, look_at
from ops.show import json_option, say
from ops.stack import Chosen
from ops.who import resolved

Json = dict[str, Any]

Action = Literal["again", "repair", "already", "nothing", "unknown", "not asked"]

MEANS: dict[Action, str] = {
    "again": "try again what failed",
    "repair": "bring in line what differs",
    "already": "already under way, or due",
    "nothing": "nothing to do",
    "unknown": "not known to the ledger",
    "not asked": "could not be looked at",
}

DOES: tuple[Action, ...] = ("again", "repair")

TOLD = 25
"""The most customers that are told of one by one."""

EVERY = 2
"""Seconds between two looks at the ledger while waiting."""

INTERRUPTED = 130


@dataclass(frozen=True)
class Replay:
    """What is to be done for one customer. asked: as it was asked for; deals: the opportunities that it is about;
    rev, token: of the customer when it was looked at; look, rewrite, account: see `due.made_due`.
    """

    asked: str
    action: Action
    words: str
    account_id: str = ""
    deals: tuple[str, ...] = ()
    rev: int = 0
    token: int = 0
    leased: bool = False
    look: bool = False
    rewrite: tuple[str, ...] = ()
    account: bool = False
    made_due: bool = False

    def to_json(self) -> Json:
        return {
            "asked": self.asked,
            "accountId": self.account_id or None,
            "deals": list(self.deals),
            "action": self.action,
            "words": self.words,
            "madeDue": self.made_due,
        }


@dataclass
class Asked:
    """What was asked for of one customer: how, and of which opportunities ("" for all)."""

    customer: Customer
    texts: list[str] = field(default_factory=list)
    opportunities: set[str] = field(default_factory=set)


def customers(texts: Iterable[str], parts: Parts) -> tuple[list[Asked], list[Replay]]:
    """Whom IDs mean, each customer once; and those that nobody knows."""
    by_account: dict[str, Asked] = {}
    unknown = []
    for text in dict.fromkeys(texts):
        try:
            who = resolved(text, parts)
        except click.ClickException as error:
            # One mistake in a long list must not keep the others from being tried again.
            unknown.append(Replay(text, "unknown", error.message))
            continue
        asked = by_account.setdefault(who.customer.account_id, Asked(who.customer))
        asked.texts.append(text)
        asked.opportunities.add(who.opportunity_id or "")
    return list(by_account.values()), unknown


def planned(asked: Asked, parts: Parts) -> Replay:
    """What is to be done for a customer. What the ledger does not know to be undone is looked for in Stigg and
    Salesforce; of what differs there, only what the stack's policy repairs is.
    """
    customer, now = asked.customer, time.time_ns() // 1_000_000
    behind = tuple(id for id, state in customer.opportunities.items() if state.version > customer.applied)
    plan = Replay(
        asked=" ".join(asked.texts[:3]),
        action="nothing",
        words="",
        account_id=customer.account_id,
        deals=behind,
        rev=customer.rev,
        token=customer.token,
        leased=customer.lease is not None and now < customer.lease.until,
    )
    # Whoever holds the lease sees what was accepted meanwhile, before releasing it.
    if plan.leased:
        return replace(plan, action="already", words="an execution is at work on it now")
    if customer.due_at is not None and customer.due_at <= now:
        return replace(plan, action="already", words="it is due, and the sweep starts it within a minute")
    # The second should not be: accepted, not carried out and never due, nothing would start it.
    if customer.failures or (behind and customer.due_at is None):
        return replace(plan, action="again", words=_why_again(customer))
    if behind:
        return replace(plan, action="already", words="its execution begins, or waits for its rate slot")
    # Salesforce and Stigg are asked last: what failed or is under way, the ledger knows by itself.
    return _compared(plan, look_at(customer, parts), asked)


def _why_again(customer: Customer) -> str:
    said = f"failed {counted(customer.failures, 'time')}" if customer.failures else "nothing is due to try it"
    if customer.due_at is not None:
        said += f"; by itself it is tried again at {iso_of(customer.due_at)[:19]}Z"
    return said


def _nothing_to_repair(look: Look) -> bool:
    repair = look.repair
    return repair is None or not (repair.look or repair.rewrite or repair.account)


def _compared(plan: Replay, look: Look, asked: Asked) -> Replay:
    if look.not_reached:
        words = "; ".join(f"{whom}: {why}" for whom, why in look.not_reached.items())
        return replace(plan, action="not asked", words=words)
    if look.under_way:
        return replace(plan, action="already", words="work on it begins within minutes")
    repair = look.repair
    if repair is None or _nothing_to_repair(look):
        return replace(plan, words=" ".join([*_standing(asked), *_left_to_people(look)]))
    repaired = [one for one in look.findings if not one.why]
    return replace(
        plan,
        action="repair",
        words=" ".join([*(one.words for one in repaired), *_left_to_people(look)]),
        deals=tuple(dict.fromkeys(one.opportunity_id for one in repaired if one.opportunity_id)),
        look=repair.look,
        rewrite=repair.rewrite,
        account=repair.account,
    )


def _left_to_people(look: Look) -> list[str]:
    return [f"{one.words} Left to people: {one.why}." for one in look.findings if one.why]


def _standing(asked: Asked) -> Iterable[str]:
    """Why there is nothing to do for the deals that were asked for."""
    opportunities = asked.customer.opportunities
    ids = opportunities if "" in asked.opportunities else asked.opportunities
    states = [opportunities[id] for id in ids if id in opportunities]
    told = False
    for state in states:
        id, outcome = state.order.opportunity_id, state.outcome
        reason = " ".join(reasons.told(outcome).split())
        if outcome.status == "Failed":
            told = True
            yield f"{id} is refused: {reason.rstrip('.')}. Mend the deal in Salesforce, which sends it again."
        elif outcome.status == "Held":
            told = True
            approve = f" `closedwon approve {id}` lets it through." if outcome.approval else ""
            yield f"{id} is held: {reason.rstrip('.')}.{approve}"
    if not told:
        yield "Stigg and Salesforce are as they should be."


def make_due(plan: Replay, ledger: Ledger) -> Replay:
    """Do it. A customer that was written since it was looked at is left alone."""
    if plan.action not in DOES:
        return plan
    made = ledger.make_due(plan.account_id, plan.rev, plan.look, plan.rewrite, plan.account)
    if made:
        return replace(plan, made_due=True)
    return replace(plan, action="already", words="somebody worked on it just now: look at it again")


def waited(plans: Sequence[Replay], ledger: Ledger, status: Status) -> dict[str, Customer]:
    """Wait until each customer was worked on. Out: how each is then, by account."""
    left = {plan.account_id: plan for plan in plans}
    done: dict[str, Customer] = {}
    while left:
        for customer in at_once(ledger.customer, list(left)):
            plan = left[customer.account_id]
            # The token rises whenever the lease is acquired: free, with a higher one, it was worked on.
            if customer.lease is None and (plan.leased or customer.token > plan.token):
                done[customer.account_id] = customer
                del left[customer.account_id]
        status.update(f"{len(done)} of {len(plans)} done; the sweep starts what is due, once a minute ...")
        if left:
            time.sleep(EVERY)
    return done


def results(plans: Sequence[Replay], done: dict[str, Customer], executions: Executions) -> list[Json]:
    """How it ended for each customer."""
    return at_once(lambda plan: _result(plan, done[plan.account_id], executions), plans)


def _result(plan: Replay, customer: Customer, executions: Executions) -> Json:
    states = [customer.opportunities[id] for id in plan.deals if id in customer.opportunities]
    bad = [state for state in states if state.outcome.status == "Failed"]
    told: Json = {"execution": None, "words": ""}
    if customer.failures or bad:
        told = _failure(bad, _described((bad or [_newest(customer)])[0], executions))
    return {
        "accountId": plan.account_id,
        "failed": bool(customer.failures or bad),
        **_by_deal(states),
        **told,
    }


def _by_deal(states: Sequence[OpportunityState]) -> Json:
    """The status of each deal, and the code of its reason."""
    outcomes = {state.order.opportunity_id: state.outcome for state in states}
    return {
        "deals": {id: outcome.status for id, outcome in outcomes.items()},
        "codes": {id: outcome.code for id, outcome in outcomes.items()},
    }


def _failure(bad: Sequence[OpportunityState], execution: Execution | None) -> Json:
    """The execution that failed, and why: by the deals, or else by the execution."""
    said = " ".join(reasons.told(state.outcome) for state in bad)
    cause = execution.cause if execution else ""
    return {"execution": execution and execution.to_json(), "words": said or cause}


def _described(state: OpportunityState, executions: Executions) -> Execution | None:
    return executions.describe(executions.arn(state.execution))


def _newest(customer: Customer) -> OpportunityState:
    return max(customer.opportunities.values(), key=lambda state: state.version)


# Telling


def tell(plans: Sequence[Replay]) -> None:
    """What is to be done, customer by customer or, where they are many, in numbers."""
    counts = Counter(plan.action for plan in plans)
    rows = [(plan.account_id or plan.asked, MEANS[plan.action], plan.words) for plan in _worth_telling(plans)]
    if rows:
        show.table(("customer", "what", "why"), rows, whole=("customer",))
    if len(plans) > 1:
        show.facts((MEANS[action], f"{counts[action]:,}") for action in MEANS if counts[action])
    if len(plans) > len(rows):
        say(f"Only {len(rows)} of {counted(len(plans), 'customer')} are told; --json tells them all.")


def _worth_telling(plans: Sequence[Replay]) -> Sequence[Replay]:
    """The plans that fit on a screen; where they are many, those that something comes of."""
    if len(plans) <= TOLD:
        return plans
    return [plan for plan in plans if plan.action != "nothing"][:TOLD]


def tell_results(ended: Sequence[Json]) -> None:
    rows = [
        (
            one["accountId"],
            "failed" if one["failed"] else "done",
            ", ".join(f"{id} {status}" for id, status in one["deals"].items()),
            one["words"],
        )
        for one in sorted(ended, key=lambda one: not one["failed"])  # failures first: the table is cut
    ]
    show.table(("customer", "ended", "deals", "why"), rows[:TOLD], whole=("customer",))
    failed = sum(one["failed"] for one in ended)
    say(f"{len(ended) - failed:,} done, {failed:,} failed.")


def tell_made_due(plans: Sequence[Replay], does: Sequence[Replay], dry_run: bool) -> None:
    """What was done. does: the plans that something was to be done for."""
    made = sum(plan.made_due for plan in plans)
    if dry_run:
        say("Nothing was done: this was a dry run.")
    elif made:
        are = f"{counted(made, 'customer')} {'is' if made == 1 else 'are'}"
        say(f"{are} due; the sweep starts {'it' if made == 1 else 'them'} within a minute.")
    elif plans and not does:
        say("Nothing was done.")


def ids_of(file: Path) -> list[str]:
    """The IDs in a file: the first word of each line; what follows a # is a remark."""
    # Commas too, so that a CSV whose first column is the ID can be given as it is.
    lines = (line.partition("#")[0].replace(",", " ").split() for line in file.read_text().splitlines())
    return [words[0].strip('"') for words in lines if words]


@click.command(short_help="Try again what failed, now.")
@click.argument("ids", nargs=-1, metavar="[OPPORTUNITY|ACCOUNT]...")
@click.option(
    "--failed-since", type=Since(), metavar="TIME", help="Also everything that failed since then, such as 2h."
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also the IDs in this file, one on each line.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Wait until it is done; exit code 1 if any of it failed.")
@json_option
@click.pass_obj
def replay(
    chosen: Chosen,
    ids: Sequence[str],
    failed_since: datetime | None,
    file: Path | None,
    dry_run: bool,
    yes: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Try again what failed, and repair what differs, now.

    It makes customers due in the ledger, nothing else: the sweep starts them within a minute, the usual steps do the
    work, and what is done already is not done twice. It is safe to repeat. What was changed by hand, or would be
    lowered, is left to people where the stack's policy leaves it to them.

    Exit code 1 when an ID is not known or a customer could not be looked at; with --wait, also when any of it failed.
    """
    if not (ids or failed_since or file):
        raise click.UsageError("name opportunities or accounts, or say --failed-since or --file")
    parts = chosen.stack.parts(*ACTS_AS)
    executions = Executions(chosen.stack.client("stepfunctions"), chosen.stack.outputs["ProvisionStateMachineArn"])
    plans = _looked_at([*ids, *_ids_in(file), *_failed_since(failed_since, executions)], parts)
    if not as_json:
        tell(plans) if plans else say("Nothing failed since then.")
    does = [plan for plan in plans if plan.action in DOES]
    if does and not dry_run:
        if not yes:
            click.confirm(f"Have {counted(len(does), 'customer')} looked at again?", abort=True, err=as_json)
        # Over all plans, to keep their order: those that nothing is done for come back as they are.
        plans = at_once(partial(make_due, ledger=parts.ledger), plans)
    if not as_json:
        tell_made_due(plans, does, dry_run)
    ended = _wait(plans, parts.ledger, executions) if wait and not dry_run else []
    if as_json:
        show.as_json({"customers": [plan.to_json() for plan in plans], "ended": ended})
    elif ended:
        tell_results(ended)
    if _went_wrong(plans, ended):
        raise SystemExit(1)


def _went_wrong(plans: Sequence[Replay], ended: Sequence[Json]) -> bool:
    """Whether somebody is not known or could not be looked at, or any of it failed."""
    return any(plan.action in ("unknown", "not asked") for plan in plans) or any(one["failed"] for one in ended)


def _ids_in(file: Path | None) -> list[str]:
    return ids_of(file) if file else []


def _failed_since(instant: datetime | None, executions: Executions) -> list[str]:
    """The opportunities whose executions failed since then; none where nobody asks for them."""
    if instant is None:
        return []
    failed = [one for status in FAILURES for one in executions.since(status, instant)]
    # An execution that somebody started by hand has a name that says nothing.
    return [id for one in failed if (id := opportunity_of(one.name))]


def _looked_at(wanted: Iterable[str], parts: Parts) -> list[Replay]:
    """What is to be done for each customer that these IDs mean."""
    asked, plans = customers(wanted, parts)
    with show.progress() as progress:
        for plan in progress.track((planned(one, parts) for one in asked), total=len(asked), description="Looking"):
            plans.append(plan)
    return plans


def _wait(every: Sequence[Replay], ledger: Ledger, executions: Executions) -> list[Json]:
    """How it ended for those that were made due, and those that were at work already."""
    # Those that were at work already are what the operator asked for too.
    plans = [plan for plan in every if plan.made_due] + [plan for plan in every if plan.action == "already"]
    if not plans:
        return []
    try:
        with Status("Waiting ...", console=show.console(err=True)) as status:
            done = waited(plans, ledger, status)
    except KeyboardInterrupt:
        say("Not waited for any longer; what is due is done all the same.", err=True)
        raise SystemExit(INTERRUPTED) from None
    return results(plans, done, executions)
