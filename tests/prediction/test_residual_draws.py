"""Residual networks that a series in 1/width does not reach are drawn: weights with a mean, and narrow layers."""

import math

import numpy as np
import pytest
from calibration import measured_variances

from initprobe import ProbeConfig

NETS = {
    "mean, relu": {"act": "relu", "init": "normal:std=0.18,mean=0.015", "width": 60},
    "mean, tanh": {"act": "tanh", "init": "normal:std=0.13,mean=-0.03", "width": 60},
    "width 1": {"act": "tanh", "init": "he", "width": 1},
    "width 4": {"act": "relu", "init": "he", "width": 4},
}


@pytest.mark.parametrize("name", NETS)
def test_a_drawn_residual_network_is_predicted(name):
    """Mean logs of 60 networks within 5 of their standard errors and 3 of those that the prediction states."""
    config = ProbeConfig(**NETS[name], layers=6, batch=30, residual=True, branch_scale="0.5", seed=21)
    prediction, by_network = measured_variances(config, 60)
    for number in (0, 3):
        theory, spread = prediction.layers[number], prediction.spreads[number]
        cases = (
            (theory.output_variance, spread.output, spread.underived_output),
            (theory.output_gradient_variance, spread.output_gradient, spread.underived_gradient),
        )
        for direction, (predicted, of, error) in enumerate(cases):
            logs = np.log(by_network[:, direction, number])
            gap = abs(logs.mean() - math.log(predicted) - of.log_mean)
            assert gap < 5 * logs.std() / math.sqrt(len(logs)) + 3 * error, (number, direction)
