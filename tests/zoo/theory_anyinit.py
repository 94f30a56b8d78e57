"""What AnyInit predicts for the networks of `theory_nets.py`, beside what it measures after its own redraw.

It runs in an environment of its own, with anyinit 0.4 beside the libraries of the zoo:
`python tests/zoo/theory_anyinit.py anyinit.json [--only WORD,...] [--draws 20]`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from theory_nets import entries
from zoo_entry import Entry


def compared(entry: Entry, draws: int) -> dict[str, Any]:
    """Median |log(measured / predicted)| over layers: in one draw, and of the means over all draws."""
    try:
        by_draw = [_levels(entry, seed) for seed in range(draws)]
    except Exception as error:  # it is part of the comparison which models it cannot trace
        return {"fault": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    if not by_draw[0]:
        return {"fault": "no prediction"}
    single = [_median(levels.values()) for levels in by_draw]
    means = [[statistics.fmean(pair) for pair in zip(*(levels[name] for levels in by_draw), strict=True)]
             for name in by_draw[0]]  # fmt: skip
    return {"layers": len(means), "one_draw": statistics.median(single), "mean": _median(means)}


def _levels(entry: Entry, seed: int) -> dict[str, tuple[float, float]]:
    """By layer: the mean square that it measured, and the one that it predicted."""
    import anyinit

    torch.manual_seed(seed)
    model, x = entry.make(), entry.given()
    report = anyinit.initialize(model, "analytic", x, seed=seed)
    pairs = {record.name: (record.measured, record.predicted) for record in report.layers}
    return {name: pair for name, pair in pairs.items() if all(pair) and all(map(math.isfinite, pair))}


def _median(pairs: Any) -> float:
    return statistics.median(abs(math.log(measured / predicted)) for measured, predicted in pairs)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", type=Path, help="where the figures are kept; networks that are there stay")
    parser.add_argument("--only", default="", help="words of names, joined by commas")
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    figures = json.loads(options.json.read_text()) if options.json.exists() else {}
    chosen = [word for word in options.only.split(",") if word]
    for entry in entries():
        if any(word in entry.name for word in chosen) or not (chosen or entry.name in figures):
            figures[entry.name] = compared(entry, options.draws)
            print(entry.name, figures[entry.name], flush=True)
            options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
