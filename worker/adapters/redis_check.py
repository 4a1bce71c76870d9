"""Checks whether a Redis is fit to hold scores. `leadpulse doctor` shows the findings.

The checks use `INFO`, which managed offers allow, and run our own functions. `CONFIG`, which many offers forbid, is used for a
hint only. No finding contains a password, because none is read.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from redis import exceptions as failures
from redis.asyncio import RedisCluster

from worker.adapters.redis_client import LIBRARY, Client, asking, install, translated
from worker.errors import StoreRefused, StoreUnavailable

Level = Literal["error", "warning", "hint"]

_LISTPACK_VALUE = 2048
"""With this `hash-max-listpack-value` a lead with few events takes 200 to 330 bytes less than with Redis' default of 64.
A lead with many events is loaded and written whole, in a third of Redis' CPU (`docs/benchmarks.md`; Redis 7.0.15)."""


class Finding(NamedTuple):
    """One fault or risk of a Redis, with its remedy."""

    level: Level
    """`error`: the worker must not run on it. `warning`: it runs, at a risk. `hint`: it could run better."""
    what: str
    what_to_do: str


async def check(client: Client, namespace: str = "default") -> list[Finding]:
    """Return the findings about the Redis behind *client*, worst first.

    Loads our functions, as a worker does at its start, and writes no data. *namespace* matters where the Redis user is limited
    to some keys. In a cluster every primary is checked, and each finding names its primary. A Redis that cannot be reached is a
    finding too.
    """
    findings: list[Finding] = []
    try:
        with asking(client):
            for name, info in await _infos(client):
                findings += _judged(name, info, client)
            findings += await _rights(client, namespace)
            findings += await _listpack(client)
    except (failures.RedisError, failures.RedisClusterException, OSError) as error:
        ours = translated(error, "asking Redis about itself")
        away = isinstance(ours, StoreUnavailable)
        what_to_do = "start Redis, or correct" if away else "correct the user's rights, or user and password in"
        findings.append(Finding("error", str(ours), f"{what_to_do} the address (LEADPULSE_REDIS)"))
    order: dict[Level, int] = {"error": 0, "warning": 1, "hint": 2}
    return sorted(findings, key=lambda finding: order[finding.level])


NOEVICTION: Final = "set maxmemory-policy noeviction: a full Redis then refuses a batch whole, and the worker waits"


class Memory(NamedTuple):
    """Memory of the fullest primary, and evictions of all."""

    used: int
    most: int
    """`maxmemory`, or the machine's memory if it is not set. Bytes."""
    policies: tuple[Eviction, ...] = ()
    """Of each primary that may evict keys."""
    evicted: int = 0
    """Keys that the primaries have evicted since they started."""


class Eviction(NamedTuple):
    """A Redis that drops keys when it is full, instead of refusing writes."""

    what: str
    drops: bool
    """False while `maxmemory` is not set: without a limit nothing is evicted."""


def eviction(info: dict[str, Any], name: str = "Redis") -> Eviction | None:
    """Return the eviction policy in *info*, the `INFO` of the server *name*; `None` if it evicts nothing."""
    policy = info.get("maxmemory_policy")
    if policy in (None, "noeviction"):
        return None
    drops = int(info.get("maxmemory", 0)) > 0
    return Eviction(f"{name}: maxmemory-policy is {policy}: at its limit of memory it {_DROPS[drops]} scores in silence", drops)


_DROPS = {True: "drops", False: "would drop"}


async def memory(client: Client) -> Memory | None:
    """Return how full Redis is, and whether it evicts; `None` if it cannot be reached or this user may not run `INFO`."""
    try:
        with asking(client):
            infos = await _infos(client)
    except (failures.RedisError, failures.RedisClusterException, OSError):
        return None
    known = [(name, info) for name, info in infos if info is not None]
    found = []
    for _, info in known:
        most = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
        if most:
            found.append(Memory(int(info["used_memory"]), most))
    fullest = max(found, key=lambda one: one.used / one.most, default=None)
    if fullest is None:
        return None
    policies = tuple(policy for name, info in known if (policy := eviction(info, name)) is not None)
    return fullest._replace(policies=policies, evicted=sum(int(info.get("evicted_keys", 0)) for _, info in known))


async def _infos(client: Client) -> list[tuple[str, dict[str, Any] | None]]:
    """Return `INFO` of each server behind *client*, by a name for messages; `None` if this user may not run it."""
    # redis-py's hints for INFO cover neither `target_nodes` nor what it parses to.
    commands: Any = client
    if not isinstance(client, RedisCluster):
        try:
            return [("Redis", await commands.info())]
        except failures.NoPermissionError:
            return [("Redis", None)]
    await client.initialize()
    found: list[tuple[str, dict[str, Any] | None]] = []
    for node in client.get_primaries():
        try:
            found.append((f"Redis {node.name}", await commands.info(target_nodes=node)))
        except failures.NoPermissionError:
            found.append((f"Redis {node.name}", None))
    return found


def _judged(name: str, info: dict[str, Any] | None, client: Client) -> list[Finding]:
    if info is None:
        return [
            Finding(
                "warning",
                f"{name}: this user may not run INFO; version, eviction and persistence are unknown",
                "allow INFO (ACL: +info), or see to it: version 7.0 or newer, maxmemory-policy noeviction, appendonly yes",
            )
        ]
    findings: list[Finding] = []

    def found(level: Level, what: str, what_to_do: str) -> None:
        findings.append(Finding(level, f"{name}: {what}", what_to_do))

    version = str(info.get("redis_version", "0"))
    if int(version.partition(".")[0]) < 7:
        found("error", f"version {version} has no functions", "use Redis 7.0 or newer, or Valkey")
    if info.get("role") == "slave":
        found("error", "it is a replica and takes no writes", "point LEADPULSE_REDIS at the primary")
    if int(info.get("cluster_enabled", 0)) and not isinstance(client, RedisCluster):
        found("error", "it is part of a Redis Cluster", "begin the address with redis+cluster:// or rediss+cluster://")
    policy = eviction(info, name)
    if policy is not None:  # without a limit nothing is evicted yet: a limit set tomorrow makes it an error
        findings.append(Finding("error" if policy.drops else "warning", policy.what, NOEVICTION))
    if int(info.get("evicted_keys", 0)):
        found(
            "warning",
            f"it has dropped {info['evicted_keys']} keys since it started, which may be leads",
            "restore a copy from before, unless other programs share this Redis and the keys were theirs",
        )
    if not int(info.get("aof_enabled", 0)):
        found(
            "warning",
            "no append-only file: after a crash everything since the last snapshot is folded again from Kafka, or all of it",
            "set appendonly yes (appendfsync everysec is enough: what the last second lost is rebuilt exactly)",
        )
    elif info.get("aof_last_write_status", "ok") != "ok":
        found("error", "its last write to the append-only file failed", "look at Redis' log; is the disk full?")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        found("warning", "its last snapshot failed", "look at Redis' log; is the disk full, is memory for a fork missing?")
    return findings


async def _rights(client: Client, namespace: str) -> list[Finding]:
    """Return the commands that this user may not run. One of our functions asks Redis' ACL for them."""
    try:
        await install(client)
    except (StoreRefused, StoreUnavailable) as error:
        return [Finding("error", str(error), "let this user run FUNCTION LOAD on Redis 7.0 or newer (ACL: +function)")]
    commands: Any = client
    lacking: list[bytes] = await commands.fcall_ro(f"{LIBRARY}_rights", 1, f"{{{namespace}:0}}:position")
    if not lacking:
        return []
    names = ", ".join(name.decode() for name in lacking)
    rules = " ".join("+" + name.decode().lower() for name in lacking)
    return [
        Finding(
            "error",
            f"this Redis user may not run {names} on the keys of namespace {namespace}",
            f"extend its ACL: {rules} +fcall +fcall_ro ~{{{namespace}:*",
        )
    ]


async def _listpack(client: Client) -> list[Finding]:
    commands: Any = client
    try:
        answer = await commands.config_get("hash-max-listpack-value")
    except failures.ResponseError:
        return []  # forbidden, or unknown under this name: no hint then
    value = next(iter(answer.values()), None)
    if value is None or int(value) >= _LISTPACK_VALUE:
        return []
    return [
        Finding(
            "hint",
            f"hash-max-listpack-value is {int(value)}: leads with few events take 200 to 330 bytes more than they need to,"
            " those with many three times the CPU of Redis",
            f"set hash-max-listpack-value {_LISTPACK_VALUE}: it costs nothing",
        )
    ]
