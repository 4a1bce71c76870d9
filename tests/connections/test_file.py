"""The file of connections: mistakes by line, secrets by reference alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from worker.cli.connections import connections as command
from worker.connections.file import connections_schema, parse_connections, read_connections
from worker.connections.secret import Secret
from worker.connections.sources import VENDORS
from worker.connections.targets import KINDS
from worker.core.grid.yaml_lines import read_yaml
from worker.errors import ConnectionsError

EXAMPLE = """\
public_url: https://in.example.com
tokens: ["${LP_TOKEN}"]
sites:
  www:
    origins: ["https://www.example.com"]
    identify: ["${LP_IDENTIFY}"]
    write_key: "${LP_WRITE_KEY}"
    custom: [custom.pricing_calculator]
    cookie_domain: .example.com
sources:
  mailer: {vendor: sendgrid, secrets: ["${SENDGRID_KEY}"]}
  crm: {vendor: hubspot, secrets: ["${HUBSPOT_SECRET}"], api: crm, stages: {closedwon: crm.won, closedlost: crm.lost}}
  forms: {vendor: typeform, secrets: "${TYPEFORM}", forms: {abc123: demo.requested}}
  aws: {vendor: ses, topic_arns: ["arn:aws:sns:eu-west-1:1:mail"]}
  other:
    vendor: json
    secrets: ["${HOOK}"]
    window: none
    map: {type: "join('', ['custom.', kind])", id: id, time: at, email: contact.email, data: "{amount: amount}"}
targets:
  crm: {kind: hubspot, token: "${HUBSPOT_TOKEN}"}
  sign: {kind: yousign, token: "file:/run/secrets/yousign", base_url: https://api-sandbox.yousign.app/v3}
  mail: {kind: smtp, url: "smtps://u:${PW}@mx.example.com", from: "Sales <sales@example.com>"}
  hook: {kind: webhook, url: "https://hooks.example.com/lead", secret: "${HOOK_OUT}"}
"""


def test_the_example_is_read_with_its_defaults() -> None:
    """One secret may be a text of its own; a window is 5 minutes unless the file says otherwise."""
    found = parse_connections(EXAMPLE.encode(), "connections.yaml")
    assert found.sources["forms"].secrets == (Secret("${TYPEFORM}"),)
    assert (found.sources["mailer"].window, found.sources["other"].window) == (300_000, None)
    assert found.sites["www"].consent == "required"
    assert found.targets["mail"].kind == "smtp"
    assert parse_connections(b"", "connections.yaml").sources == {}
    assert parse_connections(b"# none yet\n", "connections.yaml").sources == {}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("tokens: [abc]", ":1: tokens[0]", "a secret must not stand here"),
        ("sources: {a: {vendor: sendgrid, secrets: [abc]}}", ":1: sources.a.secrets[0]", 'write "${NAME}"'),
        ("sources: {a: {vendor: sendgrid}}", ":1: sources.a", "`secrets` is missing"),
        ("sources:\n  a: {vendor: sendgird, secrets: '${A}'}", ":2: sources.a", "did you mean 'sendgrid'?"),
        ("sources: {a: {secrets: '${A}'}}", ":1: sources.a", "`vendor` is missing"),
        ("sources: {a: {vendor: hubspot, secrets: '${A}'}}", ":1: sources.a", "add `public_url`"),
        ("sources: {a: {vendor: brevo, secrets: ['${A}', '${B}', '${C}']}}", ":1: sources.a.secrets", "at most 2"),
        ("sources: {a: {vendor: brevo, secrets: '${A}', forms: {}}}", ":1: sources.a.forms", "unknown key 'forms'"),
        ("sources: {a: {vendor: ses}}", ":1: sources.a.topic_arns", "missing"),
        ("sources: {a: {vendor: brevo, secrets: '${A}', window: 5}}", ":1: sources.a.window", "5 is no duration"),
        ("sources: {a: {vendor: zoom, secrets: '${A}', api: crm}}", ":1: sources.a.api", "there is no target 'crm'"),
        ("sources: {a: {vendor: typeform, secrets: '${A}', forms: {f: demo.request}}}", "forms.f", "'demo.requested'?"),
        ("sources: {a: {vendor: json, secrets: '${A}', map: {type: 'x[', id: id}}}", "sources.a.map.type", "no JMESPath"),
        ("sources: {'A b': {vendor: brevo, secrets: '${A}'}}", "sources.A b", "it stands in addresses"),
        ("sites: {www: {origins: ['https://x.example/path']}}", "sites.www.origins", "is no origin"),
        ("sites: {www: {origins: []}}", "sites.www.origins", "at least 1"),
        ("sites: {www: {origins: ['https://x.example'], custom: [demo.requested]}}", "sites.www.custom", "is no custom type"),
        ("targets: {a: {kind: slack, url: 'https://hooks.slack.com/x'}}", "targets.a.url", "a secret must not stand here"),
        ("targets: {a: {kind: webhook, secret: '${A}', url: 'https://hooks.zapier.com/x'}}", "targets.a.url", "is a secret"),
        ("targets: {a: {kind: webhook, secret: '${A}', url: 'https://u:p@x.example'}}", "targets.a.url", "user and password"),
        ("targets: {a: {kind: webhook, secret: '${A}', url: 'http://x.example'}}", "targets.a.url", "is not encrypted"),
        ("targets: {a: {kind: hubspt, token: '${A}'}}", "targets.a", "did you mean 'hubspot'?"),
        ("targets: {a: {kind: smtp, url: 'smtp://u:p@x', from: a@b.c}}", "targets.a.url", "a password must not stand here"),
        ("targets: {a: {kind: smtp, url: 'smtp://u@x', from: a@b.c}}", "targets.a.url", "a password must not stand here"),
        ("targets: {a: {kind: smtp, url: 'mx.example.com', from: a@b.c}}", "targets.a.url", "is no address of a mail server"),
        ("targets: {a: {kind: smtp, url: 'smtp://[x', from: a@b.c}}", "targets.a.url", "is no address"),
        ("targets: {a: {kind: smtp, url: 25, from: a@b.c}}", "targets.a.url", "write the address of a mail server"),
        ("- a", ":1", "write a mapping"),
        ("a: 1\na: 2", ":2: a", ""),
    ],
)
def test_a_mistake_is_named_by_line_and_path(text: str, place: str, words: str) -> None:
    """As in a grid: where, what, and what to write instead."""
    with pytest.raises(ConnectionsError) as error:
        parse_connections(text.encode(), "connections.yaml")
    assert f"connections.yaml{place}" in str(error.value) or place in str(error.value)
    assert words in str(error.value)


def test_a_secret_that_is_not_there_is_named_and_none_is_ever_shown(tmp_path: Path) -> None:
    """By variable, file and line of the reference. What is there stands in no message and in no output."""
    (tmp_path / "connections.yaml").write_text(EXAMPLE.replace("/run/secrets/yousign", f"{tmp_path}/yousign"))
    names = ["LP_TOKEN", "LP_IDENTIFY", "LP_WRITE_KEY", "SENDGRID_KEY", "HUBSPOT_SECRET", "TYPEFORM", "HOOK", "HUBSPOT_TOKEN",
             "PW", "HOOK_OUT"]  # fmt: skip
    environment = dict.fromkeys(names, "hunter2")
    with pytest.raises(ConnectionsError, match=r":\d+: targets\.sign\.token: .*/yousign: No such file"):
        read_connections(str(tmp_path / "connections.yaml"), environment)
    (tmp_path / "yousign").write_text("hunter2\n")
    read_connections(str(tmp_path / "connections.yaml"), environment)
    with pytest.raises(ConnectionsError, match=r":2: tokens\[0\]: the variable LP_TOKEN is not set"):
        read_connections(str(tmp_path / "connections.yaml"), environment | {"LP_TOKEN": ""})
    for words in (["check"], ["show"]):
        done = CliRunner().invoke(command, [*words, str(tmp_path / "connections.yaml")], env=environment)
        assert done.exit_code == 0, done.stderr
        assert "hunter2" not in done.stdout + done.stderr
    shown = json.loads(CliRunner().invoke(command, ["show", str(tmp_path / "connections.yaml")]).stdout)
    assert shown["sources"]["mailer"]["secrets"] == ["${SENDGRID_KEY}"]


def test_secrets_that_are_missing_are_named_beside_mistakes(tmp_path: Path) -> None:
    """Both at once, by line. Else a second run would be needed to hear of the secrets."""
    (tmp_path / "connections.yaml").write_text(EXAMPLE.replace("vendor: typeform", "vendor: typefrom"))
    environment = dict.fromkeys(("LP_TOKEN", "LP_IDENTIFY", "LP_WRITE_KEY", "SENDGRID_KEY", "TYPEFORM", "HOOK", "PW"), "x")
    with pytest.raises(ConnectionsError) as error:
        read_connections(str(tmp_path / "connections.yaml"), environment)
    found = str(error.value)
    assert ":13: sources.forms: unknown vendor 'typefrom', did you mean 'typeform'?" in found
    assert ":12: sources.crm.secrets[0]: the variable HUBSPOT_SECRET is not set" in found
    assert "targets.sign.token: /run/secrets/yousign: " in found
    assert ":24: targets.hook.secret: the variable HOOK_OUT is not set" in found
    assert "SENDGRID_KEY" not in found
    with pytest.raises(ConnectionsError) as error:
        read_connections(str(tmp_path / "connections.yaml"))
    assert "HUBSPOT_SECRET" not in str(error.value)


def test_a_connection_that_is_not_there_is_told_by_those_that_are(tmp_path: Path) -> None:
    """A name near it, or all names."""
    (tmp_path / "connections.yaml").write_text(EXAMPLE)
    for name, words in (("nothing-such", "; it has aws, crm, forms, hook, mail, mailer, other, sign"), ("form", "'forms'?")):
        done = CliRunner().invoke(command, ["test", name, "--file", str(tmp_path / "connections.yaml")])
        assert (done.exit_code, words in done.stderr) == (1, True), done.stderr


def test_secrets_are_resolved_within_texts_and_from_files(tmp_path: Path) -> None:
    """An address with a password in it, and a file's text without its line end."""
    assert Secret("smtps://u:${PW}@host").resolve({"PW": "p"}) == "smtps://u:p@host"
    (tmp_path / "s").write_text(" s3cret \n")
    assert Secret(f"file:{tmp_path}/s").resolve({}) == "s3cret"
    (tmp_path / "s").write_text("\n")
    with pytest.raises(ConnectionsError, match="is empty"):
        Secret(f"file:{tmp_path}/s").resolve({})


def test_the_schema_takes_the_example_and_refuses_a_secret() -> None:
    """An editor that knows the schema marks what `check` would refuse."""
    schema = connections_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    example = json.loads(json.dumps(read_yaml(EXAMPLE.encode()).data))
    assert list(validator.iter_errors(example)) == []
    assert not validator.is_valid({"tokens": ["abc"]})


def test_every_vendor_and_kind_is_one_of_the_union() -> None:
    """The tables by name and the models say the same."""
    for key, table in (("vendor", VENDORS), ("kind", KINDS)):
        for name, model in table.items():
            assert model.model_json_schema()["properties"][key]["const"] == name


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever the file holds is connections, or `ConnectionsError`."""
    try:
        parse_connections(text.encode(), "connections.yaml")
    except ConnectionsError:
        return


def test_a_mail_server_without_a_log_in_has_no_secret() -> None:
    """A relay within the own network asks for none."""
    held = parse_connections(b"targets: {mail: {kind: smtp, url: 'smtp://127.0.0.1:25', from: a@b.c}}", "c.yaml")
    (target,) = held.targets.values()
    assert target.url.resolve({}) == "smtp://127.0.0.1:25"  # type: ignore[union-attr]
