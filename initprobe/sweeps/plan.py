"""`load`: a sweep's file to its runs. START READING HERE for what a file means; `file_layout` says what it may hold.

The order of precedence, lowest first: `defaults`, then `grid` and `zip`, or an entry of `include`, then `seeds`. What a
higher level says replaces what a lower one says about the same thing: `widths` a `width`, `sigma_w` an `init`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from initprobe.config.probe_config import DEFAULT_BATCH, DEFAULT_LAYERS, DEFAULT_WIDTH, ProbeConfig
from initprobe.config.resolved import check_resolved, own_names
from initprobe.data.documents import Document, read_file
from initprobe.data.files import kind_of
from initprobe.errors import ConfigError, InputError
from initprobe.registry import suggestion
from initprobe.spec import Spec
from initprobe.sweeps.checks import Check, make_check
from initprobe.sweeps.file_conditions import granted, wish
from initprobe.sweeps.file_expand import Draft, axis_names, drafts
from initprobe.sweeps.file_fields import SCALES, Settings, assemble, at, look
from initprobe.sweeps.file_layout import Figure, Format, Heatmap, Histograms, SweepFile, read_layout
from initprobe.sweeps.file_overrides import apply_override
from initprobe.sweeps.runs import Run, Scalar
from initprobe.sweeps.shipped_configs import shipped


@dataclass(frozen=True)
class Plan:
    """What a file asks for.

    Attributes:
        name: of the sweep; safe as a directory's name.
        path: the file.
        runs: the experiments, in order: grid and zip, then include; the seeds of one beside each other.
        axes: names of the axes that vary among `runs`, in order. `Run.axes` may hold more: those that vary in the whole
            file, whatever was picked by `where`.
        checks: what the results must be.
        figures: what to draw; None where the file leaves that open.
        export: `csv`, `json`, `markdown`.
        own_names: every `package.module:name` in the file, in order.
    """

    name: str
    path: Path
    runs: tuple[Run, ...]
    axes: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    figures: tuple[Figure, ...] | None = None
    export: tuple[Format, ...] = ()
    own_names: tuple[str, ...] = ()


def load(source: str | Path, overrides: Sequence[str] = (), where: Sequence[str] = (), importing: bool = True) -> Plan:
    """The plan in a file, or in a config that ships with initprobe.

    Args:
        source: a path, or the name of a shipped config.
        overrides: `KEY=VALUE`, the value as YAML: `defaults.layers=5` or `layers=5` for short, `grid.init=[he, lecun]`;
            no value removes the key.
        where: `FIELD=VALUE`; of the runs, those are kept that have every one of these values.
        importing: import the user's own functions; otherwise the file runs no code, and its runs can only be listed.

    Raises:
        ConfigError: in one line, with file and line or the option, what is wrong.
    """
    path = find(source)
    document = read_file(path)
    for text in overrides:
        document = apply_override(document, text)
    layout = read_layout(document)
    checks = _checks(document, layout)  # cheap, so that a fault in them is said before all runs are made
    asked = drafts(document, layout)
    configs = [_config(draft, importing) for draft in asked]
    columns = {
        name: [_shown(draft.settings, config, name) for draft, config in zip(asked, configs, strict=True)]
        for name in axis_names(layout)
    }
    varying = [name for name, column in columns.items() if len(set(column)) > 1]
    runs = [Run(config, _axes(columns, varying, index), index) for index, config in enumerate(configs)]
    _check_distinct(runs, asked, columns)
    kept = _picked(asked, configs, where)
    return Plan(
        name=layout.name,
        path=path,
        runs=tuple(runs[index] for index in kept),
        axes=tuple(name for name in varying if len({columns[name][index] for index in kept}) > 1),
        checks=checks,
        figures=_figures(document, layout, columns, varying),
        export=layout.export,
        own_names=tuple(dict.fromkeys(name for config in configs for name in own_names(config))),
    )


def find(source: str | Path) -> Path:
    """The file that a path or a shipped config's name stands for.

    A name that ships means what ships, whatever lies in the directory: a file of that name needs `./` or its suffix.

    Raises:
        InputError: there is neither.
    """
    names = shipped()
    if isinstance(source, str) and source in names:
        return names[source]
    path = Path(source)
    if kind_of(path) not in ("nothing", "directory"):
        return path
    hint = suggestion(str(source), list(names)) or " `initprobe list configs` shows those that ship with initprobe."
    if kind_of(path) == "directory":
        raise InputError(f"{source}: is a directory; name a file in it")
    raise InputError(f"{source}: no such file.{hint}")


def _config(draft: Draft, importing: bool) -> ProbeConfig:
    try:
        return check_resolved(ProbeConfig(**assemble(draft.settings)), importing)
    except ConfigError as error:
        text = re.sub(r"is missing(; name an .*)?$", "is missing; give it in defaults or as an axis", str(error))
        # The place says which field it was; an unknown name speaks for itself.
        raise ConfigError(f"{_blamed(draft, text)}: {re.sub(r'^[a-z_]+: (?=unknown )', '', text)}") from None


def _blamed(draft: Draft, text: str) -> str:
    """The place of the first setting that a complaint names; it begins with the field, where it is about one."""
    words = re.findall(r"\w+", text)
    standing_for = {field: scale for scale, field in SCALES.items()}
    names = [*(f"{words[0]}.{word}" for word in words), *words, *(standing_for.get(word, "") for word in words)]
    return next((draft.settings[name].place for name in names if name in draft.settings), draft.place)


def _shown(settings: Settings, config: ProbeConfig, name: str) -> Scalar | None:
    """A field's value as a table shows it: as it was set, or else as it is used; None where it does not apply."""
    found = look(settings, name)
    return _used(config, name) if found is None else found


def _used(config: ProbeConfig, name: str) -> Scalar | None:
    if config.network is not None and name in ("layers", "width"):
        return config.depth if name == "layers" else None
    if name == "layers":
        return len(config.widths or ()) or DEFAULT_LAYERS
    if name == "width":
        return None if config.widths else DEFAULT_WIDTH
    if name == "batch":
        return None if config.noise is None else DEFAULT_BATCH
    value = getattr(config, name, None)
    if isinstance(value, Spec | Path):
        return str(value)
    return value if isinstance(value, str | int | float) else None


def _axes(columns: Mapping[str, Sequence[Scalar | None]], names: Iterable[str], index: int) -> dict[str, Scalar]:
    values = ((name, columns[name][index]) for name in names)
    return {name: value for name, value in values if value is not None}


def _check_distinct(runs: Iterable[Run], asked: Iterable[Draft], names: Iterable[str]) -> None:
    """The same run twice would be counted twice in every average, and kept once."""
    seen: set[str] = set()
    for run, draft in zip(runs, asked, strict=True):
        with at(draft.settings["input"].place if "input" in draft.settings else draft.place):
            key = run.key
        if key in seen:
            words = ", ".join(f"{name}={look(draft.settings, name)}" for name in names if name in draft.settings)
            raise ConfigError(f"{draft.place}: the same run twice: {words or 'the defaults'}; drop one of them")
        seen.add(key)


def _picked(asked: Sequence[Draft], configs: Sequence[ProbeConfig], where: Iterable[str]) -> list[int]:
    """The runs, by number, that have every value asked for."""
    kept = list(range(len(asked)))
    for text in where:
        wanted = wish(text)
        values = {index: _shown(asked[index].settings, configs[index], wanted.name) for index in kept}
        kept = granted(text, wanted, values)
    return kept


def _checks(document: Document, layout: SweepFile) -> tuple[Check, ...]:
    return tuple(
        make_check(name, bound, document.place(("checks", name, index)), document.line(("checks", name, index)))
        for name, bounds in layout.checks.items()
        for index, bound in enumerate(bounds)
    )


def _figures(
    document: Document, layout: SweepFile, columns: Mapping[str, Sequence[Scalar | None]], varying: Sequence[str]
) -> tuple[Figure, ...] | None:
    if layout.figures is None:
        return None
    numeric = [name for name, column in columns.items() if all(_is_number(value) for value in column)]
    axes = _FigureAxes(list(columns), numeric, varying)
    return tuple(axes.fill(figure, document.place(("figures", index))) for index, figure in enumerate(layout.figures))


def _is_number(value: Scalar | None) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


@dataclass(frozen=True)
class _FigureAxes:
    """The axes that figures may be drawn over."""

    every: Sequence[str]
    numeric: Sequence[str]
    varying: Sequence[str]

    def fill(self, figure: Figure, place: str) -> Figure:
        """The figure with axes for those it leaves open."""
        if isinstance(figure, Heatmap):
            free = [name for name in self.varying if name in self.numeric and name not in (figure.x, figure.y)]
            x = self._numeric(figure.x or next(iter(free), None), place)
            y = self._numeric(figure.y or next((name for name in free if name != x), None), place)
            if x == y:
                raise ConfigError(f"{place}: x and y are both {x}")
            return figure.model_copy(update={"x": x, "y": y})
        if isinstance(figure, Histograms):
            named = [name for name in self.varying if name not in self.numeric] or self.varying
            over = figure.over or next(iter(named), None)
            return figure.model_copy(update={"over": self._known(over, place)})
        return figure

    def _words(self) -> str:
        return ", ".join(self.varying) or "nothing"

    def _known(self, name: str | None, place: str) -> str:
        if name is None:
            raise ConfigError(f"{place}: no axis to draw over; this sweep varies {self._words()}")
        if name not in self.every:
            hint = suggestion(name, self.every) or f" The axes are {', '.join(self.every) or 'none'}."
            raise ConfigError(f"{place}: unknown axis {name!r}.{hint}")
        return name

    def _numeric(self, name: str | None, place: str) -> str:
        if name is None:
            raise ConfigError(f"{place}: a heatmap needs two numeric axes; this sweep varies {self._words()}")
        if self._known(name, place) not in self.numeric:
            raise ConfigError(f"{place}: a heatmap needs numeric axes, and {name} is not")
        return name
