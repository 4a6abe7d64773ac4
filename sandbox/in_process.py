"""closed-won in one process, with the stand-ins of Stigg and Salesforce.

For scenes that test neither AWS nor DynamoDB. It looks like `sandbox.sandbox.Sandbox` where such scenes look, and takes
a hundredth of the time.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from closedwon.salesforce.client import SalesforceClient
from sandbox.clock import Clock
from sandbox.flow import deal_of
from sandbox.machine import SALESFORCE_URL, STIGG_URL, Machine, Secret
from sandbox.sales import Sales
from sandbox.salesforce.app import Salesforce
from sandbox.sandbox import API_VERSION, STIGG_INTEGRATION, packaged_configuration
from sandbox.settings import settings_of
from sandbox.stand_in import StandIn
from sandbox.stigg.app import Stigg
from sandbox.wsgi_session import session_to

CLIENT = {"clientId": "closed-won", "clientSecret": secrets.token_hex(16)}


class InProcess(Machine):
    """One stack in this process, by the machine's clock, which is moved ahead where something waits.

    parameters: those of the template that differ from their defaults.
    """

    def __init__(self, parameters: Mapping[str, str] = {}) -> None:
        clock = Clock()
        self.stigg_api_key = f"server-{secrets.token_hex(16)}"
        self.stigg = Stigg(self.stigg_api_key, rate_limits=False, now=clock.moment)
        self.salesforce = Salesforce(CLIENT["clientId"], CLIENT["clientSecret"], now=clock.moment)
        self.salesforce.load(packaged_configuration())
        self.stigg.salesforce_url = SALESFORCE_URL
        self.sales = Sales(self.salesforce)
        self.stigg_server, self.salesforce_server = StandIn(self.stigg).start(), StandIn(self.salesforce).start()
        settings = {
            **settings_of(parameters),
            "STACK_NAME": "in-process",
            "STIGG_APP_URL": f"{STIGG_URL}/{self.stigg.environment}",
            "STIGG_SALESFORCE_INTEGRATION_ID": STIGG_INTEGRATION,
            "SALESFORCE_ORGANIZATION_ID": self.salesforce.organization_id,
            "SALESFORCE_API_VERSION": API_VERSION,
            "WRITE_LIFETIME_SECONDS": "1",
        }
        super().__init__(
            settings,
            session_to(self.stigg_server),
            self.stigg_api_key,
            self._salesforce_client(),
            self._salesforce_client(),
            clock,
        )

    def _salesforce_client(self) -> SalesforceClient:
        session = session_to(self.salesforce_server)
        return SalesforceClient(SALESFORCE_URL, Secret(CLIENT), API_VERSION, session=session)

    def close(self) -> None:
        """End the stand-ins' servers, which serve the pages they link to."""
        for server in (self.stigg_server, self.salesforce_server):
            server.stop()

    def deal(self, opportunity_id: str, **more: Any) -> dict[str, Any]:
        """The deal of an opportunity in the stand-in, as the flow compiles it."""
        return deal_of(self.salesforce, opportunity_id, **more)

    def provisioning(self, opportunity_id: str) -> dict[str, Any] | None:
        """The opportunity's Stigg Provisioning in Salesforce, None where there is none."""
        records = self.salesforce.find("Stigg_Provisioning__c", Opportunity_ID__c=opportunity_id)
        return records[0] if records else None

    # Time

    def due(self, account: str) -> bool:
        """Whether something is left for the sweep to do, now or later."""
        return self.ledger.customer(account).due_at is not None

    def time_passes(self, *accounts: str) -> None:
        """What waits for its time in the ledger has waited long enough: leases, backoffs, payments, starts."""
        for account in accounts:
            known = self.ledger.customer(account)
            assert known.due_at is not None, "nothing waits"
            lease = known.lease and known.lease._replace(until=1)
            looks = known.look_again_at and 1
            self.ledger.put(replace(known, due_at=1, look_again_at=looks, lease=lease))
