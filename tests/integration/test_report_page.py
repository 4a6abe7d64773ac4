"""The page of a run, in a real browser: readable on a phone and on a desk, and nothing in it runs or calls home.

Needs Debian's chromium, which is driven as it is: playwright downloads nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from closedwon.reconciliation.report import Repairs, Report
from closedwon.reconciliation.report_page import page
from unit import reports
from unit.reports import GO, PLACES, report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO BROWSER: the report's page was not looked at; install Debian's package chromium"
)

PHONE, DESK = 375, 1280

TOO_WIDE = """() => [...document.querySelectorAll('body *')]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5 && getComputedStyle(e).position !== 'absolute')
  .map(e => e.outerHTML.slice(0, 120))"""

CONTRASTS = """() => {
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const back = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(back(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const name = e.tagName + '.' + e.className;
    found[name] = Math.min(found[name] ?? 99, ratio);
  }
  return found;
}"""
"""The least contrast of text to what is behind it, by element (WCAG 2.2, relative luminance)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="NO PLAYWRIGHT: the report's page was not looked at")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@contextmanager
def open_page(
    browser: Any, told: Report, folder: Path, width: int, scheme: str
) -> Iterator[tuple[Any, list[str], list[str]]]:
    """A tab that shows a report; what its console said; what it asked for."""
    file = folder / "report.html"
    file.write_text(page(told, PLACES), encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(file.as_uri())
    yield tab, said, asked
    tab.close()


REPORTS = {
    "everything": report(
        reports.everything(),
        [reports.repaired(9_001)],
        summaries=[reports.summary(n, 301, suspects=70, unconfirmed=n) for n in range(3)],
        repairs=Repairs(frozenset({0}), accepted=3, made_due=120, left_alone=2),
    ),
    "asks": report(
        [reports.repaired(n, words=reports.LONG) for n in range(30)], weighed={**GO, "repair": "ask", "toRepair": 30}
    ),
    "failed": report(failure={"Error": reports.LONG, "Cause": ""}, exported=None, weighed=None, summaries=[]),
    "matches": report(),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", REPORTS)
def test_it_is_readable_and_calls_nobody(browser: Any, tmp_path: Path, name: str, width: int, scheme: str) -> None:
    with open_page(browser, REPORTS[name], tmp_path, width, scheme) as (tab, said, asked):
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(TOO_WIDE) == []
        contrasts = tab.evaluate(CONTRASTS)
        assert {element: ratio for element, ratio in contrasts.items() if ratio < 4.5} == {}
        sizes = tab.evaluate(
            "[...document.querySelectorAll('body *')].map(e => parseFloat(getComputedStyle(e).fontSize))"
        )
        assert min(sizes) >= 12
        assert said == []
        assert asked == [tab.url]


def test_no_text_of_others_runs_or_leads_anywhere(browser: Any, tmp_path: Path) -> None:
    with open_page(browser, REPORTS["everything"], tmp_path, DESK, "light") as (tab, _, _):
        assert tab.title().startswith("608 of 903 customers differ")
        assert tab.evaluate("document.querySelectorAll('script, img, iframe, form, [onerror]').length") == 0
        hosts = set(tab.evaluate("[...document.links].map(a => a.protocol + '//' + a.host)"))
        assert hosts - {"file://"} == {
            "https://acme.my.salesforce.com",
            "https://app.stigg.io",
            "https://eu-central-1.console.aws.amazon.com",
        }
        # were one to slip through, the page's own policy would stop it
        tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
        tab.wait_for_timeout(100)
        assert tab.title() != "1"


def test_a_screen_reader_finds_its_way(browser: Any, tmp_path: Path) -> None:
    with open_page(browser, REPORTS["everything"], tmp_path, PHONE, "light") as (tab, _, _):
        levels = tab.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(e => Number(e.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        # a table still, though it looks like cards
        assert tab.get_by_role("table", name="Differences by kind").count() == 1
        assert tab.get_by_role("rowheader", name="Deal that never arrived", exact=True).count() == 1
        ids = tab.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
        tab.get_by_role("link", name="Other prices").first.click()
        assert tab.evaluate("document.querySelector(location.hash).textContent").startswith("Other prices")


def test_it_can_be_printed(browser: Any, tmp_path: Path) -> None:
    with open_page(browser, REPORTS["asks"], tmp_path, DESK, "dark") as (tab, _, _):
        tab.emulate_media(media="print")
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert {e: ratio for e, ratio in tab.evaluate(CONTRASTS).items() if ratio < 4.5} == {}
        assert tab.pdf(format="A4").startswith(b"%PDF")
