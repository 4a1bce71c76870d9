"""Leaks in tables of events, by when records arrived: there LeadPulse can be certain.

Source of the limits: measured on 262,200 dated events of 13,087 cases, of which the leaks are known.
"""

from __future__ import annotations

from typing import Final

from worker.learning.leak import ALLOW, Leak, leak, percent
from worker.learning.record_times import Arrivals

SITS_ON: Final = 0.30
"""Share of the records at the outcome or after it, from which a type is asked about. Honest types had 0.27 and less."""
MOSTLY_SITS_ON: Final = 0.50
"""From here on it is refused. Buyers go on using pages and mails, so that less than half of the records may be theirs."""
MOSTLY_AFTER: Final = 0.50
"""Share of the records after the handover, from which a trait is one that sales fill in."""
BACK_DATED: Final = 0.01
"""Share of back-dated records, from which their source is named."""
_FEW: Final = 10
"""Fewer records at the outcome, or after the handover, refuse nothing."""
_LEAST: Final = 5
"""And fewer than these are not asked about."""
_WHO: Final = "When is this written, and by whom?"


def leak_in_times(name: str, seen: Arrivals) -> Leak | None:
    """Judge `event:TYPE` or `trait:PATH` by when its records arrived. `None`: nothing speaks against it."""
    at_outcome, after = seen.at_outcome / max(seen.records, 1), seen.after_handover / max(seen.records, 1)
    if seen.at_outcome >= _LEAST and at_outcome >= SITS_ON:
        refused = at_outcome >= MOSTLY_SITS_ON and seen.at_outcome >= _FEW
        why = (
            f"{seen.at_outcome:,} of {seen.records:,} records ({percent(at_outcome)}) arrived less than a minute before the"
            " outcome, with it, or after it."
        )
        return leak(name, "refuse" if refused else "ask", f"{why}{_sources(seen)} {ALLOW if refused else _WHO}", at_outcome)
    if seen.after_handover >= _LEAST and after >= MOSTLY_AFTER:
        refused = name.startswith("trait:") and seen.after_handover >= _FEW
        why = f"{seen.after_handover:,} of {seen.records:,} records ({percent(after)}) arrived after sales had the lead."
        action = "Drop it: points for it would come too late." if refused else _WHO
        return leak(name, "refuse" if refused else "ask", f"{why} {action}", after)
    back_dated = seen.back_dated / max(seen.records, 1)
    if seen.back_dated >= _LEAST and back_dated >= BACK_DATED:
        return leak(name, "ask", f"{_sources(seen).strip()} {_WHO}", back_dated)
    return None


def _sources(seen: Arrivals) -> str:
    """Name the sources of back-dated records, the most frequent first."""
    if not seen.back_dated:
        return ""
    counted = sorted(seen.sources.items(), key=lambda one: (-one[1], one[0]))[:3]
    named = ", ".join(f"{source or 'unknown'} ({count:,})" for source, count in counted)
    return f" {seen.back_dated:,} of {seen.records:,} came after the outcome, with a time before it. Source: {named}."
