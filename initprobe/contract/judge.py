"""START READING: each parameter compared with its rule, with a false alarm in at most 1 of 100 correct models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from initprobe.arrays import Array
from initprobe.contract.copies import Copies, copies_of
from initprobe.contract.parameter import Parameter
from initprobe.contract.patterns import Clause, assign
from initprobe.contract.rules import Rule
from initprobe.contract.statistics import (
    Evidence,
    Moments,
    evidence,
    measured_evidence,
    moment_evidence,
    moments,
)
from initprobe.data.documents import Place
from initprobe.formatting import counted
from initprobe.results.display import Row, Shown

if TYPE_CHECKING:
    from initprobe.reports.console import Console

# Chance that a model with the meant initialization fails, over all its parameters together.
FALSE_ALARM = 0.01
_TESTS = 5  # of each random parameter
_DRAWN = ("random", "moments")
# Chance that an error of the size that is printed is found.
_POWER = 0.99
# Largest distance of an entry from a constant, or of a product of rows from its value, in last places.
_EXACT_PLACES, _ORTHOGONAL_PLACES = 2, 300


@dataclass(frozen=True)
class Judged:
    """One parameter compared with its rule.

    Attributes:
        parameter: its name.
        count: its number of entries.
        rule: as the contract writes it.
        pattern: the pattern that covers it.
        place: the line of the contract; unknown for a contract in Python.
        meant: mean and std that were meant.
        measured: what its entries have.
        failed: the test that failed most clearly; None where all hold.
        smallest_error: the relative error of the std that is found in 99 of 100 cases. None where all entries are
            compared exactly.
    """

    parameter: str
    count: int
    rule: str
    pattern: str
    place: Place
    meant: tuple[float, float]
    measured: Moments
    failed: Evidence | None
    smallest_error: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the parameter agrees with its rule."""
        return self.failed is None


@dataclass(frozen=True, repr=False)
class Report(Shown):
    """All parameters of a model compared with a contract.

    Attributes:
        judged: every parameter with a rule, in the order of the model.
        unjudged: names of parameters whose rule is `any`.
        copies: tensors under several names, clones, and draws from equal seeds.
    """

    judged: tuple[Judged, ...]
    unjudged: tuple[str, ...]
    copies: Copies

    def __str__(self) -> str:
        return self.in_a_line()

    def in_a_line(self) -> str:
        """`148 parameters as meant`, or how many are not."""
        faults, total = len(self.faults), counted(len(self.judged), "parameter")
        rest = f"; {counted(len(self.unjudged), 'parameter')} not judged" if self.unjudged else ""
        return f"{faults} of {total} not as meant{rest}" if faults else f"{total} as meant{rest}"

    @property
    def faults(self) -> tuple[Judged, ...]:
        """Parameters that are not as they were meant."""
        return tuple(entry for entry in self.judged if not entry.holds)

    def _print(self, to: Console) -> None:
        from initprobe.reports.contract_table import print_parameters

        print_parameters(self.in_a_line(), list(self._rows()), to)

    def _rows(self) -> Iterable[Row]:
        for entry in self.judged:
            own = {"parameter": entry.parameter, "count": entry.count, "rule": entry.rule, "pattern": entry.pattern}
            meant = {"meant_mean": entry.meant[0], "meant_std": entry.meant[1]}
            yield own | meant | {"mean": entry.measured.mean, "std": entry.measured.std, "holds": entry.holds}


def judge(parameters: Sequence[Parameter], clauses: Sequence[Clause], default: Rule | Clause | None = None) -> Report:
    """Compare every parameter with its rule.

    Args:
        parameters: all parameters of a model, each tensor once.
        clauses: the contract.
        default: the rule of parameters that no clause covers; None makes them an error.

    Returns:
        The report; `Report.faults` lists what differs from its rule.

    Raises:
        ConfigError: the contract does not fit the model (see `patterns.assign` and `Rule.scale`).
    """
    clause_of = assign({parameter.name: parameter.names for parameter in parameters}, clauses, default)
    random = sum(clause_of[parameter.name].rule.kind in _DRAWN for parameter in parameters)
    limit = FALSE_ALARM / (_TESTS * max(random, 1))
    ruled = [parameter for parameter in parameters if clause_of[parameter.name].rule.kind != "any"]
    for parameter in ruled:
        if parameter.unreadable:
            place = clause_of[parameter.name].place
            raise place.error(f"{parameter.name} {parameter.unreadable}; the rule `any` leaves it unjudged")
    rated = [parameter for parameter in ruled if parameter.count]
    names = {parameter.name for parameter in rated}
    return Report(
        tuple(_judged(parameter, clause_of[parameter.name], limit) for parameter in rated),
        tuple(parameter.name for parameter in parameters if parameter.name not in names),
        copies_of(parameters),
    )


def _judged(parameter: Parameter, clause: Clause, limit: float) -> Judged:
    with clause.place.blamed():
        meant = clause.rule.scale(parameter)
    measured = moments(parameter.values)
    tests = _tests(parameter, clause.rule, meant, measured)
    failed = [test for test in tests if not test.p >= limit]
    worst = max(failed, key=lambda test: (_ORDER.get(test.kind, 0), test.errors), default=None)
    power = _smallest_error(parameter.count, limit) if clause.rule.kind in _DRAWN else None
    return Judged(
        parameter.name, parameter.count, clause.rule.text, clause.pattern, clause.place, meant, measured, worst, power
    )


# Of several tests that fail, the one that says most: a wrong std also has a wrong shape.
_ORDER: Mapping[str, int] = {"finite": 5, "values": 4, "mean": 2, "std": 3, "bounds": 1, "shape": 0, "tails": 0}


def _tests(parameter: Parameter, rule: Rule, meant: tuple[float, float], measured: Moments) -> list[Evidence]:
    if not math.isfinite(measured.mean) or not math.isfinite(measured.std):
        return [Evidence("finite", 0.0, math.inf)]
    if rule.kind == "exact":
        return [_exact(parameter, rule, meant[0])]
    if rule.kind == "orthogonal":
        return [_orthogonal(parameter, rule)]
    mean, std = meant
    if rule.kind == "moments":
        return moment_evidence(parameter.values, mean, std, measured, 2 if rule.measured else 1)
    if std == 0:
        return [_equal(parameter.values, mean, parameter.rounding)]
    assert rule.initializer is not None
    distribution = rule.initializer.distribution
    if rule.measured:
        return measured_evidence(parameter.values, distribution, mean, std, parameter.rounding, measured)
    return evidence(parameter.values, distribution, mean, std, parameter.rounding)


def _exact(parameter: Parameter, rule: Rule, value: float) -> Evidence:
    assert rule.initializer is not None
    if rule.initializer.distribution.name == "constant":
        return _equal(parameter.values, value, parameter.rounding)
    matrix = _matrix(parameter)
    gain = float(rule.initializer.params.get("gain", 1.0))
    return _equal(matrix - gain * np.eye(*matrix.shape), 0.0, parameter.rounding * abs(gain))


def _equal(values: Array, value: float, rounding: float) -> Evidence:
    """Whether all entries are a value, but for what its dtype rounds away."""
    room = _EXACT_PLACES * rounding * (abs(value) if value else float(np.finfo(np.float32).tiny))
    furthest = float(np.max(np.abs(np.asarray(values, np.float64) - value)))
    return Evidence("values", 0.0 if furthest > room else 1.0, math.inf if furthest > room else 0.0)


def _orthogonal(parameter: Parameter, rule: Rule) -> Evidence:
    """Whether rows, or columns where they are fewer, are orthonormal times the gain."""
    assert rule.initializer is not None
    matrix = np.asarray(_matrix(parameter), np.float64)
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gain = float(rule.initializer.params.get("gain", 1.0))
    error = float(np.max(np.abs(matrix @ matrix.T - gain**2 * np.eye(len(matrix)))))
    room = _ORTHOGONAL_PLACES * parameter.rounding * gain**2
    return Evidence("values", 0.0 if error > room else 1.0, error / room if room else math.inf)


def _matrix(parameter: Parameter) -> Array:
    """As a matrix of outputs and inputs: all axes behind the first are one."""
    return (
        parameter.values.reshape(len(parameter.values), -1) if parameter.values.ndim else parameter.values.reshape(1, 1)
    )


def _smallest_error(count: int, limit: float) -> float:
    """Relative error of the std that `count` normal entries show in 99 of 100 cases: `(z_p/2 + z_power) / sqrt(2n)`."""
    from scipy.special import ndtri

    return float(ndtri(1 - limit / 2) + ndtri(_POWER)) / math.sqrt(2 * count)
