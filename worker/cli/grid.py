"""`leadpulse grid`: checks, shows and compares scoring grids."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from worker.cli.common import (
    NOT_EVENTS,
    language_option,
    load_grid,
    load_settings,
    opened,
    run_async,
    settings_flags,
    shown_name,
)
from worker.core.grid.diff import Difference, compare
from worker.core.grid.lint import Lint, lint
from worker.core.grid.messages import GridError, Mistake
from worker.core.grid.models import Grid, grid_schema
from worker.core.grid.order import Entry
from worker.core.grid.report import show_html, show_markdown
from worker.core.insight.seen_traits import traits_seen
from worker.engine.operations import force_grid, grid_in_force, is_in_force
from worker.errors import GridNotFound
from worker.presets import read_grid


@click.group()
def grid() -> None:
    """Check, show and compare scoring grids.

    A FILE is a YAML file, or the name of a grid that comes with LeadPulse, such as saas-b2b.
    """


@grid.command()
@click.argument("names", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--events",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Events, one a line: name each trait that neither they nor the schemas set. May be given several times.",
)
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per file.")
def check(names: tuple[str, ...], files: tuple[str, ...], strict: bool, as_json: bool) -> None:
    """Name every mistake in each FILE, and warn of misleading grids.

    Exits with 1 if a grid has a mistake or cannot be read, and with --strict also if it has a warning.
    """
    seen = traits_seen(line for file in files for line in _lines(file)) if files else None
    if seen is not None and not seen:
        click.echo(f"warning: no event of {', '.join(map(shown_name, files))} sets a trait; {NOT_EVENTS}", err=True)
    passed = [_check(name, seen, strict, as_json) for name in names]
    if not all(passed):
        raise click.exceptions.Exit(1)


def _check(name: str, seen: set[str] | None, strict: bool, as_json: bool) -> bool:
    """Print what is wrong with one file; return whether it passes."""
    checked, mistakes = _checked(name)
    warnings = lint(checked, seen) if checked is not None else []
    if as_json:
        click.echo(msgspec.json.encode(_as_json(name, checked, mistakes, warnings)))
    else:
        _show_findings(name, checked, mistakes, warnings)
    return not mistakes and not (strict and warnings)


def _show_findings(name: str, checked: Grid | None, mistakes: list[Mistake], warnings: list[Lint]) -> None:
    for mistake in mistakes:
        click.echo(str(mistake), err=True)
    for warning in warnings:
        place = f"{name}:{warning.line}: {warning.path + ': ' if warning.path else ''}"
        click.echo(f"{place}warning: {warning.message} [{warning.code}]", err=True)
    if checked is not None:
        click.echo(f"{name}: ok: {checked.grid} version {checked.version}, {_counts(checked, warnings)}", err=True)


def _lines(file: str) -> Iterator[bytes]:
    try:
        with opened(file) as stream:
            yield from filter(bytes.strip, stream)
    except (OSError, EOFError, zlib.error) as err:
        raise click.ClickException(f"{shown_name(file)}: {err}") from None


def _checked(name: str) -> tuple[Grid | None, list[Mistake]]:
    try:
        return read_grid(name), []
    except GridNotFound as err:
        return None, [Mistake(name, 0, "", err.why)]
    except GridError as err:
        return None, err.mistakes


def _as_json(name: str, checked: Grid | None, mistakes: list[Mistake], warnings: list[Lint]) -> dict[str, Any]:
    return {
        "file": name,
        "ok": checked is not None,
        "grid": None if checked is None else _identity(checked),
        "mistakes": [{"line": mistake.line, "path": mistake.path, "message": mistake.message} for mistake in mistakes],
        "warnings": [warning._asdict() for warning in warnings],
    }


def _identity(checked: Grid) -> dict[str, Any]:
    return {"name": checked.grid, "version": checked.version, "sha256": checked.sha256}


def _counts(checked: Grid, warnings: list[Lint]) -> str:
    rules = len(checked.fit.rules) + len(checked.engagement.rules) + len(checked.velocity)
    return f"{rules} rule{'s' if rules != 1 else ''}, {len(warnings) or 'no'} warning{'s' if len(warnings) != 1 else ''}"


@grid.command()
@click.argument("name", metavar="FILE")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["markdown", "html"]),
    help="[default: html for an --out that ends in .html, else markdown]",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the page to this file instead of stdout.")
@language_option
def show(name: str, shape: str | None, out: Path | None, language: str) -> None:
    """Write FILE as a page for marketing and sales."""
    checked = load_grid(name)
    shape = shape or ("html" if out is not None and out.suffix.lower() in (".html", ".htm") else "markdown")
    page = show_html(checked, language) if shape == "html" else show_markdown(checked, language)
    if out is None:
        click.echo(page, nl=False)
        return
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as err:
        raise click.ClickException(f"{out}: {err.strerror}; choose another --out") from None
    click.echo(f"{out}: {checked.grid} version {checked.version} as {shape}", err=True)


@grid.command()
def schema() -> None:
    """Print the JSON Schema of a grid, for editors that check and complete YAML."""
    click.echo(msgspec.json.format(msgspec.json.encode(grid_schema()), indent=2).decode())


@grid.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(old: str, new: str, as_json: bool) -> None:
    """Show what changes from OLD to NEW, and which rules need a replay of the past.

    Points, caps, clamps, steps and thresholds apply at once, to the past too. Other changes count from now on, until the past
    is replayed.
    """
    before, after = load_grid(old), load_grid(new)
    difference = compare(before, after)
    if as_json:
        answer = {
            "from": _identity(before),
            "to": _identity(after),
            "changes": [change._asdict() for change in difference.changes],
            "replay": [rule._asdict() for rule in difference.replay],
        }
        click.echo(msgspec.json.encode(answer))
        return
    click.echo(_in_words(before, after, difference))


def _in_words(before: Grid, after: Grid, difference: Difference) -> str:
    if not difference.changes:
        same = "byte for byte" if before.source == after.source else "in all that counts; the text differs"
        return f"The grids are the same {same}."
    lines = [*map(str, difference.changes), *_same_version(before, after), ""]
    if not difference.replay:
        return "\n".join([*lines, "Nothing needs to be replayed: all of it is in force at once, for the past too."])
    lines.append("These count otherwise than what is held; replay the past, or let it count from now on:")
    return "\n".join([*lines, *(f"  {rule.kind} {rule.id}: {rule.why}" for rule in difference.replay)])


def _same_version(before: Grid, after: Grid) -> list[str]:
    if (before.grid, before.version) != (after.grid, after.version) or before.sha256 == after.sha256:
        return []
    return [f"Note: both are called {after.grid} version {after.version}: raise `version`, so that outputs tell them apart."]


@grid.command()
@click.argument("name", metavar="[FILE]", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings_flags("redis", "namespace", "grid")
def force(name: str | None, yes: bool, **flags: Any) -> None:
    """Put FILE (default: LEADPULSE_GRID) in force in the namespace, even if workers would refuse it as an older grid.

    Running workers take it within ten seconds, and at once on SIGHUP, whatever their own files hold. A worker whose file
    holds another grid then refuses that file. All leads are evaluated again, by this grid and by this program's tables.

    Prints one JSON object: the number in the namespace's order, and the grid that was in force before.
    """
    settings = load_settings(flags)
    chosen = load_grid(name or settings.grid)
    before = run_async(grid_in_force(settings))
    now = "none" if before is None else f"version {before.version} (sha256 {before.sha256[:12]})"
    new = f"{chosen.grid} version {chosen.version} (sha256 {chosen.sha256[:12]})"
    if before is not None and is_in_force(chosen, before):
        click.echo(f"{new} is in force in {settings.namespace} already", err=True)
        click.echo(_forced(before.number, chosen, before))
        return
    click.echo(f"in force in {settings.namespace}: {now}; from now on: {new}. All leads are judged again.", err=True)
    if not yes:
        click.confirm("Put it in force?", abort=True, err=True)
    click.echo(_forced(run_async(force_grid(settings, chosen)).number, chosen, before))


def _forced(number: int, chosen: Grid, before: Entry | None) -> bytes:
    answer = {"number": number, "grid": _identity(chosen), "before": None if before is None else before.sha256}
    return msgspec.json.encode(answer)
