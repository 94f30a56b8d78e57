"""A terminal: the verdict stays in sight, long tables lose their middle, and every character can be shown."""

import io
import json
import os
import shlex
import subprocess
import sys

import pytest
from rich.text import Text

from initprobe import ProbeConfig, run
from initprobe.formatting import BLOCKS
from initprobe.reports.console import console, say
from initprobe.reports.encoding import ASCII_BLOCKS, adapt, showable
from initprobe.reports.run_table import print_result
from initprobe.reports.shortened_table import shown_layers
from initprobe.reports.tables import PlainTable, TextColumn

LONG = {"layers": 50, "width": 20, "batch": 20, "draws": 2}


class Terminal(io.StringIO):
    """A terminal without colours."""

    def isatty(self):
        return True


@pytest.fixture(scope="module")
def results():
    return {
        "faulty": run(ProbeConfig(init="normal:std=0.01", act="tanh", **LONG)),
        "healthy": run(ProbeConfig(init="orthogonal", act="linear", **LONG)),
        "short": run(ProbeConfig(init="normal:std=0.01", act="tanh", **LONG | {"layers": 4})),
    }


@pytest.fixture
def lines(monkeypatch):
    """A function that prints a result to a terminal of some height, or a pipe, and returns the lines."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")

    def show(result, height=None, verbose=False):
        there = io.StringIO() if height is None else Terminal()
        monkeypatch.setenv("LINES", str(height or 24))
        print_result(result, console(there, color=False), verbose)
        return there.getvalue().splitlines()

    return show


def numbers(text):
    """The numbers of the layers with a row, and the rows."""
    head = next(index for index, line in enumerate(text) if line.startswith("layer "))
    rows = text[head + 1 : text.index("", head)]
    return [int(line.split()[0]) for line in rows if not line.lstrip().startswith("...")], rows


@pytest.mark.parametrize("height", [None, 40])
@pytest.mark.parametrize("more", [{}, {"loss": "cross-entropy"}], ids=str)
def test_no_row_is_wider_than_the_columns(lines, more, height):
    """Numbers stay whole: columns that do not fit are left out, spreads and histograms first."""
    result = run(ProbeConfig(init="normal:std=0.01", act="sigmoid", **LONG | {"layers": 30} | more))
    text = lines(result, height)
    head = next(line for line in text if line.startswith("layer "))
    assert max(map(len, [*numbers(text)[1], head])) <= 80
    assert {"std", "var", "cos"} <= set(head.split()) and not any("…" in row for row in numbers(text)[1])


@pytest.mark.parametrize("case", ["faulty", "healthy"])
def test_a_long_table_loses_its_middle_on_a_terminal_alone(results, lines, case):
    result = results[case]
    shown, rows = numbers(lines(result, 24))
    assert shown[:3] == [1, 2, 3] and shown[-3:] == [48, 49, 50] and len(shown) < 30
    assert {finding.layer for finding in result.diagnosis} <= set(shown)
    gaps = [int(row.split()[1]) for row in rows if "layers like these: -v shows all" in row]
    assert sum(gaps) + len(shown) == 50 and gaps
    for everything in (lines(result), lines(result, 24, verbose=True), lines(result, 100)):
        assert numbers(everything)[0] == list(range(1, 51))


def test_rows_left_out_are_like_rows_shown(results):
    """Layers at which a status changes are shown."""
    result = results["faulty"]
    shown = shown_layers(result, 20)
    for a, b in zip(result.layers, result.layers[1:], strict=False):
        if b.layer not in shown:
            assert all(
                a.tensor(name).status == b.tensor(name).status
                for name in ("output", "output_gradient", "weight_gradient")
            )


def test_the_verdict_is_repeated_where_it_has_scrolled_away(results, lines):
    def times(text):
        return sum("VANISHING OUTPUT" in line for line in text)

    text = lines(results["faulty"], 24)
    assert times(text) == 2 and any(line.startswith("fix ") for line in text[-2:])
    assert times(lines(results["faulty"])) == 1
    assert times(lines(results["short"], 60)) == 1
    assert times(lines(results["short"], 50, verbose=True)) == 2
    assert lines(results["healthy"], 24)[-1].startswith("SIGNAL SURVIVES")


def test_forced_colours_make_no_terminal_of_a_pipe(results, lines, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert numbers(lines(results["faulty"]))[0] == list(range(1, 51))


def test_blocks_become_a_ramp_of_as_many_characters():
    assert showable(BLOCKS, "ascii") == ASCII_BLOCKS == showable(BLOCKS, "cp1252")
    assert showable(BLOCKS, "utf-8") == BLOCKS
    assert len(set(ASCII_BLOCKS)) == len(BLOCKS)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "shift_jis"])
def test_no_character_becomes_a_question_mark(encoding):
    text = "± ² ³ µ \N{MULTIPLICATION SIGN} → ← ≤ ≥ ∞ … ─│┌┐└┘ ▁█ é ñ 層 \N{GRINNING FACE} \N{EN DASH} \udc80"
    plain = showable(text, encoding)
    assert "?" not in plain
    assert plain.encode(encoding).decode(encoding) == plain


def test_replaced_characters_leave_json_and_csv_whole():
    """Neither a quote nor a comma comes in, and what nothing stands for is escaped as JSON escapes it."""
    every = "".join(map(chr, [*range(0x80, 0xD800), *range(0xE000, 0x11000), 0x1F600]))
    plain = showable(every, "ascii")
    assert not set('",?\n') & set(plain)
    name = "層 \N{GRINNING FACE}"
    assert json.loads(f'"{showable(name, "ascii")}"') == name


RUN = ("run", "--init", "he", "--act", "relu", "--layers", "3", "--width", "12", "--batch", "20", "--no-figures", "-v")


PLAIN = ("PYTHONIOENCODING=ascii", "PYTHONIOENCODING=cp1252", "LANG=C", "LC_ALL=C", "LC_ALL=POSIX")


@pytest.mark.parametrize("variable", PLAIN)
def test_a_run_prints_on_a_plain_terminal(variable):
    variables = dict([variable.split("=")])
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    done = subprocess.run([sys.executable, "-m", "initprobe", *RUN], env=clean | variables, capture_output=True)
    assert done.returncode == 0
    text = done.stdout.decode("ascii")
    assert "?" not in text and "@" in text


def test_streams_that_are_no_files_are_left_alone():
    stream = io.StringIO()
    adapt(stream, {"LANG": "C"})
    stream.write("±")
    assert stream.getvalue() == "±"


def test_a_small_histogram_stays_in_its_place():
    """Blanks at its end are empty bins: they are not moved before it."""
    cells = ["█▁▁▁▁▁▁", "█▁     ", "      █", "[red]"]
    made = PlainTable([TextColumn("name", ["a", "bb", "c", "d"], left=True), TextColumn("h in\n0..1", cells)], [""] * 4)
    assert made.heading == ["        h in", "name    0..1"]
    assert made.lines == ["a    █▁▁▁▁▁▁", "bb   █▁", "c          █", "d      [red]"]


@pytest.mark.parametrize("label", ["fix", "option"])
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_folded_command_is_the_same_command_for_a_shell(label, columns, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    command = (
        "initprobe run --init he:mode=fan_out --weights 'a b.npz' --residual --branch-scale '1/sqrt(2L)' --layers 50"
    )
    there = Terminal()
    say(Text(f"{label:<10}{command}"), console(there, color=False))
    text = there.getvalue().removeprefix(f"{label:<10}")
    assert shlex.split(text.replace(" \\\n", " ")) == shlex.split(command)
    assert text.count(" \\\n") == text.count("\n") - 1
    assert max(map(len, there.getvalue().splitlines())) <= columns
    code = Terminal()
    say(Text(f"{label:<10}nn.init.normal_(layer.weight, {'std, ' * 20})"), console(code, color=False))
    assert code.getvalue().count("\n") == 1  # code of a fix is not folded


def test_a_single_weight_has_no_variance_over_weights(lines):
    config = ProbeConfig(init="xavier", act="tanh", layers=3, width=1, batch=20, draws=2, optimizer="sgd")
    result = run(config, threads=1)
    text = "\n".join(lines(result, 60))
    assert "var dL/dW" not in text and result.layers[0].weight_gradient.variance == 0
    row = next(line for line in text.splitlines() if line.split()[:1] == ["1"] and "->" not in line)
    assert row.split().count("-") == 2  # of dL/dW and of dloss/dW
    assert "at the start (mean of 2 draws), chance" in text and "one step  of sgd at 0.1 (first draw): loss" in text
