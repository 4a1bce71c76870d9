"""The prose check: sentences that readers of many countries can read once.

`python -m ops.dev.prose [FILE...]` checks Markdown pages and Python docstrings. It reports each place by file and line, with
what to do, and exits with 1 when it found any. Without files it checks everything that git tracks.
`python -m ops.dev.prose --figures` prints the mean words a sentence and the semicolons per 1,000 words of each page.

The rules are those of `CONTRIBUTING.md`. A sentence has at most 22 words, and a paragraph at most one semicolon.
The turns of phrase in `UNLEARN` do not occur.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY: Final = Path(__file__).parents[2]

MOST_WORDS: Final = 22
MOST_SEMICOLONS: Final = 1

UNLEARN: Final = {
    r"\b(?:nobody|whoever|somebody)\b": "name the role: 'no worker', 'the caller', 'an operator'",
    r"\b(?:is|are|was|were) to be\b": "write 'must be' or 'will be'",
    r"\bone that\b": "repeat the noun",
    r"\b(?:is|are|was|were|be|been) told\b": "write 'configured', 'reported' or 'informed'",
    r"\bsays? so\b": "write what is reported, and where",
    r"(?:^|[.;:] )What (?:is|was|comes|goes|came)\b(?![^.]*\?)": "begin with a noun: 'Records that …'",
    r"\bwho (?:has|have) the\b(?=[^?]*$)": "begin with a noun: 'the owner of the …'",
}
"""Turns of phrase that readers must parse twice, by pattern, and what to write instead."""

CHECKED: Final = ("*.md", "worker/*.py", "worker/**/*.py", "schemas/*.py", "ops/dev/*.py", "tests/kit/*.py")

_WORD = re.compile(r"[^\W_][\w'’./:-]*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[)\"”’*_]*\s+(?=[^a-z\s])|\n\n")
_CODE = re.compile(r"`+[^`]*`+")
_WRITTEN = re.compile(r"^<!-- ([\w ]+): written by a program -->$.*?^<!-- \1: end -->$", re.MULTILINE | re.DOTALL)
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|no|cf|approx)\.\s", re.IGNORECASE)


class Finding(NamedTuple):
    """One place to mend."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Block(NamedTuple):
    """A paragraph, a list item, a heading or a table cell."""

    line: int
    text: str


def blocks_of_markdown(text: str) -> Iterator[Block]:
    """Yield the prose of a Markdown page, without code blocks and HTML; inline code stays, as one word.

    Sections that a program writes are left out: their sentences are checked where they come from.
    """
    line = 1
    text = _WRITTEN.sub(lambda found: "\n" * found[0].count("\n"), text)
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.map is not None:
            line = token.map[0] + 1
        if token.type == "inline":
            yield Block(line, _plain(token))


def _plain(token: Token) -> str:
    parts: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            parts.append(child.content if child.type == "text" else "`code`")
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
    return "".join(parts)


def blocks_of_python(source: str) -> Iterator[Block]:
    """Yield the paragraphs of the docstrings of a module, its public classes and its public functions."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if getattr(node, "name", "").startswith("_"):
            continue
        words = ast.get_docstring(node, clean=True)
        if words is None:
            continue
        line = node.body[0].lineno
        for paragraph in words.split("\n\n"):
            indented = all(one.startswith("    ") for one in paragraph.splitlines())
            if not indented:  # else a drawing or an example
                yield Block(line, _CODE.sub("`code`", " ".join(paragraph.split())))
            line += paragraph.count("\n") + 2


def sentences(text: str) -> list[str]:
    """Return the sentences of *text*. List items and table cells count as sentences of their own."""
    kept = _ABBREVIATION.sub(lambda found: found[0].replace(". ", "  "), text)
    return [one.strip() for one in _SENTENCE_END.split(kept) if one and one.strip()]


def words(sentence: str) -> int:
    """Return how many words a reader reads; a piece of code is one."""
    return len(_WORD.findall(sentence))


def check(file: str, blocks: Iterator[Block]) -> Iterator[Finding]:
    """Yield what must be mended in the *blocks* of *file*."""
    for line, text in blocks:
        for sentence in sentences(text):
            count = words(sentence)
            if count > MOST_WORDS:
                yield Finding(file, line, f"{count} words: {_short(sentence)}: split it; at most {MOST_WORDS} words a sentence")
        if text.count(";") > MOST_SEMICOLONS:
            yield Finding(file, line, f"{text.count(';')} semicolons: {_short(text)}: write sentences instead")
        for pattern, instead in UNLEARN.items():
            found = re.search(pattern, text, re.IGNORECASE)
            if found:
                yield Finding(file, line, f"{found[0].strip()!r} in {_short(text[found.start() :])}: {instead}")


def _short(text: str) -> str:
    return f"“{text[:60]}…”" if len(text) > 60 else f"“{text}”"


def blocks_of(file: str) -> Iterator[Block]:
    """Yield the prose of a file of this repository."""
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    return blocks_of_python(text) if file.endswith(".py") else blocks_of_markdown(text)


def tracked(*patterns: str) -> list[str]:
    """Return the files of the repository that match, new ones too; without git, those on disk."""
    ask = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns)
    listed = subprocess.run(ask, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return sorted({file for file in listed.stdout.split() if (REPOSITORY / file).exists()})
    return sorted({str(path.relative_to(REPOSITORY)) for pattern in patterns for path in REPOSITORY.rglob(pattern)})


def figures(files: list[str]) -> Iterator[str]:
    """Yield a table: words, mean words a sentence and semicolons per 1,000 words of each page."""
    yield "| page | words | words a sentence | semicolons per 1,000 words |"
    yield "|---|---|---|---|"
    for file in files:
        texts = [block.text for block in blocks_of(file)]
        counts = [count for text in texts for one in sentences(text) if (count := words(one)) > 2]
        total = sum(counts) or 1
        semicolons = sum(text.count(";") for text in texts)
        yield f"| {file} | {total:,} | {total / (len(counts) or 1):.1f} | {1000 * semicolons / total:.1f} |"


def main(arguments: list[str]) -> int:
    """Check the files named in *arguments*, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ops.dev.prose", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--figures", action="store_true", help="print figures of each page instead of checking")
    options = parser.parse_args(arguments)
    files = options.files or tracked(*CHECKED)
    if options.figures:
        print("\n".join(figures(files)))
        return 0
    found = [finding for file in files for finding in check(file, blocks_of(file))]
    print("\n".join(map(str, found)) if found else f"prose: {len(files)} files, nothing to mend")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
