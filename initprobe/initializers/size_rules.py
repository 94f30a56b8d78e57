"""The initializers: one frozen record each, a variance rule and a unit-variance sampler.

`W = mean + sqrt(variance(fan_in, fan_out)) * unit sample`, for the sampler and for the theory alike, so that they
cannot disagree. `W` has shape `(fan_in, fan_out)`. To add one, write a function that returns its record and list it in
`INITIALIZERS`; tables, help, theory and the tests over the whole registry follow.
"""

from __future__ import annotations

from initprobe.initializers.fan_scaled import (
    fan_in_heuristic,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
)
from initprobe.initializers.fixed import (
    constant,
    identity,
    normal,
    ones,
    orthogonal,
    sparse,
    truncated_normal,
    uniform,
    zeros,
)
from initprobe.initializers.framework_defaults import flax_dense, keras_dense, torch_linear
from initprobe.registry import Registry

# Rules that weights are drawn by, whatever the activation and the data.
RULES = Registry(
    "initializer",
    [
        zeros(),
        ones(),
        constant(0.1),
        identity(),
        normal(std=0.01),
        uniform(limit=0.05),
        truncated_normal(std=0.02),
        variance_scaling(),
        xavier_normal(),
        xavier_uniform(),
        he_normal(),
        he_uniform(),
        lecun_normal(),
        lecun_uniform(),
        fan_in_heuristic(),
        orthogonal(),
        sparse(std=0.1),
        torch_linear(),
        keras_dense(),
        flax_dense(),
    ],
)
