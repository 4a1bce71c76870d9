"""What only a real Redis can do to its store: run out of memory, stall, be killed, emptied, restored, limited in rights."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis as plain
from redis import exceptions as failures

from tests.kit.batches import a_batch, a_write, everything
from tests.kit.services import Redis, free_port, needed
from worker.adapters import redis_client
from worker.adapters.redis_client import connect, install, redacted, translated
from worker.adapters.redis_scan import leads_of
from worker.adapters.redis_store import RedisStore
from worker.core.scoring.state import UnreadableState, unpack
from worker.errors import Fenced, StoreFull, StoreRefused, StoreUnavailable
from worker.ports import Applied

OWNER = "7:1:first"


@asynccontextmanager
async def a_store(url: str, namespace: str, *, timeout_s: float = 5.0) -> AsyncIterator[RedisStore]:
    """Open partition 0 of *namespace* with a client of its own."""
    client = connect(url, timeout_s=timeout_s)
    try:
        yield RedisStore(client, namespace, 0)
    finally:
        await client.aclose()


@pytest.fixture
async def store(redis_server: Redis, namespace: str) -> AsyncIterator[RedisStore]:
    """One partition that OWNER holds, with batch 1 applied."""
    async with a_store(redis_server.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a", b"1", due_ms=1, rank=1.0)]))
        yield store


async def dump(store: RedisStore, server: Redis, namespace: str) -> dict[bytes, bytes]:
    """Return every key of *namespace* with its packed value."""
    with plain.Redis(port=server.port) as client:
        return {key: client.dump(key) for key in sorted(client.keys(f"{{{namespace}:*"))}


async def test_the_keys_are_the_contract(store: RedisStore, redis_server: Redis, namespace: str) -> None:
    """Dashboards, scripts and older and newer workers read these names and types."""
    await store.apply(OWNER, a_batch(2, clock_ms=12, strayed_ms=13))
    await store.trim(OWNER, 1, 11)
    tag = f"{{{namespace}:0}}:"
    with plain.Redis(port=redis_server.port, decode_responses=True) as client:
        assert {key: client.type(key) for key in client.keys(tag + "*")} == {
            tag + "lead:a": "hash",
            tag + "position": "hash",
            tag + "due": "zset",
            tag + "rank": "zset",
            tag + "outbox": "stream",
        }
        assert client.hgetall(tag + "position") == {
            "owner": OWNER,
            "notes": OWNER,
            "batch": "2",
            "next:web": "2",
            "published": "1",
            "partitions": "8",
            "grid": "g",
            "words": "w",
            "clock": "12",
            "strayed": "13",
            "horizon": "11",
            "counted": "2",
            "leads:contact": "1",
        }
        assert client.zscore(tag + "due", "a") == 1.0
    with plain.Redis(port=redis_server.port) as client:
        assert [(name, list(fields)) for name, fields in client.xrange(tag + "outbox")] == [(b"2-0", [b"entry"])]


async def test_a_lead_of_some_size_keeps_redis_small_form(redis_server: Redis, namespace: str) -> None:
    """With Redis' defaults one long value in a hash costs half a kilobyte; whoever reads all leads gets each state whole."""
    sizes = {f"lead-{size}": size for size in (60, 1_016, 1_017, 1_300, 1_800, 1_801)}
    async with a_store(redis_server.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write(lead, b"long" * 1_000) for lead in sizes]))
        head = b"\xdc\x00\x19\x07"  # msgpack's list of 25 that begins with 7: a state of version 7
        writes = [a_write(lead, head + b"\xff" * (size - 4), due_ms=5, rank=1.5) for lead, size in sizes.items()]
        await store.apply(OWNER, a_batch(2, writes))
    with plain.Redis(port=redis_server.port, decode_responses=True) as client:
        encodings = {lead: client.object("encoding", f"{{{namespace}:0}}:lead:{lead}") for lead in sizes}
    small = {lead for lead, encoding in encodings.items() if encoding == "listpack"}
    assert small == {"lead-1017", "lead-1300", "lead-1800"}
    with plain.Redis(port=redis_server.port) as client:  # what a worker that knows of no pieces finds
        (told,) = {client.hget(f"{{{namespace}:0}}:lead:{lead}", "state") for lead in small}
    with pytest.raises(UnreadableState, match="has version 7, this worker reads"):
        unpack(told)
    ours = connect(redis_server.url)
    found = [found async for found in leads_of(ours, namespace)]
    await ours.aclose()
    assert {write.lead: (partition, write) for partition, write in found} == {write.lead: (0, write) for write in writes}


async def test_leads_of_an_older_version_are_counted_when_the_partition_is_taken_over(
    store: RedisStore, redis_server: Redis, namespace: str
) -> None:
    """That version wrote batches without counting. Until the next take-over nothing is told, rather than something wrong."""
    tag = f"{{{namespace}:0}}:"
    writes = [a_write(f"lead-{n}", rank=1.0, stage="mql" if n % 3 else "sql") for n in range(9_000)]
    await store.apply(OWNER, a_batch(2, [*writes, a_write("gone", score="")]))
    with plain.Redis(port=redis_server.port) as client:
        client.hset(tag + "position", mapping={"counted": "1", "leads:mql": "77"})
    assert (await store.position()).leads == {}
    await store.apply(OWNER, a_batch(3, [a_write("new", rank=1.0, stage="mql")]))
    assert (await store.position()).leads == {}
    counts = {"contact": 1, "mql": 6_001, "sql": 3_000}
    assert (await store.acquire("7:2:next", 8)).leads == counts
    await store.apply("7:2:next", a_batch(4, [a_write("new", rank=1.0, stage="client")]))
    assert (await store.position()).leads == counts | {"mql": 6_000, "client": 1}


@pytest.mark.parametrize(
    ("command", "read"),
    [
        (("HSET", "position", "clock", b"\xff"), RedisStore.position),
        (("HSET", "position", b"\xff", "1"), RedisStore.position),
        (("HSET", "position", "batch", "many"), RedisStore.position),
        (("HSET", "position", "batch", "9" * 5_000), RedisStore.position),
        (("HSET", "position", "requeue", "1 2"), RedisStore.position),
        (("HSET", "position", "requeue", "1 2 x 0 a"), RedisStore.position),
        (("XADD", "outbox", "*", "entry", b"\x92\x95\x01\x81\xa1\xff"), lambda store: store.outbox(0)),
        (("XADD", "outbox", "*", "other", b""), lambda store: store.outbox(0)),
        (("ZADD", "due", "0", b"\xff"), lambda store: store.due(1, 9)),
        (("ZADD", "rank", "0", b"\xff"), lambda store: store.top(9)),
    ],
)
async def test_garbage_is_refused_by_place(
    store: RedisStore, redis_server: Redis, namespace: str, command: tuple[Any, ...], read: Callable[[RedisStore], Any]
) -> None:
    """Somebody else wrote under our keys: the worker says where, and does not begin anew for ever with a traceback."""
    verb, key, *rest = command
    with plain.Redis(port=redis_server.port) as client:
        client.execute_command(verb, f"{{{namespace}:0}}:{key}", *rest)
    with pytest.raises(StoreRefused, match=f"partition 0 of namespace {namespace} in Redis"):
        await read(store)


async def test_a_horizon_of_a_clock_that_runs_ahead_is_cut_to_the_servers_time(store: RedisStore) -> None:
    """It never moves back: a year ahead, it would let other partitions' ticks overtake this one's strays for a year."""
    await store.trim(OWNER, 1, int(time.time() * 1_000) + 365 * 86_400_000)
    horizon_ms = (await store.position()).horizon_ms
    assert horizon_ms is not None
    assert abs(horizon_ms - time.time() * 1_000) < 60_000


async def test_partitions_and_namespaces_do_not_touch(redis_server: Redis, namespace: str) -> None:
    """Partition 1 and 11, and two namespaces, live in one Redis side by side."""
    client = connect(redis_server.url)
    stores = [RedisStore(client, namespace, 1), RedisStore(client, namespace, 11), RedisStore(client, namespace + "1", 1)]
    for i, store in enumerate(stores):
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a", b"%d" % i)]))
    assert [await store.load(["a"]) for store in stores] == [[b"0"], [b"1"], [b"2"]]
    await client.aclose()


@pytest.mark.parametrize("namespace", ["", "a b", "a{b", "a}b", "a:b", "é", "a\n"])
async def test_a_namespace_that_would_break_keys_or_topics_is_refused(namespace: str) -> None:
    """A brace in it would send one partition's keys to several slots."""
    with pytest.raises(ValueError, match="use only letters"):
        RedisStore(connect("redis://localhost"), namespace, 0)


async def test_a_client_that_decodes_is_refused() -> None:
    """States are packed bytes; such a client fails at the first one that is no UTF-8, in production."""
    with pytest.raises(ValueError, match="decode_responses"):
        RedisStore(plain.asyncio.Redis(decode_responses=True), "n", 0)


# What Redis refuses must be refused before the first write: its functions are not rolled back.


async def refused_whole(
    store: RedisStore, server: Redis, namespace: str, spoil: Callable[[Any, str], object], match: str
) -> None:
    """Show that a batch of new, changed and erased leads changes no key once *spoil* has been at work."""
    with plain.Redis(port=server.port) as client:
        spoil(client, f"{{{namespace}:0}}:")
    before = await dump(store, server, namespace)
    assert before
    leads = [a_write("new", due_ms=2, rank=2.0), a_write("a", b"2"), a_write("a2", score=""), a_write("spoilt")]
    with pytest.raises(StoreRefused, match=match):
        await store.apply(OWNER, a_batch(2, leads, begins=b"another grid", rate=1))
    assert await dump(store, server, namespace) == before


@pytest.mark.parametrize("key", ["position", "due", "rank", "outbox", "lead:spoilt"])
async def test_a_key_of_another_type_refuses_the_batch_whole(
    store: RedisStore, redis_server: Redis, namespace: str, key: str
) -> None:
    """Another program wrote under our names: found before the first write, even at the last lead."""
    await refused_whole(
        store, redis_server, namespace, lambda client, tag: client.set(tag + key, "x"), "WRONGTYPE.*something else writes"
    )


@pytest.mark.parametrize("text", ["", "x", "1 2", "1 2 x 0 a", "- 1 1"])
async def test_a_damaged_listing_refuses_the_batch_whole(
    store: RedisStore, redis_server: Redis, namespace: str, text: str
) -> None:
    """A batch goes on with what a changed grid has listed; what cannot be read is found before the first write."""
    with plain.Redis(port=redis_server.port) as client:
        client.hset(f"{{{namespace}:0}}:position", "requeue", text)
    before = await dump(store, redis_server, namespace)
    with pytest.raises(StoreRefused, match=r"requeue of .* is damaged"):
        await store.apply(OWNER, a_batch(2, [a_write("a", b"2")]))
    assert await dump(store, redis_server, namespace) == before


async def test_an_outbox_that_is_ahead_refuses_the_batch_whole(store: RedisStore, redis_server: Redis, namespace: str) -> None:
    """A stream takes no id at or below its last: the one write that can fail is the first."""
    await refused_whole(
        store, redis_server, namespace, lambda client, tag: client.xadd(tag + "outbox", {"entry": b""}, "7-0"), "XADD"
    )


@pytest.mark.parametrize("command", ["hset", "hdel", "del", "zadd", "zrem", "xadd", "hget", "hlen", "zrevrange"])
async def test_a_missing_right_refuses_the_batch_whole(redis_server: Redis, namespace: str, command: str) -> None:
    """Rights are asked for as each command runs, so the missing one would else stop the batch in its middle."""
    with plain.Redis(port=redis_server.port) as admin:
        admin.execute_command("ACL", "SETUSER", namespace, "on", ">pw", "~*", "+@all")
        async with a_store(f"redis://{namespace}:pw@{redis_server.address}", namespace) as store:
            await store.acquire(OWNER, 8)
            await store.apply(OWNER, a_batch(1, [a_write("a", b"1", due_ms=1, rank=1.0)]))
            await refused_whole(
                store,
                redis_server,
                namespace,
                lambda client, _: client.execute_command("ACL", "SETUSER", namespace, "-" + command),
                "give this Redis user the right it lacks",
            )
        admin.execute_command("ACL", "DELUSER", namespace)


async def test_a_full_redis_refuses_the_batch_whole(own_redis: Redis, namespace: str) -> None:
    """Over its limit Redis begins no batch; one that crosses the limit in its course is finished. Nothing is half-written."""
    with plain.Redis(port=own_redis.port) as admin:
        async with a_store(own_redis.url, namespace) as store:
            await store.acquire(OWNER, 8)
            await store.apply(OWNER, a_batch(1, [a_write("a", b"1")]))
            # The request itself counts while it is read: with less room than that not even the first batch would begin.
            admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 5_000_000)
            number, refused, before = 1, None, {}
            while refused is None and number < 40:
                number += 1
                before = await dump(store, own_redis, namespace)
                leads = [f"{number}.{i}" for i in range(1000)]
                try:
                    await store.apply(OWNER, a_batch(number, [a_write(lead, b"s" * 700) for lead in leads]))
                except StoreRefused as error:
                    refused = error
                else:
                    assert all(await store.load(leads))
            assert "OOM" in str(refused)
            assert "maxmemory" in str(refused)
            assert number > 2
            assert await dump(store, own_redis, namespace) == before
            assert (await store.position()).batch == number - 1
            admin.config_set("maxmemory", 0)
            assert await store.apply(OWNER, a_batch(number, [a_write("b")])) is Applied.DONE


# A Redis that is away, and comes back.


async def test_a_stalled_redis_is_unavailable_within_the_time_out_and_applies_once(own_redis: Redis, namespace: str) -> None:
    """The reply is lost, the call is not: Redis finds it in its socket when it wakes. The repeat must be told so."""
    async with a_store(own_redis.url, namespace, timeout_s=0.5) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a", b"1")]))
        own_redis.suspend()
        with pytest.raises(StoreUnavailable, match="partition 0 of namespace"):
            await store.apply(OWNER, a_batch(2, [a_write("a", b"2")]))  # else it would wait until Redis is resumed
        own_redis.resume()
        assert await store.apply(OWNER, a_batch(2, [a_write("a", b"2")])) in (Applied.ALREADY, Applied.DONE)
        assert await store.apply(OWNER, a_batch(2)) is Applied.ALREADY
        assert await store.apply(OWNER, a_batch(3, [a_write("a", b"3")])) is Applied.DONE
        assert await store.load(["a"]) == [b"3"]
        assert [entry.cut.batch for entry in await store.outbox(0)] == [1, 2, 3]


async def test_a_redis_that_is_down_is_unavailable_until_it_is_back(own_redis: Redis, namespace: str) -> None:
    """The same store goes on by itself: every call before the restart says unavailable, the first after it works."""
    async with a_store(own_redis.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1))
        before = await everything(store, ["a"])
        await asyncio.to_thread(own_redis.stop)
        for call in (
            lambda: store.acquire(OWNER, 8),
            lambda: store.load(["a"]),
            lambda: store.apply(OWNER, a_batch(2)),
            lambda: store.due(1, 1),
            lambda: store.outbox(0),
            lambda: store.trim(OWNER, 1),
            store.position,
            lambda: store.top(1),
            lambda: store.lead("a"),
            store.allow_rebuild,
        ):
            with pytest.raises(StoreUnavailable):
                await call()
        await asyncio.to_thread(own_redis.start)
        assert await everything(store, ["a"]) == before


async def test_a_killed_redis_has_each_batch_whole_or_not_at_all(namespace: str) -> None:
    """With `appendfsync always` what was answered is there, and the batch in flight has all of its leads or none."""
    with needed(lambda: Redis({"appendfsync": "always"})) as server:
        leads = [f"lead-{i}" for i in range(300)]
        async with a_store(server.url, namespace) as store:
            answered = 0
            for round_ in range(3):
                token = f"7:{round_}:x"
                begun = (await store.acquire(token, 8)).batch
                killer = threading.Timer(0.3 + 0.11 * round_, server.kill)
                killer.start()
                number = begun
                with contextlib.suppress(StoreUnavailable):
                    while True:
                        number += 1
                        state = b"%d" % number
                        writes = [a_write(lead, state, due_ms=number, rank=float(number)) for lead in leads]
                        await store.apply(token, a_batch(number, writes))
                        answered = number
                killer.join()
                await asyncio.to_thread(server.start)
                batch = (await store.position()).batch
                assert answered <= batch <= answered + 1
                assert answered > begun
                assert await store.load(leads) == [b"%d" % batch] * len(leads)
                assert (await store.due(batch - 1, 1)).leads == []
                assert {rank for _, rank in await store.top(1000)} == {float(batch)}
                assert [entry.cut.batch for entry in await store.outbox(0)] == list(range(1, batch + 1))


async def test_an_emptied_redis_gets_its_functions_back(own_redis: Redis, namespace: str) -> None:
    """The next call loads them by itself; the owner that was forgotten cannot write into the void."""
    async with a_store(own_redis.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a")]))
        with plain.Redis(port=own_redis.port) as client:
            client.flushall()
            client.function_flush()
            with pytest.raises(Fenced, match="emptied"):
                await store.apply(OWNER, a_batch(2))
            with pytest.raises(Fenced, match="emptied"):
                await store.trim(OWNER, 1)
            client.function_flush()
            assert await store.load(["a"]) == [None]
            assert client.keys("*") == []
            client.function_flush()
            assert (await store.acquire(OWNER, 8)).batch == 0
        assert await store.apply(OWNER, a_batch(2)) is Applied.GAP
        assert await store.apply(OWNER, a_batch(1)) is Applied.DONE


async def test_a_redis_restored_from_an_old_copy_shows_as_a_gap(own_redis: Redis, namespace: str) -> None:
    """The same owner finds an older batch number: it must load again, not write on top."""
    async with a_store(own_redis.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a", b"1")]))
        with plain.Redis(port=own_redis.port) as client:
            copy = await dump(store, own_redis, namespace)
            await store.apply(OWNER, a_batch(2, [a_write("a", b"2")]))
            client.flushall()
            for key, value in copy.items():
                client.restore(key, 0, value)
        assert await store.apply(OWNER, a_batch(3, [a_write("a", b"3")])) is Applied.GAP
        assert await store.load(["a"]) == [b"1"]
        assert await store.apply(OWNER, a_batch(2)) is Applied.DONE


@pytest.mark.parametrize("left", ["due", "rank", "outbox"])
async def test_a_position_deleted_alone_is_not_taken_for_an_empty_partition(
    store: RedisStore, redis_server: Redis, namespace: str, left: str
) -> None:
    """Folding the topics again onto the leads that are left would count everything twice."""
    with plain.Redis(port=redis_server.port) as client:
        for key in {"position", "due", "rank", "outbox"} - {left}:
            client.delete(f"{{{namespace}:0}}:{key}")
    for call in (lambda: store.acquire(OWNER, 8), store.allow_rebuild):
        with pytest.raises(StoreRefused, match="delete every key of the partition"):
            await call()


async def test_a_replica_is_unavailable_until_it_is_promoted(own_redis: Redis, namespace: str) -> None:
    """In a failover the old primary answers READONLY for a while; that heals, the worker must not stop for it."""
    async with a_store(own_redis.url, namespace) as store:
        await store.acquire(OWNER, 8)
        with plain.Redis(port=own_redis.port) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", free_port())
            with pytest.raises(StoreUnavailable, match="READONLY"):
                await store.apply(OWNER, a_batch(1))
            client.execute_command("REPLICAOF", "NO", "ONE")
            client.config_set("min-replicas-to-write", 1)
            with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
                await store.apply(OWNER, a_batch(1))
            client.config_set("min-replicas-to-write", 0)
        assert await store.apply(OWNER, a_batch(1)) is Applied.DONE


async def test_a_cancelled_call_ends_and_does_not_answer_the_next_one(store: RedisStore) -> None:
    """A task told to stop stops, in whatever turn, and a reply that nobody waited for is not taken for another call's."""
    for turns in range(40):
        call = asyncio.create_task(store.load(["a"]))
        for _ in range(turns // 2):
            await asyncio.sleep(0)
        if call.cancel():
            with pytest.raises(asyncio.CancelledError):
                await call
        assert (await store.due(5, 5)).leads == ["a"]


async def test_two_versions_of_the_library_live_side_by_side(
    store: RedisStore, redis_server: Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a rolling upgrade old and new workers share a Redis: neither's functions may replace the other's."""
    body = redis_client.SOURCE.split("\n", 2)[2]
    assert redis_client.library(body) == (redis_client.LIBRARY, redis_client.SOURCE)
    other, source = redis_client.library(body + "-- changed\n")
    assert other != redis_client.LIBRARY
    async with a_store(redis_server.url, namespace) as newer:
        with monkeypatch.context() as patch:
            patch.setattr(redis_client, "LIBRARY", other)
            patch.setattr(redis_client, "SOURCE", source)
            assert await newer.apply(OWNER, a_batch(2)) is Applied.DONE
        assert await store.apply(OWNER, a_batch(3)) is Applied.DONE
    with plain.Redis(port=redis_server.port) as client:
        libraries = {library[1].decode() for library in client.function_list("leadpulse_*")}
        client.function_delete(other)
    assert {redis_client.LIBRARY, other} <= libraries


# Addresses and errors.


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
