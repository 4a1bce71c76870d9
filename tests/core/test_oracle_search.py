"""The oracle's search for the instants at which time alone moves a lead, against a walk through every millisecond."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.by_hand import START, an_oracle
from tests.kit.examples import examples
from tests.kit.grids import a_grid
from tests.kit.oracle import Oracle
from tests.kit.oracle_score import Lead
from tests.kit.oracle_values import rfc3339


class EveryMillisecond(Oracle):
    """The oracle without its search: it asks the ladder at every single millisecond."""

    def _first_move(self, lead: Lead, start: int, end: int) -> int | None:
        return next((t for t in range(start, end + 1) if self._would_move(lead, t)), None)


@examples(60)
@given(
    st.lists(
        st.tuples(st.integers(-1500, 1500), st.sampled_from(["page.viewed", "email.bounced", "crm.rejected"])), max_size=6
    ),
    st.sampled_from([3.1, 7.7, 9.3]),
    st.sampled_from(["1s", "2s", "none"]),
)
def test_the_search_finds_the_instants_that_a_walk_through_every_millisecond_finds(
    happened: list[tuple[int, str]], enter: float, half_life: str
) -> None:
    """Around a midnight, with half-lives, penalties and waits of a second or two: the halving misses nothing."""
    grid = a_grid(
        engagement=f"""
            half_life: 1s
            rules:
              - {{id: page, points: 6, on: page.viewed, cap: 11, half_life: {half_life}}}
              - {{id: cold, points: -5, on: email.bounced, expires_after: 2s}}
              - {{id: lost, points: 2, on: crm.rejected, intent: true}}
        """,
        velocity="[{id: v, on: page.viewed, count: days, within: 1d, steps: {1: 1}}]",
        inactivity="{after: 1s, every: 1s, points: -1, min: -2}",
        stages=f"""
            mql: {{enter: {enter}, leave: {enter - 2}}}
            sql: {{enter: {enter + 2}, intent_within: 1s, sla: 2s}}
            quiet: 1s
        """,
        phases=f"{{early: 1.1, late: {{enter: {enter + 1}, leave: 4.3}}}}",
    )
    outputs = []
    for oracle in (an_oracle(grid), an_oracle(grid, EveryMillisecond)):
        for n, (at, kind) in enumerate(happened):
            oracle.event({"id": str(n), "source": "/", "type": kind, "subject": "ada", "time": rfc3339(START + at), "data": {}})
        outputs.append(oracle.finish(START + 4_000)[1])
    assert outputs[0] == outputs[1]


@examples(30)
@given(
    st.lists(
        st.tuples(
            st.integers(-1500, 1500),
            st.sampled_from(["page.viewed", "email.bounced", "score.adjusted"]),
            st.sampled_from([1, -2.5, "3"]),
        ),
        max_size=6,
    ),
    st.sampled_from([3.1, 7.7]),
    st.sampled_from(["{linear: 2s}", "{window: 1s}", "{half_life: 2s}"]),
    st.sampled_from(["{best: true}", "{cap: 6}"]),
)
def test_it_finds_the_ends_of_lines_and_windows_and_where_the_greatest_changes(
    happened: list[tuple[int, str, Any]], enter: float, decay: str, group: str
) -> None:
    """With weights of either sign, and parts of a group that are equal for a while."""
    grid = a_grid(
        groups=f"{{g: {group}}}",
        engagement=f"""
            decay: {{linear: 1s}}
            rules:
              - {{id: page, points: 6, on: page.viewed, cap: 11, decay: {decay}, group: g}}
              - {{id: cold, points: -5, on: email.bounced, half_life: 1s, group: g}}
              - {{id: also, points: -6, on: page.viewed, decay: {decay}, group: g}}
              - {{id: hand, points: 1, on: score.adjusted, weigh: {{path: points, min: -9, max: 9}}}}
        """,
        inactivity="[{after: 1s, points: -1}, {after: 2s, every: 1s, points: -1, min: -2}]",
        stages=f"{{mql: {{enter: {enter}, leave: {enter - 2}}}}}",
        phases="{early: 1.1, late: {enter: 4.1, leave: 2.3}}",
    )
    outputs = []
    for oracle in (an_oracle(grid), an_oracle(grid, EveryMillisecond)):
        for n, (at, kind, points) in enumerate(happened):
            event = {"id": str(n), "source": "/", "type": kind, "subject": "ada", "time": rfc3339(START + at)}
            oracle.event(event | {"data": {"points": points}})
        outputs.append(oracle.finish(START + 4_000)[1])
    assert outputs[0] == outputs[1]
