"""Checks: which bounds a result breaks, what does not apply to it, and what was lost."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sweep_checks import applicable, breaches_of
from sweep_files import SMALL, loaded, refusal

import initprobe
from initprobe.errors import ConfigError
from initprobe.results.layers import LayerStats
from initprobe.results.named_numbers import LAYER_NUMBERS, NAMES, RATES, check_name
from initprobe.results.run import ProbeResult
from initprobe.sweeps.breaches import Breach
from initprobe.sweeps.checks import Check
from initprobe.sweeps.ignores import apply, make_ignore

LAYERS = 4


@pytest.fixture(scope="module")
def relu() -> ProbeResult:
    return _run(init="he", act="relu")


def _run(**fields: Any) -> ProbeResult:
    config = initprobe.ProbeConfig(**{"layers": LAYERS, "width": 12, "batch": 10, "draws": 2} | fields)
    return initprobe.run(config)


@pytest.fixture
def checks(tmp_path):
    """The checks in a file, from the text below `checks:`."""

    def read(text: str) -> tuple[Check, ...]:
        return loaded(tmp_path, f"{SMALL}checks: {text}\n").checks

    return read


def _with_output(result: ProbeResult, layer: int, **changed: Any) -> ProbeResult:
    """The result with other statistics of one layer's output; `layer` counts from 0."""
    layers = list(result.layers)
    layers[layer] = layers[layer].model_copy(update={"output": layers[layer].output.model_copy(update=changed)})
    return result.model_copy(update={"layers": tuple(layers)})


def test_every_checked_name_is_one_of_a_result(relu):
    """And every number of a layer but its own can be checked."""
    dumped = relu.layers[1].model_dump()
    for name in LAYER_NUMBERS:
        node: Any = dumped
        for part in name.split("."):
            node = None if node is None else node[part]
        assert node is None or isinstance(node, int | float), name
    leaves = {name for name in LayerStats.model_fields if isinstance(dumped[name], int | float)}
    leaves -= {"layer", "inside_branch"}
    assert leaves <= set(NAMES)
    assert "output.percentiles.p50" in NAMES and "theory.z" in NAMES and len(RATES) == 6
    assert not {"output.status", "output.histogram", "output.variance_by_draw"} & set(NAMES)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean 'output\.dead_fraction'"):
        check_name("output.dead_fractoin")


@pytest.mark.parametrize(
    ("low", "high", "breaks"),
    [(0, 0, False), (0.01, 0.01, True), (-0.01, -0.01, True), (None, 0, False), (0, None, False), (None, -0.01, True)],
)
def test_bounds_are_inclusive(relu, checks, low, high, breaks):
    value = relu.layers[0].output.variance
    ends = ["null" if end is None else repr(value + end) for end in (low, high)]
    (check,) = checks(f"{{output.variance: {{min: {ends[0]}, max: {ends[1]}, layers: first}}}}")
    expected = (Breach("output.variance", 1, value, str(check.bound)),) if breaks else ()
    assert breaches_of([check], relu) == expected


def test_a_pair_is_both_bounds_and_every_layer_is_judged(relu, checks):
    breaches = breaches_of(checks("{output.variance: [1000, 2000]}"), relu)
    assert [breach.layer for breach in breaches] == [1, 2, 3, 4]
    assert breaches[1].value == relu.layers[1].output.variance
    assert str(breaches[1]) == f"output.variance at layer 2 is {breaches[1].value:.4g}, not between 1000 and 2000"
    assert breaches_of(checks("{output.variance: [null, 2000]}"), relu) == ()


@pytest.mark.parametrize(
    ("layers", "judged"),
    [("all", [1, 2, 3, 4]), ("first", [1]), ("last", [4]), ("3", [3]), ("[2, 4]", [2, 4]), ("[9]", []), ("9", [])],
)
def test_layers_of_a_check(relu, checks, layers, judged):
    asked = checks(f"{{output.variance: {{max: -1, layers: {layers}}}}}")
    assert [breach.layer for breach in breaches_of(asked, relu)] == judged
    assert bool(applicable(asked, relu)) is bool(judged)


def test_the_rate_is_geometric_from_first_to_last_layer(relu, checks):
    ends = [relu.layers[index].output_gradient.variance for index in (0, -1)]
    (breach,) = breaches_of(checks("{output_gradient.variance_per_layer: {min: 1000}}"), relu)
    assert breach.layer is None
    # The logs it is taken from are rounded once each.
    assert breach.value == pytest.approx((ends[1] / ends[0]) ** (1 / (LAYERS - 1)), rel=1e-12)
    assert breaches_of(checks(f"{{output_gradient.variance_per_layer: {{max: {breach.value!r}}}}}"), relu) == ()


def test_the_rate_of_one_layer_does_not_apply(checks):
    asked = checks("{output.variance_per_layer: {max: -1}}")
    alone = _run(init="he", act="relu", layers=1)
    assert (breaches_of(asked, alone), applicable(asked, alone)) == ((), frozenset())


def test_the_rate_of_nothing_is_a_breach(checks):
    (breach,) = breaches_of(checks("{output.variance_per_layer: [0.8, 1.25]}"), _run(init="zeros", act="tanh"))
    assert (breach.value, breach.reason) == (None, "undefined, the variance is 0 at layer 1")


def test_a_rate_beyond_the_float_range_is_infinite(relu, checks):
    far = _with_output(_with_output(relu, 0, variance_log10=-500.0), -1, variance_log10=2000.0)
    (breach,) = breaches_of(checks("{output.variance_per_layer: {max: 5}}"), far)
    assert breach.value == math.inf


def test_a_rate_holds_below_the_float_range(relu, checks):
    small = _with_output(_with_output(relu, 0, variance_log10=-400.0), -1, variance_log10=-400.0)
    assert breaches_of(checks("{output.variance_per_layer: [1, 1]}"), small) == ()


def test_a_variance_of_one_is_no_lost_variance(relu, checks):
    """Its log is 0, which is not the same as null."""
    lost = _with_output(
        _with_output(relu, 0, variance_log10=0.0), -1, variance_log10=None, variance=None, status="overflow"
    )
    (breach,) = breaches_of(checks("{output.variance_per_layer: {max: 5}}"), lost)
    assert breach.reason == "lost (overflow) at layer 4"


def test_a_healthy_run_holds_the_check(relu, checks):
    faulty = relu.model_copy(update={"healthy": False})
    fine = relu.model_copy(update={"healthy": True})
    assert breaches_of(checks("{healthy: true}"), fine) == breaches_of(checks("{healthy: false}"), faulty) == ()
    assert breaches_of(checks("{healthy: true}"), faulty) == (Breach("healthy", None, False, "true"),)
    assert str(breaches_of(checks("{healthy: {is: false}}"), fine)[0]) == "healthy is true, not false"


def test_z_is_judged_by_its_size(relu, checks):
    theory = relu.layers[2].theory
    layer = relu.layers[2].model_copy(update={"theory": theory.model_copy(update={"z": -6.0})})
    far = relu.model_copy(update={"layers": (*relu.layers[:2], layer, relu.layers[3])})
    (breach,) = breaches_of(checks("{theory.z: {max: 5, layers: 3}}"), far)
    assert breach.value == -6
    assert breaches_of(checks("{theory.z: {max: 6, layers: 3}}"), far) == ()


def test_a_lost_number_is_a_breach_with_its_status(relu, checks):
    lost = _with_output(relu, 2, status="overflow", variance=None, dead_fraction=None)
    breaches = breaches_of(checks("{output.variance: {min: 0}, output.dead_fraction: {max: 1}}"), lost)
    assert [(breach.name, breach.layer, breach.value) for breach in breaches] == [
        ("output.variance", 3, None),
        ("output.dead_fraction", 3, None),
    ]
    assert str(breaches[0]) == "output.variance at layer 3 is lost (overflow), not at least 0"


@pytest.mark.any_processor
def test_a_net_that_really_overflows(checks):
    """float32 ends at 3.4e38, which z passes at the fourth layer of std 1e12."""
    result = _run(init="normal:std=1e12", act="relu")
    (breach,) = breaches_of(checks("{output.variance: {min: 0}}"), result)
    assert (breach.layer, breach.reason) == (4, "lost (overflow)")


def test_a_number_that_does_not_apply_is_no_breach_and_is_reported(relu, checks):
    tanh = _run(init="xavier", act="tanh")
    asked = checks("{output.dead_fraction: {max: 0.2}, output.variance: {min: 0}}")
    assert breaches_of(asked, tanh) == ()
    assert applicable(asked, tanh) == {"output.variance: at least 0"}
    assert applicable(asked, relu) == set(map(str, asked))
    lost = _with_output(tanh, 2, status="overflow")
    assert breaches_of(asked, lost) == ()


def test_theory_does_not_apply_where_there_is_none(checks):
    result = _run(init="constant:value=0.1", act="tanh")
    asked = checks("{theory.z: {max: 5}, theory.output_variance: {max: 0}}")
    assert (breaches_of(asked, result), applicable(asked, result)) == ((), frozenset())


WHERE = [
    ("{act: relu}", True),
    ("{act: tanh}", False),
    ("{init: 'he:gain=2'}", True),
    ("{init: {name: he, gain: 2}}", True),
    ("{init: he}", False),
    ("{init.gain: 2}", True),
    ("{init.gain: 1}", False),
    ("{sigma_w: 2}", False),
    ("{layers: 4, width: 12}", True),
    ("{layers: 4, width: 13}", False),
    ("{bias_init: null}", True),
    ("{standardize: false}", True),
    ("{thresholds.saturated: 0.5}", True),
    ("{thresholds.saturated: 0.4}", False),
]


@pytest.fixture(scope="module")
def gained() -> ProbeResult:
    return _run(init="he:gain=2", act="relu")


@pytest.mark.parametrize(("where", "speaks"), WHERE)
def test_where_picks_the_runs_that_a_check_speaks_of(gained, checks, where, speaks):
    asked = checks(f"{{output.variance: {{max: -1, where: {where}}}}}")
    assert bool(breaches_of(asked, gained)) is speaks
    assert bool(applicable(asked, gained)) is speaks


def test_where_knows_the_scales_of_the_papers(checks):
    result = _run(init="variance_scaling:scale=4.0", act="relu")
    (check,) = checks("{output.variance: {max: -1, where: {sigma_w: 2}}}")
    assert breaches_of([check], result)


def test_several_bounds_on_one_number(relu, checks):
    asked = checks("{output.variance: [{max: -1, layers: 1}, {min: 1e9, layers: last}, {min: 0}]}")
    assert [(breach.layer, breach.bound) for breach in breaches_of(asked, relu)] == [
        (1, "at most -1"),
        (4, "at least 1e+09"),
    ]


def test_a_check_prints_its_own_text(checks):
    asked = checks("{output.mean: {max: 5/2, layers: [1, 3], where: {act: relu, layers: 4}}, healthy: true}")
    assert [str(check) for check in asked] == [
        "output.mean at layer 1, 3: at most 2.5 where act=relu, layers=4",
        "healthy: true",
    ]


VERDICTS = [
    ("survives", None),
    ("vanishing-output", None),  # a verdict that is expected
    ("[vanishing-output]", "vanishing-output"),
    ("[dead-units, VANISHING_gradient]", "vanishing-gradient"),
    ("[dead-units, saturated]", None),
    ("{not: [saturated, vanishing-output]}", "vanishing-output"),
    ("{max_severity: info}", "vanishing-output (error)"),
    ("{max_severity: note}", "vanishing-output (error)"),
    ("{max_severity: warning}", "vanishing-output (error)"),
    ("{max_severity: note, where: {act: relu}}", None),
    ("[{is: survives, where: {act: tanh}}, dead-units]", "vanishing-output"),
]


@pytest.fixture(scope="module")
def collapsed() -> ProbeResult:
    return _run(init="normal:std=0.01", act="tanh")


@pytest.mark.parametrize(("asked", "breach"), VERDICTS)
def test_the_verdict_can_be_checked(collapsed, checks, asked, breach):
    expected = {"survives": "vanishing-output"}.get(asked, breach)
    breaches = breaches_of(checks(f"{{verdict: {asked}}}"), collapsed)
    assert [each.value for each in breaches] == ([expected] if expected else [])
    fine = _run(init="xavier", act="tanh")
    assert fine.healthy
    expects_a_fault = asked == "vanishing-output"
    assert bool(breaches_of(checks(f"{{verdict: {asked}}}"), fine)) is expects_a_fault


def test_a_broken_verdict_says_where_and_what_was_asked(collapsed, checks):
    (first, second) = breaches_of(checks("{verdict: [vanishing-output, vanishing-gradient]}"), collapsed)
    assert str(first) == "verdict at layer 1 is vanishing-output, not free of vanishing-output"
    assert str(second) == "verdict at layer 4 is vanishing-gradient, not free of vanishing-gradient"
    (breach,) = breaches_of(checks("{verdict: dead-units}"), _run(init="xavier", act="tanh"))
    assert str(breach) == "verdict is survives, not dead-units"


@pytest.mark.parametrize("rule", ["no-gradient", "void-parameter"])
def test_rules_of_models_are_accepted_and_never_found_in_a_run(collapsed, checks, rule):
    assert not breaches_of(checks(f"{{verdict: {{not: [{rule}]}}}}"), collapsed)
    (breach,) = breaches_of(checks(f"{{verdict: {rule}}}"), collapsed)
    assert breach.value == "vanishing-output"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "\n  verdict:\n    - dead-units\n    - vanishing-outptu",
            "a.yaml:7: unknown rule 'vanishing-outptu'. Did you mean",
        ),
        ("\n  verdict: surviv", "a.yaml:5: unknown verdict 'surviv'. Did you mean 'survives'?"),
        ("\n  verdict: true", "a.yaml:5: verdict: takes survives, a rule"),
        ("\n  verdict: [0.1, 2]", "a.yaml:5: verdict: takes survives, a rule"),
        ("\n  verdict:\n    max_severity: severe", "a.yaml:6: checks.verdict.max_severity: must be"),
        ("\n  verdict:\n    not: [saturated]\n    layers: 2", "a.yaml:5: verdict: speaks of all layers at once"),
        ("\n  verdict: {is: survives, max_severity: info}", "a.yaml:5: checks.verdict: give one of is, not"),
        ("\n  healthy: survives", "a.yaml:5: healthy: takes true or false"),
        ("\n  output.mean: {max_severity: info}", "a.yaml:5: output.mean: takes min and max"),
        ("\n  output.mean: [saturated]", "a.yaml:5: output.mean: takes min and max"),
    ],
)
def test_unknown_verdicts_are_refused_with_their_line(tmp_path, text, words):
    assert refusal(tmp_path, f"{SMALL}checks:{text}\n").startswith(words)


def test_a_check_knows_its_line(tmp_path):
    verdicts, bounds = "\n    - saturated\n    - dead-units", "\n    - [0, 1]\n    - {max: 2}"
    text = f"{SMALL}checks:\n  verdict:{verdicts}\n  output.mean:{bounds}\n"
    assert [check.line for check in loaded(tmp_path, text).checks] == [6, 7, 9, 10]
    by_option = loaded(tmp_path, text, "checks.output.mean=[0, 1]").checks
    assert [check.line for check in by_option] == [6, 7, None]
    assert [check.line for check in loaded(tmp_path, text, "checks={verdict: survives}").checks] == [None]


def test_numbers_of_the_whole_run_can_be_bounded(collapsed, relu, checks):
    assert [breach.value for breach in breaches_of(checks("{layer: {min: 2}}"), collapsed)] == [1.0]
    fine = _run(init="xavier", act="tanh")
    assert (breaches_of(checks("{layer: {min: 2}}"), fine), applicable(checks("{layer: {min: 2}}"), fine)) == (
        (),
        frozenset(),
    )
    (breach,) = breaches_of(checks("{elapsed_s: {max: 0}}"), relu)
    assert breach.value == relu.elapsed_s


def test_ignored_findings_do_not_count(collapsed, checks):
    ignored = [make_ignore(rule, (), "by design", None, "it") for rule in ("vanishing-output", "vanishing-gradient")]
    for number, left in ((2, []), (1, ["vanishing-gradient"])):
        marked, used = apply(collapsed, ignored[:number])
        assert used == set(ignored[:number])
        assert [breach.value for breach in breaches_of(checks("{verdict: survives}"), marked)] == left
        assert bool(breaches_of(checks("{healthy: true}"), marked)) is bool(left)


def test_a_record_of_ones_own_can_be_judged(checks):
    mine = initprobe.Activation("mine", value=lambda z: z * 1, slope=lambda z, h: z * 0 + 1, formula="x", reference="-")
    asked = checks("{output.variance: {max: -1, where: {act: relu}}, output.mean: {min: -9}}")
    assert breaches_of(asked, _run(init="lecun", act=mine)) == ()
