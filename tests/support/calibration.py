"""Do measured variances lie where theory says? `python tests/support/calibration.py` redraws the README's figure.

Experiments are drawn at random: every activation, several initializers, with and without biases, noise and digits,
5 to 30 layers of 50 to 500 units. z is the distance of one network's log variance from its prediction, in SDs.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

from initprobe import ProbeConfig, run
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.arrays import Array
from initprobe.reports.figures.style import render
from initprobe.results.run import ProbeResult

FIGURES = Path(__file__).parents[2] / ".github" / "figures"
NAME = "calibration"
EXPERIMENTS, DRAWS = 400, 8
INITS = ("he", "lecun", "xavier_uniform", "orthogonal", "lecun:gain=1.3", "he_uniform")
BIASES = ("zeros", "zeros", "normal:std=0.1", "uniform:low=-0.3,high=0.3")
LIMITS = (2, 3)
# Of a normal z.
EXPECTED = {limit: 2 * float(norm.sf(limit)) for limit in LIMITS}
DIRECTIONS = {"forward": ("output", "z"), "backward": ("output_gradient", "gradient_z")}


def experiments(count: int, seed: int = 0) -> list[ProbeConfig]:
    """Random experiments, of `DRAWS` networks each; activations take turns."""
    rng, names = np.random.default_rng(seed), list(ACTIVATIONS)
    return [_experiment(names[number % len(names)], number, rng) for number in range(count)]


def _experiment(activation: str, number: int, rng: np.random.Generator) -> ProbeConfig:
    data = {"input": "digits", "standardize": True} if rng.random() < 1 / 3 else {}
    return ProbeConfig(
        act=activation,
        init=str(rng.choice(INITS)),
        bias_init=str(rng.choice(BIASES)),
        layers=int(rng.choice([5, 8, 12, 20, 30])),
        width=int(rng.choice([50, 100, 200, 500])),
        batch=int(rng.choice([20, 100])),
        draws=DRAWS,
        seed=number,
        **data,
    )


def distances(result: ProbeResult, direction: str) -> Array:
    """z of every network and layer with a predicted spread, `(draws, layers)`."""
    tensor, field = DIRECTIONS[direction]
    columns = []
    for layer in result.layers:
        theory = layer.theory
        z = None if theory is None else getattr(theory, field)
        if theory is None or z is None:
            continue
        logs = np.log(np.array(layer.tensor(tensor).variance_by_draw, float))
        # The record holds the SD of a mean over the draws, and z of the mean log.
        sd = math.sqrt(math.log1p(result.draws * math.expm1(getattr(theory, f"{tensor}_spread") ** 2)))
        columns.append(z / math.sqrt(result.draws) + (logs - logs.mean()) / sd)
    return np.array(columns).T.reshape(result.draws, -1)


def share_beyond(networks: Sequence[Array], limit: float) -> float:
    """Share of all z beyond a limit, in networks of any number of layers each."""
    return sum(int(np.sum(np.abs(z) > limit)) for z in networks) / sum(map(len, networks))


def interval(networks: Sequence[Array], limit: float, resamples: int = 2000) -> tuple[float, float]:
    """The 99% interval of that share: a bootstrap over networks, since the layers of one network are correlated."""
    beyond = np.array([np.sum(np.abs(z) > limit) for z in networks], float)
    layers = np.array(list(map(len, networks)), float)
    chosen = np.random.default_rng(1).integers(len(networks), size=(resamples, len(networks)))
    low, high = np.quantile(beyond[chosen].sum(1) / layers[chosen].sum(1), [0.005, 0.995])
    return float(low), float(high)


def is_calibrated(share: float, low: float, high: float, expected: float) -> bool:
    """Whether the expected share is inside the interval, or within a factor of 1.5 of the share."""
    return low <= expected <= high or expected / 1.5 <= share <= expected * 1.5


def calibrate(configs: Sequence[ProbeConfig]) -> dict[str, list[Array]]:
    """z of every network, forward and backward: arrays `(layers,)`."""
    networks: dict[str, list[Array]] = {direction: [] for direction in DIRECTIONS}
    for config in configs:
        result = run(config)
        for direction, found in networks.items():
            found += [z for z in distances(result, direction) if len(z)]
    return networks


def numbers(networks: dict[str, list[Array]]) -> dict[str, object]:
    """What the figure shows: shares beyond the limits with their intervals, and quantiles of z."""
    levels = np.linspace(0, 1, 401)[1:-1]
    summary: dict[str, object] = {"experiments": EXPERIMENTS, "draws": DRAWS}
    for direction, found in networks.items():
        shares = {str(k): (share_beyond(found, k), *interval(found, k), EXPECTED[k]) for k in LIMITS}
        quantiles = np.quantile(np.concatenate(found), levels).round(4).tolist()
        summary[direction] = {"networks": len(found), "shares": shares, "quantiles": quantiles}
    return summary


def picture(summary: dict) -> Figure:
    """Quantiles of the measured z over those of a normal distribution, forward and backward."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    levels = np.linspace(0, 1, 401)[1:-1]
    for axes, direction in zip(figure.subplots(1, 2, sharey=True), DIRECTIONS, strict=True):
        part = summary[direction]
        axes.axline((0, 0), slope=1, color="0.6", lw=1)
        axes.plot(norm.ppf(levels), part["quantiles"], lw=2)
        words = [
            f"|z| > {k}: {s:.2%} ({low:.2%} to {high:.2%}), normal {e:.2%}"
            for k, (s, low, high, e) in part["shares"].items()
        ]
        tensor = "outputs h" if direction == "forward" else "gradients dL/dh"
        axes.set_title(f"{tensor}, {part['networks']} networks\n" + "\n".join(words), fontsize=9, loc="left")
        axes.set(xlabel="quantile of a normal z", ylim=(-4, 4), xlim=(-4, 4))
    figure.axes[0].set_ylabel("quantile of z measured")
    return figure


def main(count: int) -> None:
    """Measure, and write the figure with its numbers."""
    summary = numbers(calibrate(experiments(count)))
    (FIGURES / f"{NAME}.json").write_text(json.dumps(summary, indent=1) + "\n")
    (FIGURES / f"{NAME}.png").write_bytes(render(picture(summary), "png"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else EXPERIMENTS)
