"""Maps by vendor: whatever the bytes, events that the worker accepts, or `Unmapped`."""

from __future__ import annotations

import msgspec
import pytest

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors import registry
from worker.intake.vendors.common import Mapped, NewEvent, Unmapped


def _given(monkeypatch: pytest.MonkeyPatch, made: Mapped | Exception) -> Mapped:
    def vendor(_inbound: Inbound, _source: Source) -> Mapped:
        if isinstance(made, Exception):
            raise made
        return made

    monkeypatch.setattr(registry, "MAPS", {"acme": vendor})
    return registry.mapped(Inbound("in", "acme", 0, b""), Source())


def test_an_event_that_the_worker_would_reject_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of the request are sent."""
    good = NewEvent("email.opened", "email:a@b.example", "1", 1_700_000_000_000, {"message_id": "m"})
    bad = {
        "data.share": NewEvent("webinar.attended", "a", "2", 0, {"webinar_id": "w", "share": 2}),
        "subject": NewEvent("crm.won", "", "3", 0),
        "type": NewEvent("crm.forgotten", "a", "4", 0),
        "cannot be written": NewEvent("crm.won", "a", "5", 10**18),
    }
    made = _given(monkeypatch, Mapped([*bad.values(), good]))
    assert made.events == [good]
    assert [word for word, refused in zip(bad, made.refused, strict=True) if word not in refused] == []


def test_a_map_that_fails_gives_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that fails each time it is read would otherwise stop the mapper."""
    with pytest.raises(Unmapped, match="KeyError"):
        _given(monkeypatch, KeyError("x"))
    with pytest.raises(Unmapped, match="no address"):
        _given(monkeypatch, Unmapped("no address"))


def test_a_vendor_without_a_map_is_unmapped() -> None:
    """The record waits in the dead letters for a version that has one."""
    with pytest.raises(Unmapped, match="no map for 'acme'"):
        registry.mapped(Inbound("in", "acme", 0, b""), Source())


def test_an_inbound_record_is_left_as_it_is() -> None:
    """Maps are pure: the same request can be mapped again."""
    inbound = Inbound("in", "sendgrid", 0, b'[{"event": "open"}]')
    before = msgspec.structs.asdict(inbound)
    registry.mapped(inbound, Source())
    assert msgspec.structs.asdict(inbound) == before
