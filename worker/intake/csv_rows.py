"""Rows of a CSV file as tools export them: any delimiter, and the encodings of Excel and Windows."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

DELIMITERS: Final = (",", ";", "\t", "|")
FIELD_LIMIT: Final = 1_000_000
"""Longest cell read, in characters."""

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES: Final = 1 << 20
_SAMPLE_ROWS: Final = 200


class CsvError(ValueError):
    """A file that cannot be read as a table; the message says what is wrong with it, and what to do."""


class Dialect(NamedTuple):
    """How a file is written."""

    encoding: str
    delimiter: str
    guessed: str = ""
    """What was not certain, for a person to confirm; empty: nothing."""


class Row(NamedTuple):
    """One row below the header."""

    number: int
    """Line of the file on which the row ends, from 1."""
    cells: dict[str, str]
    """Column → text, without blanks at the ends unless they were asked for."""
    fault: str = ""
    """What is wrong with the row, which then has no cells."""


def dialect_of(stream: BinaryIO, encoding: str | None = None, delimiter: str | None = None) -> Dialect:
    """Return how the file in *stream* is written, by its beginning; *encoding* and *delimiter* are what is known already.

    A byte order mark decides. Without one, the text is UTF-8 if it is valid, and else windows-1252, as Excel writes in
    Western Europe. Raises `CsvError` where *encoding* does not exist or no delimiter is found.
    """
    sample = _peek(stream)
    guessed = ""
    if encoding is None:
        encoding = _encoding(sample)
        if encoding == "windows-1252":
            guessed = "the text is not UTF-8, so it is read as windows-1252"
    try:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(sample)
    except LookupError as error:
        raise CsvError(f"there is no encoding {encoding!r}: write one such as utf-8, windows-1252 or iso-8859-15") from error
    return Dialect(encoding, delimiter or _delimiter(text), guessed)


def _encoding(sample: bytes) -> str:
    marked = next((name for mark, name in _BOMS if sample.startswith(mark)), "")
    return marked or ("utf-8" if _is_utf8(sample) else "windows-1252")


def _peek(stream: BinaryIO) -> bytes:
    """Return the beginning of *stream*, which can be read again from there."""
    sample = stream.read(_SAMPLE_BYTES)
    stream.seek(0)
    return sample


def _is_utf8(sample: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _delimiter(text: str) -> str:
    """Return the delimiter that gives the header and most rows the same number of cells, more than one."""
    lines = text.splitlines(keepends=True)
    if lines and _is_hint(lines[0].rstrip("\r\n")):
        return lines[0][4]
    best, most = "", 0
    for delimiter in DELIMITERS:
        rows = _some_rows(text, delimiter)
        if not rows or len(rows[0]) < 2:
            continue
        widths = Counter(len(row) for row in rows if row)
        alike = widths[len(rows[0])]
        if alike * 2 > widths.total() and len(rows[0]) > most:
            best, most = delimiter, len(rows[0])
    if not best and not text.strip():
        raise CsvError("the file is empty: its first row must name the columns")
    if not best:
        raise CsvError('no delimiter gives header and rows the same number of cells: name it with `delimiter`, as in ";"')
    return best


def _is_hint(line: str) -> bool:
    """Return whether *line* is the `sep=;` that Excel writes above the header, to name the delimiter."""
    return len(line) == 5 and line.lower().startswith("sep=")


def _some_rows(text: str, delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            rows.append(row)
            if len(rows) >= _SAMPLE_ROWS:
                break
    except csv.Error:
        return rows
    return rows


def header_and_rows(stream: BinaryIO, dialect: Dialect, *, exact: bool = False) -> tuple[Sequence[str], Iterator[Row]]:
    """Return the header's columns, and the rows below it as they are read. Raises `CsvError`, also while rows are read.

    A row with fewer cells than the header lacks the last ones. A row with more has a `fault`. Empty rows are left out.
    *exact*: blanks at the ends of names and cells are kept.
    """
    text = io.TextIOWrapper(stream, encoding=dialect.encoding, errors="strict", newline="")
    csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader(text, delimiter=dialect.delimiter, strict=True)
    form = str if exact else str.strip
    header = [form(name) for name in _next(reader, dialect) or ()]
    if _is_hint(dialect.delimiter.join(header)) or (len(header) == 1 and _is_hint(header[0])):
        header = [form(name) for name in _next(reader, dialect) or ()]
    while header and not header[-1].strip():
        header.pop()
    if not header:
        raise CsvError("the file is empty: its first row must name the columns")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise CsvError(f"the header names {', '.join(map(repr, twice))} twice: give each column its own name")
    return header, _rows(reader, header, dialect, form)


def _next(reader: Iterator[list[str]], dialect: Dialect) -> list[str] | None:
    try:
        return next(reader, None)
    except UnicodeDecodeError as error:
        raise CsvError(
            f"byte {error.start} is not {dialect.encoding}: name the file's encoding with `encoding`, as in windows-1252"
        ) from error
    except csv.Error as error:
        raise CsvError(f"line {getattr(reader, 'line_num', 0)}: {error}") from error


def _rows(reader: Iterator[list[str]], header: Sequence[str], dialect: Dialect, form: Callable[[str], str]) -> Iterator[Row]:
    while (cells := _next(reader, dialect)) is not None:
        number = getattr(reader, "line_num", 0)
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) > len(header):
            counts = f"{len(cells)} cells under {len(header)} columns"
            yield Row(number, {}, f"{counts}: is {dialect.delimiter!r} the delimiter, or is a quote missing?")
            continue
        found = {name: form(cell) for name, cell in zip(header, cells, strict=False)}
        if any(cell.strip() for cell in found.values()):
            yield Row(number, found)
