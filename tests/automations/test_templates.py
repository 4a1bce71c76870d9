"""Templates: what is missing, how fields escape, and what the sandbox refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.rules import an_output
from worker.automations.html_text import plain_of
from worker.automations.models import Automations
from worker.automations.names import names_of
from worker.automations.targets.fields import Form
from worker.automations.templates import CannotWrite, TemplateMistake, Templates

NASTY = "<b>&\"'\r\nBcc: x@y.example"


def written(source: str, form: Form = Form.LINE, timezone: str = "UTC", **data: Any) -> str:
    """Return *source* written for the example of a lead.sql."""
    names = names_of(an_output(**data), Automations(timezone=timezone))
    return Templates(None, timezone).text(source, form)(names)


def refused(source: str, **data: Any) -> str:
    """Return why *source* cannot be written."""
    with pytest.raises(CannotWrite) as error:
        written(source, **data)
    return str(error.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ traits.first_name or 'you' }}", "you"),
        ("{{ traits.company.name or 'you' }}", "you"),
        ("{{ traits.a.b.c.d|default('you') }}", "you"),
        ("{% if traits.first_name %}a{% else %}b{% endif %}", "b"),
        ("{% if not traits.first_name %}b{% endif %}", "b"),
        ("{{ 'a' if traits.first_name else 'b' }}", "b"),
        ("{% if traits.age > 5 %}a{% else %}b{% endif %}", "b"),
        ("{% if traits.age < 5 %}a{% else %}b{% endif %}", "b"),
        ("{% if 'x' in traits.tags %}a{% else %}b{% endif %}", "b"),
        ("{% if traits.first_name == 'x' %}a{% else %}b{% endif %}", "b"),
        ("{% if traits.first_name is defined %}a{% else %}b{% endif %}", "b"),
        ("{% if phase %}a{% else %}b{% endif %}", "b"),
        ("{{ phase|default('b') }}", "b"),
        ("{% if phase > 5 %}a{% else %}b{% endif %}", "b"),
    ],
)
def test_a_missing_name_is_false(source: str, text: str) -> None:
    """In `or`, `if`, `default` and comparisons, however deep."""
    assert written(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ traits.first_name }}",
        "{{ traits.company.name }}",
        "{{ traits.first_name|upper }}",
        "{{ traits.first_name|title }}",
        "Dear {{ traits.first_name ~ '!' }}",
        "{{ traits.first_name + '!' }}",
        "{{ traits.tags|join(', ') }}",
        "{{ traits.tags|length }}",
        "{{ traits.tags|first }}",
        "{% for tag in traits.tags %}{{ tag }}{% endfor %}",
        "{{ phase }}",
        "{{ traits.first_name|e }}",
        "{{ traits.first_name.strip() }}",
        "{{ 'a' if false }}",
        "{{ phase or none }}",
        "{{ reasons[99].id }}",
        "{{ '%s' % traits.first_name }}",
        "{{ 'Dear {}'.format(traits.first_name) }}",
        "{{ traits.first_name|local }}",
        "{{ [traits.first_name]|join }}",
        "{{ traits.get }}",
    ],
)
def test_a_missing_name_is_an_error_where_it_is_printed(source: str) -> None:
    """No mail goes out with a hole."""
    for form in (Form.LINE, Form.TEXT, Form.HTML, Form.SLACK):
        with pytest.raises(CannotWrite):
            Templates(None).text(source, form)(names_of(an_output(), Automations()))


def test_the_reason_names_what_is_missing() -> None:
    """The person who reads a dead act mends it by that."""
    assert (
        refused("{{ traits.first_name }}")
        == "`first_name` is missing: write another value behind it, as in {{ first_name or 'there' }}"
    )


def test_blank_and_null_traits_are_missing() -> None:
    """As in a grid."""
    traits = {"first_name": "  ", "last_name": None, "country": "FR"}
    assert written("{{ traits.first_name or traits.last_name or traits.country }}", traits=traits) == "FR"


def test_traits_are_nested_and_precede_methods() -> None:
    """A trait may be called `items`."""
    traits = {"company.size": 80, "company.name": "Acme", "items": "three", "cart.keys": 2}
    assert written(
        "{{ traits.company.name }} {{ traits.company.size + 1 }} {{ traits.items }} {{ traits.cart.keys }}", traits=traits
    ) == ("Acme 81 three 2")


def test_fields_are_escaped_by_their_form() -> None:
    """A lead types its own name."""
    traits = {"first_name": NASTY}
    source = "<i>{{ traits.first_name }}</i>"
    assert written(source, Form.HTML, traits=traits) == "<i>&lt;b&gt;&amp;&#34;&#39;\r\nBcc: x@y.example</i>"
    assert written(source, Form.LINE, traits=traits) == "<i><b>&\"' Bcc: x@y.example</i>"
    assert written(source, Form.TEXT, traits=traits) == f"<i>{NASTY}</i>"
    assert written(source, Form.SLACK, traits=traits) == "<i>&lt;b&gt;&amp;\"'\r\nBcc: x@y.example</i>"


@given(st.text())
def test_a_line_has_no_line_ends_and_html_no_markup_of_a_lead(name: str) -> None:
    """Whatever a lead types."""
    names = names_of(an_output(traits={"first_name": name or "x"}), Automations())
    source = "a{{ traits.first_name or 'x' }}b"
    line = Templates(None).text(source, Form.LINE)(names)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert "<" not in Templates(None).text(source, Form.HTML)(names)


def test_values_are_never_templates() -> None:
    """A lead cannot write one."""
    assert written("{{ traits.first_name }}", traits={"first_name": "{{ traits.email }}"}) == "{{ traits.email }}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ traits.__class__ }}",
        "{{ lipsum.__globals__ }}",
        "{{ cycler }}",
        "{{ self.__init__ }}",
        "{{ reasons.append(1) }}",
        "{{ traits.update({'a': 1}) }}",
        "{{ 'a' * 100000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ range(10000000)|list|length }}",
        "{{ 'a'|center(900000) }}",
        "{{ 1 / 0 }}",
        "{{ score.foo.bar() }}",
        "{{ data|tojson|safe|map('x')|list }}",
    ],
)
def test_the_sandbox_refuses_what_reaches_out_or_is_too_much(source: str) -> None:
    """As one act that cannot be written. The program goes on."""
    refused(source)


@pytest.mark.parametrize(
    "source", ["{% include '/etc/passwd' %}", "{% include '../secret' %}", "{% import 'os' as os %}{{ os }}"]
)
def test_templates_reach_no_other_files(source: str, tmp_path: Path) -> None:
    """Only those in their folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("secret")
    with pytest.raises((CannotWrite, TemplateMistake)):
        Templates(tmp_path / "in").text(source, Form.HTML)({})


def test_a_loop_may_count() -> None:
    """Jinja's usual way."""
    source = "{% set n = namespace(sum=0) %}{% for r in reasons %}{% set n.sum = n.sum + r.points %}{% endfor %}{{ n.sum }}"
    assert written(source) == "78.5"


def test_local_shows_the_clock_of_a_zone() -> None:
    """The file's, or another one; in winter and in summer."""
    assert written("{{ respond_by|local }}", timezone="Europe/Paris") == "2026-03-05 17:34 CET"
    assert (
        written("{{ respond_by|local }}", timezone="Europe/Paris", respond_by="2026-07-05T16:34:56Z") == "2026-07-05 18:34 CEST"
    )
    assert written("{{ respond_by|local('America/New_York', '%d/%m %H:%M') }}") == "05/03 11:34"
    assert "is no instant" in refused("{{ grade|local }}")
    refused("{{ respond_by|local('Mars/Base') }}")


def test_top_shows_the_greatest_reasons_first() -> None:
    """With their signs. Clamps and groups bound others, and are none."""
    reasons = [
        {"kind": "rule", "id": "a", "points": 1.26}, {"kind": "clamp", "id": "score", "points": -50.0},
        {"kind": "group", "id": "g", "points": -40.0}, {"kind": "inactivity", "points": -10.0},
        {"kind": "fit", "id": "b", "points": 5.0},
    ]  # fmt: skip
    assert written("{{ reasons|top(2) }}", reasons=reasons) == "inactivity -10, b +5"
    assert written("{{ reasons|top }}", reasons=reasons) == "inactivity -10, b +5, a +1.3"
    assert written("{{ reasons|top(5) or 'none' }}", reasons=[]) == "none"


def test_a_dossier_is_text_or_html_by_its_field() -> None:
    """The same facts. What a lead typed is escaped in HTML."""
    traits = {"company.name": "<Acme>", "email": "ada@acme.example"}
    text = written("{{ dossier }}", Form.TEXT, traits=traits, timezone="Europe/Paris")
    assert "Score 78.5, grade B1\n- fit 30\n- engagement 48.5" in text
    assert "- pricing-page +24 (4×)" in text
    assert "- company.name: <Acme>" in text
    assert "- 2026-03-05 13:34 CET page.viewed /pricing\n- 2026-03-05 13:30 CET demo.requested demo" in text
    html = written("{{ dossier }}", Form.HTML, traits=traits)
    assert "<li>company.name: &lt;Acme&gt;</li>" in html
    assert "<p><strong>Why</strong></p><ul><li>demo +30" in html


def test_a_dossier_takes_what_is_there() -> None:
    """A grid without grades, a lead without traits."""
    assert written("{{ dossier }}", Form.TEXT, grade=None, reasons=[], traits={}, recent=[], fit=0.0) == (
        "Score 78.5\n- fit 0\n- engagement 48.5"
    )


def test_a_dossier_shows_the_last_five_events_the_newest_first() -> None:
    """Of twenty."""
    recent = [{"time": f"2026-03-05T12:{n:02}:00Z", "type": "page.viewed", "label": f"/{n}"} for n in range(20)]
    text = written("{{ dossier }}", Form.TEXT, recent=recent)
    assert [line[-3:] for line in text.partition("Latest\n")[2].splitlines()] == ["/19", "/18", "/17", "/16", "/15"]


def test_the_text_part_is_made_of_the_html() -> None:
    """Blocks, items, links with their addresses; no styles, no scripts."""
    html = """<html><head><title>A &amp; B</title><style>p {color: red}</style></head><body>
    <h1>Hello  Ada</h1><p>One<br>two <b>three</b>.</p><ul><li>a</li><li>b</li></ul>
    <a href="https://x.example/?a=1&amp;b=2">Book</a> <a href="https://y.example">https://y.example</a>
    <a href="mailto:a@b.example">a@b.example</a> <img alt="Logo" src="x.png"><script>alert(1)</script>
    <table><tr><td>x</td><td>y</td></tr></table></body></html>"""
    assert plain_of(html).text == (
        "Hello Ada\n\nOne\ntwo three.\n\n- a\n- b\n\n"
        "Book (https://x.example/?a=1&b=2) https://y.example a@b.example Logo\n\nx y"
    )
    assert plain_of(html).subject == "A & B"
    assert plain_of("<p>Hello <b>Ada</b></p><p>Bye</p>").subject == "Hello Ada"
    assert plain_of("").subject == ""


@given(st.text())
def test_any_html_has_a_text(html: str) -> None:
    """Broken markup too."""
    assert "\n\n\n" not in plain_of(html).text
    assert "\n" not in plain_of(html).subject


def test_expressions_give_plain_values() -> None:
    """A missing name is nothing, so a field at the target is emptied."""
    names = names_of(an_output(grade=None), Automations())
    value = Templates(None).expression
    assert value("score")(names) == 78.5
    assert value("grade")(names) is None
    assert value("traits.company.name")(names) is None
    assert value("traits.company.size > 50")(names) is True
    assert value("'hot' if score > 50 else 'cold'")(names) == "hot"
    assert value("dossier")(names).startswith("Score 78.5")
    for source in ("reasons", "traits", "1 / 0", "traits.get"):
        with pytest.raises(CannotWrite):
            value(source)(names)


def test_a_dossier_has_the_chance_to_be_won() -> None:
    """Where the grid has a model that gives one."""
    known = {"p": 0.084, "base": 0.04, "horizon": "90d", "factors": []}
    line = "- chance to be won within 90d: 8.4 %, everyone: 4 %"
    assert line in written("{{ dossier }}", Form.TEXT, prediction=known)
    assert "chance" not in written("{{ dossier }}", Form.TEXT, prediction=known | {"p": None, "base": None, "reason": "won"})
