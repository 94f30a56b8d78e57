"""The runs that a sweep's file asks for, from grid, zip, exclude, include and seeds.

They are counted before they are made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from initprobe.data.documents import Document, Loc, Place
from initprobe.sweeps.file_fields import Setting, Settings, matches, override, read_setting
from initprobe.sweeps.file_layout import MAX_RUNS, Axis, Range, SweepFile

MAX_COMPARISONS = 5_000_000


@dataclass(frozen=True)
class Draft:
    """A run before its config is made.

    Attributes:
        settings: its fields, by name.
        place: the part of the file that asks for it.
    """

    settings: Settings
    place: Place


def drafts(document: Document, layout: SweepFile) -> list[Draft]:
    """Every run of the file, in order: grid crossed with zip, without exclude, then include; each with all its seeds.

    Args:
        document: with the lines of its parts.
        layout: the same, validated.

    Raises:
        ConfigError: too many runs, no run, a value of a wrong type, or an exclude without effect, with its place.
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
        raise document.place(("exclude",)).error("no run is left; drop an entry of `exclude`")
    return [seeded for draft in made for seeded in _seeded(draft, seeds)]


def axis_names(layout: SweepFile) -> list[str]:
    """The fields that the file may vary, in the order of the runs: the slowest first."""
    included = (name for entry in layout.include for name in entry)
    seeds = () if layout.seeds is None else ("seed",)
    return list(dict.fromkeys([*layout.grid, *layout.zip, *included, *seeds]))


def _check_size(document: Document, layout: SweepFile) -> None:
    """Refuse too many runs before any is made: a few short ranges can stand for more than memory holds."""
    crossed = math.prod(len(axis) for axis in layout.grid.values()) * len(_first(layout.zip))
    runs = (crossed + len(layout.include)) * (
        layout.seeds if isinstance(layout.seeds, int) else len(layout.seeds or "1")
    )
    if runs > MAX_RUNS:
        place = document.place(("grid",) if layout.grid else ("zip",) if layout.zip else ("seeds",))
        raise place.error(f"this makes {runs:,} runs; at most {MAX_RUNS:,} are allowed")
    if crossed * len(layout.exclude) > MAX_COMPARISONS:
        entries = f"{len(layout.exclude):,} entries for {crossed:,} runs"
        raise document.place(("exclude",)).error(f"{entries} are too many; make the grid smaller")


def _first(axes: Mapping[str, Axis]) -> Axis:
    """The first axis; all have its length."""
    return next(iter(axes.values()), (None,))


def _defaults(document: Document, layout: SweepFile) -> dict[str, Setting]:
    defaults = _settings(document, layout.defaults, "defaults")
    if layout.draws is None:
        return defaults
    place = document.place(("draws",))
    if "draws" in defaults:
        raise place.error("draws is in defaults too; drop one of the two")
    return defaults | {"draws": read_setting("draws", layout.draws, place)}


def _settings(document: Document, entries: Mapping[str, Any], *section: str | int) -> dict[str, Setting]:
    return {name: _setting(document, name, value, (*section, name)) for name, value in entries.items()}


def _setting(document: Document, name: str, value: Any, loc: Loc) -> Setting:
    place = document.place(loc)
    with place.blamed():
        return read_setting(name, value, place)


def _crossed(document: Document, layout: SweepFile, defaults: Settings) -> list[Draft]:
    """Grid crossed with zip, without the excluded runs; the defaults alone where no key asks for runs."""
    if not (layout.grid or layout.zip):
        return [] if layout.include else [Draft(defaults, document.place(("defaults",)))]
    place = document.place(("grid",) if layout.grid else ("zip",))
    sides = _sides(document, layout)
    combinations = [{name: setting for part in parts for name, setting in part.items()} for parts in product(*sides)]
    crossed = [Draft(override(defaults, combination), place) for combination in combinations]
    return _without_excluded(document, layout, crossed)


def _sides(document: Document, layout: SweepFile) -> list[list[dict[str, Setting]]]:
    """The lists to cross. An entry sets one field of `grid`, or all fields of `zip`."""
    grid, zipped = layout.grid, layout.zip
    if twice := sorted(grid.keys() & zipped.keys()):
        raise document.place(("zip", twice[0])).error(f"{twice[0]} is an axis of the grid too; drop one")
    sides = [[{name: setting} for setting in _values(document, "grid", name, axis)] for name, axis in grid.items()]
    if zipped:
        columns = [_values(document, "zip", name, axis) for name, axis in zipped.items()]
        sides.append([{setting.name: setting for setting in row} for row in zip(*columns, strict=True)])
    return sides


def _values(document: Document, section: str, name: str, axis: Axis) -> list[Setting]:
    values = axis.values() if isinstance(axis, Range) else axis
    return [_setting(document, name, value, (section, name, index)) for index, value in enumerate(values)]


def _without_excluded(document: Document, layout: SweepFile, crossed: list[Draft]) -> list[Draft]:
    excluded: set[int] = set()
    for index, entry in enumerate(layout.exclude):
        wanted = _settings(document, entry, "exclude", index).values()
        matching = [number for number, draft in enumerate(crossed) if matches(draft.settings, wanted)]
        if not matching:
            values = ", ".join(f"{setting.name}={setting.text}" for setting in wanted)
            raise document.place(("exclude", index)).error(f"no run of the grid has {values}; correct or drop it")
        excluded.update(matching)
    return [draft for number, draft in enumerate(crossed) if number not in excluded]


def _seeds(document: Document, layout: SweepFile, defaults: Settings) -> Sequence[Setting]:
    """The seeds of every run; empty where the runs keep their own seeds."""
    if layout.seeds is None:
        return ()
    if any("seed" in section for section in (layout.grid, layout.zip, *layout.include)):
        raise document.place(("seeds",)).error("seed is set elsewhere too; drop one of the two")
    first = defaults["seed"].value if "seed" in defaults else 0
    seeds = range(first, first + layout.seeds) if isinstance(layout.seeds, int) else layout.seeds
    return [_setting(document, "seed", seed, ("seeds", index)) for index, seed in enumerate(seeds)]


def _seeded(draft: Draft, seeds: Sequence[Setting]) -> Iterator[Draft]:
    if not seeds:
        yield draft
    for seed in seeds:
        yield Draft({**draft.settings, "seed": seed}, draft.place)
