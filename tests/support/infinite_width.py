"""Normalised and residual networks at infinite width, without a config."""

import numpy as np

from initprobe.meanfield.norm_and_skip import forward_passes, gradients_of, theory_of


def predict_norm_and_skip(activation, layers, wirings, inputs, batch):
    """The prediction for every layer, first to last; weight gradients are those of one sample."""
    with np.errstate(all="ignore"):
        passes = forward_passes(activation, layers, wirings, inputs, batch)
        return theory_of(wirings, passes, gradients_of(layers, wirings, passes, batch))
