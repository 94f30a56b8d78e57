"""Initializers of one's own: what is taken and refused, what theory makes of them, and every command that takes one."""

import json
import math
import sys

import numpy as np
import pytest

from initprobe.activations.own import reference
from initprobe.config.names import as_initializer, initializer_of
from initprobe.config.probe_config import ProbeConfig
from initprobe.config.resolved import check_resolved, own_names
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.own import OwnInitializer, own_initializer, takes_fans
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network
from initprobe.probe.run import run
from initprobe.sweeps.runs import run_key

SMALL = {"act": "tanh", "layers": 4, "width": 60, "batch": 80, "draws": 3}
MODULE = """
import sys
import numpy as np
import initprobe

calls = []

def normal(rng, fan_in, fan_out, shape):
    return rng.normal(0, np.sqrt(1 / fan_in), shape)

def wide(rng, fan_in, fan_out, shape):
    return rng.uniform(-1, 1, shape) * np.sqrt(6 / (fan_in + fan_out))

def skewed(rng, fan_in, fan_out, shape):
    return rng.exponential(0.5 / fan_in, shape)

def haar(rng, fan_in, fan_out, shape):
    q, r = np.linalg.qr(rng.normal(size=shape))
    return q * np.sign(np.diag(r))

def scaled(rng, fan_in, fan_out, shape):
    return (rng.integers(0, 2, shape) * 2 - 1) / np.sqrt(fan_in)

record = initprobe.INITIALIZERS["he"]

class nested:
    normal = staticmethod(normal)

def lowrank(rng, fan_in, fan_out, shape):
    return np.outer(rng.normal(size=fan_in), rng.normal(size=fan_out)) / np.sqrt(fan_in)

def same(rng, fan_in, fan_out, shape):
    return np.random.default_rng(3).normal(0, np.sqrt(1 / fan_in), shape)

def constant(rng, fan_in, fan_out, shape):
    return np.full(shape, 0.1)

def turned(rng, fan_in, fan_out, shape): return rng.normal(size=shape[::-1])
def flat(rng, fan_in, fan_out, shape): return rng.normal(size=fan_in * fan_out)
def listed(rng, fan_in, fan_out, shape): return rng.normal(size=shape).tolist()
def imaginary(rng, fan_in, fan_out, shape): return 1j * rng.normal(size=shape)
def words(rng, fan_in, fan_out, shape): return np.full(shape, "a")
def nothing(rng, fan_in, fan_out, shape): pass
def fails(rng, fan_in, fan_out, shape): raise ValueError("no\\nway")
def leaves(rng, fan_in, fan_out, shape): sys.exit(0)
def chance(rng, fan_in, fan_out, shape): return np.random.normal(size=shape)
def huge(rng, fan_in, fan_out, shape): return 1e200 * rng.normal(size=shape)
def beyond(rng, fan_in, fan_out, shape): return 1e50 * rng.normal(size=shape)
def two(rng, shape): return rng.normal(size=shape)
number = 3

def holed(rng, fan_in, fan_out, shape):
    weights = rng.normal(size=shape)
    weights[1, 2] = np.nan
    return weights

def bump(z): return z * np.exp(-z * z / 8)
"""


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A directory with `owninits.py`, on the path of this test file alone."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "owninits.py").write_text(MODULE)
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))


def test_a_reference_is_not_read_as_parameters():
    assert str(as_initializer("pkg.mod:draw")) == "pkg.mod:draw"
    assert as_initializer("he:mode=fan_out").params == {"mode": "fan_out"}
    assert reference("he:x", INITIALIZERS) is None
    with pytest.raises(ConfigError, match=r"^'he:fan_out': 'fan_out' is not key=value"):
        as_initializer("he:fan_out")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("turned", "gives shape (60, 50) where shape (50, 60) is needed; return an array of `shape`"),
        ("flat", "gives shape (3000,) where shape (50, 60) is needed"),
        ("listed", "gives list where shape (50, 60) is needed"),
        ("nothing", "gives NoneType where"),
        ("imaginary", "gives complex128 entries at 50 -> 60; give real numbers"),
        ("words", "gives <U1 entries"),
        ("holed", "gives nan at [1, 2] at 50 -> 60; make every weight finite"),
        ("fails", "fails at 50 -> 60 (ValueError: no way)"),
        ("leaves", "fails at 50 -> 60 (SystemExit: 0)"),
        ("chance", "gives other weights for the same generator; draw from `rng` only"),
        ("huge", "gives a weight of "),
        ("beyond", "beyond float32"),
        ("two", "cannot be called as f(rng, fan_in, fan_out, shape); give it these four arguments"),
        ("number", "is int, not an Initializer or a function f(rng, fan_in, fan_out, shape)"),
        ("nowhere", "has no 'nowhere'; name an Initializer or a function f(rng, fan_in, fan_out, shape) in it"),
        ("normal:gain=2", "takes no parameters, but gain is given"),
    ],
)
def test_a_refused_initializer_is_an_error_of_one_line(initprobe, name, words):
    sizes = ["--input-width", 50, "--widths", "60,70", "--batch", 20, "--draws", 1]
    outcome = initprobe("run", "--init", f"owninits:{name}", "--act", "tanh", *sizes, "--no-figures")
    assert outcome.code == 2, outcome.err
    assert f"owninits:{name.partition(':')[0]}" in outcome.err and words in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_no_module_and_no_bias(initprobe):
    missing = initprobe("run", "--init", "nosuchmodule:f", "--act", "tanh")
    assert missing.code == 2 and "--init: nosuchmodule:f: there is no module nosuchmodule" in missing.err
    bias = initprobe("run", "--init", "he", "--bias-init", "owninits:normal", "--act", "tanh")
    assert bias.code == 2 and "which a bias does not have" in bias.err


@pytest.mark.parametrize(
    ("name", "variance", "kurtosis"), [("normal", 1 / 300, 3.0), ("wide", 2 / 500, 1.8), ("scaled", 1 / 300, 1.0)]
)
def test_the_distribution_is_that_of_the_weights(name, variance, kurtosis):
    """Of 2^21 normal entries or more: 5 SD of the variance are 0.5%, of the kurtosis 5 sqrt(24 / 2^21)."""
    law = initializer_of(as_initializer(f"owninits:{name}")).law(300, 200)
    assert law.variance == pytest.approx(variance, rel=5 * math.sqrt(2 / 2**21))
    assert law.kurtosis == pytest.approx(kurtosis, abs=5 * math.sqrt(24 / 2**21))
    assert (law.mean, law.fault, law.orthogonal) == (0, None, False)


def test_a_mean_and_orthogonal_columns_are_recognised():
    skewed, haar = (initializer_of(as_initializer(f"owninits:{name}")).law(300, 200) for name in ("skewed", "haar"))
    assert skewed.mean == pytest.approx(0.5 / 300, rel=0.01)
    assert (haar.orthogonal, haar.mean, haar.fault) == (True, 0, None)
    assert haar.variance == pytest.approx(1 / 300, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "words"),
    [("lowrank", "the variance of its rows"), ("constant", "every entry is 0.1"), ("same", "correlated with those")],
)
def test_no_theory_where_weights_do_not_look_independent(name, words):
    result = run(ProbeConfig(init=f"owninits:{name}", **SMALL))
    start = f"no mean-field prediction: owninits:{name} at 60 -> 60 does not look independent: "
    assert result.theory_note.startswith(start) and words in result.theory_note
    assert all(layer.theory is None for layer in result.layers)


@pytest.mark.parametrize("name", ["normal", "wide", "skewed", "haar"])
@pytest.mark.parametrize("fields", [{}, {"norm": "layer"}, {"residual": True, "block": 2}])
def test_theory_is_that_of_the_built_in_with_this_variance(name, fields):
    """The variance is known to 0.5% per layer: 2% in four. Drawn networks add 3 of the errors that they state."""
    twins = {"normal": "lecun", "wide": "xavier_uniform", "haar": "orthogonal", "skewed": None}
    own = run(ProbeConfig(init=f"owninits:{name}", **SMALL, **fields))
    twin = twins[name] or f"normal:std={0.5 / 60},mean={0.5 / 60}"
    known = run(ProbeConfig(init=twin, **SMALL, **fields))
    for a, b in zip(own.layers, known.layers, strict=True):
        for tensor, stated in (("output", "output_uncertainty"), ("output_gradient", "gradient_uncertainty")):
            errors = [math.log(getattr(layer.theory, stated) or 1) for layer in (a, b)]
            ours, builtin = (getattr(layer.theory, f"{tensor}_variance") for layer in (a, b))
            assert abs(math.log(ours / builtin)) < 0.02 + 3 * math.hypot(*errors), tensor


def test_measurement_agrees_with_theory():
    """In 5 SD, and first-order biases of 1/width a layer."""
    result = run(ProbeConfig(init="owninits:wide", act="tanh", layers=5, width=300, batch=200, draws=6))
    for layer in result.layers:
        gap = abs(math.log(layer.output.variance / layer.theory.output_variance))
        assert gap < 5 * layer.theory.output_spread + layer.layer / 300


def test_weights_come_from_the_seed_alone(monkeypatch):
    """The same in any order, at any number of threads, made again or held. Others for another seed, draw or layer."""
    config = ProbeConfig(init="owninits:normal", **SMALL)
    arrays, again = first_network(prepare(config)), first_network(prepare(config))
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)
    assert not np.array_equal(arrays["W1"], arrays["W2"])
    other = first_network(prepare(config.model_copy(update={"seed": 1})))
    assert not np.array_equal(arrays["W1"], other["W1"])
    whole = run(config, threads=1)
    monkeypatch.setattr("initprobe.probe.memory_parts.KEPT_BYTES", 1000)
    assert run(config, threads=2).layers == whole.layers


def test_a_plain_function_from_python():
    def lecun(rng, fan_in, fan_out, shape):
        return rng.normal(0, fan_in**-0.5, shape)

    config = ProbeConfig(init=lecun, **SMALL)
    assert isinstance(config.initializer, OwnInitializer)
    assert ProbeConfig(init=lecun, **SMALL) == config
    result = run(config)
    assert result.config["init"].endswith(":lecun")  # a name that ships is not taken
    assert result.layers[0].theory is not None
    named = run(ProbeConfig(init=lambda rng, fan_in, fan_out, shape: rng.normal(0, 0.1, shape), **SMALL))
    assert named.config["init"] == "lambda"
    with pytest.raises(ConfigError, match="cannot be called as f"):
        ProbeConfig(init=np.tanh, **SMALL)
    assert own_initializer(lecun) is own_initializer(lecun)


def test_records_and_nested_names():
    assert initializer_of(as_initializer("owninits:record")) is INITIALIZERS["he"]
    assert initializer_of(as_initializer("owninits:nested.normal")).law(60, 60).fault is None
    assert takes_fans(lambda *args: None) and not takes_fans(lambda z: z) and not takes_fans(np.tanh)


def test_run_saves_the_name_and_compare_and_spectrum_take_it(initprobe, tmp_path):
    sizes = ["--act", "tanh", "--layers", 3, "--width", 30, "--batch", 40, "--draws", 2]
    outcome = initprobe(
        "run", "--init", "owninits:normal", *sizes, "--no-figures", "--export-json", tmp_path / "r.json"
    )
    assert outcome.code == 0, outcome.err
    assert "owninits:normal + tanh, 3 layers of 30" in outcome.out
    assert "W ~ owninits:normal, std 0.18" in outcome.out
    assert json.loads((tmp_path / "r.json").read_text())["config"]["init"] == "owninits:normal"
    assert "owninits:normal" in initprobe("show", tmp_path / "r.json").out
    both = initprobe("compare", "--init", "owninits:normal", "--init", "he", *sizes)
    assert both.code == 0 and "owninits:normal + tanh" in both.out
    values = initprobe("spectrum", "--init", "owninits:haar", "--act", "linear", "--layers", 2, "--width", 20)
    assert values.code == 0, values.err
    assert "isometric" in values.out


def test_a_faulty_net_gets_a_fix_and_a_residual_one_keeps_the_function():
    faulty = run(ProbeConfig(init="owninits:normal", **SMALL | {"act": "relu", "layers": 30}))
    assert next(f.fix for f in faulty.diagnosis).startswith("initprobe run --init he --act relu")
    fields = {"act": "elu", "layers": 24, "residual": True}
    exploding = run(ProbeConfig(init="owninits:wide", **SMALL | fields))
    assert "--init owninits:wide" in exploding.diagnosis[0].fix and "--branch-scale" in exploding.diagnosis[0].fix


def test_phase_marks_an_own_initializer_or_says_why_not(initprobe):
    words = ("phase", "--act", "tanh", "--width", 60)
    marked = initprobe(*words, "--mark", "owninits:normal")
    assert marked.code == 0 and "owninits:normal" in marked.out
    whys = {"skewed": "its weights have a mean of 0.008", "lowrank": "its pre-activations are not Gaussian"}
    for name, why in whys.items():
        refused = initprobe(*words, "--mark", f"owninits:{name}")
        assert refused.code == 2 and why in refused.err


def test_explain_measures_an_own_initializer(initprobe):
    outcome = initprobe("explain", "owninits:normal", "--fan-in", 200, "--fan-out", 100)
    assert outcome.code == 0
    lines = {line[:20].strip(): line[20:] for line in outcome.out.splitlines()}
    assert outcome.out.startswith("owninits:normal, initializer")
    assert lines["at 200 -> 100"].startswith("variance 0.005") or lines["at 200 -> 100"].startswith("variance 0.0049")
    assert "/ fan_in" in lines["at 400 -> 100"] and "(measured)" in lines["at 200 -> 200"]
    assert lines["independent"].startswith("yes")
    assert "no, so there is no theory: the variance of its rows" in initprobe("explain", "owninits:lowrank").out
    assert "owninits:bump, activation" in initprobe("explain", "owninits:bump").out
    assert "he_normal, initializer" in initprobe("explain", "owninits:record").out
    assert initprobe("explain", "owninits:fails").code == 2


def test_a_sweep_takes_an_own_initializer_and_its_file_is_part_of_the_key(initprobe, tmp_path, home):
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\ndefaults: {act: tanh, width: 20, batch: 20, draws: 1, layers: 3}\n"
        "grid: {init: ['owninits:normal', {name: 'owninits:haar'}, xavier]}\n"
    )
    done = initprobe("sweep", tmp_path / "s.yaml", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert "owninits:haar" in done.out
    (tmp_path / "t.yaml").write_text((tmp_path / "s.yaml").read_text().replace("owninits:haar", "owninits:two"))
    refused = initprobe("sweep", tmp_path / "t.yaml", "-o", tmp_path / "out")
    assert refused.code == 2 and "t.yaml:4: init: owninits:two: cannot be called as f" in refused.err
    config = ProbeConfig(init="owninits:normal", **SMALL)
    before = run_key(config)
    (home / "owninits.py").write_text(MODULE + "\n# another version\n")
    assert run_key(config) != before
    (home / "owninits.py").write_text(MODULE)


def test_nothing_is_imported_where_data_must_run_no_code(initprobe, tmp_path, home):
    (home / "owntrap.py").write_text("raise SystemExit('it was run')\n")
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\ndefaults: {act: tanh, width: 20, batch: 20, draws: 1, layers: 3}\n"
        "grid: {init: ['owntrap:draw', xavier]}\n"
    )
    config = check_resolved(ProbeConfig(init="owntrap:draw", **SMALL), importing=False)
    assert config.initializer.name == "owntrap:draw"
    assert own_names(config) == ("owntrap:draw",)
    for words in (("validate", tmp_path / "s.yaml"), ("sweep", tmp_path / "s.yaml", "--dry-run")):
        outcome = initprobe(*words)
        assert outcome.code == 0, outcome.err
        assert "owntrap:draw" in outcome.out + outcome.err
