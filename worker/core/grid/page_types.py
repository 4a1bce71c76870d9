"""What kind of page a url is, by the grid's `pages`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

_REMEMBERED_CHARS = 2_048

Pages = Mapping[str, tuple[str, ...]]


def compile_pages(pages: Pages) -> Callable[[str], str | None]:
    """Return the function url → page type, with a memory of 8,192 urls.

    A pattern is compared with the whole path of the url (no host, query or fragment; case counts); `*` stands for any run of
    characters, `/` included. The first page type in the grid's order that fits wins; `None` when none does or when the
    url cannot be read.
    """
    names = tuple(pages)
    if not names:
        return lambda url: None
    pattern = re.compile("|".join("(" + "|".join(map(_glob, pages[name])) + ")" for name in names), re.DOTALL)

    def look(url: str) -> str | None:
        path = url_path(url)
        found = None if path is None else pattern.fullmatch(path)
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


def url_path(url: str) -> str | None:
    """Return the path of *url*; a bare path is one too. `None` when it cannot be read (`http://[`)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.path or ("/" if parts.netloc else None)


def _glob(pattern: str) -> str:
    """Return the regular expression of *pattern* without groups of its own.

    The atomic groups take each inner piece at its first place and never look back: it cannot blow up on a hostile url, and
    the first place is always as good as a later one, since what follows is `*` again.
    """
    first, *rest = (re.escape(piece) for piece in pattern.split("*"))
    if not rest:
        return first
    *inner, last = rest
    return first + "".join(f"(?>.*?{piece})" for piece in inner if piece) + ".*" + last
