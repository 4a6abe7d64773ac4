"""Starting provisionings: one execution of the state machine for one customer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from closedwon.aws.ledger import Claim
from closedwon.domain.instants import iso_of


class Start:
    """Starts executions of one state machine. In: its ARN; what gives a client of Step Functions, asked
    for the first start.
    """

    def __init__(self, state_machine_arn: str, client: Callable[[], Any]) -> None:
        self._arn = state_machine_arn
        self._client = client

    def __call__(self, claim: Claim) -> None:
        """Start one, by name; it waits for its rate slot. A name that was used is the same start asked for twice, and
        is no error.

        Source: StartExecution is idempotent for a running execution, and names stay taken for 90 days after the end.
        """
        client = self._client()
        try:
            client.start_execution(
                stateMachineArn=self._arn,
                name=claim.execution,
                input=json.dumps(
                    {"accountId": claim.account_id, "token": 0, "notBefore": iso_of(claim.rate_slot)}  # nosec B105 - a lease's
                ),
            )
        # Also said of one that is running, where a later rate slot has made another input for the same name.
        except client.exceptions.ExecutionAlreadyExists:
            return
