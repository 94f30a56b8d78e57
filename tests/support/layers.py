"""Layers for tests of the mean-field theory."""

import numpy as np

from initprobe.meanfield.layer import Layer

# Nodes of biases that are uniform with variance 1.
UNIFORM_NODES = tuple((w / 2, 3**0.5 * x) for x, w in zip(*np.polynomial.legendre.leggauss(16), strict=True))


def square_net(sigma_w_squared, width, depth, **more):
    """Layers of equal widths."""
    return [Layer(width, width, sigma_w_squared / width, **more)] * depth
