"""The format of a checkpoint: one partition's whole state as of one batch, in two files.

The *rows* file is a gzip stream. Unpacked it is a sequence of frames: the frame's length (4 bytes, big endian), then a msgpack
list of rows. Each row is a `LeadWrite` of `worker.core.contract.model` as a list, in the order of its fields. A lead may occur
in several rows. The last of them counts. A row without a state is a lead that is no longer held.

The *manifest* is a JSON object (`Manifest`). It names the rows file, its length and its SHA-256. Its own name is
`BATCH-DIGEST.json`: the batch in 20 digits, and the first 16 characters of the SHA-256 of its bytes. So the name proves the
manifest, and the manifest proves the rows. To check by hand, run `sha256sum` on both.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

import msgspec

from worker.core.contract.errors import LeadPulseError
from worker.core.contract.model import LeadWrite
from worker.core.grid.order import Order
from worker.core.scoring.state import STATE_VERSION

FORMAT: Final = 1
"""Version of this layout. A newer one is refused by name; older ones stay readable."""

_NAME: Final = re.compile(r"([0-9]{20})-([0-9a-f]{16})\.json")
_ROWS_NAME: Final = re.compile(r"[0-9a-f]{32}\.rows\.gz")
_LENGTH_BYTES: Final = 4
_MOST_FRAME: Final = 64 * 1024 * 1024
"""Bytes of a frame. Writers stay far below; a length past it is damage, and is not allocated."""
_READ: Final = 256 * 1024
_LEVEL: Final = 1
_GZIP: Final = 16 + zlib.MAX_WBITS

_rows = msgspec.msgpack.Decoder(list[LeadWrite])
_pack = msgspec.msgpack.Encoder().encode


class CheckpointError(LeadPulseError):
    """A checkpoint that cannot be used: damaged, cut short, or of a newer version. The message names it."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What one checkpoint is."""

    format: int
    namespace: str
    partition: int
    partitions: int
    """N of the namespace then: a lead's owner depends on it."""
    batch: int
    """The last batch in it. It was published when the checkpoint was completed, and all before it were."""
    created_ms: int
    fold: int
    """Version of the fold of the program that wrote it. The batches that follow are folded again by theirs, see their cuts."""
    words: str
    state_version: int
    """No packed state in it is of a newer layout."""
    position: dict[str, str]
    """The fields of the position in Redis, but for those that say who owned it."""
    grid_text: bytes
    """The grid that `position` names (base64)."""
    rows: str
    """The name of the file with the rows, beside this one."""
    rows_bytes: int
    rows_sha256: str
    rows_count: int
    order: Order = ()
    """The namespace's order of grids up to the one that `position` names. Empty in older checkpoints."""

    @property
    def next(self) -> dict[str, int]:
        """Topic → the next offset after this batch: where a rebuild goes on from."""
        return {name[5:]: int(offset) for name, offset in self.position.items() if name.startswith("next:")}


def manifest_name(batch: int, encoded: bytes) -> str:
    """Return the name under which the bytes of a manifest are kept."""
    return f"{batch:020d}-{hashlib.sha256(encoded).hexdigest()[:16]}.json"


def is_manifest(name: str) -> bool:
    """Return whether a file of this name is a manifest."""
    return _NAME.fullmatch(name) is not None


def encode_manifest(manifest: Manifest) -> tuple[str, bytes]:
    """Return the name and the bytes of *manifest*."""
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    return manifest_name(manifest.batch, encoded), encoded


def decode_manifest(name: str, encoded: bytes, where: str) -> Manifest:
    """Return the manifest that was kept as *name*. *where* names the file in messages.

    Raises `CheckpointError` where its bytes are not those that its name was made of, or a newer version wrote it.
    """
    found = _NAME.fullmatch(name)
    if found is None or manifest_name(int(found[1]), encoded) != name:
        raise CheckpointError(f"checkpoint {where}: it was changed or cut short since it was written: remove it")
    try:
        version = msgspec.json.decode(encoded, type=_Versions)
        if version.format > FORMAT or version.state_version > STATE_VERSION:
            raise CheckpointError(
                f"checkpoint {where}: a newer version wrote it (format {version.format}, states {version.state_version};"
                f" here {FORMAT}, {STATE_VERSION}): rebuild with that version"
            )
        manifest = msgspec.json.decode(encoded, type=Manifest)
    except msgspec.MsgspecError as err:
        raise CheckpointError(f"checkpoint {where}: it is no manifest ({err}): remove it") from err
    if manifest.batch != int(found[1]) or not _ROWS_NAME.fullmatch(manifest.rows):
        raise CheckpointError(
            f"checkpoint {where}: it is of batch {manifest.batch} and names {manifest.rows[:80]!r}: remove it"
        )
    return manifest


class _Versions(msgspec.Struct):
    format: int
    state_version: int


class RowsWriter:
    """Writes the rows of one checkpoint. Blocking: call it in a thread."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.count = 0

    def add(self, writes: Sequence[LeadWrite]) -> None:
        """Append *writes* as one frame."""
        frame = _pack(writes)
        self._put(self._packer.compress(len(frame).to_bytes(_LENGTH_BYTES, "big") + frame))
        self.count += len(writes)

    def finish(self) -> str:
        """Write what is left and return the SHA-256 of the whole; the file stays open."""
        self._put(self._packer.flush())
        return self._digest.hexdigest()

    def _put(self, part: bytes) -> None:
        self._file.write(part)
        self._digest.update(part)
        self.bytes += len(part)


def check_rows(manifest: Manifest, file: BinaryIO, where: str) -> None:
    """Raise `CheckpointError` unless *file* holds exactly the rows that *manifest* names."""
    digest, length = hashlib.sha256(), 0
    while part := file.read(_READ):
        digest.update(part)
        length += len(part)
    if length != manifest.rows_bytes:
        raise CheckpointError(
            f"checkpoint {where}: {manifest.rows} has {length:,} bytes, not {manifest.rows_bytes:,}: it was cut short or"
            " changed; remove the checkpoint"
        )
    if digest.hexdigest() != manifest.rows_sha256:
        raise CheckpointError(f"checkpoint {where}: {manifest.rows} is not what was written: remove the checkpoint")


def read_rows(file: BinaryIO, where: str) -> Iterator[list[LeadWrite]]:
    """Yield the rows in *file*, frame by frame, never more than a frame at once. Raises `CheckpointError` for damage."""
    unpacker = zlib.decompressobj(_GZIP)
    held = bytearray()
    try:
        for part in _unpacked(unpacker, file):
            held += part
            while len(held) >= _LENGTH_BYTES:
                length = int.from_bytes(held[:_LENGTH_BYTES], "big")
                if length > _MOST_FRAME:
                    raise CheckpointError(f"checkpoint {where}: a frame of {length:,} bytes: it is damaged, remove it")
                if len(held) < _LENGTH_BYTES + length:
                    break
                frame = bytes(held[_LENGTH_BYTES : _LENGTH_BYTES + length])
                del held[: _LENGTH_BYTES + length]
                yield _rows.decode(frame)
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise CheckpointError(f"checkpoint {where}: its rows cannot be read ({err}): remove it") from err
    if held or not unpacker.eof:
        raise CheckpointError(f"checkpoint {where}: its rows end too early: remove it")


def _unpacked(unpacker: zlib._Decompress, file: BinaryIO) -> Iterable[bytes]:
    """Yield what *file* unpacks to, a bounded piece at a time, however far it unpacks."""
    while part := file.read(_READ):
        while part:
            yield unpacker.decompress(part, _READ)
            part = unpacker.unconsumed_tail
    yield unpacker.flush()
