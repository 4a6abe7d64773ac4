"""authorizer: lets a request in that carries the callout key.

The key is compared with the current and the previous version of its secret, so that it can be changed in both places
without an outage. API Gateway keeps the answer for five minutes.
"""

from __future__ import annotations

import hmac
from functools import cache
from typing import Any

from closedwon.secrets import Secret
from closedwon.settings import setting


@cache
def callout_key() -> Secret:
    return Secret(setting("CALLOUT_KEY_SECRET_ARN"))


def is_key(given: str, versions: list[str]) -> bool:
    """Whether a key is one of the versions, in a time that tells nothing about them."""
    matches = [hmac.compare_digest(given.encode(), version.encode()) for version in versions]
    return any(matches)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """In: a TOKEN authorizer's event.
    Out: a policy for every route of the API, since the answer is kept for all of them.
    """
    api = "/".join(event["methodArn"].split("/")[:2])
    allowed = is_key(event["authorizationToken"], callout_key().versions())
    return {
        "principalId": "salesforce",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow" if allowed else "Deny",
                    "Resource": f"{api}/*",
                }
            ],
        },
    }
