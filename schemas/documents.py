"""The documents made from the models: a JSON Schema 2020-12 file for each event type, AsyncAPI 3.0 and OpenAPI 3.1."""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from schemas.acted import ACTED_EXAMPLE, LeadActed
from schemas.envelope import MAX_BYTES, CloudEvent
from schemas.examples import input_example, output_example
from schemas.inputs import INPUTS
from schemas.openapi import openapi
from schemas.outputs import OUTPUTS, DeadLetterHeaders
from schemas.plain import PlainSchema
from worker.core.contract import event_types
from worker.core.contract.event_types import FAMILIES, INPUT_TOPICS, Family

HERE = Path(__file__).parent
GRID_PAGE = HERE.parent / "docs" / "grid.md"
"""The reference of the grid language. Only its table of event types is generated."""

_ABOUT = f"""\
LeadPulse scores B2B leads while they act: it reads events, keeps scores and publishes each change of stage once.

Every record is a CloudEvent 1.0 about one lead (`subject`), at most {MAX_BYTES:,} bytes. Send it in one of two ways:

- **structured**: the value is the whole event in JSON, with the header `content-type: application/cloudevents+json`;
- **binary**: the attributes are headers (`ce_specversion`, `ce_id`, `ce_source`, `ce_type`, `ce_subject`, `ce_time`, UTF-8),
  the value is `data` alone in JSON, with the header `content-type: application/json`.

The key is the lead id (UTF-8). A record with another key, or none, is forwarded to the partition that owns its lead.
The event's `type` counts, not its topic. Unknown types are skipped. Unreadable records go to `lead.dead`, with the reason in
headers. The same (`source`, `id`) sent twice counts once.

Consumers of the output read with `isolation.level=read_committed`. Events gain fields over time: ignore unknown fields.
"""

_TRACE = {
    "type": "object",
    "properties": {
        "traceparent": {
            "type": "string",
            "description": "W3C trace context, optional. An output carries that of its cause, unchanged.",
        },
        "tracestate": {"type": "string", "description": "Belongs to `traceparent`."},
    },
}

_KEY = {"type": "string", "description": "The lead id, in UTF-8."}


def json_schemas() -> dict[str, str]:
    """Return file name → text of each event type's JSON Schema; `lead.erased`, which is read and published, has two."""
    made = {name: _schema(model) | {"title": name, "examples": [input_example(name)]} for name, model in INPUTS.items()}
    for name, model in OUTPUTS.items():
        key = f"{name}.published" if name in INPUTS else name
        made[key] = _schema(model) | {"title": name, "examples": [output_example(name)]}
    made["lead.acted"] = _schema(LeadActed) | {"title": "lead.acted", "examples": [ACTED_EXAMPLE]}
    made["lead.dead.headers"] = _schema(DeadLetterHeaders)
    return {
        f"{key}.schema.json": json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:leadpulse:{key}"} | schema,
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
        for key, schema in made.items()
    }


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(schema_generator=PlainSchema)


def asyncapi() -> str:
    """Return the AsyncAPI document, in YAML."""
    models: list[type[BaseModel]] = [*INPUTS.values(), *OUTPUTS.values(), LeadActed, DeadLetterHeaders]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
        schema_generator=PlainSchema,
    )
    messages = {
        **{_key(model): _message(name, model, input_example(name)) for name, model in INPUTS.items()},
        **{_key(model): _message(name, model, output_example(name)) for name, model in OUTPUTS.items()},
        _key(LeadActed): _message("lead.acted", LeadActed, ACTED_EXAMPLE),
        "DeadLetter": _dead_letter(),
    }
    channels = {topic: _input_channel(topic, family) for family, topic in INPUT_TOPICS.items()}
    channels |= {f"published.{name}": _output_channel(name, _key(model)) for name, model in OUTPUTS.items()}
    channels["published.lead.acted"] = _output_channel("lead.acted", _key(LeadActed)) | {
        "description": "`leadpulse act` publishes here how each act ended. Kept for 400 days."
    }
    channels["published.lead.dead"] = _output_channel("lead.dead", "DeadLetter")
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "LeadPulse",
            "version": "1.0.0",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "tags": [{"name": "lead scoring"}],
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {
            "kafka": {
                "host": "{broker}",
                "protocol": "kafka",
                "description": "The cluster that LEADPULSE_KAFKA names.",
                "variables": {"broker": {"default": "localhost:9092", "description": "host:port of a broker"}},
            }
        },
        "channels": channels,
        "operations": {
            **{f"read.{topic}": _operation("receive", topic, channels[topic]) for topic in INPUT_TOPICS.values()},
            **{
                f"publish.{topic.removeprefix('published.')}": _operation("send", topic, channel)
                for topic, channel in channels.items()
                if topic.startswith("published.")
            },
        },
        "components": {"messages": messages, "schemas": definitions["$defs"]},
    }
    yaml = YAML()
    yaml.width = 128
    yaml.representer.ignore_aliases = lambda _data: True  # a reader finds each example whole
    text = io.StringIO()
    yaml.dump(_readable(document), text)
    return "# Made by `python -m schemas` from the models in schemas/: do not edit.\n" + text.getvalue()


def _readable(value: Any) -> Any:
    """Return *value* with texts of several lines as YAML blocks."""
    if isinstance(value, Mapping):
        return {key: _readable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return LiteralScalarString(value) if isinstance(value, str) and "\n" in value else value


def _key(model: type[CloudEvent]) -> str:
    return model.__name__


def _message(name: str, model: type[CloudEvent], example: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "summary": inspect.getdoc(model),
        "contentType": "application/cloudevents+json",
        "headers": _TRACE,
        "payload": {"$ref": f"#/components/schemas/{_key(model)}"},
        "bindings": {"kafka": {"key": _KEY, "bindingVersion": "0.5.0"}},
        "examples": [{"name": name, "payload": example}],
    }


def _dead_letter() -> dict[str, Any]:
    return {
        "name": "lead.dead",
        "title": "lead.dead",
        "summary": "A record that could not be read: unchanged key, value and headers, and headers with place and reason.",
        "contentType": "application/octet-stream",
        "headers": {"$ref": "#/components/schemas/DeadLetterHeaders"},
        "payload": {"description": "The unchanged bytes."},
        "bindings": {"kafka": {"key": {"description": "The unchanged bytes."}, "bindingVersion": "0.5.0"}},
    }


def _input_channel(topic: str, family: Family) -> dict[str, Any]:
    return {
        "address": topic,
        "description": "Any type may come here; the listed ones are usual. The list of topics is a setting. "
        "All topics have the same number of partitions.",
        "messages": {
            _key(model): {"$ref": f"#/components/messages/{_key(model)}"}
            for name, model in INPUTS.items()
            if FAMILIES[name.partition(".")[0]] == family
        },
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _output_channel(topic: str, message: str) -> dict[str, Any]:
    return {
        "address": topic,
        "description": "A setting may route it to another topic.",
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _operation(action: str, channel: str, described: dict[str, Any]) -> dict[str, Any]:
    operation = {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": f"LeadPulse {'reads' if action == 'receive' else 'publishes'} {described['address']}.",
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in described["messages"]],
    }
    if action == "receive":
        group = {"type": "string", "description": "leadpulse.NAMESPACE", "examples": ["leadpulse.default"]}
        operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": "0.5.0"}}
    return operation


def grid_page() -> str:
    """Return the reference of the grid language with its table of event types written anew."""
    head = "| type | fields of `data` |\n|---|---|\n"
    before, _, after = GRID_PAGE.read_text(encoding="utf-8").partition(head)
    return before + head + "".join(_rows()) + "\n" + after.partition("\n\n")[2]


def _rows() -> Iterator[str]:
    for data in dict.fromkeys(row.data.name for row in event_types.INPUTS):
        rows = [row for row in event_types.INPUTS if row.data.name == data]
        fields = [f"**`{name}`**" if field.required else f"`{name}`" for name, field in rows[0].data.fields.items()]
        if rows[0].name == "lead.erased":
            fields = ["none, and no rule can name it"]
        names = [row.name for row in rows]
        if names == [event_types.CUSTOM]:
            names, fields = ["custom.NAME"], ["any"]
        yield f"| {' '.join(f'`{name}`' for name in names)} | {', '.join(fields)} |\n"


def documents() -> dict[Path, str]:
    """Return every generated file with its text."""
    made = {HERE / "json" / file: text for file, text in json_schemas().items()}
    return made | {HERE / "asyncapi.yaml": asyncapi(), HERE / "openapi.json": openapi(), GRID_PAGE: grid_page()}
