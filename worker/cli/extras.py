"""Libraries of the optional extras: a command without them ends with the line that installs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

LIBRARIES: Final = {
    "archive": ("duckdb", "fsspec", "pyarrow"),
    "learn": ("duckdb", "fsspec", "matplotlib", "numpy", "pyarrow", "scipy", "sklearn"),
    "spark": ("pandas", "pyspark"),
}
"""Extra → what it brings."""


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """End the command with exit code 2 where a library of *extra* is missing. Import such libraries within."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in LIBRARIES[extra]:
            raise
        raise click.UsageError(f"this command needs {library}: pip install 'leadpulse[{extra}]'") from None
