"""The verdict's arithmetic gives the rate that follows it, over the registries, shapes and draws."""

import math
import re

import pytest

from initprobe import ACTIVATIONS, INITIALIZERS, ProbeConfig
from initprobe.diagnosis.arithmetic import steady_span
from initprobe.diagnosis.trends import trend
from initprobe.probe.run import measured

NUMBER = r"-?\d*\.?\d+(?:e-?\d+)?"
EVIDENCE = re.compile(
    rf"(?P<product>.*) = (?P<total>{NUMBER}): (?:each layer|each of layers \d+ to \d+|layer \d+) "
    rf"(?:keeps (?P<percent>{NUMBER})%|multiplies .* by (?P<factor>{NUMBER}))"
)


def rounding(text):
    """The largest relative error of a printed number."""
    digits = text.lstrip("-").partition("e")[0]
    decimals = len(digits.partition(".")[2])
    return 0.5 * 10**-decimals / abs(float(digits))


def worked_out(product):
    """A printed product, and the largest rounding error of its log."""
    value, error = 0.0, 0.0
    text = re.sub(r" \((?:E\[[^\]]*\][^)]*|[^()]*(?:\([^()]*\)[^()]*)?[a-z][^()]*)\)(?= x|$)", "", product)
    squared = re.fullmatch(rf"\((\d+) x ({NUMBER})\)\^2(.*)", text)
    if squared:
        value, error = 2 * math.log(int(squared[1]) * float(squared[2])), 2 * rounding(squared[2])
        text = squared[3].removeprefix(" x ")
    for part in filter(None, text.split(" x ")):
        base, power, _ = part.partition("^2")
        times = 2 if power else 1
        value += times * math.log(abs(float(base)))
        error += times * (0 if re.fullmatch(r"\d+", base) and not power else rounding(base))
    return value, error


def trends(result):
    trends = [f for f in result.diagnosis if f.rule.endswith(("-output", "-gradient"))]
    return [f for f in trends if re.search("keeps|multiplies", f.evidence)]


def checked(result):
    """Findings with arithmetic; each is compared with its rate."""
    count = 0
    for finding in trends(result):
        match = EVIDENCE.match(finding.evidence)
        if match is None:
            assert re.match(r"each (layer|of layers)|layer \d", finding.evidence), finding.evidence
            continue
        count += 1
        rate = match["percent"] or match["factor"]
        said = math.log(float(rate) / (100 if match["percent"] else 1))
        total = math.log(float(match["total"]))
        product, error = worked_out(match["product"])
        # Two factors within half a percent of 1 may be left out.
        slack = 2 * math.log(1.005)
        assert abs(total - said) <= slack + rounding(rate) + rounding(match["total"]), finding.evidence
        assert abs(product - total) <= error + rounding(match["total"]) + 1e-9, finding.evidence
    return count


SMALL = {"layers": 12, "width": 60, "batch": 100, "draws": 2}


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_the_arithmetic_holds_over_the_activations(act):
    count = 0
    for init in ("xavier", "normal:std=0.01", "normal:std=1"):
        count += checked(measured(ProbeConfig(init=init, act=act, **SMALL)))
    assert count


@pytest.mark.parametrize("init", [record.example for record in INITIALIZERS.values() if record.fit is None])
def test_the_arithmetic_holds_over_the_initializers(init):
    shape = {"layers": 12, "batch": 100, "draws": 2, "width": 50}
    for act in ("relu", "sigmoid"):
        if init.startswith("critical") and act == "sigmoid":
            continue  # it has no edge of chaos
        checked(measured(ProbeConfig(init=init, act=act, **shape)))


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 1},
        {"width": 2, "draws": 1},
        {"width": None, "widths": (90, 70, 60, 50, 40, 30, 20, 10)},
        {"width": None, "widths": tuple(range(10, 90, 10))},
        {"input": "digits", "width": 30},
        {"bias_init": "normal:std=0.5", "init": "normal:std=1"},
        {"init": "normal:std=1e-8", "dtype": "float64"},
        {"init": "normal:std=1e8", "dtype": "float64"},
        {"init": "uniform:low=0,high=0.1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_arithmetic_holds_over_shapes(fields, seed):
    fields = {**SMALL, "init": "xavier", **fields, "seed": seed}
    fields = {name: value for name, value in fields.items() if name != "layers" or "widths" not in fields}
    checked(measured(ProbeConfig(act="relu", **fields)))


def test_the_factors_have_their_names():
    result = measured(ProbeConfig(init="xavier", act="relu", layers=10, width=300, batch=300))
    forward, back = (f.evidence for f in trends(result))
    assert re.match(r"300 x 0\.057\d\^2 x 0\.\d+ \(E\[phi\^2\]/q\)", forward)
    assert re.match(r"300 x 0\.057\d\^2 x 0\.\d+ \(E\[phi'\^2\]\)", back)
    for text in (forward, back):  # both are 1/2 in theory; at this width chance moves them by a few percent
        factor = float(re.search(r"x (0\.\d+) \(E", text)[1])
        assert factor == pytest.approx(0.5, rel=5 * math.sqrt(5 / 300 / 10))


def test_the_number_that_decides_sigmoid_is_its_slope():
    result = measured(ProbeConfig(init="xavier", act="sigmoid", layers=10, width=200, batch=100))
    (evidence,) = [f.evidence for f in trends(result)]
    assert "(E[phi'^2])" in evidence and re.search(r"x 0\.0[56]\d* \(E", evidence)


def test_no_product_where_it_would_explain_nothing():
    """At width 1 draws differ by orders of magnitude, and averages of products are no products of averages."""
    for finding in trends(measured(ProbeConfig(init="xavier", act="relu", layers=12, width=1))):
        rest = re.search(rf"x ({NUMBER}) \([a-z, ]*finite width\)", finding.evidence)
        assert rest is None or 0.5 <= float(rest[1]) <= 2


@pytest.mark.parametrize("profile", [[0, -1, -2, -3, -4], [0, 1, 3, 9], [0, -5, -6, -7, -8], [0, 2], [3]])
def test_the_span_is_that_of_the_rate(profile):
    start, end = steady_span(profile)
    if end > start:
        assert (profile[end] - profile[start]) / (end - start) == pytest.approx(trend(profile).steady)


def on_average(result, tensor, span):
    first, last = span
    logs = [result.layers[number - 1].tensor(tensor).variance_log10 for number in (first, last)]
    change = (logs[1] - logs[0]) / (last - first)
    return 10 ** (change if tensor == "output" else -change)


@pytest.mark.parametrize(
    ("shape", "named"),
    [({"widths": (400, 300, 200, 150, 100, 60, 40)}, True), ({"layers": 9, "width": 90}, False)],
    ids=["tapering", "level"],
)
def test_a_rate_names_its_layers(shape, named):
    """`each layer` is the rate of the whole net, as in the summary; for another rate the layers are named."""
    result = measured(ProbeConfig(init="normal:std=0.02", act="relu", batch=64, **shape))
    assert trends(result)
    for finding in trends(result):
        tensor = "output" if finding.rule.endswith("output") else "output_gradient"
        match = re.search(r"each of layers (\d+) to (\d+)", finding.evidence)
        assert bool(match) == named
        span = (int(match[1]) - 1, int(match[2])) if match else (1, len(result.layers))
        rate = float(re.search(rf"keeps ({NUMBER})%", finding.evidence)[1]) / 100
        assert rate == pytest.approx(on_average(result, tensor, span), rel=0.006), finding.evidence
