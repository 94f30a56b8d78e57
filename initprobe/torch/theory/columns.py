"""The predictions of each layer, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping

from initprobe.results.model_theory import ModelTheory, Predicted, TheoryColumn
from initprobe.torch.structure import Structure

_NONE_YET = "no operation has a rule yet"


def theory_of(structure: Structure) -> Mapping[int, ModelTheory]:
    """The predictions by the number of the layer.

    Args:
        structure: the layers of a recorded model.

    Returns:
        One record per layer. A prediction that does not exist says why.
    """
    nothing = Predicted(reason=_NONE_YET)
    column = TheoryColumn(preactivation=nothing, output=nothing, output_gradient=nothing)
    return {layer.number: ModelTheory(local=column, end_to_end=column) for layer in structure.layers}
