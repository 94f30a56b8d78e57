"""What the README publishes of theory on models: `.github/model_theory.json`, written by the run. Needs no PyTorch.

`python tests/zoo/theory_run.py CACHE --anyinit FILE --publish` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Goals: of the median layer's |log|, of layers without prediction, and of single draws within 3 SD.
MOST_LOG, MOST_UNPREDICTED, LEAST_WITHIN = 0.1, 0.05, 0.95
# Networks that isolate one kind of layer. On 30 layers the mean of 20 draws has itself an SD of about 0.1 in the log,
# by the spread that is stated at the median layer. Three of them are allowed.
ISOLATED = {"SiLU x30": 0.3, "ReLU x30": 0.3, "transposed convolutions": MOST_LOG}
PATH = Path(__file__).parents[2] / ".github" / "model_theory.json"


@dataclass(frozen=True)
class Agreement:
    """Theory beside measurement on one network. A log is that of the mean of all draws over the mean prediction.

    Attributes:
        network: its name.
        layers: number of its layers.
        draws: number of redraws of its weights.
        unpredicted: share of the layers that lack a prediction from end to end, forward or backward.
        forward: median |log| over layers of the mean square of z, from end to end; None without prediction.
        backward: the same of the variance of dL/dh.
        forward_local: as `forward`, from the measured input of each layer.
        backward_local: as `backward`, from the measured gradients behind each layer.
        within: share of single draws within 3 stated SDs, over layers, forward and backward, from end to end.
        within_local: the same, local.
    """

    network: str
    layers: int
    draws: int
    unpredicted: float
    forward: float | None
    backward: float | None
    forward_local: float | None
    backward_local: float | None
    within: float | None
    within_local: float | None


def read() -> dict[str, Any]:
    """All that is published; empty before the first run."""
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def publish(rows: Sequence[Mapping[str, Any]], anyinit: Mapping[str, Any], versions: Mapping[str, str]) -> None:
    """Write all figures, rounded to four digits after the point."""
    figures = {"versions": versions, "networks": rows, "anyinit": anyinit}
    PATH.write_text(json.dumps(_rounded(figures), indent=1) + "\n")


def _rounded(held: Any) -> Any:
    if isinstance(held, float):
        return round(held, 4)
    if isinstance(held, Mapping):
        return {name: _rounded(value) for name, value in held.items()}
    return [_rounded(value) for value in held] if isinstance(held, list | tuple) else held


def table(rows: Sequence[Mapping[str, Any]], anyinit: Mapping[str, Any]) -> str:
    """The table of the README, a row per network."""
    head = (
        "network", "layers", "without prediction", "forward", "backward", "within 3 SD",
        "local: forward", "backward", "within 3 SD", "AnyInit 0.4, forward",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [
            row["network"], str(row["layers"]), _share(row["unpredicted"]),
            _log(row["forward"]), _log(row["backward"]), _share(row["within"]),
            _log(row["forward_local"]), _log(row["backward_local"]), _share(row["within_local"]),
            _other(anyinit.get(row["network"])),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _log(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"


def _share(number: float | None) -> str:
    return "-" if number is None else f"{100 * number:.3g}%"


def _other(figures: Mapping[str, Any] | None) -> str:
    """AnyInit's median |log|, of the mean of its draws; what it raised, if it did."""
    if figures is None:
        return "-"
    return figures["fault"].split(":")[0] if "fault" in figures else _log(figures["mean"])


def sentences(published: Mapping[str, Any]) -> list[str]:
    """What the README says in words, without line breaks."""
    networks = published["networks"]
    real = [row for row in networks if row["network"] not in ISOLATED]
    forward, backward = (max(row[side] for row in real) for side in ("forward", "backward"))
    return [
        f"{len(networks)} networks were drawn {networks[0]['draws']} times each",
        f"On the {len(real)} real networks the largest median is {forward:.3f} forward and {backward:.3f} backward.",
        f"At least {_share(min(row['within'] for row in real))} of their single draws are within 3 SD.",
    ]
