"""What the README publishes of theory on models: `.github/model_theory.json`, written by the run. Needs no PyTorch.

`python tests/zoo/theory_run.py CACHE --anyinit FILE --publish` writes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Goals: of the median layer's |log|, of layers without prediction, and of single draws within 3 SD.
MOST_LOG, MOST_UNPREDICTED, LEAST_WITHIN = 0.1, 0.05, 0.95
# Networks that isolate one kind of layer.
ISOLATED = ("SiLU x30", "ReLU x30", "transposed convolutions")
# Of these, chance alone moves the mean of 20 draws by about as much as the goal: they are drawn more often, too. Chance
# is allowed three of its SDs.
DEEP, MANY, SDS = ("SiLU x30", "ReLU x30"), 200, 3
PATH = Path(__file__).parents[2] / ".github" / "model_theory.json"


@dataclass(frozen=True)
class Agreement:
    """Theory beside measurement on one network. A log is the mean over draws of log(measured / predicted).

    Theory gives that log a mean below 0, as one draw is log-normal about the mean over draws; it is taken off.

    Attributes:
        network: its name.
        layers: number of its layers.
        draws: number of redraws of its weights.
        unpredicted: share of the layers that lack a prediction from end to end, forward or backward.
        forward: median |log| over layers of the mean square of z, from end to end; None without prediction.
        backward: the same of the variance of dL/dh.
        forward_local: as `forward`, from the measured input of each layer.
        backward_local: as `backward`, from the measured gradients behind each layer.
        within: share of single draws within 3 stated SDs, over layers, forward, from end to end.
        within_back: the same, backward.
        within_local: the same as `within`, local.
        within_local_back: the same, backward.
        chance: stated SD of the forward log of the mean over draws, at the median layer.
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
    within_back: float | None
    within_local: float | None
    within_local_back: float | None
    chance: float | None


def read() -> dict[str, Any]:
    """All that is published; empty before the first run."""
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def publish(
    rows: Sequence[Mapping[str, Any]],
    many: Sequence[Mapping[str, Any]],
    anyinit: Mapping[str, Any],
    versions: Mapping[str, str],
) -> None:
    """Write all figures, rounded to four digits after the point."""
    figures = {"versions": versions, "networks": rows, "many": many, "anyinit": anyinit}
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
            _log(row["forward"]), _log(row["backward"]), _shares(row["within"], row["within_back"]),
            _log(row["forward_local"]), _log(row["backward_local"]),
            _shares(row["within_local"], row["within_local_back"]),
            _other(anyinit.get(row["network"])),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _log(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"


def _share(number: float | None) -> str:
    return "-" if number is None else f"{100 * number:.3g}%"


def _shares(forward: float | None, backward: float | None) -> str:
    return f"{_share(forward)}, {_share(backward)}"


def by_chance(row: Mapping[str, Any]) -> float:
    """Probability that chance alone moves the mean over draws beyond the goal, at the median layer."""
    return math.erfc(MOST_LOG / row["chance"] / math.sqrt(2))


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
        f"At least {_share(min(row['within'] for row in real))} of their single draws are within 3 SD forward, "
        f"and {_share(min(row['within_back'] for row in real))} backward.",
        *(
            f"{row['network']}: chance alone moves the mean of {row['draws']} draws beyond {MOST_LOG} with a "
            f"probability of {by_chance(row):.2f}. Over {often['draws']} draws it is {often['forward']:.3f}."
            for often in published["many"]
            for row in networks
            if row["network"] == often["network"]
        ),
    ]
