"""An output becomes acts, states and enrolments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
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


def act(**keys: str) -> str:
    """Return a file with one act. Keys are added to those of a sound one."""
    held = {"id": "call", "on": "lead.sql", "to": "crm", "do": "task", "with": "{subject: Call}"}
    held |= {key.rstrip("_"): value for key, value in keys.items()}
    return "acts:\n" + "".join(f"  {'-' if key == 'id' else ' '} {key}: {value}\n" for key, value in held.items())


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ("{grade: [A1, B1]}", True),
        ("{grade: A1}", False),
        ("{to: sql, from: mql}", True),
        ("{stage: sql}", True),
        ("{score: {gte: 78.5}}", True),
        ("{score: {gt: 78.5}}", False),
        ("{company.size: {gte: 50}}", True),
        ("{traits.company.size: {gte: 50}}", True),
        ("{traits.company.size: {gte: 500}}", False),
        ("{grid.name: saas-b2b}", True),
        ("{cause.topic: lead.events.web}", True),
        ("{country: {exists: false}}", True),
        ("{country: [FR]}", False),
        ("{phase: {exists: false}}", True),
        ("{type: lead.sql}", True),
        ("{email: ADA@ACME.example}", False),
        ("{email_kind: business}", True),
    ],
)
def test_where_asks_the_output_and_its_traits(where: str, fits: bool) -> None:
    """By dotted path; a trait also with `traits.`. The output's own value precedes a trait of the same name."""
    plan = rules_of(act(where=where)).plan(an_output())
    assert bool(plan.drafts) == fits


def test_a_trait_does_not_hide_the_output() -> None:
    """A lead that calls itself A1 is not called for that."""
    output = an_output(traits={"grade": "A1", "to": "x"})
    assert not rules_of(act(where="{grade: A1}")).plan(output).drafts
    assert rules_of(act(where="{traits.grade: A1}")).plan(output).drafts


def test_only_types_that_a_rule_names_bring_it_about() -> None:
    """All others pass."""
    rules = rules_of(act(on="[lead.mql, lead.sla_breached]"))
    assert [bool(rules.plan(an_output(name)).drafts) for name in ("lead.mql", "lead.sla_breached", "lead.sql")] == [
        True,
        True,
        False,
    ]


def test_an_act_has_all_that_the_ledger_needs() -> None:
    """Who, when, where from, how many."""
    (draft,) = (
        rules_of(act(fresh="30m", max="3/d", unless="[crm.won]", consent="ok")).plan(an_output(traits={"ok": True})).drafts
    )
    made = draft.act
    assert made.id == "call|/leadpulse/default|lead-48213:2"
    assert (made.target, made.do, made.lead_id, made.type) == ("crm", "task", "lead-48213", "lead.sql")
    assert (made.at_ms, made.fresh_ms, made.most, made.most_ms) == (1_772_714_096_789, 1_800_000, 3, 86_400_000)
    assert (made.unless, made.consent) == (("crm.won",), "ok")
    assert (made.topic, made.partition, made.offset) == ("lead.sql", 3, 17)
    assert made.unwritten is None


@pytest.mark.parametrize(("value", "agrees"), [(True, True), (False, False), ("true", False), (1, False), (..., False)])
def test_without_consent_there_is_no_act(value: Any, agrees: bool) -> None:
    """Only `true` is consent. The reason is kept."""
    traits = {"email": "a@b.example"} | ({} if value is ... else {"ok": value})
    plan = rules_of(act(consent="ok")).plan(an_output(traits=traits))
    assert bool(plan.drafts) == agrees
    assert [skipped.why for skipped in plan.skipped] == ([] if agrees else ["the trait ok is not true"])


def test_an_act_that_cannot_be_written_is_dead_and_can_be_written_anew() -> None:
    """With its reason, without half a text, and with the output, once the rule or the template is mended."""
    output = an_output()
    (draft,) = rules_of(act(with_='{subject: "Call {{ traits.first_name }}", body: x}')).plan(output).drafts
    assert draft.dead.startswith("with.subject: `first_name` is missing")
    assert draft.act.fields == {}
    assert draft.act.unwritten == output
    mended = rules_of(act(with_="{subject: \"Call {{ traits.first_name or 'them' }}\"}")).rewrite(draft.act)
    assert mended is not None
    assert (mended.dead, mended.act.fields, mended.act.id) == ("", {"subject": "Call them"}, draft.act.id)
    assert rules_of("").rewrite(draft.act) is None
    assert rules_of(act()).rewrite(mended.act) is None


@pytest.mark.parametrize(
    "email", ["nobody", "a@b.example, c@d.example", "a@b.example\r\nBcc: c@d.example", "a b@c", "@x.example"]
)
def test_a_mail_goes_to_exactly_one_valid_address(email: str) -> None:
    """Whatever a form put into the trait."""
    rules = rules_of(act(to="mail", do="send", with_='{to: "{{ traits.email }}", html: Hi}'))
    (draft,) = rules.plan(an_output(traits={"email": email})).drafts
    assert draft.dead.startswith("with.to: ")
    assert "is no e-mail address" in draft.dead
    (draft,) = rules.plan(an_output(traits={"email": "Ada.L@acme.example"})).drafts
    assert draft.act.fields == {"to": "Ada.L@acme.example", "html": "Hi", "text": "Hi", "subject": "Hi"}


def test_a_subject_and_a_text_of_the_rule_stay(folder: Path) -> None:
    """They precede those made of the file."""
    text = act(to="mail", do="send", with_="{to: a@b.example, template: appointment.html.j2, subject: Mine, text: Plain}")
    (draft,) = rules_of(text, folder).plan(an_output()).drafts
    assert draft.act.fields == {
        "to": "a@b.example", "html": "<title>A time for you</title><p>Hello</p>", "subject": "Mine", "text": "Plain",
    }  # fmt: skip


def test_values_other_than_texts_stay_and_lists_are_written() -> None:
    """Each at its form."""
    with_ = '{document: "a.pdf", level: x, signers: [{name: "{{ lead_id }}"}, {name: "B\\nC", note: "D\\nE"}]}'
    (draft,) = rules_of(act(to="sign", do="signature", with_=with_), documents=Path(__file__).parent).plan(an_output()).drafts
    assert draft.dead == "with.document: there is no file 'a.pdf' in LEADPULSE_DOCUMENTS"
    with_ = with_.replace("a.pdf", "contract.yaml")
    (draft,) = rules_of(act(to="sign", do="signature", with_=with_), documents=Path(__file__).parent).plan(an_output()).drafts
    assert draft.act.fields["signers"] == [{"name": "lead-48213"}, {"name": "B C", "note": "D\nE"}]
    (draft,) = rules_of(act(with_='{subject: a, minutes: "{{ 5 + 1 }}"}')).plan(an_output()).drafts
    assert draft.act.fields == {"subject": "a", "minutes": "6"}
    (draft,) = rules_of(act(with_='{subject: a, minutes: "{{ score }}"}')).plan(an_output()).drafts
    assert draft.dead.startswith("with.minutes: ")


@pytest.mark.parametrize(
    "name",
    ["../secret.pdf", "/etc/passwd", "sub/../../secret.pdf", "gone.pdf", ".", "", "link.pdf", "a\0b", "x" * 5_000, "sub"],
)
def test_a_document_outside_of_the_folder_or_missing_is_a_dead_act(name: str, tmp_path: Path) -> None:
    """Links out of the folder too: the lead's id may stand in the name."""
    folder = tmp_path / "documents"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.pdf").write_bytes(b"%PDF")
    (folder / "link.pdf").symlink_to(tmp_path / "secret.pdf")
    (folder / "sub" / "in.pdf").write_bytes(b"%PDF")
    text = act(to="sign", do="signature", with_='{document: "{{ traits.file }}", level: x}')
    rules = rules_of(text, documents=folder)
    (draft,) = rules.plan(an_output(traits={"file": name})).drafts
    assert draft.dead.startswith("with.document: ")
    (draft,) = rules.plan(an_output(traits={"file": "sub/in.pdf"})).drafts
    assert draft.dead == ""
    (draft,) = rules_of(text).plan(an_output(traits={"file": "sub/in.pdf"})).drafts
    assert draft.dead == "with.document: LEADPULSE_DOCUMENTS is not set: it names the folder of documents"


OWNERS = """
owners: {table: country, values: {FR: anna, "80": bob, NO: "round-robin([nils, nora])"}, else: "round-robin([x, y, z])"}
"""


def owner(lead_id: str = "lead-1", text: str = OWNERS, **traits: Any) -> str:
    """Return the owner of a lead, as a template shows it."""
    rules = rules_of(act(with_="{subject: \"{{ owner or 'none' }}\"}") + text)
    (draft,) = rules.plan(an_output(lead_id=lead_id, traits=traits)).drafts
    return str(draft.act.fields["subject"])


def test_an_owner_is_found_by_the_table_else_by_a_stable_share() -> None:
    """The same lead has the same owner, and all get about as many."""
    assert owner(country="FR") == "anna"
    assert owner(country=80) == "bob"
    assert owner(country="NO") in ("nils", "nora")
    assert len({owner(country="US") for _ in range(3)}) == 1
    counts = dict.fromkeys("xyz", 0)
    rules = rules_of(act(with_='{subject: "{{ owner }}"}') + OWNERS)
    for number in range(600):
        (draft,) = rules.plan(an_output(lead_id=f"lead-{number}")).drafts
        counts[draft.act.fields["subject"]] += 1
    assert all(150 < count < 250 for count in counts.values()), counts
    assert owner(text="owners: {table: country, values: {FR: anna}}", country="US") == "none"


def test_the_share_of_a_lead_is_the_same_in_every_version() -> None:
    """A lead must not change hands with an update."""
    assert [owner(f"lead-{n}") for n in range(6)] == ["y", "z", "z", "y", "z", "x"]


def test_states_are_those_of_outputs_with_a_score() -> None:
    """A change of phase has its stage apart, and a null empties the field."""
    text = "sync:\n  - {to: crm, fields: {stage: stage, phase: phase, grade: grade, fixed: 5, on: true}}\n"
    rules = rules_of(text)
    (state,) = rules.plan(an_output("lead.sql")).states
    assert state.fields == {"stage": "sql", "phase": None, "grade": "B1", "fixed": 5, "on": True}
    (state,) = rules.plan(an_output("lead.phase", grade=None)).states
    assert state.fields == {"stage": "mql", "phase": "consideration", "grade": None, "fixed": 5, "on": True}
    assert (state.rule, state.target, state.object, state.sequence) == ("0", "crm", "contact", 2)
    for name in ("lead.erased", "lead.duplicate", "account.hot"):
        assert rules.plan(an_output(name)).states == ()


MORE = """
owners: {else: anna@example.com}
acts:
  - {id: call, on: lead.sql, to: crm, do: task, with: {subject: Call}}
  - {id: tell, on: lead.sql, to: hook, do: send}
  - {id: invite, on: lead.sql, to: mail, do: send, with: {to: "{{ traits.email }}", html: "<p>Hi</p>"}}
  - {id: owner, on: lead.sql, to: mail, do: send, with: {to: "{{ owner }}", html: "<p>Hot</p>"}}
  - {id: sales, on: lead.sql, to: mail, do: send, with: {to: sales@example.com, html: "<p>Hot</p>"}}
nurture:
  - {id: warm, phase: consideration, every: 4d, to: mail, contents: [{id: case, with: {html: "<p>x</p>"}}]}
"""


@pytest.mark.parametrize(
    ("lead_id", "traits", "does"),
    [
        ("visitor:1", {}, ["tell", "owner", "sales"]),
        ("visitor:1", {"email": "ada@acme.example"}, ["call", "tell", "invite", "owner", "sales"]),
        ("email:ada@acme.example", {"email": "ada@acme.example"}, ["call", "tell", "invite", "owner", "sales"]),
        ("lead-42", {}, ["call", "tell", "invite", "owner", "sales"]),  # it is a person, so a hole in a rule is a dead act
    ],
)
def test_a_visitor_without_an_address_is_passed_over_where_a_person_is_needed(
    lead_id: str, traits: dict[str, Any], does: list[str]
) -> None:
    """Each would end as a dead act. Rules that reach another person, or a program, act all the same."""
    rules = rules_of(MORE)
    plan = rules.plan(an_output(lead_id=lead_id, traits=traits))
    assert [draft.act.rule for draft in plan.drafts] == does
    assert [one.rule for one in plan.skipped] == [name for name in ("call", "invite") if name not in does]
    assert rules.personal == ["call", "invite", "owner", "warm"]


def test_a_content_waits_until_a_visitor_has_an_address() -> None:
    """It is looked at again after the rule's `every`."""
    rules = rules_of(MORE)
    following = rules.next_content("warm", an_output(lead_id="visitor:1", traits={}), (), 0)
    assert (following.draft, following.content, following.after_ms) == (None, "", 4 * 86_400_000)
    assert rules.next_content("warm", an_output(traits={"email": "ada@acme.example"}), (), 0).content == "case"


def test_visitors_are_no_contacts() -> None:
    """A browser without an address has no name in a CRM. Its last output is no state of a lead."""
    rules = rules_of("sync:\n  - {to: crm, fields: {score: score}}\n")
    assert rules.plan(an_output(lead_id="visitor:1", traits={})).states == ()
    assert rules.plan(an_output("lead.stage", merged_into="lead-2")).states == ()
    (state,) = rules.plan(an_output(lead_id="email:ada@acme.example", traits={})).states
    assert state.person == {"email": "ada@acme.example"}


def test_a_state_that_cannot_be_written_is_named_and_no_other_waits_for_it() -> None:
    """Acts and other states go on."""
    text = act() + "sync:\n  - {to: crm, fields: {a: 1 / (score - 78.5)}}\n  - {to: crm, fields: {a: score}}\n"
    plan = rules_of(text).plan(an_output())
    assert [(one.rule, one.target, one.why) for one in plan.unwritten] == [
        ("sync[0]", "crm", "fields.a: float division by zero")
    ]
    assert [state.rule for state in plan.states] == ["1"]
    assert len(plan.drafts) == 1


NURTURE = """
nurture:
  - id: care
    phase: consideration
    every: 4d
    to: mail
    consent: ok
    with: {subject: "For {{ traits.first_name or 'you' }}"}
    contents:
      - {id: case, where: {company.industry: SaaS}, with: {html: "<p>Case</p>"}}
      - {id: webinar, with: {html: "<p>Webinar</p>", subject: Join}}
    stop: [lead.sql, lead.excluded]
"""
TRAITS = {"email": "ada@acme.example", "ok": True, "company.industry": "SaaS"}


def test_a_phase_enrols_and_another_phase_or_a_stop_ends() -> None:
    """Other outputs replace that of an enrolled lead."""
    rules = rules_of(NURTURE)
    entered = rules.plan(an_output("lead.phase", to="consideration"))
    assert [(one.rule, one.begins) for one in entered.enrolments] == [("care", True)]
    assert entered.leaves == ()
    assert rules.plan(an_output("lead.phase", to="decision")).leaves == ("care",)
    assert rules.plan(an_output("lead.phase", to=None)).leaves == ("care",)
    stopped = rules.plan(an_output("lead.sql"))
    assert (stopped.leaves, stopped.enrolments) == (("care",), ())
    newer = rules.plan(an_output("lead.mql"))
    assert (newer.leaves, [one.begins for one in newer.enrolments]) == ((), [False])
    assert [one.rule for one in rules.plan(an_output("lead.mql", phase="consideration")).enrolments] == ["care"]
    assert rules.plan(an_output("lead.mql", phase="decision")).enrolments == ()
    assert rules.plan(an_output("lead.stage", merged_into="lead-2")).leaves == ("care",)


def test_a_lead_that_stands_where_a_stop_put_it_is_not_nurtured() -> None:
    """The stop may have come under another id, before the lead had this one."""
    rules = rules_of(NURTURE)
    assert rules.plan(an_output("lead.phase", to="consideration", stage="sql")).enrolments == ()
    assert len(rules.plan(an_output("lead.phase", to="consideration", stage="mql")).enrolments) == 1
    assert rules.types >= {"lead.phase", "lead.sql", "lead.excluded"}


def test_contents_come_in_order_each_once_and_those_that_do_not_fit_are_passed() -> None:
    """Until none is left; where none fits now, the lead is looked at again."""
    rules = rules_of(NURTURE)
    output = an_output("lead.phase", traits=TRAITS)
    first = rules.next_content("care", output, (), 1_000)
    assert first.draft is not None
    assert (first.content, first.after_ms) == ("case", 4 * 86_400_000)
    assert first.draft.act.id == "care/case|/leadpulse/default|lead-48213"
    assert first.draft.act.at_ms == 1_000
    assert first.draft.act.unless == ("lead.sql", "lead.excluded")
    assert first.draft.act.fields == {
        "subject": "For you", "html": "<p>Case</p>", "to": "ada@acme.example", "text": "Case",
    }  # fmt: skip
    last = rules.next_content("care", output, ("case",), 2_000)
    assert last.draft is not None
    assert (last.content, last.after_ms, last.draft.act.fields["subject"]) == ("webinar", 0, "Join")
    assert rules.next_content("care", output, ("case", "webinar"), 3_000) == rules.next_content("gone", output, (), 0)
    other = rules.next_content("care", an_output("lead.phase", traits=TRAITS | {"company.industry": "Retail"}), (), 0)
    assert (other.content, other.after_ms) == ("webinar", 4 * 86_400_000)
    nothing = rules.next_content("care", an_output("lead.phase", traits=TRAITS | {"ok": False}), (), 0)
    assert (nothing.content, nothing.draft, nothing.after_ms) == ("", None, 4 * 86_400_000)


def test_a_content_that_cannot_be_written_is_dead_and_written_anew() -> None:
    """As an act is, with its place in the schedule."""
    rules = rules_of(NURTURE.replace("{{ traits.first_name or 'you' }}", "{{ traits.first_name }}"))
    found = rules.next_content("care", an_output("lead.phase", traits=TRAITS), (), 7_000)
    assert found.draft is not None
    assert found.draft.dead.startswith("with.subject: `first_name` is missing")
    again = rules_of(NURTURE).rewrite(found.draft.act)
    assert again is not None
    assert (again.dead, again.act.id, again.act.at_ms) == ("", found.draft.act.id, 7_000)


def test_an_event_cancels_and_stops_and_does_no_more() -> None:
    """`crm.*` and mails' events have no score."""
    rules = rules_of(act(unless="[crm.accepted]") + NURTURE.replace("lead.excluded]", "crm.won]"))
    event = an_output()

    def heard(type_: str) -> Any:
        plan = rules.plan(msgspec.structs.replace(event, type=type_, data={}))
        return plan.cancels, plan.leaves, plan.drafts, plan.states, plan.enrolments

    assert heard("crm.accepted") == (True, (), (), (), ())
    assert heard("crm.won") == (False, ("care",), (), (), ())
    assert heard("email.unsubscribed") == (False, (), (), (), ())
    assert rules.types >= {"crm.accepted", "crm.won", "lead.sql", "lead.phase"}


def test_an_account_can_be_acted_on() -> None:
    """Its names are those of its outputs."""
    text = act(on="account.hot", to="chat", do="message", with_='{text: "{{ domain }}: {{ members[0].lead_id }}, {{ leads }}"}')
    (draft,) = (
        rules_of(text).plan(an_output("account.hot", lead_id="account:acme.example", account_id="account:acme.example")).drafts
    )
    assert draft.act.fields == {"text": "acme.example: lead-48213, 2"}


def test_a_nurturing_mail_of_a_lead_without_address_is_dead() -> None:
    """With the name of what is missing."""
    found = rules_of(NURTURE).next_content(
        "care", an_output("lead.phase", traits={"ok": True, "company.industry": "SaaS"}), (), 0
    )
    assert found.draft is not None
    assert found.draft.dead.startswith("with.to: `email` is missing")
