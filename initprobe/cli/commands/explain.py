"""Explain a name: a rule, an initializer, a column, ...

For an initializer: the distribution that its rule gives for the size of a layer. For an activation: its formula, where
it saturates, and whether its units can die. For a rule: what it means, what it measures and what helps. For a column,
a symbol, or a number of JSON and CSV: its meaning.

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

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.candidates import topics
from initprobe.cli.names import registries
from initprobe.cli.parameters import argument, command_of, option

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.activations.record import Activation
    from initprobe.initializers.independence import Judged
    from initprobe.initializers.own import OwnInitializer
    from initprobe.initializers.record import Initializer
    from initprobe.registry import Registry
    from initprobe.reports.glossary_word import Word
    from initprobe.spec import Spec


Line = tuple[str, str]
Section = tuple[str, str, list[Line]]  # title, kind, lines
_CURVE_REACH, _CURVE_POINTS = 4.0, 801
_MOST_NAMES, _LABEL = 8, 20
_UNITS = click.IntRange(1, 1_000_000_000)
_CURVE_Q = (0.1, 1.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """The options of `initprobe explain`."""

    name: str = argument(metavar="NAME[:key=value,...]", shell_complete=topics)
    fan_in: int = option(
        "--fan-in", type=_UNITS, default=500, show_default=True, metavar="N", help="Inputs of the layer."
    )
    fan_out: int | None = option("--fan-out", type=_UNITS, metavar="M", help="Units of the layer.  [default: fan-in]")
    figure: str | None = option(
        "--figure", metavar="FILE", help="Draw an activation, its slope and the densities N(0, q); png, svg or pdf."
    )


@command_of(ExplainOptions, help=__doc__)
def command(options: ExplainOptions) -> None:
    """Print what is known of a name."""
    from rich.text import Text

    from initprobe.activations.own import reference
    from initprobe.cli import outputs
    from initprobe.reports.console import console, say
    from initprobe.spec import parse_spec

    fmt = outputs.figure_format(options.figure) if options.figure else None
    outputs.check_exports([options.figure], None)
    spec = reference(options.name, *registries()) or parse_spec(options.name)
    to, sections = console(sys.stdout), _sections(spec, options)
    figure = _curve(spec) if fmt else None  # an error comes before any output
    for title, kind, lines in sections:
        to.print(Text.assemble((title, "bold"), f", {kind}"), soft_wrap=True)
        for label, text in lines:
            say(Text(f"  {label:<{_LABEL - 2}}{text}"), to, indent=_LABEL)
    if options.figure and fmt and figure:
        outputs.write_figure(options.figure, fmt, figure)


def _sections(spec: Spec, options: ExplainOptions) -> list[Section]:
    """What the name means, for each of its meanings.

    Raises:
        UnknownNameError: it has none.
    """
    from initprobe.errors import UnknownNameError

    homes = [registry for registry in registries() if spec.name in registry]
    numbers = _numbers(options.name.strip(), bool(homes))
    if not homes and not numbers and not _is_own(spec):
        raise UnknownNameError(_unknown(spec))
    fans = (options.fan_in, options.fan_out or options.fan_in)
    records = _own(spec) if _is_own(spec) else _meanings(homes, spec) if homes else []
    return [(record.name, kind, list(_lines(record, fans))) for kind, record in records] + numbers


def _is_own(spec: Spec) -> bool:
    """Whether it is a `package.module:name`."""
    return ":" in spec.name


def _own(spec: Spec) -> list[tuple[str, Any]]:
    """An initializer, if it is such a record or takes the four arguments of one; else an activation."""
    from initprobe.config.names import activation_of, initializer_of
    from initprobe.importing import import_name
    from initprobe.initializers.own import takes_fans
    from initprobe.initializers.record import Initializer

    imported = None if spec.params else import_name(spec.name)
    if isinstance(imported, Initializer) or (callable(imported) and takes_fans(imported)):
        return [("initializer", initializer_of(spec))]
    return [("activation", activation_of(spec))]


def _numbers(name: str, has_meaning: bool) -> list[Section]:
    """The meaning of a name of JSON, else that of its last part, if that has no other meaning."""
    from initprobe.reports.json_names import json_names, other_names, short_names

    names, ending = {**other_names(), **json_names()}, short_names().get(name, [])
    if name not in names and (has_meaning or not ending):
        return []
    meanings = names[name if name in names else ending[0]]
    of = [("of", part) for part in meanings[:-1]] if name in names else []
    where = [] if name in names else [("as in", ", ".join(ending))]
    return [(name, "name in JSON and CSV", [*of, ("meaning", meanings[-1]), *where])]


def _meanings(homes: Sequence[Registry[Any]], spec: Spec) -> list[tuple[str, Any]]:
    """The kind and the record of `spec` in each registry that accepts its parameters."""
    from initprobe.errors import ConfigError

    records, refusal = [], None
    for registry in homes:
        try:
            records.append((registry.kind, _record(registry, spec)))
        except ConfigError as error:
            refusal = refusal or error
    if refusal and not records:
        raise refusal
    return records


def _record(registry: Registry[Any], spec: Spec) -> Any:
    """The record that `spec` names; its example if it cannot be made without parameters."""
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


def _unknown(spec: Spec) -> str:
    from initprobe.registry import suggestion
    from initprobe.reports.json_names import json_names

    records = [record for registry in registries() for record in registry.values()]
    names = [name for record in records for name in (record.name, *record.aliases)]
    hint = suggestion(spec.name, [*names, *json_names()]) or _mentioned(spec.name, records)
    return f"unknown name {spec.name!r}.{hint or ' `initprobe list initializers` and similar commands show all names.'}"


def _mentioned(text: str, records: Sequence[Any]) -> str:
    """A hint: the names whose meaning contains all words of the text."""
    words = text.lower().split()
    texts = {record.name: f"{record.name} {getattr(record, 'meaning', '')}".lower() for record in records}
    names = [name for name, meaning in texts.items() if words and all(word in meaning for word in words)]
    return f" The explanation of these names contains it: {', '.join(names[:_MOST_NAMES])}." if names else ""


def _lines(record: Any, fans: tuple[int, int]) -> Iterator[Line]:
    from initprobe.activations.record import Activation
    from initprobe.diagnosis.rule import RuleText
    from initprobe.initializers.own import OwnInitializer
    from initprobe.initializers.record import Initializer
    from initprobe.reports.glossary_word import Word

    if record.aliases:
        yield "other names", ", ".join(record.aliases)
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
    """The measured variance at three sizes, which shows on which fan it depends."""
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
    return f"no, so there is no theory: {law.fault}" if law.fault else "yes, by all tests; theory applies"


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
    yield "fan_in x Var(W)", f"{fans[0] * variance:.6g}"
    yield "fan_out x Var(W)", f"{fans[1] * variance:.6g}"
    yield "truncated", _truncation(init)
    yield "bias", init.bias.describe(*fans) if init.bias else "zeros"
    if init.used_by:
        yield "note", init.used_by


def _truncation(init: Initializer) -> str:
    if init.distribution.name != "truncated_normal":
        return "no"
    corrected = init.params.get("corrected", True)
    return "yes; std is raised so that the variance after the cut is right" if corrected else "yes, not corrected"


def _activation_lines(act: Activation) -> Iterator[Line]:
    from initprobe.activations.own import is_probed

    unknown = "not known" if is_probed(act) else None
    yield "range", _range(act.bounds, unknown)
    yield "kinks", ", ".join(f"{kink:g}" for kink in act.kinks) or "none"
    if act.slope_noise:
        yield "slope", "central difference, in float64"
    yield "saturated", _band(act) or unknown or "never"
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


def _curve(spec: Spec) -> Figure:
    """The figure of an activation.

    Raises:
        ConfigError: the name is not that of an activation.
    """
    import numpy as np

    from initprobe.activations.catalogue import ACTIVATIONS
    from initprobe.arrays import normal_density
    from initprobe.config.names import activation_of
    from initprobe.errors import ConfigError
    from initprobe.reports.figures.theory import activation_figure

    if not _is_own(spec) and spec.name not in ACTIVATIONS:
        raise ConfigError(f"draws an activation, and {spec.name} is none", field="--figure")
    act = activation_of(spec)
    x = np.linspace(-_CURVE_REACH, _CURVE_REACH, _CURVE_POINTS)
    h = act.value(x)
    densities = [(f"N(0, {q:g})", normal_density(x / math.sqrt(q)) / math.sqrt(q)) for q in _CURVE_Q]
    return activation_figure(act.name, act.formula, x, h, act.slope(x, h), densities)
