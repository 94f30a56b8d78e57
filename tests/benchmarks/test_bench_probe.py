"""Side by side in one run: our probe, a NumPy notebook, PyTorch with hooks, and the three matrix products.

`python -m pytest -m benchmark -s tests/benchmarks` prints the table. It never fails on an absolute time.
"""

import statistics
import time

import numpy as np
import pytest

from initprobe import ProbeConfig
from initprobe.probe import measure, prepare

LAYERS, WIDTH, BATCH, BINS, REPEATS = 10, 500, 1000, 200, 7


def floor():
    """Three products a layer, nothing else."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, WIDTH), dtype=np.float32)
    w = rng.standard_normal((WIDTH, WIDTH), dtype=np.float32)

    def work():
        for _ in range(LAYERS):
            x @ w, x @ w.T, x.T @ x

    return work


def ours():
    """Everything that `run` reports, one draw."""
    experiment = prepare(ProbeConfig(init="xavier", act="tanh", layers=LAYERS, width=WIDTH, batch=BATCH, draws=1))
    return lambda: measure(experiment)


def notebook():
    """What people copy: float64, mean, variance and np.histogram of h, dL/dh and dW."""
    rng = np.random.default_rng(0)

    def record(a):
        return a.mean(), a.var(), np.histogram(a, BINS)

    def work():
        weights = [rng.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH) for _ in range(LAYERS)]
        hs = [rng.standard_normal((BATCH, WIDTH))]
        for w in weights:
            hs.append(np.tanh(hs[-1] @ w))
            record(hs[-1])
        g = rng.standard_normal((BATCH, WIDTH))
        for w, h, below in zip(weights[::-1], hs[:0:-1], hs[-2::-1], strict=True):
            record(g)
            delta = g * (1 - h * h)
            record(below.T @ delta)
            g = delta @ w.T

    return work


def torch_hooks(full):
    """Mean, variance and histc of h, dL/dh and dW in hooks; `full` adds z, dL/dz, W and percentiles, as we report."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    percents = torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])

    def record(a):
        a = a.detach()
        seen = [a.mean().item(), a.var(unbiased=False).item(), torch.histc(a, BINS)]
        if full:
            ordered = a.flatten().sort().values
            seen += [ordered[(percents * (a.numel() - 1)).long()], (a == 0).sum().item(), a.isfinite().all().item()]
        return seen

    def hook(_, __, out):
        record(out)
        out.register_hook(lambda gradient: record(gradient) and None)

    def work():
        linears = [nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)]
        for linear in linears:
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
            if full:
                record(linear.weight)
                linear.register_forward_hook(hook)
        acts = [nn.Tanh() for _ in linears]
        for act in acts:
            act.register_forward_hook(hook)
        h = torch.randn(BATCH, WIDTH)
        for linear, act in zip(linears, acts, strict=True):
            h = act(linear(h))
        h.backward(torch.randn_like(h))
        for linear in linears:
            record(linear.weight.grad)

    return work


@pytest.mark.benchmark
def test_side_by_side():
    rivals = {
        "three matrix products": floor(),
        "initprobe, all it reports": ours(),
        "NumPy notebook": notebook(),
        "PyTorch hooks, mean var histc": torch_hooks(False),
        "PyTorch hooks, what we report": torch_hooks(True),
    }
    times = {name: [] for name in rivals}
    for repeat in range(REPEATS + 1):
        for name, work in rivals.items():
            started = time.perf_counter()
            work()
            if repeat:  # the first round warms up
                times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = medians["three matrix products"]
    print(f"\n{LAYERS} x {WIDTH}, batch {BATCH}, one draw, medians of {REPEATS} interleaved repeats")
    for name, median in medians.items():
        print(f"{name:32}{median * 1e3:8.0f} ms{median / base:8.2f} x products")
    assert medians["initprobe, all it reports"] < medians["PyTorch hooks, what we report"]
