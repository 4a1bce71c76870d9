"""Identify tokens: only a server's signed word names a visitor."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from worker.cli.connections import connections as command
from worker.connections.identify import MOST_AHEAD_S, lead_of, token_of

NOW = 1_772_714_096


def test_a_token_names_its_lead_until_its_end() -> None:
    """On its own site, with the old secret or the new one, and not a second longer."""
    token = token_of("lead-42", "www", NOW + 10, "new")
    assert token.startswith("v1.")
    assert lead_of(token, "www", ["old", "new"], NOW) == "lead-42"
    assert lead_of(token, "www", ["new"], NOW + 9.9) == "lead-42"
    for site, secrets, now in (("www", ["new"], NOW + 10), ("other", ["new"], NOW), ("www", ["old"], NOW), ("www", [], NOW)):
        assert lead_of(token, site, secrets, now) is None


def test_a_token_by_the_contract_s_own_words_is_taken() -> None:
    """`v1.PAYLOAD.SIG`, SIG over `v1.PAYLOAD`: any server's language can make one."""
    payload = urlsafe_b64encode(json.dumps({"sub": "Zoë", "exp": NOW + 60, "site": "www"}).encode()).rstrip(b"=")
    signature = urlsafe_b64encode(hmac.new(b"s", b"v1." + payload, hashlib.sha256).digest()).rstrip(b"=")
    assert lead_of((b"v1." + payload + b"." + signature).decode(), "www", ["s"], NOW) == "Zoë"


def test_a_token_for_longer_than_thirty_days_is_refused() -> None:
    """A forwarded mail must not name people for years."""
    assert lead_of(token_of("a", "www", NOW + MOST_AHEAD_S, "s"), "www", ["s"], NOW) == "a"
    assert lead_of(token_of("a", "www", NOW + MOST_AHEAD_S + 1, "s"), "www", ["s"], NOW) is None
    assert lead_of(token_of("", "www", NOW + 60, "s"), "www", ["s"], NOW) is None


@given(st.integers(min_value=0), st.characters(min_codepoint=33, max_codepoint=126))
def test_one_changed_character_is_refused(at: int, other: str) -> None:
    """Anywhere in the token."""
    token = token_of("lead-42", "www", NOW + 60, "s")
    place = at % len(token)
    changed = token[:place] + other + token[place + 1 :]
    found = lead_of(changed, "www", ["s"], NOW)
    # The last character of a part holds bits that no byte needs, so another one may say the same.
    assert found is None or (found == "lead-42" and (changed == token or place == len(token) - 1))


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    """A query's value is anybody's."""
    assert lead_of(text, "www", ["s"], NOW) is None
    assert lead_of(f"v1.{text}.{text}", "www", ["s"], NOW) is None


def test_the_command_makes_a_token(tmp_path: Path) -> None:
    """For a link in a mail, by the newest secret."""
    file = tmp_path / "connections.yaml"
    file.write_text("sites: {www: {origins: ['https://x.example'], identify: ['${OLD}', '${NEW}']}}")
    done = CliRunner().invoke(command, ["token", "www", "lead-42", "--file", str(file)], env={"OLD": "o", "NEW": "n"})
    assert done.exit_code == 0, done.stderr
    assert lead_of(done.stdout.strip(), "www", ["n"], time.time()) == "lead-42"
    for args, words in ((["shop", "a"], "has no site 'shop'"), (["www", "a", "--days", "31"], "at most 30 days")):
        wrong = CliRunner().invoke(command, ["token", *args, "--file", str(file)], env={"OLD": "o", "NEW": "n"})
        assert wrong.exit_code != 0
        assert words in wrong.stderr
