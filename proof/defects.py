"""Does the proof bite? Deliberate defects are put into a copy of the product, one at a time, and each must be caught.

A proof that cannot fail is no proof. The trial is the fault campaign, small and stopped at its first violation; where
a defect shows only in a scene that no campaign can be expected to play, it is the test that plays it. The product as
it is passes the same trials: `make prove` and `make test` are that.

    python -m proof defects            all of them
    python -m proof.defects <name>     one, with all that its trial printed
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.lines import Line

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "layers/closedwon/closedwon"
AT_ONCE = 2
PATIENCE = 600
"""Seconds for a trial. One that lasts longer has caught nothing."""


SECOND_OPINION = "tests/unit/test_second_opinion.py::test_oracle_and_product_agree_on_what_the_market_sells"
"""The oracle's opinion, of what the campaign's market sells, against the product's contract model alone."""


class Edit(NamedTuple):
    """A text that is so many times in a file, and what comes in its place."""

    file: str
    old: str
    new: str
    times: int = 1


@dataclass(frozen=True)
class Defect:
    """breaks: what is not so any more. test: what plays the scene, where that is not the campaign; seed, history: the
    campaign's, and the one customer's that meets it, where one does.
    """

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    test: str = ""
    seed: int = 1
    history: int | None = None


class Caught(NamedTuple):
    """by: what noticed; empty where nothing did. seconds: until then."""

    by: str
    seconds: float
    output: str


DEFECTS = (
    Defect(
        "no revision check",
        "in order: an older revision that arrives late counts (G2)",
        (
            Edit(
                f"{PACKAGE}/domain/acceptance.py",
                "newer = (revision, order.digest) > (state.revision, state.order.digest)",
                "newer = True",
            ),
        ),
    ),
    Defect(
        "no lease",
        "one at a time: two executions write for one customer (G1)",
        (
            Edit(
                f"{PACKAGE}/domain/lease.py",
                "    elif lease is not None and held:\n        return customer, Busy",
                "    elif lease is not None and held and owner == '':\n        return customer, Busy",
            ),
            Edit(
                f"{PACKAGE}/domain/results.py",
                "    if customer.lease is None or customer.lease.token != work.lease.token:\n",
                "    if customer.lease is None:\n",
            ),
        ),
        test="tests/unit/test_ledger_model.py",
    ),
    Defect(
        "no atomic accept",
        "together: of two writes at the same moment one is lost (G3)",
        (
            Edit(
                f"{PACKAGE}/aws/ledger_table.py",
                'condition = "rev = :rev" if known.customer.rev else "attribute_not_exists(pk)"',
                "condition = None",
            ),
        ),
        test="tests/unit/test_ledger.py::test_who_loses_every_try_says_so_after_growing_pauses",
    ),
    Defect(
        "a customer of several moments",
        "in order: what a query found half from before a write and half from after it is believed",
        (
            Edit(
                f"{PACKAGE}/aws/ledger_items.py",
                "return sum(revs) == total and max(revs, default=0) <= rev",
                "return True",
            ),
        ),
        test="tests/unit/test_ledger_reads.py::test_what_a_bad_table_answers_is_never_believed",
    ),
    Defect(
        "an idempotency key without its execution",
        "once, and again: the same wish later gets the old answer",
        (Edit(f"{PACKAGE}/stigg/client.py", "wish = [execution, entity_id, body]", "wish = [entity_id, body]"),),
        test="tests/unit/test_stigg_client.py::test_the_idempotency_key_is_one_for_each_wish_of_an_execution",
    ),
    Defect(
        "no generation",
        "a subscription that takes another's place asks for an ID that is used up",
        (
            Edit(
                f"{PACKAGE}/domain/plan.py",
                "return max(record.generation, used) + 1 if replaces else max(unused, used + 1)",
                "return max(1, record.generation)",
            ),
        ),
        test="tests/integration/test_life.py::test_a_contract_is_cancelled_at_its_end_or_now_and_won_back",
    ),
    Defect(
        "metadata not merged",
        "gentle: what others keep on a subscription is wiped out (G6)",
        (
            Edit(
                f"{PACKAGE}/stigg/bodies.py",
                '"metadata": {**update.metadata, **metadata_of(wanted, links)},',
                '"metadata": metadata_of(wanted, links),',
            ),
        ),
        test="tests/integration/test_guarantees.py"
        "::test_g7_what_others_wrote_on_customer_subscription_and_account_stays",
    ),
    Defect(
        "no removal guard",
        "nothing shrinks by accident: a reduction nobody expected is not held",
        (
            Edit(
                f"{PACKAGE}/domain/contract/guards.py",
                "            if 100 * one.share > percent and (",
                "            if 100 * one.share > 100 and (",
            ),
        ),
        history=52,
    ),
    Defect(
        "a 500 is swallowed",
        "a subscription that Stigg did not make counts as made",
        (
            Edit(
                "functions/subscription_provision/app.py",
                "    except StiggRefused as refusal:\n        if refusal.status != 409:\n",
                "    except WriteUnanswered:\n"
                '        answer = {"status": "SUCCESS", "id": body["id"], "subscription": {"status": "ACTIVE"}}\n'
                "    except StiggRefused as refusal:\n        if refusal.status != 409:\n",
            ),
        ),
        test="tests/integration/test_guarantees.py"
        "::test_g7_throttling_outages_and_locked_rows_of_either_side_are_waited_out_by_name",
    ),
    Defect(
        "differences applied to Stigg's state",
        "once: what Stigg holds counts, not what was sold",
        (
            Edit(
                f"{PACKAGE}/domain/comparison.py",
                "    return Update(wanted, standing.id, aspects, standing.metadata, withdrawn)\n",
                "    from dataclasses import replace\n"
                "    was, there = dict(applied.addons if applied else ()), dict(standing.addons)\n"
                "    addons = tuple((id, count - was.get(id, 0) + there.get(id, 0)) for id, count in wanted.addons)\n"
                "    wanted = replace(wanted, addons=addons)\n"
                "    return Update(wanted, standing.id, aspects, standing.metadata, withdrawn)\n",
            ),
        ),
        test="tests/unit/test_drift.py::test_what_was_changed_in_stigg_by_hand_has_a_name_and_is_left_to_people",
    ),
    Defect(
        "a failure is not written back",
        "visible: a deal that cannot be provisioned stays Provisioning (G5)",
        (
            Edit(
                "functions/account_write_back/app.py",
                "stack.ledger.record_result(work, Failed(reason_of(failure, step.execution)))\n",
                'customer, ""\n',
            ),
        ),
        test="tests/integration/test_guarantees.py"
        "::test_g6_a_key_that_stigg_does_not_take_shows_on_the_deal_and_heals_once_it_is_corrected",
    ),
    Defect(
        "a permanent error is retried",
        "a deal that only people can mend is tried again and again",
        (
            Edit(
                "statemachines/provision.asl.yaml",
                "[GovernorBusy, StiggThrottled, SalesforceThrottled]",
                "[GovernorBusy, StiggThrottled, SalesforceThrottled, StiggUnauthorized]",
                times=5,
            ),
        ),
        test="tests/unit/test_tools.py::test_the_repositorys_state_machines_pass",
    ),
    Defect(
        "credits are not looked for",
        "once: a grant whose answer was lost is given again",
        (
            Edit(
                "functions/subscription_provision/app.py",
                "        found = sent.get(grant.key)\n",
                "        found = None\n",
            ),
            Edit(
                "functions/subscription_provision/app.py",
                "stigg.grant_credits(body, grant.key)",
                "stigg.grant_credits(body, f'{grant.key}-{work.lease.token}')",
            ),
        ),
        test="tests/integration/test_life.py::test_credits_are_granted_once_whatever_happens",
    ),
    Defect(
        "nothing sweeps",
        "durable: what was accepted and could not be started is never provisioned (G4)",
        (
            Edit(
                "functions/sweep/app.py",
                "    for claim in claims:\n",
                "    for claim in claims[:0]:\n",
            ),
        ),
        history=8,
    ),
    Defect(
        "a partial success counts as a whole one",
        "visible: what Salesforce did not take counts as shown (G5)",
        (
            Edit(
                "functions/account_write_back/app.py",
                "            if error_of(record) is None:\n",
                "            if record is not None:\n",
            ),
            Edit(
                "functions/account_write_back/app.py",
                "for answer in (records or [result]) if (fault :=",
                "for answer in () if (fault :=",
            ),
        ),
        test="tests/integration/test_guarantees.py"
        "::test_g6_a_record_salesforce_refuses_keeps_no_other_from_being_written",
    ),
    Defect(
        "an unanswered write is not waited for",
        "in order: a write that lands late undoes a newer one",
        (
            Edit(
                f"{PACKAGE}/domain/results.py",
                "    if report.unanswered_for:\n",
                "    if report.unanswered_for < 0:\n",
            ),
            Edit(
                f"{PACKAGE}/domain/lease.py",
                "            return customer, Unanswered(lease.until)\n",
                "            pass\n",
            ),
        ),
        test="tests/unit/test_ledger_model.py",
    ),
    Defect(
        "an un-won amendment keeps its quantity",
        "undo: what is won no more goes on giving what it gave",
        (
            Edit(
                f"{PACKAGE}/domain/contract/facts.py",
                "        return Contribution(trial, unwon=True)\n",
                "        return Contribution(sold if sold.differences else trial, unwon=True)\n",
            ),
        ),
        test=SECOND_OPINION,
    ),
    Defect(
        "a moved cancellation keeps its first day",
        "the newest facts count: what was provisioned first does",
        (
            Edit(
                f"{PACKAGE}/domain/contract/facts.py",
                '        case "churn":\n            return',
                '        case "churn":\n'
                "            if history.settled is not None and history.settled.order is not None:\n"
                "                return history.settled\n"
                "            return",
            ),
        ),
        test=SECOND_OPINION,
    ),
    Defect(
        "a price sums that nobody agreed to",
        "money: units are taken at a price that the contract does not have, and what is left is a sum of nobody's",
        (
            Edit(
                f"{PACKAGE}/domain/contract/money.py",
                "        wrong.append(line)\n        taken",
                "        taken",
            ),
            Edit(
                f"{PACKAGE}/domain/contract/money.py",
                "    if after.units >= 0 and after.below:\n",
                "    if after.units < 0 and after.below:\n",
            ),
        ),
        test=SECOND_OPINION,
    ),
    Defect(
        "a part without its plan",
        "a plan takes its parts with it: what was sold with a cancelled plan moves to another product's",
        (
            Edit(
                f"{PACKAGE}/domain/contract/timeline.py",
                "                    found[contract, slot] = merged([*spans, *later])\n",
                "                    found[contract, slot] = merged([*spans, *later, (spans[0][0], NO_DAY)])\n",
            ),
        ),
        test=SECOND_OPINION,
    ),
    Defect(
        "a renewal takes all",
        "a split renewal ends the contract beside the one that it names",
        (
            Edit(
                f"{PACKAGE}/domain/contract/renewals.py",
                "found |= {line: None for contract in contracts for line in contract.lines}",
                "found |= {line: None for one in contracts for contract in self._all.contracts\n"
                "                              if contract.root is one.root for line in contract.lines}",
            ),
        ),
        test=SECOND_OPINION,
    ),
    Defect(
        "an amendment stays in its contract's resource",
        "an amendment that names another resource adds to the one that its contract has",
        (
            Edit(
                f"{PACKAGE}/domain/contract/contracts.py",
                "resource_id = deal.order.resource_id or contract.resource_id",
                "resource_id = contract.resource_id or deal.order.resource_id",
            ),
        ),
        test=SECOND_OPINION,
    ),
)


def copy_of(defect: Defect, folder: Path) -> None:
    """The tree that git knows, with the defect. Raises ValueError where a text to edit is not there as it should be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for file, old, new, times in defect.edits:
        source = (folder / file).read_text(encoding="utf-8")
        if source.count(old) != times:
            raise ValueError(f"{defect.name}: {old!r} is {source.count(old)} times in {file}")
        (folder / file).write_text(source.replace(old, new), encoding="utf-8")


def attempt(defect: Defect, deals: int = 100) -> Caught:
    """Try the copy with the defect."""
    with tempfile.TemporaryDirectory(prefix="closed-won-defect-") as folder:
        copy_of(defect, Path(folder))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", defect.test]
        if not defect.test:
            command = [sys.executable, "-m", "proof", "campaign", "--seed", str(defect.seed), "--deals", str(deals)]
            command += ["--stop-at-first", *([] if defect.history is None else ["--history", str(defect.history)])]
        paths = [folder, f"{folder}/{PACKAGE.rpartition('/')[0]}", f"{folder}/tests"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        began = time.monotonic()
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as trial:
            try:
                output = trial.communicate(timeout=PATIENCE)[0]
            except subprocess.TimeoutExpired:
                trial.kill()
                output = trial.communicate()[0]
        return Caught(seen_in(output, bool(defect.test)), time.monotonic() - began, output)


def seen_in(output: str, tests: bool) -> str:
    """What noticed: a failed test, or the first violation. A harness that broke has noticed nothing."""
    if tests:
        found = re.search(r"^FAILED (?:.*/)?(\S+?\.py::\S+)", output, re.MULTILINE)
    else:
        found = re.search(r"^\s*violation: ([^:]+):", output, re.MULTILINE)
    return found[1] if found else ""


def run(seed: int, long: bool) -> list[Line]:
    """Out: how many were caught. They have seeds of their own, by which they are met."""
    return caught_of(DEFECTS)


def short(seed: int) -> list[Line]:
    """Those that a test without the sandbox catches."""
    return caught_of([defect for defect in DEFECTS if defect.test.startswith("tests/unit")])


def caught_of(defects: Sequence[Defect]) -> list[Line]:
    """Out: how many were caught of those."""
    missed = []
    print(f"  {'defect':<42} {'caught by':<62} after")
    with ThreadPoolExecutor(AT_ONCE) as workers:
        for defect, caught in zip(defects, workers.map(attempt, defects), strict=True):
            by = caught.by if defect.test else caught.by and f"the campaign: {caught.by}"
            print(
                f"  {defect.name:<42} {by[-62:] or 'NOTHING':<62} {caught.seconds:3.0f} s   {defect.breaks}", flush=True
            )
            if not by:
                missed.append(defect.name)
                print("\n".join(f"    {line}" for line in caught.output.splitlines()[-12:]))
    measured = f"{len(defects) - len(missed)} of {len(defects)}" + (f" (not: {', '.join(missed)})" if missed else "")
    return [Line("deliberate defects that were caught", measured, f"{len(defects)} of {len(defects)}", not missed)]


def main(names: list[str]) -> int:
    for defect in (one for one in DEFECTS if one.name in names):
        caught = attempt(defect)
        print(caught.output)
        print(f"{defect.name}: {caught.by or 'NOTHING'} after {caught.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
