"""A file that people write in YAML, read and checked whole by a model: a grid, a map of columns, connections, automations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from worker.core.contract.printable import plain
from worker.core.grid.messages import Mistake, shown_path, told
from worker.core.grid.values import shown
from worker.core.grid.yaml_lines import Document, Path, read_yaml

M = TypeVar("M", bound=BaseModel)
Found = tuple[int, Path, str]
"""A mistake: its line, its path, and what to do."""

Told = Iterable[tuple[Path, str]]
"""Mistakes by path, with what to do."""


def read_model(
    source: bytes,
    file: str,
    model: type[M],
    *,
    shape: str,
    error: Callable[[list[Mistake]], Exception],
    words: Callable[[ValidationError, dict[str, Any]], Told] | None = None,
    across: Callable[[dict[str, Any]], Told] | None = None,
) -> tuple[M, Document]:
    """Return the *model* that the YAML *source* holds, and the document with the lines of its parts.

    *file* names the file in mistakes. *shape* says what the file holds, as in "a mapping that begins with `subject: COLUMN`".
    A file without content is an empty mapping, if the model has a default for everything.
    *words* replaces `told`, which words the mistakes that the model finds. *across* yields mistakes of the plain data, which it
    also reads where the model finds mistakes. Raises *error* with every mistake, by line.
    """
    document = read_yaml(source)
    found: list[Found] = list(document.mistakes)
    made: M | None = None
    empty = document.data is None
    if document.lines and (empty or isinstance(document.data, dict)):
        data = document.data or {}
        try:
            made = model.model_validate(data)
        except ValidationError as err:
            if empty:
                raise error([Mistake(file, 1, "", f"the file is empty: write {shape}")]) from None
            told_of = told(err, model) if words is None else words(err, data)
            found += ((document.line(path), path, message) for path, message in told_of)
        if across is not None:
            found += ((document.line(path), path, message) for path, message in across(data))
    elif document.lines:
        found.append((1, (), f"write {shape}; got {shown(document.data)}"))
    if made is None or found:
        raise error(mistakes(found, file))
    return made, document


def mistakes(found: Iterable[Found], file: str) -> list[Mistake]:
    """Return what was *found* by line, in the order found within one. The same mistake is reported once."""
    unique = dict.fromkeys(sorted(found, key=lambda one: one[0]))
    return [Mistake(file, line, shown_path(path), plain(message)) for line, path, message in unique]
