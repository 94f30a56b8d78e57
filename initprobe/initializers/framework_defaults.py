"""What the dense layers of PyTorch, Keras and Flax draw their weights and biases by.

To add one, write a function that returns its record. List it in `FRAMEWORK_DEFAULTS` at the end of this file.
"""

from __future__ import annotations

from dataclasses import replace

from initprobe.initializers.fan_scaled import fan_in_heuristic, variance_scaling, xavier_uniform
from initprobe.initializers.record import LECUN, Initializer


def torch_linear() -> Initializer:
    """The default of `torch.nn.Linear`: kaiming_uniform with a = sqrt(5), and a bias with the same bounds."""
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
    """The default of a Keras `Dense` layer: Glorot uniform, zero bias."""
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
    """The default of a Flax `Dense` layer: LeCun normal cut at 2 std with the variance corrected, zero bias."""
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


FRAMEWORK_DEFAULTS = (torch_linear(), keras_dense(), flax_dense())
