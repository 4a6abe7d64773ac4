"""`make prove`'s load, its short form; and whether its judge sees what leaks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proof.load import PARAMETERS, PATH, SAMPLES, Seen, endure, judged, look
from sandbox.aws.runtime import FunctionProcess, Invocation
from sandbox.sandbox import Sandbox

MB = 1_000_000


def series(memory: Callable[[int], int], files: int = 0, threads: int = 0) -> list[Seen]:
    """files, threads: how many come with each look."""
    return [Seen(memory(n), 9 + files * n, 3 + threads * n) for n in range(SAMPLES)]


def test_what_warms_up_and_wavers_is_flat_and_what_grows_is_not() -> None:
    assert judged(series(lambda n: 60 * MB + min(n, 4) * 5 * MB + n % 3 * MB)).flat
    assert not judged(series(lambda n: 60 * MB + n * MB)).flat
    assert not judged(series(lambda n: 60 * MB, files=1)).flat
    assert not judged(series(lambda n: 60 * MB, threads=1)).flat


LEAKS = {
    "nothing": ("pass", True),
    "memory": ("kept.append(bytearray(200_000))", False),
    "files": ("kept.append(open(__file__))", False),
    "threads": (
        "t = threading.Thread(target=threading.Event().wait, daemon=True); t.start(); kept.append(t)",
        False,
    ),
}


@pytest.mark.parametrize(("does", "flat"), LEAKS.values(), ids=LEAKS)
def test_a_function_that_leaks_is_seen(tmp_path: Path, does: str, flat: bool) -> None:
    source = f"import threading\nkept = []\ndef lambda_handler(event, context):\n    {does}\n    return 1\n"
    (tmp_path / "app.py").write_text(source)
    path = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = FunctionProcess("app.lambda_handler", tmp_path, [], path, lambda line: None)
    try:
        seen = []
        for _ in range(SAMPLES):
            for _ in range(4):
                assert process.run(Invocation("1", b"{}", "arn", 0.0), 10).value() == 1
            seen.append(look(process._process.pid))
        assert judged(seen).flat == flat
    finally:
        process.kill()


@pytest.mark.long
def test_after_hundreds_of_invocations_nobody_holds_more_and_everybody_has_what_was_sold() -> None:
    with Sandbox(PARAMETERS, wait_scale=0.04, longest_invocation=20, rate_limits=False, concurrency=1) as sandbox:
        load, seen = endure(sandbox, seed=2, rounds=50)
        assert load.stale() == []
        assert (
            load.errors.keys() == {"WriteUnanswered", "StiggUnavailable", "ExecutionLimitExceeded"} & load.errors.keys()
        )
        assert load.invoked.keys() == set(PATH)
        for function, samples in seen.items():
            one = judged(samples)
            assert (one.files, one.threads) <= (0, 0), function
            assert one.growth < 1.1, function  # what is kept once has not all been kept yet
