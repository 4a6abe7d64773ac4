"""What a problem of the mapping is in words, and what to do about it. Pure."""

from __future__ import annotations

from difflib import get_close_matches

from closedwon.domain.lines import KINDS
from closedwon.domain.order import Kind, Problem
from closedwon.intake.mapping import MappingRules
from closedwon.operations.on_sale import InStigg

ARTICLES = {
    "Plan": "a plan",
    "Add-on": "an add-on",
    "Entitlement": "a feature",
    "Credit entitlement": "a custom currency",
    "Credit grant": "a custom currency",
}


def said(problem: Problem) -> str:
    """A problem without its line, which is another on each deal."""
    label = _LABELS.get(problem.field)
    # A message that begins with a verb has the field as its subject, and says too little without it.
    return f"{label} {problem.message}" if label and problem.message.split(" ", 1)[0] in _VERBS else problem.message


_VERBS = frozenset({"is", "has", "was", "does", "with", "differs", "holds"})
_LABELS = {
    "stiggType": "Stigg Type",
    "stiggId": "Stigg ID",
    "quantity": "the quantity",
    "price": "the price",
    "unlimited": "Stigg Unlimited",
    "resetPeriod": "Stigg Reset Period",
}


_BY_FIELD = {
    "stiggType": f"Choose the Stigg Type on the product: {', '.join(KINDS)}.",
    "stiggId": "Correct Stigg ID or Stigg Type on the product.",
    "planId": "Sell the plans on deals of their own, or send planId with the line.",
    "lines": "Map the plan that is sold with these products; or read deals again once Stigg Mapping is right.",
    "quantity": "Sell whole units, as many as Stigg takes; or mark an entitlement Stigg Unlimited.",
    "price": "Untick Stigg Price Override on the product, or sell in a currency that Stigg has.",
    "unlimited": "Untick Stigg Unlimited on the product.",
    "resetPeriod": "Give all products of this Stigg ID the same Stigg Reset Period.",
}
"""What to do about a problem of a line, by its field."""


def remedy(type: str | None, stigg_id: str | None, problem: Problem, stigg: InStigg, rules: MappingRules) -> str:
    """What to do about a problem of what has this type and ID in Salesforce."""
    kind: Kind | None = next((kind for kind in KINDS if kind == type), None)
    if problem.field == "stiggId" and not stigg_id:
        return "Copy the ID from Stigg to the product; or empty its Stigg Type, if Stigg should not know it."
    if problem.field == "stiggId" and kind and stigg_id:
        return _of_id(kind, stigg_id, stigg, rules)
    return _BY_FIELD.get(problem.field, "Correct the product in Salesforce.")


def _of_id(kind: Kind, stigg_id: str, stigg: InStigg, rules: MappingRules) -> str:
    if stigg_id not in stigg.known[kind]:
        return _unknown(kind, stigg_id, stigg, rules)
    if kind == "Add-on":
        return "In Stigg, make the add-on compatible with the plan; or sell another with it."
    if kind == "Plan":
        return "One plan of a product on each deal; where they are variants, use add-ons or entitlements."
    return _BY_FIELD["stiggId"]


def _unknown(kind: Kind, stigg_id: str, stigg: InStigg, rules: MappingRules) -> str:
    """What to do about an ID that cannot be sold as what it is said to be."""
    # First what Stigg knows of the ID, last a guess by its spelling.
    status = stigg.statuses.get((kind, stigg_id))
    if status == "DRAFT":
        return "It is a draft in Stigg: publish it."
    if status in ("ARCHIVED", "SUSPENDED"):
        return f"It is {status.lower()} in Stigg: map the product to what is sold instead, or untick Active on it."
    for other, ids in stigg.known.items():
        if stigg_id in ids:
            return f"In Stigg it is {ARTICLES[other]}: choose the Stigg Type {other}."
    if not stigg_id.startswith(prefix := rules.prefix(kind)):
        parameter = {"Plan": "PlanPrefix", "Add-on": "AddonPrefix"}.get(kind, "FeaturePrefix")
        return f"Copy the ID from Stigg. Where all of yours begin otherwise: the stack's parameter {parameter}."
    # Above difflib's usual 0.6, because all IDs of a kind begin alike.
    near = get_close_matches(stigg_id, stigg.known[kind], 1, 0.75)
    if near and near[0] != prefix:
        return f"Copy the ID from Stigg; did you mean {near[0]}?"
    return "Copy the ID from Stigg exactly, or make it there."
