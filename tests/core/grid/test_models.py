"""Grids: read whole, or refused with every mistake by file, line and path."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.contract.event_types import KNOWN_TYPES
from worker.core.grid.conditions import Condition, Where
from worker.core.grid.messages import GridError, Mistake
from worker.core.grid.models import Grid, parse_grid
from worker.core.grid.open_hours import date_words, days_words
from worker.core.grid.stage_models import Sla
from worker.core.grid.values import DAY_MS, EVENT_TYPES, duration_ms

HEAD = "grid: g\nversion: 1\n"
HOURS = "stages.sql.sla.hours"
SUNDAYS = [(date(2027, 1, 3) + timedelta(weeks=week)).isoformat() for week in range(53)]
"""Every Sunday of more than a year."""


def sla(hours: str, within: str = "4h") -> str:
    """Return the stages of a grid with open hours."""
    return f"stages: {{sql: {{enter: 5, sla: {{within: {within}, hours: {{{hours}}}}}}}}}"


EXAMPLE = """\
grid: saas-b2b
version: 3
timezone: Europe/Paris
pages: {pricing: ["/pricing*", "/tarifs*"], product: "/product/*"}
score: {min: 0, max: 100}
fit:
  max: 50
  rules:
    - {id: icp-size, points: 10, where: {company.size: {gte: 50, lte: 200}}}
    - {id: off-territory, points: -15, where: {country: {not: [FR, NO]}}}
engagement:
  min: -50
  half_life: 14d
  rules:
    - id: pricing-page
      points: 8
      on: page.viewed
      where: {page_type: pricing}
      once_per: session_id
      half_life: 7d
      cap: 24
      intent: true
    - {id: email-open, points: 1, on: email.opened, once_per: message_id, expires_after: 30d}
    - {id: no-show, points: -10, on: [webinar.no_show, crm.no_show], half_life: none}
velocity:
  - {id: comes-back, on: page.viewed, count: days, within: 1w, steps: {5: 10, 3: 5}}
inactivity: {after: 14d, points: -5}
exclusions:
  - {id: competitor, where: {company.domain: [rival.example]}}
  - {id: unsubscribed, on: [email.unsubscribed, email.complained]}
stages:
  mql: {enter: 50}
  sql: {enter: 75, leave: 60, min_fit: 15, intent_within: 30d, sla: 4h}
  quiet: 7d
grades: {fit: {C: 0, A: 35, B: 20}, engagement: {1: 40, 2: 20, 3: 0}}
mail: {free: ["Provider.Example", exämple.de]}
"""


def grid(text: str) -> Grid:
    """Return the grid of *text* below a head of two lines."""
    return parse_grid(HEAD + text, "g.yaml")


def mistakes(text: str | bytes) -> list[Mistake]:
    """Return the mistakes of a grid that must have some."""
    found = any_mistakes(text)
    assert found
    return found


def any_mistakes(text: str | bytes) -> list[Mistake]:
    """Return the mistakes; none when *text* is a grid. Any other exception is the caller's failure."""
    try:
        parse_grid(text, "g.yaml")
    except GridError as err:
        return err.mistakes
    return []


def test_a_grid_is_read_with_durations_in_ms_and_defaults_filled_in() -> None:
    """What the scorer is built on: nothing is left to be looked up or guessed."""
    read = parse_grid(EXAMPLE, "g.yaml")
    assert (read.grid, read.version, read.timezone) == ("saas-b2b", 3, "Europe/Paris")
    assert read.pages == {"pricing": ("/pricing*", "/tarifs*"), "product": ("/product/*",)}
    assert (read.score.min, read.score.max, read.fit.min, read.fit.max) == (0, 100, None, 50)
    size, territory = read.fit.rules
    assert size.where == Where((Condition("company.size", "gte", 50), Condition("company.size", "lte", 200)))
    assert territory.where == Where((Condition("country", "not", ("FR", "NO")),))
    pricing, opened, no_show = read.engagement.rules
    assert (pricing.on, pricing.once_per, pricing.half_life, pricing.cap) == (("page.viewed",), "session_id", 7 * DAY_MS, 24)
    assert (pricing.intent, opened.intent) == (True, False)
    assert (opened.half_life, opened.expires_after, opened.where) == (14 * DAY_MS, 30 * DAY_MS, None)
    assert (no_show.half_life, no_show.once_per, no_show.on) == (None, "event", ("webinar.no_show", "crm.no_show"))
    (pace,) = read.velocity
    assert (pace.count, pace.within_days, pace.steps) == ("days", 7, ((3, 5.0), (5, 10.0)))
    (silence,) = read.inactivity
    assert (silence.after, silence.every, silence.min) == (14 * DAY_MS, None, None)
    assert [(one.id, one.on) for one in read.exclusions] == [
        ("competitor", None),
        ("unsubscribed", ("email.unsubscribed", "email.complained")),
    ]
    mql, sql = read.stages.mql, read.stages.sql
    assert mql is not None
    assert sql is not None
    assert (mql.enter, mql.leave, mql.min_fit, mql.intent_within, mql.sla) == (50, 50, None, None, None)
    assert (sql.leave, sql.min_fit, sql.intent_within, sql.sla) == (
        60,
        15,
        30 * DAY_MS,
        Sla.model_construct(within=4 * 3_600_000),
    )
    assert read.stages.quiet == 7 * DAY_MS
    assert read.grades is not None
    assert read.grades.fit == (("A", 35.0), ("B", 20.0), ("C", 0.0))
    assert read.grades.engagement == (("1", 40.0), ("2", 20.0), ("3", 0.0))
    assert read.mail.free == ("provider.example", "xn--exmple-cua.de")
    assert read.sha256 == hashlib.sha256(EXAMPLE.encode()).hexdigest()
    assert read.source == EXAMPLE.encode()


def test_the_smallest_grid_has_neither_rules_nor_rungs() -> None:
    """All of section 3 but the name is optional."""
    read = grid("")
    assert (read.fit.rules, read.engagement.rules, read.velocity, read.exclusions) == ((), (), (), ())
    assert (read.stages.mql, read.stages.sql, read.stages.quiet) == (None, None, 0)
    assert (read.inactivity, read.grades, read.pages, read.timezone) == ((), None, {}, "UTC")


def test_the_hash_is_of_the_files_bytes() -> None:
    """Two files with one hash judge alike; a comment makes another hash and the same grid."""
    assert parse_grid(EXAMPLE.encode(), "a").sha256 == parse_grid(EXAMPLE, "b").sha256
    assert parse_grid(EXAMPLE + "# later\n", "a").sha256 != parse_grid(EXAMPLE, "a").sha256
    assert parse_grid(b"\xef\xbb\xbf" + EXAMPLE.encode(), "a").grid == "saas-b2b"


def test_rules_can_be_on_every_known_type_but_the_erasure() -> None:
    """A rule on `lead.erased` would have no lead to give its points to."""
    assert set(EVENT_TYPES) == KNOWN_TYPES - {"lead.erased"}
    assert (
        "leaves no lead"
        in mistakes(HEAD + "velocity: [{id: a, on: lead.erased, count: days, within: 7d, steps: {1: 1}}]")[0][3]
    )


@pytest.mark.parametrize(
    ("text", "ms"),
    [("30s", 30_000), ("15m", 900_000), ("4h", 14_400_000), ("7d", 7 * DAY_MS), ("2w", 14 * DAY_MS), ("none", None)],
)
def test_durations_are_a_whole_number_and_a_unit(text: str, ms: int | None) -> None:
    """A d and a w are 86,400 s and 604,800 s."""
    assert duration_ms(text) == ms


@pytest.mark.parametrize(
    "text", ["7 d", "7", "d", "1.5d", "-7d", "7D", "500ms", "7d ", "", "٣d", "99999999999w", 7, 7.0, None, True]
)
def test_anything_else_is_no_duration(text: object) -> None:
    """A bare number could mean any unit."""
    with pytest.raises(ValueError, match=r"duration|longer"):
        duration_ms(text)


@pytest.mark.parametrize(("text", "quiet"), [("0", 0), ("none", 0), ("0s", 0), ("1h", 3_600_000)])
def test_no_quiet_may_be_written_as_zero(text: str, quiet: int) -> None:
    """It is the one duration whose zero means something."""
    assert grid(f"stages: {{quiet: {text}}}").stages.quiet == quiet


def test_a_bare_on_is_a_word_and_so_are_no_and_dates() -> None:
    """YAML 1.1 would make booleans of `on` and of Norway, and a date of a day."""
    (rule,) = grid("fit: {rules: [{id: a, points: 1, where: {country: [NO, yes, on], since: 2026-01-01, n: 012}}]}").fit.rules
    assert rule.where is not None
    assert rule.where.conditions == (
        Condition("country", "in", ("NO", "yes", "on")),
        Condition("since", "eq", "2026-01-01"),
        Condition("n", "eq", 12),
    )
    assert isinstance(rule.where.conditions[1].value, str)


@pytest.mark.parametrize("word", ["True", "FALSE"])
def test_booleans_are_lower_case(word: str) -> None:
    """Taken as a word it would never equal a boolean; taken as a boolean it would break the contract. So it is asked."""
    (mistake,) = mistakes(HEAD + f"fit: {{rules: [{{id: a, points: 1, where: {{x: {word}}}}}]}}")
    assert f"write {word.lower()} in lower case" in mistake.message


def in_rule(more: str) -> str:
    """Return an engagement rule with *more* in it."""
    return f"engagement: {{rules: [{{id: a, points: 1, on: page.viewed, {more}}}]}}"


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("verison: 2", "verison", "did you mean 'version'"),
        (in_rule("halflife: 7d"), "engagement.rules[0].halflife", "did you mean 'half_life'"),
        (in_rule("half_life: 7 days"), "engagement.rules[0].half_life", "as in 30s"),
        (in_rule("half_life: 0d"), "engagement.rules[0].half_life", "no time at all"),
        (in_rule("cap: 0"), "engagement.rules[0].cap", "above 0"),
        (in_rule("cap: .inf"), "engagement.rules[0].cap", "write a number"),
        (in_rule("once_per: ''"), "engagement.rules[0].once_per", "write event, day, lead"),
        (in_rule("intent: yes"), "engagement.rules[0].intent", "true or false"),
        (in_rule("where: {a: null}"), "engagement.rules[0].where.a", "exists: false"),
        (in_rule("where: {a: {matches: '('}}"), "engagement.rules[0].where.a.matches", "does not compile"),
        ("engagement: {rules: [{id: a, points: .nan, on: page.viewed}]}", "engagement.rules[0].points", "write a number"),
        ("engagement: {rules: [{id: a, points: '5', on: page.viewed}]}", "engagement.rules[0].points", "without quotes"),
        ("engagement: {rules: [{id: a, points: true, on: page.viewed}]}", "engagement.rules[0].points", "got true"),
        ("engagement: {rules: [{id: a, points: 1}]}", "engagement.rules[0].on", "missing"),
        ("engagement: {rules: [{id: a, points: 1, on: page.view}]}", "engagement.rules[0].on[0]", "did you mean 'page.viewed'"),
        ("engagement: {rules: [{id: a, points: 1, on: []}]}", "engagement.rules[0].on", "empty"),
        ("engagement: {rules: [{id: 404, points: 1, on: page.viewed}]}", "engagement.rules[0].id", "in quotes"),
        ("engagement: {half_life: soon, rules: [{id: a, points: 1, on: page.viewed}]}", "engagement.half_life", "as in 30s"),
        ("fit: {rules: [{id: a, points: 1}]}", "fit.rules[0].where", "missing"),
        ("fit: {rules: [{id: a, points: 1, where: {}}]}", "fit.rules[0].where", "empty"),
        ("fit: {rules: [{id: a, points: 1, where: {x: []}}]}", "fit.rules[0].where.x", "empty"),
        ("fit: {rules: {id: a}}", "fit.rules", "write a list"),
        ("fit: [1]", "fit", "write a mapping"),
        ("groups: {cap: 30}", "groups.cap", "with keys of cap, best; got 30"),
        ("groups: {cap: {cap: 3, x: 1}}", "groups.cap.x", "the keys here are cap, best"),
        ("groups: {a: 30}", "groups.a", "with keys of cap, best; got 30"),
        ("engagement: {decay: 60d}", "engagement.decay", "with keys of half_life, linear, window; got '60d'"),
        ("fit: {min: 5, max: 1}", "fit.min", "swap them"),
        ("timezone: Europe/Pari", "timezone", "did you mean 'Europe/Paris'"),
        ("timezone: ../../etc/passwd", "timezone", "unknown time zone"),
        ("pages: {pricing: pricing}", "pages.pricing[0]", "begins with /"),
        ("pages: {pricing: []}", "pages.pricing", "empty"),
        ("inactivity: {after: none, points: -1}", "inactivity.after", "no meaning here"),
        ("inactivity: {after: 1d, every: 1d, points: -1, min: 9}", "inactivity.min", "write min: -9"),
        ("inactivity: {after: 1d, every: 0d, points: -1}", "inactivity.every", "no time at all"),
        ("exclusions: [{id: a}]", "exclusions[0]", "needs `where`"),
        ("stages: {mql: {enter: 5, sla: 4h}}", "stages.mql.sla", "sql only"),
        ("stages: {sql: {enter: 5, sla: soon}}", "stages.sql.sla", "no duration"),
        ("stages: {sql: {enter: 5, sla: 0h}}", "stages.sql.sla", "no time at all"),
        ("stages: {sql: {enter: 5, sla: {hours: {days: mon, from: 09:00, to: 10:00}}}}", "stages.sql.sla.within", "missing"),
        (sla("days: mon-fry, from: 09:00, to: 10:00"), f"{HOURS}.days", "did you mean 'fri'"),
        (sla("days: Monday, from: 09:00, to: 10:00"), f"{HOURS}.days", "did you mean 'mon'"),
        (sla("days: lun-ven, from: 09:00, to: 10:00"), f"{HOURS}.days", "'lun' is no day of the week; the days are mon, tue"),
        (sla("days: [], from: 09:00, to: 10:00"), f"{HOURS}.days", "empty"),
        (sla("days: [mon, 2], from: 09:00, to: 10:00"), f"{HOURS}.days", "days of the week"),
        (sla("days: mon, from: 9, to: 10:00"), f"{HOURS}.from", "no time of the day"),
        (sla("days: mon, from: 09:00, to: 24:01"), f"{HOURS}.to", "no time of the day"),
        (sla("days: mon, from: 18:00, to: 09:00"), f"{HOURS}.to", "closes before it opens"),
        (sla("days: mon, from: 09:00, to: 09:00"), f"{HOURS}.to", "closes before it opens"),
        (sla("days: mon, from: 09:00, to: 10:00, off: 2026-02-29"), f"{HOURS}.off", "no date"),
        (sla(f"days: sun, from: 09:00, to: 10:00, off: [{', '.join(SUNDAYS)}]"), f"{HOURS}.off", "more than a year"),
        (sla("days: mon, from: 09:00, to: 09:01", "1d"), "stages.sql.sla.within", "ten years"),
        ("phases: {}", "phases", "at least one"),
        ("phases: [a, b]", "phases", "write a mapping"),
        ("phases: {a: 5, b: 5}", "phases.b", "rising"),
        ("phases: {a: 5, b: {enter: 9, leave: 9.5}}", "phases.b.leave", "above enter"),
        ("phases: {a: high}", "phases.a", "write the score"),
        ("phases: {a: {leave: 5}}", "phases.a.enter", "missing"),
        ("phases: {'a/b': 5}", "phases.a/b", "no name"),
        ("stages: {sql: {leave: 5}}", "stages.sql.enter", "missing"),
        ("grades: {fit: {}, engagement: {1: 0}}", "grades.fit", "bands map"),
        ("grades: {fit: {A: 1, B: 1}, engagement: {1: 0}}", "grades.fit", "given twice"),
        ("mail: {free: ['@x']}", "mail.free[0]", "without @"),
        ("mail: {free: [a.fr], business: [A.fr]}", "mail.business[0]", "also in `free`"),
        ("sha256: abc", "sha256", "unknown key"),
    ],
)
def test_one_mistake_is_named_by_line_and_path_with_what_to_write(text: str, path: str, hint: str) -> None:
    """And alone: no mistake is told twice, none drags others along."""
    (mistake,) = mistakes(HEAD + text)
    assert (mistake.file, mistake.line, mistake.path) == ("g.yaml", 3, path)
    assert hint in mistake.message


@pytest.mark.parametrize(
    ("more", "key", "hint"),
    [
        ("count: day, within: 7d, steps: {1: 1}", "count", "'days'"),
        ("count: days, within: 36h, steps: {1: 1}", "within", "whole calendar days"),
        ("count: days, within: 0d, steps: {1: 1}", "within", "1d to 45d"),
        ("count: days, within: 46d, steps: {1: 1}", "within", "1d to 45d"),
        ("count: days, within: 7w, steps: {1: 1}", "within", "1d to 45d"),
        ("count: sessions, within: 8d, steps: {1: 1}", "within", "at most 7d"),
        ("count: days, within: 7d, steps: {}", "steps", "{3: 5, 5: 10}"),
        ("count: days, within: 7d, steps: {x: 1}", "steps.x", "no number to reach"),
        ("count: days, within: 7d, steps: {0: 1}", "steps.0", "above 0"),
        ("count: days, within: 7d, steps: {3: '5'}", "steps.3", "without quotes"),
        ("count: days, within: 7d, steps: {3: 1, 3.0: 2}", "steps", "given twice"),
        ("count: days, steps: {3: 1}", "within", "missing"),
    ],
)
def test_a_pace_counts_whole_days_and_known_things(more: str, key: str, hint: str) -> None:
    """`within` counts calendar days, so hours say nothing; sessions are kept for a week only."""
    (mistake,) = mistakes(HEAD + f"velocity: [{{id: a, on: page.viewed, {more}}}]")
    assert mistake.path == f"velocity[0].{key}"
    assert hint in mistake.message


@pytest.mark.parametrize("within", ["1d", "45d", "6w"])
def test_a_window_may_be_a_day_to_six_weeks(within: str) -> None:
    """The edges are in."""
    grid(f"velocity: [{{id: a, on: page.viewed, count: rise, within: {within}, steps: {{2: 5}}}}]")


def test_every_mistake_is_told_at_once_by_line() -> None:
    """One run of the check, one repair. Names that hang on others are checked even when those are wrong."""
    found = mistakes(
        "grid: g\n"
        "version: one\n"
        "fit:\n"
        "  rules:\n"
        "    - {id: a, points: 1, where: {x: null}}\n"
        "    - {id: a, points: x, were: {y: 1}}\n"
        "engagement:\n"
        "  rules:\n"
        "    - {id: b, points: 1, on: [page.view, email.open], points: 2}\n"
        "velocity:\n"
        "  - {id: b, on: page.viewed, count: sessions, within: 30d, steps: {1: nothing}}\n"
    )
    assert [(one.line, one.path) for one in found] == [
        (2, "version"),
        (5, "fit.rules[0].where.x"),
        (6, "fit.rules[1].points"),
        (6, "fit.rules[1].were"),
        (6, "fit.rules[1].id"),
        (6, "fit.rules[1].where"),
        (9, "engagement.rules[0].points"),
        (9, "engagement.rules[0].on[0]"),
        (9, "engagement.rules[0].on[1]"),
        (11, "velocity[0].steps.1"),
        (11, "velocity[0].id"),
        (11, "velocity[0].within"),
    ]
    assert str(found[0]) == "g.yaml:2: version: write a whole number; got 'one'"


def test_a_mistake_in_a_block_is_on_its_own_line() -> None:
    """Not on the line where the rule begins, and not on the one where the key's value does."""
    (mistake,) = mistakes(
        HEAD + "engagement:\n  rules:\n    - id: a\n      points: 1\n      on: page.viewed\n      cap: none\n"
    )
    assert (mistake.line, mistake.path) == (8, "engagement.rules[0].cap")
    (mistake,) = mistakes(HEAD + "fit:\n  rules:\n\n    id: a\n")
    assert (mistake.line, mistake.path) == (4, "fit.rules")


def test_duplicate_keys_are_mistakes_all_of_them() -> None:
    """YAML's usual readers take the last one in silence, or stop at the first."""
    found = mistakes("grid: g\nversion: 1\nversion: 2\nscore: {min: 0, min: 1}\n")
    assert [(one.line, one.path) for one in found] == [(3, "version"), (4, "score.min")]
    assert "first given on line 2" in found[0].message


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("", 1, "empty"),
        ("# nothing\n", 1, "empty"),
        ("grid: [", 1, "not YAML"),
        ("grid: g\n\tversion: 1\n", 2, "not YAML"),
        ("grid: g\nfit:\n\trules: []\n", 3, "indent with spaces"),
        ("a: 1\n---\nb: 2\n", 2, "single document"),
        ("- a\n", 1, "write a mapping"),
        ("just words", 1, "write a mapping"),
        (b"grid: g\nversion: \xff\n", 2, "UTF-8"),
        ("grid: \x00", 1, "not YAML"),
        ("[" * 600, 1, "nested deeper"),
        ("a: &a [*a]\n", 1, "alias inside itself"),
        ("a: *nothing\n", 1, "undefined alias"),
        ("a: " + "x" * 1_000_001, 1, "too many"),
    ],
)
def test_what_is_no_yaml_of_a_grid_is_one_mistake(text: str | bytes, line: int, hint: str) -> None:
    """Whatever the file holds, the answer is a mistake with a line and never another exception."""
    (mistake,) = mistakes(text)
    assert mistake.line == line
    assert hint in mistake.message


def test_aliases_cannot_blow_the_grid_up() -> None:
    """Ten lines that stand for ten billion values end at once."""
    bomb = "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
    )
    (mistake,) = mistakes("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + bomb)
    assert "aliases are expanded" in mistake.message


def test_aliases_may_be_used() -> None:
    """They are YAML; only the expansion has an end."""
    read = grid(
        "fit: {rules: [{id: a, points: 1, where: {country: &here [FR, BE]}},\n"
        "              {id: b, points: -1, where: {country: {not: *here}}}]}"
    )
    where = read.fit.rules[1].where
    assert where is not None
    assert where.conditions[0].value == ("FR", "BE")


@pytest.mark.parametrize("text", ["a: !!python/object:os.system x", "a: !x 1", "a: !!int '3'", "a: {<<: {b: 1}}", "? [1]\n: 2"])
def test_tags_merge_keys_and_keys_that_are_no_words_are_refused(text: str) -> None:
    """YAML 1.2 has no merge keys, and a tag would make the value something that is not seen."""
    assert any(one.line == 3 and "unknown key" not in one.message for one in mistakes(HEAD + text))


def test_a_grid_cannot_be_changed() -> None:
    """It is shared by every partition."""
    read = grid("")
    with pytest.raises(ValueError, match="frozen"):
        read.version = 2


json_like: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.integers(0, len(EXAMPLE) - 1), st.text("[]{}:,-&*!|>'\"#%@`\t\n 0a", max_size=3), st.integers(0, 5))
def test_a_damaged_grid_is_a_grid_or_mistakes(at: int, inserted: str, cut: int) -> None:
    """Never another exception, and every mistake has a line of the file."""
    text = EXAMPLE[:at] + inserted + EXAMPLE[at + cut :]
    assert all(1 <= one.line <= text.count("\n") + 1 for one in any_mistakes(text))


@given(
    st.sampled_from(
        ["fit", "engagement", "velocity", "inactivity", "exclusions", "stages", "phases", "grades", "mail", "pages", "score"]
    ),
    json_like,
)
def test_anything_at_all_in_a_section_is_a_grid_or_mistakes(section: str, value: Any) -> None:
    """The checks that look across the file meet whatever was written there."""
    assert all(one.line >= 1 for one in any_mistakes(HEAD + f"{section}: {json.dumps(value)}\n"))


@given(json_like)
def test_anything_at_all_as_a_response_time_is_a_grid_or_mistakes(value: Any) -> None:
    """At its top and among the hours."""
    for text in (f"{value!r}", json.dumps(value), f"{{within: 4h, hours: {json.dumps(value)}}}"):
        assert all(one.line >= 1 for one in any_mistakes(HEAD + f"stages: {{sql: {{enter: 5, sla: {text}}}}}\n"))


def test_days_are_ranges_over_the_weekend_too_and_times_need_no_quotes() -> None:
    """YAML 1.2 knows neither dates nor numbers to the base of 60."""
    read = grid(
        "stages: {sql: {enter: 5, sla: {within: 1d, hours: {days: [fri-mon, wed], from: 9:00, to: 24:00, off: 2026-12-25}}}}"
    )
    assert read.stages.sql is not None
    assert read.stages.sql.sla is not None
    hours = read.stages.sql.sla.hours
    assert hours is not None
    assert (hours.days, hours.from_, hours.to) == ((0, 2, 4, 5, 6), 540, 1440)
    assert [date_words(day) for day in hours.off] == ["2026-12-25"]
    assert days_words(hours.days) == "mon, wed, fri-sun"
