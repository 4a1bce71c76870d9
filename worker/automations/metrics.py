"""The metrics of the program that acts. Labels come from closed sets: the file of automations, and the types of outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry

from worker.declared import Declared, Group

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 3_600, 14_400, 86_400)

ENDS: Final = ("done", "dead", "stale", "cancelled", "held", "unknown")
TRIES: Final = (*ENDS, "retry", "put_back", "lost")
"""How attempts end. `put_back`: the target's budget, breaker or a person said later. `lost`: the act was not ours any more."""


class ActMetrics:
    """These metrics in one registry."""

    _read = Group("Acts: outputs")
    outputs = _read.counter("act_outputs", "Outputs and input events that were read and looked at, by type", "type")
    unreadable = _read.counter("act_unreadable", "Records of output topics that are no output")
    skipped = _read.counter(
        "act_skipped",
        "Outputs for which a rule that fits does nothing: no consent, no person, or a state that cannot be written",
        "rule",
    )
    lost = _read.counter("act_lost_records", "Records that retention deleted before they were read")
    went_back = _read.counter(
        "act_ledger_went_back", "Take-overs that found a ledger older than the group's offsets: Redis went back in time"
    )
    partitions = _read.gauge("act_partitions", "Partitions that this process reads")
    lag = _read.gauge("act_lag_records", "Records that wait to be read, as of the last fetch", "partition")

    _done = Group("Acts: at the targets")
    attempts = _done.counter(
        "act_attempts", f"Attempts at acts that ended, by target and outcome ({', '.join(TRIES)})", "target", "outcome"
    )
    seconds = _done.histogram(
        "act_seconds", "Time from the output to the act that is done, by output type and kind of act", _SECONDS, "type", "do"
    )
    states = _done.counter(
        "act_states",
        "States of leads at which an attempt ended, by target and outcome (written, again, dead)",
        "target",
        "outcome",
    )
    acted = _done.counter("act_published", "Ends of acts that were published as lead.acted")

    _wait = Group("Acts: waiting")
    held = _wait.gauge(
        "act_acts",
        "Acts in the ledgers of this process's partitions, by target and state. `unknown`, `held` and `dead` wait for a person",
        "target",
        "state",
    )
    states_waiting = _wait.gauge("act_states_waiting", "States that wait to be written, by target", "target")
    oldest_seconds = _wait.gauge("act_oldest_seconds", "Age of the oldest act or state that waits, by target", "target")
    broken = _wait.gauge("act_breaker_open", "1 while a target's breaker is open, else 0", "target")

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.described = [one.described for one in vars(ActMetrics).values() if isinstance(one, Declared)]
        for attribute, one in vars(ActMetrics).items():
            if isinstance(one, Declared):
                vars(self)[attribute] = one.make(registry)

    def targets_are(self, targets: Iterable[str]) -> None:
        """Show the counters of each target at 0 before their first event, so that Prometheus sees the increase."""
        for target in targets:
            for outcome in TRIES:
                self.attempts.labels(target, outcome)
            for outcome in ("written", "again", "dead"):
                self.states.labels(target, outcome)
            self.broken.labels(target)
            self.oldest_seconds.labels(target)
