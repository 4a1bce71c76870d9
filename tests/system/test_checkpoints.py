"""Checkpoints on real Kafka and Redis: written beside a worker, begun at when Redis and the log before them are gone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.site import MakeSite, Site
from tests.kit.traffic import now_ms, people


async def burst(site: Site, seed: int, count: int = 300) -> None:
    """Send some people's events, strays among them."""
    found = people(seed, 60, count, around_ms=now_ms() - 2_000, spread_s=2.0)
    await site.send([site.sent(message, crc=n % 5 == 0) for n, message in enumerate(found)])


def told(done: Any) -> list[dict[str, Any]]:
    """Return what a command printed, one JSON a line."""
    return [json.loads(line) for line in done.stdout.splitlines()]


async def written(site: Site, folder: Path, **settings: Any) -> list[dict[str, Any]]:
    """Write a checkpoint of each partition; return what the command says."""
    done = await asyncio.to_thread(site.command, "checkpoint", checkpoints=folder, **settings)
    assert done.returncode == 0, done.stderr + site.logs()
    return told(done)


async def test_an_emptied_redis_is_rebuilt_from_a_checkpoint_though_the_log_before_it_is_gone(
    make_site: MakeSite, tmp_path: Path
) -> None:
    """States, ids and order are those of a worker that never lost anything."""
    folder = tmp_path / "checkpoints"
    site = await make_site()
    worker = site.worker()
    await worker.ready(2)
    await burst(site, 1)
    await site.settled()
    sending = asyncio.create_task(burst(site, 2))
    first = await written(site, folder)
    await sending
    await burst(site, 3)
    await site.settled()
    await worker.stop()
    before = {p: await site.position(p) for p in range(2)}
    assert {one["partition"] for one in first} == {0, 1}
    await site.forget_log_before_checkpoints(folder)
    await site.restore({})

    refused = site.worker()
    assert await refused.ended() == 1
    assert "leadpulse rebuild" in refused.said()
    doctor = site.command("doctor", checkpoints=folder)
    assert "is empty" in doctor.stderr
    rebuilt = site.command("rebuild", "--all", checkpoints=folder)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert [(one["checkpoint"], one["batch"]) for one in told(rebuilt)] == [(one["checkpoint"], one["batch"]) for one in first]
    held = {p: await site.position(p) for p in range(2)}
    assert all(int(held[p]["batch"]) < int(before[p]["batch"]) for p in range(2)), (
        "nothing is left to fold: the test shows little"
    )

    worker = site.worker()
    await worker.ready(2)
    await worker.says("folding again", 2)
    await burst(site, 4)
    await site.settled()
    await worker.stop()
    await site.verdict()


async def test_without_a_checkpoint_that_reaches_the_log_nothing_is_put_back(make_site: MakeSite, tmp_path: Path) -> None:
    """Half a past would be worse than none; `doctor` says beforehand that there is no way."""
    folder = tmp_path / "checkpoints"
    site = await make_site()
    worker = site.worker()
    await worker.ready(2)
    await burst(site, 1)
    await site.settled()
    await written(site, folder)
    fine = site.command("doctor", checkpoints=folder)
    assert "2 partitions can be rebuilt from checkpoints of" in fine.stderr, fine.stderr
    await burst(site, 2)
    await site.settled()
    await worker.stop()
    await site.forget_log()
    hopeless = site.command("doctor", checkpoints=folder)
    assert "partitions 0, 1 could not be rebuilt if Redis were emptied" in hopeless.stderr, hopeless.stderr
    assert "retention deleted" in hopeless.stderr
    await site.restore({})
    rebuilt = site.command("rebuild", "--all", checkpoints=folder)
    assert "not used" in rebuilt.stderr
    assert all("checkpoint" not in one for one in told(rebuilt))
    refused = site.worker()
    assert await refused.ended() == 1
    assert "lacks the cut" in refused.said()


async def test_a_worker_writes_checkpoints_of_its_partitions_and_keeps_the_newest(make_site: MakeSite, tmp_path: Path) -> None:
    """Each partition once, whoever owns it, and no scoring stops for it."""
    folder = tmp_path / "checkpoints"
    site = await make_site(checkpoints=folder, checkpoint_every=1 / 3600, checkpoint_keep=2)
    workers = [site.worker(), site.worker()]
    for worker in workers:
        await worker.ready(1)
    await burst(site, 1)
    await site.settled()
    manifests: set[Path] = set()
    while {path.parent.name for path in manifests} != {"00000", "00001"} or len(manifests) < 8:
        manifests |= set(folder.rglob("*.json"))
        await asyncio.sleep(0.1)
    for worker in workers:
        await worker.stop()
    for p in range(2):
        held = sorted(folder.glob(f"*/{p:05d}/*"))
        kept = [path for path in held if path.suffix == ".json"]
        assert 1 <= len(kept) <= 3  # the newest two, and one that was just written
        named = {json.loads(path.read_bytes())["rows"] for path in kept}
        assert named <= {path.name for path in held}
    await site.verdict()


async def test_a_folder_that_takes_nothing_stops_no_scoring(make_site: MakeSite, tmp_path: Path) -> None:
    """The log says so, and goes on saying so."""
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    site = await make_site(checkpoints=blocked, checkpoint_every=1 / 3600)
    worker = site.worker()
    await worker.ready(2)
    await burst(site, 1)
    await worker.says("no checkpoint", 3)
    await site.settled()
    await worker.stop()
    await site.verdict()


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
async def test_a_damaged_checkpoint_is_refused_by_name(make_site: MakeSite, tmp_path: Path, damage: str) -> None:
    """Nothing of it is written; the one before it, or the log, is there when it is removed."""
    folder = tmp_path / "checkpoints"
    site = await make_site(partitions=1)
    worker = site.worker()
    await worker.ready(1)
    await burst(site, 1)
    await site.settled()
    (one,) = await written(site, folder)
    await worker.stop()
    (rows,) = folder.rglob("*.rows.gz")
    held = rows.read_bytes()
    match damage:
        case "cut":
            rows.write_bytes(held[: len(held) // 2])
        case "changed":
            rows.write_bytes(held[:-20] + bytes([held[-20] ^ 1]) + held[-19:])
        case "gone":
            rows.unlink()
    await site.restore({})
    refused = site.command("rebuild", "--all", checkpoints=folder)
    assert refused.returncode == 1
    assert one["checkpoint"] in refused.stderr
    assert told(refused)[0]["rebuild"] is False
    assert await site.copy() == {}
    again = site.command("rebuild", "--all", "--from-topics", checkpoints=folder)
    assert again.returncode == 0, again.stderr
    worker = site.worker()
    await worker.ready(1)
    await site.settled()
    await worker.stop()
    await site.verdict()
