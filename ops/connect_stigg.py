"""``closedwon connect``: what is right and wrong between the stack and Stigg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from closedwon.domain.errors import (
    ClosedWonError,
    StiggUnauthorized,
)
from closedwon.stigg.client import Stigg
from closedwon.words.counted import counted
from ops.checks import Checks
from ops.credentials import STORED, Fields, Given, Vault, asking, lacking
from ops.stack import Stack

NO_OPPORTUNITY = "006" + "0" * 12 + "AAA"
"""A well-formed ID that no record has."""


def look_at_stigg(checks: Checks, stack: Stack, offered: Callable[[Fields | None], Fields | None]) -> None:
    """In: as in `look_at_salesforce`."""
    checks.begin("Stigg")
    with checks.going_on("Stigg"):
        client = stigg_client(checks, Vault(stack, "StiggSecretArn"), offered, stack.parameters["StiggApiUrl"])
        if client is None:
            checks.skip("What the key may do was not looked at.")
            return
        look_at_scopes(checks, client, stack.parameters["StiggAppUrl"])
        share, names = stack.parameters["StiggSharePercent"], ("Writes", "Lists", "Reads")
        # Stigg tells its limits in its documentation only: the API cannot be asked for them.
        limits = [f"{stack.parameters[f'Stigg{name}PerMinute']} {name.lower()}" for name in names]
        checks.ok(f"Uses at most {share} % of {', '.join(limits)} a minute (Stigg's limits, as the parameters say)")


def stigg_client(
    checks: Checks, vault: Vault, offered: Callable[[Fields | None], Fields | None], url: str
) -> Stigg | None:
    """A client whose key is accepted; None after saying why there is none."""
    held = vault.read()
    new = offered(held)
    fields = new if new is not None else held
    if fields is None:
        checks.bad("There is no key for Stigg yet", asking("--stigg", "--stigg-key-file"))
        return None
    if lacking(fields, ("apiKey",)):
        remedy = 'It takes {"apiKey": "..."}. ' + asking("--stigg", "--stigg-key-file")
        checks.bad("What was given is no key" if new is not None else "The secret StiggSecretArn has no apiKey", remedy)
        return None
    client = Stigg(url, Given(fields))
    if not is_accepted(checks, client, fields["apiKey"], unchanged=" Nothing was stored." if new is not None else ""):
        return None
    if new is not None:
        vault.put(fields)
    checks.ok("Stigg accepts the key" + (f"; stored, {STORED}" if new is not None else ""))
    return client


def is_accepted(checks: Checks, client: Stigg, key: str, unchanged: str) -> bool:
    """Whether Stigg accepts the client's key. unchanged: what is said of the secret if not."""
    server = "Stigg's app > Integrations > API keys: the full access key, which begins with server-."
    if key.strip().startswith("client-"):
        checks.bad(f"This is a publishable key, which may change nothing.{unchanged}", server)
        return False
    try:
        # A read that changes nothing and gives nobody's data.
        client.get_customer(NO_OPPORTUNITY)
    except StiggUnauthorized as error:
        if error.status != 403:  # a scoped key is a key: what it lacks is told below
            checks.bad(f"Stigg does not accept the key.{unchanged}", f"{server} Then: ./closedwon connect --stigg")
            return False
    except ClosedWonError as error:
        checks.bad(f"{error}.{unchanged}")
        return False
    return True


def look_at_scopes(checks: Checks, client: Stigg, app_url: str) -> None:
    """Whether the key may read what closed-won reads. What it may write shows only with the first deal."""
    plans: list[dict[str, Any]] = []
    reads: dict[str, Callable[[], object]] = {
        "plans": lambda: plans.extend(client.list_plans()),
        "add-ons": client.list_addons,
        "features": client.list_features,
        "credit currencies": client.list_custom_currencies,
        "customers": lambda: client.get_customer(NO_OPPORTUNITY),
        "subscriptions": lambda: next(client.subscription_pages()),  # one page: there may be thousands
    }
    refused = []
    # Each by itself, so that all that is missing is told at once.
    for name, read in reads.items():
        try:
            read()
        except StiggUnauthorized:
            refused.append(name)
    if refused:
        checks.bad(
            f"The key may not read {', '.join(refused)}", "Give a scoped key these scopes, or use the full access key."
        )
    else:
        checks.ok(f"The key may read {', '.join(reads)}; what it may write, the first deal will show")
    # Drafts and archived plans cannot be provisioned.
    published = sorted(plan["id"] for plan in plans if plan.get("status") == "PUBLISHED")
    if published:
        some = ", ".join(published[:3])
        # Only a person can see whether this is the environment that was meant, so it is neither right nor wrong.
        checks.skip(
            f"The key's environment has {counted(len(published), 'published plan')}: {some}"
            + (" ..." if len(published) > 3 else ""),
            f"Stigg's API does not name the environment: see that {app_url} shows the same (parameter StiggAppUrl).",
        )
    elif "plans" not in refused:  # else nobody knows
        checks.warn("The key's environment has no published plan", f"Is it the one at {app_url} (StiggAppUrl)?")
