"""The faults of `make planted` can be planted in the core as it is."""

from __future__ import annotations

import pytest

from tests.planted import FAULTS, ROOT, Fault, planted


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_changes_one_place_of_the_core(fault: Fault) -> None:
    """Code that was written anew takes its fault along, or the property is no longer known to be held."""
    assert planted(fault) != ROOT.joinpath(fault.file).read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_the_test_of_a_fault_is_there(fault: Fault) -> None:
    """A test that was renamed would be an error of pytest's, not a fault that was seen."""
    file, _, name = fault.test.partition("::")
    assert f"def {name}" in ROOT.joinpath(file).read_text(encoding="utf-8")
