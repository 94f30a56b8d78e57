"""Weights with a mean under norms: the rows of every batch, and units whose variance over a batch is nearly 0."""

import math

import numpy as np
import pytest

from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.drawn_batches import Estimate
from initprobe.meanfield.drawn_rows import rows_of_batches
from initprobe.meanfield.input_moments import InputMoments, add_moments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.unit_variances import relative_variance
from initprobe.prediction.rules import pooled
from initprobe.probe.run import measured


def batches(count, rows=40, features=9):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((rows, features)) for _ in range(count)]


def moments_of(inputs):
    held = []
    add_moments(held, [InputMoments.measure(x, keep_rows=True) for x in inputs])
    return pooled(held)


def test_the_rows_of_one_batch_are_its_own_in_the_order_of_their_sums():
    (x,) = batches(1)
    (rows,) = rows_of_batches(moments_of([x]), len(x), len(x))
    order = np.argsort(x.mean(axis=1))
    np.testing.assert_allclose(rows.x, x[order], atol=1e-5)
    np.testing.assert_allclose(rows.sums, x.sum(axis=1)[order], rtol=1e-12)


def test_rows_of_later_batches_have_their_sums_and_lengths():
    inputs = batches(3)
    for x, rows in zip(inputs, rows_of_batches(moments_of(inputs), len(inputs[0]), len(inputs[0])), strict=True):
        order = np.argsort(x.mean(axis=1))
        np.testing.assert_allclose(rows.x.sum(axis=1), x.sum(axis=1)[order], atol=1e-4)
        np.testing.assert_allclose((rows.x**2).sum(axis=1), (x**2).sum(axis=1)[order], rtol=1e-5)


def test_some_rows_keep_the_mean_of_the_sums():
    (x,) = batches(1)
    (rows,) = rows_of_batches(moments_of([x]), len(x), 10)
    assert rows.sums.mean() == pytest.approx(x.sum(axis=1).mean(), rel=1e-12)


def test_batches_that_are_the_same_count_once():
    (x,) = batches(1)
    assert len(rows_of_batches(moments_of([x, x, x]), len(x), len(x))) == 1


def test_the_sd_is_that_of_one_batch():
    """Batches apart by a constant add to no SD, and to the error as far as some batches are not drawn."""
    own = np.random.default_rng(1).standard_normal((2, 8, 1)) * 0.1
    apart = own - own.mean(axis=1, keepdims=True) + np.array([0.0, 3.0])[:, None, None]
    estimate = Estimate.of(apart.reshape(16, 1), None, 0.0, 2, unseen=1 / 2 - 1 / 4)
    within = apart.var(axis=1, ddof=1).mean()
    assert estimate.sd[0] == pytest.approx(math.sqrt(within) * 14 / 12, rel=1e-12)
    assert estimate.error[0] == pytest.approx(math.sqrt(4.5 / 4), rel=0.01)


@pytest.mark.parametrize("directions", [8, 20])
def test_the_relative_variance_of_one_over_v_in_closed_form(directions):
    """v is chi-squared with d degrees of freedom: `E[1/v^2] / E[1/v]^2 = (d - 2) / (d - 4)`."""
    h = np.concatenate([np.eye(directions), -np.eye(directions)]) * 100
    layer = Layer(directions, 5, 1.0, weight_mean=1e-9)
    expected = ((directions - 2) / (directions - 4) - 1) / 5
    assert relative_variance(h, h.sum(axis=1), layer) == pytest.approx(expected, rel=1e-3)


def test_the_relative_variance_of_one_over_v_where_all_rows_sum_to_zero():
    """The sum over features is then no start for the search of the largest direction."""
    h, layer = np.outer([1.0, -1.0, 2.0], [1.0, -1.0]), Layer(2, 5, 1.0, weight_mean=0.1)
    turned = h * [1, -1]
    expected = relative_variance(turned, np.zeros(3), layer)
    assert relative_variance(h, h.sum(axis=1), layer) == pytest.approx(expected, rel=1e-9)


def test_the_relative_variance_of_one_over_v_of_drawn_units():
    rng = np.random.default_rng(2)
    h = np.multiply.outer(rng.standard_normal(200), rng.standard_normal(30)) + rng.standard_normal((200, 30))
    layer = Layer(30, 10, 0.04, weight_mean=0.3)
    variances = (h @ (0.3 + 0.2 * rng.standard_normal((30, 40_000)))).var(axis=0)
    expected = (1 / variances).var() / (1 / variances).mean() ** 2 / 10
    assert relative_variance(h, h.sum(axis=1), layer) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mean_as_large_as_the_standard_deviation(seed):
    """The distribution of the sums of rows over a batch decides: 256 of 1,000 rows gave a z of 5 to 13."""
    fields = {"init": "normal:std=0.1,mean=0.1", "act": "relu", "norm": "batch"}
    result = measured(ProbeConfig(width=50, layers=4, batch=1000, draws=4, seed=seed, **fields), threads=1)
    for layer in result.layers:
        assert abs(layer.theory.z) < 4
        assert layer.theory.output_spread < 0.02
        assert layer.theory.gradient_z is None or abs(layer.theory.gradient_z) < 4


def test_gradients_without_a_finite_spread_have_no_prediction():
    """Hard tanh saturates, and h has one direction: units whose weights cancel it have nearly no variance."""
    fields = {"init": "normal:std=0.14,mean=0.042", "act": "hardtanh", "norm": "batch"}
    result = measured(ProbeConfig(width=100, layers=10, batch=100, draws=1, **fields), threads=1)
    assert all(layer.theory.z is not None for layer in result.layers)
    assert all(layer.theory.output_gradient_variance is None for layer in result.layers[:-1])
