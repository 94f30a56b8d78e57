"""What the README publishes of the zoo: `.github/zoo.json`, written by the runs themselves. Needs no PyTorch.

Three runs write a part each: `python tests/zoo/zoo_run.py --publish`, `python tests/zoo/seeds_run.py` and
`python tests/zoo/planted_run.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Goals: the largest shares of false alarms, in the zoo and at many seeds; the smallest shares of planted bugs.
FALSE_ALARMS, SEEDED_ALARMS = 0.01, 0.02
NAMED, HEALED = 22 / 25, 20 / 25
PATH = Path(__file__).parents[2] / ".github" / "zoo.json"


def read() -> dict[str, Any]:
    """All that is published; empty before the first run."""
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def publish(part: str, figures: Any) -> None:
    """Replace one part of what is published."""
    PATH.write_text(json.dumps(read() | {part: figures}, indent=1) + "\n")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The table of the README, a row for each source of networks."""
    lines = ["| networks of | how many | false alarms | refused | median share judged |", "|---|---|---|---|---|"]
    for row in rows:
        share = f"{100 * row['judged']:.4g}%"
        lines.append(f"| {row['source']} | {row['networks']} | {row['alarms']} | {row['refused']} | {share} |")
    return "\n".join(lines)


def sentences(published: dict[str, Any]) -> list[str]:
    """What the README says in words, without line breaks."""
    versions = ", ".join(f"{name} {version}" for name, version in published["versions"].items())
    seeds, planted = published["seeds"], published["planted"]
    return [
        f"{published['networks'][-1]['networks']} networks that are known to train were probed",
        f"The libraries were {versions}.",
        f"{seeds['nets']} networks at {seeds['seeds']} seeds: {seeds['silent']} of {seeds['pairs']} have no finding "
        "above info.",
        f"Of {planted['bugs']} planted bugs, {planted['named']} are named with layer and cause.",
        f"Of {planted['fixes']} printed fixes, {planted['worked']} work.",
        f"Of {planted['faulty']} faulty networks, {planted['found']} are found.",
    ]
