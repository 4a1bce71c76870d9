"""A table of points: what a fit rule gives by the value of one trait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Final, NamedTuple

from pydantic import PlainValidator, WithJsonSchema

from worker.core.grid.conditions import Condition, Where, WhereError, parse_where
from worker.core.grid.values import did_you_mean, is_points, points_message, several, shown, wrong
from worker.core.grid.yaml_lines import Path, as_scalar

_KEYS: Final = ("table", "values", "bands", "else")


class Row(NamedTuple):
    """One row: what the trait must be, and the points for it."""

    name: str
    """The key or the floor, as a reason names it."""
    condition: Condition
    points: float


class PointsTable(NamedTuple):
    """Points by the value of one trait."""

    path: str
    """The trait."""
    bands: bool
    """Of several rows that the trait meets the last counts, not the first."""
    rows: tuple[Row, ...]
    """In the order written; floors rise."""
    otherwise: float
    """For a trait that is there and meets no row. A missing one gives 0."""

    @property
    def worths(self) -> list[float]:
        """Everything that the table can give, but for nothing."""
        return [*(row.points for row in self.rows), self.otherwise]


FitPoints = float | PointsTable


def greatest(points: FitPoints) -> float:
    """Return the most that a fit rule can give."""
    return max(points.worths) if isinstance(points, PointsTable) else points


def least(points: FitPoints) -> float:
    """Return the least that a fit rule can give."""
    return min(points.worths) if isinstance(points, PointsTable) else points


def conditions(points: FitPoints) -> tuple[Condition, ...]:
    """Return what the rows of a table ask, for checks of conditions."""
    return tuple(row.condition for row in points.rows) if isinstance(points, PointsTable) else ()


def _fit_points(raw: object) -> FitPoints:
    if isinstance(raw, PointsTable):
        return raw
    if isinstance(raw, Mapping):
        return _table(raw)
    if is_points(raw):
        return float(raw)
    raise wrong(points_message(raw))


def _table(raw: Mapping[str, Any]) -> PointsTable:
    mistakes: list[tuple[Path, str]] = [
        ((key,), f"unknown key {key!r}{did_you_mean(key, _KEYS)}; the keys here are {', '.join(_KEYS)}")
        for key in raw
        if key not in _KEYS
    ]
    path = raw.get("table")
    if not isinstance(path, str) or not all(path.split(".")):
        mistakes.append((("table",) if "table" in raw else (), "name the trait in `table`, as in table: role"))
        path = "trait"
    if ("values" in raw) == ("bands" in raw):
        mistakes.append(((), "write one of `values` ({CEO: 15}) and `bands` ([[1, -15], [50, 12]])"))
    otherwise = raw.get("else", 0.0)
    if not is_points(otherwise):
        mistakes.append((("else",), points_message(otherwise)))
    bands = "bands" in raw
    found = _bands(path, raw["bands"]) if bands else _values(path, raw.get("values", {"": 0.0}))
    mistakes += found.mistakes if ("values" in raw) != bands else []
    if mistakes:
        raise several(mistakes)
    return PointsTable(path, bands, tuple(found.rows), float(otherwise))


class _Read(NamedTuple):
    rows: list[Row]
    mistakes: list[tuple[Path, str]]


def _values(path: str, raw: object) -> _Read:
    read = _Read([], [])
    if not isinstance(raw, Mapping) or not raw:
        read.mistakes.append((("values",), f"values map what the trait is to points, as in {{CEO: 15}}; got {shown(raw)}"))
        return read
    for key, worth in raw.items():
        _row(read, ("values", key), Condition(path, "eq", as_scalar(key)), str(key), worth)
    return read


def _bands(path: str, raw: object) -> _Read:
    read = _Read([], [])
    if not isinstance(raw, tuple) or not raw:
        read.mistakes.append(
            (("bands",), f"bands are pairs of a floor and points, as in [[1, -15], [50, 12]]; got {shown(raw)}")
        )
        return read
    for i, pair in enumerate(raw):
        if not isinstance(pair, tuple) or len(pair) != 2:
            read.mistakes.append((("bands", i), f"a band is a pair of a floor and points, as in [50, 12]; got {shown(pair)}"))
            continue
        floor, worth = pair
        _row(read, ("bands", i), Condition(path, "gte", floor), _floor_name(floor), worth)
    if not read.mistakes:
        floors: list[Any] = [row.condition.value for row in read.rows]
        kinds = {isinstance(floor, str) for floor in floors}
        if len(kinds) > 1:
            read.mistakes.append((("bands",), "floors are all numbers, or all texts: write them alike"))
        elif any(high <= low for low, high in pairwise(floors)):
            read.mistakes.append((("bands",), "floors rise from band to band: write the lowest first, and each once"))
    return read


def _row(read: _Read, at: Path, condition: Condition, name: str, worth: object) -> None:
    try:
        parse_where({condition.path: {condition.op: condition.value}})
    except WhereError as err:
        read.mistakes.extend((at, message) for _, message in err.mistakes)
    if is_points(worth):
        read.rows.append(Row(name, condition, float(worth)))
    else:
        read.mistakes.append((at, points_message(worth)))


def _floor_name(floor: object) -> str:
    if isinstance(floor, float) and math.isfinite(floor) and floor.is_integer():
        return str(int(floor))
    return str(floor)


def whole(where: Where | None, row: Row) -> Where:
    """Return what a rule's own *where* and a row of its table ask together."""
    return Where((*(where.conditions if where is not None else ()), row.condition))


_POINTS: Final[dict[str, Any]] = {"type": "number"}
_ONE_OF: Final[dict[str, Any]] = {
    "anyOf": [
        _POINTS,
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["table"],
            "properties": {
                "table": {"type": "string", "description": "The trait, as in company.size."},
                "values": {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": _POINTS,
                    "description": "What the trait is → points. The first row that fits counts.",
                },
                "bands": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "array",
                        "prefixItems": [{"type": ["number", "string"]}, _POINTS],
                        "minItems": 2,
                        "maxItems": 2,
                    },
                    "description": "Pairs of a floor and points, by rising floor. The last floor that is reached counts.",
                },
                "else": {**_POINTS, "default": 0, "description": "For a trait that is there and meets no row."},
            },
            "oneOf": [{"required": ["values"]}, {"required": ["bands"]}],
        },
    ]
}
PointsOrTable = Annotated[FitPoints, PlainValidator(_fit_points), WithJsonSchema(_ONE_OF)]
