"""The compiled form of the core, in a folder of its own: for the tests and benchmarks that mean that form."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Final

from ops.dev.services import ServiceMissing

ROOT: Final = Path(__file__).parents[2]
_BUILT: Final = ("setup.py", "pyproject.toml", "worker", "schemas", "grids")
"""What a build makes a program of."""


def compiled() -> Path:
    """Return a folder with a copy of the program whose core is machine code; made once for each of its versions.

    Raises `ServiceMissing` where this machine cannot compile.
    """
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    if shutil.which("cc") is None or not header.exists():
        raise ServiceMissing(f"compiling needs a C compiler (cc) and {header} (Debian: apt install gcc libc6-dev python3-dev)")
    folder = ROOT / ".cache" / f"compiled-{_version()}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="compiling-", dir=folder.parent) as made:
            copy((*_BUILT, "README.md", "LICENSE"), Path(made))
            environ = os.environ | {"LEADPULSE_COMPILE": "1"}
            command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
            done = subprocess.run(command, cwd=made, env=environ, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the core does not compile:\n{done.stdout[-3_000:]}{done.stderr[-3_000:]}")
            Path(made).rename(folder)
            Path(made).mkdir()  # for the one who tidies it up
    return folder


def copy(names: tuple[str, ...], to: Path) -> None:
    """Copy these files and folders of the program to the folder *to*, over what is there."""
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy2(ROOT / name, to / name)


def _version() -> str:
    digest = hashlib.sha256(f"{platform.python_version()} {platform.machine()} mypy {metadata.version('mypy')}".encode())
    for name in _BUILT:
        for path in sorted((ROOT / name).rglob("*.*")) or [ROOT / name]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)} ".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
