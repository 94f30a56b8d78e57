"""Check whether a network of any width trains like a narrow one.

This is the coordinate check of muP, with numbers. Networks of several widths get the same batch and take a few steps.
The rms of h, of dL/dh and of the change of h is fitted as width^slope, layer by layer. In a network that transfers, h
and its changes have slope 0. Then the best learning rate of a narrow network is that of a wide one.

FACTORY takes a width and returns a PyTorch model. It may also return an optimizer, or groups of parameters as
torch.optim takes them: `return model, MuAdam(model.parameters(), lr=1e-3)`. In a group, `lr_scale` is a factor of --lr.
Without FACTORY, the network is one of initprobe's own, with --init and --act.

\b
Examples:
  initprobe width --init he --act relu
  initprobe width --init he --act relu --mup --optimizer sgd --lr 0.1
  initprobe width mynet:make --input-shape 16,784 --widths 64,128,256
  initprobe width mynet:gpt --input-shape 2,16:0..999 --figure width.png
  initprobe width mynet:make --input-shape 16,784 --quiet --fail-on error
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import click

from initprobe.cli.experiment_config import config_from, option_name, read_widths
from initprobe.cli.gate import SEVERITIES, Severity, check_junit, failing_severities, junit_option, sarif_option
from initprobe.cli.html_report import report_option, typed
from initprobe.cli.model_options import LOSS_METAVAR, evaluation_option, shapes_option, torch_seed_option
from initprobe.cli.options import LossOptions, MeasurementOptions, NetworkOptions, WeightOptions
from initprobe.cli.parameters import Choice, argument, command_of, group, option
from initprobe.prediction.width_defaults import DEFAULT_OPTIMIZER, DEFAULT_SEEDS, DEFAULT_STEPS, DEFAULT_WIDTHS

if TYPE_CHECKING:
    from initprobe.cli.progress import Advance
    from initprobe.prediction.width_check import WidthPlan
    from initprobe.results.coordinate_check import CoordinateCheck


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Widths, training and seeds."""

    widths: str = option(
        "--widths",
        default=",".join(map(str, DEFAULT_WIDTHS)),
        show_default=True,
        metavar="N,N,...",
        help="Widths; at least two.",
    )
    steps: int = option(
        "--steps",
        type=click.IntRange(1),
        default=DEFAULT_STEPS,
        show_default=True,
        metavar="N",
        help="Steps, on the same batch.",
    )
    optimizer: Literal["sgd", "adam", "adamw"] | None = option(
        "--optimizer",
        type=Choice(["sgd", "adam", "adamw"]),
        help=f"Optimizer, where FACTORY gives none.  [default: {DEFAULT_OPTIMIZER}]",
    )
    lr: float | None = option(
        "--lr", type=float, metavar="R", help="Learning rate.  [default: 0.1 for sgd, 0.001 for adam and adamw]"
    )
    seeds: int = option(
        "--seeds",
        type=click.IntRange(1),
        default=DEFAULT_SEEDS,
        show_default=True,
        metavar="N",
        help="Networks per width; their spread gives the standard error.",
    )
    seed: int = torch_seed_option()
    try_fixes: bool = option(
        "--try-fixes/--no-try-fixes",
        default=True,
        help="Scale starts and learning rates of what does not transfer, and measure again.  [default: on]",
    )

    def plan(self) -> WidthPlan:
        """The plan that these options give."""
        from initprobe.prediction.width_check import WidthPlan

        widths = read_widths(self.widths)
        return WidthPlan(widths or (), self.seeds, self.steps, self.optimizer, self.lr, self.try_fixes)


@dataclass(frozen=True, kw_only=True)
class OwnNetworkOptions:
    """A network of initprobe's own, without FACTORY."""

    init: str | None = option("--init", metavar="NAME[:...]", help="Weight initializer: he, xavier:gain=5/3, ...")
    sigma_w: str | None = option("--sigma-w", metavar="S", help="Instead of --init: std S / sqrt(fan_in).")
    sigma_b: str | None = option("--sigma-b", metavar="S", help="Instead of --bias-init: normal biases with std S.")
    bias_init: str | None = option("--bias-init", metavar="NAME[:...]", help="Bias initializer.  [default: zeros]")
    act: str | None = option("--act", metavar="NAME[:...]", help="Activation.")
    layers: int | None = option("--layers", type=int, metavar="N", help="Layers before the read-out.  [default: 4]")
    input_width: int | None = option("--input-width", type=int, metavar="N", help="Features of noise.  [default: 16]")
    norm: str | None = option("--norm", metavar="none|layer|batch", help="Normalize z before the activation.")
    residual: bool = option("--residual", is_flag=True, help="Add the input of a layer to its output.")
    standardize: bool = option(
        "--standardize", is_flag=True, help="Give each feature of real data mean 0 and variance 1."
    )
    batch: int | None = option("--batch", type=int, metavar="N", help="Samples.  [default: 16]")
    mup: bool = option(
        "--mup",
        is_flag=True,
        help="Scale the read-out and the learning rates by width, as in muP (Yang et al. 2022, table 3).",
    )


@dataclass(frozen=True, kw_only=True)
class GivenModelOptions:
    """Options of a PyTorch model alone."""

    shapes: tuple[str, ...] = shapes_option(" `width` stands for the width: 16,width.")
    evaluation: bool = evaluation_option("Train in evaluation mode.")


@dataclass(frozen=True, kw_only=True)
class WidthOptions:
    """The options of `initprobe width`."""

    target: str | None = argument(metavar="[PACKAGE.MODULE:FACTORY]", required=False, default=None)
    study: StudyOptions = group(StudyOptions)
    own: OwnNetworkOptions = group(OwnNetworkOptions)
    model: GivenModelOptions = group(GivenModelOptions)
    inputs: tuple[str, ...] = option(
        "--input",
        multiple=True,
        metavar="[NAME=]SOURCE",
        help="As for `run`: gaussian, digits or a file. With FACTORY as for `torch`: a file or a function, which may "
        "take the width.",
    )
    loss: str | None = option(
        "--loss",
        metavar=LOSS_METAVAR,
        help="Loss that is trained.  [default: cross-entropy]",
    )
    labels: str | None = option("--labels", metavar="SOURCE", help="As for `run` or `torch`.  [default: random]")
    dtype: str | None = option("--dtype", type=Choice(["float32", "float64"]), help="Precision.")
    threads: int | None = option(
        "--threads", type=int, metavar="N", help="Threads.  [default: all; 1 with FACTORY, where more rarely help]"
    )
    figure: str | None = option(
        "--figure", metavar="FILE", help="Draw rms against width, a panel per step; png, svg or pdf."
    )
    export_json: str | None = option("--export-json", metavar="FILE|-", help="Write everything measured as JSON.")
    report: str | None = report_option()
    fail_on: Severity | None = option(
        "--fail-on",
        type=Choice(SEVERITIES),
        help="Exit with 1 if the network does not transfer (error), or on a warning too.",
    )
    junit: str | None = junit_option()
    sarif: str | None = sarif_option()
    quiet: bool = option("-q", "--quiet", is_flag=True, help="Print only the verdict.")
    verbose: bool = option("-v", "--verbose", is_flag=True, help="Print a row per layer, also where blocks are alike.")


@command_of(WidthOptions, help=__doc__)
def command(options: WidthOptions) -> None:
    """Measure networks of several widths, and judge whether they transfer."""
    from initprobe.cli import outputs
    from initprobe.cli.progress import progress_bar
    from initprobe.cli.run_output import text_stream
    from initprobe.reports.console import console
    from initprobe.reports.width_table import print_width, print_width_verdict

    fmt = outputs.figure_format(options.figure) if options.figure else None
    check_junit(options.junit, options.fail_on)
    written = [options.export_json, options.report, options.junit, options.sarif]
    outputs.check_exports([options.figure, *written], None)
    plan = options.study.plan()
    with progress_bar("networks") as bar:
        check = _of_model(options, plan, bar) if options.target else _of_own(options, plan, bar)
    if options.figure and fmt:
        outputs.write_figure(options.figure, fmt, check.figure())
    if options.export_json:
        outputs.write_text(options.export_json, check.model_dump_json() + "\n")
    if options.report:
        from initprobe.reports.html_width import width_page

        outputs.write_page(options.report, width_page(check, typed()))
    _write_reports(check, options)
    to = console(text_stream(*written))
    if options.quiet:
        print_width_verdict(check, to)
    else:
        print_width(check, to, options.verbose)
    _fail(check, options.fail_on)


def _of_model(options: WidthOptions, plan: WidthPlan, bar: Advance | None) -> CoordinateCheck:
    from initprobe.torch.installed import require_torch

    _refuse(options.own, "belongs to a network of initprobe's own; drop it, or drop FACTORY")
    require_torch()
    from initprobe.torch.width_request import WidthRequest, check_request

    assert options.target is not None
    request = WidthRequest(
        target=options.target,
        inputs=options.inputs,
        shapes=options.model.shapes,
        loss=options.loss,
        labels=options.labels,
        dtype=options.dtype,
        evaluation=options.model.evaluation,
        seed=options.study.seed,
    )
    return check_request(request, plan, 1 if options.threads is None else options.threads, bar)


def _of_own(options: WidthOptions, plan: WidthPlan, bar: Advance | None) -> CoordinateCheck:
    from initprobe.errors import ConfigError
    from initprobe.studies.width import width

    own, given = options.own, options.inputs
    _refuse(options.model, "belongs to a PyTorch model; name it as PACKAGE.MODULE:FACTORY")
    if own.act is None:
        raise ConfigError("name a model, as mynet:make, or give --init and --act for a network of initprobe's own")
    if own.init is None and own.sigma_w is None:
        raise ConfigError("give --init NAME or --sigma-w S; `initprobe list initializers` shows the names")
    if len(given) > 1:
        raise ConfigError("give one; a network of initprobe's own has one input", field="--input")
    config = config_from(
        own.act,
        WeightOptions(init=own.init, sigma_w=own.sigma_w, sigma_b=own.sigma_b),
        NetworkOptions(
            bias_init=own.bias_init,
            layers=own.layers,
            input_width=own.input_width,
            input_=given[0] if given else None,
            norm=own.norm or "none",
            standardize=own.standardize,
            residual=own.residual,
            seed=options.study.seed,
        ),
        MeasurementOptions(batch=own.batch, dtype="float64" if options.dtype == "float64" else None),
        LossOptions(loss=options.loss or "cross-entropy", labels=options.labels),
    )
    study = options.study
    return width(
        config,
        plan.widths,
        steps=study.steps,
        optimizer=study.optimizer,
        lr=study.lr,
        seeds=study.seeds,
        mup=own.mup,
        try_fixes=study.try_fixes,
        threads=options.threads,
        progress=bar,
    )


def _refuse(kind: OwnNetworkOptions | GivenModelOptions, reason: str) -> None:
    """Refuse options of the other kind of network."""
    from initprobe.errors import ConfigError

    names = {"shapes": "--input-shape", "evaluation": "--eval"}
    for each in fields(kind):
        if getattr(kind, each.name):
            raise ConfigError(reason, field=names.get(each.name, option_name(each.name)))


def _write_reports(check: CoordinateCheck, options: WidthOptions) -> None:
    """Write the reports for CI that were asked for."""
    from initprobe.cli.ci_reports import width_alerts, width_cases, write_sarif
    from initprobe.cli.outputs import write_text
    from initprobe.reports.junit import junit

    if options.junit:
        cases = width_cases(check, failing_severities(options.fail_on))
        write_text(options.junit, junit(f"initprobe width {check.title}", cases))
    if options.sarif:
        write_sarif(list(width_alerts(check)), options.sarif)


def _fail(check: CoordinateCheck, fail_on: Severity | None) -> None:
    """Fail if a finding has this severity or a higher one."""
    from initprobe.errors import CheckFailed

    failing = failing_severities(fail_on)
    names = [finding.rule for finding in check.findings if finding.severity in failing]
    if names:
        raise CheckFailed(f"--fail-on {fail_on}: {', '.join(names)}")
