"""The configs that ship with initprobe; imports nothing, so that their names cost little."""

from __future__ import annotations

from pathlib import Path

import initprobe

SUFFIX = ".yaml"
SUFFIXES = (SUFFIX, ".yml")


def shipped() -> dict[str, Path]:
    """The configs that ship with initprobe, by name."""
    package = Path(initprobe.__file__).parent
    # In a wheel they lie inside the package, in a checkout beside it.
    home = next((home for home in (package / "configs", package.parent / "configs") if home.is_dir()), package)
    return {path.stem: path for path in sorted(home.glob(f"*{SUFFIX}"))}


def first_comment(path: Path) -> str:
    """The first line of a file, which says what it is."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
