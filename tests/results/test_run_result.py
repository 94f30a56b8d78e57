"""The result as a contract: JSON that reads back, a schema, no NaN, the names that were promised."""

import csv
import io
import json
import math
import re

import pytest

from initprobe import ProbeConfig, ProbeResult, load, run
from initprobe.errors import InputError
from initprobe.formatting import factor, percent, short, sparkline
from initprobe.reports.binning import shares
from initprobe.reports.csv import to_csv
from initprobe.results.base import TENSORS, Histogram


@pytest.fixture(scope="module")
def healthy():
    return run(ProbeConfig(init="xavier", act="tanh", layers=3, width=30, batch=50))


@pytest.fixture(scope="module")
def faulty():
    return run(ProbeConfig(init="normal:std=1000", act="relu", layers=20, width=30, batch=50))


def no_constant(name):
    raise AssertionError(f"{name} in JSON")


@pytest.mark.parametrize("which", ["healthy", "faulty"])
def test_json_reads_back_and_holds_no_nan(which, request):
    result = request.getfixturevalue(which)
    json.loads(result.to_json(), parse_constant=no_constant)
    assert ProbeResult.from_json(result.to_json()) == result


def test_json_has_the_documented_names(healthy):
    data = json.loads(healthy.to_json())
    assert {"schema", "config", "environment", "elapsed_s", "layers", "healthy", "diagnosis", "theory_note"} <= set(
        data
    )
    layer = data["layers"][0]
    assert {"layer", "fan_in", "fan_out", "status", "correlation", "gradient_to_weight_ratio", *TENSORS} <= set(layer)
    tensor = {"mean", "variance", "variance_sd", "variance_log10", "std", "rms", "min", "max", "percentiles"}
    tensor |= {"zero_fraction", "near_zero_fraction", "nonfinite_count", "coverage", "histogram"}
    assert all(tensor <= set(layer[name]) for name in TENSORS)
    assert {"saturated_fraction", "dead_fraction"} <= set(layer["output"])
    assert set(layer["output"]["histogram"]) == {"low", "high", "counts"}
    theory = {"preactivation_variance", "output_variance", "output_gradient_variance", "weight_gradient_variance"}
    assert theory | {"preactivation_gradient_variance", "correlation", "z"} <= set(layer["theory"])


@pytest.mark.parametrize("which", ["healthy", "faulty"])
def test_json_fits_its_schema(which, request):
    jsonschema = pytest.importorskip("jsonschema")
    schema = ProbeResult.model_json_schema(mode="serialization")
    jsonschema.validate(json.loads(request.getfixturevalue(which).to_json()), schema)


def test_statistics_agree_with_each_other(healthy):
    for layer in healthy.layers:
        for name in TENSORS:
            stats = layer.tensor(name)
            assert stats.std == pytest.approx(math.sqrt(stats.variance))
            assert stats.variance_log10 == pytest.approx(math.log10(stats.variance))
            assert stats.min <= stats.percentiles.p1 <= stats.percentiles.p50 <= stats.percentiles.p99 <= stats.max
            assert (stats.histogram.low, stats.histogram.high) == (stats.min, stats.max)
        assert sum(layer.output.histogram.counts) == 4 * 50 * 30


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', "not json"])
def test_other_json_is_refused_in_one_line(text):
    with pytest.raises(InputError, match=r"^here(: not a result of initprobe|:1: is not JSON)") as refusal:
        ProbeResult.from_json(text, "here")
    assert "\n" not in str(refusal.value)


FAULTS = {
    b'{"a": 1,\n "b": }': "2: is not JSON: expecting value",
    b"[1,\n\n2": "3: is not JSON: expecting ',' delimiter",
    b'{\n"\xff": 1}': "2: is not UTF-8 text",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_of_syntax_reads_alike_from_all_readers(text, tmp_path, initprobe):
    """For a result, for both sides of `diff`, for known findings, and from Python."""
    (tmp_path / "f.json").write_bytes(text)
    run = ("run", "--init", "he", "--act", "relu", "--known", "f.json")
    for command in (("show", "f.json"), ("diff", "f.json", "f.json"), run):
        assert initprobe(*command).err == f"Error: f.json:{FAULTS[text]}\n"
    for read in (load, lambda path: ProbeResult.from_json(text, str(path))):
        with pytest.raises(InputError, match=re.escape(f"f.json:{FAULTS[text]}")):
            read(tmp_path / "f.json")


@pytest.mark.parametrize("which", ["healthy", "faulty"])
def test_csv_has_a_row_per_layer_and_fixed_columns(which, request, healthy):
    result = request.getfixturevalue(which)
    rows = list(csv.DictReader(io.StringIO(to_csv(result))))
    assert len(rows) == len(result.layers)
    assert list(rows[0]) == list(csv.DictReader(io.StringIO(to_csv(healthy))).fieldnames)
    assert float(rows[0]["output.variance"]) == result.layers[0].output.variance
    assert "output.percentiles.p50" in rows[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0517, "0.0517"),
        (0.9996, "1.00"),
        (72.16, "72.2"),
        (1.84e-13, "1.8e-13"),
        (0, "0"),
        (None, "-"),
        (-0.25, "-0.250"),
        (99949, "99949"),
        (100000.0, "1.0e5"),
        (999.6, "1000"),
        (1.0, "1.00"),
    ],
)
def test_short_numbers_are_written(value, text):
    assert short(value) == text


def test_a_number_no_float_holds_is_printed_from_its_logarithm():
    assert short(None, -401.5) == "3.2e-402"


def test_short_words_are_chosen():
    assert (factor(2.0), factor(0.25)) == ("x2.00", "x0.250")
    assert (percent(None), percent(1e-9), percent(1.0), percent(0.036)) == ("-", "<0.1", "100", "3.6")
    assert sparkline([0, 1e-3, 0.5, 1]) == " ▁▄█"


def test_shares_are_kept_when_bins_change():
    histogram = Histogram(low=-1, high=1, counts=(1, 2, 3, 4))
    assert shares(histogram, [-1, 0, 1]).tolist() == pytest.approx([0.3, 0.7])
    assert shares(histogram, [-9, 9]).tolist() == pytest.approx([1])
    spike = Histogram(low=0, high=0, counts=(7,))
    assert shares(spike, [-1, -0.1, 0.1, 1]).tolist() == [0, 1, 0]


def test_older_results_of_models_keep_their_void_parameters(healthy):
    """They have them in `config`, where only the experiment belongs."""
    data = json.loads(healthy.to_json())
    data["config"] |= {"source": "torch", "void": {"fc": "NaN in weight"}}
    del data["facts"]
    result = ProbeResult.from_json(json.dumps(data))
    assert result.facts.void == {"fc": "NaN in weight"} and "void" not in result.config
    assert ProbeResult.from_json(result.to_json()) == result
