"""Softmax of Gaussian logits, however peaked: integrals beside a simulation."""

import math

import numpy as np
import pytest

from initprobe.torch.theory.softmax import peak

ROWS = 20_000
SDS = 5


def weights(logits):
    """The softmax of each row."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def near(drawn, expected):
    """Within 5 standard deviations of the mean over rows."""
    return abs(drawn.mean() - expected) < SDS * drawn.std() / math.sqrt(len(drawn))


@pytest.mark.parametrize(("keys", "std"), [(2, 1.0), (7, 3.0), (33, 0.2), (33, 2.3), (60, 6.0)])
def test_weights_and_the_gradients_of_logits_have_the_moments_of_a_simulation(keys, std):
    rng = np.random.default_rng(0)
    first, second = (weights(std * rng.standard_normal((ROWS, keys))) for _ in range(2))
    held = peak(keys, std)
    square = math.exp(held.growth) / keys**2
    assert near((first * first).mean(1), square)
    for other, size, share in ((first, square, held.alike), (second, 1 / keys**2, held.alone)):
        both = first * other
        assert near((both * (1 - first - other + both.sum(1, keepdims=True))).mean(1), size * share)
