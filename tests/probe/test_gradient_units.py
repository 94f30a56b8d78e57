"""Gradients over more decades than a dtype has: stored in another unit, right at every layer, reported as lost."""

import math

import numpy as np
import pytest

from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.buckets import COARSE, count, grid_of
from initprobe.engine.moments import Moments
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network
from initprobe.probe.run import measured


def log10_variances(arrays, layers):
    """log10 variance of dL/dh of a tanh network, layer 1 first, in float64 and units of each layer's size."""
    h, slopes = arrays["x"].astype(float), []
    for number in range(1, layers + 1):
        h = np.tanh(h @ arrays[f"W{number}"].astype(float))
        slopes.append(1 - h * h)
    g, log, measured = arrays["g"].astype(float), 0.0, []
    for number in range(layers, 0, -1):
        measured.append(2 * log + math.log10(g.var()))
        g = (g * slopes[number - 1]) @ arrays[f"W{number}"].astype(float).T
        size = float(np.abs(g).max())
        g /= size
        log += math.log10(size)
    return measured[::-1]


@pytest.mark.parametrize("std", [0.01, 1])
@pytest.mark.parametrize(
    ("layers", "width"), [(200, 64), pytest.param(10_000, 64, marks=pytest.mark.slow)], ids=["200", "10000"]
)
def test_gradient_is_right_at_every_layer(std, layers, width):
    """float32 against float64 with the same weights.

    Each layer rounds the signal and the gradient by 2^-24 or so, independently: sqrt(layers) of them in a gradient that
    hardly moves, and a saturated net multiplies what the signal is off by (it is chaotic), so that only the size of the
    gradient can be the same: within the spread of a sum of 100 x 64 products a layer.
    """
    config = ProbeConfig(init=f"normal:std={std}", act="tanh", layers=layers, width=width, batch=100, draws=1)
    result, expected = measured(config), log10_variances(first_network(prepare(config)), layers)
    logs = [layer.output_gradient.variance_log10 for layer in result.layers]
    gaps = np.array(logs) - np.array(expected)
    if std < 1:
        assert np.abs(gaps).max() < layers * 2e-6
    else:  # decades; a random walk of the rounding's own chaos, whose step is that of one layer's spread
        steps = np.abs(np.diff(np.array(expected))) - np.median(np.abs(np.diff(np.array(expected))))
        assert np.abs(gaps).max() < 5 * math.sqrt(layers) * float(np.std(steps))
    assert abs(logs[0]) > 2 * np.log10(float(np.finfo(np.float32).max))  # far beyond the dtype


def test_entries_lost_to_the_dtype_are_reported_with_their_layer():
    result = measured(ProbeConfig(init="normal:std=0.01", act="tanh", layers=120, width=64, batch=100, draws=1))
    statuses = [layer.output_gradient.status for layer in result.layers]
    first = max(layer.layer for layer in result.layers if layer.output_gradient.status == "underflow")
    assert statuses[:first] == ["underflow"] * first and set(statuses[first:]) == {"ok"}
    lost, kept = result.layers[0].output_gradient, result.layers[first].output_gradient
    # float32 goes down to 2^-126 as a normal number; its square is where a variance of that size lies.
    assert result.layers[first - 1].output_gradient.variance_log10 < 2 * -126 * math.log10(2)
    assert (lost.histogram, lost.percentiles, lost.coverage) == (None, None, 0)
    assert kept.histogram is not None and kept.variance > 0
    assert any(f.rule == "underflow" for f in result.diagnosis)


@pytest.mark.slow
def test_explosion_beyond_the_dtype_is_overflow_with_a_size():
    result = measured(ProbeConfig(init="normal:std=1", act="tanh", layers=300, width=64, batch=100, draws=1))
    first = result.layers[0].output_gradient
    assert (first.status, first.nonfinite_count) == ("overflow", 0)
    assert first.variance_log10 > 2 * 128 * math.log10(2)


@pytest.mark.any_processor
def test_batches_add_up_in_one_unit():
    """Two half batches give the sum of a whole one, also where the gradient is stored in another unit.

    Products of other sizes are summed in another order: each layer rounds by some 2^-23. An input of the layer that is
    subnormal is rounded to a multiple of 2^-149, and its product with it.
    """
    fields = {"init": "normal:std=0.01", "act": "tanh", "layers": 40, "width": 64, "draws": 2}
    whole, halves = measured(ProbeConfig(**fields, batch=128)), measured(ProbeConfig(**fields, batch=64, batches=2))
    sizes = [1.0, *(layer.output.rms for layer in whole.layers)]
    for layer, half_layer, size in zip(whole.layers, halves.layers, sizes, strict=False):
        for tensor, steps in (("output_gradient", 0.0), ("weight_gradient", 2.0**-149 / size)):
            a, b = layer.tensor(tensor), half_layer.tensor(tensor)
            allowed = 2 * (fields["layers"] * 2.0**-23 + steps) / math.log(10)
            assert a.variance_log10 == pytest.approx(b.variance_log10, abs=allowed)
            assert a.status == b.status


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exponent", [-40, 40])
def test_counts_move_with_their_values(dtype, exponent):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(1000).astype(dtype)
    values[:10] = 0
    grid = grid_of(np.dtype(dtype), COARSE)
    moved = grid.moved(count(values[None], grid)[0], exponent)
    np.testing.assert_array_equal(moved, count(np.ldexp(values, exponent)[None], grid)[0])


def test_moments_in_another_unit():
    moments = Moments(10, 2.0, 5.0, 3)
    assert moments.scaled(-4).variance == moments.variance * 4.0**-4
    assert moments.scaled(0) is moments
