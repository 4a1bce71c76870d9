"""One partition's state in Redis (7.0 or newer, alone or a cluster), through a library of Redis functions.

Every key of partition p of a namespace carries the hash tag `{NAMESPACE:p}`, so each call touches one slot:

- `{ns:p}:lead:LEAD`: a hash, `state` packed and `score fit engagement stage grade updated_at` as text; an erased lead has
  only `state`, its mark. A long state may lie in pieces, see `lead_fields`
- `{ns:p}:position`: a hash, `owner notes batch next:TOPIC published partitions grid words clock`, `leads:STAGE` (how many leads
  are in it) as of batch `counted`, and `strayed horizon regraded requeue rebuild restoring inputs` where set
- `{ns:p}:grid`: the text of the grid that the position names by its hash
- `{ns:grids}:order`: a hash of the whole namespace, the order of its grids and the text of the last one (`RedisOrder`)
- `{ns:p}:due`, `{ns:p}:rank`: sorted sets of leads, by instant (ms) and by upper bound of the score
- `{ns:p}:outbox`: a stream, one entry a batch, id `BATCH-0`, field `entry` (msgpack of `worker.ports.OutboxEntry`)
- `{ns:p}:checkpoint`, `{ns:p}:changed`: while a checkpoint is taken, its token and the leads that changed meanwhile

A batch is one `FCALL`, and the fields of all its leads are one msgpack blob: the client's encoding of arguments, not Redis, is
the cost. The packed states travel beside it, an argument each: Redis' msgpack knows text but no binary.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from importlib.resources import files
from math import inf
from operator import attrgetter
from types import NoneType
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec
from redis import exceptions as failures
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from worker.core.contract.model import LeadWrite
from worker.core.contract.printable import without_leads
from worker.core.scoring.state import STAGES
from worker.ports import (
    Applied,
    Batch,
    Due,
    Fenced,
    OutboxEntry,
    Position,
    StaleStore,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)

Client = Redis | RedisCluster
T = TypeVar("T")

_BODY = "".join(
    files("worker.adapters").joinpath(name).read_text(encoding="utf-8") for name in ("leadpulse.lua", "checkpoint.lua")
)


def library(body: str) -> tuple[str, str]:
    """Return the name and the whole source of the Redis library made of *body*: changed text, other name.

    The names of its functions begin with it too, because Redis knows functions by their own names.
    """
    name = "leadpulse_" + hashlib.sha256(body.encode()).hexdigest()[:12]
    return name, f"#!lua name={name}\nlocal LIBRARY = '{name}'\n{body}"


LIBRARY, SOURCE = library(_BODY)

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]+")
_LEAD_FIELDS = attrgetter("lead", "score", "fit", "engagement", "stage", "grade", "updated_at", "due_ms", "rank")
_READABLE = ("score", "fit", "engagement", "stage", "grade", "updated_at")
_LEADS_PAGE = 500
_OUTBOX_PAGE = 100
"""Outbox entries asked for at once: an entry with dead letters may hold megabytes, and one reply must fit the time-out."""

_MENDS_ITSELF = frozenset({"LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "READONLY", "BUSY", "NOREPLICAS"})
"""Error codes of a server that starts, fails over or is busy: the same call succeeds later."""

_WHAT_TO_DO = {
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
    # `redis://user:password`, the host forgotten: what stands for a port and is none.
    place = re.sub(r"^([^/?#:\[]*):(?!\d*(?:[/?#]|$))[^?]*", r"\1:***", place)
    shown = f"{head}{slashes}{user}{':***' if ':' in secrets else ''}{at}{place}"
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", r"\1***", shown)


class _Cluster(RedisCluster):
    """redis-py's client, able to meet a slot on its way to a node that serves none yet.

    No node lists that one, so redis-py does not find it when it is sent there, and would fail for want of an object.
    """

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """Return the node. Raises what the partition waits for when it is not known."""
        node = super().get_node(host, port, node_name)
        if node is None:
            raise failures.ClusterError(f"TRYAGAIN a slot is being moved to {node_name or f'{host}:{port}'}, a new node")
        return node


def connect(url: str, *, timeout_s: float = 5.0, connect_timeout_s: float = 2.0, name: str = "leadpulse") -> Client:
    """Return a client for *url*; nothing is sent before its first call.

    Schemes: `redis://`, `rediss://` (TLS), `unix://`, and for a Redis Cluster `redis+cluster://` and `rediss+cluster://` with
    any one of its nodes. Query arguments are redis-py's (`?ssl_ca_certs=…`, `?socket_timeout=10`) and win over the ones here.

    The client repeats nothing by itself. A silent repeat would be harmless for the state (`apply` knows its batch by number)
    but would make a stalled Redis look like a slow one: one time-out after the other instead of one `StoreUnavailable` after
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
    except _FAILURES as error:
        raise translated(error, "loading the Redis functions") from error


async def _load_library(client: Client) -> None:
    # redis-py's hints describe the two kinds of client together; what they answer here is not used.
    try:
        await client.function_load(SOURCE, replace=True)
    except failures.OutOfMemoryError:
        # At `maxmemory` Redis refuses to load anything, also what it has.
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


_FAILURES = (failures.RedisError, failures.RedisClusterException, OSError)


@contextlib.contextmanager
def asking(client: Client) -> Iterator[None]:
    """Make two faults of redis-py's *client* what they should be, for the calls within.

    A cluster client closes the connections of all its tasks when one of them meets an error, and a task that was just
    connecting or reading finds `None` in their place: raises redis-py's `ConnectionError`.

    Both clients send through `asyncio.wait_for`, which up to Python 3.11 loses a cancellation that comes in the turn in which
    the sending ends: raises `CancelledError` then, or the task that was told to stop would go on.
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
    """Return our error for the client's *error*, which came up *where* (words for the message)."""
    code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    words = without_leads(str(error))
    text = words if words.startswith(code) else f"{code} {words}"
    if code == "FENCED":
        return Fenced(f"{where}: {text.removeprefix('FENCED ')}")
    if code in _MENDS_ITSELF:
        return StoreUnavailable(f"{where}: {text}")
    if isinstance(error, failures.AuthenticationError | failures.AuthorizationError):
        return StoreRefused(f"{where}: Redis refused the log-in: {words}; {_WHAT_TO_DO['WRONGPASS']}")
    # How a function reports a missing right, in Redis and in Valkey.
    if "can't run this command" in text or "ACL failure" in text:
        return StoreRefused(f"{where}: {text}; {_WHAT_TO_DO['NOPERM']}")
    if isinstance(error, failures.ResponseError | failures.DataError):
        if "unknown command" in text.lower():
            return StoreRefused(f"{where}: {text}; LeadPulse needs the functions of Redis 7.0 or newer")
        advice = _WHAT_TO_DO.get(code)
        refused = StoreFull if code == "OOM" else StoreRefused
        return refused(f"{where}: {text}{'; ' + advice if advice else ''}")
    return StoreUnavailable(f"{where}: {text or type(error).__name__}")


def _position(flat: Sequence[bytes], where: str) -> Position:
    def instant(name: str) -> int | None:
        return int(fields[name]) if name in fields else None

    try:
        fields = {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}
        counted = fields.get("counted") == fields.get("batch")
        leads = {name[6:]: int(text) for name, text in fields.items() if counted and name.startswith("leads:") and text != "0"}
        return Position(
            owner=fields.get("owner", ""),
            batch=int(fields.get("batch", 0)),
            next={name[5:]: int(offset) for name, offset in fields.items() if name.startswith("next:")},
            published=int(fields.get("published", 0)),
            partitions=int(fields.get("partitions", 0)),
            grid=fields.get("grid", ""),
            words=fields.get("words", ""),
            clock_ms=instant("clock"),
            strayed_ms=instant("strayed"),
            horizon_ms=instant("horizon"),
            regraded_ms=instant("regraded"),
            requeued=int(fields["requeue"].split(" ")[2]) if "requeue" in fields else None,
            rebuild="rebuild" in fields,
            leads=leads,
            counted=counted,
            inputs=tuple(fields["inputs"].split(",")) if "inputs" in fields else (),
            ids={name[3:]: held for name, held in fields.items() if name.startswith("id:")},
            order=int(fields.get("order", 0)),
            begun=fields.get("begun", ""),
        )
    except (ValueError, IndexError) as error:
        raise StoreRefused(
            f"{where}: a field of the position is not valid text or not a number ({error}); restore it or rebuild the partition"
        ) from error


async def leads_of(client: Client, namespace: str) -> AsyncIterator[tuple[int, LeadWrite]]:
    """Yield every lead of *namespace*, erased ones (their mark) too, with its partition, as it was written.

    In no order, and exact only while nobody writes. Raises `StoreUnavailable` and `StoreRefused` as the store does.
    """
    commands: Any = client
    prefix, page = f"{{{namespace}:", []
    try:
        async for place in _places(commands, prefix):
            page.append(place)
            if len(page) == _LEADS_PAGE:
                for found in await _writes(commands, prefix, page):
                    yield found
                page = []
        for found in await _writes(commands, prefix, page):
            yield found
    except _FAILURES as error:
        raise translated(error, f"namespace {namespace} in Redis") from error


async def ids_of(client: Client, namespace: str) -> AsyncIterator[str]:
    """Yield the id of every lead of *namespace*, of erased ones and of aliases too. Raises as `leads_of` does."""
    try:
        async for _, lead in _places(client, f"{{{namespace}:"):
            yield lead
    except _FAILURES as error:
        raise translated(error, f"namespace {namespace} in Redis") from error


async def _places(commands: Any, prefix: str) -> AsyncIterator[tuple[int, str]]:
    """Yield partition and id of each lead whose key begins with *prefix*."""
    async for key in commands.scan_iter(match=f"{prefix}*}}:lead:*", count=1_000):
        partition, _, lead = key.decode().removeprefix(prefix).partition("}:lead:")
        yield int(partition), lead


def lead_fields(held: dict[bytes, bytes]) -> dict[str, bytes]:
    """Return a lead's hash with its state in one piece: Redis may hold it in several, see `leadpulse.lua`."""
    pieces = sorted(name for name in held if is_piece(name))
    fields = {name.decode(): value for name, value in held.items() if not is_piece(name)}
    if pieces:
        fields["state"] = b"".join(name[1:] + held[name] for name in pieces)
    return fields


def is_piece(name: bytes) -> bool:
    """Return whether a field of this name in a lead's hash is a piece of its state."""
    return name[:1] < b" "


async def _writes(commands: Any, prefix: str, page: Sequence[tuple[int, str]]) -> list[tuple[int, LeadWrite]]:
    async with commands.pipeline(transaction=False) as pipe:
        for partition, lead in page:
            tag = f"{prefix}{partition}}}:"
            pipe.hgetall(f"{tag}lead:{lead}")
            pipe.zscore(f"{tag}due", lead)
            pipe.zscore(f"{tag}rank", lead)
        answers: list[Any] = await pipe.execute()
    found = []
    for (partition, lead), held, due, rank in zip(page, answers[::3], answers[1::3], answers[2::3], strict=True):
        if not held:
            continue  # It was removed since its key was found.
        fields = lead_fields(held)
        score, fit, engagement, stage, grade, updated_at = (fields.get(name, b"").decode() for name in _READABLE)
        due_ms = None if due is None else int(due)
        write = LeadWrite(lead, fields["state"], score, fit, engagement, stage, grade, updated_at, due_ms, rank)
        found.append((partition, write))
    return found


class Caller:
    """Runs commands and our functions through one client. *where*: what is asked, for messages."""

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
                # Left to itself the client asks the server which arguments are keys: the whole batch travels twice.
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
        except _FAILURES as error:
            raise translated(error, self._where) from error


class RedisOrder(Caller):
    """`worker.ports.OrderStore` in Redis: the hash `{NAMESPACE:grids}:order`, which no partition owns."""

    def __init__(self, client: Client, namespace: str) -> None:
        super().__init__(client, namespace, f"the order of grids of namespace {namespace} in Redis")
        self._key = f"{{{namespace}:grids}}:order"

    async def order(self) -> bytes | None:
        """Return the order; `None` before the first."""
        return await self._field("order")

    async def text(self) -> bytes | None:
        """Return the text of the grid in force."""
        return await self._field("text")

    async def swap(self, expected: bytes | None, order: bytes, text: bytes | None) -> bool:
        """Put *order* in the place of *expected*, if that is what is held; see `worker.ports.OrderStore`."""
        return bool(await self._call("swap", [self._key], expected or b"", order, text or b""))

    async def _field(self, name: str) -> bytes | None:
        fields: list[bytes | None] = await self._run(lambda: self._commands.hmget(self._key, name))
        return fields[0]


class RedisStore(Caller):
    """`worker.ports.Store` in Redis. Holds no state of its own: several may share one client, made by `connect`."""

    def __init__(self, client: Client, namespace: str, partition: int) -> None:
        super().__init__(client, namespace, f"partition {partition} of namespace {namespace} in Redis")
        tag = f"{{{namespace}:{partition}}}:"
        self._lead = tag + "lead:"
        self._position = tag + "position"
        self._due = tag + "due"
        self._rank = tag + "rank"
        self._outbox = tag + "outbox"
        self._grid = tag + "grid"
        self._keys = (self._position, self._due, self._rank, self._outbox, self._grid)

    @property
    def where(self) -> str:
        """How messages call this partition."""
        return self._where

    async def acquire(self, token: str, partitions: int) -> Position:
        """Become the owner and return where the partition stands; see `worker.ports.Store`.

        *partitions* is written while no batch has been applied. `StoreRefused` when the position is gone but not all keys are.
        """
        position = _position(await self._call("acquire", self._keys, token, str(partitions)), self._where)
        counts: list[int] = [0] * (1 + len(STAGES))
        while position.batch and not position.counted:  # bit by bit: Redis answers nobody else meanwhile
            counts = await self._call("count", self._keys, token, str(position.batch), *map(str, counts))
            position = await self.position()
        return position

    async def load(self, leads: Sequence[str], token: str = "", batch: int = 0, most: float = inf) -> list[bytes | None]:
        """Return each lead's packed state, in the order asked, up to *most* bytes; with *token*, as *batch* left them.

        One call, and Redis counts: whoever asks cannot know how large they are.
        """
        if not leads:
            return []
        keys = [self._position, *[self._lead + lead for lead in leads]]
        states: list[bytes | None] | None = await self._call("load", keys, token, str(batch), str(most), read=True)
        if states is None:
            raise StaleStore(f"{self._where} is not at batch {batch} of {token}")
        return states

    async def apply(self, token: str, batch: Batch) -> Applied:
        """Write *batch* whole or not at all; *batch* names each lead once.

        Leads, `due`, `rank`, outbox entry and position are written by one atomic function that tries everything that
        Redis could refuse before its first write. A `clock_ms` or `strayed_ms` of `None` leaves what is stored. At
        `maxmemory` Redis refuses that function, and is asked for the one that takes only what makes leads smaller.
        """
        cut = batch.entry.cut
        fields = ["batch", str(cut.batch), "grid", cut.grid, "words", cut.words]
        for topic, offset in cut.next.items():
            fields += ("next:" + topic, str(offset))
        for topic, held in cut.topic_ids().items():
            fields += ("id:" + topic, held)
        if batch.clock_ms is not None:
            fields += ("clock", str(batch.clock_ms))
        if batch.strayed_ms is not None:
            fields += ("strayed", str(batch.strayed_ms))
        if batch.grid is not None:
            fields += ("order", str(cut.order), "begun", cut.words)
        prefix = self._lead
        keys = [*self._keys, *[prefix + write.lead for write in batch.writes]]
        arguments: tuple[str | bytes, ...] = (
            token,
            str(cut.batch),
            str(cut.batch - 1),
            msgspec.msgpack.encode((fields, [kind + topic for topic in batch.left for kind in ("next:", "id:")])),
            msgspec.msgpack.encode([_LEAD_FIELDS(write) for write in batch.writes]),
            msgspec.msgpack.encode(batch.entry) if batch.send else b"",
            batch.grid or b"",
            str(batch.clock_ms or 0),
            str(cut.requeued),
            *[write.state for write in batch.writes],
        )
        try:
            answer: bytes = await self._call("apply", keys, *arguments)
        except StoreFull:
            answer = await self._call("apply_smaller", keys, *arguments)
        return Applied(answer.decode())

    async def due(self, by_ms: int, limit: int, token: str = "", batch: int = 0) -> Due:
        """Return at most *limit* leads due by *by_ms*, earliest first, then by id (its UTF-8 bytes); see the port."""
        keys = (self._position, self._due)
        found = await self._call("due", keys, token, str(batch), str(by_ms), str(limit), read=True)
        if found is None:
            raise StaleStore(f"{self._where} is not at batch {batch} of {token}")
        unlisted, leads = found
        return Due([self._text(lead) for lead in leads], bool(unlisted))

    async def outbox(self, after: int) -> list[OutboxEntry]:
        """Return the outbox entries of batches past *after*, in order.

        Raises `StoreRefused` for an entry that this version cannot read.
        """
        entries: list[OutboxEntry] = []
        while True:
            page = await self._page(after)
            for entry_id, fields in page:
                try:
                    entry = msgspec.msgpack.decode(fields[b"entry"], type=OutboxEntry)
                except (KeyError, ValueError, msgspec.DecodeError) as error:
                    raise StoreRefused(
                        f"{self._where}: outbox entry {entry_id.decode()} cannot be read ({error}); "
                        "run the version of the worker that wrote it until the outbox is empty"
                    ) from error
                entries.append(entry)
                after = entry.cut.batch
            if len(page) < _OUTBOX_PAGE:
                return entries

    async def _page(self, after: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        page: list[tuple[bytes, dict[bytes, bytes]]] = await self._run(
            lambda: self._commands.xrange(self._outbox, f"({after}-0", "+", count=_OUTBOX_PAGE)
        )
        return page

    async def trim(self, token: str, published: int, horizon_ms: int | None = None) -> None:
        """Drop outbox entries up to batch *published* and remember it and the horizon; neither ever moves back."""
        horizon = "" if horizon_ms is None else str(horizon_ms)
        await self._call("trim", self._keys, token, str(published), str(published + 1), horizon)

    async def position(self) -> Position:
        """Return where the partition stands, without owning it; a position with `partitions` 0 for one that is empty."""
        fields = await self._run(lambda: self._commands.hgetall(self._position))
        return _position([part for pair in fields.items() for part in pair], self._where)

    async def grid(self) -> bytes | None:
        """Return the text of the grid that the position names; `None` before the first batch."""
        source: bytes | None = await self._run(lambda: self._commands.get(self._grid))
        return source

    async def top(self, count: int, offset: int = 0) -> list[tuple[str, float]]:
        """Return *count* leads from *offset* on by falling `rank`, equal ones by falling id."""
        if count < 1:
            return []
        stop = offset + count - 1
        found = await self._run(lambda: self._commands.zrevrange(self._rank, offset, stop, withscores=True))
        return [(self._text(lead), float(rank)) for lead, rank in found]

    def _text(self, lead: bytes) -> str:
        try:
            return lead.decode()
        except UnicodeDecodeError as error:
            raise StoreRefused(
                f"{self._where}: an entry of {len(lead)} bytes in `due` or `rank` is no lead's id ({error.reason});"
                f" {_WHAT_TO_DO['WRONGTYPE']}"
            ) from error

    async def lead(self, lead: str) -> dict[str, bytes]:
        """Return the lead's fields, its state in one piece; empty for a lead that is not held."""
        return lead_fields(await self._run(lambda: self._commands.hgetall(self._lead + lead)))

    async def schedule(self, lead: str) -> tuple[int | None, float | None]:
        """Return when *lead* is due (ms) and the upper bound of its score; `None` where it is off the list."""
        due = await self._run(lambda: self._commands.zscore(self._due, lead))
        rank = await self._run(lambda: self._commands.zscore(self._rank, lead))
        return None if due is None else int(due), None if rank is None else float(rank)

    async def allow_rebuild(self) -> None:
        """Let the next owner fill this empty partition again from the topics (an operator's decision).

        Sets `rebuild`, which `acquire` reports and the first applied batch takes back, so that a Redis which is emptied
        once more asks once more. Raises `StoreRefused` when the partition is not empty.
        """
        await self._call("allow_rebuild", self._keys)

    async def allow_inputs(self, topics: Sequence[str]) -> None:
        """Let the next owner read *topics* in the place of the inputs until now (an operator's decision).

        Raises `StoreRefused` when the partition is empty: its first owner begins with whatever topics it is given.
        """
        await self._call("allow_inputs", self._keys, ",".join(sorted(topics)))

    async def call(self, function: str, *args: str | bytes, leads: Sequence[str] = ()) -> Any:
        """Run a function of the library on the partition's keys and those of *leads*, for the adapters beside this one."""
        return await self._call(function, [*self._keys, *[self._lead + lead for lead in leads]], *args)
