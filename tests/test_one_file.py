"""An activation, an initializer, a rule and so on is added by an edit of one file, and appears everywhere."""

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


def test_an_activation(tmp_path):
    place = edited(tmp_path, "activations/sigmoids.py", ACTIVATION)
    run = "run --init lecun --act throwaway:bend=1.5 --layers 2 --width 20 --batch 40 --draws 1"
    outputs = printed(place, "list activations", "explain cast-off", "gain --all", run, "phase --act throwaway")
    assert all("throwaway" in output.lower() for output in outputs)
    assert "tanh(bend x)" in outputs[0]
    assert completed(place, "initprobe run --act throw") == ["plain,throwaway"]
    assert completed(place, "initprobe run --act throwaway:") == ["plain,throwaway:bend=2"]


def test_an_initializer(tmp_path):
    place = edited(tmp_path, "initializers/fan_scaled.py", INITIALIZER)
    run = "run --init throwaway:gain=2 --act tanh --layers 2 --width 20 --batch 40 --draws 1"
    outputs = printed(place, "list initializers", "explain cast-off", run)
    assert all("throwaway" in output.lower() for output in outputs)
    assert completed(place, "initprobe run --init throw") == ["plain,throwaway"]
    assert completed(place, "initprobe run --init throwaway:") == ["plain,throwaway:gain=1"]


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
