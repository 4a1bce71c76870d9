"""Leaks in tables without times: each check on what it is for, and on what it must leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.crm_tables import clean_columns, leaking_columns
from worker.learning.intervals import Bools
from worker.learning.leak import Leak
from worker.learning.leak_verdicts import leaks_in_columns

LEADS = 2_000


def outcomes(rate: float = 0.2, leads: int = LEADS) -> Bools:
    """The first leads won."""
    return np.arange(leads) < rate * leads


def only(values: list[str], won: Bools, name: str = "colour") -> Leak:
    """Judge one column that stands alone."""
    return leaks_in_columns({name: values}, won)[0]


def drawn(seed: int, words: list[str], shares: list[float], leads: int = LEADS) -> list[str]:
    """Values that know nothing of the outcome."""
    return [str(word) for word in np.random.default_rng(seed).choice(words, leads, p=shares)]


@pytest.mark.parametrize(("rate", "leads"), [(0.04, 4_000), (0.38, 2_000)])
def test_planted_leaks_are_refused_or_asked_about_and_honest_columns_are_not_refused(rate: float, leads: int) -> None:
    """Thirty honest columns, ten of which drive the outcome, beside thirteen that leak it."""
    columns, won = clean_columns(7, leads, rate)
    leaking = leaking_columns(7, won)
    found = {leak.name: leak.verdict for leak in leaks_in_columns(columns | leaking, won)}
    assert list(found) == [*columns, *leaking]
    assert [name for name in leaking if found[name] == "ok"] == []
    assert [name for name in columns if found[name] == "refuse"] == []
    assert sum(found[name] == "ask" for name in columns) <= 2


def test_a_column_that_nearly_is_the_outcome_is_refused() -> None:
    """No value of it is certain: only the whole column tells."""
    won, random = outcomes(), np.random.default_rng(1)
    values = [str(value) for value in random.normal(won * 2.0).round(3)]
    leak = only(values, won)
    assert leak.verdict == "refuse"
    assert 0.85 < leak.figure < 0.95
    assert leak.why == (
        f"Of a won and a lost lead, it alone puts the won one first in {100 * leak.figure:.0f} % of the pairs (50 % is chance)."
        " Drop it, or allow it if it is known before the outcome."
    )
    falling = [str(-float(value)) for value in values]
    assert only(falling, won).figure == leak.figure


def test_values_that_together_nearly_are_the_outcome_are_refused() -> None:
    """None of the eight is certain, and their names have no order."""
    won, random = outcomes(0.3), np.random.default_rng(16)
    often, seldom = list("aceg"), list("bdfh")
    values = [str(random.choice(often if random.random() < (0.85 if one else 0.12) else seldom)) for one in won]
    leak = only(values, won)
    assert leak.verdict == "refuse"
    assert leak.figure == pytest.approx(0.86, abs=0.03)


def test_each_row_is_judged_by_the_rates_of_others() -> None:
    """Values that are each one lead's own would else know everything."""
    won = outcomes()
    leak = only([f"name {number}" for number in range(LEADS)], won)
    assert (leak.verdict, leak.why) == ("ok", "No sign of the outcome.")
    assert leak.figure == pytest.approx(0.5, abs=0.05)


def test_few_won_leads_refuse_nothing_by_chance_and_are_asked_about() -> None:
    """Of 600 leads, six won. An AUC of 0.8 is then within 2.5 standard deviations of chance."""
    won = outcomes(0.01, 600)
    values = ["1" if number in (0, 1, 2, 3) or number % 8 == 7 else "0" for number in range(600)]
    assert only(values, won).verdict == "ok"
    numbers = [str(1000 - 2 * number if number < 6 else (number * 379) % 1000) for number in range(600)]
    leak = only(numbers, won)
    assert leak.verdict == "refuse"
    numbers[0], numbers[1] = "600", "610"
    leak = only(numbers, won)
    assert (leak.verdict, "Only 6 leads won, so this may be chance." in leak.why) == ("ask", True)


@pytest.mark.parametrize(("winners", "verdict"), [(0, "refuse"), (1, "refuse"), (20, "ok")])
def test_a_value_that_never_wins_is_refused(winners: int, verdict: str) -> None:
    """Of 400 leads that have it. A fifth of all won."""
    won = outcomes()
    values = drawn(2, ["a", "b", "c"], [0.4, 0.3, 0.3])
    for number in [*range(winners), *range(1_600 + winners, 2_000)]:
        values[number] = "will never buy"
    leak = only(values, won)
    assert leak.verdict == verdict
    if winners == 0:
        assert leak.why.startswith(
            "“will never buy”: 400 leads, and none of them won (likely at most 1.0 %); of all leads 20 %"
        )
        assert leak.figure == 0.0


@pytest.mark.parametrize(("losers", "verdict"), [(0, "refuse"), (60, "ok")])
def test_a_value_that_always_wins_is_refused(losers: int, verdict: str) -> None:
    """60 leads are 3 % of all."""
    won = outcomes()
    values = drawn(3, ["a", "b", "c"], [0.4, 0.3, 0.3])
    for number in [*range(60), *range(1_900, 1_900 + losers)]:
        values[number] = "closed by Ann"
    assert only(values, won).verdict == verdict


def test_where_most_leads_win_nine_in_ten_is_no_leak() -> None:
    """The overall rate is 90 %: a group of the same rate says nothing."""
    won = np.random.default_rng(4).random(LEADS) < 0.9
    assert only(drawn(5, ["a", "b"], [0.5, 0.5]), won).verdict == "ok"


def test_numbers_at_which_leads_never_win_are_only_asked_about() -> None:
    """As visits are that end on their first page."""
    won, random = outcomes(), np.random.default_rng(6)
    values = [f"{value:.4f}" for value in random.random(LEADS)]
    for number in range(1_700, 2_000):
        values[number] = f"{1 + number / 1000:.4f}"
    leak = only(values, won)
    assert (leak.verdict, leak.figure) == ("ask", 0.0)
    assert leak.why.endswith("When is this filled in, and by whom?")


@pytest.mark.parametrize("blank", ["", "  ", "N/A", "null", "Select"])
def test_a_column_filled_in_for_won_leads_alone_is_refused(blank: str) -> None:
    """Even for ten of them: its values may all differ, and its AUC is near that of chance."""
    won = outcomes()
    values = [f"2026-03-{number + 10}" if number < 10 else blank for number in range(LEADS)]
    leak = only(values, won)
    assert (leak.verdict, leak.figure) == ("refuse", 1.0)
    assert leak.why.startswith("Filled in for 10 leads, and all of them won. Of the leads where it is blank, 20 % won.")
    some = [f"2026-03-{number % 20 + 10}" if number % 200 == 0 else blank for number in range(LEADS)]
    assert only(some, won).verdict == "ok"


def test_a_column_filled_in_for_lost_leads_alone_is_refused() -> None:
    """As the reason of a loss is: ten values, of which none is frequent."""
    won = outcomes()
    values = [f"reason {number % 60}" if number >= 1_500 else "" for number in range(LEADS)]
    leak = only(values, won)
    assert (leak.verdict, leak.figure) == ("refuse", 0.0)


def test_blanks_that_tell_the_outcome_raise_a_question() -> None:
    """Filled in for 9 of 10 won leads, and for half of the lost ones."""
    won, random = outcomes(), np.random.default_rng(8)
    given = random.random(LEADS) < np.where(won, 0.9, 0.5)
    values = [word if there else "" for word, there in zip(drawn(9, ["a", "b"], [0.5, 0.5]), given, strict=True)]
    leak = only(values, won)
    assert leak.verdict == "ask"
    assert leak.figure == pytest.approx(0.7, abs=0.02)
    assert "Blank for" in leak.why
    at_random = [word if random.random() < 0.6 else "" for word in drawn(9, ["a", "b"], [0.5, 0.5])]
    assert only(at_random, won).verdict == "ok"


def test_columns_blank_for_the_same_leads_raise_a_question() -> None:
    """They are filled in at one step. Others are blank as often, for other leads."""
    won, random = outcomes(), np.random.default_rng(10)
    graded = random.random(LEADS) < 0.6
    together = {name: [str(value) if there else "" for value, there in zip(random.integers(1, 5, LEADS), graded, strict=True)]
                for name in ("grade a", "grade b", "grade c")}  # fmt: skip
    apart = [word if random.random() < 0.6 else "" for word in drawn(11, ["a", "b"], [0.5, 0.5])]
    found = {leak.name: leak for leak in leaks_in_columns(together | {"apart": apart}, won)}
    assert {name: leak.verdict for name, leak in found.items()} == dict.fromkeys(together, "ask") | {"apart": "ok"}
    assert found["grade b"].why.startswith("Blank for the same leads as grade a, grade c: ")


def test_a_name_raises_a_question_and_never_refuses() -> None:
    """However the name is written."""
    won, values = outcomes(), drawn(12, ["a", "b"], [0.5, 0.5])
    for name in ("Last Activity", "lead_quality", "dealStage", "TAGS", "raison de la perte", "Étape", "is_sql"):
        assert only(values, won, name).verdict == "ask", name
    for name in ("colour", "blast", "staging area", "scorecard", "country"):
        assert only(values, won, name).verdict == "ok", name


def test_a_leak_that_only_shows_beside_another_column_raises_a_question() -> None:
    """Alone, neither column says anything: the outcome is whether they differ."""
    won, random = outcomes(0.3), np.random.default_rng(13)
    first = random.random(LEADS) < 0.5
    second = first ^ won ^ (random.random(LEADS) < 0.05)
    noise = drawn(14, ["a", "b", "c"], [0.4, 0.3, 0.3])
    columns = {"first": list(first.astype(str)), "second": list(second.astype(str)), "noise": noise}
    found = {leak.name: leak for leak in leaks_in_columns(columns, won)}
    assert found["noise"].verdict == "ok"
    assert "ask" in (found["first"].verdict, found["second"].verdict)
    asked = next(leak for leak in found.values() if leak.verdict == "ask")
    assert asked.figure > 0.3
    assert "Without it, a model of all columns puts" in asked.why


def test_the_same_table_gives_the_same_answer() -> None:
    """Folds are seeded."""
    columns, won = clean_columns(3, 700, 0.3)
    assert leaks_in_columns(columns, won) == leaks_in_columns(columns, won)


def test_permuted_rows_give_the_same_figures() -> None:
    """Folds follow what the rows hold, and not where they stand."""
    random = np.random.default_rng(9)
    columns = {"a": random.choice(["x", "y", ""], 900).tolist(), "b": [f"{one:.3f}" for one in random.random(900)]}
    won = random.random(900) < 0.3 + 0.3 * np.array([one == "x" for one in columns["a"]])
    order = random.permutation(900)
    permuted = {name: [values[row] for row in order] for name, values in columns.items()}
    assert leaks_in_columns(columns, won) == leaks_in_columns(permuted, won[order])


def test_without_won_or_lost_leads_nothing_is_found() -> None:
    """No rate differs from any other."""
    values = drawn(15, ["a", "b"], [0.5, 0.5])
    for won in (np.zeros(LEADS, np.bool_), np.ones(LEADS, np.bool_)):
        assert only(values, won).verdict == "ok"
