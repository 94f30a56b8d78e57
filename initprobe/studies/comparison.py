"""`compare`: several experiments, measured one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import ConfigError
from initprobe.probe.experiment import prepare
from initprobe.probe.progress import Progress, part_of
from initprobe.probe.run import measure
from initprobe.results.display import HasFigures
from initprobe.results.run import ProbeResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.figures.look import Look


@dataclass(frozen=True)
class Comparison(HasFigures):
    """What `compare` returns.

    Attributes:
        results: one per experiment, in the order given.
    """

    results: tuple[ProbeResult, ...]

    def table(self, width: int | None = None) -> str:
        """The table that `initprobe compare` prints: a row per experiment, the worst first.

        Args:
            width: columns of the text; None for no limit.
        """
        from initprobe.reports.comparison import print_comparison
        from initprobe.reports.console import text_console

        to, out = text_console(width)
        print_comparison(self.results, to)
        return out.getvalue()

    def _draw(self, kind: Any, look: Look) -> Figure:
        from initprobe.reports.figures.choose import choose
        from initprobe.reports.figures.comparison import draw_comparison

        return choose({"depth": partial(draw_comparison, self.results)}, kind, look)

    def to_dataframe(self) -> Any:
        """A pandas frame with a row per experiment and layer; `title` names the experiment.

        Raises:
            InitprobeError: pandas is not installed.
        """
        from initprobe.reports.dataframe import dataframe

        return dataframe(({"title": result.description.title}, result) for result in self.results)


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
    if isinstance(configs, ProbeConfig):
        raise ConfigError("must be a list of experiments, as in [config]", field="configs")
    experiments = [prepare(config) for config in configs]
    if not experiments:
        raise ConfigError("give at least one experiment", field="configs")
    parts = (part_of(progress, number, len(experiments)) for number in range(len(experiments)))
    measured = [measure(each, threads=threads, progress=part) for each, part in zip(experiments, parts, strict=True)]
    return Comparison(tuple(measured))
