"""What a trace notes of constants."""

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from initprobe.torch.call_kinds import Call  # noqa: E402
from initprobe.torch.graph import Operation, Signal, Value  # noqa: E402
from initprobe.torch.theory.trace import Constant, Trace  # noqa: E402


def noted(*constants):
    """The constants that a trace notes of tensors that are added to a signal."""
    trace, given = Trace(), torch.randn(8, 16)
    value = Value(Signal(Operation(1, "input", "input", ""), []))
    trace.given(given, value)
    for tensor in constants:
        call = Call("add", (given, tensor), {}, [given, tensor], [value, Value()])
        trace.add(call, "sum", given, Value(value.signal))
    trace.finish([])
    return [node.args[1] for node in trace.nodes[1:]]


@pytest.mark.parametrize("shape", [(16,), (5000,), (1, 16), (8, 16)])
@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 3e38), (torch.float32, 2e19), (torch.float64, 1e150)])
def test_moments_of_huge_constants_overflow_nowhere(shape, dtype, size):
    """Warnings are errors here, outside of a probe too."""
    tensor = torch.full(shape, size, dtype=dtype)
    (made,) = noted(tensor)
    held = float(tensor.flatten()[0])
    assert isinstance(made, Constant)
    assert made.entries == math.prod(shape)
    assert made.moments == pytest.approx((held, held**2), rel=1e-14)


def test_a_mean_square_beyond_the_float_range_is_infinite_without_a_warning():
    (made,) = noted(torch.full((16,), 1e200, dtype=torch.float64))
    assert made.moments == (1e200, math.inf)


def test_vectors_that_are_measured_together_keep_their_own_moments():
    torch.manual_seed(0)
    biases = [layer.bias.detach() for layer in (nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 16))]
    for bias, made in zip(biases, noted(*biases), strict=True):
        wide = bias.double()
        assert made.moments == pytest.approx((float(wide.mean()), float((wide**2).mean())), rel=1e-12)
