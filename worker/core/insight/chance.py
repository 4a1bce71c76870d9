"""The chance to be won in words, for salespeople: everyone's chance, and what makes the lead's own higher or lower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from worker.core.contract.model import Factor
from worker.core.contract.printable import plain
from worker.core.grid.labels import NO_LABELS

_SIGNALS: Final = {"others": "the rest", "bounds": "what we never say", "idle_days": "days idle", "inactivity": "silence"}


def percent(p: float) -> str:
    """Return a chance in percent, as in `8.4 %`."""
    return f"{100 * p:.1f}".removesuffix(".0") + " %"


def factor_words(factors: Iterable[Factor], labels: Mapping[str, str] = NO_LABELS) -> str:
    """Return factors of the odds, as in `Pricing ×2.3 · the rest ×0.9`. *labels*: what people call a rule, by id."""
    return " · ".join(f"{_signal(one.id, labels)} ×{one.times:.3g}" for one in factors)


def _signal(id_: str, labels: Mapping[str, str]) -> str:
    rule, slash, row = id_.partition("/")
    return plain(labels.get(rule, _SIGNALS.get(rule, rule)) + (f" ({row})" if slash else ""))
