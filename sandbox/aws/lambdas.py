"""Lambda on one machine: each function in processes of its own, and what Lambda does around them.

A function gets exactly the environment its template gives it, plus what Lambda itself sets, plus what the sandbox's
caller adds (such as REQUESTS_CA_BUNDLE). Nothing of this process's environment leaks in.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sandbox.aws.calls import CALLER
from sandbox.aws.runtime import FunctionProcess, Invocation, Outcome
from sandbox.aws.template import FunctionSource

ASYNC_DELAYS = (60.0, 120.0)
"""Seconds Lambda waits before the first and the second retry of an asynchronous invocation."""


class FunctionError(Exception):
    """A function ended with an error. error_type: its name; payload: Lambda's error object."""

    def __init__(self, error_type: str, payload: Any) -> None:
        super().__init__(f"{error_type}: {payload.get('errorMessage') if isinstance(payload, dict) else payload}")
        self.error_type = error_type
        self.payload = payload


@dataclass
class AsyncConfig:
    """What happens to an asynchronous invocation that fails: retries, then a message to the queue with this ARN."""

    retries: int = 2
    on_failure: str | None = None


@dataclass
class Function:
    """A deployed function: its names, its source, its environment and its processes."""

    logical_id: str
    name: str
    arn: str
    source: FunctionSource
    environment: Mapping[str, str]
    slots: threading.Semaphore
    asynchronous: AsyncConfig = field(default_factory=AsyncConfig)
    idle: list[FunctionProcess] = field(default_factory=list)
    processes: set[FunctionProcess] = field(default_factory=set)
    cold_starts: int = 0


class Functions:
    """All functions of a stack, by logical ID.

    `logs`: logical ID -> every line the function's processes printed, oldest first. What was printed before an answer
    is in it when `invoke` returns.
    """

    def __init__(
        self,
        region: str,
        environment: Mapping[str, str],
        concurrency: int,
        wait_scale: float,
        send_message: Callable[[str, str], None],
    ) -> None:
        self.logs: dict[str, list[str]] = {}
        self._region = region
        self._environment = dict(environment)
        self._concurrency = concurrency
        self._wait_scale = wait_scale
        self._send_message = send_message
        self._functions: dict[str, Function] = {}
        self._by_name: dict[str, Function] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def add(
        self, logical_id: str, name: str, arn: str, source: FunctionSource, environment: Mapping[str, str]
    ) -> Function:
        """Make a function known. Its first process starts with its first invocation."""
        slots = threading.Semaphore(self._concurrency)
        function = Function(logical_id, name, arn, source, environment, slots)
        self._functions[logical_id] = self._by_name[name] = self._by_name[arn] = function
        self.logs[logical_id] = []
        return function

    def all(self) -> list[Function]:
        return list(self._functions.values())

    def find(self, reference: str) -> Function:
        """By logical ID, name or ARN. Raises KeyError."""
        return self._functions.get(reference) or self._by_name[reference]

    def invoke(self, reference: str, event: Any) -> Any:
        """Invoke and wait. Out: what the handler returned. Raises FunctionError."""
        outcome = self.call(reference, json.dumps(event).encode())
        if outcome.error_type is not None:
            raise FunctionError(outcome.error_type, outcome.value())
        return outcome.value()

    def call(self, reference: str, event: bytes) -> Outcome:
        """Invoke with a JSON event and wait. Beyond `concurrency` calls at once a call waits for its turn."""
        function = self.find(reference)
        with function.slots:
            process = self._take(function)
            try:
                # Without a deadline yet: its time counts from when the process is ready.
                return process.run(Invocation(str(uuid.uuid4()), event, function.arn, 0.0), function.source.timeout)
            finally:
                with self._lock:
                    # One that was killed meanwhile is none of the function's any more.
                    if process.alive and process in function.processes:
                        function.idle.append(process)
                    else:
                        function.processes.discard(process)

    def call_later(self, reference: str, event: bytes) -> Future[Outcome]:
        """Invoke asynchronously, as event sources do: retried after a failure, then given up to the failure queue.

        The retries' delays are scaled by wait_scale. Out: the last attempt's outcome, once there is one.
        """
        function = self.find(reference)
        future: Future[Outcome] = Future()

        def attempt() -> None:
            outcome = self.call(reference, event)
            attempts = 1
            for delay in ASYNC_DELAYS[: function.asynchronous.retries]:
                # Not a sleep, so that a sandbox that stops need not wait for a retry.
                if outcome.error_type is None or self._stopped.wait(delay * self._wait_scale):
                    break
                outcome = self.call(reference, event)
                attempts += 1
            if outcome.error_type is not None and function.asynchronous.on_failure and not self._stopped.is_set():
                message = _failure_record(function, event, outcome, attempts)
                self._send_message(function.asynchronous.on_failure, message)
            future.set_result(outcome)

        threading.Thread(target=attempt, daemon=True, name=f"asynchronous {function.logical_id}").start()
        return future

    @contextmanager
    def limited(self, seconds: float, *references: str) -> Iterator[None]:
        """While it lasts, these functions run no longer than that."""
        functions = [self.find(reference) for reference in references]
        usual = [function.source for function in functions]
        for function in functions:
            function.source = replace(function.source, timeout=min(function.source.timeout, seconds))
        try:
            yield
        finally:
            for function, source in zip(functions, usual, strict=True):
                function.source = source

    def kill(self, reference: str) -> int:
        """End all processes of a function at once; calls under way get Runtime.ExitError. Out: how many died."""
        function = self.find(reference)
        with self._lock:
            doomed = [p for p in function.processes if p.alive]
            function.processes.clear()
            function.idle.clear()
        # Without the lock, which the calls that die need to give their process back.
        for process in doomed:
            process.kill()
        return len(doomed)

    def kill_one(self, reference: str, choose: Callable[[Sequence[FunctionProcess]], FunctionProcess]) -> bool:
        """End one process of a function that is at work, as when its machine fails. Out: whether there was one."""
        function = self.find(reference)
        with self._lock:
            working = [p for p in function.processes if p.alive and p not in function.idle]
        if not working:
            return False
        choose(working).kill()
        return True

    def cold_starts(self, reference: str) -> int:
        """How many processes were started for this function."""
        return self.find(reference).cold_starts

    def stop(self) -> None:
        """End all processes."""
        self._stopped.set()
        for logical_id in self._functions:
            self.kill(logical_id)

    def _take(self, function: Function) -> FunctionProcess:
        with self._lock:
            while function.idle:
                process = function.idle.pop()
                if process.alive:
                    return process
                function.processes.discard(process)
            function.cold_starts += 1
            process = FunctionProcess(
                function.source.handler,
                function.source.folder,
                function.source.layers,
                self._process_environment(function),
                self.logs[function.logical_id].append,
            )
            function.processes.add(process)
            return process

    def _process_environment(self, function: Function) -> dict[str, str]:
        lambdas_own = {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "en_US.UTF-8",
            "PYTHONUTF8": "1",
            "TZ": ":UTC",
            "AWS_REGION": self._region,
            "AWS_DEFAULT_REGION": self._region,
            "AWS_ACCESS_KEY_ID": f"{CALLER}{function.logical_id}",  # each function has a role of its own
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_SESSION_TOKEN": "sandbox",
            # botocore says it in its User-Agent, by which the server knows the requests of functions.
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.source.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "sandbox",
            "AWS_LAMBDA_LOG_FORMAT": function.source.log_format,
            "LAMBDA_TASK_ROOT": str(function.source.folder),
            "_HANDLER": function.source.handler,
        }
        # The sandbox's last: nothing in a template can lead a function out to the real AWS.
        return {**lambdas_own, **function.environment, **self._environment}


def _failure_record(function: Function, event: bytes, outcome: Outcome, attempts: int) -> str:
    """What Lambda sends to an on-failure destination."""
    return json.dumps(
        {
            "version": "1.0",
            "timestamp": datetime.now(UTC).isoformat(),
            "requestContext": {
                "functionArn": f"{function.arn}:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": attempts,
            },
            "requestPayload": json.loads(event),
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": "Unhandled",
            },
            "responsePayload": outcome.value(),
        }
    )
