"""One reader of the files that people write: whoever adds a file gets the same steps and the same words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.grid.messages import Mistake
from worker.core.grid.model_base import Model
from worker.core.grid.yaml_lines import Document, Path
from worker.core.grid.yaml_model import mistakes, read_model


class Lists(Model):
    """A file that may be empty."""

    names: tuple[str, ...] = ()


class Named(Model):
    """A file that must say something."""

    name: str
    size: int = 1


class Wrong(Exception):
    """The mistakes of a file, in its text."""

    def __init__(self, found: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, found)))


def named(source: bytes) -> tuple[Named, Document]:
    """Read a file of `Named`, of which *across* says that a size of 13 is wrong."""

    def across(data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
        if data.get("size") == 13:
            yield ("size",), "write another size"

    return read_model(source, "f.yaml", Named, shape="a mapping with `name`", error=Wrong, across=across)


@pytest.mark.parametrize("source", [b"", b" \n", b"# nothing yet\n", b"---\n", b"\xef\xbb\xbf"])
def test_a_file_without_content_is_an_empty_mapping_where_all_has_defaults(source: bytes) -> None:
    """A comment counts as nothing: it must not be another kind of file than one without bytes."""
    made, document = read_model(source, "f.yaml", Lists, shape="a mapping", error=Wrong)
    assert (made.names, document.line(("names",)) > 0) == ((), True)
    with pytest.raises(Wrong) as error:
        named(source)
    assert str(error.value) == "f.yaml:1: the file is empty: write a mapping with `name`"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (b"- a", ["f.yaml:1: write a mapping with `name`; got a list"]),
        (b"name: [", ["f.yaml:1: not YAML: "]),
        (b"a: " + b"x" * 1_000_001, ["f.yaml:1: 1,000,004 bytes are too many: at most 1,000,000 are read"]),
        (b"size: x\nsize: 13\n", ["f.yaml:1: size: write a whole number", "f.yaml:1: name: ", "f.yaml:2: size: duplicate key"]),
        (
            b"nam: x\nsize: 13\n",
            ["f.yaml:1: nam: unknown key 'nam'", "f.yaml:1: name: `name` is", "f.yaml:2: size: write another"],
        ),
        (b"name: !x a\n", ["f.yaml:1: name: the tag !x means nothing here"]),
        (b'name: x\n"a\\e[2Jb": 1\n', ["f.yaml:2: "]),
    ],
)
def test_every_mistake_is_named_by_line_in_the_words_of_the_file(source: bytes, lines: list[str]) -> None:
    """Mistakes of YAML, of the model and of the data as a whole stand together, and none speaks of a grid."""
    with pytest.raises(Wrong) as error:
        named(source)
    found = str(error.value).splitlines()
    assert len(found) == len(lines), found
    assert all(any(line.startswith(start) for line in found) for start in lines), found
    assert "grid" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_mistake_found_twice_is_named_once() -> None:
    """By line, then in the order in which they were found."""
    found = [(2, ("b",), "x"), (1, ("a", 0), "z"), (1, ("a", 0), "y"), (2, ("b",), "x")]
    assert [str(one) for one in mistakes(found, "f")] == ["f:1: a[0]: z", "f:1: a[0]: y", "f:2: b: x"]


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever the file holds is a model, or the error that the caller named."""
    try:
        named(text.encode())
    except Wrong:
        return
