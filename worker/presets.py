"""Grids by name: a file, or one of those that come with LeadPulse (`grids/`)."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from worker.core.grid.model_text import Written, model_file
from worker.core.grid.models import Grid, parse_grid
from worker.errors import GridNotFound


def presets() -> list[str]:
    """Return the names of the grids that come with LeadPulse."""
    return sorted(entry.name.removesuffix(".yaml") for entry in files("grids").iterdir() if entry.name.endswith(".yaml"))


def _not_found(name: str, why: str) -> GridNotFound:
    example = f"examples/{name}"
    hint = f"; did you mean {example}?" if files("grids").joinpath(f"{example}.yaml").is_file() else ""
    return GridNotFound(name, f"{why}{hint}; give a YAML file or one of: {', '.join(presets())}")


def grid_path(name: str) -> Path:
    """Return the file of the grid *name*: that file itself, else the preset's. A file wins over a preset of its name.

    Raises `GridNotFound` when there is neither.
    """
    path = Path(name)
    if path.exists():
        return path
    preset = files("grids").joinpath(f"{name}.yaml")
    if not preset.is_file():
        raise _not_found(name, "No such file or directory")
    with as_file(preset) as found:
        return found


def read_written(path: Path) -> Written:
    """Return the grid in the file *path*, with the model beside it. Raises `OSError` where the grid itself cannot be read."""
    source = path.read_bytes()
    name = model_file(source)
    if name is None:
        return Written(source)
    try:
        return Written(source, (path.parent / name).read_bytes())
    except OSError as err:
        return Written(source, err.strerror)


def read_grid(name: str) -> Grid:
    """Return the grid *name*, checked. Raises `GridNotFound`, and `GridError` with every mistake."""
    try:
        source, model = read_written(grid_path(name))
    except OSError as err:
        raise _not_found(name, str(err.strerror)) from err
    return parse_grid(source, name, model)
