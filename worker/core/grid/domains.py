"""The one form in which e-mail addresses and domains are compared, however they were typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import idna

_MOST_CHARS: Final = 1_024
"""A longer text is no domain, and only lower-cased: IDNA reads it in more steps than it has characters."""

_scheme: Final = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//").match
_path: Final = re.compile(r"[/?#\\]").split


def ascii_domain(domain: str) -> str:
    """Return *domain* in lower case, and in its ASCII form where it has one (UTS 46)."""
    lower = domain.lower()
    if lower.isascii() or len(lower) > _MOST_CHARS:
        return lower
    try:
        return idna.encode(lower, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return lower


@lru_cache(maxsize=1 << 12)
def normal_email(text: str) -> str:
    """Return an address without space around it, its domain as `ascii_domain` writes it. The part before the `@` stays."""
    local, at, domain = text.strip().rpartition("@")
    return local + at + ascii_domain(domain) if at else domain


@lru_cache(maxsize=1 << 12)
def normal_domain(text: str) -> str:
    """Return the domain of a company as `ascii_domain` writes it, from a domain or the address of a site.

    Scheme, user, port, path, a leading `www.` and a trailing dot are left out.
    """
    before = None
    while text != before:  # what is left may begin with `www.` once more, so that a second call would change it
        before, text = text, _bare(text)
    return text


def _bare(text: str) -> str:
    text = text.strip()
    scheme = _scheme(text)
    host = _path(text[scheme.end() :] if scheme else text, 1)[0].rpartition("@")[2]
    if not host.startswith("["):
        host = host.partition(":")[0]
    return ascii_domain(host.strip().rstrip(".")).removeprefix("www.")


def normal_email_domain(text: str) -> str:
    """Return the domain of an address as `ascii_domain` writes it, from the domain or what ends in `@` and the domain."""
    return ascii_domain(text.strip().rpartition("@")[2])


NORMAL_FORMS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {"email": normal_email, "email_domain": normal_email_domain, "company.domain": normal_domain}
)
"""Trait → its one form. A grid's values for these traits are compared in the same form."""
