"""Cold starts: from the start of a function's process until it asks for work, and until it has done its first.

Each function runs under AWS's own runtime client, from a read-only build, in turns with the same step written the usual way.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.folders import STEPS, Folders, Way
from benchmarks.world import World

LONGEST = 60.0
"""Seconds after which a process has failed to start or to answer."""


class NotMeasured(Exception):
    """A process did not start, or did not answer well; the message has what it printed."""


class ColdStart(NamedTuple):
    """One process, in seconds. ready: until it asked for its first invocation; answered: until it had answered it.
    processor: CPU time until then; other processes on the machine do not lengthen it."""

    ready: float
    answered: float
    processor: float


class RuntimeApi:
    """Lambda's Runtime API for a single invocation. Serves one process, and notes when it asks and answers."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        self._event = json.dumps(event).encode()
        self.ready: float | None = None
        self.answered: float | None = None
        self.answer: Any = None
        self.error: Any = None
        self._server = HTTPServer(("127.0.0.1", 0), self._handler_class())
        self._server.timeout = LONGEST
        self.address = f"127.0.0.1:{self._server.server_port}"

    def serve(self) -> None:
        """Until the process has answered or given up; or nothing happened for too long."""
        while self.answered is None and self.error is None:
            asked = self.ready
            self._server.handle_request()
            if self.ready == asked and self.answered is None and self.error is None:
                raise NotMeasured("nothing happened")

    def close(self) -> None:
        self._server.server_close()

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = LONGEST

            def do_GET(self) -> None:
                api.ready = time.perf_counter()
                headers = {
                    "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
                    "Lambda-Runtime-Deadline-Ms": str(int((time.time() + LONGEST) * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:bench",
                    "Lambda-Runtime-Trace-Id": f"Root=1-5759e988-{uuid.uuid4().hex[:24]};Parent=53995c3f42cd8ad8;Sampled=1",
                }
                self._reply(200, api._event, headers)

            def do_POST(self) -> None:
                at = time.perf_counter()
                body = json.loads(self._body() or b"null")
                if self.path.endswith("/response"):
                    api.answered, api.answer = at, body
                else:
                    api.error = body
                self.close_connection = True
                self._reply(202, b'{"status":"OK"}', {})

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                return b"".join(parts)

            def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def start(runtime: Path, way: Way, step: str, event: Mapping[str, Any], environment: Mapping[str, str]) -> ColdStart:
    """Start one function's process, have it answer one invocation, end it. Raises NotMeasured."""
    folder = way.functions / step
    api = RuntimeApi(event)
    environment = {
        **environment,
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "LAMBDA_TASK_ROOT": str(folder),
        "PYTHONPATH": os.pathsep.join(map(str, (folder, way.packages, runtime))),
        "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's file system is read-only
        "PYTHONUTF8": "1",
        "_HANDLER": "app.lambda_handler",
    }
    # -S: not the packages of the interpreter that measures, only those of the folders.
    command = [sys.executable, "-S", "-m", "awslambdaric", "app.lambda_handler"]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        api.serve()
    except NotMeasured:
        pass
    finally:
        process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        api.close()
        assert process.stdout is not None
        printed = process.stdout.read().decode(errors="replace")
        process.stdout.close()
    if api.ready is None or api.answered is None:
        raise NotMeasured(f"{step} ({way.name}) did not answer: {api.error}\n{printed[-3000:]}")
    return ColdStart(api.ready - started, api.answered - started, usage.ru_utime + usage.ru_stime)
