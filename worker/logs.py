"""What the process says while it runs: one line for each event of the machine's life, for people or for programs.

A line of JSON holds the words of the other form, and what they are about as fields: `fields("partition.ready", partition=3)`.
"""

from __future__ import annotations

import copy
import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any, Final, Literal

from worker.core.contract.printable import LEFT_OUT, quotes_nothing, without_leads, words

Format = Literal["auto", "json", "text"]

_FIELDS: Final = "leadpulse"
"""The attribute of a `LogRecord` that holds them: no library has one of that name."""


def fields(event: str, **values: Any) -> dict[str, dict[str, Any]]:
    """Return the `extra` of a log call: the *event*'s name and its *values*. The name stays when the message changes.

    Values must not be data of leads or secrets, because readers of logs may not see those.
    """
    return {_FIELDS: {"event": event, **values}}


class TextLines(logging.Formatter):
    """Lines for people. They name no lead, whatever an exception quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with its traceback."""
        shown = copy.copy(record)
        shown.msg, shown.args, shown.exc_text = message(record), None, None
        return super().format(shown)

    def formatException(self, ei: Any) -> str:
        """Return the traceback."""
        return exception_text(ei[1])


class _Words(str):
    """Words that `%r` shows as they are."""

    __slots__ = ()
    __repr__ = str.__str__


def message(record: logging.LogRecord) -> str:
    """Return what *record* says. Of exceptions among its arguments only the words that quote no lead stay."""
    if isinstance(record.args, tuple):
        record = copy.copy(record)
        record.args = tuple(
            _Words(words(argument)) if isinstance(argument, BaseException) and not quotes_nothing(type(argument)) else argument
            for argument in record.args or ()
        )
    return without_leads(record.getMessage())


def exception_text(err: BaseException | None) -> str:
    """Return the traceback of *err*, with what it came of: no exception in it names a lead."""
    if err is None:
        return ""
    trace = traceback.TracebackException.from_exception(err)
    _leave_out(trace)
    return "".join(trace.format()).rstrip("\n")


def _leave_out(trace: traceback.TracebackException) -> None:
    """Keep the words of those exceptions only that are known not to quote a lead."""
    untyped: Any = trace  # the words have no public name
    known = quotes_nothing(untyped.exc_type) or trace.exceptions is not None  # a group says how many it holds
    untyped._str = without_leads(untyped._str) if known else LEFT_OUT
    for other in (trace.__cause__, trace.__context__, *(trace.exceptions or ())):
        if other is not None:
            _leave_out(other)


class JsonLines(TextLines):
    """One JSON object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, then fields, then `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Values that JSON does not know are shown as text, because a log call must not fail."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname,
            "logger": record.name,
            "message": message(record),
        }
        line |= {name: value for name, value in getattr(record, _FIELDS, {}).items() if name not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


_BAD_REQUESTS: Final = frozenset({"HttpProcessingError", "RequestPayloadError"})
"""Classes of aiohttp, by name: commands without a server do not import it."""


class NoBadRequests(logging.Filter):
    """Drops log records about malformed HTTP requests. Anyone who can reach the port could otherwise flood the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether *record* is about something else."""
        error = record.exc_info[1] if record.exc_info else None
        return error is None or _BAD_REQUESTS.isdisjoint(one.__name__ for one in type(error).__mro__)


def is_json(form: Format, terminal: bool) -> bool:
    """Return whether lines are JSON: as *form* says, and with `auto` wherever no person sits at a *terminal*."""
    return form == "json" or (form == "auto" and not terminal)


def configuration(form: Format, terminal: bool) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes: all loggers' lines to stderr, without malformed HTTP requests."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"()": TextLines, "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            "json": {"()": JsonLines},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json" if is_json(form, terminal) else "text"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "filters": {"no bad requests": {"()": NoBadRequests}},
        "loggers": {
            "leadpulse": {"level": "INFO"},
            "worker": {"level": "INFO"},
            "aiohttp.server": {"filters": ["no bad requests"]},
        },
    }
