"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from initprobe.blocks.skips import branches
from initprobe.diagnosis.rule import Observation
from initprobe.results.base import Severity
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

ADDED_KEY = "added"  # in the config of a part of a result


def norm_name(result: ProbeResult) -> str:
    return str(result.config.get("norm", "none"))


def is_residual(result: ProbeResult) -> bool:
    return bool(result.config.get("residual"))


def adding_layers(result: ProbeResult) -> Collection[int]:
    """The layers at whose end a branch is added to what it was given."""
    block, known = result.config.get("block", 1), result.config.get(ADDED_KEY)
    if isinstance(known, list):
        return [layer for layer in known if isinstance(layer, int)]
    if not is_residual(result) or not isinstance(block, int):
        return []
    sizes = [result.layers[0].fan_in, *(layer.fan_out for layer in result.layers)]
    return [branch[-1] + 1 for branch in branches(sizes, block)]


def is_plain(result: ProbeResult) -> bool:
    """Products and activations, one after the other, and nothing else between them."""
    return norm_name(result) == "none" and not is_residual(result) and is_chain(result)


def is_chain(result: ProbeResult) -> bool:
    """Every layer takes what the layer before it gave; of a model of somebody's own the probe has to say so."""
    return bool(result.config.get("chain", True))


def is_dense_chain(result: ProbeResult) -> bool:
    """A chain whose every entry is a unit's: no position shares weights with another, none is pooled away."""
    return is_chain(result) and all(layer.kind in (None, "linear") for layer in result.layers)


def first_where(
    result: ProbeResult, holds: Callable[[LayerStats], bool], words: Callable[[LayerStats], str], severity: Severity
) -> Observation | None:
    """An observation of the first layer where something holds."""
    layer = next((layer for layer in result.layers if holds(layer)), None)
    return None if layer is None else Observation(layer.layer, words(layer), severity)
