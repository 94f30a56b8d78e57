"""What small floating-point formats would lose of every tensor. Nothing was computed in them: entries were counted."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from initprobe.results.base import Finite, Record, Share


class TensorInFormat(Record):
    """One tensor of one layer in a format. Shares are of all entries, of all draws and batches.

    Attributes:
        layer: 1 for the first.
        tensor: one of `TENSORS`; in `FormatStats.operations`, `output` or `output_gradient`.
        name: of the operation that made it, in `FormatStats.operations`; null elsewhere.
        nonzero: share of entries that are not 0.
        zero: share that is not 0 and becomes 0.
        subnormal: share that becomes subnormal, with fewer bits of mantissa.
        overflow: share that leaves the range.
        scale_log2: the best scale of this tensor is 2 to this power. Multiplied by it, no entry leaves the range, and
            fewest become 0. Among equals, fewest become subnormal, and the scale is next to 1.
        scaled_zero: share that becomes 0 at the best scale.
        scaled_subnormal: share that becomes subnormal at the best scale.
    """

    layer: Annotated[int, Field(ge=1)]
    tensor: str
    name: str | None = None
    nonzero: Share
    zero: Share
    subnormal: Share
    overflow: Share
    scale_log2: int
    scaled_zero: Share
    scaled_subnormal: Share

    @property
    def lost(self) -> float:
        """Share that becomes 0 or leaves the range."""
        return min(self.zero + self.overflow, 1.0)


class LostAt(Record):
    """Where a network is lost: most entries of a tensor that are not 0, or one entry that becomes infinite.

    Attributes:
        signal: the first layer at which W, z or h is lost; null for none.
        gradient: the first layer on the way back at which a gradient is lost; null for none.
    """

    signal: Annotated[int, Field(ge=1)] | None
    gradient: Annotated[int, Field(ge=1)] | None


class LossScale(Record):
    """One factor for the loss, and so for all gradients: no entry leaves the range, and fewest become 0.

    Attributes:
        scale_log2: it is 2 to this power.
        lost_at: the first layer on the way back at which a gradient is lost all the same; null for none.
        worst_layer: where it leaves most zeros.
        worst_tensor: the gradient of this layer.
        worst_zero: share of its entries that are not 0 and still become 0.
    """

    scale_log2: int
    lost_at: Annotated[int, Field(ge=1)] | None
    worst_layer: Annotated[int, Field(ge=1)]
    worst_tensor: str
    worst_zero: Share


class FormatStats(Record):
    """What a format would lose.

    Attributes:
        name: of the format.
        largest: its largest finite number.
        smallest_normal: its smallest number with all bits of mantissa.
        smallest: its smallest number above 0.
        beyond: what an entry that leaves the range becomes.
        needs_scales: tensors in this format are used with a scale each, so the verdict judges them at their best scale.
        tensors: layer by layer. A tensor with an entry that is not finite is left out.
        operations: outputs of operations of a PyTorch model that belong to no layer, such as softmax, and their
            gradients. `layer` is the one before. The verdict does not judge them.
        lost_at: without scales.
        scaled_lost_at: with the best scale of each tensor.
        loss_scale: null where no gradient was counted.
    """

    name: str
    largest: Finite
    smallest_normal: Finite
    smallest: Finite
    beyond: str
    needs_scales: bool
    tensors: tuple[TensorInFormat, ...]
    operations: tuple[TensorInFormat, ...] = ()
    lost_at: LostAt
    scaled_lost_at: LostAt
    loss_scale: LossScale | None
