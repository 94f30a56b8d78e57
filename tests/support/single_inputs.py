"""Random networks of one input, by their exact law, without drawing their weights.

Given h, the sums `z = h W` of normal weights are independent normal numbers. Given z too, `W delta` is normal but for
its part along h, which is `z . delta`. So a layer of n units costs n random numbers in place of n^2.
"""

import math

import numpy as np


def gradient_squares(activation, gain, bias_variance, width, depth, draws, seed=0):
    """Mean square over units of dL/dh at layer 1, `(draws,)`, of square networks whose input has mean square 1.

    Args:
        activation: any record.
        gain: fan_in times the variance of a weight.
        bias_variance: of normal biases.
        width: of every layer and of the input.
        depth: number of layers.
        draws: number of networks.
        seed: of all random numbers.
    """
    rng, shape, trace = np.random.default_rng(seed), (draws, width), []
    h = np.ones(shape)
    for _ in range(depth):
        square = np.vecdot(h, h)[:, None]
        y = np.sqrt(gain / width * square) * rng.standard_normal(shape)
        z = y + math.sqrt(bias_variance) * rng.standard_normal(shape)
        trace.append((h, square, y, z))
        h = activation.value(z)
    g = rng.standard_normal(shape)
    for below, square, y, z in trace[:0:-1]:
        delta = g * activation.slope(z, activation.value(z))
        g = np.sqrt(gain / width * np.vecdot(delta, delta))[:, None] * rng.standard_normal(shape)
        along = np.vecdot(delta, y) - np.vecdot(g, below)
        g += np.divide(along[:, None], square, out=np.zeros((draws, 1)), where=square > 0) * below
    return np.vecdot(g, g) / width


def expected_squares(activation, gain, bias_variance, width, depth, draws, seed=0):
    """The same mean square, averaged over all that h leaves open: exact for given h, so it varies less, `(draws,)`.

    The gradient across h is `W delta` of independent weights, and its product with h is `y delta` of the layer above.
    """
    rng, shape, trace = np.random.default_rng(seed), (draws, width), []
    square = np.full(draws, float(width))
    for _ in range(depth):
        y = np.sqrt(gain / width * square)[:, None] * rng.standard_normal(shape)
        z = y + math.sqrt(bias_variance) * rng.standard_normal(shape)
        h = activation.value(z)
        d = activation.slope(z, h)
        square = np.vecdot(h, h)
        trace.append((square, np.vecdot(d, d), np.vecdot(d * h, d * h), np.vecdot(y, d * h), np.vecdot(y * d, y * d)))
    across, product = np.ones(draws), trace[-1][0]  # per direction, and the squared product with h
    for square, slopes, weighted, rise, pull in trace[:0:-1]:
        delta = across * (slopes - weighted / square) + product * weighted / square**2
        product = across * (pull - rise**2 / square) + product * (rise / square) ** 2
        across = gain / width * delta
    return (across * (width - 1) + product / trace[0][0]) / width
