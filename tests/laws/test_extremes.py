"""Legal input of any size: numbers with an honest status, or one line that says what is refused. Never a bug.

Over whole registries: every activation, initializer and input, each parameter at the ends of the float range.
"""

import inspect
import itertools
import math
import random

import numpy as np
import pytest

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.probe_config import ProbeConfig
from initprobe.data.noise import INPUTS
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.meanfield.gain import gain_row
from initprobe.probe.run import run
from initprobe.reports import seed_means
from initprobe.results.named_numbers import LAYER_NUMBERS

VALUES = ("1e-320", "1e-160", "1e150", "1e308", "-1e200", "0")
NET = {"layers": 3, "width": 5, "batch": 6, "draws": 2}


def specs(registry):
    """Every record, and every parameter that is a number at every extreme value."""
    for record in registry.values():
        example = getattr(record, "example", record.name)
        yield example
        if record.make is None:
            continue
        for name, parameter in inspect.signature(record.make).parameters.items():
            if "float" in str(parameter.annotation):
                rest = (
                    example.partition(":")[2].split(",") if name not in ("std", "var", "limit", "low", "high") else []
                )
                others = [part for part in rest if part and not part.startswith(f"{name}=")]
                for value in VALUES:
                    yield f"{record.name}:{','.join([*others, f'{name}={value}'])}"


def a_share(cases):
    """A quarter of the cases, by a seed, for every day; all of them among the slow tests."""
    cases = list(cases)
    kept = set(random.Random(15).sample(range(len(cases)), math.ceil(len(cases) / 4)))
    slow = pytest.mark.slow
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*value, marks=() if index in kept else slow) for index, value in enumerate(values)]


def check(**fields):
    """Warnings are errors here. A number that is not finite could not be in a result."""
    try:
        result = run(ProbeConfig(**NET | fields), threads=1)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
        return None
    assert result.table()
    for layer in result.layers:
        is_number = layer.output.variance is not None or layer.output.variance_log10 is not None
        assert is_number or layer.output.status != "ok" or layer.output.max == layer.output.min == 0
    return result


DTYPES = ("float32", "float64")
LARGE = ("normal:std=3e153", "normal:std=1e154", "constant:value=1e153")


@pytest.mark.parametrize(("act", "dtype"), a_share(itertools.product(specs(ACTIVATIONS), DTYPES)))
def test_activations_hold_at_the_ends_of_the_float_range(act, dtype):
    check(init="xavier", act=act, dtype=dtype)


@pytest.mark.parametrize(("init", "dtype"), a_share(itertools.product([*specs(INITIALIZERS), *LARGE], DTYPES)))
def test_initializers_hold_at_the_ends_of_the_float_range(init, dtype):
    check(init=init, act="relu", dtype=dtype)


@pytest.mark.parametrize("source", a_share(specs(INPUTS)))
def test_inputs_hold_at_the_ends_of_the_float_range(source):
    check(init="xavier", act="relu", input=source, dtype="float64")


@pytest.mark.parametrize(
    "act", ["elu:alpha=1e200", "leaky_relu:slope=1e308", "softplus:beta=1e-320", "celu:alpha=1e76"]
)
def test_numbers_beyond_the_range_of_theory_are_refused_with_the_range(act):
    with pytest.raises(ConfigError, match=r"must lie between .* and 1e\+75, not "):
        ProbeConfig(init="he", act=act)


@pytest.mark.parametrize("act", ["elu:alpha=1e75", "leaky_relu:slope=-1e75", "softplus:beta=1e-75", "celu:alpha=1e75"])
def test_gains_at_the_ends_of_the_range(act):
    row = gain_row(ProbeConfig(init="he", act=act).activation)
    assert 0 < row.forward < np.inf
    assert 0 < row.backward < np.inf


@pytest.mark.parametrize("draws", [2, 8])
def test_a_mean_over_draws_whose_sum_leaves_the_range(draws):
    """Each variance is some 1e308: their sum is infinite, their mean is not."""
    layer = check(init="normal:std=3e153", act="linear", dtype="float64", layers=1, draws=draws, width=12).layers[0]
    variances = layer.output.variance_by_draw
    assert all(variances)
    assert sum(variances) == np.inf
    assert layer.output.variance == pytest.approx(sum(value / draws for value in variances))


@pytest.mark.parametrize("scale", [1e-320, 1e150, 1e300])
@pytest.mark.parametrize("more", [{}, {"train_steps": 2}])
def test_weights_from_a_file(scale, more, tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"W1": (4, 5), "b1": (5,), "W2": (5, 5), "W3": (5, 5), "x": (6, 4)}
    np.savez(tmp_path / "w.npz", **{name: rng.standard_normal(shape) * scale for name, shape in shapes.items()})
    fields = dict.fromkeys(("layers", "width", "draws"))
    for act in ("tanh", "relu", "linear"):
        config = {"init": None, "weights": tmp_path / "w.npz", "act": act, "batch": 6} | more
        config |= {name: value for name, value in fields.items() if name != "draws"} | {"draws": 1}
        assert check(**config) is not None


SMALLEST = {
    "one of each": {"layers": 1, "width": 1, "batch": 2, "draws": 1},
    "one feature": {"layers": 1, "width": 5, "input_width": 1, "batch": 2, "draws": 1},
    "one unit at both ends": {
        "widths": (1, 5, 1),
        "layers": None,
        "width": None,
        "input_width": 3,
        "batch": 3,
        "draws": 1,
    },
    "layer norm": {"layers": 2, "width": 1, "batch": 2, "norm": "layer"},
    "batch norm": {"layers": 2, "width": 1, "batch": 2, "draws": 1, "norm": "batch"},
    "residual": {"layers": 1, "width": 1, "batch": 2, "draws": 1, "residual": True},
    "trained": {"layers": 1, "width": 2, "batch": 2, "draws": 1, "train_steps": 1},
}


@pytest.mark.parametrize(
    ("init", "shape"), a_share(itertools.product([record.example for record in INITIALIZERS.values()], SMALLEST))
)
def test_the_smallest_nets(init, shape):
    check(init=init, act="tanh", **SMALLEST[shape])


@pytest.mark.parametrize(
    "command",
    [
        "phase --act tanh --layers 1 --figure p.png --mark normal:std=1e150",
        "phase --act leaky_relu:slope=1e75 --layers 1 --figure p.png",
        "gain --act elu:alpha=1e75 --sigma-b 1e-320",
        "explain softplus:beta=1e-75 --figure e.png",
        "explain normal:std=1e150 --fan-in 1 --fan-out 1",
        "recommend --act tanh --layers 1",
        "spectrum --init normal:std=1e153 --act linear --layers 1 --width 1 --draws 1 --samples 1 --figure s.png",
        "spectrum --init normal:std=1e150 --act linear --layers 3 --width 4 --samples 2 --dtype float64 --figure s.png",
        "compare --init uniform:limit=1e153 --init he --act relu --layers 1 --width 1 --batch 2 --figure c.png",
        "run --init normal:std=3e153 --act relu --layers 2 --width 5 --batch 4 --draws 8 --dtype float64 -o out",
        "run --init normal:std=3e153 --act relu --layers 3 --width 9 --draws 8 --dtype float64 --no-figures -q",
        "run --init lecun --input gaussian:std=3e153 --act linear --layers 2 --width 9 --draws 8 --dtype float64 -q",
        "run --init constant:value=1e-320 --act relu --layers 1 --width 1 --batch 2 --draws 1 --dtype float64 -o out",
    ],
)
def test_commands_hold_at_the_ends_of_the_float_range(command, initprobe):
    outcome = initprobe(*command.split())
    assert outcome.code == 0
    assert all(line.startswith(("note: ", "wrote ")) for line in outcome.err.splitlines())


def test_a_mean_over_layers_whose_sum_leaves_the_range():
    assert check(init="normal:std=5e153", act="linear", dtype="float64")  # fan_in Var(W) = 1.25e308, three times


def test_a_mean_over_seeds_whose_sum_leaves_the_range():
    assert seed_means.mean([1.5e308, 1.7e308, None]) == 1.6e308
    assert seed_means.mean(["ok", None, "ok", "underflow"]) == "ok"
    assert math.isnan(seed_means.mean([None]))


def test_gradients_and_their_predictions_are_shown_where_they_have_come_furthest():
    first = {name for name in LAYER_NUMBERS if seed_means.layer_of(name) == 0}
    gradients = [f"{tensor}_gradient" for tensor in ("preactivation", "output", "weight")]
    assert first == {
        name
        for name in LAYER_NUMBERS
        for part in gradients
        if name.startswith((f"{part}.", f"theory.{part}_", f"loss_{part}_"))
    }
