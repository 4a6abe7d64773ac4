"""An operator's terminal: the command as a process of its own, against the running system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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

    def begins(self, *arguments: str, stack: str = STACK_NAME, **environment: str) -> subprocess.Popen[str]:
        known = {name: value for name, value in {**self.environment, **environment}.items() if value}
        return subprocess.Popen(
            [sys.executable, "-m", "ops", "--stack", stack, *arguments],
            cwd=self.folder,
            env=known,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runs(
        self, *arguments: str, answer: str = "", stack: str = STACK_NAME, **environment: str
    ) -> tuple[int, str, str]:
        """Run the command, with what is typed. Out: exit code, output, errors. environment: what is set besides, and
        with "" what is not set at all.
        """
        with self.begins(*arguments, stack=stack, **environment) as process:
            said, errors = process.communicate(answer, timeout=600)
        assert "Traceback" not in errors, errors
        return process.returncode, said, errors

    def does(self, *arguments: str, answer: str = "") -> str:
        """It ends well. Out: what it said."""
        code, said, errors = self.runs(*arguments, answer=answer)
        assert code == 0, f"{said}\n{errors}"
        return said

    def json(self, *arguments: str) -> Any:
        """What it prints for scripts; it ends well."""
        return json.loads(self.does(*arguments, "--json"))
