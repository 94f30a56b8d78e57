"""Pretraining against its matrix products, side by side: `python -m pytest -m benchmark -s tests/benchmarks`."""

import statistics
import time

import numpy as np
import pytest

from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.streams import Streams
from initprobe.engine.threads import available_threads, workers
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import network_of

LAYERS, WIDTH, SAMPLES, EPOCHS, STEP, REPEATS = 10, 500, 1000, 10, 100, 5
MOST = 3.0


def floor():
    """The five products of each step, with as many threads as BLAS likes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEP, WIDTH), dtype=np.float32)
    w = rng.standard_normal((WIDTH, WIDTH), dtype=np.float32) / np.float32(np.sqrt(WIDTH))
    for _ in range(LAYERS * EPOCHS * (SAMPLES // STEP)):
        h = x @ w
        error = h @ w.T
        delta = error @ w
        x.T @ delta, error.T @ h


def ours():
    config = ProbeConfig(
        init=f"autoencoder:epochs={EPOCHS},batch={STEP}", act="tanh", layers=LAYERS, width=WIDTH, batch=SAMPLES, draws=1
    )
    with workers(available_threads()) as pool:
        network_of(prepare(config), Streams(0, 0), pool)


def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@pytest.mark.benchmark
def test_pretraining_costs_at_most_thrice_its_products():
    times = [(seconds(floor), seconds(ours)) for _ in range(REPEATS)]
    least, mine = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"\n{LAYERS} layers of {WIDTH}, {SAMPLES} samples, {EPOCHS} epochs")
    print(f"matrix products {least:6.2f} s\nautoencoder     {mine:6.2f} s  {mine / least:.2f}")
    assert mine < MOST * least
