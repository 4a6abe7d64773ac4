"""Runs Salesforce flows from their XML, without an org and just far enough for the flows of this package.

It knows record-triggered and autolaunched flows with lookups, loops, assignments, decisions, action calls, subflows,
creates, updates, texts and one formula. Whatever else a flow contains raises NotInterpreted, never a guess.

What it keeps of the platform, because the flows rely on it:
- A flow starts when a save meets its conditions, with "only when changed to meet the conditions" where it says so.
- Interviews of one transaction run in step: those that wait at one element share one query, one DML, one action call.
- A callout after DML in the same transaction fails ("uncommitted work pending").
- A query gives the fields it names and no others; nothing reaches through a lookup to another object.
- A faulted element without a fault path fails the interview, and with it the transaction.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

Record = dict[str, Any]
Inputs = dict[str, Any]
Outputs = dict[str, Any]


class NotInterpreted(Exception):
    """The flow has something that this interpreter does not know: teach it, or leave it out of the flow."""


class FlowFailed(Exception):
    """An element failed and had no fault path."""


class Fault(Exception):
    """What an action, a query or a DML raises; its text becomes $Flow.FaultMessage."""


class Node:
    """One XML element: its children by name, as often as they stand there."""

    def __init__(self, element: ElementTree.Element) -> None:
        self.tag = element.tag.rpartition("}")[2]
        self.text = (element.text or "").strip()
        self.children = [Node(child) for child in element]

    def all(self, tag: str) -> list[Node]:
        return [child for child in self.children if child.tag == tag]

    def one(self, tag: str) -> Node | None:
        found = self.all(tag)
        if len(found) > 1:
            raise NotInterpreted(f"{self.tag} has {tag} {len(found)} times")
        return found[0] if found else None

    def get(self, tag: str) -> str | None:
        found = self.one(tag)
        return found.text if found else None

    def says(self, tag: str) -> bool:
        """Whether the flag is there and true."""
        return self.get(tag) == "true"

    def need(self, tag: str) -> str:
        text = self.get(tag)
        if not text:
            raise NotInterpreted(f"{self.tag} {self.get('name') or ''} has no {tag}")
        return text

    def target(self, tag: str = "connector") -> str | None:
        """Where this connector leads; None: the end."""
        connector = self.one(tag)
        return connector.need("targetReference") if connector else None


SHOWN = {"description", "name", "label", "locationX", "locationY"}
CONNECTORS = {"connector", "faultConnector", "nextValueConnector", "noMoreValuesConnector", "defaultConnector"}
FILTERED = {"filterLogic", "filters", "object"}

NODES = (
    "actionCalls",
    "assignments",
    "decisions",
    "loops",
    "recordCreates",
    "recordLookups",
    "recordUpdates",
    "subflows",
)
"""The elements on the canvas."""

KNOWN: dict[str, set[str]] = {
    "Flow": {
        *(
            "apiVersion",
            "description",
            "environments",
            "interviewLabel",
            "label",
            "processMetadataValues",
            "processType",
        ),
        *("status", "triggerOrder", "start", "variables", "formulas", "textTemplates"),
        *NODES,
    },
    "start": {
        *("locationX", "locationY", "connector", "doesRequireRecordChangedToMeetCriteria", "recordTriggerType"),
        *("scheduledPaths", "triggerType", *FILTERED),
    },
    "scheduledPaths": {"connector", "pathType"},
    "actionCalls": {
        *SHOWN,
        *("actionName", "actionType", "connector", "faultConnector", "flowTransactionModel", "inputParameters"),
        *("nameSegment", "storeOutputAutomatically"),
    },
    "assignments": {*SHOWN, "assignmentItems", "connector"},
    "decisions": {*SHOWN, "defaultConnector", "defaultConnectorLabel", "rules"},
    "rules": {
        *("name", "label", "conditionLogic", "conditions", "connector", "doesRequireRecordChangedToMeetCriteria"),
    },
    "loops": {*SHOWN, "collectionReference", "iterationOrder", "nextValueConnector", "noMoreValuesConnector"},
    "recordCreates": {
        *SHOWN,
        *("connector", "faultConnector", "inputAssignments", "object", "storeOutputAutomatically"),
    },
    "recordLookups": {
        *(SHOWN | FILTERED),
        *("assignNullValuesIfNoRecordsFound", "connector", "faultConnector", "getFirstRecordOnly", "queriedFields"),
        *("sortField", "sortOrder", "storeOutputAutomatically"),
    },
    "recordUpdates": {*(SHOWN | FILTERED), "connector", "faultConnector", "inputAssignments"},
    "subflows": {*SHOWN, "connector", "flowName", "inputAssignments", "storeOutputAutomatically"},
    "variables": {
        *("description", "name", "apexClass", "dataType", "isCollection", "isInput", "isOutput", "scale", "value"),
    },
    "formulas": {"description", "name", "dataType", "expression"},
    "textTemplates": {"description", "name", "isViewedAsPlainText", "text"},
}
"""What each element may hold. Parts that are not listed hold only what their reader below asks for."""

REACHING = ("actionCalls", "recordCreates", "recordLookups", "recordUpdates")
"""Those that may fail and therefore need a fault path."""


def check_known(node: Node) -> None:
    for child in node.children:
        if node.tag in KNOWN and child.tag not in KNOWN[node.tag]:
            raise NotInterpreted(f"{node.tag} {node.get('name') or ''} has {child.tag}")
        check_known(child)


class Flow:
    """A flow as its file says it."""

    def __init__(self, path: Path) -> None:
        self.name = path.name.removesuffix(".flow-meta.xml")
        self.root = Node(ElementTree.parse(path).getroot())
        check_known(self.root)
        self.nodes = {node.need("name"): node for kind in NODES for node in self.root.all(kind)}
        self.variables = {node.need("name"): node for node in self.root.all("variables")}
        self.formulas = {node.need("name"): node.need("expression") for node in self.root.all("formulas")}
        self.texts = {node.need("name"): node.need("text") for node in self.root.all("textTemplates")}
        start = self.root.one("start")
        if start is None:
            raise NotInterpreted(f"{self.name} has no start")
        self.start = start
        self.status = self.root.need("status")
        if self.root.need("processType") != "AutoLaunchedFlow":
            raise NotInterpreted(f"{self.name} is a {self.root.get('processType')}")
        for path_node in start.all("scheduledPaths"):
            if path_node.get("pathType") != "AsyncAfterCommit":
                raise NotInterpreted(f"{self.name} has a path {path_node.get('pathType')}")
        if start.get("object") and start.get("triggerType") != "RecordAfterSave":
            raise NotInterpreted(f"{self.name} starts {start.get('triggerType')}")

    def starts_with(self, save: Save) -> bool:
        """Whether this save meets the conditions of the start."""
        start = self.start
        if save.object != start.need("object"):
            return False
        kinds = {"Create": save.prior is None, "Update": save.prior is not None, "CreateAndUpdate": True}
        if start.need("recordTriggerType") not in kinds:
            raise NotInterpreted(f"{self.name} runs on {start.get('recordTriggerType')}")
        if not kinds[start.need("recordTriggerType")] or not self.meets_filters(save.record):
            return False
        changed_only = start.says("doesRequireRecordChangedToMeetCriteria")
        return not (changed_only and save.prior is not None and self.meets_filters(save.prior))

    def meets_filters(self, record: Record) -> bool:
        results = [
            compare(
                record.get(each.need("field")),
                each.need("operator"),
                literal(each),
            )
            for each in self.start.all("filters")
        ]
        return combined(self.start.need("filterLogic"), results)


class Save(NamedTuple):
    """One record of a save: as it is now, and as it was before; prior is None when it was created."""

    object: str
    record: Record
    prior: Record | None = None


class Call(NamedTuple):
    """One action call, query or DML of a transaction, for all interviews that waited for it together."""

    kind: str
    name: str
    inputs: list[Any]


Action = Callable[[list[Inputs]], list[Outputs]]


@dataclass
class Org:
    """Records, actions and flows; and what happened to them.

    records: by object; each has an Id. actions: by name; one gets the inputs of all interviews and answers in their
    order, or raises Fault. callouts: the actions that call out. refused: raises Fault for a query or DML that is to
    fail. now: the time; it moves on by a second with each call.
    """

    now: datetime
    flows: dict[str, Flow]
    records: dict[str, list[Record]] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)
    callouts: frozenset[str] = frozenset()
    refused: Callable[[str, str], None] = lambda kind, object: None
    calls: list[Call] = field(default_factory=list)

    def made(self, kind: str, name: str | None = None) -> list[Call]:
        """The calls so far of one kind: action, query, create or update."""
        return [call for call in self.calls if call.kind == kind and name in (None, call.name)]

    def save(self, flow: Flow, saves: Iterable[Save]) -> int:
        """One transaction that saves these records, with this flow active. How many interviews started."""
        started = [save for save in saves if flow.starts_with(save)]
        immediate = flow.start.target()
        later = [path.target() for path in flow.start.all("scheduledPaths")]
        for first in [immediate, *later]:
            if first and started:
                self._transaction([Interview(self, flow, save) for save in started], first)
        return len(started)

    def _transaction(self, interviews: list[Interview], first: str) -> None:
        """Run interviews in step, as far as each comes, then what they wait for, grouped by element."""
        undo = copy.deepcopy(self.records)
        dirty = False
        waiting: list[tuple[Interview, Steps, Wait]] = []

        def advance(interview: Interview, steps: Steps, answer: Any) -> None:
            try:
                waiting.append(
                    (interview, steps, steps.throw(answer) if isinstance(answer, Fault) else steps.send(answer))
                )
            except StopIteration:
                pass

        try:
            for interview in interviews:
                advance(interview, interview.run(first), None)
            while waiting:
                # The platform promises no order: callouts go last, where a write before them does its harm.
                element = min((wait for _, _, wait in waiting), key=self._is_callout).element
                group = [each for each in waiting if each[2].element == element]
                waiting[:] = [each for each in waiting if each[2].element != element]
                waits = [wait for _, _, wait in group]
                self.now += timedelta(seconds=1)
                answers = self._perform(waits, dirty)
                dirty = dirty or waits[0].kind in ("create", "update")
                for (interview, steps, _), answer in zip(group, answers, strict=True):
                    advance(interview, steps, answer)
        except FlowFailed:
            self.records = undo
            raise

    def _is_callout(self, wait: Wait) -> bool:
        return wait.kind == "action" and wait.name in self.callouts

    def _perform(self, waits: list[Wait], dirty: bool) -> list[Any]:
        kind, name = waits[0].kind, waits[0].name
        self.calls.append(Call(kind, name, [wait.payload for wait in waits]))
        try:
            if kind == "action":
                if dirty and self._is_callout(waits[0]):
                    raise Fault("You have uncommitted work pending. Please commit or rollback before calling out")
                if name not in self.actions:
                    raise NotInterpreted(f"there is no action {name}")
                return self.actions[name]([wait.payload for wait in waits])
            self.refused(kind, name)
            perform = {"query": self._query, "create": self._create, "update": self._update}[kind]
            return [perform(name, wait.payload) for wait in waits]
        except Fault as fault:
            return [fault] * len(waits)

    def _query(self, object: str, payload: Any) -> list[Record]:
        found = [record for record in self.records.get(object, []) if payload["where"](record)]
        if payload["sort"]:
            found.sort(key=lambda record: record[payload["sort"]])
        return [{name: record.get(name) for name in {"Id", *payload["fields"]}} for record in found]

    def _create(self, object: str, payload: Record) -> Record:
        record = {"Id": f"a0x{len(self.records.get(object, [])):012d}AAA", **payload, "LastModifiedDate": self.now}
        self.records.setdefault(object, []).append(record)
        return record

    def _update(self, object: str, payload: Any) -> None:
        for record in self.records.get(object, []):
            if payload["where"](record):
                record.update(payload["fields"], LastModifiedDate=self.now)


class Wait(NamedTuple):
    """An interview waits for what only the platform can do."""

    element: str
    kind: str
    name: str
    payload: Any


Steps = Generator[Wait, Any, None]


class Interview:
    """One run of a flow: for one record, or called by another flow."""

    def __init__(self, org: Org, flow: Flow, save: Save | None = None, given: Inputs | None = None) -> None:
        self.org, self.flow, self.save = org, flow, save
        self.values: dict[str, Any] = {}
        for name, node in flow.variables.items():
            if node.says("isCollection"):
                self.values[name] = []
            elif node.get("dataType") == "Apex":
                self.values[name] = {}
            else:
                self.values[name] = literal(node) if node.one("value") else None
        for name, value in (given or {}).items():
            if name not in flow.variables or not flow.variables[name].says("isInput"):
                raise NotInterpreted(f"{flow.name} has no input {name}")
            self.values[name] = value
        self.loops: dict[str, Iterator[Any]] = {}
        self.fault = ""

    def run(self, first: str) -> Steps:
        """Run from this element to the end, yielding what only the platform can do."""
        at: str | None = first
        while at:
            node = self.flow.nodes[at]
            try:
                at = yield from self._element(node)
            except Fault as fault:
                self.fault = str(fault)
                at = node.target("faultConnector")
                if at is None:
                    raise FlowFailed(f"{self.flow.name}, {node.get('label')}: {fault}") from fault

    def _element(self, node: Node) -> Generator[Wait, Any, str | None]:
        name = node.need("name")
        match node.tag:
            case "assignments":
                for item in node.all("assignmentItems"):
                    self._assign(item.need("assignToReference"), item.need("operator"), self._value(item))
            case "decisions":
                for rule in node.all("rules"):
                    if self._holds(rule):
                        return rule.target()
                return node.target("defaultConnector")
            case "loops":
                return self._next_of(node, name)
            case "recordLookups":
                yield from self._lookup(node, name)
            case "recordCreates":
                fields = self._fields(node)
                self.values[name] = (yield self._wait(node, "create", node.need("object"), fields))["Id"]
            case "recordUpdates":
                where = self._where(node)
                payload = {"where": where, "fields": self._fields(node)}
                yield self._wait(node, "update", node.need("object"), payload)
            case "actionCalls":
                if node.need("flowTransactionModel") != "CurrentTransaction":
                    raise NotInterpreted(f"{name} runs in {node.get('flowTransactionModel')}")
                inputs = {each.need("name"): self._value(each) for each in node.all("inputParameters")}
                self.values[name] = yield self._wait(node, "action", node.need("actionName"), inputs)
            case "subflows":
                yield from self._subflow(node, name)
        return node.target()

    def _wait(self, node: Node, kind: str, name: str, payload: Any) -> Wait:
        return Wait(f"{self.flow.name}.{node.need('name')}", kind, name, payload)

    def _next_of(self, node: Node, name: str) -> str | None:
        if node.need("iterationOrder") != "Asc":
            raise NotInterpreted(f"{name} runs {node.get('iterationOrder')}")
        if name not in self.loops:
            self.loops[name] = iter(list(self._reference(node.need("collectionReference")) or []))
        try:
            self.values[name] = next(self.loops[name])
        except StopIteration:
            del self.loops[name]
            self.values[name] = None
            return node.target("noMoreValuesConnector")
        return node.target("nextValueConnector")

    def _lookup(self, node: Node, name: str) -> Steps:
        if not node.says("storeOutputAutomatically") or node.says("assignNullValuesIfNoRecordsFound"):
            raise NotInterpreted(f"{name} stores its output in a way of its own")
        if node.get("sortOrder") not in (None, "Asc"):
            raise NotInterpreted(f"{name} sorts {node.get('sortOrder')}")
        payload = {
            "where": self._where(node),
            "fields": [each.text for each in node.all("queriedFields")],
            "sort": node.get("sortField"),
        }
        found = yield self._wait(node, "query", node.need("object"), payload)
        self.values[name] = (found[0] if found else None) if node.says("getFirstRecordOnly") else found

    def _subflow(self, node: Node, name: str) -> Steps:
        flow = self.org.flows[node.need("flowName")]
        given = {each.need("name"): self._value(each) for each in node.all("inputAssignments")}
        called = Interview(self.org, flow, given=given)
        first = flow.start.target()
        if first:
            yield from called.run(first)
        outputs = [each for each, variable in flow.variables.items() if variable.says("isOutput")]
        self.values[name] = {each: called.values[each] for each in outputs}

    def _fields(self, node: Node) -> Record:
        return {each.need("field"): self._value(each) for each in node.all("inputAssignments")}

    def _where(self, node: Node) -> Callable[[Record], bool]:
        filters = [(each.need("field"), each.need("operator"), self._value(each)) for each in node.all("filters")]
        logic = node.need("filterLogic")
        if not filters:
            raise NotInterpreted(f"{node.get('name')} takes every record")
        return lambda record: combined(logic, [compare(record.get(name), op, value) for name, op, value in filters])

    def _assign(self, reference: str, operator: str, value: Any) -> None:
        name, _, part = reference.partition(".")
        variable = self.flow.variables.get(name)
        if variable is None:
            raise NotInterpreted(f"an assignment to {reference}")
        held = self.values[name]
        place: dict[str, Any] = held if part else self.values
        key = part or name
        match operator:
            case "Assign":
                place[key] = copy.deepcopy(value)
            case "Add" if variable.says("isCollection"):
                place[key] = [*place[key], copy.deepcopy(value)]
            case "Add" if variable.need("dataType") == "String":
                place[key] = (place[key] or "") + ("" if value is None else str(value))
            case "Add" | "Subtract" if isinstance(value, (int, float)) and not isinstance(value, bool):
                place[key] = (place.get(key) or 0) + (value if operator == "Add" else -value)
            case _:
                raise NotInterpreted(f"{operator} of {value!r} to {reference}")

    def _holds(self, rule: Node) -> bool:
        def holds(record: Record | None) -> bool:
            results = [
                compare(
                    self._reference(each.need("leftValueReference"), record),
                    each.need("operator"),
                    self._value(each, "rightValue"),
                )
                for each in rule.all("conditions")
            ]
            return combined(rule.need("conditionLogic"), results)

        now = holds(self.save.record if self.save else None)
        if now and rule.says("doesRequireRecordChangedToMeetCriteria"):
            if self.save is None:
                raise NotInterpreted(f"{rule.get('name')} asks for a change without a record")
            return self.save.prior is None or not holds(self.save.prior)
        return now

    def _value(self, node: Node, tag: str = "value") -> Any:
        content = node.one(tag)
        if content is None:
            raise NotInterpreted(f"{node.tag} {node.get('name') or ''} has no {tag}")
        reference = content.get("elementReference")
        return self._reference(reference) if reference else literal(node, tag)

    def _reference(self, reference: str, record: Record | None = None) -> Any:
        name, *parts = reference.split(".")
        if name == "$Flow" and parts == ["CurrentDateTime"]:
            return self.org.now
        if name == "$Flow" and parts == ["FaultMessage"]:
            return self.fault
        if name == "$Record" and self.save:
            value: Any = record or self.save.record
        elif name in self.flow.formulas and not parts:
            return self._formula(self.flow.formulas[name])
        elif name in self.flow.texts and not parts:
            return re.sub(r"\{!([\w$.]+)\}", lambda found: self._text(found[1]), self.flow.texts[name])
        elif name in self.values:
            value = self.values[name]
        elif name in self.flow.nodes:
            value = None  # an element that has not run gives nothing
        else:
            raise NotInterpreted(f"{self.flow.name} reads {reference}")
        if len(parts) > 1:
            raise NotInterpreted(f"{reference} reaches through a lookup: that queries for each record")
        if parts and value is not None:
            if parts[0] not in value:
                raise NotInterpreted(f"{reference} was not read: {sorted(value)}")
            return value[parts[0]]
        return value

    def _text(self, reference: str) -> str:
        value = self._reference(reference)
        if not isinstance(value, (str, type(None))):
            raise NotInterpreted(f"{reference} is no text")
        return value or ""

    def _formula(self, expression: str) -> str:
        """LEFT of texts joined by &: the one formula these flows need."""
        whole = re.fullmatch(r"LEFT\((.*), (\d+)\)", expression)
        if whole is None:
            raise NotInterpreted(f"the formula {expression}")
        said = ""
        for part in whole[1].split(" & "):
            if reference := re.fullmatch(r"\{!([\w$.]+)\}", part):
                said += self._text(reference[1])
            elif text := re.fullmatch(r"'([^']*)'", part):
                said += text[1]
            else:
                raise NotInterpreted(f"{part} in the formula {expression}")
        return said[: int(whole[2])]


def literal(node: Node, tag: str = "value") -> Any:
    """A value that the flow spells out."""
    content = node.one(tag)
    if content is None or len(content.children) != 1:
        raise NotInterpreted(f"{node.tag} {node.get('name') or ''} has a {tag} of its own kind")
    spelt = content.children[0]
    match spelt.tag:
        case "booleanValue":
            return spelt.text == "true"
        case "numberValue":
            return float(spelt.text)
        case "stringValue":
            return spelt.text
    raise NotInterpreted(f"{node.tag} {node.get('name') or ''} has a {spelt.tag}")


def compare(left: Any, operator: str, right: Any) -> bool:
    """One condition. What the places of a flow disagree about is refused, so that no flow depends on it: whether an
    empty text is null, and whether texts that differ by case alone are equal.
    """
    if "" in (left, right):
        raise NotInterpreted(f"{operator} with an empty text")
    match operator:
        case "IsNull":
            return (left is None) is bool(right)
        case "EqualTo":
            return same(left, right)
        case "Contains":
            return left is not None and str(right) in str(left)
        case "In":
            return any(same(left, each) for each in right)
        case "GreaterThan":
            return None not in (left, right) and bool(left > right)
        case "GreaterThanOrEqualTo":
            return None not in (left, right) and bool(left >= right)
    raise NotInterpreted(f"the operator {operator}")


def same(left: Any, right: Any) -> bool:
    if left != right and isinstance(left, str) and isinstance(right, str) and left.casefold() == right.casefold():
        raise NotInterpreted(f"{left} and {right} differ by case alone")
    return bool(left == right)


def combined(logic: str, results: list[bool]) -> bool:
    if logic not in ("and", "or"):
        raise NotInterpreted(f"the logic {logic}")
    return all(results) if logic == "and" else any(results)
