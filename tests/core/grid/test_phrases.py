"""Words in texts: the operator `words`."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.kit.waits import effort
from worker.core.grid.phrases import READ_CHARS, compile_words, says_something


@pytest.mark.parametrize(
    ("phrases", "text", "expected"),
    [
        (["marketing", "growth", "demand gen"], "VP Demand Gen", True),
        (["demand gen"], "Demand, gen.", True),
        (["demand gen"], "gen demand", False),
        (["demand gen"], "demand of gen", False),
        (["demand gen"], "demand generation", False),
        (["intern"], "International Sales", False),
        (["intern"], "Sales (intern)", True),
        (["etudiant"], "Étudiant", True),
        (["etudiant"], "E\u0301TUDIANT en droit", True),
        (["etudiant"], "Étudiante", False),
        (["étudiant"], "etudiant", True),
        (["strasse"], "Hauptstraße", False),
        (["hauptstrasse"], "Hauptstraße 3", True),
        (["σοφός"], "ΣΟΦΌΣ", True),
        (["ｃｔｏ"], "CTO", True),
        (["№ 5"], "no 5", True),
        (["r&d"], "R&D lead", True),
        (["c++"], "C developer", True),
        (["2"], "level 2", True),
        (["demo"], "book_a_demo", False),
        (["book_a_demo"], "Book_a_demo!", True),
        (["हिन्दी"], "हिन्दी भाषा", True),
        (["マネージャー"], "マネージャー", True),
    ],
)
def test_words_are_met_whatever_their_case_and_accents(phrases: list[str], text: str, expected: bool) -> None:
    """Whole words only, and a phrase is consecutive words."""
    assert compile_words(phrases)(text) is expected


ALPHABET = "aAeéÉ\u0301ß1_ -&İıﬁ\u0345Σς"


def by_definition(phrases: list[str], text: str) -> bool:
    """The contract's sentence, step by step: NFKD, marks dropped, case folded, runs of letters and digits are words."""

    def words(of: str) -> list[str]:
        plain = [c for c in unicodedata.normalize("NFKD", of) if unicodedata.category(c) not in ("Mn", "Mc", "Me")]
        return re.findall(r"\w+", "".join(plain).casefold())

    found = words(text)
    return any(found[at : at + len(wanted)] == wanted for wanted in map(words, phrases) for at in range(len(found)) if wanted)


@given(st.lists(st.text(ALPHABET, max_size=4).filter(says_something), min_size=1, max_size=3), st.text(ALPHABET, max_size=12))
@example(["e"], "é")
@example(["e\u0301"], "E")
@example(["ss"], "ß")
def test_words_are_what_the_definition_says(phrases: list[str], text: str) -> None:
    """The joined text, its memory and the way for ASCII change no answer."""
    assert compile_words(phrases)(text) is by_definition(phrases, text)


@given(st.text(max_size=6))
def test_a_phrase_has_a_letter_or_a_digit_or_is_no_phrase(phrase: str) -> None:
    """What has one is met by itself."""
    assert not says_something(phrase) or compile_words([phrase])(phrase)


def test_a_long_text_is_read_to_its_bound() -> None:
    """Texts come from anyone, and every rule reads them."""
    asks = compile_words(["x y z"])
    assert asks("é" * (READ_CHARS - 6) + " x y z")
    assert not asks("é" * READ_CHARS + " x y z")
    assert effort(lambda: asks("\ufdfa" * 800_000)) < 250
