"""What a deal is told: its status, and a reason in a sales rep's words."""

from __future__ import annotations

from closedwon.domain.acceptance import Arrival, accept
from closedwon.domain.changes import Plan
from closedwon.domain.codes import Reason
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.customer import Customer, Outcome
from closedwon.domain.desired import Policy
from closedwon.domain.order import Order, Revision
from closedwon.domain.outcome import applied
from closedwon.domain.planned import Planned
from closedwon.domain.world import world_of
from closedwon.intake.mapping import MappingRules
from closedwon.words.reasons import sentence
from unit.domain import ACCOUNT, AT, CATALOGUE, ORGANIZATION, a_deal, iso, order_of


def told(order: Order, policy: Policy) -> Outcome:
    """The outcome of a new deal, as far as what is agreed decides it."""
    customer, _ = accept(Customer(ACCOUNT), [Arrival(order, Revision(1, 1))], AT)
    agreement = Agreement(customer.histories, world_of(customer, CATALOGUE, policy, AT))
    report = applied(customer, Planned(agreement, Plan()), {}, {}, AT)
    return report.outcomes[order.opportunity_id]


def test_days_in_reasons_are_those_of_the_stacks_time_zone() -> None:
    order = order_of(a_deal(), MappingRules(ORGANIZATION, time_zone="Europe/Berlin"))
    assert iso(order.start) == "2026-11-30T23:00:00.000Z"
    berlin, utc = (told(order, Policy(time_zone=zone)).why for zone in ("Europe/Berlin", "UTC"))
    assert (berlin, utc) == (Reason.of("starts", day="2026-12-01"), Reason.of("starts", day="2026-11-30"))
    assert berlin is not None
    assert utc is not None
    assert (sentence(berlin), sentence(utc)) == ("Access starts on 2026-12-01.", "Access starts on 2026-11-30.")
