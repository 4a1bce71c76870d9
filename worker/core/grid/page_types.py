"""What kind of page a url is, by the grid's `pages`."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

_REMEMBERED_CHARS = 2_048

PATH_CHARS: Final = 2_048
"""Patterns look at so many characters of a path: each pattern reads all of them, and a url may have 880,000."""

_URL_CHARS: Final = 8_192
"""Of a url, so many are looked at for its path. What stands before the path is shorter than the rest of them."""

Pages = Mapping[str, tuple[str, ...]]


def compile_pages(pages: Pages, *, hash_routes: bool = False) -> Callable[[str], str | None]:
    """Return the function url → page type, with a memory of 8,192 urls.

    A pattern is compared with the whole path of the url, without host, query or fragment, and case counts. Of a longer path,
    the first 2,048 characters are compared, as the url has them. `*` stands for any run of characters, `/` included. Escapes
    are decoded on both sides (`decoded`). With *hash_routes*, a fragment with a `/` is the path (`hash_route`). The first page
    type that fits, in the grid's order, wins. `None` stands for no page type, or for a url that cannot be read.
    """
    names = tuple(pages)
    if not names:
        return lambda url: None
    pattern = re.compile("|".join("(" + "|".join(map(_glob, pages[name])) + ")" for name in names), re.DOTALL)

    def look(url: str) -> str | None:
        url = url[:_URL_CHARS]
        path = (hash_route(url) if hash_routes else None) or url_path(url)
        found = None if path is None else pattern.fullmatch(decoded(path[:PATH_CHARS]))
        return names[found.lastindex - 1] if found is not None and found.lastindex is not None else None

    remembered = lru_cache(maxsize=8192)(look)
    # A long url is hardly ever seen again, and thousands of them would fill the memory.
    return lambda url: remembered(url) if len(url) <= _REMEMBERED_CHARS else look(url)


def page_type(url: str, pages: Pages) -> str | None:
    """Return the page type of *url* by *pages*; see `compile_pages`, which is faster for many urls."""
    return _compiled(tuple((name, tuple(patterns)) for name, patterns in pages.items()))(url)


@lru_cache(maxsize=16)
def _compiled(pages: tuple[tuple[str, tuple[str, ...]], ...]) -> Callable[[str], str | None]:
    return compile_pages(dict(pages))


_SCHEME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.")
_LEADING: Final = "".join(map(chr, range(33)))
_NOWHERE: Final = str.maketrans("", "", "\t\r\n")


def url_path(url: str) -> str | None:
    """Return the path of *url*, as it is written; a bare path is one too. `None` where there is none, and for `http://[`.

    As browsers do, it passes over control characters and spaces before the url, and tabs and line ends anywhere. It is our own,
    because the answer is counted: `urllib.parse.urlsplit` changed what it refuses in patch releases of Python.
    """
    rest = url.lstrip(_LEADING).translate(_NOWHERE).partition("#")[0].partition("?")[0]
    scheme, colon, behind = rest.partition(":")
    if colon and scheme[:1].isalpha() and _SCHEME.issuperset(scheme):
        rest = behind
    if rest[:2] != "//":
        return rest or None
    host, slash, path = rest[2:].partition("/")
    if ("[" in host) != ("]" in host):
        return None
    return slash + path or ("/" if host else None)


def hash_route(url: str) -> str | None:
    """Return the path in the fragment of *url*, as in `/app#/pricing`; `None` where the fragment has none.

    It begins at the fragment's first `/` and ends before a `?`.
    """
    fragment = url.partition("#")[2].translate(_NOWHERE)
    begin = fragment.find("/")
    return None if begin < 0 else fragment[begin:].partition("?")[0]


_escapes: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


def decoded(text: str) -> str:
    """Return *text* with escapes decoded once, such as `%C3%BC` for `ü`.

    `%2F` stays, because it is no border between two names. So does what is no valid UTF-8. Both get upper-case digits.
    """
    return _escapes.sub(_decoded_run, text) if "%" in text else text


def _decoded_run(escapes: re.Match[str]) -> str:
    parts = bytes.fromhex(escapes[0].replace("%", "")).split(b"/")
    return "%2F".join(part.decode(errors="leadpulse-escape") for part in parts)


def _escape(err: UnicodeError) -> tuple[str, int]:
    assert isinstance(err, UnicodeDecodeError)
    return "".join(f"%{byte:02X}" for byte in err.object[err.start : err.end]), err.end


codecs.register_error("leadpulse-escape", _escape)


def _glob(pattern: str) -> str:
    """Return the regular expression of *pattern* without groups of its own.

    The atomic groups take each inner piece at its first place and never look back: it cannot blow up on a hostile url, and
    the first place is always as good as a later one, since what follows is `*` again.
    """
    first, *rest = (re.escape(decoded(piece)) for piece in pattern.split("*"))
    if not rest:
        return first
    *inner, last = rest
    return first + "".join(f"(?>.*?{piece})" for piece in inner if piece) + ".*" + last
