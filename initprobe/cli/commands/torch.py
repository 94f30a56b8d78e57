"""`initprobe torch`: measure somebody's own PyTorch model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.gate import check_junit, gate_from, gate_options
from initprobe.cli.options import Choice
from initprobe.cli.run_output import DEFAULT_OUT, tell

if TYPE_CHECKING:
    from initprobe.results.run import ProbeResult


@click.command("torch")
@click.argument("target", metavar="PACKAGE.MODULE:FACTORY")
@click.option(
    "--input-shape",
    multiple=True,
    metavar="[NAME=]N,N,...[:LOW..HIGH]",
    help="N(0,1) input of this shape, samples first: 64,784. With a range, whole numbers: 4,16:0..999. Repeatable.",
)
@click.option(
    "--input",
    "input_",
    multiple=True,
    metavar="[NAME=]FILE|PACKAGE.MODULE:FUNCTION",
    help="Your data: .npy, .csv, .npz (its names are the model's arguments), or a function that makes it. Repeatable.",
)
@click.option(
    "--loss",
    metavar="cross-entropy|mse|PACKAGE.MODULE:FUNCTION",
    help="Start the way back from a loss of the output.  [default: dL/dy of N(0,1)]",
)
@click.option(
    "--labels",
    metavar="FILE|N,N,...:LOW..HIGH",
    help="Of --loss: classes, or for mse the targets.  [default: drawn, every class as likely]",
)
@click.option(
    "--dtype",
    type=Choice(["float32", "float64", "float16", "bfloat16"]),
    help="Of the model and its input.  [default: the model's own]",
)
@click.option(
    "--checkpoint",
    metavar="FILE",
    help="A saved model.state_dict() to load first, also below model_state_dict and the like; no code.",
)
@click.option("--eval", "evaluation", is_flag=True, help="In evaluation mode.  [default: as the factory makes it]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of everything random.")
@click.option("--threads", type=int, metavar="N", help="Threads that take statistics.  [default: all]")
@click.option(
    "--try-fixes/--no-try-fixes",
    default=True,
    help="Apply a fix in place, probe again and undo it before it is offered, at most three times.  [default: on]",
)
@click.option(
    "--min-judged",
    metavar="SHARE",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Share of the parameters below which the verdict speaks of a part only, and --fail-on fails.",
)
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
@click.option(
    "--depth",
    type=click.IntRange(1),
    metavar="N",
    help="A row per block, by the first N parts of the names of modules.  [default: above 100 layers, as fits]",
)
@gate_options
@click.option("-q", "--quiet", is_flag=True, help="Print the verdict alone.")
@click.option("-v", "--verbose", is_flag=True, help="Print every module, and every statistic of every tensor.")
def command(formats: str, no_figures: bool, **options: Any) -> None:
    """Do the same as `run` with a PyTorch model of your own.

    FACTORY is a function without arguments, or a class, in a module that Python finds from here. timm:NAME,
    torchvision:NAME and hf:CONFIG_DIR make a library's model with random weights. Weights are measured as they are;
    nothing is trained or downloaded.

    Inputs go by place in the order given, or by NAME, an argument of the model's forward.

    \b
    Examples:
      initprobe torch mynet:make --input-shape 64,784
      initprobe torch mynet:MLP --input x.npy --checkpoint trained.pt --eval
      initprobe torch mynet:make --input-shape 64,784 --quiet --fail-on warning
      initprobe torch mynet:gpt --input-shape 4,128:0..999 --loss cross-entropy
      initprobe torch mynet:bert --input-shape input_ids=4,16:0..999 \\
          --input-shape attention_mask=4,16:1..1
      initprobe torch mynet:bert --input batch.npz
      initprobe torch mynet:make --input x.npy --loss cross-entropy --labels y.npy
      initprobe torch mynet:make --input mydata:batch
      initprobe torch timm:resnet50
      initprobe torch hf:path/to/config_dir --input-shape 2,64:0..30000
    """
    from initprobe.cli import outputs
    from initprobe.reports.figures.drawer import drawer

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
    from initprobe.probe.names import safe_name

    files = [name for name in (*options["input_"], options["checkpoint"], options["labels"]) if name is not None]
    target, shapes = options["target"].replace(":", "."), [one.replace(",", "x") for one in options["input_shape"]]
    words = [slug, target, *shapes, options["dtype"] or "", options["loss"] or ""]
    words += ["eval"] if options["evaluation"] else []
    words += [f"seed{options['seed']}"] if options["seed"] else []
    return safe_name([word for word in words if word], files)


def _measured(options: dict[str, Any]) -> ProbeResult:
    from initprobe.torch.installed import require_torch

    require_torch()
    from initprobe.torch.loading import Request, probe_request

    request = Request(
        target=options["target"],
        inputs=options["input_"],
        shapes=options["input_shape"],
        loss=options["loss"],
        labels=options["labels"],
        dtype=options["dtype"],
        checkpoint=None if options["checkpoint"] is None else Path(options["checkpoint"]),
        evaluation=options["evaluation"],
        seed=options["seed"],
        try_fixes=options["try_fixes"],
        min_judged=options["min_judged"],
    )
    return probe_request(request, options["threads"])
