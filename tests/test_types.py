"""What a type checker says of code that uses this package."""

import typing

import pytest

from initprobe import ProbeConfig
from initprobe.config.arguments import ConfigFields

GOOD = """
from pathlib import Path
import numpy as np
from initprobe import ACTIVATIONS, INITIALIZERS, ProbeConfig, run

ProbeConfig(init="xavier", act="tanh", layers=10, widths=[3, 4], input=Path("x.npy"), thresholds={"saturated": 0.3})
ProbeConfig(init=INITIALIZERS["he"], act=ACTIVATIONS["relu"], labels="digits", branch_scale="1/sqrt(2L)")
ProbeConfig(init={"name": "he", "mode": "fan_in"}, act=lambda z: z / (1 + abs(z)), dtype="float64")
fields = {"init": "he", "act": "relu"}
run(ProbeConfig(**fields)).table()  # type: ignore[arg-type]
"""
BAD = {
    "ProbeConfig(init='he', act='relu', layer=3)": "layer",
    "ProbeConfig(init='he', act='relu', layers='3')": "layers",
    "ProbeConfig(init='he', act='relu', dtype='float16')": "dtype",
    "ProbeConfig(init='he')": "act",
}


def test_what_a_type_checker_knows_is_what_there_is():
    assert set(typing.get_type_hints(ConfigFields)) == set(ProbeConfig.model_fields)
    needed = {name for name, field in ProbeConfig.model_fields.items() if field.is_required()}
    assert ConfigFields.__required_keys__ == needed


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ["", "plugins = pydantic.mypy"])
def test_mypy_refuses_what_a_config_has_not(tmp_path, plugin):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nignore_missing_imports = true\nfollow_imports = silent\n{plugin}\n")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text("\n".join(["from initprobe import ProbeConfig", *BAD]))
    where = ["--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache")]
    out, err, _ = api.run([*where, str(tmp_path / "good.py"), str(tmp_path / "bad.py")])
    assert not err
    errors = [line for line in out.splitlines() if ": error: " in line]
    assert not [line for line in errors if "bad.py" not in line], out
    for number, name in enumerate(BAD.values(), start=2):
        assert any(f"bad.py:{number}:" in line and f'"{name}"' in line for line in errors), out
