"""What holds for every test: no AWS account can be reached, and hypothesis does not watch the clock."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from closedwon.wire import private

ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
FORGOTTEN = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL")

# At import too: fixtures of a wider scope than a test's, and clients made by an import, see the same.
os.environ.update(ACCOUNT)
for name in FORGOTTEN:
    os.environ.pop(name, None)

_ANY_MACHINE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", **_ANY_MACHINE)
settings.register_profile("ci", **_ANY_MACHINE, derandomize=True, print_blob=True)
settings.register_profile("prove", **_ANY_MACHINE, max_examples=5_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True)
def no_aws_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up credentials for each test, whatever the one before it did to the environment."""
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    for name in FORGOTTEN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def nothing_to_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test read hides nothing from the next one's error texts."""
    monkeypatch.setattr(private, "_secrets", {})
    monkeypatch.setattr(private, "_names", {})
