"""Every kind of target while processes die: at most one visible effect of each act, or it is listed as `unknown`."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.kit.act_targets import ACTS, ASKED, SECRETS, all_targets, rules_of, traits_of
from tests.kit.acts_live import ActSite
from tests.kit.online import site
from tests.kit.shell import leadpulse
from tests.kit.waits import until

__all__ = ["site"]

KILLS = int(os.environ.get("ACT_KILLS", "3"))
LEASE_S = 6.0
FEW = ("mail", "slack", "pipedrive")


@pytest.mark.parametrize("names", [tuple(ACTS) if "ACT_KILLS" in os.environ else FEW], ids=["targets"])
async def test_killed_in_mid_call_each_target_shows_an_act_once(
    site: dict[str, str], tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Two processes, one killed, or frozen past its lease, again and again. Each start takes partitions over in mid-call.

    Every act ends as `done`, with one effect, or as `unknown`, with one or none, and `act list` shows it.
    """
    rng = random.Random(int(os.environ.get("ACT_SEED", "5")))
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "contract.pdf").write_bytes(b"%PDF-1.7")
    async with all_targets() as targets:
        end_lag = targets.slow(rng, 0.05, 0.4)
        acts = await asyncio.to_thread(
            ActSite, site, tmp_path, rules_of(names), targets.connections, lease_s=LEASE_S, **SECRETS
        )
        try:
            living = [acts.start(), acts.start()]
            await asyncio.to_thread(living[0].until, acts.all_read)
            wanted: list[str] = []
            froze = 0
            async with acts.publisher() as publisher:
                for round_ in range(KILLS):
                    for number in range(4):
                        lead = f"lead-{round_}-{number}"
                        await publisher.output(lead, traits=traits_of(lead))
                        wanted.append(lead)
                    asked = targets.requests()
                    await until(lambda asked=asked: targets.requests() > asked, "a request")  # type: ignore[misc]
                    await asyncio.sleep(rng.random() / 2)
                    victim = living.pop(rng.randrange(2))
                    if rng.random() < 0.2 or round_ == 1:
                        froze += 1
                        victim.process.send_signal(signal.SIGSTOP)
                        asyncio.get_running_loop().call_later(LEASE_S + 3, victim.process.send_signal, signal.SIGCONT)
                    else:
                        victim.process.kill()
                    living.append(acts.start())
                    if rng.random() < 0.5:
                        await asyncio.to_thread(living[-1].until, lambda: acts.ready(living[-1]))
            end_lag()

            async def over() -> bool:
                states = await acts.states()
                return states["done"] + states["unknown"] == len(wanted) * len(names)

            await until(over, "the end of every act")
            listed = await asyncio.to_thread(leadpulse, "act", "list", "--json", env=acts.environ)
            assert listed.returncode == 0, listed.stderr
            states: defaultdict[str, dict[str, str]] = defaultdict(dict)
            for line in map(json.loads, listed.stdout.splitlines()):
                states[line["rule"]][line["lead_id"]] = line["state"]
            effects = targets.effects()
            print(f"{KILLS} deaths, {froze} of them frozen past the lease, {len(wanted)} outputs")  # noqa: T201
            for name in names:
                seen = effects[name]
                ended = Counter(states[name].values())
                shown = sum(1 for lead, state in states[name].items() if state == "unknown" and seen[lead])
                print(  # noqa: T201
                    f"| {name} | {ended['done']} | {ended['unknown']} | {shown} | {max(seen.values(), default=0)} |"
                )
                assert set(states[name]) == set(wanted)
                assert set(seen) <= set(wanted)
                assert max(seen.values()) == 1, (name, seen.most_common(3))
                assert all(seen[lead] == 1 for lead, state in states[name].items() if state == "done"), name
                if name in ASKED:
                    assert ended["unknown"] == 0, name
            for name, people in targets.people().items():
                assert max(people.values(), default=1) == 1, (name, people.most_common(3))
            assert len({id_ for id_, _ in targets.mails.took}) == len(targets.mails.took)
            for running, _ in acts.running:
                assert "Traceback" not in running.words, running.words
            for vendor in targets.vendors:
                assert not vendor.refusals, (vendor.name, Counter(vendor.refusals))
        finally:
            acts.end()
