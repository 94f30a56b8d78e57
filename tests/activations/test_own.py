"""Activations of one's own: what is taken and what is refused, slopes and kinks, and every command that takes one."""

import functools
import importlib
import json
import math
import sys

import numpy as np
import pytest

import initprobe as package
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.own import activation, imported, own, reference
from initprobe.activations.record import Activation
from initprobe.cli.app import main
from initprobe.config.names import activation_of, as_activation
from initprobe.config.probe_config import ProbeConfig
from initprobe.config.resolved import check_resolved
from initprobe.errors import ConfigError
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.moments import lookup, moments
from initprobe.probe.run import run
from initprobe.reports.narrative import course
from initprobe.spec import Spec
from initprobe.sweeps.runs import run_key

SMALL = {"layers": 3, "width": 40, "batch": 50, "draws": 2}
EPS = float(np.finfo(float).eps)
# The step of the central difference near 0, and its rounding and truncation for a phi of size 1.
STEP = math.cbrt(3 * EPS)
ERROR = STEP**2 / 6 + EPS / STEP
MODULE = """
import math
import sys
import numpy as np
import initprobe

def swish(z):
    return z / (1 + np.exp(-z))

def leaky(z):
    return np.maximum(z, 0.1 * z)

def declared(z):
    return np.maximum(z, 0.1 * z)
declared.kinks = (0,)
declared.slope = lambda z: np.where(z > 0, 1.0, 0.1)

class nested:
    swish = staticmethod(swish)

cube = initprobe.Activation(
    name="cube", value=lambda z: z**3, slope=lambda z, h: 3 * z**2, formula="x^3", reference="mine"
)
exp = np.exp
relu = lambda z: np.maximum(z, 0)
scalar = math.tanh
vectorised = np.vectorize(math.tanh)
flattened = lambda z: z.ravel()
total = lambda z: z.sum()
number = 3
log = lambda z: np.log(np.abs(z))
softmax = lambda z: np.exp(z) / np.exp(z).sum()
softmax_of_rows = lambda z: np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
softmax_of_columns = lambda z: np.exp(z) / np.exp(z).sum(axis=0, keepdims=True)
alternating = lambda z: np.tanh(z) * (1 + np.arange(z.size).reshape(z.shape) % 2)
normed = lambda z: z - z.mean()
narrow = lambda z: np.tanh(z.astype(np.float32))
wrong = lambda z: z * 1j
flat = lambda z: np.ones_like(z)
sign = np.sign
bad_kinks = lambda z: np.tanh(z)
bad_kinks.kinks = ("a",)
bad_slope = lambda z: np.tanh(z)
bad_slope.slope = lambda z: 1.0

def quits(z):
    if z.shape[-1] == 41:
        sys.exit(0)
    return np.tanh(z)

def fails(z):
    if z.shape[-1] == 41:
        raise ValueError("no 41")
    return np.tanh(z)

quitting = initprobe.Activation(
    name="quitting", value=quits, slope=lambda z, h: 1 - h * h, formula="?", reference="mine"
)
quits_at_once = lambda z: sys.exit(3)

def inplace(z):
    z[z < 0] = 0
    return z
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with `ownacts.py` and a module that fails, on the path of this test file alone."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "ownacts.py").write_text(MODULE)
    (folder / "ownbroken.py").write_text("1 / 0\n")
    (folder / "ownneeds.py").write_text("import no_such_library_at_all\n")
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))


def of(text):
    return activation_of(as_activation(text))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a:b", "a:b"),
        (" pkg.sub.mod : name ", "pkg.sub.mod:name"),
        ("pkg.mod:Class.method", "pkg.mod:Class.method"),
        ("leaky_relu:slope=0.2", None),
        ("tanh", None),
        ("tanh:x", None),
        ("a:b=1,c=2", None),
        ("1a:b", None),
        ("a::b", None),
        ("", None),
    ],
)
def test_a_reference_is_not_read_as_parameters(text, name):
    referred = reference(text)
    assert (referred and referred.name) == name
    assert referred is None or str(as_activation(str(referred))) == name


def test_a_name_that_ships_keeps_its_message():
    with pytest.raises(
        ConfigError, match=r"^'tanh:x': 'x' is not key=value, as in tanh:key=0.5; `initprobe explain tanh` lists"
    ):
        of("tanh:x")


REFUSED = {
    "nosuchmodule:f": "there is no module nosuchmodule; write package.module:name",
    "ownacts.sub:f": "there is no module ownacts.sub",
    "ownacts:nothing": "ownacts.py has no 'nothing'; name a function or a record in it",
    "ownbroken:f": "ownbroken cannot be imported: ZeroDivisionError: division by zero (ownbroken.py:1)",
    "ownneeds:f": "there is no module no_such_library_at_all, which ownneeds imports; install it",
    "ownacts:scalar": "fails on an array (TypeError",
    "ownacts:quits_at_once": "fails on an array (SystemExit: 3)",
    "ownacts:nested.other": "ownacts:nested.other: nested has no 'other'; name a function or a record in it",
    "ownacts:flattened": "gives shape (321,) for an array of shape (3, 107)",
    "ownacts:total": "gives float64 for an array",
    "ownacts:number": "is int, not a function of an array",
    "ownacts:log": "gives -inf at z = 0",
    "ownacts:softmax": "is not entry by entry",
    "ownacts:softmax_of_rows": "is not entry by entry",
    "ownacts:softmax_of_columns": "is not entry by entry",
    "ownacts:alternating": "is not entry by entry",
    "ownacts:normed": "is not entry by entry",
    "ownacts:narrow": "gives float32 for float64, too coarse",
    "ownacts:wrong": "gives complex128 entries",
    "ownacts:flat": "gives 1 for every z",
    "ownacts:sign": "has slope 0 everywhere",
    "ownacts:inplace": "changes the array it is given",
    "ownacts:bad_kinks": "its kinks are ('a',), not finite numbers",
    "ownacts:bad_slope": "its slope: gives float for an array",
    "ownacts:swish:beta=2": "takes no parameters, but beta is given",
}


@pytest.mark.parametrize("text", REFUSED)
def test_functions_that_are_no_activation_are_refused_in_one_line(home, text):
    with pytest.raises(ConfigError) as caught:
        check_resolved(ProbeConfig(init="he", act=text))
    assert REFUSED[text] in str(caught.value)
    assert str(caught.value).startswith(("act: ", text.partition(":")[0]))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_central_difference_is_the_slope(name):
    """To truncation and rounding; within two steps of a kink to the curvature there, which is at most 4 here."""
    record = ACTIVATIONS[name]
    mine = activation(lambda z: record.value(z), name="mine")
    z = np.linspace(-8, 8, 3201)
    z = z[np.all([np.abs(z - kink) > 1e-12 for kink in (math.inf, *record.kinks)], axis=0)]  # a kink has two slopes
    h = record.value(z)
    # Beyond 1 the step grows and phi is as large as z. The third derivative of all of these is below 4.
    size = 4 * np.maximum(np.abs(z), 1)
    near = np.any([np.abs(z - kink) <= 4 * STEP for kink in (math.inf, *record.kinks)], axis=0)
    allowed = ERROR * size + np.where(near, 8 * STEP, 0)
    assert np.all(np.abs(mine.slope(z, h) - record.slope(z, h)) <= allowed)


def test_the_difference_holds_at_any_scale():
    """A kink is not straddled however small z is, nor is x + s lost in x however large."""
    mine = activation(lambda z: np.maximum(z, 0.1 * z), name="mine")
    assert mine.kinks == (0,)
    for z in (1e-30, 1e-9, 1e-5, 1.0, 1e5, 1e15, 1e300):
        x = np.array([z, -z])
        np.testing.assert_allclose(mine.slope(x, mine.value(x)), [1, 0.1], rtol=math.sqrt(EPS))


def test_values_and_slopes_keep_the_dtype_and_share_no_memory():
    mine = activation(lambda z: z, name="mine")
    for dtype in (np.float32, np.float64):
        z = np.linspace(-2, 2, 6, dtype=dtype).reshape(2, 3)
        h = mine.value(z)
        assert (h.dtype, mine.slope(z, h).dtype) == (dtype, dtype)
        assert not np.may_share_memory(h, z)


@pytest.mark.parametrize("name", ["relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "selu", "leaky_relu"])
def test_breaks_of_the_slope_are_found(name):
    assert activation(lambda z: ACTIVATIONS[name].value(z), name="mine").kinks == ACTIVATIONS[name].kinks


@pytest.mark.parametrize("kink", [-7.3, -1 / 3, 0.1, 2.5, 7.99])
def test_a_break_is_found_anywhere(kink):
    kinks = activation(lambda z: np.tanh(z) + np.abs(z - kink), name="mine").kinks
    assert kinks == pytest.approx((kink,), abs=1e-9)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "mish", "sin", "elu", "softplus"])
def test_what_bends_smoothly_has_no_breaks(name):
    assert activation(lambda z: ACTIVATIONS[name].value(z), name="mine").kinks == ()


@pytest.mark.parametrize("name", ["tanh", "relu", "selu", "gelu", "hardswish", "softsign"])
@pytest.mark.parametrize("q", [1e-6, 1e-2, 1.0, 30.0])
def test_theory_is_that_of_the_record(name, q):
    """E[phi'^2] to twice the error of the slope. A kink of the second derivative within a step adds 2 s phi''."""
    mine, record = activation(lambda z: ACTIVATIONS[name].value(z), name="mine"), ACTIVATIONS[name]
    computed, expected = moments(mine, q), moments(record, q)
    np.testing.assert_allclose(computed.square, expected.square, rtol=1e-12)
    bent = 8 * STEP if record.kinks else 0
    np.testing.assert_allclose(computed.slope_square, expected.slope_square, rtol=4 * (ERROR * 10 + bent))


def test_an_undeclared_kink_costs_theory_little():
    """The panel that a kink ends in is 2^-12 of one that is at most 4 wide. A rule of 48 points errs by 1/48."""
    hidden = activation(lambda z: np.clip(z - 0.7, -1, 1), name="mine", kinks=())
    visible = activation(lambda z: np.clip(z - 0.7, -1, 1), name="mine")
    assert (hidden.kinks, visible.kinks) == ((), (-0.3, 1.7))
    for q in (0.1, 1.0, 10.0):
        a, b = moments(hidden, q).slope_square, moments(visible, q).slope_square
        panel = 4 * 2.0**-12 / 48 / math.sqrt(2 * math.pi * q)
        assert abs(a - b) < 2 * panel


@pytest.mark.parametrize(
    "function",
    [
        lambda z: np.tanh(z) + 1e-9 * np.sin(1e7 * z),
        lambda z: np.interp(z, np.arange(-99, 99) / 20, np.arange(198) ** 0.5),
    ],
)
def test_noise_and_tables_do_not_stall_theory(function):
    from initprobe.meanfield.quadrature import bends, curve_of

    assert len(bends(curve_of(activation(function, name="mine")))) < 4000


def test_functions_are_accepted_from_python(home):
    ownacts = importlib.import_module("ownacts")
    result = run(ProbeConfig(init="lecun", act=np.tanh, **SMALL))
    shipped = run(ProbeConfig(init="lecun", act="tanh", **SMALL))
    assert result.series("output", "variance") == shipped.series("output", "variance")
    # dL/dh passes through at most three slopes, each off by no more than float32's rounding and the difference's.
    np.testing.assert_allclose(
        result.series("output_gradient", "variance"), shipped.series("output_gradient", "variance"), rtol=1e-5
    )
    assert "phi' by central difference" in result.table()
    assert result.config["act"] == "numpy:tanh"
    unnamed = run(ProbeConfig(init="lecun", act=lambda z: z * np.tanh(z), **SMALL))
    assert unnamed.description.slug == "lecun-lambda-3x40-batch50-draws2"
    assert ProbeConfig(init="he", act=ownacts.leaky).activation.name == "leaky"
    assert ProbeConfig(init="he", act=ownacts.swish).activation.name == "ownacts:swish"  # silu is called swish too
    partial = functools.partial(np.clip, a_min=-1, a_max=2)
    assert ProbeConfig(init="he", act=partial).activation.name == "partial"
    assert own(ownacts.swish) is own(ownacts.swish)  # theory keeps its tables by the record


def test_a_record_serves_by_reference(home):
    cube = of("ownacts:cube")
    assert isinstance(cube, Activation)
    assert cube.name == "cube"
    assert cube is importlib.import_module("ownacts").cube
    assert of("ownacts:nested.swish").name == "ownacts:nested.swish"


def test_attributes_declare_slope_and_kinks(home):
    act = of("ownacts:declared")
    assert (act.kinks, act.slope_noise) == ((0,), 0)
    z = np.array([-2.0, 3.0], np.float32)
    assert act.slope(z, act.value(z)).tolist() == [np.float32(0.1), 1]
    config = ProbeConfig(init="he", act="ownacts:declared", **SMALL)
    assert "central difference" not in run(config).description.weights


def test_a_torch_gain_is_of_the_same_function():
    assert gain_row(ACTIVATIONS["relu"]).torch == math.sqrt(2)
    assert gain_row(activation(lambda z: np.tanh(z), name="leaky_relu")).torch is None


def test_the_own_activation_has_a_public_name():
    assert package.activation(np.sin, name="wave", kinks=()).name == "wave"


def test_a_reloaded_function_is_another(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "ownreloaded.py").write_text("import numpy as np\ndef f(z):\n    return np.tanh(z)\n")
    act, key = of("ownreloaded:f"), run_key(ProbeConfig(init="he", act="ownreloaded:f"))
    (tmp_path / "ownreloaded.py").write_text("import numpy as np\ndef f(z):\n    return np.sin(z) # other\n")
    importlib.reload(sys.modules["ownreloaded"])
    other = of("ownreloaded:f")
    assert act.value(np.ones(1)) == np.tanh(1)
    assert other.value(np.ones(1)) == np.sin(1)
    assert run_key(ProbeConfig(init="he", act="ownreloaded:f")) != key


def test_the_current_directory_can_be_imported_from_on_the_command_line(initprobe, tmp_path):
    (tmp_path / "ownhere.py").write_text(MODULE)
    outcome = initprobe("run", "--init", "lecun", "--act", "ownhere:swish", "--layers", 2, "--width", 20, "--batch", 20)
    assert outcome.code == 0, outcome.err
    assert "LeCun normal + ownhere:swish, 2 layers of 20" in outcome.out
    assert "phi' by central difference" in outcome.out
    assert (tmp_path / "initprobe-out" / "lecun-ownhere-swish-2x20-batch20" / "summary.png").is_file()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("explain", "ownacts:swish"), "central difference, in float64"),
        (("explain", "ownacts:leaky", "--figure", "leaky.png"), "kinks             0"),
        (("gain", "--act", "ownacts:leaky", "relu"), "ownacts:leaky"),
        (("phase", "--act", "ownacts:swish", "--mark", "he", "--size", 5), "edge of chaos of ownacts:swish"),
        (("recommend", "--act", "ownacts:swish", "--layers", 3, "--width", 50), "--act ownacts:swish"),
        (
            ("compare", "--init", "he", "--act", "ownacts:swish", "--act", "tanh", "--layers", 2, "--width", 20),
            "ownacts",
        ),
        (("spectrum", "--init", "he", "--act", "ownacts:leaky", "--layers", 2, "--width", 20), "ownacts:leaky"),
        (("run", "--init", "normal:std=0.001", "--act", "ownacts:swish", "-q", "--no-figures"), "--act ownacts:swish"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_every_command_takes_an_activation_by_reference(home, initprobe, args, said):
    outcome = initprobe(*args)
    assert outcome.code == 0, outcome.err
    assert said in outcome.out


def test_gains_are_those_of_the_same_function(home):
    mine, record = gain_row(of("ownacts:swish")), gain_row(ACTIVATIONS["silu"])
    assert (mine.forward, mine.backward) == pytest.approx((record.forward, record.backward), rel=10 * ERROR)


def test_a_wrong_reference_exits_with_2(initprobe, capsys):
    outcome = initprobe("gain", "--act", "nosuchmodule:f")
    assert outcome.code == 2
    assert outcome.err == (
        "Error: nosuchmodule:f: there is no module nosuchmodule; write package.module:name, importable from here\n"
    )


def test_sweeps_take_an_activation_by_reference_in_worker_processes_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ownswept.py").write_text(MODULE)
    (tmp_path / "a.yaml").write_text(
        "version: 1\nname: own\ndefaults: {init: he, layers: 2, width: 9, batch: 9}\n"
        "grid: {act: ['ownswept:swish', silu, {name: 'ownswept:leaky'}]}\n"
    )
    for _ in range(2):  # a second time nothing is left to do
        with pytest.raises(SystemExit) as stop:
            main(["sweep", "a.yaml", "-j", "2", "--no-figures"])
        assert stop.value.code == 0
    captured = capsys.readouterr()
    assert captured.out.count("ownswept:leaky") == 2
    assert "3 runs, 3 of them done" in captured.err


def test_a_sweep_names_the_line_of_a_wrong_reference(tmp_path, initprobe):
    (tmp_path / "a.yaml").write_text("version: 1\nname: own\ndefaults:\n  init: he\n  act: nosuchmodule:f\n")
    outcome = initprobe("validate", "a.yaml")
    assert outcome.code == 2
    assert outcome.out.startswith("a.yaml:5: act: nosuchmodule:f: there is no module nosuchmodule")


def test_parameters_of_a_reference_are_no_parameters(home):
    with pytest.raises(ConfigError, match="takes no parameters"):
        imported(Spec("ownacts:swish", {"beta": 1.0}))


def test_a_function_that_fails_in_the_middle_is_no_bug_of_ours():
    def fails(z):
        if z.ndim == 2 and z.shape[1] == 41:
            raise ValueError("no 41")
        return np.tanh(z)

    with pytest.raises(ConfigError, match=r"^fails: fails on an array \(ValueError: no 41\)"):
        run(ProbeConfig(init="he", act=fails, layers=2, width=41, batch=20))


@pytest.mark.parametrize("init", ["he", "lecun", "normal:std=5"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_goes_on_where_theory_leaves_the_float_range(init, dtype):
    result = run(ProbeConfig(init=init, act=np.exp, layers=4, width=50, batch=100, draws=3, dtype=dtype))
    assert {"overflow", "exploding-output"} & {finding.rule for finding in result.diagnosis}
    assert result.layers[-1].theory.output_variance is None


def test_the_table_of_moments_keeps_its_digits_where_they_are_steep():
    """An exponential's E[phi^2] = e^2q grows by e^6q over a segment of the table; no polynomial does so for long."""
    record = activation(np.exp, name="mine", slope=np.exp)
    q = np.geomspace(0.01, 200, 40)
    computed, expected = lookup(record, q), moments(record, q)
    np.testing.assert_allclose(computed.square, expected.square, rtol=1e-11)
    np.testing.assert_allclose(computed.slope_square, expected.slope_square, rtol=1e-11)
    small = q < 1
    np.testing.assert_allclose(computed.square[small], np.exp(2 * q[small]), rtol=1e-11)


def test_the_edge_of_chaos_of_an_activation_that_leaves_the_float_range(initprobe, home):
    """At q = 1 and sigma_w = e^-1, since E[phi^2] = E[phi'^2] = e^2q."""
    outcome = initprobe("phase", "--act", "ownacts:exp", "--size", 5)
    assert outcome.code == 0, outcome.err
    assert "sigma_w = 0.367879441, q* = 1 (unstable" in outcome.out
    assert "Warning" not in outcome.err


@pytest.mark.parametrize("name", ["relu", "relu6", "hardtanh", "leaky_relu", "linear"])
def test_flat_ends_say_what_the_record_says(name):
    record = ACTIVATIONS[name]
    mine = activation(lambda z: record.value(z), name="mine")
    assert (mine.dead_below, mine.saturation, mine.bounds) == (record.dead_below, record.saturation, record.bounds)


@pytest.mark.parametrize("name", [name for name, act in ACTIVATIONS.items() if act.dead_below is not None])
def test_dead_units_are_found(name):
    assert activation(lambda z: ACTIVATIONS[name].value(z), name="mine").dead_below == ACTIVATIONS[name].dead_below


@pytest.mark.parametrize(
    "function",
    [
        lambda z: np.tanh(3 * z),  # -1 to rounding from z = -6.3 on
        lambda z: np.exp(-z * z),
        lambda z: 0.5 * z * (1 + ACTIVATIONS["erf"].value(z)),
        lambda z: np.maximum(-z, 0),
        lambda z: np.log1p(np.exp(z)),
    ],
)
def test_units_that_only_rounding_makes_flat_are_not_dead(function):
    assert activation(function, name="mine").dead_below is None


@pytest.mark.parametrize(
    ("function", "dead", "bounds"),
    [
        (lambda z: np.maximum(z, 0) - 0.4, 0, (-0.4, math.inf)),
        (lambda z: np.maximum(z, 0) ** 2, 0, (0, math.inf)),
        (lambda z: np.maximum(z - 0.25, 0), 0.25, (0, math.inf)),
        (lambda z: -np.clip(z, 0, 6), 0, (-6, 0)),
        (lambda z: np.maximum(1 - np.abs(z), 0), -1, (-math.inf, math.inf)),  # it turns, and may be higher between
    ],
)
def test_where_units_of_another_function_die(function, dead, bounds):
    mine = activation(function, name="mine")
    assert (mine.dead_below, mine.bounds) == (dead, bounds)


def test_a_slope_that_passes_a_gradient_keeps_units_alive():
    assert activation(lambda z: np.maximum(z, 0), slope=lambda z: np.ones_like(z), name="mine").dead_below is None


@pytest.mark.parametrize("init", ["he", "lecun", "normal:std=0.01", "normal:std=1,mean=-0.1", "normal:std=0.5"])
def test_a_relu_of_ones_own_has_the_verdict_of_relu(init):
    mine, shipped = (
        run(ProbeConfig(init=init, act=act, layers=8, width=50, batch=60))
        for act in (lambda z: np.maximum(z, 0), "relu")
    )
    assert [finding.rule for finding in mine.diagnosis] == [finding.rule for finding in shipped.diagnosis]
    assert [layer.output.dead_fraction for layer in mine.layers] == [
        layer.output.dead_fraction for layer in shipped.layers
    ]


def test_explain_says_what_is_unknown_of_a_function(home, initprobe):
    explained = initprobe("explain", "ownacts:swish").out
    for label in ("range", "saturated", "units can die"):
        assert f"  {label:<18}not known\n" in explained
    explained = initprobe("explain", "ownacts:relu").out
    assert f"  {'range':<18}0 to not known\n" in explained
    assert f"  {'units can die':<18}yes: off for every input whose pre-activation is at most 0\n" in explained
    assert f"  {'units can die':<18}no\n" in initprobe("explain", "ownacts:cube").out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ownacts:quits", "Error: ownacts:quits: fails on an array (SystemExit: 0); write it with NumPy functions"),
        ("ownacts:quitting", "Error: your own code calls sys.exit(0); let it raise an error instead"),
    ],
)
def test_an_exit_in_an_activation_is_an_error(home, initprobe, text, said):
    outcome = initprobe("run", "--init", "he", "--act", text, "--layers", 2, "--width", 41, "--batch", 20)
    assert outcome.code == 2
    assert outcome.err.startswith(said)
    assert len(outcome.err.splitlines()) == 1


def test_a_sweep_names_the_run_that_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ownfailing.py").write_text(MODULE)
    (tmp_path / "a.yaml").write_text(
        "version: 1\nname: own\ndefaults: {init: he, layers: 2, width: 41, batch: 9}\n"
        "grid: {act: [tanh, 'ownfailing:quits', 'ownfailing:fails', 'ownfailing:quitting']}\n"
    )
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "a.yaml", "-j", "1", "--no-figures", "--export-json", "all.json"])
    assert stop.value.code == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "Error: 3 runs failed; the same command tries them again. The first: act=ownfailing:quits: "
    )
    failed = [run["error"] for run in json.loads((tmp_path / "all.json").read_text())["runs"]]
    assert failed[0] is None
    assert "(SystemExit: 0)" in failed[1]
    assert "(ValueError: no 41)" in failed[2]
    assert failed[3] == "SystemExit: 0"


@pytest.mark.parametrize(
    ("ratio", "words"), [(1.25, "+25.0%"), (0.5, "-50.0%"), (9.9, "+890.0%"), (39.2e15, "x3.9e16"), (1e-3, "x0.0010")]
)
def test_large_ratios_are_written_as_factors(ratio, words):
    result = run(ProbeConfig(init="he", act="relu", **SMALL))
    layer = result.layers[-1]
    theory = layer.theory.model_copy(update={"output_variance": layer.output.variance / ratio, "z": 1e3})
    changed = result.model_copy(update={"layers": (*result.layers[:-1], layer.model_copy(update={"theory": theory}))})
    assert f"(furthest: layer {layer.layer}, {words})" in next(
        words for label, words in course(changed) if label == "theory"
    )
