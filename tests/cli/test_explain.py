"""What is typed wrong is answered with what may be meant; and every name that is shown is explained."""

import itertools

import click
import pytest
from click.testing import CliRunner

from initprobe import ProbeConfig, ProbeResult, run
from initprobe.cli.app import COMMANDS, cli
from initprobe.diagnosis.diagnose import RULES
from initprobe.diagnosis.width_verdict import WIDTH_RULES
from initprobe.reports import (
    comparison,
    contract_table,
    diff_table,
    gain_table,
    html_run,
    html_runs,
    html_spectrum,
    phase_table,
    spectrum_table,
)
from initprobe.reports.csv import csv_names
from initprobe.reports.figures.run import draw, kinds
from initprobe.reports.glossary import WORDS
from initprobe.reports.json_names import json_names, other_names
from initprobe.reports.narrative import course
from initprobe.reports.run_table import _columns
from initprobe.reports.sweep_table import COLUMNS
from initprobe.reports.tensor_tables import _MODULE_COLUMNS
from initprobe.results.base import TENSOR_SYMBOLS
from initprobe.results.named_numbers import LAYER_NUMBERS, RATES


def call(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_command_gets_the_nearest_one(name):
    for wrong in (name[:-1], name[0] + name[2:], name[1] + name[0] + name[2:], f"{name}s"):
        if wrong not in COMMANDS and wrong.isalpha():
            done = call(wrong, "--init", "he")
            assert done.exit_code == 2
            near = done.output.rpartition("Did you mean ")[2].strip(" ?'\n")
            assert near in COMMANDS and (near == name or near[:2] == wrong[:2])


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("rn",), "run"),
        (("comapre",), "compare"),
        (("list", "initialisers"), "initializers"),
        (("list", "activation"), "activations"),
        (("run", "--init", "he", "--act", "relu", "--fail-on", "eror"), "error"),
        (("run", "--init", "he", "--act", "relu", "--layer", "3"), "--layers"),
        (("recommend", "--act", "relu", "--layers", "3", "--goal", "balansed"), "balanced"),
    ],
)
def test_a_misspelt_name_or_option_gets_the_nearest_one(words, meant):
    done = call(*words)
    assert done.exit_code == 2 and meant in done.output.splitlines()[-1]
    assert ".." not in done.output.splitlines()[-1].replace("...", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("colapse", "Did you mean 'collapse'?"),
        ("chi_2", "Did you mean"),
        ("output.varianse", "Did you mean 'output.variance'?"),
        ("dying neurons", "Did you mean"),
        ("neighbour", "chaotic"),
        ("zzzz", "initprobe list"),
    ],
)
def test_an_unknown_topic_gets_the_nearest_one(name, words):
    with pytest.raises(KeyError) as refused:
        CliRunner().invoke(cli, ["explain", name], standalone_mode=False, catch_exceptions=False)
    assert words in str(refused.value) and "\n" not in str(refused.value)


TOPICS = [
    "dead relu", "dead ReLUs", "dying relu", "collapse", "rank collapse", "vanishing gradients", "exploding", "q", "q*",
    "chi_1", "chi1", "z", "h", "phi", "xi", "cosine", "edge of chaos", "saturation", "signal", "gradient", "unit",
    "draw", "finding", "verdict", "branch", "fan_in", "sigma_w", "length map", "mean field",
    "depth scale", "update ratio",
]  # fmt: skip


@pytest.mark.parametrize("name", TOPICS)
def test_every_topic_is_explained(name):
    done = call("explain", name)
    assert done.exit_code == 0 and "meaning" in done.output


def headings():
    """Every heading of the tables of all commands and of the HTML pages."""
    small = {"layers": 2, "width": 9, "batch": 12, "draws": 2}
    for more in ({}, {"act": "tanh"}, {"loss": "ce", "train_steps": 1}, {"init": "autoencoder"}):
        result = run(ProbeConfig(**{"init": "he", "act": "relu"} | small | more))
        yield from (column.heading for column in _columns(result, verbose=True))
        yield from (column.heading for column in html_run._columns(result))
        yield from (label for label, _ in course(result))
    for table in (comparison, contract_table, gain_table, phase_table, spectrum_table, diff_table):
        yield from table._HEADINGS
    yield from (column.heading for column in COLUMNS.values())
    yield from (heading for _, heading in (*html_run._GENERAL, *html_run._GRADIENT, *html_run._LAST))
    yield from (heading for _, heading in html_spectrum._NUMBERS)
    yield from (number.label for number in html_runs._NUMBERS)
    yield from _MODULE_COLUMNS
    yield from ["mean", "var", "+-%", "std", "rms", "min", "max", "zero%", "~0%", "bad"]
    yield from ["p1", "p5", "p25", "p50", "p75", "p95", "p99"]
    yield from ["initializer", "phase", "breach", "number", "rule", "GFLOP", "MB", "from", "to", "branch\n/stream"]
    yield from ["mean\ngate", "memory\nsteps", "drawn by", "sampled", "branches", "gates", "q, k, v", "lost", "note"]


def shown_in_figures():
    """The words of the figures of a net: symbols, legends and notes, without numbers."""
    for init, act in (("he", "relu"), ("normal:std=100", "tanh"), ("autoencoder", "sigmoid")):
        result = run(ProbeConfig(init=init, act=act, layers=3, width=20, batch=20, draws=2), threads=1)
        for kind in kinds(result):
            figure = draw(result, kind)
            legends = [axes.get_legend() for axes in figure.axes]
            yield from (text.get_text() for legend in legends if legend for text in legend.get_texts())
            yield from (axes.get_ylabel() for axes in figure.axes)
    yield from TENSOR_SYMBOLS.values()
    yield from ("sigma_w", "sigma_b", "order", "chaos", "edge of chaos", "q*", "xi_c", "exactly 0", "peak", "outside")
    yield from ("E[phi^2]/q", "E[phi'^2]", "means, finite width", "q(1 - c)", "error", "warning", "info", "survives")


def test_every_term_of_figures_and_verdicts_is_explained():
    words = {words.partition(" = 0")[0] for words in shown_in_figures() if words}
    assert {"Var(h)", "theory", "theory +-2 SD", "best constant", "share per bin", "variance"} <= words
    assert [word for word in sorted(words) if call("explain", word).exit_code] == []


@pytest.mark.parametrize("heading", sorted({" ".join(heading.split()) for heading in headings()}))
def test_every_column_is_explained(heading):
    """Whole, or by its second line, which names the column below a group."""
    parts = heading.split()
    tries = [heading, *(" ".join(parts[start:]) for start in range(1, len(parts))), " ".join(parts[:-1])]
    explained = [name for name in tries if name and call("explain", name).exit_code == 0]
    assert explained, heading


def test_every_name_of_json_and_csv_is_explained():
    names = {*json_names(), *csv_names(), *LAYER_NUMBERS, *RATES, *ProbeResult.model_fields}
    names -= {"schema_version", "layers", "verdict"}
    meanings = {**other_names(), **json_names()}
    assert all(meanings[name] and all(meanings[name]) for name in names)
    for name in itertools.islice(sorted(names), 0, None, 12):
        done = call("explain", name)
        assert done.exit_code == 0 and "meaning" in done.output, name
    for name in ("variance", "severity", "slope_se", "isometric", "formats.float16.signal", "schema_version"):
        assert call("explain", name).exit_code == 0


def test_references_of_the_glossary_exist():
    for word in WORDS.values():
        assert not word.json or word.json in json_names(), word
        for name in word.see:
            assert call("explain", name).exit_code == 0, (word.name, name)


def test_explanations_are_sentences_of_at_most_twenty_words():
    for word in WORDS.values():
        assert word.meaning.endswith(".")
        for sentence in word.meaning.removesuffix(".").split(". "):
            assert len(sentence.split()) <= 20 or "chi_1" in word.name, sentence


def test_every_rule_is_explained():
    for name in RULES:
        assert f"{name}, rule" in call("explain", name).output
    for name, meaning in WIDTH_RULES.items():
        shown = call("explain", name).output
        assert f"{name}, rule of initprobe width" in shown and meaning in shown


def test_the_summary_of_every_command_fits_80_columns():
    lines = CliRunner().invoke(cli, ["--help"], terminal_width=80).output.splitlines()
    ctx = click.Context(cli)
    for name in COMMANDS:
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        summary = cli.get_command(ctx, name).help.partition(".")[0]
        assert len(line) <= 80 and summary.split()[-1] in line and not line.endswith("t..."), line
