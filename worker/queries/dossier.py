"""Everything held of one person, for the person who asks."""

from __future__ import annotations

from typing import Any

import msgspec

from worker.core.batch.lead import Lead
from worker.core.identity.accounts import ROLES, figures
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import RuleCounter
from worker.core.scoring.occurrences import Memory
from worker.core.scoring.once_per import MARK_BYTES, entries
from worker.core.scoring.outputs import history, recent
from worker.core.scoring.score import read, reasons
from worker.core.scoring.set_aside import SINCE
from worker.core.scoring.state import STAGES, Count, IdentityLinks, LeadState, Member, VelocityWindow
from worker.core.scoring.traits import unpack_traits
from worker.queries.persons import Person, Persons, persons
from worker.settings import ReaderSettings


async def dossier(settings: ReaderSettings, lead: str) -> dict[str, Any]:
    """Return everything that Redis holds of *lead* and of every other id of the same person, ready for JSON.

    `ids` is empty where nothing is held. Raises `OtherPartitions`, and what reading Redis raises.
    """
    async with persons(settings) as source:
        people = await source.ids(lead)
        return {
            "asked": lead,
            "lead_id": people[0].lead if people else lead,
            "namespace": settings.namespace,
            "ids": [await _id(settings, source, person) for person in people],
        }


async def _id(settings: ReaderSettings, source: Persons, person: Person) -> dict[str, Any]:
    """Return one id's part: what its hash holds, opened, and where else it stands."""
    state, scorer = person.state, source.scorers[person.partition]
    scorer.recognise(state)
    shown = {"id": person.lead} | _links(state.identity)
    shown |= {
        "erased_up_to": _instant(state.erased_ms),
        "sequence": state.sequence,
        "keys": await _keys(settings, source, person),
    }
    shown |= _reported(state.identity) | {"state_bytes": len(person.fields["state"])}
    if not state.alive:
        return shown
    lead = Lead(scorer, person.lead, person.fields["state"], source.positions[person.partition].clock_ms)
    return shown | _judged(lead) | _facts(lead, state) | _counted(scorer, state)


def _links(identity: IdentityLinks) -> dict[str, Any]:
    return {
        "alias_of": identity.alias_of or None,
        "aliases": list(identity.aliases),
        "merging": list(identity.awaiting),
    }


async def _keys(settings: ReaderSettings, source: Persons, person: Person) -> dict[str, Any]:
    """Return what each key of Redis holds of the id, but for the state."""
    tag = f"{{{settings.namespace}:{person.partition}}}:"
    due_ms, rank = await source.schedule(person)
    return {
        f"{tag}lead:{person.lead}": {name: text.decode() for name, text in person.fields.items() if name != "state"},
        **({} if due_ms is None else {f"{tag}due": rfc3339(due_ms)}),
        **({} if rank is None else {f"{tag}rank": rank}),
    }


def _reported(identity: IdentityLinks) -> dict[str, Any]:
    """Return what the id last reported to other ids, and what others reported to it."""
    account = identity.account
    return {
        "email_told": identity.email or None,
        "address_of": list(identity.address_holders),
        "account_told": None if identity.member is None else _member(identity.member),
        "account": None if account is None else {"hot": account.hot, "at": _instant(account.at_ms), **figures(account)},
        "alias_told": _instant(identity.linked_at_ms),
        "alias_guessed": identity.by_address,
    }


def _judged(lead: Lead) -> dict[str, Any]:
    scorer, state = lead.scorer, lead.state
    reading = read(scorer, state, lead.at_ms)
    return {
        "judged": {
            "as_of": rfc3339(lead.at_ms),
            "stage": STAGES[state.stage],
            "score": reading.score,
            "fit": reading.fit,
            "engagement": reading.engagement,
            "grade": scorer.grade(reading.fit, reading.engagement),
            "reasons": msgspec.to_builtins(reasons(scorer, state, lead.at_ms)),
        },
    }


def _facts(lead: Lead, state: LeadState) -> dict[str, Any]:
    return {
        "traits": {
            path: {"value": write.value, "at": rfc3339(write.at_ms), "event_id": write.event_id}
            for path, write in sorted(unpack_traits(state.traits).items())
        },
        "derived_traits": _derived(lead),
        "recent": recent(state),
        "history": history(state),
        "times": {
            "clock": _instant(state.clock_ms),
            "latest_activity": _instant(state.active_ms),
            "latest_crm": _instant(state.crm_ms),
            "ladder_closed": _instant(state.closed_ms),
            "lead_mql": _instant(state.mql_at_ms),
            "lead_sql": _instant(state.sql_at_ms),
            "respond_by": _instant(state.respond_by_ms),
            "due": _instant(state.due_ms or 0),
        },
        "packed": {"version": state.version, "grid": state.grid, "fit": state.fit, "barred": state.excluded_by_traits},
    }


def _counted(scorer: CompiledGrid, state: LeadState) -> dict[str, Any]:
    return {
        "counts": [
            {"key": key, "rules": [rule.id for rule in scorer.readers.get(key, ())], **_count(count, scorer.apart.get(key))}
            for key, count in state.counts.items()
        ],
        "paces": [
            {"key": key, "rules": [rule.id for rule in scorer.velocity_rules.get(key, ())], **_velocity(velocity)}
            for key, velocity in state.velocity.items()
        ],
        "exclusions": [
            {"key": key, "rules": scorer.excluding(key), "since": rfc3339(at_ms)}
            for key, at_ms in state.exclusions.items()
            if key != SINCE
        ],
        "set_aside_since": _instant(state.exclusions.get(SINCE, 0)),
        "event_marks": [state.ids[at : at + MARK_BYTES].hex() for at in range(0, len(state.ids), MARK_BYTES)],
        "merging_since": _instant(state.identity.judged_until_ms),
    }


def _derived(lead: Lead) -> dict[str, Any]:
    own = {path: write.value for path, write in unpack_traits(lead.state.traits).items() if write.value is not None}
    return {path: value for path, value in lead.scorer.derived(own).items() if own.get(path) != value}


def _member(member: Member) -> dict[str, Any]:
    role = ROLES[member.role - 1] if member.role else None
    return {"account": member.account, "score": member.score, "decision_role": role, "at": _instant(member.at_ms)}


def _count(count: Count, apart: RuleCounter | None) -> dict[str, Any]:
    if apart is not None:
        return {
            "count": count.n,
            "last_at": _instant(count.last_ms),
            "decayed_sum": count.sum,
            "occurrences": [_occurrence(apart.memory, entry) for entry in apart.memory.entries(count.seen)],
        }
    values = [{"mark": value.hex(), "at": rfc3339(at_ms)} for at_ms, value in entries(count.seen, count.last_ms)]
    return {"count": count.n, "last_at": _instant(count.last_ms), "decayed_sum": count.sum, "once_per": values}


def _occurrence(memory: Memory, entry: bytes) -> dict[str, Any]:
    said: dict[str, Any] = {"at": rfc3339(memory.instant(entry, 0))}
    if memory.weighed:
        said["weight"] = memory.weight(entry, 0)
    return said | {"mark": memory.mark(entry, 0).hex()} if memory.marked else said


def _velocity(velocity: VelocityWindow) -> dict[str, Any]:
    return {"latest_day": velocity.day, "days": velocity.days.hex()}


def _instant(at_ms: int) -> str | None:
    return rfc3339(at_ms) if at_ms else None
