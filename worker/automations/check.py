"""Checks of a file of automations beside its form: targets, actions, their fields, templates and names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Generator, Iterator, Mapping
from typing import Any, Final

from jinja2 import meta, nodes
from pydantic import BaseModel, ValidationError

from worker.automations.models import ON_TYPES
from worker.automations.names import known_names
from worker.automations.output import PAYLOAD
from worker.automations.rules import SYNC_TYPES
from worker.automations.shapes import shape_of
from worker.automations.targets.common import Kind
from worker.automations.targets.fields import Form
from worker.automations.targets.mail import Send
from worker.automations.templates import GLOBALS, TemplateMistake, Templates
from worker.automations.writing import is_template, texts_in
from worker.connections.targets import Target
from worker.core.contract.event_fields import TRAITS
from worker.core.grid.conditions import WhereError, parse_where
from worker.core.grid.messages import told
from worker.core.grid.values import did_you_mean
from worker.core.grid.yaml_lines import Path
from worker.core.scoring.state import STAGES

Told = Iterator[tuple[Path, str]]

_NUMBERS: Final = ("score", "fit", "engagement")
_NEARLY: Final = 0.8
"""Names that are so close are taken for a misspelling: `grad` and `grade` are, `phone` and `phase` are not."""

_STAND_INS: Final[tuple[Any, ...]] = ("a@example.com", "2026-01-01T00:00:00Z", 1, True, [])
"""Values in place of what templates make: an address, an instant, a number, a flag, a list."""


class Check:
    """Reads the plain data, so that it also finds mistakes beside those of the form."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        kinds: Mapping[str, Kind],
        templates: Templates,
        phases: Collection[str] | None = None,
        *,
        links: bool = True,
    ) -> None:
        """*kinds* has kinds by the word in `kind`. *phases* are those of the grid, if it is known.

        *links*: the connections have a `public_url`, so links to it can be made.
        """
        self._links = links
        self._targets = targets
        self._kinds = kinds
        self._templates = templates
        self._phases = phases

    def __call__(self, data: Mapping[str, Any]) -> Told:
        """Yield each mistake with its place."""
        self._has_owners = isinstance(data.get("owners"), Mapping)
        yield from _twice(data)
        for place, rule in _mappings(data.get("sync")):
            yield from self._sync(rule, ("sync", place))
        for place, rule in _mappings(data.get("acts")):
            yield from self._act(rule, ("acts", place))
        for place, rule in _mappings(data.get("nurture")):
            yield from self._nurture(rule, ("nurture", place))

    def _sync(self, rule: Mapping[str, Any], path: Path) -> Told:
        kind = yield from self._kind(rule, path)
        if kind is not None and kind.write is None:
            yield (*path, "to"), f"a target of kind {kind.name} keeps no state of leads: write it under `acts`"
        fields = rule.get("fields")
        for name, value in fields.items() if isinstance(fields, Mapping) else ():
            if isinstance(value, str):
                yield from self._expression(value, (*path, "fields", name))

    def _act(self, rule: Mapping[str, Any], path: Path) -> Told:
        types = _types(rule.get("on"))
        yield from _stages(rule.get("where"), types, (*path, "where"))
        yield from _asked(rule.get("where"), types, (*path, "where"))
        model = yield from self._model(rule, rule.get("do"), path)
        raw = rule.get("with", {})
        if model is not None and isinstance(raw, Mapping):
            at = dict.fromkeys(raw, (*path, "with"))
            yield from self._fields(raw, model, types, (*path, "with"), at)

    def _nurture(self, rule: Mapping[str, Any], path: Path) -> Told:
        phase, known = rule.get("phase"), self._phases
        if isinstance(phase, str) and known is not None and phase not in known:
            hint = did_you_mean(phase, known) or f"; it has {', '.join(known) or 'none'}"
            yield (*path, "phase"), f"the grid has no phase {phase!r}{hint}"
        model = yield from self._model(rule, rule.get("do", "send"), path)
        if model is None:
            return
        if issubclass(model, Send) and not self._links:
            yield (*path, "to"), "its mails have a link to unsubscribe: add `public_url` to the file of connections"
        for place, content in _mappings(rule.get("contents")):
            content_path: Path = (*path, "contents", place)
            yield from _asked(content.get("where"), SYNC_TYPES, (*content_path, "where"))
            fields: dict[str, Any] = {"to": "{{ traits.email }}"} if "to" in model.model_fields else {}
            at: dict[str, Path] = dict.fromkeys(fields, content_path)
            for held, base in ((rule.get("with"), path), (content.get("with"), content_path)):
                if isinstance(held, Mapping):
                    fields |= held
                    at |= dict.fromkeys(held, (*base, "with"))
            if isinstance(content.get("template"), str):
                fields["template"] = content["template"]
                at["template"] = content_path
            yield from self._fields(fields, model, SYNC_TYPES, content_path, at)

    def _model(self, rule: Mapping[str, Any], do: Any, path: Path) -> Generator[tuple[Path, str], None, type[BaseModel] | None]:
        """Yield what is wrong with a rule's target and action; return the model of the action's keys."""
        kind = yield from self._kind(rule, path)
        if kind is None or not isinstance(do, str):
            return None
        model = kind.fields.get(do)
        if model is None:
            hint = did_you_mean(do, kind.fields) or f"; write one of {', '.join(kind.fields)}"
            yield (*path, "do"), f"a target of kind {kind.name} cannot {do!r}{hint}"
        return model

    def _kind(self, rule: Mapping[str, Any], path: Path) -> Generator[tuple[Path, str], None, Kind | None]:
        """Yield what is wrong with a rule's `to`; return the kind of its target."""
        name = rule.get("to")
        if not isinstance(name, str):
            return None
        target = self._targets.get(name)
        if target is None:
            hint = did_you_mean(name, self._targets) or f"; it has {', '.join(self._targets) or 'none'}"
            yield (*path, "to"), f"the file of connections has no target {name!r}{hint}"
            return None
        kind = self._kinds.get(getattr(target, "kind", ""))
        if kind is None:
            yield (*path, "to"), f"{name!r} is a target of kind {getattr(target, 'kind', '')}, which takes no acts"
        return kind

    def _fields(
        self, raw: Mapping[str, Any], model: type[BaseModel], types: tuple[str, ...], path: Path, at: Mapping[str, Path]
    ) -> Told:
        """Yield what is wrong with the keys of an action. *at* has the place of each key, and *path* that of a missing one."""
        for inner, message in _mistakes_of_fields(raw, model):
            yield (*at.get(str(inner[0]), path), *inner) if inner else path, message
        for inner, text, form in texts_in(raw, shape_of(model)):
            yield from self._template(text, form, (*at[str(inner[0])], *inner), known_names(types))

    def _template(self, text: str, form: Form, path: Path, known: set[str]) -> Told:
        try:
            if form is Form.TEMPLATE:
                self._templates.file(text)
                trees = list(self._files(text, set()))
            else:
                self._templates.text(text, form)
                trees = [self._templates.tree(text)]
        except TemplateMistake as error:
            yield path, str(error)
            return
        place = f"{text}: " if form is Form.TEMPLATE else ""
        declared = {name for tree in trees for name in _declared(tree)}
        for tree in trees:
            yield from ((path, place + message) for message in self._names(tree, known | declared))

    def _files(self, name: str, seen: set[str]) -> Iterator[nodes.Template]:
        """Yield the trees of a file and of those that it includes."""
        if name in seen:
            return
        seen.add(name)
        tree = self._templates.tree_of_file(name)
        yield tree
        for other in meta.find_referenced_templates(tree):
            if other is not None:
                yield from self._files(other, seen)

    def _expression(self, text: str, path: Path) -> Told:
        try:
            self._templates.expression(text)
            tree = self._templates.tree("{{ " + text + " }}")
        except TemplateMistake as error:
            why = "write it without braces, as in score" if "{{" in text else str(error)
            yield path, f"{text!r} is no expression: {why}"
            return
        yield from ((path, message) for message in self._names(tree, known_names(SYNC_TYPES), conditions=False))

    def _names(self, tree: nodes.Template, known: set[str], *, conditions: bool = True) -> Iterator[str]:
        for name in sorted(meta.find_undeclared_variables(tree) - known - set(GLOBALS)):
            hint = did_you_mean(name, known) or f"; the names here are {', '.join(sorted(known))}; traits are below `traits`"
            yield f"unknown name {name!r}{hint}"
        if "owner" in meta.find_undeclared_variables(tree) and not self._has_owners:
            yield "`owner` is printed, and no owners are named: add `owners` at the top"
        if conditions and any(one.expr2 is None for one in tree.find_all(nodes.CondExpr)):
            yield "`… if …` without `else` prints nothing for some leads: write `… if … else …`"


def _mistakes_of_fields(raw: Mapping[str, Any], model: type[BaseModel]) -> Iterator[tuple[Path, str]]:
    """Yield what *model* finds wrong with the constants below `with`, and with the keys together.

    What a template makes is not known yet. Values that the model takes stand in for those of templates, as it asks for them.
    """
    data = _copy(raw)
    reported: set[tuple[Path, str]] = set()
    for stand_in in (*_STAND_INS, None):
        try:
            model.model_validate(data, strict=False)
            return
        except ValidationError as error:
            found = [
                (path, message, err["type"]) for (path, message), err in zip(told(error, model), _errors(error), strict=False)
            ]
            expected = {err["loc"]: err["ctx"]["expected"] for err in _errors(error) if err["type"] == "literal_error"}
        for path, message, kind in found:
            if path and kind not in ("missing", "extra_forbidden") and is_template(_at(raw, path)):
                literal = re.match(r"'([^']*)'", expected.get(path, ""))
                _put(data, path, literal[1] if literal else stand_in)
            elif (path, message) not in reported:
                reported.add((path, message))
                yield path, message


def _errors(error: ValidationError) -> list[Any]:
    """Return pydantic's errors, one for each of those that `told` yields."""
    found: list[Any] = []
    for one in error.errors(include_url=False):
        found += [one] * (len(one["ctx"]["mistakes"]) if one["type"] == "grid" else 1)
    return found


def _copy(raw: Any) -> Any:
    match raw:
        case Mapping():
            return {key: _copy(value) for key, value in raw.items()}
        case tuple() | list():
            return [_copy(value) for value in raw]
        case _:
            return raw


def _put(data: Any, path: Path, value: Any) -> None:
    """Replace the value at *path*, or the closest one around it that is there."""
    part, *rest = path
    below = _at(data, (part,))
    if below is data:
        return
    if rest and isinstance(below, (dict, list)):
        _put(below, tuple(rest), value)
    else:
        data[part] = value


def _declared(tree: nodes.Template) -> Iterator[str]:
    """Yield the names that a template makes itself. Blocks see those of their file. Jinja's `meta` does not know that."""
    for found in tree.find_all((nodes.FromImport, nodes.Import, nodes.Macro, nodes.Name)):
        match found:
            case nodes.FromImport():
                yield from (name[1] if isinstance(name, tuple) else name for name in found.names)
            case nodes.Import():
                yield found.target
            case nodes.Macro():
                yield found.name
            case nodes.Name(ctx="store"):
                yield found.name


def _stages(where: Any, types: tuple[str, ...], path: Path) -> Told:
    """Yield stages that do not exist. A rule on a change to such a stage would wait in silence."""
    if not isinstance(where, Mapping) or any(PAYLOAD[type_] != "transition" for type_ in types):
        return
    for name in ("from", "to", "stage"):
        if name not in where:
            continue
        try:
            conditions = parse_where({name: where[name]}).conditions
        except WhereError:
            continue  # named already
        for value in (value for one in conditions if one.op in ("eq", "in", "not") for value in _values(one.value)):
            if value not in STAGES:
                hint = did_you_mean(str(value), STAGES) or f"; the stages are {', '.join(STAGES)}"
                yield (*path, name), f"there is no stage {value!r}{hint}"


def _asked(where: Any, types: tuple[str, ...], path: Path) -> Told:
    """Yield conditions that hold for no lead, because a name is misspelt or a number is compared with a text.

    A trait may have any name. So only those are named that are nearly the output's own and no usual trait.
    """
    try:
        conditions = parse_where(where).conditions
    except WhereError:
        return  # named already
    known = known_names(types)
    for one in conditions:
        close = difflib.get_close_matches(one.path, known, n=1, cutoff=_NEARLY)
        if close and one.path not in known and one.path not in TRAITS:
            yield (
                (*path, one.path),
                (f"there is no {one.path!r} in the output, did you mean {close[0]!r}?; for a trait, write traits.{one.path}"),
            )
        orders = one.op in ("eq", "not", "in", "gt", "gte", "lt", "lte")
        if one.path in _NUMBERS and orders and any(isinstance(value, str) for value in _values(one.value)):
            yield (*path, one.path), f"`{one.path}` is a number: write a number, or an operator as in {{gte: 80}}"


def _values(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _twice(data: Mapping[str, Any]) -> Told:
    """Yield ids that two rules have, since a rule is paused by its id, and ids that two contents of a rule have."""
    seen: dict[str, str] = {}
    for name in ("acts", "nurture"):
        for place, rule in _mappings(data.get(name)):
            first = seen.setdefault(str(rule.get("id")), f"{name}[{place}]")
            if first != f"{name}[{place}]" and "id" in rule:
                yield (
                    (name, place, "id"),
                    f"the id {rule['id']!r} is given twice, first at {first}: keep one, and rename the other",
                )
            had: set[str] = set()
            for number, content in _mappings(rule.get("contents")):
                if str(content.get("id")) in had:
                    yield (name, place, "contents", number, "id"), f"the id {content['id']!r} is given twice: rename one"
                had.add(str(content.get("id")))


def _mappings(raw: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    items = enumerate(raw) if isinstance(raw, (tuple, list)) else ()
    return ((place, one) for place, one in items if isinstance(one, Mapping))


def _types(raw: Any) -> tuple[str, ...]:
    names = (raw,) if isinstance(raw, str) else raw if isinstance(raw, (tuple, list)) else ()
    return tuple(name for name in names if name in ON_TYPES) or ON_TYPES


def _at(raw: Any, path: Path) -> Any:
    """Return the value at *path*, or the closest one around it."""
    for part in path:
        match raw, part:
            case Mapping(), _ if part in raw:
                raw = raw[part]
            case (tuple() | list(), int()) if part < len(raw):
                raw = raw[part]
    return raw
