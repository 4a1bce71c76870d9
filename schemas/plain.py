"""JSON Schema as one would write it by hand, of pydantic models."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema


class PlainSchema(GenerateJsonSchema):
    """JSON Schema as one would write it: no titles made of names, no `default: null`, `type: [string, null]` for optional."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return that no title is made of a field's name."""
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema of a value with a default, of which `null` goes without saying."""
        made = super().default_schema(schema)
        if made.get("default", ...) is None:
            del made["default"]
        return made

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Return the schema of an optional value, in one piece where it has one type."""
        inner = self.generate_inner(schema["schema"])
        if isinstance(inner.get("type"), str) and "enum" not in inner and "const" not in inner:
            return {**inner, "type": [inner["type"], "null"]}
        return super().nullable_schema(schema)

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Return the schema of a union, without OpenAPI's `discriminator`."""
        made = super().tagged_union_schema(schema)
        del made["discriminator"]  # OpenAPI's object, which AsyncAPI refuses; each variant's `const` says as much
        return made
