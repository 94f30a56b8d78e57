"""What surrounds the activations of a net of `run`, as its configuration says."""

from __future__ import annotations

from collections.abc import Collection

from initprobe.activations.skips import branches
from initprobe.results.run import ProbeResult
from initprobe.spec import of_depth


def norm_name(result: ProbeResult) -> str:
    """The normalization before each activation; `none` without one."""
    return str(result.config.get("norm", "none"))


def is_residual(result: ProbeResult) -> bool:
    """Whether branches are added to their input."""
    return bool(result.config.get("residual"))


def adding_layers(result: ProbeResult) -> Collection[int]:
    """The layers at whose end a branch is added to its input."""
    block = result.config.get("block", 1)
    if not is_residual(result) or not isinstance(block, int):
        return []
    sizes = [result.layers[0].fan_in, *(layer.fan_out for layer in result.layers)]
    return [branch[-1] + 1 for branch in branches(sizes, block)]


def branch_scale(result: ProbeResult) -> float:
    """The factor of each branch before it is added."""
    return of_depth(str(result.config.get("branch_scale", 1)), len(result.layers))


def has_silent_input(result: ProbeResult) -> bool:
    """Whether every entry of the input is 0."""
    return result.input is not None and result.input.mean_square == 0


def has_nothing_left(result: ProbeResult) -> bool:
    """Whether all samples are equal and batch norm subtracts what samples share, which leaves 0."""
    return result.input is not None and result.input.equal and norm_name(result) == "batch"


def is_plain(result: ProbeResult) -> bool:
    """Whether there are products and activations only: no norm and no residual branch."""
    return norm_name(result) == "none" and not is_residual(result)
