"""What the tests of a sweep's file share: a small file, and how it is loaded or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from initprobe.errors import ConfigError
from initprobe.sweeps.plan import Plan, load

HEAD = "version: 1\nname: test\n"
SMALL = HEAD + "defaults: {init: he, act: relu, layers: 2, width: 9, batch: 9}\n"


def loaded(directory: Path, text: str | bytes, *overrides: str, where: tuple[str, ...] = ()) -> Plan:
    """The plan in a file `a.yaml` of this text."""
    file = directory / "a.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, overrides, where)


def refusal(directory: Path, text: str | bytes, *overrides: str, where: tuple[str, ...] = ()) -> str:
    """The line by which that file is refused, its directory left out."""
    with pytest.raises(ConfigError) as caught:
        loaded(directory, text, *overrides, where=where)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{directory}/", "")
