"""Stories are played on their own clock, through the functions and the stand-in of Stigg, and told."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ops.cli import main
from sandbox.pace import slowness
from sandbox.simulation import timeline
from sandbox.simulation.play import NeverRests, Play
from sandbox.simulation.story import StoryInvalid, read, story_of
from unit.stories import CONTESTED, FOLDER, disagreements, shuffled

Json = dict[str, Any]

STORIES = sorted(FOLDER.glob("*.json"))

ACCOUNT = "0015g00000XyZaBAAV"
ORGANIZATION = "00D5g000004xYzAEAU"


def deal(number: int, at: str, *lines: Json, trigger: str = "closed_won", **more: Any) -> Json:
    """A deal of Northwind's, last changed then."""
    return {
        "organizationId": ORGANIZATION,
        "trigger": trigger,
        "opportunity": {"id": opportunity(number), "name": f"Deal {number}", "systemModstamp": at, "readAt": at},
        "account": {"id": ACCOUNT, "name": "Northwind"},
        "terms": {"billingPeriod": "MONTHLY", "paymentCollection": "INVOICE", **more.pop("terms", {})},
        "lines": [dict(line) for line in lines],
        **more,
    }


def opportunity(number: int) -> str:
    return f"0065g{number:010}AAA"


def line(stigg_id: str, quantity: float = 1, **more: Any) -> Json:
    kinds = {"plan": "Plan", "addon": "Add-on", "feature": "Entitlement", "currency": "Credit grant"}
    return {"stiggType": kinds[stigg_id.split("-")[0]], "stiggId": stigg_id, "quantity": quantity, **more}


TEAM, SEATS = line("plan-team", price=490), line("feature-seats", 20)
ENTERPRISE = (line("plan-enterprise"), SEATS)
WON, STARTS, ENDS = "2026-11-20T09:00:00Z", "2026-12-01", "2027-05-31"


def sold(*lines: Json, at: str = WON, number: int = 1, **more: Any) -> Json:
    """The event that a deal arrives."""
    return {"at": at, "deals": [deal(number, at, *(lines or ENTERPRISE), **more)]}


def amendment(seats: int, at: str = "2026-12-05T09:00:00Z", **terms: str) -> Json:
    """The event that the first deal is amended by so many seats more, or fewer."""
    more = {"trigger": "amendment", "amends": opportunity(1), "quantities": "differences", "terms": terms}
    return sold({**SEATS, "quantity": seats}, at=at, number=2, **more)


def look_at(at: str) -> Json:
    return {"at": at, "expect": {}}


def played(*events: Json, **more: Any) -> list[Json]:
    return Play(story_of({"events": list(events), **more})).run()


def standing(look: Json) -> list[str]:
    return [one["planId"] for one in look["subscriptions"] if one["status"] in ("ACTIVE", "IN_TRIAL")]


def statuses(look: Json) -> list[str]:
    return [one["status"] for one in look["deals"].values()]


# The stories


@pytest.mark.parametrize("file", STORIES, ids=lambda file: file.stem)
def test_what_is_seen_is_what_finance_and_customer_success_expect(file: Path) -> None:
    assert disagreements(json.loads(file.read_text()), Play(read(file)).run()) == []


@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
@pytest.mark.parametrize("file", [file for file in STORIES if file.stem not in CONTESTED], ids=lambda file: file.stem)
def test_a_story_is_seen_the_same_shuffled_and_batched(file: Path, together: bool) -> None:
    for seed in range(2):
        other = shuffled(json.loads(file.read_text()), seed, together)
        assert disagreements(other, Play(story_of(other)).run()) == []


# The clock


def test_what_is_due_happens_on_its_moment() -> None:
    looks = played(
        sold(terms={"start": STARTS, "end": ENDS}),
        look_at("2026-11-30T23:59:59Z"),
        look_at("2026-12-01T00:00:00Z"),
        look_at("2026-12-01T00:01:00Z"),
        look_at("2027-05-31T23:59:59Z"),
        look_at("2027-06-01T00:00:00Z"),
        look_at("2027-06-01T00:01:00Z"),
        parameters={"EndOfTermPolicy": "end"},
    )
    assert [standing(look) for look in looks] == [[], [], *[["plan-enterprise"]] * 3, [], []]
    assert [statuses(look) for look in looks[:2]] == [["Scheduled"], ["Scheduled"]]
    assert statuses(looks[3]) == ["Provisioned"]
    [one] = looks[-1]["subscriptions"]
    assert (one["startDate"], one["endDate"]) == ("2026-12-01T00:00:00.000Z", "2027-06-01T00:00:00.000Z")


def test_days_are_those_of_the_storys_time_zone() -> None:
    looks = played(
        sold(terms={"start": STARTS}),
        look_at("2026-11-30T22:59:59Z"),
        look_at("2026-11-30T23:00:00Z"),
        timeZone="Europe/Berlin",
    )
    assert [standing(look) for look in looks] == [[], [], ["plan-enterprise"]]


def test_stigg_does_by_itself_what_it_would() -> None:
    trial = {"trialEnd": "2026-12-10", "trialEndBehavior": "CONVERT_TO_PAID"}
    looks = played(
        sold(TEAM, trigger="trial", terms=trial), look_at("2026-12-10T23:59:00Z"), look_at("2026-12-11T00:00:00Z")
    )
    assert [(one["trial"], one["status"]) for look in looks for one in look["subscriptions"]] == [
        (True, "IN_TRIAL"),
        (True, "IN_TRIAL"),
        (False, "ACTIVE"),
    ]


def unpaid(play: Play, monkeypatch: pytest.MonkeyPatch) -> Play:
    """The same play, in which nobody has a payment method, and no checkout expires: it is waited for."""
    monkeypatch.setattr(play.stigg, "attach_payment_method", lambda customer_id: None)
    monkeypatch.setattr("sandbox.stigg.state.CHECKOUT_LASTS", timedelta(days=100 * 365))
    return play


def waiting(changes: str, *looks: str) -> Json:
    """A story of a deal that is never paid, with an add-on from a day on."""
    later = line("addon-extra-workspace", 3, start=changes)
    return {"events": [sold(TEAM, later, terms={"paymentCollection": "CHARGE"}), *map(look_at, looks)]}


def test_a_customer_who_waits_for_years_keeps_no_story_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    # A payment that does not come is looked for every hour: 175,000 times in this story.
    play = unpaid(Play(story_of(waiting("2035-01-01", "2046-11-20T09:00:00Z"))), monkeypatch)
    looks = play.run()
    assert [statuses(look) for look in looks] == [["Payment required"], ["Payment required"]]
    assert len(play.machine.executions) < 10
    assert looks[-1]["subscriptions"][-1]["addons"] == {"addon-extra-workspace": 3}  # agreed for a day, and it came


def test_what_is_looked_at_in_vain_is_seen_as_if_it_had_been_looked_at_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = story_of(
        waiting("2026-11-25", *(f"2026-11-{day}T{time}Z" for day in range(21, 29) for time in ("00:01:00", "12:30:00")))
    )
    sparing, looking = (unpaid(Play(story), monkeypatch) for _ in range(2))
    monkeypatch.setattr(looking, "_rest", lambda account: None)
    assert sparing.run() == looking.run()
    assert 10 * len(sparing.machine.executions) < len(looking.machine.executions)


def test_what_never_rests_ends_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(story_of({"events": [sold(), look_at("2046-11-20T09:00:00Z")]}))
    monkeypatch.setattr(play, "_due", lambda account: play.clock())
    with pytest.raises(NeverRests, match="2,000 looks"):
        play.run()


# Looks


def charged(kind: str, id: str, quantity: int, amount: float | None, *shares: tuple[int, int, float | None]) -> Json:
    """A line of a charge. amount: None for none, or the catalogue's. shares: of each deal its quantity and amount."""
    return {
        "type": kind,
        "id": id,
        "quantity": quantity,
        "amount": amount,
        "catalogue": amount is None and kind in ("Plan", "Add-on"),
        "shares": [{"opportunityId": opportunity(n), "quantity": q, "amount": a} for n, q, a in shares],
    }


def test_a_look_says_what_a_subscription_gives_and_costs() -> None:
    [look] = played(sold(TEAM, line("addon-extra-workspace", 3, price=120), line("currency-ai-credits", 5000)))
    [one] = look["subscriptions"]
    assert one == {
        "id": one["id"],
        "productId": "product-platform",
        "planId": "plan-team",
        "resourceId": None,
        "trial": False,
        "status": "ACTIVE",
        "units": 1,
        "addons": {"addon-extra-workspace": 3},
        "entitlements": {},
        "charges": {},
        "prices": {"plan": 490, "addon-extra-workspace": 120},
        "startDate": "2026-11-20T09:00:00.000Z",
        "endDate": None,
        "charge": {
            "amount": 850,
            "agreed": 850,
            "catalogue": [],
            "currency": "USD",
            "billingPeriod": "MONTHLY",
            "end": None,
            "lines": [
                charged("Plan", "plan-team", 1, 490, (1, 1, 490)),
                charged("Add-on", "addon-extra-workspace", 3, 360, (1, 3, 360)),
            ],
        },
    }
    assert look["credits"] == [{"currencyId": "currency-ai-credits", "amount": 5000}]
    assert look["deals"] == {opportunity(1): {"status": "Provisioned", "code": "", "reason": ""}}
    assert look["at"] == WON


def test_a_look_says_which_deals_a_charge_comes_from_and_until_when() -> None:
    workspaces = line("addon-extra-workspace", 2, price=130)
    more = {"trigger": "amendment", "amends": opportunity(1), "quantities": "differences"}
    renewal = {"trigger": "renewal", "amends": opportunity(1), "terms": {"start": "2027-06-01", "end": "2028-05-31"}}
    looks = played(
        sold(TEAM, line("addon-extra-workspace", 5, price=120), terms={"start": STARTS, "end": ENDS}),
        sold(workspaces, at="2026-12-05T09:00:00Z", number=2, terms={"start": "2027-03-01"}, **more),
        sold({**TEAM, "price": 500}, at="2027-05-01T09:00:00Z", number=3, **renewal),
        look_at("2027-06-02T09:00:00Z"),
    )
    before, then, after = (looks[n]["subscriptions"][0]["charge"] for n in (1, 2, 3))
    assert (before["amount"], before["end"]) == (1090, "2027-03-01T00:00:00.000Z")
    assert (then["amount"], then["end"]) == (1350, "2027-06-01T00:00:00.000Z")
    assert then["lines"][1] == charged("Add-on", "addon-extra-workspace", 7, 860, (1, 5, 600), (2, 2, 260))
    assert (after["amount"], after["end"]) == (500, None)
    assert after["lines"] == [charged("Plan", "plan-team", 1, 500, (3, 1, 500))]


def test_a_trial_charges_nothing_and_what_is_the_catalogues_is_said() -> None:
    trial, paid = (
        played(sold(line("plan-team"), line("addon-extra-workspace", 2, price=130), trigger=trigger, terms=terms))
        for trigger, terms in (("trial", {"trialEnd": "2026-12-10"}), ("closed_won", {}))
    )
    assert trial[0]["subscriptions"][0]["charge"] is None
    charge = paid[0]["subscriptions"][0]["charge"]
    assert (charge["amount"], charge["agreed"], charge["catalogue"]) == (None, 260, ["plan-team"])
    assert charge["lines"][0] == charged("Plan", "plan-team", 1, None, (1, 1, None))


def test_a_preview_says_what_a_period_charges_before_and_after() -> None:
    base = sold(TEAM, line("addon-extra-workspace", 5, price=120))
    more = {"trigger": "amendment", "amends": opportunity(1), "quantities": "differences"}
    workspaces = sold(
        line("addon-extra-workspace", 2, price=130),
        at="2026-12-05T09:00:00Z",
        number=2,
        terms={"start": "2027-03-01", "end": "2027-05-31"},
        **more,
    )
    asked = {"at": "2026-12-05T09:00:00Z", "preview": workspaces["deals"]}
    looks = played(base, asked, workspaces, asked)
    added, over = looks[1]["charges"]
    assert (added["at"], added["before"]["amount"], added["after"]["amount"]) == (
        "2027-03-01T00:00:00.000Z",
        1090,
        1350,
    )
    assert added["what"] == (
        "From 2027-03-01 on plan-team charges 1,350.00 USD a month instead of 1,090.00 USD, until its term is over on "
        "2027-06-01."
    )
    assert added["explained"] == [
        f"plan-team: 490.00 USD of the base {opportunity(1)}",
        f"7 x addon-extra-workspace: 860.00 USD = 600.00 of the base {opportunity(1)} + 260.00 of the amendment "
        f"{opportunity(2)}",
    ]
    assert (over["at"], over["before"], over["after"]) == ("2027-06-01T00:00:00.000Z", over["after"], over["before"])
    assert looks[3]["charges"] == []  # once it is accepted, nothing changes by it


def test_an_entitlement_is_a_limit_unlimited_or_just_there() -> None:
    lines = (SEATS, line("feature-api-calls", unlimited=True), line("feature-sso"))
    [look] = played(sold(line("plan-enterprise"), *lines))
    [one] = look["subscriptions"]
    assert one["entitlements"] == {"feature-seats": 20, "feature-api-calls": "unlimited", "feature-sso": True}


def test_a_preview_says_what_would_be_held_and_changes_nothing() -> None:
    fewer = amendment(-15)
    looks = played(sold(), {"at": "2026-12-05T09:00:00Z", "preview": fewer["deals"], "warns": "75"}, fewer)
    assert looks[1]["deals"] == looks[0]["deals"]
    assert looks[1]["subscriptions"] == looks[0]["subscriptions"]
    assert any("75" in said for said in looks[1]["warnings"] + looks[1]["reasons"])
    assert statuses(looks[2]) == ["Provisioned", "Held"]


def test_what_is_held_is_approved_as_it_stands() -> None:
    fewer = amendment(-15)
    approve = {"at": "2026-12-06T10:00:00Z", "approve": opportunity(2)}
    looks = played(sold(), fewer, approve, {**approve, "at": "2026-12-06T11:00:00Z"})
    assert looks[1]["subscriptions"][0]["entitlements"] == {"feature-seats": 20}
    assert looks[2]["subscriptions"][0]["entitlements"] == {"feature-seats": 5}
    assert "error" not in looks[2]
    assert "nothing waits for approval: it is Provisioned" in looks[3]["error"]


def test_an_approval_of_a_deal_that_never_came_is_not_possible() -> None:
    looks = played(sold(), {"at": WON, "approve": opportunity(9)})
    assert "never been accepted" in looks[1]["error"]


def test_a_deal_that_the_mapping_refuses_is_failed() -> None:
    [look] = played(sold(line("plan-team"), line("feature-seats", 2.5)))
    assert statuses(look) == ["Failed"]


# Stories that cannot be played


def changed(change: Callable[[Json], object]) -> Json:
    story = {"title": "A story", "events": [sold(), look_at("2026-12-05T09:00:00Z")]}
    change(story)
    return story


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("events"), "events: is missing"),
        (lambda s: s.update(events=[]), "events: must be a list with an event"),
        (lambda s: s.update(titel="x"), "titel: is not known; there are events, parameters"),
        (lambda s: s.update(title=5), "title: must be a text"),
        (lambda s: s.update(timeZone="Mars"), "timeZone: 'Mars' is no time zone"),
        (lambda s: s.update(timeZone=5), "timeZone: 5 is no time zone"),
        (lambda s: s.update(parameters=[]), "parameters: must be an object"),
        (lambda s: s.update(parameters={"EndOfTerm": "end"}), "parameters.EndOfTerm: is no parameter"),
        (lambda s: s.update(parameters={"EndOfTermPolicy": "stop"}), "parameters.EndOfTermPolicy: must be one of keep"),
        (lambda s: s.update(parameters={"GraceDays": 0}), "parameters.GraceDays: must be at least 1"),
        (lambda s: s.update(parameters={"GraceDays": 366}), "parameters.GraceDays: must be at most 365"),
        (lambda s: s.update(parameters={"GraceDays": "two"}), "parameters.GraceDays: must be a number"),
        (lambda s: s.update(parameters={"PlanPrefix": "x y"}), "parameters.PlanPrefix: must match"),
        (lambda s: s.update(parameters={"GraceDays": None}), "parameters.GraceDays: must be a text or a number"),
        (lambda s: s.update(parameters={"StiggApiUrl": "https://x.example"}), "parameters.StiggApiUrl: cannot be set"),
        (lambda s: s.update(parameters={"TimeZone": "Asia/Tokyo"}, timeZone="UTC"), "parameters.TimeZone: is not what"),
        (lambda s: s["events"].append(5), "event 3: is no object"),
        (lambda s: s["events"][1].pop("at"), "event 2, at: is missing"),
        (lambda s: s["events"][1].update(at="2026-12-05"), "event 2, at: must be an instant"),
        (lambda s: s["events"][1].update(at=5), "event 2, at: must be an instant"),
        (
            lambda s: s["events"][1].update(at="2026-11-01T00:00:00Z"),
            "event 2, at: 2026-11-01T00:00:00Z comes before event 1",
        ),
        (lambda s: s["events"][1].update(when=1), "event 2, when: is not known"),
        (lambda s: s["events"][1].update(deals=[]), "event 2, deals: an event has one of"),
        (lambda s: s["events"][1].update(expect=[]), "event 2, expect: must be an object"),
        (lambda s: s["events"][1].update(warns="x"), "event 2, warns: must be a text, and goes with a preview"),
        (
            lambda s: s["events"].append({"at": "2026-12-06T00:00:00Z", "approve": "5"}),
            "event 3, approve: must be the ID",
        ),
        (
            lambda s: s["events"].append({"at": "2026-12-06T00:00:00Z", "approve": 5}),
            "event 3, approve: must be the ID",
        ),
        (lambda s: s["events"][0].update(deals={}), "event 1, deals: must be a list"),
        (lambda s: s["events"][0].update(deals=[5]), "event 1, deals 1: is no object"),
        (lambda s: s["events"][0]["deals"][0].pop("lines"), "event 1, deals 1, lines: is missing"),
        (lambda s: s["events"][0]["deals"][0].pop("trigger"), "event 1, deals 1, trigger: is missing"),
        (lambda s: s["events"][0]["deals"][0].pop("organizationId"), "event 1, deals 1, organizationId: is missing"),
        (lambda s: s["events"][0]["deals"][0].update(x=1), "event 1, deals 1, x: "),
        (lambda s: s["events"][0]["deals"][0]["lines"][1].update(quantity="x"), "event 1, deals 1, line 2, quantity: "),
        (
            lambda s: s["events"][0]["deals"][0]["opportunity"].update(readAt="2026-11-20T09:06:00Z"),
            "event 1, deals 1, opportunity.readAt: lies more than five minutes in the future",
        ),
        (
            lambda s: s["events"].append(sold(at="2026-12-06T00:00:00Z", organizationId="00D5g000009xYzAEAU")),
            "event 3, deals 1, organizationId: is not the organisation",
        ),
    ],
)
def test_a_bad_story_names_event_and_field(change: Callable[[Json], object], said: str) -> None:
    with pytest.raises(StoryInvalid) as error:
        Play(story_of(changed(change))).run()
    assert str(error.value).startswith(said), str(error.value)


# The command


def told(tmp_path: Path, content: str, *options: str) -> Any:
    file = tmp_path / "story.json"
    file.write_text(content)
    return CliRunner().invoke(main, ["simulate", str(file), *options])


def test_the_command_prints_nothing_but_the_looks(tmp_path: Path) -> None:
    events = [sold(), look_at("2027-01-01T00:00:00Z")]
    ended = told(tmp_path, json.dumps({"events": events}), "--json")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {"looks": played(*events)}


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "the story is no JSON"), ("[]", "the story is no object"), ('{"events": [{}]}', "event 1, at: is missing")],
)
def test_a_bad_story_is_bad_input(tmp_path: Path, content: str, said: str) -> None:
    ended = told(tmp_path, content)
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert ended.stdout == ""


def test_the_timeline_says_what_stood_and_what_deals_said(tmp_path: Path) -> None:
    more = amendment(5, "2027-02-19T09:00:00Z", start="2027-03-01")
    story = {
        "title": "An upsell",
        "parameters": {"EndOfTermPolicy": "end"},
        "events": [
            sold(*ENTERPRISE, line("currency-ai-credits", 5000), terms={"start": STARTS, "end": ENDS}),
            {"at": "2027-02-19T09:00:00Z", "preview": more["deals"]},
            more,
            {"at": "2027-02-21T09:00:00Z", "approve": opportunity(2)},
        ],
    }
    ended = told(tmp_path, json.dumps(story))
    assert ended.exit_code == 0, ended.output
    assert ended.stdout == TIMELINE
    assert max(map(len, ended.stdout.splitlines())) <= timeline.WIDTH


TIMELINE = """\
An upsell
EndOfTermPolicy end; times in UTC.

What happens
  2026-11-20 09:00  Deal 1 (closed_won, 0065g0000000001AAA) arrives.
  2027-02-19 09:00  Deal 2 (amendment, 0065g0000000002AAA) is previewed:
                    - Takes effect on 2027-03-01.
                    - On 2027-03-01: changes entitlements of plan-enterprise:
                    feature-seats 20 -> 25.
                    - On 2027-06-01: access to plan-enterprise ends.
                    - From 2027-03-01 on plan-enterprise charges the catalogue's
                    price of plan-enterprise a month, as before, until its term
                    is over on 2027-06-01.
  2027-02-19 09:00  Deal 2 (amendment, 0065g0000000002AAA) arrives.
  2027-02-21 09:00  0065g0000000002AAA cannot be approved: nothing waits for
                    approval: it is Scheduled. It takes effect on 2027-03-01.

What stands in Stigg (prices are the catalogue's where none is said)
  product-platform, customer 0015g00000XyZaBAAV
    2026-12-01 until 2027-03-01  plan-enterprise billed monthly; feature-seats
                                 20
      charges the catalogue's price of plan-enterprise a month:
        plan-enterprise: the catalogue's price, of the base Deal 1
        feature-seats: 20 of the base Deal 1
      until the amendment Deal 2 on 2027-03-01
    2027-03-01 until 2027-06-01  plan-enterprise billed monthly; feature-seats
                                 25
      charges the catalogue's price of plan-enterprise a month:
        plan-enterprise: the catalogue's price, of the base Deal 1
        feature-seats: 25 = 20 of the base Deal 1 + 5 of the amendment Deal 2
      until its term is over on 2027-06-01
  Credits granted
    2026-12-01        5,000 currency-ai-credits

What each deal says
  Deal 1 (closed_won, 0065g0000000001AAA)
    2026-11-20 09:00  Scheduled (starts): Access starts on 2026-12-01.
    2026-12-01        Provisioned
    2027-06-01        Ended (term_over): The term of this deal is over: access
                      ended on 2027-06-01.
  Deal 2 (amendment, 0065g0000000002AAA)
    2027-02-19 09:00  Scheduled (takes_effect): It takes effect on 2027-03-01.
    2027-03-01        Provisioned
    2027-06-01        Ended (term_over): The term of this deal is over: access
                      ended on 2027-06-01.
"""


def test_what_came_and_went_in_a_moment_never_held() -> None:
    seen = [(1, None), (2, "a"), (3, "b"), (3, "c"), (4, "c"), (5, None), (6, None), (7, "c")]
    assert timeline.spans(seen) == [(2, 3, "a"), (3, 5, "c"), (7, None, "c")]


@pytest.mark.long
def test_a_story_takes_less_than_two_seconds_with_all_that_it_takes_to_start() -> None:
    file = max(STORIES, key=lambda file: file.stat().st_size)
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "ops", "simulate", str(file), "--json"], capture_output=True, check=True
    )
    assert time.monotonic() - began < 2 * slowness()
    assert json.loads(ended.stdout)["looks"]
