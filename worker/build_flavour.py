"""Which form of the core runs: Python, or the machine code that mypyc made of the same source (`make compiled`)."""

from __future__ import annotations

from importlib.util import find_spec


def form() -> str:
    """Return `compiled` or `pure`. Imports nothing of the core."""
    found = find_spec("worker.core.batch.plan")
    return "pure" if found is None or found.origin is None or found.origin.endswith(".py") else "compiled"
