"""The directory name of an experiment."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from initprobe.activations.losses import LOSSES
from initprobe.activations.own import reference
from initprobe.config.probe_config import DEFAULT_BATCH, ProbeConfig
from initprobe.config.thresholds import Thresholds
from initprobe.data.noise import INPUTS
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.spec import Spec

_LONG_NUMBER = re.compile(r"\d+\.\d{5,}(?:e[-+]?\d+)?")
_LARGEST_DENOMINATOR = 99


def slug(config: ProbeConfig, sizes: Sequence[int]) -> str:
    """A directory name that is safe on any file system; experiments with different results have different names.

    Settings at their defaults are left out. What letters and digits cannot express goes into a hash at the end.

    Args:
        config: the settings.
        sizes: features of the input, then units of each layer.
    """
    words = [*_net_words(config, sizes), *_data_words(config), *_precision_words(config), *_seed_words(config)]
    return safe_name(words, _hidden(config))


def safe_name(words: Sequence[str], hidden: Sequence[str] = ()) -> str:
    """A file name from words, with a hash of the `hidden` texts and of what was cut off, if any.

    Args:
        words: joined by dashes.
        hidden: texts that only the hash shows.
    """
    text = "-".join(words)
    plain = _POSITIVE_EXPONENT.sub("e", shortened(text).replace("=", ""))  # otherwise 1e+300 would become 1e-300
    name = _UNSAFE.sub("-", plain).strip("-.")
    lost = any(float(match[0]) != _exact(_few_digits(match[0])) for match in _LONG_NUMBER.finditer(text))
    hashed = [*hidden, *([text] if lost or len(name) > _LONGEST else [])]
    return f"{name[:_LONGEST]}-{_hash(hashed)}" if hashed else name


def shortened(text: str) -> str:
    """The text with long numbers as fractions, as in `gain5-3`, or with four digits."""
    return _LONG_NUMBER.sub(lambda match: _few_digits(match[0]), text)


def _few_digits(number: str) -> str:
    """`5-3` for 1.6666666666666667; four digits of a number that is no such fraction."""
    value = float(number)
    fraction = Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)
    exact = fraction.numerator / fraction.denominator == value and fraction.denominator > 1
    return f"{fraction.numerator}-{fraction.denominator}" if exact else f"{value:.4g}"


def _exact(text: str) -> float:
    """The number that `_few_digits` wrote."""
    above, dash, below = text.rpartition("-")
    return float(above) / float(below) if dash and not above.endswith("e") else float(text)


_POSITIVE_EXPONENT = re.compile(r"(?<=\d)e\+(?=\d)")
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
_LONGEST = 110


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _hidden(config: ProbeConfig) -> list[str]:
    """What the words of a name leave out or make ambiguous: directories, uneven widths, unusual names, thresholds."""
    own = [str(spec) for spec in (config.act, config.init, config.bias_init) if isinstance(spec, Spec)]
    odd = [text for text in own if _is_own(text) and not re.fullmatch(r"[A-Za-z0-9]+:[A-Za-z0-9]+", text)]
    files = [str(path) for path in (config.weights, config.input, config.labels) if isinstance(path, Path)]
    far = [path for path in files if not _is_plain(Path(path), "npz" if path == str(config.weights) else "npy")]
    steps = {after - before for before, after in pairwise(config.layer_widths)}
    uneven = [str(config.layer_widths)] if len(steps) > 1 else []
    limits = config.thresholds.model_dump()
    other = [f"{name}={value}" for name, value in limits.items() if value != Thresholds.model_fields[name].default]
    return [*odd, *far, *uneven, *other]


def _is_plain(path: Path, suffix: str) -> bool:
    """True for a file in the current directory whose stem means nothing else in a name."""
    stem = path.stem
    taken = (stem in registry for registry in (INITIALIZERS, INPUTS, LOSSES))
    return (
        str(path) == f"{stem}.{suffix}"
        and bool(re.fullmatch("[A-Za-z]+", stem))
        and not (any(taken) or stem in ("standardized", "residual"))
    )


def _is_own(text: str) -> bool:
    return reference(text) is not None


def _net_words(config: ProbeConfig, sizes: Sequence[int]) -> Iterator[str]:
    """The network: weights, activation, sizes, and what surrounds the activation."""
    widths = sizes[1:]
    yield _init_words(config)
    yield str(config.act if isinstance(config.act, Spec) else config.act.name)
    yield f"{len(widths)}x{widths[0]}" + ("" if len(set(widths)) == 1 else f"-{widths[-1]}")
    if sizes[0] != sizes[1] and config.noise:
        yield f"in{sizes[0]}"
    if config.bias_init is not None:
        yield f"bias-{config.bias_init if isinstance(config.bias_init, Spec) else config.bias_init.name}"
    if config.norm != "none":
        yield f"{config.norm}-norm"
    if config.residual:
        scale = "" if config.branch_scale == 1 else f"-{config.branch_scale}"
        block = f"-block{config.block}" if config.block > 1 else ""
        yield f"residual{block}{scale}" + ("-zero" if config.zero_init_last else "")


def _init_words(config: ProbeConfig) -> str:
    if config.weights is not None:
        return config.weights.stem
    return str(config.init) if isinstance(config.init, Spec) else config.initializer.name


def _data_words(config: ProbeConfig) -> Iterator[str]:
    """Loss, training and input."""
    if config.objective is not None:
        yield config.objective.name + (f"-{config.train_steps}-steps" if config.train_steps else "")
    if str(config.input) != "gaussian" and config.input != config.weights:
        yield Path(config.input).stem if isinstance(config.input, Path) else str(config.input)
    if config.standardize:
        yield "standardized"
    if config.optimizer:
        yield config.optimizer
    if (config.train_steps or config.optimizer) and config.learning_rate != _default("learning_rate"):
        yield f"rate{config.learning_rate}"
    if config.classes is not None:
        yield f"classes{config.classes}"
    if config.labels is not None:
        yield f"labels-{config.labels.stem if isinstance(config.labels, Path) else config.labels}"


def _precision_words(config: ProbeConfig) -> Iterator[str]:
    """Batches, precision, and how dL/dW is measured."""
    usual = None if config.noise is None else DEFAULT_BATCH
    if config.batch not in (None, usual):
        yield f"batch{config.batch}"
    if config.batches > 1:
        yield f"batches{config.batches}"
    if config.dtype != (_default("dtype") if config.weights is None else _dtype_in(config.weights)):
        yield config.dtype
    yield from config.formats
    if config.full_weight_gradient:
        yield "full-weight-gradient"


def _dtype_in(weights: Path) -> str:
    """The precision of the weights in a file."""
    from initprobe.initializers.weight_files import read_weights

    return read_weights(weights).dtype


def _seed_words(config: ProbeConfig) -> Iterator[str]:
    if config.draws != _default("draws") and config.weights is None:
        yield f"draws{config.draws}"
    if config.seed:
        yield f"seed{config.seed}"


def _default(name: str) -> object:
    return ProbeConfig.model_fields[name].default
