"""Inputs that become alike or unlike along a chain, and gradients that few entries carry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initprobe.formatting import short
from initprobe.results.layers import LayerStats
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Observation

COLLAPSE, CHAOTIC, TAIL = "rank-collapse", "chaotic", "heavy-tailed-gradient"
_ALIKE = 0.3  # cosine of two inputs from which they are alike
_FEWEST_LAYERS = 3  # of a chain that is judged


def _cosines(case: Case) -> Iterator[Observation]:
    """The first chain in which inputs become alike, or in which similar ones become unlike."""
    for chain in _main_chains(case):
        cosines = [_cosine(layer) for layer in chain]
        observation = _collapse(case, chain, cosines) or _chaos(case, chain, cosines)
        if observation is not None:
            yield observation
            return


def _main_chains(case: Case) -> Iterator[list[Layer]]:
    """Chains that are in no residual branch."""
    yield from (chain for chain in case.structure.chains if not chain[0].beside)


def _cosine(layer: Layer) -> float:
    """The mean cosine of the z of two inputs; NaN where it is not known."""
    values = [value for value in layer.z.correlations if value is not None]
    return sum(values) / len(values) if values else math.nan


def _collapse(case: Case, chain: Sequence[Layer], cosines: Sequence[float]) -> Observation | None:
    """Inputs that differ at the first layer and not at the last."""
    alike = 1 - case.limits.indistinct
    place = next((k for k, cosine in enumerate(cosines) if cosine > alike), 0)
    if len(chain) < _FEWEST_LAYERS or not place or not cosines[0] <= alike < cosines[-1]:
        return None
    layer, cosine = chain[place], cosines[place]
    return Observation(
        COLLAPSE,
        "info",
        layer.number,
        f"cosine {cosine:.3f} between two inputs, {cosines[-1]:.4f} at the last layer; q(1 - c) = "
        f"{short(layer.z.square * (1 - cosine))}",
        "different inputs become indistinguishable, which the variance does not show",
        layer.label,
    )


def _chaos(case: Case, chain: Sequence[Layer], cosines: Sequence[float]) -> Observation | None:
    """Similar inputs that become unlike along a chain without norms."""
    first, last = cosines[0], cosines[-1]
    is_plain = not any(layer.reset or layer.norm for layer in chain)
    if not is_plain or len(chain) <= _FEWEST_LAYERS:
        return None
    if not (first >= _ALIKE and last <= case.limits.decorrelated * first):
        return None
    return Observation(
        CHAOTIC,
        "warning",
        chain[0].number,
        f"the cosine between two inputs falls from {first:.2f} at {chain[0].label} to {last:.2f} at {chain[-1].label}",
        "similar inputs become unlike, so what one example teaches says nothing of its neighbour",
        chain[0].label,
        fix_lines.for_layers(case, chain),
    )


def _tails(case: Case) -> Iterator[Observation]:
    """A plain chain of dense layers in which few entries carry the whole gradient."""
    for chain in _main_chains(case):
        is_dense = all(layer.op.name == "linear" and not layer.reset and not layer.norm for layer in chain)
        if not is_dense or len(chain) < _FEWEST_LAYERS:
            continue
        ratios = [(layer, _tail(layer, case.shown[layer.number - 1])) for layer in chain]
        tailed = next(((layer, ratio) for layer, ratio in ratios if ratio > case.limits.tail), None)
        if tailed is not None:
            yield _tailed(case, chain, *tailed)
            return


def _tail(layer: Layer, shown: LayerStats) -> float:
    """The root mean square over the median of |dL/dz|, for a distribution symmetric about 0; 0 where units can die."""
    stats, act = shown.preactivation_gradient, layer.activation
    if act is None or act.activation is None or act.activation.dead_below is not None:
        return 0.0
    if not stats.percentiles or not stats.rms:
        return 0.0
    median = (stats.percentiles.p75 - stats.percentiles.p25) / 2
    return stats.rms / median if median > 0 else math.inf


def _tailed(case: Case, chain: Sequence[Layer], layer: Layer, ratio: float) -> Observation:
    is_zero = math.isinf(ratio)
    words = "the median of |dL/dz| is 0" if is_zero else f"rms of dL/dz is {short(ratio)} times its median"
    return Observation(
        TAIL,
        "warning",
        layer.number,
        f"{words}: few entries carry all of it",
        "a few units carry the whole gradient, and the typical unit gets almost none",
        layer.label,
        fix_lines.for_layers(case, chain),
    )


RULES = (ModelRule(_cosines, names=(COLLAPSE, CHAOTIC)), ModelRule(_tails, names=(TAIL,)))
