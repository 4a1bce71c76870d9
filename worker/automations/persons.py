"""What the ledgers hold of one person, for an export and an erasure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from worker.adapters.ledger_export import LedgerExport
from worker.adapters.redis_client import Client, connect
from worker.adapters.redis_ledger import RedisLedger
from worker.automation_ports import EraseLead
from worker.automations.acts import LeadState
from worker.automations.operations import whole
from worker.automations.output import Output
from worker.core.contract.partitioner import owner
from worker.core.scoring.calendar import rfc3339
from worker.settings import ReaderSettings

_state: Final = msgspec.msgpack.Decoder(LeadState).decode
_output: Final = msgspec.msgpack.Decoder(Output).decode


async def held_acts(settings: ReaderSettings, leads: Collection[str], addresses: Collection[str]) -> dict[str, Any]:
    """Return all acts, states and nurturing of *leads*, ready for JSON. Empty where nothing is held.

    Of *leads* and *addresses* also why no mail goes to them, and the contents that went to each address.
    """
    client = connect(settings.redis.get_secret_value())
    try:
        found = {lead: held for lead in leads if (held := await _of(settings, client, lead))}
        suppressed: dict[str, str] = {}
        contents: dict[str, list[str]] = {}
        for key in (*leads, *(f"email:{address.lower()}" for address in addresses)):
            ledger = _ledger(settings, client, key)
            suppressed |= await ledger.suppressed([key])
            if key.startswith("email:") and (had := await ledger.contents_of(key)):
                contents[key] = sorted(had)
        held = {"ids": found, "suppressed": suppressed, "contents": contents}
        return {name: value for name, value in held.items() if value}
    finally:
        await client.aclose()


async def erase_acts(settings: ReaderSettings, leads: Collection[str], at_ms: int, now_ms: int) -> int:
    """Erase acts, states and nurturing of *leads* up to *at_ms*; return the number of acts.

    The program that acts does so too, when it reads the `lead.erased` of the worker. It also asks the targets to forget.
    """
    client = connect(settings.redis.get_secret_value())
    try:
        count = 0
        for lead in leads:
            ledger = _ledger(settings, client, lead)
            held = len(await ledger.rows(lead_id=lead))
            if held or lead.startswith("email:") or await _of(settings, client, lead):
                await ledger.take([EraseLead(lead, at_ms)], now_ms)
            count += held
        return count
    finally:
        await client.aclose()


def addresses_of(ids: Sequence[dict[str, Any]]) -> set[str]:
    """Return the addresses in the dossier of a person."""
    traits = [one.get("traits", {}).get("email", {}).get("value") for one in ids]
    return {str(value) for value in traits if value} | {
        one["id"].removeprefix("email:") for one in ids if one["id"].startswith("email:")
    }


def _ledger(settings: ReaderSettings, client: Client, key: str) -> RedisLedger:
    return RedisLedger(client, settings.namespace, owner(key, settings.partitions))


async def _of(settings: ReaderSettings, client: Client, lead: str) -> dict[str, Any]:
    held = LedgerExport(client, settings.namespace, owner(lead, settings.partitions))
    found = {
        "acts": [whole(row) for row in await _ledger(settings, client, lead).rows(lead_id=lead)],
        "states": [
            {"target": one.target, "rule": one.rule, "written": one.written, "waiting": _read(_state, one.packed)}
            for one in await held.states(lead)
        ],
        "nurturing": [
            {"rule": one.rule, "enrolled": one.enrolled, "sent": one.sent, "output": _read(_output, one.packed)}
            for one in await held.enrolments(lead)
        ],
        "cancelled_by": await held.cancelled_by(lead),
    }
    erased_ms = await held.erased_ms(lead)
    shown = {name: value for name, value in found.items() if value}
    return shown | ({} if erased_ms is None else {"erased_up_to": rfc3339(erased_ms)})


def _read(decode: Any, packed: bytes | None) -> Any:
    """Return what *packed* holds; `None` for nothing, or where another version of the program wrote it."""
    try:
        return None if packed is None else msgspec.to_builtins(decode(packed))
    except msgspec.DecodeError:
        return None
