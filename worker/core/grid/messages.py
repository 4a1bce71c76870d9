"""Mistakes in a grid, each with its file, line and path, and what to do."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from worker.core.contract.errors import LeadPulseError
from worker.core.contract.printable import plain
from worker.core.grid.values import did_you_mean, shown
from worker.core.grid.yaml_lines import Path


class Mistake(NamedTuple):
    """One thing wrong with a grid, where it is, and what to do."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file  # 0: the file as a whole
        return f"{place}: {self.path + ': ' if self.path else ''}{self.message}"


class GridError(LeadPulseError):
    """A grid that cannot be used; its text is one line a mistake."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


def shown_path(path: Path) -> str:
    """Return a path as people write it: `engagement.rules[3].half_life`."""
    return plain("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix("."))


def told(err: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Path, str]]:
    """Yield pydantic's errors about *model* in the words of the grid, with the paths as written."""
    for error in err.errors(include_url=False):
        path = tuple(part for part in error["loc"] if part != "[key]")  # a mapping's key stands at its own line
        if error["type"] == "grid":
            for inner, message in error["ctx"]["mistakes"]:
                yield (*path, *inner), message
        else:
            yield path, _message(error, model)


def _message(error: ErrorDetails, root: type[BaseModel]) -> str:
    got = shown(error["input"])
    match error["type"]:
        case "missing":
            return f"`{error['loc'][-1]}` is missing: add it"
        case "extra_forbidden":
            known = _keys(_model_at(root, error["loc"][:-1]))
            key = str(error["loc"][-1])
            keys = f"the keys here are {', '.join(known)}" if known else "there are no keys here, so take it out"
            return f"unknown key {key!r}{did_you_mean(key, known)}; {keys}"
        case "string_type":
            return f'write a word, in quotes if it looks like something else, as in "404"; got {got}'
        case "int_type" | "int_from_float":
            return f"write a whole number; got {got}"
        case "bool_type":
            return f"write true or false; got {got}"
        case "tuple_type":
            return f"write a list; got {got}"
        case "model_type" | "model_attributes_type":
            keys = ", ".join(_keys(_model_at(root, error["loc"])))
            return f"write a mapping (key: value), with keys of {keys}; got {got}"
        case "dict_type":
            return f"write a mapping (key: value); got {got}"
        case "literal_error":
            expected = error["ctx"]["expected"]
            return f"write {expected}; got {got}"
        case kind if kind.startswith(("datetime", "timezone")):
            return f"write an instant with its zone, as in 2026-12-01T09:00:00Z; got {got}"
        case _:
            return f"{error['msg']}; got {got}"


def _keys(model: type[BaseModel]) -> list[str]:
    """Return the keys of *model*, as the grid writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_at(root: type[BaseModel], path: Path) -> type[BaseModel]:
    """Return the model, below *root*, that describes the mapping at *path*."""
    model = root
    for part in path:
        for name, info in model.model_fields.items():
            if part in (name, info.alias):
                model = next(_models_in(info.annotation), model)  # a name of the author may be a key too
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)
