"""The fault campaign, in short: everything holds; and its oracle knows nothing of the product."""

from __future__ import annotations

import ast
import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proof import oracle
from proof.campaign import campaign
from proof.judge import wanted_of
from proof.kinds import KINDS
from proof.market import make
from proof.shop import LATEST

PROOF = Path(oracle.__file__).parents[1]
NOW = datetime(2026, 11, 20, 9, 16, tzinfo=UTC)


def test_the_oracle_imports_nothing_of_the_product_not_even_through_others() -> None:
    waiting, seen = ["proof.oracle"], set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        path = PROOF.parent / module.replace(".", "/")
        source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            foreign = {"closedwon", "sandbox", "functions", "tests", "unit", "integration"}
            assert not [name for name in names if name.split(".")[0] in foreign]
            waiting += [name for name in names if name.startswith("proof.") and name not in seen]
    files = {f"proof.oracle.{path.stem}" for path in (PROOF / "oracle").glob("*.py")}
    assert seen == files - {"proof.oracle.__init__"} | {"proof.oracle"}


def test_a_customer_is_made_from_its_seed_alone() -> None:
    one, again, other = (make(seed, NOW, "00D") for seed in (7, 7, 8))
    assert one == again
    assert one.newest.keys() != other.newest.keys()


def test_every_kind_of_deal_is_among_a_thousand() -> None:
    customers = [make(seed, NOW, "00D") for seed in range(330)]
    deals = [save.deal for one in customers for save in one.saves]
    kinds = {(deal["trigger"], deal.get("quantities"), bool(deal["lines"])) for deal in deals}
    assert kinds == {
        ("closed_won", None, True),
        ("trial", None, True),
        ("amendment", None, True),
        ("amendment", "differences", True),
        ("renewal", None, True),
        ("cancellation", None, True),
        ("cancellation", None, False),
    }
    # Judged when the instants that come while a customer is played have come.
    wanted = [wanted_of(one, NOW + timedelta(seconds=LATEST), oracle.Rules()) for one in customers]
    statuses = {status for each in wanted for status in each.statuses.values()}
    assert statuses == {"Provisioned", "Scheduled", "Superseded", "Held", "Failed", "Ended"}
    assert {name for one in customers for name in one.kinds} == KINDS.keys()
    assert any(one.approves for one in customers)
    assert any(one.foreign for one in customers)
    assert sum(len(one.newest) for one in customers) >= 900


def test_the_oracle_lays_deals_over_each_other_by_their_days() -> None:
    def deal(id: str, trigger: str, *lines: tuple[str, str, int], **more: object) -> dict[str, object]:
        sold = [{"stiggType": kind, "stiggId": name, "quantity": number} for kind, name, number in lines]
        return {"opportunity": {"id": id}, "trigger": trigger, "terms": {}, "lines": sold, **more}

    base = deal("base", "closed_won", ("Plan", "plan-enterprise", 1), ("Entitlement", "feature-seats", 10))
    more = deal("more", "amendment", ("Entitlement", "feature-seats", 5), amends="base", quantities="differences")
    more["terms"] = {"start": "2026-12-01"}
    end = deal("end", "cancellation", amends="base")
    end["terms"] = {"end": "2026-12-31"}
    deals = {"base": base, "more": more, "end": end}

    def seats(day: datetime) -> tuple[int | None, datetime | None, dict[str, str]]:
        readings = {id: [deal] for id, deal in copy.deepcopy(deals).items()}
        found = oracle.expected(readings, oracle.Memory(), (), (), day)
        [stands] = found.subscriptions.values() or [None]
        return (stands.limits["feature-seats"], stands.ends, found.statuses) if stands else (None, None, found.statuses)

    ends = datetime(2027, 1, 1, tzinfo=UTC)
    scheduled = {"base": "Provisioned", "more": "Scheduled", "end": "Scheduled"}
    assert seats(NOW) == (10, ends, scheduled)
    assert seats(NOW + timedelta(days=20)) == (15, ends, {**scheduled, "more": "Provisioned"})
    over = {"base": "Superseded", "more": "Superseded", "end": "Provisioned"}
    assert seats(NOW + timedelta(days=60)) == (None, None, over)


@pytest.mark.long
def test_under_faults_of_all_kinds_every_deal_comes_out_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROOF_DEALS", "40")
    lines = campaign(seed=1, long=False)
    assert [line for line in lines if not line.met] == []
