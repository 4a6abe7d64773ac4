"""``closedwon connect``: connects a deployed stack with Salesforce and Stigg, and shows what is still missing.

Every step looks and says how it is; what cannot be looked at because of an earlier step is left out. Credentials that
are typed in or come from a file are tried before they are stored: a secret that works is never replaced by one that
does not. Nothing is written to Salesforce or Stigg.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

import click

from closedwon.words.counted import counted
from ops.checks import Checks
from ops.connect_events import EVENTS, SECRET, clicks, look_at_events
from ops.connect_salesforce import look_at_salesforce
from ops.connect_stack import look_at_callout, look_at_stack, look_at_sweep, look_at_topics
from ops.connect_stigg import look_at_stigg
from ops.credentials import DOCS, ask_events, ask_salesforce, ask_stigg, offering, wanted_of_salesforce
from ops.show import as_json as print_json
from ops.show import facts, json_option, say, verbatim
from ops.stack import Chosen, Stack


def what_is_left(stack: Stack, url: str) -> None:
    """What to do by hand in Salesforce."""
    say(f"\nNow in Salesforce ({DOCS}; skip what is done):\n")
    facts(
        (
            (
                "Step 4",
                "Setup > Named Credentials > closed-won: the URL below. Tab External Credentials > closed-won > "
                "Callout_Key > Edit: the parameter ApiKey, with the key.",
            ),
            ("Step 5", "The permission set closed-won Flow user for all who win deals, closed-won Admin for you."),
            ("Step 7", "Map the products; then ./closedwon doctor looks whether they are right."),
            ("Step 8", "Save the flow templates under names of your own, and activate them."),
            ("Last", "App Launcher > closed-won > closed-won Configuration > Check connection."),
        )
    )
    say("\nThe URL:")
    verbatim(f"  {url}")
    say("The key, to the clipboard and nowhere else (Linux: xclip -sel clip; Windows: clip):")
    # A key on the screen would stay in the terminal's history, and is seen by who shares it.
    verbatim(f"  {shown_with(stack)} | pbcopy")


def what_is_left_in_stigg(stack: Stack, url: str) -> None:
    """What to do by hand in Stigg's app."""
    if SECRET not in stack.outputs:
        return
    say("\nAnd in Stigg, so that a payment is shown within a minute (skip it if it is done):\n")
    say(clicks(stack))
    say("\nThe endpoint URL:")
    verbatim(f"  {url}{EVENTS}")


def shown_with(stack: Stack) -> str:
    return f"./closedwon --stack {stack.name} connect --show-key"


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Only check: ask for nothing and store nothing.")
@click.option("--salesforce", "salesforce_anew", is_flag=True, help="Ask for Salesforce's credentials again.")
@click.option("--jwt", is_flag=True, help="Ask for user name and private key (JWT bearer) instead of a client secret.")
@click.option("--stigg", "stigg_anew", is_flag=True, help="Ask for Stigg's key again.")
@click.option("--events", "events_anew", is_flag=True, help="Ask for the secret of Stigg's webhook.")
@click.option(
    "--salesforce-file", type=click.File(), help="Read Salesforce's credentials from a JSON file; - is stdin."
)
@click.option("--stigg-key-file", type=click.File(), help="Read Stigg's key from a file; - is stdin.")
@click.option(
    "--events-secret-file", type=click.File(), help="Read the secret of Stigg's webhook from a file; - is stdin."
)
@click.option("--show-key", is_flag=True, help="Print the callout key, and nothing else.")
@json_option
@click.pass_obj
def connect(
    chosen: Chosen,
    only_check: bool,
    salesforce_anew: bool,
    jwt: bool,
    stigg_anew: bool,
    events_anew: bool,
    salesforce_file: TextIO | None,
    stigg_key_file: TextIO | None,
    events_secret_file: TextIO | None,
    show_key: bool,
    as_json: bool,
) -> None:
    """Connect the stack with Salesforce and Stigg, and check each step.

    Where credentials are missing it asks for them, hidden, tries them and stores them in the stack's secrets. It writes
    nothing to Salesforce or Stigg. Run it as often as you like; the last lines say what is to be done by hand. Exit
    code 1 while something is wrong.
    """
    files, anew = (salesforce_file, stigg_key_file, events_secret_file), (salesforce_anew, stigg_anew, events_anew)
    if only_check and any((*files, *anew)):
        raise click.UsageError("--check stores nothing: leave out the options that give credentials")
    if sum(map(_is_stdin, files)) > 1:  # it is read to its end once
        raise click.UsageError("only one of the files can be stdin")
    stack = chosen.stack
    if show_key:
        # Before any check: what reads the pipe must get the key alone.
        click.echo(stack.secret("CalloutKeySecretArn"))
        return
    # Without a terminal a prompt would end a script, or hold it up for ever.
    may_ask = not (only_check or as_json) and sys.stdin.isatty()
    if (any(anew) or jwt) and not may_ask:
        raise click.UsageError("there is no terminal to ask at: use the options that name a file")
    checks = Checks(quiet=as_json)
    # `--jwt` asks too: what the secret holds may be of the other kind.
    for_salesforce = offering(
        salesforce_file, None, may_ask, salesforce_anew or jwt, wanted_of_salesforce, lambda: ask_salesforce(jwt)
    )
    for_stigg = offering(stigg_key_file, "apiKey", may_ask, stigg_anew, lambda _: ("apiKey",), ask_stigg)
    # Asked for on request only: who has no webhook yet would be asked for a secret that is not there.
    for_events = offering(events_secret_file, "secret", may_ask and events_anew, events_anew, lambda _: (), ask_events)
    if look_at_stack(checks, stack):
        look_at_salesforce(checks, stack, for_salesforce)
        look_at_stigg(checks, stack, for_stigg)
        look_at_events(checks, stack, for_events)
        look_at_callout(checks, chosen)
        look_at_sweep(checks, stack)
        look_at_topics(checks, stack)
    if as_json:
        print_json(result_of(checks, chosen))
    else:
        conclude(checks, chosen)
    if not checks.good:
        raise SystemExit(1)


def _is_stdin(file: TextIO | None) -> bool:
    return file is not None and file.name == "<stdin>"


def result_of(checks: Checks, chosen: Chosen) -> dict[str, Any]:
    """What scripts get. No secret is in it."""
    stack = chosen.stack
    found: dict[str, Any] = {"stack": stack.name, "region": stack.region, "connected": checks.good}
    found["checks"] = [one._asdict() for one in checks.made]
    if len(checks.made) > 1:  # there is a stack
        found["calloutUrl"] = chosen.api.url
        # Its name and not the key: such output ends up in the logs of pipelines.
        found["calloutKeySecretArn"] = stack.outputs["CalloutKeySecretArn"]
        found["stiggEventsUrl"] = f"{chosen.api.url}{EVENTS}"
    return found


def conclude(checks: Checks, chosen: Chosen) -> None:
    wrong = sum(one.result == "problem" for one in checks.made)
    unsure = sum(one.result == "warning" for one in checks.made)
    if wrong:
        say(f"\n{counted(wrong, 'problem')} (✗): do what is said below each, then run ./closedwon connect again.")
    else:
        say("\nEverything is connected" + (f", with {counted(unsure, 'warning')} (!)." if unsure else "."))
    if len(checks.made) > 1:
        what_is_left(chosen.stack, chosen.api.url)
        what_is_left_in_stigg(chosen.stack, chosen.api.url)
