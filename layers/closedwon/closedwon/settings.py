"""The stack's settings, read from the environment that template.yaml gives its functions.

Frozen objects, made once. Nothing is read at import: a missing variable is an error of the call that needs it.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from closedwon.domain.errors import SettingMissing
from closedwon.domain.identifiers import normalised_id

if TYPE_CHECKING:  # each is imported where it is made: no function needs them all
    from closedwon.domain.desired import Policy
    from closedwon.domain.marks import Backlinks
    from closedwon.intake.mapping import MappingRules


def setting(name: str) -> str:
    """One variable. Raises SettingMissing, naming it, when it is missing or empty."""
    value = os.environ.get(name, "")
    if not value:
        raise SettingMissing(f"the setting {name} is missing")
    return value


def own_application_url() -> str | None:
    """The address of the user's own application; None where there is none."""
    return os.environ.get("OWN_APPLICATION_URL") or None


def trial_stages() -> tuple[str, ...]:
    """The stages in which an open opportunity is a trial; none where the stack names none."""
    named = os.environ.get("TRIAL_STAGES", "").split(",")
    return tuple(stage.strip() for stage in named if stage.strip())


@cache
def mapping_rules() -> MappingRules:
    """The stack's rules of mapping: organisation, prefixes, time zone."""
    from closedwon.intake.mapping import MappingRules

    return MappingRules(
        organization_id=normalised_id(setting("SALESFORCE_ORGANIZATION_ID"), "00D"),
        plan_prefix=setting("PLAN_PREFIX"),
        addon_prefix=setting("ADDON_PREFIX"),
        feature_prefix=setting("FEATURE_PREFIX"),
        time_zone=setting("TIME_ZONE"),
    )


@cache
def policy() -> Policy:
    """The stack's policies: at the end of a term, for reopened deals, foreign subscriptions and large reductions."""
    from closedwon.domain.desired import Policy

    return Policy(
        end_of_term=setting("END_OF_TERM_POLICY"),  # type: ignore[arg-type]  # the template allows no other
        grace_days=int(setting("GRACE_DAYS")),
        reopened_deal=setting("REOPENED_DEAL_POLICY"),  # type: ignore[arg-type]
        foreign_subscription=setting("FOREIGN_SUBSCRIPTION_POLICY"),  # type: ignore[arg-type]
        removal_guard_percent=int(setting("REMOVAL_GUARD_PERCENT")),
        time_zone=setting("TIME_ZONE"),
    )


def backlinks(account_id: str) -> Backlinks:
    """What Stigg needs to link one customer back to its account in Salesforce."""
    from closedwon.domain.marks import Backlinks

    return Backlinks(
        salesforce_url=setting("SALESFORCE_URL").rstrip("/"),
        account_id=account_id,
        integration_id=os.environ.get("STIGG_SALESFORCE_INTEGRATION_ID") or None,
    )
