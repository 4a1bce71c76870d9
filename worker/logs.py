"""What the process says while it runs: one line for each event of the machine's life, for people or for programs.

A line of JSON holds the words of the other form, and what they are about as fields: `fields("partition.ready", partition=3)`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final, Literal

Format = Literal["auto", "json", "text"]

_FIELDS: Final = "leadpulse"
"""The attribute of a `LogRecord` that holds them: no library has one of that name."""


def fields(event: str, **values: Any) -> dict[str, dict[str, Any]]:
    """Return what a log call takes as `extra`: the *event*'s name, which stays when its words change, and what it is about.

    No values of leads and no secrets: whoever may read logs may not read those.
    """
    return {_FIELDS: {"event": event, **values}}


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, then fields, then `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. What is no JSON is shown as text: a log call must not fail for a value."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said: dict[str, Any] = {"time": at, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        said |= {name: value for name, value in getattr(record, _FIELDS, {}).items() if name not in said}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False, default=str)


def is_json(form: Format, terminal: bool) -> bool:
    """Return whether lines are JSON: as *form* says, and with `auto` wherever no person sits at a *terminal*."""
    return form == "json" or (form == "auto" and not terminal)


def configuration(form: Format, terminal: bool) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes: all loggers' lines to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            "json": {"()": JsonLines},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json" if is_json(form, terminal) else "text"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {"leadpulse": {"level": "INFO"}, "worker": {"level": "INFO"}},
    }
