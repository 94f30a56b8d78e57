"""The initializers: one frozen record each, a variance rule and a unit-variance sampler.

`W = mean + sqrt(variance(fan_in, fan_out)) * unit sample`, for the sampler and for the theory alike, so that they
cannot disagree. `W` has shape `(fan_in, fan_out)`. To add one, write a function that returns its record and list it in
`INITIALIZERS`; tables, help, theory and the tests over the whole registry follow.
"""

from __future__ import annotations

from initprobe.initializers.activation_tuned import backward, critical, forward
from initprobe.initializers.data_driven import autoencoder, lsuv
from initprobe.initializers.size_rules import RULES
from initprobe.registry import Registry

INITIALIZERS = Registry("initializer", [*RULES.values(), critical(), forward(), backward(), lsuv(), autoencoder()])
