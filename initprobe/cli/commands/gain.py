"""Print the gains of activations.

Weights have std gain / sqrt(fan_in), and layers are square.

The forward gain keeps a pre-activation variance of q = 1. The backward gain keeps the variance of the gradient where q
is 1. The two are equal only for ReLU and similar activations. Where the slope of the length map exceeds 1, q = 1 is
unstable. Then no constant gain keeps the scale with depth.

\b
Examples:
  initprobe gain relu tanh gelu
  initprobe gain --all
  initprobe gain tanh --sigma-b 0.2
  initprobe gain --act mymodule:swish
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from initprobe.cli.candidates import activations
from initprobe.cli.parameters import argument, command_of, option


@dataclass(frozen=True, kw_only=True)
class GainOptions:
    """The options of `initprobe gain`."""

    activations: tuple[str, ...] = argument(nargs=-1, metavar="[ACT...]", shell_complete=activations)
    acts: tuple[str, ...] = option("--act", multiple=True, metavar="ACT", help="The same as an argument; repeatable.")
    every: bool = option("--all", is_flag=True, help="All activations.")
    sigma_b: str = option(
        "--sigma-b", default="0", show_default=True, metavar="S", help="Standard deviation of the biases."
    )

    def names(self) -> list[str]:
        """The activations asked for.

        Raises:
            ConfigError: none is given, or some beside `--all`.
        """
        from initprobe.activations.catalogue import ACTIVATIONS
        from initprobe.errors import ConfigError

        given = [*self.activations, *self.acts]
        if bool(given) == self.every:
            raise ConfigError("name activations, for example `initprobe gain relu tanh`, or give --all")
        return list(ACTIVATIONS) if self.every else given


@command_of(GainOptions, help=__doc__)
def command(options: GainOptions) -> None:
    """Print gains of one activation, or of all.

    Args:
        options: of the command line.

    Raises:
        ConfigError: an unknown activation, or a `sigma_b` outside [0, 1).
    """
    from initprobe.errors import ConfigError, at_field
    from initprobe.reports.console import console
    from initprobe.reports.gain_table import print_gains
    from initprobe.spec import parse_number
    from initprobe.studies.theory import gain

    names = options.names()
    with at_field("--sigma-b"):
        bias = parse_number(options.sigma_b)
    try:
        rows = [gain(name, bias) for name in names]
    except ConfigError as error:
        raise error.at(field="--sigma-b" if error.field == "sigma_b" else error.field) from None
    print_gains(rows, console(sys.stdout))
