"""`ProbeConfig`: one experiment, validated and frozen."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Unpack

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from initprobe.activations.losses import LOSSES, Loss
from initprobe.activations.record import Activation
from initprobe.arrays import plain
from initprobe.config.arguments import ConfigFields
from initprobe.config.consistency import check_bias, check_fields, check_fit, first_fault
from initprobe.config.fields import (
    MOST_CLASSES,
    MOST_LAYERS,
    MOST_SAMPLES,
    RANDOM,
    ActivationSpec,
    BranchScale,
    DataFile,
    FormatNames,
    InitializerSpec,
    InputSpec,
    LabelsSpec,
    LossName,
    NormName,
    Repeats,
    Units,
)
from initprobe.config.names import initializer_of, is_imported, resolve
from initprobe.config.resolved import Resolved
from initprobe.config.resolved import resolve as resolve_names
from initprobe.config.thresholds import Thresholds
from initprobe.data.datasets import Dataset
from initprobe.data.noise import DATASETS, INPUTS, Noise
from initprobe.engine.optimizers import default_rate
from initprobe.errors import ConfigError, at_field
from initprobe.initializers.record import Initializer
from initprobe.spec import Spec, of_depth

if TYPE_CHECKING:
    from initprobe.initializers.weight_files import Network

DEFAULT_LAYERS = 10
DEFAULT_WIDTH = 500
DEFAULT_BATCH = 1000


class ProbeConfig(BaseModel):
    """One experiment: a network, its input, and how often it is drawn.

    It is frozen. Making one checks the fields alone; `resolved.py` reads files and imports functions later.

    Args:
        init: weight initializer. A name, `name:key=value,...`, or `package.module:name` of your own. The latter is a
            function `f(rng, fan_in, fan_out, shape)` or an `Initializer`; both can be given directly. None with
            `weights`.
        act: activation. A name, `name:key=value,...`, or `package.module:name` of your own. The latter is a vectorised
            function or an `Activation`; both can be given directly.
        weights: .npz of a network with the arrays W1.., b1.., as `--save-weights` writes it. It replaces `init` and the
            shape, and `draws` is 1. Its dtype and its input x are the defaults of `dtype` and `input`.
        bias_init: bias initializer; None means zeros, or the one that comes with `init`.
        layers: number of layers; None means the length of `widths`, or 10.
        width: units of every layer, if `widths` is not given; None means 500.
        widths: units of each layer.
        input_width: features of the input; None means those of the data, or the width of the first layer.
        input: `gaussian[:std=..,mean=..,correlation=..]`, `uniform[:low=..,high=..]`, `digits`, or a .npy, .npz or .csv
            file of shape `(samples, features)`.
        standardize: shift and scale every feature of real data to mean 0 and variance 1.
        batch: samples in a batch; None means 1000, or all rows of real data.
        batches: batches through the same weights, merged as if they were one.
        draws: independent networks, each with its own synthetic input.
        seed: of all random numbers.
        norm: brings z to mean 0 and variance 1 before the activation. `layer` does so over the units of each sample,
            `batch` over the samples of each unit. Its learnable scale and shift start at 1 and 0.
        residual: add a branch to its own input, `h + branch_scale phi(z)`, where both have the same width.
        block: layers of a branch, which divide `layers`. Of several, the last has no activation and no norm: for 2 it
            is `h + branch_scale (phi(h W1 + b1) W2 + b2)`.
        branch_scale: of the branches of a residual net. It is a number, or text with L for the number of layers, as in
            `1/sqrt(2L)`. Training learns a scale of 0, as in ReZero, and no other.
        zero_init_last: the last layer of each branch starts with weights of 0, as in Fixup. The gradient then passes
            unchanged; so does the signal if `phi(0) = 0` or `block` is above 1. In training the last layer of a branch
            learns at once, from `phi(z1)' dL/dh`, the others from the second step on. A branch of one layer gets
            `h' dL/dh phi'(b)`. For ReLU without biases this is 0, so it never learns.
        loss: a second start of the backward pass: `cross-entropy` or `mse` behind a linear read-out. The gradients of
            such a loss stand beside those of N(0, 1) entries. `random` is for the latter alone.
        classes: of the loss; None means those of `labels`, or 10.
        labels: `digits`, or a file with a whole number from 0 on per row of `input`. None means the labels of
            `input: digits`, or those of a random linear teacher.
        train_steps: steps of plain SGD after the probe, on the first network; with cross-entropy if `loss` is `random`.
        learning_rate: of these steps, and of the step of `optimizer`; the default of Adam is 0.001.
        optimizer: `sgd`, `adam` or `adamw`. Report how far one step moves each layer of the first network. With
            `sgd`, report the largest curvature of the loss too. The loss is cross-entropy if `loss` is `random`.
        dtype: precision of the network; statistics are taken in float64 either way.
        full_weight_gradient: compute all of dL/dW, also where its mean and variance cost less. Otherwise its
            percentiles, extremes and histogram are those of some rows.
        formats: small formats, such as `float16`. For each, the result has the shares of every tensor that it would
            lose. All of dL/dW is then computed.
        thresholds: limits of the verdict, by name: `{"saturated": 0.3}`.

    Raises:
        ConfigError: in one line, what is wrong and what to do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    init: InitializerSpec | None = None
    act: ActivationSpec
    weights: DataFile | None = None
    bias_init: InitializerSpec | None = None
    layers: Annotated[int, Field(ge=1, le=MOST_LAYERS, strict=True)] | None = None
    width: Units | None = None
    widths: Annotated[tuple[Units, ...], Field(max_length=MOST_LAYERS)] | None = None
    input_width: Units | None = None
    input: InputSpec = Spec("gaussian", {})
    standardize: bool = False
    batch: Annotated[int, Field(ge=2, le=MOST_SAMPLES, strict=True)] | None = None
    batches: Repeats = 1
    draws: Repeats = 4
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    norm: NormName = "none"
    residual: bool = False
    block: Annotated[int, Field(ge=1, le=MOST_LAYERS, strict=True)] = 1
    branch_scale: BranchScale = 1.0
    zero_init_last: bool = False
    loss: LossName = RANDOM
    classes: Annotated[int, Field(ge=2, le=MOST_CLASSES, strict=True)] | None = None
    labels: LabelsSpec | None = None
    train_steps: Annotated[int, Field(ge=0, le=MOST_SAMPLES, strict=True)] = 0
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    optimizer: Literal["sgd", "adam", "adamw"] | None = None
    dtype: Literal["float32", "float64"] = "float32"
    full_weight_gradient: bool = False
    formats: FormatNames = ()
    thresholds: Thresholds = Thresholds()

    def __init__(self, /, **data: Unpack[ConfigFields]) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise first_fault(error, list(type(self).model_fields)) from None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_others(cls, given: Any) -> Any:
        """A file of weights is one network, so one draw is the default beside it. Adam has a rate of its own.

        NumPy's numbers become those of Python.
        """
        if not isinstance(given, dict):
            return given
        given = {name: plain(value) for name, value in given.items()}
        one_network = {"draws": 1} if given.get("weights") is not None else {}
        own_rate = {"learning_rate": default_rate("adam")} if str(given.get("optimizer")).startswith("adam") else {}
        return {**one_network, **own_rate, **given}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_fields(self)
        if self.init is not None and not is_imported(self.init):
            check_fit(self, self.init if isinstance(self.init, Initializer) else initializer_of(self.init))
        if self.bias_init is not None and not is_imported(self.bias_init):
            check_bias(self.bias_init if isinstance(self.bias_init, Initializer) else initializer_of(self.bias_init))
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without later fields at their defaults, so that the text of a config, and its key, are what they were."""
        whole: dict[str, Any] = dump(self)
        fields = type(self).model_fields
        absent = {name for name in _LATER if getattr(self, name) == fields[name].default}
        return {name: value for name, value in whole.items() if name not in absent}

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """The fields that are not at their defaults, with the names of the command line."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value != field.get_default(call_default_factory=True):
                changed = value.model_dump(exclude_defaults=True) if isinstance(value, Thresholds) else value
                yield name, str(changed) if isinstance(changed, Spec) else changed

    def __getstate__(self) -> dict[Any, Any]:
        # The records made from specifications hold functions, which do not travel; another process makes its own.
        state = super().__getstate__()
        return state | {"__dict__": {name: state["__dict__"][name] for name in ProbeConfig.model_fields}}

    @cached_property
    def resolved(self) -> Resolved:
        """What the names stand for: reads the file of weights, and imports the user's own functions.

        Raises:
            ConfigError: as `resolve`.
        """
        return resolve_names(self)

    @property
    def network(self) -> Network | None:
        """The network in the file of weights; None where weights are drawn."""
        return None if self.weights is None else self.resolved.network

    @property
    def initializer(self) -> Initializer:
        """The weight initializer, with the gain of the activation where it asks for that; stands for a file too."""
        return self.resolved.initializer

    @property
    def bias_initializer(self) -> Initializer:
        """The bias initializer: the one asked for, the one that comes with the weights, or zeros."""
        return self.resolved.bias_initializer

    @property
    def activation(self) -> Activation:
        """The activation."""
        return self.resolved.activation

    @cached_property
    def noise(self) -> Noise | None:
        """The synthetic input, or None where it is real data."""
        source = None if isinstance(self.input, Path) else resolve(INPUTS, self.input)
        return source if isinstance(source, Noise) else None

    @cached_property
    def dataset(self) -> Dataset | None:
        """The input, where it is a data set that ships."""
        return None if isinstance(self.input, Path) or self.noise is not None else DATASETS[self.input.name]

    @property
    def labels_source(self) -> Dataset | Path | None:
        """Where the labels of a loss come from; None means a random linear teacher."""
        if isinstance(self.labels, Spec):
            return DATASETS[self.labels.name]
        return self.labels or self.dataset

    @property
    def has_whole_weight_gradient(self) -> bool:
        """All of dL/dW is computed."""
        return self.full_weight_gradient or bool(self.formats)

    @property
    def branch_factor(self) -> float:
        """`branch_scale` as a number, for this number of layers."""
        if isinstance(self.branch_scale, str):
            with at_field("branch_scale"):
                return of_depth(self.branch_scale, self.depth)
        return self.branch_scale

    @property
    def objective(self) -> Loss | None:
        """The loss to be reported and trained, or None."""
        if self.loss != RANDOM:
            return LOSSES[self.loss]
        return LOSSES["cross-entropy"] if self.train_steps or self.optimizer else None

    @property
    def is_plain(self) -> bool:
        """Neither normalised nor residual."""
        return self.norm == "none" and not self.residual

    @property
    def features(self) -> int | None:
        """Input features, where it is not the data that decides them."""
        return self.input_width if self.network is None else self.network.sizes[0]

    @property
    def depth(self) -> int:
        """Number of layers."""
        given = self.network.layers if self.network is not None else self.widths
        return len(given) if given else self.layers or DEFAULT_LAYERS

    @property
    def layer_widths(self) -> tuple[int, ...]:
        """Units of each layer, first to last."""
        if self.network is not None:
            return self.network.sizes[1:]
        return self.widths or (self.width or DEFAULT_WIDTH,) * (self.layers or DEFAULT_LAYERS)

    @property
    def nominal_sizes(self) -> tuple[int, ...]:
        """Features of the input, then units of each layer.

        Where the data decides the features, they count as many as the units of the first layer.
        """
        return self.features or self.layer_widths[0], *self.layer_widths


# Fields that configs in older stores and results do not have.
_LATER = ("weights", "block", "formats", "optimizer")


def require_config(config: object) -> None:
    """Make sure that an argument is a `ProbeConfig`.

    Raises:
        ConfigError: it is not, but perhaps a name or a mapping.
    """
    if not isinstance(config, ProbeConfig):
        raise ConfigError(f"must be a ProbeConfig, as in ProbeConfig(init='he', act='relu'), not {config!r:.60}")
