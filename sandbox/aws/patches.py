"""Where moto differs from AWS in ways that matter here, put right while a sandbox runs.

Each correction says what AWS does. All of them are undone when the sandbox stops.
"""

from __future__ import annotations

import copy
import logging
import re
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from functools import cache
from inspect import signature
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import yaml
from moto import backends
from moto.awslambda import models as lambda_models
from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.core.base_backend import BackendDict, backend_lock
from moto.core.config import default_user_config
from moto.core.exceptions import AWSError
from moto.dynamodb import models as dynamodb_models
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler
from moto.stepfunctions.exceptions import InvalidName
from moto.stepfunctions.parser.api import InvalidDefinition as MotosInvalidDefinition
from moto.stepfunctions.parser.asl.antlr.runtime.ASLParser import ASLParser
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEventException
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.common.retry.retrier_decl import RetrierDecl
from moto.stepfunctions.parser.asl.component.eval_component import EvalComponent
from moto.stepfunctions.parser.asl.component.program.program import Program
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.timestamp import Timestamp
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.asl.parse import asl_parser
from moto.stepfunctions.parser.asl.parse.preprocessor import Preprocessor
from moto.stepfunctions.parser.asl.utils import boto_client, json_path
from moto.stepfunctions.parser.backend.execution import Execution
from moto.stepfunctions.parser.models import StepFunctionsParserBackend

from sandbox.aws.exports import Export, export_table_to_point_in_time
from sandbox.aws.lambdas import Functions

# It warns of a map's tolerated failures each time it reads one: where a child fails, moto fails the whole map.
logging.getLogger("moto.stepfunctions.parser.asl.parse.preprocessor").setLevel(logging.ERROR)


class InvalidDefinition(AWSError):
    """With the error code moto's own forgets."""

    TYPE = "InvalidDefinition"
    STATUS = 400


_TokenStream = asl_parser.CommonTokenStream

FORBIDDEN_IN_NAMES = re.compile(r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]")
"""What an execution's name must not contain (StartExecution in the API reference)."""


@dataclass(frozen=True)
class Running:
    """A sandbox that runs, known by its AWS account. port: of its AWS; wait_scale: of its Retry and Wait."""

    functions: Functions
    wait_scale: float
    port: int


_running: dict[str, Running] = {}
_applied = ExitStack()
_lock = threading.Lock()
_current = threading.local()


@contextmanager
def waiting_less(account: str, scale: float) -> Iterator[None]:
    """Multiply the waits of a sandbox that runs by this for a while."""
    usual = _running[account]
    _running[account] = replace(usual, wait_scale=scale)
    try:
        yield
    finally:
        _running[account] = usual


@contextmanager
def corrected(account: str, running: Running) -> Iterator[None]:
    """Apply all corrections while a sandbox runs. Those of one process share them and are told apart by account."""
    with _lock:
        if not _running:
            _apply(_applied)
        _running[account] = running
    try:
        yield
    finally:
        with _lock:
            del _running[account]
            if not _running:
                # Closed, it can be filled again by the next sandbox.
                _applied.close()


def _forget_other_accounts() -> None:
    """Reset moto, as each `mock_aws` of a test in this process does, but for the accounts of sandboxes that run."""
    with backend_lock:
        for backend in BackendDict._instances:
            for account in set(backend) - set(_running):
                backend.pop(account).reset()
        BackendDict._instances[:] = filter(None, BackendDict._instances)


def _apply(stack: ExitStack) -> None:
    def patch(target: Any, name: str, value: Any) -> None:
        stack.enter_context(mock.patch.object(target, name, value))

    config = {"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}
    stack.enter_context(mock.patch.dict(default_user_config, config))
    patch(lambda_models, "do_validate_s3", lambda: False)  # code stays in its folders, there is no bucket to look into
    modules = tuple(backends.list_of_moto_modules())  # moto lists its folders twice for every request
    patch(backends, "list_of_moto_modules", lambda: modules)
    patch(BackendDict, "reset", _forget_other_accounts)
    patch(boto_client, "moto_server_port", lambda: str(next(reversed(_running.values())).port))
    patch(LambdaSimpleBackend, "invoke", _invoke_over_http)
    patch(lambda_eval_utils, "_invoke_lambda_function", _invoke_from_state_machine)
    patch(retrier_decl, "time", SimpleNamespace(sleep=lambda seconds: time.sleep(seconds * _current.wait_scale)))
    patch(RetrierDecl, "_eval_body", _scaled_retry(RetrierDecl._eval_body))
    patch(WaitFunction, "_eval_body", _wait)
    patch(Timestamp, "_get_wait_seconds", _seconds_until)
    patch(Preprocessor, "__init__", _with_own_scopes)
    patch(asl_parser, "ASLParser", _ParsedOnce)
    patch(asl_parser, "CommonTokenStream", lambda lexer: lexer)
    patch(json_path, "parse", cache(json_path.parse))
    patch(Table, "query", _of_one_key(Table.query))
    patch(Table, "all_items", _all_or_one_key(Table.all_items))
    patch(DynamoDBBackend, "transact_write_items", _with_small_backup(DynamoDBBackend.transact_write_items))
    stack.enter_context(mock.patch.object(Table, "__deepcopy__", _backup, create=True))
    patch(dynamodb_models, "TableExport", Export)
    patch(DynamoHandler, "export_table_to_point_in_time", export_table_to_point_in_time)
    # An execution that fails tells so in its history; moto would also print its inner life to stderr.
    patch(EvalComponent, "_log_failure_event_exception", lambda self, failure_event_exception: None)
    patch(Program, "eval", _unless_stopped(Program.eval))
    # One that begins has no status yet, and moto cannot tell it; in AWS it runs as soon as there is one.
    patch(Execution, "status", property(lambda self: self.exec_status.value if self.exec_status else "RUNNING"))
    patch(
        StepFunctionsParserBackend,
        "start_execution",
        _checked_name(StepFunctionsParserBackend.start_execution),
    )
    patch(
        StepFunctionsParserBackend,
        "_validate_definition",
        staticmethod(_stricter_definition(StepFunctionsParserBackend._validate_definition)),
    )


def _with_own_scopes(preprocessor: Preprocessor) -> None:
    """moto keeps the scopes of a definition on the class: executions that start at the same moment lose theirs, and
    those never end.
    """
    preprocessor._query_language_per_scope = []


def _unless_stopped(evaluate: Callable[[Program, Any], None]) -> Callable[[Program, Any], None]:
    """A branch that is stopped before it begins ends; in moto its thread dies and the Parallel waits for ever."""

    def evaluated(self: Program, env: Any) -> None:
        try:
            evaluate(self, env)
        except RuntimeError:
            if env.program_state() is None or env.is_running():
                raise

    return evaluated


class _ParsedOnce:
    """moto parses a definition for each execution anew, which is a third of all that it does. What becomes of the tree
    is made anew, the tree is kept. In place of moto's parser; in: the lexer.
    """

    _trees: ClassVar[dict[str, Any]] = {}

    def __init__(self, lexer: Any) -> None:
        self._lexer = lexer
        self._listeners: list[Any] = []

    def removeErrorListeners(self) -> None:
        self._listeners.clear()

    def addErrorListener(self, listener: Any) -> None:
        self._listeners.append(listener)

    def state_machine(self) -> Any:
        definition = self._lexer.inputStream.strdata
        if definition in self._trees:
            return self._trees[definition]
        parser = ASLParser(_TokenStream(self._lexer))
        parser.removeErrorListeners()
        for listener in self._listeners:
            parser.addErrorListener(listener)
        tree = parser.state_machine()
        # The listeners are told of mistakes while it is parsed, so that one with mistakes has to be parsed each time.
        if not any(listener.errors for listener in self._listeners):
            self._trees[definition] = tree
        return tree


def _of_one_key(query: Callable[..., Any]) -> Callable[..., Any]:
    """moto sorts a whole table to find the few items of one key; this looks where they are."""

    named = signature(query)

    def quick(self: Table, *given: Any, **more: Any) -> Any:
        arguments = named.bind(self, *given, **more).arguments
        # moto keeps items by the table's key only: an index is left to its own way.
        _current.hash_key = None if arguments.get("index_name") else arguments["hash_key"]
        try:
            return query(self, *given, **more)
        finally:
            _current.hash_key = None

    return quick


def _all_or_one_key(all_items: Callable[[Table], list[Any]]) -> Callable[[Table], list[Any]]:
    def some(self: Table) -> list[Any]:
        key = getattr(_current, "hash_key", None)
        if key is None or not self.range_key_attr:
            return all_items(self)
        items: Any = self.items
        return list(items[key].values()) if key in items else []  # the query sorts them

    return some


def _scale(env: Any) -> float:
    return _running[env.aws_execution_details.account].wait_scale


def _invoke_over_http(
    backend: LambdaSimpleBackend,
    function_name: str,
    qualifier: str | None,
    body: Any,
    headers: Any,
    response_headers: Any,
) -> bytes:
    """moto would answer with the event; run the function."""
    functions = _running[backend.account_id].functions
    try:
        functions.find(function_name)
    except KeyError:
        raise UnknownFunctionException(function_name) from None
    event = body.encode() if isinstance(body, str) else bytes(body or b"{}")
    kind = headers.get("X-Amz-Invocation-Type", "RequestResponse")
    if kind == "DryRun":
        return b""
    if kind == "Event":
        functions.call_later(function_name, event)
        return b""
    outcome = functions.call(function_name, event)
    response_headers["x-amz-executed-version"] = "$LATEST"
    if outcome.error_type is not None:
        response_headers["x-amz-function-error"] = "Unhandled"
    return outcome.payload


def _invoke_from_state_machine(parameters: dict[str, Any], region: str, state_credentials: Any) -> dict[str, Any]:
    """Spares each task a boto3 client and two HTTP requests."""
    arn = parameters["FunctionName"]
    outcome = _running[arn.split(":")[4]].functions.call(arn, parameters["Payload"])
    response = {"StatusCode": 200, "ExecutedVersion": "$LATEST", "Payload": outcome.value()}
    if outcome.error_type is not None:
        response["FunctionError"] = "Unhandled"
    return response


def _scaled_retry(evaluate: Callable[..., None]) -> Callable[..., None]:
    def scaled(self: RetrierDecl, env: Any) -> None:
        _current.wait_scale = _scale(env)
        evaluate(self, env)

    return scaled


def _wait(self: WaitFunction, env: Any) -> None:
    """A Wait state that can be shortened, and that is over at once when its execution is stopped."""
    deadline = time.monotonic() + self._get_wait_seconds(env=env) * _scale(env)
    while env.is_running() and (left := deadline - time.monotonic()) > 0:
        env.program_state_event.wait(left)


def _seconds_until(self: Timestamp, env: Any) -> float:
    """AWS compares with the time in UTC, to the second before; moto with the local time."""
    self.string.eval(env=env)
    given = env.stack.pop()
    moment = self._from_timestamp_string(given)
    if moment is None:
        raise FailureEventException(self._create_failure_event(env, given))
    return moment.replace(tzinfo=UTC).timestamp() - time.time()


def _with_small_backup(transact: Callable[..., None]) -> Callable[..., None]:
    """AWS takes as long for a transaction whatever the table holds; moto copies the table once for each item in it, in
    case it has to undo something. This copies, once, what the transaction writes to, and shares the rest.
    """

    def small(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        _current.backups, _current.writes = {}, [next(iter(item.values())) for item in transact_items]
        try:
            transact(self, transact_items)
        finally:
            del _current.backups, _current.writes

    return small


def _backup(table: Table, memo: Any) -> Table:
    """A table's copy for the transaction that this thread is in: several sandboxes may each have one at a time."""
    backups: dict[str, Table] | None = getattr(_current, "backups", None)
    if backups is None:  # moto's own backups of tables
        whole = copy.copy(table)
        whole.__dict__ = copy.deepcopy(table.__dict__, memo)
        return whole
    if table.name not in backups:
        keys = [w.get("Key") or w.get("Item") for w in _current.writes if w.get("TableName") == table.name]
        written = {DynamoType(key[table.hash_key_attr]) for key in keys if key and table.hash_key_attr in key}
        backups[table.name] = shared = copy.copy(table)
        items: Any = table.items
        shared.items = defaultdict(
            dict, {key: copy.deepcopy(value) if key in written else value for key, value in items.items()}
        )
    return backups[table.name]


def _checked_name(start: Callable[..., Any]) -> Callable[..., Any]:
    """AWS refuses names over 80 characters or with forbidden ones, and makes one up when there is none."""

    def checked(
        self: StepFunctionsParserBackend,
        state_machine_arn: str,
        name: str | None = None,
        execution_input: str | None = None,
        trace_header: str | None = None,
    ) -> Any:
        if name is None:
            name = str(uuid.uuid4())
        elif not 1 <= len(name) <= 80 or FORBIDDEN_IN_NAMES.search(name):
            raise InvalidName(f"Invalid Name: '{name}'")
        return start(self, state_machine_arn, name, execution_input, trace_header)

    return checked


def _stricter_definition(validate: Callable[..., None]) -> Callable[[str], None]:
    """AWS refuses a state machine that leads to a state it does not have."""

    def stricter(definition: str) -> None:
        try:
            validate(definition=definition)
        except MotosInvalidDefinition as error:
            raise InvalidDefinition(error.message) from None
        problems = dangling_transitions(yaml.safe_load(definition))
        if problems:
            raise InvalidDefinition(f"Invalid State Machine Definition: 'MISSING_TRANSITION_TARGET: {problems}'")

    return stricter


def dangling_transitions(machine: dict[str, Any]) -> list[str]:
    """The transitions of a state machine that lead nowhere, as ``state -> target``."""
    states = machine.get("States", {})
    found = [] if machine.get("StartAt") in states else [f"StartAt -> {machine.get('StartAt')}"]
    for name, state in states.items():
        targets = [state.get("Next"), state.get("Default")]
        targets += [rule.get("Next") for rule in (*state.get("Choices", ()), *state.get("Catch", ()))]
        found += [f"{name} -> {target}" for target in targets if target is not None and target not in states]
        inner = [*state.get("Branches", ()), state.get("Iterator"), state.get("ItemProcessor")]
        for machine_inside in filter(None, inner):
            found += dangling_transitions(machine_inside)
    return found
