"""Builds the package; with LEADPULSE_COMPILE=1, the modules in `COMPILED` as machine code too, from the same source (mypyc).

All else is said in `pyproject.toml`. `make compiled` is how to build that form: mypyc asks for everything that mypy asks for.
"""

import os
from typing import Any

from setuptools import setup

COMPILED = (
    "batch/decode", "batch/lead", "batch/plan", "contract/codec", "contract/codec_data", "contract/instants",
    "grid/predicates", "grid/scalars", "identity/accounts", "identity/addresses", "identity/aliases", "identity/erasure",
    "identity/merge", "identity/messages", "identity/recorder", "identity/subject", "scoring/calendar",
    "scoring/compiled_grid", "scoring/compiled_rules", "scoring/counted_apart", "scoring/crossing", "scoring/decay",
    "scoring/fold", "scoring/halving", "scoring/ladder", "scoring/moving", "scoring/occurrences", "scoring/once_per",
    "scoring/outputs", "scoring/packing", "scoring/parts", "scoring/phases", "scoring/prediction", "scoring/reading",
    "scoring/response_time",
    "scoring/schedule", "scoring/score", "scoring/stages", "scoring/velocity", "scoring/weight",
)  # fmt: skip
"""What the hot path runs of `worker.core`. A module with structures of msgspec's is left out: mypyc drops their keywords."""


def extensions() -> list[Any]:
    """Return what is to be compiled."""
    if os.environ.get("LEADPULSE_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    modules = mypycify([f"worker/core/{name}.py" for name in COMPILED], opt_level="3", debug_level="0")
    for module in modules:
        # A compiler may join a product and a sum into one rounding, where the processor can: states would differ by machine.
        module.extra_compile_args = [*module.extra_compile_args, "-ffp-contract=off"]
    return modules


setup(ext_modules=extensions())
