"""Fields of an HTML form as a vendor posts it: `application/x-www-form-urlencoded` or `multipart/form-data`.

A sender without a secret can post one too, so a body is read once, without nesting.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

_MOST_FIELDS: Final = 1_000
_HEAD_BYTES: Final = 2_000
_BOUNDARY: Final = re.compile(r'boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_NAME: Final = re.compile(rb'\bname="([^"]{1,200})"')
_FILE: Final = re.compile(rb"\bfilename\*?=", re.IGNORECASE)


def is_form(content_type: str) -> bool:
    """Return whether a body of this type is a form."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("application/x-www-form-urlencoded", "multipart/form-data")


def form_fields(body: bytes, content_type: str) -> dict[str, str]:
    """Return the texts of a form by name, the first of each name, without its files. Raises `ValueError` for another body."""
    if content_type.strip().lower().startswith("multipart/form-data"):
        pairs = _parts(body, content_type)
    else:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    return dict(reversed(pairs))


def _parts(body: bytes, content_type: str) -> list[tuple[str, str]]:
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise ValueError("a form in parts without a boundary")
    parts = (b"\r\n" + body).split(b"\r\n--" + found[1].encode(), _MOST_FIELDS + 1)
    if len(parts) > _MOST_FIELDS:
        raise ValueError(f"a form of more than {_MOST_FIELDS:,} fields")
    pairs = []
    for part in parts[1:]:
        head, gap, value = part.partition(b"\r\n\r\n")
        name = _NAME.search(head[:_HEAD_BYTES]) if gap else None
        if name is not None and not _FILE.search(head[:_HEAD_BYTES]):
            pairs.append((name[1].decode(errors="replace"), value.decode(errors="replace")))
    return pairs
