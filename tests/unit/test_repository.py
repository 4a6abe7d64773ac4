"""What surrounds the code holds together: files, versions, decisions, complexity, workflows, hooks."""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ops.cli import COMMANDS, main
from proof.__main__ import CHAPTERS
from tools import check, check_complexity, check_decisions, check_files, release
from tools.check_complexity import Function, Rules

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
TARGETS = frozenset(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


# Files


PNG = b"\x89PNG\r\n\x1a\n\0"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("docs/images/report.png", PNG, None),
        ("docs/images/report.png", PNG + bytes(200_000), "a screenshot of 200,009 bytes"),
        ("docs/images/report.png", bytes(10), "a binary file"),
        ("docs/report.png", PNG, "a binary file"),
        ("profiler.whl", b"PK\x03\x04\xff", "a binary file"),
        ("latin.txt", "é".encode("latin-1"), "a binary file"),
        ("notes.txt", b"x" * 500_000, None),
        ("notes.txt", b"x" * 500_001, "500,001 bytes"),
    ],
)
def test_binary_and_large_files_are_refused_but_for_small_screenshots(
    name: str, content: bytes, problem: str | None
) -> None:
    found = check_files.problem_of(name, content)
    assert found is None if problem is None else found is not None and found.startswith(problem)


def test_an_exception_needs_a_reason_and_a_file_that_needs_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "data.bin").write_bytes(b"\0")

    assert check_files.problems(tmp_path, {"data.bin": "a recorded answer"}) == []
    assert "data.bin: a binary file" in check_files.problems(tmp_path, {"data.bin": " "})[0]
    assert check_files.problems(tmp_path, {"data.bin": "recorded", "gone.bin": "recorded"}) == [
        "gone.bin: is an exception that nothing needs"
    ]


def test_the_repository_holds_no_binary_or_large_file() -> None:
    assert check_files.problems(ROOT) == []


# Version


def test_the_version_is_the_same_everywhere() -> None:
    assert release.disagreements(ROOT) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("pyproject.toml", 'version = "', 'version = "9', "pyproject.toml: 9"),
        ("template.yaml", "closed-won 0", "closed-won 9.0", "template.yaml, Description: 9.0"),
        ("template.yaml", "    Value: 0", "    Value: 9.0", "template.yaml, output Version: 9.0"),
        ("CHANGELOG.md", "## [0", "## [9.0", "CHANGELOG.md, newest dated section: 9.0"),
        ("CHANGELOG.md", "## [Unreleased]\n", "", "CHANGELOG.md: does not begin with"),
    ],
)
def test_a_version_that_differs_is_named(tmp_path: Path, file: str, old: str, new: str, problem: str) -> None:
    for name in (release.PACKAGE, "pyproject.toml", "template.yaml", "CHANGELOG.md"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((ROOT / name).read_text())
    changed = (tmp_path / file).read_text()
    assert old in changed
    (tmp_path / file).write_text(changed.replace(old, new, 1))

    assert any(line.startswith(problem) for line in release.disagreements(tmp_path))


def test_a_tag_has_to_be_the_version() -> None:
    assert release.disagreements(ROOT, f"v{release.version()}") == []
    assert release.disagreements(ROOT, "v9.9.9") == [f"the tag: 9.9.9; the package says {release.version()}"]


def test_the_command_says_the_version() -> None:
    told = CliRunner().invoke(main, ["--version"])

    assert (told.exit_code, told.output) == (0, f"closedwon, version {release.version()}\n")


@pytest.mark.parametrize("name", [name for names in COMMANDS.values() for name in names])
def test_each_command_has_a_name_and_help(name: str) -> None:
    told = CliRunner().invoke(main, [name, "--help"])

    assert told.exit_code == 0
    assert told.output.startswith(f"Usage: main {name} ")


def test_the_help_of_all_names_each_and_no_other_is_found() -> None:
    told = CliRunner().invoke(main, ["--help"]).output
    assert [name for names in COMMANDS.values() for name in names if f"\n  {name} " not in told] == []
    assert "No such command 'dance'" in CliRunner().invoke(main, ["dance"]).output


def test_a_releases_text_is_its_section_of_the_changelog() -> None:
    text = release.notes(ROOT)

    assert text.startswith("### Added")
    assert "## [" not in text
    assert f"closed-won-{release.version()}.zip" in text


def test_an_archive_holds_all_that_its_template_names(tmp_path: Path) -> None:
    built = tmp_path / ".aws-sam" / "build" / "template.yaml"
    (built.parent / "Sweep").mkdir(parents=True)
    (built.parent / "Sweep" / "app.py").touch()
    (tmp_path / "statemachines").mkdir()
    (tmp_path / "statemachines" / "provision.asl.yaml").touch()
    resources = {
        "Sweep": {"Properties": {"CodeUri": "Sweep"}},
        "Machine": {"Properties": {"DefinitionUri": "../../statemachines/provision.asl.yaml"}},
    }
    built.write_text(yaml.safe_dump({"Resources": resources}))

    release.write_archive(tmp_path, tmp_path / "out" / "closed-won-1.0.0.zip")

    with zipfile.ZipFile(tmp_path / "out" / "closed-won-1.0.0.zip") as archive:
        assert archive.namelist() == [
            "closed-won-1.0.0/.aws-sam/build/Sweep/app.py",
            "closed-won-1.0.0/.aws-sam/build/template.yaml",
            "closed-won-1.0.0/statemachines/provision.asl.yaml",
        ]
    resources["Sweep"]["Properties"]["CodeUri"] = "Gone"
    built.write_text(yaml.safe_dump({"Resources": resources}))
    with pytest.raises(release.ReleaseError, match="Sweep: CodeUri Gone is not in the archive"):
        release.shipped(tmp_path)


# Decisions

RECORD = "# {number}. A title\n\n- Date: {date}\n- Status: {status}\n- Topic: {topic}\n\nWhat was decided.\n"


def test_every_decision_has_date_status_and_topic_and_is_in_the_index() -> None:
    records, wrong = check_decisions.problems(check_decisions.FOLDER)

    assert wrong == []
    assert len(records) >= 69
    assert (check_decisions.FOLDER / "README.md").read_text() == check_decisions.index(records)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, None),
        ({"status": "amended by [2](0002-next.md)"}, None),
        ({"status": "superseded by [2](0002-gone.md)"}, "there is no 0002-gone.md"),
        ({"number": 3}, "has the number 3 in its title"),
        ({"date": "22.11.2026"}, "22.11.2026 is no date"),
        ({"status": "old"}, "Status is neither"),
        ({"topic": "Weather"}, "Weather is no topic"),
    ],
)
def test_a_record_that_lacks_something_is_refused(tmp_path: Path, changed: dict[str, Any], problem: str | None) -> None:
    sound = {"number": 1, "date": "2026-11-22", "status": "accepted", "topic": "Stigg"}
    (tmp_path / "0001-first.md").write_text(RECORD.format(**{**sound, **changed}))
    (tmp_path / "0002-next.md").write_text(RECORD.format(**{**sound, "number": 2}))

    _, wrong = check_decisions.problems(tmp_path)

    assert wrong == [] if problem is None else problem in wrong[0]


# Complexity


def test_no_function_is_more_complex_than_it_was() -> None:
    functions = [Function("chain", "laid", 12, "chain.py:1"), Function("fresh", "new", 11, "fresh.py:1")]

    assert check_complexity.worse(functions, {"chain:laid": 12, "fresh:new": 11}, 10) == []
    assert check_complexity.worse(functions, {"chain:laid": 11, "fresh:new": 11}, 10) == [
        "chain.py:1: laid has complexity 12; at most 11 is allowed"
    ]
    assert check_complexity.worse(functions, {"timeline:laid": 12}, 10) == [
        "fresh.py:1: new has complexity 11; at most 10 is allowed"
    ], "a module may get another name"
    assert check_complexity.worse(functions, {"chain:laid": 12, "chain:new": 20}, 10) == [], "a function may move"
    functions.append(Function("chain", "new", 20, "chain.py:9"))
    assert check_complexity.worse(functions, {"chain:laid": 12, "chain:new": 20}, 10) == [
        "fresh.py:1: new has complexity 11; at most 10 is allowed"
    ], "but not lend its name"


def test_the_share_leaves_out_the_modules_that_stand_apart() -> None:
    functions = [Function("chain", "a", 30, ""), Function("ledger", "b", 11, ""), Function("ledger", "c", 10, "")]

    assert check_complexity.share(functions, Rules(10, 5, frozenset({"chain"}))) == 50


def test_branches_in_conditions_count(tmp_path: Path) -> None:
    folder = tmp_path / "functions" / "sweep"
    folder.mkdir(parents=True)
    (folder / "app.py").write_text("def due(a, b):\n    return a and b or [c for c in a if c]\n")

    assert check_complexity.counted(tmp_path, ["functions"]) == [
        Function("sweep", "due", 5, "functions/sweep/app.py:1")
    ]


# Workflows and hooks


def commands_of(workflow: dict[str, Any]) -> Iterator[str]:
    """Every command line of a workflow."""
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            yield from str(step.get("run", "")).splitlines()


def called(command: str) -> str:
    """The make target that a command calls; .ci/run for that script. Anything else fails."""
    words = command.split("#")[0].split()
    if words[0] == ".ci/run":
        return words[0]
    assert words[0] == "make", command
    return words[1]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_only_what_developers_call(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    commands = [command for command in commands_of(workflow) if not command.startswith("gh release create ")]

    assert commands
    assert {called(command) for command in commands} <= TARGETS | {".ci/run"}
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_little_and_uses_pinned_actions(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())

    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 360
        assert job.get("permissions") == ({"contents": "write"} if name == "publish" else None)
        for step in job["steps"]:
            used = step.get("uses", "")
            assert bool(used) != ("run" in step)
            assert not used or re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", used)
    for line in path.read_text().splitlines():
        assert "uses:" not in line or re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), "which version is it?"


def test_what_may_write_runs_nothing_of_the_repository() -> None:
    publish = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())["jobs"]["publish"]

    assert [step.get("uses", step.get("run", "")).split("@")[0].split()[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "gh",
    ]


def test_the_nightly_workflow_knows_every_chapter_of_the_proof() -> None:
    nightly = yaml.safe_load((ROOT / ".github/workflows/nightly.yaml").read_text())

    assert nightly["jobs"]["prove-long"]["strategy"]["matrix"]["chapter"] == list(CHAPTERS)
    schedules = [one["cron"] for one in nightly[True]["schedule"]]  # YAML 1.1 reads "on" so
    conditions = " ".join(job["if"] for job in nightly["jobs"].values())
    assert all(f"'{cron}'" in conditions for cron in schedules)


def test_hooks_are_local_and_call_make() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())

    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    for hook in hooks["repos"][0]["hooks"]:
        assert hook["language"] == "system", "anything else would be downloaded"
        assert called(hook["entry"]) in TARGETS
        chosen = re.search(r'ARGS="([^"]*)"', hook["entry"])
        assert set(chosen[1].split() if chosen else []) <= set(check.CHECKS)


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md", "README.md"])
def test_a_document_names_only_what_there_is(document: str) -> None:
    text = (ROOT / document).read_text()

    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / link).exists(), link
    # In prose "make" is followed by other words: only what is set as code counts.
    for target in re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.MULTILINE):
        assert target in TARGETS, target
