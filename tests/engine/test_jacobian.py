"""Singular values of products of Jacobians, against closed forms, autograd and finite differences."""

import itertools
import math

import numpy as np
import pytest

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.engine.jacobian import Product, SingularValues

EPS = np.finfo(float).eps
RNG = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order():
    RNG.bit_generator.state = np.random.default_rng(7).bit_generator.state


def haar(n):
    q, r = np.linalg.qr(RNG.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def product(weights, slopes):
    computed = Product.identity(len(weights[0]))
    for weight, slope in zip(weights, slopes, strict=True):
        computed = computed.times(weight, slope)
    return computed


def random_layers(sizes):
    weights = [RNG.standard_normal((a, b)) / math.sqrt(a) for a, b in itertools.pairwise(sizes)]
    return weights, [RNG.uniform(0.2, 1, b) for b in sizes[1:]]


def multiplied(weights, slopes):
    whole = np.eye(len(weights[0]))
    for weight, slope in zip(weights, slopes, strict=True):
        whole = whole @ (weight * slope)
    return whole


def test_the_empty_product_is_the_identity():
    assert Product.identity(5).singular_values().log10.tolist() == [0.0] * 5


@pytest.mark.parametrize("sizes", [(8, 8), (5, 9), (9, 5), (6, 11, 7), (11, 6, 8, 11), (7, 7, 7, 7)])
def test_shallow_products_agree_with_the_svd_of_the_product(sizes):
    layers = random_layers(sizes)
    values = product(*layers).singular_values()
    expected = np.linalg.svd(multiplied(*layers), compute_uv=False)
    rank = min(sizes)
    assert (values.count, values.zeros, values.lost) == (min(sizes[0], sizes[-1]), values.count - rank, 0)
    # The plain SVD is off by eps times the largest over each singular value, and a low power of the size.
    assert np.all(np.abs(10**values.log10 - expected[:rank]) <= 100 * max(sizes) * EPS * expected[0])


def test_known_values_are_found_over_two_hundred_decades():
    n, depth = 24, 40
    decay = np.linspace(0, -5.0, n)  # log10 of one layer's singular values: the product reaches 1e-200
    bases = [haar(n) for _ in range(depth + 1)]
    weights = [(a * 10**decay) @ b.T for a, b in itertools.pairwise(bases)]
    values = product(weights, [np.ones(n)] * depth).singular_values()
    assert values.lost == values.zeros == 0
    # Writing a layer's entries down is an error of eps of its largest, 10^5 of its smallest singular value.
    assert np.allclose(values.log10, depth * decay, rtol=0, atol=depth * n * 1e5 * EPS)


def test_the_determinant_of_a_deep_gaussian_product_is_kept():
    n, depth = 60, 80
    weights = [RNG.standard_normal((n, n)) / math.sqrt(n) for _ in range(depth)]
    values = product(weights, [np.ones(n)] * depth).singular_values()
    expected = sum(np.linalg.slogdet(weight)[1] for weight in weights) / math.log(10)
    condition = max(np.linalg.cond(weight) for weight in weights)
    assert values.count == len(values.log10)
    assert abs(values.log10.sum() - expected) < depth * n * condition * EPS
    assert values.log10[-1] < -50  # far below what the SVD of the product could tell from 0


def test_dead_units_and_bottlenecks_are_exactly_zero():
    weights, slopes = random_layers((10, 10, 10))
    slopes[0][:4] = 0
    slopes[1][:3] = 0
    values = product(weights, slopes).singular_values()
    assert (values.zeros, values.lost, values.count) == (4, 0, 10)
    values = product(*random_layers((10, 3, 12))).singular_values()
    assert (values.zeros, values.lost, values.count) == (7, 0, 10)


@pytest.mark.parametrize("dead", ["weights", "slopes"])
def test_a_dead_layer_leaves_zeros_alone_whatever_follows(dead):
    weights, slopes = random_layers((6, 7, 8))
    (weights if dead == "weights" else slopes)[0][:] = 0
    values = product(weights, slopes).singular_values()
    assert (values.zeros, values.lost, len(values.log10)) == (6, 0, 0)
    assert values.mean_square_log10 == -math.inf
    assert math.isnan(values.spread)


def test_equal_weights_have_one_value_and_the_rest_is_called_lost():
    depth, n, w = 50, 30, 0.01
    values = product([np.full((n, n), w)] * depth, [np.ones(n)] * depth).singular_values()
    assert (len(values.log10), values.zeros, values.lost) == (1, 0, n - 1)
    assert values.log10[0] == pytest.approx(depth * math.log10(n * w), rel=depth * n * EPS)


def test_a_few_dependent_units_do_not_hide_the_others():
    weights, slopes = random_layers((12, 12, 12))
    weights[0][:, 3] = 2 * weights[0][:, 7]
    slopes[0][3] = slopes[0][7]
    values = product(weights, slopes).singular_values()
    expected = np.linalg.svd(multiplied(weights, slopes), compute_uv=False)
    assert (len(values.log10), values.lost) == (11, 1)
    assert np.all(np.abs(10**values.log10 - expected[:11]) <= 1200 * EPS * expected[0])


def test_no_scale_is_too_large_or_small():
    weights = [np.eye(3) * scale for scale in (1e300, 1e300, 1e-300, 1e-200)]
    slopes = [np.ones(3), np.array([1, 1e-5, 1e-9]), np.ones(3), np.ones(3)]
    assert np.allclose(product(weights, slopes).singular_values().log10, [100, 95, 91], rtol=1e-14)


def test_values_below_the_float_range_beside_the_largest_are_lost():
    slopes = np.array([1.0, 1e-100])
    values = product([np.eye(2)] * 4, [slopes] * 4).singular_values()
    assert (values.log10.tolist(), values.lost) == ([0.0], 1)


def test_moments_count_zeros_and_lost_ones():
    values = SingularValues(np.log10([2.0, 1.0]), zeros=1, lost=1)
    squares = np.array([4.0, 1, 0, 0])
    assert 10**values.mean_square_log10 == pytest.approx(squares.mean())
    assert values.spread == pytest.approx(squares.var() / squares.mean() ** 2)
    far = SingularValues(values.log10 - 400, zeros=1, lost=1)
    assert far.spread == pytest.approx(values.spread)
    assert far.mean_square_log10 == pytest.approx(values.mean_square_log10 - 800)


def test_rounding_is_no_spread():
    values = Product.identity(50).times(haar(50), np.ones(50)).singular_values()
    assert values.spread == 0


@pytest.mark.parametrize("act", list(ACTIVATIONS))
def test_every_activation_agrees_with_finite_differences(act):
    activation, sizes = ACTIVATIONS[act], (6, 7, 5)
    weights, _ = random_layers(sizes)
    x, step = RNG.standard_normal(6), 1e-6

    def forward(rows):
        for weight in weights:
            rows = activation.value(rows @ weight)
        return rows

    h, slopes = x[None], []
    for weight in weights:
        z = h @ weight
        h = activation.value(z)
        slopes.append(activation.slope(z, h)[0])
    jacobian = (forward(x + step * np.eye(6)) - forward(x - step * np.eye(6))) / (2 * step)
    values = product(weights, slopes).singular_values()
    computed = np.append(10**values.log10, np.zeros(values.zeros))
    # Weyl: singular values differ by no more than the matrices. The central difference is off by eps/step and step^2
    # times a third derivative. No activation here has one above 10 at these sizes.
    bound = math.sqrt(30) * (10 * EPS / step + 1e3 * step**2) * 10
    assert np.allclose(computed, np.linalg.svd(jacobian, compute_uv=False), rtol=0, atol=bound)


@pytest.mark.parametrize("act", ["tanh", "relu", "gelu", "softplus"])
def test_singular_values_are_those_of_autograd(act, torch):
    functions = {"tanh": torch.tanh, "relu": torch.relu, "gelu": torch.nn.functional.gelu}
    function = functions.get(act, torch.nn.functional.softplus)
    activation, sizes = ACTIVATIONS[act], (20, 25, 15, 20)
    weights, _ = random_layers(sizes)
    x = RNG.standard_normal((1, 20))
    h, slopes = x, []
    for weight in weights:
        z = h @ weight
        h = activation.value(z)
        slopes.append(activation.slope(z, h)[0])

    def forward(row):
        for weight in weights:
            row = function(row @ torch.from_numpy(weight))
        return row

    jacobian = torch.autograd.functional.jacobian(forward, torch.from_numpy(x[0])).numpy()
    values = product(weights, slopes).singular_values()
    expected = np.linalg.svd(jacobian, compute_uv=False)
    assert values.lost == 0
    computed = np.append(10**values.log10, np.zeros(values.zeros))
    assert np.allclose(computed, expected, rtol=0, atol=100 * 25 * EPS * expected[0])
