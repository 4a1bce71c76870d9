"""An output becomes acts, states and enrolments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kit.rules import an_output, rules_of

CONTRACT = (Path(__file__).parent / "contract.yaml").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the contract's templates."""
    (tmp_path / "appointment.html.j2").write_text("<title>A time for {{ traits.first_name or 'you' }}</title><p>Hello</p>")
    (tmp_path / "case.html.j2").write_text("<p>A case for {{ traits.company.name or 'you' }}</p>")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "webinar.html.j2").write_text("<h1>A webinar</h1>")
    return tmp_path


def test_the_contract_s_file_is_whole(folder: Path) -> None:
    """Its acts, in order, with what each is about."""
    traits: dict[str, Any] = {"email": "ada@acme.example", "first_name": "Ada", "marketing_consent": True, "country": "BE"}
    plan = rules_of(CONTRACT, folder).plan(an_output(traits=traits))
    call, tell, invite = (draft.act for draft in plan.drafts)
    assert [draft.dead for draft in plan.drafts] == ["", "", ""]
    assert call.fields["subject"] == "Call Ada by 2026-03-05 16:34 UTC"
    assert call.fields["due"] == "2026-03-05T16:34:56.789Z"
    assert call.fields["owner"] == "bram@example.com"
    assert call.fields["body"].startswith("<p><strong>Score 78.5, grade B1</strong></p><ul><li>fit 30</li>")
    assert (call.fresh_ms, call.most, call.most_ms, call.unless) == (
        4 * 3_600_000, 50, 3_600_000, ("lead.cooled", "lead.excluded", "crm.accepted"),
    )  # fmt: skip
    assert tell.fields["output"]["type"] == "lead.sql"
    assert tell.fields["output"]["specversion"] == "1.0"
    assert invite.fields["html"] == "<title>A time for Ada</title><p>Hello</p>"
    assert (invite.fields["text"], invite.fields["subject"]) == ("Hello", "A time for Ada")
    assert invite.fields["to"] == "ada@acme.example"
    (state,) = plan.states
    assert state.fields == {
        "leadpulse_score": 78.5, "leadpulse_grade": "B1", "leadpulse_stage": "sql",
        "leadpulse_reasons": "demo +30, icp-size +25, pricing-page +24, business-email +5, comes-back +5",
    }  # fmt: skip
    assert state.person == {"email": "ada@acme.example", "first_name": "Ada"}
