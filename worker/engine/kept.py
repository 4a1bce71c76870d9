"""Finds and checks stored checkpoints, removes old ones, and restores one into an empty partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from worker.adapters.redis_client import Client
from worker.adapters.redis_copy import Restore
from worker.adapters.redis_store import RedisOrder
from worker.adapters.stored_files import Files
from worker.core.batch.checkpoint import CheckpointError, Manifest, check_rows, decode_manifest, is_manifest, read_rows
from worker.engine.grid_order import know_again
from worker.settings import Settings

_ORPHAN_S = 86_400.0
"""Age at which a rows file without a manifest has no live writer."""


class Kept(NamedTuple):
    """A stored checkpoint, by its file name."""

    name: str
    manifest: Manifest


def folder_of(namespace: str, partition: int) -> str:
    """Return the folder of a partition's checkpoints."""
    return f"{namespace}/{partition:05d}"


def kept(files: Files, namespace: str, partition: int, refused: Callable[[str], None] | None = None) -> list[Kept]:
    """Return a partition's checkpoints, the newest first. Blocking.

    A file that was changed, or that a newer version wrote, is left out, and *refused* is called with the reason. Without
    *refused* it raises `CheckpointError`.
    """
    folder = folder_of(namespace, partition)
    found: list[Kept] = []
    for name in files.names(folder):
        if not is_manifest(name):
            continue
        where = f"{folder}/{name} in {files.where}"
        try:
            manifest = decode_manifest(name, files.get(f"{folder}/{name}"), where)
            _check_home(manifest, namespace, partition, where)
            found.append(Kept(name, manifest))
        except FileNotFoundError:
            continue  # removed since the folder was listed
        except CheckpointError as err:
            if refused is None:
                raise
            refused(str(err))
    return sorted(found, key=lambda one: (one.manifest.created_ms, one.name), reverse=True)


def _check_home(manifest: Manifest, namespace: str, partition: int, where: str) -> None:
    if (manifest.namespace, manifest.partition) != (namespace, partition):
        raise CheckpointError(
            f"checkpoint {where}: it is of namespace {manifest.namespace}, partition {manifest.partition}: put it back there"
        )


def clean(files: Files, namespace: str, partition: int, most: int) -> None:
    """Remove all of a partition's checkpoints but the *most* newest, and rows that no checkpoint names. Blocking."""
    folder = folder_of(namespace, partition)
    damaged: list[str] = []
    found = kept(files, namespace, partition, damaged.append)
    for old in found[most:]:
        files.remove(f"{folder}/{old.name}")
        files.remove(f"{folder}/{old.manifest.rows}")
    if damaged:
        return  # a damaged manifest may name any rows: remove nothing else until an operator has looked
    named = {one.manifest.rows for one in found}
    for name, age_s in files.names(folder).items():
        if not is_manifest(name) and name not in named and age_s > _ORPHAN_S:
            files.remove(f"{folder}/{name}")


def reaches(manifest: Manifest, starts: Mapping[str, int], ends: Mapping[str, int]) -> str:
    """Return why the topics do not allow a rebuild from *manifest*; empty if they do."""
    for topic, offset in manifest.next.items():
        if topic not in starts:
            return f"topic {topic} is gone"
        if offset < starts[topic]:
            return f"retention deleted {topic} {offset} to {starts[topic] - 1}"
        if offset > ends[topic]:
            return f"{topic} ends before {offset}: it was made anew"
    return ""


async def restore(settings: Settings, client: Client, files: Files, one: Kept) -> int:
    """Restore a checkpoint into its partition, which must be empty; return the number of written rows.

    The files are checked before the first write. Reading them blocks the loop, so only commands call this.
    Raises `CheckpointError` and `StoreRefused`.
    """
    manifest = one.manifest
    where = f"{folder_of(manifest.namespace, manifest.partition)}/{one.name} in {files.where}"
    if manifest.partitions != settings.partitions:
        raise CheckpointError(
            f"checkpoint {where}: it was made with {manifest.partitions} partitions, LEADPULSE_PARTITIONS says"
            f" {settings.partitions}: set it to that"
        )
    rows = f"{folder_of(manifest.namespace, manifest.partition)}/{manifest.rows}"
    target = Restore(client, settings.namespace, manifest.partition)
    try:
        with files.read(rows) as file:
            check_rows(manifest, file, where)
        await target.begin()
        count = 0
        with files.read(rows) as file:
            for writes in read_rows(file, where):
                await target.rows(writes)
                count += len(writes)
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {where}: its rows ({manifest.rows}) are gone: remove the checkpoint") from None
    if count != manifest.rows_count:
        raise CheckpointError(f"checkpoint {where}: it holds {count:,} rows, not {manifest.rows_count:,}: remove it")
    await know_again(RedisOrder(client, settings.namespace), manifest.order, manifest.grid_text)
    await target.end(manifest.position, manifest.grid_text)
    return count
