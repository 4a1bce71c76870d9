"""docs/grid.md, the reference of the grid language, against the models: every key, default, operator and event type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tests.kit.models import a_model, as_file
from worker.core.contract.event_types import CUSTOM, DATA_FIELDS
from worker.core.grid import counting, models, prediction, stage_models
from worker.core.grid.conditions import OPERATORS
from worker.core.grid.email_kind import EmailKind

PAGE = (Path(__file__).parents[2] / "docs" / "grid.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def section(title: str) -> str:
    """Return what stands below a heading."""
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def tables(text: str) -> list[dict[str, list[str]]]:
    """Return each table as rows by their first cell, without its head."""
    found: list[dict[str, list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in block.splitlines()]
        found.append({line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines[2:]})
    return found


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model by the names that a grid's author writes."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


SECTIONS: list[tuple[str, int, type[BaseModel]]] = [
    ("Top-level keys", 0, models.GridFile),
    ("`fit`", 0, models.Fit),
    ("`fit`", 1, models.FitRule),
    ("`engagement`", 0, models.Engagement),
    ("`engagement`", 1, models.Rule),
    ("`weigh`", 0, counting.Weigh),
    ("`decay`", 0, counting.Decay),
    ("`groups`", 0, counting.Group),
    ("`velocity`", 0, models.Velocity),
    ("`inactivity`", 0, models.Inactivity),
    ("`exclusions`", 0, models.Exclusion),
    ("`stages`", 0, stage_models.Stages),
    ("`stages`", 1, stage_models.Rung),
    ("`stages`", 2, stage_models.Sla),
    ("`stages`", 3, stage_models.Hours),
    ("`phases`", 0, stage_models.Phase),
    ("`explore`", 0, stage_models.Explore),
    ("`grades`", 0, models.Grades),
    ("`mail`", 0, models.GridFile.model_fields["mail"].annotation),  # type: ignore[list-item]  # a model of its own
    ("`identity`", 0, models.Identity),
    ("`accounts`", 0, models.Accounts),
    ("`prediction`", 0, prediction.Prediction),
    ("`prediction`", 1, prediction.PredictionModel),
]


@pytest.mark.parametrize(("title", "number", "model"), SECTIONS, ids=lambda one: getattr(one, "__name__", str(one)))
def test_every_key_has_a_row(title: str, number: int, model: type[BaseModel]) -> None:
    """In the order of the models, with `required` exactly where the key is."""
    table = tables(section(title))[number]
    assert {key.strip("`") for key in table} == set(keys_of(model))
    for key, info in keys_of(model).items():
        assert (table[f"`{key}`"][0] == "required") == info.is_required(), key


@pytest.mark.parametrize(("title", "number", "model"), SECTIONS, ids=lambda one: getattr(one, "__name__", str(one)))
def test_defaults_in_code_style_are_those_of_the_models(title: str, number: int, model: type[BaseModel]) -> None:
    """A default written as code is a value that one could write, and leaving the key out is the same."""
    shown = {"none": None, "false": False}
    for key, cells in tables(section(title))[number].items():
        default = re.fullmatch(r"`([^`]+)`", cells[0])
        if default is None:
            continue
        value: Any = shown.get(default[1], default[1])
        if isinstance(value, str) and re.fullmatch(r"[0-9.]+", value):
            value = float(value)
        assert keys_of(model)[key.strip("`")].default == value, key


def test_every_example_is_a_grid_or_part_of_one() -> None:
    """Each is checked whole; a part is checked below a grid's two required keys."""
    for text in EXAMPLES:
        whole = text if text.startswith("grid:") else f"grid: example\nversion: 1\n{text}"
        if text.startswith("explore:"):
            whole += "stages: {sql: {enter: 75}}\n"
        of_example = re.sub("^prediction: .*", "", whole, flags=re.MULTILINE)
        models.parse_grid(whole, "docs/grid.md", as_file(a_model(models.parse_grid(of_example, "docs/grid.md"))))
    assert len(EXAMPLES) > 15


def test_every_top_level_key_has_an_example() -> None:
    """Nobody learns a language from tables alone."""
    shown = set(re.findall(r"^(\w+):", "\n".join(EXAMPLES), re.MULTILINE))
    assert set(keys_of(models.GridFile)) - shown == {"score"}


def test_every_operator_has_a_row_with_an_example() -> None:
    """`eq` and `in` stand beside what is written in their place."""
    table = tables(section("`where`"))[0]
    assert {word for cell in table for word in re.findall(r"`(\w+)`", cell)} == set(OPERATORS)
    for cells in table.values():
        example = cells[-1].strip("`")
        models.parse_grid(
            f"grid: example\nversion: 1\nfit:\n  rules:\n    - id: one\n      points: 1\n      where:\n        {example}\n",
            "row",
        )


def test_every_way_to_count_has_a_row() -> None:
    """Of velocity."""
    kinds = get_args(models.Velocity.model_fields["count"].annotation)
    assert {cell.strip("`") for cell in tables(section("`velocity`"))[1]} == set(kinds)


def test_every_event_type_has_its_fields() -> None:
    """Required fields are bold; `machine`, which all have, is said once."""
    shown: dict[str, set[str]] = {}
    bold: dict[str, set[str]] = {}
    for types, (fields,) in tables(section("Event types"))[0].items():
        for name in re.findall(r"`([\w.]+)`", types.replace("custom.NAME", CUSTOM)):
            shown[name] = set(re.findall(r"`(\w+)`", fields))
            bold[name] = set(re.findall(r"\*\*`(\w+)`\*\*", fields))
    assert shown == {name: set(fields) - {"machine"} for name, fields in DATA_FIELDS.items()}
    assert bold == {name: {key for key, field in fields.items() if field.required} for name, fields in DATA_FIELDS.items()}


def test_every_kind_of_address_is_named() -> None:
    """Of the derived trait `email_kind`."""
    (row,) = tables(section("Traits"))[1]["`email_kind`"]
    assert set(re.findall(r"`(\w+)`", row)) == set(get_args(EmailKind))
