"""`compare`: several experiments, measured one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import ConfigError
from initprobe.formatting import counted
from initprobe.probe.experiment import prepare
from initprobe.probe.progress import Progress, part_of
from initprobe.probe.run import measure
from initprobe.results.display import FigureKind, HasFigures, Row
from initprobe.results.run import ProbeResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.console import Console
    from initprobe.reports.figures.look import Look


@dataclass(frozen=True, repr=False)
class Comparison(HasFigures):
    """What `compare` returns.

    Attributes:
        results: one per experiment, in the order given.
    """

    results: tuple[ProbeResult, ...]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[ProbeResult]:
        return iter(self.results)

    def __getitem__(self, number: int) -> ProbeResult:
        return self.results[number]

    def in_a_line(self) -> str:
        """How many survive, and which do not."""
        healthy = sum(result.healthy for result in self)
        outcome = f"{counted(len(self), 'network')}: {healthy} {'survives' if healthy == 1 else 'survive'}"
        others = [f"{result.description.title}: {result.diagnosis[0].name}" for result in self if not result.healthy]
        return "; ".join([outcome, *others])

    def _print(self, to: Console) -> None:
        from initprobe.reports.comparison import print_comparison

        print_comparison(self.results, to)

    def _draw(self, kind: FigureKind, look: Look) -> Figure:
        from initprobe.reports.figures.choose import choose
        from initprobe.reports.figures.comparison import draw_comparison

        return choose({"depth": partial(draw_comparison, self.results)}, kind, look)

    def _rows(self) -> Iterable[Row]:
        from initprobe.reports.csv import csv_rows

        for result in self:
            yield from ({"title": result.description.title} | row for row in csv_rows(result))


def compare(
    configs: Iterable[ProbeConfig], *, threads: int | None = None, progress: Progress | None = None
) -> Comparison:
    """Measure several experiments. All are prepared first, so that bad input costs no time.

    Args:
        configs: the experiments.
        threads: threads to use; None means all available processors. The numbers do not depend on it.
        progress: called with (steps done, total steps) of all measurements.

    Returns:
        The results, in the order of `configs`.

    Raises:
        ConfigError: there is no experiment, or one is not valid or would not fit into memory.

    Example:
        >>> pair = compare([ProbeConfig(init=init, act="tanh", layers=5, width=20) for init in ("zeros", "xavier")])
        >>> [result.healthy for result in pair.results]
        [False, True]
    """
    if isinstance(configs, ProbeConfig | str | Mapping) or not isinstance(configs, Iterable):
        raise ConfigError("must be a list of experiments, as in [config]", field="configs")
    experiments = [prepare(config) for config in configs]
    if not experiments:
        raise ConfigError("give at least one experiment", field="configs")
    parts = (part_of(progress, number, len(experiments)) for number in range(len(experiments)))
    measured = [measure(each, threads=threads, progress=part) for each, part in zip(experiments, parts, strict=True)]
    return Comparison(tuple(measured))
