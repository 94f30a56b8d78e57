"""The random states and the garbage collector of the caller stay unchanged."""

import gc
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrize  # noqa: E402

from initprobe.torch import probe  # noqa: E402
from initprobe.torch.parametrized import takes_values  # noqa: E402
from initprobe.torch.values import parameters_of  # noqa: E402


class Noisy(nn.Module):
    """A parametrization that draws from every generator of the CPU."""

    def forward(self, weight):
        return weight + random.random() + np.random.random() + torch.rand(())

    def right_inverse(self, weight):
        return self.forward(weight)


def test_parametrizations_move_no_random_state():
    model = nn.Linear(3, 3)
    parametrize.register_parametrization(model, "weight", Noisy())

    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    assert takes_values(model, "weight") and len(parameters_of(model)) == 2
    assert states() == before


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_parametrizations_move_no_random_state_of_a_gpu():
    model = nn.Linear(3, 3, device="cuda")
    parametrize.register_parametrization(model, "weight", Noisy())
    before = torch.cuda.get_rng_state()
    assert takes_values(model, "weight") and torch.equal(torch.cuda.get_rng_state(), before)


def test_a_probe_leaves_the_garbage_collector_alone():
    """In a notebook or a server it is not ours: neither after a probe nor while the model runs."""
    states = []

    class Looking(nn.Module):
        def forward(self, x):
            states.append((gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()))
            return x

    before = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    result = probe(nn.Sequential(nn.Linear(4, 4), Looking(), nn.Linear(4, 2)), torch.randn(8, 4))
    assert len(result.layers) == 2
    assert {*states, (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count())} == {before}
