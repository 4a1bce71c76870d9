"""Clients of Redis and of our library of functions there: how they connect, how they call, and what their errors mean.

Redis 7.0 or newer, alone or a cluster. `worker.adapters.redis_store` has the keys and what the functions do.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.resources import files
from types import NoneType
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from redis import exceptions as failures
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from worker.core.contract.printable import without_leads
from worker.errors import Fenced, StoreFull, StoreRefused, StoreUnavailable

Client = Redis | RedisCluster
T = TypeVar("T")

_BODY = "".join(
    files("worker.adapters").joinpath(name).read_text(encoding="utf-8")
    for name in ("leadpulse.lua", "checkpoint.lua", "ledger.lua", "limits.lua")
)


def library(body: str) -> tuple[str, str]:
    """Return the name and the source of the Redis library of *body*. A changed text has another name.

    The names of its functions begin with it too, because Redis knows functions by their own names.
    """
    name = "leadpulse_" + hashlib.sha256(body.encode()).hexdigest()[:12]
    return name, f"#!lua name={name}\nlocal LIBRARY = '{name}'\n{body}"


LIBRARY, SOURCE = library(_BODY)

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]+")

_MENDS_ITSELF = frozenset({"LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "READONLY", "BUSY", "NOREPLICAS"})
"""Error codes of a server that starts, fails over or is busy: the same call succeeds later."""

WHAT_TO_DO = {
    "OOM": "Redis has reached `maxmemory`: give it more memory; nothing of the call was written",
    "MISCONF": "Redis cannot write to its disk: mend its persistence (disk full? rights?)",
    "NOPERM": "give this Redis user the right it lacks (`leadpulse doctor` lists them)",
    "NOAUTH": "put the Redis password into the address",
    "WRONGPASS": "check user and password of the Redis address",
    "WRONGTYPE": "something else writes under this namespace's keys: use another namespace or another Redis",
    "MOVED": "this is a Redis Cluster: use an address that begins with redis+cluster:// or rediss+cluster://",
    "LEFTOVER": "the position was deleted alone: delete every key of the partition, then allow the rebuild",
    "HELD": "to rebuild a partition, delete every one of its keys first",
    "RESTORING": "wait until `leadpulse rebuild` is done; if it was cut short, run it again",
}


def redacted(url: str) -> str:
    """Return *url* without its secrets, fit for a log: the password, and every query value named after one, become `***`."""
    # Cut at the last @ rather than parsed: a password with an unescaped / or # would otherwise be taken for a path and shown.
    head, slashes, rest = url.partition("://")
    secrets, at, place = rest.rpartition("@")
    user = secrets.partition(":")[0]
    # `redis://user:password` without a host: the password stands in place of a port
    place = re.sub(r"^([^/?#:\[]*):(?!\d*(?:[/?#]|$))[^?]*", r"\1:***", place)
    shown = f"{head}{slashes}{user}{':***' if ':' in secrets else ''}{at}{place}"
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", r"\1***", shown)


class _Cluster(RedisCluster):
    """redis-py's client, which also handles a slot that moves to a new node.

    No node lists that one, so redis-py does not find it when it is sent there, and would fail for want of an object.
    """

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """Return the node. Raises an error for which the partition waits if the node is unknown."""
        node = super().get_node(host, port, node_name)
        if node is None:
            raise failures.ClusterError(f"TRYAGAIN a slot is being moved to {node_name or f'{host}:{port}'}, a new node")
        return node


def connect(url: str, *, timeout_s: float = 5.0, connect_timeout_s: float = 2.0, name: str = "leadpulse") -> Client:
    """Return a client for *url*; nothing is sent before its first call.

    Schemes: `redis://`, `rediss://` (TLS), `unix://`, and for a Redis Cluster `redis+cluster://` and `rediss+cluster://` with
    any one of its nodes. Query arguments are redis-py's (`?ssl_ca_certs=…`, `?socket_timeout=10`) and win over the ones here.

    The client repeats nothing by itself. A silent repeat is harmless for the state, because `apply` knows its batch by number.
    It would make a stalled Redis look like a slow one: one time-out after the other. Now one `StoreUnavailable` comes after
    *timeout_s*. Raises `StoreRefused`, without the password, when *url* cannot be read.
    """
    scheme, plus, _ = url.partition("+cluster://")
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "client_name": name,
        "protocol": 2,
    }
    if not url.startswith("unix://"):
        options["socket_keepalive"] = True  # a socket file has none, and redis-py refuses the word there
    try:
        if plus and scheme in ("redis", "rediss"):
            parts = urlsplit(url)
            return _Cluster.from_url(urlunsplit(parts._replace(scheme=scheme)), **options)
        return Redis.from_url(url, **options)
    except (ValueError, TypeError, failures.RedisClusterException):
        raise StoreRefused(
            f"cannot read the Redis address {redacted(url)}: expected redis://, rediss:// or unix:// (a cluster: "
            "redis+cluster:// or rediss+cluster://), then [user:password@]host:port[/database]; "
            "in a password write / as %2F, @ as %40, # as %23"
        ) from None


async def install(client: Client) -> None:
    """Load this version's functions into Redis, into every primary of a cluster. Loading them again changes nothing.

    Raises `StoreUnavailable` and `StoreRefused` as the store does.
    """
    try:
        with asking(client):
            await _load_library(client)
    except FAILURES as error:
        raise translated(error, "loading the Redis functions") from error


async def _load_library(client: Client) -> None:
    # redis-py's hints describe both kinds of client together; the answer is not used here
    try:
        await client.function_load(SOURCE, replace=True)
    except failures.OutOfMemoryError:
        # At `maxmemory` Redis refuses to load anything, even functions that it has.
        if not await _is_loaded(client):
            raise


async def _is_loaded(client: Client) -> bool:
    """Return whether every primary has this version's functions."""
    commands: Any = client
    asked = "FUNCTION LIST", "LIBRARYNAME", LIBRARY
    if not isinstance(client, RedisCluster):
        return bool(await commands.execute_command(*asked))
    answers: dict[str, Any] = await commands.execute_command(*asked, target_nodes=RedisCluster.PRIMARIES)
    return all(answers.values())


FAILURES = (failures.RedisError, failures.RedisClusterException, OSError)


@contextlib.contextmanager
def asking(client: Client) -> Iterator[None]:
    """Make two faults of redis-py's *client* what they should be, for the calls within.

    A cluster client closes the connections of all its tasks when one task meets an error. A task that was connecting or
    reading then finds `None` in their place. Raises redis-py's `ConnectionError` for that.

    Both clients send through `asyncio.wait_for`. Up to Python 3.11 it loses a cancellation in the turn in which the sending
    ends, and the task would go on. Raises `CancelledError` for that.
    """
    task = asyncio.current_task()
    asked = task.cancelling() if task else 0
    try:
        yield
    except AttributeError as error:
        if isinstance(client, RedisCluster) and isinstance(error.obj, NoneType):
            raise failures.ConnectionError("the connection was closed while it was opened or read") from error
        raise
    finally:
        if task and task.cancelling() > asked:
            raise asyncio.CancelledError


def translated(error: Exception, where: str) -> StoreUnavailable | StoreRefused | Fenced:
    """Return our error for the client's *error*. The message names *where* it was raised."""
    code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    words = without_leads(str(error))
    text = words if words.startswith(code) else f"{code} {words}"
    if code == "FENCED":
        return Fenced(f"{where}: {text.removeprefix('FENCED ')}")
    if code in _MENDS_ITSELF:
        return StoreUnavailable(f"{where}: {text}")
    if isinstance(error, failures.AuthenticationError | failures.AuthorizationError):
        return StoreRefused(f"{where}: Redis refused the log-in: {words}; {WHAT_TO_DO['WRONGPASS']}")
    # How a function reports a missing right, in Redis and in Valkey.
    if "can't run this command" in text or "ACL failure" in text:
        return StoreRefused(f"{where}: {text}; {WHAT_TO_DO['NOPERM']}")
    if isinstance(error, failures.ResponseError | failures.DataError):
        if "unknown command" in text.lower():
            return StoreRefused(f"{where}: {text}; LeadPulse needs the functions of Redis 7.0 or newer")
        advice = WHAT_TO_DO.get(code)
        refused = StoreFull if code == "OOM" else StoreRefused
        return refused(f"{where}: {text}{'; ' + advice if advice else ''}")
    return StoreUnavailable(f"{where}: {text or type(error).__name__}")


class Caller:
    """Runs commands and our functions through one client. *where* names the keys in messages."""

    def __init__(self, client: Client, namespace: str, where: str) -> None:
        """Raise `ValueError` when *namespace* does not fit a key and a topic name, or when *client* decodes replies."""
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"namespace {namespace!r}: use only letters, digits, '.', '_' and '-'")
        if client.get_encoder().decode_responses:
            raise ValueError("the Redis client must return bytes (decode_responses=False): states are packed")
        self._client = client
        # redis-py's hints describe both its clients, decoded and raw replies, all at once; the suite checks what comes back.
        self._commands: Any = client
        self._where = where

    async def _call(self, function: str, keys: Sequence[str], *args: str | bytes, read: bool = False) -> Any:
        """Run one function of the library; after "function not found" (an emptied Redis, a new node) install it and repeat."""
        command = ("FCALL_RO" if read else "FCALL", f"{LIBRARY}_{function}", len(keys), *keys, *args)

        async def call() -> Any:
            if isinstance(self._client, RedisCluster):
                # By itself the client asks the server which arguments are keys, and sends the whole batch twice.
                await self._client.initialize()
                node = self._client.get_node_from_key(keys[0])
                return await self._commands.execute_command(*command, target_nodes=node)
            return await self._commands.execute_command(*command)

        async def call_or_install() -> Any:
            try:
                return await call()
            except failures.ResponseError as error:
                if "Function not found" not in str(error):
                    raise
            await _load_library(self._client)
            return await call()

        return await self._run(call_or_install)

    async def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            with asking(self._client):
                return await call()
        except failures.ReadOnlyError as error:
            # A failover made our server a replica; only a new connection finds the new primary behind the name.
            if isinstance(self._client, Redis):
                await self._client.connection_pool.disconnect(inuse_connections=False)
            raise translated(error, self._where) from error
        except FAILURES as error:
            raise translated(error, self._where) from error
