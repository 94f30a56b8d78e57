"""`ProbeConfig`: one experiment, validated and frozen."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Container, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Unpack

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from initprobe.activations import ACTIVATIONS, Activation
from initprobe.config_fields import ConfigFields
from initprobe.datasets import Dataset
from initprobe.errors import ConfigError
from initprobe.files import is_file
from initprobe.fits import Autoencoder
from initprobe.functions import imported, is_unseen, own, reference
from initprobe.grammar import Spec, Value, build, of_depth, parse_spec, parse_value
from initprobe.initializers import INITIALIZERS, Initializer
from initprobe.inputs import DATASETS, INPUTS, SUFFIXES, Noise
from initprobe.losses import LOSSES, Loss
from initprobe.norms import NORMS
from initprobe.own_init import imported_initializer, own_initializer
from initprobe.registry import Registry, suggestion
from initprobe.thresholds import Thresholds
from initprobe.weights import Network, read_weights

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DEFAULT_LAYERS = 10
DEFAULT_WIDTH = 500
DEFAULT_BATCH = 1000


def resolve(registry: Registry[Any], spec: Spec) -> Any:
    """The record that `spec` names, made with its parameters.

    Raises:
        ConfigError: an unknown name or parameter, or one that the record refuses.
    """
    record = registry[spec.name]
    if record.make is None and not spec.params:
        return record
    if record.make is None:
        raise ConfigError(f"{spec.name} takes no parameters, but {', '.join(spec.params)} is given")
    return build(record.make, spec)


def scaled(sigma_w: float | None = None, sigma_b: float | None = None) -> dict[str, Spec]:
    """`init` and `bias_init` from the scales of the mean-field papers: `sigma_w^2 = fan_in Var(W)`, `sigma_b = std(b)`.

    Raises:
        ConfigError: a scale is below 0, or its square beyond the float range.
    """
    for name, scale in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if scale is not None and not (scale >= 0 and scale * scale < math.inf):
            raise ConfigError(f"{name}: {scale:g} must be at least 0{'' if scale < 0 else ' and below 1e154'}")
    found = {}
    if sigma_w is not None:
        found["init"] = Spec("variance_scaling", {"scale": float(sigma_w * sigma_w)})
    if sigma_b is not None:
        found["bias_init"] = Spec("normal", {"std": float(sigma_b)})
    return found


def as_spec(value: object, parse: Callable[[str], Spec] = parse_spec) -> Spec:
    """A specification from text, from a mapping with a `name`, or as it is.

    Raises:
        ConfigError: anything else, or text that is not of the grammar.
    """
    if isinstance(value, Spec):
        return value
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        named = parse(value["name"])
        params = {key: _scalar(key, v) for key, v in value.items() if key != "name"}
        if twice := named.params.keys() & params.keys():
            raise ConfigError(f"{named.name}: {min(twice)} is given twice")
        return Spec(named.name, {**named.params, **params})
    raise ConfigError(f"{value!r} is not a name, name:key=value,... or a mapping with a name")


def _scalar(key: object, value: object) -> Value:
    """A parameter of a mapping: a number, true, false, or text as on the command line."""
    if isinstance(key, str) and isinstance(value, bool | int | float | str):
        return value if isinstance(value, bool) else parse_value(str(value))
    raise ConfigError(f"{key}: {value!r} is not a number, true, false or a word")


def as_activation(value: object) -> Spec:
    """As `as_spec`, and `package.module:name` of a function or record of one's own."""
    return as_spec(value, lambda text: reference(text) or parse_spec(text))


def activation_of(spec: Spec) -> Activation:
    """The activation that `spec` names: one that ships, or one's own.

    Raises:
        ConfigError: there is no such activation, or it cannot serve as one.
    """
    if ":" in spec.name:
        return imported(spec)
    found: Activation = resolve(ACTIVATIONS, spec)
    return found


def as_initializer(value: object) -> Spec:
    """As `as_spec`, and `package.module:name` of a function or record of one's own."""
    return as_spec(value, lambda text: reference(text, INITIALIZERS) or parse_spec(text))


def initializer_of(spec: Spec) -> Initializer:
    """The initializer that `spec` names: one that ships, or one's own.

    Raises:
        ConfigError: there is no such initializer, or it cannot serve as one.
    """
    if ":" in spec.name:
        return imported_initializer(spec)
    found: Initializer = resolve(INITIALIZERS, spec)
    return found


def _initializer_spec(value: object) -> Spec | Initializer:
    if isinstance(value, Initializer):
        return value
    if callable(value):
        return own_initializer(value)
    spec = as_initializer(value)
    initializer_of(spec)
    return spec


def _activation_spec(value: object) -> Spec | Activation:
    if isinstance(value, Activation):
        return value
    if callable(value):
        return own(value)
    spec = as_activation(value)
    activation_of(spec)
    return spec


def as_input(value: object) -> Spec | Path:
    """Noise or a data set that ships by name, or the path of a file of data.

    Raises:
        ConfigError: neither of the two.
    """
    if isinstance(value, Path) or (isinstance(value, str) and _is_path(value, INPUTS)):
        return _writable_in_json(Path(value))
    spec = as_spec(value)
    resolve(INPUTS, spec)
    return spec


def _is_path(text: str, names: Container[str]) -> bool:
    """A suffix or a slash makes a path; a name that ships is one whatever lies in the directory."""
    name = text.partition(":")[0]
    return text.lower().endswith(SUFFIXES) or "/" in name or (name.strip() not in names and _is_file(text))


def _labels(value: object) -> Spec | Path:
    """The labels of a data set that ships, by its name, or the path of a file.

    Raises:
        ConfigError: neither of the two.
    """
    if isinstance(value, Spec) or (isinstance(value, str) and not _is_path(value, DATASETS)):
        spec = as_spec(value)
        if spec.name not in DATASETS:
            raise ConfigError(f"{spec} is neither a file of labels nor one of {', '.join(DATASETS)}")
        resolve(DATASETS, spec)
        return spec
    if isinstance(value, str | Path):
        return _writable_in_json(Path(value))
    raise ConfigError(f"{value!r} is not a file of labels or one of {', '.join(DATASETS)}")


def _writable_in_json(path: Path) -> Path:
    """The path, if a result can say it.

    Raises:
        ConfigError: it holds bytes that are not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{path}: the name is not UTF-8, and no result could say it; rename the file") from None
    return path


DataFile = Annotated[Path, AfterValidator(_writable_in_json)]


def _is_file(text: str) -> bool:
    """A file of that name is here; a name that cannot be a file's is another thing's."""
    try:
        return is_file(Path(text))
    except ConfigError:
        return False


def _in_words(value: Spec | Initializer | Activation | Path) -> str:
    return value.name if isinstance(value, Initializer | Activation) else str(value)


_NORM_NAMES = ["none", *NORMS]


def _norm_name(value: str) -> str:
    """A norm by name, in any case.

    Raises:
        ConfigError: there is no such norm.
    """
    if value.lower() == "none" or value in NORMS:
        return NORMS[value].name if value in NORMS else "none"
    raise ConfigError(f"{value!r} is not one of {', '.join(_NORM_NAMES)}.{suggestion(value, _NORM_NAMES)}")


_RANDOM = "random"
_LOSS_NAMES = [_RANDOM, *LOSSES]


def _loss_name(value: str) -> str:
    """A loss by name, in any case.

    Raises:
        ConfigError: there is no such loss.
    """
    if value.lower() == _RANDOM or value in LOSSES:
        return LOSSES[value].name if value in LOSSES else _RANDOM
    raise ConfigError(f"{value!r} is not one of {', '.join(_LOSS_NAMES)}.{suggestion(value, _LOSS_NAMES)}")


def _branch_scale(value: object) -> float | str:
    """A number, or text with L in it as it is typed, which is read when L is known.

    Raises:
        ConfigError: neither of the two.
    """
    if isinstance(value, str):
        return value.strip() if "L" in value else of_depth(value, 1)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{value!r} is not a finite number or text like 1/sqrt(2L)")
    return float(value)


class _Named(BaseModel):
    """`{name: normal, std: 0.01}`: a name and its parameters, in the JSON Schema."""

    model_config = ConfigDict(extra="allow", title="Named")
    __pydantic_extra__: dict[str, float | bool | str]

    name: str


def _validator(read: Any, examples: Sequence[str]) -> BeforeValidator:
    """Reads text and mappings; the JSON Schema gives the known names as examples, since a name may have parameters."""
    text = Annotated[str, Field(examples=list(examples))]
    return BeforeValidator(read, json_schema_input_type=text | _Named)


_WORDS = PlainSerializer(_in_words, return_type=str)
_INITIALIZERS = [*(record.example for record in INITIALIZERS.values()), "my.module:name"]
InitializerSpec = Annotated[Spec | Initializer, _validator(_initializer_spec, _INITIALIZERS), _WORDS]
ActivationSpec = Annotated[Spec | Activation, _validator(_activation_spec, [*ACTIVATIONS, "my.module:name"]), _WORDS]
InputSpec = Annotated[Spec | Path, _validator(as_input, [*INPUTS, "data.npy"]), _WORDS]
LabelsSpec = Annotated[Spec | Path, _validator(_labels, [*DATASETS, "labels.npy"]), _WORDS]
NormName = Annotated[str, AfterValidator(_norm_name), WithJsonSchema({"enum": _NORM_NAMES, "type": "string"})]
BranchScale = Annotated[
    float | str,
    BeforeValidator(_branch_scale, json_schema_input_type=float | Annotated[str, Field(examples=["1/sqrt(2L)"])]),
]
LossName = Annotated[str, AfterValidator(_loss_name), WithJsonSchema({"enum": _LOSS_NAMES, "type": "string"})]
# Far beyond what any machine measures; more is a slip of the hand.
MOST_LAYERS, MOST_UNITS, MOST_SAMPLES, MOST_REPEATS, MOST_CLASSES = 100_000, 10**7, 10**9, 10**6, 100_000
Units = Annotated[int, Field(ge=1, le=MOST_UNITS, strict=True)]
Repeats = Annotated[int, Field(ge=1, le=MOST_REPEATS, strict=True)]


class ProbeConfig(BaseModel):
    """One experiment: a network, its input, and how often it is drawn.

    Args:
        init: weight initializer: a name, `name:key=value,...`, `package.module:name` of a function
            `f(rng, fan_in, fan_out, shape)` or an `Initializer` of your own, or such a function or record itself;
            absent where there are `weights`.
        act: activation: a name, `name:key=value,...`, `package.module:name` of a vectorised function or an `Activation`
            of your own, or such a function or record itself.
        weights: .npz of a network, W1.., b1.., as `--save-weights` writes it, in place of `init` and of the shape. It
            is one network, so `draws` is 1; its dtype and its input x count where `dtype` and `input` are not given.
        bias_init: bias initializer; None means zeros, or the one that comes with `init`.
        layers: number of layers; None means the length of `widths`, or 10.
        width: units of every layer, where `widths` is not given.
        widths: units of each layer.
        input_width: input features; None means those of the data, or the first layer's width.
        input: `gaussian[:std=..,mean=..,correlation=..]`, `uniform[:low=..,high=..]`, `digits`, which ships, or a .npy,
            .npz or .csv file.
        standardize: shift and scale every feature of real data to mean 0 and variance 1.
        batch: samples in a batch; None means 1000, or all rows of real data.
        batches: batches sent through the same weights, merged as if they were one.
        draws: independent networks, each with its own synthetic input.
        seed: seed of everything random.
        norm: what brings z to mean 0 and variance 1 before the activation: `layer`, over the units of each sample,
            or `batch`, over the samples of each unit; its learnable scale and shift are at their start, 1 and 0.
        residual: add a branch to what it is given, `h + branch_scale phi(z)`, where it is as wide as that.
        block: layers of a branch. One of several has no activation, and so no norm, after its last: for 2 it is
            `h + branch_scale (phi(h W1 + b1) W2 + b2)`. `layers` must be a multiple of it.
        branch_scale: of the branches of a residual net: a number, or text in which L is the number of layers, as in
            `1/sqrt(2L)`. Training learns a scale of 0, as in ReZero, and no other.
        zero_init_last: start with weights of 0 in the last layer of each branch, so that the gradient passes unchanged,
            and the signal where `phi(0) = 0` or `block` is above 1. Branches of several layers open in training, as in
            Fixup: the last layer learns at once, from `phi(z1)' dL/dh`, and the others from the second step on. A
            branch of one layer gets `h' dL/dh phi'(b)`, which for ReLU without biases is 0, so that it never learns.
        loss: what else starts a backward pass: `random` for N(0, 1) alone, or `cross-entropy` or `mse` behind a linear
            read-out, whose gradients then stand beside those of the random start.
        classes: classes of the loss; None means those of `labels`, or 10.
        labels: file of a whole number from 0 on for every row of `input`, or `digits`; None means the labels that come
            with `input: digits`, or those of a random linear teacher.
        train_steps: steps of plain SGD after the probe, on the first network; cross-entropy if `loss` is `random`.
        learning_rate: of these steps.
        dtype: precision of the network; statistics are taken in float64 either way.
        full_weight_gradient: make dL/dW whole where its mean and variance can be had for less, and percentiles,
            extremes and histogram from some of its rows.
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
    loss: LossName = _RANDOM
    classes: Annotated[int, Field(ge=2, le=MOST_CLASSES, strict=True)] | None = None
    labels: LabelsSpec | None = None
    train_steps: Annotated[int, Field(ge=0, le=MOST_SAMPLES, strict=True)] = 0
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    dtype: Literal["float32", "float64"] = "float32"
    full_weight_gradient: bool = False
    thresholds: Thresholds = Thresholds()

    def __init__(self, /, **data: Unpack[ConfigFields]) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ConfigError(_first_fault(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, given: Any) -> Any:
        """What a file of weights decides unless it is given: one draw, its dtype, its input."""
        if not isinstance(given, dict) or not isinstance(given.get("weights"), str | Path):
            return given
        path = Path(given["weights"])
        network = read_weights(path)
        source = {"input": path} if network.x else {}
        return {"draws": 1, "dtype": network.dtype, **source, **given}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_weights(self)
        if self.widths is not None:
            _check_widths(self.widths, self.layers, self.width)
        _check_fit(self)
        bias = self.bias_initializer
        if self.bias_init is not None and bias.needs_fan:
            raise ConfigError(
                f"bias_init: {bias.name} depends on the layer's size, which a bias does not have; "
                "use zeros, normal:std=0.1 or constant:value=0.1"
            )
        if self.standardize and self.noise is not None:
            raise ConfigError("standardize is for data from a file, or digits; synthetic input takes std= and mean=")
        for name in ("block", "branch_scale", "zero_init_last"):
            if not self.residual and getattr(self, name) != type(self).model_fields[name].default:
                raise ConfigError(f"{name} is for the branches of a residual net; give residual too")
        for name in ("classes", "labels"):
            if self.objective is None and getattr(self, name) is not None:
                raise ConfigError(f"{name}: is for a loss; give loss cross-entropy or mse, or train_steps")
        _check_labels(self)
        _check_block(self)
        if self.branch_factor == 0 and self.zero_init_last:  # complains too where it is no number at this depth
            raise ConfigError("zero_init_last: with a branch_scale of 0 neither would ever learn; give one of the two")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without later fields at their defaults, so that the text of a config, and its key, are what they were."""
        whole: dict[str, Any] = dump(self)
        fields = type(self).model_fields
        return {name: value for name, value in whole.items() if name not in _LATER or value != fields[name].default}

    def __getstate__(self) -> dict[Any, Any]:
        # The records made from specifications hold functions, which do not travel; another process makes its own.
        state = super().__getstate__()
        return state | {"__dict__": {name: state["__dict__"][name] for name in ProbeConfig.model_fields}}

    @cached_property
    def network(self) -> Network | None:
        """The network in the file of weights; None where weights are drawn.

        Raises:
            InputError: the file cannot be read as one.
        """
        return None if self.weights is None else read_weights(self.weights, self.dtype)

    @cached_property
    def initializer(self) -> Initializer:
        """The weight initializer, fitted to the activation where it asks for that; a stand-in for weights from a file.

        Raises:
            ConfigError: it cannot be fitted to this activation.
        """
        if self.network is not None:
            return self.network.initializer
        assert self.init is not None
        found = self.init if isinstance(self.init, Initializer) else initializer_of(self.init)
        if found.tuning is None or is_unseen(self.activation):
            return found
        from initprobe.tuning import tuned  # brings the mean-field maps, which only these names need here

        return tuned(found, self.activation)

    @cached_property
    def bias_initializer(self) -> Initializer:
        """The bias initializer: the one asked for, the one that comes with the weights, or zeros."""
        if isinstance(self.bias_init, Spec):
            return initializer_of(self.bias_init)
        return self.bias_init or self.initializer.bias or INITIALIZERS["zeros"]

    @cached_property
    def activation(self) -> Activation:
        """The activation."""
        return self.act if isinstance(self.act, Activation) else activation_of(self.act)

    @cached_property
    def noise(self) -> Noise | None:
        """The synthetic input, or None where it is real data."""
        found = None if isinstance(self.input, Path) else resolve(INPUTS, self.input)
        return found if isinstance(found, Noise) else None

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
    def branch_factor(self) -> float:
        """`branch_scale` as a number, for this number of layers."""
        if isinstance(self.branch_scale, str):
            try:
                return of_depth(self.branch_scale, self.depth)
            except ConfigError as error:
                raise ConfigError(f"branch_scale: {error}") from None
        return self.branch_scale

    @property
    def objective(self) -> Loss | None:
        """The loss to be reported and trained, or None."""
        if self.loss != _RANDOM:
            return LOSSES[self.loss]
        return LOSSES["cross-entropy"] if self.train_steps else None

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


# Fields that configs in older stores and results do not have.
_LATER = ("weights", "block")
# What a file of weights decides.
_OF_THE_FILE = ("init", "bias_init", "layers", "width", "widths", "input_width")


def _check_weights(config: ProbeConfig) -> None:
    """Weights are either drawn or read, and what is read is one network of one shape."""
    if config.weights is None:
        if config.init is None:
            raise ConfigError("init is missing; name an initializer, or give weights")
        return
    _ = config.network  # complains of a file that cannot be read
    for name in _OF_THE_FILE:
        if getattr(config, name) is not None:
            raise ConfigError(f"{name}: {config.weights} has the weights, the biases and their shape; drop it")
    if config.zero_init_last:
        raise ConfigError(f"zero_init_last: {config.weights} has the weights; drop it")
    if config.draws > 1:
        raise ConfigError(f"draws: {config.weights} is one network, and there is nothing to draw; drop it")


def _check_labels(config: ProbeConfig) -> None:
    """Labels belong to rows of real data, and those of a data set that ships to that one."""
    if config.labels is None:
        return
    if config.noise is not None:
        raise ConfigError("labels: are for real data; a random linear teacher labels synthetic input")
    source = config.labels_source
    if isinstance(source, Dataset) and source is not config.dataset:
        raise ConfigError(f"labels: {source.name} labels the input {source.name}, not {config.input}; give a file")


def _check_fit(config: ProbeConfig) -> None:
    """Weights that are fitted to the data take a plain net, and as many samples as a step of theirs."""
    init = config.initializer
    if init.fit is None:
        return
    if not config.is_plain:
        raise ConfigError(f"init: {init.name} fits the layers of a plain net; drop norm and residual")
    if config.batch is not None:
        check_fit_samples(config, config.batch)


def check_fit_samples(config: ProbeConfig, samples: int) -> None:
    """Make sure that the first batch has the samples that its initializer learns from.

    Raises:
        ConfigError: it has fewer than a step of SGD takes.
    """
    fit = config.initializer.fit
    if isinstance(fit, Autoencoder) and fit.samples_of(samples) < (fit.batch or 0):
        raise ConfigError(
            f"init: autoencoder learns from the first batch, whose {samples} samples are fewer than the {fit.batch} of "
            f"a step; raise batch, or write autoencoder:batch={samples}"
        )


def _check_block(config: ProbeConfig) -> None:
    """Every layer is in a block, so that one more layer is never a branch of another kind."""
    layers = len(config.layer_widths)
    if layers % config.block:
        near = max(layers - layers % config.block, config.block)
        raise ConfigError(
            f"block: {layers} layers cannot be cut into blocks of {config.block}; "
            f"give a multiple of {config.block} layers, such as {near}"
        )


def _check_widths(widths: tuple[int, ...], layers: int | None, width: int | None) -> None:
    if not widths:
        raise ConfigError("widths is empty; give at least one layer, as in 500,400,300")
    if layers not in (None, len(widths)):
        raise ConfigError(f"layers is {layers}, but widths names {len(widths)}; drop one of the two")
    if width is not None:
        raise ConfigError("give width (every layer) or widths (each layer), not both")


def _first_fault(error: ValidationError) -> str:
    """pydantic's first complaint as one line that names the field and what it takes."""
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"] if not str(part).startswith(("function", "is-instance")))
    return fault_text(fault, field, list(ProbeConfig.model_fields))


def fault_text(fault: ErrorDetails, field: str, known: Sequence[str], kind: str = "field") -> str:
    """A complaint of pydantic's in words that name the field and what it takes; `known` are the fields there are."""
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        text = str(cause)
        return text if not field or text.startswith(field) else f"{field}: {text}"
    if fault["type"] == "extra_forbidden":
        return f"unknown {kind} {field!r}.{suggestion(field, known)}"
    if fault["type"] == "missing":
        return f"{field} is missing"
    return f"{field}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {reprlib.repr(fault['input'])}"
