"""The scale of a layer's weights by theory: gain of its activation, fans of its operation, place in a branch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from initprobe.activations.record import Activation
from initprobe.formatting import short
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.phase import critical_line
from initprobe.torch.graph import Signal, back_from
from initprobe.torch.structure import Join, Layer, Structure

METHODS = ("critical", "forward", "balanced", "lsuv", "contract")
_RELU = math.sqrt(2)
_SETTLED = 0.01  # below it the edge of chaos is at q = 0, where the network is linear at any small variance


@dataclass(frozen=True)
class Scale:
    """The standard deviation of a weight, and why it is that one."""

    std: float
    reason: str


def _critical(act: Activation, is_first: bool) -> float | None:
    """The weight scale at the edge of chaos without biases, where z has variance q; None where none holds."""
    point = critical_line(act, 0.0)
    if point is None or not point.stable:
        return None
    return math.sqrt(point.q) if is_first and math.isfinite(point.q) and point.q > _SETTLED else point.sigma_w


def _gains(layer: Layer, method: str) -> tuple[float, float, str]:
    """The gain for the signal, the one for its gradient, and words for them."""
    act = layer.activation
    if act is None or layer.is_readout:
        return 1.0, 1.0, "no activation follows, gain 1"
    if act.signal is not None and any(op.kind == "gate" for op in act.signal.consumers):
        return 1.0, 1.0, f"{act.name} follows and multiplies another signal, gain 1"
    if act.activation is None:
        is_rectified = layer.h.low == 0 and layer.h.peak > 0
        gain = _RELU if is_rectified else 1.0
        words = f"{act.name} follows, which has no record, gain {short(gain)}"
        return gain, gain, words
    return _known_gains(act.activation, method, layer.before is None)


def _known_gains(act: Activation, method: str, is_first: bool) -> tuple[float, float, str]:
    critical = _critical(act, is_first) if method == "critical" else None
    if critical is not None:
        return critical, critical, f"{act.name} follows, gain {short(critical)} (edge of chaos)"
    row = gain_row(act)
    if method == "balanced":
        words = f"gain {short(row.forward)} forward, {short(row.backward)} back"
        return row.forward, row.backward, f"{act.name} follows, {words}"
    return row.forward, row.forward, f"{act.name} follows, gain {short(row.forward)} (keeps the mean square)"


@dataclass(frozen=True)
class Share:
    """The part that a layer has in making a residual branch small.

    Attributes:
        branches: how many branches the stream has.
        layers: how many layers of the branch share the factor `1 / sqrt(branches)`.
        place: 1 for the first of them.
    """

    branches: int
    layers: int
    place: int

    @property
    def factor(self) -> float:
        """What the std of this layer is multiplied by, `branches^(-1 / (2 layers))`."""
        return math.exp(-math.log(self.branches) / (2 * self.layers))

    @property
    def variance(self) -> float:
        """The part of a variance of 1 that is left after this layer."""
        return math.exp(-math.log(self.branches) * self.place / self.layers)

    @property
    def words(self) -> str:
        """For the reason."""
        if self.layers == 1:
            return f"ends 1 of {self.branches} residual branches, so over sqrt({self.branches})"
        return (
            f"1 of {self.layers} layers in 1 of {self.branches} residual branches, so times "
            f"{self.branches}^(-1/{2 * self.layers})"
        )


def scale_of(layer: Layer, method: str, share: Share | None) -> Scale:
    """The scale that theory gives a layer's weights.

    Args:
        layer: the layer.
        method: `critical`, `forward`, `balanced` or `lsuv`, which starts as `forward`.
        share: its part in a residual branch; None outside of one.

    Returns:
        The std of an entry, `gain / sqrt(fan_in)`. For `balanced` it is the mean of the conditions for signal and
        gradient, `2 / (fan_in / gain^2 + fan_out / gain_back^2)` (Glorot & Bengio 2010).
    """
    fan_in, fan_out = layer.op.fans
    if layer.norm is not None:
        reason = f"a norm follows, so that the scale sets the learning rate only, gain 1.41; fan_in {fan_in}"
        return Scale(_RELU / math.sqrt(fan_in), reason)
    forward, back, reason = _gains(layer, method)
    if method == "balanced" and not layer.is_readout:
        std = math.sqrt(2 / (fan_in / forward**2 + fan_out / back**2))
        reason += f"; fans {fan_in} and {fan_out}"
    else:
        std = forward / math.sqrt(fan_in)
        reason += f"; fan_in {fan_in}"
    if share is None or share.branches < 2:
        return Scale(std, reason)
    return Scale(std * share.factor, f"{reason}; {share.words}")


def shares_of(structure: Structure) -> Mapping[int, Share]:
    """By id of a signal in a residual branch: its part in making the branch small.

    The layers of a branch share the factor if they are a plain chain without a norm. This is Fixup: Zhang et al. 2019,
    arXiv:1901.09321. Of any other branch the last layer takes it, as in GPT-2.
    """
    shares: dict[int, Share] = {}
    for stream in structure.streams:
        for join in stream:
            for end in branch_ends(join):
                chain = _chain_to(end, join)
                for back, signal in enumerate(chain):
                    shares[id(signal)] = Share(len(stream), len(chain), len(chain) - back)
    return shares


def _chain_to(end: Signal, join: Join) -> Sequence[Signal]:
    """The layers of a branch where it is a plain chain; else its end."""
    chain, signal = [end], end
    while len(signal.inputs) == 1 and signal.inputs[0] is not join.start:
        signal = signal.inputs[0]
        if signal.op.kind != "layer" or len(signal.consumers) != 1:
            return [end]
        chain.append(signal)
    is_whole = len(signal.inputs) == 1 and end.op.kind == "layer"
    return chain if is_whole else [end]


def branch_ends(join: Join) -> Sequence[Signal]:
    """The signal that ends the branch: of two, where the shortcut has a projection, that of the longer way."""
    inside = {id(signal) for signal in join.branch}
    ends = [signal for signal in join.op.inputs if id(signal) in inside]
    if len(ends) < 2:
        return ends
    lengths = [sum(1 for _ in back_from(end, join.start.number)) for end in ends]
    longest = max(lengths)
    return [end for end, length in zip(ends, lengths, strict=True) if length == longest]
