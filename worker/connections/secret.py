"""Secrets by reference: a text with `${NAME}` of the environment, or `file:/path`. The file of connections holds no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

from worker.core.grid.values import shown, wrong
from worker.errors import ConnectionsError

_NAME: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FILE: Final = "file:"
MAX_BYTES: Final = 65_536
"""Longest secret read from a file."""


class Secret:
    """A reference to a secret. Printing it shows the reference, never the secret."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Secret({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def names(self) -> list[str]:
        """Return the variables that it refers to."""
        return _NAME.findall(self.text)

    def resolve(self, environment: Mapping[str, str]) -> str:
        """Return the secret. Raises `ConnectionsError` for a variable that is not set and a file that cannot be read."""
        if self.text.startswith(_FILE):
            return self._from_file(Path(self.text.removeprefix(_FILE)))
        for name in self.names():
            if not environment.get(name):
                raise ConnectionsError(f"the variable {name} is not set: it holds a secret that the connections refer to")
        return _NAME.sub(lambda found: environment[found[1]], self.text)

    def _from_file(self, path: Path) -> str:
        try:
            with path.open(encoding="utf-8") as file:
                secret = file.read(MAX_BYTES).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConnectionsError(f"{path}: {why}: it holds a secret that the connections refer to") from error
        if not secret:
            raise ConnectionsError(f"{path}: the file is empty: it holds a secret that the connections refer to")
        return secret


def secret_in(text: str) -> Secret | None:
    """Return the reference that *text* is, as far as its form tells; `None`: it refers to no secret."""
    is_file = text.startswith(_FILE) and Path(text.removeprefix(_FILE)).is_absolute()
    return Secret(text) if is_file or _NAME.search(text) else None


def _read(raw: Any) -> Secret:
    if isinstance(raw, Secret):
        return raw
    if not isinstance(raw, str):
        raise wrong(f'write a reference to a secret, as in "${{NAME}}" or "file:/path"; got {shown(raw)}')
    if raw.startswith(_FILE):
        if not Path(raw.removeprefix(_FILE)).is_absolute():
            raise wrong(f"{raw!r} is no absolute path: write file:/path")
        return Secret(raw)
    if not _NAME.search(raw):
        raise wrong('a secret must not stand here: put it into the environment and write "${NAME}", or "file:/path"')
    return Secret(raw)


SecretText = Annotated[
    Secret,
    PlainValidator(_read),
    WithJsonSchema(
        {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|^file:/", "examples": ["${NAME}", "file:/path"]}
    ),
]
"""A secret in the file: `"${NAME}"`, also within a longer text, or `"file:/path"`."""
