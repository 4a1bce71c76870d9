"""Where checkpoints are kept: a folder, and object storage behind fsspec, held to the same."""

from __future__ import annotations

import stat
import uuid
from pathlib import Path

import pytest

from worker.adapters import stored_files
from worker.adapters.stored_files import Files, files_at
from worker.errors import FilesError


@pytest.fixture(params=["folder", "file", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    """An empty place of each kind."""
    if request.param == "memory":
        pytest.importorskip("fsspec", reason="fsspec: pip install 'leadpulse[checkpoints]'")
        return files_at(f"memory://{uuid.uuid4().hex}/checkpoints")
    place = tmp_path / "checkpoints"
    return files_at(str(place) if request.param == "folder" else f"file://{place}")


def test_what_is_written_is_read(files: Files) -> None:
    """Large files in pieces, small ones whole."""
    assert files.names("ns/00003") == {}
    with files.write("ns/00003/rows") as file:
        file.write(b"one ")
        file.write(b"two")
    files.put("ns/00003/a.json", b"{}")
    files.put("ns/00003/a.json", b"{1}")
    assert files.get("ns/00003/a.json") == b"{1}"
    with files.read("ns/00003/rows") as file:
        assert file.read() == b"one two"
    assert set(files.names("ns/00003")) == {"a.json", "rows"}
    assert all(-5 < age_s < 60 for age_s in files.names("ns/00003").values())
    files.remove("ns/00003/a.json")
    files.remove("ns/00003/a.json")
    assert set(files.names("ns/00003")) == {"rows"}
    with pytest.raises(FileNotFoundError):
        files.get("ns/00003/a.json")
    with pytest.raises(FileNotFoundError), files.read("ns/00003/gone"):
        pass


def test_a_folders_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    """They hold personal data."""
    files = files_at(str(tmp_path / "checkpoints"))
    with files.write("ns/00003/rows") as file:
        file.write(b"x")
    files.put("ns/00003/a.json", b"{}")
    for path in (tmp_path / "checkpoints").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_manifest_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that dies in the middle leaves a name that nobody takes for a manifest."""
    files = files_at(str(tmp_path))
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("dies here")))
    with pytest.raises(OSError, match="dies here"):
        files.put("ns/00003/a.json", b"{}")
    assert "a.json" not in files.names("ns/00003")


def test_an_address_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And shows no secret of the address."""
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(FilesError, match=r"leadpulse\[checkpoints\]") as err:
        files_at("s3://key:secret@bucket/path")
    assert "secret@" not in str(err.value)


def test_an_address_that_fsspec_does_not_know_is_refused() -> None:
    """By name."""
    pytest.importorskip("fsspec", reason="fsspec: pip install 'leadpulse[checkpoints]'")
    with pytest.raises(FilesError, match="nowhere://"):
        files_at("nowhere://bucket/path")
    assert stored_files.files_at("a/relative/folder").where == "a/relative/folder"
