"""Cold starts: from the start of a function's process until it asks for work, and until it has done its first.

Each function runs under AWS's own runtime client from a read-only build, in turns with the same step written the usual
way.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from benchmarks.folders import STEPS, Folders, Way
from benchmarks.world import QuietServer, World
from sandbox.bodies import body_of

FIGURES = ("ready", "answered", "processor")

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
        self.over = threading.Event()
        self._server = QuietServer(("127.0.0.1", 0), self._handler_class())
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> RuntimeApi:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = LONGEST

            def do_GET(self) -> None:
                if api.ready is not None:  # it would take a second invocation: there is none
                    self.close_connection = True
                    return
                api.ready = time.perf_counter()
                headers = {
                    "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
                    "Lambda-Runtime-Deadline-Ms": str(int((time.time() + LONGEST) * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:bench",
                    "Lambda-Runtime-Trace-Id": f"Root=1-5759e988-{uuid.uuid4().hex[:24]};Sampled=1",
                }
                self._reply(200, api._event, headers)

            def do_POST(self) -> None:
                at = time.perf_counter()
                body = json.loads(body_of(self.headers, self.rfile) or b"null")
                if self.path.endswith("/response"):
                    api.answered, api.answer = at, body
                else:
                    api.error = body
                api.over.set()
                self._reply(202, b'{"status":"OK"}', {})

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


def start(
    folders: Folders, way: Way, step: str, event: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[ColdStart, Any]:
    """Start one function's process, have it answer one invocation, end it. Out: with its answer. Raises NotMeasured."""
    folder = way.functions / step
    # -S: only the packages of the folders, none that the interpreter has besides.
    command = [folders.python, "-S", "-m", "awslambdaric", "app.lambda_handler"]
    with RuntimeApi(event) as api, tempfile.TemporaryFile() as output:
        environment = {
            **environment,
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "LAMBDA_TASK_ROOT": str(folder),
            "PYTHONPATH": os.pathsep.join(map(str, (folder, way.packages, folders.runtime))),
            "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's file system is read-only
            "PYTHONUTF8": "1",
            "_HANDLER": "app.lambda_handler",
        }
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        api.over.wait(LONGEST)
        process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read().decode(errors="replace")
    if api.ready is None or api.answered is None:
        raise NotMeasured(f"{step} ({way.name}) did not answer: {api.error}\n{printed[-3000:]}")
    processor = usage.ru_utime + usage.ru_stime
    return ColdStart(api.ready - started, api.answered - started, processor), api.answer


class Comparison(NamedTuple):
    """One step, in all rounds: the processes of each way, in turns. before: empty where no commit was asked for."""

    step: str
    ours: list[ColdStart]
    usual: list[ColdStart]
    usual_compiled: list[ColdStart]
    before: Sequence[ColdStart] = ()

    def ratio(self, other: Sequence[ColdStart], what: str) -> float:
        """Ours to the other's: the median of the rounds' ratios."""
        pairs = zip(self.ours, other, strict=True)
        return statistics.median(getattr(one, what) / getattr(two, what) for one, two in pairs)


def median(starts: list[ColdStart], what: str) -> float:
    """A figure's median, in milliseconds."""
    return 1000 * statistics.median(getattr(start, what) for start in starts)


def compare(
    folders: Folders, world: World, rounds: int, progress: Callable[[str], None], steps: Sequence[str] = STEPS
) -> list[Comparison]:
    """Measure the steps. One start of each comes first and does not count: it brings the files into memory."""
    return [_compare(folders, world, step, rounds, progress) for step in steps]


def _compare(folders: Folders, world: World, step: str, rounds: int, progress: Callable[[str], None]) -> Comparison:
    starts: dict[str, list[ColdStart]] = {way.name: [] for way in folders.ways}
    for number in range(rounds + 1):
        progress(f"{step}: {'warming up' if number == 0 else f'round {number} of {rounds}'}")
        for way in folders.ways if number % 2 else reversed(folders.ways):
            scene = world.reset()
            event = world.event(step, scene)
            measured, answer = start(folders, way, step, event, world.environment(step))
            if not world.did(step):
                raise NotMeasured(f"{step} ({way.name}) did not do its work: {answer}")
            if number:
                starts[way.name].append(measured)
    ours, usual, compiled, *before = (starts[way.name] for way in folders.ways)
    return Comparison(step, ours, usual, compiled, *before)
