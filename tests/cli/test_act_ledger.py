"""`leadpulse act list|show|resolve|retry|pause|resume` and the targets of `connections status`, on a real Redis."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kit.ledgers import a_content, a_state, an_act, claimed, ended, enrolled, the_row
from tests.kit.services import Redis, free_port
from tests.kit.shell import leadpulse
from worker.adapters.redis_client import connect
from worker.adapters.redis_ledger import RedisLedger
from worker.adapters.redis_limits import RedisLimits
from worker.automation_ports import AddAct, Cancel, Ledger, Op, Suppress
from worker.automations.acts import Act, LeadState
from worker.automations.output import Output
from worker.automations.persons import erase_acts, held_acts
from worker.core.contract.partitioner import owner
from worker.settings import ReaderSettings

PARTITIONS = 4
CONNECTIONS = """
targets:
  crm:  {kind: hubspot, token: "${HUBSPOT_TOKEN}"}
  hook: {kind: webhook, url: "https://hooks.example.com/lp", secret: "${HOOK_OUT}"}
"""
AUTOMATIONS = """
acts:
  - {id: call, on: lead.sql, to: crm, do: task, with: {subject: "Call {{ lead_id }}", body: "{{ dossier }}"}}
  - {id: hook, on: lead.sql, to: hook, do: send}
"""


class Site:
    """A namespace whose ledger has acts."""

    def __init__(self, server: Redis, namespace: str, folder: Path) -> None:
        self.client = connect(server.url)
        self.namespace, self.folder = namespace, folder
        self.env = {
            "LEADPULSE_REDIS": server.url, "LEADPULSE_NAMESPACE": namespace, "LEADPULSE_PARTITIONS": str(PARTITIONS),
            "LEADPULSE_KAFKA": f"127.0.0.1:{free_port()}",
        }  # fmt: skip
        (folder / "connections.yaml").write_text(CONNECTIONS)
        (folder / "automations.yaml").write_text(AUTOMATIONS)

    def ledger(self, lead: str) -> Ledger:
        """Return the ledger that owns *lead*."""
        return RedisLedger(self.client, self.namespace, owner(lead, PARTITIONS))

    def act(self, lead: str, rule: str = "call", source: str = "", **fields: Any) -> AddAct:
        """Return an act, as the program writes it."""
        act = Act(
            rule=rule, source=source or f"/leadpulse/{self.namespace}", output=f"{lead}:7", lead_id=lead, target="crm",
            do="task", fields={"subject": f"Call \x1b {lead}"}, type="lead.sql", at_ms=1_000, fresh_ms=60_000,
        )  # fmt: skip
        return an_act(act.id, lead, packed=msgspec.msgpack.encode(act), at_ms=1_000, **fields)

    def __call__(self, *args: str, text: str | None = None) -> Any:
        """Run `leadpulse act`."""
        return leadpulse("act", *args, env=self.env, text=text, cwd=self.folder)

    def listed(self, *args: str) -> list[dict[str, Any]]:
        """Return what `list --json` prints."""
        answer = self("list", "--json", *args)
        assert answer.returncode == 0, answer.stderr
        return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.fixture
async def site(redis_server: Redis, namespace: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A site with an act that waits, one that is done, and one whose answer was lost."""
    found = Site(redis_server, namespace, tmp_path)
    for n, lead in enumerate(("ann", "bob", "cat")):
        await found.ledger(lead).take([found.act(lead)], 2_000 + n)
    for lead, state, remote in (("bob", "done", "42"), ("cat", "unknown", "")):
        act = found.act(lead)
        await claimed(found.ledger(lead), 3_000, "c1")
        await ended(found.ledger(lead), act.id, "c1", state, 4_000, remote_id=remote, detail="" if remote else "no answer")
        await ended(found.ledger("ann"), found.act("ann").id, "c1", "intent", 4_000)
    yield found
    await found.client.aclose()


async def test_acts_are_listed(site: Site) -> None:
    """One object a line, oldest first. A table is for people."""
    ann, bob, cat = site.listed()
    assert bob == {
        "rule": "call", "output": "bob:7", "lead_id": "bob", "target": "crm", "do": "task", "state": "done", "remote_id": "42",
        "attempts": 1, "at": "1970-01-01T00:00:04.000Z", "detail": None,
    }  # fmt: skip
    assert (ann["state"], cat["state"], cat["detail"], cat["remote_id"]) == ("intent", "unknown", "no answer", None)
    assert site.listed("--state", "done", "--state", "unknown") == [bob, cat]
    assert site.listed("--lead", "ann") == [ann]
    assert (site.listed("--rule", "other"), site.listed("--target", "mail"), len(site.listed("--rule", "call"))) == ([], [], 3)
    table = site("list", "--state", "unknown")
    assert table.returncode == 0
    assert [word in table.stdout for word in ("cat:7", "no answer", "bob:7")] == [True, True, False]


async def test_one_act_is_shown_whole(site: Site) -> None:
    """What it sends is in it, and nothing that a terminal obeys."""
    answer = site("show", "call", "cat:7")
    assert answer.returncode == 0, answer.stderr
    assert "\x1b" not in answer.stdout
    shown = json.loads(answer.stdout)
    assert (shown["state"], shown["act"]["fields"], shown["known"]) == ("unknown", {"subject": "Call \x1b cat"}, {})
    gone = site("show", "call", "dan:7")
    assert (gone.returncode, gone.stderr.strip()) == (
        1,
        "Error: rule call has no act for dan:7; `leadpulse act list` shows them",
    )
    assert json.loads(site("show").stdout)["acts"][0]["id"] == "call"
    assert site("show", "a", "b", "c").returncode == 2


async def test_a_person_resolves_and_retries(site: Site) -> None:
    """An act that is done is not tried again, and one in a call is left alone."""
    answer = site("resolve", "call", "cat:7", "--as", "done", "--note", "seen there")
    assert (answer.returncode, answer.stderr.strip()) == (0, "1 acts ended as done")
    row = await the_row(site.ledger("cat"), site.act("cat").id)
    assert (row.state, row.detail) == ("done", "seen there")
    again = site("retry", "call", "cat:7")
    assert again.returncode == 1
    assert "not call cat:7: it is done" in again.stderr
    await site.ledger("ann").claim("crm", 9**15, 60_000, 1, "c2")
    busy = site("resolve", "call", "ann:7", "--as", "dead")
    assert busy.returncode == 1
    assert "not call ann:7: it is being tried just now" in busy.stderr


async def test_many_acts_are_decided_after_a_question(site: Site) -> None:
    """Such as all that a rule's `max` has held back. Without a choice nothing is decided."""
    held = [site.act(f"lead{n}", "many") for n in range(9)]
    for act in held:
        ledger = site.ledger(act.lead_id)
        await ledger.take([act], 2_000)
        await claimed(ledger, 2_000, "c3")
        await ended(ledger, act.id, "c3", "held", 2_000)
    asked = site("retry", "many", "--state", "held", text="n\n")
    assert asked.returncode == 1
    assert "9 acts will be tried again. Go on?" in asked.stderr
    assert {row["state"] for row in site.listed("--rule", "many")} == {"held"}
    done = site("retry", "many", "--state", "held", "--yes")
    assert (done.returncode, done.stderr.strip()) == (0, "9 acts tried again")
    row = await the_row(site.ledger("lead3"), held[3].id)
    assert (row.state, row.decided) == ("intent", True)
    assert site("resolve", "many", "--state", "held", "--as", "cancelled", "--yes").returncode == 1
    assert site("retry", "many").returncode == 2
    assert site("retry").returncode == 2


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("retry", "call", "--state", "done"), 2, "an act that is done stays done, so retry has nothing to do with it"),
        (("retry", "--state", "held", "--state", "done"), 2, "an act that is done stays done"),
        (("resolve", "call", "--state", "done", "--as", "dead"), 2, "an act that is done stays done"),
        (("resolve", "--state", "dead", "--as", "dead"), 2, "these acts are dead already; choose others, or another --as"),
        (("resolve", "call", "--as", "dead"), 2, "choose acts by --state"),
        (("retry", "call", "bob:7"), 1, "not call bob:7: it is done"),
        (("retry", "call", "cat:7", "--state", "held"), 1, "rule call has no act for cat:7 that the options choose"),
        (("pause", "rule:cal"), 1, "no rule is called cal, did you mean 'call'?"),
        (("resume", "target:mail"), 1, "no target is called mail; there are call, crm, hook"),
    ],
)
async def test_a_command_that_could_do_nothing_is_refused(site: Site, args: Sequence[str], code: int, words: str) -> None:
    """Before it asks anything, and nothing changes."""
    before = site.listed()
    answer = site(*args)
    assert (answer.returncode, words in answer.stderr) == (code, True), answer.stderr
    assert "Go on?" not in answer.stderr
    assert site.listed() == before


async def test_an_act_that_has_ended_does_not_end_so_again(site: Site) -> None:
    """It would be published once more, for nothing."""
    assert site("resolve", "call", "cat:7", "--as", "dead").returncode == 0
    before = site.listed()
    answer = site("resolve", "call", "cat:7", "--as", "dead")
    assert (answer.returncode, "not call cat:7: it is dead already" in answer.stderr) == (1, True)
    assert site.listed() == before


async def test_an_act_of_a_namespace_that_was_copied_is_found(site: Site) -> None:
    """Its source is that of the old namespace, and an output's id need not begin with the lead's."""
    await site.ledger("dan").take([site.act("dan", source="/leadpulse/old")], 5)
    assert json.loads(site("show", "call", "dan:7").stdout)["lead_id"] == "dan"


async def test_a_rule_or_a_target_is_paused_by_its_name(site: Site) -> None:
    """A name that nothing has is refused, but a file that cannot be read holds no pause back."""
    limits = RedisLimits(site.client, site.namespace)
    assert site("pause", "call").stderr.strip() == "paused: rule:call"
    assert site("pause", "hook").stderr.strip() == "paused: rule:hook, target:hook"
    assert "paused: rule:call" in site("list").stderr
    typo = site("pause", "cal")
    assert (typo.returncode, "did you mean 'call'?" in typo.stderr) == (1, True)
    assert site("resume", "rule:hook").stderr.strip() == "goes on: rule:hook"
    assert await limits.paused() == {"rule:call", "target:hook"}
    (site.folder / "automations.yaml").write_text("{")
    answer = site("pause", "crm")
    assert answer.returncode == 0
    assert "cannot be read, so the name was not checked" in answer.stderr
    assert await limits.paused() == {"rule:call", "target:hook", "rule:crm", "target:crm"}


async def test_what_is_held_of_a_person_is_exported_and_erased(site: Site) -> None:
    """A suppressed address stays so. What comes later from before the erasure is not added."""
    state = LeadState(
        rule="0", target="crm", object="contact", lead_id="ann", sequence=7, fields={"score": 5}, output="ann:7", at_ms=1
    )
    output = Output(id="ann:7", source="/s", type="lead.phase", lead_id="ann", at_ms=1, time="1970-01-01T00:00:00.001Z")
    packed = msgspec.msgpack.encode(output)
    ops: list[Op] = [a_state(7, packed=msgspec.msgpack.encode(state)), enrolled(packed=packed), Cancel("ann", "lead.cooled", 0)]
    await site.ledger("ann").take([*ops, a_content("study", 9), Suppress("ann", "bounced", 5)], 5)
    await site.ledger("email:ann@example.com").take([Suppress("email:ann@example.com", "unsubscribed", 5)], 5)
    await site.ledger("email:ann@example.com").content_allowed("ann@example.com", "warm/study", "an-act")
    settings = ReaderSettings.load(site.env)
    answer = leadpulse("export", "ann", "--without-webhooks", env=site.env, cwd=site.folder)
    assert answer.returncode == 0, answer.stderr
    held = json.loads(answer.stdout)["acts"]["ids"]["ann"]
    assert [(act["rule"], act["state"]) for act in held["acts"]] == [("warm/study", "intent"), ("call", "intent")]
    assert held["acts"][1]["act"]["fields"] == {"subject": "Call \x1b ann"}
    (shown,) = held["states"]
    assert (shown["target"], shown["written"], shown["waiting"]["fields"]) == ("crm", None, {"score": 5})
    assert [(one["rule"], one["sent"], one["output"]["id"]) for one in held["nurturing"]] == [("warm", ["study"], "ann:7")]
    assert held["cancelled_by"] == ["lead.cooled"]
    told = await held_acts(settings, ["ann"], ["Ann@Example.com"])
    assert told["suppressed"] == {"ann": "bounced", "email:ann@example.com": "unsubscribed"}
    assert told["contents"] == {"email:ann@example.com": ["warm/study"]}
    assert await erase_acts(settings, ["ann", "dan"], 2_000, 6_000) == 2
    await erase_acts(settings, ["email:ann@example.com"], 2_000, 6_000)
    assert await held_acts(settings, ["ann", "dan"], ["Ann@Example.com"]) == {
        "ids": {"ann": {"erased_up_to": "1970-01-01T00:00:02.000Z"}}, "suppressed": {"email:ann@example.com": "unsubscribed"},
    }  # fmt: skip
    await site.ledger("ann").take([site.act("ann")], 7_000)
    assert site.listed("--lead", "ann") == []


async def test_the_number_of_partitions_must_be_right(site: Site) -> None:
    """With another one, acts would not be found."""
    await site.client.hset(f"{{{site.namespace}:0}}:position", "partitions", "8")
    answer = site("list")
    assert answer.returncode == 1
    assert "has 8 partitions, LEADPULSE_PARTITIONS says 4: set it to 8" in answer.stderr


async def test_targets_have_a_status(site: Site) -> None:
    """Kafka is away here, so what it tells of sources is missing."""
    limits = RedisLimits(site.client, site.namespace)
    await limits.permit("crm", 5, 10.0, 100.0, 1_000)
    await limits.report("crm", "", 0, 2_000)
    await limits.report("crm", "configuration", 0, 3_000, "403 missing scope")
    await limits.pause("target:hook", True)
    answer = leadpulse("connections", "status", "--json", env=site.env, cwd=site.folder)
    crm, hook = (json.loads(line) for line in answer.stdout.splitlines())
    assert crm == {
        "direction": "target", "name": "crm", "kind": "hubspot", "last_event": "1970-01-01T00:00:02.000Z",
        "last_error": "configuration: 403 missing scope", "last_error_at": "1970-01-01T00:00:03.000Z", "breaker": "open",
        "budget": 100.0, "pending": 1, "held": 0, "dead": 0, "unknown": 1,
    }  # fmt: skip
    assert (hook["breaker"], hook["budget"], hook["pending"], hook["last_event"]) == ("paused", None, 0, None)
