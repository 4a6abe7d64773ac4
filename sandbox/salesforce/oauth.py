"""The token endpoint: OAuth 2.0 client credentials, and JWT bearer.

Sources: RFC 6749 section 4.4, RFC 7523, and Salesforce's help pages on the two flows. No refresh token, no
``expires_in``: a client learns that a token is over from a 401.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
JWT_AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")
JWT_LIFETIME = 180  # seconds: the longest a JWT may still be good for


class TokenRefused(Exception):
    """An OAuth error: its code and what Salesforce says about it."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, "error_description": description}


@dataclass(frozen=True)
class Clients:
    """The one connected app there is, and the user it acts as."""

    client_id: str
    client_secret: str
    username: str
    public_key: str | bytes | None
    organization_id: str
    user_id: str
    now: Callable[[], datetime]

    def token(self, form: Mapping[str, str], basic: tuple[str, str] | None, url: str) -> dict[str, Any]:
        """Answer a token request.

        In: the form; the Basic credentials, when sent; this server's address. Out: the answer's body, with a token that
        the caller has to remember. Raises TokenRefused.
        """
        match form.get("grant_type"):
            case "client_credentials":
                given = basic or (form.get("client_id", ""), form.get("client_secret", ""))
                self._check_client(*given)
            case grant if grant == JWT_BEARER:
                self._check_jwt(form.get("assertion", ""), url)
            case _:
                raise TokenRefused("unsupported_grant_type", "grant type not supported")
        return {
            "access_token": self.new_token(),
            "scope": "api",
            "instance_url": url,
            "id": f"https://login.salesforce.com/id/{self.organization_id}/{self.user_id}",
            "token_type": "Bearer",
            "issued_at": str(int(self.now().timestamp() * 1000)),
        }

    def new_token(self) -> str:
        """A token as they look: the organisation's ID, then what nobody can guess."""
        return f"{self.organization_id[:15]}!AQ{secrets.token_urlsafe(48)}"

    def _check_client(self, client_id: str, client_secret: str) -> None:
        if not hmac.compare_digest(client_id.encode(), self.client_id.encode()):
            raise TokenRefused("invalid_client_id", "client identifier invalid")
        if not hmac.compare_digest(client_secret.encode(), self.client_secret.encode()):
            raise TokenRefused("invalid_client", "invalid client credentials")

    def _check_jwt(self, assertion: str, url: str) -> None:
        invalid = TokenRefused("invalid_grant", "invalid assertion")
        if not self.public_key:
            raise invalid
        try:
            # Times are checked below, by this organisation's clock.
            options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
            claims = jwt.decode(assertion, self.public_key, algorithms=["RS256"], options=options)  # type: ignore[arg-type]
        except jwt.PyJWTError:
            raise invalid from None
        if claims.get("iss") != self.client_id:
            raise TokenRefused("invalid_client_id", "client identifier invalid")
        if claims.get("sub") != self.username:
            raise TokenRefused("invalid_grant", "user hasn't approved this consumer")
        if claims.get("aud") not in (*JWT_AUDIENCES, url):
            raise TokenRefused("invalid_grant", "audience is invalid")
        expires, now = claims.get("exp"), self.now().timestamp()
        if not isinstance(expires, (int, float)) or expires <= now:
            raise TokenRefused("invalid_grant", "expired authorization code")
        if expires > now + JWT_LIFETIME:
            raise invalid
