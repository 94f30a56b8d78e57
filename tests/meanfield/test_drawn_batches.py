"""Drawn networks with norms: small batches, weights with a mean, narrow and deep networks, and calibration."""

import itertools
import math

import numpy as np
import pytest

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.norms import NORMS
from initprobe.activations.skips import Wiring
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.drawn_batches import Estimate, Plan, drawn_networks
from initprobe.meanfield.drawn_rows import Rows
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.probe.run import measured

TENSORS = ("output", "output_gradient", "preactivation_gradient", "weight_gradient")
# Shares of |z| beyond 2 and 3, as in `test_calibration`: a normal z has .0455 and .0027.
EXPECTED = {2: 0.0455, 3: 0.0027}
INITS = ("he", "xavier_uniform", "lecun", "orthogonal", "normal:mean=0.01,std=0.1")
BIASES = ("zeros", "normal:std=0.1", "uniform:low=-0.3,high=0.3")


def close(result, errors=5.0):
    """Mean logs of measured variances agree with the prediction within so many of both standard errors."""
    for layer in result.layers:
        for name in TENSORS:
            values = np.array(layer.tensor(name).variance_by_draw)
            sd = values.std(ddof=1) / values.mean()
            uncertain = max(layer.theory.gradient_uncertainty or 1, layer.theory.weight_gradient_uncertainty or 1)
            error = sd / math.sqrt(len(values)) + math.log(uncertain)
            gap = math.log(values.mean() / getattr(layer.theory, f"{name}_variance"))
            assert abs(gap) < errors * error + 0.02, (layer.layer, name)


@pytest.mark.parametrize(
    "fields",
    [
        {"init": "normal:mean=0.02,std=0.14", "act": "relu"},
        {"init": "uniform:low=-0.23,high=0.25", "act": "gelu", "input": "digits"},
        {"init": "normal:mean=-0.01,std=0.1", "act": "tanh", "residual": True, "block": 2},
    ],
)
def test_weights_with_a_mean_under_batch_norm(fields):
    """A batch norm does not remove what a mean adds, which differs between samples."""
    result = measured(ProbeConfig(layers=4, width=100, batch=30, draws=12, norm="batch", **fields), threads=1)
    close(result)


def test_a_batch_of_eight():
    """The series in 1/batch gives 69 at layer 1, of a mean of about 150."""
    close(measured(ProbeConfig(init="he", act="relu", layers=8, width=60, batch=8, draws=16, norm="batch"), threads=1))


def test_deep_layers_of_gelu_are_predicted_by_drawn_networks():
    """Rows grow longer from layer to layer, and no series holds; all layers have a prediction."""
    result = measured(
        ProbeConfig(init="he", act="gelu", layers=25, width=64, batch=60, draws=3, norm="batch"), threads=1
    )
    assert all(abs(layer.theory.z) < 4.5 and abs(layer.theory.gradient_z) < 4.5 for layer in result.layers[:-1])
    assert result.layers[0].theory.output_gradient_spread > 0.1


@pytest.mark.parametrize("batch", [60, 400])
def test_an_output_that_is_the_input_has_no_spread(batch):
    """Drawn networks differ by rounding alone, which is no standard deviation."""
    fields = {"init": "he", "act": "relu", "norm": "layer", "residual": True, "zero_init_last": True}
    result = measured(ProbeConfig(layers=8, width=40, batch=batch, **fields), threads=1)
    assert all(layer.theory.z is None for layer in result.layers)


def test_the_last_layer_of_a_branch_may_start_at_zero_where_weights_have_a_mean():
    fields = {"init": "normal:std=0.1,mean=0.1", "act": "relu", "norm": "batch", "residual": True, "block": 2}
    result = measured(ProbeConfig(layers=6, width=50, batch=60, draws=1, zero_init_last=True, **fields), threads=1)
    variances = [layer.theory.output_variance for layer in result.layers[1::2]]
    np.testing.assert_allclose(variances, variances[0], rtol=1e-6)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("features", [30, 1])
def test_rows_with_the_products_and_sums_of_the_input(features, whole):
    x = np.random.default_rng(0).standard_normal((7, features)) + 0.3
    x[2] = 0
    rows = Rows.of(x @ x.T / features, x.mean(axis=1), features, whole=whole)
    assert not rows.x[2].any()  # a layer norm would enlarge rounding
    np.testing.assert_allclose(rows.x @ rows.x.T, x @ x.T, atol=1e-4)
    np.testing.assert_allclose(rows.sums, x.sum(axis=1), rtol=1e-12)
    if whole:
        np.testing.assert_allclose(rows.x.sum(axis=1), x.sum(axis=1), atol=1e-4)


def test_a_linear_layer_in_closed_form():
    """Without norms above, dL/dh has the mean square `n v` per layer, and orthogonal weights keep every length."""
    x = np.random.default_rng(1).standard_normal((12, 20))
    wirings = [Wiring(NORMS["layer"], None)] * 3
    layers = [Layer(20, 20, 1 / 20, orthogonal=True)] * 3
    drawn = drawn_networks(ACTIVATIONS["linear"], layers, wirings, InputMoments.measure(x), 12)
    assert drawn is not None
    np.testing.assert_allclose(drawn.output.log_of_mean, 0, atol=1e-4)
    np.testing.assert_allclose(drawn.output.sd, 0, atol=1e-4)


def test_the_continuation_to_a_larger_batch():
    """Logs `a + b / rows` are continued exactly; a large step is refused."""
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((20, 3)) * 0.01, 5.0
    estimate = Estimate.of(a + b / 256, a + b / 128, 1 - 256 / 1024)
    np.testing.assert_allclose(estimate.log_of_mean - estimate.sd**2 / 2, a.mean(axis=0) + b / 1024, atol=1e-12)
    far = Estimate.of(a + 300 / 256, a + 300 / 128, 1 - 256 / 1024)
    assert np.isinf(far.error).all()


def test_what_would_take_too_long_is_not_drawn():
    assert Plan.of([(4000, 4000)] * 30, 256, 256, by_batch=True) is None
    assert Plan.of([(4000, 4000)], 64, 64, by_batch=True) is not None
    assert Plan.of([(4000, 4000)], 64, 64, by_batch=True, orthogonal={(4000, 4000)}) is None
    plan = Plan.of([(50, 50)] * 10, 256, 1000, by_batch=True)
    assert plan.rows == 256
    assert plan.continued == pytest.approx(1 - 256 / 1000)


def around(rng, number, norm, seed, residual):
    """What both kinds of random networks have around their layers. It draws last, so that seeds keep their networks."""
    block = int(rng.choice([1, 2])) if residual else 1
    return {"residual": residual, "block": block, "draws": 8, "seed": 1000 * seed + number, "norm": norm}


def random_config(number, norm, seed):
    """A random normalised network; activations take turns."""
    rng, names = np.random.default_rng((seed, number)), list(ACTIVATIONS)
    residual = bool(rng.random() < 1 / 3)
    return ProbeConfig(
        act=names[number % len(names)],
        init=str(rng.choice(INITS)),
        bias_init=str(rng.choice(BIASES)),
        input="digits" if rng.random() < 1 / 2 else "gaussian",
        layers=int(rng.choice([4, 10, 20, 30])),
        width=int(rng.choice([16, 32, 64, 100, 200])),
        batch=int(rng.choice([8, 16, 64, 300])),
        **around(rng, number, norm, seed, residual=residual),
    )


def config_with_means(number, norm, seed):
    """A random normalised network whose weights have a mean of 0.03 to 1 standard deviations, of either sign."""
    rng, names = np.random.default_rng((seed, number)), list(ACTIVATIONS)
    residual, width = bool(rng.random() < 1 / 2), int(rng.choice([24, 50, 100, 200]))
    std = float(rng.choice([0.7, 1.0, 1.4])) / math.sqrt(width)
    mean = float(rng.choice([0.03, 0.1, 0.3, 1.0])) * float(rng.choice([-1, 1])) * std
    half = math.sqrt(3) * std
    return ProbeConfig(
        act=names[number % len(names)],
        init=str(rng.choice([f"normal:std={std},mean={mean}", f"uniform:low={mean - half},high={mean + half}"])),
        bias_init=str(rng.choice(BIASES)),
        input="digits" if rng.random() < 1 / 2 else "gaussian",
        layers=int(rng.choice([4, 8, 16])),
        width=width,
        batch=int(rng.choice([30, 100, 300, 1000])),
        **around(rng, number, norm, seed, residual=residual),
    )


@pytest.mark.slow
@pytest.mark.parametrize("config_of", [random_config, config_with_means])
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_shares_beyond_two_and_three_standard_deviations(norm, config_of):
    """Of 100 random networks: inside the 99% interval of a bootstrap over networks, or within a factor of 1.5."""
    results = [measured(config_of(number, norm, seed=11), threads=1) for number in range(100)]
    for name in ("z", "gradient_z"):
        by_network = [
            [abs(z) for layer in result.layers if layer.theory and (z := getattr(layer.theory, name)) is not None]
            for result in results
        ]
        known = [np.array(distances) for distances in by_network if distances]
        for limit, expected in EXPECTED.items():
            beyond, counts = np.array([[np.sum(z > limit), len(z)] for z in known], float).T
            chosen = np.random.default_rng(1).integers(len(known), size=(2000, len(known)))
            low, high = np.quantile(beyond[chosen].sum(1) / counts[chosen].sum(1), [0.005, 0.995])
            share = beyond.sum() / counts.sum()
            print(
                norm,
                config_of.__name__,
                name,
                limit,
                round(share, 4),
                (round(low, 4), round(high, 4)),
                int(counts.sum()),
            )
            assert low <= expected <= high or share <= 1.5 * expected, (name, limit, share, (low, high))
    layers = list(itertools.chain.from_iterable(result.layers for result in results))
    assert sum(layer.theory is None or layer.theory.output_variance is None for layer in layers) < 0.05 * len(layers)
