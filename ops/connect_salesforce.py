"""``closedwon connect``: what is right and wrong between the stack and Salesforce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests

from closedwon.domain.errors import (
    ClosedWonError,
    SalesforceRefused,
    SalesforceUnauthorized,
)
from closedwon.domain.identifiers import normalised_id
from closedwon.salesforce.access import Access, access
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.mapping_records import MAPPINGS_SOQL, LineSource, Mapped, Unreadable, mapped
from closedwon.salesforce.package import UNTIL_DEPLOYED
from closedwon.words.counted import counted
from ops.checks import Checks
from ops.credentials import DOCS, STORED, Fields, Given, Vault, asking, lacking, wanted_of_salesforce
from ops.stack import Stack

SECONDS = 20
"""How long Salesforce may take to answer who it is."""

LOGIN_REMEDIES = {
    "invalid_client_id": "Copy the consumer key again. A new External Client App takes up to ten minutes to be known.",
    "invalid_client": "Copy the consumer secret again, then give both once more: ./closedwon connect --salesforce",
    "invalid_grant": f"The app has no Run As user, or does not allow this one: {DOCS}, step 3.",
}
"""What to do about OAuth's refusals, by their code."""


def look_at_salesforce(checks: Checks, stack: Stack, offered: Callable[[Fields | None], Fields | None]) -> None:
    """In: where to note; the stack; from what the secret holds, the credentials that are offered in its place."""
    checks.begin("Salesforce")
    url, version = stack.parameters["SalesforceUrl"].rstrip("/"), stack.parameters["SalesforceApiVersion"]
    reached = False
    with checks.going_on("My Domain"):
        reached = look_at_domain(checks, url, version)
    client = None
    with checks.going_on("The credentials"):
        client = salesforce_client(checks, Vault(stack, "SalesforceSecretArn"), offered, url, version, reached)
    if client is None:
        checks.skip("The organisation and what the user may do there were not looked at.")
        return
    with checks.going_on("The organisation"):
        look_at_organization(checks, client, stack.parameters["SalesforceOrganizationId"])
    with checks.going_on("What the user may do"):
        look_at_permissions(checks, client)
    with checks.going_on("API calls"):
        used, most = client.budget()
        share = int(stack.parameters["SalesforceApiSharePercent"])
        words = f"{used:,} of the organisation's {most:,} API calls of 24 hours are used up"
        if 100 * used > share * most:
            checks.warn(words, f"Reconciliation stops above {share} % (parameter SalesforceApiSharePercent).")
        else:
            checks.ok(words)


def look_at_domain(checks: Checks, url: str, version: str) -> bool:
    """Whether the address is an organisation's. Asks for the versions of its API, which anybody may."""
    host = urlsplit(url).hostname or ""
    remedy = "Parameter SalesforceUrl: Setup > My Domain, https://<name>.my.salesforce.com. Deploy with it again."
    # All of these answer, but the token that the server needs is given out at the My Domain only.
    lightning = host.endswith("lightning.force.com")
    if lightning or host in ("login.salesforce.com", "test.salesforce.com"):
        checks.bad(f"{url} is {'Lightning' if lightning else 'a login page'}, and not the My Domain", remedy)
        return False
    try:
        # No redirects: what another address answers says nothing about this one.
        answer = requests.get(f"{url}/services/data", timeout=SECONDS, allow_redirects=False)
    except requests.exceptions.SSLError:
        checks.bad(f"{url} shows a certificate that is not trusted here", remedy)
        return False
    except requests.ConnectionError:
        checks.bad(f"{url} could not be reached", remedy)
        return False
    except requests.Timeout:
        checks.bad(f"{url} did not answer within {SECONDS} seconds")
        return False
    versions = versions_in(answer)
    # Any web server answers; only an organisation lists its versions.
    if not versions:
        checks.bad(f"What answers at {url} is no Salesforce organisation (HTTP {answer.status_code})", remedy)
        return False
    checks.ok(f"{url} answers")
    if version in versions:
        checks.ok(f"API version {version} is offered (up to {versions[-1]})")
    else:
        checks.bad(
            f"API version {version} is not offered: {versions[0]} to {versions[-1]} are",
            "Parameter SalesforceApiVersion. Deploy with one that is.",
        )
    return True


def versions_in(answer: requests.Response) -> list[str]:
    """The versions an organisation offers, oldest first; none where something else answered."""
    try:
        return [one["version"] for one in answer.json()] if answer.status_code == 200 else []
    except (ValueError, TypeError, KeyError):
        return []


def salesforce_client(
    checks: Checks,
    vault: Vault,
    offered: Callable[[Fields | None], Fields | None],
    url: str,
    version: str,
    reached: bool,
) -> SalesforceClient | None:
    """A client that is logged in; None after saying why there is none."""
    held = vault.read()
    new = offered(held)  # by what is held: nobody is asked for what is there already
    fields = new if new is not None else held
    if fields is None:
        checks.bad("There are no credentials for Salesforce yet", asking("--salesforce", "--salesforce-file"))
        return None
    missing = lacking(fields, wanted_of_salesforce(fields))
    if missing:
        what = "What was given" if new is not None else "The secret SalesforceSecretArn"
        remedy = 'It takes {"clientId", "clientSecret"} or {"clientId", "username", "privateKey"}. '
        checks.bad(f"{what} lacks {', '.join(missing)}", remedy + asking("--salesforce", "--salesforce-file"))
        return None
    kind = "JWT bearer" if "privateKey" in wanted_of_salesforce(fields) else "client credentials"
    # An address that did not answer as an organisation may be anybody's: it gets no credentials.
    if not reached:
        checks.skip(f"There are credentials ({kind}), which could not be tried")
        return None
    client = SalesforceClient(url, Given(fields), version)
    if not logs_in(checks, client, kind, unchanged=" Nothing was stored." if new is not None else ""):
        return None
    if new is not None:
        # Only now that they are accepted: a secret that works must not be lost to one that does not.
        vault.put(fields)
    checks.ok(f"Salesforce accepts the credentials ({kind})" + (f"; stored, {STORED}" if new is not None else ""))
    return client


def logs_in(checks: Checks, client: SalesforceClient, kind: str, unchanged: str) -> bool:
    """Whether the credentials are accepted. kind: what kind they are of; unchanged: said of the secret if not."""
    try:
        # A token proves little: whether the user may use the API shows with the first call.
        client.budget()
    except SalesforceUnauthorized as error:
        usual = f"{DOCS}, step 3. To give others: ./closedwon connect --salesforce"
        checks.bad(
            f"Salesforce does not accept the credentials ({kind}): {error.message}.{unchanged}",
            LOGIN_REMEDIES.get(error.code, usual),
        )
        return False
    except ClosedWonError as error:
        checks.bad(f"Logging in ({kind}): {error}.{unchanged}", f"{DOCS}, step 3: licence, API access, Run As.")
        return False
    return True


def look_at_organization(checks: Checks, client: SalesforceClient, expected: str) -> None:
    [row] = client.query("SELECT Id, IsSandbox, InstanceName FROM Organization")
    kind = "a sandbox" if row["IsSandbox"] else "production"
    # Setup shows 15 characters, and the API answers with 18.
    if row["Id"] == normalised_id(expected, "00D"):
        checks.ok(f"It is the organisation this stack serves: {row['Id']}, {kind} on {row['InstanceName']}")
        return
    remedy = "Parameter SalesforceOrganizationId or SalesforceUrl is another's; a refreshed sandbox has a new ID."
    checks.bad(f"It is organisation {row['Id']} ({kind}), and this stack serves {expected}", remedy)


def look_at_permissions(checks: Checks, client: SalesforceClient) -> None:
    """Object by object, what closed-won does there and its user may not."""
    mappings = Mapped([LineSource()], cpq=False, without_quote=None)  # as the package deploys it
    remedy = f"Setup > Custom Metadata Types > Stigg Mapping; {DOCS}, step 7."
    try:
        mappings = mapped(client.query(MAPPINGS_SOQL))
        names = ", ".join(each.object for each in mappings.sources)
        checks.ok(f"Lines of deals are read from {names}" + (", with CPQ" if mappings.cpq else ""))
    except Unreadable as error:
        checks.bad(f"Stigg Mapping: {error}", remedy)
    except SalesforceRefused as error:
        checks.bad(f"Stigg Mapping cannot be read: {error.message}", f"Deploy the package: {DOCS}, step 2.")

    def describe(name: str) -> dict[str, Any] | None:
        try:
            return client.describe(name)
        except SalesforceRefused as error:
            # Salesforce answers as if there were no such object where the user may not see it; `access` tells that.
            if error.status == 404:
                return None
            raise

    for one in access(mappings, describe):
        tell_access(checks, one)


def tell_access(checks: Checks, one: Access) -> None:
    # CPQ's fields are on standard objects too; they are in CPQ's own permission set only, and so is Contract.
    cpq = any("sbqq__" in name.lower() for name in (one.object, *one.unseen))
    permission_set = "closed-won Integration" + (" CPQ" if cpq or one.object == "Contract" else "")
    remedy = f"Give the user the permission set {permission_set} ({DOCS}, step 3); what it lacks, one of your own."
    if not one.visible:
        checks.bad(
            f"{one.object}: there is no such object for the user", f"Deploy the package ({DOCS}, step 2). {remedy}"
        )
    elif one.enough:
        edits = f", {'creates it and ' if one.object == 'Stigg_Provisioning__c' else ''}edits {len(one.writes)}"
        checks.ok(f"{one.object}: reads {counted(len(one.reads), 'field')}{edits if one.writes else ''}")
    else:
        checks.bad(f"{one.object}: the user {'; '.join(_wanting(one))}", remedy)
    if one.behind and not one.lacks:  # else the user may edit no field there
        words = f"{one.object}: the package is older than the stack and lacks {one.behind}, or the user may not edit it"
        checks.warn(words, f"Deploy the package ({DOCS}, step 2). {UNTIL_DEPLOYED} {remedy}")


def _wanting(one: Access) -> list[str]:
    """What the user may not do with an object."""
    wrong = [f"may not {need} it" for need in one.lacks]
    if one.unseen:
        wrong.append(f"cannot see {', '.join(one.unseen)}")
    # Who may not edit the object may edit none of its fields: that is said once.
    if one.unwritten and "edit" not in one.lacks:
        wrong.append(f"may not edit {', '.join(one.unwritten)}")
    return wrong
