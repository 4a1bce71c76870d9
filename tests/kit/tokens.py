"""Tokens for logging in to Kafka."""

from __future__ import annotations

import base64
import json
import time
from typing import Any


def jwt(ends_s: float | None, name: str = "leadpulse") -> str:
    """Return an unsigned token."""
    claims: dict[str, Any] = {"sub": name, "iat": time.time() - 1} | ({} if ends_s is None else {"exp": ends_s})
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims)]
    return ".".join([*parts, ""])
