"""What a function meets at its first invocation, on loopback and fast: AWS's API, Stigg, Salesforce.

AWS is answered from memory with just what the steps ask for, so that its speed does not hide that of a function. Stigg
and Salesforce are the sandbox's. The same world serves both ways of writing a step.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import requests

from benchmarks.burst import Table as Budgets
from benchmarks.table import MemoryTable
from closedwon.aws.ledger import Ledger
from closedwon.domain.acceptance import Arrival
from closedwon.domain.customer import Outcome, SubscriptionLink
from closedwon.domain.identifiers import OpportunityId, SubscriptionId
from closedwon.domain.lease import Work
from closedwon.domain.results import Applied, Ensured
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import MappingRules, compile_deal, revision_of
from sandbox.aws.template import translate
from sandbox.flow import deal_of
from sandbox.sales import Sales, Sold
from sandbox.salesforce.app import Salesforce
from sandbox.sandbox import API_VERSION, ROOT, STIGG_INTEGRATION
from sandbox.stand_in import StandIn
from sandbox.stigg.app import Stigg
from sandbox.tls import make_tls

REGION = "us-east-1"
ARN = f"arn:aws:{{}}:{REGION}:123456789012:{{}}"
CALLOUT_KEY = "the-callout-key-of-the-benchmarks"
NAMES = {
    "LedgerTable": "ledger",
    "CalloutKeySecret": ARN.format("secretsmanager", "secret:CalloutKey-a1b2c3"),
    "StiggSecret": ARN.format("secretsmanager", "secret:Stigg-a1b2c3"),
    "SalesforceSecret": ARN.format("secretsmanager", "secret:Salesforce-a1b2c3"),
    "ProvisionStateMachine": ARN.format("states", "stateMachine:provision"),
}

NORTHWIND = (
    Sold("plan-enterprise", price=48_000),
    Sold("addon-premium-support"),
    Sold("addon-extra-workspace", 5, price=1_200),
    Sold("feature-seats", 250),
    Sold("feature-api-calls", 5_000_000),
    Sold("feature-sso", unlimited=True),
)
TERMS = {"billingPeriod": "ANNUALLY", "start": None, "end": None, "paymentCollection": "INVOICE"}


class Scene(NamedTuple):
    """A deal somebody just closed. deal: as the callout takes it; execution: what provisions it."""

    account_id: str
    opportunity_id: str
    deal: dict[str, Any]
    execution: str


class World:
    """Everything outside the functions. Usable as a context manager."""

    def __init__(self) -> None:
        self.table = MemoryTable()
        self.stigg = Stigg("server-benchmark", rate_limits=False)
        self.salesforce = Salesforce("closed-won", "benchmark-secret")
        self._aws = AwsApi(self.table, self._secrets())
        self._exits = ExitStack()
        self._environments: dict[str, dict[str, str]] = {}

    def __enter__(self) -> World:
        folder = self._exits.enter_context(tempfile.TemporaryDirectory(prefix="closed-won-"))
        tls = make_tls(Path(folder))
        self._exits.enter_context(self._aws)
        self.stigg_server = self._exits.enter_context(StandIn(self.stigg))
        self.salesforce_server = self._exits.enter_context(StandIn(self.salesforce, tls.context))
        self._read_template(tls.ca_file)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _secrets(self) -> dict[str, str]:
        return {
            NAMES["CalloutKeySecret"]: CALLOUT_KEY,
            NAMES["StiggSecret"]: json.dumps({"apiKey": "server-benchmark"}),
            NAMES["SalesforceSecret"]: json.dumps({"clientId": "closed-won", "clientSecret": "benchmark-secret"}),
        }

    def _read_template(self, ca_file: Path) -> None:
        """Each function's environment, from template.yaml: nothing can be forgotten here."""
        parameters = {
            "SalesforceUrl": self.salesforce_server.url,
            "SalesforceOrganizationId": self.salesforce.organization_id,
            "SalesforceApiVersion": API_VERSION,
            "StiggApiUrl": self.stigg_server.url,
            "StiggAppUrl": f"{self.stigg_server.url}/sandbox",
            "StiggSalesforceIntegrationId": STIGG_INTEGRATION,
        }
        translation = translate(ROOT / "template.yaml", parameters, REGION)
        known = {**translation.parameters, **NAMES}
        for logical_id, source in translation.functions.items():
            resource = translation.cloudformation["Resources"][logical_id]["Properties"]
            self._environments[source.folder.name] = {
                **{name: _resolved(v, known) for name, v in resource["Environment"]["Variables"].items()},
                "AWS_LAMBDA_FUNCTION_NAME": logical_id,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(source.memory),
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "AWS_LAMBDA_LOG_FORMAT": source.log_format,
                "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "benchmark",
                "AWS_SECRET_ACCESS_KEY": "benchmark",
                "AWS_SESSION_TOKEN": "benchmark",
                "AWS_ENDPOINT_URL": self._aws.url,
                "REQUESTS_CA_BUNDLE": str(ca_file),
                "LANG": "en_US.UTF-8",
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "TZ": ":UTC",
            }

    def environment(self, step: str) -> dict[str, str]:
        """What a step's function finds in its environment, as template.yaml says, and what Lambda adds."""
        return self._environments[step]

    def reset(self) -> Scene:
        """Forget everything; then a deal is closed and accepted, its customer exists in Stigg, and both are due."""
        self.stigg_server.reset()
        self.salesforce_server.reset()
        self.table.clear()
        self._aws.started.clear()
        sales = Sales(self.salesforce)
        account_id = sales.account("Northwind Traders")
        opportunity_id = sales.close(account_id, "Northwind - Enterprise", *NORTHWIND)
        deal = deal_of(self.salesforce, opportunity_id, terms=TERMS)
        return Scene(account_id, opportunity_id, deal, self._accept(deal))

    def _accept(self, deal: dict[str, Any]) -> str:
        """Record a deal in the ledger, and beside it where the usual way looks for it."""
        order, revision = _order(deal, self.salesforce.organization_id)
        minutes_ago = time.time_ns() // 1_000_000 - 3_600_000
        (acceptance,) = Ledger(NAMES["LedgerTable"], self.table, clock=lambda: minutes_ago).accept(
            [Arrival(order, revision)]
        )
        assert acceptance.execution is not None
        self.table.put_item(
            TableName=NAMES["LedgerTable"],
            Item={
                "pk": {"S": f"ACCOUNT#{order.account_id}"},
                "sk": {"S": f"DEAL#{order.opportunity_id}"},
                "body": {"S": json.dumps(deal)},
            },
        )
        return acceptance.execution

    def event(self, step: str, scene: Scene) -> dict[str, Any]:
        """What a step is first invoked with."""
        if step == "authorizer":
            return {
                "type": "TOKEN",
                "methodArn": ARN.format("execute-api", "a1b2c3d4e5/callout/POST/v1/provisionings"),
                "authorizationToken": CALLOUT_KEY,
            }
        if step == "flow_callout":
            self.table.clear()  # a deal nobody has seen
            return proxy_event({"deals": [scene.deal]})
        if step == "sweep":
            return {}
        token = 0
        if step == "subscription_provision":
            token = self._make_customer(scene)
        if step == "account_write_back":
            token = self._apply(scene)
        return {"accountId": scene.account_id, "token": token, "execution": scene.execution}

    def _make_customer(self, scene: Scene) -> int:
        """Make the customer in Stigg and record it, as customer_provision does; out: the token it hands on."""
        answer = requests.post(
            f"{self.stigg_server.url}/api/v1/customers",
            json={"id": scene.account_id, "name": "Northwind Traders"},
            headers={"X-API-KEY": "server-benchmark"},
            timeout=10,
        )
        answer.raise_for_status()
        ledger = Ledger(NAMES["LedgerTable"], self.table)
        work = ledger.acquire_lease(scene.account_id, scene.execution, 0, 60_000)
        assert isinstance(work, Work)
        ledger.record_result(work, Ensured())
        return work.lease.token

    def _apply(self, scene: Scene) -> int:
        """Record in the ledger that Stigg stands, as subscription_provision does; out: the token it hands on."""
        ledger = Ledger(NAMES["LedgerTable"], self.table)
        work = ledger.acquire_lease(scene.account_id, scene.execution, 0, 60_000)
        assert isinstance(work, Work)
        link = SubscriptionLink("plan-enterprise", SubscriptionId(f"{scene.account_id}-platform"), "ACTIVE", None)
        outcome = Outcome("Provisioned", subscriptions=(link,))
        states = work.customer.opportunities
        settles = {OpportunityId(id): state.history.contribution for id, state in states.items()}
        ledger.record_result(work, Applied({}, {scene.opportunity_id: outcome}, settles, ensured=True))
        return work.lease.token

    def did(self, step: str) -> bool:
        """Whether a step has done what it is there for: a measurement of anything else would be worth nothing."""
        match step:
            case "flow_callout":
                return bool(self._aws.started) and any(self.table.items)
            case "sweep":
                return bool(self._aws.started)
            case "customer_provision":
                return bool(self.stigg_server.asked("POST", "/api/v1/customers"))
            case "subscription_provision":
                return bool(self.stigg_server.asked("POST", "/api/v1/subscriptions"))
            case "account_write_back":
                return bool(self.salesforce.find("Stigg_Provisioning__c"))
        return True


def _order(deal: Mapping[str, Any], organization_id: str) -> Any:
    model = Deal.model_validate(deal)
    return compile_deal(model, MappingRules(organization_id)), revision_of(model)


def proxy_event(body: Any) -> dict[str, Any]:
    """API Gateway's event of POST /v1/provisionings, as far as anybody looks at it."""
    return {
        "httpMethod": "POST",
        "path": "/v1/provisionings",
        "resource": "/v1/provisionings",
        "headers": {"Content-Type": "application/json"},
        "multiValueHeaders": {"Content-Type": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "requestContext": {"requestId": str(uuid.uuid4()), "stage": "callout", "path": "/v1/provisionings"},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def _resolved(value: Any, known: Mapping[str, str]) -> str:
    """A variable of the template: a text, a Ref, a GetAtt, of which only ARNs are needed, a list, or what holds where a
    condition does not: every condition is about something that is not set up here. What nothing measured asks for is
    named by its logical ID.
    """
    if not isinstance(value, dict):
        return str(value)
    ((function, given),) = value.items()
    if function == "Fn::If":
        return _resolved(given[2], known)
    if function == "Fn::Join":
        return _resolved(given[1], known)
    name = given if isinstance(given, str) else given[0]
    return str(known.get(name, name))


class QuietServer(ThreadingHTTPServer):
    """An HTTP server whose clients may be killed at any time."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class AwsApi:
    """AWS's JSON protocol over a table, some secrets and StartExecution. `started`: the executions asked for."""

    def __init__(self, table: MemoryTable, secrets: Mapping[str, str]) -> None:
        self._table = table
        self._secrets = secrets
        self._budgets = Budgets()
        self.started: list[str] = []
        self._server = QuietServer(("127.0.0.1", 0), self._handler_class())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> AwsApi:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, operation: str, wanted: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The answer to one operation (``GetItem``): HTTP status and content."""
        match operation:
            case "GetItem":
                return 200, self._table.get_item(**wanted)
            case "BatchGetItem":
                return 200, self._table.batch_get_item(**wanted)
            case "Query":
                return 200, self._table.query(**wanted)
            case "PutItem":
                return 200, self._table.put_item(**wanted)
            case "UpdateItem":  # the governor's, the only ones
                try:
                    return 200, self._budgets.update_item(**wanted)
                except self._budgets.exceptions.ConditionalCheckFailedException as error:
                    return 400, {"__type": "ConditionalCheckFailedException", **error.response}
            case "TransactWriteItems":
                return 200, self._table.transact_write_items(**wanted)
            case "StartExecution":
                self.started.append(wanted["name"])
                arn = ARN.format("states", f"execution:provision:{wanted['name']}")
                return 200, {"executionArn": arn, "startDate": time.time()}
            case "GetSecretValue" if wanted.get("VersionStage", "AWSCURRENT") == "AWSCURRENT":
                arn = wanted["SecretId"]
                return 200, {"ARN": arn, "Name": arn, "SecretString": self._secrets[arn]}
            case "GetSecretValue":
                return 400, {"__type": "ResourceNotFoundException", "Message": "no such version"}
        return 400, {"__type": "UnknownOperationException", "Message": operation}

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].rpartition(".")[2]
                status, content = api.answer(operation, json.loads(body, object_hook=_binary))
                answer = json.dumps(content, default=_base64).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _binary(value: dict[str, Any]) -> dict[str, Any]:
    """An object of a request; a binary value of DynamoDB's as bytes, as `Ledger` has it in this process."""
    return {"B": base64.b64decode(value["B"])} if value.keys() == {"B"} else value


def _base64(binary: bytes) -> str:
    return base64.b64encode(binary).decode()
