"""Scores worked out by hand for the words that grids gained later: the oracle must be right about these too, and the core."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.by_hand import Story
from tests.kit.grids import a_grid
from tests.kit.stories import DAY, HOUR


def rules(*rules: str, **more: object) -> str:
    """Return a grid of engagement rules."""
    return a_grid(engagement={"rules": []}, **more).replace('"rules": []', f'"rules": [{", ".join(rules)}]')


def test_a_straight_line_ends_after_its_time() -> None:
    """10 points over ten days: 9 after one day, 5 after five, nothing from the tenth on."""
    story = Story(rules("{id: r, points: 10, on: page.viewed, decay: {linear: 10d}}")).event(0)
    assert [story.score(n * DAY) for n in (0, 1, 5, 10, 11)] == pytest.approx([10, 9, 5, 0, 0])


def test_a_window_ends_at_the_instant_stated() -> None:
    """Each occurrence by itself, unlike `expires_after`."""
    story = Story(rules("{id: r, points: 10, on: page.viewed, decay: {window: 2d}}")).event(0).event(DAY)
    assert [story.score(at) for at in (DAY, 2 * DAY - 1, 2 * DAY, 3 * DAY - 1, 3 * DAY)] == [20, 20, 10, 10, 0]


def test_a_rules_own_word_wins_over_the_default() -> None:
    """Whichever of `decay` and `half_life` either of them uses."""
    own = "{id: own, points: 8, on: page.viewed, half_life: 1d}, {id: default, points: 8, on: page.viewed}"
    grid = a_grid(engagement=f"{{decay: {{window: 3d}}, rules: [{own}]}}")
    assert Story(grid).event(0).score(DAY) == pytest.approx(4 + 8)
    grid = a_grid(
        engagement="{half_life: 1d, rules: [{id: own, points: 8, on: page.viewed, decay: {linear: 4d}}]}",
    )
    assert Story(grid).event(0).score(DAY) == pytest.approx(6)


def test_past_64_occurrences_the_earliest_counts_no_more() -> None:
    """66 views, an hour apart: the two earliest are forgotten, though the window still holds them."""
    story = Story(rules("{id: r, points: 1, on: page.viewed, decay: {window: 30d}}"))
    for n in range(66):
        story.event(n * HOUR)
    assert story.score(66 * HOUR) == 64
    assert story.score(30 * DAY + 2 * HOUR - 1) == 64
    assert story.score(30 * DAY + 2 * HOUR) == 63


@pytest.mark.parametrize(
    ("value", "counts"),
    [(15, 15), ("15", 15), (" -3.5 ", -3.5), (80, 50), (-80, -50), ("many", 0), (True, 0), (None, 0), ([3], 0), ("", 0)],
)
def test_an_event_weighs_a_number_of_its_data(value: Any, counts: float) -> None:
    """Held between `min` and `max`; what is no number counts 0, and is a match all the same."""
    grid = rules("{id: r, points: 2, on: page.viewed, weigh: {path: n, min: -50, max: 50}}")
    assert Story(grid).event(0, n=value).score(0) == 2 * counts


def test_what_is_missing_counts_nothing_even_above_a_floor() -> None:
    """`min: 1` is for numbers; `times` comes before the bounds."""
    grid = rules("{id: r, points: 1, on: page.viewed, weigh: {path: n, min: 1, max: 5, times: 0.5}}")
    story = Story(grid).event(0).event(0, n=0).event(0, n=6).event(0, n=100)
    assert story.score(0) == 0 + 1 + 3 + 5


def test_of_a_value_the_earliest_occurrence_has_its_weight_and_of_several_the_greatest() -> None:
    """A late event that is earlier takes the place of what counted before."""
    grid = rules("{id: r, points: 1, on: page.viewed, once_per: session_id, weigh: {path: n, min: -9, max: 9}}")
    story = Story(grid).event(DAY, session_id="s", n=2).event(DAY, session_id="s", n=5).event(DAY, session_id="s", n=3)
    assert story.score(DAY) == 5
    assert story.event(0, session_id="s", n=-4).score(DAY) == -4


def test_once_per_combination() -> None:
    """Message and link, or day and session; without one of them an event is one of its own."""
    grid = rules("{id: r, points: 1, on: email.clicked, once_per: [message_id, url]}")
    story = Story(grid)
    for message, url in (("a", "x"), ("a", "y"), ("b", "x"), ("a", "x"), ("a", None), ("a", None)):
        story.event(0, "email.clicked", message_id=message, url=url)
    assert story.score(0) == 5
    grid = rules("{id: r, points: 1, on: page.viewed, once_per: [day, session_id]}", timezone="Europe/Paris")
    story = Story(grid).event(22 * HOUR, session_id=1).event(23 * HOUR, session_id="1").event(24 * HOUR, session_id="1")
    assert story.score(24 * HOUR) == 2


def test_a_group_holds_the_sum_of_its_rules() -> None:
    """After each rule's own cap; one reason makes up the difference."""
    grid = rules(
        "{id: a, points: 8, on: page.viewed, cap: 10, group: g}",
        "{id: b, points: 6, on: email.clicked, group: g}",
        groups="{g: {cap: 12}}",
    )
    story = Story(grid).event(0).event(0)
    assert (story.score(0), story.row(0)["reasons"][-1]["kind"]) == (10, "rule")
    story.event(0, "email.clicked")
    assert story.score(0) == 12
    assert story.reason(0, "group", "g")["points"] == -4


def test_only_the_greatest_of_a_group_counts_without_the_sign() -> None:
    """−9 beats 6 until it has faded to less, and of two that are as great the first in the grid counts."""
    grid = rules(
        "{id: a, points: 6, on: page.viewed, group: g}",
        "{id: b, points: -9, on: email.bounced, half_life: 1d, group: g}",
        "{id: c, points: -6, on: page.viewed, group: g}",
        groups="{g: {best: true}}",
    )
    story = Story(grid).event(0).event(0, "email.bounced")
    assert story.score(0) == -9
    assert story.score(DAY) == 6


def test_the_instant_at_which_another_part_is_the_greatest_moves_a_lead() -> None:
    """−8 halves in a day: it is −4 at one day exactly, and then as great as 4, which stands first."""
    grid = rules(
        "{id: a, points: 4, on: page.viewed, group: g}",
        "{id: b, points: -8, on: email.bounced, half_life: 1d, group: g}",
        groups="{g: {best: true}}",
        stages="{mql: {enter: 3}}",
    )
    story = Story(grid).event(0, "email.bounced").event(0).tick(3 * DAY)
    assert story.outputs() == [(DAY, "lead.mql", "contact", "mql")]


def test_a_straight_line_cools_a_lead_at_its_millisecond() -> None:
    """10 points over ten days are below 5 one millisecond after five days (the allowance is 1e-9, less than a millisecond)."""
    grid = rules("{id: r, points: 10, on: page.viewed, decay: {linear: 10d}}", stages="{mql: {enter: 5}}")
    story = Story(grid).event(0).tick(9 * DAY)
    assert story.outputs() == [(0, "lead.mql", "contact", "mql"), (5 * DAY + 1, "lead.cooled", "mql", "contact")]


TITLE = "{id: title, points: {table: role, values: {CEO: 15, CMO: 12, 7: 3}, else: 1}}"
SIZE = "{id: size, points: {table: company.size, bands: [[1, -15], [10, 0], [50, 12], [201, 5]], else: -2}}"


@pytest.mark.parametrize(
    ("traits", "score", "row"),
    [
        ({"role": "CMO"}, 12, "CMO"),
        ({"role": "Cmo"}, 1, "else"),
        ({"role": "7"}, 3, "7"),
        ({"role": ["none", "CMO", "CEO"]}, 15, "CEO"),
        ({"company.size": 120}, 12, "50"),
        ({"company.size": "201"}, 5, "201"),
        ({"company.size": 0}, -2, "else"),
        ({"company.size": [5, 60]}, 12, "50"),
        ({"company.size": "many"}, -2, "else"),
        ({"company.size.about": 60}, -2, "else"),
    ],
)
def test_a_table_gives_the_points_of_its_row(traits: dict[str, Any], score: float, row: str) -> None:
    """The first row that any element of a list meets, and of bands the last floor that any reaches."""
    story = Story(a_grid(fit=f"{{rules: [{TITLE}, {SIZE}]}}")).traits(0, **traits)
    assert story.score(0) == score
    assert [reason["row"] for reason in story.row(0)["reasons"]] == [row]


def test_a_missing_trait_gives_nothing_and_a_where_must_hold_too() -> None:
    """`else` is for what is there."""
    grid = a_grid(fit=f"{{rules: [{TITLE[:-1]}, where: {{country: FR}}}}]}}")
    assert Story(grid).traits(0, country="FR", role=" ").score(0) == 0
    assert Story(grid).traits(0, country="FR", role="x").score(0) == 1
    assert Story(grid).traits(0, country="DE", role="CEO").score(0) == 0


def test_the_points_of_the_tiers_add_up_and_each_is_a_reason() -> None:
    """One that comes once, and one that steps to its own floor."""
    tiers = "[{after: 2d, points: -10}, {after: 3d, every: 1d, points: -2, min: -5}]"
    story = Story(a_grid(inactivity=tiers)).event(0)
    assert [story.score(n * DAY) for n in (1, 2, 3, 4, 5, 9)] == [0, -10, -12, -14, -15, -15]
    assert [(r["place"], r["points"]) for r in story.row(9 * DAY)["reasons"]] == [(1, -10), (2, -5)]


def test_an_exclusion_ends_with_a_later_event() -> None:
    """At the same instant it holds, in whatever order they arrive; a machine ends nothing."""
    grid = a_grid(
        exclusions="[{id: gone, on: email.unsubscribed, where: {list: news}, until: [email.subscribed, custom.back.*]}]"
    )
    story = Story(grid).event(0, "email.unsubscribed", list="news").event(0, "email.subscribed")
    assert story.row(0)["stage"] == "excluded"
    story.event(1, "custom.back.again", machine=True).event(1, "custom.back")
    assert story.row(1)["stage"] == "excluded"
    assert story.event(1, "custom.back.again").row(1)["stage"] == "contact"
    assert story.event(3, "email.unsubscribed", list="news").event(2, "email.subscribed").row(3)["stage"] == "excluded"
    assert story.event(4, "email.subscribed", list="other").row(4)["stage"] == "contact"
    assert story.event(5, "email.unsubscribed", list="other").row(5)["stage"] == "contact"


def test_types_of_ones_own_and_a_persons_word() -> None:
    """A wildcard is all below a name, but not the name; a person's word is no activity."""
    grid = rules(
        "{id: calls, points: 5, on: custom.call.*}",
        "{id: any, points: 1, on: [custom.*, custom.call]}",
        "{id: by-hand, points: 1, on: score.adjusted, weigh: {path: points, min: -50, max: 50}, half_life: none}",
        inactivity="{after: 1d, points: -100}",
    )
    assert Story(grid).event(0, "custom.call").event(0, "custom.call.made").score(0) == 5 + 2
    assert Story(grid).event(0, "score.adjusted", points=15).event(0, "score.adjusted", points="-2.5").score(DAY) == 12.5
    assert Story(grid).event(0, "custom.fair").score(DAY) == -99
    assert Story(grid).event(0, "email.subscribed", message_id=None).score(DAY) == -100
    assert Story(grid).event(0, "custom.call").reason(0, "rule", "any")["on"] == ["custom.*", "custom.call"]
