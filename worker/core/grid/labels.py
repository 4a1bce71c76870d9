"""Labels: what people call rules and page types, in one language or several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

from pydantic import PlainValidator, WithJsonSchema

from worker.core.grid.scalars import is_blank
from worker.core.grid.values import several, shown, wrong
from worker.core.grid.yaml_lines import Path

Label = Mapping[str, str]
"""Language → text. The one text of a label without languages has the empty language."""

NO_LABELS: Final[Mapping[str, str]] = {}

_CHARS: Final = 200
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class Labels(NamedTuple):
    """The labels of a grid in one language. What has none is not there."""

    rules: Mapping[str, str]
    """By id, of rules, velocities and exclusions."""
    pages: Mapping[str, str]
    """By page type."""

    def rule(self, id_: str) -> str:
        """Return what people call a rule: its label with the id behind it, or the id alone."""
        return _named(self.rules, id_)

    def page(self, page_type: str) -> str:
        """Return what people call a page type: its label with the type behind it, or the type alone."""
        return _named(self.pages, page_type)


UNLABELLED: Final = Labels(NO_LABELS, NO_LABELS)


def _named(labels: Mapping[str, str], name: str) -> str:
    return f"{labels[name]} ({name})" if name in labels else name


def in_language(labels: Mapping[str, Label | None], language: str) -> dict[str, str]:
    """Return each label in *language*, or as `said` finds it; none for what has no label."""
    return {name: text for name, label in labels.items() if (text := said(label, language)) is not None}


def said(label: Label | None, language: str) -> str | None:
    """Return a label's text in *language*, else in English, else its first; `None` without a label.

    `fr-BE` also finds what is there for `fr`.
    """
    if not label:
        return None
    for known in ("", language, language.partition("-")[0], "en"):
        if known in label:
            return label[known]
    return next(iter(label.values()))


def _label(raw: object) -> Label:
    if isinstance(raw, str):
        mistake = _wrong_text(raw)
        if mistake:
            raise wrong(mistake)
        return {"": raw}
    if not isinstance(raw, Mapping) or not raw:
        raise wrong(f"a label is a text, or texts by language as in {{en: Pricing, fr: Tarifs}}; got {shown(raw)}")
    mistakes: list[tuple[Path, str]] = []
    for language, text in raw.items():
        if not _LANGUAGE.fullmatch(language):
            mistakes.append(((language,), f"{language!r} is no language: write its code, as in en, fr or pt-BR"))
        mistake = _wrong_text(text)
        if mistake:
            mistakes.append(((language,), mistake))
    if mistakes:
        raise several(mistakes)
    return {str(language): text for language, text in raw.items()}


def _wrong_text(text: object) -> str | None:
    if not isinstance(text, str):
        return f"write a text, in quotes if it looks like something else; got {shown(text)}"
    if is_blank(text) or len(text) > _CHARS or not text.isprintable():
        return f"a label has 1 to {_CHARS} printable characters; got {shown(text)}"
    return None


_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": _CHARS},
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": f"^{_LANGUAGE.pattern}$"},
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": _CHARS},
        },
    ]
}
LabelText = Annotated[Label, PlainValidator(_label), WithJsonSchema(_SCHEMA)]
