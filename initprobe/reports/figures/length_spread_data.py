"""The variance over draws of a signal's mean square, layer by layer, and its prediction for ReLU and linear networks.

With independent normal weights of mean 0, biases of zero, and one input of n_0 normal features of mean 0,

    E[Q_l^2] / E[Q_l]^2 = (1 + 2/n_0) prod_{k<l} (1 + (m - 1)/n_k) (1 + 2/n_l)

for the mean square `Q_l` of the pre-activations z over the `n_l` units of layer l. For ReLU, where half of the units
pass a normal z on, m is 6. For a linear network it is 3. About the mean over units it has `n_l - 1` for the last `n_l`.
The scale of weights and input cancels, since both activations keep it: `phi(a z) = a phi(z)` for a > 0. Between two
inputs and two widths only the sum of 1/width counts: Hanin & Rolnick 2018, arXiv:1803.01719, theorem 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import ConfigError
from initprobe.initializers.distributions import NORMAL
from initprobe.reports.figures.sweep_kinds import SweepRun
from initprobe.reports.figures.sweep_series import label, varying
from initprobe.results.run import ProbeResult

# E[phi(z)^4] / E[phi(z)^2]^2 of a normal z.
FOURTHS = {"relu": 6.0, "linear": 3.0}
_BLOCKS = 10
_FEWEST_DRAWS = 2 * _BLOCKS  # a block has a variance


@dataclass(frozen=True)
class SpreadLine:
    """One run, layer by layer.

    Attributes:
        label: the settings that vary.
        reciprocals: sum of 1/width of the layers before, `(layers,)`.
        measured: variance over draws of the mean square of z, in units of its squared mean, `(layers,)`.
        error: standard error of it, from blocks of draws, `(layers,)`.
        predicted: the same at infinitely many draws, `(layers,)`.
    """

    label: str
    reciprocals: Array
    measured: Array
    error: Array
    predicted: Array


def spread_lines(runs: Sequence[SweepRun]) -> tuple[str, list[SpreadLine]]:
    """The activation of all runs, and a line for each.

    Raises:
        ConfigError: theory does not cover the runs.
    """
    acts = {str(run.config.act) for run in runs}
    if len(acts) != 1 or not acts <= set(FOURTHS):
        raise ConfigError(f"length_spread needs one activation, {' or '.join(FOURTHS)}, in all runs")
    if any(run.config.draws < _FEWEST_DRAWS or not run.config.is_plain for run in runs):
        raise ConfigError(f"length_spread needs plain networks and at least {_FEWEST_DRAWS} draws")
    for run in runs:
        if lacking := _uncovered(run.config):
            raise ConfigError(f"length_spread needs {lacking} in all runs; use --where to leave out others")
    names = varying([run.entry for run in runs])
    (act,) = acts
    return act, [_line(run.read(), label(run.entry, names), FOURTHS[act]) for run in runs]


def _uncovered(config: ProbeConfig) -> str | None:
    """What the formula needs and a config lacks; None if it covers the config."""
    weights, bias, noise = config.initializer, config.bias_initializer, config.noise
    if weights.distribution is not NORMAL or weights.mean or weights.fit is not None:
        return "independent normal weights of mean 0"
    if bias.mean or bias.std(1, 1):
        return "biases of zero"
    if noise is None or noise.name != "gaussian" or noise.params["mean"] or not noise.params["std"]:
        return "gaussian input of mean 0"
    if noise.params["correlation"] != 1:
        return "one input (gaussian:correlation=1)"
    if min(config.layer_widths) < 2:
        return "layers of at least 2 units"
    return None


def _line(result: ProbeResult, name: str, fourth: float) -> SpreadLine:
    squares = np.array([layer.preactivation.variance_by_draw for layer in result.layers], float)
    widths = np.array([layer.fan_out for layer in result.layers], float)
    parts = np.array_split(squares, _BLOCKS, axis=1)
    if not all(np.all((part.mean(axis=1) > 0) & (part.mean(axis=1) < math.inf)) for part in parts):
        where = name or "the run"
        raise ConfigError(f"length_spread needs signals that are not 0 or beyond the float range; see {where}")
    blocks = np.array([_relative(part) for part in parts])
    before = np.concatenate(([0.0], np.cumsum(1 / widths)[:-1]))
    return SpreadLine(
        label=name,
        reciprocals=before,
        measured=_relative(squares),
        error=blocks.std(axis=0, ddof=1) / math.sqrt(_BLOCKS),
        predicted=expected_spread(result.layers[0].fan_in, widths, fourth),
    )


def _relative(squares: Array) -> Array:
    """Variance over draws in units of the squared mean, of `(layers, draws)`."""
    return np.asarray((squares / squares.mean(axis=1, keepdims=True)).var(axis=1, ddof=1))


def expected_spread(features: int, widths: Array, fourth: float) -> Array:
    """The variance of the mean square of z, about its mean over units, in units of its squared mean, `(layers,)`.

    Args:
        features: of the input, which is drawn anew for each network.
        widths: units per layer, `(layers,)`.
        fourth: `E[phi(z)^4] / E[phi(z)^2]^2`.
    """
    through = np.concatenate(([1.0], np.cumprod(1 + (fourth - 1) / widths)[:-1]))
    return np.asarray((1 + 2 / features) * through * (1 + 2 / (widths - 1)) - 1)
