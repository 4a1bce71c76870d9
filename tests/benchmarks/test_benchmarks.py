"""The benchmarks' own logic: a log that is what it says, rivals that do the work they are measured by, honest arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.benchmarks import report
from tests.benchmarks.contestants import RIVALS
from tests.benchmarks.log import Line, lines
from tests.benchmarks.measure import cpu_s, peak_mb, tree
from tests.benchmarks.place import moves
from tests.benchmarks.race import scored
from tests.benchmarks.report import Result
from tests.benchmarks.rivals import common, decode, spec
from tests.kit.oracle import Oracle
from worker.core.contract.codec import decode as decode_ours
from worker.core.contract.model import Event, Record
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import Replay


@pytest.fixture(scope="module")
def log() -> list[Line]:
    """Return a small log of the same make."""
    return list(lines(6_000, 60))


def test_the_log_is_the_same_each_time_and_as_described(log: list[Line]) -> None:
    """Size, late events, duplicates, the first lead's share, and nothing that a worker would refuse."""
    assert log == list(lines(6_000, 60))
    assert log != list(lines(6_000, 60, seed=2))
    events = [decode_ours(Record("log", 0, n, line.arrived_ms, None, line.value)) for n, line in enumerate(log)]
    taken = [event for event in events if isinstance(event, Event)]
    assert len(taken) == len(log)
    assert 280 < sum(len(line.value) for line in log) / len(log) < 340
    assert 0.005 < 1 - len({event.id for event in taken}) / len(taken) < 0.015
    late = sum(event.at_ms < line.arrived_ms - 1 for event, line in zip(taken, log, strict=True))
    assert 0.015 < late / len(taken) < 0.04
    shares = [count for _, count in Counter(line.lead for line in log).most_common()]
    assert shares[0] > 1.7 * shares[1] > 1.7 * 1.7 * shares[3]
    assert [line.arrived_ms for line in log] == sorted(line.arrived_ms for line in log)


def test_rivals_and_worker_publish_the_same(log: list[Line]) -> None:
    """The rivals' scoring, our core and the slow oracle make the same moves of the same log, at the same scores."""
    grid = (RIVALS / "race.yaml").read_text()
    oracle = Oracle(YAML(typ="safe").load(grid), "/race")
    replay = Replay(parse_grid(grid, "race.yaml"))
    few = log[:1_500]
    for line in few:
        oracle.event(json.loads(line.value))
    for line in log:
        replay.line(line.value)
    replay.finish(0)
    wanted = scored(log)
    assert {kind for _, kind in wanted} == {"lead.mql", "lead.sql", "lead.cooled"}
    assert moves([output.value or b"" for output in replay.take_outputs()]) == wanted
    assert Counter((output["subject"], output["type"]) for output in oracle.outputs) == scored(few)


def test_the_scoring_is_right_to_the_last_point(log: list[Line]) -> None:
    """Not only the moves: each lead's score is the core's."""
    replay = Replay(parse_grid((RIVALS / "race.yaml").read_text(), "race.yaml"))
    leads: dict[str, spec.State] = {}
    rare = lines(6_000, 1_500, seed=2, zipf=0.5)  # leads that have few days, so that a late one is seen in the score
    for line in (*log, *rare):
        replay.line(line.value)
        event = decode.event(line.value)
        state = leads.setdefault(event.subject, spec.new(event.at_ms))
        spec.step(state, event.subject, event.id, event.at_ms, event.type, event.data.page_type)
    replay.finish(0)
    ours = {lead.lead_id: lead.score for lead in replay.leads()}
    assert {lead: spec.score(state) for lead, state in leads.items()} == pytest.approx(ours, abs=1e-9)


def test_the_two_decoders_of_rivals_agree_on_time(log: list[Line]) -> None:
    """The one from msgspec's `datetime`, the other from the text: both are what the worker takes it to be."""
    for n, line in enumerate(log[:300]):
        event = decode_ours(Record("log", 0, n, line.arrived_ms, None, line.value))
        assert isinstance(event, Event)
        assert decode.event(line.value).at_ms == common.instant(json.loads(line.value)["time"]) == event.at_ms


def test_the_java_rival_has_the_same_numbers() -> None:
    """Its tables are those of `spec.py`."""
    java = (RIVALS / "streams" / "Race.java").read_text()

    def row(name: str) -> list[float]:
        inside = java.partition(f"{name} = {{")[2].partition("}")[0]
        return [_product(value) for value in inside.split(",")]

    assert row("POINTS") == [rule.points for rule in spec.RULES]
    assert row("CAPS") == [rule.cap for rule in spec.RULES]
    assert row("HALF_LIVES") == [rule.half_life_ms for rule in spec.RULES]
    assert (row("ENTER"), row("LEAVE")) == (list(spec.ENTER), list(spec.LEAVE))


def _product(text: str) -> float:
    number, _, days = text.partition("*")
    return float(number) * (spec.DAY_MS if days else 1)


def a_result(contestant: str, seconds: float, **other: Any) -> Result:
    """Return a run of 1,000 events."""
    told = {"cpu_us": 20.0, "kafka_us": 5.0, "redis_us": 4.0, "peak_mb": 100.0, "outputs": 7, "same": True}
    return Result(contestant, 1_000, seconds, **(told | other))


def test_ratios_are_of_pairs_and_spread_shows_the_ends() -> None:
    """A slow minute of the machine, which both had, is in no ratio; one run alone has no spread."""
    ours, theirs = [a_result("a", s) for s in (1, 5, 2)], [a_result("b", s) for s in (2, 10, 4)]
    assert report.ratios([r.rate for r in ours], [r.rate for r in theirs]) == [2, 2, 2]
    assert report.spread([3, 1, 2]) == "2 (1 to 3)"
    assert report.spread([3]) == "3"
    page = report.compared({"a": ours, "b": theirs}, ["a"])
    assert "| against b | 2.00 (2.00 to 2.00) × | 1.00 (1.00 to 1.00) × |" in page


def test_a_table_says_which_outputs_are_not_equal() -> None:
    """One run that published something else is enough."""
    page = report.table({"a": [a_result("a", 1), a_result("a", 2, same=False)], "b": [a_result("b", 1, same=None)]})
    assert "7, NOT equal" in page
    assert "| b | 1,000 | 1,000 | 20.0 | 5.0 | 4.0 | 100 MB | 7 |" in page


def test_quantiles_are_values_that_were_seen() -> None:
    """The least that so many do not exceed."""
    values = list(range(1, 1_001))
    assert [report.quantile(values, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1_000]
    assert report.quantile([4.0], 0.5) == 4.0


def test_a_section_is_written_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    """What is written by hand stays; a page without the marks is refused."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x: written by a program -->\nold\n<!-- x: end -->\nafter\n")
    report.write(page, "x", "new")
    assert page.read_text() == "before\n<!-- x: written by a program -->\nnew\n<!-- x: end -->\nafter\n"
    with pytest.raises(ValueError, match="around the section"):
        report.write(page, "y", "new")


def test_a_process_tree_is_measured_with_its_children() -> None:
    """A child's time and memory count; those of a process that is gone do not."""
    work = "import time\nx = bytearray(50 << 20)\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    shell = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, work]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pids = tree(process.pid)
        assert len(pids) == 2
        assert cpu_s(pids) >= 0.4 > cpu_s([process.pid])
        assert peak_mb(pids) > 50
        process.communicate(b"\n")
    assert cpu_s(pids) == peak_mb(pids) == 0
