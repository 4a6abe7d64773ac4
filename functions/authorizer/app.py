"""authorizer: admits requests that carry the callout key.

The key is compared with the current and the previous version of its secret, so that it can be changed in both places
without an outage. API Gateway keeps the answer for five minutes.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from closedwon.aws import metrics
from closedwon.aws.secrets import Secret
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context


def is_key(given: str, key: Secret) -> bool:
    """Whether it is the current key, or else the previous one, which is read only then."""
    return same(given, key.value()) or any(same(given, version) for version in key.versions())


def same(given: str, version: str) -> bool:
    """Compares in a time that tells nothing about where they differ."""
    # JSON can hold half a surrogate pair, which UTF-8 cannot encode: that is a wrong key, not an error.
    return hmac.compare_digest(given.encode(errors="surrogatepass"), version.encode())


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    """In: a TOKEN authorizer's event.
    Out: a policy for every route of the API, since the answer is kept for all of them.
    """
    api = "/".join(event["methodArn"].split("/")[:2])
    allowed = is_key(event["authorizationToken"], stack.callout_key)
    if not allowed:
        metrics.note("Denied", Reason="WrongKey")
    return {
        "principalId": "salesforce",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    # Deny, not an error: API Gateway keeps a policy, so the same guess again starts no function
                    # (decision 13).
                    "Effect": "Allow" if allowed else "Deny",
                    "Resource": f"{api}/*",
                }
            ],
        },
    }
