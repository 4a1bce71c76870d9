"""A map proposed for a CSV file by its header and its first rows. A person edits it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from worker.intake.csv_events import instant_of
from worker.intake.csv_rows import Dialect, Row

_TRAITS: Final[Mapping[str, Sequence[str]]] = {
    "email": ("email", "e mail", "mail", "email address", "e mail address", "adresse e mail", "adresse mail", "courriel",
              "correo"),
    "first_name": ("first name", "firstname", "prenom", "vorname", "nombre", "given name"),
    "last_name": ("last name", "lastname", "nom", "nom de famille", "nachname", "apellido", "surname", "family name"),
    "phone": ("phone", "phone number", "telephone", "tel", "mobile", "mobile phone", "telefon", "telefono", "portable"),
    "role": ("role", "job title", "title", "jobtitle", "position", "fonction", "poste", "intitule du poste", "cargo"),
    "seniority": ("seniority", "level", "niveau"),
    "country": ("country", "country region", "pays", "land", "pais", "paese"),
    "company.name": ("company", "company name", "account name", "account", "organization", "organisation", "societe",
                     "entreprise", "firma", "unternehmen", "empresa", "azienda"),
    "company.domain": ("company domain", "company domain name", "domain", "website", "website url", "site web", "webseite",
                       "sitio web"),
    "company.industry": ("industry", "company industry", "secteur", "secteur d activite", "branche", "sector"),
    "company.size": ("company size", "employees", "number of employees", "no of employees", "nb employes", "effectif",
                     "effectifs", "mitarbeiter", "numero de empleados", "dipendenti"),
    "tags": ("tags", "labels", "etiquettes"),
    "marketing_consent": ("marketing consent", "opt in", "optin", "consent", "consentement", "email opt in"),
}  # fmt: skip
_IDS: Final = (
    "lead id", "contact id", "record id", "id", "crm id", "person id", "lead record id", "record id contact", "identifiant",
)  # fmt: skip
_TIMES: Final = (
    "last modified", "last modified date", "modified", "updated", "updated at", "date modified", "modified time", "update time",
    "last activity date", "derniere modification", "date de modification", "modifie le", "geandert am", "create date",
    "created", "created at", "created date", "date de creation", "cree le", "erstellt am", "fecha de creacion",
)  # fmt: skip
_STAGES: Final = (
    "deal stage",
    "stage",
    "status",
    "lead status",
    "opportunity stage",
    "statut",
    "etape",
    "phase",
    "etapa",
    "estado",
)
_CLOSED: Final = ("close date", "closed date", "closed", "close time", "date de cloture", "won time", "abschlussdatum")
_AMOUNTS: Final = ("amount", "deal amount", "value", "deal value", "montant", "betrag", "importe", "deal owner amount")
_OWNERS: Final = ("owner", "deal owner", "contact owner", "account owner", "proprietaire", "commercial")
_WON: Final = re.compile(r"\b(won|gagne|gagnee|gewonnen|ganado|vinto|client|customer)\b")
_LOST: Final = re.compile(r"\b(lost|perdu|perdue|verloren|perdido|perso)\b")
_DIGITS: Final = r"[\d\s.,'’]+"
_LOOKED_AT: Final = 200


def proposal(header: Sequence[str], rows: Iterable[Row], dialect: Dialect, file: str, source: str) -> str:
    """Return the YAML of a map for a file with this *header*. Its first *rows* show how dates and numbers are written."""
    cells = [row.cells for row in rows if not row.fault][:_LOOKED_AT]
    columns = _Columns(header, cells)
    identity = columns.take(_IDS, _distinct)
    traits = {path: column for path, names in _TRAITS.items() if (column := columns.take(names)) is not None}
    stage, closed, amount, owner = (columns.take(names) for names in (_STAGES, _CLOSED, _AMOUNTS, _OWNERS))
    time = columns.take(_TIMES)
    lines = [f"# Proposed from the header and the first rows of {file}. Look at every line before you use it."]
    lines += [f"# {dialect.guessed}." if dialect.guessed else ""]
    lines += [f"source: /csv/{source}   # the events' source: keep it for the next export of the same table"]
    lines += [f"encoding: {dialect.encoding}", f"delimiter: {_quoted(dialect.delimiter)}"]
    lines += _subject(identity, traits.get("email"))
    lines += _time(time)
    lines += _dates([text for column in (time, closed) if column is not None for text in _filled(cells, column)])
    lines += ["timezone: UTC   # of dates without an offset, as in Europe/Paris"]
    lines += [f"decimal: {_quoted(_decimal(_filled(cells, amount or traits.get('company.size', ''))))}"]
    lines += ["blank: keep   # an empty cell keeps what is known of the lead; or remove"]
    lines += ["traits:" if traits else "traits: {}"]
    lines += [f"  {path}: {_cell(path, column, _filled(cells, column))}" for path, column in traits.items()]
    lines += _events(stage, closed or time, amount, owner, cells)
    lines += _not_mapped(columns)
    return "\n".join(line for line in lines if line) + "\n"


class _Columns:
    """The columns of a file, each of which is taken once."""

    def __init__(self, header: Sequence[str], cells: Sequence[Mapping[str, str]]) -> None:
        self._cells = cells
        self._named = {_plain(name): name for name in reversed(header)}
        self.free = dict.fromkeys(header)

    def take(self, names: Sequence[str], suits: Callable[[list[str]], bool] = bool) -> str | None:
        """Return the first free column with one of *names* whose filled cells suit."""
        for wanted in names:
            column = self._named.get(wanted)
            if column is not None and column in self.free and suits(_filled(self._cells, column)):
                del self.free[column]
                return column
        return None


def _time(column: str | None) -> list[str]:
    if column:
        return [f"time: {_quoted(column)}   # when a row was so"]
    return ["# time: COLUMN   # when a row was so; without it, give --at T"]


def _not_mapped(columns: _Columns) -> list[str]:
    if not columns.free:
        return []
    lines = ["# Not mapped. Take what a rule of your grid asks for:"]
    return lines + [f"#  {_path(column)}: {_quoted(column)}" for column in columns.free]


def _plain(name: str) -> str:
    """Return a column's name without case, marks and punctuation."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    return " ".join(re.findall(r"\w+", bare.replace("_", " ")))


def _path(column: str) -> str:
    return _plain(column).replace(" ", "_") or "trait"


def _quoted(text: str | None) -> str:
    return msgspec.json.encode(text or "").decode()


def _filled(cells: Sequence[Mapping[str, str]], column: str) -> list[str]:
    return [row[column] for row in cells if row.get(column)]


def _distinct(values: list[str]) -> bool:
    return bool(values) and len(set(values)) == len(values)


def _subject(identity: str | None, email: str | None) -> list[str]:
    if identity is not None:
        other = f"   # or {{email: {_quoted(email)}}}" if email else ""
        return [f"subject: {_quoted(identity)}{other}"]
    if email is not None:
        return [f"subject: {{email: {_quoted(email)}}}   # or the column of the lead's id"]
    return ["subject: COLUMN   # no column looks like an id or an address: name the lead's id"]


def _dates(texts: list[str]) -> list[str]:
    if not texts:
        return ["dates: iso   # or day first, month first, or a format such as '%d.%m.%Y'"]
    unread = {way: [text for text in texts if instant_of(text, way) is None] for way in ("iso", "day first", "month first")}
    fits = [way for way in unread if not unread[way]]
    if not fits:
        return [_doubtful(unread, len(texts))]
    if fits == ["day first", "month first"]:
        return [f"dates: day first   # not certain, as in {_quoted(texts[0])}: or month first"]
    return [f"dates: {fits[0]}"]


def _doubtful(unread: Mapping[str, list[str]], count: int) -> str:
    """Return the line for dates that no way reads whole: the best one, with what it does not read."""
    best = min(unread, key=lambda way: len(unread[way]))
    other = "" if len(unread[best]) < count else ": write a format such as '%d.%m.%Y'"
    return f"dates: {best}   # {len(unread[best])} of {count} dates are not read, such as {_quoted(unread[best][0])}{other}"


def _decimal(texts: list[str]) -> str:
    return "," if any(re.search(r",\d{1,2}\D*$", text) for text in texts) else "."


def _cell(path: str, column: str, texts: list[str]) -> str:
    if path == "company.size" and texts and all(re.fullmatch(_DIGITS, text) for text in texts):
        return f"{{column: {_quoted(column)}, as: number}}"
    if path == "company.size" and texts:
        other = next(text for text in texts if not re.fullmatch(_DIGITS, text))
        return f"{_quoted(column)}   # a text, since not all are numbers, such as {_quoted(other)}: rules with gte need numbers"
    if path == "tags":
        separator = next((mark for mark in ";|," if any(mark in text for text in texts)), ";")
        return f"{{column: {_quoted(column)}, as: list, separator: {_quoted(separator)}}}"
    if path == "marketing_consent":
        return f"{{column: {_quoted(column)}, as: boolean}}"
    return _quoted(column)


def _events(
    stage: str | None, closed: str | None, amount: str | None, owner: str | None, cells: Sequence[Mapping[str, str]]
) -> list[str]:
    values = dict.fromkeys(_filled(cells, stage)) if stage is not None else {}
    found = {
        "crm.won": [value for value in values if _WON.search(_plain(value))],
        "crm.lost": [value for value in values if _LOST.search(_plain(value))],
    }
    if stage is None or closed is None or not any(found.values()):
        return []
    data = ", ".join(f"{name}: {_quoted(column)}" for name, column in (("amount", amount), ("owner", owner)) if column)
    more = f", data: {{{data}}}" if data else ""
    lines = ["events:"]
    for type_, whichever in found.items():
        if whichever:
            some = ", ".join(map(_quoted, whichever))
            lines.append(f"  - {{type: {type_}, time: {_quoted(closed)}, where: {{{_quoted(stage)}: [{some}]}}{more}}}")
    rest = [value for value in values if value not in found["crm.won"] + found["crm.lost"]]
    if rest:
        lines.append(f"# Other values of {_quoted(stage)}: {', '.join(map(_quoted, rest[:20]))}. One may be crm.opportunity.")
    return lines
