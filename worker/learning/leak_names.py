"""Names of columns that often hold what sales write after the outcome. A name is a reason to ask, never to refuse."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_WORDS: Final = (
    "all amount close closed closing contract conversion converted deal duration ever final index invoice last lost "
    "mql outcome owner profile quality qualified quote reason rep result sal score scoring sdr signed sql sr stage "
    "status tag tags total win won clos commercial dernier derniere duree etape gagne montant perdu qualite raison "
    "resultat signe statut"
)
"""Words of a name, in small letters without accents, English and French. *last*, *total* and *all* often count what came
after the outcome too."""
_TELLING: Final = frozenset(_WORDS.split())
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def telling_word(name: str) -> str | None:
    """Return the first word of *name* that columns of the outcome often have. `dealAmount` has the words deal and amount."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return next((part.lower() for part in _PART.findall(plain) if part.lower() in _TELLING), None)
