"""``make demo``: one enterprise deal, from Closed Won in Salesforce to access in Stigg and back, told as it happens.

Every sentence with a mark is a check of what was expected against what was found; the exit code is 0 only if all of
them held. What it reads from Stigg and Salesforce it reads through their APIs, with a key, as any client would.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from sandbox.narration import Narration

# What takes a second to import is imported where it is used, once the terminal shows something.
if TYPE_CHECKING:
    from sandbox.sandbox import Sandbox

INTRODUCTION = (
    "Salesforce is where a deal is won. Stigg is what a product asks, each time somebody uses it, what that customer "
    "may do. closed-won carries the one into the other: once, in order, and with links both ways.",
    "",
    "What follows really happens, on this machine: the real template, functions and state machine, in a stand-in of "
    "AWS, between stand-ins of Stigg and Salesforce. It needs no account, and nothing leaves this machine.",
)


def tell(sandbox: Sandbox, out: Narration) -> int:
    """Tell the story over a running sandbox. Out: the exit code, 0 when every check held.

    A check that does not hold is told with what was expected and found, and with what the functions logged; then the
    story goes on.
    """
    from sandbox.chapters import CHAPTERS
    from sandbox.chapters.story import NUMBERS, Story

    story = Story(sandbox, out)
    for title, told in CHAPTERS:
        chapter = out.chapter(title)
        logged = {name: len(lines) for name, lines in sandbox.aws.functions.logs.items()}
        try:
            told(story)
        except Exception as error:
            out.check("the chapter is told to its end", "no error", f"{type(error).__name__}: {error}", False)
        if chapter.failed:
            show_logs(sandbox, out, logged)
        if not story.deal:
            out.say("Without a deal there is no more to tell.")
            break
    out.summary()
    out.say()
    for name in NUMBERS:
        if name in story.numbers:
            out.number(name, story.numbers[name])
    return 1 if out.failed else 0


def show_logs(sandbox: Sandbox, out: Narration, logged: Mapping[str, int], most: int = 4) -> None:
    """The last lines that functions logged in this chapter."""
    logs = {name: lines[logged.get(name, 0) :][-most:] for name, lines in sandbox.aws.functions.logs.items()}
    if any(logs.values()):
        out.say()
        out.say("What the functions logged last:")
    for name, lines in logs.items():
        if lines:
            out.row(name)
            out.fact("", *(log_line(line) for line in lines))


def log_line(line: str) -> str:
    """A structured log line in short; any other as it is."""
    try:
        content = json.loads(line)
        if "errorType" in content:  # what the runtime says of an error nobody caught
            return f"ERROR {content['errorType']}: {content.get('errorMessage')}"
        more = [f"{name}={value}" for name, value in content.items() if name not in USUAL and value is not None]
        return " ".join([content["level"], content["message"], *more])
    except (ValueError, KeyError, TypeError):
        return line.strip()


USUAL = {
    *(
        "level",
        "message",
        "location",
        "timestamp",
        "service",
        "execution",
        "xray_trace_id",
        "exception",
        "stack_trace",
    ),
    *("cold_start", "function_name", "function_memory_size", "function_arn", "function_request_id"),
}
"""Fields of a log line that tell a reader of the demo nothing."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.demo", description="One enterprise deal, from Closed Won to provisioned."
    )
    parser.add_argument(
        "--stay", action="store_true", help="keep everything up afterwards, until Ctrl-C: links stay open"
    )
    chosen = parser.parse_args(arguments)
    out = Narration(sys.stdout)
    try:
        return run(out, chosen.stay)
    except KeyboardInterrupt:
        out.say()
        out.say("Ended.")
        return 130


def run(out: Narration, stay: bool) -> int:
    begun = time.monotonic()
    out.title("closed-won: one enterprise deal, from Closed Won to provisioned and back")
    out.say(*INTRODUCTION)
    out.say()
    with out.waiting("starting the sandbox"):
        from sandbox.sandbox import Sandbox, reach_loopback_directly

        out.now_waiting("deploying template.yaml into the sandbox")
        reach_loopback_directly()
        sandbox = Sandbox(events=True).start()
    try:
        out.say(f"Up after {time.monotonic() - begun:.1f} s:")
        out.fact("Callout", f"{sandbox.aws.callout_url}/v1/provisionings")
        out.fact("AWS", f"{sandbox.aws.endpoint_url}  (template.yaml, {len(sandbox.aws.functions.logs)} functions)")
        out.fact("Stigg", f"{sandbox.stigg_server.url}/{sandbox.stigg.environment}/customers")
        out.fact("Salesforce", f"{sandbox.salesforce_server.url}/")
        out.fact("Keys", "made for this run, kept in its Secrets Manager, and never printed")
        code = tell(sandbox, out)
        out.number("the whole demo", f"{time.monotonic() - begun:.1f} s")
        out.say()
        out.say("Everything held." if code == 0 else "Not everything held: see the crosses above.")
        if stay:
            out.say(
                "Everything stays up until Ctrl-C. Browsers warn of Salesforce's certificate: it was made for this run."
            )
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)
            return code
        out.say(
            "To click through it yourself: make sandbox. It stays up, with addresses and keys in "
            ".sandbox/endpoints.json."
        )
        return code
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ending already
        sandbox.stop()


if __name__ == "__main__":
    sys.exit(main())
