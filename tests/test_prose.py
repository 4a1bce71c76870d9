"""The prose check: it finds what readers must read twice, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ops.dev import prose
from ops.dev.prose import (
    CHECKED,
    MOST_WORDS,
    REPOSITORY,
    blocks_of_markdown,
    blocks_of_python,
    check,
    sentences,
    tracked,
    words,
)


def found(text: str) -> list[str]:
    """Return what the check says of a Markdown page."""
    return [finding.message for finding in check("page.md", blocks_of_markdown(text))]


def test_a_sentence_over_the_limit_is_found_by_line() -> None:
    """The limit itself passes, one word more does not; the line is that of the paragraph."""
    fits = " ".join(["word"] * MOST_WORDS) + "."
    assert found(f"# Title\n\n{fits}\n") == []
    (finding,) = check("page.md", blocks_of_markdown(f"# Title\n\nmore {fits}\n"))
    assert (finding.file, finding.line) == ("page.md", 3)
    assert finding.message.startswith(f"{MOST_WORDS + 1} words")


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("The lead is told of it.", "reported"),
        ("This value is to be kept.", "must be"),
        ("Whoever reads it knows.", "name the role"),
        ("One; two; three.", "semicolons"),
    ],
)
def test_turns_of_phrase_to_unlearn_are_found(text: str, instead: str) -> None:
    """Each finding says what to write instead."""
    (message,) = found(text + "\n")
    assert instead in message


def test_code_is_not_prose() -> None:
    """Code blocks are passed over, and inline code is one word however long it is."""
    assert found("```sh\n" + "word " * 50 + "\n```\n") == []
    assert words("`code` is one") == 3
    assert found("Run `" + "word " * 50 + "` now.\n") == []


def test_sections_that_a_program_writes_are_left_out() -> None:
    """Their sentences are checked where they come from. Line numbers stay those of the page."""
    long = " ".join(["word"] * 40)
    page = f"<!-- map: written by a program -->\n{long}.\n<!-- map: end -->\n\n{long}.\n"
    (finding,) = check("page.md", blocks_of_markdown(page))
    assert finding.line == 5


def test_table_cells_and_list_items_are_sentences_of_their_own() -> None:
    """A long table is no long sentence."""
    row = "| " + " | ".join(["some words here"] * 10) + " |\n"
    assert found("| a |" * 1 + "\n|---|\n" + row) == []
    assert found("- some words here\n" * 20) == []


def test_sentences_end_at_full_stops_but_not_in_numbers_and_abbreviations() -> None:
    """`0.5` and `e.g. this` do not end a sentence."""
    assert len(sentences("It takes 0.5 s, e.g. here. Then it ends.")) == 2


def test_docstrings_of_public_names_are_checked() -> None:
    """Private names are their author's; drawings and examples (indented) are passed over."""
    long = " ".join(["word"] * 40)
    assert len(list(check("m.py", blocks_of_python(f'def f():\n    """{long}."""\n')))) == 1
    assert list(check("m.py", blocks_of_python(f'def _f():\n    """{long}."""\n'))) == []


def test_a_file_that_is_not_added_yet_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its author learns before the commit; what git ignores is nobody's prose."""
    monkeypatch.setattr(prose, "REPOSITORY", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for name, text in (("new.md", "New."), ("made.md", "Made."), (".gitignore", "made.md")):
        (tmp_path / name).write_text(text)
    assert tracked("*.md") == ["new.md"]


def test_every_module_and_page_is_checked() -> None:
    """Modules beside the folders of `worker/` are, too."""
    checked = set(tracked(*CHECKED))
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "worker").rglob("*.py")}
    assert sorted(modules - checked) == []
    assert {"README.md", "docs/architecture.md", "schemas/inputs.py"} <= checked
