"""What learning finds where the answer is known: simulated logs with true weights, and the synthetic set of leadforge.

`python -m tests.benchmarks.learning_truth [--only recovery …] [--runs 5] [--leads 6000]`: a line of JSON a run, then means.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from statistics import mean
from typing import Any, Final

import click
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from tests.kit.crm_tables import clean_columns, leaking_columns
from worker.core.grid.models import Grid, parse_grid
from worker.demo.agenda import DAY_MS
from worker.demo.known import KnownOutcomes, Plan
from worker.demo.simulate import Scenario
from worker.history.records import open_history
from worker.learning.accuracy import auc
from worker.learning.csv_table import CsvChoice, csv_table
from worker.learning.evaluate import splits
from worker.learning.event_table import EventChoice, event_table
from worker.learning.fitting import Choice, fit_table
from worker.learning.intervals import Bools, Floats
from worker.learning.leak_verdicts import leaks_in_columns
from worker.learning.leaks import find_leaks
from worker.learning.sample import Sample
from worker.learning.scale import Goal
from worker.learning.tables import read_table
from worker.presets import read_grid

PARTS: Final = ("columns", "log", "recovery", "copies", "leadforge")
GRID: Final = Path(__file__).with_name("truth_grid.yaml")
COPIES: Final = 3
_TRAPS: Final = ("current_stage", "is_sql", "total_touches_all")
"""Columns of leadforge that leak, by its own dictionary."""
_IDS: Final = ("lead_id", "account_id", "contact_id", "lead_created_at")
_OUTCOME: Final = "converted_within_90_days"
_CATEGORIES: Final = 200
Found = dict[str, Any]


def truth_grid(copies: int = 0) -> Grid:
    """Return the grid of the study, with a rule for each kind of copies."""
    text = GRID.read_text()
    rules = "".join(f"    - {{id: copy-{n}, points: 14, on: custom.copy.{n}, cap: 42}}\n" for n in range(1, copies + 1))
    return parse_grid(text.replace("stages:\n", f"{rules}stages:\n").encode(), GRID.name)


def simulated(folder: Path, seed: int, leads: int, **plan: Any) -> tuple[Path, Found]:
    """Write a log of a year, and return it with what was true."""
    wish: dict[str, Any] = {"grid": truth_grid(), "won_rate": 0.06} | plan
    traffic = KnownOutcomes(Scenario(seed=seed, leads=leads, days=365), Plan(**wish))
    path = folder / f"log-{seed}.jsonl"
    with path.open("wb") as file:
        file.writelines(record.value + b"\n" for record in traffic.records())
    return path, traffic.truth()


def tabled(log: Path, grid: Grid, every_days: int = 28) -> Path:
    """Return the honest table of a log."""
    out = log.with_suffix(".parquet")
    event_table(open_history(str(log)), log.name, grid, EventChoice(every_ms=every_days * DAY_MS, complete=True), str(out))
    return out


def boosted(sample: Sample) -> float:
    """Return the AUC of gradient boosting on the same rows and the same split, with everything that the table has."""
    numbers = list(sample.numbers.values())
    texts = [np.minimum(column.codes, _CATEGORIES - 1).astype(np.float64) for column in sample.texts.values()]
    matrix = np.column_stack(numbers + texts)
    kinds = np.array([False] * len(numbers) + [len(column.values) <= _CATEGORIES for column in sample.texts.values()])
    parts, forward = splits(sample)
    said, seen = np.zeros(sample.rows), np.zeros(sample.rows, np.bool_)
    for part in parts[-1:] if forward else parts:
        said[part.test], seen = _boost(matrix, kinds, sample.won, part.train, part.test), seen | part.test
    return auc(said[seen], sample.won[seen])


def _boost(matrix: Floats, kinds: Bools, won: Bools, train: Bools, test: Bools) -> Floats:
    model = HistGradientBoostingClassifier(
        max_iter=150, max_leaf_nodes=8, learning_rate=0.05, l2_regularization=10, min_samples_leaf=100,
        early_stopping=False, categorical_features=kinds, random_state=1,
    )  # fmt: skip
    with threadpool_limits(1):
        model.fit(matrix[train], won[train])
    return np.asarray(model.decision_function(matrix[test]), np.float64)


def true_auc(sample: Sample, truth: Found) -> float:
    """Return the AUC of the true odds, on the rows that the fits are judged on."""
    test = splits(sample)[0][-1].test
    rows = np.zeros(sample.rows)
    for name, weight in truth["weights"].items():
        rows += weight * sample.numbers.get(name, np.zeros(1))
    return auc(rows[test], sample.won[test])


def fitted(table: Path, grid: Grid | None, leaks: tuple[str, ...] = ()) -> Any:
    """Return the proposal of a fit."""
    done = fit_table(str(table), grid, Choice(Goal("tenth"), dropped=leaks))
    assert done.proposal is not None, done.stopping
    return done.proposal


def recovery(folder: Path, seed: int, leads: int) -> Iterator[Found]:
    """Judge points and weights by the truth, and the order by boosting."""
    log, truth = simulated(folder, seed, leads)
    proposal = fitted(tabled(log, truth_grid()), truth_grid())
    unit = proposal.fitted.scale.per_log_odds
    covered: dict[str, tuple[bool, str]] = {}
    pairs = []
    model = json.loads(proposal.model.text)["features"] if proposal.model.text else {}
    for row in proposal.rows:
        name = row.rate.name
        true = truth["weights"].get(name)
        if true is None or row.rate.rows == 0:
            continue
        inside = row.low - 0.5 <= true * unit <= row.high + 0.5
        covered[name] = (inside, f"{row.rate.word}: {true * unit:.0f}, not {row.low} to {row.high}")
        if name in model:
            pairs.append((true, model[name][0]))
    points, judged = proposal.judged.headline, proposal.model.judged.headline if proposal.model.judged else None
    true, found = np.array(pairs or [(0.0, 0.0)]).T
    yield {
        "part": "recovery",
        "seed": seed,
        "rows": proposal.sample.rows,
        "won_leads": truth["counts"]["won"],
        "points_covered": round(mean(one for one, _ in covered.values()), 3),
        "missed": {name: words for name, (one, words) in sorted(covered.items()) if not one},
        "weights_slope": round(float(true @ found / (true @ true)), 3) if true.any() else None,
        "weights_error": round(float(np.sqrt(np.mean((found - true) ** 2))), 3),
        "auc_points": round(points.auc, 4),
        "auc_model": None if judged is None else round(judged.auc, 4),
        "auc_boosting": round(boosted(proposal.sample), 4),
        "auc_truth": round(true_auc(proposal.sample, truth), 4),
        "slope_points": round(points.slope, 3),
        "slope_model": None if judged is None else round(judged.slope, 3),
    }


def copies(folder: Path, seed: int, leads: int) -> Iterator[Found]:
    """Fit one log with and without rules for near copies of a strong signal."""
    log, _ = simulated(folder, seed, leads, copies=COPIES)
    found = {}
    for name, grid in (("without", truth_grid()), ("with", truth_grid(COPIES))):
        proposal = fitted(tabled(log, grid), grid)
        found[name] = (proposal.judged.headline, proposal.model.judged.headline if proposal.model.judged else None)
    (plain, plain_model), (copied, copied_model) = found["without"], found["with"]
    yield {
        "part": "copies",
        "seed": seed,
        "auc_change": round(copied.auc - plain.auc, 4),
        "slope_change": round(copied.slope - plain.slope, 3),
        "model_auc_change": round(copied_model.auc - plain_model.auc, 4) if plain_model and copied_model else None,
        "model_slope_change": round(copied_model.slope - plain_model.slope, 3) if plain_model and copied_model else None,
    }


def columns(folder: Path, seed: int, leads: int) -> Iterator[Found]:
    """Judge thirty clean columns and thirteen leaks of a table without times, at three rates of closing."""
    for rate in (0.02, 0.11, 0.38):
        clean, won = clean_columns(seed, leads, rate)
        leaking = leaking_columns(seed, won)
        found = {leak.name: leak.verdict for leak in leaks_in_columns(clean | leaking, won)}
        yield {"part": "columns", "seed": seed, "rate": rate, "won": int(won.sum())} | _verdicts(found, clean, leaking)


def log(folder: Path, seed: int, leads: int) -> Iterator[Found]:
    """Judge a log with planted leaks, under a grid that comes with LeadPulse."""
    grid = read_grid("saas-b2b")
    path, truth = simulated(folder, seed, leads // 4, grid=grid, leaks=True, called_by=grid, late_wins_days=5.0)
    found = {leak.name: leak.verdict for leak in find_leaks(read_table(str(tabled(path, grid, 7))))}
    planted = [leak["name"] for leak in truth["leaks"]]
    clean = [name for name in found if name not in planted and not name.startswith("event:crm.")]
    yield {"part": "log", "seed": seed, "won": truth["counts"]["won"]} | _verdicts(found, clean, planted)


def _verdicts(found: Mapping[str, str], clean: Collection[str], leaking: Collection[str]) -> Found:
    return {
        "leaks": len(leaking),
        "leaks_refused": sum(found.get(name) == "refuse" for name in leaking),
        "leaks_missed": [name for name in leaking if found.get(name, "ok") == "ok"],
        "clean": len(clean),
        "clean_refused": [name for name in clean if found[name] == "refuse"],
        "clean_asked": sum(found[name] == "ask" for name in clean),
    }


def leadforge(folder: Path, seed: int, leads: int) -> Iterator[Found]:
    """Fit the honest columns of leadforge, and look for its leaks."""
    from leadforge.api.generator import Generator

    Generator.from_recipe("b2b_saas_procurement_v1", seed=seed, exposure_mode="research_instructor").generate().save(
        str(folder / f"forge-{seed}")
    )
    from pyarrow import concat_tables, parquet

    parts = sorted((folder / f"forge-{seed}" / "tasks" / _OUTCOME).glob("*.parquet"))
    whole = concat_tables([parquet.read_table(part) for part in parts], promote_options="default")
    source = folder / f"forge-{seed}.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(whole.column_names)
        writer.writerows(["" if v is None else str(v) for v in row.values()] for row in whole.to_pylist())
    out = folder / f"forge-{seed}.parquet"
    choice = CsvChoice(_OUTCOME, ("True",), "lead_id", None, _IDS[1:])
    csv_table(lambda: source.open("rb"), source.name, choice, str(out), lambda *_: None)
    verdicts = {leak.name: leak.verdict for leak in find_leaks(read_table(str(out)))}
    proposal = fitted(out, None, _TRAPS)
    points = proposal.judged.headline
    yield {
        "part": "leadforge",
        "seed": seed,
        "auc_points": round(points.auc, 4),
        "auc_boosting": round(boosted(proposal.sample), 4),
        "slope_points": round(points.slope, 3),
    } | _verdicts(verdicts, [name for name in verdicts if name not in _TRAPS], _TRAPS)


_BY_NAME: Final[dict[str, Callable[[Path, int, int], Iterator[Found]]]] = {
    "columns": columns,
    "log": log,
    "recovery": recovery,
    "copies": copies,
    "leadforge": leadforge,
}


@click.command()
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Only these parts.")
@click.option("--runs", default=5, show_default=True, help="Seeds of each part.")
@click.option("--leads", default=6_000, show_default=True, help="Leads of a simulated log; a table without times has 3,000.")
def main(only: tuple[str, ...], runs: int, leads: int) -> None:
    """Print what learning finds in data of which the truth is known."""
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as made:
        for part in only or PARTS:
            for seed in range(1, runs + 1):
                for one in _BY_NAME[part](Path(made), seed, 3_000 if part == "columns" else leads):
                    click.echo(json.dumps(one))
                    found.append(one)
    for part in only or PARTS:
        rows = [one for one in found if one["part"] == part]
        numbers = {key for one in rows for key, value in one.items() if isinstance(value, int | float)} - {"seed"}
        means = {key: round(mean(one[key] for one in rows if one[key] is not None), 4) for key in sorted(numbers)}
        click.echo(f"{part}: {json.dumps(means)}")


if __name__ == "__main__":
    main()
