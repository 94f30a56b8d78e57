"""Weights from a file: the round trip, what theory makes of them, which rules they agree with, and every refusal."""

import json
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest

from initprobe.config.probe_config import ProbeConfig
from initprobe.config.resolved import check_resolved
from initprobe.errors import ConfigError, InputError
from initprobe.initializers.independence import judge, related
from initprobe.initializers.recognition import matches, recognised, variance_words
from initprobe.initializers.size_rules import RULES
from initprobe.initializers.weight_files import Layer, read_weights
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network
from initprobe.probe.run import run
from initprobe.results.run import ProbeResult
from initprobe.sweeps.runs import run_key

# What `run --weights` measures of the very network that was saved.
MEASURED = (
    "weight",
    "preactivation",
    "output",
    "preactivation_gradient",
    "output_gradient",
    "weight_gradient",
    "correlation",
    "gradient_to_weight_ratio",
)
SHAPES = [(64, 64), (64, 10), (10, 64), (300, 200)]
DRAWN = [name for name, rule in RULES.items() if rule.distribution.gaussian_limit and name != "sparse"]


def normal(seed, *shape, scale=1.0, dtype=np.float32):
    return (scale * np.random.default_rng(seed).standard_normal(shape) / math.sqrt(shape[0])).astype(dtype)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def two(tmp_path):
    """Two sound layers, 30 -> 20 -> 10, without an input."""
    return saved(tmp_path / "two.npz", W1=normal(0, 30, 20), W2=normal(1, 20, 10), b2=np.ones(10, np.float32))


def drawn(path, **fields):
    """The result of an experiment of one draw, whose network is saved."""
    config = ProbeConfig(draws=1, **fields)
    saved(path, **first_network(prepare(config)))
    return run(config)


@pytest.mark.parametrize(
    "fields",
    [
        {"init": "xavier", "act": "tanh", "layers": 3, "width": 40, "batch": 50},
        {"init": "torch_linear", "act": "gelu", "widths": (30, 20, 10), "input_width": 7, "batch": 50, "seed": 5},
        {"init": "he", "act": "relu", "layers": 3, "width": 20, "batch": 300, "dtype": "float64"},
        {"init": "orthogonal", "act": "elu", "layers": 2, "width": 20, "batch": 20, "input": "uniform"},
        {"init": "lsuv", "act": "relu", "layers": 2, "width": 20, "batch": 90},
        {"init": "constant:value=0.1", "act": "tanh", "layers": 2, "width": 20, "batch": 20},
    ],
    ids=lambda fields: fields["init"],
)
def test_the_round_trip_is_exact(tmp_path, fields):
    before = drawn(tmp_path / "w.npz", **fields)
    again = run(ProbeConfig(weights=tmp_path / "w.npz", act=fields["act"]))
    assert len(again.layers) == len(before.layers)
    for old, new in zip(before.layers, again.layers, strict=True):
        assert [getattr(old, name) for name in MEASURED] == [getattr(new, name) for name in MEASURED]


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_the_round_trip_of_a_residual_net_is_exact(tmp_path, norm):
    fields = {"act": "relu", "norm": norm, "residual": True, "branch_scale": 0.5}
    before = drawn(tmp_path / "w.npz", init="he", layers=3, width=20, batch=40, **fields)
    again = run(ProbeConfig(weights=tmp_path / "w.npz", **fields))
    assert again.series("output_gradient") == before.series("output_gradient")
    # The variance of 400 weights strays by sqrt(2/400), and so may what theory makes of three layers of it.
    for old, new in zip(before.layers, again.layers, strict=True):
        gap = math.log(new.theory.output_variance / old.theory.output_variance)
        assert abs(gap) < 5 * 3 * math.sqrt(2 / 400)


def test_the_command_line_saves_and_reads(initprobe):
    args = ("--layers", 2, "--width", 20, "--batch", 30, "--no-figures", "--export-json", "-")
    first = initprobe("run", "--init", "xavier", "--act", "tanh", *args, "--draws", 1, "--save-weights", "w.npz")
    before = ProbeResult.from_json(first.out)
    again = initprobe("run", "--weights", "w.npz", "--act", "tanh", "--no-figures", "--export-json", "-")
    assert again.code == 0, again.err
    repeated = ProbeResult.from_json(again.out)
    assert repeated.series("output", "variance") == before.series("output", "variance")
    assert (repeated.config["weights"], repeated.config["init"], repeated.config["draws"]) == ("w.npz", None, 1)
    assert "Weights w.npz + tanh, 2 layers of 20" in again.err


def test_figures_exports_show_and_diff_take_the_result(initprobe, two):
    outcome = initprobe("run", "--weights", two, "--act", "tanh", "-o", "out", "--export-csv", "a.csv")
    assert outcome.code == 0, outcome.err
    assert "drawn by" in outcome.out
    assert initprobe("show", "out/result.json").out.startswith(outcome.out[:40])
    assert "1 agree" in initprobe("diff", "out/result.json", "out/result.json").out


def test_the_input_is_the_one_given_else_the_one_saved_else_noise(tmp_path, two):
    assert str(ProbeConfig(weights=two, act="tanh").input) == "gaussian"
    x = normal(3, 40, 30)
    own = saved(tmp_path / "own.npz", W1=normal(0, 30, 20), x=x)
    assert prepare(ProbeConfig(weights=own, act="tanh")).table.tolist() == x.tolist()
    np.save(tmp_path / "x.npy", 2 * x)
    other = prepare(ProbeConfig(weights=own, act="tanh", input=tmp_path / "x.npy"))
    assert other.table.tolist() == (2 * x).tolist()
    assert prepare(ProbeConfig(weights=own, act="tanh", input="gaussian")).table is None
    assert prepare(ProbeConfig(weights=own, act="tanh", batch=9)).batch == 9


def test_the_files_precision_counts_unless_another_is_asked_for(tmp_path):
    path = saved(tmp_path / "w.npz", W1=normal(0, 9, 8, dtype=np.float64), W2=normal(0, 8, 7))
    assert check_resolved(ProbeConfig(weights=path, act="tanh")).dtype == "float64"
    assert check_resolved(ProbeConfig(weights=path, act="tanh", dtype="float32")).dtype == "float32"


def test_a_config_of_weights_travels(two):
    config = ProbeConfig(weights=str(two), act="tanh")
    assert (config.layer_widths, config.features, config.draws) == ((20, 10), 30, 1)
    assert ProbeConfig(**json.loads(config.model_dump_json())) == config
    assert pickle.loads(pickle.dumps(config)).layer_widths == (20, 10)


def test_other_weights_under_the_same_name_are_another_run(two):
    before = run_key(ProbeConfig(weights=two, act="tanh"))
    saved(two, W1=normal(7, 30, 20), W2=normal(1, 20, 10))
    assert run_key(ProbeConfig(weights=two, act="tanh")) != before


def test_training_changes_neither_file_nor_weights(two):
    config = ProbeConfig(weights=two, act="tanh", batch=20, train_steps=5, classes=3)
    before = [layer.weight.copy() for layer in config.network.layers]
    result = run(config)
    assert len(result.training.losses) == 6
    assert all(np.array_equal(a, b.weight) for a, b in zip(before, config.network.layers, strict=True))


WIDE = {"act": "tanh", "batch": 400}


def test_theory_takes_the_measured_variance(tmp_path):
    """A net between two rules is predicted within the spread that theory allows its one draw."""
    arrays = {f"W{n}": normal(n, 200, 200, scale=1.17) for n in range(1, 6)}
    result = run(ProbeConfig(weights=saved(tmp_path / "w.npz", **arrays), **WIDE))
    assert result.theory_note is None
    for layer in result.layers:
        assert abs(layer.theory.z) < 5
        assert layer.theory.preactivation_variance == pytest.approx(layer.preactivation.variance, rel=0.2)


def test_theory_takes_the_very_biases(tmp_path):
    """Biases of two values, far apart, are no normal ones: z is within chance of the mixture that they make."""
    b = np.where(np.arange(200) % 2, 2.0, -2.0).astype(np.float32)
    path = saved(tmp_path / "w.npz", W1=normal(1, 200, 200), b1=b, W2=normal(2, 200, 200))
    result = run(ProbeConfig(weights=path, **WIDE))
    first = result.layers[0].theory
    assert first.preactivation_variance == pytest.approx(5, rel=5 * math.sqrt(2 / 200) / 5)
    assert all(abs(layer.theory.z) < 5 for layer in result.layers)


def test_theory_takes_the_mean_of_weights_that_have_one(tmp_path):
    path = saved(tmp_path / "w.npz", W1=normal(1, 200, 200) + np.float32(0.05), W2=normal(2, 200, 200))
    network = read_weights(path)
    # 5 SD of the mean of 40,000 entries of variance 1/200.
    assert abs(network.layers[0].judged.mean - 0.05) < 5 / math.sqrt(200 * 40_000)
    assert network.layers[1].judged.mean == 0
    assert run(ProbeConfig(weights=path, **WIDE)).layers[0].theory is not None
    assert run(ProbeConfig(weights=path, norm="layer", **WIDE)).layers[0].theory is not None
    assert run(ProbeConfig(weights=path, residual=True, **WIDE)).layers[0].theory is not None


SPOILT = {
    "rows": (lambda w: w * np.linspace(0.5, 1.5, len(w))[:, None], "the variance of its rows goes from"),
    "columns": (lambda w: w * np.linspace(0.5, 1.5, w.shape[1]), "the variance of its columns goes from"),
    "a direction in every row": (lambda w: w + 0.05 * np.sign(w[:1]), "its rows are correlated"),
    "a spike": (lambda w: w + 1.65 * np.outer(*_units(w)), "its largest singular value is"),
    "constant": (lambda w: 0 * w + 0.1, "every entry is 0.1"),
    "zeros": (lambda w: 0 * w, "every entry is 0"),
    "identity": (lambda w: np.eye(len(w)), "every unit has a single input"),
    "few entries": (lambda w: w * np.where(np.arange(w.size).reshape(w.shape) % 67, 1e-4, 1), "a few large entries"),
}


def _units(w):
    rng = np.random.default_rng(9)
    return [v / np.linalg.norm(v) for v in rng.standard_normal((2, len(w)))]


@pytest.mark.parametrize("how", SPOILT)
def test_weights_that_are_not_independent_have_no_theory(tmp_path, how):
    spoil, words = SPOILT[how]
    spoilt = spoil(normal(2, 100, 100, dtype=np.float64)).astype(np.float32)
    path = saved(tmp_path / "w.npz", W1=normal(1, 100, 100), W2=spoilt)
    result = run(ProbeConfig(weights=path, act="tanh", batch=50))
    assert result.theory_note.startswith("no mean-field prediction: W2 does not look independent: " + words)
    assert all(layer.theory is None for layer in result.layers)
    assert result.theory_note in result.table()


def test_layers_that_are_alike_are_not_independent():
    w, other = normal(1, 50, 50), normal(2, 50, 50)
    assert related(w, other) is None
    assert "correlated with those of the layer before" in related(w, w + other)
    assert "correlated with those transposed" in related(w.T - other, w)


@pytest.mark.parametrize("name", [*DRAWN, "sparse"])
@pytest.mark.parametrize("fans", [(3, 5), (12, 9), *SHAPES])
def test_weights_that_are_drawn_look_independent(name, fans):
    """A statistic lies beyond 5 SD in none of ten draws. The sparse ones have three weights per unit."""
    if name == "sparse" and fans[0] < 100:
        pytest.skip("fewer than 10 of its weights are left to a unit, which theory does not bear")
    for seed in range(10):
        weight = RULES[name].sample(np.random.default_rng(seed), fans, fans, np.float32)
        assert judge(weight).fault is None


def test_orthogonal_weights_are_recognised():
    weight = RULES["orthogonal"].sample(np.random.default_rng(0), (60, 40), (60, 40), np.float32)
    assert judge(weight).orthogonal
    assert not judge(normal(0, 60, 40)).orthogonal


CLEAR = [name for name in DRAWN if RULES[name].needs_fan and name != "variance_scaling"]


@pytest.mark.parametrize("name", CLEAR)
@pytest.mark.parametrize("fans", SHAPES)
def test_a_rule_is_recognised(name, fans):
    """Chance keeps variance and kurtosis within 5 SD; in the largest layer nothing else agrees but other names."""
    rule = RULES[name]
    for seed in range(5):
        rng = np.random.default_rng(seed)
        bias = None if rule.bias is None else rule.bias.sample(rng, (1, fans[1]), fans, np.float32).reshape(-1)
        names = matches(Layer("W1", rule.sample(rng, fans, fans, np.float32), bias))
        assert name in names
        if fans == SHAPES[-1]:
            for other in names:
                assert RULES[other].variance(*fans) == pytest.approx(rule.variance(*fans))
                assert RULES[other].distribution.name == rule.distribution.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torch_linear", "1/(3 fan_in)"),
        ("xavier_uniform", "2/(fan_in + fan_out)"),
        ("he", "2/fan_in"),
        ("lecun", "1/fan_in"),
        ("orthogonal", "1/max(fan_in, fan_out)"),
    ],
)
def test_variance_rules_in_words(name, words):
    assert variance_words(RULES[name]) == words


def test_layers_of_different_rules_are_named_apart(tmp_path):
    he, odd = math.sqrt(2), 3.0
    path = saved(
        tmp_path / "w.npz",
        W1=normal(0, 100, 100, scale=he),
        W2=normal(1, 100, 100, scale=he),
        W3=normal(2, 100, 50, scale=odd),
        W4=normal(3, 50, 2),
    )
    words = recognised(read_weights(path)).split("; ")
    assert words[0].startswith("layers 1-2: variance 2/fan_in, he_normal (fan_in x Var(W) = ")
    assert words[1].startswith("layer 3: no known rule (fan_in x Var(W) = ")
    assert words[2].startswith("layer 4: too few weights to tell")
    result = run(ProbeConfig(weights=path, act="relu", batch=20))
    assert result.description.rules in result.table()


def test_layers_of_one_rule_have_one_line_with_the_deviation(tmp_path):
    path = saved(tmp_path / "w.npz", W1=normal(0, 100, 60, scale=math.sqrt(2)), W2=normal(1, 60, 3, scale=9))
    words = recognised(read_weights(path))
    assert words.startswith("variance 2/fan_in: he_normal (")
    # 5 sqrt(2/6000), in percent
    assert words.endswith("% at most, chance allows 9.1%)")


def test_the_fix_names_weights_for_the_same_net(initprobe, tmp_path):
    arrays = {f"W{n}": normal(n, 30, 30, scale=0.1) for n in range(1, 5)}
    saved(tmp_path / "w.npz", **arrays)
    outcome = initprobe("run", "--weights", "w.npz", "--act", "tanh", "--no-figures", "-q", "--fail-on", "error")
    assert outcome.code == 1
    fix = outcome.out.splitlines()[-1].split()[1:]
    assert " ".join(fix) == "initprobe run --init xavier --act tanh --layers 4 --width 30 --draws 1"
    assert initprobe(*fix[1:], "--no-figures", "-q").out.startswith("SIGNAL SURVIVES")


def test_the_fix_keeps_the_shape_and_the_saved_input(initprobe, tmp_path):
    arrays = {"W1": normal(1, 9, 30, scale=0.1), "W2": normal(2, 30, 20, scale=0.1), "W3": normal(2, 20, 20, scale=0.1)}
    saved(tmp_path / "w.npz", x=normal(3, 50, 9, scale=3), **arrays)
    outcome = initprobe("run", "--weights", "w.npz", "--act", "tanh", "--no-figures", "-q")
    fix = outcome.out.splitlines()[-1].split()[1:]
    assert " ".join(fix[4:]) == "--act tanh --widths 30,20,20 --draws 1 --input w.npz"
    done = initprobe(*fix[1:], "--no-figures")
    assert done.code == 0, done.err
    assert "9 -> 30 -> 2 x 20" in done.out


TORCHS = {"0.weight": (20, 30), "0.bias": (20,), "2.weight": (10, 20), "10.weight": (5, 10)}


@pytest.mark.parametrize("prefix", ["", "net.", "module.layers."])
def test_a_state_dict_of_a_sequential_is_read(tmp_path, prefix):
    rng = np.random.default_rng(0)
    arrays = {f"{prefix}{name}": rng.standard_normal(shape) for name, shape in reversed(TORCHS.items())}
    network = read_weights(saved(tmp_path / "w.npz", **arrays))
    assert network.sizes == (30, 20, 10, 5)
    assert np.array_equal(network.layers[0].weight, arrays[f"{prefix}0.weight"].T)
    assert [layer.name for layer in network.layers] == [f"{prefix}{n}.weight" for n in (0, 2, 10)]


A, B = np.ones((3, 4), np.float32), np.ones((4, 2), np.float32)
NAN = np.array([[1, np.nan]], np.float32)
BAD_FILES = {
    "gap": ({"W1": A, "W3": B}, "has W3 but no W2; give every layer its weights"),
    "no weights of a bias": ({"W1": A, "b2": np.ones(4)}, "has b2 but no W2"),
    "chain": ({"W1": A, "W2": A}, "W2 takes 3 inputs, but W1 gives 4 (W1 (3, 4), W2 (3, 4)); W is (fan_in, fan_out)"),
    "nan": ({"W1": A, "W2": np.vstack([B[:3], NAN])}, "W2[3, 1] is nan; weights must be finite"),
    "1-d": ({"W1": A[0]}, "W1 has shape (4,), not (fan_in, fan_out)"),
    "empty": ({"W1": A[:0]}, "W1 has shape (0, 4), not (fan_in, fan_out)"),
    "conv": ({"0.weight": np.ones((1, 2, 3, 3))}, "0.weight has shape (1, 2, 3, 3), not (out, in)"),
    "whole": ({"W1": np.ones((3, 4), int)}, "W1 holds int64 entries; save it as float32 or float64"),
    "half": ({"W1": A.astype(np.float16)}, "W1 holds float16 entries"),
    "objects": ({"W1": np.array([[{}]], object)}, "holds pickled Python objects, which are not read"),
    "bias": ({"W1": A, "b1": np.ones(3)}, "b1 has shape (3,), but its layer has 4 units; give it (4,)"),
    "misspelt": ({"W1": A, "B1": np.ones(4)}, "'B1' is neither W1, W2, ... nor b1, b2, ... nor x or g"),
    "both": ({"W1": A, "0.weight": A}, "has both W1 and 0.weight"),
    "two nets": ({"a.0.weight": A, "b.0.weight": A}, "has layers of a. and b., in unknown order"),
    "unnamed": ({"arr_0": A}, "holds arr_0, and no W1"),
    "nothing": ({}, "holds nothing, and no W1"),
    "seed": ({"W1": A, "x": np.ones((5, 3)), "g": np.ones((5, 3))}, "g has shape (5, 3), not (5, 4)"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(initprobe, tmp_path, kind):
    arrays, words = BAD_FILES[kind]
    saved(tmp_path / "w.npz", **arrays)
    outcome = initprobe("run", "--weights", "w.npz", "--act", "tanh")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"Error: w.npz: {words}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY nonsense", b"PK\x03\x04 nonsense"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.npz: (is not an \.npz file|cannot be read)"):
        read_weights(tmp_path / "w.npz")


def test_a_single_array_and_a_missing_file_are_refused(tmp_path):
    np.save(tmp_path / "w.npy", A)
    with pytest.raises(InputError, match="holds a single array, not W1, b1"):
        read_weights(tmp_path / "w.npy")
    with pytest.raises(ConfigError, match=r"none\.npz: no such file"):
        check_resolved(ProbeConfig(weights=tmp_path / "none.npz", act="tanh"))
    with pytest.raises(ConfigError, match=r": is a directory; give the \.npz file in it"):
        check_resolved(ProbeConfig(weights=tmp_path, act="tanh"))


def test_saved_weights_are_those_of_the_first_draw(tmp_path):
    """Whatever the number of draws; theory alone may differ, for it takes the variance that the weights have."""
    fields = {"init": "he", "act": "relu", "layers": 2, "width": 20, "batch": 20}
    saved(tmp_path / "w.npz", **first_network(prepare(ProbeConfig(**fields, draws=3))))
    again, drawn = run(ProbeConfig(weights=tmp_path / "w.npz", act="relu")), run(ProbeConfig(**fields, draws=1))
    assert again.series("output", "variance") == drawn.series("output", "variance")
    assert again.layers[0].theory.output_variance != drawn.layers[0].theory.output_variance


def test_data_of_another_width_is_refused(tmp_path, two):
    np.save(tmp_path / "x.npy", np.ones((5, 4)))
    with pytest.raises(ConfigError, match=r"two\.npz: W1 takes 30, but .*x\.npy has 4 features"):
        prepare(ProbeConfig(weights=two, act="tanh", input=tmp_path / "x.npy"))
    own = saved(tmp_path / "own.npz", W1=A, x=np.ones((5, 4)))
    with pytest.raises(ConfigError, match=r"own\.npz: W1 takes 3, but x has 4 features"):
        prepare(ProbeConfig(weights=own, act="tanh"))


def test_entries_beyond_the_precision_asked_for_are_refused(tmp_path):
    path = saved(tmp_path / "w.npz", W1=1e300 * A.astype(float))
    with pytest.raises(ConfigError, match=r"W1 has entries of 1e\+300, beyond float32; use --dtype float64"):
        check_resolved(ProbeConfig(weights=path, act="tanh", dtype="float32"))


CONFLICTS = [
    ("--init", "he"),
    ("--bias-init", "zeros"),
    ("--sigma-w", 1),
    ("--sigma-b", 1),
    ("--layers", 2),
    ("--width", 20),
    ("--widths", "20,10"),
    ("--input-width", 30),
    ("--draws", 2),
]


@pytest.mark.parametrize(("option", "value"), CONFLICTS)
def test_options_that_the_file_decides_are_refused(initprobe, two, option, value):
    outcome = initprobe("run", "--weights", two, "--act", "tanh", option, value)
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {option}: ")
    assert "drop it" in outcome.err
    assert outcome.err.count("\n") == 1


def test_one_draw_may_be_asked_for_and_branches_cannot_start_at_0(initprobe, two):
    assert initprobe("run", "--weights", two, "--act", "tanh", "--draws", 1, "--no-figures").code == 0
    outcome = initprobe("run", "--weights", two, "--act", "tanh", "--residual", "--zero-init-last")
    assert outcome.err.startswith("Error: --zero-init-last: ")


def test_neither_weights_nor_an_initializer():
    with pytest.raises(ConfigError, match=r"^init: is missing; name an initializer, or give `weights`$"):
        ProbeConfig(act="tanh")


def test_sweeps_take_files_beside_initializers(initprobe, tmp_path, two):
    text = "version: 1\nname: a\ndefaults: {act: tanh, init: he, layers: 2, width: 9, batch: 9}\n"
    (tmp_path / "a.yaml").write_text(text + "grid: {weights: [two.npz]}\ninclude: [{init: xavier}]\n")
    outcome = initprobe("sweep", "a.yaml", "-j", 1, "--no-figures")
    assert outcome.code == 0, outcome.err
    assert "two.npz" in outcome.out
    assert "xavier" in outcome.out


def chained(path, scales, sizes=(100,) * 9):
    """A net whose weights have std 0.1 times a scale of their own."""
    pairs = ((a, b, k) for (a, b), k in zip(pairwise(sizes), scales, strict=True))
    made = {f"W{n}": 0.1 * k * np.random.default_rng(n).standard_normal((a, b)) for n, (a, b, k) in enumerate(pairs, 1)}
    return saved(path, **made)


def test_one_odd_layer_of_a_file_is_named(initprobe, tmp_path):
    chained(tmp_path / "lay.npz", [1, 1, 1, 50, 1, 1, 1, 1])
    done = initprobe("run", "--weights", "lay.npz", "--act", "relu", "--no-figures", "-q")
    assert "odd layer from layer 4: sqrt(100 x E[W^2]) = 49.7" in done.out.replace("ODD LAYER", "odd layer"), done.out
    assert "SURVIVES" not in done.out


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_no_width_makes_a_layer_odd(tmp_path, power):
    """Whether one standard deviation was used throughout, or one that goes with the fans."""
    sizes = (100, 1000, 5, 800, 20, 900, 10)
    scales = [(100 / a) ** (power / 2) * 0.1 for a in sizes[:-1]]
    config = ProbeConfig(weights=chained(tmp_path / "w.npz", scales, sizes), act="relu", batch=50)
    assert "odd-layer" not in {finding.rule for finding in run(config).diagnosis}
