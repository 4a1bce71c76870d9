"""The names of erased persons: their ids, and the addresses that they had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from worker.intake.person_names import PersonNames

_LONG: Final = 8
"""Characters from which an id names the person wherever it stands."""


class PersonsByName:
    """Erased persons whose ids are known (`worker.history.scrub.Persons` and `Names`)."""

    def __init__(self, until_ms: Mapping[str, int], addresses: Iterable[str] = ()) -> None:
        self.until_ms = dict(until_ms)
        self.addresses = frozenset(addresses)
        self._names = PersonNames([*until_ms, *self.addresses])
        bare = {one.partition(":")[2] for one in until_ms if one.startswith("email:")}
        sure = {one for one in {*until_ms, *self.addresses, *bare} if len(one) >= _LONG or "@" in one}
        self._in_bytes = [one.lower().encode(errors="surrogatepass") for one in sure]

    def erased_ms(self, id_: str) -> int | None:
        """Return up to when *id_* is erased; `None`: it never was."""
        return self.until_ms.get(id_)

    @property
    def needles(self) -> Sequence[bytes]:
        """Return runs of letters in lower case, one of which is in everything that names them; none: all may name them."""
        return self._names.needles

    def surely_in(self, value: Any) -> bool:
        """Return whether *value* has an address or a long id anywhere."""
        return self._names.surely_in(value)

    def in_bytes(self, value: bytes) -> bool:
        """Return whether bytes that are no JSON may name them."""
        lower = value.lower()
        return any(name in lower for name in self._in_bytes)
