"""The demo's rules: a task for sales and an appointment by mail for each `lead.sql`, and a content for each buying phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CALL: Final = "call"
"""The rule that makes a task of each `lead.sql`."""

_RULES: Final = """\
timezone: UTC  # as the demo shows times
owners: {else: "round-robin([anna@acme.example, bram@acme.example])"}
acts:
  - id: call
    on: lead.sql
    to: sales
    do: task
    with:
      subject: >-
        Call {{ traits.email or lead_id }}{{ " by " ~ respond_by|local(format="%a %d %b %H:%M") if respond_by else "" }}
      body: "{{ dossier }}"
      due: "{{ respond_by or time }}"
      owner: "{{ owner }}"
    fresh: 36500d  # simulated leads live in the past, some of them years ago
    max: 100000/h
    unless: lead.excluded
  - id: appointment
    on: lead.sql
    where: {email: {exists: true}}
    to: mail
    do: send
    with:
      to: "{{ traits.email }}"
      subject: "Half an hour for {{ traits.company.name or 'your questions' }}"
      html: >-
        <p>You have looked closely at Acme. Choose a time that suits you: <a href="https://acme.example/calendar">calendar</a></p>
        <p>{{ owner }}</p>
    fresh: 36500d
    max: 100000/h
    unless: lead.excluded
"""

_NURTURE: Final = """\
  - id: {phase}
    phase: {phase}
    every: 3s  # a simulated day a second
    to: mail
    fresh: 36500d
    max: 100000/h
    contents:
      - id: content
        where: {{email: {{exists: true}}}}
        with:
          to: "{{{{ traits.email }}}}"
          subject: "For your {phase} phase"
          html: "<p>What others read in their {phase} phase.</p>"
"""


def rules_for(phases: Sequence[str]) -> str:
    """Return the file of automations for a grid with these buying *phases*."""
    if not phases:
        return _RULES
    return _RULES + "nurture:\n" + "".join(_NURTURE.format(phase=phase) for phase in phases)
