"""An operator's terminal: the command against the running system, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from closedwon.wire import private
from ops.cli import main
from sandbox.aws.stack import STACK_NAME
from sandbox.sandbox import ROOT, Sandbox


class Operator:
    """Somebody with a terminal in a folder of their own, logged in to the sandbox's AWS account."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),  # the command finds the product's package by itself
            "AWS_ENDPOINT_URL": sandbox.aws.endpoint_url,
            "AWS_REGION": sandbox.aws.region,
            "AWS_DEFAULT_REGION": sandbox.aws.region,
            "REQUESTS_CA_BUNDLE": str(sandbox.ca_file),
            "CLOSEDWON_URL": sandbox.aws.callout_url,  # the stack's output says where it would be in AWS
            "CLOSEDWON_KEY": sandbox.callout_key,
        }

    def runs(
        self, *arguments: str, answer: str = "", stack: str = STACK_NAME, **environment: str
    ) -> tuple[int, str, str]:
        """Run the command in this process, which saves a second each time, with what is typed. environment: what is set
        besides, and with "" what is not set at all. Out: exit code, output, errors.
        """
        runner = CliRunner()
        with self._here(environment):
            ended = runner.invoke(main, ["--stack", stack, *arguments], input=answer, prog_name="closedwon")
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception  # a process would show its traceback
        return ended.exit_code, ended.stdout, ended.stderr

    def runs_apart(
        self, *arguments: str, answer: str = "", stack: str = STACK_NAME, **environment: str
    ) -> tuple[int, str, str]:
        """Run the command as an operator does, in a process of its own."""
        with self.begins(*arguments, stack=stack, **environment) as process:
            said, errors = process.communicate(answer, timeout=600)
        assert "Traceback" not in errors, errors
        return process.returncode, said, errors

    def begins(self, *arguments: str, stack: str = STACK_NAME, **environment: str) -> subprocess.Popen[str]:
        """Start the command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ops", "--stack", stack, *arguments],
            cwd=self.folder,
            env=self._known(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def does(self, *arguments: str, answer: str = "") -> str:
        """It ends well. Out: what it said."""
        code, said, errors = self.runs(*arguments, answer=answer)
        assert code == 0, f"{said}\n{errors}"
        return said

    def json(self, *arguments: str) -> Any:
        """What it prints for scripts; it ends well."""
        return json.loads(self.does(*arguments, "--json"))

    def _known(self, environment: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in {**self.environment, **environment}.items() if value}

    @contextmanager
    def _here(self, environment: dict[str, str]) -> Iterator[None]:
        """This process is as one that was just started in the operator's folder; afterwards it is as it was."""
        before = dict(os.environ)
        try:
            with chdir(self.folder):
                _forget()
                os.environ.clear()
                os.environ.update(self._known(environment))
                yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            _forget()


def _forget() -> None:
    """Forget what the product keeps for the length of a process: what no text may show."""
    private._secrets.clear()
    private._names.clear()
