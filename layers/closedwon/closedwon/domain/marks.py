"""The marks closed-won leaves in Stigg's metadata on what it makes: what cannot be read back, and the way to
Salesforce. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from closedwon.domain.identifiers import AccountId, OpportunityId
from closedwon.domain.links import salesforce_record_url

if TYPE_CHECKING:  # it is slow to import, and only its type is needed
    from closedwon.domain.desired import Subscription

GRANT_KEY = "closedWonGrant"
"""Metadata of a credit grant: the key that names it for ever."""

TERMS_KEY = "closedWonTerms"
"""Metadata of a subscription: the fingerprint of what was written and cannot be read back."""


@dataclass(frozen=True)
class Backlinks:
    """The way from Stigg back to Salesforce. salesforce_url: the organisation's My Domain, no slash at the end.
    integration_id: the Salesforce integration's own ID in Stigg, None where it is not set up.
    """

    salesforce_url: str
    account_id: AccountId
    integration_id: str | None = None

    def of_customer(self) -> dict[str, str]:
        """The metadata that leads from a customer to its account."""
        return {
            "salesforceAccountId": self.account_id,
            "salesforceAccountUrl": salesforce_record_url(self.salesforce_url, self.account_id),
        }

    def of_subscription(self, opportunities: tuple[OpportunityId, ...]) -> dict[str, str]:
        """The metadata that leads from a subscription to its opportunities; the link opens the first."""
        return {
            "salesforceAccountId": self.account_id,
            "salesforceOpportunityIds": ",".join(opportunities),  # Stigg's metadata holds texts only
            "salesforceOpportunityUrl": salesforce_record_url(self.salesforce_url, opportunities[0]),
        }


def metadata_of(wanted: Subscription, links: Backlinks) -> dict[str, str]:
    """The metadata closed-won keeps on a subscription: what cannot be read back, and the way to Salesforce."""
    return {
        **dict(wanted.metadata),  # first: what the user's own application says must not replace a mark
        **links.of_subscription(wanted.opportunities),
        TERMS_KEY: wanted.fingerprint,
    }
