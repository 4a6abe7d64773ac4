"""authorizer: admits Salesforce's requests that carry the callout key, and Stigg's events that carry their secret.

Each is compared with the current and the previous version of its own secret, so that it can be changed in both places
without an outage. API Gateway keeps the answer for five minutes, apart for the two, and asks for neither where the
header is missing or can be none (decision 84).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from closedwon.aws import metrics
from closedwon.aws.secrets import Secret
from closedwon.domain.errors import SecretInvalid
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context


EVENTS = "/POST/v1/stigg-events"
"""How the ARN of the one method ends that Stigg calls."""


def is_key(given: str, key: Secret) -> bool:
    """Whether it is the current key, or else the previous one, which is read only then."""
    return same(given, key.value()) or any(same(given, version) for version in key.versions())


def same(given: str, version: str) -> bool:
    """Compares in a time that tells nothing about where they differ."""
    # JSON can hold half a surrogate pair, which UTF-8 cannot encode: that is a wrong key, not an error.
    return hmac.compare_digest(given.encode(errors="surrogatepass"), version.encode())


def is_from_stigg(given: str, secret: Secret) -> bool:
    """Whether it is the secret that Stigg sends. While nobody has stored one, nothing is."""
    try:
        return is_key(given, secret)
    except SecretInvalid:
        return False


def policy(caller: str, *statements: tuple[str, str]) -> dict[str, Any]:
    """What an authorizer answers. In: who calls; effects and resources."""
    return {
        "principalId": caller,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
                for effect, resource in statements
            ],
        },
    }


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    """In: a TOKEN authorizer's event.
    Out: a policy: for Stigg, of its one route; for Salesforce, of all the others, since the answer is kept for them.
    """
    given, method = event["authorizationToken"], event["methodArn"]
    api = "/".join(method.split("/")[:2])
    # Deny, not an error: API Gateway keeps a policy, so the same guess again starts no function (decision 13).
    if method.endswith(EVENTS):
        if is_from_stigg(given, stack.stigg_events_secret):
            return policy("stigg", ("Allow", method))
        metrics.note("Denied", Reason="WrongEventsSecret")
        return policy("stigg", ("Deny", method))
    if is_key(given, stack.callout_key):
        # Whatever an answer is kept for: who has this key cannot speak for Stigg.
        return policy("salesforce", ("Allow", f"{api}/*"), ("Deny", f"{api}{EVENTS}"))
    metrics.note("Denied", Reason="WrongKey")
    return policy("salesforce", ("Deny", f"{api}/*"))
