"""What a live test showed, in words."""

from __future__ import annotations

from collections.abc import Iterator

from worker.learning.experiment import Judgement, Plan, Rate

_REACHED = {"won": "were won", "opportunity": "became an opportunity", "accepted": "were accepted by sales"}


def sentences(plan: Plan, found: Judgement) -> Iterator[str]:
    """Yield counts, the difference with its range, and what they mean."""
    reached = _REACHED[plan.outcome]
    yield f"Champion, {plan.champion.name} version {plan.champion.version}: {_rate(found.champion)} {reached}."
    yield f"Challenger, {plan.challenger.name} version {plan.challenger.version}: {_rate(found.challenger)} {reached}."
    likely = f"{100 * found.difference:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f} likely)"
    if found.shown:
        better = "challenger" if found.low > 0 else "champion"
        yield f"The difference is {likely}: the {better} is better."
    else:
        yield f"The difference is {likely}: the test shows none. It was made to see {100 * plan.difference:.1f} points."
    yield f"Of leads that sales got {_rate(found.called)} {reached}, and of the others {_rate(found.not_called)}."
    if min(found.champion.leads, found.challenger.leads) < plan.leads_an_arm:
        yield f"Fewer leads took part than the {plan.leads_an_arm:,} an arm that were planned, so it sees less."


def _rate(rate: Rate) -> str:
    return f"{rate.reached:,} of {rate.leads:,} ({rate.share:.1%})"
