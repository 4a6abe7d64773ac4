"""What goes wrong during the fault campaign: answers of Stigg and Salesforce, processes, DynamoDB, secrets.

Each kind is what the real service, or the network before it, is known to do. Everything goes by a seed.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import Counter
from random import Random
from typing import Any

from sandbox.sandbox import Sandbox
from sandbox.stand_in import Disturbance

SHARE = 0.3
"""Of all calls to Stigg and Salesforce."""

THROTTLED = 0.05
"""Of all calls to DynamoDB."""

BETWEEN_KILLS = (2.0, 6.0)
"""Seconds, from one killed process to the next."""

WRITES = "POST|PATCH|PUT|DELETE"
API, COMPOSITE = "/services/data/.*", "/services/data/.*/composite"

COMMON = (
    Disturbance("500", {"kind": "answer", "status": 500}, 3),
    Disturbance("503", {"kind": "answer", "status": 503}, 3),
    Disturbance("connection dropped before", {"kind": "drop_before"}, 3),
    Disturbance("connection dropped after", {"kind": "drop_after"}, 3),
    Disturbance("half an answer", {"kind": "drop_midway"}, 3),
    Disturbance("slow", {"kind": "delay_before"}, 3),
    Disturbance("time-out before the write", {"kind": "drop_before", "stall": True}, 0.25, WRITES),
    Disturbance("time-out after the write", {"kind": "drop_after", "stall": True}, 0.25, WRITES),
    Disturbance("timed-out write lands late", {"kind": "drop_late", "stall": True}, 0.25, WRITES),
    Disturbance("unanswered write lands late", {"kind": "drop_late"}, 3, WRITES),
)
STIGG = (*COMMON, Disturbance("429", {"kind": "answer", "status": 429}, 4))

FUNCTIONS = (
    "FlowCalloutFunction",
    "CustomerProvisionFunction",
    "SubscriptionProvisionFunction",
    "AccountWriteBackFunction",
)


def salesforce(sandbox: Sandbox) -> tuple[Disturbance, ...]:
    """What can happen to a request to Salesforce."""
    ended = [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]

    def lock(pattern: str) -> Any:
        def before(body: bytes) -> None:
            found = re.findall(pattern, body.decode(errors="replace"))
            for id in found[:1]:
                sandbox.salesforce.lock_row(id)
                for record in sandbox.salesforce.find("Stigg_Provisioning__c", Opportunity_ID__c=id):
                    sandbox.salesforce.lock_row(record["Id"])

        return {"kind": "delay_before", "seconds": 0.0, "before": before}

    return (
        *COMMON,
        Disturbance("429", {"kind": "answer", "status": 429}, 2),
        Disturbance("session ended", {"kind": "answer", "status": 401, "body": ended}, 3, path=API),
        Disturbance("row locked", lock(r"001[A-Za-z0-9]{15}"), 3, path=COMPOSITE),
        Disturbance("partial success", lock(r"006[A-Za-z0-9]{15}"), 3, path=COMPOSITE),
    )


class Trouble:
    """Disturbs a running sandbox between `start` and `stop`. counts: what was done, by its name."""

    def __init__(self, sandbox: Sandbox, seed: str) -> None:
        self.sandbox, self.seed = sandbox, seed
        self.counts: Counter[str] = Counter()
        self._rng = Random(f"{seed}|processes")  # nosec B311 - made-up faults
        self._throttling = Random(f"{seed}|dynamodb")  # nosec B311
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._over.clear()
        self.sandbox.stigg_server.disturb(self.seed, SHARE, STIGG)
        self.sandbox.salesforce_server.disturb(self.seed, SHARE, salesforce(self.sandbox))
        self.sandbox.aws.throttle_dynamodb(self._throttle)
        self._thread = threading.Thread(target=self._kill, daemon=True, name="kills processes")
        self._thread.start()

    def stop(self) -> None:
        """Everything is well again, for now."""
        self._over.set()
        self.sandbox.stigg_server.heal()
        self.sandbox.salesforce_server.heal()
        self.sandbox.salesforce.unlock_rows()
        self.sandbox.aws.throttle_dynamodb(None)
        if self._thread:
            self._thread.join()

    def _throttle(self, target: str) -> bool:
        with self._lock:
            self.counts["calls to DynamoDB"] += 1
            hit = self._throttling.random() < THROTTLED
            self.counts["throttled"] += hit
        return hit

    def _kill(self) -> None:
        while not self._over.wait(self._rng.uniform(*BETWEEN_KILLS)):
            self.counts["kills"] += self.sandbox.aws.functions.kill_one(self._rng.choice(FUNCTIONS), self._rng.choice)

    # Secrets

    def rotate(self) -> dict[str, str]:
        """Every secret gets a new value: Out. Stigg's old key goes on for a while, as does the callout's."""
        sandbox = self.sandbox
        new = f"server-{secrets.token_hex(16)}"
        sandbox.stigg.change_api_key(new, old=sandbox.stigg_api_key)
        sandbox.aws.put_secret("StiggSecret", {"apiKey": new})
        sandbox.stigg_api_key = new
        client = {**sandbox.salesforce_client, "clientSecret": secrets.token_hex(16)}
        sandbox.salesforce.change_client_secret(client["clientSecret"])
        sandbox.aws.put_secret("SalesforceSecret", client)
        sandbox.salesforce_client = client
        sandbox.salesforce.expire_tokens()
        self._next_callout_key = secrets.token_urlsafe(32)
        sandbox.aws.put_secret("CalloutKeySecret", self._next_callout_key)
        self.counts["rotations"] += 3
        return {
            "callout key, new": self._next_callout_key,
            "Stigg's key, new": new,
            "Salesforce's client secret, new": client["clientSecret"],
        }

    def end_of_rotation(self) -> None:
        """Stigg refuses the old key from now on; Salesforce calls with the new one, five minutes later than it was put
        there: the time for which the authorizer keeps what it read.
        """
        self.sandbox.stigg.change_api_key(self.sandbox.stigg_api_key)
        self.sandbox.aws.functions.kill("AuthorizerFunction")
        self.sandbox.callout_key = self._next_callout_key
