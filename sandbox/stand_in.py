"""What both stand-ins share: a real HTTP server on loopback, a log of its requests, and failure on demand.

A stand-in is a WSGI application. `StandIn` serves it on 127.0.0.1 and puts a control surface in front of it:

- ``POST /_sandbox/faults`` with a JSON `Fault` makes the next matching requests fail;
- ``DELETE /_sandbox/faults`` forgets all faults;
- ``GET /_sandbox/requests`` lists what was asked, oldest first, without headers or bodies;
- ``POST /_sandbox/reset`` gives the application its first state again.

Any client can drive it: nothing here knows who is calling.
"""

from __future__ import annotations

import io
import json
import re
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Literal, Protocol
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

FaultKind = Literal["answer", "delay_before", "delay_after", "drop_before", "drop_midway", "drop_after", "drop_late"]


class Application(Protocol):
    """A stand-in's own part: a WSGI application that can forget what it was told."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]: ...

    def reset(self) -> None:
        """Return to the first state."""

    def error(self, status: int) -> Response:
        """The answer the real service gives with this HTTP status (429, 500, 503 ...)."""


@dataclass
class Fault:
    """How the next `times` requests that match fail.

    method, path: regular expressions the request's method and path must match in full. about: a text the request's
    path or body must contain, such as a customer's ID. kind: ``answer`` (answers `status` without doing anything),
    ``delay_before`` (waits `seconds`, then does it: a write that lands late), ``delay_after`` (does it, then waits:
    an answer that is lost), ``drop_before`` and ``drop_after`` (closes the connection without an answer, before or
    after doing it), ``drop_midway`` (does it, and closes the connection after half of the answer's body), ``drop_late``
    (closes the connection at once, and does it `seconds` later: a write that lands when nobody waits for it any more).
    status: the HTTP status for ``answer``; body: its body, when the service's usual one will not do. before: what
    happens first, with the request's body. stall: the connection is not closed, but kept without an answer until the
    client gives up.
    """

    kind: FaultKind
    method: str = ".*"
    path: str = ".*"
    times: int = 1
    seconds: float = 0.0
    status: int = 500
    body: Any = None
    about: str = ""
    before: Callable[[bytes], None] | None = None
    stall: bool = False

    def matches(self, method: str, path: str, body: bytes) -> bool:
        return (
            self.times > 0
            and re.fullmatch(self.method, method) is not None
            and re.fullmatch(self.path, path) is not None
            and (self.about in path or self.about.encode() in body)
        )


@dataclass(frozen=True)
class Disturbance:
    """One of the ways in which requests are disturbed at random. weight: how often, next to others. method, path:
    regular expressions for what it can happen to.
    """

    name: str
    fault: Mapping[str, Any]
    weight: float = 1.0
    method: str = ".*"
    path: str = ".*"

    def can_happen_to(self, method: str, path: str) -> bool:
        return re.fullmatch(self.method, method) is not None and re.fullmatch(self.path, path) is not None


@dataclass
class Exchange:
    """One request as it was seen. status is 0 until (and unless) it is answered. target: path and query, as sent."""

    number: int
    method: str
    path: str
    at: float
    status: int = 0
    fault: str = ""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    target: str = field(default="", repr=False)

    def public(self) -> dict[str, Any]:
        shown = asdict(self)
        del shown["headers"], shown["body"], shown["target"]
        return shown


LONGEST_STALL = 60.0
"""Seconds after which a connection is closed that its client does not give up."""

_ACCOUNT = re.compile(r"001[A-Za-z0-9]{15}")
"""The ID of an account in Salesforce."""


def _nobody(status: str, headers: list[tuple[str, str]], *exc: Any) -> Any:
    """Takes an answer that nobody waits for."""


class _QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive, as the real services offer it
    disable_nagle_algorithm = True  # else a kept connection waits for the client's acknowledgement in each answer

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class StandIn:
    """Serves one application on loopback, in threads, until `stop`.

    In: the application; ssl_context when its clients insist on https. Usable as a context manager; `url` is the
    address to give to clients.
    """

    def __init__(self, application: Application, ssl_context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.application = application
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._disturbing: tuple[str, float, Sequence[Disturbance]] | None = None
        self._met: Counter[str] = Counter()
        self.exchanges: list[Exchange] = []
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", port, self, threaded=True, request_handler=_QuietHandler, ssl_context=ssl_context
        )
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        scheme = "https" if ssl_context else "http"
        host = "localhost" if ssl_context else "127.0.0.1"  # a certificate names a host, not an address
        self.url = f"{scheme}://{host}:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True, name=f"stand-in {self.url}"
        )

    def start(self) -> StandIn:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()

    def fail(self, kind: FaultKind, method: str = ".*", path: str = ".*", **more: Any) -> Fault:
        """Make the next matching requests fail; see `Fault`."""
        fault = Fault(kind=kind, method=method, path=path, **more)
        with self._lock:
            self._faults.append(fault)
        return fault

    def disturb(self, seed: object, share: float, kinds: Sequence[Disturbance]) -> None:
        """Disturb a share of all requests (0 to 1) at random, until `heal`.

        What happens to a request goes by the seed, by what it is about (method, path, the first Salesforce account in
        it) and by how many like it came before: not by what others ask at the same time. So it happens again where the
        same is asked again.
        """
        with self._lock:
            self._met.clear()
            self._disturbing = (str(seed), share, tuple(kinds))

    def _disturbance(self, method: str, path: str, query: str, body: bytes) -> Fault | None:
        """The caller holds the lock."""
        if self._disturbing is None:
            return None
        seed, share, kinds = self._disturbing
        about = _ACCOUNT.search(f"{path} {query} {body.decode(errors='replace')}")
        name = f"{method} {path} {about[0] if about else ''}"
        self._met[name] += 1
        rng = Random(f"{seed}|{name}|{self._met[name]}")  # nosec B311 - made-up faults
        possible = [kind for kind in kinds if kind.can_happen_to(method, path)]
        if not possible or rng.random() >= share:
            return None
        chosen = rng.choices(possible, [kind.weight for kind in possible])[0]
        return Fault(**{"seconds": round(rng.uniform(0.1, 0.6), 2), **chosen.fault}, about=chosen.name)

    def heal(self) -> None:
        """Forget all faults, and disturb nothing any more."""
        with self._lock:
            self._faults.clear()
            self._disturbing = None

    def reset(self) -> None:
        """First state, no faults, no requests seen."""
        with self._lock:
            self._faults.clear()
            self._disturbing = None
            self.exchanges.clear()
            self.application.reset()

    def asked(self, method: str = ".*", path: str = ".*") -> list[Exchange]:
        """The exchanges whose method and path match in full, oldest first."""
        return [e for e in self.exchanges if re.fullmatch(method, e.method) and re.fullmatch(path, e.path)]

    def wait_for(self, seen: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait until `seen` holds; raises TimeoutError after `seconds`."""
        deadline = time.monotonic() + seconds
        while not seen():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not seen within {seconds} s at {self.url}")
            time.sleep(0.01)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        if request.path.startswith("/_sandbox/"):
            return self._control(request)(environ, start_response)
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)  # the application reads it again
        with self._lock:
            exchange = Exchange(
                len(self.exchanges) + 1,
                request.method,
                request.path,
                time.time(),
                headers=dict(request.headers),
                body=body,
                target=environ.get("RAW_URI", ""),
            )
            self.exchanges.append(exchange)
            fault = next((f for f in self._faults if f.matches(request.method, request.path, body)), None)
            if fault:
                fault.times -= 1
                exchange.fault = fault.kind
            else:
                query = request.query_string.decode(errors="replace")
                fault = self._disturbance(request.method, request.path, query, body)
                exchange.fault = fault.about if fault else ""
        if fault is None:
            return self._apply(exchange, environ, start_response)
        return self._disturbed(fault, exchange, environ, start_response)

    def _disturbed(
        self, fault: Fault, exchange: Exchange, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer as the fault wants it."""
        if fault.before is not None:
            fault.before(exchange.body)
        match fault.kind:
            case "answer":
                return self._faulty_answer(fault, exchange)(environ, start_response)
            case "drop_before":
                return self._drop(environ, fault.stall)
            case "drop_late":
                if fault.stall:
                    self._stall(environ)
                self._apply_later(fault.seconds, exchange, environ)
                return self._drop(environ)
            case "delay_before":
                time.sleep(fault.seconds)
        answer = list(self._apply(exchange, environ, start_response))
        match fault.kind:
            case "delay_after":
                time.sleep(fault.seconds)
            case "drop_after":
                return self._drop(environ, fault.stall)
            case "drop_midway":
                return self._half(b"".join(answer), environ)
        return answer

    def _faulty_answer(self, fault: Fault, exchange: Exchange) -> WSGIApplication:
        exchange.status = fault.status
        if fault.body is not None:
            return Response(json.dumps(fault.body), fault.status, content_type="application/json")
        return self.application.error(fault.status)

    def _apply_later(self, seconds: float, exchange: Exchange, environ: WSGIEnvironment) -> None:
        """Do what was asked once nobody waits for it any more."""
        late = {**environ, "wsgi.input": io.BytesIO(exchange.body)}
        timer = threading.Timer(seconds, lambda: list(self._apply(exchange, late, _nobody)))
        timer.daemon = True
        timer.start()

    def _apply(self, exchange: Exchange, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def noting(status: str, headers: list[tuple[str, str]], *exc: Any) -> Any:
            exchange.status = int(status.split(" ", 1)[0])
            return start_response(status, headers, *exc)

        return self.application(environ, noting)

    def _half(self, body: bytes, environ: WSGIEnvironment) -> Iterable[bytes]:
        yield body[: len(body) // 2]
        self._drop(environ)

    @staticmethod
    def _stall(environ: WSGIEnvironment) -> None:
        """Wait until the client closes the connection. Until then it has nothing to say on it."""
        select.select([environ["werkzeug.socket"]], [], [], LONGEST_STALL)

    def _drop(self, environ: WSGIEnvironment, stall: bool = False) -> Iterable[bytes]:
        """Drop the connection; stall: once the client has closed it."""
        if stall:
            self._stall(environ)
        connection: socket.socket = environ["werkzeug.socket"]
        with suppress(OSError):  # the client may be gone
            connection.shutdown(socket.SHUT_RDWR)
        raise ConnectionError("dropped on demand")

    def _control(self, request: Request) -> Response:
        match request.method, request.path:
            case "POST", "/_sandbox/faults":
                fault = self.fail(**request.get_json())
                return Response(json.dumps(asdict(fault)), 201, content_type="application/json")
            case "DELETE", "/_sandbox/faults":
                self.heal()
                return Response(status=204)
            case "GET", "/_sandbox/requests":
                shown = [e.public() for e in list(self.exchanges)]
                return Response(json.dumps(shown), content_type="application/json")
            case "POST", "/_sandbox/reset":
                self.reset()
                return Response(status=204)
        return Response(status=404)
