"""The command line that cures: the same experiment under an initializer whose predicted variances stay level."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from initprobe.activations import Activation
from initprobe.config import ProbeConfig
from initprobe.diagnosis import sound
from initprobe.grammar import Spec
from initprobe.initializers import Initializer
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.maps import InputMoments, State, predict
from initprobe.meanfield.moments import histogram
from initprobe.meanfield.phase import critical_line
from initprobe.theory import rule


def fix_for(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> str | None:
    """A runnable `initprobe run` line, or None where theory knows no plain initializer that keeps the signal."""
    if any(not isinstance(part, Spec) for part in (config.init, config.act)):
        return None  # a record from Python has no name to type
    for candidate in _candidates(config):
        if _holds(candidate, sizes, inputs):
            return command_line(candidate)
    return None


def _candidates(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same experiment with customary weights and zero biases."""
    slope = config.activation.params.get("slope")
    leaky = f"he:slope={slope:g}" if slope is not None else "he"
    for init in ("xavier", leaky, "lecun", *_gains(config.activation)):
        fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
        changed = ProbeConfig(**(fields | {"init": init, "bias_init": None}))
        if config.bias_init is not None or not _same(changed.initializer, config.initializer, config):
            yield changed


def _same(one: Initializer, other: Initializer, config: ProbeConfig) -> bool:
    """Two names for one distribution of the weights."""
    fans = (config.layer_widths[0], config.layer_widths[-1])
    alike = math.isclose(one.variance(*fans), other.variance(*fans), rel_tol=1e-3)
    return alike and (one.distribution.name, one.mean) == (other.distribution.name, other.mean)


def _gains(activation: Activation) -> Iterator[str]:
    """LeCun weights with the gain that keeps q = 1, and with the one at the edge of chaos where that is stable."""
    yield f"lecun:gain={gain_row(activation).forward:.4g}"
    point = critical_line(activation, 0.0)
    if point is not None and point.stable:
        yield f"lecun:gain={point.sigma_w:.4g}"


def _holds(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> bool:
    """Predicted variances of h and dL/dh have no trend, and few units saturate."""
    rules = [rule(config, fans) for fans in pairwise(sizes)]
    with np.errstate(all="ignore"):
        theory = predict(config.activation, rules, inputs, 1)
        output, gradient = (
            [math.log10(v) if v > 0 else -math.inf for v in values]
            for values in ([t.output_variance for t in theory], [t.output_gradient_variance for t in theory])
        )
        saturated = max(_saturated(config.activation, t.state) for t in theory)
    return sound(output, gradient, saturated, config.thresholds)


def _saturated(activation: Activation, state: State) -> float:
    """Predicted share of outputs in the saturated band."""
    band = activation.saturation
    if band is None:
        return 0.0
    edges = [np.nextafter(band.low, math.inf), np.nextafter(band.high, -math.inf)]
    return 1 - float(histogram(activation, state.variance, edges, state.mean, state.shares)[0])


_DEFAULTS = ("layers", "width", "input_width", "batch", "batches", "draws", "seed", "dtype")


def command_line(config: ProbeConfig) -> str:
    """The `initprobe run` line of an experiment: what differs from the defaults is named."""
    words = ["initprobe", "run", "--init", str(config.init), "--act", str(config.act)]
    if config.bias_init is not None:
        words += ["--bias-init", _name(config.bias_init)]
    if config.widths is not None:
        words += ["--widths", ",".join(map(str, config.widths))]
    for field in _DEFAULTS:
        value = getattr(config, field)
        if value != ProbeConfig.model_fields[field].default:
            words += [f"--{field.replace('_', '-')}", str(value)]
    if str(config.input) != "gaussian":
        words += ["--input", str(config.input)]
    if config.standardize:
        words.append("--standardize")
    changed = config.thresholds.model_dump(exclude_defaults=True)
    words += [word for name, value in changed.items() for word in ("--threshold", f"{name}={value:g}")]
    return shlex.join(words)


def _name(spec: Spec | Initializer) -> str:
    return str(spec) if isinstance(spec, Spec) else spec.name
