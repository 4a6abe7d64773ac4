"""The checks of `make check` find what they are for, and find nothing in this repository."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from sandbox.aws.template import translate
from tools import check_secrets, check_state_machines, compile_build, licences
from tools.check_state_machines import ErrorNames

ROOT = Path(__file__).resolve().parents[2]

DEFINITION = """
Comment: Does the work once.
StartAt: Work
States:
  Work:
    Comment: The work.
    Type: Task
    Resource: ${WorkFunctionArn}
    TimeoutSeconds: 70
    Retry:
      - ErrorEquals: [Throttled, Lambda.ServiceException]
        IntervalSeconds: 2
        MaxAttempts: 8
        MaxDelaySeconds: 60
        JitterStrategy: FULL
    Catch:
      - ErrorEquals: [States.ALL]
        Next: Failed
    Next: Done
  Done:
    Comment: The work is done.
    Type: Succeed
  Failed:
    Comment: The work failed.
    Type: Fail
    Error: WorkFailed
"""
TEMPLATE = """
Globals:
  Function:
    Timeout: 60
Resources:
  WorkFunction:
    Type: AWS::Serverless::Function
  WorkMachine:
    Type: AWS::Serverless::StateMachine
    Properties:
      DefinitionUri: statemachines/work.asl.yaml
      DefinitionSubstitutions:
        WorkFunctionArn: !GetAtt WorkFunction.Arn
"""
ERRORS = """
class Transient(Exception): ...
class Permanent(Exception): ...
class Throttled(Transient): ...
class Refused(Permanent): ...
"""

Check = Callable[..., list[str]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Checks DEFINITION, TEMPLATE and ERRORS after one replacement in whichever of them holds the text."""
    (tmp_path / "statemachines").mkdir()

    def check_with(old: str = "", new: str = "") -> list[str]:
        assert not old or any(old in text for text in (DEFINITION, TEMPLATE, ERRORS))
        definition = tmp_path / "statemachines" / "work.asl.yaml"
        definition.write_text(DEFINITION.replace(old, new) if old else DEFINITION)
        template = tmp_path / "template.yaml"
        template.write_text(TEMPLATE.replace(old, new) if old else TEMPLATE)
        errors = ModuleType("errors")
        exec(ERRORS.replace(old, new) if old else ERRORS, vars(errors))
        for kind in vars(errors).copy().values():
            if isinstance(kind, type):
                kind.__module__ = "errors"
        return check_state_machines.check([definition], ErrorNames.of(errors), template)

    return check_with


def test_a_sound_state_machine_passes(check: Check) -> None:
    assert check() == []


def test_where_the_template_chooses_a_state_every_choice_must_be_sound(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.DEFINITION", DEFINITION.replace("StartAt: Work", "StartAt: ${First}"))
    given = "WorkFunctionArn: !GetAtt WorkFunction.Arn"
    first = f"{given}\n        First: "
    assert check(given, f"{first}!If [Quick, Work, Work]") == []
    wrong = check(given, f"{first}!If [Quick, Work, Done]")
    assert wrong == ["work.asl.yaml: Work: is never reached", "work.asl.yaml: Failed: is never reached"]
    assert "StartAt: there is no state 'Wrok'" in check(given, f"{first}Wrok")[0]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Next: Done", "Next: Don", "work.asl.yaml: Work: Next: there is no state 'Don'"),
        ("Next: Failed", "Next: Fail", "work.asl.yaml: Work: Catch 1: there is no state 'Fail'"),
        ("Next: Failed", "Next: Done", "work.asl.yaml: Failed: is never reached"),
        ("Next: Done", "Next: Work", "work.asl.yaml: Done: is never reached"),
        ("    TimeoutSeconds: 70\n", "", "work.asl.yaml: Work: no TimeoutSeconds"),
        (
            "TimeoutSeconds: 70",
            "TimeoutSeconds: 60",
            "work.asl.yaml: Work: TimeoutSeconds 60 is not more than",
        ),
        ("Throttled, Lambda", "Throtled, Lambda", "work.asl.yaml: Work: Retry 1: Throtled is neither"),
        ("Throttled, Lambda", "Transient, Lambda", "work.asl.yaml: Work: Retry 1: Transient is neither"),
        ("Throttled, Lambda", "Refused, Lambda", "work.asl.yaml: Work: Retry 1: Refused is permanent"),
        ("Throttled, Lambda.ServiceException", "States.ALL", "would retry permanent errors too"),
        (
            "Throttled, Lambda",
            "Lambda.Unknown, Lambda",
            "errors: Throttled: is transient, but no state retries it",
        ),
        (
            "class Throttled",
            "class Locked(Transient): ...\nclass Throttled",
            "errors: Locked: is transient, but no",
        ),
        ("MaxAttempts: 8", "MaxAttempts: 8\n        MaxAttempts: 4", "MaxAttempts is given twice"),
        ("    Comment: The work is done.\n", "", "work.asl.yaml: Done: has no Comment"),
        ("        WorkFunctionArn: !", "        WorkArn: !", "lacks WorkFunctionArn, used in work.asl.yaml"),
        (
            "        WorkFunctionArn: !",
            "        WorkArn: !",
            "substitution WorkArn is not used in work.asl.yaml",
        ),
        (
            "statemachines/work.asl.yaml",
            "statemachines/play.asl.yaml",
            "no state machine in template.yaml uses it",
        ),
    ],
)
def test_a_broken_state_machine_is_refused_with_file_state_and_problem(
    check: Check, old: str, new: str, problem: str
) -> None:
    assert problem in "\n".join(check(old, new))


NESTED = """
Comment: Does two things at once, and one thing often.
StartAt: Both
States:
  Both:
    Comment: At once.
    Type: Parallel
    Branches:
      - StartAt: Work
        States:
          Work:
            Comment: The work.
            Type: Task
            Resource: ${WorkFunctionArn}
            TimeoutSeconds: 70
            # no catch: the other half fails with it
            Retry: [{ ErrorEquals: [Throttled] }]
            End: true
      - StartAt: Pause
        States:
          Pause: { Comment: A while., Type: Wait, SecondsPath: $.wait, End: true }
    Next: Each
  Each:
    Comment: Each of many.
    Type: Map
    MaxConcurrency: 8
    ItemProcessor:
      StartAt: Item
      States:
        Item: { Comment: One of them., Type: Pass, End: true }
    End: true
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", ""),
        ("            # no catch: the other half fails with it\n", "", "work.asl.yaml: Work: no Catch"),
        ("SecondsPath: $.wait,", "", "work.asl.yaml: Pause: needs one of Seconds, SecondsPath, Timestamp"),
        ("SecondsPath: $.wait,", "SecondsPath: $.wait, Seconds: 5,", "work.asl.yaml: Pause: needs one of"),
        ("    MaxConcurrency: 8\n", "", "work.asl.yaml: Each: no MaxConcurrency"),
        ("Item", "Work", "work.asl.yaml: Work: another state has this name"),
    ],
)
def test_branches_and_maps_are_looked_into(
    check: Check, monkeypatch: pytest.MonkeyPatch, old: str, new: str, problem: str
) -> None:
    changed = NESTED.replace(old, new).replace("WorkProcessor", "ItemProcessor") if old else NESTED
    monkeypatch.setattr(f"{__name__}.DEFINITION", changed)
    assert [line.startswith(problem) for line in check()] == ([True] if problem else [])


def test_a_task_may_leave_out_its_catch_only_with_a_reason(check: Check) -> None:
    catch = "    Catch:\n      - ErrorEquals: [States.ALL]\n        Next: Failed\n"
    reason = "    # no catch: the caller tells\n    Next: Done\n"

    assert "work.asl.yaml: Work: no Catch" in "\n".join(check(catch, ""))
    assert "work.asl.yaml: Work: no Catch" not in "\n".join(check(catch + "    Next: Done\n", reason))


def test_the_repositorys_state_machines_pass() -> None:
    import closedwon.domain.errors

    definitions = sorted((ROOT / "statemachines").glob("*.asl.yaml"))

    assert definitions
    assert check_state_machines.check(definitions, ErrorNames.of(closedwon.domain.errors), ROOT / "template.yaml") == []


# Put together here, so that this file itself holds none of them.
RANDOM = "q7Zk2Wm9" + "Xv4Lp8Rt" + "3Bn6Yc1D"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"aws = {'AKIA'}{'Q3ZK7WM9XV4LP8RT'}", "an AWS access key"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "a private key"),
        (f"use {'eyJ'}hbGciOiJI.{'eyJ'}zdWIiOiIx.{RANDOM}", "a JSON web token"),
        ("send server-" + "3f9ac2d17b:0b6e8a54-77c1", "a Stigg API key"),
        ("session 00D5g000004" + "xYzA!AQ4AQ" + RANDOM, "a Salesforce session"),
        (f'API_KEY = "{RANDOM}"', "a random-looking value under a secret's name"),
        (f"clientSecret: {RANDOM}", "a random-looking value under a secret's name"),
        (f'{{"password": "{RANDOM}"}}', "a random-looking value under a secret's name"),
        ("get https://user:" + "hunter2@example.com/", "a password in an address"),
        ("index-url = https://pypi." + "org/simple", "a package registry's host"),
        ('"resolved": "https://registry.npmjs.' + 'org/x"', "a package registry's host"),
        ("see /home/" + "somebody/notes", "a path of one machine"),
        ('open("/tm' + 'p/ledger.json")', "a path of one machine"),
    ],
)
def test_a_planted_secret_registry_or_machine_path_is_found(line: str, kind: str) -> None:
    assert list(check_secrets.problems_in(f"first\n{line}\n")) == [(2, kind)]
    assert list(check_secrets.problems_in(f"{line} # scan: allow made up for a test")) == []
    assert list(check_secrets.problems_in(f"{line} # scan: allow")) == [(1, kind)], "a reason is needed"


@pytest.mark.parametrize(
    "line",
    [
        'callout_api_key = "sandbox-callout-key-0001"',
        "CALLOUT_KEY_SECRET_ARN: !Ref CalloutKeySecret",
        'secret_id = settings.stigg_secret_arn or os.environ["STIGG_SECRET_ARN"]',
        "token = hashlib.sha256(content).hexdigest()",
        "organizationId: 00D5g000004xYzAEAU",
        "https://example.my.salesforce.com/lightning/r/Account/home/view",
        "PATH=/opt/python:/var/task",
    ],
)
def test_what_only_resembles_a_secret_is_left_alone(line: str) -> None:
    assert list(check_secrets.problems_in(line)) == []


def test_the_scan_reads_untracked_files_passes_over_ignored_ones_and_never_shows_a_secret(
    tmp_path: Path,
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("mine.txt\n")
    (tmp_path / "new.txt").write_text(f"token = {RANDOM}\n")
    (tmp_path / "mine.txt").write_text(f"token = {RANDOM}\n")

    assert check_secrets.scan(tmp_path) == ["new.txt:1: a random-looking value under a secret's name"]


def test_the_repository_holds_no_secret_registry_or_machine_path() -> None:
    assert check_secrets.scan(ROOT) == []


def test_what_is_deployed_is_what_is_tested() -> None:
    def pins(file: str) -> set[str]:
        lines = (line.split("#")[0].split(";")[0].strip().lower() for line in (ROOT / file).read_text().splitlines())
        pinned = (line.partition("==") for line in lines if "==" in line)
        return {f"{name.partition('[')[0].replace('_', '-')}=={version}" for name, _, version in pinned}

    deployed = pins("layers/closedwon/requirements.txt")

    assert deployed
    assert deployed <= pins("requirements-dev.txt")


@pytest.mark.parametrize(
    "file",
    [
        "layers/closedwon/requirements.txt",
        "requirements-dev.txt",
        "requirements-build.txt",
        "requirements-checkov.txt",
    ],
)
def test_every_requirement_has_a_version_and_hashes(file: str) -> None:
    text = (ROOT / file).read_text().replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(requirements) > 20
    for requirement in requirements:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+( ; .*?)?( +--hash=sha256:[0-9a-f]{64})+$", requirement), (
            requirement
        )


def test_a_licence_is_permissive_by_one_of_its_choices() -> None:
    assert licences.is_permissive("MIT AND (BSD-3-Clause OR GPL-3.0-only)") is False  # not understood is not permitted
    assert licences.is_permissive("GPL-3.0-only OR MIT")
    assert licences.is_permissive("MIT AND PSF-2.0")
    assert not licences.is_permissive("MIT AND MPL-2.0")
    assert not licences.is_permissive("")


@pytest.mark.parametrize(
    ("told", "licence"),
    [
        ({"License-Expression": ["MIT"], "License": ["GPL"]}, "MIT"),
        ({"License": ["Apache License 2.0"]}, "Apache-2.0"),
        ({"License": ["Copyright (c) 2021, somebody"], "Classifier": ["License :: OSI Approved :: BSD License"]},
         "BSD-3-Clause"),
        ({"License": ["GNU GPL"], "Classifier": ["License :: OSI Approved :: GNU GPL v3"]}, "GNU GPL v3"),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_licence_is_read_from_what_a_package_says(told: dict[str, list[str]], licence: str) -> None:
    assert licences.licence_of("any", told) == licence


def test_what_may_not_be_used_is_named() -> None:
    copyleft = licences.Package("copied", "1.0", "GPL-3.0-only")
    unknown = licences.Package("unknown", "2.0", "")
    fine = licences.Package("certifi", "1", "MPL-2.0")
    assert licences.refused([copyleft, unknown, fine]) == [
        "copied 1.0: GPL-3.0-only",
        "unknown 2.0: no licence is told",
    ]
    assert licences.refused([licences.Package("certifi", "2", "GPL-3.0-only")])


def test_a_build_without_matching_bytecode_is_refused(tmp_path: Path) -> None:
    magic = b"\x01\x02\r\n"
    source = tmp_path / "app.py"
    cached = tmp_path / "__pycache__" / "app.cpython-313.pyc"
    cached.parent.mkdir()
    source.write_text("x = 1\n")

    assert compile_build.without_bytecode(tmp_path, magic) == [source]
    for header, complaint in [
        (magic + b"\x01\0\0\0", []),
        (magic + b"\x03\0\0\0", [source]),  # would be compared with the source at every cold start
        (b"\xff\xff\r\n" + b"\x01\0\0\0", [source]),  # another Python's
    ]:
        cached.write_bytes(header + bytes(8))
        assert compile_build.without_bytecode(tmp_path, magic) == complaint


def test_a_build_that_lacks_a_functions_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text(
        "Resources:\n"
        "  Sweep: {Type: AWS::Serverless::Function, Properties: {CodeUri: Sweep}}\n"
        "  Authorizer: {Type: AWS::Serverless::Function, Properties: {CodeUri: Authorizer}}\n"
    )
    (tmp_path / "Sweep").mkdir()
    (tmp_path / "Sweep" / "app.py").touch()

    assert compile_build.without_sources(tmp_path) == ["Authorizer"]


def test_several_stacks_live_in_one_account() -> None:
    """What has a name of its own there carries the stack's; metrics and stages are told apart otherwise."""
    parameters = {
        "SalesforceUrl": "https://northwind.my.salesforce.com",
        "SalesforceOrganizationId": "00D5g000004xYzAEAU",
    }
    resources = translate(ROOT / "template.yaml", parameters, "eu-central-1").cloudformation["Resources"]
    named = {
        f"{logical_id}.{name}": value
        for logical_id, resource in resources.items()
        for name, value in resource.get("Properties", {}).items()
        if name.endswith("Name") and name not in ("FunctionName", "MetricName", "StageName", "PolicyName")
    }
    assert len(named) > 20
    assert {key: value for key, value in named.items() if "${AWS::StackName}" not in str(value)} == {}
