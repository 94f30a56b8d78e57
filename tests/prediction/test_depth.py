"""Depth scales fitted from a measurement, beside theory's fit of the same layers and its limit."""

import math

import pytest

from initprobe import ProbeConfig
from initprobe.probe.run import measured


def scales(**fields):
    settings = {"act": "tanh", "width": 300, "batch": 200, "draws": 4}
    return measured(ProbeConfig(**(settings | fields))).depth_scales


def scaled(sigma_w, sigma_b=0.0):
    return {"init": f"variance_scaling:scale={sigma_w**2!r}", "bias_init": f"normal:std={sigma_b!r}"}


@pytest.mark.parametrize(
    ("fields", "layers"),
    [(scaled(0.9, 0.2), 30), (scaled(1.5, 0.3), 30), (scaled(0.5), 10)],
)
def test_measured_and_predicted_agree(fields, layers):
    """The slope of a line through L logs of SD s, correlated as in a net, has SD s/L."""
    depths = scales(layers=layers, **fields)
    spread = math.sqrt(2 * layers / 300 / 4)  # of the last log, from 2/width per layer
    gradient = depths.gradient
    assert abs(1 / gradient.measured - 1 / gradient.predicted) < 5 * spread / layers


def test_far_from_the_edge_the_fitted_depth_scale_is_the_limit():
    """N(0, 0.01^2) and tanh: phi is its tangent from layer 2 on, so all scales are -1/log(sigma_w^2)."""
    depths = scales(init="normal:std=0.01", layers=10)
    expected = -1 / math.log(300 * 0.01**2)
    assert depths.gradient.limit == pytest.approx(expected, rel=1e-6)
    assert depths.length.limit == pytest.approx(expected, rel=1e-6)
    assert depths.gradient.predicted == pytest.approx(expected, rel=0.01)
    assert depths.length.measured == pytest.approx(expected, rel=0.05)


def test_inputs_become_alike_over_the_predicted_depth():
    """What is left of 1 - c falls with the inputs' own noise. So the fit is within the few percent of finite width."""
    correlation = scales(layers=20, **scaled(0.9, 0.2)).correlation
    assert correlation.measured == pytest.approx(correlation.predicted, rel=0.1)
    assert correlation.predicted == pytest.approx(correlation.limit, rel=0.2)


def test_the_gradient_grows_in_chaos():
    assert scales(layers=20, **scaled(2.0)).gradient.measured < 0


def test_no_scale_at_the_edge_of_chaos_or_without_theory():
    assert scales(init="constant:value=0.1", layers=5) is None
    critical = scales(init="lecun", layers=20)
    assert critical.gradient is None
    assert critical.length is None
    assert scales(init="lecun", layers=2).gradient is None
    tapered = scales(init="lecun", widths=(300, 200, 100, 50), width=None, layers=None)
    assert tapered.correlation is None


def test_the_table_names_the_scale(initprobe):
    text = initprobe(
        "run", "--sigma-w", "0.9", "--sigma-b", "0.2", "--act", "tanh", "--width", 200, "--layers", 20, "--no-figures"
    ).out
    line = next(line for line in text.splitlines() if line.startswith("depth"))
    assert "gradient 2." in line
    assert len(line) <= 80


def test_a_slope_of_rounding_has_no_scale():
    """Identity weights keep the gradient up to rounding: its scale would be 7e15 layers."""
    gradient = scales(init="he", act="relu", layers=20).gradient
    assert gradient is None or gradient.predicted is None
    kept = scales(init="orthogonal", act="linear", layers=20).gradient
    assert kept is None or all(value is None or abs(value) < 1e12 for value in (kept.measured, kept.predicted))
