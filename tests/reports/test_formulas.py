"""Words from data are drawn unchanged: a `$` begins no formula in any figure."""

import io
import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import initprobe as package
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.reports.figures.comparison import draw_comparison
from initprobe.reports.figures.run import kinds
from initprobe.results.run import ProbeResult

# No formula: matplotlib would refuse each. The last has a control character too.
HOSTILE = ("$x^$", "$\\frac{$", "a $_ and ^$ b", "$\\undefined$", "$${$$", "$x^\x1b$")
NET = {"init": "he", "act": "relu", "layers": 3, "width": 5, "batch": 8, "draws": 1}
ARGS = ("--act", "relu", "--layers", 3, "--width", 5, "--batch", 8, "--draws", 1)
ALL = {"init": "lsuv", "loss": "cross-entropy", "train_steps": 2}


@pytest.fixture
def drawn(monkeypatch):
    """The texts of each figure after drawing; a text that matplotlib reads as a formula is an error."""
    words, draw = set(), Figure.draw

    def look(self, renderer):
        draw(self, renderer)
        for text in self.findobj(Text):
            words.add(text.get_text())
            if text.get_parse_math() and text.get_text().count("$") > 1:
                assert text.get_text().startswith("$10^{")

    monkeypatch.setattr(Figure, "draw", look)
    return words


def hostile(title):
    """A result with hostile text in each of its texts."""
    result = json.loads(package.run(package.ProbeConfig(**NET | ALL)).to_json())
    result["description"] = {
        name: title if isinstance(value, str) else value for name, value in result["description"].items()
    }
    result["config"] |= {"init": title, "act": title, "weights": title, "input": title}
    return result


@pytest.mark.parametrize("title", HOSTILE)
def test_a_figure_of_a_result_from_anywhere(title, drawn):
    result = ProbeResult.model_validate_json(json.dumps(hostile(title)))
    for kind in kinds(result) if title == HOSTILE[0] else ("summary",):
        result.figure(kind).savefig(io.BytesIO(), format="svg", bbox_inches="tight")
    draw_comparison([result, result]).savefig(io.BytesIO(), format="png")
    assert result._repr_html_()
    assert any(title.replace("\x1b", "\\x1b") in word for word in drawn)


def test_show_draws_it(initprobe, tmp_path, drawn):
    (tmp_path / "a.json").write_text(json.dumps(hostile(HOSTILE[0])))
    shown = initprobe("show", "a.json", "-o", "out", "--format", "png,svg,pdf")
    assert shown.code == 0, shown.err
    assert b"%PDF" in (tmp_path / "out/summary.pdf").read_bytes()


@pytest.fixture
def data(tmp_path):
    """Data files with hostile names."""
    names = [f"{title}.npy" for title in ("$x^$", "$y_$", "$_^$")]
    for name in names:
        np.save(tmp_path / name, np.random.default_rng(0).normal(size=(8, 5)))
    return names


def test_files_of_any_name(initprobe, data, drawn):
    weights = "$w^$.npz"
    options = ("--input", data[0], "--no-figures", "--save-weights", weights)
    assert initprobe("run", "--init", "he", *ARGS, *options).code == 0
    for command in (
        ("run", "--init", "he", *ARGS, "--input", data[0], "-o", "$o^$"),
        ("run", "--weights", weights, "--act", "relu", "-o", "out"),
        ("compare", "--init", "he", "--init", "xavier", *ARGS, "--input", data[0], "--figure", "$c^$.png"),
        ("spectrum", "--init", "he", *ARGS[:-4], "--input", data[0], "--figure", "$s^$.png", "--draws", 1),
    ):
        done = initprobe(*command)
        assert done.code == 0, done.err
    assert any("$x^$" in word for word in drawn)


def test_sweeps_of_any_name_over_any_values(initprobe, data, tmp_path, drawn):
    text = f"""version: 1
name: n
defaults: {json.dumps(NET)}
grid:
  input: {json.dumps(data)}
  sigma_w: [1, 2]
  sigma_b: [0, 0.1]
figures:
- {{kind: depth}}
- {{kind: histograms, over: input}}
- {{kind: heatmap, x: sigma_w, y: sigma_b}}
- {{kind: summary}}
""".replace('"init": "he", ', "")
    (tmp_path / "$f^$.yaml").write_text(text)
    done = initprobe("sweep", "$f^$.yaml", "-j", 1, "-o", "out", "--format", "svg")
    assert done.code == 0, done.err
    assert {word for word in drawn if "$x^$" in word}


def test_activations_of_any_name(drawn):
    own = ACTIVATIONS["tanh"].__class__(**vars(ACTIVATIONS["tanh"]) | {"name": "$t^$"})
    result = package.run(package.ProbeConfig(**NET | {"act": own, "init": "lecun"}))
    result.figure().savefig(io.BytesIO())
    assert any("$t^$" in word for word in drawn)


def test_networks_of_torch(torch, tmp_path, monkeypatch, drawn):
    from initprobe.torch import probe

    kind = type("$m^$", (torch.nn.Sequential,), {})
    net = kind()
    for number in range(2):
        net.add_module(f"$l^{number}$", torch.nn.Linear(5, 5))
        net.add_module(f"$a_{number}$", torch.nn.Tanh())
    result = probe(net, torch.randn(8, 5))
    result.figure().savefig(io.BytesIO())
    for name in kinds(result):
        result.figure(name).savefig(io.BytesIO())
    assert any("$m^$" in word for word in drawn)
