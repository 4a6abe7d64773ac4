"""The deliberate defects: what is edited in the product, what is not so any more, and what is to notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

PACKAGE = "layers/closedwon/closedwon"

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
    """breaks: what is not so any more. test: what plays the scene, where that is not the campaign; seed: the
    campaign's; sells: the kind of which it plays the first customer alone, where one is enough.
    """

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    test: str = ""
    seed: int = 1
    sells: str = ""


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
        sells="fewer than somebody may take without asking",
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
                "stigg.grant_credits(body, record.idempotency_key(grant.key))",
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
        sells="a deal that begins in a while",
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
                "                found[contract, slot] = merged([*spans, *later])\n",
                "                found[contract, slot] = merged([*spans, *later, (spans[0][0], NO_DAY)])\n",
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
