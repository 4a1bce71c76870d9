"""Postmark's webhooks: one JSON object, named by `RecordType`.

A `Bounce` has one of some twenty types. Only those that say that the address takes no mail are bounces here. Postmark sends
the first open alone, unless the webhook asks for all (`PostFirstOpenOnly`). An inbound mail has no `RecordType`, or `Inbound`.
*Untested* against a live account.
"""

from __future__ import annotations

from typing import Any, Final

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, digest, email_id, iso_ms, objects_of, text
from worker.intake.vendors.mail_events import add, inner, robot_clicked
from worker.intake.vendors.records import listed
from worker.intake.vendors.replies import add_mail

_TYPES: Final = {"Delivery": "email.delivered", "Open": "email.opened", "Click": "email.clicked"}
_BOUNCES: Final = {
    "HardBounce": "email.bounced",
    "BadEmailAddress": "email.bounced",
    "SpamComplaint": "email.complained",
    "Unsubscribe": "email.unsubscribed",
    "Subscribe": "email.subscribed",
}
"""`Type` of a `Bounce` or `SpamComplaint` → our type. `SpamNotification` is a filter's verdict, not a person's."""

_TIMES: Final = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map Postmark's event. Raises `Unmapped`."""
    made = Mapped()
    for one in objects_of(inbound):
        if one.get("RecordType") == "Inbound" or ("RecordType" not in one and "FromFull" in one):
            headers = [(header.get("Name"), header.get("Value")) for header in listed(one.get("Headers"))]
            sender = inner(one, "FromFull", "Email")
            add_mail(made, headers, one.get("MessageID"), sender, inbound.received_ms, date=one.get("Date"))
            continue
        record, detail = text(one.get("RecordType")) or "", text(one.get("Type"))
        type_ = _type(record, one)
        address = one.get("Recipient") if one.get("Email") is None else one.get("Email")
        time = next((one[name] for name in _TIMES if one.get(name) is not None), None)
        add(
            made,
            f"{record} {detail}" if detail else record,
            type_,
            email_id(address),
            iso_ms(time),
            _id(one, record, address, time),
            message_id=text(one.get("MessageID")),
            campaign_id=text(one.get("Tag")) if type_ != "email.subscribed" else None,
            url=text(one.get("OriginalLink")) if type_ == "email.clicked" else None,
            robot=robot_clicked(source, type_, one.get("UserAgent")),
        )
    return made


def _type(record: str, one: dict[str, Any]) -> str | None:
    if record in ("Bounce", "SpamComplaint"):
        return _BOUNCES.get(text(one.get("Type")) or record)
    if record == "SubscriptionChange":
        if one.get("SuppressSending") is False:
            return "email.subscribed"
        # a hard bounce and a complaint come with records of their own
        return "email.unsubscribed" if one.get("SuppressionReason") in (None, "ManualSuppression") else None
    return _TYPES.get(record)


def _id(one: dict[str, Any], record: str, address: Any, time: Any) -> str:
    """Return Postmark's id of a bounce; else a hash of what is stable."""
    own = text(one.get("ID"))
    return own or digest(record, one.get("MessageID"), address, time, one.get("OriginalLink"))
