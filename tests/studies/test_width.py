"""The coordinate check of our own networks, and the command `initprobe width`."""

import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from legible import assert_legible, texts
from matplotlib.figure import Figure
from matplotlib.text import Text

import initprobe
from initprobe import ProbeConfig
from initprobe.diagnosis.width_sizes import LayerSizes, NetworkSizes, fitted
from initprobe.diagnosis.width_verdict import WIDTH_RULES, findings_of, transfers
from initprobe.engine.optimizers import Optimizer
from initprobe.errors import ConfigError, MemoryLimitError
from initprobe.prediction.width_scaling import judged
from initprobe.results.coordinate_check import CoordinateCheck

CONFIG = ProbeConfig(init="he", act="relu", layers=3)
SMALL = ("width", "--init", "he", "--act", "relu", "--layers", "3", "--widths", "32,64,128", "--seeds", "2")


def checked(config=CONFIG, **settings):
    return initprobe.width(config, **{"widths": (64, 128, 256), "threads": 1, **settings})


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_mup_transfers_and_standard_parametrization_does_not(optimizer):
    plain, mup = checked(optimizer=optimizer), checked(optimizer=optimizer, mup=True)
    assert plain.transfers is False and plain.fix[-1] == "--mup does this"
    assert mup.transfers and not mup.fix
    slopes = {line.layer: line.slope for line in plain.lines if (line.quantity, line.step) == ("own_change", 1)}
    powers = (-0.5, 0.5, 0.5, 1) if optimizer == "sgd" else (0, 1, 1, 1)
    assert list(slopes.values()) == pytest.approx(powers, abs=0.2)


def test_slopes_of_theory_are_those_of_measurement():
    for config in (
        CONFIG,
        ProbeConfig(init="lecun", act="linear", layers=3),
        ProbeConfig(init="normal:std=0.1", act="relu", layers=2),
    ):
        for line in checked(config.model_copy(update={"batch": 4}), seeds=4, try_fixes=False).lines:
            if line.theory is not None:
                room = 0.15 if line.quantity == "change" else 0.05
                assert abs(line.slope - line.theory) <= max(room, 3 * line.slope_se), line


def test_a_start_that_grows_is_scaled():
    check = checked(ProbeConfig(init="normal:std=0.1", act="tanh", layers=3))
    assert check.findings[0].rule == "output-grows" and "layer 2" in check.findings[0].layers
    assert check.fix[0] == "multiply the start of W of layer 2, W of layer 3, read-out by (64/width)^0.5"


def test_norms_and_skips_can_be_checked():
    for settings in ({"norm": "layer"}, {"norm": "batch"}, {"residual": True}):
        check = checked(CONFIG.model_copy(update=settings), mup=True, steps=1, seeds=2, try_fixes=False)
        assert check.line("layer 3", "change", 1).status == "ok"


def test_the_numbers_do_not_depend_on_threads():
    one, two = (checked(threads=threads, seeds=1, try_fixes=False) for threads in (1, 2))
    assert one.lines == two.lines


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimizers_are_those_of_pytorch(name, torch):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(3, 4, 3))
    ours, theirs = {"w": start.copy()}, torch.nn.Parameter(torch.tensor(start))
    mine = Optimizer(name, {"w": 0.01})
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    other = kind([theirs], lr=0.01)
    for gradient in gradients:
        mine.step(ours, {"w": gradient})
        theirs.grad = torch.tensor(gradient)
        other.step()
    assert ours["w"] == pytest.approx(theirs.detach().numpy(), rel=1e-12)


def test_a_line_is_fitted_with_the_error_of_its_slope():
    widths, rng = (16, 64, 256), np.random.default_rng(1)
    exact = fitted(widths, [[width**0.5] * 3 for width in widths])
    assert exact.slope == pytest.approx(0.5) and exact.error == pytest.approx(0, abs=1e-12)
    noise = 0.1 * rng.normal(size=(2000, 3, 3))
    fits = [fitted(widths, [np.exp(row) for row in each]) for each in noise]
    spread = np.std([fit.slope for fit in fits])
    assert 0.9 < np.sqrt(np.mean([fit.error**2 for fit in fits])) / spread < 1.4  # the larger of two estimates
    assert fitted(widths, [[1.0], [0.0], [1.0]]) is None
    assert fitted(widths, [[1.0], [math.nan], [1.0]]) is None


def network(width, output=0.0, change=0.0, own=0.0, noise=1.0):
    """A network of one layer and a read-out with these slopes."""
    row = LayerSizes(
        "fc",
        "layer",
        width**output,
        None,
        (noise * width**change,),
        (width**own,),
        1,
        10,
        0.1,
        0.1,
        parameter="fc.weight",
    )
    return NetworkSizes((row, LayerSizes("head", "readout", width**-0.5, None, (1.0,))), (1.0, 0.9))


@pytest.mark.parametrize(
    ("slopes", "rules"),
    [
        ({}, ["starts-small"]),
        ({"output": 0.5}, ["output-grows", "starts-small"]),
        ({"output": -0.3}, ["output-falls", "starts-small"]),
        ({"change": 0.4}, ["change-grows", "starts-small"]),
        ({"change": -0.3}, ["starts-small"]),
        ({"change": -0.6}, ["change-falls", "starts-small"]),
        ({"own": 1.0}, ["update-grows", "starts-small"]),
        ({"own": -0.1}, ["starts-small"]),
    ],
)
def test_each_rule_judges_its_slope(slopes, rules):
    widths = (32, 64, 128)
    result = judged(widths, [[network(width, **slopes)] * 2 for width in widths], "adam")
    assert [finding.rule for finding in result.findings] == rules
    assert set(rules) <= set(WIDTH_RULES)
    assert result.transfers is (len(rules) == 1)


def test_seeds_that_do_not_decide_are_reported():
    widths = (32, 64, 128)
    networks = [[network(width, 0, 0.3, noise=noise) for noise in (0.3, 3)] for width in widths]
    result = judged(widths, networks, "adam")
    assert result.transfers is None and "give more --seeds" in result.verdict


def test_the_record_is_written_as_json_and_read_again():
    check = checked(seeds=1, steps=1, try_fixes=False)
    assert CoordinateCheck.model_validate_json(check.model_dump_json()) == check
    assert json.loads(check.model_dump_json())["schema"] == 1


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (ProbeConfig(init="he", act="relu", widths=(3, 4)), {}, "widths: fixes the width"),
        (ProbeConfig(init="lsuv", act="relu"), {}, "init: is fitted to data"),
        (CONFIG, {"widths": (5,)}, "at least two different"),
        (CONFIG, {"widths": (5, 5)}, "at least two different"),
        (CONFIG, {"lr": 0.0}, "must be above 0"),
        (CONFIG, {"optimizer": "adan"}, "must be one of sgd, adam, adamw"),
        ("he", {}, "must be a ProbeConfig"),
    ],
)
def test_networks_that_cannot_be_checked_are_refused(config, settings, message):
    with pytest.raises(ConfigError, match=message):
        checked(config, **settings)


def test_networks_that_would_not_fit_are_refused_before_training():
    with pytest.raises(MemoryLimitError, match="lower `widths`"):
        checked(widths=(64, 10**7))


# The command


def test_the_table_fits_80_columns_and_says_the_verdict(initprobe):
    outcome = initprobe(*SMALL, "--no-try-fixes")
    assert outcome.code == 0 and "does not transfer" in outcome.out
    table = outcome.out.split("slope: of log rms")[0].splitlines()[3:]
    assert max(map(len, table)) <= 80 and sum(line.lstrip().startswith("layer ") for line in table) == 4


def test_the_files_are_written(initprobe, tmp_path):
    outcome = initprobe(*SMALL, "--mup", "--figure", "w.svg", "--report", "w.html", "--export-json", "w.json", "-q")
    assert outcome.code == 0 and outcome.out.startswith("transfers")
    assert json.loads((tmp_path / "w.json").read_text())["widths"] == [32, 64, 128]
    page = (tmp_path / "w.html").read_text()
    assert "widths 32, 64, 128;" in page and '"x_log":true' in page
    assert "Slopes of log rms against log width" in page and f"numpy {np.__version__}" in page
    assert "change of h, step 3" in (tmp_path / "w.svg").read_text()


def test_the_figure_has_a_panel_per_step_and_a_line_per_layer():
    figure = checked(seeds=2, steps=2, try_fixes=False).figure()
    assert isinstance(figure, Figure) and len(figure.axes) == 4
    assert len(figure.legends[0].get_texts()) == 4 + 1  # and the line of slope 1/2
    assert_legible(figure)
    widths, heights = figure.axes[0].lines[0].get_data()
    assert list(widths) == [64, 128, 256] and np.isfinite(heights).all()


def test_on_paper_the_figure_fits_a_column():
    figure = checked(seeds=2, steps=2, try_fixes=False).figure(style="paper")
    assert figure.get_figwidth() == pytest.approx(3.3)
    assert_legible(figure)
    assert_legible(checked(seeds=2, steps=3, try_fixes=False).figure(size=(3.3, 2.5), style="paper"))
    assert {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()} <= {9 * 0.75, 7.5, 10.5 * 0.75}


def test_where_all_is_zero_the_figure_says_so():
    figure = checked(ProbeConfig(init="zeros", act="relu"), seeds=2, steps=1, try_fixes=False).figure(
        size=(8, 4), title="zeros", columns=2
    )
    assert "0 or not finite everywhere" in texts(figure) and "zeros" in texts(figure)
    assert tuple(figure.get_size_inches()) == (8, 4)


def test_fail_on_gives_exit_code_1(initprobe):
    assert initprobe(*SMALL, "--no-try-fixes", "-q", "--fail-on", "error").code == 1
    assert initprobe(*SMALL, "--mup", "-q", "--fail-on", "warning").code == 0


def test_ci_gets_a_case_per_rule_and_an_alert_per_layer(initprobe, tmp_path):
    junit, sarif = tmp_path / "j.xml", tmp_path / "s.json"
    reports = ("--fail-on", "error", "--junit", str(junit), "--sarif", str(sarif))
    assert initprobe(*SMALL, "--no-try-fixes", "-q", *reports).code == 1
    suite = ElementTree.parse(junit).getroot()[0]
    failed = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    assert len(list(suite.iter("testcase"))) == len(WIDTH_RULES) and "update-grows" in failed
    (scan,) = json.loads(sarif.read_text())["runs"]
    errors = {alert["ruleId"] for alert in scan["results"] if alert["level"] == "error"}
    assert errors == failed and all(rule["shortDescription"] for rule in scan["tool"]["driver"]["rules"])
    assert all(alert["locations"][0]["logicalLocations"] for alert in scan["results"] if alert["level"] == "error")
    assert "--fail-on" in initprobe(*SMALL, "--junit", str(junit)).err


@pytest.mark.parametrize(
    ("init", "rate", "words"),
    [
        ("normal:std=1e30", 0.1, "h leaves the float range before training (layer 2, layer 3, read-out)"),
        ("he", 1e9, "training leaves the float range at step"),
    ],
)
def test_numbers_beyond_the_float_range_are_blamed_on_their_cause(init, rate, words):
    config = ProbeConfig(init=init, act="relu", layers=3)
    check = checked(config, widths=(8, 16), optimizer="sgd", lr=rate)
    assert [finding.rule for finding in check.findings if finding.severity == "error"] == ["diverged"]
    assert words in check.verdict and "numbers leave the float range" in check.table()


def test_show_prints_and_draws_it_again(initprobe, tmp_path):
    path = tmp_path / "width.json"
    first = initprobe(*SMALL, "--no-try-fixes", "--seeds", "1", "--export-json", str(path))
    again = initprobe("show", str(path), "-o", str(tmp_path), "--format", "svg")
    assert again.code == 0 and again.out.split("\n\n")[-1].strip() in first.out
    assert (tmp_path / "width.svg").read_text().startswith("<?xml")
    refused = initprobe("show", str(path), "--export-csv", "-")
    assert refused.code == 2 and "this file is from `initprobe width`" in refused.err
    assert "is from `initprobe width`, not the result of a run" in initprobe("diff", str(path), str(path)).err
    path.write_text('{"widths": [1], "transfers": true}')
    assert "not a result of initprobe" in initprobe("show", str(path)).err
    path.write_text("[]")
    assert "`show` reads the JSON of `run`, `torch` and `width`" in initprobe("show", str(path)).err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "name a model, as mynet:make, or give --init and --act"),
        (("--act", "relu"), "give --init NAME or --sigma-w S"),
        (("mynet:make", "--init", "he"), "--init: belongs to a network of initprobe's own"),
        (("--init", "he", "--act", "relu", "--input-shape", "3,4"), "--input-shape: belongs to a PyTorch model"),
        (("--init", "he", "--act", "relu", "--widths", "64"), "--widths: must be at least two"),
        (("--init", "he", "--act", "relu", "--widths", "a,b"), "--widths: 'a,b' is not a list"),
        (("--init", "he", "--act", "relu", "--lr", "0"), "--lr: must be above 0"),
        (("--init", "he", "--act", "relu", "--lr", "inf"), "--lr: must be above 0 and at most 3.4e+38, not inf"),
        (("--init", "he", "--act", "relu", "--input", "a.npy", "--input", "b.npy"), "--input: give one"),
    ],
)
def test_wrong_options_are_an_error_of_one_line(initprobe, args, message):
    outcome = initprobe("width", *args)
    assert outcome.code == 2 and message in outcome.err and outcome.err.count("\n") == 1


def test_a_network_without_a_fault_has_no_finding():
    widths = (32, 64, 128)
    slopes = judged(widths, [[network(width)] * 2 for width in widths], "sgd").slopes
    assert transfers(findings_of(slopes, list(slopes.lines())))


def test_networks_in_which_nothing_changes_are_undecided():
    check = initprobe.width(
        ProbeConfig(init="zeros", act="relu", layers=2, input_width=8, batch=4), (8, 16), seeds=1, steps=1
    )
    assert check.transfers is None and "nothing changes in 1 step" in check.verdict and "1 seed" in check.setting
