"""Looks up and makes the fields that a target needs, over HTTP: `leadpulse act prepare`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from worker.adapters.http_out import HttpOut
from worker.adapters.vendor_login import NoAnswer, VendorLogin
from worker.automations.calls import cleaned, secrets_of
from worker.automations.models import Automations
from worker.automations.requests import Answer, Expired, Http, Refusal
from worker.automations.signing import Keys, signed
from worker.automations.targets.common import Kind
from worker.automations.targets.prepared import Preparation, Prepared, Wanted
from worker.automations.targets.registry import KINDS
from worker.connections.targets import HubSpotTarget, SalesforceTarget, Target, ZohoTarget
from worker.errors import AutomationsError
from worker.sending_ports import AnswerLost, NotSent

_WITHIN_S: Final = 20.0
_NUMBERS: Final = frozenset({"score", "fit", "engagement", "sequence", "sum", "max"})
_LONG: Final = re.compile(r"\|\s*top\(|^(?:reasons|recent|history|dossier)\b")


def wanted_fields(name: str, target: Target, automations: Automations) -> list[Wanted]:
    """Return the fields that states at the target *name* need: the lead's id, and those of `sync`."""
    found: dict[str, Wanted] = {}
    own = _id_field(target)
    if own:
        found[own] = Wanted(own, unique=True)
    for rule in automations.sync:
        if rule.to == name:
            for field, value in rule.fields.items():
                found.setdefault(field, Wanted(field, _type(value)))
    return list(found.values())


def _type(value: object) -> Literal["text", "long", "number"]:
    """Return the type of a field that holds *value*: a number, or an expression of the output."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    expression = str(value).strip()
    if expression in _NUMBERS:
        return "number"
    return "long" if _LONG.search(expression) else "text"


def _id_field(target: Target) -> str:
    """Return the field of our own that holds the lead's id; nothing where leads have the vendor's ids."""
    match target:
        case HubSpotTarget():
            return target.id_property if target.id_property != "hs_object_id" else ""
        case SalesforceTarget():
            return target.id_field if target.id_field != "Id" else ""
        case ZohoTarget():
            return target.id_field if target.id_field != "id" else ""
        case _:
            return ""


async def prepare(
    name: str, targets: Mapping[str, Target], automations: Automations, environment: Mapping[str, str], *, make: bool
) -> list[Prepared]:
    """Return what became of each field that the target *name* needs. With *make*, missing ones are made.

    Raises `AutomationsError` where the target cannot be asked, and `ConnectionsError` for a secret that is not there.
    """
    target = targets[name]
    kind = KINDS[target.kind]  # type: ignore[attr-defined]  # each class of targets has its own
    if kind.prepare is None:
        raise AutomationsError(f"{name}: a target of kind {kind.name} needs no fields")
    wanted = wanted_fields(name, target, automations)
    async with VendorLogin(targets, environment) as login, HttpOut() as http:
        for last in (False, True):
            token = await _token(login, name)
            keys = Keys(lambda secret: secret.resolve(environment), lambda secret: secret.resolve(environment), token)
            try:
                steps = kind.prepare(target, wanted, make)
                return await _driven(http, target, kind, steps, keys, secrets_of(target, environment, token))
            except Expired as error:
                login.forget(name, token)
                if last or not token:
                    raise AutomationsError(f"{name}: the log-in is refused: {error}") from error
            except (Refusal, NotSent, AnswerLost) as error:
                raise AutomationsError(f"{name}: {error}") from error
    raise AssertionError("unreachable")


async def _token(login: VendorLogin, name: str) -> str:
    try:
        return await login.token(name)
    except NoAnswer as error:
        raise AutomationsError(f"{name}: {error}") from error


async def _driven(
    http: HttpOut, target: Target, kind: Kind, steps: Preparation, keys: Keys, secrets: Sequence[str]
) -> list[Prepared]:
    answer: Answer | None = None
    try:
        while True:
            answer = await _answered(http, target, kind, steps.send(answer), keys, secrets)  # type: ignore[arg-type]  # None at first
    except StopIteration as end:
        return list(end.value)


async def _answered(http: HttpOut, target: Target, kind: Kind, step: Http, keys: Keys, secrets: Sequence[str]) -> Answer:
    url, headers = signed(target, step, keys)
    sent = await http.send(step.method, url, headers, step.body, within_s=_WITHIN_S, alone=False)
    answer = cleaned(Answer(*sent), secrets)
    if answer.status not in step.takes:
        kind.judge(answer)
    return answer
