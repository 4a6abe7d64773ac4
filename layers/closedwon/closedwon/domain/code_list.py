"""Every code a deal can carry: what it means, who settles it and how. Data, from which docs/codes.md is made.

To add one: add it here with the names of its facts (a new fact goes into `FACTS`), its words to `words.reasons`, and
run ``python -m tools.codes --write``. A code keeps its name and its meaning for ever: approvals, metrics and programs
are keyed by it. Two lists are kept elsewhere, because they are more than codes: failures are the classes of
`domain.errors`, drift is `reconciliation.finding.KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from closedwon.domain.codes import Code

FACTS: Mapping[str, str] = {
    "after": "what there would be then: a value, or amounts by ID",
    "also": "further reasons, each a code with facts, which are said before this one",
    "at": "an instant, ISO 8601 in UTC",
    "before": "what there is until then: a value, or amounts by ID",
    "credits": "grants: item, before (what was granted), after (what the deal says now)",
    "day": "a day in the stack's time zone, such as 2026-12-01",
    "days": "several such days",
    "deal": "the opportunity that is held",
    "does": "what the deal does with what it names: amends, renews or ends",
    "execution": "the name of the execution that failed",
    "foreign": "the ID of a subscription that closed-won did not make",
    "hours": "for how many hours already",
    "item": "the Stigg ID of a plan, add-on, feature or credit currency",
    "leaves": "how many this deal would leave",
    "most": "how many there can be at most",
    "other": "another opportunity",
    "others": "other opportunities",
    "percent": "the share that the stack's RemovalGuardPercent lets pass",
    "plan": "a Stigg plan's ID",
    "plans": "several of them",
    "price": "a price of one unit for one billing period, in whole currency units",
    "problem": "one of `problems`",
    "problems": "what is wrong: line (null: the whole deal), field, message",
    "quantity": "how many the deal says",
    "reference": "the ID by which the deal names another deal, contract or record",
    "refusals": "what Stigg refused: plan or credits, and what it said",
    "said": "what another system said, made safe to show",
    "share": "how much is taken away, in percent of what the subscription gives",
    "slot": "the place of the subscription: product and resource, and whether it is a trial",
    "subscription": "a subscription's ID in Stigg",
    "term": "the name of the term, such as payment collection",
    "there": "how many there are",
}
"""What each fact says."""

HELD = (
    Code(
        "no_base",
        "The deal changes or ends a contract that no deal of this account is known to be.",
        "sales",
        "Close the deal it names, or correct what it names: it is applied by itself then.",
        "does reference",
    ),
    Code(
        "reference_unknown",
        "The deal names a deal, contract or subscription record that nobody has ever heard of.",
        "sales",
        "Send what it names, correct the name, or say what is missing (a renewal: its start).",
        "does reference",
    ),
    Code(
        "reference_ambiguous",
        "What the deal names leads to several contracts, and it is not clear which one is meant.",
        "sales",
        "Name the contract, or the subscription record, on the line.",
        "item others reference",
    ),
    Code(
        "reference_circle",
        "Deals name each other in a circle, so that none of them can come first.",
        "sales",
        "Correct what one of them amends or renews.",
        "others",
    ),
    Code(
        "waits_for",
        "The deal builds on another one that contributes nothing yet: it is held, refused or not won.",
        "sales",
        "Settle the other deal: this one is applied by itself then.",
        "other reference",
    ),
    Code(
        "plan_ambiguous",
        "An add-on, feature or credits fit several plans, and the line does not say which one it belongs to.",
        "sales",
        "Send planId with the line.",
        "item plans problem problems",
    ),
    Code(
        "no_plan",
        "An add-on, feature or credits are left without the plan they belong to.",
        "sales",
        "Sell or keep the plan with them, or end them with it.",
        "item plan plans problem problems",
    ),
    Code(
        "not_compatible",
        "Stigg does not allow this add-on, feature or credits with the plan.",
        "engineering",
        "Make them compatible in Stigg, or sell something else.",
        "item plans problem problems",
    ),
    Code(
        "two_plans",
        "Two deals, or two lines, give one customer different plans of one product at one time.",
        "sales",
        "Close the deal as an amendment or renewal of the other, or give it a resource of its own.",
        "other plan plans problem problems",
    ),
    Code(
        "terms_conflict",
        "Deals that share a subscription disagree about a term of which it can have only one.",
        "sales",
        "Give both deals the same term, or this one a resource of its own.",
        "item other plan problem problems term",
    ),
    Code(
        "cannot_change",
        "The deal changes what Stigg cannot change on a subscription that runs.",
        "operator",
        "Change it in Stigg, and the deal back; or begin a subscription anew.",
        "after before day deal plan slot subscription term",
    ),
    Code(
        "currency_conflict",
        "The deal is in another currency than its contract.",
        "sales",
        "Quote it in the contract's currency.",
        "after before other",
    ),
    Code(
        "below_zero",
        "Together the deals of a contract take away more than there is.",
        "sales",
        "Correct the quantities: it is applied by itself once they fit.",
        "day item leaves quantity there",
    ),
    Code(
        "too_many",
        "Together there would be more of an add-on than one subscription holds.",
        "sales",
        "Sell fewer, or give the deal a resource of its own.",
        "item most other problem problems there",
    ),
    Code(
        "prior_mismatch",
        "A quote was made on another quantity, or price, than the contract has.",
        "sales",
        "Quote it anew, or correct the deals before it: it is applied by itself once they agree.",
        "after before day item other quantity there",
    ),
    Code(
        "price_conflict",
        "The price that a deal takes back is none that the contract charges.",
        "finance",
        "Correct the line's price, or give all units one price.",
        "day item other price",
    ),
    Code(
        "price_unknown",
        "Units with a price of their own and units at the catalogue's price would share one price, and nobody said it.",
        "finance",
        "Say the price on every line of it, or on none.",
        "day item other",
    ),
    Code(
        "price_not_exact",
        "No price of one unit charges exactly what the deals charge together.",
        "finance",
        "Give the units one price, or a quantity that divides the charge.",
        "day item price quantity",
    ),
    Code(
        "renewed_twice",
        "Two renewals, neither of which renews the other, renew the same lines for the same time.",
        "sales",
        "Withdraw one of them. Until then the term goes on.",
        "day item others",
    ),
    Code(
        "renews_unknown",
        "A renewal names something unknown while another contract gives the plan that it would renew.",
        "sales",
        "Correct what it renews: both together would count double.",
        "other plan reference",
    ),
    Code(
        "start_unknown",
        "A renewal says no start, and what it renews ends on different days or never.",
        "sales",
        "Give the renewal a start.",
        "others",
    ),
    Code(
        "end_unknown",
        "A cancellation says no day, and there is no term or billing period that could end.",
        "sales",
        "Give the cancellation a day.",
        "others reference",
    ),
    Code(
        "contract_over",
        "The deal amends a contract that is over by the day it starts.",
        "sales",
        "Amend what renewed the contract, or start earlier.",
        "day other others",
    ),
    Code(
        "renewed_meanwhile",
        "The deal cancels a contract that has been renewed, and would end nothing.",
        "sales",
        "Cancel the renewal.",
        "other",
    ),
    Code(
        "quantity_mismatch",
        "The deal ends another quantity than there is.",
        "sales",
        "End all of it; to end a part, close an amendment that takes it away.",
        "day item quantity there",
    ),
    Code(
        "nothing_to_end",
        "The deal ends something that its contract does not have.",
        "sales",
        "Correct the line, or the day.",
        "day item",
    ),
    Code(
        "others_hang_on_it",
        "Without this deal as it was, other deals would not fit: they were quoted on it.",
        "sales",
        "Cancel or correct the others first; or win this deal again.",
        "others",
    ),
    Code(
        "reopened",
        "A deal that was provisioned is not won any more, and nothing says that and when its access ends.",
        "sales",
        "Win it again, or cancel it with a cancellation that says when.",
        "after before deal others slot subscription",
    ),
    Code(
        "removal_guard",
        "The change takes away much of what a subscription gives, without a renewal, cancellation or agreed day.",
        "finance",
        "Approve it, or correct the deal.",
        "after before day deal item percent plan share slot subscription",
    ),
    Code(
        "trial_missed",
        "The trial was over before anything was provisioned.",
        "sales",
        "Send a later end of the trial, or win the deal.",
    ),
    Code(
        "trial_became_paid",
        "The trial became a paid subscription by itself, and the deal still says trial.",
        "sales",
        "Win the deal, or cancel it.",
        "subscription",
    ),
    Code(
        "term_missed",
        "The whole term of the deal was over before anything was provisioned.",
        "sales",
        "See whether its dates are right; if so, nothing is to be done.",
        "day",
    ),
    Code(
        "no_deal_left",
        "A subscription stands that no deal gives any more, though no cancellation ended it.",
        "finance",
        "Approve its end, or send the deal that gives it.",
        "deal plan slot subscription",
    ),
    Code(
        "foreign_subscription",
        "A subscription that closed-won did not make stands where the deal's should be.",
        "operator",
        "Approve replacing it, or end it in Stigg.",
        "deal foreign plan slot subscription",
    ),
    Code(
        "plan_gone",
        "The plan of the deal has left Stigg's catalogue.",
        "engineering",
        "Publish it again in Stigg, or amend the deal to another plan.",
        "plan",
    ),
    Code(
        "credits_differ",
        "Credits were granted, and the deal says another amount now.",
        "operator",
        "Correct the credits in Stigg, or the deal: what was granted is not corrected by itself.",
        "credits",
    ),
    Code(
        "changed_by_upgrade",
        "A newer version of closed-won reads the deals otherwise than the one that provisioned them.",
        "finance",
        "Approve what the deals say by the newer rules, or correct them.",
        "after before deal slot subscription",
    ),
)
"""Why a deal waits (status Held)."""

REFUSED = (
    Code(
        "invalid",
        "The deal, or the mapping of its lines, is wrong: nothing is provisioned for it.",
        "sales",
        "Correct the field that it names on the deal or the product, and send it again.",
        "problems",
    ),
    Code(
        "not_in_catalogue",
        "The deal sells something that Stigg's catalogue does not have, or not like this.",
        "engineering",
        "Correct the Stigg ID on the product, or add it in Stigg; then send the deal again.",
        "problems said",
    ),
    Code(
        "refused_by_stigg",
        "Stigg refused a subscription or a credit grant of the deal.",
        "engineering",
        "What Stigg said names the cause. closed-won tries again when something of the customer changes.",
        "refusals",
    ),
    Code(
        "application_problem",
        "The user's own application refused the deal, failed, or answered what cannot be used.",
        "engineering",
        "Mend the application or the deal.",
        "said",
    ),
)
"""Why a deal is refused (status Failed)."""

TOLD = (
    Code("starts", "Access begins on a day to come.", "nobody", "", "day days"),
    Code("takes_effect", "The deal changes access on a day to come.", "nobody", "", "day"),
    Code("access_ends", "The cancellation ends access on a day to come.", "nobody", "", "day"),
    Code("ends_with_billing_period", "Access ends with the billing period under way.", "nobody", "", "day"),
    Code("access_ended", "The cancellation ended access.", "nobody", "", "day"),
    Code("replaced", "Another deal took this one's place.", "nobody", "", "day other"),
    Code("cancelled", "Another deal cancelled this one.", "nobody", "", "day other"),
    Code("cancelled_before_start", "It was cancelled before anything was provisioned.", "nobody", ""),
    Code("nothing_to_do", "Nothing was provisioned for the deal, so that nothing is to be ended.", "nobody", ""),
    Code("trial_over", "The trial ended on its day.", "nobody", "", "day"),
    Code("term_over", "The term ended, and access with it.", "nobody", "", "day"),
    Code(
        "past_term",
        "The term ended without a renewal, and access goes on by the stack's policy.",
        "sales",
        "Renew or cancel it.",
        "day",
    ),
    Code(
        "payment_required",
        "The customer has not paid yet.",
        "sales",
        "Send the customer the checkout link that the deal shows.",
    ),
    Code("application_preparing", "The user's own application is still preparing.", "closed-won", "", "at hours"),
)
"""What else a deal says of itself, where nothing is wrong."""

CODES: Mapping[str, Code] = {code.name: code for code in (*HELD, *REFUSED, *TOLD)}
