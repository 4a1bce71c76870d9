"""The pixel in a real browser: what a page sends, when, and what it never does."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.kit.browser import Shop, chromium, closed, shop
from tests.kit.collected import NOW_MS
from tests.kit.waits import until
from worker.collector.pixel import COOKIE, script_of
from worker.connections.identify import token_of
from worker.core.contract.model import Event

pytestmark = pytest.mark.asyncio(loop_scope="module")

READY = "window.lp && lp.on && performance.now() > 300"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Return one browser for all tests. Each has its own cookies and storage."""
    async with chromium() as found:
        yield found


def addresses(events: list[Event]) -> list[str]:
    """Return the path and query of each view."""
    return ["/" + one.data["url"].split("/", 3)[3] for one in events if one.type == "page.viewed"]


async def ready(page: Any) -> None:
    """Wait until the script runs, and the page was visible for a while."""
    await page.wait_for_function(READY)


async def test_views_of_two_pages_are_one_visitor_s(browser: Browser) -> None:
    """With the visible time of each, the page before, and one session."""
    async with shop(browser) as site:
        page = await site.visit("/one?utm_source=news")
        await ready(page)
        await page.click("a")
        await ready(page)
        await closed(page)
        one, two = await site.views(2)
        assert addresses([one, two]) == ["/one?utm_source=news", "/two"]
        assert one.data["duration_s"] >= 0.3
        assert one.data["utm"] == {"source": "news"}
        assert "referrer" not in one.data
        assert two.data["referrer"] == f"{site.address}/one?utm_source=news"
        assert one.lead == two.lead
        assert one.data["session_id"] == two.data["session_id"]
        (cookie,) = await site.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (COOKIE, True, True, "Lax")
        assert one.lead == f"visitor:{cookie['value']}"
        assert site.complaints == []


async def test_navigation_within_a_page(browser: Browser) -> None:
    """By pushState, replaceState and back. A hash and the same address are no view."""
    async with shop(browser) as site:
        page = await site.visit("/one")
        await ready(page)
        for script in (
            "history.pushState({}, '', '/a')", "location.hash = 'x'", "history.replaceState({}, '', '/b?c=1')",
            "history.pushState({}, '', '/b?c=1')", "history.pushState({}, '', '/d')", "history.back()",
        ):  # fmt: skip
            await page.evaluate(script)
        await page.wait_for_url("**/b?c=1")
        await closed(page)
        events = await site.views(5)
        assert addresses(events) == ["/one", "/a", "/b?c=1", "/d", "/b?c=1"]
        assert events[1].data["referrer"].endswith("/one")
        assert len({one.lead for one in events}) == 1
        assert site.complaints == []


async def test_a_page_out_of_the_back_forward_cache_is_viewed_again(browser: Browser) -> None:
    """Its script did not start again."""
    async with shop(browser) as site:
        page = await site.visit("/one")
        await ready(page)
        await page.evaluate("window.held = 1")
        await site.visit("/bare", page)
        await page.go_back(wait_until="commit")
        assert await page.evaluate("window.held") == 1, "Chromium loaded it anew"
        await site.visit("/bare", page)
        assert addresses(await site.views(2)) == ["/one", "/one"]


async def test_a_view_ends_when_the_page_is_hidden(browser: Browser) -> None:
    """And nothing is sent twice when the page is closed then."""
    async with shop(browser) as site:
        page = await site.visit()
        await ready(page)
        await hide(page)
        await site.views(1)
        await closed(page)
        other = await site.visit("/two")
        await ready(other)
        await hide(other)
        events = await site.views(2)
        assert addresses(events) == ["/one", "/two"]


async def hide(page: Any) -> None:
    """Hide *page*, as a mobile does."""
    await page.evaluate(
        "Object.defineProperty(document, 'visibilityState', {get: () => 'hidden', configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


async def test_a_tab_that_was_never_looked_at_was_not_viewed(browser: Browser) -> None:
    """It opened in the background, and was closed."""
    async with shop(browser) as site:
        await site.context.add_init_script(
            "Object.defineProperty(document, 'visibilityState', {get: () => window.as || 'hidden'})"
        )
        page = await site.visit("/one")
        await ready(page)
        await page.goto(f"{site.address}/two")
        await ready(page)
        await page.evaluate("window.as = 'visible'; document.dispatchEvent(new Event('visibilitychange'))")
        await page.evaluate("window.as = 'hidden'; document.dispatchEvent(new Event('visibilitychange'))")
        assert addresses(await site.views(1)) == ["/two"]


@pytest.mark.parametrize("beacon", ["() => false", "undefined"])
async def test_a_browser_that_refuses_beacons_sends_by_fetch(browser: Browser, beacon: str) -> None:
    """The page may end meanwhile."""
    async with shop(browser) as site:
        await site.context.add_init_script(f"Object.defineProperty(navigator, 'sendBeacon', {{value: {beacon}}})")
        page = await site.visit()
        await ready(page)
        await site.visit("/bare", page)
        assert addresses(await site.views(1)) == ["/one"]


async def test_a_queue_survives_without_network_and_a_reload(browser: Browser) -> None:
    """What was sent once is not sent again."""
    async with shop(browser) as site:
        page = await site.visit()
        await ready(page)
        await site.context.set_offline(True)
        await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await page.evaluate("history.pushState({}, '', '/two')")
        kept = json.loads((await site.stored(page))["lp_queue"])
        assert [one["type"] for one in kept] == ["form.submitted", "page.viewed"]
        await closed(page)
        assert site.collector.log.records == []
        await site.context.set_offline(False)
        again = await site.visit("/three")
        events = await site.views(2)
        assert [one.type for one in events][:2] == ["form.submitted", "page.viewed"]
        await until_empty(site, again)
        assert len({one.id for one in events}) == len(events)


async def test_back_online_it_sends_at_once(browser: Browser) -> None:
    """Without a new page."""
    async with shop(browser) as site:
        page = await site.visit()
        await ready(page)
        await site.context.set_offline(True)
        await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await site.context.set_offline(False)
        (event,) = await site.views(1)
        assert event.type == "form.submitted"


async def until_empty(site: Shop, page: Any) -> None:
    """Wait until nothing is left to send."""

    async def empty() -> bool:
        return "lp_queue" not in await site.stored(page)

    await until(empty, "an empty queue")


async def test_while_kafka_is_away_it_comes_again(browser: Browser) -> None:
    """Also from the next page: a beacon, whose answer nobody reads, would lose it."""
    async with shop(browser) as site:
        site.collector.log.refuses = True
        page = await site.visit()
        await ready(page)
        await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await until(lambda: len(site.requests) >= 2, "a second try")
        await site.visit("/two", page)
        await ready(page)
        site.collector.log.refuses = False
        events = await site.views(2)
        assert [one.type for one in events[:2]] == ["form.submitted", "page.viewed"]
        assert len({one.lead for one in events}) == 1


async def test_before_consent_there_is_nothing(browser: Browser) -> None:
    """No cookie, no storage, no request. Afterwards the view of this page counts. Taken back, all of it goes."""
    async with shop(browser, "consent: required") as site:
        page = await site.visit()
        await ready(page)
        await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await page.evaluate("history.pushState({}, '', '/two')")
        await site.say(page, "identify", token_of("lead-42", "www", NOW_MS // 1000 + 60, "forged"))
        await hide(page)
        assert (site.requests, await site.cookies(), await site.stored(page)) == ([], [], {})
        page = await site.visit("/three", page)
        await ready(page)
        await site.say(page, "consent", True)
        page = await site.visit("/four", page)
        assert addresses(await site.views(1)) == ["/three"]
        assert len(await site.cookies()) == 1
        await ready(page)
        await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await site.views(2)
        await site.say(page, "consent", False)

        async def no_cookie() -> bool:
            return await site.cookies() == []

        await until(no_cookie, "no cookie")
        assert await site.stored(page) == {}
        sent = len(site.requests)
        await site.visit("/five", page)
        await ready(page)
        await site.visit("/bare", page)
        assert len(site.requests) == sent
        assert len(site.collector.log.records) == 2
        assert site.complaints == []


async def test_consent_taken_back_during_a_request_leaves_no_cookie(browser: Browser) -> None:
    """The answer on its way sets one: it is deleted after it."""
    async with shop(browser, "consent: required") as site:
        page = await site.visit()
        await ready(page)
        site.collector.log.flows.clear()
        await site.say(page, "consent", True)
        await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await until(lambda: len(site.requests) == 1, "a request")
        await site.say(page, "consent", False)
        site.collector.log.flows.set()
        await until(lambda: len(site.requests) == 2, "the word to forget")

        async def no_cookie() -> bool:
            return await site.cookies() == [] and await site.stored(page) == {}

        await until(no_cookie, "no cookie and nothing stored")


@pytest.mark.parametrize(
    ("script", "attributes"),
    [
        ("Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})", "data-test"),
        ("1", ""),
        ("delete window.fetch", "data-test"),
    ],
)
async def test_browsers_that_send_nothing(browser: Browser, script: str, attributes: str) -> None:
    """Global Privacy Control, a robot's webdriver, and browsers that are too old. The token leaves the address all the same."""
    async with shop(browser, attributes=attributes) as site:
        await site.context.add_init_script(script)
        page = await site.visit("/one?lp=v1.a.b")
        await ready(page)
        assert page.url == f"{site.address}/one"
        await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await site.visit("/bare", page)
        assert (site.requests, await site.cookies(), site.complaints) == ([], [], [])


@pytest.mark.parametrize(
    ("before", "after"),
    [("?lp={}", ""), ("?lp={}&b=1", "?b=1"), ("?a=1&lp={}", "?a=1"), ("?a=1&lp={}&b=2#x", "?a=1&b=2#x"), ("?lp={}#/r", "#/r")],
)
async def test_a_token_leaves_the_address_at_once_and_names_the_visitor(browser: Browser, before: str, after: str) -> None:
    """No analytics script and no referrer has it."""
    async with shop(browser) as site:
        page = await site.visit("/one" + before.format(token_of("lead-42", "www", NOW_MS // 1000 + 60, "s3cret")))
        await ready(page)
        assert page.url == f"{site.address}/one{after}"
        (linked,) = await site.views(1)
        assert (linked.type, linked.lead) == ("lead.identified", "lead-42")
        await site.visit("/bare", page)
        _, viewed = await site.views(2)
        assert linked.data["anonymous_id"] == viewed.lead
        assert "lp=" not in viewed.data["url"]


async def test_a_forged_token_names_nobody(browser: Browser) -> None:
    """It is counted, and the visit goes on."""
    async with shop(browser) as site:
        page = await site.visit()
        await ready(page)
        await site.say(page, "identify", token_of("lead-42", "www", NOW_MS // 1000 + 60, "forged"), {"role": "CEO"})
        await until(lambda: site.collector.counted("collect_pixel_dropped_total", site="www", reason="token") == 1)
        await site.visit("/bare", page)
        assert [one.type for one in await site.views(1)] == ["page.viewed"]


async def test_another_site_s_page_sends_nothing(browser: Browser) -> None:
    """The collector refuses its origin."""
    async with shop(browser) as site:
        page = await site.visit(f"{site.foreign}/one")
        await ready(page)
        await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await until(lambda: any("blocked by CORS policy" in one for one in site.complaints), "a refusal")
        assert site.collector.log.records == []
        assert await site.cookies() == []


async def test_first_events_of_two_tabs_are_one_visitor_s(browser: Browser) -> None:
    """Their requests cross before the first cookie is there."""
    async with shop(browser) as site:
        one, two = await site.visit("/one"), await site.visit("/two")
        await ready(one)
        await ready(two)
        site.collector.log.flows.clear()
        for page in (one, two):
            await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await until(lambda: len(site.requests) == 2, "two requests")
        site.collector.log.flows.set()
        events = await site.views(2)
        assert len({event.lead for event in events}) == 1


async def test_what_happens_during_a_request_goes_when_the_page_ends(browser: Browser) -> None:
    """The rest by a beacon, as the same visitor, and nothing twice."""
    async with shop(browser) as site:
        page = await site.visit()
        await ready(page)
        site.collector.log.flows.clear()
        await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await until(lambda: len(site.requests) == 1, "a request")
        await hide(page)
        await until(lambda: len(site.requests) == 2, "a beacon")
        site.collector.log.flows.set()
        events = await site.views(2)
        assert sorted(one.type for one in events) == ["form.submitted", "page.viewed"]
        assert len({one.lead for one in events}) == 1
        await until_empty(site, page)


async def test_a_session_ends_after_half_an_hour_and_not_at_midnight(browser: Browser) -> None:
    """By the browser's clock."""
    async with shop(browser, timezone_id="Europe/Paris") as site:
        await site.context.clock.install(time="2026-03-01T23:50:00+01:00")
        page = await site.visit()
        await page.wait_for_function("window.lp && lp.on")
        for wait in (0, 20 * 60_000, 29 * 60_000, 31 * 60_000):
            await site.context.clock.fast_forward(wait)
            await site.say(page, "track", "form.submitted", {"form_id": "f"})
        await until(lambda: len(site.collector.log.records) >= 5, "five events")
        sessions = [one.data["session_id"] for one in await site.views(5) if one.type == "form.submitted"]
        assert sessions[0] == sessions[1] == sessions[2] != sessions[3]


async def test_a_reader_of_two_minutes_is_known_before_leaving(browser: Browser) -> None:
    """The rule of the preset for readers asks for 120 seconds."""
    async with shop(browser) as site:
        await site.context.clock.install()
        page = await site.visit()
        await page.wait_for_function("window.lp && lp.on")
        await site.context.clock.run_for(120_500)
        (event,) = await site.views(1)
        assert event.data["duration_s"] >= 120


async def test_a_frame_is_no_page_and_two_scripts_are_one(browser: Browser) -> None:
    """What a form in a frame tracks counts."""
    async with shop(browser) as site:
        page = await site.visit("/framed")
        await ready(page)
        await ready(page.frames[1])
        await page.add_script_tag(url=str(site.collector.client.make_url("/lp/www/lp.js")))
        await page.frames[1].evaluate("lp('track', 'form.submitted', {form_id: 'f'})")
        await site.views(1)
        await site.visit("/bare", page)
        events = await site.views(2)
        assert [one.type for one in events] == ["form.submitted", "page.viewed"]
        assert addresses(events) == ["/framed"]


async def test_without_local_storage_it_works_for_the_page(browser: Browser) -> None:
    """As in private windows of some browsers. Calls with odd data cost nothing else."""
    async with shop(browser) as site:
        await site.context.add_init_script(
            "Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied') }})"
        )
        page = await site.visit()
        await ready(page)
        await page.evaluate("const odd = {form_id: 'f'}; odd.odd = odd; lp('track', 'form.submitted', odd)")
        await page.evaluate(
            "lp('track'); lp('track', 7, 'x'); lp('track', 'form.submitted', {form_id: 'f'}); lp('identify', 3, 4); lp()"
        )
        await page.evaluate("history.pushState({}, '', '/two')")
        await site.visit("/bare", page)
        await until(lambda: len(site.collector.log.records) >= 3)
        events = await site.views(3)
        assert sorted(one.type for one in events)[-2:] == ["page.viewed", "page.viewed"]
        assert len({one.data["session_id"] for one in events}) == 1
        assert len({one.lead for one in events}) == 1
        assert site.complaints == []


async def test_many_and_large_events_go_in_several_beacons(browser: Browser) -> None:
    """Each under the limit of the collector."""
    async with shop(browser) as site:
        page = await site.visit()
        await ready(page)
        await page.evaluate("for (let i = 0; i < 120; i++) lp('track', 'form.submitted', {form_id: 'ü'.repeat(900)})")
        events = await site.views(120)
        assert len({one.id for one in events}) == 120
        await until_empty(site, page)
        assert site.complaints == []


async def test_the_script_is_under_3_kb() -> None:
    """Gzipped, for all settings."""
    for consent in (True, False):
        assert len(gzip.compress(script_of(consent, True)[0])) < 3_000
