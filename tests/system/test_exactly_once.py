"""The worker on real Kafka and Redis, held to the pure core folded single-threaded over the recorded log."""

from __future__ import annotations

from tests.system.conftest import MakeSite
from tests.system.kit import traffic


async def test_states_and_outputs_are_those_of_the_core_alone(make_site: MakeSite) -> None:
    """Whatever batches the worker made, folding the log again in the journal's order gives the same bytes."""
    site = await make_site()
    await site.send(site.sent(m) for m in traffic(1, 300, 5_000))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    verdict = await site.verdict()
    assert verdict.transitions.total() > 100
