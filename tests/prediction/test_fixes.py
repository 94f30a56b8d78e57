"""The fix of a run keeps every option but the weights, and is healthy when it is run."""

from dataclasses import replace

import numpy as np
import pytest
from command_lines import config_of

from initprobe.config.probe_config import ProbeConfig
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.prediction.fix_trial import FixSearch, differ_by_scale
from initprobe.prediction.forecast import Network
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network
from initprobe.probe.run import run

SMALL = {"width": 80, "batch": 100, "draws": 2}


def fix_of(fields):
    settings = {name: value for name, value in SMALL.items() if name != "width" or "widths" not in fields}
    result = run(ProbeConfig(**settings | fields))
    assert not result.healthy
    (line,) = {finding.fix for finding in result.diagnosis if finding.severity != "info"}
    return config_of(line)


@pytest.mark.parametrize(
    "fields",
    [
        {"init": "he", "act": "relu", "layers": 20, "residual": True},
        {"init": "he", "act": "relu", "layers": 40, "residual": True, "block": 2},
        {"init": "xavier", "act": "softplus", "layers": 20, "residual": True, "loss": "mse", "classes": 3},
        {"init": "he", "act": "gelu", "layers": 30, "residual": True, "bias_init": "normal:std=0.1"},
        {"init": "he", "act": "elu", "layers": 24, "residual": True, "input": "gaussian:correlation=0.5"},
        {"init": "he", "act": "relu", "layers": 40, "norm": "batch"},
        pytest.param(
            {"init": "xavier", "act": "tanh", "layers": 120, "norm": "layer", "dtype": "float64", "width": 30},
            marks=pytest.mark.slow,
        ),
        {"init": "he", "act": "relu", "widths": (80,) * 12 + (40,) * 12, "residual": True},
        {"init": "normal:std=1", "act": "relu", "widths": (80, 60, 50, 40, 30, 20), "seed": 5},
        {"init": "xavier", "act": "relu", "layers": 20, "bias_init": "normal:std=0.05"},
        {"init": "he", "act": "relu", "layers": 8, "residual": True, "zero_init_last": True},
        {"init": "he", "act": "relu", "layers": 8, "residual": True, "zero_init_last": True, "norm": "layer"},
        {"init": "ones", "act": "tanh", "layers": 8, "residual": True, "zero_init_last": True, "block": 2},
    ],
    ids=str,
)
def test_a_fix_keeps_the_given_options(fields):
    fixed = fix_of(fields)
    for name, value in ProbeConfig(**fields).model_dump().items():
        default = ProbeConfig.model_fields[name].default
        if name != "init" and value != default:
            assert fixed.model_dump()[name] == value, name
    assert run(fixed).healthy


def test_a_scale_that_was_given_is_kept_if_other_weights_hold():
    strong = {"init": "normal:std=0.5", "act": "tanh", "layers": 20, "residual": True, "branch_scale": 0.3}
    fixed = fix_of(strong | {"act": "linear"})
    assert (fixed.residual, fixed.branch_scale) == (True, 0.3)


def test_weights_that_were_given_stay_where_weaker_branches_are_the_fix():
    fixed = fix_of({"init": "he:mode=fan_out", "act": "relu", "layers": 20, "residual": True})
    assert (str(fixed.init), fixed.branch_scale) == ("he:mode=fan_out", "1/sqrt(2L)")


def test_fitted_weights_get_a_fix_too():
    """They take no norm and no skips, so that a candidate with both would be refused."""
    assert fix_of({"init": "autoencoder:epochs=1", "act": "gelu", "layers": 50, "width": 30}).init != "autoencoder"


def test_a_scale_of_zero_is_kept():
    wild = {"init": "normal:std=1", "act": "tanh", "layers": 6}
    fixed = fix_of(wild | {"residual": True, "branch_scale": 0, "block": 2})
    assert (fixed.residual, fixed.branch_scale, fixed.block) == (True, 0, 2)
    assert run(fixed).healthy


def test_weights_from_a_file_are_kept_where_weaker_branches_are_the_fix(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **first_network(prepare(ProbeConfig(init="he", act="relu", layers=20, width=80, batch=100))))
    fixed = fix_of({"weights": path, "act": "relu", "residual": True, "width": None, "draws": 1})
    assert (fixed.weights, fixed.residual, fixed.branch_scale, fixed.input) == (path, True, "1/sqrt(2L)", path)
    assert run(fixed).healthy


def test_biases_without_a_name_are_left_out():
    record = replace(INITIALIZERS["zeros"], name="mine", mean=0.1)
    assert fix_of({"init": "normal:std=0.01", "act": "tanh", "layers": 12, "bias_init": record}).bias_init is None


def test_an_option_that_cannot_be_kept_is_dropped_last():
    """An odd number of layers has no blocks of two. So branches of one ReLU layer and 0 are given up."""
    fixed = fix_of({"init": "he", "act": "relu", "layers": 9, "residual": True, "zero_init_last": True})
    assert not fixed.zero_init_last
    assert run(fixed).healthy


def test_no_skip_is_offered_where_widths_never_agree():
    """It would be refused: every layer of a net that narrows is narrower than its input."""
    narrowing = {"widths": tuple(range(90, 30, -1)), "input_width": 95}
    result = run(ProbeConfig(init="xavier", act="gelu", batch=100, draws=2, **narrowing))
    assert not result.healthy
    assert all("--residual" not in (finding.fix or "") for finding in result.diagnosis)


def test_raw_data_are_standardized_where_they_are_the_fault():
    raw = {"init": "xavier", "act": "tanh", "layers": 10, "input": "digits"}
    fixed = fix_of(raw)
    assert (str(fixed.init), fixed.standardize, fixed.norm) == ("xavier", True, "none")
    assert fix_of(raw | {"init": "normal:std=0.01"}).standardize is False  # the weights are too small for any data


def test_wider_layers_are_the_fix_of_a_net_of_one_unit():
    fixed = fix_of({"init": "orthogonal", "act": "relu6", "layers": 20, "width": 1, "seed": 740})
    assert (str(fixed.init), fixed.residual) == ("he", False)
    assert fixed.width > 10


def test_a_skip_around_another_layer_is_no_fix():
    result = run(ProbeConfig(init="he", act="relu", widths=(32, 16, 8, 4, 2, 1), batch=30, draws=1, seed=336))
    assert "too-deep" in {finding.rule for finding in result.diagnosis}
    assert all("--residual" not in (finding.fix or "") for finding in result.diagnosis)


def test_no_candidate_is_tried_twice():
    """`lecun:gain=1.41` is `he`."""
    tried = []
    names = ("he", "lecun:gain=1.41", "he:mode=fan_out", "xavier")
    original, *candidates = (ProbeConfig(init=init, act="relu") for init in ("normal:std=1", *names))
    assert FixSearch(original, lambda config: tried.append(str(config.init))).first(candidates) is None
    assert tried == ["he", "xavier"]


def test_weights_that_a_norm_makes_alike_are_not_judged_twice():
    """He and LeCun differ by a factor of 2, which a norm divides out; weights of std 0.001 are near its epsilon."""
    he, lecun, tiny = (ProbeConfig(init=init, act="relu", norm="layer") for init in ("he", "lecun", "normal:std=0.001"))
    biased = ProbeConfig(init="lecun", act="relu", norm="layer", bias_init="normal:std=0.1")
    assert differ_by_scale(he, lecun, (50, 50, 50))
    assert not differ_by_scale(he, tiny, (50, 50, 50))
    assert not differ_by_scale(he, ProbeConfig(init="xavier", act="relu", norm="layer"), (50, 50, 20))
    assert not differ_by_scale(*(ProbeConfig(init=init, act="relu") for init in ("he", "lecun")), (50, 50))
    assert not differ_by_scale(biased, ProbeConfig(**biased.model_dump() | {"init": "he"}), (50, 50))


@pytest.mark.parametrize(("act", "holds"), [("elu", True), ("selu", True), ("softplus", True), ("tanh", False)])
def test_a_forecast_allows_the_saturated_share_that_the_verdict_allows(act, holds):
    """Var(z) is 100. Then 39% of the outputs of an ELU are flat, against a limit of (1 + 0.3) / 2."""
    config = ProbeConfig(init="he", act=act, layers=1, width=1000, thresholds={"saturated": 0.3})
    network = Network(config.activation, (100, 1000), np.ones(1), np.ones(1), config.thresholds, draws=1)
    forecast = network.scaled(10.0)
    assert forecast.saturated() > 0.3
    assert forecast.holds(1.0) == holds
