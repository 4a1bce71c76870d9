"""Salesforce's paths, limits and errors, by its REST API Developer Guide."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from worker.automations.requests import Again, Answer, Expired, Http, Misconfigured
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import objects_at, raise_for, scrubbed
from worker.connections.targets import SalesforceTarget

OWN_ID: Final = re.compile(r"[a-zA-Z0-9]{15}(?:[a-zA-Z0-9]{3})?")
PASSING: Final = frozenset({"UNABLE_TO_LOCK_ROW", "REQUEST_LIMIT_EXCEEDED", "SERVER_UNAVAILABLE", "QUERY_TIMEOUT"})
"""Codes of errors that may pass. Nothing was done."""

MOST_ASKED: Final = 8_000
"""Bytes of an encoded query at most. Salesforce takes 16,384 of address and headers together, and advises 8,000 for headers."""

_BUSY_S: Final = 900.0
"""Salesforce sends no `Retry-After` with its limit of a day, which moves on by the hour."""

_TOO_MANY: Final = "Too many SOQL queries"
_USAGE: Final = re.compile(r"api-usage=(\d{1,9})/(\d{1,9})")
_MOST_USED: Final = 0.95


def path(target: SalesforceTarget, rest: str) -> str:
    """Return the path of a resource in the target's version."""
    return f"/services/data/{quote(target.version, safe='')}{rest}"


def errors_of(answer: Answer) -> list[dict[str, Any]]:
    """Return the errors of an answer: `[{"errorCode", "message"}]`."""
    return objects_at(answer.json())


def judge(answer: Answer) -> None:
    """Raise what an answer means (guide, "Status Codes and Error Responses")."""
    if 200 <= answer.status < 300:
        return
    found = errors_of(answer)
    codes = {str(one.get("errorCode")) for one in found}
    words = "; ".join(f"{one.get('errorCode')}: {one.get('message')}" for one in found[:3])
    why = f"Salesforce answers {answer.status}: {scrubbed(words)}"
    if answer.status in (400, 403) and (codes & PASSING or _TOO_MANY in words):
        raise Again(why, _BUSY_S if "REQUEST_LIMIT_EXCEEDED" in codes else 0.0)
    if "INVALID_SESSION_ID" in codes:
        raise Expired(why)
    if answer.status == 300:
        raise Refused(f"{why} Several records have the same id: make the external id unique")
    if answer.status == 404 and "NOT_FOUND" in codes and "resource" in words:
        raise Misconfigured(f"{why}. Correct `object`, `id_field` or `version`")
    raise_for(answer, "Salesforce", words)


def spare(answer: Answer) -> float:
    """Return a quarter of an hour once 95 % of the day's requests are used, by `Sforce-Limit-Info`."""
    found = _USAGE.search(answer.headers.get("sforce-limit-info", ""))
    return _BUSY_S if found and int(found[2]) and int(found[1]) >= _MOST_USED * int(found[2]) else 0.0


def text(value: str) -> str:
    """Return *value* as a text of SOQL (SOQL and SOSL Reference, "Quoted String Escape Sequences")."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def ask(
    target: SalesforceTarget, step: str, soql: str, sample: Mapping[str, Any] | None = None
) -> Generator[Http, Answer, list[dict[str, Any]]]:
    """Return the records that *soql* finds, of the first page."""
    shown = {"records": [dict(sample)] if sample else []}
    answer = yield Http.json(step, "GET", path(target, f"/query?q={quote(soql, safe='')}"), sample=shown)
    return objects_at(answer.json(), "records")


def ask_each(
    target: SalesforceTarget, step: str, select: str, field: str, values: Iterable[str], order: str = ""
) -> Generator[Http, Answer, list[dict[str, Any]]]:
    """Return the records that *select* finds whose *field* has one of *values*. Long lists take several requests."""
    rows: list[dict[str, Any]] = []
    for some in _fitting(values, MOST_ASKED - len(quote(f"{select} WHERE {field} IN () {order}", safe=""))):
        rows += yield from ask(target, step, f"{select} WHERE {field} IN ({', '.join(some)}){order}")
    return rows


def _fitting(values: Iterable[str], most: int) -> Iterator[list[str]]:
    """Yield *values* as texts of SOQL, in lists whose encoded lengths are at most *most*. One longer value stands alone."""
    some: list[str] = []
    length = 0
    for value in map(text, values):
        size = len(quote(f"{value}, ", safe=""))
        if some and length + size > most:
            yield some
            some, length = [], 0
        some.append(value)
        length += size
    if some:
        yield some
