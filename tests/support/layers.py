"""Layers for tests of the mean-field theory."""

import math

import numpy as np

from initprobe.meanfield.layer import Layer

# Nodes of biases that are uniform with variance 1.
UNIFORM_NODES = tuple((w / 2, 3**0.5 * x) for x, w in zip(*np.polynomial.legendre.leggauss(16), strict=True))


def square_net(sigma_w_squared, width, depth, **more):
    """Layers of equal widths."""
    return [Layer(width, width, sigma_w_squared / width, **more)] * depth


# Initializers that the weights of a layer are drawn by, where they are not normal.
SAMPLERS = {}


def unit_weights(layer, rng):
    """Independent weights, or a square Haar-orthogonal matrix, of mean square 1."""
    if layer in SAMPLERS:
        return SAMPLERS[layer].distribution.sample(rng, (layer.n_in, layer.n_out), np.float64)
    weight = rng.standard_normal((layer.n_in, layer.n_out))
    if not layer.orthogonal:
        return weight
    q, r = np.linalg.qr(weight)
    return math.sqrt(layer.n_in) * q * np.sign(np.diag(r))
