"""One run of all programs in which every secret is used and everything goes wrong, and all that it shows anywhere."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from urllib.request import urlopen

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.kit.act_targets import ACTS, PASSWORD, Targets, rules_of, traits_of
from tests.kit.act_targets import SECRETS as OF_TARGETS
from tests.kit.acts_live import ActSite, Publisher
from tests.kit.collectors import EVENTS, Park
from tests.kit.services import free_port
from tests.kit.shell import Running, leadpulse
from tests.kit.signing import PUBLIC_URL
from tests.kit.vendor_cases import Case, Signers, secret_of
from tests.kit.vendor_hosts import Apis
from tests.kit.vendors.base import Behaviour, OAuthVendor, Reply, Vendor
from tests.kit.waits import until
from worker.adapters.redis_limits import RedisLimits

OF_SITES: Final = {
    "TOKEN": "token-of-our-events-4711", "WRITE_KEY": "write-key-of-the-site-4711", "IDENTIFY": "identify-key-of-the-site-4711",
    "UNSUBSCRIBE": "unsubscribe-key-4711", "API": "client-of-the-apis-4711",
}  # fmt: skip
API_TOKEN: Final = "access-token-of-the-apis-4711"
RULES: Final = """
  - {id: broken, on: lead.sql, to: slack, do: send, max: 1000/h, with: {text: "{{ traits.nothing }}"}}
sync:
  - {to: hubspot, object: contact, fields: {leadpulse_score: score}}
  - {to: zoho, object: contact, fields: {LeadPulse_Score: score}}
"""
_ANY: Final = re.compile("")


def of_sources(found: Mapping[str, Case]) -> dict[str, str]:
    """Return a secret for the source of each vendor."""
    return {f"SOURCE_{vendor.upper()}": secret_of(vendor, f"secret-of-source-{vendor}-4711") for vendor in found}


def connections(targets: Targets, apis: Apis, found: Mapping[str, Case]) -> str:
    """Return a file with every kind of target, and a source of each vendor."""
    hook = f"'http://127.0.0.1:{targets.hook.port}/hook'"
    lines = [targets.connections.replace(hook, "'${HOOK_URL}'")]
    lines += [re.sub(r"^  (\w+): {kind", r"  \1-api: {kind", apis.targets.removeprefix("targets:\n"), flags=re.MULTILINE)]
    lines += ["sources:\n"]
    for vendor, case in found.items():
        settings = re.sub(r"api: (\w+)", r"api: \1-api", case.settings)
        lines.append(f'  {vendor}: {{vendor: {vendor}, secrets: ["${{SOURCE_{vendor.upper()}}}"]{settings}}}\n')
    lines += [f'public_url: {PUBLIC_URL}\ntokens: ["${{TOKEN}}"]\nunsubscribe: ["${{UNSUBSCRIBE}}"]\nsites:\n']
    lines += ['  www: {origins: ["https://www.example.com"], identify: ["${IDENTIFY}"], write_key: "${WRITE_KEY}"}\n']
    return "".join(lines)


class Faults:
    """Lets all targets go wrong at once, in words that show what they were sent."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._fault: tuple[int, Mapping[str, str]] | None = None
        for vendor in targets.vendors:
            vendor.behaviour_of = self._instead_of(vendor, vendor.behaviour_of)  # type: ignore[method-assign]
            if isinstance(vendor, OAuthVendor):
                vendor.give_token = self._token_of(vendor)  # type: ignore[method-assign]

    def _token_of(self, vendor: OAuthVendor) -> Any:
        def give() -> str:
            vendor.tokens.append(f"access-token-of-{vendor.name}-{len(vendor.tokens)}-4711")
            return vendor.tokens[-1]

        return give

    def _instead_of(self, vendor: Vendor, usual: Any) -> Any:
        def behaviour_of(method: str, path: str) -> Behaviour | None:
            if self._fault is None:
                return usual(method, path)  # type: ignore[no-any-return]
            status, headers = self._fault
            body = {"message": f"{status} for {path}: {_echo(_secrets_of(vendor, path))}", "category": "X", "error": "x"}
            return Behaviour(method, _ANY, Reply(status, body, headers))

        return behaviour_of

    def begin(self, status: int, **headers: str) -> None:
        """Let every request be answered so. Tokens of before are good no more."""
        for vendor in self._targets.vendors:
            if isinstance(vendor, OAuthVendor):
                vendor.end_tokens()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._fault = status, headers
        hook, mails = self._targets.hook, self._targets.mails
        hook.status, hook.headers, hook.text = status, headers, _echo([OF_TARGETS["HOOK"]])
        mails.reply = f"{'451' if status in (429, 500) else '550'} {_echo([PASSWORD])}"

    def end(self) -> None:
        """Let all be well."""
        self._fault = None
        self._targets.hook.status, self._targets.hook.headers, self._targets.hook.text = 200, {}, ""
        self._targets.mails.reply = "250 OK"


def _secrets_of(vendor: Vendor, path: str) -> list[str]:
    own = {"activecampaign": "CAMPAIGN", "channels": "SLACK" if "services" in path else "TEAMS"}
    given = vendor.tokens if isinstance(vendor, OAuthVendor) else []
    begin = own.get(vendor.name, vendor.name.upper())
    return [value for name, value in OF_TARGETS.items() if name.startswith(begin)] + list(given)


def _echo(secrets: list[str]) -> str:
    return " ".join(f"Bearer {one} is wrong, token={one}, '{one}'" for one in secrets)


def forms(secret: str) -> Iterator[bytes]:
    """Yield a secret as it may be shown: as it is, in JSON, in an address, and within base64."""
    yield secret.encode()
    yield json.dumps(secret)[1:-1].encode()
    yield quote(secret, safe="").encode()
    for before in range(3):
        coded = base64.b64encode(b"x" * before + secret.encode())
        yield coded[(0, 2, 3)[before] : len(coded) - 4]  # what is before and after it changes the ends


def shown_in(places: Mapping[str, bytes], secrets: Mapping[str, str]) -> list[str]:
    """Return where which of *secrets* is shown, by name."""
    return sorted(
        f"{name} in {place}"
        for place, held in places.items()
        for name, secret in secrets.items()
        if any(form in held for form in forms(secret))
    )


async def act_on_all(acts: ActSite, faults: Faults) -> None:
    """Let every rule act on leads, with all well, and with each fault once."""
    async with acts.publisher() as publisher:
        await publisher.output("well", traits=traits_of("well"))
        await _tried(acts, "well", ended=True)
        for status, headers in ((401, {}), (429, {"Retry_After": "1"}), (400, {}), (500, {}), (403, {}), (200, {})):
            faults.begin(status, **headers)
            await _with_fault(acts, publisher, f"fault-{status}")
            faults.end()
            await _resume(acts)
        await publisher.output("again", traits=traits_of("again"))
        await _tried(acts, "again")


async def _with_fault(acts: ActSite, publisher: Publisher, lead: str) -> None:
    await publisher.output(lead, traits=traits_of(lead))
    await _tried(acts, lead)


async def _tried(acts: ActSite, lead: str, *, ended: bool = False) -> None:
    """Wait until all acts on *lead* have ended, or else until each target was tried: its other acts wait for the first."""

    async def tried() -> bool:
        rows = [row for row in await acts.rows() if row.lead_id == lead]
        over = [row for row in rows if row.state not in ("intent", "retry")]
        seen = {row.target for row in rows if row in over or row.detail}
        return len(rows) == len(ACTS) + 1 and (len(over) == len(rows) if ended else seen == {row.target for row in rows})

    await until(tried, f"all acts on {lead}")


async def _resume(acts: ActSite) -> None:
    """Close every breaker, as `act resume` does."""
    async with acts.redis() as client:
        limits = RedisLimits(client, acts.namespace)
        for target in sorted({target for target, _, _ in ACTS.values()}):
            await limits.pause(f"target:{target}", False)


async def collect_all(port: int, found: Mapping[str, Case], secrets: Mapping[str, str]) -> dict[str, list[int]]:
    """Send to every source what is good, what is signed wrong and what cannot be mapped; then to our own endpoints."""
    signers, statuses = Signers(), dict[str, list[int]]()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for vendor, case in found.items():
            secret = f"secret-of-source-{vendor}-4711"
            now_ms = time.time_ns() // 1_000_000
            asked = [signers.sign(vendor, now_ms, body, secret) for body in case.bodies]
            asked += [signers.sign(vendor, now_ms, b'{"nothing": 7}', secret), signers.sign(vendor, now_ms, b"{}", "other")]
            for one in asked:
                path = f"/in/{vendor}" + (f"?{one.query}" if one.query else "")
                async with session.post(path, data=one.body, headers=one.headers) as answer:
                    statuses.setdefault(vendor, []).append(answer.status)
        key, bearer = secrets["WRITE_KEY"], {"Authorization": f"Bearer {secrets['TOKEN']}"}
        basic = {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}
        ours: list[tuple[str, Any, Mapping[str, str]]] = [
            ("/v1/events", {"specversion": "1.0"}, bearer),
            ("/v1/events", {}, {"Authorization": f"Bearer {secrets['TOKEN']}x"}),
            (f"/v1/track?writeKey={key}", {"event": 7}, {}),
            ("/v1/track", {"event": "Demo Requested", "userId": "ada", "anonymousId": "a", "messageId": "m"}, basic),
            ("/in/nobody?key=" + secrets["SOURCE_MAILCHIMP"], {}, {}),
            ("/lp/www/e?lp=" + secrets["IDENTIFY"], {}, {"Origin": "https://www.example.com"}),
        ]
        for path, body, headers in ours:
            async with session.post(path, json=body, headers=headers) as answer:
                statuses.setdefault("ours", []).append(answer.status)
    return statuses


ASKING: Final = (
    ("act", "prepare", "hubspot", "--check"), ("act", "prepare", "zoho"), ("connections", "test", "--json"),
    ("doctor", "--json"), *(("act", "test", rule, "--to", "me@example.com") for rule in ("slack", "mail", "hook", "broken")),
)  # fmt: skip
"""Commands that ask the targets."""


def reading(folder: Path) -> list[tuple[str, ...]]:
    """Return commands that show what there is, and one of a file with secrets in it."""
    written = folder / "written-out.yaml"
    held = (folder / "connections.yaml").read_text()
    written.write_text(held.replace("${HUBSPOT}", OF_TARGETS["HUBSPOT"]).replace("${MAIL}", PASSWORD))
    shows = [
        ("act", "show", rule, f"fault-{n}:1") for rule in ("hook", "mail", "hubspot", "slack", "broken") for n in (401, 400)
    ]
    return [
        ("act", "list"), ("act", "list", "--json"), ("act", "preview", str(folder / "outputs.jsonl")), *shows,
        ("act", "check"), ("act", "show"), ("connections", "show"), ("connections", "check"), ("connections", "status"),
        ("connections", "status", "--json"), ("connections", "check", str(written)), ("dead", "list"),
        ("dead", "list", "--inbound"),
    ]  # fmt: skip


def commands(acts: ActSite, lists: Iterable[tuple[str, ...]]) -> dict[str, bytes]:
    """Return what each command shows, on both channels. This process has the secrets in its environment."""
    environ = {name: value for name, value in acts.environ.items() if name.startswith("LEADPULSE_")}
    found = {}
    for words in lists:
        done = leadpulse(*words, env=environ)
        assert done.stdout + done.stderr, words
        found[" ".join(words)] = (done.stdout + done.stderr).encode()
    return found


async def redis_values(acts: ActSite) -> bytes:
    """Return everything that Redis holds."""
    found: list[Any] = []
    async with acts.redis() as client:
        async for key in client.scan_iter(count=1_000):
            kind = (await client.type(key)).decode()
            read = {
                "string": client.get, "hash": client.hgetall, "set": client.smembers,
                "zset": lambda key: client.zrange(key, 0, -1, withscores=True), "list": lambda key: client.lrange(key, 0, -1),
                "stream": client.xrange,
            }[kind]  # fmt: skip
            found += [key, await read(key)]
    return b"\n".join(_flat(found))


def _flat(held: Any) -> Iterator[bytes]:
    match held:
        case bytes():
            yield held
        case dict():
            for pair in held.items():
                yield from _flat(pair)
        case list() | tuple() | set():
            for one in held:
                yield from _flat(one)


async def kafka_values(kafka: str) -> dict[str, bytes]:
    """Return everything that each topic holds: keys, values and headers, also of aborted transactions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    found: dict[str, bytes] = {}
    try:
        held = await asyncio.to_thread(AdminClient({"bootstrap.servers": kafka}).list_topics)
        for topic in sorted(name for name in held.topics if not name.startswith("__")):
            places = [TopicPartition(topic, p) for p in held.topics[topic].partitions]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            parts: list[bytes] = []
            for place, end in (await consumer.end_offsets(places)).items():
                while await consumer.position(place) < end:
                    for records in (await consumer.getmany(place, timeout_ms=500)).values():
                        for one in records:
                            parts += [one.key or b"", one.value or b"", *_flat(list(one.headers))]
            found[topic] = b"\n".join(parts)
    finally:
        await consumer.stop()
    return found


class Programs:
    """Two of each program: one whose log is text, and one whose log is JSON."""

    def __init__(self, acts: ActSite, park: Park, folder: Path) -> None:
        self.acts = acts
        self.folder = folder
        self.running: dict[str, tuple[Running, int]] = {}
        for form in ("text", "json"):
            one = acts.start(LEADPULSE_LOG_FORMAT=form)
            self.running[f"act ({form})"] = one, next(port for running, port in acts.running if running is one)
            port = free_port()
            env = {**acts.environ, "LEADPULSE_METRICS_PORT": str(port), "LEADPULSE_LOG_FORMAT": form}
            self.running[f"run ({form})"] = Running(["-m", "worker.cli", "run"], env, folder), port
        self.collectors = {form: park.collector(LEADPULSE_LOG_FORMAT=form) for form in ("text", "json")}

    def shown(self) -> Iterator[tuple[str, bytes]]:
        """Yield the log and the pages of each."""
        for name, (one, port) in self.running.items():
            yield f"the log of {name}", one.words.encode()
            yield f"the pages of {name}", b"".join(_page(port, page) for page in ("metrics", "readyz", "livez"))
        for form, held in self.collectors.items():
            yield f"the log of collect ({form})", held.log.read_bytes()
            yield f"the pages of collect ({form})", _page(held.metrics_port, "metrics") + _page(held.port, "readyz")

    def end(self) -> None:
        """Kill what still runs."""
        for one, _ in self.running.values():
            one.__exit__()
        for held in self.collectors.values():
            held.kill()


def _page(port: int, name: str) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}/{name}", timeout=30) as answer:
        return bytes(answer.read())


@asynccontextmanager
async def programs(acts: ActSite, park: Park, folder: Path) -> AsyncIterator[Programs]:
    """Run them, once all are ready."""
    made = Programs(acts, park, folder)
    try:
        await until(acts.all_read, "acts are read")
        for one in made.collectors.values():
            await one.ready()
        yield made
    finally:
        made.end()


def settings_of(kafka: str, redis: str, folder: Path, grid: str, outputs: Mapping[str, str], partitions: int) -> dict[str, str]:
    """Return the settings of the namespace `secrets`."""
    (folder / "grid.yaml").write_text(grid)
    return {
        "LEADPULSE_KAFKA": kafka, "LEADPULSE_REDIS": redis, "LEADPULSE_NAMESPACE": "secrets",
        "LEADPULSE_PARTITIONS": str(partitions), "LEADPULSE_GRID": str(folder / "grid.yaml"),
        "LEADPULSE_INPUT_TOPICS": ",".join(EVENTS), "LEADPULSE_CLOCK": "events", "LEADPULSE_DEVELOPMENT": "true",
        "LEADPULSE_OUTPUT_TOPICS": ",".join(f"{kind}={topic}" for kind, topic in outputs.items()),
    }  # fmt: skip


def rules() -> str:
    """Return a file with a rule of each kind of act, one whose template is broken, and states."""
    return rules_of(ACTS) + RULES
