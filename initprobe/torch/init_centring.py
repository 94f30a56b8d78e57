"""Deep sigmoid networks: each bias takes out the mean of 1/2 that the layer before gives.

`sigmoid(z) = (1 + tanh(z / 2)) / 2`. Take `b = -W 1 / 2` and four times the weights. Up to the scale of its
pre-activations, this is the tanh network at its edge of chaos.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from initprobe.torch.init_layers import Scale
from initprobe.torch.init_settings import Setting
from initprobe.torch.paths import path
from initprobe.torch.structure import Layer

_NAME = "sigmoid"


@dataclass(frozen=True)
class Centring:
    """How the layers around sigmoids are set.

    Attributes:
        gains: by id of a layer whose sigmoid is centred, the factor `std sqrt(fan_in)` of its weights. It is 2 for the
            slope of `tanh(z / 2)`, and twice that where the input is such a sigmoid itself.
        halved: ids of the other layers whose input is `tanh / 2`.
        biases: by id of a layer, the setting of the bias that takes out the mean.
    """

    gains: Mapping[int, float]
    halved: frozenset[int]
    biases: Mapping[int, Setting]

    def applied(self, layer: Layer, scale: Scale) -> Scale:
        """The scale of a layer, with regard to the sigmoids before and after it.

        Args:
            layer: of the model.
            scale: without regard to sigmoids.
        """
        gain = self.gains.get(id(layer))
        if gain is not None:
            reason = f"sigmoid follows, whose mean the next bias takes out, gain {gain:g}; fan_in {layer.op.fans[0]}"
            return Scale(gain / math.sqrt(layer.op.fans[0]), reason)
        if id(layer) in self.halved:
            return Scale(2 * scale.std, f"{scale.reason}; twice that, for sigmoid is half of tanh")
        return scale


def centring_of(layers: Sequence[Layer]) -> Centring:
    """The settings around every sigmoid whose output goes into one linear layer with a bias, and nowhere else."""
    biases = {id(layer): setting for layer in layers if (setting := _bias(layer)) is not None}
    centred = {id(layer.before) for layer in layers if id(layer) in biases}
    gains = {key: 4.0 if key in biases else 2.0 for key in centred}
    return Centring(gains, frozenset(biases.keys() - gains), biases)


def _bias(layer: Layer) -> Setting | None:
    before = layer.before
    is_fed = before is not None and not layer.reset and _is_sigmoid(before)
    if not is_fed or layer.op.name != "linear" or layer.op.leaf is None or layer.norm is not None:
        return None
    holder, _, own = layer.op.leaf.rpartition(".")
    name = f"{holder}.bias" if holder else "bias"
    if own != "weight" or name not in layer.op.names:
        return None
    target = path(holder) if holder else "model"
    call = "{}.bias.copy_(-0.5 * {}.weight.sum(1))"
    return Setting(name, call, target, "takes out the mean of 1/2 that sigmoid gives", last=True)


def _is_sigmoid(layer: Layer) -> bool:
    act = layer.activation
    return act is not None and act.activation is not None and act.activation.name == _NAME and layer.norm is None
