"""The program over topics and ledgers in memory: an output becomes one request, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from standardwebhooks import Webhook

from schemas.acted import read_acted
from tests.kit.acting import ENVIRONMENT, TELL, Acting, lost
from tests.kit.waits import until
from worker.adapters.memory_ledger import MemoryLedger
from worker.automation_ports import Row
from worker.automations.hands import EACH


def hook_requests(stage: Acting) -> list[Any]:
    """Return the bodies that the hook got."""
    return [body for _, url, _, body in stage.target.requests if "hooks.example" in url]


async def test_an_output_becomes_a_signed_request_and_lead_acted() -> None:
    """The walking skeleton: lead.sql, a webhook that its own library verifies, done in the ledger, lead.acted."""
    stage = Acting()
    async with stage.acting():
        id_ = stage.publish()
        await until(lambda: stage.acks.records, "lead.acted")
    ((method, url, headers, body),) = stage.target.requests
    assert (method, url, body["id"], headers["webhook-id"]) == ("POST", "https://hooks.example/in", id_, id_)
    (row,) = await stage.rows()
    assert (row.state, row.remote_id, row.attempts) == ("done", id_, 1)
    assert read_acted(stage.acks.records[0].value or b"").data.outcome == "done"
    (acted,) = stage.acted()
    assert 0 <= acted["data"].pop("seconds") < 300
    assert acted["type"] == "lead.acted"
    assert acted["data"] == {
        "lead_id": "ada", "rule": "tell", "output": id_, "type": "lead.sql", "target": "hook", "do": "send", "outcome": "done",
        "remote_id": id_, "attempts": 1,
    }  # fmt: skip


async def test_the_signature_is_what_the_standard_says() -> None:
    """The library of Standard Webhooks takes it."""
    stage = Acting()
    stage.later(time.time_ns() // 1_000_000 - stage.now_ms())  # the library compares the time with its own clock
    async with stage.acting():
        stage.publish()
        await until(lambda: stage.target.requests, "the request")
    ((_, _, headers, body),) = stage.target.requests
    text = json.dumps(body, separators=(",", ":"))
    assert Webhook(ENVIRONMENT["HOOK"]).verify(text, headers)["id"] == "ada:1"


async def test_a_new_group_begins_at_the_end() -> None:
    """A first start calls nobody for what happened last year."""
    stage = Acting()
    stage.publish(seq=1)
    async with stage.acting():
        stage.publish(seq=2)
        await until(lambda: stage.acks.records, "lead.acted")
    assert [body["id"] for body in hook_requests(stage)] == ["ada:2"]


async def test_a_new_group_begins_where_it_is_told() -> None:
    """`--from T` takes what was published since."""
    stage = Acting()
    stage.publish(seq=1)
    stage.later(60_000)
    stage.publish(seq=2)
    stage.since_ms = stage.now_ms() - 30_000
    async with stage.acting():
        await until(lambda: stage.acks.records, "lead.acted")
    assert [body["id"] for body in hook_requests(stage)] == ["ada:2"]


async def test_what_was_published_while_nothing_ran_is_done_once() -> None:
    """The next process reads on from the ledger's position, not from the end."""
    stage = Acting()
    async with stage.acting():
        stage.publish(seq=1)
        await until(lambda: stage.acks.records, "the first")
    stage.publish(seq=2)
    async with stage.acting():
        await until(lambda: len(stage.acks.records) == 2, "the second")
    assert [body["id"] for body in hook_requests(stage)] == ["ada:1", "ada:2"]


async def test_a_topic_that_was_made_anew_is_read_from_its_start() -> None:
    """Its offsets begin again, so the ledger's position moves back."""
    stage = Acting()
    async with stage.acting():
        for seq in (1, 2, 3):
            stage.publish(seq=seq)
        await until(lambda: len(stage.acks.records) == 3, "lead.acted")
    stage.log.delete("lead.sql")
    stage.log.create("lead.sql")
    stage.publish(seq=4)
    async with stage.acting():
        await until(lambda: len(stage.acks.records) == 4, "lead.acted of the new topic")
        stage.publish(seq=5)
        await until(lambda: len(stage.acks.records) == 5, "lead.acted")
    assert await stage.states() == ["done"] * 5


async def test_other_namespaces_are_left_alone() -> None:
    """An output of another source is none of ours."""
    stage = Acting()
    async with stage.acting():
        event = {"id": "x:1", "source": "/leadpulse/other", "type": "lead.sql", "subject": "x", "time": "2026-02-02T02:40:00Z"}
        stage.log.append("lead.sql", 0, json.dumps({"specversion": "1.0", **event, "data": {}}).encode(), b"x")
        stage.log.append("lead.sql", 0, b"no json", b"x")
        stage.publish()
        await until(lambda: stage.acks.records, "lead.acted")
        assert stage.metrics.unreadable._value.get() == 1
    assert [body["id"] for body in hook_requests(stage)] == ["ada:1"]


async def test_a_busy_target_gets_it_again_and_keeps_the_leads_order() -> None:
    """503 is tried again, and the lead's next act waits for it."""
    stage = Acting()
    stage.target.answers = [503]
    async with stage.acting():
        stage.publish(seq=1)
        await until(lambda: stage.target.requests, "the first attempt")
        stage.publish(seq=2)
        stage.publish(lead="eve", seq=1)
        await until(lambda: len(stage.acks.records) == 1, "the other lead")
        stage.later(60_000)
        await until(lambda: len(stage.acks.records) == 3, "all three")
    ids = [body["id"] for body in hook_requests(stage)]
    assert [id_ for id_ in ids if id_.startswith("ada")] == ["ada:1", "ada:1", "ada:2"]


@pytest.mark.parametrize("cancelled_by", ["lead.cooled", "crm.accepted"])
async def test_cooled_before_it_was_sent_is_cancelled(cancelled_by: str) -> None:
    """A type of `unless` cancels what waits, from outputs and from inputs alike."""
    stage = Acting()
    stage.target.answers = [503] * 50
    async with stage.acting():
        stage.publish(seq=1)
        await until(lambda: stage.target.requests, "an attempt")
        if cancelled_by == "crm.accepted":
            stage.happen("crm.accepted")
        else:
            stage.publish("lead.cooled", seq=2)
        await until(lambda: stage.acks.records, "its end")
    assert await stage.states() == ["cancelled"]


async def test_an_old_act_is_stale_and_not_done() -> None:
    """A target that was down for five hours gets no call that nobody needs any more."""
    stage = Acting(TELL.replace("do: send", "do: send, fresh: 4h"))
    stage.target.answers = [503] * 50
    async with stage.acting():
        stage.publish(seq=1)
        await until(lambda: stage.target.requests, "an attempt")
        sent = len(stage.target.requests)
        stage.later(5 * 3_600_000)
        await until(lambda: stage.acks.records, "its end")
    assert await stage.states() == ["stale"]
    assert len(stage.target.requests) == sent


async def test_the_age_counts_against_the_newest_record_where_time_comes_from_events() -> None:
    """A replay of last year's outputs acts as it would have then."""
    stage = Acting(TELL.replace("do: send", "do: send, fresh: 4h"), clock="events")
    async with stage.acting():
        stage.publish(seq=1, at_ms=stage.now_ms() - 3_600_000)
        await until(lambda: stage.acks.records, "its end")
    assert await stage.states() == ["done"]


async def test_over_its_most_a_rule_is_held() -> None:
    """A new grid does not call ten thousand."""
    stage = Acting(TELL.replace("do: send", "do: send, max: 3/h"))
    async with stage.acting():
        for number in range(5):
            stage.publish(lead=f"lead-{number}")
        await until(lambda: len(stage.acks.records) == 5, "all ends")
    assert sorted(await stage.states()) == ["done"] * 3 + ["held"] * 2


async def test_a_target_that_hangs_holds_no_other_back() -> None:
    """Each target has hands of its own."""
    both = "acts:\n  - {id: a, on: lead.sql, to: slow, do: send}\n  - {id: b, on: lead.sql, to: hook, do: send}\n"
    stage = Acting(both)
    stage.target.waits["slow.example"] = asyncio.Event()
    async with stage.acting():
        for number in range(60):
            stage.publish(lead=f"lead-{number}")
        await until(lambda: len(hook_requests(stage)) == 60, "the other target's")
        stage.target.waits["slow.example"].set()
        await until(lambda: len(stage.acks.records) == 120, "all")
    assert set(await stage.states()) == {"done"}


class Remote(MemoryLedger):
    """A ledger that answers after a moment, as Redis does."""

    async def claim(self, *args: Any) -> list[Row]:
        await asyncio.sleep(0.005)
        return await super().claim(*args)


async def test_all_partitions_together_claim_no_more_than_a_target_can_take() -> None:
    """What is claimed beyond that would wait within its lease, and the dispatcher with it: for the other targets too."""
    stage = Acting()
    stage.ledgers = [Remote() for _ in stage.ledgers]
    stage.target.waits["hooks.example"] = asyncio.Event()
    for number in range(200):
        stage.publish(lead=f"lead-{number}")
    stage.since_ms = 0
    async with stage.acting():
        await until(lambda: len(stage._tasks[0].running) >= EACH, "all hands are busy")
        stage.target.waits["hooks.example"].set()
        await until(lambda: len(stage.acks.records) == 200, "all")
        assert stage._tasks[0].most == EACH


@pytest.mark.parametrize("name", ["rule:tell", "target:hook"])
async def test_a_pause_stops_a_rule_and_a_target(name: str) -> None:
    """And they go on afterwards."""
    stage = Acting()
    await stage.limits.pause(name, paused=True)
    async with stage.acting():
        stage.publish()
        await until(stage.put_back, "the act is put back")
        assert stage.target.requests == []
        await stage.limits.pause(name, paused=False)
        stage.later(60_000)
        await until(lambda: stage.acks.records, "done")
    assert await stage.states() == ["done"]


@pytest.mark.parametrize("stopped", ["configuration", "after"])
async def test_a_target_that_is_let_go_on_does_at_once_what_waits(stopped: str) -> None:
    """A person has mended the target: nothing waits for the breaker that was open, or for the time that it had asked for."""
    stage = Acting()
    await stage.limits.report("hook", stopped, 3_600_000 if stopped == "after" else 0, stage.now_ms())
    async with stage.acting():
        stage.publish()
        await until(stage.put_back, "the act is put back")
        await stage.limits.pause("target:hook", paused=False)
        stage.later(6_000)
        await until(lambda: stage.acks.records, "done")
    assert await stage.states() == ["done"]


async def test_an_act_that_found_the_mistake_goes_on_soon_too() -> None:
    """The breaker holds the others back. The act whose request was refused does not wait for longer than they."""
    stage = Acting()
    stage.target.answers = [401]
    async with stage.acting():
        stage.publish()
        await until(lambda: stage.target.requests and not stage.busy(), "the refusal")
        await stage.limits.pause("target:hook", paused=False)
        stage.later(6_000)
        await until(lambda: stage.acks.records, "done")
    assert await stage.states() == ["done"]


async def test_a_lost_answer_of_a_safe_step_is_asked_again_with_the_same_id() -> None:
    """The receiver knows a repeat by `webhook-id`."""
    stage = Acting()
    stage.target.answers = [lost()]
    async with stage.acting():
        stage.publish()
        await until(lambda: stage.target.requests, "the first")
        stage.later(60_000)
        await until(lambda: stage.acks.records, "done")
    assert [headers["webhook-id"] for _, _, headers, _ in stage.target.requests] == ["ada:1", "ada:1"]
    assert await stage.states() == ["done"]
