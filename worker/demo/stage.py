"""What one demo runs on: servers, programs with their settings, a file of connections, and a web site."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from worker.demo.automations import rules_for
from worker.demo.office import Office
from worker.demo.programs import Program, free_ports, page
from worker.demo.servers import PARTITIONS, Broker, start_redis
from worker.demo.shop import Shop
from worker.demo.signing import Secrets, connections_of
from worker.demo.visitor_score import standing
from worker.presets import read_grid
from worker.processes import Children
from worker.settings import PREFIX, ActSettings, CollectSettings, ReaderSettings, Settings

_MAPPED: Final = b"leadpulse_collect_map_lag_records{"
"""Begins a line of the collector's metrics for each partition that its mapper has."""


class Stage:
    """Started with the servers, and ended with `end`."""

    def __init__(self, children: Children, folder: Path, grid: str) -> None:
        self._children = children
        self.broker = Broker()
        self.secrets = Secrets()
        site, takes, tools, run_pages, collect_pages, act_pages = free_ports(6)
        text, self.connections = connections_of(f"http://127.0.0.1:{site}", f"http://127.0.0.1:{tools}")
        file, rules = folder / "connections.yaml", folder / "automations.yaml"
        file.write_bytes(text)
        rules.write_text(rules_for(tuple(read_grid(grid).phases)), encoding="utf-8")
        self.office = Office(tools, self.secrets)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | {
            PREFIX + "AUTOMATIONS": str(rules),
            PREFIX + "CLOCK": "events",  # the traffic brings ticks in simulated time
            PREFIX + "COLLECT_PORT": str(takes),
            PREFIX + "CONNECTIONS": str(file),
            PREFIX + "DEVELOPMENT": "true",
            PREFIX + "GRID": grid,
            PREFIX + "KAFKA": self.broker.address,
            PREFIX + "LOG_FORMAT": "text",  # its end is shown where it fails
            PREFIX + "METRICS_HOST": "127.0.0.1",
            PREFIX + "NAMESPACE": "demo",
            PREFIX + "PARTITIONS": str(PARTITIONS),
            PREFIX + "PUBLISH_INTERVAL": "0.05",
            PREFIX + "REDIS": start_redis(children, folder),
        }
        environment |= self.secrets.environment
        run = environment | {PREFIX + "METRICS_PORT": str(run_pages)}
        collect = environment | {PREFIX + "METRICS_PORT": str(collect_pages)}
        act = environment | {PREFIX + "METRICS_PORT": str(act_pages)}
        self.settings = Settings.load(run)
        self.act = ActSettings.load(act)
        self.collect = CollectSettings.load(collect)
        self.broker.create({*self.settings.topics, *self.settings.outputs, self.act.acted_topic, *self.collect.needed_topics})
        self.programs = [
            Program(children, folder, "worker", "run", run, self._worker_is_ready),
            Program(children, folder, "collector", "collect", collect, self._mapper_is_ready),
            Program(children, folder, "program that acts", "act", act, self._acts_are_read),
        ]
        reading = ReaderSettings.load(run)
        self.collector = f"http://127.0.0.1:{self.collect.collect_port}"
        self.shop = Shop(self.collector, site, lambda visitor: standing(reading, visitor))

    async def until_ready(self) -> None:
        """Return once every program works. Raises `ProgramFailed`."""
        for program in self.programs:
            await program.until_ready()

    def check(self) -> None:
        """Raise `ProgramFailed` when a program is gone."""
        for program in self.programs:
            program.check()

    def end(self) -> None:
        """End the programs, before their servers: they could not drain without them. Raises `ProgramFailed`."""
        codes = self._children.end(*(program.process for program in self.programs))
        for program, code in zip(self.programs, codes, strict=True):
            if code:
                raise program.failed("did not end in good order")

    def metrics(self) -> bytes:
        """Return the worker's metrics."""
        return page(f"http://127.0.0.1:{self.settings.metrics_port}/metrics")

    def _worker_is_ready(self) -> bool:
        held = page(f"http://127.0.0.1:{self.settings.metrics_port}/readyz")
        return bool(msgspec.json.decode(held)["partitions"])

    def _acts_are_read(self) -> bool:
        held = page(f"http://127.0.0.1:{self.act.metrics_port}/readyz")
        return len(msgspec.json.decode(held)["reading"]) == PARTITIONS

    def _mapper_is_ready(self) -> bool:
        held = page(f"http://127.0.0.1:{self.collect.metrics_port}/metrics")
        return held.count(_MAPPED) >= PARTITIONS
