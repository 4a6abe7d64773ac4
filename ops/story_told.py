"""The history of a deal or a customer, told in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.text import Text

from closedwon.domain.changes import LIVE
from closedwon.words.counted import counted
from ops import show
from ops.show import say
from ops.story import NEWEST

Json = dict[str, Any]

LOUD = {
    "Provisioned": "green",
    "Failed": "red",
    "Held": "yellow",
    "Payment required": "yellow",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "ABORTED": "red",
    "SUCCEEDED": "green",
}


class Teller:
    """Tells a story to people. zone: the stack's time zone; everything: also the long lists."""

    def __init__(self, told: Json, zone: ZoneInfo, everything: bool) -> None:
        self.told = told
        self.zone = zone
        self.everything = everything
        self.now = datetime.now(zone)

    def tell(self) -> None:
        self.heading()
        self.facts()
        # A single deal that was asked for is told already, by heading and facts.
        if len(self.told["deals"]) > 1 or self.told["asked"]["opportunityId"] is None:
            self.deals()
        self.orders()
        self.executions()
        self.stigg()
        self.verdict()
        self.next_steps()

    def when(self, instant: str | None) -> str:
        """An instant on the operator's clock: the stack's time zone, the year only where it is another."""
        if not instant:
            return ""
        local = datetime.fromisoformat(instant).astimezone(self.zone)
        return f"{local:%m-%d %H:%M:%S}" if local.year == self.now.year else f"{local:%Y-%m-%d %H:%M}"

    def day(self, instant: str | None) -> str:
        return f"{datetime.fromisoformat(instant).astimezone(self.zone):%Y-%m-%d}" if instant else ""

    def heading(self) -> None:
        told = self.told
        if told["asked"]["opportunityId"] is not None and told["deals"]:
            [deal] = told["deals"]
            heading = Text.assemble(f"Opportunity {deal['opportunityId']} is ", _loud(deal["status"]), ".")
            show.console().print(heading)
            if deal["reason"]:
                say(deal["reason"])
        else:
            words = ", ".join(f"{count:,} {status}" for status, count in told["statuses"].items())
            say(f"Account {told['account']['id']} has {counted(told['dealsInAll'], 'deal')}: {words}.")
        say()

    def facts(self) -> None:
        told, ledger_ = self.told, self.told["ledger"]
        deal = told["deals"][0] if told["asked"]["opportunityId"] and told["deals"] else None
        behind = ledger_["version"] - ledger_["applied"]
        applied = "all of it carried out" if not behind else f"{counted(behind, 'version')} not carried out yet"
        pairs: list[tuple[str, object]] = []
        if deal:
            pairs += [
                ("Opportunity", deal["url"]),
                ("Trigger", deal["trigger"].replace("_", " ")),
                ("Code", deal["code"]),
                ("Since", self.when(deal["since"])),
                ("Takes effect", self.when(deal["dueAt"])),
                ("In Salesforce", self.shown(deal)),
            ]
        pairs += [
            ("Account", told["account"]["url"]),
            ("Account shows", self.account_shows()),
            ("Customer", told["customer"]["url"] or "not in Stigg yet"),
            ("Ledger", f"version {ledger_['version']}, {applied}"),
            ("Due", self.due()),
            ("Failures", f"{ledger_['failures']} in a row" if ledger_["failures"] else ""),
        ]
        show.facts(pairs)
        say()

    def shown(self, deal: Json) -> Text:
        """What Salesforce shows of a deal; by the ledger where it could not be asked."""
        if not self.told["salesforce"]["reached"]:
            return Text("written" if deal["writtenBack"] else "not written yet")
        record = self.told["salesforce"]["provisionings"].get(deal["opportunityId"])
        if record is None:
            return Text("nothing", style="yellow")
        # a link too long for its own field goes behind the reason
        same = record["status"] == deal["status"] and (record["reason"] or "").startswith(deal["reason"][:1000])
        return Text("the same" if same else f"{record['status']}, which differs", style="" if same else "yellow")

    def account_shows(self) -> str:
        """What the account's record shows of its customer."""
        account = self.told["salesforce"]["account"]
        if account is None:
            return ""
        if account["state"] != "there":
            return f"it was {account['state']}{' into ' + account['mergedInto'] if account['mergedInto'] else ''}"
        return f"customer {account['customerId']}" if account["customerId"] else "no customer in Stigg"

    def due(self) -> str:
        ledger_ = self.told["ledger"]
        words = str(ledger_["due"])
        # The words are those of the JSON, where instants are in UTC.
        if ledger_["dueAt"]:
            words = words.replace(ledger_["dueAt"], self.when(ledger_["dueAt"]))
        if ledger_["lease"] and ledger_["lease"]["held"]:
            words += f", until {self.when(ledger_['lease']['until'])} at the latest: {ledger_['lease']['execution']}"
        return words

    def deals(self) -> None:
        rows = [
            (
                deal["opportunityId"],
                deal["trigger"].replace("_", " "),
                _loud(deal["status"]),
                self.when(deal["since"]),
                self.shown(deal),
                _first_line(deal["reason"]),
            )
            for deal in self.told["deals"]
        ]
        columns = ("opportunity", "trigger", "status", "since", "in Salesforce", "reason")
        show.table(columns, rows, title="Deals", whole=("since",))
        self.more(len(rows), self.told["dealsInAll"], "deal")

    def orders(self) -> None:
        """Who lowered what, and when."""
        told = self.told["orders"]
        shown = told if self.everything else told[:NEWEST]
        one_deal = self.told["asked"]["opportunityId"] is not None
        rows = [
            (
                self.when(order["acceptedAt"]),
                *(() if one_deal else (order["opportunityId"],)),
                order["trigger"].replace("_", " "),
                self.when(order["revision"]),
                Text("; ".join(order["changes"]), style="yellow" if order["lowers"] else ""),
            )
            for order in shown
        ]
        deal = () if one_deal else ("opportunity",)
        columns = ("accepted", *deal, "trigger", "saved in Salesforce", "what it said")
        show.table(columns, rows, title="Orders, newest first")
        self.more(len(shown), len(told), "order")

    def executions(self) -> None:
        told = self.told["executions"]
        rows = [
            (
                self.when(one["startedAt"]) or "-",
                one["name"],
                _loud(one["status"]),
                "" if one["seconds"] is None else f"{one['seconds']:.1f}",
                ": ".join(filter(None, (one["error"], one["cause"]))) or _forgotten(one["status"]),
            )
            for one in told
        ]
        if not rows:
            return
        columns = ("started", "execution", "status", "seconds", "error")
        # Its name is what `status` takes next: it has to stay in one piece.
        show.table(columns, rows, title="Executions", whole=("execution",))
        first = next((one for one in told if one["steps"]), None)
        if first is not None:
            self.steps(first)

    def steps(self, execution: Json) -> None:
        """What one execution went through."""
        rows = [
            (
                self.when(step["enteredAt"]),
                step["state"],
                step["tries"] if step["tries"] > 1 else "",
                "" if step["seconds"] is None else f"{step['seconds']:.1f}",
                _errors(step["errors"]),
            )
            for step in execution["steps"]
        ]
        title = f"What {execution['name']} went through"
        show.table(("entered", "state", "tries", "seconds", "errors"), rows, title=title)
        show.verbatim(execution["url"])
        say()

    def stigg(self) -> None:
        told = self.told["stigg"]
        if not told["reached"]:
            return
        live = [one for one in told["subscriptions"] if one["status"] in LIVE]
        shown = told["subscriptions"] if self.everything else live
        if shown:
            self.subscriptions(shown)
        else:
            say("In Stigg now: no subscription." if told["exists"] else "In Stigg now: the customer is not there.")
        ended = len(told["subscriptions"]) - len(shown)
        if ended:
            say(f"{counted(ended, 'subscription')} that ended: --all shows {'it' if ended == 1 else 'them'}.")
        say()

    def subscriptions(self, shown: Sequence[Json]) -> None:
        rows = [
            (
                one["id"],
                " for ".join(filter(None, (one["planId"], one["resourceId"]))),
                one["status"],
                self.day(one["start"]),
                self.day(one["trialEnd"] if one["status"] == "IN_TRIAL" else one["end"]),
                _holds(one),
            )
            for one in shown
        ]
        columns = ("subscription", "plan", "status", "from", "to", "add-ons and what may be used")
        show.table(columns, rows, title="In Stigg now")
        for one in shown[: None if self.everything else 3]:
            show.verbatim(one["url"])

    def verdict(self) -> None:
        told = self.told
        for whom, why in told["notReached"].items():
            show.check("problem", f"{whom} could not be asked, so what it holds is not told here. {why}")
        # What differs now may be just what that work brings in line.
        if told["underWay"]:
            show.check("skipped", "Work is under way or about to begin: whether all is as it should be shows after it.")
            return
        if told["compared"]:
            self.compared()

    def compared(self) -> None:
        """Whether each side is as it should be, and what is not."""
        told = self.told
        without = bool(told["statuses"].keys() & {"Failed", "Held"})
        # Where work failed and was not done again, Stigg cannot be as it should be, whatever else was found.
        undone = any(finding["kind"] == "failed_not_rerun" for finding in told["findings"]["deals"])
        fine = {
            "Stigg": f"Stigg is as it should be{', without the deals that failed or are held' if without else ''}.",
            "Salesforce": "Salesforce shows what became of the deals.",
            "deals": "No deal was missed, and none waits too long.",
        }
        reached = {"Stigg": told["stigg"]["reached"], "Salesforce": told["salesforce"]["reached"]}
        for where, words in fine.items():
            found = told["findings"][where]
            # Deals are compared with Salesforce's records, so they are as sure as those.
            if not found and reached.get(where, reached["Salesforce"]) and not (where == "Stigg" and undone):
                show.check("ok", words)
            for finding in found:
                show.check("problem", finding["words"], _remedy(finding))

    def next_steps(self) -> None:
        """What to do now."""
        told = self.told
        hints: dict[str, str] = {}
        for deal in told["deals"]:
            id = deal["opportunityId"]
            if deal["approval"]:
                hints.setdefault(show.command("approve", id), "To let through what is held:")
            elif deal["status"] == "Failed":
                hints.setdefault(show.command("replay", id), "Once the reason is mended, to try again at once:")
        if not hints and self.repairable():
            hints[show.command("replay", told["account"]["id"])] = "To have it repaired now:"
        if hints:
            say()
        for command, words in list(hints.items())[:3]:
            say(words)
            show.verbatim(f"  {command}")

    def repairable(self) -> bool:
        """Whether reconciliation would repair any of what was found."""
        return any(one["remedy"] == "repair" for found in self.told["findings"].values() for one in found)

    def more(self, shown: int, there: int, what: str) -> None:
        if shown < there:
            say(f"The newest {shown} of {counted(there, what)}: --all shows them all.")
            say()


def _loud(status: str) -> Text:
    return Text(status, style=LOUD.get(status, ""))


def _first_line(text: str) -> str:
    line, _, more = text.partition("\n")
    return f"{line} ..." if more else line


def _forgotten(status: str) -> str:
    return "Step Functions keeps executions for 90 days" if status == "FORGOTTEN" else ""


def _errors(errors: Sequence[Json]) -> str:
    """What a step met; the same error many times is told once."""
    counts: dict[str, int] = {}
    for one in errors:
        said = ": ".join(filter(None, (one["error"], one["cause"])))
        counts[said] = counts.get(said, 0) + 1
    return "; ".join(f"{said} ({count} times)" if count > 1 else said for said, count in counts.items())


def _holds(one: Json) -> str:
    return ", ".join(_parts(one))


def _parts(one: Json) -> Iterator[str]:
    for id, quantity in one["addons"].items():
        yield f"{id} {quantity:,}"
    for id, amount in (one["entitlements"] or {}).items():
        yield f"{id} {'unlimited' if amount is None else f'{amount:,.0f}'}"


def _remedy(finding: Json) -> str:
    values = ""
    if finding["should"] and finding["is_now"]:
        values = f"Should be {finding['should']}; is {finding['is_now']}. "
    if finding["remedy"] == "repair":
        return f"{values}Reconciliation repairs it."
    return f"{values}Left to people: {finding['why']}."
