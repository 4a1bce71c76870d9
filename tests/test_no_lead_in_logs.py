"""Logs and errors name no lead: a mark stands for it, by which `leadpulse explain --mark` finds it."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from worker.adapters.redis_client import translated
from worker.core.batch.lead import Lead
from worker.core.batch.plan import plan_events
from worker.core.contract.codec import decode
from worker.core.contract.marks import lead_mark, shown_mark
from worker.core.contract.model import Event, Record
from worker.core.contract.printable import without_leads, words
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import LeadState, UnreadableState, pack
from worker.logs import JsonLines, TextLines, configuration, exception_text

WORKER = Path(__file__).parent.parent / "worker"
FOR_PEOPLE = ("cli", "demo", "intake", "queries", "insight", "grid")
"""Folders whose errors answer a person who named the lead, or that know of none."""
ABOUT_A_LEAD = {
    "lead", "leads", "lead_id", "lead_ids", "subject", "visitor", "alias", "aliases", "holder", "holders", "member", "members",
    "email", "address", "event", "item", "items", "record", "records", "key", "keys", "write", "writes", "output", "outputs",
    "message", "messages", "state", "states", "packed", "traits", "data",
}  # fmt: skip
"""What holds a lead's id, or something that does."""
SAFE_CALLS = {"len", "shown_mark"}
OTHERS = {
    ("adapters/kafka_admin.py", "message"),  # what a broker says of a topic
    ("engine/repartition.py", "members"),  # how many workers a group has
    ("engine/repartition_acts.py", "members"),  # how many processes a group has
    ("automations/targets/hubspot_contacts.py", "key"),  # the name of a property
    ("automations/dispatch.py", "state"),  # how an act ended
    ("automations/templates.py", "message"),  # what Jinja says of a template
    ("engine/refold.py", "records"),  # how many there are
}
"""Names that hold something else there."""
SAFE_ATTRIBUTES = {"topic", "partition", "offset", "timestamp_ms", "batch", "kind", "id_", "size", "base", "detail", "reason"}
LEAD = "Ada Lovelace <ada@acme.example>"
GRID = "grid: g\nversion: 1\nengagement: {rules: [{id: v, points: 1, on: page.viewed}]}\nstages: {mql: {enter: 1}}\n"
SCORER = CompiledGrid(parse_grid(GRID, "g"), "/leadpulse/t")


def modules() -> Iterator[Path]:
    """Yield the worker's modules that log or raise while a worker runs."""
    for path in sorted(WORKER.rglob("*.py")):
        if not set(path.relative_to(WORKER).parts) & set(FOR_PEOPLE):
            yield path


def spoken(node: ast.AST) -> Iterator[str]:
    """Yield the names in *node* whose values become words: not those that are counted, marked, or asked for their place."""
    if isinstance(node, ast.Call):
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if called in SAFE_CALLS or (called == "map" and isinstance(node.args[0], ast.Name) and node.args[0].id in SAFE_CALLS):
            return
    if isinstance(node, ast.Attribute):
        if node.attr in SAFE_ATTRIBUTES:
            return
        yield node.attr
    if isinstance(node, ast.Name):
        yield node.id
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.comprehension) and child is not node.iter):
            yield from spoken(child)


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what is logged, and what is said by the exceptions that are raised."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            if node.func.value.id in ("log", "logger", "logging"):
                yield from [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from node.exc.args


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(WORKER)))
def test_no_statement_that_logs_or_raises_says_what_may_be_a_lead(path: Path) -> None:
    """Whoever adds one says `shown_mark(lead)`, a place, or a number."""
    said = {
        f"line {getattr(node, 'lineno', 0)}: {name}"
        for node in statements(ast.parse(path.read_text(encoding="utf-8")))
        for name in spoken(node)
        if name in ABOUT_A_LEAD and (str(path.relative_to(WORKER)), name) not in OTHERS
    }
    assert said == set()


class Kept(logging.Handler):
    """Keeps lines."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's line."""
        self.lines.append(self.format(record))


def lines_of(log: Callable[[logging.Logger], None]) -> list[str]:
    """Return what both forms of the log make of what *log* says."""
    lines: list[str] = []
    for formatter in (JsonLines(), TextLines(configuration("text", True)["formatters"]["text"]["format"])):
        handler = Kept(lines)
        handler.setFormatter(formatter)
        logger = logging.Logger("worker.x")
        logger.addHandler(handler)
        log(logger)
    return lines


def test_a_fold_that_fails_says_the_mark_of_its_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage may show anywhere, as any exception: a `KeyError` quotes what it did not find."""
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "page.viewed", "subject": LEAD, "data": {"url": "/"}}
    decoded = decode(Record("t", 0, 0, None, None, json.dumps(event | {"time": "2026-01-01T00:00:00Z"}).encode()))
    assert isinstance(decoded, Event)
    with pytest.raises(UnreadableState) as unreadable:
        plan_events(SCORER, {LEAD: b"\x81" + LEAD.encode()}, [decoded], None)
    assert f"mark {shown_mark(LEAD)}" in str(unreadable.value)

    def fail(self: Lead, *_: object) -> None:
        raise KeyError(self.name) from ValueError(f"what {self.name} did")

    monkeypatch.setattr(Lead, "take", fail)
    with pytest.raises(KeyError) as failed:
        plan_events(SCORER, {LEAD: pack(LeadState())}, [decoded], None)
    group = ExceptionGroup("unhandled errors in a TaskGroup", [failed.value])
    for err in (unreadable.value, failed.value, group):
        said = lines_of(lambda log, err=err: log.error("partition %d: %s, %r", 3, err, err, exc_info=err))  # type: ignore[misc]
        assert len(said) == 2
        assert all(LEAD not in line and "Lovelace" not in line and "ada@" not in line for line in said), said
        assert all(type(err).__name__ in line and "Traceback" in line for line in said), said
    assert f"while the lead with mark {shown_mark(LEAD)} was folded" in exception_text(group)


def test_what_redis_quotes_of_a_command_is_left_out() -> None:
    """redis-py writes a failed pipeline's command into the error, a lead's key and all; Redis itself may name a key."""
    piped = ResponseError("OOM command not allowed")
    Pipeline.annotate_exception(None, piped, 3, ("ZSCORE", "{ns:0}:due", LEAD))  # type: ignore[arg-type]
    assert LEAD in str(piped)
    named = ResponseError(f"WRONGTYPE at {{ns:0}}:lead:{LEAD}")
    for err in (piped, named):
        assert LEAD not in str(translated(err, "partition 0 in Redis"))
        for line in lines_of(lambda log, err=err: log.warning("Redis: %r", err, exc_info=err)):  # type: ignore[misc]
            assert LEAD not in line
    assert without_leads(str(piped)).startswith("A command of a pipeline caused error: ")
    assert "OOM command not allowed" in without_leads(str(piped))
    assert without_leads("nothing to hide") == "nothing to hide"


def test_an_error_that_nobody_foresaw_stops_without_its_words() -> None:
    """The last line of a worker goes into a log as well."""
    assert words(KeyError(LEAD)) == "KeyError (its words may quote a lead and are left out)"
    assert words(OSError(5, "io")) == "OSError(5, 'io')"


def test_a_mark_is_the_beginning_of_an_ids_digest() -> None:
    """Anybody can find it without LeadPulse: `printf %s LEAD | sha256sum`."""
    assert shown_mark("lead-1") == sha256(b"lead-1").hexdigest()[:12]
    assert f"{lead_mark('lead-1'):016x}".startswith(shown_mark("lead-1"))
