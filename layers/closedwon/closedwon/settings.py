"""The stack's settings, read from the environment that template.yaml gives its functions.

Nothing is read before it is asked for: a missing variable is an error of the call that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from closedwon.domain.errors import SettingMissing
from closedwon.domain.identifiers import AccountId, normalised_id

if TYPE_CHECKING:  # each is imported where it is made: no function needs them all
    from closedwon.domain.desired import Policy
    from closedwon.domain.marks import Backlinks
    from closedwon.intake.mapping import MappingRules


class Settings:
    """The settings of one stack. In: its environment's variables, by name."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __getitem__(self, name: str) -> str:
        """One variable. Raises SettingMissing, naming it, when it is missing or empty."""
        value = self._environment.get(name, "")
        if not value:  # a parameter that is left empty arrives as an empty text
            raise SettingMissing(f"the setting {name} is missing")
        return value

    def get(self, name: str) -> str:
        """One variable that may be left out: "" where it is."""
        return self._environment.get(name, "")

    @property
    def own_application_url(self) -> str | None:
        """The address of the user's own application; None where there is none."""
        return self.get("OWN_APPLICATION_URL") or None

    @property
    def stigg_contracts(self) -> bool:
        """Whether deals' contracts are kept in Stigg, which not every account there has."""
        return self.get("STIGG_CONTRACTS") == "on"

    @property
    def trial_stages(self) -> tuple[str, ...]:
        """The stages in which an open opportunity is a trial; none where the stack names none."""
        named = self.get("TRIAL_STAGES").split(",")
        return tuple(stage.strip() for stage in named if stage.strip())  # an empty text splits into one empty stage

    @property
    def organization_id(self) -> str:
        """The Salesforce organisation that the stack serves, in 18 characters."""
        # Salesforce's Setup shows 15 characters, and every deal names 18.
        return normalised_id(self["SALESFORCE_ORGANIZATION_ID"], "00D")

    @cached_property
    def mapping_rules(self) -> MappingRules:
        """The stack's rules of mapping: organisation, prefixes, time zone."""
        from closedwon.intake.mapping import MappingRules

        return MappingRules(
            organization_id=self.organization_id,
            plan_prefix=self["PLAN_PREFIX"],
            addon_prefix=self["ADDON_PREFIX"],
            feature_prefix=self["FEATURE_PREFIX"],
            time_zone=self["TIME_ZONE"],
        )

    @cached_property
    def policy(self) -> Policy:
        """The stack's policies: at the end of a term, for reopened deals, foreign subscriptions, large reductions."""
        from closedwon.domain.desired import Policy

        return Policy(
            end_of_term=self["END_OF_TERM_POLICY"],  # type: ignore[arg-type]  # the template allows no other
            grace_days=int(self["GRACE_DAYS"]),
            reopened_deal=self["REOPENED_DEAL_POLICY"],  # type: ignore[arg-type]
            foreign_subscription=self["FOREIGN_SUBSCRIPTION_POLICY"],  # type: ignore[arg-type]
            removal_guard_percent=int(self["REMOVAL_GUARD_PERCENT"]),
            time_zone=self["TIME_ZONE"],
        )

    def backlinks(self, account_id: str) -> Backlinks:
        """What Stigg needs to link one customer back to its account in Salesforce."""
        from closedwon.domain.marks import Backlinks

        return Backlinks(
            salesforce_url=self["SALESFORCE_URL"].rstrip("/"),
            account_id=AccountId(account_id),
            integration_id=self.get("STIGG_SALESFORCE_INTEGRATION_ID") or None,
        )
