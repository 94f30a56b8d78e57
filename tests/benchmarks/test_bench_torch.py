"""Side by side in one run: a probe of a PyTorch model, and the hooks that people write by hand.

`python -m pytest -m benchmark -s tests/benchmarks/test_bench_torch.py` prints the tables. They never fail on an
absolute time.
"""

import pytest
from test_bench_probe import BINS, medians

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from initprobe.torch import probe  # noqa: E402

MOST = 1.3


def mlp():
    """Ten layers of 500."""
    return nn.Sequential(*(part for _ in range(10) for part in (nn.Linear(500, 500), nn.Tanh())))


def conv():
    """A small convolutional net."""

    def block(channels, out, stride):
        return [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

    parts = [*block(3, 16, 1), *block(16, 16, 1), *block(16, 32, 2), *block(32, 32, 1), *block(32, 64, 2)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


NETS = {"MLP 10 x 500, batch 1000": (mlp, (1000, 500)), "conv net, 64 x 3 x 32 x 32": (conv, (64, 3, 32, 32))}


def hooked(model, x):
    """Mean, variance and histc of every module's output, of its gradient, of the weights and of theirs."""

    def record(tensor):
        plain = tensor.detach()
        return plain.mean().item(), plain.var(unbiased=False).item(), torch.histc(plain, BINS)

    def after(module, given, output):
        record(output)
        if getattr(module, "weight", None) is not None:
            record(module.weight)
        output.register_hook(lambda gradient: record(gradient) and None)

    def work():
        handles = [module.register_forward_hook(after) for module in model]
        output = model(x)
        gradients = torch.autograd.grad(output, list(model.parameters()), torch.randn_like(output))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            if parameter.ndim > 1:
                record(gradient)
        for handle in handles:
            handle.remove()

    return work


def bare(model, x):
    """The passes alone."""

    def work():
        output = model(x)
        torch.autograd.grad(output, list(model.parameters()), torch.randn_like(output))

    return work


@pytest.mark.benchmark
@pytest.mark.parametrize("name", NETS)
def test_beside_hooks_by_hand(name):
    make, shape = NETS[name]
    model, x = make(), torch.randn(shape)
    hand, ours = "hooks by hand: mean, var, histc", "initprobe.torch.probe"
    rivals = {"forward and backward": bare(model, x), hand: hooked(model, x), ours: lambda: probe(model, x)}
    found = medians(rivals, 9)
    print(f"\n{name}, medians of 9 interleaved repeats; aim at most {MOST} x the hooks")
    for rival, median in found.items():
        print(f"{rival:34}{median * 1e3:8.0f} ms{median / found[hand]:8.2f} x the hooks")
    assert found[ours] < MOST * found[hand]
