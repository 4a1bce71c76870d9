"""A web server's access log in the combined format (Apache, nginx) as `page.viewed` events.

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
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from hashlib import blake2b
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qsl

import msgspec
from is_bot import Bots  # type: ignore[import-untyped]

SESSION_GAP_MS: Final = 30 * 60_000
"""Silence that ends a session: the half hour that web analytics agree on."""
LINE_LIMIT: Final = 65_536
"""Longest line read, in bytes; servers refuse requests long before."""
PAGE_EXTENSIONS: Final = frozenset({"html", "htm", "xhtml", "shtml", "php", "asp", "aspx", "jsp", "jsf", "do", "cgi", "md"})
FEED_SEGMENTS: Final = frozenset({"feed", "rss", "atom"})
PAGE_STATUSES: Final = frozenset({b"200", b"304"})

_MEMORY_MS: Final = 24 * 3_600_000
_LINE: Final = re.compile(
    rb'(?P<address>\S+) \S+ [^\[]{1,512} \[(?P<time>[^\]]{1,64})\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?:\d+|-)'
    rb' "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"(?: .*)?'
)
_COMMON: Final = re.compile(rb'\S+ \S+ [^\[]{1,512} \[[^\]]{1,64}\] "(?:[^"\\]|\\.)*" \d{3} (?:\d+|-)')
_TIME: Final = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS: Final = {
    name: number
    for number, name in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], start=1)
}
_REQUEST: Final = re.compile(rb"([A-Z]+) (\S+)(?: HTTP/[0-9.]+)?")
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_EXTENSION: Final = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,9})$")
_FEED_QUERY: Final = re.compile(r"(?:^|[&;])[^=&;]+=(?:rss|atom)[0-9.]*(?:$|[&;])", re.IGNORECASE)


class Malformed(Exception):
    """A line that is not in the combined log format; the message says what is wrong with it."""


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


class _Session(msgspec.Struct):
    id: str
    first_ms: int
    last_ms: int


class AccessLog:
    """Turns log lines into events, one at a time, in the order given.

    Event ids are a hash of the line. From the second identical line on, they also have its number among these lines.
    The same log gives the same ids, so a log sent twice counts once. Two identical requests in one second stay two events.
    Identical lines are remembered for a day of log time. A visitor takes about 300 bytes for as long as this object lives.
    """

    def __init__(self, site: str = "", salt: str = "") -> None:
        """Prefix relative urls with *site* (`https://example.com`); key the visitor ids with *salt*.

        Without a salt, anybody who knows an address and a user agent can compute the visitor id. Events are of source
        *site*, or `/access-log`. Raises `ValueError` for a salt over 64 bytes of UTF-8.
        """
        self.summary = Summary()
        self._site = site.rstrip("/")
        self._source = self._site or "/access-log"
        self._salt = salt.encode()
        if len(self._salt) > blake2b.MAX_KEY_SIZE:
            raise ValueError(f"a salt has at most {blake2b.MAX_KEY_SIZE} bytes, this one has {len(self._salt)}")
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
        fields = _LINE.fullmatch(line)
        if fields is None:
            raise Malformed(_what_is_wrong(line))
        at_ms = instant(fields["time"].decode("ascii", "replace"))
        request = _REQUEST.fullmatch(fields["request"])
        if request is None or request[1] != b"GET" or fields["status"] not in PAGE_STATUSES:
            return None
        target = _text(request[2])
        if not is_page(target):
            return None

        agent = _text(fields["agent"])
        visitor = self._visitor(fields["address"], fields["agent"])
        machine = is_machine(agent)
        session = self._session(visitor, at_ms, machine)
        data: dict[str, Any] = {"url": self._site + target if target.startswith("/") else target, "session_id": session.id}
        if fields["referrer"] not in (b"", b"-"):
            data["referrer"] = _text(fields["referrer"])
        if utm := utm_of(target):
            data["utm"] = utm
        if machine:
            data["machine"] = True
        self.summary.pages += 1
        self.summary.machine_pages += machine
        return msgspec.json.encode(
            {
                "specversion": "1.0",
                "id": self._event_id(line, at_ms),
                "source": self._source,
                "type": "page.viewed",
                "subject": visitor,
                "time": rfc3339(at_ms),
                "data": data,
            }
        )

    def _visitor(self, address: bytes, agent: bytes) -> str:
        return "visitor:" + blake2b(address + b"\0" + agent, digest_size=8, key=self._salt).hexdigest()

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


@lru_cache(maxsize=1024)
def instant(text: str) -> int:
    """Return `17/May/2015:10:05:03 +0200` in milliseconds since 1970, its offset respected. Raises `Malformed`.

    Month names are English in every locale, as the servers write them.
    """
    match = _TIME.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        raise Malformed(f"time {text!r} is not like 17/May/2015:10:05:03 +0000")
    day, month, year, hour, minute = int(match[1]), _MONTHS[match[2]], int(match[3]), int(match[4]), int(match[5])
    second = 59 if match[6] == "60" else int(match[6])  # a leap second
    offset = timedelta(hours=int(match[8]), minutes=int(match[9]))
    try:
        zone = timezone(-offset if match[7] == "-" else offset)
        return round(datetime(year, month, day, hour, minute, second, tzinfo=zone).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise Malformed(f"time {text!r}: {error}") from error


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


def _what_is_wrong(line: bytes) -> str:
    if len(line) > LINE_LIMIT:
        return f"longer than {LINE_LIMIT:,} bytes"
    if not line.strip():
        return "empty line"
    if _COMMON.fullmatch(line):
        return "no referrer and user agent: this is the common log format, the combined one is needed"
    return 'not like ADDRESS - USER [TIME] "REQUEST" STATUS SIZE "REFERRER" "USER AGENT"'


def _text(field: bytes) -> str:
    r"""Return a field with the server's escapes (`\"`, `\x22`) undone; what is not UTF-8 is replaced."""
    if b"\\" in field:
        field = _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()) if m[1] else m[2], field)
    return field.decode("utf-8", "replace")
