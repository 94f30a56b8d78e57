"""An activation, an initializer, a rule and so on is added by an edit of one file, and appears everywhere."""

import subprocess
import sys

import pytest
from edited_package import completed, edited, printed

ACTIVATION = """

def throwaway(bend: float = 2.0) -> Activation:
    \"\"\"A tanh of another slope.\"\"\"
    return replace(tanh(), name="throwaway", aliases=("cast_off",), formula="tanh(bend x)",
                   value=lambda z: np.tanh(bend * z), slope=lambda z, h: bend * (1 - h * h),
                   params={"bend": bend}, make=throwaway)


from dataclasses import replace
SIGMOIDS = (*SIGMOIDS, throwaway())
"""
INITIALIZER = """

def throwaway(gain: float = 1.0) -> Initializer:
    \"\"\"LeCun's rule by another name.\"\"\"
    return replace(lecun_normal(gain), name="throwaway", aliases=("cast_off",), example="throwaway",
                   make=throwaway)


from dataclasses import replace
FAN_SCALED = (*FAN_SCALED, throwaway())
"""

RULE = """

def _throwaway(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    return each_layer(result, lambda layer: True, lambda layer: f"evidence of layer {layer.layer}", "warning")


RULES = (
    *RULES,
    Rule("throwaway", "a meaning", "a measurement", "a remedy", "a reference", _throwaway, from_layer_on=True),
)
"""
MODEL_RULE = """
from collections.abc import Iterator

from initprobe.diagnosis.rule import RuleText
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Observation


def _throwaway(case: Case) -> Iterator[Observation]:
    yield Observation("throwaway", "info", 1, "an evidence", "a cause", "")


_TEXT = RuleText("throwaway", "a meaning", "a measurement", "a remedy", "a reference")
RULES = (ModelRule(_throwaway, texts=(_TEXT,)),)
"""
MODEL = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
"""
STATISTIC = """

class LayerStats(LayerStats):
    \"\"\"A layer with one more statistic.

    Attributes:
        throwaway: an added number.
    \"\"\"

    throwaway: Finite | None = 7.5
"""
FIGURE = """

KINDS = {**KINDS, "throwaway": FigureKind("throwaway", _depth_alone)}
"""
SMALL = "run --init he --act relu --layers 2 --width 9 --batch 12 --draws 1"
SWEEP = """version: 1
name: small
defaults: {init: he, act: relu, batch: 12, draws: 1}
grid: {width: [8, 9], layers: [2, 3]}
"""


def test_an_activation(tmp_path):
    place = edited(tmp_path, "activations/sigmoids.py", ACTIVATION)
    run = "run --init lecun --act throwaway:bend=1.5 --layers 2 --width 20 --batch 40 --draws 1 --no-figures"
    outputs = printed(place, "list activations", "explain cast-off", "gain --all", run, "phase --act throwaway")
    assert all("throwaway" in output.lower() for output in outputs)
    assert "tanh(bend x)" in outputs[0]
    assert completed(place, "initprobe run --act throw") == ["plain,throwaway"]
    assert completed(place, "initprobe run --act throwaway:") == ["plain,throwaway:bend=2"]


def test_an_initializer(tmp_path):
    place = edited(tmp_path, "initializers/fan_scaled.py", INITIALIZER)
    run = "run --init throwaway:gain=2 --act tanh --layers 2 --width 20 --batch 40 --draws 1 --no-figures"
    outputs = printed(place, "list initializers", "explain cast-off", run)
    assert all("throwaway" in output.lower() for output in outputs)
    assert completed(place, "initprobe run --init throw") == ["plain,throwaway"]
    assert completed(place, "initprobe run --init throwaway:") == ["plain,throwaway:gain=1"]


def test_a_rule(tmp_path):
    place = edited(tmp_path, "diagnosis/units.py", RULE)
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    gate = f"{SMALL} --no-figures --fail-on warning --junit -"
    ignored = f"{gate} --ignore throwaway --reason test"
    listed, explained, report, excused, table = printed(
        place, "list rules", "explain throwaway", gate, ignored, "sweep sweep.yaml -o out"
    )
    assert "throwaway" in listed and all(word in explained for word in ("meaning", "measured", "remedy", "source"))
    assert "THROWAWAY from layer 1" in report or 'name="throwaway"' in report
    assert "skipped" in excused
    assert "throwaway" in table
    assert (place / "out" / "heatmap-3.png").exists()  # of verdicts
    assert completed(place, "initprobe explain throw") == ["plain,throwaway"]


def test_a_rule_for_models(tmp_path):
    """In a module of its own."""
    place = edited(tmp_path, "torch/verdict/throwaway.py", MODEL_RULE)
    listed, explained = printed(place, "list rules", "explain throwaway")
    assert "throwaway" in listed and "judged in PyTorch models only" in " ".join(explained.split())
    assert completed(place, "initprobe explain throw") == ["plain,throwaway"]
    pytest.importorskip("torch")
    (tmp_path / "net.py").write_text(MODEL)
    (judged,) = printed(place, "torch net:make --input-shape 32,8 --no-figures")
    assert "throwaway from layer 1: an evidence" in judged


def test_a_statistic(tmp_path):
    place = edited(tmp_path, "results/layers.py", STATISTIC)
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    json_text, csv_text, explained, _, table = printed(
        place,
        f"{SMALL} --no-figures --export-json -",
        f"{SMALL} --no-figures --export-csv -",
        "explain throwaway",
        "sweep sweep.yaml -o out --no-figures",
        "results out --columns throwaway",
    )
    assert '"throwaway":7.5' in json_text and ",7.5" in csv_text and "throwaway" in csv_text.splitlines()[0]
    assert "an added number" in explained and "7.5" in table
    assert completed(place, "initprobe results --columns throw") == ["plain,throwaway"]


def test_a_kind_of_figure(tmp_path):
    place = edited(tmp_path, "reports/figures/run.py", FIGURE)
    printed(place, f"{SMALL} -o out")
    assert (place / "out" / "throwaway.png").exists()
    config = "ProbeConfig(init='he', act='relu', layers=2, width=9, batch=9)"
    code = f"from initprobe import *; run({config}).figure('throwaway')"
    subprocess.run([sys.executable, "-c", code], cwd=place, check=True)


COMMAND = '''"""Echo a word in capitals.

\\b
Examples:
  initprobe throwaway hello
"""

from dataclasses import dataclass

import click

from initprobe.cli.candidates import activations
from initprobe.cli.parameters import argument, command_of, option


@dataclass(frozen=True, kw_only=True)
class ThrowawayOptions:
    """The options of `initprobe throwaway`."""

    word: str = argument(shell_complete=activations)
    times: int = option("--times", type=int, default=1, help="How often.")


@command_of(ThrowawayOptions, help=__doc__)
def command(options: ThrowawayOptions) -> None:
    click.echo(" ".join([options.word.upper()] * options.times))
'''


def test_a_command(tmp_path):
    place = edited(tmp_path, "cli/commands/throwaway.py", COMMAND)
    helped, own_help, said = printed(place, "--help", "throwaway --help", "throwaway hello --times 2")
    assert "  throwaway  Echo a word in capitals\n" in helped
    assert helped.index("  schema ") < helped.index("  throwaway ")
    assert "--times INTEGER  How often." in own_help and "initprobe throwaway hello" in own_help
    assert said == "HELLO HELLO\n"
    assert completed(place, "initprobe throw") == ["plain,throwaway"]
    assert completed(place, "initprobe throwaway --ti") == ["plain,--times"]
    assert completed(place, "initprobe throwaway softsi") == ["plain,softsign"]
