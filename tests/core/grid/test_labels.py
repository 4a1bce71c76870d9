"""Labels: what they are, where they show, and that the content hash does not know them."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.grids import a_grid
from worker.core.grid.content import content_sha256
from worker.core.grid.diff import compare
from worker.core.grid.labels import said
from worker.core.grid.messages import GridError
from worker.core.grid.models import Grid, parse_grid
from worker.core.grid.report import show_html, show_markdown
from worker.core.grid.yaml_lines import read_yaml
from worker.core.scoring.compiled_grid import CompiledGrid

PLAIN = """\
grid: g   # ours
version: 1

pages: {pricing: "/pricing*"}
fit:
  rules:
    - {id: boss, points: 10, where: {role: ceo}}
engagement:
  rules:
    - id: visit
      points: 8
      on: page.viewed   # any page of that type
      where: {page_type: pricing}

    - {id: demo, points: 30,
       on: demo.requested}
velocity:
  - {id: returns, on: page.viewed, count: days, within: 7d, steps: {2: 3}}

exclusions:
  - id: rival
    where: {role: spy}
"""
PLACES = {
    "a flow mapping, at its end": ("where: {role: ceo}}", "where: {role: ceo}, label: %s}"),
    "a flow mapping, first": ("{id: boss,", "{label: %s, id: boss,"),
    "a flow mapping, in the middle": ("points: 10,", "points: 10, label: %s,"),
    "a flow mapping of several lines": ("points: 30,\n", "points: 30,\n       label: %s,\n"),
    "a block mapping, a line of its own": ("      points: 8\n", "      points: 8\n      label: %s\n"),
    "a block mapping, last": ("{page_type: pricing}\n\n", "{page_type: pricing}\n      label: %s   # as sales say\n\n"),
    "behind the dash": ("    - id: visit\n", "    - label: %s\n      id: visit\n"),
    "behind the dash of an exclusion": ("  - id: rival\n", "  - label: %s\n    id: rival\n"),
    "a velocity": ("{id: returns,", "{id: returns, 'label': %s,"),
    "the end of the file": ("    where: {role: spy}\n", "    where: {role: spy}\n    label: %s"),
}
LABELS = ["Saw it", "'{a}, b: c # d'", '"two\\\n  lines"', "{en: Seen, fr: Vu}", "{en: Seen,\n      fr: 'Vu, déjà'}", "🙂"]
PAGES = "labels:\n  pricing:\n    en: Prices\n    fr: Tarifs\n"


def grid(text: str) -> Grid:
    """Return the grid in *text*."""
    return parse_grid(text, "g.yaml")


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("place", PLACES)
def test_a_first_label_does_not_change_the_hash(place: str, label: str) -> None:
    """Wherever it is written: it is cut out with its key, and what is left is the file as it was."""
    old, new = PLACES[place]
    text = PLAIN.replace(old, new % label)
    assert text != PLAIN
    assert grid(text).sha256 == grid(PLAIN).sha256 == sha256(PLAIN.encode()).hexdigest()


@pytest.mark.parametrize("at", [PLAIN.index("pages:"), PLAIN.index("fit:"), len(PLAIN)])
@pytest.mark.parametrize("section", [PAGES, 'labels: {pricing: "Prices"}\n', "labels: {}\n"])
def test_the_section_labels_is_not_in_the_hash(at: int, section: str) -> None:
    """At its top level, between any two sections; with a blank line before the last one, too."""
    assert grid(PLAIN[:at] + section + PLAIN[at:]).sha256 == grid(PLAIN).sha256
    if at == len(PLAIN):
        assert grid(PLAIN + "\n" + section).sha256 == grid(PLAIN).sha256


def test_a_byte_order_mark_and_other_line_ends_stay_in_the_hash() -> None:
    """They are bytes of the file, with labels or without."""
    windows = PLAIN.replace("\n", "\r\n")
    assert grid(windows + PAGES.replace("\n", "\r\n")).sha256 == grid(windows).sha256 != grid(PLAIN).sha256
    marked = b"\xef\xbb\xbf" + PLAIN.encode()
    assert content_sha256(marked + PAGES.encode()) == sha256(marked).hexdigest()


def test_a_grid_without_labels_has_the_hash_of_its_bytes() -> None:
    """As before there were labels; a word in a comment is none."""
    for text in (PLAIN, PLAIN + "# label: none\n"):
        assert grid(text).sha256 == sha256(text.encode()).hexdigest()
    assert grid(PLAIN).sha256 != grid(PLAIN + "# label: none\n").sha256


def test_other_keys_called_label_are_content() -> None:
    """A trait or a field named so decides what a rule counts."""
    one, other = (PLAIN.replace("{role: ceo}", f"{{label: {value}}}") for value in ("gold", "silver"))
    assert grid(one).sha256 != grid(other).sha256
    paged, also = (PLAIN.replace("pricing: ", f"label: {value}, pricing: ") for value in ('"/a*"', '"/b*"'))
    assert grid(paged).sha256 != grid(also).sha256


def test_what_an_alias_takes_from_a_label_is_in_the_hash() -> None:
    """Else two grids with one hash could count differently."""
    for value in ("ceo", "cmo"):
        text = PLAIN.replace("{id: boss,", f"{{id: boss, label: &it {value},").replace("role: spy", "role: *it")
        assert grid(text).sha256 == sha256(text.encode()).hexdigest()


@examples(300)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(PLACES)), st.sampled_from(LABELS)), unique_by=lambda one: one[0], max_size=4),
    st.sampled_from(["", PAGES]),
    st.integers(0, len(PLAIN)),
    st.text("l:, {}'\"#&*\n\tab", max_size=4),
)
def test_two_texts_with_one_hash_are_one_grid_but_for_labels(
    places: list[tuple[str, str]], section: str, at: int, typed: str
) -> None:
    """Whatever is typed anywhere: equal hashes mean equal content."""
    text = PLAIN
    for place, label in places:
        old, new = PLACES[place]
        text = text.replace(old, new % label)
    text += section
    damaged = text[:at] + typed + text[at:]
    if content_sha256(damaged.encode()) == content_sha256(PLAIN.encode()):
        assert content(damaged) == content(PLAIN)


def content(text: str) -> Any:
    """Return a grid's data without labels, by rule."""
    data = dict(read_yaml(text.encode()).data)
    data.pop("labels", None)
    for section in ("fit", "engagement"):
        data[section] = {**data[section], "rules": [without(rule) for rule in data[section]["rules"]]}
    for section in ("velocity", "exclusions"):
        data[section] = [without(rule) for rule in data[section]]
    return repr(data)


def without(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule without its label."""
    return {name: value for name, value in rule.items() if name != "label"}


def test_labels_do_not_change_what_a_lead_is_judged_by() -> None:
    """The tag says whether a state must be judged again. Outputs name the grid by the same hash."""
    old, new = (CompiledGrid(grid(text), "/t") for text in (PLAIN, PLAIN.replace("{id: boss,", "{id: boss, label: Boss,")))
    assert (old.tag, old.identity) == (new.tag, new.identity)


# --- where they show -------------------------------------------------------------------------------------------------

LABELLED = PLAIN.replace("{id: boss,", "{id: boss, label: {en: Decides, fr: Décide},") + PAGES


def test_the_page_shows_labels_in_the_language_asked_for() -> None:
    """With the id behind, by which the file is searched. The page is one that everybody may read."""
    page = show_markdown(grid(LABELLED), "fr")
    assert "| Décide (boss) |" in page
    assert "| Tarifs (pricing) | /pricing\\* |" in page
    assert "page.viewed, page\\_type is Tarifs" in page
    assert "| Decides (boss) |" in show_markdown(grid(LABELLED))
    assert "| Decides (boss) |" in show_markdown(grid(LABELLED), "de")
    bold = PLAIN.replace("{id: boss,", "{id: boss, label: '<b>|x',")
    assert "&lt;b&gt;|x (boss)" in show_html(grid(bold))


@pytest.mark.parametrize(
    ("label", "language", "text"),
    [
        ({"": "One"}, "fr", "One"),
        ({"en": "A", "fr": "B"}, "fr", "B"),
        ({"en": "A", "fr": "B"}, "fr-BE", "B"),
        ({"en": "A", "fr": "B"}, "de", "A"),
        ({"fr": "B", "de": "C"}, "en", "B"),
        (None, "en", None),
    ],
)
def test_a_label_is_said_in_a_language_that_it_has(label: dict[str, str] | None, language: str, text: str | None) -> None:
    """The one asked for, its base, English, the first."""
    assert said(label, language) == text


def test_differences_of_labels_are_named_and_nothing_is_replayed() -> None:
    """They are in force at once."""
    difference = compare(grid(PLAIN), grid(LABELLED))
    assert {one.path for one in difference.changes} == {"fit.boss.label", "labels.pricing"}
    assert next(one.after for one in difference.changes) == "en: Decides, fr: Décide"
    assert difference.replay == []


@pytest.mark.parametrize(
    ("label", "path", "hint"),
    [
        ("''", "label", "printable"),
        ("[a]", "label", "texts by language"),
        ("{}", "label", "texts by language"),
        ("{english: x}", "label.english", "no language"),
        ("{en: ' '}", "label.en", "printable"),
        ("{en: 5}", "label.en", "write a text"),
        (f"{'x' * 201}", "label", "200"),
    ],
)
def test_a_mistake_in_a_label_is_named(label: str, path: str, hint: str) -> None:
    """A text, or texts by language."""
    with pytest.raises(GridError) as caught:
        parse_grid(a_grid(exclusions=f"[{{id: r, where: {{a: b}}, label: {label}}}]"), "g.yaml")
    (mistake,) = caught.value.mistakes
    assert mistake.path == f"exclusions[0].{path}"
    assert hint in mistake.message
