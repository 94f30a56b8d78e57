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
# Every public function and its result; a checker that knows their types finds no Any.
REVEALED = """
import numpy as np
import initprobe
config = initprobe.ProbeConfig(init="he", act="relu")
result = initprobe.run(config)
reveal_type((result, result.layers[0].output.variance, result.figure("depth")))
reveal_type((result.table(80), result.series("output"), result.in_a_line()))
pair = initprobe.compare([config])
reveal_type((pair, pair[0], list(pair), pair.figure(style="paper")))
reveal_type((initprobe.gain("relu", 0.1), initprobe.gain("relu").torch, initprobe.recommend("relu", layers=3).pytorch))
reveal_type((initprobe.phase("tanh", np.linspace(0, 1, 3), 0.1), initprobe.spectrum(config).layers[0].largest))
reveal_type(initprobe.width(config, [8, 16, 32]).lines[0].rms)
swept = initprobe.sweep("mine.yaml", overrides=["layers=3"])
reveal_type((swept, swept.rows[0].axes, next(swept.results()), swept.figure({"kind": "depth"})))
reveal_type((initprobe.load("a.json"), initprobe.diff("a.json", result, ["verdict"]).changes[0].old))
reveal_type((initprobe.ACTIVATIONS["relu"], initprobe.INITIALIZERS["he"]))
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
    (tmp_path / "revealed.py").write_text(REVEALED)
    where = ["--strict", "--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache")]
    out, err, _ = api.run([*where, *(str(tmp_path / f"{name}.py") for name in ("good", "bad", "revealed"))])
    assert not err
    errors = [line for line in out.splitlines() if ": error: " in line]
    assert not [line for line in errors if "bad.py" not in line], out
    for number, name in enumerate(BAD.values(), start=2):
        assert any(f"bad.py:{number}:" in line and f'"{name}"' in line for line in errors), out
    revealed = [line for line in out.splitlines() if "Revealed type" in line]
    assert len(revealed) == REVEALED.count("reveal_type") and not [line for line in revealed if "Any" in line], out
