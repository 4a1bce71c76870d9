"""`/lp/unsubscribe/TOKEN`: a person takes no more mail.

GET shows a button, since scanners follow the links of mails. POST unsubscribes, by the button or the mail program (RFC 8058).
"""

from __future__ import annotations

import hashlib
from html import escape
from typing import Final

from aiohttp import web

from worker.collector.answers import Answer, come_again
from worker.collector.collector import Collector
from worker.connections.unsubscribe import Unsubscription, keys, opened
from worker.core.contract.model import Output
from worker.intake.routes import CONTENT_TYPE, topic_of
from worker.intake.vendors.common import NewEvent, cloud_event

_TYPE: Final = "email.unsubscribed"
_SOURCE: Final = "unsubscribe"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ max-width: 32rem; margin: 4rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; color-scheme: light dark }}
button {{ font: inherit; padding: .6rem 1.2rem }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{words}</p>
{rest}</body>
</html>
"""
_BUTTON: Final = '<form method="post"><button>Unsubscribe</button></form>\n'


def routes(collector: Collector) -> list[web.RouteDef]:
    """Return the routes of the unsubscription."""
    found = keys(collector.connections, collector.environment)

    def person_of(request: web.Request) -> Unsubscription:
        held = opened(found, request.match_info["token"])
        if held is None:
            words = "Open the link from the mail again, or ask the sender to take your address off."
            raise Answer(400, _page("The link is not complete", words), _HEADERS | {"Content-Type": "text/html; charset=utf-8"})
        return held

    async def ask(request: web.Request) -> web.StreamResponse:
        person_of(request)
        return _html(_page("Unsubscribe", "Do you want to get no more mails like this one?", _BUTTON))

    async def take(request: web.Request) -> web.StreamResponse:
        person = person_of(request)
        mark = hashlib.blake2b(f"{person.lead_id}\n{person.mail}".encode(), digest_size=16).hexdigest()
        event = NewEvent(_TYPE, person.lead_id, mark, collector.now_ms(), {"message_id": person.mail})
        record = Output(topic_of(_TYPE), event.subject.encode(), cloud_event(event, _SOURCE, "/lp/"), CONTENT_TYPE)
        if not await collector.promise.keep([record]):
            raise come_again()
        collector.metrics.events.labels("unsubscribe").inc()
        return _html(_page("You are unsubscribed", "You get no more mails like this one."))

    return [web.get("/lp/unsubscribe/{token}", ask), web.post("/lp/unsubscribe/{token}", take)]


def _html(page: str) -> web.Response:
    return web.Response(text=page, content_type="text/html", headers=_HEADERS)


def _page(title: str, words: str, rest: str = "") -> str:
    return _PAGE.format(title=escape(title), words=escape(words), rest=rest)
