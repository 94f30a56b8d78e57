"""Do measured variances lie where theory says? `python tests/support/calibration.py` redraws the README's figure.

Experiments are drawn at random. They have every activation, several initializers, with and without biases, noise and
digits. They have 5 to 30 layers of 50 to 500 units. Networks are made here with plain NumPy. z is the distance of one
network's log variance from its prediction, in standard deviations.
"""

import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

from initprobe import ProbeConfig
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.skips import wirings
from initprobe.arrays import Array
from initprobe.data.datasets import DIGITS
from initprobe.meanfield.input_moments import InputMoments
from initprobe.prediction.predict import NetworkPrediction, predict_network
from initprobe.reports.figures.style import render

FIGURES = Path(__file__).parents[2] / ".github" / "figures"
NAME = "calibration"
EXPERIMENTS, DRAWS = 400, 8
# Of the published figure. Rules and spreads were chosen on seeds 0 and 1; a slow test runs seed 3.
SEED = 2
INITS = ("he", "lecun", "xavier_uniform", "orthogonal", "lecun:gain=1.3", "he_uniform")
BIASES = ("zeros", "zeros", "normal:std=0.1", "uniform:low=-0.3,high=0.3")
SCALES = ("0.1", "0.2", "0.3", "0.5", "0.7", "1", "1/sqrt(L)")
LIMITS = (2, 3)
# Of a normal z.
EXPECTED = {limit: 2 * float(norm.sf(limit)) for limit in LIMITS}
DIRECTIONS = ("forward", "backward")
# Spreads below the rounding of float32, as of a linear layer behind a layer norm. There nothing varies over networks.
ROUNDING = 1e-6


def experiments(count: int, seed: int = 0) -> list[ProbeConfig]:
    """Random experiments, of `DRAWS` networks each; activations take turns."""
    rng, names = np.random.default_rng(seed), list(ACTIVATIONS)
    return [_experiment(names[number % len(names)], number, rng) for number in range(count)]


def _experiment(activation: str, number: int, rng: np.random.Generator) -> ProbeConfig:
    return ProbeConfig(
        act=activation,
        init=str(rng.choice(INITS)),
        bias_init=str(rng.choice(BIASES)),
        input="digits" if rng.random() < 1 / 3 else "gaussian",
        layers=int(rng.choice([5, 8, 12, 20, 30])),
        width=int(rng.choice([50, 100, 200, 500])),
        batch=int(rng.choice([20, 100])),
        seed=number,
    )


def residual_experiments(count: int, seed: int, norm: str = "none") -> list[ProbeConfig]:
    """Random experiments with skips over 1 to 3 layers and branches of scale 0.1 to 1 or 1/sqrt(L)."""
    rng, names, configs = np.random.default_rng(seed), list(ACTIVATIONS), []
    for number in range(count):
        block, plain = int(rng.choice([1, 1, 2, 3])), _experiment(names[number % len(names)], number, rng)
        around = {"residual": True, "norm": norm, "block": block, "branch_scale": str(rng.choice(SCALES))}
        layers = max(int(rng.choice([5, 8, 12, 20, 30, 50])) // block, 2) * block
        fields = {name: getattr(plain, name) for name in type(plain).model_fields}
        configs.append(ProbeConfig(**fields | around | {"layers": layers}))
    return configs


def distances(config: ProbeConfig) -> dict[str, list[Array]]:
    """z of every layer with a predicted spread, `(layers,)`, for each network of an experiment, forward and backward.

    The last gradient is given, and left out. All networks have the same input.
    """
    prediction, by_network = measured_variances(config, DRAWS)
    distances: dict[str, list[Array]] = {direction: [] for direction in DIRECTIONS}
    for measured in by_network:
        for direction, variances in zip(DIRECTIONS, measured, strict=True):
            distances[direction].append(_distances(prediction, direction, variances))
    return distances


def measured_variances(config: ProbeConfig, draws: int) -> tuple[NetworkPrediction | None, Array]:
    """The prediction, and variances of h and of dL/dh in networks of the same input, `(networks, 2, layers)`."""
    rng = np.random.default_rng((1, config.seed))
    x = _input(config, rng)
    sizes = [x.shape[1], *[config.width] * config.layers]
    prediction = predict_network(config, sizes, InputMoments.measure(x, keep_rows=True), len(x))
    return prediction, np.array([list(_variances(config, sizes, x, rng))[::-1] for _ in range(draws)]).swapaxes(1, 2)


def _input(config: ProbeConfig, rng: np.random.Generator) -> Array:
    """A batch of noise, or of digits, standardised over the batch."""
    if config.input.name != "digits":
        return rng.standard_normal((config.batch, config.width)).astype(np.float32)
    rows = rng.choice(DIGITS.table(), config.batch, replace=False).astype(np.float32)
    return (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-3)


def _variances(
    config: ProbeConfig, sizes: Sequence[int], x: Array, rng: np.random.Generator
) -> Iterator[tuple[float, float]]:
    """Variances of h and dL/dh at each layer of a random network, last to first."""
    trace, h, stream = [], x, x
    for fans, wiring in zip(itertools.pairwise(sizes), wirings(config, sizes), strict=True):
        acting, stream = wiring.acting(config.activation), h if wiring.opens else stream
        weight = config.initializer.sample(rng, fans, fans, np.float32)
        z = h @ weight + config.bias_initializer.sample(rng, (1, fans[1]), fans, np.float32)
        inverse = None if wiring.norm is None else wiring.norm.forward(z)
        own = acting.value(z)
        h = own if wiring.skip is None else stream + np.float32(wiring.skip) * own
        trace.append((weight, z, own, inverse, h, wiring, acting))
    around = g = rng.standard_normal(h.shape, dtype=np.float32)
    for weight, z, own, inverse, h, wiring, acting in reversed(trace):
        yield float(np.var(h, dtype=float)), float(np.var(g, dtype=float))
        if wiring.skip is not None:
            around, g = g, np.float32(wiring.skip) * g
        delta = g * acting.slope(z, own)
        if inverse is not None:
            wiring.norm.backward(delta, z, inverse)
        g = delta @ weight.T + around if wiring.opens else delta @ weight.T


def _distances(prediction: NetworkPrediction, direction: str, variances: Array) -> Array:
    """z of each layer by the prediction, `(layers,)`, without layers whose spread is unknown."""
    values = []
    tensor = "output" if direction == "forward" else "output_gradient"
    columns = list(zip(prediction.layers, prediction.spreads, variances, strict=True))
    for theory, spread, variance in columns if direction == "forward" else columns[:-1]:
        of, predicted = getattr(spread, tensor), getattr(theory, f"{tensor}_variance")
        is_judged = spread.is_first_order_forward if direction == "forward" else spread.is_first_order
        if is_judged and of.sd > ROUNDING and predicted > 0 and variance > 0:
            values.append((math.log(variance / predicted) - of.log_mean) / of.sd)
    return np.array(values)


def share_beyond(networks: Sequence[Array], limit: float) -> float:
    """Share of all z beyond a limit, in networks of any number of layers each."""
    return sum(int(np.sum(np.abs(z) > limit)) for z in networks) / sum(map(len, networks))


def interval(networks: Sequence[Array], limit: float, resamples: int = 1000) -> tuple[float, float]:
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
        for direction, z_of_networks in distances(config).items():
            networks[direction] += [z for z in z_of_networks if len(z)]
    return networks


def numbers(networks: dict[str, list[Array]]) -> dict[str, dict]:
    """What the figure shows: shares beyond the limits with their intervals, and quantiles of z."""
    levels, summary = np.linspace(0, 1, 401)[1:-1], {}
    for direction, distances in networks.items():
        shares = {str(k): (share_beyond(distances, k), *interval(distances, k), EXPECTED[k]) for k in LIMITS}
        quantiles = np.quantile(np.concatenate(distances), levels).round(4).tolist()
        summary[direction] = {"networks": len(distances), "shares": shares, "quantiles": quantiles}
    return summary


def picture(summary: dict[str, dict]) -> Figure:
    """Quantiles of the measured z over those of a normal distribution, forward and backward."""
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    levels = np.linspace(0, 1, 401)[1:-1]
    for axes, direction in zip(figure.subplots(1, 2, sharey=True), DIRECTIONS, strict=True):
        part = summary[direction]
        axes.axline((0, 0), slope=1, color="0.6", lw=1)
        axes.plot(norm.ppf(levels), part["quantiles"], lw=2)
        words = [
            f"|z| > {limit}: {share:.2%} ({low:.2%} to {high:.2%}), normal {expected:.2%}"
            for limit, (share, low, high, expected) in part["shares"].items()
        ]
        tensor = "variance of h" if direction == "forward" else "variance of dL/dh"
        axes.set_title(f"{tensor}, {part['networks']} networks\n" + "\n".join(words), fontsize=9, loc="left")
        axes.set(xlabel="quantile of a normal z", ylim=(-4, 4), xlim=(-4, 4))
    figure.axes[0].set_ylabel("quantile of z over networks and layers")
    return figure


def main(count: int) -> None:
    """Measure, and write the figure with its numbers."""
    summary = numbers(calibrate(experiments(count, SEED)))
    (FIGURES.parent / f"{NAME}.json").write_text(json.dumps(summary, indent=1) + "\n")
    (FIGURES / f"{NAME}.png").write_bytes(render(picture(summary), "png"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else EXPERIMENTS)
