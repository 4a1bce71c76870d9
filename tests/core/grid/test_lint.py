"""The warnings about grids that mislead."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.kit.grids import changed, parsed
from worker.core.contract.event_fields import DERIVED_TRAITS, TRAITS
from worker.core.contract.event_types import ACTIVITIES, DATA_FIELDS
from worker.core.grid.lint import MAX_RULES, Lint, lint
from worker.core.grid.messages import GridError
from worker.core.grid.models import parse_grid
from worker.core.grid.values import EVENT_TYPES
from worker.core.scoring.packing import TRAIT_NAMES

SOUND = """\
grid: g
version: 1
pages: {pricing: "/pricing*"}
score: {min: 0, max: 100}
fit: {min: -20, max: 40, rules: [{id: territory, points: 10, where: {country: FR}}]}
stages: {mql: {enter: 50, leave: 40}, sql: {enter: 75, leave: 60}}
engagement:
  min: -20
  max: 80
  half_life: 14d
  rules:
    - {id: pricing, points: 8, on: page.viewed, where: {page_type: pricing}, once_per: session_id, cap: 24}
    - {id: no-show, points: -10, on: webinar.no_show}
"""


def sound(*rules: str) -> str:
    """Return a grid without warnings, with more engagement rules in it."""
    return SOUND + "".join(f"    - {rule}\n" for rule in rules)


def codes(grid: str, changes: Mapping[str, object] | None = None) -> list[tuple[str, str]]:
    """Return code and path of each warning about *grid* with *changes*, by path."""
    return [(one.code, one.path) for one in lint(parsed(changed(grid, changes or {})))]


def test_a_sound_grid_has_no_warnings() -> None:
    """Else nobody would read them."""
    assert codes(sound()) == []


R2 = "engagement.rules[2]"


@pytest.mark.parametrize(
    ("rule", "code", "path"),
    [
        ("{id: a, points: 1, on: page.viewed, cap: 3}", "everything-scored", f"{R2}.on"),
        ("{id: a, points: 1, on: [email.delivered, email.replied], cap: 3}", "everything-scored", f"{R2}.on"),
        ("{id: a, points: 50, on: webinar.attended, cap: 50}", "one-signal", R2),
        ("{id: a, points: 50, on: webinar.attended, once_per: lead}", "one-signal", R2),
        ("{id: a, points: 5, on: webinar.attended, cap: 50}", "one-signal", R2),
        ("{id: a, points: 5, on: webinar.attended}", "no-cap", R2),
        ("{id: a, points: 1, on: webinar.attended, weigh: {path: minutes, min: 0, max: 50}, cap: 60}", "one-signal", R2),
        ("{id: a, points: -1, on: webinar.attended, weigh: {path: minutes, min: -60, max: 0}, cap: 60}", "one-signal", R2),
        ("{id: a, points: 1, on: webinar.attended, weigh: {path: minutes, min: 0, max: 5}}", "no-cap", R2),
        ("{id: a, points: 1, on: webinar.attended, once_per: [webinar_id, minuts], cap: 3}", "unknown-field", f"{R2}.once_per"),
        (
            "{id: a, points: 1, on: webinar.attended, weigh: {path: minuts, min: 0, max: 5}, cap: 3}",
            "unknown-field",
            f"{R2}.weigh.path",
        ),
        ("{id: a, points: 5, on: webinar.attended, once_per: webinar_id}", "no-cap", R2),
        ("{id: a, points: 5, on: content.downloaded, cap: 9}", "download-like-demo", f"{R2}.points"),
        ("{id: a, points: 5, on: webinar.attended, cap: 9, once_per: webinarid}", "unknown-field", f"{R2}.once_per"),
        ("{id: a, points: 5, on: webinar.attended, cap: 9, where: {shares: {gt: 0.5}}}", "unknown-field", f"{R2}.where.shares"),
        (
            '{id: a, points: 5, on: webinar.attended, cap: 9, where: {minutes: {gte: "10"}}}',
            "number-in-quotes",
            f"{R2}.where.minutes.gte",
        ),
        (
            "{id: a, points: 5, on: page.viewed, cap: 9, where: {page_type: [pricing, prices]}}",
            "unknown-page-type",
            f"{R2}.where.page_type",
        ),
        ("{id: a, points: 1, on: [page.viewed, score.adjusted], where: {x: 1}, cap: 9}", "adjustment-unweighed", R2),
    ],
)
def test_a_rule_that_misleads_is_warned_of(rule: str, code: str, path: str) -> None:
    """Each in a grid that is sound otherwise, so that it is this rule that is meant."""
    assert codes(sound(rule)) == [(code, path)]


@pytest.mark.parametrize(
    "rule",
    [
        "{id: a, points: 50, on: demo.requested, cap: 50, intent: true}",
        "{id: a, points: 49, on: webinar.attended, cap: 49}",
        "{id: a, points: 80, on: webinar.attended, cap: 49}",
        "{id: a, points: 30, on: demo.requested, intent: true}",
        "{id: a, points: 5, on: webinar.attended, once_per: lead}",
        "{id: a, points: -5, on: email.bounced}",
        "{id: a, points: 5, on: webinar.attended, cap: 9, where: {room: blue}}",
        "{id: a, points: 5, on: form.submitted, cap: 9, where: {fields.budget: {gt: 5}}}",
    ],
)
def test_a_rule_that_may_be_meant_so_is_not(rule: str) -> None:
    """An intent may cross alone, a cap below the rung holds, a field that resembles none may be the producer's own."""
    assert codes(sound(rule)) == []


def test_points_that_a_clamp_holds_cross_nothing() -> None:
    """The sum's own limit is enough."""
    rule = "{id: a, points: 90, on: webinar.attended}"
    assert codes(sound(rule), {"engagement.max": 49, "stages.sql.enter": 60}) == []


def test_even_an_intent_needs_a_cap_where_nothing_else_holds_it() -> None:
    """Without a max of the engagement, asking for a demo ten times is worth ten demos."""
    rule = "{id: a, points: 30, on: demo.requested, intent: true}"
    assert codes(sound(rule), {"engagement.max": None}) == [("no-cap", R2)]


def test_a_fit_rule_or_a_pace_that_crosses_alone_is_one_signal_too() -> None:
    """Being someone, or coming often, is no request."""
    assert codes(SOUND, {"fit.max": 60, "fit.rules.territory.points": 55}) == [("one-signal", "fit.rules[0]")]
    often = "{id: p, on: page.viewed, count: days, within: 7d, steps: {3: 5, 5: 75}}"
    assert codes(SOUND, {"velocity.+": often}) == [("one-signal", "velocity[0]")]


def test_everything_scored_is_told_of_a_grid_that_scores_every_deed() -> None:
    """A busy lead is not a warm one."""
    named = ", ".join(ACTIVITIES)
    assert ("everything-scored", "engagement.rules") in codes(sound(f"{{id: a, points: 1, on: [{named}], cap: 3}}"))
    assert set(ACTIVITIES) < set(EVENT_TYPES)


def test_too_many_rules_are_everything_scored() -> None:
    """Nobody explains more to a salesperson."""
    more = [f"{{id: r{i}, points: -1, on: email.bounced}}" for i in range(MAX_RULES - 3)]
    assert codes(sound(*more)) == []
    assert codes(sound(*more, "{id: one-more, points: -1, on: email.bounced}")) == [("everything-scored", "")]


def test_a_demo_must_be_worth_more_than_a_download_and_a_click_more_than_an_open() -> None:
    """What is compared is what one event gives, the cap included."""
    download, demo = (
        "{id: a, points: 9, on: content.downloaded, cap: 9}",
        "{id: b, points: %s, on: demo.requested, cap: %s}",
    )
    assert codes(sound(download, demo % (9, 9))) == [("download-like-demo", f"{R2}.points")]
    assert codes(sound(download, demo % (30, 8))) == [("download-like-demo", f"{R2}.points")]
    assert codes(sound(download, demo % (30, 30))) == []
    opened, clicked = "{id: a, points: 3, on: email.opened, cap: 9}", "{id: b, points: %s, on: email.clicked, cap: 9}"
    assert codes(sound(opened, clicked % 3)) == [("open-like-click", f"{R2}.points")]
    assert codes(sound(opened, clicked % 4)) == []
    assert codes(sound(opened)) == []


@pytest.mark.parametrize(
    ("at", "value", "code", "path"),
    [
        ("engagement.rules.no-show.points", 0, "no-negative-points", ""),
        ("stages.mql.leave", 51, "leave-above-enter", "stages.mql.leave"),
        ("stages.sql.leave", 76, "leave-above-enter", "stages.sql.leave"),
        ("stages.sql", "{enter: 45, leave: 40}", "rungs-swapped", "stages.sql.enter"),
        ("score", "{max: 70}", "unreachable", "stages.sql.enter"),
        ("stages.sql.min_fit", 41, "unreachable", "stages.sql.min_fit"),
        ("stages.sql.intent_within", "30d", "unreachable", "stages.sql.intent_within"),
        ("stages.mql.intent_within", "30d", "unreachable", "stages.mql.intent_within"),
        ("stages.mql.min_engagement", 81, "unreachable", "stages.mql.min_engagement"),
        ("phases", "{early: 10, late: 121}", "unreachable", "phases.late"),
        ("engagement.half_life", None, "no-decay", "engagement"),
        ("inactivity", "{after: 14d, points: 5}", "inactivity-rewards", "inactivity.points"),
        ("stages", "{}", "no-ladder", "stages"),
        (
            "velocity.+",
            "{id: p, on: page.viewed, count: days, within: 7d, steps: {8: 5}}",
            "unreachable",
            "velocity[0].steps",
        ),
        (
            "velocity.+",
            "{id: p, on: page.viewed, count: sessions, within: 1d, steps: {17: 5}}",
            "unreachable",
            "velocity[0].steps",
        ),
        ("grades", "{fit: {A: 10, B: 15, C: 0}, engagement: {1: 40, 2: 20}}", "bands-out-of-order", "grades.fit.B"),
    ],
)
def test_a_ladder_that_cannot_work_is_warned_of(at: str, value: object, code: str, path: str) -> None:
    """One change to the sound grid, one warning."""
    assert codes(SOUND, {at: value}) == [(code, path)]


def test_a_warning_names_the_line_why_and_what_to_do() -> None:
    """It is read by who wrote the grid, not by who wrote this."""
    (warning,) = lint(parsed(sound("{id: a, points: 5, on: webinar.attended}")))
    assert warning.line == len(SOUND.splitlines()) + 1
    assert "up to the engagement's max of 80" in warning.message
    assert "add a cap, as in cap: 15" in warning.message


def matching(pattern: str) -> str:
    """Return a sound grid with a rule that matches a url by *pattern*."""
    return sound(f"{{id: a, points: 5, on: page.viewed, cap: 9, where: {{url: {{matches: '{pattern}'}}}}}}")


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a+)+$",
        "(a*)*b",
        "(a|aa)+$",
        r"(\w|\d)+$",
        "(a|b|ab)*c",
        r"^https://x\.example/(\w+\s?)*$",
        "(.*,)*x",
        "(?:[a-z]+){2,}!",
        "(?P<n>[^]x]+)*x",
        "((a+))+$",
        "(a+){1,50}$",
    ],
)
def test_a_pattern_that_a_text_can_keep_busy_for_years_is_named(pattern: str) -> None:
    """Nothing interrupts a search once it has begun: the partition would stand still, and every worker that takes it over."""
    assert codes(matching(pattern)) == [("slow-pattern", f"{R2}.where.url.matches")]


@pytest.mark.parametrize(
    "pattern",
    [
        "^/pricing",
        "a+b+c+",
        "(/[a-z]+)*$",
        "(a|b)+",
        r"\(a+\)+",
        "[(a+)+]+",
        "(a+)++",
        "(?>a+)+",
        "(abc)+",
        r"(\d{3})+",
        "(a+)?",
        "x{2,}",
    ],
)
def test_a_pattern_whose_turns_are_told_apart_is_not(pattern: str) -> None:
    """Groups that repeat are usual."""
    assert codes(matching(pattern)) == []


FIT = "fit.rules[0]"


@pytest.mark.parametrize(
    ("where", "near"),
    [
        ("{company.siez: 5}", "company.size"),
        ("{companySize: 5}", "company.size"),
        ("{industry: saas}", "company.industry"),
        ("{e-mail_kind: free}", "email_kind"),
        ("{Role: cto}", "role"),
        ("{contry: FR}", "country"),
    ],
)
def test_a_trait_that_nearly_is_a_known_one_is_warned_of(where: str, near: str) -> None:
    """No producer sends it: the rule would hold for no lead, in silence."""
    (found,) = lint_of(where)
    assert (found.code, found.path.startswith(f"{FIT}.where.")) == ("unknown-trait", True)
    assert f"did you mean {near!r}" in found.message


def lint_of(where: str, seen: set[str] | None = None) -> list[Lint]:
    """Return the warnings about a sound grid with this `where` in its fit rule."""
    return lint(parse_grid(changed(sound(), {"fit.rules.territory.where": where}), "g.yaml"), seen)


@pytest.mark.parametrize("where", ["{tags: a}", "{do_not_call: true}", "{company: {exists: true}}", "{company.city: Lyon}"])
def test_a_trait_of_ones_own_is_not_unless_events_were_looked_at(where: str) -> None:
    """Any name will do, so only the events tell."""
    assert lint_of(where) == []
    assert lint_of(where, {"tags", "do_not_call", "company.city"}) == []
    found = lint_of(where, set())
    assert [one.code for one in found] == ([] if "exists" in where else ["unknown-trait"])


def test_a_trait_that_the_grid_names_as_its_own_is_meant() -> None:
    """Exports of a CRM say Country, and a misspelt form of it is found too."""
    named = changed(sound(), {"traits": "[Country, Company Size]", "fit.rules.territory.where": "{Country: FR}"})
    assert lint(parse_grid(named, "g.yaml")) == []
    (found,) = lint(parse_grid(changed(named, {"fit.rules.territory.where": "{CompanySize: 5}"}), "g.yaml"))
    assert (found.code, "did you mean 'Company Size'" in found.message) == ("unknown-trait", True)


def test_a_trait_without_a_name_is_no_path() -> None:
    """`Nr.` ends in a dot, and no event can have it."""
    with pytest.raises(GridError, match=r"'Nr\.' is no path"):
        parse_grid(changed(sound(), {"traits": "[Nr.]"}), "g.yaml")


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("{country: “FR”}", 'write "FR"'),
        ("{country: [«FR», BE]}", 'write "FR"'),
        ("{country: ‘FR’}", 'write "FR"'),
        ("{“country”: FR}", 'write "country"'),
    ],
)
def test_curly_quotes_are_warned_of(where: str, says: str) -> None:
    """A word processor writes them for quotes, and YAML takes them for letters."""
    (found,) = [one for one in lint_of(where) if one.code == "curly-quotes"]
    assert says in found.message


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("{country: FR or BE}", "[FR, BE]"),
        ("{country: FR || BE || CH}", "[FR, BE]"),
        ("{role: contains manager}", "words: [..]"),
        ("{role: {not: Not manager}}", "{not: [..]}"),
        ("{company.size: '> 50'}", "{gt: 50}"),
        ("{company.size: ['>=50']}", "{gt: 50}"),
        ("{role: growth*}", "words: [..]"),
        ("{role: {words: [head, growth*]}}", "matches: '(?i)growth'"),
    ],
)
def test_operators_inside_texts_are_warned_of(where: str, says: str) -> None:
    """Each with what says what is meant."""
    (found,) = lint_of(where)
    assert found.code == "operator-in-text"
    assert says in found.message


@pytest.mark.parametrize(
    "where",
    [
        "{company.name: L’Oréal}",
        "{company.name: Research and Development}",
        "{role: {matches: '^not .*'}}",
        "{role: head of sales or marketing in Paris}",
        "{company.name: -> Acme}",
        "{company.name: '*'}",
        "{role: {words: [C++, '100 % remote', R&D]}}",
    ],
)
def test_texts_that_only_look_like_them_are_not(where: str) -> None:
    """Or nobody would read the warnings."""
    assert lint_of(where) == []


@pytest.mark.parametrize("pattern", ["*HTTPS://acme.example/pricing*", "*//acme.example/x", "/pricing%3Fplan=pro", "/a%23b"])
def test_a_pattern_that_is_meant_for_a_whole_url_is_warned_of(pattern: str) -> None:
    """Only the path is compared."""
    assert codes(changed(sound(), {"pages.pricing": f'"{pattern}"'})) == [("page-never-matches", "pages.pricing")]


def test_the_known_traits_are_those_of_the_packed_state_and_of_the_schema() -> None:
    """One list for the check of grids, for producers and for what is packed short."""
    assert set(TRAITS) == set(TRAIT_NAMES)
    described = DATA_FIELDS["profile.updated"]["traits"].description
    assert [name for name in (*TRAITS, *DERIVED_TRAITS) if name.rpartition(".")[2] not in described] == []


def test_a_groups_cap_bounds_its_rules_and_the_best_of_a_group_does_not() -> None:
    """Neither does `weigh`: it bounds one event, not their sum."""
    rule = "{id: a, points: 50, on: webinar.attended, group: some}"
    assert codes(sound(rule) + "groups: {some: {cap: 20}}\n") == []
    assert codes(sound(rule) + "groups: {some: {best: true}}\n") == [("one-signal", R2), ("no-cap", R2)]
    fit = SOUND.replace("points: 10, where: {country: FR}", "points: 60, group: some, where: {country: FR}").replace(
        "max: 40", "max: 90"
    )
    assert codes(fit + "groups: {some: {cap: 40}}\n") == []
    assert codes(fit + "groups: {some: {best: true}}\n") == [("one-signal", "fit.rules[0]")]


def test_a_line_or_a_window_is_a_decay() -> None:
    """And so is a default of either kind."""
    still = SOUND.replace("half_life: 14d", "half_life: none")
    assert ("no-decay", "engagement") in codes(still)
    for decay in ("{linear: 60d}", "{window: 30d}", "{half_life: 14d}"):
        assert codes(SOUND.replace("half_life: 14d", f"decay: {decay}")) == []


def test_a_label_of_a_page_type_that_nearly_is_one_is_warned_of() -> None:
    """Events may bring types of their own, so any other name is fine."""
    assert codes(SOUND, {"labels": {"pricin": "Prices", "careers": "Jobs"}}) == [("unknown-page-type", "labels.pricin")]
    assert codes(SOUND, {"labels": {"pricing": "Prices", "careers": "Jobs"}}) == []


@pytest.mark.parametrize(
    ("bands", "lowest"),
    [
        ([["1-49", -10], ["200+", 5]], ["1", "200"]),
        ([["1 – 49", -10], ["50", 5]], ["1"]),
        ([["2026-01", -1], ["2026-01-31", 5], ["A-B", 5]], []),
    ],
)
def test_a_range_as_the_floor_of_a_band_is_warned_of(bands: list[list[object]], lowest: list[str]) -> None:
    """As CRMs write sizes: a text, which no number reaches. Dates are texts that are meant."""
    rule = {"id": "size", "points": {"table": "company.size", "bands": bands}}
    said = [one.message for one in lint(parsed(changed(SOUND, {"fit.rules.+": rule}))) if one.code == "number-in-quotes"]
    assert [text.rpartition("lowest number alone, ")[2] for text in said if "lowest" in text] == lowest
