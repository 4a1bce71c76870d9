"""Answers of targets read: why they refused, in the vendor's words. No secret gets into a message."""

from __future__ import annotations

import re
from typing import Any, Final

from worker.automations.requests import Again, Answer, Expired, Lost, Misconfigured
from worker.automations.requests import Final as Refused
from worker.automations.targets.retry_after import retry_after_s

_MOST_WORDS: Final = 300

_SECRET: Final = re.compile(
    r"(?i)\b(?:bearer|basic|zoho-oauthtoken)\s+\S+|\b(sig|[a-z_]*(?:token|key|secret|password|code))(=|\"?:\s*\"?)[^\s&\",;]+"
)
_LONG: Final = re.compile(r"(?=[A-Za-z0-9_.~+/-]*[0-9])(?=[A-Za-z0-9_.~+/-]*[A-Za-z])[A-Za-z0-9_.~+/-]{32,}=*")
_LOCAL_PART: Final = re.compile(r"[^\s@\"'<>(),;:\[\]]+@(?=[^\s@])")


def scrubbed(words: str) -> str:
    """Return *words* on one line, shortened. What looks like a secret is left out, and so are the local parts of addresses."""
    line = " ".join(words[: 4 * _MOST_WORDS].split())
    line = _SECRET.sub(lambda found: f"{found[1]}=…" if found[1] else "…", line)
    line = _LOCAL_PART.sub("…@", _LONG.sub("…", line))
    return line if len(line) <= _MOST_WORDS else f"{line[: _MOST_WORDS - 1]}…"


def inside(held: Any, *names: str) -> Any:
    """Return the value at *names*, each a key of the object before; `None` where there is none."""
    for name in names:
        held = held.get(name) if isinstance(held, dict) else None
    return held


def objects_at(held: Any, *names: str) -> list[dict[str, Any]]:
    """Return the objects of the list at *names*; an empty list where there is none. Without names, of *held* itself."""
    found = inside(held, *names)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def text_at(held: Any, *names: str) -> str:
    """Return the text or the number at *names* as text, such as an id; nothing where there is none."""
    found = inside(held, *names)
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def numbers_of(answer: Answer, *names: str) -> list[int] | None:
    """Return the whole numbers in the headers *names*, such as those of limits; `None` unless all of them are there."""
    held = [answer.headers.get(name, "") for name in names]
    return [int(one) for one in held] if all(one.isascii() and one.isdecimal() and len(one) < 10 for one in held) else None


def raise_for(answer: Answer, vendor: str, words: str, *, wait_s: float = 0.0) -> None:
    """Raise the refusal that *answer*'s status means at most vendors; return where it is 2xx.

    *words* are the vendor's own, and *wait_s* counts where a 429 does not tell how long to wait. A 503 that does not tell is no
    limit: the next attempt comes by itself, and the budget stays.
    """
    status = answer.status
    if 200 <= status < 300:
        return
    why = f"{vendor} answers {status}{': ' if words else ''}{scrubbed(words)}"
    if status == 401:
        raise Expired(why)
    if status == 403:
        raise Misconfigured(f"{why}. Give the log-in the rights that are missing")
    if status in (408, 425, 429, 503):
        raise Again(why, retry_after_s(answer) or (wait_s if status == 429 else 0.0))
    if 500 <= status < 600:
        raise Lost(why)
    if 300 <= status < 400:
        raise Misconfigured(f"{why}. It redirects elsewhere, so mend `base_url`")
    raise Refused(why)
