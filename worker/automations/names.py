"""The names that templates, expressions and `where` know: the data of an output, its traits, and helpers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from worker.automations.helpers import Dossier
from worker.automations.models import Automations
from worker.automations.output import PAYLOAD, Output
from worker.automations.owners import owner_of
from worker.automations.targets.mail import UNSUBSCRIBE_URL

_ENVELOPE: Final = ("id", "source", "type", "subject", "time", "sequence", "data", "unsubscribe_url")
_MOST_DEPTH: Final = 8
"""Parts of a path in an output's data that `where` looks at."""

_TRANSITION: Final = (
    "lead_id", "from", "to", "stage", "score", "fit", "engagement", "grade", "phase", "grid", "prediction", "reasons", "traits",
    "recent", "history", "cause", "respond_by", "explored", "merged_into", "dossier", "owner",
)  # fmt: skip
_ACCOUNT: Final = (
    "account_id",
    "lead_id",
    "domain",
    "leads",
    "sum",
    "max",
    "roles",
    "members",
    "grid",
    "cause",
    "traits",
    "owner",
)
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "transition": _TRANSITION,
    "phase": _TRANSITION,
    "erasure": ("lead_id", "cause", "traits"),
    "duplicate": ("lead_id", "email", "held_by", "cause", "traits", "owner"),
    "account": _ACCOUNT,
}
"""Payload of a type of outputs → the names that its outputs have, beside those of the envelope."""


def known_names(types: tuple[str, ...]) -> set[str]:
    """Return the names that templates of a rule on *types* may use."""
    return {*_ENVELOPE, *(name for type_ in types for name in KNOWN[PAYLOAD[type_]])}


def traits_of(output: Output) -> dict[str, Any]:
    """Return an output's traits by dotted path, without blank ones. A lead that is an address has the trait `email`."""
    raw = output.data.get("traits")
    traits = {path: value for path, value in raw.items() if not _is_blank(value)} if isinstance(raw, dict) else {}
    if output.lead_id.startswith("email:") and "email" not in traits:
        traits["email"] = output.lead_id.removeprefix("email:")
    return traits


def names_of(output: Output, automations: Automations) -> dict[str, Any]:
    """Return the names of *output*. Those whose value is null are missing, and traits are nested."""
    data = output.data
    traits = traits_of(output)
    names: dict[str, Any] = {
        "id": output.id,
        "source": output.source,
        "type": output.type,
        "subject": output.lead_id,
        "time": output.time,
        "sequence": output.sequence,
        "lead_id": output.lead_id,
        "data": data,
        "stage": _stage(output),
        "phase": data.get("to") if PAYLOAD.get(output.type) == "phase" else data.get("phase"),
        "owner": owner_of(automations.owners, output.lead_id, traits),
        **{name: value for name, value in data.items() if name not in ("stage", "phase")},
        "traits": nested(traits),
        "unsubscribe_url": UNSUBSCRIBE_URL,
    }
    if "score" in data:
        names["dossier"] = Dossier({**data, "traits": traits}, automations.timezone)
    return {name: value for name, value in names.items() if value is not None}


def _stage(output: Output) -> Any:
    """Return the stage after an output: a change of stage has it as `to`, a change of phase as `stage`."""
    return output.data.get("to" if PAYLOAD.get(output.type) == "transition" else "stage")


def where_of(output: Output, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return what conditions ask: the output's values by dotted path, and traits with and without `traits.`."""
    traits = traits_of(output)
    plain = {name: value for name, value in names.items() if name not in ("traits", "data", "dossier")}
    return {**traits, **{f"traits.{path}": value for path, value in traits.items()}, **dict(_flat(plain))}


def _flat(values: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and depth < _MOST_DEPTH:
            yield from _flat(value, f"{prefix}{name}.", depth + 1)
        else:
            yield f"{prefix}{name}", value


def nested(traits: Mapping[str, Any]) -> dict[str, Any]:
    """Return traits by dotted path as nested objects: `company.size` is below `company`."""
    tree: dict[str, Any] = {}
    for path, value in sorted(traits.items()):
        *above, leaf = path.split(".")
        at = tree
        for name in above:
            below = at.get(name)
            if not isinstance(below, dict):
                below = at[name] = {}
            at = below
        at[leaf] = value
    return tree


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
