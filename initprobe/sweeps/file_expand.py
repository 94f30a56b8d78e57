"""The runs that a sweep's file asks for: grid, zip, exclude, include and seeds, counted before they are made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from initprobe.data.documents import Document
from initprobe.errors import ConfigError
from initprobe.sweeps.file_fields import Setting, Settings, at, matches, override, read
from initprobe.sweeps.file_layout import MAX_RUNS, Axis, Range, SweepFile

MAX_COMPARISONS = 5_000_000


@dataclass(frozen=True)
class Draft:
    """A run before it is built: its fields, and the place that asks for it."""

    settings: Settings
    place: str


def drafts(document: Document, layout: SweepFile) -> list[Draft]:
    """Every run of the file: grid and zip crossed, less exclude, then include; the seeds of each beside each other.

    Raises:
        ConfigError: too many runs, none, a value of the wrong type or an exclude without effect, with its place.
    """
    _check_size(document, layout)
    defaults = _defaults(document, layout)
    included = [
        Draft(override(defaults, _settings(document, entry, "include", index)), document.place(("include", index)))
        for index, entry in enumerate(layout.include)
    ]
    seeds = _seeds(document, layout, defaults)
    made = [*_crossed(document, layout, defaults), *included]
    if not made:
        raise ConfigError(f"{document.place(('exclude',))}: no run is left")
    return [one for draft in made for one in _seeded(draft, seeds)]


def axis_names(layout: SweepFile) -> list[str]:
    """The fields that the file gives several values, in the order of the runs."""
    included = (name for entry in layout.include for name in entry)
    seeds = () if layout.seeds is None else ("seed",)
    return list(dict.fromkeys([*layout.grid, *layout.zip, *included, *seeds]))


def _check_size(document: Document, layout: SweepFile) -> None:
    """Before anything is made: a few ranges can stand for more runs than there are atoms."""
    crossed = math.prod(len(axis) for axis in layout.grid.values()) * len(_first(layout.zip))
    runs = (crossed + len(layout.include)) * (
        layout.seeds if isinstance(layout.seeds, int) else len(layout.seeds or "1")
    )
    if runs > MAX_RUNS:
        place = document.place(("grid",) if layout.grid else ("zip",) if layout.zip else ("seeds",))
        raise ConfigError(f"{place}: this makes {runs:,} runs; at most {MAX_RUNS:,} are allowed")
    if crossed * len(layout.exclude) > MAX_COMPARISONS:
        place = document.place(("exclude",))
        raise ConfigError(
            f"{place}: {len(layout.exclude):,} entries for {crossed:,} runs are too many; make the grid smaller"
        )


def _first(axes: Mapping[str, Axis]) -> Axis:
    """The axis whose length all of them have."""
    return next(iter(axes.values()), (None,))


def _defaults(document: Document, layout: SweepFile) -> dict[str, Setting]:
    found = _settings(document, layout.defaults, "defaults")
    if layout.draws is None:
        return found
    place = document.place(("draws",))
    if "draws" in found:
        raise ConfigError(f"{place}: draws is in defaults too; drop one of the two")
    return found | {"draws": read("draws", layout.draws, place)}


def _settings(document: Document, entries: Mapping[str, Any], *way: str | int) -> dict[str, Setting]:
    return {name: _setting(document, name, value, (*way, name)) for name, value in entries.items()}


def _setting(document: Document, name: str, value: Any, way: tuple[str | int, ...]) -> Setting:
    place = document.place(way)
    with at(place):
        return read(name, value, place)


def _crossed(document: Document, layout: SweepFile, defaults: Settings) -> list[Draft]:
    """Grid and zip, less what is excluded; the defaults alone where no key asks for runs."""
    if not (layout.grid or layout.zip):
        return [] if layout.include else [Draft(defaults, document.place(("defaults",)))]
    place = document.place(("grid",) if layout.grid else ("zip",))
    sides = _sides(document, layout)
    combinations = [{name: one for part in parts for name, one in part.items()} for parts in product(*sides)]
    crossed = [Draft(override(defaults, combination), place) for combination in combinations]
    return _without_excluded(document, layout, crossed)


def _sides(document: Document, layout: SweepFile) -> list[list[dict[str, Setting]]]:
    """The axes to cross: each a list of what it sets, one field in `grid` and several in `zip`."""
    grid, beside = layout.grid, layout.zip
    if twice := sorted(grid.keys() & beside.keys()):
        raise ConfigError(f"{document.place(('zip', twice[0]))}: {twice[0]} is an axis of the grid too; drop one")
    sides = [[{name: one} for one in _values(document, "grid", name, axis)] for name, axis in grid.items()]
    if beside:
        columns = [_values(document, "zip", name, axis) for name, axis in beside.items()]
        sides.append([{one.name: one for one in row} for row in zip(*columns, strict=True)])
    return sides


def _values(document: Document, section: str, name: str, axis: Axis) -> list[Setting]:
    values = axis.values() if isinstance(axis, Range) else axis
    return [_setting(document, name, value, (section, name, index)) for index, value in enumerate(values)]


def _without_excluded(document: Document, layout: SweepFile, crossed: list[Draft]) -> list[Draft]:
    excluded: set[int] = set()
    for index, entry in enumerate(layout.exclude):
        wanted = _settings(document, entry, "exclude", index).values()
        found = [number for number, draft in enumerate(crossed) if matches(draft.settings, wanted)]
        if not found:
            words = ", ".join(f"{one.name}={one.text}" for one in wanted)
            raise ConfigError(f"{document.place(('exclude', index))}: no run of the grid has {words}; mend or drop it")
        excluded.update(found)
    return [draft for number, draft in enumerate(crossed) if number not in excluded]


def _seeds(document: Document, layout: SweepFile, defaults: Settings) -> Sequence[Setting]:
    """The seeds to run everything with; none where the runs keep their own."""
    if layout.seeds is None:
        return ()
    if any("seed" in section for section in (layout.grid, layout.zip, *layout.include)):
        raise ConfigError(f"{document.place(('seeds',))}: seed is set elsewhere too; drop one of the two")
    first = defaults["seed"].value if "seed" in defaults else 0
    seeds = range(first, first + layout.seeds) if isinstance(layout.seeds, int) else layout.seeds
    return [_setting(document, "seed", seed, ("seeds", index)) for index, seed in enumerate(seeds)]


def _seeded(draft: Draft, seeds: Sequence[Setting]) -> Iterator[Draft]:
    if not seeds:
        yield draft
    for seed in seeds:
        yield Draft({**draft.settings, "seed": seed}, draft.place)
