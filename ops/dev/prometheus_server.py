"""A real Prometheus as a child process."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Sequence
from urllib.request import urlopen

from ops.dev.services import Service, ServiceMissing


class Prometheus(Service):
    """One Prometheus without rules that scrapes *targets* (`host:port`) as the job `leadpulse`, *every* so often."""

    name = "prometheus"

    def __init__(self, targets: Sequence[str], *, every: str = "1s") -> None:
        self._program = prometheus()
        super().__init__()
        self._targets = list(targets)
        self._every = every

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{self.address}"

    def _command(self) -> Sequence[str]:
        config = self.folder / "prometheus.yml"  # JSON is YAML
        job = {"job_name": "leadpulse", "static_configs": [{"targets": self._targets}]}
        config.write_text(json.dumps({"global": {"scrape_interval": self._every}, "scrape_configs": [job]}))
        data = str(self.folder / "data")
        return [
            self._program,
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address={self.address}",
        ]

    def _ready(self, log: str) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@functools.cache
def prometheus() -> str:
    """Return the path of Prometheus' program. Raises `ServiceMissing`."""
    found = shutil.which("prometheus")
    if found is None:
        raise ServiceMissing("prometheus: no `prometheus` on PATH (Debian: apt install prometheus)")
    return found
