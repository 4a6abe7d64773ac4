"""What holds for every test: no AWS account can be reached, hypothesis does not watch the clock, long ones are left to
`make prove`.
"""

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
# A change is judged by the same examples each time: few by `make test`, more by the short form of `make prove`.
_SAME = {"derandomize": True, "print_blob": True} if os.environ.get("CI") else {}
settings.register_profile("test", **_ANY_MACHINE, **_SAME, max_examples=40)
settings.register_profile("short", **_ANY_MACHINE, **_SAME, max_examples=100)
settings.register_profile("prove", **_ANY_MACHINE, max_examples=5_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "test")


def pytest_configure(config: pytest.Config) -> None:
    """What is marked long is left out, unless somebody names its file or chooses by marks."""
    if not config.option.markexpr and not any(".py" in argument for argument in config.args):
        config.option.markexpr = "not long"


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
