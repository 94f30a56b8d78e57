"""One unit of a recurrence, drawn many times: its gates and states at every step, for two samples.

Weights are the same at every step, so a unit's pre-activations at two steps are correlated. In wide networks they are
jointly Gaussian (Chen, Pennington and Schoenholz 2018, arXiv:1806.05394; Yang 2019, arXiv:1910.12478). Their covariance
follows from that of the inputs and of the states one step before. What gates make of them has no closed form, so it is
drawn. On the way back the gradients that come through the weights are Gaussian too, and independent of the states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array

PATHS = 1 << 12  # units that are drawn, with two samples each
_MANY_STEPS = 64  # from which on half as many are drawn


class Step(NamedTuple):
    """One step of a drawn unit.

    Attributes:
        output: `(2, paths)` for two samples, as the next step gets it before any projection.
        carried: what the next step gets of the same unit: the cell of an LSTM, or the output.
        back: takes the gradients of the output and of what is carried. It gives those of the pre-activations,
            `(processes, 2, paths)`, and of what was carried here.
    """

    output: Array
    carried: Array
    back: Callable[[Array, Array], tuple[Array, Array]]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _lstm(z: Array, before: Array) -> Step:
    into, keep, new, out = _sigmoid(z[0]), _sigmoid(z[1]), np.tanh(z[2]), _sigmoid(z[3])
    cell = keep * before + into * new
    bent = np.tanh(cell)

    def back(to_output: Array, to_cell: Array) -> tuple[Array, Array]:
        total = to_cell + to_output * out * (1 - bent**2)
        to_input, to_forget = total * new * into * (1 - into), total * before * keep * (1 - keep)
        to_new, to_out = total * into * (1 - new**2), to_output * bent * out * (1 - out)
        return np.stack([to_input, to_forget, to_new, to_out]), total * keep

    return Step(out * bent, cell, back)


def _gru(z: Array, before: Array) -> Step:
    """The third process is what the input adds to the candidate, the fourth what the state before adds."""
    reset, keep = _sigmoid(z[0]), _sigmoid(z[1])
    new = np.tanh(z[2] + reset * z[3])
    made = (1 - keep) * new + keep * before

    def back(to_output: Array, to_carried: Array) -> tuple[Array, Array]:
        total = to_output + to_carried
        inner = total * (1 - keep) * (1 - new**2)
        to_keep = total * (before - new) * keep * (1 - keep)
        return np.stack([inner * z[3] * reset * (1 - reset), to_keep, inner, inner * reset]), total * keep

    return Step(made, made, back)


def _plain(value: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Callable[[Array, Array], Step]:
    def step(z: Array, before: Array) -> Step:
        made = value(z[0])
        zero = np.zeros_like(made)
        return Step(made, zero, lambda to_output, _: ((to_output * slope(made))[None], zero))

    return step


STEPS: Mapping[str, Callable[[Array, Array], Step]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _plain(np.tanh, lambda made: 1 - made**2),
    "rnn_relu": _plain(lambda z: np.maximum(z, 0), lambda made: (made > 0).astype(float)),
}


@dataclass(frozen=True)
class Recurrence:
    """One direction of one layer.

    Attributes:
        kind: of `STEPS`.
        into: variance of the weights of the input, `(processes,)`.
        own: variance of the weights of the output before.
        bias: variance of the sum of the biases.
        level: mean of the sum of the biases.
        sizes: of the input, of the state, and of the output.
        projected: variance of the weights that project the state to the output; None without a projection.
    """

    kind: str
    into: Array
    own: Array
    bias: Array
    level: Array
    sizes: tuple[int, int, int]
    projected: float | None = None


class _Factor:
    """Draws Gaussian processes whose covariance becomes known step by step: what two samples share, and the rest."""

    def __init__(self, processes: int, steps: int, paths: int, purpose: int) -> None:
        self._rows = np.zeros((2, processes, steps, steps))
        self._noise = _noise(processes, steps, paths, purpose)

    def drawn(self, covariance: Array) -> Array:
        """The next step, from its covariance with all steps up to it.

        Args:
            covariance: `(2, processes, steps)`, of the same sample and of two; the last of the steps is the new one.

        Returns:
            `(processes, 2, paths)`.
        """
        step = covariance.shape[-1] - 1
        parts = np.stack([covariance[1], covariance[0] - covariance[1]])
        row, left = self._rows[:, :, step], np.maximum(parts[..., step], 0.0)
        for before in range(step):
            other = self._rows[:, :, before]
            rest = parts[..., before] - np.einsum("kps,kps->kp", row[..., :before], other[..., :before])
            pivot, most = other[..., before], np.sqrt(left)
            row[..., before] = np.clip(rest / np.where(pivot > 0, pivot, np.inf), -most, most)
            left = np.maximum(left - row[..., before] ** 2, 0.0)
        row[..., step] = np.sqrt(left)
        shared, alone = (
            np.einsum("ps,psn->pn", row[0, :, : step + 1], self._noise[0, :, : step + 1]),
            np.einsum("ps,kpsn->pkn", row[1, :, : step + 1], self._noise[1:, :, : step + 1]),
        )
        return np.asarray(shared[:, None] + alone)


@lru_cache(maxsize=2)
def _noise(processes: int, steps: int, paths: int, purpose: int) -> Array:
    """Normal numbers `(3, processes, steps, paths)`, those of a process with exactly no correlations and variance 1."""
    drawn = np.random.default_rng([processes, purpose]).standard_normal((processes, 3 * steps, paths))
    drawn -= drawn.mean(-1, keepdims=True)
    root = np.linalg.cholesky(drawn @ drawn.swapaxes(1, 2) / paths)
    return np.linalg.solve(root, drawn).reshape(processes, 3, steps, paths).swapaxes(0, 1)


def _products(made: Array, others: Array) -> Array:
    """Mean products of a step with others, `(2, ..., others)`: in the same sample and in two.

    Args:
        made: `(..., 2, paths)`.
        others: `(others, ..., 2, paths)`.
    """
    size = 2 * made.shape[-1]
    same = np.einsum("...kn,s...kn->...s", made, others) / size
    return np.stack([same, np.einsum("...kn,s...kn->...s", made[..., ::-1, :], others) / size])


class Paths:
    """The drawn units of one direction of one layer.

    Attributes:
        outputs: mean products of the outputs of two steps, `(2, steps, steps)`: in the same sample and in two.
        means: of the output, `(steps,)`.
        cell: mean products of the last cell, `(2,)`.
        cell_mean: its mean.
    """

    def __init__(self, held: Recurrence, given: Array, state: Array, cell: Array) -> None:
        """Draw all steps.

        Args:
            held: variances of the weights.
            given: mean products of the inputs of two steps, `(2, steps, steps)`.
            state: mean products of the output before the first step, `(2,)`.
            cell: those of the cell before the first step.
        """
        self._held, steps = held, given.shape[-1]
        self._count = PATHS >> (steps > _MANY_STEPS)
        start = _Factor(1, 2, self._count, 1)
        outputs = np.empty((steps + 1, 2, self._count))
        outputs[0] = start.drawn(state[:, None, None])[0]
        carried = outputs[0] if held.kind != "lstm" else _apart(start, cell)
        products = np.zeros((2, steps + 1, steps + 1))
        products[:, 0, 0] = state
        carried = self._follow(given, outputs, carried, products)
        self.outputs = products[:, 1:, 1:]
        self.means = outputs[1:].mean((1, 2)) * (held.projected is None)
        self.cell, self.cell_mean = _products(carried, carried[None])[:, 0], float(carried.mean())
        self._noise: list[Array] = []

    def _follow(self, given: Array, outputs: Array, carried: Array, products: Array) -> Array:
        """Draw step after step into `outputs` and `products`; what the last one carries."""
        held, steps = self._held, given.shape[-1]
        factor, step = _Factor(len(held.into), steps, self._count, 0), STEPS[held.kind]
        scale = 1.0 if held.projected is None else held.sizes[1] * held.projected
        into, own = held.sizes[0] * held.into, held.sizes[2] * held.own
        self._steps: list[Step] = []
        for place in range(steps):
            before = given[:, None, place, : place + 1], products[:, None, place, : place + 1]
            covariance = into[:, None] * before[0] + own[:, None] * before[1] + held.bias[:, None]
            made = step(held.level[:, None, None] + factor.drawn(covariance), carried)
            carried = made.carried
            self._steps.append(made)
            outputs[place + 1] = made.output
            row = _products(made.output, outputs[: place + 2])
            row[:, 1:] *= scale
            row[:, 0] *= held.projected is None
            products[:, place + 1, : place + 2] = products[:, : place + 2, place + 1] = row
        return carried

    def back(self, gradient: Array, state: Array, cell: Array) -> tuple[Array, Array, Array]:
        """Mean products of the gradients of the inputs, of the output before the first step, and of the cell there.

        Args:
            gradient: mean products of the gradients of the outputs of two steps, `(2, steps, steps)`.
            state: those of the gradient of the last output, as a state, `(2,)`.
            cell: those of the last cell.

        Returns:
            `(2, steps, steps)`, `(2,)` and `(2,)`.
        """
        held, steps = self._held, gradient.shape[-1]
        processes, size = len(held.into), held.sizes[1]
        factor, start = _Factor(1, steps, self._count, 2), _Factor(1, 1, self._count, 3)
        carried = start.drawn(cell[:, None, None])[0]
        scale = 1.0 if held.projected is None else held.sizes[2] * held.projected
        turned = gradient[:, ::-1, ::-1].copy()
        turned[:, 0, 0] += state
        to_gates = np.empty((steps, processes, 2, self._count))
        self._noise = []
        products = np.zeros((2, processes, steps, steps))
        for place in range(steps):
            covariance = turned[:, place, : place + 1].copy()
            fresh = float(covariance[0, -1])
            if place:
                covariance[:, 1:] += np.tensordot(size * held.own, products[:, :, place - 1, :place], (0, 1))
            to_output = factor.drawn(scale * covariance[:, None])[0]
            to_gates[place], carried = self._steps[-1 - place].back(to_output, carried)
            self._noise.append(_unevenness(to_gates[place], max(1 - fresh / max(float(covariance[0, -1]), 1e-300), 0)))
            row = _products(to_gates[place], to_gates[: place + 1])
            products[:, :, place, : place + 1] = products[:, :, : place + 1, place] = row
        to_input = np.tensordot(size * held.into, products, (0, 1))[:, ::-1, ::-1]
        to_state = np.tensordot(size * held.own, products[:, :, -1, -1], (0, 1))
        to_carried = _products(carried, carried[None])[:, 0]
        if held.kind == "lstm":
            return to_input, to_state, to_carried
        return to_input, to_state + to_carried, np.zeros(2)

    def uneven_memory(self) -> float:
        """Relative variance over units of the squared gate that keeps the memory; 0 where there is none."""
        step = self._steps[-1]
        squares = step.back(np.zeros_like(step.output), np.ones_like(step.output))[1] ** 2
        return float(np.var(squares) / max(float(np.mean(squares)) ** 2, 1e-300))

    def back_noise(self, samples: int) -> float:
        """Variance of the log of the mean squared gradient of the inputs, after `back`: units have unequal gradients.

        Args:
            samples: of the batch.
        """
        total = spread = noise = 0.0
        for share, square, common, alone in self._noise:
            noise = share**2 * noise + (common + max(alone - common, 0.0) / samples) / self._held.sizes[1]
            total, spread = total + square, spread + square * noise**0.5
        return (spread / max(total, 1e-300)) ** 2


def _unevenness(to_gates: Array, share: float) -> Array:
    """The share of a gradient that came through the weights, its mean square, and the relative variance of the square.

    The variance is given for two samples of one unit and for one.
    """
    squares = np.einsum("pkn,pkn->kn", to_gates, to_gates)
    mean = max(float(squares.mean()), 1e-300)
    own = squares / mean - 1
    return np.array([share, mean, max(float(np.mean(own[0] * own[1])), 0.0), float(np.mean(own * own))])


def _apart(factor: _Factor, cell: Array) -> Array:
    """The cell before the first step, which is independent of the output there."""
    return np.asarray(factor.drawn(np.stack([np.zeros(2), cell], -1)[:, None])[0])
