"""Page types from urls."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.waits import effort
from worker.core.grid.page_types import PATH_CHARS, compile_pages, decoded, hash_route, page_type, url_path

PAGES = {"pricing": ("/pricing*", "/tarifs*"), "product": ("/product/*",), "home": ("/",), "any-pdf": ("*.pdf",)}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://acme.example/pricing", "pricing"),
        ("https://acme.example/pricing/2026/teams?utm_source=x#faq", "pricing"),
        ("/tarifs", "pricing"),
        ("/pricing.pdf", "pricing"),
        ("/product/a/b/c", "product"),
        ("/product", None),
        ("https://acme.example", "home"),
        ("https://acme.example/", "home"),
        ("/files/a.pdf", "any-pdf"),
        ("/fr/pricing", None),
        ("/Pricing", None),
        ("https://acme.example/?page=/pricing", "home"),
        ("https://pricing.example/about", None),
        ("http://[", None),
        ("", None),
        ("/product/\n", "product"),
    ],
)
def test_the_whole_path_is_compared_and_the_first_type_wins(url: str, expected: str | None) -> None:
    """Query, fragment and host are no part of it; `*` crosses `/`; /pricing.pdf is both, and pricing is named first."""
    assert page_type(url, PAGES) == expected


def test_without_pages_no_url_has_a_type() -> None:
    """A grid need not name any."""
    assert page_type("/pricing", {}) is None


patterns = st.text("ab/*.", max_size=7).map(lambda rest: "/" + rest)


@given(st.lists(patterns, min_size=1, max_size=4), st.text("ab/.", max_size=9).map(lambda rest: "/" + rest.lstrip("/")))
def test_the_compiled_patterns_are_plain_wildcards(globs: list[str], path: str) -> None:
    """The groups that never look back, and the one expression for all types, change no answer."""
    pages = {str(i): (glob,) for i, glob in enumerate(globs)}
    plain = (i for i, glob in enumerate(globs) if re.fullmatch(".*".join(map(re.escape, glob.split("*"))), path, re.DOTALL))
    expected = next(plain, None)
    assert compile_pages(pages)(path) == (None if expected is None else str(expected))


def test_a_hostile_url_takes_no_time() -> None:
    """Urls come from anyone; a pattern with many stars must not make one of them stop a partition."""
    kind = compile_pages({"x": ("/*a*a*a*a*a*a*a*b",)})
    assert effort(lambda: kind("/" + "a" * 20_000)) < 50
    assert kind("/" + "a" * 20_000) is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://acme.example/a/b?c#d", "/a/b"),
        ("https://acme.example/a#b?c", "/a"),
        ("https://acme.example?a=/b", "/"),
        ("https://acme.example#/b", "/"),
        ("https://user:pass@acme.example:8080/a:b", "/a:b"),
        ("//acme.example/a", "/a"),
        ("///a", "/a"),
        ("//", None),
        ("http://", None),
        ("http:///a", "/a"),
        ("http:/a", "/a"),
        ("http:a/b", "a/b"),
        ("http:", None),
        ("HTTPS://ACME.EXAMPLE/A", "/A"),
        ("mailto:ada@acme.example", "ada@acme.example"),
        ("android-app://com.acme/open", "/open"),
        ("1http://acme.example/a", "1http://acme.example/a"),
        ("é:/a", "é:/a"),
        (":/a", ":/a"),
        ("a/b:c", "a/b:c"),
        ("/a;b=c/d;e", "/a;b=c/d;e"),
        ("/a%2Fb", "/a%2Fb"),
        (" \x00https://acme.example/a", "/a"),
        ("ht\ntps://acme.exam\tple/a\r/b", "/a/b"),
        ("/a b ", "/a b "),
        ("http://[::1]:80/a", "/a"),
        ("http://[::1/a", None),
        ("http://::1]/a", None),
        # `urlsplit` refuses these, the second and third since a patch release, the last by its Unicode tables.
        ("http://[a]b]/a", "/a"),
        ("http://[v1.a]/a", "/a"),
        ("http://[not an address]/a", "/a"),
        ("http://acme\u2100.example/a", "/a"),
        ("?", None),
        ("#", None),
        ("", None),
    ],
)
def test_the_path_of_a_url(url: str, path: str | None) -> None:
    """Of odd urls too: what is counted must not change with a release of Python."""
    assert url_path(url) == path


pieces = st.sampled_from(
    [
        "http",
        "https",
        ":",
        "/",
        "//",
        "?",
        "#",
        "[",
        "]",
        "::1",
        "@",
        "a",
        "B",
        "é",
        " ",
        "\t",
        "\n",
        "\x00",
        ".",
        "%2F",
        ";",
        "+",
    ]
)


@given(st.lists(pieces, max_size=12).map("".join) | st.text(max_size=20))
def test_it_answers_as_the_standard_library_where_that_answers(url: str) -> None:
    """Urls counted before are counted alike. What `urlsplit` refuses has a path here, unless brackets are lacking."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    assert url_path(url) == (parts.path or ("/" if parts.netloc else None))


MANY = {f"kind-{n}": (f"*/a{n}/*b{n}*", f"*/c{n}*") for n in range(100)} | {"last": ("/x*",)}


def test_patterns_look_at_the_beginning_of_a_long_path() -> None:
    """Every pattern reads all of it: one url of 880 kB kept the event loop busy for seconds, and more patterns for longer."""
    inside = "/" + "x" * (PATH_CHARS - len("/pricing") - 1) + "/pricing"
    assert page_type(inside, {"pricing": ("*/pricing",)}) == "pricing"
    assert page_type("x" + inside, {"pricing": ("*/pricing",)}) is None
    assert page_type(f"https://{'h' * 4_000}.example{inside}/more?q=1", {"pricing": ("*/pricing",)}) == "pricing"
    long = "https://x.example/" + "x/" * 440_000
    assert page_type(long, MANY) == "last"
    assert effort(lambda: page_type(long, MANY)) < 60


@pytest.mark.parametrize(
    ("pattern", "url", "fits"),
    [
        ("/preise-für*", "/preise-f%C3%BCr-teams", True),
        ("/preise-f%c3%bcr*", "https://acme.example/preise-für-teams?x=1", True),
        ("/preise-f%C3%BCr*", "/preise-f%C3%BCr", True),
        ("/caf%C3%A9", "/caf%E9", False),
        ("/caf%E9", "/caf%e9", True),
        ("/a%2Fb", "/a%2fb", True),
        ("/a/b", "/a%2Fb", False),
        ("/a%252Fb", "/a%252Fb", True),
        ("/100%25*", "/100%25-bio", True),
        ("/100%*", "/100%25-bio", True),
        ("/a%2Ab", "/a*b", True),
        ("/a%2Ab", "/a%2Ab", True),
        ("/a%2Ab", "/axb", False),
        ("/a*b", "/a%2Ab", True),
        ("/a%3Fb", "/a%3Fb", True),
        ("/a%3Fb", "/a?b", False),
        ("/x%zz%", "/x%zz%", True),
        ("/%ED%A0%80", "/%ed%a0%80", True),
        ("/%E4%BD%A0*", "/你好", True),
        ("/%E4%BD/*", "/%E4%BD/x", True),
    ],
)
def test_escapes_are_decoded_once_on_both_sides(pattern: str, url: str, fits: bool) -> None:
    """`/preise-für*` never met what every browser sends for it, and nothing said so."""
    assert (page_type(url, {"x": (pattern,)}) == "x") is fits


def by_definition(text: str) -> str:
    """Decode escapes one by one: the longest valid UTF-8 at each place, but no slash; all else stays."""
    done, at = "", 0
    while at < len(text):
        for length in (4, 3, 2, 1):
            run = re.match(f"(?:%[0-9a-fA-F]{{2}}){{{length}}}", text[at:])
            raw = bytes.fromhex(run[0].replace("%", "")) if run else b""
            try:
                decoded_to = raw.decode()
            except UnicodeDecodeError:
                continue
            if len(decoded_to) == 1 and decoded_to != "/":
                done, at = done + decoded_to, at + 3 * length
                break
        else:
            step = 3 if re.match("%[0-9a-fA-F]{2}", text[at:]) else 1
            done, at = done + (text[at : at + 3].upper() if step == 3 else text[at]), at + step
    return done


ESCAPES = st.sampled_from(
    ["%C3", "%BC", "%c3%a9", "%E4%BD", "%A0", "%2F", "%2f", "%2A", "%25", "%ED", "%00"]
) | st.sampled_from("%aü4")


@given(st.lists(ESCAPES, max_size=9).map("".join))
def test_escapes_are_decoded_as_the_definition_says(text: str) -> None:
    """Runs are decoded at once, which must show nowhere."""
    assert decoded(text) == by_definition(text)


@pytest.mark.parametrize(
    ("url", "route"),
    [
        ("https://app.example/#/pricing", "/pricing"),
        ("https://app.example/base?x=/y#!/pricing/teams?plan=pro", "/pricing/teams"),
        ("/#/", "/"),
        ("/a#section", None),
        ("/a#b/c", "/c"),
        ("/a", None),
        ("/a#", None),
        ("/a#/b\n/c", "/b/c"),
    ],
)
def test_the_route_of_a_page_of_one_file(url: str, route: str | None) -> None:
    """From the fragment's first slash up to a question mark."""
    assert hash_route(url) == route
    kinds = {"pricing": ("/pricing*",), "other": ("*",)}
    if route is not None:
        assert compile_pages(kinds, hash_routes=True)(url) == page_type(route, kinds)
    else:
        assert compile_pages(kinds, hash_routes=True)(url) == page_type(url, kinds)
