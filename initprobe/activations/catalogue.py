"""The activation functions: one frozen record each, holding everything the rest of the tool asks about it.

To add one, write a function that returns its record and list it in `ACTIVATIONS`; tables, help, theory and the tests
over the whole registry follow.
"""

from __future__ import annotations

from initprobe.activations.rectifiers import (
    celu,
    elu,
    gelu,
    gelu_tanh,
    hardswish,
    leaky_relu,
    mish,
    relu,
    relu6,
    selu,
    silu,
    softplus,
)
from initprobe.activations.sigmoids import erf, hardsigmoid, hardtanh, linear, sigmoid, sin, softsign, tanh
from initprobe.registry import Registry

ACTIVATIONS = Registry(
    "activation",
    [
        make()
        for make in (
            linear,
            sigmoid,
            tanh,
            hardtanh,
            erf,
            sin,
            relu,
            relu6,
            leaky_relu,
            elu,
            selu,
            celu,
            gelu,
            gelu_tanh,
            silu,
            mish,
            softplus,
            softsign,
            hardswish,
            hardsigmoid,
        )
    ],
)
