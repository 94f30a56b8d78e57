"""`initprobe torch`: measure somebody's own PyTorch model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.gate import check_junit, gate_from, gate_options
from initprobe.cli.options import Choice
from initprobe.cli.run import DEFAULT_OUT, tell

if TYPE_CHECKING:
    from initprobe.results import ProbeResult


@click.command("torch")
@click.argument("target", metavar="PACKAGE.MODULE:FACTORY")
@click.option("--input-shape", metavar="N,N,...", help="N(0,1) input of this shape, samples first: 64,784.")
@click.option("--input", "input_", metavar="FILE", help="Your data in its place: .npy, .npz or .csv, samples first.")
@click.option(
    "--dtype",
    type=Choice(["float32", "float64", "float16", "bfloat16"]),
    help="Of the model and its input.  [default: the model's own]",
)
@click.option("--checkpoint", metavar="FILE", help="A saved model.state_dict() to load first; tensors alone, no code.")
@click.option("--eval", "evaluation", is_flag=True, help="In evaluation mode.  [default: as the factory makes it]")
@click.option(
    "--trace", is_flag=True, help="Make modules of functional activations by torch.fx, so that they are seen."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of everything random.")
@click.option("--threads", type=int, metavar="N", help="Threads that take statistics.  [default: all]")
@click.option("-o", "--out", metavar="DIR", help=f"Where figures and result.json go.  [default: {DEFAULT_OUT}/NAME/]")
@click.option("--format", "formats", default="png", show_default=True, metavar="png,svg,pdf", help="Figure formats.")
@click.option("--no-figures", is_flag=True, help="Draw no figures and make no directory, unless -o names one.")
@click.option("--export-json", metavar="FILE|-", help="Everything that was measured, as JSON.")
@click.option("--export-csv", metavar="FILE|-", help="A row a layer, as CSV.")
@click.option(
    "--fail-on",
    type=Choice(["warning", "error"]),
    help="Exit with 1 if a finding has this severity or a higher one.",
)
@gate_options
@click.option("-q", "--quiet", is_flag=True, help="Print the verdict alone.")
@click.option("-v", "--verbose", is_flag=True, help="Print every module, and every statistic of every tensor.")
def command(formats: str, no_figures: bool, **options: Any) -> None:
    """Do the same as `run` with a PyTorch model of your own.

    FACTORY is a function without arguments, or a class, in a module that Python finds from here. Its weights are
    measured as they are; nothing is trained.

    \b
    Examples:
      initprobe torch mynet:make --input-shape 64,784
      initprobe torch mypackage.nets:MLP --input digits.npy --checkpoint trained.pt --eval
      initprobe torch mynet:make --input-shape 64,784 --quiet --fail-on warning
    """
    from initprobe.cli import outputs
    from initprobe.reports.drawer import drawer

    wanted = () if no_figures else outputs.parse_formats(formats)
    given = None if options["out"] is None else Path(_named(options["out"]))
    check_junit(options)
    outputs.check_exports([options[name] for name in ("export_json", "export_csv", "junit", "write_known")], given)
    with drawer(wanted) as ready:
        gate = gate_from(options)
        result = gate.applied(_measured(options))
        directory = given or (None if no_figures else Path(DEFAULT_OUT) / _directory(result.description.slug, options))
        written = outputs.save_result(result, directory, wanted, ready) if directory else []
    tell(result, written, options, gate)


def _named(out: str) -> str:
    from initprobe.errors import ConfigError

    if not out:
        raise ConfigError("-o: the name of the directory is empty")
    return out


def _directory(slug: str, options: dict[str, Any]) -> str:
    """A name that tells models and options apart; what cannot be said in letters and digits, by a hash of it."""
    from initprobe.describe import safe_name

    files = [options[name] for name in ("input_", "checkpoint") if options[name] is not None]
    target = options["target"].replace(":", ".")
    words = [slug, target, (options["input_shape"] or "").replace(",", "x"), options["dtype"] or ""]
    words += [name for name, key in (("eval", "evaluation"), ("trace", "trace")) if options[key]]
    words += [f"seed{options['seed']}"] if options["seed"] else []
    return safe_name([word for word in words if word], files)


def _measured(options: dict[str, Any]) -> ProbeResult:
    shape = _shape(options["input_shape"])
    from initprobe.torch.loading import Request, probe_request

    request = Request(
        target=options["target"],
        shape=shape,
        file=None if options["input_"] is None else Path(options["input_"]),
        dtype=options["dtype"],
        checkpoint=None if options["checkpoint"] is None else Path(options["checkpoint"]),
        evaluation=options["evaluation"],
        trace=options["trace"],
        seed=options["seed"],
    )
    return probe_request(request, options["threads"])


def _shape(text: str | None) -> tuple[int, ...] | None:
    from initprobe.errors import ConfigError

    if text is None:
        return None
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise ConfigError(f"--input-shape: {text!r} is not a list of whole numbers like 64,784")
    return shape
