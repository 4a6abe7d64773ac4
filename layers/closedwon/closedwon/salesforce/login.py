"""Logs in to a Salesforce organisation: gets an access token by client credentials or by JWT bearer."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import urlsplit

import requests

from closedwon.aws import metrics
from closedwon.aws.secrets import SecretLike
from closedwon.domain.errors import (
    ClosedWonError,
    SalesforceThrottled,
    SalesforceUnauthorized,
    SalesforceUnavailable,
    SecretInvalid,
)
from closedwon.wire.private import keep_secret, redacted

Json = dict[str, Any]

_OPERATION = "log in"


class Login:
    """The log-in of one organisation. In: its My Domain; the client's secret, as `SalesforceClient` says; what to send
    through.
    """

    def __init__(self, url: str, secret: SecretLike, session: requests.Session) -> None:
        self._url = url
        self._secret = secret
        self._session = session

    def token(self) -> str:
        """A new access token; when the credentials are refused, once more with the secret read again."""
        token, failure = self._log_in()
        if isinstance(failure, SalesforceUnauthorized):
            self._secret.again()
            token, failure = self._log_in()
        if failure is not None:
            raise failure
        return token

    def _log_in(self) -> tuple[str, ClosedWonError | None]:
        """Send one token request. Out: the token, or why there is none. It writes nothing, so it is safe to repeat."""
        form, basic, hide = self._credentials()
        url = f"{self._url}/services/oauth2/token"
        try:
            response = self._session.post(url, data=form, auth=basic, headers={"Accept": "application/json"})
        except requests.RequestException as error:
            name = type(error).__name__
            # Returned, so that it is raised elsewhere: the exception caught holds the request with its credentials.
            return "", SalesforceUnavailable(f"could not be reached ({name})", operation=_OPERATION)
        content = _json(response)
        token = content.get("access_token")
        if response.status_code == 200 and isinstance(token, str) and token:
            keep_secret(token)
            return token, None
        return "", _no_token(response.status_code, content, hide)

    def _credentials(self) -> tuple[dict[str, str], tuple[str, str] | None, tuple[str, ...]]:
        """The token request's form and basic authentication, and the strings no error may show."""
        fields = self._secret.json("clientId")
        client_id = fields["clientId"]
        if "clientSecret" in fields:
            client_secret = self._secret.json("clientId", "clientSecret")["clientSecret"]
            # Basic authentication cannot be sent with every character, and the error about it would hold the secret.
            if not (client_id.isascii() and client_secret.isascii()):
                raise SecretInvalid("the Salesforce secret's clientId or clientSecret is not plain ASCII")
            return {"grant_type": "client_credentials"}, (client_id, client_secret), (client_secret,)
        if "privateKey" not in fields:
            raise SecretInvalid("the Salesforce secret lacks clientSecret, or username and privateKey")
        fields = self._secret.json("clientId", "username", "privateKey")
        audience = fields.get("audience") or _audience(self._url)
        assertion = _assertion(client_id, fields["username"], fields["privateKey"], audience)
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        return form, None, (assertion, fields["username"])


def _no_token(status: int, content: Json, hide: tuple[str, ...]) -> ClosedWonError:
    """Why an answer holds no token. In: its status and content; the strings that the error must not show."""
    code = redacted(content.get("error"), limit=80, hide=hide)
    message = redacted(content.get("error_description"), hide=hide)
    # The limit of logins may come with another status: then only its text tells it from wrong credentials.
    if status == 429 or re.search(r"rate.{0,7}exceeded", f"{code} {message}"):
        metrics.note("Throttled", System="Salesforce")
        return SalesforceThrottled("too many logins", operation=_OPERATION, status=status, code=code)
    passing = code in ("unknown_error", "server_error", "temporarily_unavailable")
    if passing or status in (200, 408) or status >= 500:
        return SalesforceUnavailable("no usable answer", operation=_OPERATION, status=status, code=code)
    # Every My Domain has its token endpoint at this path: what redirects, or has none, is another address.
    if 300 <= status < 400 or status == 404:
        message = "there is no login here: is SALESFORCE_URL the org's My Domain?"
    message = message or "the credentials are not accepted"
    return SalesforceUnauthorized(message, operation=_OPERATION, status=status, code=code)


def _json(response: requests.Response) -> Json:
    """The answer's JSON object, empty when it is none."""
    try:
        content = response.json()
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _audience(url: str) -> str:
    """The audience of a JWT: the login server of the org's kind, also when it is sent to the org's My Domain."""
    host = urlsplit(url).hostname or ""
    # A sandbox's My Domain is <name>--<sandbox>.
    testing = "--" in host or ".sandbox." in host or ".scratch." in host
    return f"https://{'test' if testing else 'login'}.salesforce.com"


def _assertion(client_id: str, username: str, private_key: str, audience: str) -> str:
    """The signed JWT of the JWT bearer flow, good for three minutes, the longest Salesforce takes."""
    import jwt

    claims = {"iss": client_id, "sub": username, "aud": audience, "exp": int(time.time()) + 180}
    key = private_key.replace("\\n", "\n")  # as it often comes out of a paste into JSON
    try:
        return jwt.encode(claims, key, algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError):
        pass  # raised below, without the library's exception as its context
    raise SecretInvalid("the Salesforce secret's privateKey is not an RSA private key in PEM")
