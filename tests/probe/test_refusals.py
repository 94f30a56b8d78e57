"""A run that cannot fit is refused at once. The error names what it needs and the option that lowers it."""

import re
import time

import pytest

from initprobe.cli.parameters import in_options
from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import MemoryLimitError
from initprobe.probe import memory
from initprobe.probe.experiment import prepare
from initprobe.probe.memory_parts import parts

ABSURD = {
    "layers": ({"layers": 100_000}, "lower `layers`"),
    "width": ({"layers": 3, "width": 10**7}, "lower `width`"),
    "width of many layers": ({"layers": 50, "width": 10**6, "batch": 2}, "lower `width` or `layers`"),
    "widths": ({"widths": (10, 10**7, 10**6), "batch": 2}, "lower `widths`"),
    "input width": ({"width": 1000, "input_width": 10**7, "batch": 2}, "lower `input_width`"),
    "few samples of many features": (
        {"layers": 2, "width": 1, "input_width": 10**7, "batch": 19},
        "lower `input_width`",
    ),
    "batch": ({"batch": 10**6}, "lower `batch` to 10000; with `batches` at 100, as many samples are measured"),
    "batch whose statistics fill the memory too": ({"batch": 10**9}, "lower `batch`"),
    "batches": ({"batches": 10**6}, "lower `batches`"),
    "batches of many draws": ({"batches": 10**6, "draws": 100}, "lower `batches`"),
    "draws": ({"draws": 10**6}, "lower `draws`"),
    "draws of deep nets": ({"layers": 15_000, "width": 5, "batch": 5, "draws": 10_000}, "lower `draws`"),
    "depth of some draws": ({"layers": 50_000, "width": 5, "batch": 5, "draws": 100}, "lower `layers`"),
}


@pytest.mark.parametrize("case", ABSURD)
def test_absurd_shapes_are_refused_at_once(case, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 10**9)
    fields, fix = ABSURD[case]
    started = time.process_time()
    with pytest.raises(MemoryLimitError) as refusal:
        prepare(ProbeConfig(init="xavier", act="tanh", **fields))
    assert time.process_time() - started < 1
    assert str(refusal.value).endswith(fix)
    assert len(str(refusal.value)) < 300


def test_the_batches_that_the_message_names_fit(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 10**9)
    with pytest.raises(MemoryLimitError) as refusal:
        prepare(ProbeConfig(init="xavier", act="tanh", batch=10**6))
    batch, batches = re.search(r"to (\d+);.* at (\d+),", str(refusal.value)).groups()
    prepare(ProbeConfig(init="xavier", act="tanh", batch=int(batch), batches=int(batches)))


@pytest.mark.parametrize(
    "fields", [{"layers": 5000, "width": 10, "batch": 10}, {"width": 3000}, {"batch": 30_000}, {"draws": 10**5}]
)
def test_the_parts_add_up_and_the_message_names_the_largest(fields, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**8)
    with pytest.raises(MemoryLimitError) as refusal:
        prepare(ProbeConfig(init="xavier", act="tanh", **fields))
    words = re.search(r"(?:needs|alone need) (.*?)(?: \((.*)\))?, and 0.1 GB is free", str(refusal.value))
    if words[2]:
        sizes = [float(size) for size in re.findall(r"([\d.e-]+) GB", words[2].replace(" MB", "e-3 GB"))]
        # Each is rounded to a tenth, and what is below half a percent is not said.
        assert sum(sizes) == pytest.approx(float(words[1].split()[0]), abs=0.05 * (len(sizes) + 1) + 0.02 * sum(sizes))
        assert sizes[0] == max(sizes)


def test_more_draws_and_threads_take_more():
    config = ProbeConfig(init="xavier", act="tanh")
    sizes = (500,) * 11
    one_draw, many_draws = (parts(config.model_copy(update={"draws": draws}), sizes, 1000) for draws in (1, 10**6))
    assert many_draws.draws == 10**6 * one_draw.draws
    assert many_draws.weights == one_draw.weights
    assert parts(config, sizes, 1000, threads=4).total > parts(config, sizes, 1000, threads=1).total


def test_the_command_line_names_options_instead_of_arguments():
    error = MemoryLimitError("too large; lower `input_width` or `foo`", field="width")
    options = {"width": "--width", "input_width": "--input-width"}
    assert str(error) == "width: too large; lower `input_width` or `foo`"
    assert str(in_options(error, options)) == "--width: too large; lower --input-width or `foo`"
    assert (
        str(in_options(error.at(file="a.yaml", line=3), options))
        == "a.yaml:3: width: too large; lower `input_width` or `foo`"
    )
