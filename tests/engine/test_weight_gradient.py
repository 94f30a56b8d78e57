"""The weight gradient of wide layers: mean and variance without the product, the rest from a sample of rows."""

import numpy as np
import pytest

from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.layer_record import LayerRecord
from initprobe.engine.threads import workers
from initprobe.engine.weight_gradient import SAMPLED_ROWS, is_sampled, sampled_weight_gradient, weight_gradients
from initprobe.probe.run import run

BATCH, FAN_IN, FAN_OUT = 300, 700, 600


def pair(kind, dtype):
    """h and dL/dz of a batch, `(samples, units)`."""
    rng = np.random.default_rng(5)
    h, delta = rng.standard_normal((BATCH, FAN_IN)), rng.standard_normal((BATCH, FAN_OUT))
    if kind == "dead units":
        h[:, ::3], delta[:, 1::2] = 0, 0
    elif kind == "collapsed":  # all samples alike: every product beside the diagonal counts
        h = 1 + 1e-3 * h
    elif kind == "cancelling":  # samples come in pairs whose gradients are opposite, and nearly all of dL/dW is gone
        h[1::2], delta[1::2] = h[::2], -delta[::2] * (1 - 1e-4)
    elif kind == "one sample":
        h[0] *= 1e6
    scale = {"tiny": 1e-30, "huge": 1e25}.get(kind, 1)
    return (h * scale).astype(dtype), delta.astype(dtype)


def recorded(h, delta, rows, threads=2, exponent=0):
    record = LayerRecord(h.dtype)
    record.begin_draw()
    with workers(threads) as pool:
        if rows is None:
            weight_gradients([h], [delta], [record.weight_gradient], pool, [exponent])
        else:
            sampled_weight_gradient(h, delta, record.weight_gradient, pool, exponent, rows)
        pool.finish()
    return record.weight_gradient


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["normal", "dead units", "collapsed", "cancelling", "one sample", "tiny", "huge"])
def test_moments_are_those_of_the_product(kind, dtype):
    """An entry of either product is a sum of up to 700 rounded terms. So the error is at most 700 eps of its size."""
    h, delta = pair(kind, dtype)
    exact = h.astype(float).T @ delta.astype(float)
    sketch = recorded(h, delta, np.arange(0, FAN_IN, 7))
    (computed,) = sketch.by_draw
    slack = 700 * float(np.finfo(dtype).eps) * (1e4 if kind == "cancelling" else 1)
    assert computed.count == exact.size
    assert computed.log10_variance == pytest.approx(np.log10(exact.var()), abs=slack)
    assert computed.true_mean == pytest.approx(exact.mean(), abs=slack * exact.std())


@pytest.mark.parametrize("kind", ["normal", "dead units"])
def test_sampled_statistics_are_those_of_the_sampled_rows(kind):
    h, delta = pair(kind, "float32")
    rows = np.arange(0, FAN_IN, 7)
    sampled = h[:, rows].T @ delta
    sketch = recorded(h, delta, rows)
    assert (sketch.low, sketch.high) == (sampled.min(), sampled.max())
    assert sketch.total == sampled.size
    assert sketch.by_draw[0].count == FAN_IN * FAN_OUT


@pytest.mark.parametrize("kind", ["cancelling", "tiny", "huge"])
def test_where_float32_would_spoil_the_sums_the_product_is_made_whole(kind):
    h, delta = pair(kind, "float32")
    assert recorded(h, delta, np.arange(0, FAN_IN, 7)).total == FAN_IN * FAN_OUT


def test_infinities_and_nan_are_counted_in_the_whole_product():
    h, delta = pair("normal", "float32")
    h[3, 5], delta[7, 2] = np.inf, np.nan
    sampled, whole = recorded(h, delta, np.arange(0, FAN_IN, 7)), recorded(h, delta, None)
    assert (sampled.infinite, sampled.nan) == (whole.infinite, whole.nan)
    assert sampled.nan > 0


def test_the_unit_of_the_gradient_is_kept():
    h, delta = pair("normal", "float32")
    plain, scaled = (recorded(h, delta, np.arange(0, FAN_IN, 7), exponent=e) for e in (0, 40))
    assert scaled.by_draw[0].log10_variance == pytest.approx(plain.by_draw[0].log10_variance + 80 * np.log10(2))
    assert scaled.high == plain.high * 2.0**40


@pytest.mark.parametrize(
    ("batch", "fan_in", "fan_out", "sampled"),
    [(1024, 4096, 4096, True), (1024, 2048, 2048, True), (1000, 500, 500, False), (256, 256, 256, False)],
)
def test_rows_stand_for_all_where_that_is_less_work(batch, fan_in, fan_out, sampled):
    assert is_sampled(batch, fan_in, fan_out) is sampled


def test_a_run_says_what_it_sampled_and_an_option_turns_it_off():
    fields = {"init": "xavier", "act": "tanh", "layers": 2, "width": 800, "batch": 60, "draws": 2}
    sampled, whole = run(ProbeConfig(**fields)), run(ProbeConfig(**fields, full_weight_gradient=True))
    for layer, whole_layer in zip(sampled.layers, whole.layers, strict=True):
        a, b = layer.weight_gradient, whole_layer.weight_gradient
        assert (a.coverage, b.coverage) == (SAMPLED_ROWS / 800, 1)
        assert a.variance == pytest.approx(b.variance, rel=1e-5)
        # Rows share their h: as 128 independent rows, their percentiles are uncertain by 1.25 sd / sqrt(128) at most.
        assert a.percentiles.p75 == pytest.approx(b.percentiles.p75, abs=5 * 1.25 * b.std / SAMPLED_ROWS**0.5)
    assert "16.0% of its rows (--full-weight-gradient)" in sampled.table()
    assert "full-weight-gradient" not in whole.table()


def test_rows_that_do_not_represent_the_batch_are_not_sampled():
    """3 of 700 inputs are not 0: the sampled rows are all 0, and the matrix is not."""
    h, delta = pair("normal", "float32")
    h[:, 3:] = 0
    sketch = recorded(h, delta, np.arange(10, FAN_IN, 7))
    assert sketch.total == FAN_IN * FAN_OUT
    assert sketch.peak > 0


def test_a_gradient_of_zeros_is_reported_as_zeros():
    h, delta = pair("normal", "float32")
    sketch = recorded(h, np.zeros_like(delta), np.arange(0, FAN_IN, 7))
    assert (sketch.is_zero, sketch.by_draw[0].variance) == (True, 0)
