"""One function process: AWS's own runtime client (awslambdaric) against a small Runtime API.

The Runtime API is the one Lambda offers inside its machines: the process asks for the next invocation, posts a
response or an error, or says that it could not even start. Error names are those of Lambda, because the state
machine's retries go by them: the exception's class name, ``Runtime.ExitError``, ``Sandbox.Timedout``,
``Runtime.ImportModuleError`` and so on.
"""

from __future__ import annotations

import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sandbox.bodies import body_of

INIT_SECONDS = 60.0
"""How long a process may take to be ready. Lambda allows ten seconds; a busy development machine gets more."""


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended. payload: JSON, the answer or Lambda's error object; error_type: None if well."""

    payload: bytes
    error_type: str | None = None

    def value(self) -> Any:
        """The payload as data."""
        return json.loads(self.payload)

    @classmethod
    def failed(cls, error_type: str, message: str) -> Outcome:
        return cls(json.dumps({"errorType": error_type, "errorMessage": message}).encode(), error_type)

    @classmethod
    def reported(cls, body: bytes) -> Outcome:
        """From the error object the runtime client posts."""
        try:
            error_type = json.loads(body).get("errorType") or "Runtime.Unknown"
        except ValueError:
            return cls.failed("Runtime.Unknown", "the runtime reported an error that is not JSON")
        return cls(body, error_type)


@dataclass(frozen=True)
class Invocation:
    """What the Runtime API hands to the process."""

    request_id: str
    event: bytes
    function_arn: str
    deadline: float


class _RuntimeServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A process that was killed closes its connection in the middle of something, which is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FunctionProcess:
    """A process that serves one function, one invocation at a time, until it dies.

    In: the handler (``app.lambda_handler``), its folder, folders to import from, its whole environment, and where each
    line it prints goes. The process starts at once; `run` waits for it to be ready.
    """

    def __init__(
        self,
        handler: str,
        folder: Path,
        import_from: Sequence[Path],
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> None:
        self._next: queue.Queue[Invocation | None] = queue.Queue()
        self._ready: Future[None] = Future()
        self._answer: Future[Outcome] | None = None
        self._init_error: Outcome | None = None
        self._on_line = on_line
        self._unfinished = b""
        self._drain_lock = threading.Lock()
        self._api = _RuntimeServer(("127.0.0.1", 0), self._handler_class())
        # It looks this often whether it is to stop: the default of half a second would be waited for at each end.
        threading.Thread(target=self._api.serve_forever, args=(0.1,), daemon=True).start()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=folder,
            env={
                **environment,
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}",
                "PYTHONPATH": os.pathsep.join(str(p) for p in import_from),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        # So that `run` can take in what was printed before an answer, without waiting for what never comes.
        os.set_blocking(self._output, False)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, invocation: Invocation, timeout: float) -> Outcome:
        """Have one invocation served; wait for its end. `timeout` in seconds counts from when the process is ready."""
        answer: Future[Outcome] = Future()
        self._answer = answer
        try:
            self._ready.result(INIT_SECONDS)
        except FutureTimeout:
            self.kill()
            return Outcome.failed("Sandbox.Timedout", f"init took longer than {INIT_SECONDS:.0f} seconds")
        if self._init_error is not None:
            # The process ends by itself now, and the log is to have all that it printed.
            self._watcher.join(5)
            return self._init_error
        if not self.alive and not answer.done():
            return self._exit_error(invocation.request_id)
        deadline = time.time() + timeout
        self._next.put(Invocation(invocation.request_id, invocation.event, invocation.function_arn, deadline))
        try:
            outcome = answer.result(timeout)
        except FutureTimeout:
            self.kill()
            message = f"RequestId: {invocation.request_id} Error: Task timed out after {timeout:.2f} seconds"
            return Outcome.failed("Sandbox.Timedout", message)
        # What was printed before the answer is in the log when the caller has it.
        self._drain()
        return outcome if outcome.payload else self._exit_error(invocation.request_id)

    def kill(self) -> None:
        """End the process at once, whatever it is doing (SIGKILL). Returns when it is gone."""
        self._process.kill()
        self._watcher.join(10)

    def _exit_error(self, request_id: str) -> Outcome:
        code = self._process.wait()
        how = f"signal: {'killed' if code == -9 else -code}" if code < 0 else f"exit status {code}"
        return Outcome.failed("Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited with error: {how}")

    def _watch(self) -> None:
        """Collects what the process prints and notices its end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while selector.select() and self._drain():
                pass
        self._process.wait()
        assert self._process.stdout is not None
        with self._drain_lock:
            self._process.stdout.close()
            self._output = -1  # its number is soon another file's, and what that has is not ours to read
        self._next.put(None)
        if not self._ready.done():
            self._ready.set_result(None)
        answer = self._answer
        if answer is not None and not answer.done():
            answer.set_result(Outcome(b""))  # no answer: the caller says how it died
        self._api.shutdown()
        self._api.server_close()

    def _drain(self) -> bool:
        """Take in what has been printed so far; False at the end."""
        with self._drain_lock:
            while True:
                try:
                    chunk = os.read(self._output, 65536)
                except BlockingIOError:
                    return True
                except (OSError, ValueError):
                    return False
                *lines, self._unfinished = (self._unfinished + chunk).split(b"\n")
                if not chunk and self._unfinished:
                    lines, self._unfinished = [*lines, self._unfinished], b""
                for line in lines:
                    self._on_line(line.decode(errors="replace"))
                if not chunk:
                    return False

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        process = self

        class RuntimeApi(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two writes; waiting between them costs 40 ms

            def do_GET(self) -> None:
                # Who asks for an invocation has started.
                if not process._ready.done():
                    process._ready.set_result(None)
                invocation = process._next.get()
                if invocation is None:
                    self.close_connection = True
                    return
                headers = {
                    "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                    "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
                    "Lambda-Runtime-Trace-Id": _trace_id(invocation.request_id),
                }
                self._answer(200, invocation.event, headers)

            def do_POST(self) -> None:
                body = body_of(self.headers, self.rfile)
                if self.path.endswith("/init/error"):
                    process._init_error = Outcome.reported(body)
                    if not process._ready.done():
                        process._ready.set_result(None)
                elif process._answer is not None and not process._answer.done():
                    failed = self.path.endswith("/error")
                    # Not empty: an empty payload means here that no answer came.
                    process._answer.set_result(Outcome.reported(body) if failed else Outcome(body or b"null"))
                self._answer(202, b'{"status":"OK"}', {})

            def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Type": "application/json"}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return RuntimeApi


def _trace_id(request_id: str) -> str:
    digits = request_id.replace("-", "")
    return f"Root=1-{digits[:8]}-{digits[8:32]};Parent={digits[:16]};Sampled=0"
