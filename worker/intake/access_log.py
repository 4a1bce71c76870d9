"""A web server's access log as `page.viewed` events; `log_formats` reads the lines.

A page view is a `GET` that was answered with 200 or 304 and is no feed. Its path has no file extension, or the extension of a
document or a server script (`PAGE_EXTENSIONS`). All other answers say nothing about a person's interest: images, styles,
scripts, fonts, archives, `robots.txt`, downloads in parts, redirects, errors. The list names pages, not assets. A missed page
costs a few points, but an asset taken for a page would make one visit look like thirty.

Events come in the log's own order, in which the server finished its answers. This is not quite the order of their times.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, BinaryIO, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from is_bot import Bots  # type: ignore[import-untyped]

from worker.intake.log_formats import FORMATS, LINE_LIMIT, LogLine, Malformed, Parser

SESSION_GAP_MS: Final = 30 * 60_000
"""Silence that ends a session: the half hour that web analytics agree on."""
PAGE_EXTENSIONS: Final = frozenset({"html", "htm", "xhtml", "shtml", "php", "asp", "aspx", "jsp", "jsf", "do", "cgi", "md"})
FEED_SEGMENTS: Final = frozenset({"feed", "rss", "atom"})
PAGE_STATUSES: Final = frozenset({"200", "304"})

_MEMORY_MS: Final = 24 * 3_600_000
_EXTENSION: Final = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,9})$")
_FEED_QUERY: Final = re.compile(r"(?:^|[&;])[^=&;]+=(?:rss|atom)[0-9.]*(?:$|[&;])", re.IGNORECASE)


class Summary(msgspec.Struct):
    """Counts of the lines so far."""

    lines: int = 0
    malformed: int = 0
    pages: int = 0
    machine_pages: int = 0
    """Those of `pages` that a crawler, feed reader or script asked for."""
    visitors: int = 0
    machine_visitors: int = 0
    sessions: int = 0
    busiest: str = ""
    """The address with the most page views of people."""
    busiest_pages: int = 0


class _Session(msgspec.Struct):
    id: str
    first_ms: int
    last_ms: int


class VisitorBy(NamedTuple):
    """Where a line names its visitor."""

    forwarded: bool = False
    """The address is the first of `X-Forwarded-For`, where a proxy adds it to the log."""
    field: str = ""
    """A field that names the visitor, such as a cookie's value: its number after the user agent, or its name in JSON."""


BY_ADDRESS: Final = VisitorBy()


class AccessLog:
    """Turns log lines into events, one at a time, in the order given.

    Event ids are a hash of the line. From the second identical line on, they also have its number among these lines.
    So the same log gives the same ids, and two identical requests in one second stay two events. A worker drops a repeated id
    among a lead's last 64 events only: `produce --sent` makes larger imports safe to repeat.
    Identical lines are remembered for a day of log time. A visitor takes about 300 bytes for as long as this object lives.
    """

    def __init__(self, site: str = "", salt: str = "", visitor_by: VisitorBy = BY_ADDRESS) -> None:
        """Prefix relative urls with *site* (`https://example.com`); key the visitor ids with *salt*.

        Without a salt, anybody who knows an address and a user agent can compute the visitor id. Events are of source
        *site*, or `/access-log`. *visitor_by* says where a line names its visitor.
        Raises `ValueError` for a salt over 64 bytes of UTF-8.
        """
        self.summary = Summary()
        self.parse: Parser = FORMATS["combined"]
        """The format of the lines that follow."""
        self._site = site.rstrip("/")
        self._source = self._site or "/access-log"
        self._salt = salt.encode()
        if len(self._salt) > blake2b.MAX_KEY_SIZE:
            raise ValueError(f"a salt has at most {blake2b.MAX_KEY_SIZE} bytes, this one has {len(self._salt)}")
        self._visitor_by = visitor_by
        self._pages_by: Counter[str] = Counter()
        self._sessions: dict[str, _Session] = {}
        self._seen: Counter[str] = Counter()
        self._seen_before: Counter[str] = Counter()
        self._seen_since_ms: int | None = None

    def convert(self, line: bytes) -> bytes | None:
        """Return the line's event as JSON, or `None` when it is no page view. Raises `Malformed`."""
        self.summary.lines += 1
        try:
            return self._convert(line.rstrip(b"\r\n"))
        except Malformed:
            self.summary.malformed += 1
            raise

    def _convert(self, line: bytes) -> bytes | None:
        hit = self.parse(line)
        if hit.method != "GET" or hit.status not in PAGE_STATUSES or not is_page(hit.target):
            return None
        machine = hit.agent is not None and is_machine(hit.agent)
        visitor = self._visitor(hit)
        session = self._session(visitor, hit.at_ms, machine)
        data: dict[str, Any] = {"url": self._url(hit), "session_id": session.id}
        more = {"referrer": hit.referrer, "utm": utm_of(hit.target), "machine": machine}
        data.update({name: value for name, value in more.items() if value})
        self._count(hit, machine)
        return msgspec.json.encode(
            {
                "specversion": "1.0",
                "id": self._event_id(line, hit.at_ms),
                "source": self._source,
                "type": "page.viewed",
                "subject": visitor,
                "time": rfc3339(hit.at_ms),
                "data": data,
            }
        )

    def _url(self, hit: LogLine) -> str:
        if not hit.target.startswith("/"):
            return hit.target
        if self._site or not hit.host:
            return self._site + hit.target
        host, _, port = hit.host.rpartition(":") if ":" in hit.host else (hit.host, "", "")
        return f"{'https' if port == '443' else 'http'}://{host}{hit.target}" if port in ("80", "443") else hit.target

    def _count(self, hit: LogLine, machine: bool) -> None:
        found = self.summary
        found.pages += 1
        found.machine_pages += machine
        if not machine:
            address = self._address(hit)
            self._pages_by[address] += 1
            if self._pages_by[address] > found.busiest_pages:
                found.busiest, found.busiest_pages = address, self._pages_by[address]

    def _address(self, hit: LogLine) -> str:
        first = hit.forwarded.partition(",")[0].strip() if self._visitor_by.forwarded else ""
        return first or hit.address

    def _visitor(self, hit: LogLine) -> str:
        field = self._visitor_by.field
        named = hit.more.get(field, "") if field else ""
        if named and named != "-":
            key = b"field\0" + named.encode()
        else:
            key = self._address(hit).encode() + b"\0" + (hit.agent or "").encode()
        return "visitor:" + blake2b(key, digest_size=8, key=self._salt).hexdigest()

    def _session(self, visitor: str, at_ms: int, machine: bool) -> _Session:
        """Return the visitor's session at *at_ms*; a line that comes a little late belongs to the session around it."""
        session = self._sessions.get(visitor)
        if session is None:
            self.summary.visitors += 1
            self.summary.machine_visitors += machine
        elif session.first_ms - SESSION_GAP_MS <= at_ms <= session.last_ms + SESSION_GAP_MS:
            session.first_ms = min(session.first_ms, at_ms)
            session.last_ms = max(session.last_ms, at_ms)
            return session
        self.summary.sessions += 1
        session = _Session(f"{visitor.removeprefix('visitor:')}-{at_ms // 1000:x}", at_ms, at_ms)
        self._sessions[visitor] = session
        return session

    def _event_id(self, line: bytes, at_ms: int) -> str:
        if self._seen_since_ms is None or at_ms - self._seen_since_ms > _MEMORY_MS:
            self._seen_before, self._seen, self._seen_since_ms = self._seen, Counter(), at_ms
        digest = blake2b(line, digest_size=12).hexdigest()
        earlier = self._seen[digest] or self._seen_before[digest]
        self._seen[digest] = earlier + 1
        return f"{digest}-{earlier + 1}" if earlier else digest


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of *stream*; one over `LINE_LIMIT` is cut to one byte more, for `Malformed` to report it."""
    while line := stream.readline(LINE_LIMIT + 1):
        if len(line) > LINE_LIMIT:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(LINE_LIMIT)
        yield line


def rfc3339(at_ms: int) -> str:
    """Return *at_ms* as RFC 3339 in UTC, with milliseconds only where there are any."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds").replace("+00:00", "Z")


def is_page(target: str) -> bool:
    """Whether a request target is a page that a person reads, by its path's extension; feeds are not."""
    path, _, query = target.partition("#")[0].partition("?")
    if not target.startswith(("/", "http://", "https://")) or _FEED_QUERY.search(query):
        return False
    name = path.rstrip("/").rpartition("/")[2]
    extension = _EXTENSION.search(name) if not path.endswith("/") else None
    return name.lower() not in FEED_SEGMENTS and (extension is None or extension[1].lower() in PAGE_EXTENSIONS)


def utm_of(target: str) -> dict[str, str]:
    """Return the campaign a link was tagged with: `?utm_source=x&utm_medium=y` is `{"source": "x", "medium": "y"}`."""
    query = target.partition("#")[0].partition("?")[2]
    if "utm_" not in query:
        return {}
    try:
        pairs = parse_qsl(query, max_num_fields=100)
    except ValueError:  # more than a hundred parameters: a probe, not a campaign
        return {}
    return {name.removeprefix("utm_"): value for name, value in pairs if name.startswith("utm_")}


@lru_cache(maxsize=65_536)
def is_machine(agent: str) -> bool:
    """Whether a user agent is a crawler's, a feed reader's or a script's, by the `is-bot` list; an empty one is, too."""
    return agent in ("", "-") or bool(_BOTS.is_bot(agent))


_BOTS: Final = Bots()
