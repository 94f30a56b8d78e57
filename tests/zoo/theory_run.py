"""Prediction beside measurement on real networks: `python tests/zoo/theory_run.py CACHE [--only WORD,...]`.

Each draw makes the network anew and gives it the same input. CACHE is a directory that keeps one file per network and
draw; `--fresh` probes again. `--anyinit FILE` shows the figures that `theory_anyinit.py` wrote beside ours.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from theory_published import DEEP, MANY, Agreement, publish, table
from zoo_entry import Entry
from zoo_run import versions

from initprobe.torch import probe

INPUT_SEED = 12345
COLUMNS = ("local", "end_to_end")


@dataclass(frozen=True)
class Place:
    """One tensor of one layer in one draw: measured, and as each column predicts it.

    Attributes:
        layer: name of the layer.
        side: forward (the mean square of z) or backward (the variance of dL/dh).
        measured: the number that was measured.
        predicted: by column; None where there is no prediction.
        z: by column; None where there is none.
        log_mean: by column, the mean of log(measured / predicted) over draws in theory; None where there is none.
        log_sd: by column, the stated standard deviation of that log.
        reason: why `end_to_end` predicts nothing.
    """

    layer: str
    side: str
    measured: float | None
    predicted: dict[str, float | None]
    z: dict[str, float | None]
    log_mean: dict[str, float | None]
    log_sd: dict[str, float | None]
    reason: str | None = None


def measured(entry: Entry, seed: int) -> list[Place]:
    """Both sides of every layer, in one draw."""
    torch.manual_seed(INPUT_SEED)
    x = entry.given()
    torch.manual_seed(seed)
    result = probe(entry.make(), x, seed=seed, try_fixes=False, threads=1)
    return [place for layer in result.layers for place in _places(layer)]


def _places(layer: Any) -> Iterable[Place]:
    theory = layer.model_theory
    forward = None if layer.preactivation.rms is None else layer.preactivation.rms**2
    sides = {
        "forward": (forward, "preactivation", "mean_square"),
        "backward": (layer.output_gradient.variance, "output_gradient", "variance"),
    }
    for side, (number, tensor, field) in sides.items():
        columns = {column: getattr(getattr(theory, column), tensor) for column in COLUMNS}
        yield Place(
            layer.name,
            side,
            number,
            {column: getattr(predicted, field) for column, predicted in columns.items()},
            {column: predicted.z for column, predicted in columns.items()},
            {column: predicted.log_mean for column, predicted in columns.items()},
            {column: predicted.log_sd for column, predicted in columns.items()},
            columns["end_to_end"].reason,
        )


def kept(entry: Entry, draws: int, cache: Path, fresh: bool) -> list[list[Place]]:
    """All draws of a network, from the cache where it has them."""
    cache.mkdir(parents=True, exist_ok=True)
    by_draw = []
    for seed in range(draws):
        path = cache / f"{entry.name.replace(' ', '-')}-{seed}.json"
        if fresh or not path.exists():
            path.write_text(json.dumps([asdict(place) for place in measured(entry, seed)]))
        by_draw.append([Place(**fields) for fields in json.loads(path.read_text())])
    return by_draw


def agreement(name: str, by_draw: Sequence[Sequence[Place]]) -> Agreement:
    """How well theory and measurement agree on one network."""
    places = list(zip(*by_draw, strict=True))  # one row per layer and side, one column per draw
    unknown = {row[0].layer for row in places if any(place.predicted["end_to_end"] is None for place in row)}
    layers = {row[0].layer for row in places}
    return Agreement(
        network=name,
        layers=len(layers),
        draws=len(by_draw),
        unpredicted=len(unknown) / len(layers),
        forward=_median(ratios(places, "forward", "end_to_end")),
        backward=_median(ratios(places, "backward", "end_to_end")),
        forward_local=_median(ratios(places, "forward", "local")),
        backward_local=_median(ratios(places, "backward", "local")),
        within=_within(places, "end_to_end", "forward"),
        within_back=_within(places, "end_to_end", "backward"),
        within_local=_within(places, "local", "forward"),
        within_local_back=_within(places, "local", "backward"),
        chance=_chance(places),
    )


def ratios(places: Iterable[Sequence[Place]], side: str, column: str) -> dict[str, float]:
    """By layer: mean over draws of log(measured / predicted), less the mean that theory gives it."""
    logs = {}
    for row in places:
        if row[0].side == side:
            sets = [(place.measured, place.predicted[column], place.log_mean[column]) for place in row]
            if all(measured and predicted for measured, predicted, _ in sets):
                logs[row[0].layer] = statistics.fmean(math.log(a / b) - (mean or 0.0) for a, b, mean in sets)
    return logs


def _median(logs: dict[str, float]) -> float | None:
    return statistics.median(map(abs, logs.values())) if logs else None


def _chance(places: Iterable[Sequence[Place]]) -> float | None:
    """Stated standard deviation of the mean over draws of the forward log, from end to end, at the median layer."""
    stated = [[place.log_sd["end_to_end"] for place in row] for row in places if row[0].side == "forward"]
    sds = [statistics.fmean(row) / math.sqrt(len(row)) for row in stated if all(sd is not None for sd in row)]
    return statistics.median(sds) if sds else None


def _within(places: Iterable[Sequence[Place]], column: str, side: str) -> float | None:
    """Share of single draws within 3 stated standard deviations."""
    scores = [p.z[column] for row in places for p in row if p.side == side and p.z[column] is not None]
    return sum(abs(z) <= 3 for z in scores) / len(scores) if scores else None


def details(by_draw: Sequence[Sequence[Place]]) -> str:
    """Every layer: the logs of both columns, the scores of single draws, why there is no prediction."""
    places = list(zip(*by_draw, strict=True))
    text: Callable[[float | None], str] = lambda number: "    -" if number is None else f"{number:+.3f}"  # noqa: E731
    lines = []
    for row in places:
        logs = [ratios([row], row[0].side, column).get(row[0].layer) for column in COLUMNS]
        scores = [[place.z[column] for place in row if place.z[column] is not None] for column in COLUMNS]
        means = [statistics.fmean(each) if each else None for each in scores]
        far = [sum(abs(z) > 3 for z in each) for each in scores]
        lines.append(
            f"{row[0].side:8} {row[0].layer:40} local {text(logs[0])} z {text(means[0])} far {far[0]:2}   "
            f"end to end {text(logs[1])} z {text(means[1])} far {far[1]:2}  {row[0].reason or ''}"
        )
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--only", default="", help="words of names, joined by commas")
    parser.add_argument("--home", default="theory_nets", help="module that has the networks: theory_nets, theory_parts")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--fresh", action="store_true", help="probe again what the cache holds")
    parser.add_argument("--details", action="store_true", help="a line for each layer")
    parser.add_argument("--anyinit", type=Path, help="figures of theory_anyinit.py")
    parser.add_argument("--publish", action="store_true", help="write the figures that the README shows")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    chosen = [word for word in options.only.split(",") if word]
    rows = []
    for entry in import_module(options.home).entries():
        if not chosen or any(word in entry.name for word in chosen):
            started = time.perf_counter()
            by_draw = kept(entry, options.draws, options.cache, options.fresh)
            rows.append(agreement(entry.name, by_draw))
            print(rows[-1], f"{time.perf_counter() - started:.0f} s", flush=True)
            if options.details:
                print(details(by_draw), flush=True)
    anyinit = json.loads(options.anyinit.read_text()) if options.anyinit else {}
    print(table([asdict(row) for row in rows], anyinit))
    if options.publish:
        deep = [entry for entry in import_module(options.home).entries() if entry.name in DEEP]
        many = [asdict(agreement(entry.name, kept(entry, MANY, options.cache, options.fresh))) for entry in deep]
        publish([asdict(row) for row in rows], many, anyinit, versions())


if __name__ == "__main__":
    main(sys.argv[1:])
