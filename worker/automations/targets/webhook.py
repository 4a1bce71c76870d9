"""Any receiver of Standard Webhooks: the output itself, signed. Zapier, Make, n8n and Plezi are reached by it.

The specification is standard-webhooks/standard-webhooks, spec/standard-webhooks.md: ids, retries, 410, and what slows down.
The program adds `webhook-timestamp` and `webhook-signature` to each request.
"""

from __future__ import annotations

from typing import Any, Final

from worker.automations.acts import Act
from worker.automations.requests import Again, Answer, Http, Misconfigured, Run, Steps
from worker.automations.requests import Final as Never
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.fields import With
from worker.automations.targets.retry_after import retry_after_s

_GONE: Final = 410
_ITS_ADDRESS: Final = frozenset({401, 403, 404, 405})
"""The address or the secret is wrong. Nothing else will be taken either."""

_FOR_GOOD: Final = frozenset({400, 413, 414, 415, 422, 431})
"""The receiver can read the request, and does not want this one."""


class Send(With):
    """Send the output itself. It takes no keys."""


def send(_target: Any, act: Act, _run: Run) -> Steps:
    """Post the output. Its id is `webhook-id`, the same at each attempt, by which the receiver knows a repeat."""
    yield Http.json("send", "POST", "", act.fields["output"], headers={"webhook-id": act.output})
    return act.output


def judge(answer: Answer) -> None:
    """Raise a `Refusal` unless the receiver has the message: it answers with a 2xx."""
    status = answer.status
    if 200 <= status < 300:
        return
    if status == _GONE:
        raise Misconfigured("it answers 410: it wants no more messages; remove the target, or correct its address")
    if status in _ITS_ADDRESS or 300 <= status < 400:
        raise Misconfigured(f"it answers {status}: correct the target's address or secret; redirects are not followed")
    if status in _FOR_GOOD:
        raise Never(f"it answers {status}")
    raise Again(f"it answers {status}", retry_after_s(answer))


KIND: Final = Kind(
    name="webhook",
    actions={"send": send},
    fields={"send": Send},
    judge=judge,
    rate=Rate(1_000, 1.0),  # the standard has no limit; a receiver says 429
    whole=frozenset({"send"}),
)
