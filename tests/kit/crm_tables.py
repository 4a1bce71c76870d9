"""Exports of a CRM with known truth: columns known before the outcome, and columns that sales write with it or after it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

Column = list[str]
Made = tuple[dict[str, Column], Any]
"""Columns by name, and for each lead whether it won."""

CLEAN: Final = 30


def clean_columns(seed: int, leads: int, rate: float) -> Made:
    """Return `CLEAN` columns of which ten drive the outcome, one of them strongly, and about *rate* of the leads won."""
    rnd = np.random.default_rng(seed)
    interest = rnd.normal(size=leads)
    columns: dict[str, Column] = {}
    log_odds = np.zeros(leads)

    def add(name: str, values: Any, weight: Any = 0.0, blank: float = 0.0) -> None:
        nonlocal log_odds
        log_odds = log_odds + weight
        gone = rnd.random(leads) < blank
        columns[name] = ["" if missing else str(value) for value, missing in zip(values, gone, strict=True)]

    def choice(words: str, *weights: float) -> tuple[Any, Any]:
        names = words.split()
        shares = rnd.dirichlet(np.full(len(names), 3.0))
        picked = rnd.choice(len(names), leads, p=shares)
        return np.array(names)[picked], np.array(weights or [0.0] * len(names))[picked]

    add("industry", *choice("software logistics retail finance health public", 0.5, 0.2, 0, 0.1, -0.3, -0.6), blank=0.1)
    add("country", *choice("FR BE CH DE NL GB US", 0.3, 0.2, 0.2, 0, 0, -0.2, -0.5))
    add("source", *choice("organic ads referral partner event direct", 0, -0.4, 0.8, 0.9, 0.4, 0))
    add("campaign", *choice("spring summer autumn winter none-given"))
    add("language", *choice("fr de en nl"))
    add("role", *choice("marketing sales it founder student", 0.4, 0.5, 0, 0.8, -2.0), blank=0.25)
    add("seniority", *choice("c_level director manager individual", 0.5, 0.3, 0.1, -0.2), blank=0.25)
    staff = np.round(rnd.lognormal(4.5, 1.5, leads)).astype(int)
    add("employees", staff, np.where((staff >= 50) & (staff <= 200), 0.5, 0.0), blank=0.2)
    add("founded", rnd.integers(1950, 2025, leads), blank=0.3)
    add("revenue_band", *choice("A B C D E"), blank=0.3)
    visits = rnd.poisson(np.exp(0.8 + 0.5 * interest))
    add("visits", visits, 0.1 * np.minimum(visits, 10))
    pages = visits * (1 + rnd.poisson(2, leads))
    add("page_views", pages)
    add("time_on_site", np.round(rnd.gamma(1.2, 180, leads) * (visits > 0)).astype(int), 0.0)
    pricing = rnd.poisson(np.exp(-1.8 + 0.8 * interest))
    add("pricing_views", pricing, 0.6 * np.minimum(pricing, 3))
    add("downloads", rnd.poisson(0.3, leads))
    demo = rnd.random(leads) < 0.03
    add("asked_for_demo", np.where(demo, "yes", "no"), 2.5 * demo)
    for name, share in (("opted_out", 0.08), ("newsletter", 0.4), ("phone_given", 0.3), ("mobile", 0.5), ("test_group", 0.5)):
        add(name, np.where(rnd.random(leads) < share, "yes", "no"))
    add("opens", rnd.poisson(np.exp(0.3 * interest)), 0.0)
    add("clicks", rnd.poisson(0.3 * np.exp(0.3 * interest)), 0.0)
    add("browser", *choice("firefox chrome safari edge other"))
    add("time_zone", rnd.integers(-8, 9, leads))
    add("landing_page", rnd.choice([f"/p/{number}" for number in range(60)], leads))
    add("keyword", rnd.choice([f"k{number}" for number in range(400)], leads), blank=0.5)
    add("utm", rnd.choice([f"u{number}" for number in range(12)], leads), blank=0.6)
    add("created", np.array("2026-01-01", "datetime64[D]") + rnd.integers(0, 300, leads))
    add("referred_by", [f"person {number}" for number in rnd.integers(0, leads, leads)], blank=0.8)
    assert len(columns) == CLEAN
    low, high = -15.0, 5.0
    for _ in range(60):  # the base at which the mean probability is *rate*
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(1 / (1 + np.exp(-(log_odds + middle)))) < rate else (low, middle)
    return columns, rnd.random(leads) < 1 / (1 + np.exp(-(log_odds + low)))


def _text(values: Any, given: Any) -> Column:
    return [str(value) if there else "" for value, there in zip(values, given, strict=True)]


def leaking_columns(seed: int, won: Any) -> dict[str, Column]:
    """Return columns that leak the outcome, as those of real exports do; quiet ones too."""
    rnd = np.random.default_rng(seed + 1_000_000)
    n = won.size
    tag = np.where(
        won, "will revert", rnd.choice(["ringing", "no answer", "wrong number", "will revert"], n, p=[0.4, 0.3, 0.28, 0.02])
    )
    graded = rnd.random(n) < np.where(won, 0.7, 0.5)
    grade = np.clip(np.round(rnd.normal(3 + 0.7 * won, 1, n)), 1, 5).astype(int)
    spoken = np.round(rnd.gamma(1.5, np.where(won, 450, 110))).astype(int)
    worth = np.where(rnd.random(n) < np.where(won, 0.75, 0.08), np.round(rnd.gamma(2, 20, n), 2), 0.0)
    closed = np.array("2026-06-01", "datetime64[D]") + rnd.integers(0, 90, n)
    lost = ~won & (rnd.random(n) < 0.5)
    occupied = rnd.random(n) < np.where(won, 0.9, 0.6)
    return {
        "tags": _text(tag, rnd.random(n) < 0.7),
        "lead_quality": _text(np.where(won, "high", rnd.choice(["low", "maybe", "high"], n)), rnd.random(n) < 0.6),
        "activity_index": _text(grade, graded),
        "profile_index": _text(np.clip(grade + rnd.integers(-1, 2, n), 1, 5), graded),
        "activity_points": _text(grade * 3, graded),
        "last_activity": list(np.where(won & (rnd.random(n) < 0.3), "had a call", rnd.choice(["mail", "visit", "sms"], n))),
        "seconds_spoken": [str(value) for value in spoken],
        "value_of_pages": [str(value) for value in worth],
        "signed_by": _text(rnd.choice(["s1", "s2", "s3"], n), won),
        "contract_from": _text(closed, won & (rnd.random(n) < 0.8)),
        "reason_of_loss": _text(rnd.choice(["price", "timing", "rival"], n), lost),
        "first_invoice": _text(rnd.integers(1000, 9000, n), won & (rnd.random(n) < 0.5)),
        "occupation": _text(rnd.choice(["employed", "searching", "student"], n), occupied),
    }
