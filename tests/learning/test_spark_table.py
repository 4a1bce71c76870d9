"""The fold on Spark: the very bytes of the local engine. The tests need Java."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from tests.kit.grids import a_grid, parsed
from tests.kit.learning_logs import CHOICE, YOUNG, a_crowd, a_young_log, made
from tests.kit.stories import DAY, START
from worker.errors import LearningError
from worker.learning.landmarks import Options
from worker.learning.spark_table import SparkEngine, folded_bucket

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java, and there is no `java` on this machine")


@needs_java
def test_rows_are_those_of_the_local_engine(tmp_path: Path) -> None:
    """Byte for byte, with the files in this machine's folder, and in one that a cluster would share."""
    made(tmp_path, a_crowd(), CHOICE)
    local = (tmp_path / "t.parquet").read_bytes()
    shared = tmp_path / "shared"
    shared.mkdir()
    for work in (None, str(shared)):
        (tmp_path / "t.parquet").unlink()
        made(tmp_path, a_crowd(), CHOICE, engine=SparkEngine("local[2]", work))
        assert (tmp_path / "t.parquet").read_bytes() == local
    made(tmp_path, a_young_log(), YOUNG)
    local = (tmp_path / "t.parquet").read_bytes()
    made(tmp_path, a_young_log(), YOUNG, engine=SparkEngine("local[2]", str(shared)))
    assert (tmp_path / "t.parquet").read_bytes() == local
    assert list(shared.iterdir()) == []


def test_a_cluster_needs_a_folder_that_all_its_machines_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """And Java on this one."""
    monkeypatch.setenv("JAVA_HOME", "/opt/java")
    with pytest.raises(LearningError, match="the machines of spark://m:7077 do not see this one's files: give --work"):
        SparkEngine("spark://m:7077")
    assert SparkEngine("spark://m:7077", "s3://bucket/work").work == "s3://bucket/work"
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(LearningError, match="Spark needs Java 17 or later"):
        SparkEngine()


def test_missing_timestamps_stay_missing() -> None:
    """Pandas turns a column of integers with missing ones into floats."""
    grid = parsed(a_grid(engagement="{rules: [{id: page, points: 8, on: page.viewed}]}"))
    event = '{"specversion":"1.0","id":"%s","source":"s","type":"page.viewed","subject":"ada"%s,"data":{"url":"/"}}'
    values = [(event % ("1", "")).encode(), (event % ("2", ',"time":"2026-03-25T00:00:01Z"')).encode()]
    records = pd.DataFrame(
        {
            "grp": ["ada", "ada"], "seq": [0, 1], "arrival_ms": [START, START + 1_000], "timestamp_ms": [START, None],
            "output": [False, False], "type": ["page.viewed"] * 2, "id": ["ada"] * 2, "value": values,
        }
    )  # fmt: skip
    assert records["timestamp_ms"].dtype == float
    options = msgspec.json.encode(Options(DAY, DAY, START + 5 * DAY, START))
    rows = folded_bucket(records, grid.source, options)
    assert set(rows["score"].tolist()[:-1]) == {16.0}
    assert rows["why"].tolist()[-1] == "tally"
