"""Clients of Redis: addresses, passwords, and what its errors become."""

from __future__ import annotations

import pytest
import redis as plain
from redis import exceptions as failures

from tests.kit.services import Redis, free_port, needed
from tests.kit.stores import OWNER, a_store
from worker.adapters.redis_client import connect, install, redacted, translated
from worker.adapters.redis_store import RedisStore
from worker.errors import Fenced, StoreFull, StoreRefused, StoreUnavailable


async def test_a_client_that_decodes_is_refused() -> None:
    """States are packed bytes; such a client fails at the first one that is no UTF-8, in production."""
    with pytest.raises(ValueError, match="decode_responses"):
        RedisStore(plain.asyncio.Redis(decode_responses=True), "n", 0)


async def test_a_wrong_password_is_refused_without_being_shown(namespace: str) -> None:
    """A repeat does not mend it, and the message goes into logs."""
    with needed(lambda: Redis(keep=False)) as server, plain.Redis(port=server.port) as admin:
        admin.config_set("requirepass", "right")
        for url in (f"redis://:hunter2@{server.address}", f"redis://{server.address}"):
            async with a_store(url, namespace) as store:
                with pytest.raises(StoreRefused, match="password") as refused:
                    await store.acquire(OWNER, 8)
                assert "hunter2" not in str(refused.value)
        async with a_store(f"redis://:right@{server.address}", namespace) as store:
            await store.acquire(OWNER, 8)


async def test_a_cluster_asked_by_a_plain_client_names_the_address_to_use(namespace: str) -> None:
    """Single-server addresses work for some partitions only; the message says what to write instead."""
    assert "redis+cluster://" in str(translated(failures.MovedError("1 127.0.0.1:7000", status_code="MOVED"), "here"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("rediss://user:secret@host", "rediss://user:***@host"),
        ("rediss://user@host", "rediss://user@host"),
        ("redis+cluster://u:se:cret@host", "redis+cluster://u:***@host"),
        ("redis://:se/cr#e?t@host:1/0", "redis://:***@host:1/0"),
        ("redis://:se@cret@host", "redis://:***@host"),
        ("redis://host/0?password=secret&db=2", "redis://host/0?password=***&db=2"),
        ("rediss://host?db=2&ssl_password=secret", "rediss://host?db=2&ssl_password=***"),
        ("unix://u:secret@/run/redis.sock", "unix://u:***@/run/redis.sock"),
        ("redis://user:secret", "redis://user:***"),
        ("redis://user:se/cret?db=1", "redis://user:***?db=1"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    """Also one that was mistyped: a password with a bare slash in it is still one."""
    assert redacted(url) == shown


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://host", "redis://:se/cret@host:x/0", "redis://host:secret", "redis+cluster://"]
)
def test_an_unreadable_address_is_refused_at_once(url: str) -> None:
    """The error says what an address looks like, and never the password."""
    with pytest.raises(StoreRefused, match="cannot read the Redis address") as refused:
        connect(url)
    assert "cret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (failures.ConnectionError("Connection closed by server."), StoreUnavailable),
        (failures.TimeoutError("Timeout reading from host:6379"), StoreUnavailable),
        (failures.BusyLoadingError("Redis is loading the dataset in memory", status_code="LOADING"), StoreUnavailable),
        (failures.ClusterDownError("The cluster is down", status_code="CLUSTERDOWN"), StoreUnavailable),
        (failures.TryAgainError("Multiple keys request during rehashing of slot", status_code="TRYAGAIN"), StoreUnavailable),
        (failures.MasterDownError("Link with MASTER is down", status_code="MASTERDOWN"), StoreUnavailable),
        (failures.ResponseError("BUSY Redis is busy running a script."), StoreUnavailable),
        (failures.RedisClusterException("Redis Cluster cannot be connected."), StoreUnavailable),
        (failures.ClusterError("TTL exhausted."), StoreUnavailable),
        (failures.InvalidResponse("Protocol Error"), StoreUnavailable),
        (OSError(104, "Connection reset by peer"), StoreUnavailable),
        (failures.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.", status_code="OOM"), StoreFull),
        (failures.ResponseError("MISCONF Redis is configured to save RDB snapshots, but …"), StoreRefused),
        (
            failures.NoPermissionError("User x has no permissions to run the 'fcall' command", status_code="NOPERM"),
            StoreRefused,
        ),
        (failures.ResponseError("ERR The user executing the script can't run this command or subcommand"), StoreRefused),
        (failures.ResponseError("ERR ACL failure in script: User x has no permissions to run 'hlen'"), StoreRefused),
        (failures.AuthenticationError("Authentication required.", status_code="NOAUTH"), StoreRefused),
        (failures.ResponseError("ERR unknown command 'FCALL', with args beginning with: "), StoreRefused),
        (failures.ResponseError("FENCED the partition belongs to 7:2:x"), Fenced),
    ],
)
def test_each_error_becomes_what_the_caller_can_do(error: Exception, kind: type[Exception]) -> None:
    """Repeat, stop and tell somebody, or give up the partition: the engine knows these three only."""
    ours = translated(error, "partition 3")
    assert type(ours) is kind
    assert "partition 3" in str(ours)


async def test_installing_reports_as_the_store_does() -> None:
    """The worker installs at its start, when the address is most likely to be wrong."""
    client = connect(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable):
        await install(client)
    await client.aclose()
