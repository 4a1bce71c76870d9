"""The file of automations is checked whole: each mistake has its line, its place and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.rules import rules_of
from worker.automations.file import automations_json, read_rules
from worker.connections.models import Connections
from worker.errors import AutomationsError

SOUND = "acts:\n  - {id: call, on: lead.sql, to: crm, do: task, with: {subject: Call}}\n"


def mistakes(text: str, folder: Path | None = None) -> list[str]:
    """Return the mistakes in *text*, a line each."""
    with pytest.raises(AutomationsError) as error:
        rules_of(text, folder)
    return str(error.value).splitlines()


def act(**keys: str) -> str:
    """Return a file with one act. Keys replace those of a sound one; an empty value takes a key out."""
    held = {"id": "call", "on": "lead.sql", "to": "crm", "do": "task", "with": "{subject: Call}"}
    held |= {key.rstrip("_"): value for key, value in keys.items()}
    return "acts:\n" + "".join(
        f"  {'-' if place == 0 else ' '} {key}: {value}\n" for place, (key, value) in enumerate(held.items()) if value
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (act(on="lead.sqll"), "acts[0].on: unknown type 'lead.sqll', did you mean 'lead.sql'?"),
        (act(on="lead.erased"), "acts[0].on: lead.erased leaves no lead to act on"),
        (act(on="crm.won"), "acts[0].on: crm.won is an event that comes in"),
        (act(on="[]"), "acts[0].on: write a type or a list of types"),
        (act(unless="[page.viewed]"), "acts[0].unless[0]: page.viewed is an event that comes in"),
        (act(to="cmr"), "acts[0].to: the file of connections has no target 'cmr', did you mean 'crm'?"),
        (act(to="ask"), "acts[0].to: 'ask' is a target of kind zoom, which takes no acts"),
        (act(do="tusk"), "acts[0].do: a target of kind hubspot cannot 'tusk', did you mean 'task'?"),
        (act(do=""), "acts[0].do: `do` is missing: add it"),
        (act(fresh="none"), "acts[0].fresh: `none` has no meaning here"),
        (act(fresh="4"), "acts[0].fresh: 4 is no duration"),
        (act(max="50"), "acts[0].max: 50 is no limit: write a number, `/` and a time, as in 50/h"),
        (act(max="50/0h"), "acts[0].max: 50/0h counts within no time at all"),
        (act(consent="5"), "acts[0].consent: write a word"),
        (act(consent="true"), "acts[0].consent: write the name of a trait, as in marketing_consent; got true"),
        (act(consent="yes"), "acts[0].consent: write the name of a trait, as in marketing_consent; got 'yes'"),
        (act(where="{grad: A1}"), "acts[0].where.grad: there is no 'grad' in the output, did you mean 'grade'?; for a trait,"),
        (act(where="{score: '>80'}"), "acts[0].where.score: `score` is a number: write a number, or an operator as in {gte: 8"),
        (act(where="{fit: {gte: '30'}}"), "acts[0].where.fit: `fit` is a number"),
        (act(to="hook", do="send", with_="{text: hi}"), "acts[0].with.text: unknown key 'text'; there are no keys here, so"),
        (act(with_="{subject: '{{ score|rund }}'}"), "acts[0].with.subject: unknown filter 'rund', did you mean 'round'?"),
        (act(with_="{subject: '{{ score }'}"), "unexpected '}': write a name as in {{ lead_id }}, and close each {% if … %}"),
        ("owners: {else: 'roundrobin([a@b.c])'}", "owners.else: 'roundrobin([a@b.c])': write round-robin([anna@example.com,"),
        ("sync: [{to: crm, object: contact, fields: {x: '{{ score }}'}}]", "no expression: write it without braces, as in"),
        (act(id="a|b"), "acts[0].id: 'a|b' is no id"),
        (act(id="a/b"), "acts[0].id: 'a/b' is no id"),
        (act(where="{grade: {bigger: 3}}"), "acts[0].where.grade.bigger: unknown operator 'bigger'"),
        (act(on="lead.stage", where="{to: oportunity}"), "to: there is no stage 'oportunity', did you mean 'opportunity'?"),
        (act(on="lead.stage", where="{from: {not: [sqll]}}"), "from: there is no stage 'sqll', did you mean 'sql'?"),
        (act(wiht="{}"), "acts[0].wiht: unknown key 'wiht', did you mean 'with'?"),
        (act(with_="{}"), "acts[0].with.subject: `subject` is missing: add it"),
        (act(with_="{subject: a, sbj: b}"), "acts[0].with.sbj: unknown key 'sbj'"),
        (act(with_="{subject: a, minutes: long}"), "acts[0].with.minutes: "),
        (act(with_="{subject: a, minutes: 0}"), "acts[0].with.minutes: "),
        (act(with_='{subject: ""}'), "acts[0].with.subject: "),
        (act(with_='{subject: "{{ traits.name "}'), "acts[0].with.subject: unexpected end of template"),
        (act(with_='{subject: "{{ scor }}"}'), "acts[0].with.subject: unknown name 'scor', did you mean 'score'?"),
        (act(with_='{subject: "{{ name }}"}'), "acts[0].with.subject: unknown name 'name'"),
        (act(with_='{subject: "{{ score|nope }}"}'), "acts[0].with.subject: unknown filter 'nope'"),
        (act(with_='{subject: "{{ owner }}"}'), "acts[0].with.subject: `owner` is printed, and no owners are named"),
        (act(with_="{subject: \"{{ 'a' if score > 9 }}\"}"), "acts[0].with.subject: `… if …` without `else`"),
        (act(on="account.hot", with_='{subject: "{{ grade }}"}'), "acts[0].with.subject: unknown name 'grade'"),
        (act(to="mail", do="send", with_='{to: "{{ traits.email }}"}'), "acts[0].with: a mail has no words"),
        (act(to="mail", do="send", with_="{to: a@b.example}"), "acts[0].with: a mail has no words"),
        (act(to="mail", do="send", with_="{to: nobody}"), "acts[0].with.to: 'nobody' is no e-mail address"),
        (act(to="mail", do="send", with_="{to: a@b.example, template: gone.j2}"), "with.template: there is no file 'gone.j2'"),
        (act(to="mail", do="send", with_="{to: a@b.example, template: ../gone.j2}"), "with.template: there is no file"),
        (SOUND + SOUND.partition("\n")[2], "acts[1].id: the id 'call' is given twice, first at acts[0]"),
        ("sync:\n  - {to: hook, fields: {a: score}}\n", "sync[0].to: a target of kind webhook keeps no state of leads"),
        ("sync:\n  - {to: crm, fields: {a: scor}}\n", "sync[0].fields.a: unknown name 'scor'"),
        ("sync:\n  - {to: crm, fields: {a: '1 +'}}\n", "sync[0].fields.a: '1 +' is no expression"),
        ("sync:\n  - {to: crm, fields: {a: '{{ score }}'}}\n", "sync[0].fields.a: '{{ score }}' is no expression"),
        ("sync:\n  - {to: crm, fields: {}}\n", "sync[0].fields: it is empty"),
        ("sync:\n  - {to: crm, object: deal, fields: {a: score}}\n", "sync[0].object: write 'contact'"),
        ("timezone: Europe/Pari\n", "timezone: unknown time zone 'Europe/Pari', did you mean 'Europe/Paris'?"),
        ("owners: {table: country}\n", "owners: `table` names a trait and `values` its owners"),
        ("owners: {}\n", "owners: no owner is named"),
        ("owners:\n  else: round-robin([a, ])\n", "owners.else: 'round-robin([a, ])' has an empty owner"),
        ("owners:\n  else: round-robin(a)\n", "owners.else: 'round-robin(a)': write round-robin([anna@example.com"),
        ("nurture:\n  - {id: n, phase: a, every: 4d, to: mail, contents: []}\n", "nurture[0].contents: it is empty"),
        (
            "nurture:\n  - {id: n, phase: a, every: 4d, to: crm, contents: [{id: b}]}\n",
            "nurture[0].do: a target of kind hubspot cannot 'send'; write one of task",
        ),
        (
            "nurture:\n  - {id: n, phase: a, every: 4d, to: mail, with: {html: x}, contents: [{id: b}, {id: b}]}\n",
            "nurture[0].contents[1].id: the id 'b' is given twice",
        ),
        (
            "nurture:\n  - {id: n, phase: a, every: 4d, to: mail, contents: [{id: b, template: gone.html}]}\n",
            "nurture[0].contents[0].template: there is no file 'gone.html'",
        ),
        (
            "nurture:\n  - {id: n, phase: a, every: 4d, to: mail, contents: [{id: b, with: {html: '{{ scor }}'}}]}\n",
            "nurture[0].contents[0].with.html: unknown name 'scor'",
        ),
        ("- a\n", "write a mapping with `sync`, `owners`, `acts` and `nurture`"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(text: str, found: str, tmp_path: Path) -> None:
    """With its place and the remedy, and alone."""
    (mistake,) = mistakes(text, tmp_path)
    assert found in mistake
    assert mistake.startswith("automations.yaml:")


def test_braces_without_quotes_are_a_mapping_to_yaml() -> None:
    """The message says what mends it."""
    assert (
        "with.subject: a key must be a word, not a list or a mapping: put a text that begins with a brace in quotes"
        in (mistakes(act(with_="{subject: {{ lead_id }}}"))[0])
    )


@pytest.mark.parametrize("where", ["{traits.grad: A1}", "{phone: {exists: true}}", "{score: 80, role: CEO, plan: pro}"])
def test_a_trait_may_have_any_name(where: str) -> None:
    """Only what is nearly a name of the output is taken for a misspelling."""
    assert rules_of(act(where=where)).automations.acts


def test_every_mistake_is_named_by_its_line() -> None:
    """Mistakes of the form, of targets and of templates at once."""
    text = "\n".join([
        "timezone: Mars/Base",
        "acts:",
        "  - id: call",
        "    on: lead.sqll",
        "    to: cmr",
        "    do: task",
        "  - id: other",
        "    on: lead.sql",
        "    to: crm",
        "    do: task",
        "    fresh: soon",
        "    with:",
        '      subject: "{{ scor }}"',
        '      body: "{% if score %}"',
    ])  # fmt: skip
    assert [line.split(":")[1] for line in mistakes(text)] == ["1", "4", "5", "11", "13", "14"]


def test_a_mistake_that_all_contents_share_is_named_once_at_its_place() -> None:
    """And one of a content at the content's."""
    text = "\n".join([
        "nurture:",
        "  - id: n",
        "    phase: a",
        "    every: 4d",
        "    to: mail",
        "    with:",
        "      sbj: Hi",
        "      html: '{{ scor }}'",
        "    contents:",
        "      - id: b",
        "      - id: c",
        "        with:",
        "          text: '{{ grad }}'",
    ])  # fmt: skip
    assert [line.split(": ")[:2] for line in mistakes(text)] == [
        ["automations.yaml:7", "nurture[0].with.sbj"],
        ["automations.yaml:8", "nurture[0].with.html"],
        ["automations.yaml:13", "nurture[0].contents[1].with.text"],
    ]


def test_names_are_looked_for_in_files_that_a_template_includes(tmp_path: Path) -> None:
    """A mistake in a common footer is found before the first mail."""
    (tmp_path / "mail.html.j2").write_text("{% extends 'base.html.j2' %}{% block words %}Hi{% endblock %}")
    (tmp_path / "base.html.j2").write_text("{% block words %}{% endblock %}{% include 'foot.html.j2' %}")
    (tmp_path / "foot.html.j2").write_text("{{ compny }}")
    text = act(to="mail", do="send", with_="{to: a@b.example, template: mail.html.j2}")
    (mistake,) = mistakes(text, tmp_path)
    assert "with.template: mail.html.j2: unknown name 'compny'" in mistake
    (tmp_path / "foot.html.j2").write_text("{{ score }}")
    rules_of(text, tmp_path)
    (tmp_path / "foot.html.j2").unlink()
    (mistake,) = mistakes(text, tmp_path)
    assert "there is no file 'foot.html.j2'" in mistake


def test_values_of_templates_are_not_judged_before_they_are_written() -> None:
    """An address, a number, a choice."""
    rules_of(act(with_='{subject: a, minutes: "{{ score }}", priority: "{{ grade }}"}'))
    rules_of(act(to="mail", do="send", with_='{to: "{{ traits.email }}", html: "{{ score }}"}'))
    (mistake,) = mistakes(act(with_='{subject: a, minutes: "{{ score }}", priority: "{{ grade }}", owner: 5}'))
    assert "acts[0].with.owner: write a word" in mistake


def test_a_mistake_in_a_long_text_has_its_line() -> None:
    """Within the text, or within the file."""
    (mistake,) = mistakes(act(with_='{subject: "a\\n\\n{% if %}"}'))
    assert "acts[0].with.subject: line 3: " in mistake


def test_stages_are_known_and_phases_are_the_grid_s() -> None:
    """`from` and `to` of a change of phase are phases."""
    rules_of(act(on="lead.stage", where="{to: [opportunity, client], from: {not: excluded}, stage: {exists: true}}"))
    rules_of(act(on="lead.phase", where="{to: decision}"))
    rules_of(act(on="[lead.phase, lead.stage]", where="{to: decision}"))


def test_a_loop_variable_and_a_set_name_are_no_unknown_names() -> None:
    """Jinja's own names stay as they are."""
    rules_of(act(with_='{subject: "{% set n = score %}{% for r in reasons %}{{ r.id }}{{ loop.index }}{{ n }}{% endfor %}"}'))


def test_a_missing_file_names_its_setting(tmp_path: Path) -> None:
    """As the first thing that goes wrong."""
    with pytest.raises(AutomationsError, match="LEADPULSE_AUTOMATIONS names the file of automations"):
        read_rules(str(tmp_path / "automations.yaml"), Connections())


def test_an_empty_file_does_nothing() -> None:
    """A program may start before its rules are written."""
    rules = rules_of("")
    assert rules.types == frozenset()
    assert automations_json(rules.automations) == {"timezone": "UTC", "sync": [], "owners": None, "acts": [], "nurture": []}


def test_the_file_is_shown_as_it_is_written() -> None:
    """With defaults, in the words of the file, so that it could be written so."""
    text = act(fresh="90m", max="5/10m", where="{grade: [A1], score: {gte: 80}}", unless="[crm.won]")
    text += "owners: {table: country, values: {FR: anna}, else: round-robin([bob, cid])}\n"
    shown = automations_json(rules_of(text).automations)
    (one,) = shown["acts"]
    assert one["fresh"] == "90m"
    assert one["max"] == "5/10m"
    assert one["where"] == {"grade": {"in": ["A1"]}, "score": {"gte": 80}}
    assert shown["owners"] == {"table": "country", "values": {"FR": "anna"}, "else": "round-robin([bob, cid])"}
    (default,) = automations_json(rules_of(SOUND).automations)["acts"]
    assert (default["fresh"], default["max"], default["unless"]) == ("1d", "200/h", [])
