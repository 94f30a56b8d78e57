"""Measure a PyTorch model of your own, as `run` does.

FACTORY is a function without arguments, or a class, in a module that Python finds from the working directory.
timm:NAME, torchvision:NAME and hf:CONFIG_DIR make a model of a library with random weights. The weights are measured
unchanged; nothing is trained or downloaded.

Several inputs are arguments of the model's forward: in the order given, or by NAME.

--expect and --lock compare the parameters with the initialization that was meant, or that was there before. They need
no input; with an input the model is measured too.

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
  initprobe torch mynet:make --input x.npy --fix init.py --keep 'head.*'
  initprobe torch mynet:make --expect init.yaml
  initprobe torch mynet:make --lock init.lock
  initprobe torch timm:resnet50
  initprobe torch hf:path/to/config_dir --input-shape 2,64:0..30000
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from initprobe.cli.ci_reports import write_sarif
from initprobe.cli.contract_check import (
    ContractOptions,
    ContractOutcome,
    check_contracts,
    outcome_alerts,
    outcome_cases,
    outcome_json,
    print_outcome,
)
from initprobe.cli.gate import GateOptions, VerdictOptions, check_junit, check_verdict, make_gate
from initprobe.cli.measured_extras import formats_of, formats_option, optimizer_option
from initprobe.cli.model_options import (
    LOSS_METAVAR,
    FixOptions,
    checkpoint_option,
    evaluation_option,
    shapes_option,
    torch_seed_option,
)
from initprobe.cli.outputs import FigureOptions
from initprobe.cli.parameters import Choice, argument, command_of, group, option
from initprobe.cli.run_output import ExportOptions, export, print_written, report, text_stream

if TYPE_CHECKING:
    from initprobe.results.run import ProbeResult
    from initprobe.torch.loading import Loaded, Prepared, Request


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model, its input and its loss."""

    target: str = argument(metavar="PACKAGE.MODULE:FACTORY")
    shapes: tuple[str, ...] = shapes_option()
    inputs: tuple[str, ...] = option(
        "--input",
        multiple=True,
        metavar="[NAME=]FILE|PACKAGE.MODULE:FUNCTION",
        help="Your data: .npy, .csv, .npz (whose names are arguments of the model), or a function that makes the data. "
        "Repeatable.",
    )
    loss: str | None = option(
        "--loss",
        metavar=LOSS_METAVAR,
        help="Start the backward pass from a loss of the output.  [default: dL/dy drawn from N(0,1)]",
    )
    labels: str | None = option(
        "--labels",
        metavar="FILE|N,N,...:LOW..HIGH",
        help="For --loss: the classes, or for mse the targets.  [default: random, all classes equally likely]",
    )
    dtype: str | None = option(
        "--dtype",
        type=Choice(["float32", "float64", "float16", "bfloat16"]),
        help="Precision of the model and its input.  [default: that of the model]",
    )
    checkpoint: str | None = checkpoint_option()
    evaluation: bool = evaluation_option("Measure in evaluation mode.  [default: the mode that FACTORY sets]")
    seed: int = torch_seed_option()
    try_fixes: bool = option(
        "--try-fixes/--no-try-fixes",
        default=True,
        help="Apply each fix to the model, probe again and undo it before the fix is printed; at most three times.  "
        "[default: on]",
    )
    min_judged: float = option(
        "--min-judged",
        metavar="SHARE",
        type=click.FloatRange(0, 1, min_open=True),
        default=0.95,
        show_default=True,
        help="Below this share of judged parameters, the verdict is about a part only and --fail-on fails.",
    )

    number_formats: str | None = formats_option()
    optimizer: str | None = optimizer_option()
    lr: float | None = option("--lr", type=float, metavar="R", help="Learning rate of --optimizer.")

    @property
    def has_input(self) -> bool:
        """Whether an input is named."""
        return bool(self.inputs or self.shapes)

    def request(self) -> Request:
        """The same for the room that loads models."""
        from initprobe.torch.installed import require_torch

        require_torch()
        from initprobe.torch.loading import Request

        return Request(
            target=self.target,
            inputs=self.inputs,
            shapes=self.shapes,
            loss=self.loss,
            labels=self.labels,
            dtype=self.dtype,
            checkpoint=None if self.checkpoint is None else Path(self.checkpoint),
            evaluation=self.evaluation,
            seed=self.seed,
            try_fixes=self.try_fixes,
            min_judged=self.min_judged,
            formats=formats_of(self.number_formats),
            optimizer=self.optimizer,
            lr=self.lr,
        )

    def slug(self, model: str) -> str:
        """A name of the directory that differs between models and options; a hash stands for the names of files."""
        from initprobe.probe.names import safe_name

        files = [name for name in (*self.inputs, self.checkpoint, self.labels) if name is not None]
        shapes = [shape.replace(",", "x") for shape in self.shapes]
        words = [model, self.target.replace(":", "."), *shapes, self.dtype or "", self.loss or ""]
        words += ["eval"] if self.evaluation else []
        words += [f"seed{self.seed}"] if self.seed else []
        return safe_name([word for word in words if word], files)


@dataclass(frozen=True, kw_only=True)
class TorchOptions:
    """The options of `initprobe torch`."""

    model: ModelOptions = group(ModelOptions)
    contract: ContractOptions = group(ContractOptions)
    threads: int | None = option("--threads", type=int, metavar="N", help="Threads for the statistics.  [default: all]")
    figures: FigureOptions = group(FigureOptions)
    exports: ExportOptions = group(ExportOptions)
    depth: int | None = option(
        "--depth",
        type=click.IntRange(1),
        metavar="N",
        help="One row per block: the first N parts of module names.  [default: above 100 layers, chosen by initprobe]",
    )
    fix: FixOptions = group(FixOptions)
    gate: GateOptions = group(GateOptions)
    verdict: VerdictOptions = group(VerdictOptions)


@command_of(TorchOptions, help=__doc__)
def command(options: TorchOptions) -> None:
    """Probe a model, judge it and print the verdict.

    Args:
        options: of the command line.

    Raises:
        ConfigError: a wrong option, file or model.
        CheckFailed: the model fails what the options ask for.
    """
    from initprobe.errors import CheckFailed

    loaded, outcome = _compared(options) if options.contract.given else (None, None)
    if outcome is None or options.model.has_input:
        _probe(options, loaded, outcome)
    if outcome is not None and outcome.fault:
        raise CheckFailed(outcome.fault)


def _compared(options: TorchOptions) -> tuple[Loaded, ContractOutcome]:
    """Compare the parameters, and print the outcome. Without an input this is all that is done."""
    from initprobe.cli.outputs import check_exports, write_text
    from initprobe.reports.junit import junit

    contract, exports, reports = options.contract, options.exports, options.gate
    _check_combination(options)
    check_exports((*exports.targets(), options.fix.fix, *reports.targets(), contract.written_lock), None)
    loaded = _loaded(options.model)
    outcome = check_contracts(contract, loaded)
    stream = text_stream(*exports.targets(), options.fix.fix, *reports.reports(), contract.written_lock)
    print_outcome(outcome, contract, options.verdict.quiet, stream)
    if not options.model.has_input:
        if exports.export_json:
            write_text(exports.export_json, outcome_json(outcome))
        if reports.sarif:
            write_sarif(list(outcome_alerts(outcome)), reports.sarif)
        if reports.junit:
            write_text(reports.junit, junit(f"initprobe {options.model.target}", list(outcome_cases(outcome))))
    return loaded, outcome


def _loaded(options: ModelOptions) -> Loaded:
    from initprobe.cli.progress import waiting

    request = options.request()
    from initprobe.torch.loading import load

    with waiting("making the model"):
        return load(request)


def _check_combination(options: TorchOptions) -> None:
    """Refuse options that --expect and --lock cannot honour.

    Raises:
        ConfigError: an option of the measurement without an input; or one JSON file for two reports.
    """
    from initprobe.errors import ConfigError

    measuring = {
        "--out": options.figures.out,
        "--export-csv": options.exports.export_csv,
        "--report": options.exports.report,
        "--fail-on": options.verdict.fail_on,
        "--ignore": options.gate.ignore,
        "--known": options.gate.known,
        "--write-known": options.gate.write_known,
        "--loss": options.model.loss,
        "--labels": options.model.labels,
        "--fix": options.fix.fix,
    }
    if options.model.has_input:
        if options.exports.export_json:
            raise ConfigError(
                "is for one report; compare without an input, in a command of its own", field="--export-json"
            )
        return
    for name in (name for name, value in measuring.items() if value):
        raise ConfigError("belongs to a measurement; give --input-shape or --input too", field=name)


def _probe(options: TorchOptions, loaded: Loaded | None, outcome: ContractOutcome | None) -> None:
    """Measure the model, and print and judge the result. A model that was compared is not made again."""
    from initprobe.cli import outputs
    from initprobe.reports.figures.drawer import drawer

    exports, gate_options, verdict = options.exports, options.gate, options.verdict
    formats, given = options.figures.wanted(), options.figures.given()
    check_junit(gate_options.junit, verdict.fail_on or outcome)
    _check_fix(options.fix)
    targets = (*exports.targets(), options.fix.fix, *gate_options.targets())
    outputs.check_exports(targets, given)
    with drawer(formats) as drawing:  # as in `run`
        gate = make_gate(gate_options)
        ready = _prepared(options, loaded)
        result = gate.applied(_measured(ready, options.threads))
        directory = options.figures.directory(lambda: options.model.slug(result.description.slug))
        reports = (options.fix.fix, *gate_options.reports(), options.contract.written_lock)
        stream = text_stream(*exports.targets(), *reports)
        with outputs.saving(result, directory, formats, drawing) as written:
            export(result, exports)
            report(result, stream, quiet=verdict.quiet, verbose=verdict.verbose, depth=options.depth)
    if not verdict.quiet:
        print_written(written, stream)
    is_healed = _fixed(options, ready, result, stream)
    cases, alerts = (list(outcome_cases(outcome)), list(outcome_alerts(outcome))) if outcome else ((), ())
    check_verdict(result, gate, verdict.fail_on, gate_options, cases, alerts)
    if not is_healed:
        raise click.exceptions.Exit(1)


def _check_fix(options: FixOptions) -> None:
    from initprobe.errors import ConfigError

    if options.keep and not options.fix:
        raise ConfigError("give --fix too; nothing is changed without it", field="--keep")


def _fixed(options: TorchOptions, ready: Prepared, result: ProbeResult, stream: IO[str]) -> bool:
    """Write the function of `--fix`, if it was asked for, and say so. False where none works."""
    from initprobe.cli.outputs import write_text
    from initprobe.cli.progress import waiting

    target = options.fix.fix
    if not target:
        return True
    if result.healthy:
        click.echo(f"fix       the model is healthy, so {target} is not written", file=stream)
        return True
    from initprobe.torch.fix_file import fix_prepared

    with waiting("trying initializations"):
        outcome = fix_prepared(ready, options.fix.keep, options.contract.expect, options.threads)
    if outcome.text is None:
        click.echo(f"fix       {target} is not written: {outcome.words}", file=stream)
        return False
    write_text(target, outcome.text)
    click.echo(f"fix       {target}: init(model) {outcome.words}", file=stream)
    return True


def _prepared(options: TorchOptions, loaded: Loaded | None) -> Prepared:
    """The model with its input. What --keep names is there."""
    from initprobe.cli.progress import waiting

    loaded = loaded or _loaded(options.model)
    from initprobe.torch.fix_file import check_kept
    from initprobe.torch.loading import prepare

    with waiting("trying the model"):
        ready = prepare(loaded)
        check_kept(ready, options.fix.keep)
    return ready


def _measured(ready: Prepared, threads: int | None) -> ProbeResult:
    from initprobe.cli.progress import waiting
    from initprobe.torch.loading import probe_prepared

    with waiting("probing the model"):
        return probe_prepared(ready, threads)
