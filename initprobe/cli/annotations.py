"""Annotations of GitHub: they mark a line of a file in a pull request."""

from __future__ import annotations

import os
from pathlib import Path

from initprobe.formatting import visible


def error_annotation(title: str, message: str, file: Path, line: int | None) -> str:
    """A workflow command `::error ...`, with the path of the file in the repository.

    Args:
        title: of the annotation.
        message: its text.
        file: the file that it marks.
        line: its line there, from 1; None for the file as a whole.
    """
    properties = {"title": title, "file": in_repository(file), "line": line}
    given = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items() if value is not None)
    return f"::error {given}::{_data(message)}"


def in_repository(file: Path) -> str:
    """Relative to the checkout of GitHub if the file lies below it; else unchanged."""
    home = os.environ.get("GITHUB_WORKSPACE")
    if home and file.resolve().is_relative_to(Path(home).resolve()):
        return file.resolve().relative_to(Path(home).resolve()).as_posix()
    return file.as_posix()


def _data(text: str) -> str:
    return visible(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
