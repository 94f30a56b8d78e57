"""What the first probe of a process loads, and where its backward pass starts."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from initprobe.torch.initial_state import Started  # noqa: E402

FIRST = """
import sys, torch
from initprobe import torch as it
it.probe(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh()), torch.randn(64, 8))
print([name for name in ("sympy", "torch._dynamo", "torch.fx.experimental.symbolic_shapes") if name in sys.modules])
"""


def test_the_first_probe_loads_no_compiler():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_gradients_are_those_of_a_given_start(dtype):
    weight = torch.randn(5, 3, dtype=dtype, requires_grad=True)
    ends = [weight * weight, (weight @ torch.randn(3, 4, dtype=dtype)).tanh()]
    starts = [torch.randn_like(end) for end in ends]
    expected = torch.autograd.grad(ends, weight, starts, retain_graph=True)[0]
    computed = torch.autograd.grad([Started.apply(*each) for each in zip(ends, starts, strict=True)], weight)[0]
    assert torch.equal(computed, expected)
