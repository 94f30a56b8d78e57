"""`initprobe run`: measure one experiment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.gate import check_junit, gate_from, gate_options
from initprobe.cli.options import Choice, config_from, experiment_options, loss_options, scales
from initprobe.cli.run_output import DEFAULT_OUT, tell

if TYPE_CHECKING:
    from initprobe.probe.experiment import Experiment


@click.command("run")
@click.option(
    "--init",
    metavar="NAME[:key=value,...]",
    help="Weight initializer: xavier, he, lecun, orthogonal, normal:std=0.01, he:mode=fan_out, xavier:gain=5/3, "
    "torch_linear, ... `initprobe list initializers` shows all; or package.module:name of a function of your own.",
)
@click.option(
    "--act",
    required=True,
    metavar="NAME[:key=value,...]",
    help="Activation: tanh, relu, gelu, leaky_relu:slope=0.2, ... `initprobe list activations` shows all; "
    "package.module:name for a function of your own.",
)
@click.option(
    "--sigma-w", metavar="S", help="In place of --init: normal weights of std S / sqrt(fan_in), as papers have it."
)
@click.option("--sigma-b", metavar="S", help="In place of --bias-init: normal biases of std S.")
@click.option(
    "--weights",
    metavar="FILE.npz",
    help="In place of --init and the shape: a network's W1, b1, W2, ..., as --save-weights writes them, with its input "
    "x unless --input names one; or the state_dict of an nn.Sequential of PyTorch, saved by numpy.savez.",
)
@experiment_options
@loss_options
@click.option("-o", "--out", metavar="DIR", help=f"Where figures and result.json go.  [default: {DEFAULT_OUT}/NAME/]")
@click.option("--format", "formats", default="png", show_default=True, metavar="png,svg,pdf", help="Figure formats.")
@click.option("--no-figures", is_flag=True, help="Draw no figures and make no directory, unless -o names one.")
@click.option("--export-json", metavar="FILE|-", help="Everything that was measured, as JSON.")
@click.option("--export-csv", metavar="FILE|-", help="A row a layer, as CSV.")
@click.option("--save-weights", metavar="FILE.npz", help="First network: W1.., b1.., input x, backward seed g.")
@click.option(
    "--fail-on",
    type=Choice(["warning", "error"]),
    help="Exit with 1 if a finding has this severity or a higher one.",
)
@gate_options
@click.option("-q", "--quiet", is_flag=True, help="Print the verdict alone.")
@click.option("-v", "--verbose", is_flag=True, help="Print every statistic of every tensor.")
def command(formats: str, no_figures: bool, threads: int | None, **options: Any) -> None:
    """Send data through a network and back, layer by layer.

    Reports each layer's variance. Prints a table and writes summary.png, output.png, gradient.png, depth.png and
    result.json.

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
    from initprobe.cli import outputs
    from initprobe.cli.progress import progress_bar
    from initprobe.reports.figures.drawer import drawer

    exports = [options[name] for name in ("export_json", "export_csv", "junit", "write_known")]
    check_junit(options)
    wanted = () if no_figures else outputs.parse_formats(formats)
    # A probe uses one thread of BLAS's; as many as there are processors would spin while Python imports its modules.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with drawer(wanted) as ready:  # before NumPy is there: that also takes its time
        from initprobe.probe.experiment import prepare
        from initprobe.probe.run import measure

        gate = gate_from(options)
        experiment = prepare(config_from(options | scales(options)))
        directory = _directory(experiment, options["out"], no_figures)
        outputs.check_exports((*exports, _weights_file(options["save_weights"])), directory)
        with progress_bar("probing") as progress:
            result = gate.applied(measure(experiment, threads=threads, progress=progress))
        written = outputs.save_result(result, directory, wanted, ready) if directory else []
    if options["save_weights"]:
        _save_weights(experiment, Path(options["save_weights"]))
    tell(result, written, options, gate)


def _directory(experiment: Experiment, out: str | None, no_figures: bool) -> Path | None:
    from initprobe.errors import ConfigError
    from initprobe.probe.names import slug

    if out == "":
        raise ConfigError("-o: the name of the directory is empty")
    if out is not None:
        return Path(out)
    return None if no_figures else Path(DEFAULT_OUT) / slug(experiment.config, experiment.sizes)


def _weights_file(path: str | None) -> str | None:
    from initprobe.errors import ConfigError

    if path is not None and not path.endswith(".npz"):
        raise ConfigError(f"--save-weights: {path!r} must end in .npz")
    return path


def _save_weights(experiment: Experiment, path: Path) -> None:
    import numpy as np

    from initprobe.cli.outputs import write_whole
    from initprobe.probe.networks import first_network

    arrays = first_network(experiment)
    write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
