"""The options that describe an experiment, in groups that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from initprobe.cli.measured_extras import formats_option, optimizer_option
from initprobe.cli.parameters import DtypeChoice, option


def threads_option() -> Any:
    """`--threads`, which several commands have."""
    return option("--threads", type=int, metavar="N", help="Threads; results do not depend on N.  [default: all]")


@dataclass(frozen=True, kw_only=True)
class WeightOptions:
    """Where the weights come from: a named initializer, the scales of the mean-field papers, or a file."""

    init: str | None = option(
        "--init",
        metavar="NAME[:key=value,...]",
        help="Weight initializer: xavier, he, lecun, orthogonal, normal:std=0.01, he:mode=fan_out, xavier:gain=5/3, "
        "torch_linear, ... `initprobe list initializers` shows all. Or your own function: package.module:name.",
    )
    sigma_w: str | None = option(
        "--sigma-w",
        metavar="S",
        help="Instead of --init: normal weights with std S / sqrt(fan_in), the coordinate of mean-field papers.",
    )
    sigma_b: str | None = option("--sigma-b", metavar="S", help="Instead of --bias-init: normal biases with std S.")
    weights: str | None = option(
        "--weights",
        metavar="FILE.npz",
        help="Instead of --init and the shape: the arrays W1, b1, W2, ... of a network, as --save-weights writes them. "
        "The file's input x is used unless --input names another. Or the state_dict of a PyTorch nn.Sequential, saved "
        "by numpy.savez.",
    )


@dataclass(frozen=True, kw_only=True)
class WeightListOptions:
    """Several initializers to compare."""

    inits: tuple[str, ...] = option("--init", multiple=True, metavar="NAME[:...]", help="Initializer; repeatable.")
    sigma_ws: tuple[str, ...] = option(
        "--sigma-w", multiple=True, metavar="S", help="Normal weights with std S / sqrt(fan_in); repeatable."
    )
    sigma_b: str | None = option("--sigma-b", metavar="S", help="Instead of --bias-init: normal biases with std S.")

    def choices(self) -> list[WeightOptions]:
        """The weights of each network, in the order given.

        Raises:
            ConfigError: none is given.
        """
        from initprobe.errors import ConfigError

        if not (self.inits or self.sigma_ws):
            raise ConfigError("give --init NAME or --sigma-w S; repeat them to compare several")
        named = [WeightOptions(init=init, sigma_b=self.sigma_b) for init in self.inits]
        return named + [WeightOptions(sigma_w=scale, sigma_b=self.sigma_b) for scale in self.sigma_ws]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Shape, input and parts of a network."""

    bias_init: str | None = option(
        "--bias-init",
        metavar="NAME[:key=value,...]",
        help="Bias initializer, for example normal:std=0.1.  [default: zeros, or the biases of a framework's default]",
    )
    layers: int | None = option("--layers", type=int, metavar="N", help="Number of layers.  [default: 10]")
    width: int | None = option("--width", type=int, metavar="N", help="Units per layer.  [default: 500]")
    widths: str | None = option(
        "--widths", metavar="N,N,...", help="Units of each layer: 750,700,650. Replaces --layers and --width."
    )
    input_width: int | None = option(
        "--input-width", type=int, metavar="N", help="Input features.  [default: the first width]"
    )
    input_: str | None = option(
        "--input",
        metavar="SOURCE",
        help="gaussian[:std=..,mean=..,correlation=..], uniform[:low=..,high=..], digits (1797 images, included), or a "
        ".npy, .npz or .csv file of your data, (samples, features).  [default: gaussian]",
    )
    standardize: bool = option(
        "--standardize", is_flag=True, help="Give each feature of real data mean 0 and variance 1."
    )
    norm: str = option(
        "--norm",
        default="none",
        show_default=True,
        metavar="none|layer|batch",
        help="Normalize z before the activation: over the units of each sample, or over the batch.",
    )
    residual: bool = option(
        "--residual", is_flag=True, help="Add the input of a layer to its output where the widths agree: h + s phi(z)."
    )
    block: int = option(
        "--block",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Layers per branch of --residual. With N > 1 the last layer of a branch has no activation and no norm.",
    )
    branch_scale: str = option(
        "--branch-scale",
        default="1",
        show_default=True,
        metavar="S",
        help="The s of --residual: a number, 1/L or 1/sqrt(2L), where L is the number of layers. Training learns s if "
        "it is 0.",
    )
    zero_init_last: bool = option(
        "--zero-init-last",
        is_flag=True,
        help="Start the last layer of each branch with weights of 0 (with --block 2 as in Fixup).",
    )
    seed: int = option(
        "--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of all random numbers."
    )


@dataclass(frozen=True, kw_only=True)
class MeasurementOptions:
    """How much is measured, in which precision, and the limits of the verdict."""

    batch: int | None = option(
        "--batch", type=int, metavar="N", help="Samples per batch.  [default: 1000, or all samples of real data]"
    )
    batches: int = option(
        "--batches",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Batches per network, measured as one large batch that needs the memory of one small batch.",
    )
    full_weight_gradient: bool = option(
        "--full-weight-gradient",
        is_flag=True,
        help="Compute all of dL/dW, also where the batch is smaller than the width. By default its percentiles, "
        "extremes and histogram are then those of 128 rows. Mean and variance are always of all entries.",
    )
    draws: int | None = option("--draws", type=int, metavar="N", help="Independent networks.  [default: 4]")
    number_formats: str | None = formats_option()
    dtype: Literal["float32", "float64"] | None = option(
        "--dtype", type=DtypeChoice(["float32", "float64"]), help="Precision of the network.  [default: float32]"
    )
    thresholds: tuple[str, ...] = option(
        "--threshold",
        multiple=True,
        metavar="NAME=VALUE",
        help="A limit of the verdict: saturated=0.3; repeatable. `initprobe list thresholds` shows all.",
    )


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """A loss behind the network, and training."""

    loss: str = option(
        "--loss",
        default="random",
        show_default=True,
        metavar="random|cross-entropy|mse",
        help="Also start a backward pass from a loss behind a linear read-out, and compare the loss with chance.",
    )
    classes: int | None = option(
        "--classes", type=int, metavar="K", help="Classes of the loss.  [default: those of --labels, or 10]"
    )
    labels: str | None = option(
        "--labels",
        metavar="SOURCE",
        help="A class from 0 to K-1 per row of --input: digits, or a .npy, .npz or .csv file.  [default: those of "
        "--input digits, else the classes of a random linear teacher]",
    )
    train_steps: int = option(
        "--train-steps",
        type=int,
        default=0,
        show_default=True,
        metavar="N",
        help="After the probe, train the first network for N steps of plain SGD.",
    )
    learning_rate: float | None = option(
        "--learning-rate",
        "--lr",
        type=float,
        metavar="R",
        help="Learning rate of --train-steps and --optimizer.  [default: 0.1, of Adam 0.001]",
    )
    optimizer: Literal["sgd", "adam", "adamw"] | None = optimizer_option()
