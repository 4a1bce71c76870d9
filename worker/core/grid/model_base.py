"""The base of the models of files that people write: frozen, strict, without unknown keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue


class Model(BaseModel):
    """A part of a file as written."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_by_alias=True, validate_by_name=False, use_attribute_docstrings=True
    )


class WrittenSchema(GenerateJsonSchema):
    """JSON Schema of a file as written. Its defaults are values that a person could write."""

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        """Leave out the default of a key that is simply absent, and of a part whose keys have defaults of their own."""
        default = schema.get("default")
        return (
            super().default_schema(schema) if isinstance(default, str | int | float) else self.generate_inner(schema["schema"])
        )
