"""docs/automations.md against the models: every key, default, name, filter and action."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from ops.dev import actions
from ops.dev.map import section_of
from tests.kit.rules import rules_of
from worker.automations import models
from worker.automations.helpers import FILTERS
from worker.automations.names import KNOWN, known_names
from worker.automations.targets.registry import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "automations.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SECTIONS: list[tuple[str, int, type[BaseModel]]] = [
    ("Top-level keys", 0, models.Automations),
    ("`acts`", 0, models.ActRule),
    ("`sync`", 0, models.Sync),
    ("`owners`", 0, models.Owners),
    ("`nurture`", 0, models.Nurture),
    ("`nurture`", 1, models.Content),
]


def section(title: str) -> str:
    """Return the text below a heading."""
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def tables(text: str) -> list[dict[str, list[str]]]:
    """Return each table as rows by their first cell, without its head."""
    found: list[dict[str, list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in block.splitlines()]
        found.append({line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines[2:]})
    return found


@pytest.mark.parametrize(("title", "number", "model"), SECTIONS, ids=lambda one: getattr(one, "__name__", str(one)))
def test_every_key_has_a_row_with_its_default(title: str, number: int, model: type[BaseModel]) -> None:
    """`required` exactly where the key is; a default that one could write is the default."""
    table = tables(section(title))[number]
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    assert {key.strip("`") for key in table} == set(fields)
    for key, info in fields.items():
        shown = table[f"`{key}`"][0].strip("`")
        assert (shown == "required") == info.is_required(), key
        if info.is_required():
            continue
        default = info.get_default(call_default_factory=True)
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        types = ", ".join(default) if isinstance(default, tuple) and "default" not in extra else default
        written = extra.get("default", types)
        assert shown == ("none" if written in (None, "", {}) else written), key


def test_every_example_is_sound(tmp_path: Path) -> None:
    """Each is checked whole, with templates that are there."""
    for name in ("appointment", "case-study", "webinar"):
        (tmp_path / f"{name}.html.j2").write_text("<p>Hello</p>")
    for text in EXAMPLES:
        rules_of(text, tmp_path)
    assert set(re.findall(r"^(\w+):", "\n".join(EXAMPLES), re.MULTILINE)) == set(models.Automations.model_fields)


def test_every_type_that_cancels_is_named() -> None:
    """Outputs are those of another page."""
    named = set(re.findall(r"`((?:crm|email)\.\w+)`", section("`acts`")))
    assert named == set(models.CANCEL_TYPES) - set(models.ON_TYPES)


def test_every_name_and_filter_has_a_row() -> None:
    """Of changes of stage and phase in the table; of the others below it."""
    names, filters, _ = tables(section("Templates"))
    shown = {name for cell in names for name in re.findall(r"`(\w+)`", cell)}
    assert shown == known_names(("lead.sql",))
    others = {name for payload in ("duplicate", "account") for name in KNOWN[payload]} - shown
    assert {name for name in others if f"`{name}`" not in section("Templates")} <= {"account_id"}
    assert {cell.strip("`") for cell in filters} == set(FILTERS)


def test_the_tables_of_actions_are_those_of_the_targets() -> None:
    """`make docs` writes them. Each key says what it means."""
    assert section_of(PAGE, actions.NAME) == actions.written(), "write it anew: make docs"
    for kind in KINDS.values():
        assert set(kind.actions) == set(kind.fields), kind.name
        for do, model in kind.fields.items():
            assert [name for name, info in model.model_fields.items() if not info.description] == [], (kind.name, do)


def test_a_default_of_ours_is_as_the_models_have_it() -> None:
    """Where the page says it in words."""
    assert models.duration_text(models.DEFAULT_FRESH_MS) == "1d"
    assert models.DEFAULT_MAX == (200, 3_600_000)
