"""The monthly report in the words of marketing and sales: the funnel, the service, and how well the grid does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from worker.learning.fit_words import percent
from worker.learning.funnel import Funnel, Group
from worker.learning.grid_quality import GridQuality, Handed
from worker.learning.pages import page, paragraph, table_of_cells

STAGES: Final = {
    "lead": "leads", "mql": "MQL", "sql": "SQL", "accepted": "taken by sales", "opportunity": "opportunities",
    "client": "clients",
}  # fmt: skip
_GROUP_HEAD: Final = ("", "leads", "MQL", "SQL", "opportunities", "clients", "closed", "likely")


class Section(NamedTuple):
    """A part of the report: sentences, then a table where it has rows."""

    title: str
    sentences: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def sections(found: Funnel, quality: GridQuality | None, why_not: str) -> Iterator[Section]:
    """Yield the parts. *why_not*: why there is no *quality*."""
    yield _steps(found)
    yield Section("By month of the first event", (), _GROUP_HEAD, [_group(one) for one in found.cohorts])
    yield _periods(found)
    yield _durations(found)
    yield _service(found)
    yield _mails(found)
    yield Section("By source", (), _GROUP_HEAD, [_group(one) for one in found.sources])
    if found.campaigns:
        yield Section("By campaign", (), _GROUP_HEAD, [_group(one) for one in found.campaigns])
    for title, reasons in (("Why sales rejected leads", found.rejected), ("Why opportunities were lost", found.lost)):
        if reasons:
            yield Section(title, (), ("reason", "times"), [(reason, f"{count:,}") for reason, count in reasons.items()])
    if quality is None:
        yield Section("How well the grid does", (why_not,))
    else:
        yield from _quality(quality)


def report_html(found: Funnel, quality: GridQuality | None, why_not: str, grid: str) -> str:
    """Return the page. The same history and grid give the same bytes."""
    parts: list[str] = []
    for part in sections(found, quality, why_not):
        parts += [f"<h2>{part.title}</h2>", *map(paragraph, part.sentences)]
        if part.rows:
            parts.append(table_of_cells(part.head, part.rows))
    return page(f"Leads under {grid}", "\n".join(parts))


def _steps(found: Funnel) -> Section:
    period = "no event" if found.from_ is None else f"{found.from_} to {found.to}"
    clients = found.score_of_clients_at_handover
    sentences = [f"The history has {period}."]
    if clients is not None:
        sentences.append(
            f"{found.clients_handed_over:,} clients were handed over before they were won. "
            f"They had {clients:.0f} points then, in the mean."
        )
    rows = [(STAGES[step.stage], f"{step.leads:,}", _share(step.of_before), _share(step.of_all)) for step in found.steps]
    return Section("The funnel", sentences, ("stage", "leads", "of the stage before", "of all"), rows)


def _periods(found: Funnel) -> Section:
    head = ("month", "MQL", "SQL", "taken", "rejected", "opportunities", "won", "lost")
    rows = [
        tuple(
            str(cell) for cell in (one.month, one.mql, one.sql, one.accepted, one.rejected, one.opportunity, one.won, one.lost)
        )
        for one in found.periods
    ]
    return Section("What happened, by month", (), head, rows)


def _durations(found: Funnel) -> Section:
    head = ("from", "to", "leads", "days in the middle", "half of them take")
    rows = [
        (STAGES[one.start], STAGES[one.end], f"{one.leads:,}", f"{one.median:.1f}", f"{one.low:.1f} to {one.high:.1f}")
        for one in found.durations
    ]
    return Section("How long it takes", (), head, rows)


def _service(found: Funnel) -> Section:
    service = found.service
    if not service["promised"]:
        return Section("How sales answer", (f"{service['handed_over']:,} leads were handed over, without a time to respond.",))
    kept, late, never = (service[name] for name in ("kept", "late", "never"))
    over = kept + late + never
    sentence = (
        f"{service['handed_over']:,} leads were handed over. Of {over:,} whose time to respond is over, {kept:,} were answered "
        f"in time ({_share(kept / over if over else None)}), {late:,} later, and {never:,} never."
    )
    return Section("How sales answer", (sentence,))


def _mails(found: Funnel) -> Section:
    mails = found.mails
    if not mails["delivered"]:
        return Section("Mails", ("There is no mail in the history.",))
    opened, clicked = (_share(mails[name] / mails["delivered"]) for name in ("opened", "clicked"))
    return Section("Mails", (f"{mails['delivered']:,} mails: {opened} opened, {clicked} clicked. Machines do not count.",))


def _quality(found: GridQuality) -> Iterator[Section]:
    sentences = [
        f"{found.rows:,} rows of {found.leads:,} leads, {found.won:,} of them won. Of a won and a lost one, the won one scores "
        f"higher in {found.auc:.0%} of pairs ({found.low:.0%}–{found.high:.0%} likely).",
        *(_handed(one) for one in found.handed),
    ]
    yield Section("How well the grid does", sentences)
    expected = "the model" if found.by == "model" else "the score, read as a chance on the earlier months"
    words = [f"Wins are expected by {expected}."]
    changed = [one.month for one in found.months if one.changed]
    words.append(f"More than chance: {', '.join(changed)}." if changed else "No month differs by more than chance.")
    rows = [
        (one.month, f"{one.rows:,}", f"{one.seen:,}", f"{one.expected:.1f}", "yes" if one.changed else "")
        for one in found.months
    ]
    yield Section("Wins seen and expected", words, ("month", "rows", "seen", "expected", "more than chance"), rows)
    if found.shifted:
        head = ("what", "shift", "usual up to")
        shifts = [(one.name, f"{one.psi:.2f}", f"{one.limit:.2f}") for one in found.shifted]
        told = "New leads differ in these from those before, by more than chance. Ask why before you change points."
        yield Section("What has shifted", (told,), head, shifts)


def _handed(one: Handed) -> str:
    likely = f"{percent(one.rate)}; {one.low:.0%}–{one.high:.0%} likely"
    words = f"{one.leads:,} leads reached {one.stage.upper()}: {one.won:,} were won ({likely})"
    if one.days_to_won is None:
        return f"{words}."
    low, median, high = one.days_to_won
    return f"{words}, half of them within {median:.0f} days ({low:.0f} to {high:.0f} for the middle half)."


def _group(one: Group) -> tuple[str, ...]:
    counts = (f"{number:,}" for number in (one.leads, one.mql, one.sql, one.opportunity, one.client))
    return (one.name, *counts, percent(one.rate), f"{one.low:.0%}–{one.high:.0%}")


def _share(share: float | None) -> str:
    return "–" if share is None else percent(share)
