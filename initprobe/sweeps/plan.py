"""`load`: the runs of a sweep's file. START READING HERE for the meaning of a file; `file_layout` has its keys.

The levels, lowest first: `defaults`, then `grid` and `zip`, or an entry of `include`, then `seeds`. A field of a higher
level replaces fields of lower levels about the same thing. So `widths` replaces `width`, and `sigma_w` replaces `init`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from initprobe.config.probe_config import DEFAULT_BATCH, DEFAULT_LAYERS, DEFAULT_WIDTH, ProbeConfig
from initprobe.config.resolved import check_resolved, own_names
from initprobe.data.documents import Document, Place, read_file
from initprobe.data.files import kind_of
from initprobe.errors import ConfigError, InputError, MissingFieldError
from initprobe.registry import suggestion
from initprobe.spec import Spec
from initprobe.sweeps.checks import Check, make_check
from initprobe.sweeps.file_conditions import parse_condition, select
from initprobe.sweeps.file_expand import Draft, axis_names, drafts
from initprobe.sweeps.file_fields import SCALES, Settings, assemble, setting_text
from initprobe.sweeps.file_figures import Figure, Heatmap, Histograms
from initprobe.sweeps.file_layout import Format, SweepFile, read_layout
from initprobe.sweeps.file_overrides import apply_override
from initprobe.sweeps.runs import Run, Scalar
from initprobe.sweeps.shipped_configs import shipped


@dataclass(frozen=True)
class Plan:
    """What a file asks for.

    Attributes:
        name: of the sweep; safe as the name of a directory.
        path: the file.
        runs: the experiments, in order: grid and zip, then include; the seeds of one experiment beside each other.
        axes: names of the axes that vary among `runs`, in order. `Run.axes` may hold more axes: all that vary in the
            file, also where `where` selects some runs only.
        checks: the bounds on results.
        figures: the figures to draw; None where the file leaves that open.
        export: formats to export: `csv`, `json`, `markdown`.
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
        where: `FIELD=VALUE`; only the runs that have all these values are kept.
        importing: import the user's own functions; otherwise the file runs no code, and its runs can only be listed.

    Returns:
        The plan; nothing is run yet.

    Raises:
        ConfigError: the file or an option is wrong; the message has file and line, or the option.
    """
    path = find(source)
    document = read_file(path)
    for text in overrides:
        document = apply_override(document, text)
    layout = read_layout(document)
    checks = _checks(document, layout)  # first: they take less time than the runs
    all_drafts = drafts(document, layout)
    configs = [_config(draft, importing) for draft in all_drafts]
    columns = {
        name: [_shown(draft.settings, config, name) for draft, config in zip(all_drafts, configs, strict=True)]
        for name in axis_names(layout)
    }
    varying = [name for name, column in columns.items() if len(set(column)) > 1]
    runs = [Run(config, _axes(columns, varying, index), index) for index, config in enumerate(configs)]
    _check_distinct(runs, all_drafts, columns)
    kept = _selected(all_drafts, configs, where)
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
    """The file of a path, or of the name of a shipped config.

    The name of a shipped config always means that config. A file of the same name needs `./` or its suffix.

    Raises:
        InputError: there is no such file and no such config.
    """
    names = shipped()
    if isinstance(source, str) and source in names:
        return names[source]
    path = Path(source)
    if kind_of(path) not in ("nothing", "directory"):
        return path
    hint = suggestion(str(source), list(names)) or " `initprobe list configs` shows those that ship with initprobe."
    if kind_of(path) == "directory":
        raise InputError("is a directory; name a file in it", file=source)
    raise InputError(f"no such file.{hint}", file=source)


def _config(draft: Draft, importing: bool) -> ProbeConfig:
    fields = assemble(draft.settings)
    try:
        return check_resolved(ProbeConfig(**fields), importing)
    except MissingFieldError as error:
        raise draft.place.error("is missing; give it in defaults or as an axis", error.field) from None
    except ConfigError as error:
        place = _place(draft, error)
        raise error.at(file=place.file, line=place.line) from None


def _place(draft: Draft, error: ConfigError) -> Place:
    """The place of the setting that an error is about.

    It may be a parameter of the field without which there is no error.
    """
    for name in draft.settings:
        field, dot, _ = name.partition(".")
        if dot and field == error.field and _without(draft, name) != str(error):
            return draft.settings[name].place
    scales = [scale for scale, field in SCALES.items() if field == error.field]
    named = (draft.settings[name] for name in (error.field, *scales) if name in draft.settings)
    return next((setting.place for setting in named), draft.place)


def _without(draft: Draft, name: str) -> str:
    """The error of a draft without one of its settings; "" where there is none."""
    try:
        ProbeConfig(**assemble({key: setting for key, setting in draft.settings.items() if key != name}))
    except ConfigError as error:
        return str(error)
    return ""


def _shown(settings: Settings, config: ProbeConfig, name: str) -> Scalar | None:
    """A field's value as a table shows it: the value set, or else its default. None where it does not apply."""
    text = setting_text(settings, name)
    return _used(config, name) if text is None else text


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


def _check_distinct(runs: Iterable[Run], all_drafts: Iterable[Draft], names: Iterable[str]) -> None:
    """Refuse two equal runs: averages would count them twice, and the store keeps one."""
    keys: set[str] = set()
    for run, draft in zip(runs, all_drafts, strict=True):
        with (draft.settings["input"].place if "input" in draft.settings else draft.place).blamed():
            key = run.key
        if key in keys:
            values = ", ".join(
                f"{name}={setting_text(draft.settings, name)}" for name in names if name in draft.settings
            )
            raise draft.place.error(f"the same run twice: {values or 'the defaults'}; drop one of them")
        keys.add(key)


def _selected(all_drafts: Sequence[Draft], configs: Sequence[ProbeConfig], where: Iterable[str]) -> list[int]:
    """The numbers of the runs that have every value of `where`."""
    kept = list(range(len(all_drafts)))
    for text in where:
        wanted = parse_condition(text)
        values = {index: _shown(all_drafts[index].settings, configs[index], wanted.name) for index in kept}
        kept = select(text, wanted, values)
    return kept


def _checks(document: Document, layout: SweepFile) -> tuple[Check, ...]:
    return tuple(
        make_check(name, bound, document.place(("checks", name, index)))
        for name, bounds in layout.checks.items()
        for index, bound in enumerate(bounds)
    )


def _figures(
    document: Document, layout: SweepFile, columns: Mapping[str, Sequence[Scalar | None]], varying: Sequence[str]
) -> tuple[Figure, ...] | None:
    if layout.figures is None:
        return None
    numeric = [name for name, column in columns.items() if all(_is_number(value) for value in column)]
    axes = FigureAxes(list(columns), numeric, varying)
    return tuple(axes.fill(figure, document.place(("figures", index))) for index, figure in enumerate(layout.figures))


def _is_number(value: Scalar | None) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


@dataclass(frozen=True)
class FigureAxes:
    """The axes that a figure may be drawn over, by name: all, the numeric ones, and those with several values."""

    every: Sequence[str]
    numeric: Sequence[str]
    varying: Sequence[str]

    def fill(self, figure: Figure, place: Place) -> Figure:
        """The figure, with an axis chosen for each that it leaves open.

        Args:
            figure: as asked for.
            place: where it was asked for.

        Raises:
            ConfigError: there is no such axis, or too few of them.
        """
        if isinstance(figure, Heatmap):
            free = [name for name in self.varying if name in self.numeric and name not in (figure.x, figure.y)]
            x = self._numeric_axis(figure.x or next(iter(free), None), place)
            y = self._numeric_axis(figure.y or next((name for name in free if name != x), None), place)
            if x == y:
                raise place.error(f"x and y are both {x}")
            return figure.model_copy(update={"x": x, "y": y})
        if isinstance(figure, Histograms):
            texts = [name for name in self.varying if name not in self.numeric] or self.varying
            over = figure.over or next(iter(texts), None)
            return figure.model_copy(update={"over": self._axis(over, place)})
        return figure

    def _listed(self) -> str:
        return ", ".join(self.varying) or "nothing"

    def _axis(self, name: str | None, place: Place) -> str:
        if name is None:
            raise place.error(f"no axis to draw over; this sweep varies {self._listed()}")
        if name not in self.every:
            hint = suggestion(name, self.every) or f" The axes are {', '.join(self.every) or 'none'}."
            raise place.error(f"unknown axis {name!r}.{hint}")
        return name

    def _numeric_axis(self, name: str | None, place: Place) -> str:
        if name is None:
            raise place.error(f"a heatmap needs two numeric axes; this sweep varies {self._listed()}")
        if self._axis(name, place) not in self.numeric:
            raise place.error(f"a heatmap needs numeric axes, and {name} is not")
        return name
