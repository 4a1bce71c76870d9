"""A company with LeadPulse: its three programs as processes, its CRM, its mail server, its contracts, and one visitor.

It runs the files of `ops/automations` and the grid `article-75`. The copy of the connections differs in addresses alone, and
names the company's site, which is not in the preset.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.request import urlopen

import aiohttp
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from ruamel.yaml import YAML

from tests.kit.act_targets import PASSWORD, Mails
from tests.kit.services import free_port
from tests.kit.shell import ROOT, Running, leadpulse
from tests.kit.signing import yousign
from tests.kit.vendors.hubspot_app import HubSpotApp
from tests.kit.vendors.yousign import Yousign
from tests.kit.waits import until
from worker.adapters.redis_client import connect
from worker.core.contract.event_types import INPUT_TOPICS
from worker.core.contract.output_types import OUTPUT_TYPES
from worker.core.contract.partitioner import owner

PRESETS: Final = ROOT / "ops" / "automations"
PARTITIONS: Final = 2
ORIGIN: Final = "https://www.example.com"
SECRETS: Final[Mapping[str, str]] = {
    "UNSUBSCRIBE": "unsubscribe-4711", "CALENDLY_SECRET": "calendly-4711", "YOUSIGN_WEBHOOK": "webhooks-of-yousign-4711",
    "HUBSPOT_SECRET": "webhooks-of-hubspot-4711", "HUBSPOT_TOKEN": "token-of-hubspot-4711", "SMTP_PASSWORD": PASSWORD,
    "YOUSIGN_TOKEN": "token-of-yousign-4711", "LP_IDENTIFY": "identify-4711",
}  # fmt: skip
BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Seen(NamedTuple):
    """A committed record of an input or output topic."""

    type: str
    subject: str
    at_s: float
    """The record's own timestamp in Kafka."""
    data: dict[str, Any]
    id: str
    topic: str


class Tape:
    """Reads all input and output topics, `read_committed`, while the block runs."""

    def __init__(self, kafka: str) -> None:
        self.records: list[Seen] = []
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka, isolation_level="read_committed", enable_auto_commit=False, auto_offset_reset="earliest"
        )

    def of(self, type_: str, **data: Any) -> list[Seen]:
        """Return the records of a type whose data have these values."""
        return [one for one in self.records if one.type == type_ and data.items() <= one.data.items()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Tape]:
        """Read."""
        await self._consumer.start()
        topics = {*INPUT_TOPICS.values(), *OUTPUT_TYPES, "lead.acted"} & await self._consumer.topics()
        self._consumer.assign([TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)])
        reading = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            await self._consumer.stop()

    async def _read(self) -> None:
        async for record in self._consumer:
            event = json.loads(record.value)
            self.records.append(
                Seen(event["type"], event["subject"], record.timestamp / 1000, event.get("data", {}), event["id"], record.topic)
            )


class Company:
    """The programs, and the tools around them."""

    def __init__(self, kafka: str, redis: str, folder: Path, crm: HubSpotApp, contracts: Yousign, mails: Mails) -> None:
        self.crm, self.contracts, self.mails = crm, contracts, mails
        self.folder = folder
        self.documents = folder / "documents"
        self.documents.mkdir()
        self.port = free_port()
        self._pages = {name: free_port() for name in ("run", "collect", "act")}
        (folder / "connections.yaml").write_text(self._connections())
        self.environ = {
            **SECRETS,
            "LEADPULSE_KAFKA": kafka,
            "LEADPULSE_REDIS": redis,
            "LEADPULSE_GRID": "article-75",
            "LEADPULSE_PARTITIONS": str(PARTITIONS),
            "LEADPULSE_CONNECTIONS": str(folder / "connections.yaml"),
            "LEADPULSE_AUTOMATIONS": str(PRESETS / "automations.yaml"),
            "LEADPULSE_DOCUMENTS": str(self.documents),
            "LEADPULSE_COLLECT_PORT": str(self.port),
            "LEADPULSE_DEVELOPMENT": "true",
        }
        self.tape = Tape(kafka)

    def _connections(self) -> str:
        """Return the preset with the addresses of this machine, and with the company's site."""
        held = YAML(typ="safe").load(PRESETS / "connections.yaml")
        held["targets"]["crm"]["base_url"] = self.crm.url
        held["targets"]["sign"]["base_url"] = self.contracts.url
        held["targets"]["mail"]["url"] = f"smtp://acme:${{SMTP_PASSWORD}}@127.0.0.1:{self.mails.port}"
        held["sites"] = {"www": {"origins": [ORIGIN], "identify": ["${LP_IDENTIFY}"]}}
        return json.dumps(held)

    def command(self, *words: str) -> str:
        """Run a command of leadpulse to its end, and return its output."""
        done = leadpulse(*words, env=self.environ, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, program: str) -> Running:
        """Start one of the programs."""
        environ = {**self.environ, "LEADPULSE_METRICS_PORT": str(self._pages[program])}
        return Running(["-m", "worker.cli", program], environ, self.folder)

    @contextmanager
    def programs(self) -> Iterator[dict[str, Running]]:
        """Run all three, until each reads all of its partitions."""
        with ExitStack() as stack:
            running = {name: stack.enter_context(self.start(name)) for name in self._pages}
            running["run"].until(lambda: len(self._page("run", "readyz").get("partitions", [])) == PARTITIONS)
            running["collect"].until(lambda: running["collect"].words.count("mapping from offset") == PARTITIONS)
            running["act"].until(lambda: len(self._page("act", "readyz").get("reading", [])) == PARTITIONS)
            self.crm.target = f"http://127.0.0.1:{self.port}/in/pipeline"
            yield running

    def _page(self, program: str, name: str) -> dict[str, Any]:
        try:
            with urlopen(f"http://127.0.0.1:{self._pages[program]}/{name}", timeout=5) as answer:
                held: dict[str, Any] = json.load(answer)
                return held
        except OSError:
            return {}

    def tasks(self, words: str) -> list[float]:
        """Return when tasks came to the CRM whose subject begins with *words* (s)."""
        asked = [one for one in self.crm.asked("POST", "/tasks$") if one.status == 201]
        return [one.came_s for one in asked if one.json()["properties"]["hs_task_subject"].startswith(words)]

    def mailed(self, subject: str) -> list[tuple[float, EmailMessage]]:
        """Return the mails with a subject that begins so, each with when it came (s)."""
        return [(at_s, mail) for at_s, mail in self.mails.came if str(mail["Subject"]).startswith(subject)]

    async def stage(self, lead: str) -> str:
        """Return the stage of a lead in Redis, as the hash shows it."""
        client: Any = connect(self.environ["LEADPULSE_REDIS"])
        try:
            stage = await client.hget(f"{{default:{owner(lead, PARTITIONS)}}}:lead:{lead}", "stage")
        finally:
            await client.aclose()
        return str(stage.decode()) if stage else ""

    def acts(self) -> list[dict[str, Any]]:
        """Return all acts of the ledger."""
        return [json.loads(line) for line in self.command("act", "list", "--json").splitlines()]

    async def signed(self, id_: str) -> float:
        """Let the person sign, and Yousign tell. Returns when the webhook was sent (s)."""
        body = json.dumps(self.contracts.sign(id_)).encode()
        sent_s = time.time()
        request = yousign(SECRETS["YOUSIGN_WEBHOOK"], int(sent_s * 1000), "/in/signed", body)
        async with aiohttp.ClientSession() as session:
            address = f"http://127.0.0.1:{self.port}/in/signed"
            async with session.post(address, data=request.body, headers=request.headers) as answer:
                assert answer.status == 200, await answer.text()
        return sent_s


class Visitor:
    """A browser on the company's site: it sends what the pixel sends, and keeps the cookie."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/lp/www/e"
        self._id = str(uuid.uuid4())
        self._cookie = ""

    async def send(self, type_: str, data: Mapping[str, Any], **more: Any) -> float:
        """Send a beacon with one event, until it is answered with 200. Returns when it was sent first (s)."""
        sent_s = time.time()
        now = int(sent_s * 1000)
        event = {"id": str(uuid.uuid4()), "type": type_, "at": now, "data": {"url": f"{ORIGIN}/pricing", **data}}
        beacon = {"sent": now, "consent": True, "visitor": self._id, "events": [event], **more}
        headers = {"Origin": ORIGIN, "User-Agent": BROWSER, "Content-Type": "text/plain"}
        headers |= {"Cookie": self._cookie} if self._cookie else {}
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:

            async def taken() -> bool:
                async with session.post(self._address, json=beacon, headers=headers) as answer:
                    assert answer.status in (200, 429), await answer.text()
                    if answer.status == 200:
                        self._cookie = answer.headers["Set-Cookie"].partition(";")[0]
                    return answer.status == 200

            await until(taken, "the collector takes a beacon")
        return sent_s


@asynccontextmanager
async def company(kafka: str, redis: str, folder: Path) -> AsyncIterator[Company]:
    """Serve the tools on loopback, make topics and fields as the guides say, and read all topics."""
    async with AsyncExitStack() as stack:
        owners = {"anna@example.com": "501", "bram@example.com": "502"}
        crm = await stack.enter_async_context(
            HubSpotApp(token=SECRETS["HUBSPOT_TOKEN"], secret=SECRETS["HUBSPOT_SECRET"], owners=owners)
        )
        contracts = await stack.enter_async_context(Yousign(token=SECRETS["YOUSIGN_TOKEN"]))
        mails = Mails()
        server = await asyncio.get_running_loop().create_server(mails.server, "127.0.0.1", mails.port)
        stack.callback(server.close)
        made = Company(kafka, redis, folder, crm, contracts, mails)
        for words in (("topics", "create"), ("act", "prepare", "crm")):
            await asyncio.to_thread(made.command, *words)
        await stack.enter_async_context(made.tape.running())
        yield made
