"""`python -m schemas`: write the JSON Schema files and the AsyncAPI document anew. Files of types that are gone are removed."""

from __future__ import annotations

import sys

from schemas.documents import HERE, documents


def main() -> None:
    """Write every document beside the models, and say what changed on stderr."""
    made = documents()
    (HERE / "json").mkdir(exist_ok=True)
    for old in (HERE / "json").glob("*.json"):
        if old not in made:
            old.unlink()
            sys.stderr.write(f"removed {old.name}\n")
    for file, text in made.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            sys.stderr.write(f"wrote {file.name}\n")


if __name__ == "__main__":
    main()
