"""Rules: an output becomes acts, states of leads and enrolments. Pure, but for documents, which are looked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from worker.automations.acts import PERSON, Act, LeadState
from worker.automations.models import ActRule, Automations, Content, Nurture
from worker.automations.names import names_of, traits_of, where_of
from worker.automations.output import PAYLOAD, Output
from worker.automations.requests import Final
from worker.automations.targets.common import Kind
from worker.automations.targets.fields import Form
from worker.automations.templates import CannotWrite, Templates
from worker.automations.writing import Writer, document_path
from worker.core.grid.conditions import Where
from worker.core.grid.predicates import compile_where

SYNC_TYPES = tuple(name for name, payload in PAYLOAD.items() if payload in ("transition", "phase"))
"""Types of outputs that carry a lead's whole state."""

_STAGE_OF = {
    "lead.mql": "mql", "lead.sql": "sql", "lead.excluded": "excluded", "crm.opportunity": "opportunity", "crm.won": "client",
}  # fmt: skip
"""The stage into which a type puts a lead."""


class Draft(NamedTuple):
    """An act to write down."""

    act: Act
    dead: str = ""
    """Why it cannot be written. Then the act has no fields, and the output in their place."""


class Enrolment(NamedTuple):
    """A nurturing rule that a lead enters, or whose output is replaced by a newer one."""

    rule: str
    output: Output
    begins: bool
    """The lead entered the phase. Otherwise the output is only for leads who are enrolled."""


class Skipped(NamedTuple):
    """A rule that fits, and does nothing."""

    rule: str
    why: str


class Unwritten(NamedTuple):
    """A state that cannot be written: an expression fails for this lead."""

    rule: str
    """As in `sync[0]`."""
    target: str
    why: str


class Plan(NamedTuple):
    """What an output, or an event that cancels, brings about. In this order: cancel, leave, enrol, acts, states."""

    cancels: bool = False
    """It is a type of some rule's `unless`."""
    leaves: tuple[str, ...] = ()
    """Nurturing rules that end for the lead."""
    enrolments: tuple[Enrolment, ...] = ()
    drafts: tuple[Draft, ...] = ()
    states: tuple[LeadState, ...] = ()
    unwritten: tuple[Unwritten, ...] = ()
    skipped: tuple[Skipped, ...] = ()


class Next(NamedTuple):
    """The next content of a nurturing rule for a lead."""

    content: str = ""
    """Its id; empty: none fits now."""
    draft: Draft | None = None
    after_ms: int = 0
    """Time until the lead is looked at again; 0: the lead had all contents."""


Names = Mapping[str, Any]


class _Compiled(NamedTuple):
    """Something that one rule does."""

    rule: ActRule | Nurture
    id: str
    where: Callable[[Names], bool]
    write: Callable[[Names], dict[str, Any]]
    reaches: Callable[[Names], bool]
    """Whether it can reach a person, for a lead who is a visitor without an address."""


class Rules:
    """The rules of a file, compiled. The file must have been checked: see `worker.automations.file`."""

    def __init__(
        self, automations: Automations, kinds: Mapping[str, Kind], templates: Templates, documents: Path | None = None
    ) -> None:
        """*kinds* has the kind of each target by the target's name. *documents* is LEADPULSE_DOCUMENTS."""
        self.automations = automations
        self._kinds = kinds
        self._templates = templates
        self._documents = documents
        self._acts = {rule.id: self._act(rule) for rule in automations.acts}
        self._by_type = {
            type_: [act for act in self._acts.values() if type_ in act.rule.on]  # type: ignore[union-attr]
            for type_ in PAYLOAD
        }
        self._contents = {rule.id: [self._content(rule, one) for one in rule.contents] for rule in automations.nurture}
        self._sync = [
            (str(place), rule, {name: self._value(value) for name, value in rule.fields.items()})
            for place, rule in enumerate(automations.sync)
        ]
        self._cancelling = frozenset(type_ for rule in automations.acts for type_ in rule.unless)
        self._nurture = {rule.id: rule for rule in automations.nurture}

    @property
    def types(self) -> frozenset[str]:
        """The types that rules name: acted on, cancelling, or stopping."""
        named = {type_ for rule in self.automations.acts for type_ in (*rule.on, *rule.unless)}
        stops = {type_ for rule in self.automations.nurture for type_ in ("lead.phase", *rule.stop)}
        return frozenset(named | stops)

    @property
    def sync_types(self) -> frozenset[str]:
        """The types that `sync` reads. A grid without phases publishes no `lead.phase`, so its topic may be missing."""
        return frozenset(SYNC_TYPES) if self.automations.sync or self.automations.nurture else frozenset()

    def read(self, name: str) -> bytes:
        """Return a document below LEADPULSE_DOCUMENTS. Raises `Final` if it cannot be read."""
        try:
            return document_path(self._documents, name).read_bytes()
        except (CannotWrite, OSError) as error:
            raise Final(f"the document cannot be read: {error}") from None

    def plan(self, output: Output) -> Plan:
        """Return what *output*, or an event that cancels, brings about."""
        leaves = tuple(self._leaves(output))
        if output.type not in PAYLOAD:  # an input event: it cancels, and no more
            return Plan(output.type in self._cancelling, leaves)
        names = names_of(output, self.automations)
        found = where_of(output, names)
        fits = [act for act in self._by_type.get(output.type, ()) if act.where(found)]
        states, unwritten = self._states(output, names)
        return Plan(
            cancels=output.type in self._cancelling,
            leaves=leaves,
            enrolments=tuple(one for one in self._enrolments(output) if one.rule not in leaves),
            drafts=tuple(self._draft(act, output, names) for act in fits if _held_off(act, output, names) is None),
            states=states,
            unwritten=unwritten,
            skipped=tuple(Skipped(act.id, why) for act in fits if (why := _held_off(act, output, names))),
        )

    def next_content(self, rule_id: str, output: Output, sent: Collection[str], at_ms: int) -> Next:
        """Return the next content of a nurturing rule for a lead that had *sent*. *at_ms*: when it became due.

        Other leads are looked at again after the rule's `every`: no content fits, there is no consent, or no address.
        """
        rule = self._nurture.get(rule_id)
        left = [one for one in self._contents.get(rule_id, ()) if _content_of(one.id) not in sent]
        if rule is None or not left:
            return Next()
        names = names_of(output, self.automations)
        found = where_of(output, names)
        for content in left:
            if content.where(found) and _held_off(content, output, names) is None:
                draft = self._draft(content, output, names, nurturing_at_ms=at_ms)
                return Next(_content_of(content.id), draft, rule.every if len(left) > 1 else 0)
        return Next(after_ms=rule.every)

    def rewrite(self, act: Act) -> Draft | None:
        """Write an act anew that could not be written. `None`: its rule is gone, or the act is written already."""
        rule, _, content = act.rule.partition("/")
        contents = [one for one in self._contents.get(rule, ()) if one.id == act.rule]
        compiled = contents[0] if content and contents else self._acts.get(act.rule)
        if compiled is None or act.unwritten is None:
            return None
        return self._draft(
            compiled, act.unwritten, names_of(act.unwritten, self.automations), nurturing_at_ms=act.at_ms if content else None
        )

    @property
    def personal(self) -> list[str]:
        """Ids of the rules that pass over visitors without an address, unless a template finds another person."""
        rules: list[ActRule | Nurture] = [*self.automations.acts, *self.automations.nurture]
        keys = {rule.id: self._kinds[rule.to].personal.get(rule.do) for rule in rules}
        named = {rule.id: str(rule.with_.get(keys[rule.id] or "", "{{")) for rule in rules}
        return [rule.id for rule in rules if keys[rule.id] is not None and "{{" in named[rule.id]]

    def _act(self, rule: ActRule) -> _Compiled:
        return self._compiled(rule, rule.id, rule.where, rule.with_)

    def _content(self, rule: Nurture, content: Content) -> _Compiled:
        fields = nurture_fields(rule, content, self._kinds[rule.to])
        return self._compiled(rule, f"{rule.id}/{content.id}", content.where, fields)

    def _compiled(self, rule: ActRule | Nurture, id_: str, where: Where | None, fields: Mapping[str, Any]) -> _Compiled:
        return _Compiled(rule, id_, _predicate(where), self._writer(rule, fields), self._reaches(rule, fields))

    def _reaches(self, rule: ActRule | Nurture, fields: Mapping[str, Any]) -> Callable[[Names], bool]:
        """Return whether an action reaches a person although the lead has no address: it needs none, or `with` names one."""
        key = self._kinds[rule.to].personal.get(rule.do)
        if key is None:
            return lambda _: True
        named = fields.get(key)
        if not isinstance(named, str):
            return lambda _: False
        write = self._templates.text(named, Form.LINE)
        return lambda names: _is_written(write, names)

    def _writer(self, rule: ActRule | Nurture, raw: Mapping[str, Any]) -> Callable[[Names], dict[str, Any]]:
        kind = self._kinds[rule.to]
        if rule.do in kind.whole:
            return _whole
        return Writer(raw, kind.fields[rule.do], self._templates, self._documents).write

    def _value(self, raw: Any) -> Callable[[Names], Any]:
        return self._templates.expression(raw) if isinstance(raw, str) else lambda _: raw

    @staticmethod
    def _draft(compiled: _Compiled, output: Output, names: Names, *, nurturing_at_ms: int | None = None) -> Draft:
        rule = compiled.rule
        dead = ""
        try:
            fields = compiled.write({**names, "output": output.event()} if compiled.write is _whole else names)
        except CannotWrite as error:
            fields, dead = {}, str(error)
        act = Act(
            rule=compiled.id,
            source=output.source,
            output=output.id if nurturing_at_ms is None else output.lead_id,
            lead_id=output.lead_id,
            target=rule.to,
            do=rule.do,
            fields=fields,
            type=output.type,
            at_ms=output.at_ms if nurturing_at_ms is None else nurturing_at_ms,
            output_ms=output.at_ms,
            sequence=output.sequence,
            fresh_ms=rule.fresh,
            unless=rule.unless if isinstance(rule, ActRule) else rule.stop,
            consent=rule.consent,
            most=rule.max_[0],
            most_ms=rule.max_[1],
            topic=output.topic,
            partition=output.partition,
            offset=output.offset,
            person=person_of(output),
            unwritten=output if dead else None,
        )
        return Draft(act, dead)

    def _states(self, output: Output, names: Names) -> tuple[tuple[LeadState, ...], tuple[Unwritten, ...]]:
        if output.type not in SYNC_TYPES or _is_nobody(output):
            return (), ()
        states: list[LeadState] = []
        unwritten: list[Unwritten] = []
        for place, rule, fields in self._sync:
            try:
                written = {name: _placed(value, names, name) for name, value in fields.items()}
            except CannotWrite as error:
                unwritten.append(Unwritten(f"sync[{place}]", rule.to, str(error)))
                continue
            state = LeadState(
                rule=place,
                target=rule.to,
                object=rule.object,
                lead_id=output.lead_id,
                sequence=output.sequence,
                person=person_of(output),
                fields=written,
                output=output.id,
                at_ms=output.at_ms,
            )
            states.append(state)
        return tuple(states), tuple(unwritten)

    def _leaves(self, output: Output) -> Iterator[str]:
        """Yield the nurturing rules that *output* ends: by its type, by another phase, or because the visitor is a lead now."""
        for rule in self.automations.nurture:
            left = output.type == "lead.phase" and output.data.get("to") != rule.phase
            if output.type in rule.stop or left or output.data.get("merged_into") is not None:
                yield rule.id

    def _enrolments(self, output: Output) -> Iterator[Enrolment]:
        if output.type not in SYNC_TYPES:
            return
        phase, stage = output.data.get("phase"), output.data.get("stage")
        for rule in self.automations.nurture:
            entered = output.type == "lead.phase" and output.data.get("to") == rule.phase
            if entered and stage in [_STAGE_OF.get(type_, "") for type_ in rule.stop]:  # a stage may be anything, also a list
                continue  # what would have stopped it came before, perhaps under another id of the lead
            if entered or phase is None or phase == rule.phase:  # a lead in another phase is not enrolled
                yield Enrolment(rule.id, output, entered)


def nurture_fields(rule: Nurture, content: Content, kind: Kind) -> dict[str, Any]:
    """Return what stands under `with` for one content: the rule's keys, the content's, and the lead's address."""
    fields: dict[str, Any] = {**rule.with_, **content.with_}
    if content.template is not None:
        fields["template"] = content.template
    model = kind.fields.get(rule.do)
    if model is not None and "to" in model.model_fields:
        fields.setdefault("to", "{{ traits.email }}")
    return fields


def _content_of(id_: str) -> str:
    return id_.partition("/")[2]


def _agrees(act: _Compiled, output: Output) -> str | None:
    """Return why a rule does nothing for a lead who does not consent; `None`: it may act."""
    consent = act.rule.consent
    return f"the trait {consent} is not true" if consent and traits_of(output).get(consent) is not True else None


def _held_off(act: _Compiled, output: Output, names: Names) -> str | None:
    """Return why a rule that fits does nothing for the lead; `None`: it acts."""
    if (why := _agrees(act, output)) is not None:
        return why
    return None if not _is_visitor(output) or act.reaches(names) else "a visitor without an address is no person to a target"


def _is_written(write: Callable[[Names], str], names: Names) -> bool:
    try:
        return bool(write(names).strip())
    except CannotWrite:
        return False


def _is_visitor(output: Output) -> bool:
    """Return whether an output is of a visitor without an address."""
    return output.lead_id.startswith("visitor:") and "email" not in traits_of(output)


def _is_nobody(output: Output) -> bool:
    """Return whether an output is of a visitor: without a name in another tool, or the last one before it became a lead."""
    return output.data.get("merged_into") is not None or _is_visitor(output)


def person_of(output: Output) -> dict[str, str]:
    """Return the traits by which a CRM finds or makes a contact."""
    traits = traits_of(output)
    return {name: value for name in PERSON if isinstance(value := traits.get(name), str)}


def _whole(names: Names) -> dict[str, Any]:
    """Return the fields of an action that sends the output itself."""
    return {"output": names["output"]}


def _predicate(where: Where | None) -> Callable[[Names], bool]:
    return compile_where(where, flat=True) if where is not None else lambda _: True


def _placed(value: Callable[[Names], Any], names: Names, name: str) -> Any:
    try:
        return value(names)
    except CannotWrite as error:
        raise CannotWrite(f"fields.{name}: {error}") from error
