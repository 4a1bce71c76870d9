"""The pixel's endpoints: who may send, what is kept, and what a browser can never do."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any
from uuid import UUID

import pytest
from aiohttp import ClientResponse
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.collected import NOW_MS, Served, served
from worker.collector.pixel import COOKIE, LINK_FIRST_S
from worker.connections.identify import token_of
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.intake.pixel import Beacon, Sent, clean_url, events_of

SITE = "https://www.example.com"
FILE = f"""
sites:
  www: {{origins: ["{SITE}"], identify: ["${{KEY}}"], custom: [custom.pricing_calculator]}}
  open: {{origins: ["{SITE}"], consent: given, cookie_domain: .example.com, respect_dnt: true}}
"""
KEY = {"KEY": "s3cret"}
VISITOR = "0190f5c2-7a51-4cc1-b0a6-2f3e4d5c6b7a"
FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Origin": SITE}


def sent(number: int = 1, type_: str = "page.viewed", **data: Any) -> dict[str, Any]:
    """Return one event of the pixel."""
    return {"id": str(UUID(int=number)), "type": type_, "at": 1_000, "data": data or {"url": f"{SITE}/pricing"}}


async def post(
    collector: Served, *events: dict[str, Any], site: str = "www", headers: Any = FIREFOX, **more: Any
) -> ClientResponse:
    """Post a beacon; return the answer."""
    body = json.dumps({"sent": 3_000, "consent": True, "events": events} | more)
    return await collector.client.post(f"/lp/{site}/e", data=body, headers={"Content-Type": "text/plain"} | headers)


def with_cookie(visitor: str = VISITOR) -> dict[str, str]:
    """Return the headers of a browser that was here before."""
    return FIREFOX | {"Cookie": f"{COOKIE}={visitor}"}


def kept(collector: Served) -> list[Event]:
    """Return the events that Kafka has, as the worker reads them."""
    found = [decode(Record("", 0, 0, NOW_MS, None, one.value)) for one in collector.log.records]
    assert all(isinstance(one, Event) for one in found), found
    return [one for one in found if isinstance(one, Event)]


async def test_a_view_is_the_visitor_s_and_the_server_sets_the_cookie() -> None:
    """Unreadable to scripts, for thirteen months. The event happened two seconds before it was sent."""
    async with served(FILE, KEY) as collector:
        answer = await post(collector, sent())
        assert answer.status == 200
        cookie = answer.cookies[COOKIE]
        assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
        assert int(cookie["max-age"]) == 395 * 86_400
        (event,) = kept(collector)
        assert event.lead == f"visitor:{cookie.value}"
        assert (event.source, event.id) == ("/lp/www", f"{UUID(int=1)}:page.viewed")
        assert event.at_ms == NOW_MS - 2_000
        again = await post(collector, sent(2), headers=with_cookie(cookie.value))
        assert again.cookies[COOKIE].value == cookie.value
        assert {one.lead for one in kept(collector)} == {event.lead}
        assert answer.headers["Access-Control-Allow-Origin"] == SITE
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://www.example.com", "null", f"{SITE}.evil.example"])
async def test_another_site_s_page_is_refused(origin: str) -> None:
    """With 403, whatever it sends, and its browser may not read the answer."""
    async with served(FILE, KEY) as collector:
        answer = await post(collector, sent(), headers=FIREFOX | {"Origin": origin})
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert COOKIE not in answer.cookies
        assert collector.log.records == []
        image = await collector.client.get("/lp/www/e.gif", headers={"Referer": f"{origin}/x"})
        assert image.status == 403


@pytest.mark.parametrize(
    ("site", "headers", "more", "reason"),
    [
        ("www", {}, {"consent": False}, "no_consent"),
        ("www", {"Sec-GPC": "1"}, {}, "gpc"),
        ("open", {"Sec-GPC": "1"}, {}, "gpc"),
        ("open", {"DNT": "1"}, {}, "dnt"),
    ],
)
async def test_without_consent_nothing_is_kept_and_no_cookie_is_set(
    site: str, headers: dict[str, str], more: dict[str, Any], reason: str
) -> None:
    """Whatever the script says: the server decides too. It is counted, and answered with 200."""
    async with served(FILE, KEY) as collector:
        answer = await post(collector, sent(), site=site, headers=FIREFOX | headers, **more)
        assert (answer.status, answer.cookies) == (200, {})
        assert collector.log.records == []
        assert collector.counted("collect_pixel_dropped_total", site=site, reason=reason) == 1


async def test_a_site_that_asks_before_needs_no_word_of_consent() -> None:
    """And the cookie is for the domain that the file names."""
    async with served(FILE, KEY) as collector:
        answer = await post(collector, sent(), site="open", consent=False)
        assert answer.cookies[COOKIE]["domain"] == ".example.com"
        assert len(kept(collector)) == 1


async def test_consent_that_is_taken_back_deletes_the_cookie() -> None:
    """At once."""
    async with served(FILE, KEY) as collector:
        answer = await collector.client.post("/lp/www/e", data='{"forget": true}', headers=with_cookie())
        assert answer.status == 200
        assert answer.cookies[COOKIE].value == ""
        assert answer.cookies[COOKIE]["max-age"] == "0"


@pytest.mark.parametrize(
    "type_", ["crm.won", "lead.identified", "profile.updated", "email.clicked", "score.adjusted", "custom.other"]
)
async def test_a_browser_sends_only_what_a_browser_may(type_: str) -> None:
    """It wins no deal, names no lead, and changes no trait."""
    async with served(FILE, KEY) as collector:
        data = {"anonymous_id": "x", "traits": {"role": "CEO"}, "message_id": "m", "points": 50}
        answer = await post(collector, sent(1, type_, **data), sent(2, "custom.pricing_calculator", seats=5))
        assert answer.status == 200
        assert [one.type for one in kept(collector)] == ["custom.pricing_calculator"]
        assert collector.counted("collect_pixel_dropped_total", site="www", reason="type") == 1


async def test_a_signed_token_names_the_visitor_once() -> None:
    """A forged, ended or other site's token does not. Another lead's token later is counted and merges nobody."""
    async with served(FILE, KEY) as collector:
        ends = int(NOW_MS / 1000) + 60
        answer = await post(collector, identify=token_of("lead-42", "www", ends, "s3cret"), traits={"role": "CTO"})
        linked, traits = kept(collector)
        cookie = answer.cookies[COOKIE].value
        assert (linked.type, linked.lead, linked.data) == (
            "lead.identified", "lead-42", {"anonymous_id": f"visitor:{cookie.partition('.')[0]}"},
        )  # fmt: skip
        assert (traits.type, traits.lead, traits.data) == ("profile.updated", "lead-42", {"traits": {"role": "CTO"}})
        collector.log.records.clear()
        for token in (
            token_of("lead-43", "www", ends, "s3cret"), token_of("lead-42", "www", ends, "forged"),
            token_of("lead-42", "open", ends, "s3cret"), token_of("lead-42", "www", 1, "s3cret"), "v1.x.y",
        ):  # fmt: skip
            await post(collector, identify=token, traits={"role": "CEO"}, headers=with_cookie(cookie))
        assert collector.log.records == []
        assert collector.counted("collect_pixel_dropped_total", site="www", reason="linked") == 1
        assert collector.counted("collect_pixel_dropped_total", site="www", reason="token") == 4
        again = await post(collector, sent(), identify=token_of("lead-42", "www", ends, "s3cret"), headers=with_cookie(cookie))
        assert [one.type for one in kept(collector)] == ["page.viewed"], "the link is known already"
        assert again.cookies[COOKIE].value == cookie


async def test_an_address_in_a_form_links_the_visitor_to_that_address_alone() -> None:
    """Self-declared: it reaches no CRM's lead, and not the traits of anybody. The link comes before what the visitor did."""
    async with served(FILE, KEY) as collector:
        answer = await post(
            collector, sent(1, "form.submitted", form_id="f", fields={"email": " Zoe@Acme.example "}), traits={"a": 1}
        )
        linked, form = kept(collector)
        visitor = answer.cookies[COOKIE].value.partition(".")[0]
        assert (form.type, linked.type, linked.lead) == ("form.submitted", "lead.identified", "email:zoe@acme.example")
        assert linked.data == {"anonymous_id": f"visitor:{visitor}"}
        await post(
            collector, sent(2, "demo.requested", email="bob@x.example"), headers=with_cookie(answer.cookies[COOKIE].value)
        )
        assert [one.type for one in kept(collector)][2:] == ["demo.requested"]


async def test_what_a_visitor_did_follows_a_new_link_after_a_moment() -> None:
    """So that a worker knows the link by then. Without a new link, nothing waits."""
    async with served(FILE, KEY) as collector:
        puts: list[tuple[float, list[str]]] = []
        put = collector.log.put

        async def noted(records: Any) -> None:
            puts.append((time.monotonic(), [json.loads(one.value)["type"] for one in records]))
            await put(records)

        collector.log.put = noted  # type: ignore[method-assign]
        answer = await post(collector, sent(1, "demo.requested", email="zoe@x.example"))
        await post(
            collector, sent(2, "demo.requested", email="zoe@x.example"), headers=with_cookie(answer.cookies[COOKIE].value)
        )
        assert [types for _, types in puts] == [["lead.identified"], ["demo.requested"], ["demo.requested"]]
        assert puts[1][0] - puts[0][0] >= LINK_FIRST_S


async def test_a_log_that_stalls_behind_a_link_is_told_in_time() -> None:
    """The wait is part of the time for an answer. The browser sends both again, with the same ids."""
    async with served(FILE, KEY) as collector:
        put = collector.log.put

        async def once(records: Any) -> None:
            await put(records)
            collector.log.flows.clear()

        collector.log.put = once  # type: ignore[method-assign]
        began = time.monotonic()
        answer = await post(collector, sent(1, "demo.requested", email="zoe@x.example"))
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
        assert time.monotonic() - began < 2.5
        assert COOKIE not in answer.cookies
        assert [one.type for one in kept(collector)] == ["lead.identified"]


async def test_robots_are_marked_and_a_browser_s_word_on_itself_is_not_taken() -> None:
    """By the user agent."""
    async with served(FILE, KEY) as collector:
        await post(collector, sent(1, url="/", machine=True))
        await post(collector, sent(2), headers=FIREFOX | {"User-Agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"})
        assert [one.machine for one in kept(collector)] == [False, True]


async def test_the_image_is_a_view_of_a_visitor_who_agreed_and_else_a_count() -> None:
    """Without script there is no consent to ask for, so no cookie and no id."""
    async with served(FILE, KEY) as collector:
        answer = await collector.client.get("/lp/www/e.gif?u=/a", headers={"Referer": f"{SITE}/a"} | {"User-Agent": "Firefox"})
        assert (answer.status, answer.content_type, answer.cookies) == (200, "image/gif", {})
        assert answer.headers["Cache-Control"] == "no-store"
        assert (await answer.read()).startswith(b"GIF89a")
        assert collector.log.records == []
        assert collector.counted("collect_pixel_dropped_total", site="www", reason="no_id") == 1
        await collector.client.get("/lp/www/e.gif", headers={"Referer": f"{SITE}/a", "Cookie": f"{COOKIE}={VISITOR}"})
        (event,) = kept(collector)
        assert (event.lead, event.data["url"]) == (f"visitor:{VISITOR}", f"{SITE}/a")


async def test_while_kafka_is_away_the_browser_is_told_to_come_again() -> None:
    """With the headers that let its script read the answer, and without a cookie for what was not kept."""
    async with served(FILE, KEY) as collector:
        collector.log.refuses = True
        answer = await post(collector, sent())
        assert answer.status == 429
        assert answer.headers["Access-Control-Allow-Origin"] == SITE
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"[]", 400), (b"\xff", 400), (b'{"events": 5}', 400), (b"x" * 70_000, 413),
                         (json.dumps({"events": [sent(n) for n in range(51)]}).encode(), 400)],
)  # fmt: skip
async def test_a_beacon_that_is_none_is_refused(body: bytes, status: int) -> None:
    """Nothing is sent."""
    async with served(FILE, KEY) as collector:
        answer = await collector.client.post("/lp/www/e", data=body, headers=FIREFOX)
        assert answer.status == status
        assert collector.log.records == []
        assert (await collector.client.get("/lp/nope/lp.js")).status == 404


async def test_the_script_is_small_made_for_its_site_and_cached() -> None:
    """Under 3 kB gzipped, with the site's settings in it."""
    async with served(FILE, KEY) as collector:
        answer = await collector.client.get("/lp/www/lp.js", headers={"Accept-Encoding": "gzip"})
        text = await answer.text()
        assert answer.content_type == "text/javascript"
        assert len(gzip.compress(text.encode())) < 3_000
        assert "CONSENT_REQUIRED" not in text
        assert "RESPECT_DNT" not in text
        tag = answer.headers["ETag"]
        assert (await collector.client.get("/lp/www/lp.js", headers={"If-None-Match": tag})).status == 304
        assert (await collector.client.get("/lp/open/lp.js")).headers["ETag"] != tag
        preflight = await collector.client.options("/lp/www/e", headers=FIREFOX)
        assert (preflight.status, preflight.headers["Access-Control-Allow-Methods"]) == (204, "POST")


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://x.example/a?utm_source=n&email=zoe@acme.example&q=1", "https://x.example/a?utm_source=n&q=1"),
        ("https://x.example/a?who=zoe%40acme.example", "https://x.example/a"),
        ("https://u:p@x.example/a?token=1&reset_password=2&sig=3&access_token=4&lp=v1.a.b", "https://x.example/a"),
        ("https://x.example/a#access_token=1", "https://x.example/a"),
        ("https://x.example/#/pricing?token=1", "https://x.example/#/pricing"),
        ("/preise-f%C3%BCr?b=%20", "/preise-f%C3%BCr?b=%20"),
        ("http://[bad?a@b", "http://[bad"),
    ],
)
def test_addresses_and_secrets_leave_urls(url: str, clean: str) -> None:
    """What is in a query stays in logs and dossiers for years."""
    assert clean_url(url) == clean


@given(st.text(max_size=200))
def test_a_clean_url_stays_as_it_is(url: str) -> None:
    """Any text has one, and it is its own."""
    clean = clean_url(url)
    assert clean_url(clean) == clean or "#" in clean or "?" in clean


@given(st.lists(st.builds(Sent, id=st.text() | st.just(VISITOR), type=st.text() | st.just("page.viewed"), at=st.floats(),
                          data=st.dictionaries(st.text(), st.text() | st.integers() | st.none()))), st.floats())  # fmt: skip
def test_no_beacon_breaks_it(events: list[Sent], at: float) -> None:
    """What is kept is what the worker takes; the rest is counted."""
    made, dropped = events_of(Beacon(sent=at, events=events), VISITOR, (), NOW_MS, machine=False)
    assert len(made) + dropped.total() == len(events)
