"""Grids from scratch: whatever columns and values are called, the check passes and leads get the points that were fitted."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tests.kit.outcomes import leads, table_of
from worker.core.grid.lint import lint
from worker.core.grid.models import Grid
from worker.errors import LearningError
from worker.learning.proposal import Proposal, Wish, propose
from worker.learning.rows import sample_of
from worker.learning.scores import Scores, score_rows
from worker.learning.tables import Table


def proposed(table: Table) -> Proposal:
    """Propose a grid for a table."""
    sample = sample_of(table)

    def scores(grid: Grid) -> Scores:
        return Scores(*(column[sample.place] for column in score_rows(table, grid)))

    return propose(sample, None, Wish(scores=scores))


def assert_sound(found: Proposal) -> None:
    """The check is silent, and each lead's score under the written grid is that of the fit."""
    assert lint(found.grid) == []
    assert np.array_equal(found.scores.score, found.fitted.score(found.sample))


def test_the_check_passes_and_scores_are_those_of_the_fit() -> None:
    """On an export with blanks, ranges, rare values and a column that says nothing."""
    found = proposed(leads(3000, 1, level=-2).table())
    assert_sound(found)
    assert {one.name for one in found.left_out} == {"Prospect", "Newsletter"}
    text = found.text.decode()
    assert "Reference: 49 # solid: " in text
    assert 'id: "What is your current occupation = unknown"' in text


ODD_VALUES = (
    "FR or BE", ">50", "<10 employees", "contains x", "“quoted”", "like this", "50%*", "a:b", "on", "no", "null", "true",
    "TRUE", "1", "01", "1.0", "- a", "# b", "{x}", "[y]", "é", "🙂", "a\nb", "tab\there", '"', "'", "\\", "<<", "a && b",
    "2026-01-01", "1_000", "0x1F", " leading", "trailing ", "~", "&anchor", "*", "NaN", "-5", "12", "1e5",
)  # fmt: skip
ODD_NAMES = (
    "Country", "Company Size", "What is your current occupation", "a:b/c", "on", "and", "or", "Sub.Industry", "é 🙂", "1",
    "id", "won", "'", "# x", "true", "[a]", "a{b}", "null", "-", "line\nbreak",
)  # fmt: skip


@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking fits takes minutes
@given(
    st.lists(st.sampled_from(ODD_NAMES), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(ODD_VALUES) | st.text(min_size=1, max_size=12), min_size=3, max_size=8, unique=True),
    st.integers(0, 2**32 - 1),
)
@example(["Country"], ["true", "TRUE", "False"], 1)
@example(["a", "b"], ["1", "01", "1.0", "x"], 2)
def test_odd_names_and_values_are_written_so_that_they_are_met(names: list[str], values: list[str], seed: int) -> None:
    """Words that YAML, the check or the operators of a grid would take for something else."""
    values = [value for value in values if "\x00" not in value]
    random = np.random.default_rng(seed)
    rows = 30 * max(1, len(values))
    codes = {name: random.integers(-1, len(values), rows) for name in names}
    odds = sum((codes[name] % 3 - 1.0 for name in names), start=np.zeros(rows))
    won = random.random(rows) < 1 / (1 + np.exp(-2 * odds))
    columns = {name: [values[code] if code >= 0 else "" for code in codes[name]] for name in names}
    table = table_of(columns, won)
    with contextlib.suppress(LearningError):  # chance may leave nothing to tell
        assert_sound(proposed(table))


def test_a_column_that_no_grid_can_name_is_left_out_by_name() -> None:
    """`Nr.` ends in a dot, so no path reaches it."""
    made = leads(1000, 2, level=-2)
    found = proposed(table_of({"Nr.": made.columns["City"], **made.columns}, made.won))
    assert [one.why for one in found.left_out if one.name == "Nr."] == [
        "a grid cannot name it: rename the column, without dots and quotes at its ends"
    ]


def test_a_model_comes_with_enough_outcomes_in_an_order() -> None:
    """Without an order in time there is no forward test, so no probability is published."""
    made = leads(1200, 3, level=-1)
    with_order = proposed(made.table(order=True))
    assert with_order.model.text is not None
    assert with_order.judged is not None
    assert with_order.judged.forward
    assert proposed(made.table()).model.reason.startswith("no_forward_test")
    few = leads(900, 3, level=-2)
    assert proposed(few.table(order=True)).model.reason == "too_few_leads: 900 of 1,000"


@pytest.mark.parametrize("method", ["shares"])
def test_the_same_table_gives_the_same_bytes_in_any_order(method: str) -> None:
    """Permuted rows change nothing in the grid, and nothing in the model."""
    made = leads(1500, 4, level=-2)
    columns = {name: column for name, column in made.columns.items() if name != "Prospect"}
    order = np.random.default_rng(1).permutation(1500)
    permuted = {name: [column[i] for i in order] for name, column in columns.items()}
    first, second = proposed(table_of(columns, made.won)), proposed(table_of(permuted, made.won[order]))
    assert first.text == second.text
    assert first.judged == second.judged
