"""``closedwon connect``: connects a deployed stack with Salesforce and Stigg, and shows what is still missing.

Every step looks and says how it is; what cannot be looked at because of an earlier step is left out. Credentials that
are typed in or come from a file are tried before they are stored: a secret that works is never replaced by one that
does not. Nothing is written to Salesforce or Stigg.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import urlsplit

import botocore.exceptions
import click
import requests

from closedwon.domain.errors import (
    ClosedWonError,
    SalesforceRefused,
    SalesforceUnauthorized,
    SecretInvalid,
    StiggUnauthorized,
)
from closedwon.domain.identifiers import normalised_id
from closedwon.salesforce.access import Access, access
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.mapping_records import MAPPINGS_SOQL, LineSource, Mapped, Unreadable, mapped
from closedwon.stigg.client import Stigg
from ops.show import as_json as print_json
from ops.show import check, facts, json_option, say, verbatim
from ops.stack import Chosen, Stack, in_words

Fields = dict[str, Any]

DOCS = "docs/salesforce.md"
SECONDS = 20
"""How long Salesforce may take to answer who it is."""

SWEPT_MINUTES = 15
"""How far back the sweep is looked for: it runs every minute, and CloudWatch tells it with some delay."""

NO_OPPORTUNITY = "006" + "0" * 12 + "AAA"
"""A well-formed ID that no record has."""

GOOD_STATES = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")

STORED = "the stack's functions use it within five minutes"

LOGIN_REMEDIES = {
    "invalid_client_id": "Copy the consumer key again. A new External Client App takes up to ten minutes to be known.",
    "invalid_client": "Copy the consumer secret again, then give both once more: ./closedwon connect --salesforce",
    "invalid_grant": f"The app has no Run As user, or does not allow this one: {DOCS}, step 3.",
}
"""What to do about OAuth's refusals, by their code."""


class Check(NamedTuple):
    """One thing that was looked at. result: ok, warning, problem or skipped."""

    part: str
    result: str
    words: str
    remedy: str = ""


@dataclass
class Checks:
    """What was looked at so far; shown at once unless all of it is printed as JSON in the end."""

    quiet: bool
    made: list[Check] = field(default_factory=list)
    part: str = ""

    def begin(self, part: str) -> None:
        self.part = part
        if not self.quiet:
            say(f"\n{part}" if self.made else part)

    def add(self, result: str, words: str, remedy: str = "") -> None:
        self.made.append(Check(self.part, result, words, remedy))
        if not self.quiet:
            check(result, words, remedy)

    def ok(self, words: str) -> None:
        self.add("ok", words)

    def bad(self, words: str, remedy: str = "") -> None:
        self.add("problem", words, remedy)

    def warn(self, words: str, remedy: str = "") -> None:
        self.add("warning", words, remedy)

    def skip(self, words: str, remedy: str = "") -> None:
        self.add("skipped", words, remedy)

    @contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """What fails in here is a problem of this step, and the next one follows. what: what is looked at."""
        try:
            yield
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            self.bad(f"{what}: {in_words(error)}")
        except ClosedWonError as error:
            self.bad(f"{what}: {error}")
        except click.ClickException as error:
            self.bad(f"{what}: {error.message}")

    @property
    def good(self) -> bool:
        return not any(one.result == "problem" for one in self.made)


# Secrets


class Given:
    """Credentials that are tried before they are stored, in place of `closedwon.aws.secrets.Secret`."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)

    def json(self, *required: str) -> dict[str, Any]:
        missing = lacking(self._fields, required)
        if missing:
            raise SecretInvalid(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
        return dict(self._fields)

    def again(self) -> str:
        return json.dumps(self._fields)


def lacking(fields: Mapping[str, Any], required: tuple[str, ...]) -> list[str]:
    """The names of fields that are not there as texts that say something."""
    return [name for name in required if not (isinstance(fields.get(name), str) and fields[name].strip())]


def wanted_of_salesforce(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that Salesforce's credentials need, by which of the two kinds they are."""
    if "privateKey" in fields and "clientSecret" not in fields:
        return ("clientId", "username", "privateKey")
    return ("clientId", "clientSecret")


def parsed(text: str) -> Fields | None:
    """A JSON object; None where the text is none. The text is in no error: it is a secret."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Vault:
    """One of the stack's secrets. output: the output that names it."""

    stack: Stack
    output: str

    def read(self) -> Fields | None:
        """What it holds; None where nothing was put in yet, empty where it is no JSON object."""
        try:
            text = self.stack.secret(self.output)
        except botocore.exceptions.ClientError as error:
            if error.response["Error"].get("Code") != "ResourceNotFoundException":
                raise
            return None
        return parsed(text) or {}

    def put(self, fields: Mapping[str, Any]) -> None:
        client = self.stack.client("secretsmanager")
        client.put_secret_value(SecretId=self.stack.outputs[self.output], SecretString=json.dumps(fields))


# AWS


def look_at_stack(checks: Checks, stack: Stack) -> bool:
    """Whether there is a stack to go on with."""
    checks.begin("AWS")
    found = False
    with checks.going_on("The stack"):
        state = str(stack.described["StackStatus"])
        where = f"stack {stack.name} in account {stack.account}, {stack.region}"
        if state in GOOD_STATES:
            checks.ok(f"Logged in; {where}: {state}")
        elif state == "UPDATE_ROLLBACK_COMPLETE":
            checks.warn(
                f"Logged in; {where}: {state}", "The last update was undone: its events in CloudFormation say why."
            )
        else:
            checks.bad(f"{where} is {state}", "Wait until it is complete, or see its events in CloudFormation.")
        found = True
    return found


# Salesforce


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
    lightning = host.endswith("lightning.force.com")
    if lightning or host in ("login.salesforce.com", "test.salesforce.com"):
        checks.bad(f"{url} is {'Lightning' if lightning else 'a login page'}, and not the My Domain", remedy)
        return False
    try:
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
    new = offered(held)
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
    if not reached:
        checks.skip(f"There are credentials ({kind}), which could not be tried")
        return None
    client = SalesforceClient(url, Given(fields), version)
    unchanged = " Nothing was stored." if new is not None else ""
    try:
        client.budget()
    except SalesforceUnauthorized as error:
        usual = f"{DOCS}, step 3. To give others: ./closedwon connect --salesforce"
        checks.bad(
            f"Salesforce does not accept the credentials ({kind}): {error.message}.{unchanged}",
            LOGIN_REMEDIES.get(error.code, usual),
        )
        return None
    except ClosedWonError as error:
        checks.bad(f"Logging in ({kind}): {error}.{unchanged}", f"{DOCS}, step 3: licence, API access, Run As.")
        return None
    if new is not None:
        vault.put(fields)
    checks.ok(f"Salesforce accepts the credentials ({kind})" + (f"; stored, {STORED}" if new is not None else ""))
    return client


def look_at_organization(checks: Checks, client: SalesforceClient, expected: str) -> None:
    [row] = client.query("SELECT Id, IsSandbox, InstanceName FROM Organization")
    kind = "a sandbox" if row["IsSandbox"] else "production"
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
            if error.status == 404:
                return None
            raise

    for one in access(mappings, describe):
        tell_access(checks, one)


def tell_access(checks: Checks, one: Access) -> None:
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
        wrong = [f"may not {need} it" for need in one.lacks]
        wrong += [f"cannot see {', '.join(one.unseen)}"] if one.unseen else []
        wrong += [f"may not edit {', '.join(one.unwritten)}"] if one.unwritten and "edit" not in one.lacks else []
        checks.bad(f"{one.object}: the user {'; '.join(wrong)}", remedy)


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# Stigg


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
    unchanged = " Nothing was stored." if new is not None else ""
    server = "Stigg's app > Integrations > API keys: the full access key, which begins with server-."
    if fields["apiKey"].strip().startswith("client-"):
        checks.bad(f"This is a publishable key, which may change nothing.{unchanged}", server)
        return None
    client = Stigg(url, Given(fields))
    try:
        client.get_customer(NO_OPPORTUNITY)
    except StiggUnauthorized as error:
        if error.status != 403:  # a scoped key is a key: what it lacks is told below
            checks.bad(f"Stigg does not accept the key.{unchanged}", f"{server} Then: ./closedwon connect --stigg")
            return None
    except ClosedWonError as error:
        checks.bad(f"{error}.{unchanged}")
        return None
    if new is not None:
        vault.put(fields)
    checks.ok("Stigg accepts the key" + (f"; stored, {STORED}" if new is not None else ""))
    return client


def look_at_scopes(checks: Checks, client: Stigg, app_url: str) -> None:
    """Whether the key may read what closed-won reads. What it may write shows only with the first deal."""
    plans: list[dict[str, Any]] = []
    reads: dict[str, Callable[[], object]] = {
        "plans": lambda: plans.extend(client.list_plans()),
        "add-ons": client.list_addons,
        "features": client.list_features,
        "credit currencies": client.list_custom_currencies,
        "customers": lambda: client.get_customer(NO_OPPORTUNITY),
        "subscriptions": lambda: next(client.subscription_pages()),
    }
    refused = []
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
    published = sorted(plan["id"] for plan in plans if plan.get("status") == "PUBLISHED")
    if published:
        some = ", ".join(published[:3])
        checks.skip(
            f"The key's environment has {counted(len(published), 'published plan')}: {some}"
            + (" ..." if len(published) > 3 else ""),
            f"Stigg's API does not name the environment: see that {app_url} shows the same (parameter StiggAppUrl).",
        )
    elif "plans" not in refused:
        checks.warn("The key's environment has no published plan", f"Is it the one at {app_url} (StiggAppUrl)?")


# closed-won itself


def look_at_callout(checks: Checks, chosen: Chosen) -> None:
    checks.begin("closed-won")
    api, path = chosen.api, f"/v1/provisionings/{NO_OPPORTUNITY}"
    with checks.going_on("The callout"):
        status, _ = api.looks(path, with_key=False)
        if status in (401, 403):
            checks.ok("The callout refuses who has no key")
        else:
            checks.bad(f"The callout answered {status} to a request without a key", "See the API's log in CloudWatch.")
        status, message = api.looks(path)
        if status == 404 and message:
            checks.ok(f"The callout takes the key: {api.url}")
        elif status in (401, 403):
            remedy = "A changed key is known within five minutes; with --key, that one is tried."
            checks.bad("The callout does not take the key", remedy)
        else:
            checks.bad(f"What answers at {api.url} (HTTP {status}) is not closed-won", "Deploy the stack again.")


def look_at_sweep(checks: Checks, stack: Stack) -> None:
    with checks.going_on("The sweep"):
        runs, failed = invocations(stack, "Invocations"), invocations(stack, "Errors")
        if not runs:
            remedy = "It runs every minute, which AWS tells some minutes later: look again soon."
            checks.warn(f"The sweep was not seen to run in the last {SWEPT_MINUTES} minutes", remedy)
        elif failed:
            remedy = f"See the log group /aws/lambda/{stack.name}-sweep in CloudWatch."
            checks.warn(
                f"The sweep failed {failed} of {counted(runs, 'time')} in the last {SWEPT_MINUTES} minutes", remedy
            )
        else:
            checks.ok(f"The sweep ran {counted(runs, 'time')} in the last {SWEPT_MINUTES} minutes")


def invocations(stack: Stack, metric: str) -> int:
    now = datetime.now(UTC)
    found = stack.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=metric,
        Dimensions=[{"Name": "FunctionName", "Value": stack.physical("SweepFunction")}],
        StartTime=now - timedelta(minutes=SWEPT_MINUTES),
        EndTime=now,
        Period=60,
        Statistics=["Sum"],
    )
    return sum(round(point["Sum"]) for point in found["Datapoints"])


def look_at_topics(checks: Checks, stack: Stack) -> None:
    for parameter, when in (("AlarmTopic", "when something fails"), ("NotificationTopic", "what reconciliation finds")):
        if stack.parameters.get(parameter):
            checks.ok(f"{parameter}: {stack.parameters[parameter]}")
        else:
            remedy = f"Deploy with {parameter}, the ARN of an SNS topic that somebody subscribed to."
            checks.warn(f"Nobody is told {when}: {parameter} is empty", remedy)


# Asking


def asking(option: str, file: str) -> str:
    return f"Give them in a terminal (./closedwon connect {option}), or with {file}."


def ask_salesforce(jwt: bool) -> Fields:
    """What is typed, hidden. Out: the secret's fields."""
    click.echo(f"External Client App > Settings > Consumer Key and Secret ({DOCS}, step 3); input is hidden.", err=True)
    client_id = click.prompt("Consumer key", hide_input=True, err=True).strip()
    if not jwt:
        return {
            "clientId": client_id,
            "clientSecret": click.prompt("Consumer secret", hide_input=True, err=True).strip(),
        }
    username = click.prompt("User name of closed-won's user", err=True).strip()
    path: str = click.prompt(
        "File with the private key (PEM)", type=click.Path(exists=True, dir_okay=False, path_type=str), err=True
    )
    return {"clientId": client_id, "username": username, "privateKey": Path(path).read_text()}


def ask_stigg() -> Fields:
    click.echo("Stigg's app > Integrations > API keys: the full access key; input is hidden.", err=True)
    return {"apiKey": click.prompt("Key", hide_input=True, err=True).strip()}


def fields_of(text: str, key: str | None) -> Fields:
    """What a file gives: a JSON object, or a bare text where one field (key) is all there is."""
    found = parsed(text)
    if found is None:
        return {key: text.strip()} if key else {}
    return found


def offering(
    file: TextIO | None,
    key: str | None,
    may_ask: bool,
    forced: bool,
    wanted: Callable[[Fields], tuple[str, ...]],
    ask: Callable[[], Fields],
) -> Callable[[Fields | None], Fields | None]:
    """What is offered in place of what a secret holds: a file's content, or what is typed where the secret does not do
    or somebody wants to (forced); None to leave it.
    """

    def offered(held: Fields | None) -> Fields | None:
        if file is not None:
            return fields_of(file.read(), key)
        if may_ask and (forced or held is None or lacking(held, wanted(held))):
            return ask()
        return None

    return offered


# The command


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
    verbatim(f"  {shown_with(stack)} | pbcopy")


def shown_with(stack: Stack) -> str:
    return f"./closedwon --stack {stack.name} connect --show-key"


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Only check: ask for nothing and store nothing.")
@click.option("--salesforce", "salesforce_anew", is_flag=True, help="Ask for Salesforce's credentials again.")
@click.option("--jwt", is_flag=True, help="Ask for user name and private key (JWT bearer) instead of a client secret.")
@click.option("--stigg", "stigg_anew", is_flag=True, help="Ask for Stigg's key again.")
@click.option(
    "--salesforce-file", type=click.File(), help="Read Salesforce's credentials from a JSON file; - is stdin."
)
@click.option("--stigg-key-file", type=click.File(), help="Read Stigg's key from a file; - is stdin.")
@click.option("--show-key", is_flag=True, help="Print the callout key, and nothing else.")
@json_option
@click.pass_obj
def connect(
    chosen: Chosen,
    only_check: bool,
    salesforce_anew: bool,
    jwt: bool,
    stigg_anew: bool,
    salesforce_file: TextIO | None,
    stigg_key_file: TextIO | None,
    show_key: bool,
    as_json: bool,
) -> None:
    """Connect the stack with Salesforce and Stigg, and check each step.

    Where credentials are missing it asks for them, hidden, tries them and stores them in the stack's secrets. It writes
    nothing to Salesforce or Stigg. Run it as often as you like; the last lines say what is to be done by hand. Exit
    code 1 while something is wrong.
    """
    if only_check and (salesforce_anew or stigg_anew or salesforce_file or stigg_key_file):
        raise click.UsageError("--check stores nothing: leave out the options that give credentials")
    if salesforce_file and stigg_key_file and salesforce_file.name == stigg_key_file.name == "<stdin>":
        raise click.UsageError("only one of the two files can be stdin")
    stack = chosen.stack
    if show_key:
        click.echo(stack.secret("CalloutKeySecretArn"))
        return
    may_ask = not (only_check or as_json) and sys.stdin.isatty()
    if (salesforce_anew or stigg_anew or jwt) and not may_ask:
        raise click.UsageError("there is no terminal to ask at: use --salesforce-file and --stigg-key-file")
    checks = Checks(quiet=as_json)
    if look_at_stack(checks, stack):
        look_at_salesforce(
            checks,
            stack,
            offering(
                salesforce_file,
                None,
                may_ask,
                salesforce_anew or jwt,
                wanted_of_salesforce,
                lambda: ask_salesforce(jwt),
            ),
        )
        look_at_stigg(
            checks, stack, offering(stigg_key_file, "apiKey", may_ask, stigg_anew, lambda _: ("apiKey",), ask_stigg)
        )
        look_at_callout(checks, chosen)
        look_at_sweep(checks, stack)
        look_at_topics(checks, stack)
    if as_json:
        print_json(result_of(checks, chosen))
    else:
        conclude(checks, chosen)
    if not checks.good:
        raise SystemExit(1)


def result_of(checks: Checks, chosen: Chosen) -> dict[str, Any]:
    """What scripts get. No secret is in it."""
    stack = chosen.stack
    found: dict[str, Any] = {"stack": stack.name, "region": stack.region, "connected": checks.good}
    found["checks"] = [one._asdict() for one in checks.made]
    if len(checks.made) > 1:  # there is a stack
        found["calloutUrl"] = chosen.api.url
        found["calloutKeySecretArn"] = stack.outputs["CalloutKeySecretArn"]
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
