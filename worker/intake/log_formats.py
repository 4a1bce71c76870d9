"""Lines of web server logs in the formats that servers and proxies write.

Formats of text are held strictly: a column that holds something else makes the line malformed. A lenient parser would shift
columns, and then every visitor has the address of the server. `detected` names the format of a file by its first lines.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

LINE_LIMIT: Final = 65_536
"""Longest line read, in bytes; servers refuse requests long before."""


class Malformed(Exception):
    """A line that is not in its log's format; the message says what is wrong with it."""


class LogLine(NamedTuple):
    """One request, as a line of a log tells it."""

    address: str
    """Of the client, or of the proxy before the server."""
    at_ms: int
    method: str
    target: str
    status: str
    referrer: str
    """Empty: none, or the format does not tell it."""
    agent: str | None
    """`None`: the format does not tell it."""
    host: str = ""
    """The virtual host with its port, where the format tells it."""
    forwarded: str = ""
    """`X-Forwarded-For`, where the format tells it."""
    more: Mapping[str, str] = {}
    """Further fields: by number from 1 after the user agent, or by name in JSON."""


Parser = Callable[[bytes], LogLine]

_REST: Final = (
    rb"\[(?P<time>[^\]]{1,64})\]"
    rb' "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?:\d+|-)'
    rb'(?P<named> "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?(?P<more> .*)?'
)
_PLAIN: Final = re.compile(rb"(?P<address>\S+) (?P<ident>\S+) [^\[]{1,512} " + _REST)
_WITH_HOST: Final = re.compile(rb"(?P<host>\S+) (?P<address>\S+) (?P<ident>\S+) [^\[]{1,512} " + _REST)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9_*.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.-]+")
_TIME: Final = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS: Final = {
    name: number
    for number, name in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], start=1)
}
_REQUEST: Final = re.compile(r"([A-Z]+) (\S+)(?: HTTP/[0-9.]+)?")
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_MORE: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"|(\S+)')
_ADDRESSES: Final = re.compile(r"[0-9A-Fa-f:.]+(?:, *[0-9A-Fa-f:.]+)*")
_TRAEFIK: Final = re.compile(rb' \d+ "[^"]*" "[^"]*" \d+ms')
_LAST_MS: Final = 253_370_764_800_000


def _combined(line: bytes) -> LogLine:
    return _text_line(line, _PLAIN.fullmatch(line), "combined")


def _vhost(line: bytes) -> LogLine:
    return _text_line(line, _WITH_HOST.fullmatch(line), "vhost")


def _common(line: bytes) -> LogLine:
    found = _PLAIN.fullmatch(line)
    if found is not None and found["named"] is not None:
        raise Malformed("a referrer and a user agent follow the size: this is the combined format")
    return _text_line(line, found, "common")


def _traefik(line: bytes) -> LogLine:
    found = _PLAIN.fullmatch(line)
    if found is not None and not _TRAEFIK.fullmatch(found["more"] or b""):
        raise Malformed('the line does not end as Traefik\'s do, like 17 "router" "http://server" 3ms')
    return _text_line(line, found, "traefik")


_LIKE: Final = {
    "combined": 'ADDRESS - USER [TIME] "REQUEST" STATUS SIZE "REFERRER" "USER AGENT"',
    "vhost": 'HOST:PORT ADDRESS - USER [TIME] "REQUEST" STATUS SIZE "REFERRER" "USER AGENT"',
    "common": 'ADDRESS - USER [TIME] "REQUEST" STATUS SIZE',
    "traefik": 'ADDRESS - USER [TIME] "REQUEST" STATUS SIZE "REFERRER" "USER AGENT" NUMBER "ROUTER" "SERVER" TIMEms',
}


def _text_line(line: bytes, found: re.Match[bytes] | None, name: str) -> LogLine:
    if found is None:
        raise Malformed(_what_is_wrong(line, f"not like {_LIKE[name]}"))
    if found["named"] is None and name != "common":
        raise Malformed("no referrer and user agent: this is the common log format")
    address, ident = _text(found["address"]), _text(found["ident"])
    host = _text(found["host"]) if name == "vhost" else ""
    if name == "vhost" and not _HOST.fullmatch(host):
        raise Malformed(f"the first column is {host[:80]!r}: expected a host and its port, like example.com:443")
    if not is_address(address):
        raise Malformed(f"the address is {address[:80]!r}: expected an IP address or a host's name" + _shifted(address, ident))
    if name != "vhost" and is_ip(ident):
        raise Malformed(f"an address, {ident}, follows {address}: this is the virtual-host format")
    request = _REQUEST.fullmatch(_text(found["request"]))
    method, target = (request[1], request[2]) if request else ("", "")
    referrer, agent = found["referrer"], found["agent"]
    more = _fields(found["more"])
    return LogLine(
        address,
        instant(found["time"].decode("ascii", "replace")),
        method,
        target,
        found["status"].decode(),
        "" if referrer in (None, b"-") else _text(referrer),
        None if agent is None else _text(agent),
        host,
        next((value for value in more.values() if _ADDRESSES.fullmatch(value) and is_ip(value.partition(",")[0])), ""),
        more,
    )


def _shifted(address: str, ident: str) -> str:
    return ". This is the virtual-host format" if _HOST.fullmatch(address) and is_address(ident) else ""


def _fields(rest: bytes | None) -> dict[str, str]:
    if not rest:
        return {}
    found = (_text(field[1] if field[1] is not None else field[2]) for field in _MORE.finditer(rest))
    return {str(number): value for number, value in enumerate(found, start=1)}


# Names of fields in JSON: nginx's variables, Caddy's and Traefik's own names, then what people write.
_NAMES: Final[Mapping[str, Sequence[str]]] = {
    "address": ("remote_addr", "ClientHost", "request.client_ip", "request.remote_ip", "remote_ip", "client_ip", "clientip"),
    "time": ("time_iso8601", "time_local", "StartUTC", "ts", "msec", "@timestamp", "time", "timestamp"),
    "method": ("request_method", "RequestMethod", "request.method", "method"),
    "target": ("request_uri", "RequestPath", "request.uri", "uri", "path", "url"),
    "request": ("request",),
    "status": ("status", "DownstreamStatus", "response.status", "code"),
    "referrer": ("http_referer", "http_referrer", "request_Referer", "request.headers.Referer", "referer", "referrer"),
    "agent": ("http_user_agent", "request_User-Agent", "request.headers.User-Agent", "user_agent", "agent"),
    "host": ("host", "http_host", "RequestHost", "request.host", "vhost"),
    "forwarded": ("http_x_forwarded_for", "request_X-Forwarded-For", "request.headers.X-Forwarded-For", "x_forwarded_for"),
}
_NEEDED: Final = ("address", "time", "status")
_decode: Final = msgspec.json.Decoder().decode


def _json(line: bytes) -> LogLine:
    try:
        held = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(_what_is_wrong(line, f"not JSON: {error}")) from error
    if not isinstance(held, dict):
        raise Malformed("not a JSON object")
    found = {name: _first(held, names) for name, names in _NAMES.items()}
    request = _REQUEST.fullmatch(found["request"])
    method, target = (request[1], request[2]) if request else (found["method"], found["target"])
    missing = [name for name in _NEEDED if not found[name]] + ([] if request or (method and target) else ["request"])
    if missing:
        looked = "; ".join(f"{name}: {', '.join(_NAMES[name])}" for name in missing)
        raise Malformed(f"no field for {', '.join(missing)}; looked for {looked}")
    if not is_address(found["address"]):
        raise Malformed(f"the address is {found['address'][:80]!r}: expected an IP address or a host's name")
    return LogLine(
        found["address"],
        _any_instant(found["time"]),
        method,
        target,
        found["status"],
        "" if found["referrer"] == "-" else found["referrer"],
        found["agent"],
        found["host"],
        found["forwarded"] if found["forwarded"] != "-" else "",
        _Members(held),
    )


class _Members(Mapping[str, str]):
    """A JSON line's own members, by name or dotted path, as texts."""

    def __init__(self, held: dict[str, Any]) -> None:
        self._held = held

    def __getitem__(self, name: str) -> str:
        return _first(self._held, (name,))

    def __iter__(self) -> Any:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def _first(held: dict[str, Any], names: Sequence[str]) -> str:
    """Return the first of the members *names* (dotted paths) that is a text or a number; empty for none."""
    for name in names:
        value: Any = held.get(name)
        if value is None and "." in name:
            value = held
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
            return str(value)
    return ""


FORMATS: Final[Mapping[str, Parser]] = {
    "combined": _combined,
    "vhost": _vhost,
    "common": _common,
    "json": _json,
    "traefik": _traefik,
}
"""By the name that `convert access-log --format` takes."""

_MOST_SPECIFIC_FIRST: Final = ("traefik", "vhost", "combined", "common", "json")


def detected(sample: Sequence[bytes]) -> str | None:
    """Return the format of a log by its first lines; `None` where that is not certain: most lines must be in one."""
    lines = [line.rstrip(b"\r\n") for line in sample if line.strip()]
    fits = {name: sum(_fits(FORMATS[name], line) for line in lines) for name in _MOST_SPECIFIC_FIRST}
    best = max(_MOST_SPECIFIC_FIRST, key=lambda name: fits[name])
    return best if lines and 2 * fits[best] > len(lines) else None


def _fits(parser: Parser, line: bytes) -> bool:
    try:
        parser(line)
    except Malformed:
        return False
    return True


@lru_cache(maxsize=65_536)
def is_ip(text: str) -> bool:
    """Return whether *text* is an IP address, of version 4 or 6, with a port or without."""
    bare = text.removeprefix("[").partition("]")[0] if text.startswith("[") else text
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True


def is_address(text: str) -> bool:
    """Return whether *text* can be a client's address: an IP address, a host's name, or nginx' `unix:`."""
    return is_ip(text) or _NAME.fullmatch(text) is not None or text == "unix:"


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


@lru_cache(maxsize=1024)
def _any_instant(text: str) -> int:
    """Return a time of a JSON line: as `instant` reads, ISO 8601 with an offset, or seconds since 1970."""
    if _TIME.fullmatch(text):
        return instant(text)
    try:
        if re.fullmatch(r"\d{9,11}(?:\.\d+)?", text):
            at_ms = int(float(text) * 1000)
        elif re.fullmatch(r"\d{12,14}", text):
            at_ms = int(text)
        else:
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                raise Malformed(f"time {text!r} has no offset from UTC")
            at_ms = int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    except (ValueError, OverflowError) as error:
        raise Malformed(f"time {text!r} is no ISO 8601, no seconds since 1970, not like 17/May/2015:10:05:03 +0000") from error
    if not 0 <= at_ms < _LAST_MS:
        raise Malformed(f"time {text!r} is not of the years 1970 to 9998")
    return at_ms


def _what_is_wrong(line: bytes, expected: str) -> str:
    if len(line) > LINE_LIMIT:
        return f"longer than {LINE_LIMIT:,} bytes"
    return expected if line.strip() else "empty line"


def _text(field: bytes) -> str:
    r"""Return a field with the server's escapes (`\"`, `\x22`) undone; what is not UTF-8 is replaced."""
    if b"\\" in field:
        field = _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()) if m[1] else m[2], field)
    return field.decode("utf-8", "replace")
