"""Grids of the system tests."""

from __future__ import annotations

GRID = """\
grid: system-test
version: 1
timezone: UTC
pages: {pricing: ["/pricing*"]}
fit:
  rules:
    - {id: business-email, points: 5, where: {email_kind: business}}
engagement:
  min: -50
  max: 80
  half_life: 5s
  rules:
    - {id: pricing-page, points: 8, on: page.viewed, where: {page_type: pricing}, intent: true}
    - {id: form, points: 15, on: form.submitted, cap: 30}
    - {id: email-open, points: 1, on: email.opened, once_per: message_id, cap: 5}
    - {id: no-show, points: -10, on: [webinar.no_show, crm.no_show]}
velocity:
  - {id: comes-back, on: page.viewed, count: days, within: 7d, steps: {2: 5}}
exclusions:
  - {id: unsubscribed, on: [email.unsubscribed]}
stages:
  mql: {enter: 15, leave: 10}
  sql: {enter: 30, leave: 20, intent_within: 30d, sla: 3s}
grades: {fit: {A: 5, B: 0}, engagement: {1: 20, 2: 0}}
"""
