"""Zoho CRM's errors and limits, by `zoho/crm-oas`, v8.0, and by its page "API Limits"."""

from __future__ import annotations

from typing import Any, Final

from worker.automations.requests import Again, Answer, Expired, Misconfigured, Refusal
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import inside, objects_at, raise_for, scrubbed

_EXPIRED: Final = frozenset({"INVALID_TOKEN", "AUTHENTICATION_FAILURE"})
_PASSING: Final = frozenset({"RECORD_LOCKED", "LIMIT_EXCEEDED", "INTERNAL_ERROR", "TOO_MANY_REQUESTS"})
_SETTINGS: Final = frozenset({"OAUTH_SCOPE_MISMATCH", "NO_PERMISSION", "INVALID_URL_PATTERN", "INVALID_MODULE"})
_BUSY_S: Final = 60.0
"""Zoho sends no `Retry-After`."""

_FEW_CREDITS: Final = 500
_HOUR_S: Final = 3_600.0


def judge(answer: Answer) -> None:
    """Raise what an answer means (record.json, components/schemas/API_Exception)."""
    results = results_of(answer)
    if 200 <= answer.status < 300:
        if len(results) == 1 and results[0].get("status") == "error":
            raise refusal_of(results[0])  # what was sent is one record, and it was refused
        return
    held = answer.json()
    first = results[:1] or [held if isinstance(held, dict) else {}]
    code, message = str(first[0].get("code") or ""), str(first[0].get("message") or "")
    why = f"Zoho answers {answer.status}: {scrubbed(f'{code} {message}')}"
    if code in _EXPIRED:
        raise Expired(why)
    if code in _SETTINGS:
        raise Misconfigured(f"{why}. Correct the rights of the client, `base_url` or `object`")
    if code in ("TOO_MANY_REQUESTS", "LIMIT_EXCEEDED"):
        raise Again(why, _BUSY_S)
    raise_for(answer, "Zoho", f"{code} {message}".strip(), wait_s=_BUSY_S)


def spare(answer: Answer) -> float:
    """Return an hour where the day's credits are nearly used up. Zoho sends the header in the second half alone."""
    left = answer.headers.get("x-api-credits-remaining", "")
    return _HOUR_S if left.isascii() and left.isdecimal() and int(left[:12]) < _FEW_CREDITS else 0.0


def results_of(answer: Answer) -> list[dict[str, Any]]:
    """Return the items of `data`: a result of each record that was sent, in order, or records that were found."""
    return objects_at(answer.json(), "data")


def id_of(result: dict[str, Any]) -> str:
    """Return the id of the record that *result* tells of; nothing where it was refused."""
    return str(inside(result, "details", "id") or "") if result.get("code") == "SUCCESS" else ""


def refusal_of(result: dict[str, Any]) -> Refusal:
    """Return why Zoho refused one record, with the field's name."""
    field = inside(result, "details", "api_name")
    words = f"{result.get('code')} {result.get('message') or ''}{f' ({field})' if field else ''}"
    return (Again if str(result.get("code")) in _PASSING else Refused)(f"Zoho refuses the record: {scrubbed(words)}")
