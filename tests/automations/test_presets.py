"""The automations that come along: from the score to the signed contract, and contents by phase."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.kit.rules import an_output
from worker.automations.assembly import read_types
from worker.automations.file import automations_schema, read_rules
from worker.automations.preview import Preview
from worker.automations.rules import Draft, Rules
from worker.automations.targets.mail import UNSUBSCRIBE_URL
from worker.automations.targets.registry import KINDS
from worker.connections.file import read_connections
from worker.core.contract.output_types import OUTPUT_TYPES
from worker.presets import read_grid
from worker.settings.act import ActSettings

FOLDER = Path(__file__).parents[2] / "ops" / "automations"
CONNECTIONS = read_connections(str(FOLDER / "connections.yaml"))
TRAITS = {"email": "ada@acme.example", "marketing_consent": True}
NAMED = TRAITS | {
    "first_name": "Ada",
    "last_name": "Smith",
    "company.name": "Smith & Sons",
    "company.industry": "SaaS",
    "country": "BE",
}
VOID = {"meta", "br", "img", "hr"}


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    """Return the rules, with a contract for the example's lead."""
    (tmp_path / "lead-48213.pdf").write_bytes(b"%PDF-1.7")
    return read_rules(str(FOLDER / "automations.yaml"), CONNECTIONS, documents=tmp_path)


def acts(rules: Rules, type_: str, **data: Any) -> dict[str, Draft]:
    """Return what an output brings about, by rule."""
    return {draft.act.rule: draft for draft in rules.plan(an_output(type_, **data)).drafts}


def test_the_way_from_the_score_to_the_contract(rules: Rules) -> None:
    """A task and a mail, a reminder, a contract, a welcome."""
    hot = acts(rules, "lead.sql", traits=NAMED)
    assert set(hot) == {"call", "appointment"}
    assert hot["call"].act.fields["subject"] == "Call Ada by 2026-03-05 17:34 CET"
    assert hot["call"].act.fields["owner"] == "bram@example.com"
    assert hot["appointment"].act.fields["subject"] == "Half an hour for Smith & Sons"
    assert set(acts(rules, "lead.sql", traits=NAMED | {"marketing_consent": False})) == {"call"}
    assert set(acts(rules, "lead.sla_breached", traits=NAMED)) == {"late"}
    contract = acts(rules, "lead.stage", to="opportunity", traits=NAMED)["contract"]
    assert (contract.dead, contract.act.fields["document"]) == ("", "lead-48213.pdf")
    assert set(acts(rules, "lead.stage", to="client", traits=NAMED)) == {"welcome"}
    assert acts(rules, "lead.stage", to="contact", traits=NAMED) == {}
    assert rules.plan(an_output("lead.cooled")).cancels


def test_its_topics_are_those_of_outputs_and_the_inputs(rules: Rules) -> None:
    """The program does not wait for a topic `crm.accepted`: events that cancel come by the inputs."""
    settings = ActSettings.load({"LEADPULSE_INPUT_TOPICS": "lead.events.crm"})
    assert {"crm.accepted", "crm.won"} <= read_types(rules)
    assert set(settings.topics_of(read_types(rules))) <= {"lead.events.crm", *OUTPUT_TYPES}


def test_an_accepted_lead_is_neither_called_nor_written_to(rules: Rules) -> None:
    """What waits is cancelled."""
    for draft in acts(rules, "lead.sql", traits=NAMED).values():
        assert {"crm.accepted", "lead.cooled", "lead.excluded"} <= set(draft.act.unless)


def test_contents_follow_the_phases_of_the_grid(rules: Rules) -> None:
    """Article, case study, webinar, demonstration; leads of SaaS companies get their own case study first."""
    phases = read_grid("article-75").phases
    assert phases is not None
    assert {rule.phase for rule in rules.automations.nurture} <= set(phases)

    def contents(rule: str, traits: dict[str, Any]) -> list[str]:
        had: list[str] = []
        while (found := rules.next_content(rule, an_output("lead.phase", traits=traits), had, 0)).content:
            had.append(found.content)
        return had

    assert contents("discovering", TRAITS) == ["article"]
    assert contents("considering", TRAITS) == ["case-study", "webinar"]
    assert contents("considering", NAMED) == ["case-study-saas", "case-study", "webinar"]
    assert contents("deciding", TRAITS) == ["demonstration"]
    assert contents("deciding", TRAITS | {"marketing_consent": False}) == []


class Balance(HTMLParser):
    """Counts open tags, so that a mail without an end tag is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, _attrs: Any) -> None:
        """Note a tag."""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        assert self.open.pop() == tag


@pytest.mark.parametrize("traits", [TRAITS, NAMED], ids=["bare", "named"])
def test_every_mail_is_whole_with_and_without_a_name(rules: Rules, traits: dict[str, Any]) -> None:
    """HTML and text, with a subject, a link, and no hole."""
    mails = [acts(rules, "lead.sql", traits=traits)["appointment"]]
    had: list[str] = []
    for rule in ("discovering", "considering", "deciding"):
        while (found := rules.next_content(rule, an_output("lead.phase", traits=traits), had, 0)).draft is not None:
            mails.append(found.draft)
            had.append(found.content)
    assert len(mails) == (6 if "company.industry" in traits else 5)
    for mail in mails:
        fields = mail.act.fields
        assert (mail.dead, fields["to"]) == ("", "ada@acme.example")
        reader = Balance()
        reader.feed(fields["html"])
        assert reader.open == []
        begin = "Hello Ada,\n\n" if "first_name" in traits else "Hello,\n\n"
        assert fields["text"].startswith(begin)
        assert f"Unsubscribe ({UNSUBSCRIBE_URL})" in fields["text"]
        assert fields["subject"]
        assert not any(word in fields["text"] + fields["subject"] for word in ("None", "{{", "  ", "&amp;"))


def test_the_preview_shows_the_whole_story(rules: Rules) -> None:
    """No act of it is refused by its target's steps."""
    preview = Preview(rules, CONNECTIONS.targets, KINDS)
    story = [
        an_output("lead.phase", to="discovery", traits=NAMED), an_output("lead.phase", traits=NAMED),
        an_output("lead.sql", traits=NAMED), an_output("lead.stage", to="opportunity", traits=NAMED),
        an_output("lead.stage", to="client", traits=NAMED),
    ]  # fmt: skip
    lines = [line for output in story for line in preview.lines(output)]
    assert [line for line in lines if "error" in line] == []
    assert {line["rule"] for line in lines} == {
        "sync[0]", "discovering/article", "considering/case-study-saas", "call", "appointment", "contract", "welcome",
    }  # fmt: skip


def test_the_schema_beside_them_is_that_of_the_models() -> None:
    """`make docs` writes it."""
    assert json.loads((FOLDER / "automations.schema.json").read_text()) == automations_schema()
