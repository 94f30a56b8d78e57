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
