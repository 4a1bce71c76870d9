"""Each connection tried: secrets, log-ins, and read-only questions to the live account. Nothing is written anywhere."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from worker.adapters.mail_server import MailRefused, log_in_to_mail_server
from worker.adapters.vendor_api import NoAnswer, VendorApi
from worker.connections.models import Connections, secrets_in
from worker.connections.probes import Probe, probes, read_answer
from worker.connections.secret import Secret
from worker.connections.sources import Source
from worker.connections.targets import SmtpTarget, Target
from worker.errors import ConnectionsError

Direction = Literal["source", "target"]

_CONNECT_S: Final = 10.0
SET_SECRET: Final = "set it where the programs run"
_CHECK_NETWORK: Final = "check the address, and whether this machine may reach it"


class Tried(msgspec.Struct, frozen=True, omit_defaults=True):
    """One connection that was tried."""

    direction: Direction
    name: str
    level: Literal["ok", "hint", "warning", "error"]
    what: str
    what_to_do: str = ""


async def try_connections(
    connections: Connections, environment: Mapping[str, str], names: Collection[str] = ()
) -> AsyncIterator[Tried]:
    """Yield what was found of each source and target, all of them or those of *names*, in the order of the file.

    A source with `api` is tried by the target that answers its look-ups.
    """
    sources = {name: one for name, one in connections.sources.items() if not names or name in names}
    apis = {name: api for name, one in sources.items() if (api := getattr(one, "api", None)) is not None}
    shown = [name for name in connections.targets if not names or name in names]
    asked = {name: connections.targets[name] for name in dict.fromkeys((*shown, *apis.values()))}
    async with VendorApi(connections.targets, environment) as api:
        tried = {name: asyncio.create_task(_target(name, one, api, environment)) for name, one in asked.items()}
        try:
            for name, source in sources.items():
                about = _secrets("source", name, source, environment) or _source(name, source, connections)
                yield about
                if name in apis and about.level != "error":
                    yield _looked_up(name, apis[name], await tried[apis[name]])
            for name in shown:
                for one in await tried[name]:
                    yield one
        finally:
            for task in tried.values():
                task.cancel()


def _secrets(direction: Direction, name: str, one: Source | Target, environment: Mapping[str, str]) -> Tried | None:
    """Return the first secret of *one* that is not there."""
    try:
        for _, secret in secrets_in(one, ()):
            secret.resolve(environment)
    except ConnectionsError as error:
        return Tried(direction, name, "error", str(error), SET_SECRET)
    return None


def _source(name: str, source: Source, connections: Connections) -> Tried:
    at = f"{connections.public_url or 'the address of the collector'}/in/{name}"
    return Tried("source", name, "ok", f"its secrets are there; webhooks come to {at}")


def _looked_up(name: str, target: str, found: list[Tried]) -> Tried:
    worst = next((one for one in found if one.level == "error"), None)
    if worst is None:
        return Tried("source", name, "ok", f"the target {target} answers its look-ups")
    return Tried("source", name, "error", f"the target {target} does not answer its look-ups: {worst.what}", worst.what_to_do)


async def _target(name: str, target: Target, api: VendorApi, environment: Mapping[str, str]) -> list[Tried]:
    missing = _secrets("target", name, target, environment)
    if missing is not None:
        return [missing]
    if isinstance(target, SmtpTarget):
        return [await _mail(name, target.url.resolve(environment))]
    if hasattr(target, "url"):
        return [await _reached(name, target.url, environment)]
    asked = probes(target)
    try:
        await api.log_in(name)
        if not asked:
            return [Tried("target", name, "ok", "the log-in works; which rights it has shows with the first look-up")]
        return [await _asked(name, probe, api) for probe in asked]
    except NoAnswer as error:
        return [_no_answer(name, error)]


async def _asked(name: str, probe: Probe, api: VendorApi) -> Tried:
    """Ask one question. Raises `NoAnswer` where the account cannot be asked at all."""
    try:
        account, fits = read_answer(probe, await api.ask(name, probe.path))
    except NoAnswer as error:
        if probe.field and error.status in (400, 404):
            absent = probe.absent.format(target=name)
            return Tried("target", name, "warning", f"the account has no field {probe.field}", absent)
        if probe.field and error.status == 403:
            return Tried("target", name, "hint", f"the field {probe.field} was not looked at: the log-in may not read fields")
        raise
    except ValueError as error:
        raise NoAnswer(f"{error}: another program answers there", status=404) from error
    if not probe.field:
        return Tried("target", name, "ok", f"the account{f' {account}' if account else ''} answers")
    if not fits:
        return Tried("target", name, "warning", f"the field {probe.field} is not unique", probe.unfit)
    return Tried("target", name, "ok", f"the account has the field {probe.field}")


def _no_answer(name: str, error: NoAnswer) -> Tried:
    remedies = {
        401: "compare the secret with the vendor's, and renew it there if needed",
        403: "give the token the rights that docs/connect.md lists for this kind",
        404: "correct `base_url` or `version`",
        429: "try again later: the account's limit is used up",
    }
    return Tried("target", name, "error", str(error), remedies.get(error.status, _CHECK_NETWORK))


async def _mail(name: str, url: str) -> Tried:
    try:
        await asyncio.to_thread(log_in_to_mail_server, url)
    except MailRefused as error:
        return Tried("target", name, "error", str(error), "check the `url` of the target, and its user and password")
    return Tried("target", name, "ok", "the mail server takes the log-in; no mail was sent")


async def _reached(name: str, url: str | Secret, environment: Mapping[str, str]) -> Tried:
    """Connect to an address at which every request is a message, and send none."""
    address = url if isinstance(url, str) else url.resolve(environment)
    try:
        parts = urlsplit(address)
        host, port, scheme = parts.hostname, parts.port, parts.scheme
    except ValueError:
        host, port, scheme = None, None, ""
    if host is None or scheme not in ("http", "https"):
        return Tried("target", name, "error", "its `url` is no address", "write one such as https://hooks.example.com/x")
    try:
        async with asyncio.timeout(_CONNECT_S):
            context = ssl.create_default_context() if scheme == "https" else None
            _, writer = await asyncio.open_connection(host, port or (443 if context else 80), ssl=context)
            writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        return Tried("target", name, "error", f"{host} cannot be reached: {_why(error)}", _CHECK_NETWORK)
    return Tried("target", name, "ok", f"{host} can be reached; nothing was sent, since each request is a message")


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
