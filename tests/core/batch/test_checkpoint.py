"""The files of a checkpoint: what is written is read, and what was changed or cut short is refused by name."""

from __future__ import annotations

import io
import json
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.batch import checkpoint
from worker.core.batch.checkpoint import (
    FORMAT,
    CheckpointError,
    Manifest,
    RowsWriter,
    check_rows,
    decode_manifest,
    encode_manifest,
    is_manifest,
    manifest_name,
    read_rows,
)
from worker.core.contract.model import LeadWrite
from worker.core.scoring.state import STATE_VERSION

WRITES = st.builds(
    LeadWrite,
    st.text(max_size=20),
    st.binary(max_size=200),
    *[st.text(max_size=8)] * 6,
    st.none() | st.integers(0, 2**53),
    st.none() | st.floats(allow_nan=False),
)


def written(frames: list[list[LeadWrite]]) -> tuple[bytes, Manifest]:
    """Return the rows file of *frames* and its manifest."""
    file = io.BytesIO()
    writer = RowsWriter(file)
    for frame in frames:
        writer.add(frame)
    digest = writer.finish()
    manifest = Manifest(
        format=FORMAT,
        namespace="default",
        partition=3,
        partitions=8,
        batch=41,
        created_ms=1_764_541_488_000,
        fold=5,
        words="w",
        state_version=STATE_VERSION,
        position={"batch": "41", "next:web": "17", "next:internal": "3", "clock": "9", "a field of a later version": "x"},
        grid_text=b"grid: g\xff",
        rows=f"{5:032x}.rows.gz",
        rows_bytes=writer.bytes,
        rows_sha256=digest,
        rows_count=writer.count,
    )
    return file.getvalue(), manifest


@given(st.lists(st.lists(WRITES, max_size=5), max_size=5))
def test_rows_come_back_as_they_were_written(frames: list[list[LeadWrite]]) -> None:
    """In the same order: a later row of a lead replaces an earlier one."""
    held, manifest = written(frames)
    check_rows(manifest, io.BytesIO(held), "x")
    assert [row for frame in read_rows(io.BytesIO(held), "x") for row in frame] == [row for frame in frames for row in frame]


def test_a_manifest_comes_back_with_fields_of_the_position_that_nobody_knows_yet() -> None:
    """The position travels whole."""
    _, manifest = written([])
    name, encoded = encode_manifest(manifest)
    assert is_manifest(name)
    assert name.startswith("00000000000000000041-")
    assert decode_manifest(name, encoded, "x") == manifest
    assert manifest.next == {"web": 17, "internal": 3}


@given(st.data())
def test_a_manifest_that_was_changed_anywhere_is_refused_by_name(data: st.DataObject) -> None:
    """Its name holds the digest of its bytes."""
    name, encoded = encode_manifest(written([])[1])
    at = data.draw(st.integers(0, len(encoded) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != encoded[at]))
    for changed in (encoded[:at], encoded[:at] + bytes([other]) + encoded[at + 1 :], encoded + b" "):
        with pytest.raises(CheckpointError, match="the file"):
            decode_manifest(name, changed, "the file")
    with pytest.raises(CheckpointError, match="the file"):
        decode_manifest(name.replace("41-", "42-"), encoded, "the file")


def test_a_manifest_names_a_file_beside_it_and_no_other() -> None:
    """Old checkpoints are removed by that name."""
    name, encoded = encode_manifest(msgspec.structs.replace(written([])[1], rows="../../other"))
    with pytest.raises(CheckpointError, match="the file"):
        decode_manifest(name, encoded, "the file")


ROWS = [[LeadWrite(f"lead-{n}", bytes([n]) * 50, "1", "1", "0", "mql", "C3", "t", n, 1.5)] for n in range(20)]


@given(st.data())
def test_rows_that_were_changed_or_cut_short_are_refused_by_name(data: st.DataObject) -> None:
    """Before any of them is written; and, were they read all the same, without anything but our own error."""
    held, manifest = written(ROWS)
    at = data.draw(st.integers(0, len(held) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != held[at]))
    for changed in (held[:at], held[:at] + bytes([other]) + held[at + 1 :], held + b"x"):
        with pytest.raises(CheckpointError, match="the file"):
            check_rows(manifest, io.BytesIO(changed), "the file")
        try:
            list(read_rows(io.BytesIO(changed), "the file"))
        except CheckpointError as err:
            assert "the file" in str(err)  # noqa: PT017 (some changes are seen by the digest alone)


@pytest.mark.parametrize("held", [b"", b"\x1f\x8b", b"no gzip at all", zlib.compress(b"\0\0\0\1x")])
def test_what_is_no_rows_file_is_refused(held: bytes) -> None:
    """Also an empty one: a checkpoint of nobody is an empty stream, not an empty file."""
    with pytest.raises(CheckpointError, match="the file"):
        list(read_rows(io.BytesIO(held), "the file"))


def test_a_frame_is_never_larger_than_a_writer_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A length is believed only within reason: nobody allocates 4 GB for a damaged file."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    bomb = packer.compress(b"\xff\xff\xff\xff" + bytes(10_000_000)) + packer.flush()
    with pytest.raises(CheckpointError, match="damaged"):
        list(read_rows(io.BytesIO(bomb), "the file"))
    monkeypatch.setattr(checkpoint, "_MOST_FRAME", 10)
    with pytest.raises(CheckpointError, match="damaged"):
        list(read_rows(io.BytesIO(written(ROWS)[0]), "the file"))


@pytest.mark.parametrize("field", ["format", "state_version"])
def test_a_newer_versions_checkpoint_is_refused_by_name(field: str) -> None:
    """Whatever else it holds by then."""
    plain = json.loads(msgspec.json.encode(written([])[1]))
    plain = {
        field: plain[field] + 1,
        **{name: held for name, held in plain.items() if name in ("format", "state_version", "batch")},
    } | {field: plain[field] + 1}
    encoded = json.dumps(plain).encode()
    with pytest.raises(CheckpointError, match=r"the file.*newer version"):
        decode_manifest(manifest_name(41, encoded), encoded, "the file")
