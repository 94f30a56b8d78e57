"""The figures of a sweep as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from initprobe.sweeps.plan import Plan
    from initprobe.sweeps.store import Store
    from initprobe.sweeps.store_rows import Row


def draw_all(plan: Plan, store: Store, rows: Sequence[Row], directory: Path, formats: Sequence[str]) -> list[Path]:
    """Draw the figures that the file names, or those that suit its axes.

    Args:
        plan: of the sweep.
        store: its results.
        rows: the runs to draw.
        directory: where the figures go.
        formats: `png`, `svg` or `pdf`, one file for each.

    Returns:
        The paths of the figures.

    Raises:
        ConfigError: a figure cannot be drawn; the others are drawn, and the results are kept.
        OutputError: a figure cannot be written.
    """
    from initprobe.cli.outputs import relative, write_whole
    from initprobe.errors import ConfigError
    from initprobe.reports.figures.look import SCREEN
    from initprobe.reports.figures.style import render
    from initprobe.sweeps.figures import SweepData

    written, faults = [], []
    configs = {run.key: run.config for run in plan.runs}
    data = SweepData(plan.name, rows, lambda row: store.result(row.key), configs, plan.figures)
    for name, make in data.figures():
        try:
            figure = make(SCREEN)
        except ConfigError as error:
            faults.append(f"{name} is not drawn, and the results are kept in {relative(store.path)}: {error}")
            continue
        for fmt in formats:
            content = render(figure, fmt)
            written.append(directory / f"{name}.{fmt}")
            write_whole(written[-1], lambda file, content=content: file.write(content))  # type: ignore[misc]
    if faults:
        raise ConfigError(faults[0] + (f" ({len(faults) - 1} more are not drawn)" if len(faults) > 1 else ""))
    return written
