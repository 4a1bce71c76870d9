"""The page of docker-compose.yml in a real browser: it says nothing before consent, and its visitor then becomes known."""

from __future__ import annotations

import shlex

from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from ops.dev.services import REPOSITORY
from tests.kit.browser import chromium
from tests.kit.collected import served
from tests.kit.waits import until
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.intake.vendors.registry import mapped

FOLDER = REPOSITORY / "ops/compose"
SECRETS = dict.fromkeys(("LP_TOKEN", "LP_IDENTIFY", "LP_HOOK"), "development")


async def test_a_visitor_of_the_page_becomes_known() -> None:
    """Two ports of one host are one site for a browser, so the visitor keeps its cookie."""
    page_port, to = unused_port(), [""]

    async def page(request: web.Request) -> web.Response:
        name = request.path.strip("/") or "index.html"
        if "/" in name or not (FOLDER / "page" / name).is_file():
            return web.Response(status=404)
        # The pixel ignores browsers that a program drives, but for tests.
        text = (
            (FOLDER / "page" / name)
            .read_text()
            .replace("http://localhost:8090", to[0])
            .replace("async src", "data-test async src")
        )
        return web.Response(text=text, content_type="text/html")

    pages = web.Application()
    pages.router.add_get("/{any:.*}", page)
    connections = (FOLDER / "connections.yaml").read_text().replace("8070", str(page_port))
    async with chromium() as browser, served(connections, SECRETS) as collector, TestServer(pages, port=page_port):
        to[0] = f"http://localhost:{collector.client.port}"
        visitor = await browser.new_page()
        wrong: list[str] = []
        visitor.on("pageerror", lambda one: wrong.append(str(one)))
        await visitor.goto(f"http://localhost:{page_port}/")
        await visitor.wait_for_function("window.lp && lp.on")
        assert collector.log.records == []
        assert await visitor.context.cookies() == []
        await visitor.click("#agree")
        await visitor.fill("[name=email]", "ann@acme.example")
        await visitor.click("#form button")
        await visitor.click("a[href='pricing.html']")
        await visitor.wait_for_function("window.lp && lp.on")
        await visitor.click("#calculate")

        def events() -> dict[str, Event]:
            found = [decode(Record("", 0, 0, 0, None, one.value)) for one in collector.log.records]
            return {one.type: one for one in found if isinstance(one, Event)}

        kinds = {"page.viewed", "demo.requested", "lead.identified", "custom.pricing_calculator"}
        await until(lambda: kinds <= events().keys(), "the visitor's events")
        found = events()
        assert found["lead.identified"].lead == "email:ann@acme.example"
        assert found["custom.pricing_calculator"].lead == found["page.viewed"].lead
        assert found["page.viewed"].lead.startswith("visitor:")
        assert wrong == []


async def test_the_source_tool_takes_what_the_guide_sends() -> None:
    """The command in docs/install.md, word by word, becomes an event."""
    (line,) = [one for one in (REPOSITORY / "docs/install.md").read_text().splitlines() if one.startswith("curl ")]
    _, _, header, address, _, body = shlex.split(line)
    name, _, value = header.partition(": ")
    async with served((FOLDER / "connections.yaml").read_text(), SECRETS) as collector:
        path = "/" + address.partition("/")[2]
        headers = {name: value, "Content-Type": "application/x-www-form-urlencoded"}  # as curl does
        assert (await collector.client.post(path, data=body, headers=headers)).status == 200
        (inbound,) = collector.log.inbound()
        made = mapped(inbound, collector.collector.connections.sources["tool"])
    assert [(event.type, event.subject) for event in made.events] == [("demo.requested", "email:ann@acme.example")]
