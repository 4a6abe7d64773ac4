"""Reasons in words: the one module that says in a sales rep's words what a code means in a case. Pure.

Salesforce, the API, the command, the reports and the console show these sentences; only codes and facts are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from closedwon.domain.codes import NO_FACTS, Facts, Reason
from closedwon.domain.former_approvals import former_approval_of

if TYPE_CHECKING:
    from closedwon.domain.customer import Customer, OpportunityState, Outcome

BY_ITSELF = "It is applied by itself once"


def told(outcome: Outcome) -> str:
    """What a deal shows as its reason: the words it is recorded with; of an outcome just reached, those of its code."""
    return outcome.reason or (sentence(outcome.why) if outcome.why else "")


def recorded(known: Customer, changed: Customer) -> Customer:
    """A customer as it is to be stored: its new outcomes are put into words.

    In: as it was read, and as a rule changed it. What an earlier version stored without a code, and Salesforce shows,
    stays as it is where the new outcome says the same: an upgrade writes nothing back by itself. A deal gets its code
    when something becomes of it, or when its record is written again anyway.
    """
    states = {
        id: _recorded(known.opportunities.get(id), state)
        for id, state in changed.opportunities.items()
        if state.outcome.code and not state.outcome.reason
    }
    return replace(changed, opportunities={**changed.opportunities, **states}) if states else changed


def _recorded(before: OpportunityState | None, state: OpportunityState) -> OpportunityState:
    outcome = replace(state.outcome, reason=told(state.outcome))
    if before is not None and not before.outcome.code and _codeless(outcome, before.outcome) == before.outcome:
        if before.written is not None:
            return replace(state, outcome=before.outcome, at=before.at, written=before.written)
        return replace(state, outcome=outcome, at=before.at)
    return replace(state, outcome=outcome)


def _codeless(outcome: Outcome, before: Outcome) -> Outcome:
    """An outcome as the first version would have stored it: without code and facts, its approval by the former ID."""
    former = former_approval_of(outcome.why) if outcome.why and outcome.approval else None
    approval = former if former == before.approval else outcome.approval
    return replace(outcome, code="", facts=NO_FACTS, approval=approval)


def sentence(reason: Reason) -> str:
    """A reason as it stands alone: with a capital letter, below the reasons beside it."""
    said = in_words(reason)
    # Problems begin with their line, and what another system said stays as it was said.
    if "problems" not in reason.facts and "said" not in reason.facts:
        said = said[:1].upper() + said[1:]
    return "\n".join(filter(None, (*map(sentence, reason.also), said)))


def in_words(reason: Reason) -> str:
    """A reason as it stands within a sentence, without those beside it."""
    form = WORDS.get(reason.code)
    if form is None:
        return _failed(reason)
    return form.format_map(_Said(reason.facts)) if isinstance(form, str) else form(_Said(reason.facts))


class _Said(dict[str, Any]):
    """Facts as they are put into words; one that is missing is shown as such, because a reason has to be told."""

    def __init__(self, facts: Facts) -> None:
        super().__init__({name: _listed(fact) if isinstance(fact, tuple) else fact for name, fact in facts.items()})
        self.facts = facts
        if isinstance(others := facts.get("others"), tuple) and "more" in facts:
            self["others"] = _listed((*others, f"{facts['more']} more"))

    def __missing__(self, name: str) -> str:
        return "?"

    def within(self, name: str) -> list[Facts]:
        """The facts of each of several things, such as problems."""
        some = self.facts.get(name)
        return [one for one in some if isinstance(one, Facts)] if isinstance(some, tuple) else []

    def on_day(self) -> str:
        """`` on 2026-12-01``, empty where no day is said."""
        return f" on {self['day']}" if "day" in self else ""


def _listed(fact: Iterable[object]) -> str:
    *most, last = [str(one) for one in fact] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def problem_of(facts: Mapping[str, Any]) -> str:
    """One problem of a deal: where it is, and what is wrong."""
    where = f"line {facts['line']}, " if "line" in facts else ""
    return f"{where}{facts.get('field', '')}: {facts.get('message', '')}"


def _problems(said: _Said) -> str:
    return "\n".join(problem_of(one) for one in said.within("problems")) or said.get("said", "")


def _with_problem(form: str | Callable[[_Said], str]) -> Callable[[_Said], str]:
    """Words of what a catalogue's rule says of one deal alone (its problems), of a contract with this deal (the
    problem), or of deals together (form).
    """

    def say(said: _Said) -> str:
        if "problems" in said:
            return _problems(said)
        if isinstance(problem := said.facts.get("problem"), Facts):
            return f"with this deal, {problem_of(problem)}."
        return form.format_map(said) if isinstance(form, str) else form(said)

    return say


def _ended_in_stigg(said: _Said) -> str:
    plan = said.get("plan", "the subscription")
    cause = _CAUSES.get(said.get("cause", ""), said.get("cause"))
    why = f" ({cause})" if cause else ""
    ended = f"in Stigg {plan} was ended{said.on_day()}{why}, and no deal ends it"
    return f"{ended}. Approving this sells it again."


_CAUSES = {
    "Immediate": "somebody cancelled it there",
    "ScheduledCancellation": "somebody cancelled it there for that day",
    "UPGRADE_OR_DOWNGRADE": "another subscription took its place",
    "CANCELLED_BY_BILLING": "billing cancelled it",
    "DETACH_BILLING": "it was detached from billing",
    "EXPIRED": "it expired",
    "TRIAL_ENDED": "the trial ended",
    "TRIAL_CONVERTED": "the trial was converted",
    "CustomerArchived": "its customer was archived",
    "AutoCancellationRule": "a rule of Stigg's cancelled it",
}
"""Stigg's words for why a subscription ended (`cancelReason`)."""


def _checkout_expired(said: _Said) -> str:
    plan = f" for {said['plan']}" if "plan" in said else ""
    expired = f"the customer did not pay{plan} in time: the checkout expired{said.on_day()}"
    return f"{expired}. Approving this sells it again."


def _payment(what: str) -> Callable[[_Said], str]:
    """Words of a payment that is not made, while the customer has access."""

    def say(said: _Said) -> str:
        plan = f" for {said['plan']}" if "plan" in said else ""
        invoice = f"; the newest invoice is {said['invoice'].lower()}" if "invoice" in said else ""
        return f"{what}{plan}{invoice}. The customer has access all the same."

    return say


def _no_base(said: _Said) -> str:
    does = said.get("does", "amends")
    return (
        f"no deal of this account is known to be {said['reference']}, which this deal {does}. It is applied by itself "
        "as soon as that deal is."
    )


def _reference_unknown(said: _Said) -> str:
    does = said.get("does", "names")
    if does == "renews":
        return (
            f"no deal of this account is known to be {said['reference']}, which this deal renews, and it does not say "
            "when it starts. It is applied by itself as soon as that deal is known; or give it a start."
        )
    return (
        f"nothing of this account is known to be {said['reference']}, which this deal {does}. It is applied by itself "
        "as soon as that is known."
    )


def _reference_ambiguous(said: _Said) -> str:
    what = f"{said['reference']}, which this deal names," if "reference" in said else "what this deal names"
    item = f" for {said['item']}" if "item" in said else ""
    return f"{what} leads to several contracts or resources{item} ({said['others']}): name the one that is meant."


def _two_plans(said: _Said) -> str:
    remedy = "Close it as an amendment or renewal of that deal, or give it a resource of its own."
    if "other" in said:
        gives = f"opportunity {said['other']} gives this customer {said['plans']}, this deal {said['plan']}"
        return f"{gives} of the same product. {remedy}"
    return f"together with {said['others']} this deal gives this customer {said['plans']} of the same product. {remedy}"


def _terms_conflict(said: _Said) -> str:
    term = _term(said)
    if "other" not in said:
        what = f" for {said['item']}" if "item" in said else ""
        values = f" ({said['before']} and {said['after']})" if "before" in said and "after" in said else ""
        return f"{said['others']} and this deal have another {term}{what}{values}: one subscription has one {term}."
    where = f"opportunity {said['other']}"
    if "item" in said:
        return f"{where} has another price or period for {said['item']}: one subscription has one of each."
    return f"{where} has another {term} for {said['plan']}: one subscription has one {term}."


def _term(said: _Said) -> str:
    """The name of a term, where it is told as the field of an order too."""
    term = str(said["term"])
    return _TERMS.get(term, term.replace("_", " "))


_TERMS = {"paying_customer_id": "the paying customer", "trial_end_behavior": "what becomes of a trial at its end"}


def _currency_conflict(said: _Said) -> str:
    return f"this deal is in {str(said['after']).upper()}, the contract in {str(said['before']).upper()}."


def _currency_differs(said: _Said) -> str:
    return (
        f"this deal is in {str(said['after']).upper()}, and this customer is billed in {str(said['before']).upper()}: "
        "in Stigg a customer has one currency."
    )


def _too_many(said: _Said) -> str:
    together = f"opportunity {said['other']}" if "other" in said else said.get("others", "the contract")
    return (
        f"{together} and this deal together have {said['there']} of {said['item']}: one subscription holds at most "
        f"{said['most']}."
    )


def _cannot_change(said: _Said) -> str:
    before, after = (said.get(name, "none") for name in ("before", "after"))
    running = f"runs (subscription {said['subscription']})" if "subscription" in said else "runs"
    return (
        f"{_term(said)} cannot change from {before} to {after} while {said['plan']} {running}{said.on_day()}: change "
        "it in Stigg, and the deal back."
    )


def _below_zero(said: _Said) -> str:
    if "quantity" not in said:
        return (
            f"later amendments take away more of {said['item']} than this deal would leave "
            f"({said['leaves']}{said.on_day()})."
        )
    return (
        f"this deal takes away {said['quantity']} of {said['item']}, and the contract has {said['there']}"
        f"{said.on_day()}. {BY_ITSELF} it fits."
    )


def _prior_mismatch(said: _Said) -> str:
    quantity = said.get("quantity", said["before"])
    if "other" not in said:
        return (
            f"its quote says this customer had {quantity} of {said['item']}, the contract says "
            f"{said['there']}{said.on_day()}. {BY_ITSELF} they agree."
        )
    quoted = f"opportunity {said['other']} was quoted on {quantity} of {said['item']}"
    stays = "What was provisioned stays until they agree."
    if "there" not in said:
        return f"{quoted}, and this deal has none. {stays}"
    return f"{quoted}; with this change there would have been {said['there']}. {stays}"


def _price_conflict(said: _Said) -> str:
    if "price" in said:
        return (
            f"this deal takes {said['item']} back at {said['price']} a unit{said.on_day()}, which is no price that the "
            f"contract charges. {BY_ITSELF} it is."
        )
    return (
        f"together the deals of this contract take more money off {said['item']} than they charge for it. "
        f"{BY_ITSELF} that fits."
    )


def _contract_over(said: _Said) -> str:
    by = said.get("other") or said.get("others")
    renewed = f": {by} renewed or ended it" if by else ""
    return f"the contract that this deal amends is over{said.on_day()}{renewed}. Amend what runs then."


def _reopened(said: _Said) -> str:
    return (
        "this deal was provisioned and is not won any more. Its access stays as it is: win it again, or cancel it with "
        "a cancellation that says when (the parameter ReopenedDealPolicy can let a reopened deal end its access by "
        "itself)."
    )


def _removal_guard(said: _Said) -> str:
    item, amounts = said["item"], [said.facts.get(name) for name in ("before", "after")]
    was, would_be = (one.get(item, 0) if isinstance(one, Facts) else "?" for one in amounts)
    plan, what = said.get("plan", "the subscription"), "units of the plan" if item == "plan" else item
    gives = f"what {plan} gives this customer{said.on_day()} ({what} from {was} to {would_be})"
    if "there" in said:  # others take away some of what is given
        change = f"{what} from {said['there']} to {said['leaves']}, of {was} that were sold"
        gives = f"all that was sold to this customer with {plan}{said.on_day()} ({change})"
    return (
        f"it would take away {said['share']}% of {gives}; more than {said['percent']}% in one change needs "
        "somebody's approval."
    )


def _changed_by_upgrade(said: _Said) -> str:
    before, after = (_items(said.facts.get(name)) for name in ("before", "after"))
    return (
        "this version of closed-won reads the deals otherwise than the one that provisioned them: it would change "
        f"{before} to {after}. That needs somebody's approval."
    )


def _read_differently(said: _Said) -> str:
    before, after = (_items(said.facts.get(name)) for name in ("before", "after"))
    return (
        f"{said['plan']} stands with {before}, as an earlier version of closed-won sold it. As the deals are read now "
        f"it would be {after}. What the customer has and pays is not changed by itself: that needs somebody's approval."
    )


def _items(facts: object) -> str:
    """Amounts and terms by name, in words."""
    named = facts.items() if isinstance(facts, Facts) else ()
    return _listed([f"{name} {value}" for name, value in named] or ["nothing"])


def _credits_differ(said: _Said) -> str:
    return " ".join(
        f"{one.get('before')} of {one.get('item')} were granted, and the deal says {one.get('after')} now: what was "
        "granted is not corrected by itself."
        for one in said.within("credits")
    )


def _refused_by_stigg(said: _Said) -> str:
    def one_of(refusal: Facts) -> str:
        what = refusal["plan"] if "plan" in refusal else f"the credit grant of {refusal.get('item')}"
        note = _MENDS.get(str(refusal.get("error")))
        return f"Stigg refused {what}: {refusal.get('said')}" + (f"\n{note}" if note else "")

    return "\n".join(map(one_of, said.within("refusals")))


_MENDS = {
    "UnPublishedPackage": "Publish the plan or the add-on in Stigg, or sell what is published.",
    "IncompatibleSubscriptionAddon": "Make the add-on compatible with the plan in Stigg, or sell another.",
    "AddonDependencyMissingError": "Sell the add-on that this one depends on, too.",
    "PriceNotFound": "Add a price in the deal's currency and for its billing period in Stigg, or say one on the line.",
    "TrialMustBeCancelledImmediately": "End the trial in Stigg, or give it another end in the deal.",
}
"""What to do about what Stigg refuses, by its code. Source: the enum of Stigg's own GraphQL client; that the REST API
answers these too is likely, and not seen.
"""


def _application_preparing(said: _Said) -> str:
    asked = f"{said['at'][:16].replace('T', ' ')} UTC"
    text = f"Your application is still preparing the workspace; it is asked again at {asked}."
    return f"{text} It has been preparing for {said['hours']} hours." if "hours" in said else text


def _starts(said: _Said) -> str:
    return f"Access starts on {said['days'] if 'days' in said else said['day']}."


def _ends_with_billing_period(said: _Said) -> str:
    if "day" in said:
        return f"Access ends with the billing period that is under way, on {said['day']}."
    return "Access ends with the billing period that is under way."


def _replaced(said: _Said) -> str:
    # No day: it names none, nor does the one that it makes way for.
    since = f"Since {said['day']} opportunity" if "day" in said else "Opportunity"
    return f"{since} {said['other']} takes its place."


def _failed(reason: Reason) -> str:
    """The words of a failure: a class of `domain.errors`, or a code that only a newer version knows."""
    text = reason.facts.get("said")
    text = text if isinstance(text, str) else f"It says {reason.code}, which this version has no words for."
    if "execution" not in reason.facts:
        return text
    return f"{text}\nclosed-won tries again by itself. Execution {reason.facts['execution']} tells more."


WORDS: Mapping[str, str | Callable[[_Said], str]] = {
    # held
    "no_base": _no_base,
    "reference_unknown": _reference_unknown,
    "reference_ambiguous": _reference_ambiguous,
    "reference_circle": "these deals name each other in a circle: {others}. Correct what one of them amends or renews.",
    "waits_for": "it builds on opportunity {other}, which contributes nothing yet. It is applied by itself as soon as "
    "that deal is provisioned.",
    "plan_ambiguous": _with_problem("{item} fits {plans}: say which plan it belongs to."),
    "no_plan": _with_problem("{item} is left without a plan."),
    "not_compatible": _with_problem("{item} is not compatible with {plans}."),
    "addon_dependency_missing": _with_problem("{item} is not sold without {needs}: sell or keep it with it."),
    "not_charged_by_unit": _with_problem("{item} has a price, and {plan} does not charge it by the unit."),
    "units_not_priced": _with_problem("{plan} is not sold by the unit, and together the deals say {quantity} of it."),
    "units_said_twice": _with_problem("the units of {plan} are its {item}: say how many on one of the two lines."),
    "unlimited_units": _with_problem("{plan} charges {item} by the unit: it cannot be without a limit."),
    "not_whole_blocks": _with_problem(
        "{item} is charged in blocks of {block}, and the deals come to {quantity}: the customer would pay for whole "
        "ones."
    ),
    "too_few": _with_problem("{item} is sold from {least} on, and the deals come to {there}."),
    "included_credits_differ": _with_problem(
        "{plan} includes {there} {item} each period, and the deals say {quantity}: nothing is sent for what comes with "
        "a plan."
    ),
    "tiered_override": "the price of {item} was set in tiers in Stigg, and would be lost there if another price were "
    "changed. Change the price in Stigg, or take the tiers away.",
    "read_differently": _read_differently,
    "two_plans": _with_problem(_two_plans),
    "terms_conflict": _with_problem(_terms_conflict),
    "cannot_change": _cannot_change,
    "currency_conflict": _currency_conflict,
    "currency_differs": _currency_differs,
    "below_zero": _below_zero,
    "too_many": _with_problem(_too_many),
    "prior_mismatch": _prior_mismatch,
    "price_conflict": _price_conflict,
    "price_unknown": "units of {item} that have a price of their own and units at the catalogue's price would share "
    "one price, which no deal says. Say the price on every line of it, or on none.",
    "price_not_exact": "no price of one unit charges exactly what the deals charge together for {quantity} of {item}. "
    "Give the units one price.",
    "renewed_twice": "several renewals renew the same lines for the same time: {others}. Until one is left, the term "
    "goes on.",
    "renews_unknown": "{reference}, which this deal renews, is unknown, and opportunity {other} gives this customer "
    "{plan} already: both would count double. Correct what it renews.",
    "start_unknown": "this renewal does not say when it starts, and what it renews ends on different days or never: "
    "give it a start.",
    "end_unknown": "this cancellation does not say when, and what it cancels has no end that is known: give it a day.",
    "contract_over": _contract_over,
    "renewed_meanwhile": "what this deal cancels was renewed by opportunity {other} meanwhile, so it would end "
    "nothing. Cancel that deal.",
    "quantity_mismatch": "this deal ends {quantity} of {item}, and the contract has {there}: a cancellation ends all "
    "of it. To take away a part, close an amendment.",
    "nothing_to_end": lambda said: f"this deal ends {said['item']}, which the contract does not have{said.on_day()}.",
    "others_hang_on_it": "other deals were quoted on this one, and would not fit without it: {others}. Cancel or "
    "correct them first.",
    "reopened": _reopened,
    "removal_guard": _removal_guard,
    "trial_missed": "its trial was over before anything was provisioned, so there is nothing that could become a paid "
    "subscription: send a later end of the trial, or win the deal.",
    "trial_became_paid": "the trial became a paid subscription already ({subscription}): win the deal, or cancel it.",
    "trial_not_wanted": "Stigg started {subscription} as a trial, though this deal is a sale: end the trial in Stigg, "
    "or make a paid subscription of it.",
    "ended_in_stigg": _ended_in_stigg,
    "checkout_expired": _checkout_expired,
    "customer_archived": "this customer is archived in Stigg: nothing is sold to it, and nothing is changed on it, "
    "until somebody unarchives it.",
    "term_missed": "The term of this deal is over: access ended on {day}.",
    "no_deal_left": "no deal says {plan} any more, or it left Stigg's catalogue; a subscription does not end without a "
    "cancellation.",
    "foreign_subscription": "this customer already has {plan} of the same product (subscription {foreign}), which "
    "closed-won did not make. Ending it for this deal needs somebody's decision.",
    "plan_gone": "The plan of this deal is no longer in Stigg's catalogue.",
    "credits_differ": _credits_differ,
    "changed_by_upgrade": _changed_by_upgrade,
    # refused
    "invalid": _problems,
    "id_not_taken": _problems,
    "not_in_catalogue": _problems,
    "refused_by_stigg": _refused_by_stigg,
    "contracts_unavailable": "The customer has its access, but no contract in Stigg: the parameter StiggContracts is "
    "on, and Stigg lets closed-won have no contracts ({said}).",
    "contract_refused": "The customer has its access, but Stigg refused the contract {contract}: {said}",
    "application_problem": "{said}\nclosed-won asks again by itself; send the deal again to have it asked at once.",
    # told
    "starts": _starts,
    "takes_effect": "It takes effect on {day}.",
    "access_ends": "Access ends on {day}.",
    "ends_with_billing_period": _ends_with_billing_period,
    "access_ended": lambda said: f"Access ended{said.on_day()}.",
    "replaced": _replaced,
    "cancelled": lambda said: f"Access ended{said.on_day()}: opportunity {said['other']} cancelled it.",
    "cancelled_before_start": "It was cancelled for the end of a billing period before anything was provisioned.",
    "nothing_to_do": "Nothing was provisioned for this deal, so there is nothing to end.",
    "unwon": "This deal is not won any more, and gives nothing.",
    "stopped": lambda said: f"Access ended{said.on_day()} in Stigg, and no deal gives it back by itself.",
    "trial_over": "The trial ended on {day}.",
    "term_over": "The term of this deal is over: access ended on {day}.",
    "past_term": "Its term ended on {day} and no renewal came; access goes on, as the stack's policy says.",
    "payment_required": "The customer has not paid yet: send them the checkout link.",
    "payment_failed": _payment("Collecting the payment failed"),
    "payment_action_required": _payment("The payment waits for the customer to confirm it"),
    "application_preparing": _application_preparing,
}
"""The words of each code: a form in which facts are put, or a function where that is not enough."""
