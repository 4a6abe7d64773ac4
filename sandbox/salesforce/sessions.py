"""Who is let in: the connected app's sessions."""

from __future__ import annotations

from dataclasses import replace

from werkzeug.wrappers import Request

from sandbox.salesforce.calls import Answer
from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.oauth import Clients, TokenRefused


class Sessions:
    """The sessions of one connected app. The caller holds the lock."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._tokens: set[str] = set()
        self._given_tokens: set[str] = set()

    def token(self, request: Request) -> Answer:
        """Answer a request to the token endpoint."""
        try:
            if request.method != "POST":
                raise TokenRefused("invalid_request", "must use HTTP POST")
            login = request.authorization
            basic = None
            if login and login.type == "basic":
                basic = (login.username or "", login.password or "")
            body = self._clients.token(request.form, basic, request.host_url.rstrip("/"))
        except TokenRefused as refused:
            return Answer(refused.status, refused.body)
        self._tokens.add(body["access_token"])
        return Answer(200, body)

    def check(self, request: Request) -> None:
        """Raises Refusal for a request without a session."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme and scheme not in ("Bearer", "OAuth"):
            raise Refusal("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE", status=401)
        if token not in self._tokens and token not in self._given_tokens:
            raise Refusal("INVALID_SESSION_ID", "Session expired or invalid", status=401)

    def issue(self) -> str:
        """A session for a client that does not log in by itself; it survives `log_out`."""
        token = self._clients.new_token()
        self._given_tokens.add(token)
        return token

    def log_out(self) -> None:
        """End the sessions of those who logged in."""
        self._tokens.clear()

    def expire(self) -> None:
        """End every session there is."""
        self._tokens.clear()
        self._given_tokens.clear()

    def change_secret(self, client_secret: str) -> None:
        """From now on only this secret is let in; sessions there are go on."""
        self._clients = replace(self._clients, client_secret=client_secret)

    def trust(self, public_key: str | bytes | None) -> None:
        """From now on assertions are taken that this key's private half signed."""
        self._clients = replace(self._clients, public_key=public_key)
