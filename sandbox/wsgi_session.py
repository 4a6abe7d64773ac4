"""An HTTP session that asks an application of this process, without a network: the product's own client drives it."""

from __future__ import annotations

import io
from typing import Any
from wsgiref.types import WSGIApplication

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse
from werkzeug.test import EnvironBuilder, run_wsgi_app


class _Connection:
    """What a stand-in that drops a connection closes."""

    def shutdown(self, how: int) -> None:
        """Nothing was open."""


class InProcess(BaseAdapter):
    """Carries requests to a WSGI application."""

    def __init__(self, application: WSGIApplication) -> None:
        super().__init__()
        self.application = application

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        headers_sent = list(request.headers.items())
        made = EnvironBuilder(request.path_url, method=request.method or "GET", headers=headers_sent, data=body)
        environ = {**made.get_environ(), "werkzeug.socket": _Connection()}
        try:
            answer, status, headers = run_wsgi_app(self.application, environ, buffered=True)
        except ConnectionError as error:
            raise requests.ConnectionError(error, request=request) from None
        raw = HTTPResponse(
            io.BytesIO(b"".join(answer)),
            HTTPHeaderDict(list(headers)),
            int(status.split(" ", 1)[0]),
            preload_content=False,
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        """Nothing is open."""


def session_to(application: WSGIApplication) -> requests.Session:
    """A session that asks this application, whatever address it is given."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", InProcess(application))
    return session
