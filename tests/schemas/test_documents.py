"""The generated documents: equal to the models, valid by their own standards, and true of their own examples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry
from ruamel.yaml import YAML

from schemas import INPUTS, OUTPUTS, read_input, read_output
from schemas.documents import GRID_PAGE, HERE, documents, json_schemas
from schemas.examples import input_example, output_example
from schemas.outputs import DeadLetterHeaders
from worker.core.batch.plan import REFUSED
from worker.core.contract.codec import REASONS, decode
from worker.core.contract.dead_letter import UNSENT
from worker.core.contract.event_types import INPUT_TOPICS, row_of
from worker.core.contract.model import Event, Record
from worker.core.contract.unread import UNREAD

ASYNCAPI_SCHEMA = json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8"))

SCHEMAS: dict[str, dict[str, Any]] = {file: json.loads(text) for file, text in json_schemas().items()}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI document as its readers load it."""
    document: dict[str, Any] = YAML(typ="safe").load((HERE / "asyncapi.yaml").read_text(encoding="utf-8"))
    return document


def followed(document: dict[str, Any], ref: str) -> Any:
    """Return what a local `$ref` names."""
    found: Any = document
    for step in ref.removeprefix("#/").split("/"):
        found = found[step]
    return found


def refs(value: Any) -> list[str]:
    """Return every `$ref` in a document."""
    if isinstance(value, dict):
        return [value["$ref"]] if "$ref" in value else [ref for inner in value.values() for ref in refs(inner)]
    return [ref for inner in value for ref in refs(inner)] if isinstance(value, list) else []


def test_the_files_are_what_the_models_make() -> None:
    """Producers read the files; the worker follows the models. `python -m schemas` writes them anew."""
    made = documents()
    on_disk = {*(HERE / "json").iterdir(), HERE / "asyncapi.yaml", HERE / "openapi.json", GRID_PAGE}
    assert {file.name for file in on_disk} == {file.name for file in made}
    stale = [file.name for file, text in made.items() if file.read_text(encoding="utf-8") != text]
    assert not stale, "run `make docs`"


@pytest.mark.parametrize("file", SCHEMAS)
def test_a_schema_is_valid_json_schema_and_holds_for_its_own_example(file: str) -> None:
    """An example that breaks its own schema sends producers the wrong way."""
    schema = SCHEMAS[file]
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    for example in schema.get("examples", []):
        validator.validate(example)


@pytest.mark.parametrize("event_type", INPUTS)
def test_an_input_example_is_read_by_model_and_codec(event_type: str) -> None:
    """What the documents show is what the worker takes."""
    value = json.dumps(input_example(event_type)).encode()
    event = decode(Record("lead.events.web", 0, 0, None, None, value))
    assert isinstance(event, Event)
    assert row_of(event.type) == event_type
    assert read_input(value).type == event.type
    assert json.loads(read_input(value).to_json()) == input_example(event_type)


@pytest.mark.parametrize("event_type", OUTPUTS)
def test_an_output_example_is_read_by_its_model(event_type: str) -> None:
    """And its reasons add up, as the contract says of real ones."""
    example = output_example(event_type)
    assert read_output(json.dumps(example)).type == event_type
    data = example["data"]
    if "reasons" in data:
        assert sum(reason["points"] for reason in data["reasons"]) == pytest.approx(data["score"], abs=1e-6)
        assert data["fit"] + data["engagement"] == pytest.approx(data["score"], abs=1e-6)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("page.viewed", {"data": {}}),
    ("page.viewed", {"data": None}),
    ("page.viewed", {"data": {"url": 5}}),
    ("page.viewed", {"data": {"url": "/", "duration_s": -1}}),
    ("page.viewed", {"data": {"url": "/", "machine": "yes"}}),
    ("webinar.attended", {"data": {"webinar_id": "w", "share": 1.5}}),
    ("webinar.attended", {"data": {"webinar_id": "w", "minutes": "38"}}),
    ("lead.identified", {"data": {"anonymous_id": None}}),
    ("crm.won", {"data": []}),
    ("crm.won", {"subject": ""}),
    ("crm.won", {"specversion": "0.3"}),
    ("crm.won", {"time": "2026-03-05T12:34:56"}),
    ("crm.won", {"time": "1969-03-05T12:34:56Z"}),
    ("crm.won", {"time": "9999-03-05T12:34:56Z"}),
    ("crm.won", {"data_base64": 5}),
]


@pytest.mark.parametrize(("event_type", "change"), WRONG)
def test_the_schemas_refuse_what_the_models_refuse(event_type: str, change: dict[str, Any]) -> None:
    """A producer who checks with the JSON Schema alone is told of the usual mistakes before the dead-letter topic tells."""
    event = input_example(event_type) | change
    assert not Draft202012Validator(SCHEMAS[f"{event_type}.schema.json"]).is_valid(event)
    with pytest.raises(ValueError, match="validation error"):
        read_input(json.dumps(event))


def test_the_schemas_allow_more_fields_and_null_for_an_optional_one() -> None:
    """The grid may look at any field of `data`; null is the same as absent."""
    event = input_example("page.viewed")
    event |= {"traceparent": "00-1", "data": {"url": "/", "page_type": None, "scroll": [1, {"x": 2}], "machine": None}}
    Draft202012Validator(SCHEMAS["page.viewed.schema.json"]).validate(event)
    assert read_input(json.dumps(event)).type == "page.viewed"


def test_the_asyncapi_document_is_valid_by_the_official_schema() -> None:
    """The schema is the AsyncAPI initiative's own; `check_asyncapi.mjs` runs their parser as well, where there is npm."""
    validator = Draft7Validator(ASYNCAPI_SCHEMA, registry=Registry())
    faults = [f"{'.'.join(map(str, fault.path))}: {fault.message[:200]}" for fault in validator.iter_errors(asyncapi())]
    assert not faults


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    """The document is complete in itself: it can be pasted into any AsyncAPI tool."""
    document = asyncapi()
    for ref in refs(document):
        assert ref.startswith("#/"), ref
        assert followed(document, ref) is not None


def test_every_type_has_a_channel_and_an_operation() -> None:
    """A new type that nobody can find in the document is not documented."""
    document = asyncapi()
    told: dict[str, set[str]] = {"receive": set(), "send": set()}
    for operation in document["operations"].values():
        for message in operation["messages"]:
            told[operation["action"]].add(followed(document, followed(document, message["$ref"])["$ref"])["name"])
    assert told["receive"] == set(INPUTS)
    assert told["send"] == {*OUTPUTS, "lead.acted", "lead.dead"}
    assert {channel["address"] for channel in document["channels"].values()} == {
        *INPUT_TOPICS.values(), *OUTPUTS, "lead.acted", "lead.dead"
    }  # fmt: skip


def test_the_asyncapi_messages_hold_for_their_examples() -> None:
    """The document's own copy of the schemas says the same as the files."""
    document = asyncapi()
    for message in document["components"]["messages"].values():
        for example in message.get("examples", []):
            schema = message["payload"] | {"components": document["components"]}
            Draft202012Validator(schema, registry=Registry()).validate(example["payload"])


def test_the_dead_letter_headers_name_every_reason() -> None:
    """Whoever reads `lead.dead` finds what each code means."""
    told = DeadLetterHeaders.model_fields["reason"].description or ""
    assert {*REASONS, *REFUSED, *UNSENT, *UNREAD} <= set(re.findall("`([a-z_]+)`", told))
