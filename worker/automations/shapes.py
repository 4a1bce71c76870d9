"""The forms of everything below `with`: found in the model of an action's fields."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from worker.automations.targets.fields import Form


class Shape(NamedTuple):
    """The form of a field and of everything below it."""

    form: Form = Form.LINE
    below: dict[str, Shape] | None = None
    """Of a model: its fields by key. `None`: what is below has the same form."""

    def at(self, key: str) -> Shape:
        """Return the shape of the field *key* of a mapping."""
        return self if self.below is None else self.below.get(key, Shape())


def shape_of(model: type[BaseModel]) -> Shape:
    """Return the forms of the fields of *model*, by the keys that people write."""
    return Shape(below={info.alias or name: _shape(info.rebuild_annotation()) for name, info in model.model_fields.items()})


def _shape(annotation: Any) -> Shape:
    form = next((one for one in _metadata(annotation) if isinstance(one, Form)), Form.LINE)
    model = next((one for one in _types(annotation) if isinstance(one, type) and issubclass(one, BaseModel)), None)
    return Shape(form) if model is None else shape_of(model)


def _metadata(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for inner in typing.get_args(annotation):
        yield from _metadata(inner)


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in typing.get_args(annotation):
        yield from _types(inner)
