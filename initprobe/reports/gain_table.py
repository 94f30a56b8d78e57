"""The table of `initprobe gain`: a row per activation, and what its columns mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from initprobe.formatting import NOTHING, fixed
from initprobe.reports.console import Console, say
from initprobe.reports.tables import plain_table
from initprobe.results.gain import Gain

# A depth scale beyond the depth of any network: the gradient is level.
_LEVEL = 1e6


def print_gains(rows: Sequence[Gain], to: Console) -> None:
    """Print the gains of some activations, and what the columns mean.

    Args:
        rows: one per activation.
        to: the console.
    """
    to.print(_table(rows))
    say(Text(_notes(rows)), to, indent=2)


_HEADINGS = (
    "forward\ngain",
    "\nq*",
    "backward\ngain",
    "\nchi_1",
    "gradient\ndepth",
    "map\nslope",
    "torch\ngain",
    "\nq*",
    "1/std\nNFNet",
    "\nq*",
)


def _table(rows: Sequence[Gain]) -> Table:
    table = plain_table("\nactivation", *_HEADINGS, left=("\nactivation",))
    for row in rows:
        table.add_row(row.activation, *_numbers(row))
    return table


def _numbers(row: Gain) -> list[str]:
    return [
        fixed(row.forward, 4),
        "1" if row.stable else "none",
        fixed(row.backward, 4),
        fixed(row.chi_1, 4),
        _depth(row.chi_1),
        fixed(row.slope, 3),
        NOTHING if row.torch is None else fixed(row.torch, 4),
        _settled(row.torch_q),
        fixed(row.mean_removed, 4),
        _settled(row.mean_removed_q),
    ]


def _settled(q: float | None) -> str:
    return NOTHING if q is None else "none" if math.isnan(q) else f"{q:.3g}"


def _depth(chi: float) -> str:
    """Layers over which the variance of the gradient changes by a factor of e; negative where it grows."""
    depth = -1 / math.log(chi) if chi != 1 else math.inf
    return fixed(depth, 1) if abs(depth) < _LEVEL else "level"


def _notes(rows: Sequence[Gain]) -> str:
    unstable = [row.activation for row in rows if not row.stable]
    lines = [
        "",
        "forward gain: keeps q = 1; backward gain: keeps the gradient's variance where q is 1.",
        "q*: where q settles with the gain to its left; none where q = 1 is unstable and q drifts away.",
        "chi_1: factor of the gradient's variance per layer at the forward gain; depth: layers for a factor of e.",
        "torch: calculate_gain; its sigmoid 1, tanh 5/3, selu 3/4 have no fixed point at q = 1.",
        "1/std: for weights that ignore the mean of phi (scaled weight standardization, timm).",
    ]
    if unstable:
        lines += [
            "",
            f"{', '.join(unstable)}: the slope of the length map exceeds 1, "
            "so no constant gain keeps the scale with depth. Try --norm layer or --residual of `initprobe run`. "
            "`initprobe recommend --layers N` says whether one holds over N layers.",
        ]
    return "\n".join(lines)
