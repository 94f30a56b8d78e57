"""Rules for elementwise functions, such as activations."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.record import Activation
from initprobe.activations.sigmoids import error_function
from initprobe.arrays import Array
from initprobe.torch.theory.expectations import Expectations, Function, dual, expectations
from initprobe.torch.theory.levels import of_function, with_slopes
from initprobe.torch.theory.moments import Bent, Moments, NoRule, gaussian_noise, matched
from initprobe.torch.theory.places import axes_by_place, deviations, settled, strengthened
from initprobe.torch.theory.rule import Lookup, Moved, Rule, first, names
from initprobe.torch.theory.trace import Node

# Functions without a record of an activation: value and slope.
_PLAIN: dict[str, tuple[Function, Function, tuple[float, ...]]] = {
    "exp": (np.exp, np.exp, ()),
    "sin": (np.sin, np.cos, ()),
    "cos": (np.cos, lambda x: -np.sin(x), ()),
    "square": (np.square, lambda x: 2 * x, ()),
    "abs": (np.abs, np.sign, (0.0,)),
    "neg": (np.negative, lambda x: np.full_like(x, -1.0), ()),
    "erf": (error_function, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x), ()),
    "softplus": (lambda x: np.logaddexp(x, 0), lambda x: 1 / (1 + np.exp(-x)), ()),
}


def _rounded(number: float) -> float:
    return float(f"{number:.5g}")


def of_bent(bent: Bent) -> tuple[Expectations, Array]:
    """The expectations of a function of Gaussian entries, and the correlations between these.

    Args:
        bent: the function with its input.

    Raises:
        NoRule: the entries have no variance.
    """
    given = bent.given
    variance = given.square - given.mean**2
    if not variance >= 0 or not math.isfinite(variance):
        raise NoRule("an activation of entries without a variance")
    at = expectations(bent.value, bent.slope, bent.kinks, _rounded(given.mean), _rounded(math.sqrt(variance)))
    if variance <= 0:
        return at, np.ones_like(given.pairs)
    own = given.pairs - given.mean**2
    correlation = settled(given, own / deviations(given, own))
    return _by_law(bent, at), np.minimum(np.maximum(correlation, -1.0), 1.0)


def _by_law(bent: Bent, at: Expectations) -> Expectations:
    """The expectations with the true distribution of an entry, where this is far from Gaussian."""
    x = bent.given.values
    if x is None:
        return at
    f, slopes = bent.value(x), np.broadcast_to(bent.slope(x), x.shape)
    mean, square, slope_square = float(np.mean(f)), float(np.mean(f * f)), float(np.mean(slopes * slopes))
    rest = at.powers[1:].sum()
    powers = np.append(mean**2, at.powers[1:] * ((square - mean**2) / rest if rest > 0 else 0.0))
    slope_powers = at.slope_powers * (slope_square / max(at.slope_powers.sum(), 1e-300))
    return at._replace(mean=mean, square=square, powers=powers, slope_powers=slope_powers)


def curved(bent: Bent) -> Moments:
    """The moments of a function of Gaussian entries."""
    given = bent.given
    at, correlation = of_bent(bent)
    pairs = dual(at.powers, correlation)
    own = given.average(dual(at.square_powers, correlation)) / at.square**2 if at.square > 0 else 0.0
    inherited = max(given.noise - gaussian_noise(given), 0.0)
    levels, factor = of_function(given, at.level_growth)
    pairs = _as_large(given, pairs if factor == 1 else strengthened(pairs, given, factor))
    noise = at.growth**2 * inherited + max(own, 0.0)
    first_order = float(at.powers[1] / max(at.powers[1:].sum(), 1e-300))
    shared = given.shared * first_order**2
    return Moments(given.shape, at.mean, pairs, noise, bent, levels=levels, shared=shared)


def _as_large(given: Moments, pairs: Array) -> Array:
    """The pairs of a function where some places have larger entries than others: in proportion to these."""
    if not axes_by_place(given):
        return pairs
    own = given.pairs - given.mean**2
    return settled(given, pairs * deviations(given, own) / own[(0,) * own.ndim])


def uncurved(bent: Bent, gradient: Moments) -> Moments:
    """The gradient of the Gaussian entries.

    Args:
        bent: the function with its input.
        gradient: moments of the gradient of its output.
    """
    at, correlation = of_bent(bent)
    _, (pairs, correlation) = matched([gradient, Moments(gradient.shape, 0.0, correlation)])
    slopes = dual(at.slope_powers, correlation)
    if gradient.gain != 1:
        slopes = strengthened(slopes, Moments(gradient.shape, 0.0, slopes), gradient.gain)
    along = pairs * dual(at.along_powers, correlation)
    shaped = Moments(gradient.shape, 0.0, pairs)
    made, along = settled(shaped, pairs * slopes), settled(shaped, along)
    noise = gradient.noise + _slope_noise(gradient, at, correlation)
    levels, factor = with_slopes(gradient, bent.given, at.slope_growth)
    factor *= 1 + gradient.rise * at.together  # the slopes after a small kernel depend on those before
    if factor != 1:
        made = strengthened(made, shaped, factor)
    back = Moments(gradient.shape, 0.0, made, noise, along=along, masked=bent, levels=levels, rise=at.slope_growth)
    aligned = _still_aligned(gradient, at, correlation)
    return back.changed(aligned=aligned) if aligned else back


def _still_aligned(gradient: Moments, at: Expectations, correlation: Array) -> float:
    """`aligned` behind slopes: where samples have other slopes they part, and equal slopes leave fewer units."""
    total = float(at.slope_powers.sum())
    if not gradient.aligned or total <= 0:
        return 0.0
    other = correlation[(-1, *(0,) * (correlation.ndim - 1))].reshape(1)  # of the same unit in another sample
    kept = gradient.aligned * (dual(at.slope_powers, other).item() / total) ** 2
    fewer = dual(at.slope_square_powers, other).item() / total**2 / gradient.shape[-1]
    return float(kept + (1 - kept) * max(fewer, 0.0))


def _slope_noise(gradient: Moments, at: Expectations, correlation: Array) -> float:
    """Variance of the log of the mean squared slope, over units; samples that are alike have the same slopes."""
    square = float(at.slope_powers.sum())
    own = gradient.average(dual(at.slope_square_powers, correlation)) * (1 + 2 * gradient.aligned)
    return max(own, 0.0) / square**2 if square > 0 else 0.0


def bent_of(node: Node, given: Moments) -> Bent:
    """The function that made entries of Gaussian ones; these themselves if there was none.

    Args:
        node, given: of the graph of operations, and the moments of its entries.
    """
    return given.bent or Bent(node.number, given, np.positive, np.ones_like)


@lru_cache(maxsize=512)
def composed(outer: tuple[Function, Function], inner: tuple[Function, Function]) -> tuple[Function, Function]:
    """Value and slope of one function after another.

    Args:
        outer, inner: value and slope of the function that comes second, and of the one that comes first.
    """
    return lambda x: outer[0](inner[0](x)), lambda x: outer[1](inner[0](x)) * inner[1](x)


@lru_cache(maxsize=512)
def _of_record(activation_value: Any, activation_slope: Any) -> tuple[Function, Function]:
    return activation_value, lambda x: activation_slope(x, activation_value(x))


def _function(node: Node) -> tuple[Function, Function, tuple[float, ...]]:
    act: Activation | None = node.activation
    if act is not None:
        return (*_of_record(act.value, act.slope), act.kinks)
    if node.name == "hardtanh":
        return _clipped(float(node.argument("min_val", 1, -1.0)), float(node.argument("max_val", 2, 1.0)))
    if node.name in ("pow", "float_power") and len(node.args) > 1 and isinstance(node.args[1], int | float):
        power = float(node.args[1])
        return (*_power(power), ())
    if node.name in _PLAIN:
        return _PLAIN[node.name]
    raise NoRule(f"{node.name}: an activation that has no record")


@lru_cache(maxsize=64)
def _clipped(low: float, high: float) -> tuple[Function, Function, tuple[float, ...]]:
    return lambda x: np.clip(x, low, high), lambda x: ((x > low) & (x < high)).astype(float), (low, high)


@lru_cache(maxsize=64)
def _power(power: float) -> tuple[Function, Function]:
    return lambda x: np.power(x, power), lambda x: power * np.power(x, power - 1)


def _activation(node: Node, of: Lookup) -> Moments:
    source = first(node)
    given = of(source)
    value, slope, kinks = _function(node)
    bent = given.bent
    if bent is None:
        return curved(Bent(source.number, given, value, slope, kinks))
    return curved(Bent(bent.base, bent.given, *composed((value, slope), (bent.value, bent.slope)), bent.kinks))


def _activation_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    if of(node).bent is None:  # the output was measured
        made = _activation(node, of)
        return to_base(node, lambda each: made if each is node else of(each), gradient)
    return to_base(node, of, gradient)


def to_base(node: Node, of: Lookup, gradient: Moments) -> Moved:
    """The gradient of the Gaussian entries that an output was made of.

    Args:
        node: whose output has the gradient.
        of: gives the moments of a node.
        gradient: moments of the gradient.

    Raises:
        NoRule: the moments of the input are not known.
    """
    bent = of(node).bent
    if bent is None:
        raise NoRule(f"{node.name}: its input is not known")
    source = next((each for each in ancestors(node) if each.number == bent.base), None)
    if source is None:
        raise NoRule(f"{node.name}: its input is not known")
    yield source, uncurved(bent, gradient)


def ancestors(node: Node, farthest: int = 12) -> Iterable[Node]:
    """The sources of a node, their sources, and so on.

    Args:
        node: where to start.
        farthest: generations that are followed.
    """
    level = node.sources
    for _ in range(farthest):
        yield from level
        level = [source for each in level for source in each.sources]
        if len(level) > 64:
            return


def kept_at_random(given: Moments, share: float) -> Moments:
    """The moments after each entry was kept with this probability, and scaled so that the mean stays.

    Args:
        given: moments of the entries.
        share: probability that an entry is kept.
    """
    pairs = strengthened(given.pairs, given, 1 / share)
    return replace(given, pairs=pairs, bent=None, along=None)


RULES = (
    Rule(
        # All activations that PyTorch has too, and functions without a record.
        (
            *(record.name for record in ACTIVATIONS.values() if record.pytorch is not None),
            *names("gelu prelu rrelu hardtanh logsigmoid erf sin cos exp square pow abs neg float_power"),
        ),
        _activation,
        _activation_back,
    ),
)
