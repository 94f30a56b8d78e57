"""`--report`: one HTML file with the numbers of result.json. It needs no network and runs its own script only."""

import base64
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from initprobe import ProbeConfig, run
from initprobe.reports.console import console
from initprobe.reports.html_charts import Chart, Line, ticks
from initprobe.reports.html_run import run_page
from initprobe.reports.html_runs import RunCard, card, runs_page
from initprobe.reports.narrative import course
from initprobe.reports.verdict import print_verdict, why_no_fix
from initprobe.results.model_theory import ModelTheory, Predicted, TheoryColumn
from initprobe.results.summary import Finding

KB, MB = 1_000, 1_000_000


class Page(HTMLParser):
    """The elements of a page: tags with attributes, and the rows of its tables."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.rows, self.headings, self._cell = text, [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = [dict(attributes).get("data-value"), ""]

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1].append(tuple(self._cell))
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell[1] += data.strip()

    @property
    def data(self):
        """The numbers that the script draws."""
        return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', self.text)[1])


@pytest.fixture(scope="module")
def result():
    config = ProbeConfig(init="he", act="relu", layers=24, width=30, batch=40, draws=2)
    return run(config, threads=1)


@pytest.fixture(scope="module")
def shown(result):
    return Page(run_page(result, "initprobe run --init he --act relu"))


def test_numbers_are_those_of_the_result(result, shown):
    heading, *rows = [row for row in shown.rows if len(row) > 8]
    columns = [text for _, text in heading]
    variance, gradient = columns.index("h var"), columns.index("dL/dh var")
    for layer, row in zip(result.layers, rows, strict=True):
        assert float(row[variance][0]) == layer.output.variance
        assert float(row[gradient][0]) == layer.output_gradient.variance
        assert float(row[columns.index("theory of h var")][0]) == layer.theory.output_variance
    for layer, histogram in zip(result.layers, shown.data["histograms"]["output"], strict=True):
        assert tuple(histogram["counts"]) == layer.output.histogram.counts
        assert (histogram["low"], histogram["high"]) == (layer.output.histogram.low, layer.output.histogram.high)
        assert tuple(histogram["shares"]) == layer.theory.output_shares
    chart = next(chart for chart in shown.data["charts"] if chart["name"] == "output")
    assert chart["lines"][0]["values"] == [layer.output.variance_log10 for layer in result.layers]
    assert chart["lines"][1]["values"] == [math.log10(layer.theory.output_variance) for layer in result.layers]


def of_model(layer):
    """The layer with the predictions of a PyTorch model in place of those of a plain net."""
    near, far = (
        Predicted(variance=scale * layer.output.variance, log_sd=0.1, z=-math.log(scale) / 0.1) for scale in (1.1, 1.5)
    )
    local, end_to_end = (TheoryColumn(preactivation=each, output=each, output_gradient=each) for each in (near, far))
    return layer.model_copy(update={"theory": None, "model_theory": ModelTheory(local=local, end_to_end=end_to_end)})


def test_page_of_a_model_draws_its_theory(result):
    layers = tuple(map(of_model, result.layers))
    shown = Page(run_page(result.model_copy(update={"layers": layers}), "initprobe torch m:make"))
    charts = {chart["name"]: chart["lines"] for chart in shown.data["charts"]}
    expected = [math.log10(layer.model_theory.end_to_end.output.variance) for layer in layers]
    for name in ("output", "output_gradient"):
        assert [line["kind"] for line in charts[name]] == ["measured", "theory"]
        assert charts[name][1]["values"] == expected
    assert len(charts["weight_gradient"]) == 1  # which it does not predict
    heading, *rows = [row for row in shown.rows if len(row) > 8]
    columns = [text for _, text in heading]
    for layer, row in zip(layers, rows, strict=True):
        for prefix, theory in (("", layer.model_theory.end_to_end), ("local ", layer.model_theory.local)):
            assert float(row[columns.index(f"{prefix}theory of h var")][0]) == theory.output.variance
            assert float(row[columns.index(f"{prefix}h z-score")][0]) == theory.output.z
            assert float(row[columns.index(f"{prefix}dL/dh z-score")][0]) == theory.output_gradient.z


def test_no_line_of_the_summary_is_empty(result):
    assert all(label and words for label, words in course(result))
    assert [label for label, _ in course(result)].count("theory") == 2  # of h and of dL/dh
    assert "one step" not in dict(course(result))


def test_it_needs_no_network_and_allows_its_own_script_only(shown):
    policy = next(tag["content"] for name, tag in shown.tags if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    script = re.findall(r"<script>(.*?)</script>", shown.text, re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", shown.text, re.DOTALL)
    for (text,), directive in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    for _, attributes in shown.tags:
        assert not {"src", "style"} & attributes.keys() and not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")


def test_24_layers_take_at_most_500_kb(shown):
    assert len(shown.text.encode()) <= 500 * KB


def test_400_runs_take_at_most_3_mb():
    result = run(ProbeConfig(init="normal:std=0.01", act="tanh", layers=30, width=10, batch=10, draws=1), threads=1)
    path = "data of the experiment, a long name/" + "x" * 60
    cards = [
        card({"init.std": number / 7, "input": f"{path}{number}.csv", "seed": number}, result, "initprobe run " * 12)
        for number in range(400)
    ]
    assert len(runs_page("a sweep", "400 runs", cards, "initprobe sweep x", result.environment).encode()) <= 3 * MB


def test_a_line_of_several_seeds_names_the_seed_it_shows():
    """The numbers are those of the result with that seed, not a mean."""
    seeds = {
        seed: run(ProbeConfig(init="he", act="relu", layers=4, width=10, batch=10, draws=1, seed=seed), threads=1)
        for seed in (3, 5)
    }
    cards = [card({"init": init, "seed": seed}, seeds[seed], "") for init in ("he", "kaiming") for seed in seeds]
    page = Page(runs_page("a sweep", "4 runs", cards, "", None))
    assert [entry["line"] for entry in page.data["runs"]] == [
        "he, seed 3",
        "he, seed 5",
        "kaiming, seed 3",
        "kaiming, seed 5",
    ]
    assert ">he, seed 3</text>" in page.text and ">he, seed 5</text>" not in page.text
    shown = 10 ** np.array(page.data["runs"][0]["series"]["output"])
    assert shown == pytest.approx([layer.output.variance for layer in seeds[3].layers])
    alone = Page(runs_page("a sweep", "2 runs", cards[::2], "", None))
    assert ">he</text>" in alone.text
    only_seeds = [card({"seed": seed}, result, "") for seed, result in seeds.items()]
    assert [card.line_label(["seed"]) for card in only_seeds] == ["seed=3", "seed=5"]


def test_foreign_text_is_text():
    attack = "</script><img src=x onerror=alert(1)>"
    failed = RunCard({"act": attack}, "failed", attack, attack, attack, None)
    page = Page(runs_page(attack, attack, [failed], attack, None))
    assert "img" not in [tag for tag, _ in page.tags]
    assert page.data["runs"][0]["words"] == attack


def test_without_a_fix_the_page_says_why_as_the_terminal_does(result):
    finding = Finding(rule="r", name="n", severity="error", layer=1, evidence="e", cause="c", fix=None)
    faulty = result.model_copy(update={"diagnosis": (finding,), "healthy": False})
    assert f"<b>No fix:</b> {why_no_fix(faulty)}" in run_page(faulty, "initprobe run")
    assert "No fix" not in run_page(result, "initprobe run")


def test_without_scripts_it_has_verdict_table_and_charts(shown):
    tags = [tag for tag, _ in shown.tags]
    assert tags.count("svg") == 3 and "signal survives" in shown.text
    pictures = [attributes for tag, attributes in shown.tags if tag == "svg"]
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in pictures)


@pytest.fixture(scope="module")
def dead():
    """A net whose outputs are exactly 0."""
    return run(ProbeConfig(init="zeros", act="tanh", layers=3, width=8, batch=8, draws=1), threads=1)


def test_a_variance_of_0_is_shown_as_0(dead, result):
    cards = [card({"init": name}, each, "") for name, each in (("zeros", dead), ("he", result))]
    page = Page(runs_page("a sweep", "2 runs", cards, "initprobe sweep", dead.environment))
    heading, zeros, he = page.rows[:3]
    column = [text for _, text in heading].index("var h, last layer")
    assert zeros[column] == ("-Infinity", "0") and he[column][0] == repr(result.layers[-1].output.variance_log10)
    first, second = page.data["runs"]
    assert first["numbers"]["output.variance"] == "zero" and second["series"]["output_zeros"] == []
    assert zeros[[text for _, text in heading].index("from layer")] == ("1", "1")  # a whole number
    assert first["series"]["output_zeros"] == [1, 2, 3] and first["series"]["gradient_zeros"] == [1, 2]
    assert "zeros (0 in all layers)" in page.text  # the legend of the still picture


def test_a_line_of_a_shorter_net_says_where_it_ends():
    line = Line.of_layers("he", [0.0, None], [2], depth=4)
    assert (line.values, line.last, line.zeros) == ([0.0, None, None, None], 2, [2])


def test_a_net_that_survives_needs_no_fix(result):
    """The same heading in a terminal and on a page: a fix for a fault, else an option."""
    text = {"rule": "r", "name": "r", "evidence": "e", "cause": "c", "fix": "initprobe run --norm layer"}
    for severity, heading in (("info", "option"), ("warning", "fix")):
        shown = result.model_copy(update={"diagnosis": (Finding(**text, severity=severity, layer=1),)})
        page, out = Page(run_page(shown, "initprobe run")), io.StringIO()
        print_verdict(shown, console(out))
        assert f"\n{heading:<10}initprobe run --norm layer" in out.getvalue()
        assert [each for each in ("option", "fix") if f"<b>{each.capitalize()}</b>" in page.text] == [heading]


def test_a_line_with_gaps_is_drawn_in_parts():
    chart = Chart("h", "h", "layer", [1, 2, 3, 4, 5], [Line("measured", [0.0, -1.0, None, -2.0, -3.0])])
    assert chart.svg().count("<polyline") == 2


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3.2, 0.4, True, [-3, -2, -1, 0]),
        (1, 31, True, [5, 10, 15, 20, 25, 30]),
    ],
)
def test_ticks_are_round(low, high, whole, expected):
    assert ticks(low, high, whole) == pytest.approx(expected)


SMALL = ("--layers", "3", "--width", "20", "--batch", "20", "--draws", "1")
SWEEP = """version: 1
name: s
defaults: {layers: 3, width: 20, batch: 20, act: tanh}
grid: {init: [xavier, "normal:std=0.01"], seed: [0, 1]}
checks: {healthy: true}
"""


def _data(path):
    page = Page(path.read_text(encoding="utf-8"))
    return page, page.data


def test_run_and_show_write_the_same_page(initprobe, tmp_path):
    net = ("--init", "normal:std=0.01", "--act", "tanh", *SMALL)
    initprobe("run", *net, "-o", "out", "--no-figures", "--report", "a.html")
    page, data = _data(tmp_path / "a.html")
    saved = json.loads((tmp_path / "out" / "result.json").read_text())
    expected = [layer["output"]["variance_log10"] for layer in saved["layers"]]
    assert data["charts"][0]["lines"][0]["values"] == expected
    assert "initprobe run --init normal:std=0.01 --act tanh" in page.text and "vanishing" in page.text
    assert initprobe("show", "out", "--report", "b.html").err == "wrote     b.html\n"
    assert _data(tmp_path / "b.html")[1] == data


def test_a_page_on_standard_output_is_alone_there(initprobe):
    outcome = initprobe("run", "--init", "xavier", "--act", "tanh", *SMALL, "--no-figures", "--report", "-")
    assert outcome.out.startswith("<!doctype html>") and outcome.out.rstrip().endswith("</html>")
    assert "SIGNAL SURVIVES" in outcome.err


def test_compare_writes_a_page(initprobe, tmp_path):
    initprobe("compare", "--init", "he", "--init", "xavier", "--act", "relu", *SMALL, "--report", "a.html")
    _, data = _data(tmp_path / "a.html")
    assert [run["axes"] for run in data["runs"]] == [{"init": "he", "act": "relu"}, {"init": "xavier", "act": "relu"}]


def test_sweep_check_results_and_diff(initprobe, tmp_path):
    (tmp_path / "s.yaml").write_text(SWEEP)
    assert initprobe("check", "s.yaml", "--no-figures", "--report", "check.html", "-j", "1").code == 1
    page, data = _data(tmp_path / "check.html")
    assert len(data["runs"]) == 4 and "Checks that do not hold" in page.text
    assert {run["verdict"] for run in data["runs"]} == {"survives", "vanishing output"}
    faulty = next(run for run in data["runs"] if run["verdict"] != "survives")
    assert faulty["fix"].startswith("initprobe run") and faulty["command"].startswith("initprobe run")
    (tmp_path / "held.yaml").write_text(SWEEP.partition("checks:")[0] + "checks: {elapsed_s: {min: 0}}\n")
    initprobe("check", "held.yaml", "--no-figures", "--report", "held.html", "-j", "1")
    assert "Every check holds" in _data(tmp_path / "held.html")[0].text
    initprobe("results", "initprobe-out/s", "--report", "results.html")
    assert _data(tmp_path / "results.html")[1] == data
    initprobe("diff", "initprobe-out/s", "initprobe-out/s", "--report", "diff.html")
    pairs = _data(tmp_path / "diff.html")[1]["pairs"]
    assert len(pairs) == 4 and all(pair["old"] == pair["new"] for pair in pairs)


def test_a_diff_of_two_nets_names_both(initprobe, tmp_path):
    for init in ("xavier", "he"):
        initprobe("run", "--init", init, "--act", "tanh", *SMALL, "-o", init, "--no-figures")
    assert "Xavier normal + tanh, 3 layers of 20 -> He" in initprobe("diff", "xavier", "he", "--report", "a.html").out
    (pair,) = _data(tmp_path / "a.html")[1]["pairs"]
    names = [pair[side]["name"] for side in ("old", "new")]
    assert names == ["Xavier normal + tanh, 3 layers of 20", "He normal + tanh, 3 layers of 20"]
    assert pair["name"] == " -> ".join(names)
    initprobe("diff", "he", "he", "--report", "b.html")
    (pair,) = _data(tmp_path / "b.html")[1]["pairs"]
    assert pair["old"]["name"] == "" and pair["name"] == names[1]


def test_spectrum_writes_a_page(initprobe, tmp_path):
    shape = ("--layers", "3", "--width", "20")
    initprobe("spectrum", "--init", "orthogonal", "--act", "tanh", *shape, "--report", "a.html")
    titles = [chart["title"] for chart in _data(tmp_path / "a.html")[1]["charts"]]
    assert titles == ["Singular values s of dh_l/dh_0", "Histogram of log10 s of the whole network"]


@pytest.mark.torch
def test_a_model_has_a_page(initprobe, tmp_path, monkeypatch):
    (tmp_path / "net_of_report.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 2))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    initprobe("torch", "net_of_report:make", "--input-shape", "16,8", "--no-figures", "--report", "a.html")
    page, data = _data(tmp_path / "a.html")
    assert "judged:" in page.text and len(data["histograms"]["output"]) == 2


def test_characters_that_cannot_be_seen_are_escaped(result):
    finding = Finding(
        rule="r", name="n", severity="error", layer=1, evidence="a\u202eb", cause="c\x07", fix=None, module="m\u202e"
    )
    text = run_page(result.model_copy(update={"diagnosis": (finding,), "healthy": False}), "initprobe \u202e")
    assert "\u202e" not in text and "\x07" not in text and "a\\u202eb" in text


def test_a_diff_without_a_baseline_writes_a_page(initprobe, tmp_path):
    (tmp_path / "s.yaml").write_text(SWEEP)
    assert initprobe("sweep", "s.yaml", "--no-figures", "-j", "1").code == 0
    outcome = initprobe("diff", "nothing.db", "initprobe-out/s", "--report", "-")
    assert outcome.code == 0 and outcome.out.startswith("<!doctype html>") and "no baseline yet" in outcome.err
