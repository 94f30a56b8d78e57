"""The configs that ship with initprobe. Imports nothing else, so that completion of their names is fast."""

from __future__ import annotations

from pathlib import Path

import initprobe

SUFFIX = ".yaml"
SUFFIXES = (SUFFIX, ".yml")


def shipped() -> dict[str, Path]:
    """The files of the configs that ship with initprobe, by name."""
    package = Path(initprobe.__file__).parent
    # A wheel has them inside the package, a checkout beside it.
    homes = (package / "configs", package.parent / "configs")
    home = next((home for home in homes if home.is_dir()), package)
    return {path.stem: path for path in sorted(home.glob(f"*{SUFFIX}"))}


def first_comment(path: Path) -> str:
    """The first line of a file, which says what the file is for."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
