"""`lead.acted`: the end of each act as an event, from the ledger to Kafka. At least once, with the same id."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from worker.automation_ports import Ledger, Row
from worker.automations.deliver import decode_act
from worker.automations.metrics import ActMetrics
from worker.core.contract.model import Output
from worker.core.contract.output_types import ACTED
from worker.errors import Undelivered
from worker.intake_ports import Acks
from worker.logs import fields

log = logging.getLogger(__name__)

_MOST: Final = 200
_LOOK_S: Final = 5.0
_AGAIN_S: Final = 1.0
_TYPE: Final = (("content-type", b"application/cloudevents+json"),)

_json: Final = msgspec.json.Encoder().encode


class Publisher:
    """Publishes the ends of one partition's acts."""

    def __init__(self, ledger: Ledger, acks: Acks, metrics: ActMetrics, topic: str, ended: asyncio.Event) -> None:
        """*ended* is set when there may be some."""
        self._ledger = ledger
        self._acks = acks
        self._metrics = metrics
        self._topic = topic
        self._ended = ended

    async def run(self) -> None:
        """Publish until an error of the ledger. While Kafka takes nothing, they stay in the ledger."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._ended.wait()
            except TimeoutError:
                pass
            self._ended.clear()
            try:
                await self.publish()
            except Undelivered as error:
                log.warning("lead.acted is not published: %s", error, extra=fields("act.not_published"))
                await asyncio.sleep(_AGAIN_S)
                self._ended.set()

    async def publish(self) -> None:
        """Publish all that there are. Raises `Undelivered`."""
        while found := await self._ledger.acted(_MOST):
            await self._acks.put([Output(self._topic, one.row.lead_id.encode(), _json(event(one.row)), _TYPE) for one in found])
            await self._ledger.published([one.key for one in found])
            self._metrics.acted.inc(len(found))


def event(row: Row) -> dict[str, Any]:
    """Return the CloudEvent of an act that has ended. The reason is not in it, since it may hold an address."""
    act = decode_act(row.packed)
    return {
        "specversion": "1.0",
        "type": ACTED,
        "source": act.source,
        "id": f"{act.rule}:{act.output}:{row.state}",
        "subject": row.lead_id,
        "time": _rfc3339(row.updated_ms),
        "datacontenttype": "application/json",
        "data": {
            "lead_id": row.lead_id,
            "rule": act.rule,
            "output": act.output,
            "type": act.type,
            "target": row.target,
            "do": act.do,
            "outcome": row.state,
            "remote_id": row.remote_id or None,
            "seconds": max(0, row.updated_ms - act.at_ms) / 1000,
            "attempts": row.attempts,
        },
    }


def _rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
