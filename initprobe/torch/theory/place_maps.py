"""Linear maps along an axis that is followed by group: the products of two places after such a map."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.groups import group_of, group_sizes
from initprobe.torch.theory.places import apart_in_groups, set_same


class PlaceMap:
    """A matrix along an axis, such as the shares of an attention to equal keys. It maps the blocks of `places.py`.

    The mean products of two places before it are those of their groups. A place and itself have `excess` more.
    """

    def __init__(self, matrix: Array) -> None:
        self.matrix = matrix
        self.after, self.before = matrix.shape
        self._sizes = group_sizes(self.after)
        self._group = group_of(self.before)
        self._rows = self._mean_rows(matrix)

    @cached_property
    def turned(self) -> PlaceMap:
        """The map of gradients back."""
        return PlaceMap(self.matrix.T)

    def _mean_rows(self, matrix: Array) -> Array:
        """The mean over the places of each group after the map, `(groups, before)`."""
        sums = np.add.reduceat(matrix, np.cumsum(self._sizes) - self._sizes, 0)
        return np.asarray(sums / self._sizes[:, None])

    def _sums(self, rows: Array) -> Array:
        """The sum over the places of each group before the map, `(groups, groups before)`."""
        sizes = group_sizes(self.before)
        return np.asarray(np.add.reduceat(rows, np.cumsum(sizes) - sizes, 1))

    @cached_property
    def sums(self) -> Array:
        """Sum of the factors of the places of each group, `(groups, groups before)`."""
        return self._sums(self._rows)

    @cached_property
    def open_places(self) -> Array:
        """Mean number of places that get a factor, by group."""
        return np.asarray(self._mean_rows((self.matrix > 0).astype(float)).sum(1))

    @cached_property
    def _square_rows(self) -> Array:
        return self._mean_rows(self.matrix**2)

    @cached_property
    def squares(self) -> Array:
        """The same of their squares."""
        return self._sums(self._square_rows)

    @cached_property
    def cubes(self) -> Array:
        """The same of their third powers."""
        return self._sums(self._mean_rows(self.matrix**3))

    @cached_property
    def meetings(self) -> Array:
        """The sum of the products of the factors at two places, as blocks."""
        return self.met(np.ones(len(group_sizes(self.before))))

    def met(self, numbers: Array) -> Array:
        """The blocks of what is 0 at two different places before.

        Args:
            numbers: mean square at the same place, `(..., groups before)`.
        """
        own = numbers @ self.squares.T
        return self._apart((self._rows * numbers[..., None, self._group]) @ self._rows.T, own)

    def _apart(self, held: Array, same: Array) -> Array:
        return np.concatenate([apart_in_groups(held, same, self.after), same[..., None, :]], -2)

    def excess(self, held: Array) -> Array:
        """What a place and itself have in common more than two places of its group, `(..., groups)`.

        Args:
            held: blocks.
        """
        return np.asarray(held[..., -1, :] - np.einsum("...ii->...i", held[..., :-1, :]))

    def mapped(self, held: Array) -> Array:
        """The blocks after the map.

        Args:
            held: blocks before.
        """
        made = self.sums @ held[..., :-1, :] @ self.sums.T
        own = np.einsum("...ii->...i", made)
        made, excess = np.concatenate([made, own[..., None, :]], -2), self.excess(held)
        return made + self.met(excess) if excess.any() else made

    def half(self, held: Array) -> Array:
        """The map of one of two places: mean products of a place after and one before, without `excess`.

        Args:
            held: blocks before.
        """
        return np.asarray(self.sums @ held[..., :-1, :])

    def crossed(self, constant: Array, linear: Array, square: Array) -> Array:
        """The sum over places `l` before of `m_jl (a_il + b_il m_il + c_il m_il^2)`, as blocks of places i, j after.

        Args:
            constant: a, `(..., groups, groups before)`.
            linear: b.
            square: c.
        """
        same = (constant * self.sums + linear * self.squares + square * self.cubes).sum(-1)
        held = constant @ self.sums.T
        if not (linear.any() or square.any()):
            return np.concatenate([held, np.einsum("...ii->...i", held)[..., None, :]], -2)
        rows = self._rows * linear[..., self._group] + self._square_rows * square[..., self._group]
        own = (linear * self.squares + square * self.cubes).sum(-1)
        held = held + apart_in_groups(rows @ self._rows.T, own, self.after)
        made = np.concatenate([held, same[..., None, :]], -2)
        set_same(made, same, self.after)
        return made


def turned_blocks(held: Array) -> Array:
    """Blocks with the two places exchanged.

    Args:
        held: `(..., groups + 1, groups)`.
    """
    return np.concatenate([np.swapaxes(held[..., :-1, :], -1, -2), held[..., -1:, :]], -2)
