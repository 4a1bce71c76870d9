"""A grid's bytes with the text of its model in place of that file's name.

So the bytes of a grid are enough to judge as it does. Journals, Redis and checkpoints keep nothing else. The hash of a grid
covers its model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode

from worker.core.grid.messages import GridError, Mistake
from worker.core.grid.prediction import beside, read_model_file
from worker.core.grid.yaml_lines import read_yaml


class Written(NamedTuple):
    """A grid as it stands in its files."""

    source: bytes
    model: bytes | str | None = None
    """What the file holds that its `prediction` names, or why it cannot be read; `None`: it names none."""


class Inlined(NamedTuple):
    """A grid's bytes with its model in them."""

    source: bytes
    mistakes: tuple[Mistake, ...] = ()
    """Why the model is not in them."""


@lru_cache(maxsize=8)
def model_file(source: bytes) -> str | None:
    """Return the name of the model's file that the grid *source* asks for; `None` for none, or where it holds the model."""
    if b"prediction" not in source:
        return None
    data = read_yaml(source).data
    prediction = data.get("prediction") if isinstance(data, dict) else None
    name = prediction.get("file") if isinstance(prediction, dict) and "model" not in prediction else None
    try:
        return beside(name) if isinstance(name, str) else None
    except ValueError:
        return None  # reported where the grid is read


@lru_cache(maxsize=8)
def with_model(written: Written, file: str) -> Inlined:
    """Return the grid with the text of its model in place of the file's name. *file* names the grid in mistakes."""
    source, model = written
    name = model_file(source)
    if name is None:
        return Inlined(source)
    line = read_yaml(source).line(("prediction", "file"))
    if not isinstance(model, bytes):
        why = f"the model {name} cannot be read: {model or 'it is not at hand'}; put it beside the grid"
        return Inlined(source, (Mistake(file, line, "prediction.file", why),))
    folder, slash, _ = file.rpartition("/")
    try:
        _, text = read_model_file(model, folder + slash + name)
    except GridError as err:
        return Inlined(source, tuple(err.mistakes))
    whole = _replaced(source, text)
    if whole is None:
        why = "write it in one line, as in prediction: {file: model.json}"
        return Inlined(source, (Mistake(file, line, "prediction.file", why),))
    return Inlined(whole)


def _replaced(source: bytes, model: str) -> bytes | None:
    """Return the grid with `model: TEXT` in place of `file: NAME`, all lines where they were; `None` where it does not fit."""
    text = source.decode("utf-8-sig")
    root = YAML(typ="safe", pure=True).compose(text)
    key, value = next(_entry(root, "prediction", "file"))
    start, end = key.start_mark.index, value.end_mark.index
    quoted = model.replace("'", "''")
    whole = f"{text[:start]}model: '{quoted}'{text[end:]}".encode()
    before, after = read_yaml(source).data, read_yaml(whole).data
    if not isinstance(after, dict) or "\n" in text[start:end]:
        return None
    aim = {**before, "prediction": {"model": model, **{k: v for k, v in before["prediction"].items() if k != "file"}}}
    return whole if repr(_sorted(after)) == repr(_sorted(aim)) else None


def _sorted(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(sorted(value.items())) if name == "prediction" else value for name, value in data.items()}


def _entry(node: Any, *path: str) -> Iterator[tuple[ScalarNode, ScalarNode]]:
    for key, value in node.value if isinstance(node, MappingNode) else ():
        if key.value == path[0]:
            if len(path) == 1:
                yield key, value
            else:
                yield from _entry(value, *path[1:])
