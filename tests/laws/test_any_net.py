"""Nets put together at random. Each is reported or refused in one line, without a warning, and JSON has no NaN."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.probe.run import run
from initprobe.reports.figures.run import draw, kinds

INITS = [
    *(record.example for record in INITIALIZERS.values()),
    "normal:std=1e-8", "normal:std=1e8", "constant:value=-3", "autoencoder:tied=false,noise=0.5",
    "autoencoder:learning_rate=30", "autoencoder:base=zeros", "lsuv:of=output,center=true",
]  # fmt: skip
INPUTS = ["gaussian", "uniform", *(f"gaussian:{p}" for p in ("std=0", "std=1e-30", "mean=100", "correlation=1"))]
FIELDS = st.fixed_dictionaries(
    {
        "init": st.sampled_from(INITS),
        "act": st.sampled_from([*ACTIVATIONS]),
        "layers": st.sampled_from([1, 2, 5, 30]),
        "width": st.sampled_from([1, 2, 7, 30]),
        "batch": st.sampled_from([2, 3, 50]),
        "draws": st.sampled_from([1, 2]),
        "dtype": st.sampled_from(["float32", "float64"]),
        "input": st.sampled_from(INPUTS),
    },
    optional={
        "norm": st.sampled_from(["layer", "batch"]),
        "residual": st.just(True),
        "block": st.sampled_from([2, 5]),
        "branch_scale": st.sampled_from([0, 1e30, "1/L"]),
        "zero_init_last": st.just(True),
        "bias_init": st.sampled_from(["normal:std=1", "constant:value=-5"]),
        "batches": st.just(2),
        "loss": st.sampled_from(["mse", "cross-entropy"]),
        "train_steps": st.sampled_from([3, 20]),
        "learning_rate": st.sampled_from([1e-3, 10.0, 1e8]),
    },
)


def report(fields, drawn):
    try:
        result = run(ProbeConfig(**fields))
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    json.loads(result.to_json(), parse_constant=lambda text: pytest.fail(text))
    assert "nan" not in result.table().replace("NaN", "")
    if drawn:
        for kind in kinds(result):
            draw(result, kind)


@given(fields=FIELDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_random_net_is_measured_without_a_fault(fields):
    report(fields, drawn=False)


@pytest.mark.slow
@given(fields=FIELDS)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_many_random_nets_are_measured_without_a_fault(fields):
    report(fields, drawn=True)
