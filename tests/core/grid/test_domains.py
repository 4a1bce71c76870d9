"""Addresses and domains in one form."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.core.grid.domains import NORMAL_FORMS, normal_domain, normal_email, normal_email_domain
from worker.core.grid.email_kind import email_domain


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("acme.fr", "acme.fr"),
        (" ACME.fr. ", "acme.fr"),
        ("www.acme.fr", "acme.fr"),
        ("HTTPS://User:pw@WWW.Acme.FR:8080/a?b#c", "acme.fr"),
        ("//Acme.FR/x", "acme.fr"),
        ("acme.fr?utm=1", "acme.fr"),
        ("acme.fr\\x", "acme.fr"),
        ("contact@acme.fr", "acme.fr"),
        ("exämple.de", "xn--exmple-cua.de"),
        ("EXÄMPLE.DE", "xn--exmple-cua.de"),
        ("XN--EXMPLE-cua.de", "xn--exmple-cua.de"),
        ("ａｃｍｅ。fr", "acme.fr"),
        ("not a Domain", "not a domain"),
        ("ÉX AMPLE.de", "éx ample.de"),
        ("Acme Inc.", "acme inc"),
        ("www.", "www"),
        ("", ""),
        ("https://", ""),
    ],
)
def test_a_companys_domain_has_one_form(text: str, domain: str) -> None:
    """However a form, a CRM or an address bar writes it."""
    assert normal_domain(text) == domain


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" Ada@ACME.FR\n", "Ada@acme.fr"),
        ("ada@exämple.de", "ada@xn--exmple-cua.de"),
        ("ada@ÉX ample.de", "ada@éx ample.de"),
        ('"a@b"@Acme.fr', '"a@b"@acme.fr'),
        ("Nonsense", "Nonsense"),
        ("@", "@"),
        (" ", ""),
    ],
)
def test_an_address_has_one_form(text: str, address: str) -> None:
    """The part before the @ is its server's own, and stays."""
    assert normal_email(text) == address


def test_an_addresss_domain_keeps_its_www() -> None:
    """It is compared with the domain of addresses, which may begin so."""
    assert normal_email_domain(" WWW.Acme.FR") == email_domain("a@www.acme.fr") == "www.acme.fr"
    assert normal_email_domain("@Acme.FR") == "acme.fr"


odd = st.lists(
    st.sampled_from(
        ["www.", "http://", "//", "a", "Ä", "İ", "ß", "Σ", ".", "@", ":", "8", "/", " ", "[", "]", "。", "xn--", "-"]
    )
).map("".join)


@given(st.sampled_from(sorted(NORMAL_FORMS)), odd | st.text(max_size=12))
@example("company.domain", "www.www.acme.example")
def test_a_form_of_a_form_is_itself(path: str, text: str) -> None:
    """A trait is normalised when it is taken, and again when a state of an older version is read."""
    form = NORMAL_FORMS[path]
    assert form(form(text)) == form(text)
