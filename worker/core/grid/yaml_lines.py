"""YAML 1.2 text to plain data, with the line of everything in it.

Scalars follow the core schema of YAML 1.2 and nothing more. Only `true` and `false` are booleans. A bare `on` is a word, and so
is the country `NO`. A date is a string. `ruamel.yaml` reads the syntax, and values are made here. Its own constructors stop at
the first duplicate key, and know more kinds of scalars than the core schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]

MAX_BYTES: Final = 1_000_000
MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 50

_INT: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CORE: Final = "tag:yaml.org,2002:"


@dataclass
class Document:
    """Plain data (dicts with text keys, tuples, scalars), the lines of its parts, and what is wrong with the text.

    Without `lines` nothing could be read, and `mistakes` says why. A file without content is `None`, without a mistake.
    """

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    mistakes: list[tuple[int, Path, str]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Return the line, from 1, of the part at *path*, or of the closest part around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


_NO_KEY: Final = "a key must be a word, not a list or a mapping: put a text that begins with a brace in quotes"


class _Key(str):
    """A key that is another scalar than text, as in `{80: 5}`: `scalar` is that number, boolean or null."""

    scalar: Any


def as_scalar(key: str) -> Any:
    """Return the scalar that a key of a mapping is in the file: `80` is a number there, and `"80"` a text."""
    return key.scalar if isinstance(key, _Key) else key


class _TooMuch(Exception):
    pass


def read_yaml(source: bytes) -> Document:
    """Read one YAML document. Mistakes in the text (syntax, duplicate keys, tags) are in `mistakes`, not raised."""
    document = Document()

    def refuse(line: int, message: str) -> Document:
        document.mistakes.append((line, (), message))
        return document

    if len(source) > MAX_BYTES:
        return refuse(1, f"{len(source):,} bytes are too many: at most {MAX_BYTES:,} are read, leave out what repeats")
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        return refuse(source.count(b"\n", 0, err.start) + 1, f"not UTF-8 at byte {err.start}: save the file as UTF-8")
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        what = " ".join(filter(None, (err.context, err.problem)))
        remedy = "; indent with spaces, not with tabs" if "'\\t'" in what else ""
        return refuse(mark.line + 1 if mark else 1, f"not YAML: {what}{remedy}")
    except (YAMLError, ValueError) as err:
        return refuse(1, f"not YAML: {' '.join(str(err).split())}")
    except RecursionError:
        return refuse(1, f"nested deeper than {MAX_DEPTH} levels: write it flatter")
    if root is None:
        document.lines[()] = 1
        return document
    try:
        document.data = _Builder(document).build(root, ())
    except _TooMuch as err:
        document.lines.clear()
        return refuse(1, str(err))
    return document


class _Builder:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = 0

    def build(self, node: Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:  # aliases are expanded, so this also ends a "billion laughs"
            raise _TooMuch(f"more than {MAX_NODES:,} values once aliases are expanded: write the file without them")
        if len(path) > MAX_DEPTH:
            raise _TooMuch(f"nested deeper than {MAX_DEPTH} levels (or an alias inside itself): write it flatter")
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            self._known_tag(node, "seq", path)
            return tuple(self.build(item, (*path, i)) for i, item in enumerate(node.value))
        assert isinstance(node, ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        self._known_tag(node, "map", path)
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._document.mistakes.append((line, path, _NO_KEY))
                continue
            key: str = key_node.value
            if key == "<<" and key_node.style is None:
                self._document.mistakes.append((line, (*path, key), "YAML 1.2 has no merge keys: write the keys out"))
                continue
            if key in out:
                first = self._document.lines[(*path, key)]
                self._document.mistakes.append((line, (*path, key), f"duplicate key, first given on line {first}: keep one"))
                continue
            self._document.lines[(*path, key)] = line
            scalar = key if key_node.style is not None else _plain(key)
            if not isinstance(scalar, str):
                key = _Key(key)
                key.scalar = scalar
            out[key] = self.build(value_node, (*path, key))
        return out

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        text: str = node.value
        tag = str(node.tag)
        if node.style is not None or tag == _CORE + "str":
            self._known_tag(node, "str", path)
            return text
        if tag.removeprefix(_CORE) not in ("null", "bool", "int", "float", "timestamp", "value", "merge"):
            self._known_tag(node, "str", path)
            return text
        # ruamel resolves more than the core schema (1_000, 0b1, dates): what it took for something else is a word again.
        if text.lower() in ("true", "false") and text not in ("true", "false"):
            line = node.start_mark.line + 1
            message = f"write {text.lower()} in lower case for yes or no, or {text!r} in quotes for the word"
            self._document.mistakes.append((line, path, message))
            return text.lower() == "true"
        return _plain(text)

    def _known_tag(self, node: Node, kind: str, path: Path) -> None:
        tag = str(node.tag)
        if tag not in (_CORE + kind, "!"):
            line = node.start_mark.line + 1
            self._document.mistakes.append((line, path, f"the tag {tag[:80]} means nothing here: write the value without it"))


def _plain(text: str) -> Any:
    """Return the scalar of the core schema that *text* is without quotes."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INT.fullmatch(text):
        return int(text) if len(text) <= 30 else float(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0) if len(text) <= 30 else float("inf")
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
