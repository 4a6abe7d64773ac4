"""closed-won on one machine: the template in moto, with Stigg and Salesforce beside it."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import requests

from sandbox.application import WorkspaceApplication
from sandbox.aws import AwsSandbox
from sandbox.flow import deal_of
from sandbox.sales import Sales
from sandbox.salesforce.app import Salesforce
from sandbox.stand_in import StandIn
from sandbox.started import Started
from sandbox.stigg.app import Stigg
from sandbox.stigg.events import HEADER as EVENTS_HEADER
from sandbox.stigg.queue import DurableQueue
from sandbox.tls import make_tls

ROOT = Path(__file__).resolve().parent.parent
API_VERSION = "66.0"
STIGG_INTEGRATION = "salesforce-sandbox"
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/111122223333/stigg-events"
"""Stigg's durable queue, in an account of Stigg's."""


class Sandbox(Started):
    """AWS, Stigg and Salesforce, connected as a user would connect them: parameters at deployment, secrets after it.

    In: parameters of the template that differ from its defaults; wait_scale, what the state machine's waits are
    multiplied by; longest_invocation, seconds a function may run at most (its own time-out where None); rate_limits,
    whether Stigg keeps its, multiplied by rate_scale; own_application, whether the sample application makes workspaces
    first; events, whether Stigg tells by its webhook what changes, events_scale, what its times are multiplied by;
    queue, whether it has a durable queue, too; template, for tests of a part of it. Usable as a context manager; ready
    within seconds.
    """

    def __init__(
        self,
        parameters: Mapping[str, str] = {},
        *,
        wait_scale: float = 1.0,
        longest_invocation: float | None = None,
        rate_limits: bool = True,
        rate_scale: float = 1.0,
        concurrency: int = 4,
        own_application: bool = False,
        events: bool = False,
        events_scale: float = 1.0,
        queue: bool = False,
        template: Path = ROOT / "template.yaml",
    ) -> None:
        super().__init__()
        self._parameters = dict(parameters)
        self._wait_scale = wait_scale
        self._longest_invocation = longest_invocation
        self._concurrency = concurrency
        self._template = template
        self._events, self._queue = events, queue
        self.stigg_api_key = f"server-{secrets.token_hex(16)}"
        self.stigg_events_secret = secrets.token_hex(24)
        self.salesforce_client = {"clientId": "closed-won", "clientSecret": secrets.token_hex(16)}
        self.stigg = Stigg(self.stigg_api_key, rate_limits, rate_scale)
        self.stigg.events.scale = events_scale
        self.salesforce = Salesforce(self.salesforce_client["clientId"], self.salesforce_client["clientSecret"])
        self.salesforce.load(packaged_configuration())
        self.sales = Sales(self.salesforce)
        self.application = WorkspaceApplication() if own_application else None
        self.aws: AwsSandbox
        self.stigg_server: StandIn
        self.salesforce_server: StandIn
        self.application_server: StandIn
        self.ca_file: Path

    def _start(self) -> None:
        tls = make_tls(Path(self._exits.enter_context(tempfile.TemporaryDirectory(prefix="closed-won-"))))
        self.ca_file = tls.ca_file
        self.stigg_server = self._exits.enter_context(StandIn(self.stigg))
        # With TLS, because simple-salesforce speaks nothing else.
        self.salesforce_server = self._exits.enter_context(StandIn(self.salesforce, tls.context))
        self.stigg.salesforce_url = self.salesforce_server.url
        own: dict[str, str] = {}
        if self.application is not None:
            self.application_server = self._exits.enter_context(StandIn(self.application, tls.context))
            own["OwnApplicationUrl"] = f"{self.application_server.url}/workspaces"
        self.aws = AwsSandbox(
            self._template,
            {
                "SalesforceUrl": self.salesforce_server.url,
                "SalesforceOrganizationId": self.salesforce.organization_id,
                "SalesforceApiVersion": API_VERSION,
                "StiggApiUrl": self.stigg_server.url,
                "StiggAppUrl": f"{self.stigg_server.url}/{self.stigg.environment}",
                "StiggSalesforceIntegrationId": STIGG_INTEGRATION,
                "StiggEdgeUrl": self.stigg_server.url,
                "StiggEventQueueUrl": QUEUE_URL if self._queue else "",
                **own,
                # Last, so that a test can set these otherwise, too.
                **self._parameters,
            },
            # No certificate authority of the system has signed the stand-ins' certificates.
            environment={"REQUESTS_CA_BUNDLE": str(tls.ca_file)},
            concurrency=self._concurrency,
            wait_scale=self._wait_scale,
            longest_invocation=self._longest_invocation,
        )
        self._exits.enter_context(self.aws)
        # After the deployment, as a user does it: the template makes these without a value.
        self.aws.put_secret("StiggSecret", {"apiKey": self.stigg_api_key})
        self.aws.put_secret("StiggEventsSecret", self.stigg_events_secret)
        self.aws.put_secret("SalesforceSecret", self.salesforce_client)
        self.callout_key = self.aws.secret("CalloutKeySecret")
        self._exits.callback(self.stigg.events.stop)  # before what it tells is stopped
        if self._events:
            self.stigg.events.to(f"{self.aws.callout_url}/v1/stigg-events", self.stigg_events_secret)
        if self._queue:
            self._make_queue()
        if self.application is not None:
            self.application.signing_keys = [json.loads(self.aws.secret("OwnApplicationSecret"))["signingKey"]]

    def _make_queue(self) -> None:
        """A durable queue, which Stigg fills and gives credentials for."""
        sqs = self.aws.client("sqs")
        self._empty_queue()
        self.stigg.queue = DurableQueue(QUEUE_URL, lambda: datetime.now(UTC))
        self.aws.guard_queues(self.stigg.queue.admits)
        self.stigg.events.to_queue(lambda text: sqs.send_message(QueueUrl=QUEUE_URL, MessageBody=text))

    def _empty_queue(self) -> None:
        sqs, name = self.aws.client("sqs"), QUEUE_URL.rpartition("/")[2]
        # Made anew: a queue is purged once a minute at most.
        if sqs.list_queues(QueueNamePrefix=name).get("QueueUrls"):
            sqs.delete_queue(QueueUrl=QUEUE_URL)
        sqs.create_queue(QueueName=name)

    def reset(self) -> None:
        """Nothing sold, nothing provisioned, nothing reconciled, no faults: executions, the ledger, the bucket and both
        stand-ins are emptied.
        """
        self.aws.forget_executions()  # records get the same IDs again, and executions are named after them
        self.stigg_server.reset()
        self.salesforce_server.reset()
        if self.application is not None:
            self.application_server.reset()
        self.aws.empty_table("LedgerTable")
        self.aws.empty_bucket("ReconciliationBucket")
        if self._queue:
            self._empty_queue()

    # As Salesforce calls

    def call(self, *deals: Mapping[str, Any], key: str | None = None) -> requests.Response:
        """POST deals to the callout, as the flow does."""
        return self.post({"deals": list(deals)}, key)

    def post(self, body: Any, key: str | None = None, path: str = "/v1/provisionings") -> requests.Response:
        """POST anything to the callout."""
        headers = {"x-api-key": self.callout_key if key is None else key}
        return requests.post(f"{self.aws.callout_url}{path}", json=body, headers=headers, timeout=60)

    def tell(self, event: Any, secret: str | None = None) -> requests.Response:
        """POST an event, as Stigg does: anything, or a text as it is."""
        headers = {EVENTS_HEADER: self.stigg_events_secret if secret is None else secret}
        body = event if isinstance(event, str | bytes) else json.dumps(event)
        return requests.post(f"{self.aws.callout_url}/v1/stigg-events", data=body, headers=headers, timeout=60)

    def preview(self, *deals: Mapping[str, Any]) -> requests.Response:
        """POST deals to the preview, as the action in Salesforce does."""
        return self.post({"deals": list(deals)}, path="/v1/previews")

    def status(self, opportunity_id: str) -> requests.Response:
        """GET where a deal stands."""
        url = f"{self.aws.callout_url}/v1/provisionings/{opportunity_id}"
        return requests.get(url, headers={"x-api-key": self.callout_key}, timeout=60)

    def deal(self, opportunity_id: str, **more: Any) -> dict[str, Any]:
        """The deal of an opportunity in the stand-in, as the flow compiles it."""
        return deal_of(self.salesforce, opportunity_id, **more)

    # As an operator watches

    def execution_arn(self, name: str) -> str:
        return f"{self.aws.state_machine_arns['ProvisionStateMachine'].replace(':stateMachine:', ':execution:')}:{name}"

    def wait(self, names: Iterable[str], seconds: float = 300.0) -> list[dict[str, Any]]:
        """Wait for executions, by name; what DescribeExecution tells of each. Raises TimeoutError."""
        return [self.aws.wait_for_execution(self.execution_arn(name), seconds) for name in names]

    def wait_until_idle(self, seconds: float = 300.0) -> None:
        """Wait until no execution runs. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while self.aws.busy():
            if time.monotonic() > deadline:
                raise TimeoutError("executions still run")
            time.sleep(0.02)

    def provisioning(self, opportunity_id: str) -> dict[str, Any] | None:
        """The opportunity's Stigg Provisioning in Salesforce, None where there is none."""
        records = self.salesforce.find("Stigg_Provisioning__c", Opportunity_ID__c=opportunity_id)
        return records[0] if records else None

    def endpoints(self) -> dict[str, Any]:
        """Where everything is, for any ordinary client."""
        return {
            "callout_url": self.aws.callout_url,
            "callout_api_key": self.callout_key,
            "stigg_events_secret": self.stigg_events_secret,
            "stigg_url": self.stigg_server.url,
            "stigg_api_key": self.stigg_api_key,
            "salesforce_url": self.salesforce_server.url,
            "salesforce_token": self.salesforce.issue_token(),
            "salesforce_ca_file": str(self.ca_file),
            "aws_endpoint_url": self.aws.endpoint_url,
            "state_machine_arns": self.aws.state_machine_arns,
        }


def packaged_configuration() -> list[dict[str, Any]]:
    """The custom metadata records the Salesforce package deploys, as `Salesforce.load` takes them."""
    records = []
    for file in sorted((ROOT / "salesforce" / "force-app" / "main" / "default" / "customMetadata").glob("*.xml")):
        kind, name, _ = file.name.split(".", 2)
        root = ElementTree.parse(file).getroot()
        record: dict[str, Any] = {"DeveloperName": name, "MasterLabel": root.findtext("{*}label")}
        for value in root.iterfind("{*}values"):
            said = value.findtext("{*}value")
            # The metadata has booleans as text, a query answers with real ones.
            record[str(value.findtext("{*}field"))] = said == "true" if said in ("true", "false") else said
        records.append({"attributes": {"type": f"{kind}__mdt"}, **record})
    return records


def reach_loopback_directly() -> None:
    """This process asks no proxy for what is on this machine, whatever the environment says of the internet."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))
