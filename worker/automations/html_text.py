"""The text part of a mail, made of its HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final, NamedTuple

_HIDDEN: Final = frozenset({"head", "style", "script", "title", "template"})
_HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_SECTIONS: Final = frozenset({"address", "article", "blockquote", "div", "footer", "header", "main", "nav", "section"})
_BLOCKS: Final = _HEADINGS | _SECTIONS | frozenset({"dl", "ol", "p", "pre", "table", "ul"})
_LINES: Final = frozenset({"br", "li", "tr", "dt", "dd", "hr"})
_MOST_SUBJECT: Final = 200


class Plain(NamedTuple):
    """The text and the subject that are made of HTML."""

    text: str
    """A block a paragraph, `- ` before items, and the address of a link behind its words."""
    subject: str
    """The `title`, else the first line."""


def plain_of(html: str) -> Plain:
    """Return *html* as plain text, with a subject."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = reader.text()
    first_line = next((line for line in text.splitlines() if line), "")
    return Plain(text, (" ".join(reader.title.split()) or first_line)[:_MOST_SUBJECT])


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._hidden = 0
        self._in_title = False
        self._links: list[tuple[str, int]] = []
        self.title = ""

    def text(self) -> str:
        """Return what was read: at most one blank line between blocks."""
        lines = [" ".join(line.split()) for line in "".join(self._parts).splitlines()]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        if tag in _HIDDEN:
            self._hidden += 1
        if self._hidden:
            return
        if tag in _BLOCKS:
            self._parts.append("\n\n")
        elif tag in _LINES:
            self._parts.append("\n- " if tag == "li" else "\n")
        elif tag in ("td", "th"):
            self._parts.append(" ")
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self._parts)))
        elif tag == "img":
            self._parts.append(dict(attrs).get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif not self._hidden and tag in _BLOCKS:
            self._parts.append("\n\n")
        elif tag == "a" and self._links:
            self._end_link(*self._links.pop())

    def _end_link(self, address: str, begin: int) -> None:
        words = "".join(self._parts[begin:]).strip()
        bare = address.removeprefix("mailto:")
        if bare and not bare.startswith("#") and words != bare:
            self._parts.append(f" ({bare})" if words else bare)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        if not self._hidden:
            self._parts.append(re.sub(r"\s+", " ", data))
