"""Send data through a network and back, layer by layer.

Prints a table of variances per layer, with the verdict. Writes summary.png, output.png, gradient.png, depth.png and
result.json. `initprobe explain NAME` explains a finding or a column.

\b
Examples:
  initprobe run --init xavier --act tanh --layers 10
  initprobe run --init normal:std=0.01 --act tanh
  initprobe run --init he --act relu --layers 50 --width 256
  initprobe run --init xavier --act tanh --input-width 80 --widths 75,70,65
  initprobe run --init torch_linear --act gelu --input digits --standardize
  initprobe run --init he --act relu --loss cross-entropy --train-steps 200
  initprobe run --sigma-w 1.5 --act tanh --input gaussian:correlation=0.6
  initprobe run --weights w.npz --act tanh
  initprobe run --init he --act relu --export-json - | jq .layers[0].output
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from initprobe.cli.experiment_config import config_from
from initprobe.cli.gate import GateOptions, VerdictOptions, check_junit, check_verdict, make_gate
from initprobe.cli.options import LossOptions, MeasurementOptions, NetworkOptions, WeightOptions, threads_option
from initprobe.cli.outputs import FigureOptions
from initprobe.cli.parameters import command_of, group, option, options_from
from initprobe.cli.run_output import ExportOptions, export, print_written, report, text_stream

if TYPE_CHECKING:
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.probe.experiment import Experiment
    from initprobe.results.run import ProbeResult


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of `initprobe run`."""

    weights: WeightOptions = group(WeightOptions)
    act: str = option(
        "--act",
        required=True,
        metavar="NAME[:key=value,...]",
        help="Activation: tanh, relu, gelu, leaky_relu:slope=0.2, ... `initprobe list activations` shows all. Or your "
        "own function: package.module:name.",
    )
    network: NetworkOptions = group(NetworkOptions)
    measurement: MeasurementOptions = group(MeasurementOptions)
    threads: int | None = threads_option()
    loss: LossOptions = group(LossOptions)
    figures: FigureOptions = group(FigureOptions)
    exports: ExportOptions = group(ExportOptions)
    animate: str | None = option(
        "--animate", metavar="FILE.gif", help="Write an animation: the outputs, one frame per layer."
    )
    save_weights: str | None = option(
        "--save-weights",
        metavar="FILE.npz",
        help="Write the first network: W1.., b1.., its input x and its backward seed g.",
    )
    gate: GateOptions = group(GateOptions)
    verdict: VerdictOptions = group(VerdictOptions)

    def config(self) -> ProbeConfig:
        """The experiment that the options describe."""
        return config_from(self.act, self.weights, self.network, self.measurement, self.loss)

    def weights_file(self) -> str | None:
        """Where the first network goes.

        Raises:
            ConfigError: the file is not an .npz.
        """
        from initprobe.errors import ConfigError

        if self.save_weights is not None and not self.save_weights.endswith(".npz"):
            raise ConfigError(f"{self.save_weights!r} must end in .npz", field="--save-weights")
        return self.save_weights

    def animation_file(self) -> str | None:
        """Where the animation goes.

        Raises:
            ConfigError: the file is not a .gif.
        """
        from initprobe.errors import ConfigError

        if self.animate is not None and not self.animate.endswith(".gif"):
            raise ConfigError(f"{self.animate!r} must end in .gif", field="--animate")
        return self.animate


def config_of(arguments: str) -> ProbeConfig:
    """The experiment that `initprobe run` with these arguments measures."""
    with command.make_context("run", shlex.split(arguments)) as context:
        return options_from(RunOptions, context.params).config()


@command_of(RunOptions, help=__doc__)
def command(options: RunOptions) -> None:
    """Measure one experiment; print, draw and export the result."""
    from initprobe.cli import outputs
    from initprobe.reports.figures.drawer import drawer

    exports, gate_options, verdict = options.exports, options.gate, options.verdict
    check_junit(gate_options.junit, verdict.fail_on)
    formats = options.figures.wanted()
    # A probe uses one thread of OpenBLAS. Its other threads spin for 0.1 s once NumPy is imported, on the core that
    # loads matplotlib. Without them the first command of the README takes 0.93 times the wall and processor time. A run
    # of width 50 takes 0.77 times the processor time. These are medians of 16 interleaved runs on two idle cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Started early, to load matplotlib meanwhile. Without this process the first command of the README takes 1.41 times
    # as long on two idle cores. It takes 1.05 times the processor time: the fastest of 10 interleaved runs each. On two
    # busy cores it took 0.98 times as long: the median of 8.
    with drawer(formats) as drawing:
        gate = make_gate(gate_options)
        experiment, directory = _prepared(options)
        result = gate.applied(_measured(experiment, options.threads))
        stream = text_stream(*exports.targets(), *gate_options.reports())
        with outputs.saving(result, directory, formats, drawing) as written:  # the text is made while it draws
            if options.animate:
                _animate(result, Path(options.animate))
            if options.save_weights:
                _save_weights(experiment, Path(options.save_weights))
            export(result, exports)
            report(result, stream, quiet=verdict.quiet, verbose=verdict.verbose)
    if not verdict.quiet:
        print_written(written, stream)
    check_verdict(result, gate, verdict.fail_on, gate_options)


def _prepared(options: RunOptions) -> tuple[Experiment, Path | None]:
    """The experiment and the output directory; every output is checked."""
    from initprobe.cli.outputs import check_exports
    from initprobe.probe.experiment import prepare
    from initprobe.probe.names import slug

    experiment = prepare(options.config())
    directory = options.figures.directory(lambda: slug(experiment.config, experiment.sizes))
    exports, gate = options.exports, options.gate
    targets = (*exports.targets(), *gate.targets())
    check_exports((*targets, options.weights_file(), options.animation_file()), directory)
    return experiment, directory


def _measured(experiment: Experiment, threads: int | None) -> ProbeResult:
    from initprobe.cli.progress import progress_bar
    from initprobe.probe.run import measure

    with progress_bar("probing") as progress:
        return measure(experiment, threads=threads, progress=progress)


def _animate(result: ProbeResult, path: Path) -> None:
    from initprobe.cli.outputs import name_at_end, write_whole
    from initprobe.reports.figures.animation import gif

    data = gif(result)
    write_whole(path, lambda file: file.write(data))
    name_at_end(str(path))


def _save_weights(experiment: Experiment, path: Path) -> None:
    import numpy as np

    from initprobe.cli.outputs import write_whole
    from initprobe.probe.networks import first_network

    arrays = first_network(experiment)
    write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
