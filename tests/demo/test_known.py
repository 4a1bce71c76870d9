"""Simulated outcomes: that they follow the odds that are written down, and that what was planted is there."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from worker.cli.simulate import simulate
from worker.core.contract.codec import decode
from worker.core.contract.instants import instant
from worker.core.contract.model import Event, Record, Rejected
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.signals import signal_ids
from worker.demo.agenda import DAY_MS, MINUTE_MS
from worker.demo.known import CALL_LEAK, LEAKS, KnownOutcomes, Odds, Plan, folded
from worker.demo.odds import HORIZON_MS, first_beyond, grid_weights, points_a_unit, softplus
from worker.demo.simulate import Scenario, SimRecord, events
from worker.presets import read_grid

GRID = read_grid("saas-b2b")


def known(leads: int = 400, seed: int = 1, days: float = 365, **plan: Any) -> KnownOutcomes:
    """Traffic without disorder."""
    return KnownOutcomes(Scenario(seed=seed, leads=leads, days=days), Plan(**{"grid": GRID} | plan))


def read_all(traffic: KnownOutcomes) -> tuple[list[SimRecord], list[dict[str, Any]]]:
    """Its records, and the CloudEvents in them."""
    records = list(traffic.records())
    return records, [json.loads(record.value) for record in records]


def ms(event: dict[str, Any]) -> int:
    """When it happened."""
    found = instant(event["time"])
    assert found is not None
    return found


def fading(half_life_days: float) -> Callable[[int], float]:
    """A hazard of the next 90 days that halves again and again, and drops at day 14, as inactivity does."""
    return lambda at_ms: softplus(-3 + 4 * 0.5 ** (at_ms / DAY_MS / half_life_days) - (at_ms >= 14 * DAY_MS))


@pytest.mark.parametrize("due", [fading(7), fading(30), lambda at_ms: softplus(-1.0)], ids=["7 d", "30 d", "steady"])
def test_at_any_instant_the_chance_of_the_next_90_days_is_the_one_that_is_due(due: Callable[[int], float]) -> None:
    """So rows at several instants of one lead all obey the same weights."""
    draws = 4_000
    wins = [first_beyond(due, -math.log1p(-(k + 0.5) / draws), 0, 400 * DAY_MS) for k in range(draws)]
    for day in (0, 3, 13, 15, 40, 100, 250):
        open_ = [win for win in wins if win is None or win > day * DAY_MS]
        won = sum(win is not None and win <= (day + 90) * DAY_MS for win in open_)
        assert won / len(open_) == pytest.approx(-math.expm1(-due(day * DAY_MS)), abs=0.003), day


def test_outcomes_follow_the_true_weights() -> None:
    """By deciles of the true odds, at the last act of each lead. Four standard deviations of room."""
    traffic = known(4_000, won_rate=0.1, late_wins_days=0)
    rows = []
    for number in range(4_000):
        lead = traffic._lead(number)
        won_ms = lead.course.wins_at(traffic.base, lead.rnd.random(), lead.life.last_ms, lead.life.last_ms + HORIZON_MS)
        rows.append((1 / (1 + math.exp(-traffic.base - lead.course.log_odds(lead.life.last_ms))), won_ms is not None))
    rows.sort()
    assert rows[-100][0] > 0.4
    for start in range(0, 4_000, 400):
        part = rows[start : start + 400]
        expected, spread = sum(p for p, _ in part), math.sqrt(sum(p * (1 - p) for p, _ in part))
        assert sum(won for _, won in part) == pytest.approx(expected, abs=4 * spread + 0.5)
    truth = traffic.truth()
    assert sum(p for p, _ in rows[:]) / 4_000 == pytest.approx(0.1, abs=0.01)
    assert set(truth["weights"]) == set(signal_ids(CompiledGrid(GRID, "/x")))


def test_the_grid_is_a_good_guess_of_the_true_weights() -> None:
    """A tenth of the signals is worth nothing; the others are mostly within a factor of two."""
    weights, guesses = known().weights, grid_weights(CompiledGrid(GRID, "/x"))
    assert guesses["demo"] == pytest.approx(80 / points_a_unit(GRID))
    assert points_a_unit(GRID) == pytest.approx(23.37, abs=0.01)
    ratios = [weights[name] / guesses[name] for name in guesses if guesses[name]]
    assert all(ratio >= 0 for ratio in ratios)
    assert 1 <= sum(ratio == 0 for ratio in ratios) <= 9
    assert sum(0.5 < ratio < 2 for ratio in ratios) > 0.6 * len(ratios)


def test_the_same_seed_gives_the_same_bytes_and_every_event_is_taken() -> None:
    """And what the simulation folds is what the worker would."""
    records, found = read_all(known(150, leaks=True, copies=1, called_by=GRID))
    assert records == list(known(150, leaks=True, copies=1, called_by=GRID).records())
    assert records != list(known(150, seed=2, leaks=True, copies=1, called_by=GRID).records())
    decoded = [decode(Record("t", 0, 0, None, None, record.value)) for record in records]
    assert not [one for one in decoded if isinstance(one, Rejected)]
    arrivals = [record.at_ms for record in records]
    assert arrivals == sorted(arrivals)
    assert all(ms(event) <= record.at_ms for record, event in zip(records, found, strict=True))
    life = known()._lead(3).life
    scorer = CompiledGrid(GRID, "/x")
    state = folded(scorer, life)
    for event, at_ms in zip(life.events, life.times, strict=True):
        one = decode(Record("t", 0, 0, None, None, json.dumps(event).encode()))
        assert isinstance(one, Event)
        assert (one.lead, one.type, one.at_ms, one.id, one.data) == (life.id, event["type"], at_ms, event["id"], event["data"])
    assert state.clock_ms == life.last_ms


def test_a_hidden_interest_drives_the_acts_together() -> None:
    """At 0 the number of product pages says nothing about visits of pricing pages."""

    def together(interest: float) -> float:
        _, found = read_all(known(1_500, interest=interest, days=30))
        pages: dict[str, Counter[str]] = {}
        for event in found:
            if event["type"] == "page.viewed":
                pages.setdefault(event["subject"], Counter())[event["data"]["url"].split("/")[3]] += 1
        both = [(lead["product"] > 0, lead["pricing"] > 0) for lead in pages.values()]
        keen = [pricing for product, pricing in both if product]
        others = [pricing for product, pricing in both if not product]
        return sum(keen) / len(keen) - sum(others) / len(others)

    assert abs(together(0)) < 0.06
    assert together(1.5) > 0.15


def test_copies_follow_what_they_copy_nine_times_in_ten() -> None:
    """And are worth nothing of their own."""
    traffic = known(1_000, copies=2, days=60)
    _, found = read_all(traffic)
    types = Counter(event["type"] for event in found)
    copied = types["demo.requested"] + sum(
        "/pricing" in e["data"].get("url", "") or "/tarifs" in e["data"].get("url", "") for e in found
    )
    for copy in (1, 2):
        assert types[f"custom.copy.{copy}"] / copied == pytest.approx(0.9, abs=0.05)
    assert [copy["type"] for copy in traffic.truth()["copies"]] == ["custom.copy.1", "custom.copy.2"]


def test_sales_call_the_leads_above_the_old_grid_alone_and_a_call_raises_the_odds() -> None:
    """The grid confirms itself: that is the bias that a refit must see through."""
    traffic = known(3_000, called_by=GRID, call_odds=20.0, won_rate=0.1)
    _, found = read_all(traffic)
    accepted = {event["subject"] for event in found if event["type"] == "crm.accepted"}
    won = {event["subject"] for event in found if event["type"] == "crm.won"}
    hot = {lead.life.id for lead in map(traffic._lead, range(3_000)) if lead.called_ms is not None}
    assert accepted <= hot
    assert 20 < len(accepted) < 400
    assert traffic.truth()["counts"]["called"] == len(hot)
    assert len(won & accepted) / len(accepted) > 0.5
    first_call = {event["subject"]: ms(event) for event in found if event["type"] == "crm.accepted"}
    assert all(ms(event) >= first_call.get(event["subject"], 0) for event in found if event["type"] == "crm.won")


def test_wins_are_recorded_late_and_those_of_a_month_never() -> None:
    """The event has the day on which the lead was won; the record comes later."""
    traffic = known(1_500, won_rate=0.2, late_wins_days=20, unrecorded=("2026-05",))
    records, found = read_all(traffic)
    wins = [(ms(event), record.at_ms) for record, event in zip(records, found, strict=True) if event["type"] == "crm.won"]
    delays = [(came_ms - at_ms) / DAY_MS for at_ms, came_ms in wins]
    assert 5 < sum(delays) / len(delays) < 15
    assert max(delays) <= 20
    months = Counter(event["time"][:7] for event in found if event["type"] == "crm.won")
    assert months["2026-05"] == 0
    assert min(months["2026-04"], months["2026-06"]) > 5
    counts = traffic.truth()["counts"]
    assert counts["recorded"] == len(wins) < counts["won"]


def test_leaks_are_planted_as_the_truth_says() -> None:
    """One is back-dated: only its arrival shows that it is no news of an open lead."""
    traffic = known(1_500, won_rate=0.2, leaks=True, called_by=GRID)
    records, found = read_all(traffic)
    won = {event["subject"]: ms(event) for event in found if event["type"] == "crm.won"}
    first: dict[str, int] = {}
    planted: Counter[str] = Counter()
    for record, event in zip(records, found, strict=True):
        lead, at_ms = event["subject"], ms(event)
        first.setdefault(lead, at_ms)
        traits = event["data"].get("traits", {})
        if "budget_band" in traits and lead in won:
            assert at_ms <= first[lead] + MINUTE_MS < won[lead] < record.at_ms
        if "onboarding_contact" in traits:
            assert won[lead] <= at_ms <= won[lead] + 10 * MINUTE_MS
        if event["type"] == "custom.contract.signed":
            assert won.get(lead, at_ms) - MINUTE_MS < at_ms <= won.get(lead, at_ms)
        for name in (*(f"trait:{trait}" for trait in traits), f"event:{event['type']}"):
            planted[name] += 1
    leaks = traffic.truth()["leaks"]
    assert [leak["name"] for leak in leaks] == [leak.name for leak in (*LEAKS, CALL_LEAK)]
    for leak in leaks:
        assert planted[leak["name"]] == leak["records"] > 5


def test_traffic_without_known_outcomes_is_what_it_was() -> None:
    """Runs that were written down can be made again."""
    found = hashlib.sha256(b"\n".join(record.value for record in events(Scenario(seed=3, leads=60, days=5, late=0.1))))
    assert found.hexdigest()[:16] == "41e513f2204a6a9c"


def test_the_command_writes_events_and_the_truth(tmp_path: Path) -> None:
    """In words it says how many were won."""
    truth, out = tmp_path / "truth.json", tmp_path / "events.jsonl"
    result = CliRunner().invoke(simulate, ["--leads", "60", "--truth", str(truth), "--out", str(out), "--leaks"])
    assert result.exit_code == 0, result.stderr
    written = json.loads(truth.read_text())
    assert (written["truth"], written["grid"]["name"], written["counts"]["leads"]) == (1, "saas-b2b", 60)
    assert (written["from"], written["to"]) == ("2026-01-05T00:00:00.000Z", "2027-01-05T00:00:00.000Z")
    assert f"60 leads, {written['counts']['won']} won" in result.stderr
    assert out.read_bytes().count(b"\n") > 300


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--leaks"], "--leaks needs --truth OUT.json"),
        (["--grid", "saas-b2b"], "--grid needs --truth"),
        (["--truth", "t.json", "--won-rate", "0.7"], "0.7"),
        (["--truth", "t.json", "--unrecorded", "2026-13"], "'2026-13' is not a month like 2026-03"),
        (["--truth", "nowhere/t.json"], "nowhere/t.json: No such directory"),
        (["--truth", "t.json", "--called-by", "nobody"], "grid nobody"),
    ],
)
def test_wrong_usage_is_named(wrong: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is simulated."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(simulate, wrong)
    assert result.exit_code in (1, 2)
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("plan", "words"), [({"won_rate": 0.0}, "won rate: 0.0"), ({"call_odds": 0.0}, "call odds: 0.0")])
def test_wrong_plans_are_named(plan: dict[str, Any], words: str) -> None:
    """With what was given and what is expected."""
    with pytest.raises(ValueError, match=words):
        Plan(grid=GRID, **plan)


def test_other_leads_obey_the_odds_of_an_earlier_truth() -> None:
    """With another seed and other callers; odds of another grid are refused."""
    first = known(leads=50, seed=3)
    odds = Odds(first.base, first.weights)
    other = known(leads=50, seed=4, called_by=GRID, odds=odds, first=50)
    assert (other.base, other.weights) == (first.base, first.weights)
    assert known(leads=50, seed=4, called_by=GRID).base != first.base
    people = [{event["subject"] for event in read_all(one)[1]} for one in (first, other)]
    assert not people[0] & people[1]
    with pytest.raises(ValueError, match="use the grid of that truth"):
        known(leads=50, grid=read_grid("pivot-15"), odds=odds)


def test_the_command_takes_the_odds_of_a_file(tmp_path: Path) -> None:
    """A file that is no truth is refused by its name."""
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    options = ["--leads", "20", "--days", "50", "--out", str(tmp_path / "events.jsonl")]
    assert CliRunner().invoke(simulate, [*options, "--truth", str(one)]).exit_code == 0
    given = [*options, "--seed", "9", "--truth", str(two), "--odds-of"]
    assert CliRunner().invoke(simulate, [*given, str(one)]).exit_code == 0
    before, after = (json.loads(path.read_text()) for path in (one, two))
    assert (after["base"], after["weights"]) == (before["base"], before["weights"])
    refused = CliRunner().invoke(simulate, [*given, str(tmp_path / "events.jsonl")])
    assert refused.exit_code == 1
    assert "name a file that --truth wrote" in refused.output
