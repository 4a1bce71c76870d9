"""Domains of large consumer mail providers that the kept-up package lacks: `free_mail.json`, with a source for each."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import msgspec
import xxhash


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A consumer mail provider."""

    provider: str
    country: str
    """ISO 3166-1, where most of its users or its company are."""
    domains: tuple[str, ...]
    """In lower case and ASCII form. Addresses of their sub-domains are none of the provider's."""
    source: str
    """A page or a list that names the domains, or the provider's own site."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: str
    providers: tuple[Provider, ...]


_written: Final = files("worker.core.grid").joinpath("free_mail.json").read_bytes()

PROVIDERS: Final = msgspec.json.decode(_written, type=_File).providers

FREE_MAIL: Final = frozenset(domain for provider in PROVIDERS for domain in provider.domains)
"""All of the domains."""

FREE_MAIL_VERSION: Final = xxhash.xxh3_64_hexdigest("\n".join(sorted(FREE_MAIL)).encode())[:8]
"""Of the domains: with others an address may be of another kind."""
