"""Checks every ``statemachines/*.asl.yaml`` against itself, against the error classes and against ``template.yaml``.

Neither CloudFormation nor cfn-lint nor SAM notices before the deployment, or the first failure in production, that a
``Next`` leads nowhere or that a ``Retry`` names an error nobody raises. One line a finding: ``file: state: problem``.

Rules with a source outside this repository follow the Amazon States Language specification and the Step Functions
developer guide (error names, quotas, retry fields).

A ``StartAt`` or ``Next`` may be a placeholder for which the template chooses between names of states (``!If``): the
definition is then checked with each of them, since AWS refuses states that nothing leads to in any deployment.

A Task that has no Catch, or no Retry, on purpose says why in a YAML comment inside the state:
``# no catch: <reason>``, ``# no retry: <reason>``.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from tools.sam_template import logical_id, names_chosen, read_template, state_machines, timeout

ROOT = Path(__file__).resolve().parent.parent
ERRORS_MODULE = "closedwon.domain.errors"
NAME_LIMIT = 80

COMMON_FIELDS = {"Type", "Comment", "InputPath", "OutputPath", "QueryLanguage", "Assign", "Output"}
FLOW = {"Next", "End"}
RESULT = {"ResultPath", "ResultSelector", "Parameters", "Arguments"}
FAULTS = {"Retry", "Catch"}
TIMES = {"TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSeconds", "HeartbeatSecondsPath"}
ITEMS = {
    "ItemsPath",
    "Items",
    "ItemReader",
    "ItemSelector",
    "ItemBatcher",
    "ItemProcessor",
    "Iterator",
    "ResultWriter",
}
WAITS = {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"}
MAP_ONLY = {
    "MaxConcurrency",
    "MaxConcurrencyPath",
    "Label",
    "ToleratedFailurePercentage",
    "ToleratedFailureCount",
}
FIELDS = {
    "Task": FLOW | RESULT | FAULTS | TIMES | {"Resource", "Credentials"},
    "Pass": FLOW | {"Result", "ResultPath", "Parameters"},
    "Wait": FLOW | WAITS,
    "Choice": {"Choices", "Default"},
    "Parallel": FLOW | RESULT | FAULTS | {"Branches"},
    "Map": FLOW | RESULT | FAULTS | ITEMS | MAP_ONLY,
    "Succeed": set(),
    "Fail": {"Error", "ErrorPath", "Cause", "CausePath"},
}
RETRY_FIELDS = {
    "ErrorEquals",
    "IntervalSeconds",
    "MaxAttempts",
    "BackoffRate",
    "MaxDelaySeconds",
    "JitterStrategy",
}
CATCH_FIELDS = {"ErrorEquals", "ResultPath", "Next", "Assign", "Output"}
WHOLE_NUMBERS = {
    "TimeoutSeconds": 1,
    "HeartbeatSeconds": 1,
    "Seconds": 0,
    "IntervalSeconds": 1,
    "MaxAttempts": 0,
    "MaxDelaySeconds": 1,
    "MaxConcurrency": 0,
}

AWS_ERROR = re.compile(
    r"States\.(?:ALL|BranchFailed|DataLimitExceeded|ExceedToleratedFailureThreshold|HeartbeatTimeout|Http\.Socket"
    r"|IntrinsicFailure|ItemReaderFailed|NoChoiceMatched|ParameterPathFailure|Permissions|QueryEvaluationError"
    r"|ResultPathMatchFailure|ResultWriterFailed|Runtime|TaskFailed|Timeout)"
    r"|Lambda\.(?:AWSLambdaException|ClientExecutionTimeoutException|ResourceNotReadyException|SdkClientException"
    r"|ServiceException|TooManyRequestsException|Unknown)"
    r"|Runtime\.(?:ExitError|HandlerNotFound|ImportModuleError|InvalidEntrypoint|LambdaContextUnmarshalError"
    r"|MalformedHandlerName|MarshalError|OutOfMemory|UnmarshalError|Unknown|UserCodeSyntaxError)"
    r"|Sandbox\.Timedout"
    r"|(?:DynamoDb|DynamoDB|S3|Sfn|StepFunctions|Sns|Sqs|SecretsManager)\.[A-Z]\w+"
)
EVERYTHING = {"States.ALL", "States.TaskFailed"}
PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
DOCUMENTED = {kind: re.compile(rf"#\s*no {kind.lower()}:\s*\w", re.IGNORECASE) for kind in ("Retry", "Catch")}


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which PyYAML would quietly keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, key_node in zip(keys, node.value, strict=False):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", key_node[0].start_mark)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class ErrorNames:
    """The error classes a state machine may name. Out of reach of `raised`: base classes, which nobody raises."""

    transient: frozenset[str]
    permanent: frozenset[str]
    raised: frozenset[str]
    module: str

    @classmethod
    def of(cls, module: ModuleType) -> ErrorNames:
        """Read a module that has the classes `Transient` and `Permanent` and their subclasses."""
        classes = [kind for kind in vars(module).values() if _is_own_error(kind, module)]
        bases = {base for kind in classes for base in kind.__mro__[1:]}
        leaves = [kind for kind in classes if kind not in bases]

        def below(base: type) -> frozenset[str]:
            return frozenset(kind.__name__ for kind in leaves if issubclass(kind, base))

        return cls(below(module.Transient), below(module.Permanent), below(Exception), module.__name__)


@dataclass
class Machine:
    """One definition: its file, the placeholders it uses, the errors its retries name, and what is wrong with it."""

    path: Path
    errors: ErrorNames
    states: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Placeholders that stand for a state, with the names the template may give them."""
    problems: list[str] = field(default_factory=list)
    placeholders: set[str] = field(default_factory=set)
    retried: set[str] = field(default_factory=set)
    timeouts: list[tuple[str, str, int]] = field(default_factory=list)
    """Tasks: state, placeholder of the function's ARN, TimeoutSeconds."""
    _lines: list[str] = field(default_factory=list)
    _chosen: dict[str, str] = field(default_factory=dict)
    _named: set[str] = field(default_factory=set)

    def wrong(self, state: str, problem: str) -> None:
        """Note a problem of a state, or of the whole definition when `state` is ``-``: once, however often found."""
        if (line := f"{self.path.name}: {state}: {problem}") not in self.problems:
            self.problems.append(line)

    def read(self) -> None:
        """Parse and check the file; everything found is in the attributes."""
        text = self.path.read_text(encoding="utf-8")
        self._lines = text.splitlines()
        try:
            for token in yaml.scan(text, Loader=yaml.SafeLoader):
                if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
                    line = token.start_mark.line + 1
                    self.wrong("-", f"line {line}: a YAML anchor or alias, which CloudFormation does not read")
            definition = _Loader(text).get_single_data()
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            self.wrong("-", f"is not YAML: {' '.join(str(error).split())}")
            return
        if not isinstance(definition, dict) or not isinstance(node, yaml.MappingNode):
            self.wrong("-", "is not a state machine: no StartAt and States")
            return
        for value in _texts(definition):
            self.placeholders.update(PLACEHOLDER.findall(value))
        if not definition.get("Comment"):
            self.wrong("-", "has no Comment")
        for chosen in product(*self.states.values()):
            self._chosen = {f"${{{name}}}": state for name, state in zip(self.states, chosen, strict=True)}
            self.timeouts.clear()
            self._named.clear()
            self._scope(definition, node, "-")

    def _scope(self, scope: Any, node: yaml.Node | None, where: str) -> None:
        """Check one StartAt with its States: the whole machine, a branch, or a map's item processor."""
        states = _states_of(scope)
        if states is None:
            self.wrong(where, "no States")
            return
        start = self._chosen.get(str(scope.get("StartAt")), scope.get("StartAt"))
        if start not in states:
            self.wrong(where, f"StartAt: there is no state {start!r}")
        nodes = _children(_children(node).get("States"))
        leads_to = {name: self._targets(str(name), state, nodes.get(name), states) for name, state in states.items()}
        self._ways({start} & set(states), leads_to, {name for name in states if _ends(states[name])}, where)

    def _targets(self, name: str, state: dict[str, Any], node: yaml.Node | None, states: Container[str]) -> set[str]:
        """Check one state. Out: the states it leads to."""
        targets = {place: self._chosen.get(target, target) for place, target in self._state(name, state, node)}
        for place, target in targets.items():
            if target not in states:
                self.wrong(name, f"{place}: there is no state {target!r}")
        return {target for target in targets.values() if target in states}

    def _ways(self, start: set[str], leads_to: dict[str, set[str]], ends: set[str], where: str) -> None:
        """Every state is reached from the start, and leads to an end."""
        if not ends:
            self.wrong(where, "no state ends the execution")
        reached = _closure(start, leads_to)
        for name in leads_to:
            if name not in reached:
                self.wrong(name, "is never reached")
            elif ends and not (_closure({name}, leads_to) & ends):
                self.wrong(name, "leads to no end")

    def _state(self, name: str, state: dict[str, Any], node: yaml.Node | None) -> Iterator[tuple[str, str]]:
        """Check one state by itself; gives where it leads: the field that says so, and the target."""
        kind = state.get("Type")
        self._name(name)
        if kind not in FIELDS:
            self.wrong(name, f"Type {kind!r} is none of {', '.join(FIELDS)}")
            return
        for unknown in sorted(set(state) - FIELDS[kind] - COMMON_FIELDS):
            self.wrong(name, f"a {kind} state has no field {unknown}")
        if not state.get("Comment"):
            self.wrong(name, "has no Comment")
        self._numbers(name, state)
        yield from self._ways_on(name, state)
        if kind == "Task":
            self._task(name, state, node)
        elif kind == "Wait":
            self._wait(name, state)
        elif kind == "Map":
            self._map(name, state)
        self._inside(name, state, node)
        self._retry(name, state.get("Retry") or [])
        yield from self._catch(name, state.get("Catch") or [])

    def _ways_on(self, name: str, state: dict[str, Any]) -> Iterator[tuple[str, str]]:
        if state["Type"] == "Choice":
            yield from self._choices(name, state)
        elif state["Type"] not in ("Succeed", "Fail"):
            yield from self._next(name, state)

    def _name(self, name: str) -> None:
        if name in self._named:
            self.wrong(name, "another state has this name: names are unique within the whole state machine")
        self._named.add(name)
        if len(name) > NAME_LIMIT:
            self.wrong(name, f"its name is longer than {NAME_LIMIT} characters")

    def _wait(self, name: str, state: dict[str, Any]) -> None:
        if len(set(state) & WAITS) != 1:
            self.wrong(name, f"needs one of {', '.join(sorted(WAITS))}")

    def _map(self, name: str, state: dict[str, Any]) -> None:
        if not state.get("MaxConcurrency") and "MaxConcurrencyPath" not in state:
            self.wrong(name, "no MaxConcurrency: everything at once would throttle whatever it asks")

    def _choices(self, name: str, state: dict[str, Any]) -> Iterator[tuple[str, str]]:
        choices = state.get("Choices") or []
        if not choices:
            self.wrong(name, "no Choices")
        for position, choice in enumerate(choices, start=1):
            yield f"Choices {position}", choice.get("Next")
        if "Default" in state:
            yield "Default", state["Default"]
        else:
            self.wrong(name, "no Default: an unexpected value would fail with States.NoChoiceMatched")

    def _next(self, name: str, state: dict[str, Any]) -> Iterator[tuple[str, str]]:
        if ("Next" in state) == (state.get("End") is True):
            self.wrong(name, "needs either Next or End: true")
        if "Next" in state:
            yield "Next", state["Next"]

    def _inside(self, name: str, state: dict[str, Any], node: yaml.Node | None) -> None:
        """Check the state machines within a state: a Parallel's branches, a Map's processor."""
        branches = _children(node).get("Branches")
        nodes = branches.value if isinstance(branches, yaml.SequenceNode) else []
        for position, (branch, inside) in enumerate(zip(state.get("Branches") or [], nodes, strict=False), start=1):
            self._scope(branch, inside, f"{name}, branch {position}")
        for processor in ("ItemProcessor", "Iterator"):
            if processor in state:
                self._scope(state[processor], _children(node).get(processor), f"{name}, {processor}")

    def _numbers(self, name: str, fields: dict[str, Any], where: str = "") -> None:
        for key, least in WHOLE_NUMBERS.items():
            value = fields.get(key, least)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                self.wrong(name, f"{where}{key} is {value!r}, not a whole number from {least}")

    def _task(self, name: str, state: dict[str, Any], node: yaml.Node | None) -> None:
        resource = state.get("Resource")
        if not isinstance(resource, str):
            self.wrong(name, "no Resource")
        self._timeout(name, state)
        written = self._lines[node.start_mark.line : node.end_mark.line] if node else []
        for kind, pattern in DOCUMENTED.items():
            if not state.get(kind) and not any(pattern.search(line) for line in written):
                self.wrong(name, f"no {kind}, and no comment '# no {kind.lower()}: <reason>'")

    def _timeout(self, name: str, state: dict[str, Any]) -> None:
        resource, timeout = state.get("Resource"), state.get("TimeoutSeconds")
        if timeout is None and "TimeoutSecondsPath" not in state:
            self.wrong(name, "no TimeoutSeconds: a lost answer would hold the execution for a year")
        elif isinstance(resource, str) and isinstance(timeout, int):
            self.timeouts.extend((name, key, timeout) for key in PLACEHOLDER.findall(resource)[:1])

    def _names(self, name: str, place: str, rule: dict[str, Any], last: bool) -> list[str]:
        names = rule.get("ErrorEquals")
        if not isinstance(names, list) or not names:
            self.wrong(name, f"{place}: no ErrorEquals")
            return []
        for error in names:
            if error in self.errors.raised or AWS_ERROR.fullmatch(str(error)):
                continue
            self.wrong(name, f"{place}: {error} is neither an error of AWS nor raised from {self.errors.module}")
        if "States.ALL" in names and (len(names) > 1 or not last):
            self.wrong(name, f"{place}: States.ALL must stand alone and last")
        return names

    def _retry(self, name: str, rules: list[dict[str, Any]]) -> None:
        seen: set[str] = set()
        for position, rule in enumerate(rules, start=1):
            place = f"Retry {position}"
            names = self._names(name, place, rule, position == len(rules))
            for error in names:
                self._retried(name, place, error)
                if error in seen:
                    self.wrong(name, f"{place}: {error} is already retried above, so this is never used")
                seen.add(error)
            self._rhythm(name, place, rule)
        self.retried |= seen

    def _retried(self, name: str, place: str, error: str) -> None:
        if error in self.errors.permanent:
            self.wrong(name, f"{place}: {error} is permanent and must not be retried")
        elif error in EVERYTHING:
            self.wrong(name, f"{place}: {error} would retry permanent errors too")

    def _rhythm(self, name: str, place: str, rule: dict[str, Any]) -> None:
        """Check when a retry tries again."""
        for unknown in sorted(set(rule) - RETRY_FIELDS - {"Comment"}):
            self.wrong(name, f"{place}: there is no field {unknown}")
        self._numbers(name, rule, f"{place}: ")
        backoff = rule.get("BackoffRate", 2.0)
        if not isinstance(backoff, int | float) or backoff < 1:
            self.wrong(name, f"{place}: BackoffRate is {backoff!r}, not a number from 1")
        if rule.get("JitterStrategy", "NONE") not in ("FULL", "NONE"):
            self.wrong(name, f"{place}: JitterStrategy is neither FULL nor NONE")
        longest, first = rule.get("MaxDelaySeconds"), rule.get("IntervalSeconds", 1)
        if isinstance(longest, int) and isinstance(first, int) and longest <= first:
            self.wrong(name, f"{place}: MaxDelaySeconds must be more than IntervalSeconds")

    def _catch(self, name: str, rules: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        for position, rule in enumerate(rules, start=1):
            place = f"Catch {position}"
            self._names(name, place, rule, position == len(rules))
            for unknown in sorted(set(rule) - CATCH_FIELDS - {"Comment"}):
                self.wrong(name, f"{place}: there is no field {unknown}")
            yield place, rule.get("Next", "")


def _is_own_error(kind: Any, module: ModuleType) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == module.__name__


def _texts(value: Any) -> Iterator[str]:
    """Every string within a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _states_of(scope: Any) -> dict[str, dict[str, Any]] | None:
    """The states of a scope by their names; None where it has none."""
    states = scope.get("States") if isinstance(scope, dict) else None
    if not isinstance(states, dict) or not all(isinstance(state, dict) for state in states.values()):
        return None
    return states


def _children(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """A mapping node's values by key; nothing for any other node."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _ends(state: Mapping[str, Any]) -> bool:
    """Whether an execution can end in a state."""
    return state.get("End") is True or state.get("Type") in ("Succeed", "Fail")


def _closure(start: set[str], leads_to: dict[str, set[str]]) -> set[str]:
    """Every state that can come at or after the given ones."""
    reached: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(leads_to.get(name, ()))
    return reached


def check_template(template: Path, machines: Iterable[Machine]) -> list[str]:
    """Compare definitions with the template: placeholders and DefinitionSubstitutions match exactly, both ways; no
    definition lacks a resource; a Task waits longer than its function may take.

    Out: the problems. Raises OSError and yaml.YAMLError when the template cannot be read.
    """
    problems = []
    content = read_template(template)
    by_path = {machine.path.resolve(): machine for machine in machines}
    used: set[Path] = set()
    for declared in state_machines(content):
        where = f"{template.name}: {declared.name}"
        path = declared.definition(template)
        if path is None:
            problems.append(f"{where}: no DefinitionUri")
        elif path not in by_path:
            problems.append(f"{where}: DefinitionUri {declared.uri} is no file that was checked")
        else:
            used.add(path)
            problems += _substitutions(where, declared.given, by_path[path])
            problems += _short_timeouts(content, declared.given, by_path[path])
    for path in sorted(set(by_path) - used):
        problems.append(f"{path.name}: -: no state machine in {template.name} uses it")
    return problems


def _substitutions(where: str, given: Mapping[str, Any], machine: Machine) -> Iterator[str]:
    """Placeholders that the template does not fill, and substitutions that fill none."""
    for missing in sorted(machine.placeholders - set(given)):
        yield f"{where}: DefinitionSubstitutions lacks {missing}, used in {machine.path.name}"
    for unused in sorted(set(given) - machine.placeholders):
        yield f"{where}: substitution {unused} is not used in {machine.path.name}"


def _short_timeouts(content: dict[str, Any], given: Mapping[str, Any], machine: Machine) -> Iterator[str]:
    """Tasks that give up before their function does."""
    for state, placeholder, seconds in machine.timeouts:
        function = logical_id(given.get(placeholder))
        limit = timeout(content, function) if function else None
        if isinstance(limit, int) and seconds <= limit:
            yield (
                f"{machine.path.name}: {state}: TimeoutSeconds {seconds} is not more than {function}'s own Timeout, "
                f"{limit}"
            )


def states_chosen(template: Path, definition: Path) -> dict[str, tuple[str, ...]]:
    """The substitutions of a definition that are plain text, or a choice of two with ``!If``: names of states, where
    they are used as such. Raises OSError and yaml.YAMLError.
    """
    return {
        name: names
        for declared in state_machines(read_template(template))
        if declared.definition(template) == definition.resolve()
        for name, given in declared.given.items()
        if (names := names_chosen(given))
    }


def check(definitions: Iterable[Path], errors: ErrorNames, template: Path | None) -> list[str]:
    """Check definitions together, with the template unless it is None. Out: the problems, none when all is well."""
    machines = [Machine(path, errors, states_chosen(template, path) if template else {}) for path in definitions]
    problems = [] if machines else ["no state machine found"]
    for machine in machines:
        machine.read()
        problems += machine.problems
    if machines:
        retried = {error for machine in machines for error in machine.retried}
        for error in sorted(errors.transient - retried):
            problems.append(f"{errors.module}: {error}: is transient, but no state retries it")
    if template is not None:
        problems += check_template(template, machines)
    return problems


def main() -> int:
    """Check the repository's own state machines: 0 when all is well, 1 otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="folder with statemachines/ and template.yaml")
    root: Path = parser.parse_args().root
    definitions = sorted((root / "statemachines").glob("*.asl.yaml"))
    try:
        problems = check(definitions, ErrorNames.of(importlib.import_module(ERRORS_MODULE)), root / "template.yaml")
    except (ImportError, OSError, yaml.YAMLError) as error:
        problems = [f"-: -: {error}"]
    print("\n".join(problems) if problems else f"{len(definitions)} state machine(s), nothing wrong")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
