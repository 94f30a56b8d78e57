"""Which record an activation of PyTorch has: the record says so itself."""

import numpy as np
import pytest

from initprobe.activations.catalogue import ACTIVATIONS

torch = pytest.importorskip("torch")

from initprobe.torch.module_kinds import activation_of  # noqa: E402
from initprobe.torch.theory.rules import RULES  # noqa: E402


@pytest.mark.parametrize(
    "record", [record for record in ACTIVATIONS.values() if record.pytorch is not None], ids=lambda record: record.name
)
def test_it_is_the_function_of_that_name_with_its_arguments(record):
    z = np.linspace(-4, 4, 41)
    given = dict.fromkeys(record.pytorch, 0.5)
    named, placed = activation_of(record.name, (), given), activation_of(record.name, (*given.values(), False), {})
    expected = getattr(torch.nn.functional, record.name)(torch.tensor(z), **given)
    for activation in (named, placed):
        np.testing.assert_allclose(activation.value(z), expected.numpy(), atol=1e-12)
    assert set(record.pytorch.values()) <= set(record.params) and record.name in RULES


def test_other_functions_have_none():
    assert activation_of("linear", (), {}) is None
    assert activation_of("hardtanh", (-2.0, 2.0), {}) is None
