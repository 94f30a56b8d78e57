"""Weights recommended: they are what the numbers say, hold when measured, and mean the same in every framework."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from command_lines import config_of

import initprobe
from initprobe import ACTIVATIONS, ProbeConfig, run
from initprobe.config.names import resolve
from initprobe.config.thresholds import Thresholds
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.moments import moments
from initprobe.prediction.forecast import LAST_RESORT_SHARE, Network
from initprobe.spec import parse_spec
from initprobe.studies.choice import choose
from initprobe.studies.frameworks import Weights, weights_of
from initprobe.studies.recommendation import Recommendation, recommend
from initprobe.studies.recommended_shape import Shape

# No plain weights keep these over 30 layers: saturation, a steep length map, or no compromise.
HOPELESS = {"sigmoid", "hardsigmoid", "silu", "softplus", "hardswish"}
# phi below 1 in size: E[phi^2] = 1 has no solution.
BOUNDED = {"sigmoid", "tanh", "hardtanh", "erf", "sin", "softsign", "hardsigmoid"}


def net(act, layers, width=500):
    config = ProbeConfig(init="lecun", act=act, layers=layers, width=width)
    return Network.of(config, (width,) * (layers + 1), InputMoments.noise())


def chosen(act, layers, goal="balanced"):
    return choose(net(act, layers), goal)


@pytest.mark.parametrize(
    ("act", "layers", "init"),
    [
        ("linear", 30, "xavier"),
        ("tanh", 5, "xavier"),
        ("tanh", 100, "xavier"),
        ("hardtanh", 30, "xavier"),
        ("sin", 30, "xavier"),
        ("erf", 30, "lecun:gain=0.88623"),  # sqrt(pi)/2
        ("relu", 1, "he"),
        ("relu", 100, "he"),
        ("relu6", 30, "he"),
        ("leaky_relu", 30, "he:slope=0.01"),
        ("leaky_relu:slope=0.2", 30, "he:slope=0.2"),
        ("selu", 1, "lecun"),
        ("selu", 10, "lecun"),
        ("gelu", 5, "lecun:gain=1.468"),
        ("elu", 10, "lecun:gain=1.278"),
    ],
)
def test_named_weights_where_the_numbers_say_so(act, layers, init):
    choice = chosen(act, layers)
    assert (choice.weights.name, choice.holds, choice.reach) == (init, True, None)


@pytest.mark.parametrize(("act", "worth"), [("tanh", True), ("linear", True), ("relu", False), ("selu", False)])
def test_rotations_are_named_where_the_net_is_linear_at_the_edge(act, worth):
    """A Jacobian's singular values can all be 1 only if the slopes are all alike there: not for ReLU."""
    assert any("orthogonal" in reason for reason in chosen(act, 20).reasons) is worth


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_forward_keeps_the_output(act):
    """To 1% in every layer, or where phi is too small for that, in the later half."""
    weights = chosen(act, 12, "forward").weights
    profile = net(act, 12).scaled(weights.gain).output[0]
    level = profile[6:] if act in BOUNDED else profile
    assert np.ptp(level) < math.log10(1.01)
    if act not in BOUNDED:
        assert moments(ACTIVATIONS[act], weights.gain**2).square == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("layers", [5, 12])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_backward_keeps_the_gradient(act, layers):
    weights = chosen(act, layers, "backward").weights
    unstable_too = replace(net(act, layers), limits=Thresholds(unstable=1e300))
    assert abs(unstable_too.scaled(weights.gain).gradient[0, 0]) < math.log10(1.01)
    assert weights.mode == "fan_out"


def test_a_single_layer_is_served_too():
    assert all(chosen(act, 1).holds for act in ACTIVATIONS)


@pytest.mark.parametrize("act", ["gelu", "silu", "mish", "hardswish", "softplus", "sigmoid"])
def test_the_reach_is_given_where_none_holds(act):
    choice = chosen(act, 60)
    assert not choice.holds
    assert chosen(act, choice.reach).weights == choice.weights
    assert chosen(act, choice.reach).holds
    assert not chosen(act, choice.reach + 1).holds


def test_the_reason_is_given_where_no_weights_hold():
    assert "length map is steeper than 1" in chosen("gelu", 60).reasons[0]
    assert "saturates 66" in chosen("sigmoid", 10).reasons[0]
    assert "Var(dL/dW) changes x" in chosen("softplus", 60).reasons[0]
    assert "Var(dL/dh) changes beyond the float range" in chosen("sigmoid", 500, "forward").reasons[1]


def test_the_compromise_is_no_worse_than_its_neighbours():
    gain = chosen("softplus", 12).weights.gain
    trends = net("softplus", 12).scaled(np.array([gain - 0.01, gain, gain + 0.01])).trends
    assert trends[1] == min(trends)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_weights_predicted_to_hold_hold_when_measured(act):
    advice = recommend(act, 5, 120)
    assert advice.predicted_to_hold is (act not in {"sigmoid", "hardsigmoid"})
    assert advice.measured_to_hold or not advice.predicted_to_hold


@pytest.mark.slow
@pytest.mark.parametrize("layers", [12, 30, 60])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_weights_predicted_to_hold_hold_when_measured_at_any_depth(act, layers):
    advice = recommend(act, layers, 150)
    if layers == 30:
        assert advice.predicted_to_hold is (act not in HOPELESS)
    assert advice.measured_to_hold or not advice.predicted_to_hold


@pytest.mark.parametrize(("act", "goal"), [("relu", "forward"), ("elu", "forward"), ("tanh", "backward")])
def test_a_goal_is_kept_as_measured(act, goal):
    """Within 5 standard deviations of what width allows, and its bias, of the order of depth / width."""
    advice = recommend(act, 10, 200, goal)
    theory = run(parsed(advice.command)).layers
    if goal == "forward":
        gap, spread = (
            math.log(advice.measured.output_last / advice.predicted.output_first),
            theory[-1].theory.output_spread,
        )
    else:
        gap, spread = math.log(advice.measured.gradient_first), theory[0].theory.output_gradient_spread
    assert abs(gap) < 5 * spread + 10 / 200 + math.log(1.01)


def parsed(line):
    """The experiment that a command line runs."""
    return config_of(line)


def test_the_command_measures_the_same_again():
    advice = recommend("selu", 6, 80, seed=7)
    layers = run(parsed(advice.command)).layers
    assert layers[-1].output.variance == advice.measured.output_last
    assert layers[0].output_gradient.variance == advice.measured.gradient_first
    assert layers[-1].theory.output_variance == advice.predicted.output_last
    assert advice.predicted.gradient_factor**5 == pytest.approx(advice.predicted.gradient_first)


def test_chi_1_is_the_factor_of_the_last_layer():
    """SELU, LeCun: chi_1 = 1.0716 at its fixed point q = 1."""
    advice = recommend("selu", 10, 200)
    assert advice.predicted.chi_1 == pytest.approx(1.0716, rel=0.01)
    assert advice.measured.chi_1 == pytest.approx(advice.predicted.chi_1, rel=0.1)
    assert advice.predicted.length_slope == pytest.approx(0.783, abs=0.01)


def test_recommend_takes_an_own_activation():
    own = initprobe.Activation(
        name="half_tanh", value=lambda z: np.tanh(z / 2), slope=lambda z, h: (1 - h * h) / 2, formula="", reference=""
    )
    advice = recommend(own, 8, 60)
    assert (advice.init, advice.command) == ("lecun:gain=2", None)  # tanh's edge of chaos, for half the argument


EVERY = [
    weights_of(1.0, unit="xavier"),
    weights_of(1.0),
    weights_of(1.0, mode="fan_out"),
    weights_of(math.sqrt(2)),
    weights_of(math.sqrt(2), mode="fan_out"),
    weights_of(math.sqrt(2 / 1.04), 0.2),
    weights_of(math.sqrt(2 / 1.04), 0.2, "fan_out"),
    weights_of(1.46677),
    weights_of(1.46677, mode="fan_out"),
]
FANS = (300, 200)


def variance(weights):
    """Of an entry of a (300, 200) matrix, as the probe samples it."""
    return resolve(INITIALIZERS, parse_spec(weights.name)).variance(*FANS)


@pytest.mark.parametrize("weights", EVERY, ids=lambda weights: weights.name)
def test_the_formula_is_the_rule(weights):
    fan_in, fan_out = FANS
    formula = weights.variance.replace("^", "**").replace(") fan", ") * fan")
    value = eval(formula, {"fan_in": fan_in, "fan_out": fan_out})
    assert value == pytest.approx(variance(weights), rel=1e-5)


def near(measured, expected):
    """To 5 standard deviations of the variance of so many normal numbers, sqrt(2 / count)."""
    return measured == pytest.approx(expected, rel=5 * math.sqrt(2 / (FANS[0] * FANS[1])))


@pytest.mark.parametrize("weights", EVERY, ids=lambda weights: weights.name)
def test_the_pytorch_line_gives_that_variance(weights, torch):
    torch.manual_seed(0)
    layer = torch.nn.Linear(*FANS)
    exec(weights.pytorch, {"nn": torch.nn, "layer": layer})
    drawn = layer.weight.detach().double()
    assert near(drawn.var().item(), variance(weights))
    assert drawn.abs().max() > 3 * drawn.std()  # not truncated


@pytest.mark.parametrize("weights", EVERY, ids=lambda weights: weights.name)
def test_the_numpy_line_gives_that_variance(weights):
    fan_in, fan_out = FANS
    names = {"np": np, "rng": np.random.default_rng(0), "fan_in": fan_in, "fan_out": fan_out}
    exec(weights.numpy, names)
    assert names["W"].shape == FANS
    assert near(names["W"].var(), variance(weights))


@pytest.mark.parametrize("gain", [1.0, 0.886])
@pytest.mark.parametrize("fans", [(30, 20), (20, 30), (5, 5), (1, 4)])
def test_the_numpy_line_of_orthogonal_weights(fans, gain):
    names = {"np": np, "rng": np.random.default_rng(0), "fan_in": fans[0], "fan_out": fans[1]}
    exec(Weights(gain, rule="orthogonal").numpy, names)
    assert np.linalg.svd(names["W"], compute_uv=False) == pytest.approx(np.full(min(fans), gain))


def test_the_pytorch_line_of_orthogonal_weights(torch):
    layer = torch.nn.Linear(30, 20)
    exec(Weights(0.886, rule="orthogonal").pytorch, {"nn": torch.nn, "layer": layer})
    assert np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False) == pytest.approx(np.full(20, 0.886), rel=1e-5)


def scaled(scale, mode, distribution):
    """The variance that both document: `scale / n`, n by mode; only these distributions are not truncated."""
    fan_in, fan_out = FANS
    assert distribution in ("untruncated_normal", "normal")
    return scale / {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


@pytest.mark.parametrize("weights", EVERY, ids=lambda weights: weights.name)
def test_the_keras_and_jax_lines_give_that_variance(weights):
    """keras.io VarianceScaling: "normal" is truncated there; docs.jax.dev variance_scaling: "normal" is not."""
    keras = SimpleNamespace(initializers=SimpleNamespace(VarianceScaling=scaled))
    jax = SimpleNamespace(nn=SimpleNamespace(initializers=SimpleNamespace(variance_scaling=scaled)))
    for line, kind in ((weights.keras, '"untruncated_normal"'), (weights.jax, '"normal"')):
        assert kind in line
        assert eval(line, {"keras": keras, "jax": jax}) == pytest.approx(variance(weights), rel=1e-5)


def test_a_gain_is_named_only_within_rounding():
    assert weights_of(1.414).rule == "he"
    assert weights_of(1.416) == Weights(1.416)


@pytest.mark.parametrize(
    "words",
    [
        "--act tanh --layers 8",
        "--act gelu --layers 45",
        "--act softsign --layers 4",
        "--act softplus --layers 20 --goal backward --seed 123456789",
        "--act leaky_relu:slope=0.123456 --layers 3 --goal backward",
        "--act tanh --layers 25 --goal forward",
        "--act relu --layers 1",
    ],
)
def test_the_text_fits_80_columns(initprobe, words):
    shown = initprobe("recommend", "--width", 40, "--details", *words.split())
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    for part in (
        "W ~ N(0, variance",
        "nn.init.",
        "keras.initializers",
        "jax.nn",
        "Var(dL/dh), layer 1",
        "initprobe run",
    ):
        assert part in shown.out
    run_line = shown.out[shown.out.index("initprobe run") :].replace("\\\n", "").partition("\n")[0]
    assert parsed(run_line).layers == int(words.split()[3])


def test_json_is_the_recommendation(initprobe):
    shown = initprobe("recommend", "--act", "relu", "--layers", 3, "--width", 40, "--export-json", "-")
    advice = Recommendation.model_validate(json.loads(shown.out))
    assert (advice.init, advice.mode, advice.gain**2) == ("he", "fan_in", pytest.approx(2))
    assert advice == recommend("relu", 3, 40)
    assert shown.err.startswith("std 0.224: he weights")


ANSWERS = {
    "--act tanh --layers 6 --width 40": "std 0.158",
    "--act relu --widths 50,40,30,20": "gain 1.414",
    "--act tanh --fan-in 78 --fan-out 26 --layers 6": "std 0.139",
    "--act relu --layers 12 --width 40 --residual": "std 0.158",
    "--act tanh --layers 60 --width 4": "gain 1",
}


@pytest.mark.parametrize("code", [pytest.param("pytorch", marks=pytest.mark.torch), "numpy"])
@pytest.mark.parametrize("words", ANSWERS)
def test_the_answer_is_one_number_and_code_that_gives_it(initprobe, request, words, code):
    """The code is run as printed, and the weights it draws have the promised variance within 5 SD."""
    shown = initprobe("recommend", *words.split(), "--code", code)
    heading, lines, _ = shown.out.split("\n\n")
    assert heading.startswith(f"{ANSWERS[words]}: ")
    advice = parsed(shown.out[shown.out.index("initprobe run") :].replace("\\\n", ""))
    fan_in = advice.features or advice.layer_widths[0]
    fan_out = advice.layer_widths[0]
    names = {"np": np, "rng": np.random.default_rng(0), "fan_in": fan_in, "fan_out": fan_out, "act": np.tanh}
    if code == "pytorch":
        torch = request.getfixturevalue("torch")
        torch.manual_seed(0)
        names |= {"nn": torch.nn, "layer": torch.nn.Linear(fan_in, fan_out), "act": torch.tanh}
        names["h"] = torch.ones(3, fan_in)
    else:
        names |= {"h": np.ones((3, fan_in)), "layer": lambda h: h @ names["W"]}
    exec("\n".join(line.strip() for line in lines.splitlines()), names)
    weight = names["layer"].weight.detach().numpy().T if code == "pytorch" else names["W"]
    expected, spread = advice.initializer.variance(fan_in, fan_out), math.sqrt(2 / (fan_in * fan_out))
    assert np.square(weight).mean() == pytest.approx(expected, rel=5 * spread)
    assert ("h = h +" in lines) is advice.residual


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        ("--act relu --layers 50 --width 8", "--act relu --layers 50 --width 85"),
        ("--act sigmoid --layers 10 --width 40", "--act sigmoid --layers 10 --width 40 --residual"),
        # The gradient grows by 6.9 decades. With 30 layers it grows by 5.0 of the 5.4 allowed, and the net learns.
        ("--act relu --layers 40 --width 40 --norm batch", "--act relu --layers 40 --width 40 --norm batch --residual"),
    ],
)
def test_where_nothing_holds_a_net_that_survives_is_named(initprobe, words, instead):
    """No number and no code for weights that fail; the line named instead gives both."""
    refused = initprobe("recommend", *words.split())
    assert refused.code == 0
    assert "nn.init" not in refused.out and "std" not in refused.out
    assert f"instead   initprobe recommend {instead}" in refused.out.replace(" \\\n          ", " ")
    assert initprobe("recommend", *instead.split()).out.startswith("std ")


@pytest.mark.parametrize(
    ("act", "shape", "init"),
    [
        ("relu", {"widths": (500, 250, 125, 60, 30, 15, 8, 4, 2)}, "he"),
        ("tanh", {"widths": (500, 250, 125, 60, 30, 15, 8, 4, 2)}, "xavier"),
        ("relu", {"widths": (100, 10), "layers": None}, "he"),
        ("relu", {"fan_in": 784, "fan_out": 10}, "he"),
        ("relu", {"fan_in": 1, "fan_out": 1}, "he"),
        ("relu", {"layers": 40, "width": 60, "residual": True, "norm": "layer"}, "xavier"),
    ],
    ids=str,
)
def test_odd_shapes_are_served(act, shape, init):
    advice = recommend(act, shape=Shape(**shape))
    assert (advice.init, advice.answers, advice.predicted_to_hold, advice.measured_to_hold) == (init, True, True, True)


@pytest.mark.parametrize("width", [1, 2])
def test_a_chain_of_single_units_is_refused(width):
    assert not recommend("relu", 10, width).answers


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--act tahn --layers 3", "Error: --act: unknown activation 'tahn'. Did you mean 'tanh'?"),
        ("--act tanh --layers 0", "Error: --layers: "),
        ("--act tanh --layers 3 --width 0", "Error: --width: "),
        ("--act tanh --layers 3 --seed -1", "Error: --seed: "),
        ("--act tanh --layers 3 --threads 0", "Error: --threads: must be at least 1"),
        ("--act tanh --layers 3 --export-json nowhere/x.json", "nowhere; make it first"),
        ("--act tanh", "Error: --layers: is missing; give --layers, --widths or --fan-in"),
        ("--act tanh --fan-out 5", "Error: --fan-out: needs --fan-in too"),
        ("--act tanh --layers 2 --widths 5,4,3", "Error: --layers: is 2, but --widths has 3; drop --layers"),
        ("--act tanh --widths 5,x", "Error: --widths: '5,x' is not a list of whole numbers"),
        ("--act tanh --fan-in 5 --residual", "Error: --fan-in: is for a single plain layer"),
        ("--act tanh --layers 3 --goal up", "Invalid value for '--goal'"),
    ],
)
def test_bad_input_is_an_error_of_one_line(initprobe, words, complaint):
    shown = initprobe("recommend", *words.split())
    assert (shown.code, shown.out) == (2, "")
    assert complaint in shown.err
    assert shown.err.count("Error:") == 1


def test_errors_from_python():
    with pytest.raises(ConfigError, match="Did you mean 'tanh'"):
        recommend("tahn", 3)
    with pytest.raises(ConfigError, match="layers"):
        recommend("tanh", 0)


def test_a_prediction_that_holds_has_room():
    choice = chosen("softplus", 12)
    assert net("softplus", 12).scaled(choice.weights.gain).holds(LAST_RESORT_SHARE)


@pytest.mark.parametrize(("act", "layers", "width"), [("relu", 100, 16), ("relu", 50, 8)])
def test_a_shape_too_deep_for_its_width_is_refused_with_the_width_that_would_do(act, layers, width):
    advice = recommend(act, layers, width)
    assert not advice.predicted_to_hold
    assert "too deep for width" in advice.summary
    assert advice.width_needed > width
    assert advice.instead == f"initprobe recommend --act {act} --layers {layers} --width {advice.width_needed}"
    assert recommend(act, layers, advice.width_needed).width_needed is None


def test_a_single_layer_has_one_number():
    """Xavier's: sqrt(2 / (784 + 256))."""
    advice = recommend("tanh", shape=Shape(layers=10, fan_in=784, fan_out=256))
    assert (advice.init, advice.sizes) == ("xavier", (784, 256))
    assert advice.std == pytest.approx(math.sqrt(2 / 1040))
    assert "over 10 layers" in advice.summary
    assert "784 -> 256" in advice.formula


@pytest.mark.parametrize(
    ("act", "shape"),
    [
        ("relu", {"widths": (128, 64, 32, 16)}),
        ("tanh", {"widths": (60, 80, 100, 80, 60)}),
        ("relu", {"layers": 30, "width": 60, "residual": True}),
        ("gelu", {"layers": 30, "width": 60, "residual": True, "norm": "layer"}),
        ("relu", {"layers": 6, "width": 60, "norm": "layer"}),
    ],
    ids=str,
)
def test_a_real_shape_is_measured_as_recommended(act, shape):
    advice = recommend(act, shape=Shape(**shape))
    assert advice.predicted_to_hold
    assert advice.measured_to_hold
    config = parsed(advice.command)
    assert (config.residual, config.norm) == (shape.get("residual", False), shape.get("norm", "none"))
    assert config.layer_widths == shape.get("widths", (60,) * shape.get("layers", 0))


def test_there_is_no_code_where_no_weights_hold():
    advice = recommend("gelu", layers=50, width=40)
    assert not advice.answers
    assert not any((advice.pytorch, advice.pytorch_bias, advice.numpy, advice.keras, advice.jax, advice.branch))
    assert advice.instead is not None
    assert recommend("gelu", layers=50, width=40, goal="forward").pytorch is not None
