"""Inputs that become alike or unlike along a chain, and gradients that few entries carry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from initprobe.formatting import short
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Observation

COLLAPSE, CHAOTIC, TAIL = "rank-collapse", "chaotic", "heavy-tailed-gradient"
_ALIKE = 0.3  # cosine of two inputs from which they are alike
_FEWEST_LAYERS = 3  # of a chain that is judged


def _cosines(case: Case) -> Iterator[Observation]:
    """The first chain in which inputs become alike, or in which similar ones become unlike."""
    for chain in _main_chains(case):
        cosines = [_cosine(layer) for layer in chain]
        if observation := _collapse(case, chain, cosines) or _chaos(case, chain, cosines):
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
        MEANING,
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
        MEANING,
        chain[0].label,
        fix_lines.for_layers(case, chain),
    )


def _tails(case: Case) -> Iterator[Observation]:
    """A plain chain of dense layers in which few entries carry the whole gradient."""
    for chain in _main_chains(case):
        is_dense = all(layer.op.name == "linear" and not layer.reset and not layer.norm for layer in chain)
        if not is_dense or len(chain) < _FEWEST_LAYERS:
            continue
        tailed = next(((layer, ratio) for layer, ratio in _ratios(case, chain) if ratio > case.limits.tail), None)
        if tailed is not None:
            yield _tailed(case, chain, *tailed)
            return


def _ratios(case: Case, chain: Sequence[Layer]) -> Iterator[tuple[Layer, float]]:
    """Layers whose units cannot die, with the root mean square over the median of |dL/dz|.

    The median is that of a distribution symmetric about 0.
    """
    layers = [layer for layer in chain if _is_never_off(layer)]
    for layer, stats in zip(layers, case.records.stats_of([layer.z.gradient for layer in layers]), strict=True):
        if stats and stats.percentiles and stats.rms:
            median = (stats.percentiles.p75 - stats.percentiles.p25) / 2
            yield layer, stats.rms / median if median > 0 else math.inf


def _is_never_off(layer: Layer) -> bool:
    act = layer.activation
    return act is not None and act.activation is not None and act.activation.dead_below is None


def _tailed(case: Case, chain: Sequence[Layer], layer: Layer, ratio: float) -> Observation:
    is_zero = math.isinf(ratio)
    words = "the median of |dL/dz| is 0" if is_zero else f"rms of dL/dz is {short(ratio)} times its median"
    return Observation(
        TAIL,
        "warning",
        layer.number,
        f"{words}: few entries carry all of it",
        MEANING,
        layer.label,
        fix_lines.for_layers(case, chain),
    )


RULES = (ModelRule(_cosines, names=(COLLAPSE, CHAOTIC)), ModelRule(_tails, names=(TAIL,)))
