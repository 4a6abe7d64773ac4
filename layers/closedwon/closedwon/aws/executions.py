"""Starts provisionings: one execution of the state machine for one customer."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from closedwon.aws import clients
from closedwon.aws.ledger import Claim
from closedwon.domain.instants import instant_of
from closedwon.settings import setting


class Start:
    """Starts executions of one state machine. In: its ARN; a boto3 Step Functions client (made on first use when
    None).
    """

    def __init__(self, state_machine_arn: str, client: Any = None) -> None:
        self._arn = state_machine_arn
        self._client = client

    def __call__(self, claim: Claim) -> None:
        """Start an execution by its name; it then waits for its rate slot.

        A name that was used before means that this start was asked for twice, and is not an error.

        Source: StartExecution is idempotent for a running execution, and names stay taken for 90 days after the end.
        """
        if self._client is None:
            self._client = clients.client("stepfunctions")
        try:
            self._client.start_execution(
                stateMachineArn=self._arn,
                name=claim.execution,
                input=json.dumps(
                    {"accountId": claim.account_id, "token": 0, "notBefore": instant_of(claim.rate_slot)}  # nosec B105 - a lease's
                ),
            )
        except self._client.exceptions.ExecutionAlreadyExists:
            return


@cache
def start() -> Start:
    """The `Start` of the stack's provisioning state machine."""
    return Start(setting("PROVISION_STATE_MACHINE_ARN"))
