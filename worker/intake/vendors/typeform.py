"""Typeform: one answered form. Fields by Typeform's page "Example payload".

Answers name their question by id and by `ref`, a word of yours. `traits` of the source see
`{"answers": {REF: value, ID: value}, "hidden": {…}, "email": …}`, as in `role: answers.job_title`.
"""

from __future__ import annotations

from typing import Any, Final

from worker.connections.sources import Source, Typeform
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, NewEvent, Unmapped, email_id, iso_ms, text
from worker.intake.vendors.records import address_in, inside, learn, listed, object_of

_PLAIN: Final = ("text", "email", "phone_number", "number", "boolean", "date", "url", "file_url")


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map one response. Raises `Unmapped`."""
    held, made = object_of(inbound), Mapped()
    kind, response = str(held.get("event_type")), held.get("form_response")
    if kind != "form_response" or not isinstance(response, dict):
        made.passed_over[kind] += 1
        return made
    answers = listed(response.get("answers"))
    record = {
        "answers": _by_name(answers),
        "hidden": response.get("hidden"),
        "email": _first(answers, "email") or address_in(inside(response, "hidden", "email")),
        "phone": _first(answers, "phone_number"),
    }
    subject = email_id(record["email"])
    if subject is None:
        made.passed_over["form_response without an address"] += 1
        return made
    form, token, at_ms = text(response.get("form_id")), text(response.get("token")), iso_ms(response.get("submitted_at"))
    if form is None or token is None or at_ms is None:
        raise Unmapped("form_response without form_id, token or submitted_at")
    type_ = source.forms.get(form, "form.submitted") if isinstance(source, Typeform) else "form.submitted"
    made.events.append(NewEvent(type_, subject, token, at_ms, {"form_id": form, "fields": _filled(answers)}))
    own = {name: record[name] for name in ("email", "phone") if record[name]}
    learn(made, source, subject, token, at_ms, record, own)
    return made


def _value(answer: dict[str, Any]) -> Any:
    kind = answer.get("type")
    if kind == "choice":
        return text(inside(answer, "choice", "label")) or text(inside(answer, "choice", "other"))
    if kind == "choices":
        return _choices(answer)
    return answer.get(kind) if kind in _PLAIN and isinstance(kind, str) else None


def _choices(answer: dict[str, Any]) -> list[Any]:
    labels = inside(answer, "choices", "labels")
    other = text(inside(answer, "choices", "other"))
    return [*(labels if isinstance(labels, list) else []), *([other] if other else [])]


def _by_name(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the answers by the ids of their questions, and by the words (`ref`) of those that have one."""
    found = {}
    for answer in answers:
        for name in ("id", "ref"):
            if word := text(inside(answer, "field", name)):
                found[word] = _value(answer)
    return found


def _filled(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the answers, each under one name: its `ref`, else its id."""
    named = ((text(inside(one, "field", "ref")) or text(inside(one, "field", "id")), _value(one)) for one in answers)
    return {name: value for name, value in named if name and value not in (None, "", [])}


def _first(answers: list[dict[str, Any]], kind: str) -> str | None:
    return next((word for one in answers if one.get("type") == kind and (word := text(one.get(kind)))), None)
