"""Rehearses ``make deploy``: package, upload and a change set, in an emulator of AWS on this machine.

What only a real account shows: whether AWS takes the change set, roles and all, and what it costs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).resolve().parent.parent
BUCKET = "artifacts"
PARAMETERS = (
    "SalesforceUrl=https://acme.my.salesforce.com",
    "SalesforceOrganizationId=00D5g000004xYzAEAU",
)


def rehearse(sam: Path, environment: str) -> int:
    """Make the change set of one of samconfig.toml's environments. Out: an exit code."""
    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        _, port = server.get_host_and_port()
        url = f"http://localhost:{port}"  # by name: the emulator finds the bucket in the address's path then
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=BUCKET)
        command = [str(sam), "deploy", "--config-env", environment, "--no-execute-changeset", "--no-progressbar"]
        command += ["--no-resolve-s3", "--s3-bucket", BUCKET, "--parameter-overrides", *PARAMETERS]
        told = {**os.environ, "AWS_ENDPOINT_URL": url}
        done = subprocess.run(command, cwd=ROOT, env=told, stdin=subprocess.DEVNULL, check=False)  # nosec B603 - fixed
    finally:
        server.stop()
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Rehearse `make deploy` without an AWS account.")
    parser.add_argument("--sam", type=Path, required=True)
    parser.add_argument("--environment", required=True)
    arguments = parser.parse_args()
    return rehearse(arguments.sam, arguments.environment)


if __name__ == "__main__":
    sys.exit(main())
