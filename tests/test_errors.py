"""The error tree: what its picture says is what the classes say, and the supervisor judges by it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from ops.dev.prose import REPOSITORY, tracked
from worker import errors
from worker.core.batch.checkpoint import CheckpointError
from worker.core.contract.journal import JournalError
from worker.core.grid.messages import GridError
from worker.core.scoring.state import UnreadableState
from worker.engine.supervisor import _CAUSES, _worst

CORE = {JournalError, UnreadableState, GridError, CheckpointError}


def _tree(kind: type[errors.LeadPulseError]) -> Iterator[type[errors.LeadPulseError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _tree(one)


def test_the_picture_shows_every_error_with_what_it_ends_and_what_mends_it() -> None:
    """Parent, reach and mend, row by row."""
    drawn, above = {}, ["LeadPulseError"]
    for line in (errors.__doc__ or "").split("\n"):
        branch, found, rest = line.partition("── ")
        if found:
            depth = len(branch) // 4
            name, ends, *mend = rest.replace("(core)", "").split()
            drawn[name] = (above[depth - 1], ends, " ".join(mend))
            above[depth:] = [name]
    kinds = list(_tree(errors.LeadPulseError))
    assert set(kinds) >= CORE
    assert drawn == {kind.__name__: (kind.__bases__[0].__name__, kind.ends.name.lower(), kind.mended_by) for kind in kinds}
    assert {kind.cause for kind in kinds} == set(_CAUSES)


def test_every_other_error_is_named_as_one_that_stays_in_its_module() -> None:
    """A new exception class is put into the tree, or into the list below it."""
    named = set((errors.__doc__ or "").replace("`", " ").replace(",", " ").replace(".", " ").split())
    known = {kind.__name__ for kind in _tree(errors.LeadPulseError)} | named
    files = tracked("worker/*.py")
    for file in files:
        if file.startswith(("worker/demo/", "worker/cli/demo")):
            continue
        for node in ast.walk(ast.parse((REPOSITORY / file).read_text())):
            if isinstance(node, ast.ClassDef) and any(
                getattr(base, "id", "").endswith(("Error", "Exception")) for base in node.bases
            ):
                assert node.name.startswith("_") or node.name in known, f"{file}:{node.lineno}"


@pytest.mark.parametrize(
    ("group", "worst"),
    [
        ([errors.ProducerFailed("a"), errors.Fenced("b")], errors.Fenced),
        ([errors.IncarnationEnded("a"), errors.StoreFull("b")], errors.StoreFull),
        ([ValueError("a"), errors.OutOfTime("b")], errors.OutOfTime),
        ([errors.StoreUnavailable("a"), errors.StaleStore("b"), errors.ProducerFailed("c")], errors.StaleStore),
        ([errors.Fenced("a"), JournalError("b")], JournalError),
        ([errors.StoreRefused("a"), errors.KafkaRefused("b")], errors.KafkaRefused),
    ],
)
def test_of_several_errors_the_one_that_reaches_furthest_counts(group: list[Exception], worst: type[Exception]) -> None:
    """Of those that reach equally far, the cause of the others."""
    assert type(_worst(ExceptionGroup("", group))) is worst
