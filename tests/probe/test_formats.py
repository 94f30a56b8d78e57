"""`formats`: what each tensor of a run would lose in a small format."""

import numpy as np
import pytest

from initprobe import ProbeConfig, ProbeResult, run
from initprobe.engine.number_formats import FORMATS
from initprobe.prediction.command_line import command_line
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network

COLLAPSE = {"init": "normal:std=0.01", "act": "tanh", "layers": 8, "width": 100, "batch": 100, "draws": 1}


@pytest.fixture(scope="module")
def collapse():
    return run(ProbeConfig(**COLLAPSE, formats="float16,bfloat16,float8_e4m3fn,float8_e5m2"))


# Entries of all sizes: each layer multiplies them by 60,000 or divides them by 220, to beyond the limits of bfloat16.
SIZES = {"act": "linear", "layers": 18, "width": 20, "batch": 20, "draws": 1, "dtype": "float64"}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast", "ignore:invalid value encountered in cast")
def test_every_tensor_is_counted_as_it_is_cast():
    """Shares that become 0, become subnormal or leave the range; each is seen between 0 and 1 in every format."""
    is_partial = {form.name: np.zeros(3, bool) for form in FORMATS.values()}
    for std in (1e-3, 1.35e4):
        config = ProbeConfig(**SIZES, init=f"normal:std={std}", formats=tuple(FORMATS))
        arrays, result = first_network(prepare(config)), run(config)
        for form, stats in zip(FORMATS.values(), result.formats, strict=True):
            at = {(tensor.layer, tensor.tensor): tensor for tensor in stats.tensors}
            assert len(at) == 6 * 18 and stats.name == form.name
            h = arrays["x"]
            for layer in range(1, 19):
                h = h @ arrays[f"W{layer}"]
                for name, values in (("weight", arrays[f"W{layer}"]), ("preactivation", h), ("output", h)):
                    shares, tensor = shares_of(values, form), at[layer, name]
                    # z and h are computed again here, so an entry next to a limit may fall on its other side.
                    near = 0 if name == "weight" else 3 / values.size
                    assert (tensor.zero, tensor.subnormal, tensor.overflow) == pytest.approx(shares, abs=near)
                    is_partial[form.name] |= [0 < share < 1 for share in shares]
    assert all(each.all() for each in is_partial.values()), is_partial


def shares_of(values, form):
    """By a cast: shares of the entries that become 0, become subnormal, and leave the range."""
    cast = values.astype(form.dtype).astype(float)
    size = np.abs(cast)
    return (
        np.mean((cast == 0) & (values != 0)),
        np.mean((size > 0) & (size < form.smallest_normal)),
        np.mean(~np.isfinite(cast)),
    )


def test_the_first_lost_layer_is_named(collapse):
    half, brain, *_ = collapse.formats
    first = next(t.layer for t in half.tensors if t.tensor == "preactivation" and t.zero > 0.5)
    assert half.lost_at.signal == first
    assert brain.lost_at.signal is None and brain.lost_at.gradient is None
    (finding,) = [finding for finding in collapse.diagnosis if finding.rule == "lost-in-format"]
    assert (finding.layer, finding.severity) == (first, "warning") and "float16" in finding.evidence


def test_a_loss_scale_keeps_the_gradient(collapse):
    scale = collapse.formats[0].loss_scale
    assert scale.lost_at is None and scale.scale_log2 > 0
    back = [t for t in collapse.formats[0].tensors if t.tensor.endswith("gradient")]
    assert scale.worst_zero < max(t.zero for t in back)


def test_a_loss_scale_is_as_large_as_the_range_allows_where_one_tensor_is_lost_at_all(collapse):
    eight = collapse.formats[2]
    assert eight.loss_scale.worst_zero > 0.99
    # dL/dh of the last layer leaves the range first.
    last = max(t.scale_log2 for t in eight.tensors if t.layer == 8 and t.tensor == "output_gradient")
    assert eight.loss_scale.scale_log2 == last


def test_the_best_scale_loses_nothing_of_a_narrow_tensor(collapse):
    for stats in collapse.formats:
        assert all(tensor.scaled_zero <= tensor.zero + tensor.overflow for tensor in stats.tensors)


def test_a_result_with_formats_is_read_again(collapse):
    assert ProbeResult.from_json(collapse.to_json()) == collapse
    assert "--formats float16" in command_line(ProbeConfig(**COLLAPSE, formats=["half"]))
    for rate in (0.1, 0.001):
        typed = command_line(ProbeConfig(**COLLAPSE, optimizer="adam", learning_rate=rate))
        assert ("--learning-rate" in typed) is (rate == 0.1)
    assert "formats" not in ProbeConfig(**COLLAPSE).model_dump(mode="json")


def test_overflow_is_lost():
    (form,) = run(ProbeConfig(init="normal:std=3", act="relu", layers=6, width=60, batch=50, formats="fp16")).formats
    assert form.lost_at.signal == next(t.layer for t in form.tensors if t.tensor == "preactivation" and t.overflow > 0)


def test_healthy_nets_fit():
    config = ProbeConfig(init="he", act="relu", layers=10, width=100, batch=100, formats="float16,bfloat16,e4m3,e5m2")
    assert run(config).healthy


def test_tensors_that_are_not_finite_are_reported_as_left_out():
    table = run(ProbeConfig(init="normal:std=1e30", act="relu", layers=3, width=20, batch=8, formats="fp16")).table()
    assert "left out  tensors of 2 layers from 2 on" in table
