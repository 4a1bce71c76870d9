"""How a field under `with` is written: as a line, as plain text, or as HTML. Templates escape by it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field


class Form(Enum):
    """The form of a text, which a field of `with` has among its metadata. A field without one is a `LINE`."""

    LINE = "line"
    """Plain text without line ends."""
    TEXT = "text"
    """Plain text."""
    HTML = "html"
    """Values within the template are escaped."""


Line: TypeAlias = Annotated[str, Form.LINE, Field(min_length=1)]
Text: TypeAlias = Annotated[str, Form.TEXT]
Html: TypeAlias = Annotated[str, Form.HTML]


class With(BaseModel):
    """The keys under `with` of one action."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
