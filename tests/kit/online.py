"""A namespace on real Kafka and Redis for commands, and what its worker's pages say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.kit.services import Kafka, Redis, adjacent_ports
from tests.kit.shell import GRID, leadpulse
from tests.kit.waits import HANG_S
from worker.core.contract.output_types import OUTPUT_TYPES


@pytest.fixture
def site(kafka: Kafka, redis_server: Redis, namespace: str, tmp_path: Path) -> dict[str, str]:
    """Return the settings of a namespace with topics of its own."""
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID)
    return {
        "LEADPULSE_KAFKA": kafka.address,
        "LEADPULSE_REDIS": redis_server.url,
        "LEADPULSE_NAMESPACE": namespace,
        "LEADPULSE_PARTITIONS": "2",
        "LEADPULSE_GRID": str(grid),
        "LEADPULSE_INPUT_TOPICS": f"{namespace}.in",
        "LEADPULSE_OUTPUT_TOPICS": ",".join(f"{kind}={namespace}.out" for kind in OUTPUT_TYPES)
        + f",lead.dead={namespace}.dead",
        "LEADPULSE_METRICS_PORT": str(adjacent_ports()),
        "LEADPULSE_CLOCK": "events",
        "LEADPULSE_DEVELOPMENT": "true",
    }


@pytest.fixture
def topics(site: dict[str, str]) -> dict[str, str]:
    """Make the site's topics and return its settings."""
    assert leadpulse("topics", "create", env=site).returncode == 0
    return site


def ready(site: Mapping[str, str], further: int = 0) -> bool:
    """Return whether a worker takes events."""
    try:
        with urlopen(f"http://127.0.0.1:{int(site['LEADPULSE_METRICS_PORT']) + further}/readyz", timeout=HANG_S) as answer:
            return bool(json.load(answer)["partitions"])
    except OSError:
        return False


def taken(site: Mapping[str, str], further: int = 0) -> int:
    """Return how many events the worker has taken."""
    with urlopen(f"http://127.0.0.1:{int(site['LEADPULSE_METRICS_PORT']) + further}/metrics", timeout=HANG_S) as answer:
        lines = answer.read().decode().splitlines()
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("leadpulse_events_total{")))
