"""The directions in which the samples of a batch differ, at a finite width: the spectrum of their kernel.

The centred kernel `(batch, batch)` has eigenvalues; their shares of the trace add up to 1. `sum share^2` is one over
the number of directions. A batch norm divides a unit by `v = sum share_i chi^2_i`, relative to its mean. With
`F(t) = prod_i (1 + 2 share_i t)^(-1/2)`, `E[1 / v] = integral F`. A normalised unit has the mean share
`m_i = share_i integral F / (1 + 2 share_i t)` of direction i. It is less than `share_i` where that is large.

The kernel of a layer of n units is a mean over independent units. Each unit has the mean kernel, whose shares are p.
The moments of the layer count which units in `tr((z z')^k)` are equal: `sum share^2` is `(1 - 1/n) p_2 + 1/n`. To
leading order in 1/n, they belong to a law with free cumulants `p_k / n` (Nica & Speicher 2006, lecture 12). A linear
network gives products of normal matrices.

Eight moments are followed. A spectrum is represented by four eigenvalues with multiplicities that have these moments.
For products of normal matrices that is exact to 1%, where two eigenvalues are wrong by 20%.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array

_MOMENTS = 8
_ORDERS = np.arange(1, _MOMENTS + 1)
_LOG_RANGE, _LOG_NODES, _CONVERGED = (-16.0, 14.0), 121, -9.0
# Relative to the mean share: the least share of a direction, and the least determinant that counts as positive.
_LEAST, _SINGULAR = 1e-6, 1e-10
_NEWTON = 12


@dataclass(frozen=True)
class Spectrum:
    """The shares of the directions in the trace of a centred kernel.

    Attributes:
        moments: `sum share^k` for k from 1 to 8, `(8,)`.
    """

    moments: Array

    @classmethod
    def of(cls, centred: Array, second: float) -> Spectrum:
        """The spectrum of a batch, of which some rows are known.

        Args:
            centred: products of rows, `(rows, rows)`.
            second: `sum share^2` of the whole batch. Its shares are those of the rows, times a constant.
        """
        values = np.maximum(np.linalg.eigvalsh(centred), 0.0)
        shares = values / values.sum()
        moments = (shares ** _ORDERS[:, None]).sum(axis=1)
        return cls(moments * (second / moments[1]) ** (_ORDERS - 1))

    @property
    def second(self) -> float:
        """`sum share^2`: one over the number of directions."""
        return float(self.moments[1])

    @cached_property
    def nodes(self) -> tuple[Array, Array]:
        """A few shares, and the part of the trace that directions of about that share hold: Gauss's rule."""
        scaled = self.moments / self.moments[1] ** (_ORDERS - 1)
        for count in range(_MOMENTS // 2, 1, -1):
            places = np.add.outer(np.arange(count), np.arange(count))
            if np.linalg.eigvalsh(scaled[places])[0] > _SINGULAR:
                root = np.linalg.cholesky(scaled[places])
                matrix = np.linalg.solve(root, np.linalg.solve(root, scaled[places + 1]).T)
                nodes, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
                if nodes[0] > 0:
                    return np.maximum(nodes, _LEAST) * self.second, vectors[0] ** 2
        return np.array([self.second]), np.ones(1)

    @cached_property
    def _density(self) -> tuple[Array, Array, bool]:
        """F(t) dt on a grid of t = exp(s), `(nodes,)`, the grid, and whether its end is far enough."""
        shares, held = self.nodes
        s = np.linspace(*_LOG_RANGE, _LOG_NODES)
        t = np.exp(s)
        logs = s - 0.5 * (held / shares) @ np.log1p(2 * shares[:, None] * t)
        return np.exp(logs) * (s[1] - s[0]), t, bool(logs[-1] < logs.max() + _CONVERGED)

    @property
    def inverse(self) -> float:
        """`E[1 / v]`, relative to `1 / E[v]`; infinite for two directions or fewer."""
        density, _, has_converged = self._density
        return float(density.sum()) if has_converged else math.inf

    def lost(self, before: float, added: float, units: int) -> float:
        """Share of a gradient that is missing along the signals of a batch, below a batch norm.

        Of direction i it is `1 - exp(-rate share_i)` of what the gradient has there. A norm adds `added` to the rate.

        Args:
            before: share that norms above have removed.
            added: to first order, over one per unit.
            units: over which the gradient is taken.
        """
        shares, held = self.nodes
        parts, rate = held / shares / units, 0.0
        for _ in range(_NEWTON):  # from below: the share is concave in the rate
            kept = parts * np.exp(-rate * shares)
            rate += max(before - float((parts - kept).sum()), 0.0) / max(float(kept @ shares), _LEAST)
        return float(-parts @ np.expm1(-(rate + added) * shares))

    def above(self, along: float, branch: float, batch: int) -> Array:
        """Moments of the shares of the next mean kernel, to first order in the correlations of z, `(8,)`.

        Args:
            along: share of a linear function of z in the variance of the output.
            branch: share of the layer's own output in the variance of its output with the skip.
            batch: number of samples.
        """
        (shares, held), (density, t, _) = self.nodes, self._density
        counts = held / shares
        normalised = shares * (density / (1 + 2 * shares[:, None] * t)).sum(axis=1)
        normalised = normalised / (counts @ normalised)
        evenly = branch * (1 - along) / batch
        following = (1 - branch) * shares + branch * along * normalised + evenly
        rest = max(batch - float(counts.sum()), 0.0)
        return np.asarray(following ** _ORDERS[:, None] @ counts + rest * evenly**_ORDERS)


# All samples on one line.
ONE_DIRECTION = Spectrum(np.ones(_MOMENTS))


class Added(NamedTuple):
    """What a finite width adds to the spectrum of the mean kernel.

    Attributes:
        moments: added to those of the shares by all layers below, `(8,)`.
        units: over which the kernel is a mean.
    """

    moments: Array
    units: float

    @classmethod
    def by_layer(cls, mean: Spectrum, own: Spectrum, along: float, branch: float, sizes: tuple[int, int]) -> Added:
        """What a finite width adds above a layer.

        Args:
            mean: of the mean kernel below the layer, or below its branch.
            own: the same at this width.
            along: as in `Spectrum.above`.
            branch: as there.
            sizes: units of the layer, and samples.
        """
        units, batch = sizes
        # Products of the input of a skip with new outputs vary too. A branch of 0 adds nothing, up to rounding.
        fresh = max(branch * branch + 2 * branch * (1 - branch), float(np.finfo(float).eps))
        change = own.above(along, branch, batch) - mean.above(along, branch, batch)
        return cls(change, units / fresh)

    def to(self, mean: Spectrum) -> Spectrum:
        """The spectrum at this width, given that of the mean kernel."""
        return Spectrum(_sampled(np.maximum(mean.moments + self.moments, 0.0), self.units))


def _sampled(population: Array, units: float) -> Array:
    """Moments of a kernel that is a mean over so many independent units, `(8,)`, from those of their mean kernel."""
    # Of k units no two are the same: prod (1 - i / units).
    cumulants = population * np.cumprod(np.maximum(1 - (_ORDERS - 1) / units, 0.0)) / units
    moments = np.array([1.0])
    for order in _ORDERS:
        powers, total = np.array([1.0]), 0.0
        for size in range(1, order + 1):
            powers = np.convolve(powers, moments)[:order]
            total += cumulants[size - 1] * powers[order - size]
        moments = np.append(moments, total)
    return np.asarray(moments[1:] * units)
