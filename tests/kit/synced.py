"""Outputs of many leads whose states a CRM keeps, and what the CRM must hold at the end."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from confluent_kafka import Producer

from tests.kit.acts_live import ActSite
from tests.kit.deliver import Produced, deliver
from tests.kit.vendors.portal import Portal
from tests.kit.waits import until
from worker.core.contract.partitioner import owner

SYNC: Final = """
sync:
  - to: crm
    object: contact
    fields: {leadpulse_score: score, leadpulse_stage: stage, leadpulse_sequence: sequence, leadpulse_seats: traits.seats}
"""
_TYPES: Final = ("lead.stage", "lead.mql", "lead.sql", "lead.cooled")
_ROUNDS: Final = (1.0, 0.3, 0.1, 0.03)
"""The share of the leads that each round has outputs of."""

_BAD, _MENDED, _ADOPTED, _HELD = 0, 1, 2, 3
"""Kinds of leads that HubSpot makes trouble with, by their number within five hundred."""


class Told(NamedTuple):
    """An output."""

    lead: str
    sequence: int
    score: float
    type: str
    traits: dict[str, Any]


def kind_of(number: int) -> int:
    """Return the kind of lead *number*; 4 and more are without trouble. Each kind is one lead of five hundred."""
    return number % 500


def lead_of(number: int) -> str:
    """Return the id of lead *number*."""
    return f"lead-{number}"


def seed(portal: Portal, leads: int) -> None:
    """Make the contacts that have addresses of leads: some are free, and some belong to another lead."""
    for number in range(leads):
        if kind_of(number) == _ADOPTED:
            portal.seed({"email": f"{lead_of(number)}@example.com"})
        elif kind_of(number) == _HELD:
            portal.seed({"email": f"{lead_of(number)}@example.com", "leadpulse_id": f"other-{number}"})


def story(leads: int, rng: random.Random) -> Iterator[Told]:
    """Yield outputs in rounds: first one of each lead, then a few of some. Sequences go up by one to three."""
    last: dict[int, int] = {}
    for round_, share in enumerate(_ROUNDS):
        for number in range(leads):
            kind = kind_of(number)
            if round_ and rng.random() >= share and not (round_ == 1 and kind == _MENDED):
                continue
            last[number] = last.get(number, 0) + rng.randint(1, 3)
            traits: dict[str, Any] = {"email": f"{lead_of(number)}@example.com", "seats": 10}
            if kind == _BAD or (kind == _MENDED and not round_):
                traits["seats"] = "many"
            yield Told(lead_of(number), last[number], rng.randint(0, 1000) / 10, rng.choice(_TYPES), traits)


class Publication:
    """Publishes outputs as the worker does, and knows what they lead to."""

    def __init__(self, site: ActSite) -> None:
        self._site = site
        self._source = f"/leadpulse/{site.namespace}"
        kafka = site.environ["LEADPULSE_KAFKA"]
        self._producer = Producer({"bootstrap.servers": kafka, "linger.ms": 20, "enable.idempotence": True})
        self.outputs = 0
        self.newest: dict[str, Told] = {}
        self.times: Counter[str] = Counter()
        """Lead → number of its outputs."""
        self.ends: Counter[int] = Counter()
        """Partition → the log's end."""

    def publish(self, told: Iterable[Told]) -> None:
        """Publish *told*, and wait until Kafka has all of it."""
        self.outputs += deliver(self._producer, map(self._record, told))

    def _record(self, one: Told) -> Produced:
        self.newest[one.lead] = one
        self.times[one.lead] += 1
        now = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        data = {"lead_id": one.lead, "from": "mql", "to": "sql", "stage": "sql", "score": one.score, "reasons": []}
        event = {
            "specversion": "1.0", "type": one.type, "source": self._source, "id": f"{one.lead}:{one.sequence}",
            "subject": one.lead, "time": at, "sequence": str(one.sequence), "data": data | {"traits": one.traits},
        }  # fmt: skip
        home = owner(one.lead, self._site.partitions)
        self.ends[home] += 1
        return Produced(f"{self._site.namespace}.out", json.dumps(event).encode(), one.lead.encode(), home)

    async def follow(self, told: Iterable[Told], portal: Portal, chunk: int) -> None:
        """Publish *told* by *chunk*, one with each request that comes to *portal*: so some leads' states are under way."""
        for some in batched(told, chunk):
            asked = len(portal.admitted)
            await until(lambda asked=asked: len(portal.admitted) > asked, "a request")  # type: ignore[misc]
            await asyncio.to_thread(self.publish, some)

    async def waiting(self) -> int:
        """Return how many outputs are not read and how many states wait, together."""
        async with self._site.ledgers() as ledgers:
            count = 0
            for partition, ledger in enumerate(ledgers):
                count += self.ends[partition] - (await ledger.position()).get(f"{self._site.namespace}.out", 0)
                count += (await ledger.figures()).get("crm", {}).get("states", 0)
            return count


def batched(told: Iterable[Told], size: int) -> Iterator[list[Told]]:
    """Yield *told* in lists of *size*."""
    rest = iter(told)
    while some := list(itertools.islice(rest, size)):
        yield some


def wrong(portal: Portal, newest: dict[str, Told]) -> list[str]:
    """Return what is not as it must be: each lead has its newest state, but for those that HubSpot refuses."""
    held, found = portal.newest(), []
    for lead, told in newest.items():
        refused = told.traits["seats"] == "many" or kind_of(int(lead.rpartition("-")[2])) == _HELD
        wanted = None if refused else (told.sequence, _shown(told.score))
        if held.get(lead) != wanted:
            found.append(f"{lead}: {held.get(lead)}, not {wanted}")
    return found + [f"{lead}: {now} was written over {before}" for lead, before, now in portal.backwards]


def _shown(score: float) -> str:
    return str(int(score)) if score.is_integer() else repr(score)
