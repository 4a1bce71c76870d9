"""Calendly: appointments made, appointments missed, and routing forms.

Fields by Calendly's pages on webhooks, as digests and clients give them. Untested against a live account.
A new appointment is a `demo.requested`. An appointment that replaces another (`old_invitee`) is none. `traits` of the source
see the invitee, with the answers by their questions in `answers`.
"""

from __future__ import annotations

from typing import Any, Final

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, NewEvent, Unmapped, digest, email_id, iso_ms, present, text
from worker.intake.vendors.records import address_in, fields_of, inside, learn, listed, object_of

_TRAITS: Final = {"email": "email", "first_name": "first_name", "last_name": "last_name", "phone": "text_reminder_number"}


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map one webhook. Raises `Unmapped`."""
    held = object_of(inbound)
    kind, payload, sent_ms = str(held.get("event")), held.get("payload"), iso_ms(held.get("created_at"))
    if not isinstance(payload, dict):
        raise Unmapped(f"{kind} without payload")
    match kind:
        case "invitee.created" if not text(payload.get("old_invitee")):
            return _requested(payload, sent_ms, source)
        case "invitee_no_show.created":
            return _missed(payload, sent_ms)
        case "routing_form_submission.created":
            return _routed(payload, sent_ms, source)
        case _:
            return _passed(f"{kind} again" if kind == "invitee.created" else kind)


def _passed(word: str) -> Mapped:
    made = Mapped()
    made.passed_over[word] += 1
    return made


def _requested(payload: dict[str, Any], sent_ms: int | None, source: Source) -> Mapped:
    subject, uri, at_ms = email_id(payload.get("email")), text(payload.get("uri")), iso_ms(payload.get("created_at")) or sent_ms
    if subject is None or uri is None or at_ms is None:
        raise Unmapped("invitee.created without email, uri or created_at")
    id_, answers = digest(uri), _answers(payload)
    data = present(form_id=_last_part(inside(payload, "scheduled_event", "event_type")), fields=answers or None)
    made = Mapped([NewEvent("demo.requested", subject, id_, at_ms, data)])
    record = {**payload, "answers": answers}
    learn(made, source, subject, id_, at_ms, record, fields_of(record, _TRAITS))
    return made


def _missed(payload: dict[str, Any], sent_ms: int | None) -> Mapped:
    uri, no_show = text(payload.get("uri")), payload.get("no_show")
    subject, at_ms = email_id(payload.get("email")), iso_ms(inside(no_show, "created_at")) or sent_ms
    if subject is None or uri is None or at_ms is None:
        raise Unmapped("invitee_no_show.created without email, uri or created_at")
    return Mapped([NewEvent("crm.no_show", subject, digest(uri, text(inside(no_show, "uri")) or at_ms), at_ms)])


def _routed(payload: dict[str, Any], sent_ms: int | None, source: Source) -> Mapped:
    answers = _answers(payload)
    email = next((found for value in answers.values() if (found := address_in(value)) and " " not in found), None)
    subject, uri, at_ms = email_id(email), text(payload.get("uri")), iso_ms(payload.get("created_at")) or sent_ms
    if subject is None:
        return _passed("routing_form_submission.created without an address")
    if uri is None or at_ms is None:
        raise Unmapped("routing_form_submission.created without uri or created_at")
    id_ = digest(uri)
    data = present(form_id=_last_part(payload.get("routing_form")), fields=answers)
    made = Mapped([NewEvent("form.submitted", subject, id_, at_ms, data)])
    learn(made, source, subject, id_, at_ms, {**payload, "answers": answers}, {"email": email})
    return made


def _answers(payload: dict[str, Any]) -> dict[str, str]:
    pairs = ((text(one.get("question")), text(one.get("answer"))) for one in listed(payload.get("questions_and_answers")))
    return {question: answer for question, answer in pairs if question and answer}


def _last_part(uri: Any) -> str | None:
    return (text(uri) or "").rstrip("/").rpartition("/")[2] or None
