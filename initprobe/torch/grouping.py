"""Calls of modules to layers: which tensor is z, which is h, and what was not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from initprobe.torch.measure import Track
from initprobe.torch.watch import Call


@dataclass(frozen=True)
class Layer:
    """A weighted module's call and what belongs to it.

    Attributes:
        call: of the module that holds W.
        z: what it gives; what the norm gives that takes exactly this.
        h: what the activation module gives that comes before the next layer; without one, the first new tensor that a
            later module is given; else z. Never another output of the same call, as attention's weights.
        norm: the call of that norm.
        activation: the call of that activation.
        unseen: between z and h stands something that is no module.
    """

    call: Call
    z: Track
    h: Track
    norm: Call | None = None
    activation: Call | None = None
    unseen: bool = False

    @property
    def parts(self) -> list[Call]:
        """Its calls, in order."""
        return [call for call in (self.call, self.norm, self.activation) if call is not None]


def layers_of(calls: Sequence[Call], results: Sequence[Track]) -> list[Layer]:
    """The layers, in the order in which the weighted modules are called."""
    starts = [index for index, call in enumerate(calls) if call.is_layer]
    ends = [*starts[1:], len(calls)][: len(starts)]
    # What the model gives comes after the last layer; after any other it says nothing.
    given = [*([] for _ in starts[1:]), results][: len(starts)]
    return [_layer(calls[a], calls[a + 1 : b + 1], ends) for a, b, ends in zip(starts, ends, given, strict=True)]


def _layer(call: Call, after: Sequence[Call], results: Sequence[Track]) -> Layer:
    """`after` are the calls up to the next layer's, that included."""
    activation = next((one for one in after if one.kind == "activation" and one.outputs), None)
    before = after if activation is None else after[: after.index(activation)]
    z = call.outputs[0]
    norm = next((one for one in before if one.kind == "normalisation" and one.inputs[:1] == [z] and one.outputs), None)
    z = norm.outputs[0] if norm else z
    if activation is not None:
        return Layer(call, z, activation.outputs[0], norm, activation)
    given = [*(track for one in after for track in one.inputs[:1]), *results]
    new = [track for track in given if track.number > z.number and track not in call.outputs]
    h = next((track for track in new if _alike(track, z, call.axis)), z)
    return Layer(call, z, h, norm, unseen=h is not z)


def _alike(one: Track, z: Track, axis: int) -> bool:
    """As many entries, or after a convolution, whose channels have an axis of their own, as many at other positions."""
    if one.entries == z.entries:
        return True
    return axis == 1 and len(one.shape) == len(z.shape) > 2 and one.shape[1] == z.shape[1]


def is_chain(calls: Sequence[Call], results: Sequence[Track]) -> bool:
    """Products and modules without weights, each given exactly what the last one gave: no norm, no skip, no branch."""
    if any(call.kind in ("normalisation", "attention") for call in calls):
        return False
    given = [*(call.inputs for call in calls[1:]), list(results)]
    return all(call.outputs[:1] == inputs and len(inputs) == 1 for call, inputs in zip(calls, given, strict=True))


def beside(layers: Sequence[Layer]) -> list[Layer]:
    """Layers that are given what an earlier one is given, as heads are, and queries, keys and values.

    The first is no more on the way than the others where the net ends with them.
    """
    groups: dict[Track, list[Layer]] = {}
    for layer in layers:
        for track in layer.call.inputs[:1]:
            groups.setdefault(track, []).append(layer)
    several = [group for group in groups.values() if len(group) > 1]
    return [layer for group in several for layer in group[0 if group[-1] is layers[-1] else 1 :]]


def cut_off(layers: Sequence[Layer]) -> list[Layer]:
    """Layers whose weight asks for a gradient and gets none."""
    return [layer for layer in layers if layer.call.learns and layer.call.weight and not layer.call.weight.gradient]
