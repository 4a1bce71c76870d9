"""Write the dashboards: `python -m ops.grafana`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from ops.grafana.funnel import funnel
from ops.grafana.pipeline import pipeline

FOLDER = Path(__file__).parent / "dashboards"


def written() -> Mapping[str, str]:
    """Return the files of `FOLDER`: name → text."""
    boards = {"pipeline.json": pipeline(), "funnel.json": funnel()}
    for board in boards.values():
        for number, panel in enumerate(board.panels or (), start=1):
            panel.id_val = number
    return {
        name: json.dumps(board, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        for name, board in boards.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in written().items():
        (FOLDER / name).write_text(text)
