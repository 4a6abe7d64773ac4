"""The parts of a deployed stack, put together in one place: its functions and the operators' command take them here.

A part is made when it is first asked for, and only then imported: a function pays for what it uses. A part that is
assigned is used as it is, which is how a test hands in its own:

    stack = Stack({"SALESFORCE_URL": "https://northwind.my.salesforce.com"})
    stack.ledger = Ledger("ledger", a_table)
    lambda_handler(event, context, stack)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from closedwon.aws import clients
from closedwon.settings import Settings

if TYPE_CHECKING:  # each is imported where it is made: a function pays only for what it uses
    from closedwon.aws.event_register import EventRegister
    from closedwon.aws.executions import Start
    from closedwon.aws.ledger import Ledger
    from closedwon.aws.notices import Notifier
    from closedwon.aws.secrets import Secret
    from closedwon.domain.catalogue import Catalogue
    from closedwon.intake.requests import Intake
    from closedwon.own_application.client import OwnApplication
    from closedwon.preview.preview import Previewer
    from closedwon.provisioning.hearing import Hearing
    from closedwon.provisioning.step import Leases
    from closedwon.provisioning.work import Provisioner
    from closedwon.reconciliation.comparing import Comparer
    from closedwon.reconciliation.run_register import Register
    from closedwon.reconciliation.runs import Storage
    from closedwon.reconciliation.views import Live
    from closedwon.salesforce.bulk import BulkQueries
    from closedwon.salesforce.client import SalesforceClient
    from closedwon.salesforce.package import InstalledPackage, Package
    from closedwon.stigg.client import Stigg
    from closedwon.stigg.queue import EventQueue
    from closedwon.stigg.rate_limit import Governor

QUICK = (3.05, 6.0)
"""Seconds to connect, and for each read, while somebody waits: API Gateway gives all of an answer 29 seconds."""


def now() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Stack:
    """One stack's parts. A missing setting is a SettingMissing of the part that needs it.

    In: the variables that template.yaml gives its functions; what makes clients of AWS, as `clients.client` does.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, client: Callable[..., Any] = clients.client
    ) -> None:
        self.settings = Settings(environment)
        self.client = client
        self.now: Callable[[], int] = now  # not called as `now` directly, so that a test can set the clock

    # AWS

    @cached_property
    def dynamodb(self) -> Any:
        """The one client of DynamoDB: a second one would take as long again to make, and connect and shake hands
        anew.
        """
        return self.client("dynamodb")

    @cached_property
    def stepfunctions(self) -> Any:
        return self.client("stepfunctions")

    @cached_property
    def secretsmanager(self) -> Any:
        """The client that reads secrets. Its patience is short, because the authorizer's whole time is 10 s."""
        retries = {"total_max_attempts": 2, "mode": "standard"}
        return self.client("secretsmanager", connect_timeout=1, read_timeout=2, retries=retries)

    def secret(self, name: str) -> Secret:
        """The secret whose ARN is in the setting of this name. Secrets Manager is asked once its value is."""
        from closedwon.aws.secrets import Secret

        return Secret(self.settings[name], lambda: self.secretsmanager)

    @cached_property
    def callout_key(self) -> Secret:
        """What the callers of the API send as `x-api-key`."""
        return self.secret("CALLOUT_KEY_SECRET_ARN")

    @cached_property
    def stigg_events_secret(self) -> Secret:
        """What Stigg sends with every event."""
        return self.secret("STIGG_EVENTS_SECRET_ARN")

    @cached_property
    def event_register(self) -> EventRegister:
        """What is kept of Stigg's events."""
        from closedwon.aws.event_register import EventRegister

        return EventRegister(self.settings["LEDGER_TABLE"], self.dynamodb, self.now)

    @cached_property
    def ledger(self) -> Ledger:
        from closedwon.aws.ledger import Ledger

        return Ledger(self.settings["LEDGER_TABLE"], self.dynamodb, self.now)

    @cached_property
    def start(self) -> Start:
        """Starts provisionings."""
        from closedwon.aws.executions import Start

        return Start(self.settings["PROVISION_STATE_MACHINE_ARN"], lambda: self.stepfunctions)

    @cached_property
    def notifier(self) -> Notifier:
        """Tells engineering of failures; short of patience, for a deal's outcome waits for it."""
        from closedwon.aws.notices import Notices, Notifier

        # A client only once there is something to tell: almost always nothing is.
        retries = {"mode": "standard", "total_max_attempts": 2}
        return Notifier(
            Notices(self.settings["LEDGER_TABLE"], self.dynamodb, lambda: self.now() // 1000),
            lambda: self.client("sns", connect_timeout=2, read_timeout=5, retries=retries),
            topic=self.settings.get("NOTIFICATION_TOPIC"),
            stack=self.settings["STACK_NAME"],
            time_zone=self.settings["TIME_ZONE"],
        )

    # Stigg, Salesforce, the user's own application

    @cached_property
    def governor(self) -> Governor:
        from closedwon.stigg.rate_limit import ENTITY, Governor, rates_of

        rates = rates_of(
            percent=int(self.settings["STIGG_SHARE_PERCENT"]),
            writes=int(self.settings["STIGG_WRITES_PER_MINUTE"]),
            lists=int(self.settings["STIGG_LISTS_PER_MINUTE"]),
            reads=int(self.settings["STIGG_READS_PER_MINUTE"]),
        )
        return Governor(self.settings["LEDGER_TABLE"], self.dynamodb, rates, ENTITY, self.now)

    @cached_property
    def stigg(self) -> Stigg:
        """The client that provisions: patient, and at the governor's pace."""
        from closedwon.stigg.client import Stigg

        return Stigg(self.settings["STIGG_API_URL"], self.secret("STIGG_SECRET_ARN"), governor=self.governor)

    @cached_property
    def quick_stigg(self) -> Stigg:
        """The client for looks that somebody waits for."""
        from closedwon.stigg.client import Stigg

        # No governor: a client's paces its writes, and this one makes none.
        return Stigg(self.settings["STIGG_API_URL"], self.secret("STIGG_SECRET_ARN"), timeouts=QUICK)

    @cached_property
    def event_queue(self) -> EventQueue:
        """Stigg's durable queue of events, in Stigg's account."""
        from closedwon.stigg.client import Stigg
        from closedwon.stigg.queue import EventQueue

        edge = Stigg(self.settings["STIGG_EDGE_URL"], self.secret("STIGG_SECRET_ARN"), timeouts=QUICK, root="/v1/")
        url = self.settings["STIGG_EVENT_QUEUE_URL"]
        return EventQueue(edge, url, lambda: self.now() / 1000, self.client)

    @cached_property
    def salesforce(self) -> SalesforceClient:
        """The client that has patience: for writing back, and for searches."""
        from closedwon.salesforce.client import SalesforceClient

        url, version = self.settings["SALESFORCE_URL"], self.settings["SALESFORCE_API_VERSION"]
        return SalesforceClient(url, self.secret("SALESFORCE_SECRET_ARN"), version)

    @cached_property
    def quick_salesforce(self) -> SalesforceClient:
        """The client for reads that somebody waits for. Importing it takes half a second: most callouts need none."""
        from closedwon.salesforce.client import SalesforceClient

        url, version = self.settings["SALESFORCE_URL"], self.settings["SALESFORCE_API_VERSION"]
        return SalesforceClient(url, self.secret("SALESFORCE_SECRET_ARN"), version, timeouts=QUICK)

    @cached_property
    def package(self) -> InstalledPackage:
        """The closed-won package in the Salesforce organisation. One for a process, since it remembers what it has."""
        from closedwon.salesforce.package import InstalledPackage

        return InstalledPackage(self.ledger, lambda: self.now())

    @cached_property
    def bulk_queries(self) -> BulkQueries:
        """Salesforce's bulk queries. One for a process, since it remembers the objects' fields."""
        from closedwon.salesforce.bulk import BulkQueries

        return BulkQueries(self.quick_salesforce)

    @cached_property
    def own_application(self) -> OwnApplication | None:
        """The user's own application; None where there is none."""
        from closedwon.own_application.client import OwnApplication

        url = self.settings.own_application_url
        # Without an application the stack has no such secret: its setting is empty.
        return None if url is None else OwnApplication(url, self.secret("OWN_APPLICATION_SECRET_ARN"))

    # Workers

    @cached_property
    def intake(self) -> Intake:
        """Turns requests into orders."""
        from closedwon.intake.requests import Intake

        # Salesforce only once it is needed: most deals bring their lines.
        return Intake(self.settings.mapping_rules, lambda: self.quick_salesforce, self.now)

    @cached_property
    def leases(self) -> Leases:
        """What a step takes a customer's work by."""
        from closedwon.provisioning.step import Leases

        return Leases(self.ledger, 1000 * int(self.settings["WRITE_LIFETIME_SECONDS"]))

    @cached_property
    def provisioner(self) -> Provisioner:
        from closedwon.provisioning.work import Provisioner

        settings = self.settings
        return Provisioner(self.ledger, self.stigg, settings.policy, settings.backlinks, self.now)

    @cached_property
    def hearing(self) -> Hearing:
        """Hears Stigg's events."""
        from closedwon.provisioning.hearing import Hearing

        return Hearing(self.ledger, self.event_register, self.governor, lambda: self.start)

    @cached_property
    def previewer(self) -> Previewer:
        from closedwon.preview.preview import Previewer

        settings = self.settings
        return Previewer(
            self.intake,
            self.ledger,
            self.quick_stigg,
            settings.policy,
            settings.backlinks,
            settings["TIME_ZONE"],
            self.now,
        )

    # Reconciliation

    @cached_property
    def storage(self) -> Storage:
        """The bucket of runs."""
        from closedwon.reconciliation.runs import AT_ONCE, Storage

        retries = {"mode": "standard", "total_max_attempts": 6}
        s3 = self.client("s3", retries=retries, max_pool_connections=2 * AT_ONCE)
        return Storage(s3, self.settings["RECONCILIATION_BUCKET"])

    @cached_property
    def register(self) -> Register:
        """The register of runs."""
        from closedwon.reconciliation.run_register import Register

        return Register(self.dynamodb, self.settings["LEDGER_TABLE"])

    @cached_property
    def live(self) -> Live:
        """Reads customers as they are now, at the governor's pace."""
        from closedwon.reconciliation.views import Live

        return Live(
            self.quick_salesforce,
            self.stigg,
            self.ledger,
            self.intake,
            self.settings.trial_stages,
            self.governor.wait,
            self.package,
        )

    def comparer(self, deals_since: str, known: Catalogue | None = None, package: Package | None = None) -> Comparer:
        """Compares customers by one catalogue and the stack's policies.

        In: the day from which won deals count; the catalogue, which is kept nowhere then; what the organisation's
        package has; where there is none, it is read.
        """
        from closedwon.reconciliation.comparing import Comparer, remedies_of
        from closedwon.reconciliation.drift import Watch
        from closedwon.stigg.catalogue import SharedCatalogue, kept_catalogue, read_catalogue

        def read() -> Catalogue:
            at = self.now()
            # The snapshot first: a comparison is no reason to ask Stigg for its catalogue again.
            return known or kept_catalogue(self.ledger, at) or read_catalogue(self.ledger, self.stigg, at)

        catalogue = SharedCatalogue(read, self.stigg, self.ledger if known is None else None)
        settings = self.settings
        return Comparer(
            catalogue,
            settings.policy,
            settings.backlinks,
            Watch(
                deals_since,
                int(settings["HELD_TOO_LONG_DAYS"]),
                app_url=settings["STIGG_APP_URL"],
                package=package or self.package.current(self.quick_salesforce),
            ),
            remedies_of(settings["REPAIRED_DRIFT"]),
            by_hand=settings["CHANGED_BY_HAND_POLICY"],  # type: ignore[arg-type]  # the template allows no other
            reductions=settings["REDUCTIONS_POLICY"],  # type: ignore[arg-type]
            now=self.now,
        )


STACK = Stack()  # one for the process: clients, connections and secrets outlast an invocation
"""The stack that this process is a function of."""
