"""The program that acts, in this process: its topics and ledgers in memory, and a target that answers as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from tests.kit.waits import until
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_limits import MemoryLimits
from worker.adapters.memory_log import MemoryLog, MemoryReader
from worker.automation_ports import Row
from worker.automations.acts import Act
from worker.automations.assembly import Outside, program_of, read_types
from worker.automations.calls import Logins, NoLogins
from worker.automations.file import parse_rules
from worker.automations.hands import Hands, Job
from worker.automations.metrics import ActMetrics
from worker.automations.program import Program
from worker.automations.requests import Http, Remember, Run, Steps, Unknown
from worker.automations.targets.common import Kind
from worker.automations.targets.registry import KINDS
from worker.connections.file import parse_connections
from worker.core.contract.model import Output
from worker.core.contract.partitioner import owner
from worker.errors import LogUnavailable
from worker.ports import Committed, LogPartition
from worker.sending_ports import Answered, AnswerLost, Before, HttpSender, NotSent
from worker.settings import ActSettings, Settings

NOW_MS = 1_770_000_000_000
ENVIRONMENT = {"HOOK": "whsec_c2VjcmV0LW9mLXRoZS1ob29r", "PW": "pass-word-of-mails"}

HOOKS = b"""
targets:
  hook: {kind: webhook, url: "https://hooks.example/in", secret: "${HOOK}"}
  slow: {kind: webhook, url: "https://slow.example/in", secret: "${HOOK}"}
"""
TELL = """
acts:
  - {id: tell, on: lead.sql, to: hook, do: send, unless: [lead.cooled, crm.accepted]}
"""


class MemoryActGroup(MemoryReader):
    """A group of one member, whose offsets a test can look at."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self._held = log
        self.refuses = False
        """Commits fail, as after a rebalance."""

    async def commit(self, offsets: Mapping[LogPartition, int], note: str) -> None:
        """Commit *offsets*, each with *note*."""
        await asyncio.sleep(0)
        if self.refuses:
            raise LogUnavailable("rebalanced", "the group has rebalanced")
        for tp, offset in offsets.items():
            self._ours(tp)
            self._held._committed[tp] = Committed(offset, note)

    async def committed(self, topics: Collection[str], partition: int) -> dict[str, Committed]:
        """Return what is committed for *partition* of each of *topics*."""
        places = {topic: LogPartition(topic, partition) for topic in topics}
        return {topic: self._held._committed[tp] for topic, tp in places.items() if tp in self._held._committed}

    async def at(self, partitions: Sequence[LogPartition], time_ms: int) -> dict[LogPartition, int]:
        """Return the first offset at or after *time_ms* of each of *partitions*, or its end."""
        found = {}
        for tp in partitions:
            log = self._held._log(tp)
            records = [one.record for one in log.entries if one.record is not None]
            found[tp] = next((r.offset for r in records if (r.timestamp_ms or 0) >= time_ms), log.end)
        return found

    def revoke(self) -> None:
        """Take every partition away."""
        self.assign(())


class Target:
    """Answers requests and mails as a test says, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.mails: list[tuple[str, bytes]] = []
        self.answers: list[int | Answered | Exception] = []
        """The next answers. Without one, it answers 200."""
        self.waits: dict[str, asyncio.Event] = {}
        """Host → what its answers wait for."""

        self.made: Counter[str] = Counter()
        """Id → how often something was made under it: what people see."""

    def reply(self, method: str, url: str, headers: Mapping[str, str]) -> Answered:
        """Return what it answers by itself: it makes things, and finds them again."""
        id_ = headers.get("webhook-id", "")
        if url.endswith("/make"):
            self.made[id_] += 1
        return Answered(200, json.dumps({"id": f"made-{id_}", "found": bool(self.made[id_])}).encode())

    async def _answer(self, host: str) -> Answered:
        if host in self.waits:
            await self.waits[host].wait()
        found = self.answers.pop(0) if self.answers else 200
        if isinstance(found, Exception):
            raise found
        return Answered(found, b"{}") if isinstance(found, int) else found


class Senders:
    """`HttpSender` to a `Target`."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float, alone: bool,
        before: Before | None = None,
    ) -> Answered:  # fmt: skip
        """Keep the request, and answer as the target does. A request that is not sent is not kept."""
        target = self._target
        if target.answers and isinstance(target.answers[0], NotSent):
            raise target.answers.pop(0)  # type: ignore[misc]
        if before is not None:
            await before()
        target.requests.append((method, url, dict(headers), json.loads(body) if body else None))
        reply = target.reply(method, url, headers)  # it is done, whatever becomes of the answer
        answer = await target._answer(url.split("/")[2])
        return reply if answer.status == 200 else answer


class MailSenders:
    """`MailSender` to a `Target`."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def send(
        self, server: str, sender: str, to: str, message: bytes, *, within_s: float, insecure: bool,
        before: Before | None = None,
    ) -> Answered:  # fmt: skip
        """Keep the mail, and answer as the target does."""
        target = self._target
        if target.answers and isinstance(target.answers[0], NotSent):
            raise target.answers.pop(0)  # type: ignore[misc]
        if before is not None:
            await before()
        target.mails.append((to, message))
        return await target._answer("mail") if target.answers else Answered(250, b"queued")


class Acknowledged:
    """Keeps what is put into the log."""

    ready = True

    def __init__(self) -> None:
        self.records: list[Output] = []

    async def connected(self) -> None:
        """Return at once."""

    async def put(self, records: Sequence[Output]) -> None:
        """Keep *records*."""
        self.records += records


class Acting:
    """One namespace with its topics, ledgers and targets, and a program on it."""

    def __init__(
        self, rules: str = TELL, connections: bytes = HOOKS, kinds: Mapping[str, Kind] = KINDS, **settings: str
    ) -> None:
        environ = {"LEADPULSE_PARTITIONS": "2", **{f"LEADPULSE_{k.upper()}": v for k, v in settings.items()}}
        self.settings = ActSettings.load(environ)
        self._began = time.monotonic()
        self._ahead_ms = 0
        self._tasks: list[Tasks] = []
        self.log = MemoryLog(Settings.load({"LEADPULSE_PARTITIONS": "2"}), self.now_ms)
        self.group = MemoryActGroup(self.log)
        self.ledgers: list[Any] = [MemoryLedger() for _ in range(2)]
        self.limits = MemoryLimits()
        self.target = Target()
        self.acks = Acknowledged()
        self.addresses: dict[str, str] = {}
        self.aliases: dict[str, tuple[str, ...]] = {}
        self.leads: dict[str, str] = {}
        """Id → the lead that it became."""
        self.consents: dict[str, bool] = {}
        """Lead → whether its newest state consents. Without one, it has no state."""
        self.connections = parse_connections(connections, "connections.yaml")
        self.kinds = kinds
        self.rules = parse_rules(rules.encode(), "automations.yaml", self.connections, kinds=kinds)
        self.metrics = ActMetrics(CollectorRegistry())
        self.since_ms = -1
        self.mortal: Callable[[Any], Any] | None = None
        """Wraps what the next program reaches."""
        self.http: HttpSender = Senders(self.target)
        self.logins: Logins = NoLogins()
        self.environment: Mapping[str, str] = ENVIRONMENT

    def now_ms(self) -> int:
        """Return the stage's time, which runs, and which `later` sets ahead."""
        return NOW_MS + self._ahead_ms + int((time.monotonic() - self._began) * 1000)

    def later(self, ms: int) -> None:
        """Let *ms* pass."""
        self._ahead_ms += ms

    def busy(self) -> bool:
        """Return whether an attempt is being made. Its lease is by a clock that `later` does not move."""
        return any(tasks.running for tasks in self._tasks)

    async def address_of(self, lead: str) -> str:
        """Return what a test says."""
        return self.addresses.get(lead, "")

    async def aliases_of(self, lead: str) -> tuple[str, ...]:
        """Return what a test says."""
        return self.aliases.get(lead, ())

    async def lead_of(self, lead: str) -> str:
        """Return what a test says."""
        return self.leads.get(lead, lead)

    async def consents_now(self, lead: str, _trait: str) -> bool | None:
        """Return what a test says."""
        return self.consents.get(lead)

    def program(self, tasks: Tasks) -> Program:
        """Return a program, which is another process's each time."""
        self.group = MemoryActGroup(self.log)
        self.metrics = ActMetrics(CollectorRegistry())
        mortal: Callable[[Any], Any] = self.mortal or (lambda inner: inner)
        outside = Outside(
            mortal(self.group),
            [mortal(one) for one in self.ledgers],
            self.limits,
            mortal(self.http),
            MailSenders(self.target),
            self.logins,
            self.acks,
            self.address_of,
            self.aliases_of,
            self.lead_of,
            self.now_ms,
            self.consents_now,
        )
        topics = {self.settings.output_topic(kind) for kind in read_types(self.rules) | self.rules.sync_types}
        topics = {topic for topic in topics if topic in self.log._topics}
        return program_of(
            self.settings, self.rules, self.connections, self.kinds, topics, outside, tasks.hands, self.metrics,
            self.environment, self.since_ms,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def acting(self) -> AsyncIterator[Program]:
        """Run a program until the block ends. Then it is killed: what it was doing is lost."""
        tasks = Tasks()
        self._tasks.append(tasks)
        program = self.program(tasks)
        task = asyncio.create_task(program.run())
        try:
            await until(lambda: program.ready or task.done(), "the program is ready")
            assert not task.done(), task.exception()
            yield program
        finally:
            await tasks.kill()
            task.cancel()
            await asyncio.wait([task])

    def publish(self, type_: str = "lead.sql", lead: str = "ada", seq: int = 1, at_ms: int | None = None, **data: Any) -> str:
        """Publish an output as the worker does, and return its id."""
        at = self.now_ms() if at_ms is None else at_ms
        event = {
            "specversion": "1.0", "type": type_, "source": "/leadpulse/default", "id": f"{lead}:{seq}", "subject": lead,
            "time": rfc3339(at), "sequence": str(seq),
            "data": {"lead_id": lead, "from": "mql", "to": "sql", "score": 80.0, "traits": {}, "reasons": [], **data},
        }  # fmt: skip
        self.log.append(self.settings.output_topic(type_), owner(lead, 2), json.dumps(event).encode(), lead.encode())
        return f"{lead}:{seq}"

    def happen(self, type_: str, lead: str = "ada", at_ms: int | None = None, **data: Any) -> None:
        """Let an input event come."""
        at = self.now_ms() if at_ms is None else at_ms
        event = {
            "specversion": "1.0", "type": type_, "source": "/test", "id": f"{type_}:{lead}:{at}", "subject": lead,
            "time": rfc3339(at), "data": {"message_id": "m-1", **data} if type_.startswith("email.") else data,
        }  # fmt: skip
        topic = "lead.events.crm" if type_.startswith("crm.") else "lead.events.email"
        self.log.append(topic, owner(lead, 2), json.dumps(event).encode(), lead.encode())

    async def rows(self, lead: str = "") -> list[Row]:
        """Return every act of the ledgers."""
        return [row for ledger in self.ledgers for row in await ledger.rows((), "", lead)]

    async def states(self, lead: str = "") -> list[str]:
        """Return where the acts stand."""
        return [row.state for row in await self.rows(lead)]

    def put_back(self, target: str = "hook") -> float:
        """Return how often an act at *target* was put back untried."""
        return float(self.metrics.attempts.labels(target, "put_back")._value.get())

    def copy(self) -> list[dict[str, Any]]:
        """Return a copy of the ledgers."""
        return [copy.deepcopy(vars(ledger)) for ledger in self.ledgers]

    def restore(self, held: list[dict[str, Any]]) -> None:
        """Put the ledgers back to a copy, under the program that runs."""
        for ledger, one in zip(self.ledgers, held, strict=True):
            vars(ledger).clear()
            vars(ledger).update(copy.deepcopy(one))

    def acted(self) -> list[dict[str, Any]]:
        """Return the events lead.acted."""
        return [json.loads(one.value or b"") for one in self.acks.records]


def _make(_target: Any, act: Act, run: Run) -> Steps:
    headers = {"webhook-id": act.output}
    made = run.known.get("id", "")
    if run.unsure and not made:
        answer = yield Http.json("find", "GET", "/find", headers=headers)
        made = answer.json()["id"] if answer.json()["found"] else ""
    if not made:
        answer = yield Http.json("make", "POST", "/make", {}, safe=False, headers=headers)
        made = answer.json()["id"]
    yield Remember("id", made)
    yield Http.json("tie", "PUT", "/tie", {}, headers=headers)
    return made


def _make_blindly(_target: Any, act: Act, run: Run) -> Steps:
    if run.unsure:
        raise Unknown("the target cannot be asked")
    answer = yield Http.json("make", "POST", "/make", {}, safe=False, headers={"webhook-id": act.output})
    return str(answer.json()["id"])


CRM = {**KINDS, "webhook": KINDS["webhook"]._replace(actions={"send": _make})}
"""A target that makes something which is seen twice if it is made twice, and which can be asked for it."""

BLIND = {**KINDS, "webhook": KINDS["webhook"]._replace(actions={"send": _make_blindly})}
"""One that cannot be asked."""


def rfc3339(ms: int) -> str:
    """Return an instant as events have it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Tasks:
    """Hands that are plain tasks, which a test kills."""

    def __init__(self) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self.most = 0
        """Most jobs that a target had at once."""

    def hands(self, targets: Iterable[str]) -> Hands:
        """Return the hands."""

        async def put(target: str, job: Job) -> None:
            async def run() -> None:
                await job()

            task = asyncio.create_task(run())
            self.running.add(task)
            counts[target] += 1
            self.most = max(self.most, counts[target])
            task.add_done_callback(self.running.discard)
            task.add_done_callback(lambda _: counts.subtract([target]))

        counts = Counter[str]()
        return Hands(targets, put)

    async def kill(self) -> None:
        """End all of them at once."""
        running = list(self.running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def lost() -> AnswerLost:
    """Return what is raised where an answer does not come."""
    return AnswerLost("no answer: it took too long")
