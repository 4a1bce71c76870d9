"""What stands under a rule's `with`, compiled once and written out for each lead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError

from worker.automations.html_text import plain_of
from worker.automations.shapes import Shape, shape_of
from worker.automations.targets.fields import Form
from worker.automations.templates import CannotWrite, Templates
from worker.core.grid.messages import shown_path, told
from worker.core.grid.yaml_lines import Path

Names = Mapping[str, Any]
Write = Callable[[Names], Any]


def texts_in(value: Any, shape: Shape, path: Path = ()) -> Iterator[tuple[Path, str, Form]]:
    """Yield each text below *value*, with its place and its form."""
    match value:
        case str():
            yield path, value, shape.form
        case Mapping():
            for key, inner in value.items():
                yield from texts_in(inner, shape.at(key), (*path, key))
        case tuple() | list():
            for number, inner in enumerate(value):
                yield from texts_in(inner, shape, (*path, number))
        case _:
            return


def is_template(value: Any) -> bool:
    """Return whether a text at or below *value* depends on the lead."""
    match value:
        case str():
            return any(mark in value for mark in ("{{", "{%", "{#"))
        case Mapping():
            return any(map(is_template, value.values()))
        case tuple() | list():
            return any(map(is_template, value))
        case _:
            return False


class Writer:
    """Writes the fields of one action. Raises `TemplateMistake` when it is made."""

    def __init__(
        self, raw: Mapping[str, Any], model: type[BaseModel], templates: Templates, documents: FilePath | None
    ) -> None:
        self._model = model
        self._shape = shape_of(model)
        self._documents = documents
        self._write = _compile(raw, self._shape, templates, ())

    def write(self, names: Names) -> dict[str, Any]:
        """Return the fields for the lead of *names*, which the action's model can read. Raises `CannotWrite`."""
        fields = _with_files(self._write(names), self._model.model_fields)
        try:
            self._model.model_validate(fields, strict=False)
        except ValidationError as error:
            mistakes = (f"with.{shown_path(path)}: {message}" for path, message in told(error, self._model))
            raise CannotWrite("; ".join(mistakes)) from error
        for path, name, form in texts_in(fields, self._shape):
            if form is Form.DOCUMENT:
                document_path(self._documents, name, f"with.{shown_path(path)}")
        return fields


class _Mail:
    """A file of HTML, written out: it becomes three fields."""

    def __init__(self, html: str) -> None:
        self.html = html


def _compile(value: Any, shape: Shape, templates: Templates, path: Path) -> Write:
    match value:
        case str():
            return _text(value, shape.form, templates, path)
        case Mapping():
            inner = {key: _compile(one, shape.at(key), templates, (*path, key)) for key, one in value.items()}
            return lambda names: {key: write(names) for key, write in inner.items()}
        case tuple() | list():
            items = [_compile(one, shape, templates, (*path, number)) for number, one in enumerate(value)]
            return lambda names: [write(names) for write in items]
        case _:
            return lambda _: value


def _text(text: str, form: Form, templates: Templates, path: Path) -> Write:
    if form is Form.TEMPLATE:
        page = templates.file(text)
        return lambda names: _Mail(_placed(page, names, path))
    write = templates.text(text, form)
    return lambda names: _placed(write, names, path)


def _placed(write: Callable[[Names], str], names: Names, path: Path) -> str:
    try:
        return write(names)
    except CannotWrite as error:
        raise CannotWrite(f"with.{shown_path(path)}: {error}") from error


def _with_files(fields: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return *fields* with a file as HTML in place of its name. The text and the subject of HTML are added where they lack."""
    rest = {key: value for key, value in fields.items() if not isinstance(value, _Mail)}
    html = next((value.html for value in fields.values() if isinstance(value, _Mail)), rest.get("html"))
    if isinstance(html, str):
        rest["html"] = html
        missing = [key for key in ("text", "subject") if key in known and key not in rest]
        made = plain_of(html)._asdict() if missing else {}
        rest.update({key: made[key] for key in missing})
    return rest


def document_path(folder: FilePath | None, name: str, place: str = "document") -> FilePath:
    """Return the file of the document *name* below *folder*. Raises `CannotWrite` if it is outside, or not there."""
    if folder is None:
        raise CannotWrite(f"{place}: LEADPULSE_DOCUMENTS is not set: it names the folder of documents")
    try:
        root = folder.resolve()
        found = (root / name).resolve()
        inside = found.is_relative_to(root) and found != root
        there = inside and found.is_file()
    except (OSError, ValueError) as error:
        raise CannotWrite(f"{place}: {name[:200]!r} is no name of a file: {error}") from error
    if not inside:
        raise CannotWrite(f"{place}: {name[:200]!r} is outside of LEADPULSE_DOCUMENTS: write a name below it")
    if not there:
        raise CannotWrite(f"{place}: there is no file {name[:200]!r} in LEADPULSE_DOCUMENTS")
    return found
