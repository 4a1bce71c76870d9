"""Grids for tests: say what a grid has, or what it has that another has not.

    a_grid(engagement="{rules: [{id: page, points: 8, on: page.viewed}]}", stages="{mql: {enter: 8}}")
    changed(GRID, {"version": 2, "engagement.rules.form.cap": 20, "stages.sql": None})

Texts are YAML, as in a grid. Any other value is written as JSON, which YAML contains.
"""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from worker.core.grid.models import Grid, parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid

GRID = """\
grid: system-test
version: 1
timezone: UTC
pages: {pricing: ["/pricing*"]}
fit:
  rules:
    - {id: business-email, points: 5, where: {email_kind: business}}
engagement:
  min: -50
  max: 80
  half_life: 5s
  rules:
    - {id: pricing-page, points: 8, on: page.viewed, where: {page_type: pricing}, intent: true}
    - {id: form, points: 15, on: form.submitted, cap: 30}
    - {id: email-open, points: 1, on: email.opened, once_per: message_id, cap: 5}
    - {id: no-show, points: -10, on: [webinar.no_show, crm.no_show]}
velocity:
  - {id: comes-back, on: page.viewed, count: days, within: 7d, steps: {2: 5}}
exclusions:
  - {id: unsubscribed, on: [email.unsubscribed]}
stages:
  mql: {enter: 15, leave: 10}
  sql: {enter: 30, leave: 20, intent_within: 30d, sla: 3s}
grades: {fit: {A: 5, B: 0}, engagement: {1: 20, 2: 0}}
"""
"""The grid of the system tests."""

WORDED = """\
grid: system-test
version: 1
timezone: Europe/Paris
hash_routes: true
pages: {pricing: ["/pricing*", "/preise-für*"]}
labels: {pricing: {en: Pricing, fr: Tarifs}}
score: {min: -40, max: 120}
groups:
  doing: {cap: 25}
  meeting: {best: true}
  being: {best: true}
fit:
  rules:
    - {id: business-email, points: 5, where: {email_kind: business}, label: Writes from work}
    - {id: role, points: {table: role, values: {cto: 6, cmo: 4}, else: 1}, group: being}
    - {id: size, points: {table: company.size, bands: [[1, -3], [10, 0], [50, 7.5]], else: -1}, group: being}
    - {id: senior, points: {table: tags, values: {vip: 4}}, where: {title: {words: [head of, chief]}}}
    - {id: no-student, points: 2, where: {tags: {not: [student]}}}
engagement:
  min: -50
  max: 80
  decay: {linear: 8s}
  rules:
    - {id: pricing-page, points: 8, on: page.viewed, where: {page_type: pricing}, once_per: [session_id, x], group: doing}
    - {id: pricing-again, points: 1, on: page.viewed, where: {page_type: pricing}, intent: true}
    - {id: form, points: 15, on: form.submitted, cap: 30, decay: {window: 4s}, group: doing}
    - {id: email-open, points: 1, on: email.opened, once_per: message_id, cap: 5, half_life: 5s}
    - {id: no-show, points: -10, on: [webinar.no_show, crm.no_show]}
    - {id: by-hand, points: 1, on: score.adjusted, weigh: {path: points, min: -30, max: 30}, half_life: none}
    - id: worth
      points: 2
      on: custom.*
      weigh: {path: worth, min: -4, max: 6, times: 0.5}
      once_per: [day, x]
      expires_after: 6s
    - id: worth-late
      points: 1.5
      on: [custom.call.*, email.subscribed]
      weigh: {path: worth, min: -4, max: 6}
      decay: {window: 3s}
    - {id: call, points: 7, on: custom.call, group: meeting, half_life: 3s}
    - {id: call-made, points: 7, on: custom.call.made, group: meeting, decay: {linear: 5s}, once_per: [lead, session_id]}
velocity:
  - {id: comes-back, on: page.viewed, count: days, within: 7d, steps: {2: 5}}
  - {id: depth, on: [page.viewed, custom.call.*], count: depth, within: 1d, steps: {2: 3, 4: 6}, label: Reads}
inactivity:
  - {after: 3s, points: -2}
  - {after: 4s, every: 2s, points: -1, min: -4}
exclusions:
  - {id: unsubscribed, on: [email.unsubscribed], until: [email.subscribed, custom.call.*]}
  - {id: competitor, where: {tags: competitor}}
stages:
  mql: {enter: 15, leave: 10, min_engagement: 5, intent_within: 20s}
  sql:
    enter: 30
    leave: 20
    min_engagement: 12
    intent_within: 30d
    sla: {within: 3s, hours: {days: mon-sun, from: "00:00", to: "24:00", off: [2020-12-25]}}
phases: {discovery: 0, consideration: {enter: 12, leave: 8}, decision: {enter: 28, leave: 20}}
grades: {fit: {A: 5, B: 0}, engagement: {1: 20, 2: 0}}
"""
"""The same with all the words by which a grid says what marketers mean, in combination."""


def a_grid(**sections: object) -> str:
    """Return a grid as YAML, made of *sections*. It is named `g` and has version 1 unless they say otherwise."""
    return "".join(_section(name, value) for name, value in ({"grid": "g", "version": 1} | sections).items())


def changed(grid: str, changes: Mapping[str, object]) -> str:
    """Return *grid* with other values at some paths.

    A path goes through keys, through the ids of rules, or through places in a list: `engagement.rules.page.cap`. Its last part
    may be new. `+` at its end adds to a list, which may be new as well. The value `None` takes away what is there.

    Raises:
        KeyError: A path leads to nothing, so the change would be none.
    """
    yaml = _yaml()
    document = yaml.load(grid)
    for path, value in changes.items():
        _change(document, path, path.split("."), value)
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue()


def parsed(grid: str) -> Grid:
    """Return *grid*, checked."""
    return parse_grid(grid, "g.yaml")


def compiled(grid: str, source: str = "/leadpulse/test") -> CompiledGrid:
    """Return *grid*, ready to score; its outputs come from *source*."""
    return CompiledGrid(parsed(grid), source)


def _section(name: str, value: object) -> str:
    text = textwrap.dedent(_text(value)).strip("\n").rstrip()
    if "\n" in text:
        return f"{name}:\n{textwrap.indent(text, '  ')}\n"
    return f"{name}: {text}\n"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _yaml() -> YAML:
    """Return what reads and writes YAML and leaves all that is not changed as it was written."""
    yaml = YAML()
    yaml.width = 10_000
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _change(node: Any, path: str, parts: list[str], value: object) -> None:
    key, rest = _key(node, parts, path)
    if rest == ["+"] and isinstance(node, dict):
        node.setdefault(key, [])
    if key == "+":
        node.append(_yaml().load(_text(value)))
    elif value is not None and not rest:
        node[key] = _yaml().load(_text(value))
    elif isinstance(node, dict) and key not in node:
        raise KeyError(f"{path}: the grid has no {key} there")
    elif rest:
        _change(node[key], path, rest, value)
    else:
        del node[key]


def _key(node: Any, parts: list[str], path: str) -> tuple[Any, list[str]]:
    """Return which part of *node* a path goes through, and what is left of the path."""
    if isinstance(node, list) and parts[0] != "+":
        return _place(node, parts[0], path), parts[1:]
    named = {str(key): key for key in node}
    for taken in range(len(parts), 0, -1):  # a trait in `where`: its own name has dots
        if (name := ".".join(parts[:taken])) in named:
            return named[name], parts[taken:]
    return _yaml().load(parts[0]), parts[1:]


def _place(items: list[Any], part: str, path: str) -> int:
    """Return where in a list the item is whose id or place is *part*."""
    for place, item in enumerate(items):
        if part == str(place) or (isinstance(item, dict) and item.get("id") == part):
            return place
    raise KeyError(f"{path}: nothing there has the id or the place {part}")
