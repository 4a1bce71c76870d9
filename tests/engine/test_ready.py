"""Whether a worker says that it is ready."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker.engine.engine import Engine
from worker.settings import Settings


@pytest.mark.parametrize(("gone", "ready"), [(frozenset(), True), (frozenset({"crm", "web"}), False)])
def test_a_worker_is_not_ready_while_a_topic_is_gone(gone: frozenset[str], ready: bool) -> None:
    """The group takes such a topic's partitions away, so that none of them is left that could be unready."""
    engine: Any = Engine(Settings.load({"LEADPULSE_INPUT_TOPICS": "web,crm"}))
    engine._supervisor = SimpleNamespace(joined=True, partitions={})
    engine._topics = SimpleNamespace(gone=gone)
    said = engine.status().as_json()
    assert said["ready"] is ready
    assert list(said["gone"]) == sorted(gone)
    assert said["live"]
