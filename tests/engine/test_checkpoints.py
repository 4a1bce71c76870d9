"""When a checkpoint is written, when it is not, and which of those that are kept can be used."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from tests.kit.batches import a_batch, a_write, everything
from tests.kit.services import Redis
from worker.adapters.redis_client import Client, connect
from worker.adapters.redis_store import RedisOrder, RedisStore
from worker.adapters.stored_files import Files, files_at
from worker.core.batch.checkpoint import CheckpointError
from worker.core.grid.models import parse_grid
from worker.core.grid.order import Entry
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.state import FOLD_VERSION
from worker.engine import checkpoints
from worker.engine.checkpoints import Checkpointer, Taken, take
from worker.engine.grid_order import agree
from worker.engine.kept import clean, folder_of, kept, reaches, restore
from worker.errors import NotTaken, StoreRefused
from worker.metrics import Metrics
from worker.ports import OutboxEntry
from worker.settings import Settings

OWNER = "7:1:first"


@pytest.fixture
async def client(redis_server: Redis) -> AsyncIterator[Client]:
    """A client of a real Redis."""
    client = connect(redis_server.url)
    yield client
    await client.aclose()


@pytest.fixture
def settings(namespace: str, tmp_path: Path) -> Settings:
    """A namespace of one partition, whose checkpoints are in a folder of its own."""
    environ = {"NAMESPACE": namespace, "PARTITIONS": "1", "CHECKPOINTS": str(tmp_path / "kept"), "CHECKPOINT_KEEP": "2"}
    return Settings.load({f"LEADPULSE_{name}": held for name, held in environ.items()}, tick_interval=0.1)


@pytest.fixture
def files(settings: Settings) -> Files:
    """Where they are kept."""
    return files_at(settings.checkpoints or "")


@pytest.fixture
async def store(client: Client, settings: Settings) -> RedisStore:
    """Its partition, at batch 1, which is published."""
    store = RedisStore(client, settings.namespace, 0)
    await store.acquire(OWNER, 1)
    await applied(store, 1)
    return store


async def applied(store: RedisStore, batch: int, published: bool = True) -> None:
    """Apply a batch."""
    await store.apply(OWNER, a_batch(batch, [a_write(f"lead-{batch}", rank=1.0)]))
    if published:
        await store.trim(OWNER, batch)


async def taken(settings: Settings, client: Client, files: Files) -> Taken | NotTaken:
    """Take a checkpoint of the partition."""
    (result,) = [result async for _, result in take(settings, client, files, [0])]
    return result


async def test_a_checkpoint_counts_once_its_batches_are_published(
    client: Client, settings: Settings, files: Files, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that its outputs are in Redis alone, and would be missing after a rebuild."""
    monkeypatch.setattr(checkpoints, "_PUBLISHED_S", 0.3)
    await applied(store, 2, published=False)
    result = await taken(settings, client, files)
    assert isinstance(result, NotTaken)
    assert "batch 2 was not published" in str(result)
    assert files.names(folder_of(settings.namespace, 0)) == {}, "what was begun is taken away"
    await store.trim(OWNER, 2)
    done = await taken(settings, client, files)
    assert isinstance(done, Taken)
    assert done.manifest.batch == 2
    assert done.manifest.position["published"] == "2"


async def test_a_checkpoint_is_due_when_it_is_old_and_after_an_upgrade(
    client: Client, settings: Settings, files: Files, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild from one of before an upgrade would need the version of before."""
    metrics = Metrics(CollectorRegistry())
    writer = Checkpointer(settings, client, settings.checkpoints or "", lambda: [0], metrics)

    async def count() -> int:
        await writer._round()
        return len(kept(files, settings.namespace, 0))

    assert await count() == 1
    assert await count() == 1, "it is fresh"
    await applied(store, 2)
    monkeypatch.setattr(checkpoints, "FOLD_VERSION", FOLD_VERSION + 1)
    assert await count() == 2
    assert await count() == 2
    written_s = metrics.checkpoint_time.labels("0")._value.get()
    assert abs(time.time() - written_s) < 60
    monkeypatch.setattr(time, "time", lambda: written_s + settings.checkpoint_every * 3_600)
    await applied(store, 3)
    await writer._round()
    assert [one.manifest.batch for one in kept(files, settings.namespace, 0)] == [3, 2], "the oldest is removed"
    assert metrics.checkpoints.labels("done")._value.get() == 3


async def test_what_a_dead_writer_left_is_removed_and_nothing_else(
    client: Client, settings: Settings, files: Files, store: RedisStore, tmp_path: Path
) -> None:
    """Rows without a manifest are a writer's at work, until they are a day old."""
    assert isinstance(await taken(settings, client, files), Taken)
    folder = tmp_path / "kept" / folder_of(settings.namespace, 0)
    before = {path.name for path in folder.iterdir()}
    for name, age_s in (("at work.rows.gz", 60), ("dead.rows.gz", 90_000), (".a.json.1.part", 90_000)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    clean(files, settings.namespace, 0, 2)
    assert {path.name for path in folder.iterdir()} == before | {"at work.rows.gz"}
    (manifest,) = folder.glob("*.json")
    manifest.write_bytes(b"damaged")
    os.utime(folder / "at work.rows.gz", (0, 0))
    clean(files, settings.namespace, 0, 2)
    assert {path.name for path in folder.iterdir()} == before | {"at work.rows.gz"}, "whose the rows are is not known now"


async def test_a_checkpoint_of_another_home_or_number_of_partitions_is_refused(
    client: Client, settings: Settings, files: Files, store: RedisStore, tmp_path: Path
) -> None:
    """A lead's owner depends on both."""
    assert isinstance(await taken(settings, client, files), Taken)
    (one,) = kept(files, settings.namespace, 0)
    with pytest.raises(StoreRefused, match="HELD"):
        await restore(settings, client, files, one)
    with pytest.raises(CheckpointError, match="LEADPULSE_PARTITIONS says 2"):
        await restore(settings.model_copy(update={"partitions": 2}), client, files, one)
    (tmp_path / "kept" / settings.namespace / "00000").rename(tmp_path / "kept" / settings.namespace / "00001")
    with pytest.raises(CheckpointError, match="partition 0"):
        kept(files, settings.namespace, 1)
    refused: list[str] = []
    assert kept(files, settings.namespace, 1, refused.append) == []
    assert len(refused) == 1


async def test_a_checkpoint_can_be_used_while_the_topics_hold_what_comes_after_it(
    client: Client, settings: Settings, files: Files, store: RedisStore
) -> None:
    """Nothing deleted that it needs, nothing made anew."""
    done = await taken(settings, client, files)
    assert isinstance(done, Taken)
    manifest = done.manifest
    assert manifest.next == {"web": 1}
    assert reaches(manifest, {"web": 1}, {"web": 1}) == ""
    assert reaches(manifest, {"web": 0}, {"web": 9}) == ""
    assert "retention deleted web 1 to 4" in reaches(manifest, {"web": 5}, {"web": 9})
    assert "web ends before 1" in reaches(manifest, {"web": 0}, {"web": 0})
    assert "web is gone" in reaches(manifest, {"crm": 0}, {"crm": 9})


async def test_a_failure_of_one_partition_leaves_the_others_alone(
    client: Client, settings: Settings, files: Files, store: RedisStore
) -> None:
    """A partition without state has none, and says why; the other has its own."""
    two = settings.model_copy(update={"partitions": 2})
    results = {p: result async for p, result in take(two, client, files, [0, 1])}
    assert isinstance(results[0], Taken)
    assert isinstance(results[1], NotTaken)
    assert "holds no state" in str(results[1])


@pytest.mark.parametrize("place", ["folder", "memory"])
async def test_a_checkpoint_comes_back_from_a_folder_and_from_object_storage(
    client: Client, settings: Settings, store: RedisStore, redis_server: Redis, tmp_path: Path, place: str
) -> None:
    """The same files, whatever keeps them; the partition stands where it stood, and goes on."""
    if place == "memory":
        pytest.importorskip("fsspec", reason="fsspec: pip install 'leadpulse[checkpoints]'")
    files = files_at(str(tmp_path / "x") if place == "folder" else f"memory://{settings.namespace}")
    await applied(store, 2)
    before = await everything(store, ["lead-1", "lead-2"])
    assert isinstance(await taken(settings, client, files), Taken)
    commands: Any = client
    await commands.delete(*await commands.keys(f"{{{settings.namespace}:*"))
    (one,) = kept(files, settings.namespace, 0)
    assert await restore(settings, client, files, one) == 2
    await store.acquire("7:2:next", 1)
    after = await everything(store, ["lead-1", "lead-2"])
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert after[1:] == before[1:]
    await store.apply("7:2:next", a_batch(3))


async def test_a_grid_does_not_go_back_by_way_of_a_checkpoint(
    client: Client, settings: Settings, files: Files, store: RedisStore
) -> None:
    """The journal of before the checkpoint is gone: nobody else could tell that a worker's file was in force before."""
    first, second = (parse_grid(f"grid: g\nversion: 1\nengagement: {{max: {most}}}\n", "g.yaml") for most in (40, 50))
    order = RedisOrder(client, settings.namespace)
    for number, grid in enumerate((first, second), start=1):
        agreed = await agree(order, grid, [])
        assert agreed is not None
        begun = a_batch(number + 1, grid=grid.sha256, begins=grid.source, rate=1)
        cut = msgspec.structs.replace(begun.entry.cut, order=agreed.entry.number)
        await store.apply(OWNER, msgspec.structs.replace(begun, entry=OutboxEntry(cut, ())))
    await store.trim(OWNER, 3)
    assert isinstance(await taken(settings, client, files), Taken)
    commands: Any = client
    await commands.delete(*await commands.keys(f"{{{settings.namespace}:*"))
    (one,) = kept(files, settings.namespace, 0)
    await restore(settings, client, files, one)
    agreed = await agree(order, first, [Entry(2, 1, second.sha256, TABLES_VERSION)], second.source)
    assert agreed is not None
    assert agreed.refusal == "it was in force before, and another grid has followed it"
    assert (agreed.entry.sha256, agreed.text) == (second.sha256, second.source)
