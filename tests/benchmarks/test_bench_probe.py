"""Side by side in one run: our probe, a NumPy notebook, PyTorch with hooks, and the three matrix products.

`python -m pytest -m benchmark -s tests/benchmarks` prints the tables. They never fail on an absolute time.
"""

import importlib.util
import multiprocessing
import statistics
import time
import timeit
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from initprobe import ProbeConfig
from initprobe.arrays import standard_normal
from initprobe.engine.buckets import COARSE, count, grid_of
from initprobe.engine.layer_record import directions
from initprobe.engine.moments import moments
from initprobe.engine.threads import workers
from initprobe.probe.experiment import prepare
from initprobe.probe.run import measure

BINS = 200


@dataclass(frozen=True)
class Cell:
    """A net of equal layers, how often it is timed, and how many times its matrix products ours may take."""

    layers: int
    width: int
    batch: int
    repeats: int
    most: float

    def __str__(self):
        return f"{self.layers} x {self.width}, batch {self.batch}"


CELLS = [Cell(10, 500, 1000, 7, 1.9), Cell(10, 2048, 1024, 5, 1.25), Cell(10, 4096, 1024, 3, 1.15),
         Cell(200, 256, 256, 5, 3.4)]  # fmt: skip


def matrices(cell):
    """Samples, gradients and weights: three, for NumPy spares half the work of `x.T @ x`."""
    rng = np.random.default_rng(0)
    x, d = (rng.standard_normal((cell.batch, cell.width), dtype=np.float32) for _ in range(2))
    return x, d, rng.standard_normal((cell.width, cell.width), dtype=np.float32)


def products(cell):
    """Three products a layer, nothing else."""
    x, d, w = matrices(cell)

    def work():
        for _ in range(cell.layers):
            x @ w, d @ w.T, x.T @ d

    return work


def bare_products(cell):
    """The same without the cost of memory for what they give."""
    x, d, w = matrices(cell)
    z, g, dw = np.empty_like(x), np.empty_like(d), np.empty_like(w)

    def work():
        for _ in range(cell.layers):
            np.matmul(x, w, out=z), np.matmul(d, w.T, out=g), np.matmul(x.T, d, out=dw)

    return work


def ours(cell, act="tanh"):
    """Everything that `run` reports, one draw."""
    config = ProbeConfig(init="xavier", act=act, layers=cell.layers, width=cell.width, batch=cell.batch, draws=1)
    experiment = prepare(config)
    return lambda: measure(experiment)


def notebook(cell):
    """What people copy: float64, mean, variance and np.histogram of h, dL/dh and dW."""
    rng, width = np.random.default_rng(0), cell.width

    def record(a):
        return a.mean(), a.var(), np.histogram(a, BINS)

    def work():
        weights = [rng.standard_normal((width, width)) / np.sqrt(width) for _ in range(cell.layers)]
        hs = [rng.standard_normal((cell.batch, width))]
        for w in weights:
            hs.append(np.tanh(hs[-1] @ w))
            record(hs[-1])
        g = rng.standard_normal((cell.batch, width))
        for w, h, below in zip(weights[::-1], hs[:0:-1], hs[-2::-1], strict=True):
            record(g)
            delta = g * (1 - h * h)
            record(below.T @ delta)
            g = delta @ w.T

    return work


def torch_hooks(cell, full):
    """Mean, variance and histc of h, dL/dh and dW in hooks. `full` adds z, dL/dz, W and percentiles."""
    import torch
    from torch import nn

    percents = torch.tensor([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])

    def record(a):
        a = a.detach()
        measured = [a.mean().item(), a.var(unbiased=False).item(), torch.histc(a, BINS)]
        if full:
            ordered = a.flatten().sort().values
            measured += [ordered[(percents * (a.numel() - 1)).long()], (a == 0).sum().item(), a.isfinite().all().item()]
        return measured

    def hook(_, __, out):
        record(out)
        out.register_hook(lambda gradient: record(gradient) and None)

    def work():
        linears = [nn.Linear(cell.width, cell.width) for _ in range(cell.layers)]
        for linear in linears:
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
            if full:
                record(linear.weight)
                linear.register_forward_hook(hook)
        acts = [nn.Tanh() for _ in linears]
        for act in acts:
            act.register_forward_hook(hook)
        h = torch.randn(cell.batch, cell.width)
        for linear, act in zip(linears, acts, strict=True):
            h = act(linear(h))
        h.backward(torch.randn_like(h))
        for linear in linears:
            record(linear.weight.grad)

    return work


def light_hooks(cell):
    return torch_hooks(cell, False)


def full_hooks(cell):
    return torch_hooks(cell, True)


# A process that has just worked leaves processors and memory in some state. The next is to find them at rest.
REST_S = 0.25


def serve(rival, cell, orders):
    """Do the work so many times, in a process of its own, without the threads and memory of rivals."""
    work = rival(cell)
    while orders.recv():
        started = time.perf_counter()
        work()
        orders.send(time.perf_counter() - started)


def medians(rivals, cell):
    """Median seconds of each, rounds interleaved, after one that warms up."""
    started = {name: start(rival, cell) for name, rival in rivals.items()}
    times = {name: [] for name in rivals}
    for repeat in range(cell.repeats + 1):
        for name, (_, orders) in started.items():
            time.sleep(REST_S)
            orders.send(True)
            seconds = orders.recv()
            if repeat:
                times[name].append(seconds)
    for process, orders in started.values():
        orders.send(False)
        process.join()
    return {name: statistics.median(values) for name, values in times.items()}


def start(rival, cell):
    context = multiprocessing.get_context("spawn")
    orders, theirs = context.Pipe()
    process = context.Process(target=serve, args=(rival, cell, theirs), daemon=True)
    process.start()
    return process, orders


PRODUCTS, BARE, OURS = "three matrix products", "the same, into arrays at hand", "initprobe, all it reports"
NOTEBOOK, LIGHT, FULL = "NumPy notebook", "PyTorch hooks, mean var histc", "PyTorch hooks, what we report"


@pytest.mark.benchmark
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_side_by_side(cell):
    rivals = {PRODUCTS: products, BARE: bare_products, OURS: ours, NOTEBOOK: notebook}
    if importlib.util.find_spec("torch"):
        rivals |= {LIGHT: light_hooks} | ({FULL: full_hooks} if cell is CELLS[0] else {})
    seconds = medians(rivals, cell)
    print(f"\n{cell}, one draw, medians of {cell.repeats} interleaved repeats; aim at most {cell.most}")
    for name, median in seconds.items():
        print(f"{name:32}{median * 1e3:8.0f} ms{median / seconds[PRODUCTS]:8.2f} x products")
    assert seconds[OURS] < seconds.get(FULL, 2 * seconds[NOTEBOOK])


@pytest.mark.benchmark
def test_activations_side_by_side():
    seconds = medians({act: partial(ours, act=act) for act in ("tanh", "gelu", "erf", "selu")}, CELLS[0])
    print(f"\n{CELLS[0]}, one draw, medians of {CELLS[0].repeats} interleaved repeats; aim at most 1.3")
    for act, median in seconds.items():
        print(f"{act:8}{median * 1e3:8.0f} ms{median / seconds['tanh']:8.2f} x tanh")
    assert max(seconds.values()) < 2 * seconds["tanh"]


ROWS, COLUMNS = 256, 512


@pytest.mark.benchmark
def test_cost_of_each_statistic():
    """Of one thread, on a block that was just made; `count` is of percentiles, near-zero share and histogram."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((ROWS, COLUMNS), dtype=np.float32)
    w = rng.standard_normal((COLUMNS, COLUMNS), dtype=np.float32)
    grid = grid_of(z.dtype, COARSE)
    rivals = {
        "product, 512 wide": lambda: z @ w,
        "tanh": lambda: np.tanh(z),
        "sampling N(0, 1)": lambda: standard_normal(rng, z.shape, z.dtype),
        "extremes": lambda: (z.min(), z.max()),
        "mean and variance": lambda: moments(z.reshape(1, -1), [6.0]),
        "count": lambda: count(z[None], grid),
        "cosine of two inputs": lambda: directions(z),
    }
    with workers(1):
        times = {name: min(timeit.repeat(work, number=20, repeat=9)) / 20 for name, work in rivals.items()}
    print(f"\na block of {ROWS} x {COLUMNS}, float32")
    for name, seconds in times.items():
        print(f"{name:32}{seconds * 1e6:8.0f} us{seconds / z.size * 1e9:8.2f} ns an entry")
