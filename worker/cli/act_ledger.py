"""`leadpulse act list|resolve|retry|pause|resume`: the acts of the ledger, and what a person decides about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from worker.automations.acts import PENDING, State
from worker.automations.operations import Chosen, Decided, now_ms, open_acts
from worker.cli.common import json_line, load, run_async, settings_flags, show
from worker.core.contract.printable import plain
from worker.errors import AutomationsError, ConnectionsError
from worker.settings import ReaderSettings

if TYPE_CHECKING:
    from rich.table import Table

    from worker.automations.operations import ActLine

STATES: Final = State.__args__  # type: ignore[attr-defined]
_DECISIONS: Final = ("done", "dead", "cancelled")
_REFUSED_NAMED: Final = 20


def _settings(command: Callable[..., Any]) -> Callable[..., Any]:
    return settings_flags("redis", "namespace", "partitions", of=ReaderSettings)(command)


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Offer the options by which acts are chosen."""
    for option in (
        click.option("--lead", "lead_id", default="", metavar="LEAD", help="Only acts of this lead."),
        click.option("--target", default="", metavar="NAME", help="Only acts at this target."),
        click.option(
            "--state", "states", multiple=True, type=click.Choice(STATES), help="Only acts in this state; repeatable."
        ),
    ):
        command = option(command)
    return command


@click.command("list")
@click.option("--rule", default="", metavar="RULE", help="Only acts of this rule.")
@_choosing
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@_settings
def list_acts(rule: str, states: Sequence[str], target: str, lead_id: str, as_json: bool, **flags: Any) -> None:
    """List acts, the oldest first.

    An act waits as `intent`, or as `retry` after a failure. It ends as `done`, `dead`, `cancelled` or `stale`. Ends are
    kept for 90 days.

    A person decides about `held` and `unknown` acts. An act is held if its rule had more than its `max`. It is unknown if an
    answer was lost, and the target cannot tell.

    Reads Redis in small steps, so that programs at work do not wait for it.
    """
    chosen = Chosen(rule, "", states, target, lead_id)
    lines, paused = run_async(_lines(load(ReaderSettings, flags), chosen))
    if as_json:
        for line in lines:
            click.echo(json_line(line))
    else:
        show(_table(lines))
    for name in paused:
        click.echo(f"paused: {plain(name)}", err=True)


async def _lines(settings: ReaderSettings, chosen: Chosen) -> tuple[list[ActLine], list[str]]:
    async with open_acts(settings) as acts:
        return await acts.lines(chosen), await acts.paused()


def _table(lines: Sequence[ActLine]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("at", "state", "rule", "output", "target", "do", "tries", "remote id", "detail"):
        table.add_column(name)
    for one in lines:
        words = (one.at[:19] + "Z", one.state, one.rule, one.output, one.target, one.do, str(one.attempts), one.remote_id or "")
        table.add_row(*map(plain, words), plain(one.detail or ""))
    return table


def show_act(settings: ReaderSettings, rule: str, output: str) -> None:
    """Print all that is known of one act."""

    async def found() -> list[dict[str, Any]]:
        async with open_acts(settings) as acts:
            return await acts.whole(Chosen(rule, output))

    for one in _some(run_async(found()), rule, output):
        text = json.dumps(one, indent=2, ensure_ascii=False)
        click.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


@click.command()
@click.argument("rule", default="")
@click.argument("output", default="")
@click.option("--as", "state", type=click.Choice(_DECISIONS), required=True, help="How the act ends.")
@click.option("--note", default="", metavar="TEXT", help="Why; it is shown as the act's detail.")
@_choosing
@click.option("--yes", is_flag=True, help="Do not ask.")
@_settings
def resolve(
    rule: str, output: str, state: str, note: str, states: Sequence[str], target: str, lead_id: str, yes: bool, **flags: Any
) -> None:
    """End the act of RULE for OUTPUT: it is done, or it is given up.

    Such as an `unknown` act, after you have looked at the target. Without OUTPUT, the options choose the acts. Nothing is sent.
    Exits with 1 if there is no such act, or if one is being tried just now.
    """
    chosen = _chosen(Chosen(rule, output, states, target, lead_id), "resolve", state)
    _decide(load(ReaderSettings, flags), chosen, state, note, yes=yes)


@click.command()
@click.argument("rule", default="")
@click.argument("output", default="")
@_choosing
@click.option("--yes", is_flag=True, help="Do not ask.")
@_settings
def retry(rule: str, output: str, states: Sequence[str], target: str, lead_id: str, yes: bool, **flags: Any) -> None:
    """Try the act of RULE for OUTPUT again, at once.

    Neither its age nor the rule's `max` holds it back. Look at the target before you retry an `unknown` act: if it was done
    there, it is done a second time. Without OUTPUT, the options choose the acts, such as `--state held`.

    Exits with 1 if there is no such act, or if one is done or being tried just now.
    """
    chosen = _chosen(Chosen(rule, output, states, target, lead_id), "retry", "intent")
    _decide(load(ReaderSettings, flags), chosen, "intent", "", yes=yes)


def _chosen(chosen: Chosen, command: str, state: str) -> Chosen:
    """Return *chosen*. Raises click's error for a choice of which nothing could come: *state* is where the acts are to go."""
    if not chosen.output and not chosen.states:
        raise click.UsageError(f"name the output too, or choose acts by --state, as in `leadpulse act {command} --state held`")
    if "done" in chosen.states:
        raise click.UsageError(f"--state done: an act that is done stays done, so {command} has nothing to do with it")
    if state in chosen.states and state not in PENDING:
        raise click.UsageError(f"--state {state}: these acts are {state} already; choose others, or another --as")
    return chosen


def _some(found: list[Any], rule: str, output: str, *, chooses: bool = False) -> list[Any]:
    if not found:
        named = f"rule {plain(rule)} has no act for {plain(output)}"
        what = (f"{named} that the options choose" if chooses else named) if output else "no act fits"
        raise click.ClickException(f"{what}; `leadpulse act list` shows them")
    return found


def _decide(settings: ReaderSettings, chosen: Chosen, state: str, note: str, *, yes: bool) -> None:
    lines, _ = run_async(_lines(settings, chosen))
    _some(lines, chosen.rule, chosen.output, chooses=bool(chosen.states or chosen.target or chosen.lead_id))
    words = "tried again" if state in PENDING else f"ended as {state}"
    if not chosen.output and not yes:
        click.confirm(f"{len(lines)} acts will be {words}. Go on?", abort=True, err=True)
    decided = run_async(_decided(settings, chosen, state, note))
    refused = [one for one in decided if one.refused]
    click.echo(f"{len(decided) - len(refused)} acts {words}", err=True)
    for one in refused[:_REFUSED_NAMED]:
        click.echo(f"not {plain(one.line.rule)} {plain(one.line.output)}: {one.refused}", err=True)
    if refused:
        raise click.exceptions.Exit(1)


async def _decided(settings: ReaderSettings, chosen: Chosen, state: str, note: str) -> list[Decided]:
    async with open_acts(settings) as acts:
        return await acts.decide(chosen, state, note, now_ms())


_CONNECTIONS: Final = click.option(
    "--connections", envvar="LEADPULSE_CONNECTIONS", default="connections.yaml", show_default=True, metavar="FILE",
    help="File of connections, which has the targets.  [env LEADPULSE_CONNECTIONS]",
)  # fmt: skip
_AUTOMATIONS: Final = click.option(
    "--automations", envvar="LEADPULSE_AUTOMATIONS", default="automations.yaml", show_default=True, metavar="FILE",
    help="File of automations, which has the rules.  [env LEADPULSE_AUTOMATIONS]",
)  # fmt: skip


@click.command()
@click.argument("name", metavar="RULE|TARGET")
@_AUTOMATIONS
@_CONNECTIONS
@_settings
def pause(name: str, automations: str, connections: str, **flags: Any) -> None:
    """Stop what a rule or a target does, within a second, in all processes.

    Acts are still written down, and wait until `leadpulse act resume`. A request that is on its way is not called back.
    If the files cannot be read, a rule and a target of this name are paused.
    """
    _pause(load(ReaderSettings, flags), name, automations, connections, paused=True)


@click.command()
@click.argument("name", metavar="RULE|TARGET")
@_AUTOMATIONS
@_CONNECTIONS
@_settings
def resume(name: str, automations: str, connections: str, **flags: Any) -> None:
    """Let a rule or a target go on that was paused.

    A target also goes on whose breaker is open, such as after its rights were mended.
    """
    _pause(load(ReaderSettings, flags), name, automations, connections, paused=False)


def _pause(settings: ReaderSettings, name: str, automations: str, connections: str, *, paused: bool) -> None:
    kind, _, bare = name.partition(":")
    exact = kind in ("rule", "target") and bool(bare)
    names = _named([name] if exact else [f"rule:{name}", f"target:{name}"], bare if exact else name, automations, connections)

    async def work() -> None:
        async with open_acts(settings) as acts:
            await acts.pause(names, paused)

    run_async(work())
    click.echo(f"{'paused' if paused else 'goes on'}: {', '.join(map(plain, names))}", err=True)


def _named(meant: list[str], name: str, automations: str, connections: str) -> list[str]:
    """Return those of *meant* that there are; *name* is what they are called. A pause must not wait until a file is mended."""
    from worker.automations.file import read_rules
    from worker.connections.file import read_connections
    from worker.core.grid.values import did_you_mean

    try:
        found = read_connections(connections)
        rules = read_rules(automations, found).automations
    except (ConnectionsError, AutomationsError, OSError):
        click.echo(f"{automations} or {connections} cannot be read, so the name was not checked", err=True)
        return meant
    contents = [f"{rule.id}/{content.id}" for rule in rules.nurture for content in rule.contents]
    ids = [*(rule.id for rule in (*rules.acts, *rules.nurture)), *contents]
    known = {f"rule:{id_}" for id_ in ids} | {f"target:{target}" for target in found.targets}
    named = [one for one in meant if one in known]
    if not named:
        what = "no rule and no target is" if len(meant) > 1 else f"no {meant[0].partition(':')[0]} is"
        words = sorted({one.partition(":")[2] for one in known})
        hint = did_you_mean(name, words) or f"; there are {', '.join(words)}"
        raise click.ClickException(f"{what} called {plain(name)}{hint}")
    return named
