"""Erased persons: which ids an archive must not hold, and the receipts.

Each erased id has a file in `erasures/`. While records of the id may still be in the archive, the file has the id. Then it
becomes the receipt, with the id's SHA-256 alone. Records of the id that come later are recognised by it.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

import msgspec

from worker.adapters.stored_files import Files

FOLDER: Final = "erasures"
_SHOWN: Final = 16
_NAME: Final = re.compile(FOLDER + r"/\d+-[0-9a-f]+\.json")


class Erasure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One erased id."""

    mark: str
    """SHA-256 of the id, in hexadecimal."""
    at_ms: int
    """Records of the id up to this instant are erased."""
    id: str | None = None
    """The id itself, until the erasure is done."""
    done_ms: int | None = None
    files: int | None = None
    """How many files the pass that erased it has rewritten."""
    records: int | None = None
    """How many records that pass has erased or changed."""

    @property
    def name(self) -> str:
        """Its file, the same whichever process writes it."""
        return f"{FOLDER}/{self.at_ms:013d}-{self.mark[:_SHOWN]}.json"


def mark_of(id_: str) -> str:
    """Return what stands for an id in a receipt."""
    return sha256(id_.encode(errors="surrogatepass")).hexdigest()


class Erasures:
    """The erasures of an archive, as of the last look at its folder. Everything here blocks."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._held: dict[str, Erasure] = {}
        self._until: dict[str, int] = {}
        self._versions: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._held)

    @property
    def pending(self) -> list[Erasure]:
        """Those whose ids may still be in the archive."""
        return [one for one in self._held.values() if one.id is not None]

    def look(self) -> int:
        """Read what is new in the folder, and return how many erasures there are."""
        for name, listed in self._files.walk(FOLDER).items():
            if _NAME.fullmatch(name) and self._versions.get(name) != listed.version:  # a receipt may be asked again
                self._keep(msgspec.json.decode(self._files.get(name), type=Erasure))
                self._versions[name] = listed.version
        return self.count

    def ask(self, id_: str, at_ms: int) -> None:
        """Note durably that *id_* is erased up to *at_ms*. Once noted, it is done some time, whatever happens."""
        one = Erasure(mark_of(id_), at_ms, id_)
        held = self._held.get(one.name)
        if held is None:
            self._write(one)

    def ask_again(self, id_: str) -> None:
        """Note that a file with records of the erased *id_* came after the pass that erased it."""
        mark = mark_of(id_)
        for one in [one for one in self._held.values() if one.mark == mark and one.id is None]:
            self._write(Erasure(mark, one.at_ms, id_))

    def done(self, one: Erasure, now_ms: int, files: int, records: int) -> None:
        """Make a pending erasure its own receipt."""
        self._write(Erasure(one.mark, one.at_ms, None, now_ms, files, records))

    def erased_ms(self, id_: str) -> int | None:
        """Return up to when *id_* is erased; `None`: it never was."""
        return self._until.get(mark_of(id_)) if self._until else None

    def _write(self, one: Erasure) -> None:
        self._files.put(one.name, msgspec.json.encode(one))
        self._keep(one)

    def _keep(self, one: Erasure) -> None:
        self._held[one.name] = one
        self._until[one.mark] = max(one.at_ms, self._until.get(one.mark, 0))
