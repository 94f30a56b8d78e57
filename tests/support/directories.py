"""What lies in a directory."""

from pathlib import Path


def files_below(directory: Path) -> set[str]:
    """Every file below a directory, by its path from there."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
