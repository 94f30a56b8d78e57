"""The initializers: one frozen record each, a variance rule and a unit-variance sampler.

`W = mean + sqrt(variance(fan_in, fan_out)) * unit sample`, for the sampler and for the theory alike, so that they
cannot disagree. `W` has shape `(fan_in, fan_out)`. To add one, write a function that returns its record and list it in
`INITIALIZERS`; tables, help, theory and the tests over the whole registry follow.
"""

from __future__ import annotations

from dataclasses import replace

from initprobe.initializers.fan_scaled import fan_in_heuristic, variance_scaling, xavier_uniform
from initprobe.initializers.record import LECUN, Initializer


def torch_linear() -> Initializer:
    """What `torch.nn.Linear` really does: kaiming_uniform with a = sqrt(5), and a bias of the same width."""
    weights = fan_in_heuristic()
    return replace(
        weights,
        name="torch_linear",
        formula="W and b ~ U(-a, a), a = 1 / sqrt(fan_in); Var(W) = 1 / (3 fan_in)",
        reference="PyTorch nn.Linear.reset_parameters: kaiming_uniform_(a=sqrt(5))",
        aliases=("pytorch", "torch", "pytorch_linear", "torch_default"),
        example="torch_linear",
        used_by="default of torch.nn.Linear",
        bias=weights,
        params={},
        make=None,
    )


def keras_dense() -> Initializer:
    """What a Keras `Dense` layer does: Glorot uniform, zero bias."""
    return replace(
        xavier_uniform(),
        name="keras_dense",
        aliases=("keras", "tensorflow", "keras_default"),
        example="keras_dense",
        used_by="default of keras.layers.Dense",
        params={},
        make=None,
    )


def flax_dense() -> Initializer:
    """What a Flax `Dense` layer does: LeCun normal cut at 2 std with the variance corrected, zero bias."""
    return replace(
        variance_scaling(1.0, "fan_in", "truncated_normal"),
        name="flax_dense",
        formula="N(0, s^2) cut at +-2s, s = sqrt(1 / fan_in) / 0.87963; Var(W) = 1 / fan_in",
        reference=f"{LECUN}; Flax nn.Dense",
        aliases=("flax", "jax", "flax_default"),
        example="flax_dense",
        used_by="default of flax.linen.Dense and flax.nnx.Linear",
        params={},
        make=None,
    )
