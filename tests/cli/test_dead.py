"""`leadpulse dead` on real Kafka: what a worker gave up is found, understood, and scored once it is mended."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.kit.online import ready, site, taken, topics
from tests.kit.services import free_port
from tests.kit.shell import Running, event, leadpulse
from tests.kit.waits import HANG_S
from worker.adapters.kafka_clients import to_record
from worker.adapters.kafka_sink import KafkaIntake
from worker.cli.dead import page_of
from worker.core.contract.codec import MAX_BYTES
from worker.core.contract.dead_letter import REPLAYED, DeadLetter, dead_letter
from worker.core.contract.model import Output, Record, Rejected
from worker.settings import Settings

__all__ = ["site", "topics"]

SOUND = event(1, "page.viewed", "ann", "2026-03-02T10:00:00Z", url="/pricing")
PHONE = event(2, "page.viewed", "ann", "2026-03-02T10:01:00Z", url="/", duration_s="0612345678")
NOBODY = event(3, "demo.requested", "", "2026-03-02T10:02:00Z", form_id="demo")
BROKEN = "{broken"


def listed(site: dict[str, str], *filters: str) -> list[dict[str, Any]]:
    """Return what `list` gives as JSON."""
    done = leadpulse("dead", "list", "--json", *filters, env=site)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def reasons(letters: Sequence[dict[str, Any]]) -> list[str]:
    """Return the reasons of *letters*, sorted."""
    return sorted(letter["reason"] for letter in letters)


def written(site: dict[str, str], outputs: Sequence[Output]) -> None:
    """Write records to Kafka as they are."""

    async def write() -> None:
        async with KafkaIntake(Settings.load(site)).sink() as sink:
            for output in outputs:
                await sink.send(output.topic, output.key, output.value, output.headers)

    asyncio.run(write())


def letters_of(site: dict[str, str], *records: tuple[bytes | None, str]) -> None:
    """Write a letter for each (value, reason), all to the partition of one key."""
    source, dead = site["LEADPULSE_INPUT_TOPICS"], Settings.load(site).output_topic("lead.dead")
    bad = (Rejected(Record(source, 1, at, None, b"ann", value), why, "why") for at, (value, why) in enumerate(records))
    written(site, [dead_letter(dead, one) for one in bad])


def records(site: dict[str, str], topic: str) -> list[Record]:
    """Return every record of *topic*."""

    async def read() -> list[Record]:
        found: list[Record] = []
        async with AIOKafkaConsumer(topic, bootstrap_servers=site["LEADPULSE_KAFKA"], auto_offset_reset="earliest") as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            while len(found) < sum(ends.values()):
                for some in (await consumer.getmany(timeout_ms=500)).values():
                    found.extend(map(to_record, some))
        return found

    return asyncio.run(asyncio.wait_for(read(), HANG_S))


def lines(folder: Path, *given: str) -> Path:
    """Write *given* to a file, a line each."""
    path = folder / "lines.jsonl"
    path.write_text("\n".join(given) + "\n")
    return path


def test_what_a_worker_gave_up_is_found_by_each_condition_and_scored_once_mended(
    topics: dict[str, str], tmp_path: Path
) -> None:
    """Through the worker and back: what is still bad stays where it is unless forced, and is then told apart."""
    source = topics["LEADPULSE_INPUT_TOPICS"]
    with Running(["-m", "worker.cli", "run"], topics, tmp_path) as worker:
        worker.until(lambda: ready(topics))
        produced = leadpulse("produce", lines(tmp_path, BROKEN, SOUND, PHONE, NOBODY), "--raw", "--topic", source, env=topics)
        assert produced.returncode == 0, produced.stderr
        worker.until(lambda: len(listed(topics)) == 3)

        letters = listed(topics)
        assert reasons(letters) == ["bad_data", "no_subject", "not_json"]
        assert {letter["topic"] for letter in letters} == {source}
        phone = next(letter for letter in letters if letter["reason"] == "bad_data")
        assert (phone["key"], phone["replayed"]) == ("ann", None)
        assert phone["detail"] == "data.duration_s: a string; expected a number of at least 0"
        assert reasons(listed(topics, "--reason", "bad_data", "--reason", "not_json")) == ["bad_data", "not_json"]
        assert reasons(listed(topics, "--type", "demo.requested")) == ["no_subject"]
        assert reasons(listed(topics, "--since", phone["at"], "--reason", "bad_data")) == ["bad_data"]
        assert listed(topics, "--until", phone["at"], "--reason", "bad_data") == []
        assert listed(topics, "--topic", "elsewhere") == []
        people = leadpulse("dead", "list", env=topics)
        assert "0612345678" not in people.stdout + people.stderr
        assert re.search(
            rf"^{phone['place']} .* bad_data +{re.escape(source)}\[\d\]@\d  ann  data\.", people.stdout, re.MULTILINE
        )
        assert "3 dead letters in " in people.stderr
        assert len(listed(topics, "--limit", "2")) == 2

        shown = leadpulse("dead", "show", phone["place"], env=topics).stdout
        assert f"leadpulse dead replay {phone['place']} --from FILE" in shown
        assert '"duration_s": "0612345678"' in shown
        raw = leadpulse("dead", "show", phone["place"], "--raw", env=topics)
        assert raw.stdout == PHONE

        refused = leadpulse("dead", "replay", "--all", env=topics)
        assert refused.returncode == 1
        assert json.loads(refused.stdout) == {
            "replayed": 0, "still_bad": {"bad_data": 1, "no_subject": 1, "not_json": 1}, "without_value": 0, "misplaced": 0,
        }  # fmt: skip
        assert "0612345678" not in refused.stderr

        mended = lines(tmp_path, PHONE.replace('"0612345678"', "61.2"))
        sent = leadpulse("dead", "replay", phone["place"], "--from", mended, env=topics)
        assert (sent.returncode, json.loads(sent.stdout)["replayed"]) == (0, 1)
        worker.until(lambda: taken(topics) == 2)

        forced = leadpulse("dead", "replay", "--reason", "not_json", "--force", env=topics)
        assert (forced.returncode, json.loads(forced.stdout)["replayed"]) == (0, 1)
        worker.until(lambda: len(listed(topics)) == 4)
        first, back = sorted(listed(topics, "--reason", "not_json"), key=lambda one: str(one["at"]))
        assert (first["replayed"], back["replayed"]) == (None, first["place"])
        assert f"(replayed from {first['place']})" in leadpulse("dead", "list", env=topics).stdout
        assert leadpulse("dead", "show", back["place"], "--raw", env=topics).stdout == BROKEN
        assert worker.end() == 0
    ann = json.loads(leadpulse("explain", "ann", "--at", "2026-03-02T10:01:00Z", "--json", env=topics).stdout)
    (visit,) = (reason for reason in ann["reasons"] if reason["id"] == "visit")
    assert visit["count"] == 2


def test_a_sound_letter_goes_back_to_where_it_came_from_as_it_came(topics: dict[str, str], tmp_path: Path) -> None:
    """After a version that reads more, the letters that it reads are sent, the others are counted, and --dry-run sends none."""
    letters_of(topics, (SOUND.encode(), "bad_data"), (b"{", "not_json"), (b"x" * (MAX_BYTES + 1), "too_large"), (None, "empty"))
    first = listed(topics)[0]["place"]
    dry, wet = (leadpulse("dead", "replay", "--all", *flags, env=topics) for flags in (["--dry-run"], []))
    assert (dry.returncode, wet.returncode) == (1, 1)
    counts = {"replayed": 1, "still_bad": {"not_json": 1, "tombstone": 1}, "without_value": 1, "misplaced": 0}
    assert json.loads(dry.stdout) == counts | {"dry_run": True}
    assert json.loads(wet.stdout) == counts
    forced = leadpulse("dead", "replay", "--reason", "too_large", "--force", env=topics)
    assert (forced.returncode, json.loads(forced.stdout)["without_value"]) == (1, 1)

    copy = leadpulse("dead", "replay", first, first, "--to", topics["LEADPULSE_NAMESPACE"] + ".elsewhere", env=topics)
    assert copy.returncode == 1
    assert "has no topic" in copy.stderr
    assert "0 records were handed over" in copy.stderr
    with Running(["-m", "worker.cli", "run"], topics, tmp_path) as worker:
        worker.until(lambda: ready(topics) and taken(topics) == 1)
        assert worker.end() == 0
    assert len(listed(topics)) == 4, "the worker took what was sent, and gave up nothing"
    (record,) = records(topics, topics["LEADPULSE_INPUT_TOPICS"])
    assert record[4:] == (b"ann", SOUND.encode(), ((REPLAYED, first.encode()),))


def test_what_is_not_there_is_said_in_one_line(topics: dict[str, str]) -> None:
    """At three in the morning the message must say what to do; none is a traceback."""
    dead = Settings.load(topics).output_topic("lead.dead")
    nothing = leadpulse("dead", "list", env=topics)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == f"no such dead letters in {dead}\n"
    none = leadpulse("dead", "replay", "--all", env=topics)
    assert (none.returncode, json.loads(none.stdout)["replayed"]) == (0, 0)
    assert "no letter matches these conditions" in none.stderr

    letters_of(topics, (b"x" * (MAX_BYTES + 1), "too_large"))
    written(topics, [Output(dead, b"ann", b"{}")])
    assert reasons(listed(topics)) == ["too_large"]
    assert "1 other records passed over" in leadpulse("dead", "list", env=topics).stderr
    partition = int(listed(topics)[0]["place"].partition(":")[0])
    for wrong, words in (
        (f"{partition}:2", f"partition {partition} of topic {dead} holds offsets 0 to 1"),
        (f"{1 - partition}:0", "is empty"),
        ("2:0", f"topic {dead} has 2 partitions, from 0 on"),
        (f"{partition}:1", "`leadpulse dead list` names those that it has"),
    ):
        for command in ("show", "replay"):
            failed = leadpulse("dead", command, wrong, env=topics)
            assert (failed.returncode, failed.stdout) == (1, "")
            assert f"no dead letter at {wrong}" in failed.stderr
            assert words in failed.stderr
            assert len(failed.stderr.splitlines()) == 1
    show = leadpulse("dead", "show", f"{partition}:0", env=topics).stdout
    assert re.search(r"^value +not here; in its place:\n\{\n +\"value\": \{\n +\"bytes\": 900001,", show, re.MULTILINE)
    raw = leadpulse("dead", "show", f"{partition}:0", "--raw", env=topics)
    assert (raw.returncode, raw.stdout) == (1, "")
    assert "holds no value (too_large)" in raw.stderr

    for changed, words in (
        ({"LEADPULSE_OUTPUT_TOPICS": f"lead.dead={dead}er"}, f"has no topic {dead}er"),
        ({"LEADPULSE_KAFKA": f"127.0.0.1:{free_port()}"}, "no Kafka broker answers"),
    ):
        for args in (["list"], ["show", "0:0"], ["replay", "--all"]):
            failed = leadpulse("dead", *args, env=topics | changed)
            assert (failed.returncode, failed.stdout) == (1, "")
            assert words in failed.stderr
            assert len(failed.stderr.splitlines()) == 1


async def test_an_open_transaction_neither_shows_nor_holds_anyone_up(topics: dict[str, str]) -> None:
    """A worker that died in the middle leaves one; the list ends before it, and says no more than what is committed."""
    site_ = Settings.load(topics)
    letter = dead_letter(site_.output_topic("lead.dead"), Rejected(Record("t", 0, 0, None, b"k", b"{"), "not_json", "why"))
    producer = AIOKafkaProducer(bootstrap_servers=site_.kafka, transactional_id=site_.namespace)
    async with producer:
        for shown in (0, 0, 1):
            await producer.begin_transaction()
            await producer.send_and_wait(letter.topic, letter.value, key=letter.key, headers=list(letter.headers))
            assert len(await asyncio.to_thread(listed, topics)) == 0
            await (producer.commit_transaction() if shown else producer.abort_transaction())
            assert len(await asyncio.to_thread(listed, topics)) == shown


def test_wrong_usage_is_told_before_anything_is_read(tmp_path: Path) -> None:
    """No broker is needed for it."""
    path = str(lines(tmp_path, SOUND))
    for wrong, words in (
        (["replay"], "select letters"),
        (["replay", "0:1", "--all"], "select letters"),
        (["replay", "--all", "--reason", "empty"], "select letters"),
        (["replay", "--all", "--from", path], "--from needs exactly one PLACE"),
        (["replay", "0:1", "0:2", "--from", path], "--from needs exactly one PLACE"),
        (["replay", "0:1", "--to", "lead.dead"], "the worker itself writes that topic"),
        (["replay", "0:1", "--to", "leadpulse.default.internal"], "the worker itself writes that topic"),
        (["show", "17"], "no place"),
        (["list", "--reason", "typo"], "traits_refused"),
        (["list", "--since", "yesterday"], "--since"),
    ):
        done = leadpulse("dead", *wrong, env={"LEADPULSE_KAFKA": f"127.0.0.1:{free_port()}"})
        assert done.returncode == 2, done.stderr
        assert words in done.stderr


def test_a_value_is_shown_as_what_it_is_and_gives_no_orders_to_the_terminal() -> None:
    """JSON, else text with escapes, else hexadecimal; the detail and the headers are a stranger's words too."""

    def page(value: bytes, *headers: tuple[str, bytes]) -> str:
        return page_of(DeadLetter(0, 1, 0, "not_json", "\x1b[2J", Record("t", 0, 0, None, b"\xff", value, headers)))

    assert page(b'{"a":[1e999]}').endswith('{\n  "a": [\n    1e999\n  ]\n}')
    assert page("{né\x1b[31m\n\u202e".encode()).endswith("\n{né\\x1b[31m\n\\u202e")
    assert page(b"\xff\x00{").endswith("\nff 00 7b")
    assert page(b'"\xc2\x9b"').endswith('\n"\\x9b"')
    assert "\nkey        ff\nheader     x: 1\\n2\nvalue" in page(b"", ("x", b"1\n2"))
    assert "\ndetail     \\x1b[2J\n" in page(b"")
    assert "(binary mode)" in page(b"", ("ce_specversion", b"1.0"))
    assert "(binary mode)" not in page(b"")
