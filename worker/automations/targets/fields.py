"""How a field under `with` is written: as a line, as plain text, as HTML and others. Templates escape by it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from worker.core.grid.email_kind import email_domain
from worker.core.grid.values import shown, wrong


class Form(Enum):
    """The form of a text, which a field of `with` has among its metadata. A field without one is a `LINE`."""

    LINE = "line"
    """Plain text without line ends."""
    TEXT = "text"
    """Plain text."""
    HTML = "html"
    """Values within the template are escaped."""
    SLACK = "slack"
    """Slack's mrkdwn: `&`, `<` and `>` of values within the template are escaped."""
    TEMPLATE = "template"
    """The name of a file of HTML, next to the rules."""
    DOCUMENT = "document"
    """The name of a file below LEADPULSE_DOCUMENTS."""


Line: TypeAlias = Annotated[str, Form.LINE, Field(min_length=1)]
Text: TypeAlias = Annotated[str, Form.TEXT]
Html: TypeAlias = Annotated[str, Form.HTML]
SlackText: TypeAlias = Annotated[str, Form.SLACK]
TemplateFile: TypeAlias = Annotated[str, Form.TEMPLATE]
"""The act has the field `html` in its place. The program makes `text` and `subject` of `html`, where the model knows those
fields and a rule leaves them out: `subject` is its `title`."""

DocumentFile: TypeAlias = Annotated[str, Form.DOCUMENT]
"""A document that is missing, or outside of the folder, is a dead act."""


def _address(text: str) -> str:
    if len(text) > 320 or email_domain(text) is None:
        raise wrong(f"{shown(text)} is no e-mail address: write exactly one, as in anna@example.com")
    return text


Address: TypeAlias = Annotated[str, Form.LINE, AfterValidator(_address)]
"""Exactly one valid e-mail address."""


class With(BaseModel):
    """The keys under `with` of one action."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)
