"""`initprobe explain`: what a name means, in numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.names import registries

if TYPE_CHECKING:
    from initprobe.activations.record import Activation
    from initprobe.initializers.independence import Judged
    from initprobe.initializers.own import OwnInitializer
    from initprobe.initializers.record import Initializer
    from initprobe.registry import Registry
    from initprobe.reports.glossary import Word
    from initprobe.spec import Spec


Line = tuple[str, str]
_CURVE_REACH, _CURVE_POINTS = 4.0, 801
_MOST_NAMES = 8
_UNITS = click.IntRange(1, 1_000_000_000)
_CURVE_Q = (0.1, 1.0, 4.0)


@click.command("explain")
@click.argument("name", metavar="NAME[:key=value,...]")
@click.option("--fan-in", type=_UNITS, default=500, show_default=True, metavar="N", help="Inputs of a unit.")
@click.option("--fan-out", type=_UNITS, metavar="M", help="Units of the layer.  [default: fan-in]")
@click.option("--figure", metavar="FILE", help="Draw an activation and its slope over N(0, q); png, svg or pdf.")
def command(name: str, fan_in: int, fan_out: int | None, figure: str | None) -> None:
    """Explain a name: of a rule, an initializer, a column, ...

    For an initializer: the distribution its rule gives at a layer's size. For an activation: its formula, where it
    saturates, whether its units can die. For a rule: what it means, what it measures and what helps. For a column, a
    symbol or a number of JSON and CSV: what it is.

    \b
    Examples:
      initprobe explain he --fan-in 784 --fan-out 256
      initprobe explain torch_linear
      initprobe explain gelu --figure gelu.png
      initprobe explain mymodule:swish
      initprobe explain mymodule:draw_weights --fan-in 300
      initprobe explain rank-collapse
      initprobe explain chi_1
      initprobe explain output.variance
    """
    from rich.text import Text

    from initprobe.activations.own import reference
    from initprobe.cli import outputs
    from initprobe.errors import UnknownNameError
    from initprobe.reports.console import console
    from initprobe.spec import parse_spec

    if figure:
        outputs.figure_format(figure)
        outputs.check_exports([figure], None)
    spec = reference(name, *registries()) or parse_spec(name)
    homes = [registry for registry in registries() if spec.name in registry]
    numbers = _numbers(name.strip(), bool(homes))
    if not homes and not numbers and not _is_own(spec):
        raise UnknownNameError(_nowhere(spec))
    to = console(sys.stdout)
    records = _own(spec) if _is_own(spec) else _meanings(homes, spec) if homes else []
    sections = [(record.name, kind, list(_lines(record, (fan_in, fan_out or fan_in)))) for kind, record in records]
    for title, kind, lines in (*sections, *numbers):
        to.print(Text.assemble((title, "bold"), f", {kind}"), soft_wrap=True)
        for label, text in lines:
            to.print(f"  {label:<18}{text}", soft_wrap=True, markup=False)
    if figure:
        _draw(spec, Path(figure))


def _is_own(spec: Spec) -> bool:
    """It is a `package.module:name`."""
    return ":" in spec.name


def _own(spec: Spec) -> list[tuple[str, Any]]:
    """An initializer if it is such a record or takes the four arguments of one, or else an activation."""
    from initprobe.config.names import activation_of, initializer_of
    from initprobe.importing import import_name
    from initprobe.initializers.own import takes_fans
    from initprobe.initializers.record import Initializer

    found = None if spec.params else import_name(spec.name)
    if isinstance(found, Initializer) or (callable(found) and takes_fans(found)):
        return [("initializer", initializer_of(spec))]
    return [("activation", activation_of(spec))]


def _numbers(name: str, is_known: bool) -> list[tuple[str, str, list[Line]]]:
    """What a name of JSON means; of the last part of several, unless `is_known` by another meaning."""
    from initprobe.reports.json_names import json_names, short_names

    names, ending = json_names(), short_names().get(name, [])
    if name not in names and (is_known or not ending):
        return []
    words = names[name if name in names else ending[0]]
    of = [("of", part) for part in words[:-1]] if name in names else []
    where = [] if name in names else [("as in", ", ".join(ending))]
    return [(name, "name in JSON and CSV", [*of, ("meaning", words[-1]), *where])]


def _meanings(homes: Sequence[Registry[Any]], spec: Spec) -> list[tuple[str, Any]]:
    """What `spec` names in each registry that takes its parameters."""
    from initprobe.errors import ConfigError

    found, refusal = [], None
    for registry in homes:
        try:
            found.append((registry.kind, _meant(registry, spec)))
        except ConfigError as error:
            refusal = refusal or error
    if refusal and not found:
        raise refusal
    return found


def _meant(registry: Registry[Any], spec: Spec) -> Any:
    """The record; its example where it cannot be made without parameters."""
    from initprobe.config.names import resolve
    from initprobe.errors import ConfigError
    from initprobe.spec import parse_spec

    try:
        return resolve(registry, spec)
    except ConfigError:
        example = getattr(registry[spec.name], "example", "")
        if spec.params or not example:
            raise
        return resolve(registry, parse_spec(example))


def _nowhere(spec: Spec) -> str:
    from initprobe.registry import suggestion
    from initprobe.reports.json_names import json_names

    records = [record for registry in registries() for record in registry.values()]
    known = [n for record in records for n in (record.name, *record.aliases)]
    hint = suggestion(spec.name, [*known, *json_names()]) or _mentioned(spec.name, records)
    return f"unknown name {spec.name!r}.{hint or ' `initprobe list initializers` and the like show all.'}"


def _mentioned(text: str, records: Sequence[Any]) -> str:
    """The names whose meaning has all of these words."""
    words = text.lower().split()
    texts = {record.name: f"{record.name} {getattr(record, 'meaning', '')}".lower() for record in records}
    found = [name for name, about in texts.items() if words and all(word in about for word in words)]
    return f" It is in what these mean: {', '.join(found[:_MOST_NAMES])}." if found else ""


def _lines(record: Any, fans: tuple[int, int]) -> Iterator[Line]:
    from initprobe.activations.record import Activation
    from initprobe.diagnosis.rule import RuleText
    from initprobe.initializers.own import OwnInitializer
    from initprobe.initializers.record import Initializer
    from initprobe.reports.glossary import Word

    if record.aliases:
        yield "also", ", ".join(record.aliases)
    if isinstance(record, Word):
        yield from _word_lines(record)
        return
    if isinstance(record, RuleText):
        yield from (("meaning", record.meaning), ("measured", record.measurement), ("remedy", record.remedy))
    else:
        yield "formula", record.formula
    if isinstance(record, OwnInitializer):
        yield from _own_lines(record, fans)
    elif isinstance(record, Initializer):
        yield from _initializer_lines(record, fans)
    elif isinstance(record, Activation):
        yield from _activation_lines(record)
    if params := getattr(record, "params", None):
        yield "parameters", ", ".join(f"{key}={value}" for key, value in params.items())
    yield "source", record.reference


def _own_lines(init: OwnInitializer, fans: tuple[int, int]) -> Iterator[Line]:
    """The variance as measured, at three sizes, so that it shows which fan it goes by."""
    from initprobe.errors import ConfigError

    for fan_in, fan_out in (fans, (2 * fans[0], fans[1]), (fans[0], 2 * fans[1])):
        try:
            law = init.law(fan_in, fan_out)
        except ConfigError as error:
            if (fan_in, fan_out) == fans:
                raise
            yield f"at {fan_in} -> {fan_out}", str(error)
            continue
        products = f"{fan_in * law.variance:.4g} / fan_in, {fan_out * law.variance:.4g} / fan_out"
        mean = f"mean {law.mean:.4g}, " if law.mean else ""
        yield f"at {fan_in} -> {fan_out}", f"{mean}variance {law.variance:.4g} = {products} (measured)"
    yield "independent", _independence(init.law(*fans))


def _independence(law: Judged) -> str:
    return f"no, so there is no theory: {law.fault}" if law.fault else "yes, as far as it shows; theory applies"


def _word_lines(word: Word) -> Iterator[Line]:
    yield "meaning", word.meaning
    if word.json:
        yield "in JSON", word.json
    if word.see:
        yield "see", ", ".join(f"initprobe explain '{name}'" if " " in name else name for name in word.see)
    if word.reference:
        yield "source", word.reference


def _initializer_lines(init: Initializer, fans: tuple[int, int]) -> Iterator[Line]:
    variance = init.variance(*fans)
    yield f"at {fans[0]} -> {fans[1]}", init.describe(*fans)
    yield "variance", f"{variance:.6g}"
    yield "x fan_in", f"{fans[0] * variance:.6g}"
    yield "x fan_out", f"{fans[1] * variance:.6g}"
    yield "truncated", _truncation(init)
    yield "bias", init.bias.describe(*fans) if init.bias else "zeros"
    if init.used_by:
        yield "used by", init.used_by


def _truncation(init: Initializer) -> str:
    if init.distribution.name != "truncated_normal":
        return "no"
    corrected = init.params.get("corrected", True)
    return "yes, and widened before the cut to undo its loss of variance" if corrected else "yes, not corrected"


def _activation_lines(act: Activation) -> Iterator[Line]:
    from initprobe.activations.own import is_probed

    unknown = "not known" if is_probed(act) else None
    yield "range", _range(act.bounds, unknown)
    yield "kinks", ", ".join(f"{kink:g}" for kink in act.kinks) or "none"
    if act.slope_noise:
        yield "slope", "central difference, in float64"
    yield "saturated", _band(act) or unknown or "no band"
    dead = act.dead_below
    yield (
        "units can die",
        unknown or "no" if dead is None else f"yes: off for every input whose pre-activation is at most {dead:g}",
    )


def _range(bounds: tuple[float, float], unknown: str | None) -> str:
    low, high = (unknown if unknown and math.isinf(end) else f"{end:.4g}" for end in bounds)
    return low if low == high else f"{low} to {high}"


def _band(act: Activation) -> str | None:
    if act.saturation is None:
        return None
    ends = ((act.saturation.low, "<="), (act.saturation.high, ">="))
    return "h " + " or h ".join(f"{sign} {end:.4g}" for end, sign in ends if math.isfinite(end))


def _draw(spec: Spec, path: Path) -> None:
    import numpy as np

    from initprobe.activations.catalogue import ACTIVATIONS
    from initprobe.cli.outputs import check_writable, figure_format, write_whole
    from initprobe.config.names import activation_of
    from initprobe.errors import ConfigError
    from initprobe.reports.figures.style import render
    from initprobe.reports.figures.theory import activation_figure

    if not _is_own(spec) and spec.name not in ACTIVATIONS:
        raise ConfigError(f"--figure draws an activation, and {spec.name} is none")
    fmt = figure_format(str(path))
    check_writable(path)
    act = activation_of(spec)
    x = np.linspace(-_CURVE_REACH, _CURVE_REACH, _CURVE_POINTS)
    h = act.value(x)
    densities = [(f"N(0, {q:g})", np.exp(-x * x / (2 * q)) / math.sqrt(2 * math.pi * q)) for q in _CURVE_Q]
    drawn = activation_figure(act.name, act.formula, x, h, act.slope(x, h), densities)
    write_whole(path, lambda file: file.write(render(drawn, fmt)))
