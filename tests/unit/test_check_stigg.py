"""`make check-stigg`: what it expects, and how it tells where the stand-in does otherwise. Nothing is downloaded."""

from __future__ import annotations

import io
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from tools import check_stigg
from tools.stigg_suite import made_up, source
from tools.stigg_suite.expected import LIST, differences, read
from tools.stigg_suite.run import Form, Outcome, Outcomes, operation_of, run

SMALL = """
[refused.odd]
answer = "400 BadUserInput"
says = "is odd"
why = "nobody sends it"

[absent]
elsewhere = "somebody else's"

[operations]
"v1.plans.list" = { used = true, full = "odd" }
"v1.plans.create" = { absent = "elsewhere" }
"""

GONE = "404 NotFound: POST /api/v1/plans: no such endpoint"

TEST = """
import pytest
class TestPlans:
    parametrize = pytest.mark.parametrize("client", [False], ids=["loose"])

    @pytest.mark.skip(reason="Mock server tests are disabled")
    @parametrize
    def test_method_retrieve(self, client):
        from stigg import Stigg
        import os
        with Stigg(base_url=os.environ["TEST_API_BASE_URL"], api_key="My API Key", max_retries=0) as api:
            assert api.v1.plans.retrieve("planId").data.id == "planId"

    @pytest.mark.skip(reason="Mock server tests are disabled")
    @parametrize
    def test_method_retrieve_with_all_params(self, client):
        from stigg import Stigg
        import os
        with Stigg(base_url=os.environ["TEST_API_BASE_URL"], api_key="My API Key", max_retries=0) as api:
            api.v1.plans.retrieve("nowhere")
"""


def found() -> dict[str, dict[Form, Outcome]]:
    return {
        "v1.plans.list": {"short": Outcome(6, 6), "full": Outcome(2, 0, ["400 BadUserInput: this is odd"] * 2)},
        "v1.plans.create": {"short": Outcome(6, 0, [GONE] * 6), "local": Outcome(2, 2)},
    }


def test_the_list_names_each_reason_and_every_reason_is_named() -> None:
    assert read(SMALL).operations["v1.plans.list"].refused == {"full": "odd"}
    for wrong in (
        SMALL.replace('full = "odd"', 'full = "strange"'),
        SMALL.replace('absent = "elsewhere"', ""),
        SMALL.replace('{ absent = "elsewhere" }', '{ absent = "elsewhere", used = true }'),
        SMALL.replace("used = true", "wanted = true"),
    ):
        with pytest.raises(ValueError, match=r"v1\.plans|reasons"):
            read(wrong)


def test_what_is_as_the_list_says_is_no_difference() -> None:
    assert differences(read(SMALL), found()) == []


@pytest.mark.parametrize(
    ("operation", "form", "outcome", "said"),
    [
        ("v1.plans.list", "short", Outcome(6, 5, ["404 PlanNotFound: x"]), "5 of 6 pass: 404 PlanNotFound: x"),
        ("v1.plans.list", "full", Outcome(2, 2), "2 of 2 pass, and the list says that none does"),
        ("v1.plans.list", "full", Outcome(2, 0, ["500 Error: is odd"]), "refused otherwise"),
        ("v1.plans.list", "full", Outcome(2, 0, ["400 BadUserInput: is even"]), "refused otherwise"),
        ("v1.plans.create", "short", Outcome(6, 6), "6 of 6 pass, and the list says that none does"),
        ("v1.plans.create", "short", Outcome(6, 0, ["400 BadUserInput: is odd"]), "refused otherwise"),
        ("v1.plans.create", "local", Outcome(2, 1, ["nothing was asked: error"]), "1 of 2 pass"),
        ("v1.plans.copy", "short", Outcome(6, 6), "is new"),
    ],
)
def test_each_difference_is_told(operation: str, form: Form, outcome: Outcome, said: str) -> None:
    seen = found()
    seen.setdefault(operation, {})[form] = outcome
    [difference] = differences(read(SMALL), seen)
    assert difference.startswith(operation)
    assert said in difference


def test_an_operation_that_is_tested_no_more_is_told() -> None:
    seen = found()
    del seen["v1.plans.create"]
    del seen["v1.plans.list"]["full"]
    assert len(differences(read(SMALL), seen)) == 2


def test_the_projects_own_list_can_be_read_and_marks_what_the_product_calls() -> None:
    listed = read(LIST.read_text(encoding="utf-8"))
    used = {name for name, one in listed.operations.items() if one.used}
    assert {"v1.customers.provision", "v1.subscriptions.provision", "v1.subscriptions.update"} <= used


def test_the_table_fits_a_narrow_screen() -> None:
    listed = read(LIST.read_text(encoding="utf-8"))
    seen: Outcomes = {name: {"short": Outcome(6, 6), "full": Outcome(2, 0)} for name in listed.operations}
    assert max(map(len, "\n".join(check_stigg.report(listed, seen)).splitlines())) <= 80


@pytest.mark.parametrize(
    ("test", "operation", "form"),
    [
        ("v1/test_plans.py::TestPlans::test_method_list[loose]", "v1.plans.list", "short"),
        ("v1/test_plans.py::TestPlans::test_raw_response_list[loose]", "v1.plans.list", "short"),
        ("v1/test_plans.py::TestPlans::test_method_list_with_all_params[strict]", "v1.plans.list", "full"),
        ("v1/test_plans.py::TestPlans::test_path_params_list[strict]", "v1.plans.list", "local"),
        (
            "v1/plans/test_entitlements.py::TestEntitlements::test_method_update_with_all_params_overload_2[loose]",
            "v1.plans.entitlements.update",
            "full",
        ),
        ("v2/test_usage.py::TestUsage::test_streaming_response_report[loose]", "v2.usage.report", "short"),
    ],
)
def test_a_tests_name_says_what_it_calls_and_how(test: str, operation: str, form: str) -> None:
    assert operation_of(f"tests/api_resources/{test}") == (operation, form)


def test_a_test_of_another_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="is not named"):
        operation_of("tests/api_resources/v1/test_plans.py::TestPlans::test_list[loose]")


def packed(folder: Path, version: str, files: dict[str, str]) -> str:
    """A source distribution in a folder. Out: its SHA-256."""
    archive = folder / f"stigg-{version}.tar.gz"
    with tarfile.open(archive, "w:gz") as into:
        for name, text in files.items():
            member = tarfile.TarInfo(f"stigg-{version}/{name}")
            member.size = len(text.encode())
            into.addfile(member, io.BytesIO(text.encode()))
    return sha256(archive.read_bytes()).hexdigest()


def pins(folder: Path, version: str, *hashes: str) -> Path:
    found = folder / "requirements.txt"
    lines = " \\\n".join(f"    --hash=sha256:{one}" for one in hashes)
    found.write_text(f"stevedore==1 \\\n    --hash=sha256:{'0' * 64}\nstigg=={version} \\\n{lines}\nsympy==1\n")
    return found


def installed() -> str:
    return source.pinned(source.PINS.read_text(encoding="utf-8"))[0]


def test_only_what_has_a_pinned_hash_is_unpacked_and_of_it_the_tests_alone(tmp_path: Path) -> None:
    version = installed()
    mark = packed(tmp_path, version, {"tests/conftest.py": "", "setup.py": "raise SystemExit"})
    folder = source.fetched(pins(tmp_path, version, "0" * 64, mark), tmp_path)
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*.py")] == ["tests/conftest.py"]
    with pytest.raises(source.Unavailable, match="none of the hashes"):
        source.fetched(pins(tmp_path, version, "0" * 64), tmp_path)


def test_another_version_than_the_pinned_one_is_not_tested(tmp_path: Path) -> None:
    with pytest.raises(source.Unavailable, match="make setup"):
        source.fetched(pins(tmp_path, "0.0.1", "0" * 64), tmp_path)
    with pytest.raises(source.Unavailable, match="no version"):
        source.pinned("requests==1\n")


def test_the_tests_of_the_sdk_are_run_with_their_skip_marks_off(tmp_path: Path) -> None:
    tests = tmp_path / "tests" / "api_resources" / "v1"
    tests.mkdir(parents=True)
    (tests / "test_plans.py").write_text(TEST, encoding="utf-8")
    seen = run(tmp_path, made_up.stand_in(), lambda operation: [])
    forms = seen["v1.plans.retrieve"]
    assert (forms["short"].passed, forms["short"].tests) == (1, 1)
    assert forms["full"].answers == ["404 PlanNotFound: Plan nowhere is not known"]
