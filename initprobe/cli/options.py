"""The options that describe an experiment, shared by the commands that run one."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.spec import Spec


class Choice(click.Choice[str]):
    """One of some words; the error for a misspelt one names the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """As click has it, and which word may be meant."""
        from initprobe.registry import suggestion

        hint = suggestion(str(value), [str(choice) for choice in self.choices])
        return f"{super().get_invalid_choice_message(value, ctx).rstrip('.')}{hint and f'.{hint}'}"


Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--bias-init",
        metavar="NAME[:key=value,...]",
        help="Bias initializer, as in normal:std=0.1.  [default: zeros, or what comes with a framework's default]",
    ),
    click.option("--layers", type=int, metavar="N", help="Number of layers.  [default: 10]"),
    click.option("--width", type=int, metavar="N", help="Units in every layer.  [default: 500]"),
    click.option(
        "--widths", metavar="N,N,...", help="Units in each layer, as in 750,700,650, in place of the two above."
    ),
    click.option("--input-width", type=int, metavar="N", help="Input features.  [default: the first width]"),
    click.option(
        "--input",
        "input_",
        metavar="SOURCE",
        help="gaussian[:std=..,mean=..,correlation=..], uniform[:low=..,high=..], digits (1797 pictures that ship), or "
        "a .npy, .npz or .csv file of real data, (samples, features).  [default: gaussian]",
    ),
    click.option("--standardize", is_flag=True, help="Bring each feature of real data to mean 0, variance 1."),
    click.option(
        "--norm",
        default="none",
        show_default=True,
        metavar="none|layer|batch",
        help="Normalise z before the activation: over the units of each sample, or over the batch.",
    ),
    click.option(
        "--residual", is_flag=True, help="Add a layer's input to its output, where the widths agree: h + s phi(z)."
    ),
    click.option(
        "--block",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Layers in a branch of --residual; one of several has no activation, and no norm, after its last layer.",
    ),
    click.option(
        "--branch-scale",
        default="1",
        show_default=True,
        metavar="S",
        help="s of --residual: a number, or 1/L or 1/sqrt(2L), L the number of layers; training learns a scale of 0.",
    ),
    click.option(
        "--zero-init-last",
        is_flag=True,
        help="Start the last layer of each branch with weights of 0; as in Fixup with --block 2.",
    ),
    click.option("--batch", type=int, metavar="N", help="Samples in a batch.  [default: 1000, or all real ones]"),
    click.option(
        "--batches",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Batches through the same weights, measured as if they were one: memory for --batch, statistics for all.",
    ),
    click.option(
        "--full-weight-gradient",
        is_flag=True,
        help="Make dL/dW whole also where the batch is smaller than the layers are wide; else its percentiles, extremes"
        " and histogram are there of 128 rows. Mean and variance are of all entries either way.",
    ),
    click.option("--draws", type=int, metavar="N", help="Independent networks.  [default: 4]"),
    click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of everything random."),
    click.option("--dtype", metavar="float32|float64", help="Network precision.  [default: float32]"),
    click.option(
        "--threshold",
        "thresholds",
        multiple=True,
        metavar="NAME=VALUE",
        help="A limit of the verdict, as in saturated=0.3; repeatable. `initprobe list thresholds` shows all.",
    ),
    click.option("--threads", type=int, metavar="N", help="Threads; the numbers do not depend on it.  [default: all]"),
)


_LOSS_OPTIONS = (
    click.option(
        "--loss",
        default="random",
        show_default=True,
        metavar="random|cross-entropy|mse",
        help="Start a backward pass from a loss behind a linear read-out too, and set it beside chance.",
    ),
    click.option("--classes", type=int, metavar="K", help="Classes of the loss.  [default: those of --labels, or 10]"),
    click.option(
        "--labels",
        metavar="SOURCE",
        help="A class, 0 to K-1, for each row of --input: digits, or a .npy, .npz or .csv.  [default: those of --input "
        "digits, or a random linear teacher's]",
    ),
    click.option(
        "--train-steps",
        type=int,
        default=0,
        show_default=True,
        metavar="N",
        help="Train the first network by N steps of plain SGD after the probe.",
    ),
    click.option("--learning-rate", type=float, default=0.1, show_default=True, metavar="R", help="Of --train-steps."),
)


def experiment_options(command: Command) -> Command:
    """Give a command every option of an experiment but `--init` and `--act`, and those of `loss_options`."""
    return _with_options(command, _OPTIONS)


def loss_options(command: Command) -> Command:
    """Give a command the options of a real loss and of training."""
    return _with_options(command, _LOSS_OPTIONS)


def _with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def scales(options: Mapping[str, Any]) -> dict[str, Spec]:
    """`--init` and `--bias-init` from the scales of the mean-field papers, `sigma_w^2 = fan_in Var(W)`.

    Raises:
        ConfigError: neither or both ways are used, or a scale is no number of at least 0.
    """
    from initprobe.config.names import scaled
    from initprobe.errors import ConfigError
    from initprobe.spec import parse_number

    if options.get("weights") is not None:
        return _no_scales(options)
    if (options["init"] is None) == (options["sigma_w"] is None):
        other = ", or --weights FILE" if "weights" in options else ""
        raise ConfigError(f"give one of --init NAME and --sigma-w S{other}; `initprobe list initializers` shows names")
    if options["bias_init"] is not None and options["sigma_b"] is not None:
        raise ConfigError("give --bias-init or --sigma-b, not both")
    given = {name: options[name] for name in ("sigma_w", "sigma_b") if options[name] is not None}
    with named_as_options(given):
        return scaled(**{name: parse_number(text) for name, text in given.items()})


def _no_scales(options: Mapping[str, Any]) -> dict[str, Spec]:
    """Nothing, for weights from a file, which have a scale of their own.

    Raises:
        ConfigError: one is given.
    """
    from initprobe.errors import ConfigError

    for name in ("sigma_w", "sigma_b"):
        if options[name] is not None:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option}: {options['weights']} has the weights and the biases; drop it")
    return {}


@contextmanager
def named_as_options(fields: Container[str]) -> Iterator[None]:
    """Complaints name the option that was typed, not the field behind it."""
    from initprobe.errors import ConfigError

    try:
        yield
    except ConfigError as error:
        if error.field not in fields:
            raise
        raise error.at(field=f"--{error.field.replace('_', '-')}") from None


_FIELDS = ("init", "act", "bias_init", "layers", "width", "input_width", "standardize")
_MORE_FIELDS = ("norm", "residual", "block", "branch_scale", "zero_init_last", "batch", "batches", "seed")
# Where they are not given, a file of weights decides them.
_LEFT_OPEN = {"input_": "input", "draws": "draws", "dtype": "dtype", "weights": "weights"}
# Not every command that runs experiments offers these.
_OFFERED_FIELDS = ("loss", "classes", "labels", "train_steps", "learning_rate", "full_weight_gradient")


def config_from(options: Mapping[str, Any]) -> ProbeConfig:
    """The experiment from the options; its complaints name the option, not the field."""
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.config.resolved import check_resolved

    fields = {name: options[name] for name in (*_FIELDS, *_MORE_FIELDS)}
    fields |= {name: options[name] for name in _OFFERED_FIELDS if name in options}
    fields |= {field: options[name] for name, field in _LEFT_OPEN.items() if options.get(name) is not None}
    with named_as_options(ProbeConfig.model_fields):
        config = ProbeConfig(
            widths=_widths(options["widths"]),
            thresholds=_thresholds(options["thresholds"]),
            **fields,
        )
        return check_resolved(config)


def _widths(text: str | None) -> tuple[int, ...] | None:
    from initprobe.errors import ConfigError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--widths: {text!r} is not a list of whole numbers like 750,700,650") from None


def _thresholds(texts: Sequence[str]) -> dict[str, float]:
    from initprobe.config.thresholds import Thresholds
    from initprobe.errors import ConfigError
    from initprobe.registry import suggestion
    from initprobe.spec import parse_number

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--threshold: {text!r} is not NAME=VALUE, as in saturated=0.3")
        if name not in Thresholds.model_fields:
            hint = suggestion(name, list(Thresholds.model_fields)) or " `initprobe list thresholds` shows all."
            raise ConfigError(f"--threshold: unknown limit {name!r}.{hint}")
        found[name] = parse_number(value)
    return found
