"""Answers of targets read: why they refused, in the vendor's words. No secret gets into a message."""

from __future__ import annotations

import re
from typing import Final

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


def raise_for(answer: Answer, vendor: str, words: str, *, wait_s: float = 0.0) -> None:
    """Raise the refusal that *answer*'s status means at most vendors; return where it is 2xx.

    *words* are the vendor's own, and *wait_s* counts where a 429 or 503 does not tell how long to wait.
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
        raise Again(why, retry_after_s(answer) or wait_s)
    if 500 <= status < 600:
        raise Lost(why)
    if 300 <= status < 400:
        raise Misconfigured(f"{why}. It redirects elsewhere, so mend `base_url`")
    raise Refused(why)
