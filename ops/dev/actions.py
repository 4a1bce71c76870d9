"""The keys of each target's actions in `docs/automations.md`: `python -m ops.dev.actions` writes them from the models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ops.dev.map import REPOSITORY, with_section
from worker.automations.shapes import Shape, shape_of
from worker.automations.targets.fields import Form
from worker.automations.targets.registry import KINDS

PAGE: Final[Path] = REPOSITORY / "docs" / "automations.md"
NAME: Final = "actions"

_FORMS: Final = {
    Form.LINE: "a line",
    Form.TEXT: "plain text",
    Form.HTML: "HTML",
    Form.SLACK: "Slack's text",
    Form.TEMPLATE: "a file of HTML",
    Form.DOCUMENT: "a document",
}


def written() -> str:
    """Return the section: a heading and a table for each action, or a line for one without keys."""
    return "\n\n".join(part for kind in sorted(KINDS) for part in _kind(kind))


def _kind(name: str) -> Iterator[str]:
    kind = KINDS[name]
    can = [f"`{do}`" for do in kind.fields] + (["`sync`"] if kind.write is not None else [])
    yield f"### `{name}`"
    yield f"It takes {_and(can)}." + (" With `forget: true` it deletes erased leads." if kind.forget is not None else "")
    for do, model in kind.fields.items():
        if model.model_fields:
            yield f"`{do}`:"
            yield "\n".join(_table(model))
        else:
            yield f"`{do}` has no keys." + (" It sends the output itself." if do in kind.whole else "")


def _and(words: list[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _table(model: type[BaseModel]) -> Iterator[str]:
    shape = shape_of(model)
    yield "| key | default | form | meaning |"
    yield "|---|---|---|---|"
    for name, info in model.model_fields.items():
        key = info.alias or name
        meaning = " ".join((info.description or "").split()).replace("|", "\\|")
        yield f"| `{key}` | {_default(info)} | {_form(shape.at(key), info)} | {meaning} |"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    default: Any = info.get_default(call_default_factory=True)
    if default is None or default in ("", (), [], {}):
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _form(shape: Shape, info: FieldInfo) -> str:
    return _FORMS[shape.form] if shape.below is None and "str" in str(info.annotation) else "a value"


def main() -> int:
    """Write the section into the page; return the exit code."""
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), NAME, written()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
