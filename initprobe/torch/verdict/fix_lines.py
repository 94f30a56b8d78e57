"""Lines of PyTorch that may fix a model. Each is tried before it is shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from initprobe.activations.record import Activation
from initprobe.meanfield.gain import gain_row
from initprobe.torch.paths import path
from initprobe.torch.verdict.observations import Fix

if TYPE_CHECKING:
    from initprobe.torch.structure import Layer
    from initprobe.torch.verdict.case import Case


# A gain of 1 is the edge of chaos where the slope at 0 is 1. Self-normalizing nets (SELU) need it too.
_UNIT_GAIN = ("tanh", "softsign", "selu", "linear")
_GLU_GAIN = 1.73  # keeps the gradient for z ~ N(0, 1), and 0.88 of the mean square
_CALLS: Mapping[str, str] = {
    "relu": 'kaiming_normal_({}, nonlinearity="relu")',
    "selu": 'kaiming_normal_({}, nonlinearity="linear")',
    "linear": 'kaiming_normal_({}, nonlinearity="linear")',
}


def _fix(line: str, touches: Iterable[str]) -> Fix:
    return Fix(line, tuple(dict.fromkeys(touches)))


def gain_of(layer: Layer) -> float:
    """The factor on `1 / sqrt(fan_in)` that keeps the mean square across this layer's activation."""
    act = layer.activation
    if _feeds_glu(layer):
        return _GLU_GAIN
    if act is None or layer.is_readout:
        return 1.0
    if act.activation is None:
        return math.sqrt(2) if layer.h.low == 0 else 1.0
    return 1.0 if act.activation.name in _UNIT_GAIN else _forward(act.activation)


def _feeds_glu(layer: Layer) -> bool:
    return any(op.name == "glu" for op in layer.signal.consumers)


def _forward(act: Activation) -> float:
    return math.sqrt(2) if act.name == "relu" else float(gain_row(act).forward)


def for_layers(case: Case, layers: Sequence[Layer], stds: Sequence[float] | None = None) -> tuple[Fix, ...]:
    """The lines that draw the weights of layers again.

    Args:
        case: the recorded model.
        layers: whose weights.
        stds: of the weights of each layer; None for those that suit its activation.

    Returns:
        One fix, or none where no scale of the weights has an effect, or where nothing is tried.
    """
    if not case.tries_fixes or not layers or any(is_spectral(layer) for layer in layers):
        return ()
    chosen = stds or [gain_of(layer) / math.sqrt(layer.op.fans[0]) for layer in layers]
    lines = dict.fromkeys(_group(case, layers, chosen, named=stds is None))
    touches = [name for layer in layers for name in layer.op.names if name == layer.op.leaf or layer.op.leaf is None]
    return (_fix("\n".join(lines), touches),)


def _group(case: Case, layers: Sequence[Layer], stds: Sequence[float], named: bool) -> Iterable[str]:
    """A line for each template, over all layers that it fits."""
    groups: dict[str, list[str]] = {}
    for layer, std in zip(layers, stds, strict=True):
        key = layer.number, std, named
        if key not in case.lines:
            case.lines[key] = _written(case, layer, std, named)
        template, target = case.lines[key]
        groups.setdefault(template, []).append(target)
    for template, targets in groups.items():
        yield over(template, list(dict.fromkeys(targets)))


def over(template: str, targets: Sequence[str]) -> str:
    """A line for one target, or a loop over several.

    Args:
        template: the line, with `{}` for the target.
        targets: Python expressions.

    Returns:
        The line. The loop is over a range where the targets differ in one number only, in even steps.
    """
    if len(targets) == 1:
        return template.replace("{}", targets[0])
    runs = _running(targets)
    if runs is not None:
        return f"for i in {runs[0]}: {template.replace('{}', runs[1])}"
    return f"for m in [{', '.join(targets)}]: {template.replace('{}', 'm')}"


def _running(targets: Sequence[str]) -> tuple[str, str] | None:
    """`range(0, 8, 2)` and `model[i].fc`; None where the targets form no range."""
    pieces = [re.split(r"\[(\d+)\]", target) for target in targets]
    first = pieces[0]
    alike = all(len(piece) == len(first) and piece[::2] == first[::2] for piece in pieces)
    varied = [k for k in range(1, len(first), 2) if alike and len({piece[k] for piece in pieces}) > 1]
    if len(targets) < 3 or len(varied) != 1:
        return None
    places = [int(piece[varied[0]]) for piece in pieces]
    step = places[1] - places[0]
    if step < 1 or places != list(range(places[0], places[-1] + 1, step)):
        return None
    parts = [piece if k % 2 == 0 else "[i]" if k == varied[0] else f"[{piece}]" for k, piece in enumerate(first)]
    by = f", {step}" if step > 1 else ""
    return f"range({places[0]}, {places[-1] + 1}{by})", "".join(parts)


def _written(case: Case, layer: Layer, std: float, named: bool) -> tuple[str, str]:
    """How the weight of a layer is drawn again: a template, and the module or tensor that goes into it."""
    if layer.op.leaf is not None:
        return _plain(layer.op.leaf, _call(case, layer, std, named))
    names = sorted(layer.op.names)
    inner = next((name for name in names if ".parametrizations." in f".{name}"), None)
    if inner is not None:
        holder, _, rest = f".{inner}".partition(".parametrizations.")
        own = rest.split(".")[0]
        drawn = f"normal_(torch.empty_like({{}}.{own}), std={std:.4g})"
        return f"{{}}.{own} = nn.init.{drawn}", path(holder.lstrip("."))
    scale = next((name for name in names if name.endswith("_g")), None)
    if scale is not None:
        holder, _, own = scale.rpartition(".")
        return f"nn.init.constant_({{}}.{own}, {std * math.sqrt(layer.op.fans[0]):.4g})", path(holder)
    holder, _, own = max(names, key=lambda name: case.parameters[name].numel()).rpartition(".")
    return f"nn.init.normal_({{}}.{own}, std={std:.4g})", path(holder) if holder else "model"


def _plain(leaf: str, call: str) -> tuple[str, str]:
    """For a weight that is a parameter itself."""
    holder, _, own = leaf.rpartition(".")
    if own.isidentifier() and (holder or own != "weight"):
        return f"nn.init.{call.replace('{}', '{}.' + own)}", path(holder) if holder else "model"
    return f"nn.init.{call}", path(leaf)


def _call(case: Case, layer: Layer, std: float, named: bool) -> str:
    """The call of `nn.init`: by the name of the initializer where torch has one that counts the same fans."""
    act = layer.activation.activation if layer.activation else None
    name = act.name if act else "relu" if layer.activation and layer.h.low == 0 else "linear"
    name = "linear" if layer.is_readout else name
    weight = case.parameters.get(layer.op.leaf or "")
    fitting = layer.op.name == "linear" or re.match(r"conv[123]d", layer.op.name)
    if named and fitting and weight is not None and weight.ndim > 1 and not _feeds_glu(layer):
        from torch import nn

        fans = nn.init._calculate_fan_in_and_fan_out(weight)
        if name == "tanh" and fans[0] == fans[1] == layer.op.fans[0]:
            return "xavier_normal_({})"
        if fans[0] == layer.op.fans[0] and name in _CALLS:
            return _CALLS[name]
        if fans[0] == layer.op.fans[0] and name == "leaky_relu" and act is not None:
            return f'kaiming_normal_({{}}, a={act.params["slope"]:g}, nonlinearity="leaky_relu")'
    return f"normal_({{}}, std={std:.4g})"


def is_spectral(layer: Layer) -> bool:
    """Whether its weight is divided by its largest singular value, so that no scale has an effect."""
    if layer.op.leaf is not None:
        return False
    names = layer.op.names
    plain = [name for name in names if name.endswith(("parametrizations.weight.original", "weight_orig"))]
    return bool(plain) and len(names - set(plain)) <= 1


def zeros(name: str) -> Fix:
    """A parameter set to 0."""
    return _fix(f"nn.init.zeros_({path(name)})", [name])


def part_drawn(name: str, part: tuple[int, int], axis: int, std: float) -> Fix:
    """Some rows (axis 0) or columns (axis 1) of a parameter drawn again with a standard deviation.

    Args:
        name: of the parameter.
        part: first and last index, the last excluded.
        axis: 0 for rows, 1 for columns.
        std: the standard deviation.
    """
    index = f"{part[0]}:{part[1]}" if axis == 0 else f"..., {part[0]}:{part[1]}"
    return _fix(f"nn.init.normal_({path(name)}[{index}], std={std:.4g})", [name])


def ones(names: Sequence[str]) -> Fix:
    """Parameters set to 1."""
    return _fix(over("nn.init.ones_({})", [path(name) for name in names]), names)


def divided(name: str, factor: float) -> Fix:
    """A parameter divided by a number.

    Args:
        name, factor: the parameter and the divisor.
    """
    return _fix(f"{path(name)}.data.div_({factor:.4g})", [name])


def scaled(names: Sequence[str], factor: float) -> Fix:
    """Parameters multiplied by a number.

    Args:
        names, factor: the parameters and their common factor.
    """
    return _fix(over(f"{{}}.data.mul_({factor:.4g})", [path(name) for name in names]), names)


def drawn(name: str, std: float) -> Fix:
    """A parameter drawn again with a standard deviation.

    Args:
        name, std: the parameter and the standard deviation of its entries.
    """
    return _fix(f"nn.init.normal_({path(name)}, std={std:.4g})", [name])
