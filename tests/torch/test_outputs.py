"""Outputs from which no backward pass can start, and inputs that do not fit the signature of `forward`."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from initprobe.errors import ConfigError  # noqa: E402
from initprobe.torch import probe  # noqa: E402
from initprobe.torch.loading import _misfit  # noqa: E402


class Ending(nn.Module):
    """A layer, and a function that makes the output."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(8, 8), function

    def forward(self, x):
        return self.function(self.layer(x))


class Held:
    """An object that holds a tensor."""

    def __init__(self, tensor):
        self.tensor = tensor


@pytest.mark.parametrize(
    "function, words",
    [
        (torch.fft.fft, "the output of the model is complex"),
        (lambda z: {"spectrum": [torch.fft.fft(z)]}, "the output of the model is complex"),
        (lambda z: (row for row in z), "forward returned a generator"),
        (lambda z: map(torch.sum, z), "forward returned a map"),
        (Held, "forward returned an object of type Held"),
    ],
)
def test_an_output_without_a_real_tensor_is_refused(function, words):
    """These may have a gradient, so the verdict must not say that they have none."""
    with pytest.raises(ConfigError, match=words):
        probe(Ending(function), torch.randn(16, 8), threads=1)


def test_the_advice_for_a_complex_output_works():
    for options in ({"loss": lambda y: y.abs().sum()}, {}):
        function = torch.fft.fft if options else lambda z: torch.view_as_real(torch.fft.fft(z))
        assert probe(Ending(function), torch.randn(16, 8), threads=1, **options).layers[0].weight_gradient is not None


@pytest.mark.parametrize(
    "given, words", [({"x": 0}, ""), ({"x": 0, "y": 0}, ""), ((0,), "x by name"), ((0, 0), "x by")]
)
def test_arguments_by_name_only(given, words):
    def forward(*, x, flag=True):
        pass

    assert words in _misfit(forward, given) and bool(words) == bool(_misfit(forward, given))


def test_arguments_that_may_fit_are_not_refused():
    assert _misfit(lambda x: x, (0, 0)) == "takes 1 input, not 2"
    assert not any(_misfit(forward, (0, 0)) for forward in (lambda *x: x, lambda x, y=0: x, lambda x, *y, z=0: x))
