"""The fault campaign's callouts: each sent several times, in any order, some of them late, some never."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Lock

import requests

from proof.quiet import running
from proof.seller import Seller
from proof.shop import Customer, Json, Save
from sandbox.sandbox import Sandbox

COPIES = 5
"""How often every callout is sent."""

LOST = 0.08
"""Of the deals that Salesforce can tell by itself: their callouts never arrive."""

THIN = 0.25
"""Of the deals that Salesforce can tell by itself: sent without lines, and read from there."""

AT_ONCE = 10
"""Executions that run when the next request is sent."""

ACCEPTED = ("accepted", "duplicate", "superseded")


class Sender:
    """Sends what a seller's saves cause.

    rng: for the order of things. tally: what was counted. left_out: the deals that reconciliation has to find.
    """

    def __init__(self, sandbox: Sandbox, seller: Seller, seed: str, rng: Random, tally: Counter[str]) -> None:
        self._sandbox = sandbox
        self._seller = seller
        self._seed = seed
        self._rng = rng
        self._tally = tally
        self._lock = Lock()
        self._late: list[Json] = []
        self._unanswered: list[Json] = []
        self._tellable: set[str] = set()
        self.left_out: set[str] = set()

    def wave(
        self, wave: int, customers: list[Customer], say: Callable[[str], None], between: Callable[[], None]
    ) -> None:
        """Save this wave's deals, and send what they cause, with what is late of the waves before.

        between: happens when half of it is sent.
        """
        due, self._late = self._late, []
        for customer in customers:
            for save in customer.saves:
                if save.wave == wave:
                    due += self._callouts(customer, save)
        self._rng.shuffle(due)
        chunks = list(self._requests(due))
        half = -(-len(chunks) // 2)  # of a single request: all, so that the first secrets are used
        say(f"wave {wave + 1}: {len(due)} deals in {len(chunks)} requests, while much goes wrong")
        with ThreadPoolExecutor(4) as senders:
            list(senders.map(self._request, chunks[:half]))
            between()
            list(senders.map(self._request, chunks[half:]))

    def again(self) -> None:
        """What nobody answered is left to reconciliation where Salesforce can tell it by itself, else saved again."""
        left, self._unanswered = self._unanswered, []
        again = [deal for deal in left if deal["opportunity"]["id"] not in self._tellable]
        self.left_out |= {deal["opportunity"]["id"] for deal in left} & self._tellable
        self._tally["given up"] += len(left) - len(again)
        for place in range(0, len(again), 10):
            self._request(again[place : place + 10])

    def _callouts(self, customer: Customer, save: Save) -> list[Json]:
        """What a save sends now. Some of it is sent too late, some is lost."""
        callout = self._seller.save(customer, save)
        rng = Random(f"{self._seed}|{callout['opportunity']['id']}|{save.wave}|{save.deal['trigger']}")  # nosec B311
        if self._is_lost(customer, save, rng):
            self._tally["lost"] += 1
            self.left_out.add(save.opportunity)
            return []
        copies = [callout] * COPIES
        if _readable(customer, save) and rng.random() < THIN:
            thin = {name: callout[name] for name in ("organizationId", "trigger")}
            copies = [{**thin, "opportunity": {"id": save.opportunity}}] * COPIES
        late = 0 if save.wave == 2 else rng.choice([0, 1, 2])
        self._late += copies[:late]
        return copies[late:]

    def _is_lost(self, customer: Customer, save: Save, rng: Random) -> bool:
        """Whether no callout of a save arrives: only where Salesforce can tell all of its deal by itself."""
        if not save.told or len(_saves_of(customer, save)) > 1:
            return False
        self._tellable.add(save.opportunity)
        return rng.random() < LOST

    def _requests(self, deals: list[Json]) -> Iterator[list[Json]]:
        place = 0
        while place < len(deals):
            size = self._rng.choice([1, 2, 5, 10, 20])
            yield deals[place : place + size]
            place += size

    def _request(self, deals: list[Json]) -> None:
        """As Salesforce sends: what was not answered is sent again a few times, and then left."""
        while running(self._sandbox) > AT_ONCE:  # a small machine is not to be overrun: its time-outs judge nothing
            time.sleep(0.05)
        for _ in range(4):
            with self._lock:
                self._tally["requests"] += 1
                self._tally["sent"] += len(deals)
            try:
                answer = self._sandbox.call(*deals)
            except requests.RequestException:
                continue
            if answer.status_code == 202:
                for deal, one in zip(deals, answer.json()["results"], strict=True):
                    _check(deal, one)
                return
        with self._lock:
            self._unanswered += deals


def _saves_of(customer: Customer, save: Save) -> list[Save]:
    """All saves of a save's opportunity."""
    return [each for each in customer.saves if each.opportunity == save.opportunity]


def _readable(customer: Customer, save: Save) -> bool:
    """Whether a deal may be sent without lines, at any time: what is read is the newest save."""
    saves = _saves_of(customer, save)
    triggers = {each.deal["trigger"] for each in saves}
    told = all(each.told or each.deal["trigger"] == "cancellation" for each in saves)
    return told and save.deal["trigger"] != "cancellation" and not {"trial", "cancellation"} <= triggers


def _check(deal: Json, answer: Json) -> None:
    """Raises AssertionError where a good deal was not taken."""
    # Read, a deal that was won or lost since is not what its callout says: the later save has its own.
    read_too_late = "lines" not in deal and answer["status"] == "invalid"
    if answer["status"] not in ACCEPTED and not read_too_late:
        raise AssertionError(f"a good deal was answered {answer}")
