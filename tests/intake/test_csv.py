"""Tables of contacts and deals as events. Every table here is made by hand."""

from __future__ import annotations

import codecs
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from schemas import read_input
from worker.cli.convert import convert
from worker.intake.csv_map import MapError, parse_map
from worker.intake.csv_rows import CsvError, dialect_of, header_and_rows

TABLE = """\
Record ID;Prénom;E-mail;Société;Effectif;Modifié le;Statut;Montant;Tags
1;Zoë;Zoe@Acme.example;Acme;1 200;31/12/2025 10:00;Gagné;1.234,50 €;vip;
2;Bob;bob@x.example;;;13/11/2025;Perdu;;"a, b"
"""
MAP = """\
source: /csv/contacts
subject: Record ID
time: Modifié le
dates: day first
timezone: Europe/Paris
decimal: ","
traits:
  email: E-mail
  first_name: Prénom
  company.name: Société
  company.size: {column: Effectif, as: number}
  tags: {column: Tags, as: list, separator: ","}
events:
  - {type: crm.won, time: Modifié le, where: {Statut: [gagné]}, data: {amount: Montant}}
  - {type: crm.lost, time: Modifié le, where: {Statut: Perdu}}
"""


def run(folder: Path, table: str | bytes, map_: str | None = MAP, *more: str) -> Result:
    """Return what the command does with *table* and *map_*."""
    (folder / "contacts.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    args = ["csv", str(folder / "contacts.csv"), *more]
    if map_ is not None:
        (folder / "map.yaml").write_text(map_)
        args += ["--map", str(folder / "map.yaml")]
    return CliRunner().invoke(convert, args)


def events(result: Result) -> list[dict[str, Any]]:
    """Return the events, each held to the contract."""
    return [json.loads(read_input(line).to_json()) for line in result.stdout.splitlines()]


def test_a_row_becomes_what_the_map_says(tmp_path: Path) -> None:
    """Traits, a date in the map's zone, numbers as France writes them, a list, and a deal."""
    found = events(run(tmp_path, TABLE.replace("vip;", "vip")))
    assert [(one["subject"], one["type"], one["time"]) for one in found] == [
        ("1", "profile.updated", "2025-12-31T09:00:00.000Z"),
        ("1", "crm.won", "2025-12-31T09:00:00.000Z"),
        ("2", "profile.updated", "2025-11-12T23:00:00.000Z"),
        ("2", "crm.lost", "2025-11-12T23:00:00.000Z"),
    ]
    assert found[0]["data"]["traits"] == {
        "email": "Zoe@Acme.example", "first_name": "Zoë", "company.name": "Acme", "company.size": 1200, "tags": ["vip"],
    }  # fmt: skip
    assert found[1]["data"] == {"amount": 1234.5}
    assert found[2]["data"]["traits"] == {"email": "bob@x.example", "first_name": "Bob", "tags": ["a", "b"]}
    assert {one["source"] for one in found} == {"/csv/contacts"}


def test_the_same_file_gives_the_same_ids_and_a_changed_row_another(tmp_path: Path) -> None:
    """An export that is converted again counts once, and a correction counts."""
    first = run(tmp_path, TABLE)
    assert run(tmp_path, TABLE).stdout == first.stdout
    again = events(run(tmp_path, TABLE.replace("Zoë", "Zoé")))
    changed = {one["id"] for one in again} - {one["id"] for one in events(first)}
    assert len(changed) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encodings_and_delimiters_of_excel_and_windows_are_told(tmp_path: Path, encoding: str, delimiter: str) -> None:
    """The same table by any of them gives the same events. What is guessed is said."""
    table = TABLE.replace('"a, b"', "a").replace("1.234,50 €", "1234").replace("vip;", "vip").replace(";", delimiter)
    expected = run(tmp_path, TABLE.replace('"a, b"', "a").replace("1.234,50 €", "1234").replace("vip;", "vip"))
    result = run(tmp_path, table.replace("\n", "\r\n").encode(encoding))
    assert result.stdout == expected.stdout
    assert ("windows-1252" in result.stderr) == (encoding == "windows-1252")
    packed = run(tmp_path, gzip.compress(table.encode(encoding)))
    assert packed.stdout == expected.stdout


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252"])
def test_the_line_that_tells_excel_the_delimiter_is_no_header(tmp_path: Path, encoding: str, delimiter: str) -> None:
    """With a map and without: `sep=;` splits into two cells at the delimiter that it names."""
    table = f"sep={delimiter}\r\nE-mail{delimiter}Rôle\r\na@x.example{delimiter}CTO\r\n".encode(encoding)
    assert 'email: "E-mail"' in run(tmp_path, table, None).stdout
    (event,) = events(run(tmp_path, table, "subject: {email: E-mail}\ntraits: {role: Rôle}", "--at", "2026-01-01T00:00:00Z"))
    assert event["data"] == {"traits": {"role": "CTO"}}


def test_a_proposed_map_is_a_map(tmp_path: Path) -> None:
    """What the first command prints, the second one takes; whatever it leaves out stands in a comment and is said."""
    table = TABLE.replace("vip;", "vip").replace("Modifié le", "Date de modification").replace("Tags", "Couleur")
    proposed = run(tmp_path, table, None)
    assert proposed.exit_code == 0, proposed.stderr
    assert '#  couleur: "Couleur"' in proposed.stdout
    assert 'subject: "Record ID"   # or {email: "E-mail"}' in proposed.stdout
    assert "dates: day first\n" in proposed.stdout
    result = run(tmp_path, table, proposed.stdout)
    assert [one["type"] for one in events(result)] == ["profile.updated", "crm.won", "profile.updated", "crm.lost"]
    assert "not mapped: Couleur" in result.stderr


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("Name,Colour", "Ann,red", "subject: COLUMN   # no column looks like an id"),
        ("Email,Created", "a@x.example,05/06/2025", "not certain"),
        ("Email,Created", "a@x.example,soon", '1 of 1 dates are not read, such as "soon": write a format'),
        (
            "Email,Created",
            "a@x.example,31/12/2025\nb@x.example,31/02/2025",
            'dates: day first   # 1 of 2 dates are not read, such as "31/02',
        ),
        ("Email,Modifié le", "a@x.example,31/12/2025", 'time: "Modifié le"'),
        ("Email,Tags", "a@x.example,a|b", 'separator: "|"'),
        ("Email,Employees", "a@x.example,51-200", '"Employees"   # a text, since not all are numbers, such as "51-200"'),
        ("Email,Created", "a@x.example,2025-06-05T10:00:00+02:00", "dates: iso\n"),
        ("Email,Created", "a@x.example,06/25/2025", "dates: month first\n"),
        ("Email,Colour", "a@x.example,red", 'subject: {email: "Email"}'),
    ],
)
def test_what_a_proposal_is_not_sure_of_it_says(tmp_path: Path, header: str, row: str, words: str) -> None:
    """A person edits it, so doubts stand where they are to be decided."""
    assert words in run(tmp_path, f"{header}\n{row}\n", None).stdout


def test_leads_by_their_address(tmp_path: Path) -> None:
    """The id of a lead that no CRM names: the address in lower case, as every other source of events writes it."""
    result = run(tmp_path, "E-mail,Role\n Zoe@Acme.example ,CTO\n", "subject: {email: E-mail}\ntraits: {role: Role}", "--at",
                 "2026-01-01T00:00:00Z")  # fmt: skip
    assert [(one["subject"], one["time"]) for one in events(result)] == [("email:zoe@acme.example", "2026-01-01T00:00:00.000Z")]


def test_an_empty_cell_keeps_or_removes(tmp_path: Path) -> None:
    """Most exports leave out what they do not know; some mean that it is gone."""
    table = "Id,Role\n1,\n2,CTO\n"
    kept = run(tmp_path, table, "subject: Id\ntraits: {role: Role}", "--at", "2026-01-01T00:00:00Z")
    assert [one["subject"] for one in events(kept)] == ["2"]
    removed = run(tmp_path, table, "subject: Id\nblank: remove\ntraits: {role: Role}", "--at", "2026-01-01T00:00:00Z")
    assert [one["data"]["traits"] for one in events(removed)] == [{"role": None}, {"role": "CTO"}]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (";a;a@x;b;1;01/02/2026;;;", "contacts.csv:2: column 'Record ID' is empty"),
        ("1;a;a@x;b;many;01/02/2026;;;", "column 'Effectif': 'many' is no number with the decimal mark ','"),
        ("1;a;a@x;b;1;2026-02-01;;;", "'2026-02-01' is no date that `dates: day first` reads"),
        ("1;a;a@x;b;1;;;;", "when was it so? column 'Modifié le' is empty"),
        ("1;a;a@x;b;1;01/02/2026;;;;;9", "11 cells under 9 columns"),
    ],
)
def test_a_bad_row_is_named_and_the_others_go_on(tmp_path: Path, row: str, words: str) -> None:
    """By file and line; --strict stops there."""
    table = TABLE.splitlines()
    result = run(tmp_path, "\n".join([table[0], row, table[2]]) + "\n")
    assert words in result.stderr
    assert {one["subject"] for one in events(result)} == {"2"}
    strict = run(tmp_path, "\n".join([table[0], row, table[2]]) + "\n", MAP, "--strict")
    assert (strict.exit_code, strict.stdout) == (1, "")


@pytest.mark.parametrize(
    ("map_", "words"),
    [
        ("", "write a mapping"),
        ("traits: {role: Role}", "map.yaml:1: subject: `subject` is missing"),
        ("subject: Id\n", "no `traits` and no `events`"),
        (
            "subject: Id\ntraits:\n  email: Mail",
            "map.yaml:3: traits.email: the file has no column 'Mail', did you mean 'E-mail'?",
        ),
        (
            "subject: Record ID\ndelimeter: ','\ntraits: {a: Tags}",
            "map.yaml:2: delimeter: unknown key 'delimeter', did you mean",
        ),
        ("subject: Record ID\nencoding: ansi8\ntraits: {a: Tags}", "there is no encoding 'ansi8'"),
        ("subject: Record ID\ndates: french\ntraits: {a: Tags}", "no way to write dates"),
        ("subject: Record ID\ntimezone: Paris\ntraits: {a: Tags}", "unknown time zone 'Paris'"),
        ("subject: Record ID\nevents: [{type: crm.win, time: Statut}]", "did you mean 'crm.won'?"),
    ],
)
def test_a_mistake_in_a_map_is_named_by_line(tmp_path: Path, map_: str, words: str) -> None:
    """As in a grid: where, what, and what to write instead."""
    result = run(tmp_path, TABLE, map_)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (b"", "the file is empty"),
        (b"one\ntwo\n", "no delimiter"),
        (b"a,a\n1,2\n", "the header names 'a' twice"),
        (b'a,b\n1,"2\n', "line 2"),
        (b"a,b\n1,\xff\n".ljust(2_000_000, b"x") + b"\n", "field larger than"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, table: bytes, words: str) -> None:
    """One line, and exit code 1."""
    result = run(tmp_path, table, "subject: a\ntraits: {b: b}", "--at", "2026-01-01T00:00:00Z")
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_late_byte_of_another_encoding_is_named(tmp_path: Path) -> None:
    """The beginning may be plain ASCII; nothing is replaced in silence."""
    table = b"Id,Role\n" + b"".join(b"%d,CTO\n" % n for n in range(200_000)) + b"x,caf\xe9\n"
    result = run(tmp_path, table, "subject: Id\ntraits: {role: Role}", "--at", "2026-01-01T00:00:00Z")
    assert result.exit_code == 1
    assert "is not utf-8: name the file's encoding" in result.stderr


@given(st.binary(max_size=400), st.sampled_from([b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE]))
def test_no_bytes_at_all_break_it(held: bytes, mark: bytes) -> None:
    """Whatever the file holds is a table, or `CsvError`."""
    stream = io.BytesIO(mark + held)
    try:
        _, rows = header_and_rows(stream, dialect_of(stream))
        list(rows)
    except CsvError:
        return


@given(st.text(max_size=200))
def test_no_text_breaks_the_map(text: str) -> None:
    """Whatever a map holds is a map, or `MapError`."""
    try:
        parse_map(text.encode(), "map.yaml")
    except MapError:
        return
