"""A model beside a grid: read whole or refused with every mistake, and part of the grid's bytes and hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.grids import GRID, changed, parsed
from tests.kit.models import TRAINED, a_model, as_file, with_a_model
from worker.core.grid.diff import compare
from worker.core.grid.messages import GridError
from worker.core.grid.models import Grid, parse_grid
from worker.core.grid.prediction import read_model_file
from worker.core.grid.report import show_markdown
from worker.presets import read_grid

PLAIN = parsed(GRID)
NAMED = f"{GRID}prediction: {{file: model.json}}  # by learn fit\n"


def mistakes_of(model: bytes | str | None, grid: str = NAMED) -> list[str]:
    """Return the mistakes of a grid that must have some."""
    with pytest.raises(GridError) as caught:
        parse_grid(grid, "grids/g.yaml", model)
    return [str(mistake) for mistake in caught.value.mistakes]


def predicting(**more: Any) -> Grid:
    """Return the grid with a model."""
    return parse_grid(NAMED, "g.yaml", as_file(a_model(PLAIN, **more)))


def test_a_grids_bytes_hold_its_model() -> None:
    """Every line stays where it was, and the bytes alone give the same grid again."""
    grid = predicting()
    again = parse_grid(grid.source, "a journal")
    assert again == grid
    assert grid.prediction is not None
    assert grid.prediction.model is not None
    assert list(grid.prediction.model.features) == sorted(grid.prediction.model.features)
    assert [line for line in NAMED.splitlines() if not line.startswith("prediction")] == [
        line for line in grid.source.decode().splitlines() if not line.startswith("prediction")
    ]


def test_the_hash_of_a_grid_covers_its_model_and_not_how_it_is_laid_out() -> None:
    """Another weight is another grid. A grid without a model has the hash that it always had."""
    model = a_model(PLAIN)
    compact = json.dumps(dict(reversed(model.items()))).encode()
    assert parse_grid(NAMED, "g.yaml", compact).sha256 == predicting().sha256
    assert predicting(intercept=-3.5).sha256 != predicting().sha256
    assert (
        parse_grid(NAMED.replace("pricing-page,", "pricing-page, label: Prices,"), "g.yaml", compact).sha256
        == predicting().sha256
    )


@pytest.mark.parametrize("written", [
    "prediction:\n  file: model.json\n", "prediction: {'file': \"model.json\"}\n", "prediction: { file: sub/model.json }\n",
])  # fmt: skip
def test_however_the_name_is_written_the_model_takes_its_place(written: str) -> None:
    """In blocks, in braces, in quotes."""
    grid = parse_grid(GRID + written, "g.yaml", as_file(a_model(PLAIN)))
    assert grid.prediction == predicting().prediction
    assert parse_grid(grid.source, "kept").sha256 == grid.sha256


def test_texts_of_any_kind_travel() -> None:
    """Rows of tables may have quotes and letters of all scripts."""
    fit = '{rules: [{id: rôle, points: {table: role, values: {"l\'été": 1, "😀\\u0085": 2}}}]}'
    grid = parsed(changed(GRID, {"fit": fit}))
    model = as_file(a_model(grid))
    text = changed(GRID, {"fit": fit}) + "prediction: {file: model.json}\n"
    kept = parse_grid(text, "g.yaml", model)
    assert kept.prediction is not None
    assert kept.prediction.model is not None
    assert "rôle/l'été" in kept.prediction.model.features
    assert parse_grid(kept.source, "kept") == kept


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"features": {"form": [21, 0]}}, "features.form[0]: a weight is from -20 to 20; got 21"),
    ({"features": {"form": [1]}}, "features.form: write [weight, mean]"),
    ({"features": {"form": ["1", 0]}}, "features.form[0]: write a finite number"),
    ({"features": {f"s{n}": [1, 0] for n in range(1_001)}}, "features: 1,001 features are too many"),
    ({"features": {"form": [True, 0]}}, "features.form[0]: write a finite number"),
    ({"caps": {"form": 0}}, "caps.form: 0 leaves nothing"),
    ({"calibration": [0]}, "calibration: write [a, b]"),
    ({"horizon": "soon"}, "horizon: write a duration, as in 90d; got 'soon'"),
    ({"horizon": "none"}, "horizon: write a duration"),
    ({"model": 2}, "model: write 1; got 2"),
    ({"trained": TRAINED | {"won": 2_001}}, "trained.won: 2001 won leads are more than all 2000"),
    ({"metrics": {"auc": 0.7}}, "metrics.auc: write [value, low, high]"),
    ({"metrics": {"slope": [1, 2, 3]}}, "metrics.slope: write [value, low, high]"),
    ({"weight": 1}, "weight: unknown key 'weight'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "says"), WRONG, ids=lambda one: str(one)[:40])
def test_a_mistake_is_named_by_line_and_path(change: dict[str, Any], says: str) -> None:
    """In the model's own file."""
    text = as_file(a_model(PLAIN, **change))
    (found,) = mistakes_of(text)
    place, _, message = found.partition(": ")
    assert message.startswith(says)
    file, _, line = place.partition(":")
    assert file == "grids/model.json"
    key = says.partition(":")[0].partition("[")[0].rpartition(".")[2]
    assert f'"{key}"' in "".join(text.decode().splitlines()[max(0, int(line) - 3) : int(line)])


@pytest.mark.parametrize(("text", "says"), [
    (b'{"model": 1,\n "intercept": NaN}', "grids/model.json:2: write finite numbers"),
    (b'{"model": 1,\n "intercept": 1e999}', "grids/model.json:2: write finite numbers"),
    (b'{"model": 1,\n "model": 1}', "grids/model.json:2: duplicate key 'model': keep one"),
    (b'{"model": 1,\n}', "grids/model.json:2: not JSON in column 1"),
    (b"\xff", "grids/model.json:1: not UTF-8"),
    (b"[" * 100_000, "grids/model.json:1: not a model"),
    (b" " * 500_001, "grids/model.json:1: 500,001 bytes are too many"),
    (b"7", "grids/model.json:1: write a mapping"),
    ("No such file or directory", "grids/g.yaml:25: prediction.file: the model model.json cannot be read: No such file"),
    (None, "grids/g.yaml:25: prediction.file: the model model.json cannot be read: it is not at hand"),
], ids=lambda one: str(one)[:30])  # fmt: skip
def test_what_is_no_model_is_refused(text: bytes | str | None, says: str) -> None:
    """Each with its place and what to do."""
    assert mistakes_of(text)[0].startswith(says)


@pytest.mark.parametrize("name", ["/etc/model.json", "../model.json", "a//b", ".", "C:model.json", "a\\b", ""])
def test_a_model_lies_beside_its_grid(name: str) -> None:
    """No grid makes a worker read another place."""
    (found, *_) = mistakes_of(b"{}", f"{GRID}prediction: {{file: {json.dumps(name)}}}\n")
    assert "write the name of a file beside the grid" in found


def test_mistakes_of_both_files_are_named_together() -> None:
    """One run shows all there is to mend."""
    found = mistakes_of(b"{}", NAMED.replace("version: 1", "version: one"))
    assert [one.partition(":")[0] for one in found][:2] == ["grids/g.yaml", "grids/model.json"]


def test_another_counting_refuses_the_model_and_is_named() -> None:
    """Points and thresholds do not: the signals are the same."""
    model = as_file(a_model(PLAIN))
    same = changed(GRID, {"engagement.rules.form.points": 3, "engagement.rules.form.cap": 9, "stages.sql.enter": 25})
    assert parse_grid(f"{same}prediction: {{file: model.json}}\n", "g.yaml", model).prediction is not None
    other = changed(GRID, {"engagement.rules.form.half_life": "6s", "engagement.rules.no-show.id": "absent"})
    (found,) = mistakes_of(as_file(a_model(PLAIN, {"form": [1, 0]})), f"{other}prediction: {{file: model.json}}\n")
    assert "changed: form; new: absent; gone: no-show" in found
    (found,) = mistakes_of(as_file(a_model(PLAIN, {}, parts={}, counted="0" * 64)))
    assert "`counted` begins with 000000000000" in found


def test_a_signal_that_the_grid_lacks_is_named() -> None:
    """With the one that may be meant."""
    found = mistakes_of(as_file(a_model(PLAIN, {"fomr": [1, 0]}, caps={"idle": 3})))
    assert "the model weighs 'fomr', and the grid has no such signal, did you mean 'form'?" in found[0]
    assert "the model weighs 'idle'" in found[1]


def test_a_kept_grid_that_was_damaged_is_refused() -> None:
    """Its model is checked as it was in its file."""
    kept = with_a_model(GRID).replace('"model":1', '"model":3')
    assert "prediction.model: model: write 1; got 3" in mistakes_of(None, kept)[0]


def test_a_models_text_has_one_form() -> None:
    """So that the hash of a grid does not depend on how a file is laid out."""
    model, text = read_model_file(as_file(a_model(PLAIN)), "model.json")
    assert read_model_file(text.encode(), "x") == (model, text)


def test_a_grid_file_is_read_with_the_model_beside_it(tmp_path: Path) -> None:
    """By its name, wherever the command runs; what cannot be read is a mistake of the grid."""
    path = tmp_path / "grid.yaml"
    path.write_text(NAMED)
    with pytest.raises(GridError, match=r"grid.yaml:25: prediction.file: .*No such file"):
        read_grid(str(path))
    (tmp_path / "model.json").write_bytes(as_file(a_model(PLAIN)))
    assert read_grid(str(path)) == predicting()


def test_another_model_is_a_change_that_pages_show() -> None:
    """`grid diff` and `grid show` name the model."""
    (change,) = compare(predicting(), predicting(intercept=-2.5)).changes
    assert change.path == "prediction"
    assert change.before.startswith("model ")
    assert change.before.partition(" of ")[2] == change.after.partition(" of ")[2]
    assert change.before != change.after
    assert compare(PLAIN, predicting()).replay == []
    page = show_markdown(predicting())
    assert "## The chance to be won" in page
    assert "trained on 2,000 leads, 150 of them won" in page
