"""Gaussian integrals against tables, closed forms, identities, a second arithmetic and random numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy import special

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.record import Activation
from initprobe.activations.rectifiers import SELU_ALPHA, SELU_SCALE, celu, elu, leaky_relu, selu, softplus
from initprobe.meanfield import moments as moments_module
from initprobe.meanfield.moments import Moments, histogram, lookup, moments

# The accuracy promised, and what is left of numbers that cancel: a few rounding errors of their parts.
TOLERANCE = 1e-12
ROUNDING = 1e-15
LENGTHS = [1e-6, 1e-4, 1e-2, 0.3, 1.0, 7.0, 1e2, 1e4, 1e6]

# E[phi], E[phi^2], Var(phi), E[phi^4], E[phi'], E[phi'^2], E[phi'^4], E[phi phi' z] at q = 1, computed with 40 digits
# in mpmath, the integral split at the kinks.
AT_ONE = {
    "linear": (0.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 1.0),
    "sigmoid": (
        0.5, 0.293379035858093, 0.04337903585809296, 0.1315943130663803,
        0.206620964141907, 0.04483624135019437, 0.002285651286678948, 0.0311982419796296,
    ),
    "tanh": (
        0.0, 0.3942944903978412, 0.3942944903978412, 0.2529918832439506,
        0.6057055096021588, 0.4644029024482682, 0.3415092073166635, 0.1817976881404871,
    ),
    "hardtanh": (
        0.0, 0.5160585509617133, 0.5160585509617133, 0.429613188121025,
        0.6826894921370859, 0.6826894921370859, 0.6826894921370859, 0.1987480430987992,
    ),
    "relu": (0.3989422804014327, 0.5, 0.3408450569081047, 1.5, 0.5, 0.5, 0.5, 0.5),
    "leaky_relu": (0.3949528575974184, 0.50005, 0.3440622402756334, 1.500000015, 0.505, 0.50005, 0.500000005, 0.50005),
    "elu": (
        0.160520572266556, 0.6449454174929239, 0.6191785633721412, 1.57065368775825,
        0.7615782918651234, 0.6681020012231706, 0.5944106413019689, 0.5746257105812178,
    ),
    "selu": (
        0.0, 1.0, 1.0, 2.503140450615408,
        0.9852311161857964, 1.071574992455799, 1.511352902387469, 0.7826478831968128,
    ),
    "gelu": (
        0.2820947917738781, 0.4252214825702987, 0.345644011024351, 1.304679097217132,
        0.5, 0.4558508656492871, 0.4339558388563377, 0.4864802487282756,
    ),
    "gelu_tanh": (
        0.2820385880787887, 0.4251937110330995, 0.3456479458676228, 1.304910039472344,
        0.5, 0.4558178459629506, 0.4339013381253018, 0.4865484263153861,
    ),
    "silu": (
        0.206620964141907, 0.3557755198173522, 0.3130832969944209, 0.9191644112558547,
        0.5, 0.3794823516328293, 0.2865805768796148, 0.4171802591317189,
    ),
    "softplus": (
        0.8060591833474398, 0.9212459088593003, 0.2715145018005587, 2.337752153831956,
        0.5, 0.293379035858093, 0.1315943130663803, 0.4533019724796301,
    ),
    "softsign": (
        0.0, 0.1830140212665475, 0.1830140212665475, 0.05318154110054893,
        0.4127551003391832, 0.2276713404221825, 0.1107415008340067, 0.08724489966081679,
    ),
    "mish": (
        0.2404038883747914, 0.4523421923758828, 0.3945481628301636, 1.299176069763513,
        0.5637475572883807, 0.4790837583739698, 0.4217363817466686, 0.486873459932142,
    ),
    "erf": (
        0.0, 0.46455905439754, 0.46455905439754, 0.3366367348465084,
        0.6514700158705599, 0.5694100347337416, 0.5403796460924681, 0.1898033449112472,
    ),
    "sin": (
        0.0, 0.4323323583816937, 0.4323323583816937, 0.3073742912101815,
        0.6065306597126334, 0.5676676416183063, 0.4427095744467942, 0.1353352832366127,
    ),
}  # fmt: skip

every = pytest.mark.parametrize("act", list(ACTIVATIONS.values()), ids=lambda act: act.name)


def near(want: float, size: float) -> object:
    return pytest.approx(want, rel=TOLERANCE, abs=ROUNDING * size)


@pytest.mark.parametrize("name", AT_ONE)
def test_table_at_q_1(name):
    got = moments(ACTIVATIONS[name], 1.0)
    fourth, slope_fourth = got.kurtosis * got.square**2, got.slope_kurtosis * got.slope_square**2
    values = (got.mean, got.square, got.variance, fourth, got.slope, got.slope_square, slope_fourth, got.growth)
    for value, want in zip(values, AT_ONE[name], strict=True):
        assert float(value) == near(want, math.sqrt(got.square))


def _erfcx_above(order: int, x: float) -> float:
    """`erfcx(x)` without the terms of its Taylor series below `order`."""
    if x < 1.5:
        return math.fsum((-x) ** k / math.gamma(k / 2 + 1) for k in range(order, 120))
    return float(special.erfcx(x)) - math.fsum((-x) ** k / math.gamma(k / 2 + 1) for k in range(order))


def _elu(q: float, scale: float = 1.0, alpha: float = 1.0) -> tuple[float, float, float]:
    """`e^(k^2 q/2) Phi(-k s) = erfcx(k s/sqrt 2)/2`; the first terms of its series cancel between the parts."""
    s = math.sqrt(q)
    half, twice = s / math.sqrt(2), s * math.sqrt(2)
    mean = s / math.sqrt(2 * math.pi) * (1 - alpha) + alpha / 2 * _erfcx_above(2, half)
    square = q / 2 + alpha**2 / 2 * (_erfcx_above(2, twice) - 2 * _erfcx_above(2, half))
    slopes = 0.5 + alpha**2 / 2 * float(special.erfcx(twice))
    return scale * mean, scale**2 * square, scale**2 * slopes


def _hardtanh(q: float) -> tuple[float, float, float]:
    t = 1 / math.sqrt(q)
    # P(3/2, t^2/2) = 2 Phi(t) - 1 - 2 t pdf(t), whose terms cancel for small t.
    return 0.0, q * float(special.gammainc(1.5, t * t / 2)) + math.erfc(t / math.sqrt(2)), math.erf(t / math.sqrt(2))


def _gelu(q: float) -> tuple[float, float, float]:
    angle = math.asin(q / (1 + q)) / (2 * math.pi)
    root = math.sqrt(1 + 2 * q)
    mean = q / math.sqrt(2 * math.pi * (1 + q))
    square = q / 4 + q * angle + q * q / (math.pi * (1 + q) * root)
    return mean, square, 0.25 + angle + q / (math.pi * (1 + q) * root) + q / (2 * math.pi * root**3)


def _leaky(a: float):
    return lambda q: ((1 - a) * math.sqrt(q / (2 * math.pi)), q * (1 + a * a) / 2, (1 + a * a) / 2)


CLOSED = [
    (ACTIVATIONS["linear"], lambda q: (0.0, q, 1.0)),
    (ACTIVATIONS["relu"], _leaky(0.0)),
    (leaky_relu(0.2), _leaky(0.2)),
    (
        ACTIVATIONS["erf"],
        lambda q: (0.0, 2 / math.pi * math.asin(2 * q / (1 + 2 * q)), 4 / math.pi / math.sqrt(1 + 4 * q)),
    ),
    (ACTIVATIONS["sin"], lambda q: (0.0, -math.expm1(-2 * q) / 2, (1 + math.exp(-2 * q)) / 2)),
    (ACTIVATIONS["hardtanh"], _hardtanh),
    (elu(), _elu),
    (elu(0.5), lambda q: _elu(q, alpha=0.5)),
    (selu(), lambda q: _elu(q, SELU_SCALE, SELU_ALPHA)),
    (ACTIVATIONS["gelu"], _gelu),
]


@pytest.mark.parametrize("q", LENGTHS)
@pytest.mark.parametrize("act, closed", CLOSED, ids=[f"{act.name}-{i}" for i, (act, _) in enumerate(CLOSED)])
def test_moments_agree_with_closed_forms(act, closed, q):
    got, (mean, square, slopes) = moments(act, q), closed(q)
    assert float(got.mean) == near(mean, math.sqrt(square))
    assert float(got.square) == near(square, 0)
    assert float(got.slope_square) == near(slopes, 0)


@pytest.mark.parametrize("q", LENGTHS)
def test_slope_of_softplus_is_sigmoid(q):
    assert float(moments(ACTIVATIONS["softplus"], q).slope_square) == near(
        float(moments(ACTIVATIONS["sigmoid"], q).square), 0
    )


@pytest.mark.parametrize("q", LENGTHS)
@pytest.mark.parametrize("sharp, plain, size", [(softplus(200), softplus(), 1 / 200), (celu(0.01), celu(), 0.01)])
def test_sharp_features_are_resolved(sharp, plain, size, q):
    """`size phi(x / size)`: the moments of the sharp one are those of the plain one, scaled."""
    got, want = moments(sharp, q), moments(plain, q / size**2)
    assert float(got.square) == near(float(want.square) * size**2, 0)
    assert float(got.slope_square) == near(float(want.slope_square), 0)


@every
def test_growth_is_the_derivative_of_the_square(act):
    """Stein's lemma, against a centred difference in log q: its error is step^2/6 of a third derivative of order 1."""
    q, step = np.array([0.05, 1.0, 20.0]), 1e-4
    high, low = moments(act, q * math.exp(step)).square, moments(act, q * math.exp(-step)).square
    assert moments(act, q).growth == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-6)


@every
def test_table_agrees_with_quadrature(act):
    q = np.exp(np.random.default_rng(1).uniform(math.log(1e-6), math.log(1e5), 40))
    direct, read = moments(act, q), lookup(act, q)
    # What may cancel is measured against the size of its parts. The growth of sin at large q is e^(-2q) out of sqrt(q).
    square, slopes = direct.square, direct.slope_square
    sizes = {"mean": np.sqrt(square), "slope": np.sqrt(slopes), "growth": np.sqrt(q * square * slopes)}
    for name in Moments._fields:
        want = getattr(direct, name)
        assert np.all(np.abs(getattr(read, name) - want) <= TOLERANCE * np.maximum(np.abs(want), sizes.get(name, 0)))


def test_a_mean_shifts_the_gaussian():
    mean, s = 0.7, 1.3
    got, read = moments(ACTIVATIONS["relu"], s**2, mean), lookup(ACTIVATIONS["relu"], s**2, mean)
    ratio = mean / s
    density = math.exp(-ratio * ratio / 2) / math.sqrt(2 * math.pi)
    share = math.erfc(-ratio / math.sqrt(2)) / 2
    assert float(got.mean) == near(mean * share + s * density, 0)
    assert float(got.square) == near((mean**2 + s**2) * share + mean * s * density, 0)
    assert float(got.slope) == near(share, 0)
    assert float(read.square) == near(float(got.square), 0)


def test_shapes_broadcast():
    got = moments(ACTIVATIONS["tanh"], np.ones((2, 1)), np.zeros(3))
    assert got.square.shape == (2, 3)
    assert lookup(ACTIVATIONS["tanh"], 1.0).square.shape == ()


@every
def test_ends_of_the_float_range_raise_no_warning(act):
    q = np.array([0.0, 1e-320, 1e-299, math.nan, math.inf])
    got = lookup(act, q)
    at_zero = float(act.value(np.zeros(1))[0])
    assert got.mean[0] == pytest.approx(at_zero, rel=TOLERANCE)
    assert got.variance[0] == pytest.approx(0, abs=ROUNDING)
    assert np.all(np.isfinite(got.square[:3]))
    assert np.all(np.isnan(got.square[3:]))
    if act.period is None:
        assert np.isfinite(lookup(act, 1e299).kurtosis)


@pytest.mark.slow
@pytest.mark.parametrize("q", [1e-6, 1e-3, 30.0, 1e6])
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "silu", "softsign", "mish"])
def test_against_thirty_digits(name, q):
    """The activations without closed forms, in another arithmetic and by another rule."""
    mp = pytest.importorskip("mpmath")
    sigmoid = lambda x: 1 / (1 + mp.exp(-x))  # noqa: E731
    phi = {
        "tanh": mp.tanh,
        "sigmoid": sigmoid,
        "silu": lambda x: x * sigmoid(x),
        "softsign": lambda x: x / (1 + abs(x)),
        "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    }[name]
    with mp.workdps(30):
        s = mp.sqrt(q)
        scales = [x / float(s) for x in (0.25, 0.5, *(2.0**k for k in range(13))) if x / float(s) < 14]
        points = sorted({0.0, *(sign * x for x in (*scales, 2, 4, 8, 14) for sign in (-1, 1))})
        mean, square = (mp.quad(lambda z, k=k: phi(s * z) ** k * mp.npdf(z), points) for k in (1, 2))
        got = moments(ACTIVATIONS[name], q)
        assert float(got.mean) == near(float(mean), math.sqrt(square))
        assert float(got.square) == near(float(square), 0)
        assert float(got.variance) == near(float(square - mean**2), 0)


def test_a_new_record_needs_nothing_else():
    """Nothing goes by name: a shifted ReLU made here has the moments of a ReLU under a mean."""
    shifted = Activation(
        name="unheard of",
        value=lambda z: np.maximum(z - 0.4, 0),
        slope=lambda z, h: (z > 0.4).astype(z.dtype),
        formula="max(x - 0.4, 0)",
        reference="this test",
        kinks=(0.4,),
    )
    want = moments(ACTIVATIONS["relu"], 2.0, -0.4)
    assert float(moments(shifted, 2.0).square) == near(float(want.square), 0)
    # A kink that its record does not declare is found by halving panels 12 times. The error is that width squared.
    undeclared = moments(replace(shifted, kinks=()), 2.0)
    assert float(undeclared.square) == pytest.approx(float(want.square), abs=2.0**-24)


@pytest.mark.parametrize("q", [0.01, 1.0, 40.0])
@every
def test_histogram_against_random_numbers(act, q):
    """Counts in every bin within 6 standard deviations; 60 tests of 40 bins stay green under any seed."""
    draws = 100_000
    h = act.value(math.sqrt(q) * np.random.default_rng(3).standard_normal(draws))
    edges = np.linspace(*np.percentile(h, [0, 99.9]), 41)
    counts, _ = np.histogram(h, edges)
    share = histogram(act, q, edges)
    assert np.all(share >= 0)
    deviation = np.sqrt(draws * share * (1 - share))
    # The first edge is the smallest draw, so its bin lacks about one.
    assert np.all(np.abs(counts - draws * share) <= 6 * deviation + 2)


def test_histogram_of_tanh_is_its_distribution():
    """Interpolation between 4000 cells of 0.006 SD: their square, over 8, times a second derivative of order 10."""
    edges = np.linspace(-1, 1, 21)
    cdf = special.ndtr(np.arctanh(np.clip(edges, -1 + 1e-16, 1 - 1e-16)))
    assert histogram(ACTIVATIONS["tanh"], 1.0, edges) == pytest.approx(np.diff(cdf), abs=5e-5)


def test_atoms_fall_where_numpy_puts_them():
    relu = histogram(ACTIVATIONS["relu"], 1.0, [-1.0, 0.0, 1.0, 50.0])
    assert relu == pytest.approx([0, 0.5 + special.ndtr(1) - 0.5, 1 - special.ndtr(1)], abs=1e-6)
    hard = histogram(ACTIVATIONS["hardtanh"], 4.0, [-1.0, -0.5, 0.5, 1.0])
    outer = special.ndtr(-0.25)
    assert hard == pytest.approx([outer, 1 - 2 * outer, outer], abs=1e-6)


def test_histogram_averages_over_lengths_and_means():
    act, edges = ACTIVATIONS["tanh"], np.linspace(-1, 1, 11)
    mixed = histogram(act, [0.5, 2.0], edges, [0.0, 0.3], weights=[0.25, 0.75])
    parts = 0.25 * histogram(act, 0.5, edges) + 0.75 * histogram(act, 2.0, edges, 0.3)
    assert mixed == pytest.approx(parts, abs=ROUNDING)
    assert histogram(act, 0.0, edges, 0.25)[6] == 1


def test_few_places_get_the_polynomials_of_many_bit_for_bit():
    for places in range(1, 12):
        x = np.random.default_rng(places).uniform(-1, 1, places)
        assert np.array_equal(moments_module._polynomials(x), chebyshev.chebvander(x, moments_module._CHEBYSHEV - 1))
