"""A grid of fit tables from scratch, for a table of columns: a rule for each column that is worth points."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from worker.core.grid.lint import lint
from worker.core.grid.models import parse_grid
from worker.learning.bins import Attribute, number_of
from worker.learning.points import FieldPoints
from worker.learning.thresholds import Threshold

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_/()& -]*[A-Za-z0-9)]|[A-Za-z]")
_RESERVED: Final = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_ID_CHARS: Final = 90
_CURLY: Final = "“”„‟«»‹›‘’‚‛"
"""Quotes of word processors, which `grid check` warns of."""

Comment = Callable[[str, Attribute], str]
"""Of an attribute of a field: the words beside its points."""


def can_be_named(name: str) -> bool:
    """Return whether a grid can ask for a trait of this name: parts between dots are not empty, nor in curly quotes."""
    return all(name.split(".")) and not name.isspace() and name[0] not in _CURLY and name[-1] not in _CURLY


def text(value: str) -> str:
    """Return a text as YAML holds it without a doubt: in quotes, unless it is plainly a word or words."""
    if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    quoted: str = DoubleQuotedScalarString(value)
    return quoted


def identifier(name: str, taken: set[str]) -> str:
    """Return an id for a rule: a column's name without `:`, `/` and what cannot be printed. No other rule has it."""
    base = "".join("-" if one in ":/" or not one.isprintable() else one for one in name if one not in _CURLY)
    base = " ".join(base.split())[:_ID_CHARS].strip() or "column"
    found, number = base, 2
    while found in taken:
        found, number = f"{base} {number}", number + 1
    taken.add(found)
    return found


def fresh_grid(
    name: str, fields: Sequence[FieldPoints], rungs: Mapping[str, Threshold], comment: Comment, heading: Sequence[str]
) -> bytes:
    """Return the text of a grid. `grid check` passes it without warnings; *heading* are the comments at its top."""
    taken: set[str] = set()
    rules: list[CommentedMap] = []
    traits: list[str] = []
    for one in fields:
        if one.points.any():
            rules += _rules(one, taken, comment)
            traits.append(one.field.name)
    grid = CommentedMap({"grid": text(identifier(name, set())), "version": 1})
    grid["traits"] = CommentedSeq([text(trait) for trait in traits])
    grid["fit"] = CommentedMap({"rules": CommentedSeq(rules)})
    grid["stages"] = CommentedMap(
        {rung: CommentedMap({"enter": _number(t.enter), "leave": _number(t.leave)}) for rung, t in rungs.items()}
    )
    yaml = YAML()
    yaml.width = 100_000
    yaml.allow_unicode = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(grid, out)
    head = "".join(f"# {line}\n" for line in heading)
    return (head + "\n" + out.getvalue()).encode()


def _rules(one: FieldPoints, taken: set[str], comment: Comment) -> list[CommentedMap]:
    """Return the rules of a field: a table for its values or ranges, and others for blanks and for texts like operators."""
    field = one.field
    worth = dict(zip(field.attributes, one.points.tolist(), strict=True))
    table, apart = _table(field.name, worth, comment)
    found = [] if table is None else [CommentedMap({"id": text(identifier(field.name, taken)), "points": table})]
    for attribute, where in apart:
        if worth[attribute]:
            found.append(_alone(field.name, attribute, where, worth[attribute], taken, comment))
    return found


def _alone(
    name: str, attribute: Attribute, where: dict[str, Any], points: float, taken: set[str], comment: Comment
) -> CommentedMap:
    title = "unknown" if attribute.kind == "blank" else attribute.name
    rule = CommentedMap({"id": text(identifier(f"{name} = {title}", taken))})
    rule["points"] = _number(points)
    rule["where"] = CommentedMap({text(name): CommentedMap(where)})
    rule.yaml_add_eol_comment(comment(name, attribute), "points", column=0)
    return rule


def _table(
    name: str, worth: Mapping[Attribute, float], comment: Comment
) -> tuple[CommentedMap | None, list[tuple[Attribute, dict[str, Any]]]]:
    """Return the table of a field's values or ranges, and the attributes that need a rule of their own, with their `where`."""
    apart: list[tuple[Attribute, dict[str, Any]]] = []
    rows: list[tuple[Any, Attribute]] = []
    others = 0.0
    for attribute in worth:
        if attribute.kind == "blank":
            apart.append((attribute, {"exists": False}))
        elif attribute.kind == "other":
            others = worth[attribute]
        elif attribute.kind == "range":
            rows.append((attribute.low, attribute))
        elif looks_like_operator(attribute.values[0]):
            apart.append((attribute, {"matches": DoubleQuotedScalarString(_pattern(attribute.values[0]))}))
        else:
            rows += [(key, attribute) for key in _keys(attribute.values[0], worth)]
    ranged = any(attribute.kind == "range" for _, attribute in rows)
    told = [(key, attribute) for key, attribute in rows if worth[attribute] or others or ranged]
    if not told or (not any(worth[attribute] for _, attribute in rows) and not others):
        return None, apart
    table = CommentedMap({"table": text(name)})
    table["bands" if ranged else "values"] = (
        _bands(name, told, worth, comment) if ranged else _values(name, told, worth, comment)
    )
    if others:
        table["else"] = _number(others)
    return table, apart


def _values(
    name: str, rows: Sequence[tuple[Any, Attribute]], worth: Mapping[Attribute, float], comment: Comment
) -> CommentedMap:
    values = CommentedMap()
    for key, attribute in rows:
        values[key] = _number(worth[attribute])
        values.yaml_add_eol_comment(comment(name, attribute), key, column=0)
    return values


def _bands(
    name: str, rows: Sequence[tuple[Any, Attribute]], worth: Mapping[Attribute, float], comment: Comment
) -> CommentedSeq:
    """Return pairs of a floor and points. Neighbours with the same points are one band."""
    bands = CommentedSeq()
    for i, (low, attribute) in enumerate(rows):
        pair = CommentedSeq([_number(min(low, 0.0) if i == 0 else low), _number(worth[attribute])])
        pair.fa.set_flow_style()
        bands.append(pair)
        bands.yaml_add_eol_comment(comment(name, attribute), len(bands) - 1, column=0)
    return bands


def _keys(value: str, worth: Mapping[Attribute, float]) -> list[Any]:
    """Return the keys that meet a text of the file, whether a source sends it as a text, a number, or true or false.

    A number in a grid also meets texts such as `01` and `1.0`, so it stands only where no other value is the same number.
    """
    others = [one.values[0] for one in worth if one.kind == "value" and one.values[0] != value]
    if value.lower() in ("true", "false") and value not in ("true", "false"):
        truth = value.lower() == "true"
        return [text(value)] if value.lower() in map(str.lower, others) else [text(value), truth]
    if re.fullmatch(r"0|-?[1-9][0-9]{0,14}", value) and number_of(value) not in map(number_of, others):
        return [int(value)]
    return [text(value)]


def _pattern(value: str) -> str:
    """Return a regular expression that this text alone meets, without a quote that a word processor would make."""
    escaped = re.escape(value)
    return "^" + "".join(one if one.isascii() else f"\\u{ord(one):04x}" for one in escaped if ord(one) < 0x10000) + "$"


def looks_like_operator(value: str) -> bool:
    """Return whether `grid check` would warn of a text in a table, as of `>50` or `FR or BE`."""
    yaml = f"grid: g\nversion: 1\nfit: {{rules: [{{id: a, points: {{table: t, values: {{{_quoted(value)}: -1}}}}}}]}}\n"
    yaml += "stages: {sql: {enter: 75}}\n"
    return any(found.code in ("operator-in-text", "curly-quotes") for found in lint(parse_grid(yaml, "value")))


def _quoted(value: str) -> str:
    out = io.StringIO()
    yaml = YAML()
    yaml.width = 100_000
    yaml.dump([DoubleQuotedScalarString(value)], out)
    return out.getvalue().strip().removeprefix("- ")


def _number(value: float) -> int | float:
    """Return a number as YAML should show it."""
    return int(value) if np.isfinite(value) and float(value).is_integer() else float(value)
