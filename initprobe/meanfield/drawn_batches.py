"""Drawn networks in place of a series: normalised networks so deep or narrow that the first order in 1/width fails.

The kernel of a batch varies over networks. In deep or narrow networks its deviations are as large as the kernel itself,
and few directions are left. Weights with a mean add the same number per sample to the z of all units. A batch norm
does not remove it. A batch of few samples makes the variance of a unit random. Drawn networks show all of this. So a
few dozen are drawn, with the width, depth, norms, skips and biases of the network in question.

The input is known by the products of at most 256 rows. Where weights have a mean, all rows are used (`drawn_rows`).
Every draw then has a batch of its own. A prediction is the mean over batches, with the SD of one. A batch norm over
more samples than rows is continued in one over the number of samples. Half of the rows give the slope. The weights are
the same, so that most of the chance cancels.
Variances are log-normal, so logs are kept. Their mean over few networks has an error, which is stated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.formatting import counted
from initprobe.meanfield.drawn_layers import DrawnLayers, Logs
from initprobe.meanfield.drawn_rows import Rows, rows_of_batches, some_rows
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.signals import centred_gram
from initprobe.meanfield.unit_variances import LARGEST

# Measured on one core, in nanoseconds: per entry of a layer's output, and for each of its inputs; per weight; and per
# `a b^2` of an orthogonal matrix, `(a, b)`, a >= b.
_PER_ENTRY, _PER_PRODUCT, _PER_WEIGHT, _PER_ORTHOGONAL = 25.0, 0.07, 5.0, 0.1
# Chosen: nanoseconds that drawing may take where more networks only lower the error, and at all; the least and the
# largest number of networks.
_WORK, _MOST_WORK, _LEAST, _MOST = 5e8, 2e9, 12, 40
# Chosen: the error of dL/dh, in logs, below which no more networks are drawn.
_ENOUGH = 0.025
# Chosen: the same in SDs of the logs over networks, where weights have a mean. It is a quarter, as for 16 networks.
_ENOUGH_OF_SD = 0.25
# Chosen: the fewest rows that stand for a larger batch.
_FEWEST_ROWS = 64
# Weights and outputs that are held at once.
_HELD = 1 << 20
# Chosen: the share of the continuation to a larger batch that may be wrong, being of the second order in 1/rows, and
# the largest continuation in logs.
_OF_CONTINUATION, _FURTHEST = 0.4, 0.4
# Chosen: limits on the ratio of the SDs with all and with half of the rows. Each is known to 12%.
_NARROWER, _AS_WIDE = 0.6, 1.0
# Normal weights give a unit the variance `sum_i share_i z_i^2` over its batch. For d directions 1/v has the variance
# `E[1/v^2]`, which is finite for d > 4. Shares below the second count as none.
_TOO_FEW, _NO_DIRECTION = 4, 1e-5
# Squares of the input beyond this would leave the range of float32 after a layer or two.
_LARGEST = float(np.finfo(np.float32).max) ** 0.5
_SEED = 0


class Plan(NamedTuple):
    """How much is drawn.

    Attributes:
        networks: how many.
        together: how many at once.
        rows: of the batch.
        continued: factor of the difference between all rows and half of them, which continues it to the whole batch.
        held: entries of arrays at once.
        is_short: whether it takes no longer than it may where the first order is nearly enough.
    """

    networks: int
    together: int
    rows: int
    continued: float
    held: int
    is_short: bool

    @classmethod
    def of(
        cls,
        fans: Sequence[tuple[int, int]],
        known: int,
        batch: int,
        *,
        by_batch: bool,
        orthogonal: Set[tuple[int, int]] = frozenset(),
    ) -> Plan | None:
        """The plan for a network; None where it would take too long.

        Args:
            fans: inputs and units of each layer.
            known: rows of the input whose products are known.
            batch: samples in one batch.
            by_batch: whether some norm is taken over the batch.
            orthogonal: those of `fans` whose weights are orthogonal.
        """
        rows, once = min(known, batch), _PER_ORTHOGONAL * sum(max(pair) * min(pair) ** 2 for pair in orthogonal)
        while once + _work(fans, rows, batch, by_batch) * _LEAST > _MOST_WORK and rows >= 2 * _FEWEST_ROWS:
            rows //= 2
        work = _work(fans, rows, batch, by_batch)
        if once + work * _LEAST > _MOST_WORK:
            return None
        networks = min(max(int(_WORK / work), _LEAST), _MOST)
        continued = 1 - rows / batch if by_batch else 0.0
        held = sum((n_in + 3 * rows) * n_out for n_in, n_out in fans)
        together = max(min(_HELD // held, networks), 1)
        return cls(networks, together, rows, continued, held * together, once + networks * work <= _WORK)


def _work(fans: Sequence[tuple[int, int]], rows: int, batch: int, by_batch: bool) -> float:
    """Nanoseconds that one network takes, with those of half of the rows where the batch is larger."""
    of_rows = sum(rows * n_out * (_PER_ENTRY + _PER_PRODUCT * n_in) for n_in, n_out in fans)
    of_weights = _PER_WEIGHT * sum(n_in * n_out for n_in, n_out in fans)
    return of_rows * 1.5 + of_weights * 2 if by_batch and rows < batch else of_rows + of_weights


class Estimate(NamedTuple):
    """Log-normal variances of drawn networks, first layer to last, `(layers,)` each.

    Attributes:
        log_of_mean: log of the mean over networks.
        sd: standard deviation of the log.
        error: standard error of `log_of_mean`; infinite where too far a continuation is part of it.
    """

    log_of_mean: Array
    sd: Array
    error: Array

    @classmethod
    def of(cls, logs: Array, half: Array | None, continued: float, batches: int = 1, unseen: float = 0.0) -> Estimate:
        """The estimate of a whole batch.

        The SD is that over networks of one batch. That of k networks with f = k - batches degrees of freedom is
        uncertain. The factor `f / (f - 2)` corrects for it: shares beyond 2 and 3 SDs are then close to normal ones.

        Args:
            logs: with all rows, `(networks, layers)`; those of each batch follow those of the one before.
            half: with half of the rows; None where all rows are the batch.
            continued: as in `Plan`.
            batches: of equally many networks each.
            unseen: `1 / batches` less its value for the batches of all draws.
        """
        free, beyond = len(logs) - batches, np.zeros(logs.shape[1])
        sd = np.sqrt(_variances(logs, batches)[0])
        if half is not None:
            beyond = continued * (logs - half).mean(axis=0)
            ratio = sd / np.maximum(np.sqrt(_variances(half, batches)[0]), np.finfo(float).tiny)
            sd = sd * np.clip(ratio, _NARROWER, _AS_WIDE) ** continued
            logs = logs + continued * (logs - half)
        sd = sd * free / (free - 2)
        within, between = _variances(logs, batches)
        of_mean = np.sqrt((within + sd**4 / 2) / len(logs) + unseen * between)
        error = np.hypot(of_mean, np.where(np.abs(beyond) <= _FURTHEST, _OF_CONTINUATION * beyond, math.inf))
        return cls(logs.mean(axis=0) + sd**2 / 2, sd, np.asarray(error))


def _variances(logs: Array, batches: int) -> tuple[Array, Array]:
    """Variances over the networks of a batch and over batches, `(layers,)` each."""
    of_batch = logs.reshape(batches, -1, logs.shape[1])
    within = of_batch.var(axis=1, ddof=1).mean(axis=0)
    if batches == 1:
        return within, np.zeros_like(within)
    between = of_batch.mean(axis=1).var(axis=0, ddof=1) - within / of_batch.shape[1]
    return within, np.maximum(between, 0.0)


class DrawnNetworks(NamedTuple):
    """What drawn networks show, first layer to last; attributes are as in `drawn_layers.Logs`.

    Attributes:
        correlation: mean cosine between the z of two samples, `(layers,)`.
        inverse: of the first network, `(layers,)`.
    """

    output: Estimate
    preactivation: Estimate
    output_gradient: Estimate
    preactivation_gradient: Estimate
    weight_gradient: Estimate
    correlation: Array
    inverse: Sequence[float]

    @property
    def last_unbounded(self) -> int:
        """The last layer in which one unit may outweigh all others, behind a batch norm; -1 for none.

        It leaves no finite spread to gradients that have passed its norm.
        """
        return max((number for number, value in enumerate(self.inverse) if not value <= LARGEST), default=-1)


def drawn_networks(
    activation: Activation, layers: Sequence[Layer], wirings: Sequence[Wiring], inputs: InputMoments, batch: int
) -> DrawnNetworks | None:
    """The variances that drawn networks show; None where products of the input are not known, or it takes too long.

    Args:
        activation: of every layer.
        layers: first to last.
        wirings: norm and skip of each.
        inputs: moments of the samples.
        batch: samples in one batch.
    """
    plan = plan_of(layers, wirings, inputs, batch)
    if plan is None or inputs.gram is None:
        return None
    batches, networks = _batches(layers, wirings, inputs, batch, plan), DrawnLayers(activation, layers, wirings)
    logs: list[list[tuple[Logs, ...]]] = [[] for _ in batches]
    drawn, enough = 0, -(-plan.networks // len(batches))
    total = len(inputs.means) // batch
    with np.errstate(all="ignore"):
        while drawn < enough:
            count = min(max(plan.together // len(batches), 1), enough - drawn)
            for number, (rows, of_batch) in enumerate(zip(batches, logs, strict=True)):
                of_batch.append(tuple(networks.logs(each, count, (_SEED, drawn, number)) for each in rows))
            drawn += count
            if drawn * len(batches) >= _LEAST:
                estimates = _estimates(logs, plan.continued, total, networks.inverse)
                if _is_enough(estimates.output_gradient, has_means=inputs.rows is not None):
                    break
    return estimates


def _is_enough(gradient: Estimate, *, has_means: bool) -> bool:
    """Whether no more networks are drawn. Where they have all rows of a batch, they take longer."""
    most = np.maximum(_ENOUGH, _ENOUGH_OF_SD * gradient.sd) if has_means else _ENOUGH
    return bool((gradient.error < most).all())


def _batches(
    layers: Sequence[Layer], wirings: Sequence[Wiring], inputs: InputMoments, batch: int, plan: Plan
) -> list[tuple[Rows, ...]]:
    """Rows of one or more batches, and half of them where they are continued."""
    if inputs.rows is None:
        whole = layers[0].orthogonal or wirings[0].opens
        batches = [some_rows(inputs, batch, plan.rows, layers[0], whole=whole)]
    else:
        batches = rows_of_batches(inputs, batch, plan.rows)
    return [(rows, Rows(rows.x[::2], rows.sums[::2])) if plan.continued else (rows,) for rows in batches]


def _estimates(
    logs: Sequence[Sequence[tuple[Logs, ...]]], continued: float, total: int, inverse: Sequence[float]
) -> DrawnNetworks:
    """The estimates from the logs of some networks per batch.

    Args:
        logs: with all rows and, where these are continued, with half of them.
        continued: as in `Plan`.
        total: batches of all draws.
        inverse: as in `DrawnNetworks`.
    """
    whole, *half = (
        Logs(*(np.concatenate(columns) for columns in zip(*of_rows, strict=True)))
        for of_rows in zip(*itertools.chain.from_iterable(logs), strict=True)
    )
    unseen = 1 / len(logs) - 1 / max(total, len(logs))
    estimates = {
        name: Estimate.of(values, getattr(half[0], name) if half else None, continued, len(logs), unseen)
        for name, values in whole._asdict().items()
        if name != "correlation"
    }
    return DrawnNetworks(**estimates, correlation=whole.correlation.mean(axis=0), inverse=inverse)


def fault_of(layers: Sequence[Layer], wirings: Sequence[Wiring], inputs: InputMoments, batch: int) -> str | None:
    """Why drawn networks give no prediction; None where they give one.

    Args:
        layers: first to last.
        wirings: norm and skip of each.
        inputs: moments of the samples.
        batch: samples in one batch.
    """
    if inputs.gram is not None and wirings[0].by_batch and (count := _directions(inputs.gram, batch)) <= _TOO_FEW:
        return (
            f"batch norm of inputs that differ in {counted(count, 'direction')}; "
            "var dL/dh then has no finite spread over networks"
        )
    if not _in_range(inputs):
        return "no series in 1/width and 1/batch holds, and the input is too large to draw networks in float32"
    if plan_of(layers, wirings, inputs, batch) is None:
        return "no series in 1/width and 1/batch holds, and drawing networks of this size takes too long"
    return None


def _in_range(inputs: InputMoments) -> bool:
    """Whether float32 holds the input and its products; no infinity or NaN is among them."""
    return bool(inputs.mean_squares.max() <= _LARGEST)


def _directions(gram: Array, batch: int) -> int:
    """Directions in which the samples of a batch differ from their mean, up to rounding."""
    values = np.linalg.eigvalsh(centred_gram(gram, batch))
    return min(int((values > values[-1] * _NO_DIRECTION).sum()), batch - 1)


def plan_of(layers: Sequence[Layer], wirings: Sequence[Wiring], inputs: InputMoments, batch: int) -> Plan | None:
    """How much would be drawn; None where nothing can be.

    Args:
        layers: first to last.
        wirings: norm and skip of each.
        inputs: moments of the samples.
        batch: samples in one batch.
    """
    if inputs.gram is None or not _in_range(inputs):
        return None
    fans = [(layer.n_in, layer.n_out) for layer in layers]
    orthogonal = {(layer.n_in, layer.n_out) for layer in layers if layer.orthogonal}
    by_batch = any(wiring.by_batch for wiring in wirings)
    known = inputs.gram if inputs.rows is None else inputs.rows
    return Plan.of(fans, len(known), batch, by_batch=by_batch, orthogonal=orthogonal)
