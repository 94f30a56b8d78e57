"""From counts of magnitudes to what each small format would lose, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.magnitudes import SCALES, Losses
from initprobe.engine.number_formats import FORMATS, NumberFormat
from initprobe.engine.sketch import Sketch
from initprobe.results.base import BACKWARD_TENSORS, FORWARD_TENSORS
from initprobe.results.formats import FormatStats, LossScale, LostAt, TensorInFormat

_UNSCALED = int(np.flatnonzero(SCALES == 0)[0])
# Of the entries that are not 0. With more of them lost, a tensor holds another signal.
LOST = 0.5


class Place(NamedTuple):
    """A tensor of a network.

    Attributes:
        layer: 1 for the first.
        tensor: its name.
        sketch: its statistics.
        operation: name of the operation that made it, for a tensor that belongs to no layer.
    """

    layer: int
    tensor: str
    sketch: Sketch
    operation: str | None = None


def in_formats(
    names: Sequence[str], layers: Sequence[Mapping[str, Sketch]], operations: Sequence[Place] = ()
) -> tuple[FormatStats, ...]:
    """What each format would lose of a network.

    Args:
        names: of the formats.
        layers: the sketches of each layer, by name of the tensor.
        operations: further tensors.
    """
    places = [
        Place(number, name, sketch)
        for number, sketches in enumerate(layers, start=1)
        for name in (*FORWARD_TENSORS, *BACKWARD_TENSORS)
        if (sketch := sketches.get(name)) is not None
    ]
    return tuple(_in_format(FORMATS[name], places, operations) for name in names)


class _Counted(NamedTuple):
    """One tensor, with what the format would lose of it at each scale.

    Attributes:
        place: the tensor.
        losses: how many entries, by scale.
        nonzero: entries that are not 0.
        entries: all entries.
        has_infinity: of the format.
    """

    place: Place
    losses: Losses
    nonzero: int
    entries: int
    has_infinity: bool

    def is_lost(self, place: int) -> bool:
        """Whether the tensor is lost at a scale: most of it, or any entry that becomes infinite."""
        overflow = int(self.losses.overflow[place])
        if overflow and self.has_infinity:
            return True
        return int(self.losses.zero[place]) + overflow > LOST * self.nonzero

    @property
    def best(self) -> int:
        """The place of the best scale of this tensor."""
        return _best(self.losses.overflow, self.losses.zero, self.losses.subnormal)

    def record(self) -> TensorInFormat:
        """The shares."""
        zero, subnormal, overflow = (counts / self.entries for counts in self.losses)
        return TensorInFormat(
            layer=self.place.layer,
            tensor=self.place.tensor,
            name=self.place.operation,
            nonzero=self.nonzero / self.entries,
            zero=float(zero[_UNSCALED]),
            subnormal=float(subnormal[_UNSCALED]),
            overflow=float(overflow[_UNSCALED]),
            scale_log2=int(SCALES[self.best]),
            scaled_zero=float(zero[self.best]),
            scaled_subnormal=float(subnormal[self.best]),
        )


def _best(overflow: Array, zero: Array, subnormal: Array) -> int:
    """The place of the scale with the least overflow, then zeros, then subnormal numbers, then next to 1."""
    return int(np.lexsort((np.abs(SCALES), subnormal, zero, overflow))[0])


def _in_format(form: NumberFormat, places: Sequence[Place], operations: Sequence[Place]) -> FormatStats:
    counted = list(_counted(form, places))
    signal = [tensor for tensor in counted if tensor.place.tensor in FORWARD_TENSORS]
    back = [tensor for tensor in counted[::-1] if tensor.place.tensor in BACKWARD_TENSORS]
    return FormatStats(
        name=form.name,
        largest=form.largest,
        smallest_normal=form.smallest_normal,
        smallest=form.smallest,
        beyond=form.beyond,
        needs_scales=form.bits < 16,
        tensors=tuple(tensor.record() for tensor in counted),
        operations=tuple(tensor.record() for tensor in _counted(form, operations)),
        lost_at=LostAt(signal=_first_lost(signal, _UNSCALED), gradient=_first_lost(back, _UNSCALED)),
        scaled_lost_at=LostAt(signal=_first_lost(signal), gradient=_first_lost(back)),
        loss_scale=_loss_scale(back) if back else None,
    )


def _counted(form: NumberFormat, tensors: Iterable[Place]) -> Iterator[_Counted]:
    for place in tensors:
        sketch = place.sketch
        if sketch.magnitudes is None or sketch.nonfinite or not sketch.by_draw:
            continue
        nonzero = sketch.magnitudes.total
        if entries := nonzero + sketch.zeros:
            yield _Counted(place, sketch.magnitudes.losses(form), nonzero, entries, form.has_infinity)


def _first_lost(tensors: Sequence[_Counted], place: int | None = None) -> int | None:
    """The layer of the first lost tensor, at the scale of a place, or each at its best."""
    return next((t.place.layer for t in tensors if t.is_lost(t.best if place is None else place)), None)


def _loss_scale(gradients: Sequence[_Counted]) -> LossScale:
    """The best common scale: least overflow, then the smallest share of zeros: in the worst tensor, then in all."""
    shares = np.array([np.array(tensor.losses) / tensor.entries for tensor in gradients])
    zero, subnormal, overflow = shares.max(axis=0)
    zeros_of_all = shares[:, 0].mean(axis=0)
    place = int(np.lexsort((np.abs(SCALES), subnormal, zeros_of_all, zero, overflow))[0])
    worst = max(gradients, key=lambda tensor: tensor.losses.zero[place] / tensor.entries)
    return LossScale(
        scale_log2=int(SCALES[place]),
        lost_at=_first_lost(gradients, place),
        worst_layer=worst.place.layer,
        worst_tensor=worst.place.tensor,
        worst_zero=float(worst.losses.zero[place]) / worst.entries,
    )
