"""A human's grid as fields: each of its rules is an attribute, and rules on one trait are alternatives."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from worker.core.grid.models import FitRule, Grid, Rule, Velocity
from worker.core.grid.point_tables import PointsTable
from worker.core.grid.yaml_lines import Path, read_yaml
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fit_table import ELSE
from worker.core.scoring.signals import signals
from worker.core.scoring.state import LeadState
from worker.core.scoring.traits import leaves
from worker.learning.bins import Attribute
from worker.learning.fields import Field
from worker.learning.intervals import Floats
from worker.learning.points import Bounds
from worker.learning.sample import Sample, Texts

BY_HAND = "score.adjusted"
"""Points that a person gives one lead are no evidence, and are never fitted."""


_DERIVED_FROM: Final = ("email", "company.domain")
_NOBODY: Final = LeadState()


class Slot(NamedTuple):
    """Where the points of an attribute stand in the grid's file."""

    path: Path
    bounds: Bounds
    cap_path: Path | None = None
    """Of a cap that follows the points: cap/points stays, as it says how often the rule may count."""
    cap: float = 0.0


@dataclass(frozen=True)
class GridFields:
    """The fields of a grid, and for each of their attributes its place in the file; none for a velocity's step 0."""

    fields: tuple[Field, ...]
    slots: Mapping[str, tuple[Slot | None, ...]]

    def now(self, field: Field) -> list[Bounds]:
        """Return what the grid says of the field's attributes."""
        return [Bounds(0.0) if slot is None else slot.bounds for slot in self.slots[field.name]]


def fields_of_grid(grid: Grid) -> GridFields:
    """Return a field for each trait, or set of traits, of the fit rules, and for each other rule."""
    document = read_yaml(grid.source)
    slots: dict[str, list[tuple[Attribute, Slot | None]]] = {}
    steps: set[str] = set()
    for i, rule in enumerate(grid.fit.rules):
        slots.setdefault(_traits(rule), []).extend(_of_fit(rule, i, document.lines))
    for i, deed in enumerate(grid.engagement.rules):
        if BY_HAND in deed.on:
            continue
        at: Path = ("engagement", "rules", i)
        most = deed.cap / abs(deed.points) if deed.cap is not None and deed.points else np.inf
        bounds = Bounds(deed.points, most, intent=deed.intent)
        cap = None if deed.cap is None or not deed.points else (*at, "cap")
        slot = Slot((*at, "points"), bounds, cap, deed.cap or 0.0)
        slots[_free(deed.id, slots)] = [(Attribute("signal", deed.id), slot)]
    for i, velocity in enumerate(grid.velocity):
        name = _free(velocity.id, slots)
        steps.add(name)
        slots[name] = [(Attribute("signal", f"{velocity.id}: not reached"), None)]
        for number, points in velocity.steps:
            above = ("velocity", i, "steps")
            key = next(path[-1] for path in document.lines if path[:-1] == above and float(path[-1]) == number)
            place: Path = (*above, key)
            slots[name].append((Attribute("signal", f"{velocity.id}: {number:g}"), Slot(place, Bounds(points))))
    lone = ("inactivity", 0) not in document.lines
    for i, tier in enumerate(grid.inactivity):
        at = ("inactivity",) if lone else ("inactivity", i)
        signal = f"inactivity/{i + 1}" if i else "inactivity"
        least = None if tier.min is None or not tier.points else (*at, "min")
        most = tier.min / tier.points if tier.min is not None and tier.points else np.inf
        slot = Slot((*at, "points"), Bounds(tier.points, most), least, tier.min or 0.0)
        slots[_free(signal, slots)] = [(Attribute("signal", signal), slot)]
    return _built(slots, steps)


def without(own: GridFields, grid: Grid, names: Collection[str]) -> GridFields:
    """Return the fields but for rules with these ids, and those that read these traits or only events of these types."""
    gone = {name for one in names for name in (one, one.partition(":")[2] or one)}
    left: set[str] = set()
    for rule in grid.fit.rules:
        if {rule.id, *_traits(rule).split(" + ")} & gone:
            left.add(rule.id)
    deeds: list[Rule | Velocity] = [*grid.engagement.rules, *grid.velocity]
    left |= {deed.id for deed in deeds if deed.id in gone or set(deed.on) <= gone}
    fields = [
        field
        for field in own.fields
        if not any(one.name.partition("/")[0] in left or one.name.partition(":")[0] in left for one in field.attributes)
    ]
    return GridFields(tuple(fields), own.slots)


def _built(slots: Mapping[str, list[tuple[Attribute, Slot | None]]], steps: set[str]) -> GridFields:
    fields = tuple(
        Field(name, tuple(attribute for attribute, _ in pairs), signals=name not in steps, zero=0 if name in steps else -1)
        for name, pairs in slots.items()
    )
    return GridFields(fields, {name: tuple(slot for _, slot in pairs) for name, pairs in slots.items()})


def _traits(rule: FitRule) -> str:
    paths = [condition.path for condition in rule.where.conditions] if rule.where is not None else []
    if isinstance(rule.points, PointsTable):
        paths.append(rule.points.path)
    return " + ".join(sorted(set(paths)))


def _of_fit(rule: FitRule, place: int, lines: Mapping[Path, int]) -> list[tuple[Attribute, Slot | None]]:
    at: Path = ("fit", "rules", place, "points")
    if not isinstance(rule.points, PointsTable):
        return [(Attribute("signal", rule.id), Slot(at, Bounds(rule.points)))]
    found: list[tuple[Attribute, Slot | None]] = []
    keys = [path[-1] for path in lines if path[:-1] == (*at, "values")]
    for i, row in enumerate(rule.points.rows):
        own: Path = (*at, "bands", i, 1) if rule.points.bands else (*at, "values", keys[i])
        found.append((Attribute("signal", f"{rule.id}/{row.name}"), Slot(own, Bounds(row.points))))
    if (*at, "else") in lines:
        slot = Slot((*at, "else"), Bounds(rule.points.otherwise))
        found.append((Attribute("signal", f"{rule.id}/{ELSE}"), slot))
    return found


def _free(name: str, taken: Mapping[str, object]) -> str:
    while name in taken:
        name += "_"
    return name


def signals_of_columns(grid: Grid, texts: Mapping[str, Texts], rows: int) -> dict[str, Floats]:
    """Return the signals of the grid's fit rules, with columns of texts as traits. Each distinct lead is judged once."""
    scorer = CompiledGrid(grid, "/leadpulse/learn")
    asked = {path for rule in grid.fit.rules for path in _traits(rule).split(" + ")}
    names = [name for name in texts if name in asked or name in _DERIVED_FROM]
    if not names or not rows:
        return {}
    distinct, place = np.unique(np.column_stack([texts[name].codes for name in names]), axis=0, return_inverse=True)
    found: dict[str, Floats] = {}
    for i, codes in enumerate(distinct):
        cells = {name: texts[name].values[code] for name, code in zip(names, codes, strict=True)}
        traits = dict(leaves({name: cell for name, cell in cells.items() if cell})[0])
        for signal, number in signals(scorer, _NOBODY, 0, scorer.derived(traits)).items():
            found.setdefault(signal, np.zeros(len(distinct)))[i] = number
    return {signal: numbers[place.ravel()] for signal, numbers in found.items()}


def with_signals(grid: Grid, sample: Sample) -> Sample:
    """Return a sample of columns with the signals of *grid* beside them; one of events has them already."""
    if sample.at_ms is not None:
        return sample
    return replace(sample, numbers={**sample.numbers, **signals_of_columns(grid, sample.texts, sample.rows)})
