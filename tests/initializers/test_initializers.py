"""Laws that every initializer record obeys: its samples follow its distribution and its variance rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.distributions import TRUNCATED, truncated_moments
from initprobe.initializers.record import Initializer
from initprobe.spec import parse_spec

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = (np.float32, np.float64)
SQUARE, TALL, WIDE = (240, 240), (400, 150), (150, 400)
SHAPES = (SQUARE, TALL, WIDE)
# Five standard deviations of a normal estimator: a false alarm every 1.7 million tests.
SDS = 5.0
FALSE_ALARM = 1e-6


def _eps(dtype: type) -> float:
    return float(np.finfo(dtype).eps)


def made(spec: str) -> Initializer:
    """The record that a command line with this specification uses."""
    return ProbeConfig(init=parse_spec(spec), act="tanh").initializer


def _sample(init: Initializer, fans: tuple[int, int], dtype: type = np.float64, seed: int = 0) -> Array:
    return init.sample(np.random.default_rng(seed), fans, fans, dtype)


RECORDS = {name: made(record.example) for name, record in INITIALIZERS.items()}
# Parameters that change the distribution, not only its width.
OTHER_SPECS = (
    "normal:var=0.25,mean=-1.5",
    "uniform:low=-0.2,high=1",
    "truncated_normal:std=0.5,mean=1,low=-1,high=3",
    "truncated_normal:std=0.02,corrected=true",
    "variance_scaling:scale=2,mode=fan_out,distribution=truncated_normal",
    "variance_scaling:mode=fan_avg,distribution=uniform",
    "he:mode=fan_out,gain=0.7,slope=0.2",
    "orthogonal:gain=sqrt(2)",
    "sparse:sparsity=0.35,var=2",
    "identity:gain=0.9",
)
CASES = RECORDS | {spec: made(spec) for spec in OTHER_SPECS}


def _cases(wanted: Callable[[Initializer], bool]) -> pytest.MarkDecorator:
    chosen = {label: init for label, init in CASES.items() if wanted(init)}
    return pytest.mark.parametrize("init", list(chosen.values()), ids=list(chosen))


def _is_random(init: Initializer) -> bool:
    return init.variance(*SQUARE) > 0


def _has_cdf(init: Initializer) -> bool:
    return _is_random(init) and init.distribution.cdf is not None


def _is_dependent(init: Initializer) -> bool:
    return _is_random(init) and init.distribution.cdf is None


def _needs_square(init: Initializer) -> bool:
    try:
        _sample(init, (2, 3))
    except ConfigError:
        return True
    return False


def _fitting(init: Initializer) -> Iterator[tuple[int, int]]:
    yield from (SQUARE,) if _needs_square(init) else SHAPES


def _largest_ks_distance(count: int) -> float:
    """The distance that independent entries exceed once in 1/FALSE_ALARM samples, at any `count`.

    Massart 1990: `P(D > d) <= 2 exp(-2 count d^2)`.
    """
    return math.sqrt(math.log(2 / FALSE_ALARM) / (2 * count))


def _ks_distance(entries: Array, cdf: Callable[[Array], Array]) -> float:
    return float(stats.ks_1samp(entries.ravel(), cdf, method="asymp").statistic)


def _fourth_moment(cdf: Callable[[Array], Array]) -> float:
    """`E x^4 = int_0^inf 4 x^3 P(|x| > x) dx`; the trapezoid error, `step^2`, is far below one part in 1000."""
    x = np.linspace(0, 40, 40_001)
    return float(np.trapezoid(4 * x**3 * (1 - cdf(x) + cdf(-x)), x))


def test_kurtosis_of_known_distributions() -> None:
    normal, uniform = (INITIALIZERS[name].distribution.cdf for name in ("xavier_normal", "xavier_uniform"))
    assert normal is not None and uniform is not None
    assert _fourth_moment(normal) == pytest.approx(3, rel=1e-3)
    assert _fourth_moment(uniform) == pytest.approx(9 / 5, rel=1e-3)


@_cases(_has_cdf)
@pytest.mark.parametrize("dtype", DTYPES)
def test_scaled_entries_follow_the_distribution(init: Initializer, dtype: type) -> None:
    """Kolmogorov-Smirnov, on some rows of a larger matrix: a block, as the engine samples it."""
    rows, fans = (200, 150), (600, 150)
    entries = init.sample(np.random.default_rng(1), rows, fans, dtype).astype(np.float64)
    assert init.distribution.cdf is not None
    distance = _ks_distance((entries - init.mean) / init.std(*fans), init.distribution.cdf)
    assert distance < _largest_ks_distance(entries.size)


@_cases(_has_cdf)
@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_and_variance_of_independent_entries(init: Initializer, dtype: type) -> None:
    """SD of the mean `std / sqrt(n)`, of the variance about a known mean `variance sqrt((kurtosis - 1) / n)`."""
    assert init.distribution.cdf is not None
    kurtosis = _fourth_moment(init.distribution.cdf)
    for fans in _fitting(init):
        entries = _sample(init, fans, dtype, seed=2).astype(np.float64) - init.mean
        variance, n = init.variance(*fans), entries.size
        assert abs(entries.mean()) < SDS * math.sqrt(variance / n)
        assert abs(np.mean(entries**2) / variance - 1) < SDS * math.sqrt((kurtosis - 1) / n)


@_cases(_is_dependent)
@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_square_of_dependent_entries(init: Initializer, dtype: type) -> None:
    """The spread between independent matrices is the standard error; it is 0 for an orthogonal matrix."""
    draws = 64
    for fans in ((24, 24),) if _needs_square(init) else ((24, 24), (40, 16), (16, 40)):
        squares = [
            np.mean((_sample(init, fans, dtype, seed).astype(np.float64) - init.mean) ** 2) for seed in range(draws)
        ]
        ratios = np.array(squares) / init.variance(*fans)
        # Three roundings an entry (sample, scale, product with std), each of eps/2, doubled by the square.
        rounding = 4 * _eps(dtype) + max(fans) * _eps(np.float64)
        assert abs(ratios.mean() - 1) < SDS * ratios.std(ddof=1) / math.sqrt(draws) + rounding


@_cases(lambda init: _is_dependent(init) and init.distribution.gaussian_limit)
def test_mean_of_dependent_entries_is_that_of_the_record(init: Initializer) -> None:
    means = np.array([_sample(init, (24, 24), seed=seed).mean() for seed in range(64)])
    assert abs(means.mean() - init.mean) < SDS * means.std(ddof=1) / math.sqrt(len(means))


@_cases(lambda init: not _is_random(init))
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_variance_every_entry_is_the_mean(init: Initializer, dtype: type) -> None:
    assert np.all(_sample(init, WIDE, dtype) == dtype(init.mean))


@_cases(lambda init: True)
@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_have_the_dtype_and_shape_asked_for_and_repeat(init: Initializer, dtype: type) -> None:
    for fans in _fitting(init):
        first, again, other = (_sample(init, fans, dtype, seed) for seed in (3, 3, 4))
        assert first.dtype == dtype
        assert first.shape == fans
        assert first.flags.c_contiguous
        assert np.array_equal(first, again)
        if _is_random(init) and init.distribution.gaussian_limit:
            assert not np.array_equal(first, other)


@_cases(lambda init: not init.needs_fan)
def test_a_rule_without_fans_is_the_same_for_every_layer(init: Initializer) -> None:
    assert len({init.variance(*fans) for fans in SHAPES}) == 1
    assert init.sample(np.random.default_rng(0), (1, 7), (100, 7), np.float32).shape == (1, 7)  # a bias


@_cases(lambda init: True)
def test_records_are_complete(init: Initializer) -> None:
    assert init.formula and init.reference and init.example
    assert init.describe(*SQUARE)
    assert "nan" not in init.describe(*SQUARE)


@pytest.mark.parametrize("name", list(RECORDS))
def test_the_example_makes_the_record_of_that_name(name: str) -> None:
    assert RECORDS[name].name == name


RULES: list[tuple[str, Callable[[int, int], float]]] = [
    ("xavier_normal", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    ("xavier_uniform:gain=5/3", lambda fan_in, fan_out: (5 / 3) ** 2 * 2 / (fan_in + fan_out)),
    ("he_normal", lambda fan_in, fan_out: 2 / fan_in),
    ("he_uniform:mode=fan_out", lambda fan_in, fan_out: 2 / fan_out),
    ("he:mode=fan_avg,slope=0.5", lambda fan_in, fan_out: 2 / 1.25 * 2 / (fan_in + fan_out)),
    ("kaiming_uniform:slope=sqrt(5)", lambda fan_in, fan_out: 1 / (3 * fan_in)),
    ("lecun_normal", lambda fan_in, fan_out: 1 / fan_in),
    ("lecun_uniform:gain=2", lambda fan_in, fan_out: 4 / fan_in),
    ("fan_in_heuristic", lambda fan_in, fan_out: 1 / (3 * fan_in)),
    ("torch_linear", lambda fan_in, fan_out: 1 / (3 * fan_in)),
    ("keras_dense", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    ("flax_dense", lambda fan_in, fan_out: 1 / fan_in),
    ("orthogonal:gain=3", lambda fan_in, fan_out: 9 / max(fan_in, fan_out)),
    ("identity", lambda fan_in, fan_out: 1 / fan_in),
    ("normal:std=0.01", lambda fan_in, fan_out: 1e-4),
    ("normal:var=0.01", lambda fan_in, fan_out: 1e-2),
    ("uniform:limit=0.05", lambda fan_in, fan_out: 0.05**2 / 3),
    ("uniform:low=0,high=1", lambda fan_in, fan_out: 1 / 12),
    ("uniform:std=0.3", lambda fan_in, fan_out: 0.09),
    ("variance_scaling:scale=3,mode=fan_out", lambda fan_in, fan_out: 3 / fan_out),
    ("sparse:sparsity=0.9,std=2", lambda fan_in, fan_out: 4 * (fan_in - math.ceil(0.9 * fan_in)) / fan_in),
    ("truncated_normal:std=0.2,corrected=true", lambda fan_in, fan_out: 0.04),
]


@pytest.mark.parametrize(("spec", "rule"), RULES, ids=[spec for spec, _ in RULES])
def test_variance_rules_are_those_of_the_papers(spec: str, rule: Callable[[int, int], float]) -> None:
    for fans in (SQUARE,) if spec == "identity" else SHAPES:
        assert made(spec).variance(*fans) == pytest.approx(rule(*fans), rel=1e-14)


@pytest.mark.parametrize("fans", [(30, 30), (50, 20), (20, 50), (1, 9), (9, 1)])
@pytest.mark.parametrize("gain", [1.0, 1.7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_orthogonal_has_orthonormal_rows_or_columns(fans: tuple[int, int], gain: float, dtype: type) -> None:
    matrix = _sample(made(f"orthogonal:gain={gain}"), fans, dtype).astype(np.float64)
    gram = matrix.T @ matrix if fans[0] >= fans[1] else matrix @ matrix.T
    # By Cauchy-Schwarz, entries wrong by a share e move an inner product of unit columns by at most 2 e.
    tolerance = gain**2 * (4 * _eps(dtype) + 8 * max(fans) * _eps(np.float64))
    assert np.abs(gram - gain**2 * np.eye(min(fans))).max() < tolerance


def _rotations(fans: tuple[int, int], count: int) -> Array:
    rng = np.random.default_rng(5)
    init = made("orthogonal")
    return np.array([init.sample(rng, fans, fans, np.float64) for _ in range(count)])


@pytest.mark.parametrize("fans", [(6, 6), (9, 4), (4, 9)])
def test_orthogonal_entries_have_the_haar_marginal(fans: tuple[int, int]) -> None:
    """The square of an entry of a Haar matrix of size n is Beta(1/2, (n-1)/2). Its sign is a fair coin."""
    count = 3000
    matrices = _rotations(fans, count)
    marginal = stats.beta(0.5, (max(fans) - 1) / 2).cdf
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        entry = matrices[:, row, column]
        assert _ks_distance(entry**2, marginal) < _largest_ks_distance(count)
        assert abs(np.mean(entry > 0) - 0.5) < SDS * 0.5 / math.sqrt(count)


def test_orthogonal_covers_the_whole_group() -> None:
    """Haar measure: det is a fair coin; the trace has moments 0, 1, 0, 3 (Diaconis & Shahshahani 1994).

    Without the signs of R's diagonal, QR gives a fixed determinant and a biased trace.
    """
    count = 3000
    matrices = _rotations((6, 6), count)
    trace = np.trace(matrices, axis1=1, axis2=2)
    assert abs(np.mean(np.linalg.det(matrices) > 0) - 0.5) < SDS * 0.5 / math.sqrt(count)
    assert abs(trace.mean()) < SDS / math.sqrt(count)
    assert abs(np.mean(trace**2) - 1) < SDS * math.sqrt((3 - 1) / count)


@pytest.mark.parametrize("fans", [(37, 20), (20, 37)])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_sparse_cuts_the_same_number_of_every_units_inputs(fans: tuple[int, int], sparsity: float) -> None:
    matrix = _sample(made(f"sparse:sparsity={sparsity},std=0.3"), fans)
    assert set(np.count_nonzero(matrix == 0, axis=0)) == {math.ceil(sparsity * fans[0])}


def test_entries_that_sparse_keeps_are_normal_and_at_random_places() -> None:
    matrix = _sample(made("sparse:sparsity=0.6,std=0.3"), (500, 300), seed=6)
    kept = matrix[matrix != 0]
    assert _ks_distance(kept, stats.norm(scale=0.3).cdf) < _largest_ks_distance(kept.size)
    # A row's zeros are a sum of 300 independent coins with P(zero) = 0.6. One row in 500 may be the worst (Bonferroni).
    zeros = np.count_nonzero(matrix == 0, axis=1)
    worst = stats.norm.isf(FALSE_ALARM / (2 * 500))
    assert np.abs(zeros - 0.6 * 300).max() < worst * math.sqrt(300 * 0.6 * 0.4) + 1


@pytest.mark.parametrize("gain", [1.0, 0.5, -1.0, 0.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_identity_is_gain_times_the_identity(gain: float, dtype: type) -> None:
    matrix = _sample(made(f"identity:gain={gain}"), (12, 12), dtype)
    assert np.abs(matrix - gain * np.eye(12)).max() <= 2 * _eps(dtype)
    assert np.count_nonzero(matrix) == (12 if gain else 0)


def test_identity_refuses_a_rectangle() -> None:
    with pytest.raises(ConfigError, match="identity needs square layers, but one is 3 -> 4"):
        _sample(made("identity"), (3, 4))


def test_constants_of_the_truncated_normal() -> None:
    """A cut at 2 std leaves 0.7737 std^2, so Keras and JAX divide by 0.87962566103423978, its square root."""
    _, left = truncated_moments(-2, 2)
    assert round(left, 4) == 0.7737
    assert math.sqrt(left) == pytest.approx(0.87962566103423978, rel=4 * _eps(np.float64))
    assert made("truncated_normal:std=0.02").variance(*SQUARE) == pytest.approx(left * 0.02**2, rel=1e-14)
    assert made("flax_dense").distribution is TRUNCATED


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (-1.0, 3.0), (0.5, 2.0), (-3.0, 0.0), (-6.0, 6.0)])
@pytest.mark.parametrize("corrected", [False, True])
def test_truncated_moments_and_entries_match_scipy(low: float, high: float, corrected: bool) -> None:
    std, mean = 0.5, 1.0
    init = made(f"truncated_normal:std={std},mean={mean},low={low},high={high},corrected={corrected}")
    # With `corrected` the std asked for is what is left after the cut.
    before = std / stats.truncnorm(low, high).std() if corrected else std
    oracle = stats.truncnorm(low, high, loc=mean, scale=before)
    assert init.mean == pytest.approx(oracle.mean(), rel=1e-12)
    assert init.variance(*SQUARE) == pytest.approx(oracle.var(), rel=1e-11)
    entries = _sample(init, SQUARE, seed=7)
    assert _ks_distance(entries, oracle.cdf) < _largest_ks_distance(entries.size)
    slack = 4 * _eps(np.float64) * (abs(mean) + before * max(abs(low), abs(high)))
    assert entries.min() >= mean + low * before - slack
    assert entries.max() <= mean + high * before + slack


def test_uniform_entries_keep_their_bounds() -> None:
    for dtype in DTYPES:
        entries = _sample(made("uniform:low=-0.2,high=1"), SQUARE, dtype)
        slack = 2 * _eps(dtype)
        assert -0.2 - slack <= entries.min() < -0.199
        assert 0.999 < entries.max() <= 1 + slack


def test_torch_linear_brings_a_bias_of_the_width_of_its_weights() -> None:
    bias = made("torch_linear").bias
    assert bias is not None
    fans = (300, 50_000)
    row = bias.sample(np.random.default_rng(8), (1, fans[1]), fans, np.float64)
    assert np.abs(row).max() <= 1 / math.sqrt(fans[0])
    assert np.mean(row**2) * 3 * fans[0] == pytest.approx(1, abs=SDS * math.sqrt((9 / 5 - 1) / fans[1]))


def _torch_kaiming_default(torch: Any, weight: Any) -> None:
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
    weight.copy_(linear.weight.detach())


# specification -> what fills a torch weight of shape (fan_out, fan_in) with the same variance
TORCH: dict[str, Callable[[Any, Any], object]] = {
    "xavier_normal": lambda torch, w: torch.nn.init.xavier_normal_(w),
    "xavier_uniform:gain=5/3": lambda torch, w: torch.nn.init.xavier_uniform_(w, gain=5 / 3),
    "kaiming_normal": lambda torch, w: torch.nn.init.kaiming_normal_(w),
    "kaiming_uniform:mode=fan_out": lambda torch, w: torch.nn.init.kaiming_uniform_(w, mode="fan_out"),
    "kaiming_normal:slope=0.5": lambda torch, w: torch.nn.init.kaiming_normal_(w, a=0.5),
    "trunc_normal:std=0.1": lambda torch, w: torch.nn.init.trunc_normal_(w, std=0.1, a=-0.2, b=0.2),
    "orthogonal:gain=2": lambda torch, w: torch.nn.init.orthogonal_(w, gain=2),
    # torch cuts along the first axis of what it is given
    "sparse:sparsity=0.3,std=0.5": lambda torch, w: torch.nn.init.sparse_(w.T, 0.3, std=0.5),
    "normal:std=0.02": lambda torch, w: torch.nn.init.normal_(w, std=0.02),
    "uniform:low=0,high=1": lambda torch, w: torch.nn.init.uniform_(w),
    "zeros": lambda torch, w: torch.nn.init.zeros_(w),
    "ones": lambda torch, w: torch.nn.init.ones_(w),
    "torch_linear": _torch_kaiming_default,
}


@pytest.mark.parametrize("spec", list(TORCH))
@pytest.mark.parametrize("fans", [(300, 200), (150, 400)])
def test_torch_has_the_same_mean_and_variance(spec: str, fans: tuple[int, int], torch: Any) -> None:
    torch.manual_seed(9)
    weight = torch.empty(fans[1], fans[0], dtype=torch.float64)
    with torch.no_grad():
        TORCH[spec](torch, weight)
    entries, init = weight.numpy(), made(spec)
    variance = init.variance(*fans)
    # No entry here has a kurtosis above that of the sparse ones, 3 / share kept.
    spread = math.sqrt((3 / 0.7 - 1) / entries.size)
    assert abs(entries.mean() - init.mean) <= SDS * math.sqrt(variance / entries.size)
    assert abs(np.mean((entries - init.mean) ** 2) - variance) <= SDS * variance * spread


TYPED = {
    "xavier_normal": "xavier_normal XavierNormal GlorotNormal glorot_normal xavier glorot",
    "xavier_uniform": "xavier_uniform GlorotUniform glorot_uniform",
    "he_normal": "kaiming_normal HeNormal he_normal he kaiming",
    "he_uniform": "kaiming_uniform HeUniform he_uniform",
    "lecun_normal": "LecunNormal lecun_normal lecun",
    "lecun_uniform": "LecunUniform lecun_uniform",
    "truncated_normal": "trunc_normal TruncatedNormal truncated_normal",
    "normal": "normal RandomNormal random_normal",
    "uniform": "uniform RandomUniform random_uniform",
    "variance_scaling": "VarianceScaling variance_scaling",
    "orthogonal": "orthogonal Orthogonal",
    "sparse": "sparse",
    "identity": "eye Identity identity",
    "zeros": "zeros Zeros",
    "ones": "ones Ones",
    "constant": "constant Constant",
}


@pytest.mark.parametrize(
    ("canonical", "typed"), [(key, name) for key, names in TYPED.items() for name in names.split()]
)
def test_names_that_people_type_are_understood(canonical: str, typed: str) -> None:
    for spelling in (typed, typed.upper(), typed.lower(), typed.replace("_", "-"), typed.replace("_", ""), typed + "_"):
        assert INITIALIZERS[spelling].name == canonical


REFUSED = [
    ("normal", "std= or var="),
    ("normal:std=0.1,var=0.01", "not both"),
    ("normal:std=-0.1", "at least 0"),
    ("normal:var=-1", "at least 0"),
    ("truncated_normal", "std= or var="),
    ("truncated_normal:std=0.1,low=1,high=-1", "bounds are in standard deviations"),
    ("truncated_normal:std=0.1,low=8,high=9", "at least 1%"),
    ("uniform", "exactly one of"),
    ("uniform:limit=0.1,std=0.1", "exactly one of"),
    ("uniform:low=0", "go together"),
    ("uniform:low=1,high=0", "above high"),
    ("uniform:limit=-1", "above high"),
    ("uniform:std=-1", "at least 0"),
    ("sparse", "std= or var="),
    ("sparse:sparsity=1.1,std=0.1", "between 0 and 1"),
    ("sparse:sparsity=-0.1,std=0.1", "between 0 and 1"),
    ("variance_scaling:scale=-1", "at least 0"),
    ("variance_scaling:mode=fan", "fan_in"),
    ("variance_scaling:distribution=truncated", "Did you mean 'truncated_normal'"),
    ("constant", "needs value="),
    ("he:gian=2", "Did you mean 'gain'"),
    ("he:gain=big", "is not a number"),
    ("zeros:value=1", "takes no parameters"),
]


@pytest.mark.parametrize(("spec", "words"), REFUSED, ids=[spec for spec, _ in REFUSED])
def test_refused_parameters(spec: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(spec)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["normal", "truncated_normal", "uniform", "sparse"])
@pytest.mark.parametrize("spread", ["std", "var"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_spread_that_is_no_number_is_refused(name: str, spread: str, value: float) -> None:
    make = INITIALIZERS[name].make
    assert make is not None
    with pytest.raises(ConfigError):
        make(**{spread: value})


def _scales() -> list[str]:
    return [
        f"{init.example}{',' if ':' in init.example else ':'}{key}=1e200"
        for init in INITIALIZERS.values()
        if init.make is not None
        for key, value in init.params.items()
        if isinstance(value, float | int) and not isinstance(value, bool) and f"{key}=" not in init.example
    ]


@pytest.mark.parametrize("spec", [*_scales(), "normal:std=1e200", "uniform:std=1e200", "sparse:std=1e200"])
def test_a_scale_whose_square_overflows_is_a_plain_error_or_works(spec: str) -> None:
    try:
        init = made(spec)
    except ConfigError:
        return
    assert math.isfinite(init.variance(*SQUARE))
