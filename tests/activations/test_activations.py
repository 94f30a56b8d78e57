"""Laws that every activation record obeys, over the whole registry and over records made with other parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.record import SATURATED_SLOPE, Activation
from initprobe.activations.rectifiers import SELU_ALPHA, SELU_SCALE
from initprobe.errors import ConfigError
from initprobe.spec import Spec, build

Array = np.ndarray[Any, np.dtype[Any]]
EPS = float(np.finfo(np.float64).eps)
# Every evaluation rounds a dozen or so operations on numbers no larger than 1 + |z|.
ROUNDINGS = 32
EXTREME = 1e30


def _variants() -> list[Activation]:
    """The records that take parameters, made again with each parameter halved and tripled."""
    return [
        record.make(**{key: factor * value for key, value in record.params.items()})
        for record in ACTIVATIONS.values()
        if record.make is not None
        for factor in (0.5, 3.0)
    ]


RECORDS = [*ACTIVATIONS.values(), *_variants()]
every = pytest.mark.parametrize("act", RECORDS, ids=lambda act: str(Spec(act.name, act.params)))


def _grid(reach: float, step: float) -> Array:
    """A dyadic grid, so that `z + step` and `z - step` are exact."""
    return np.arange(-reach, reach + step, step)


def _away_from_kinks(act: Activation, z: Array, distance: float) -> Array:
    near = [np.abs(z - kink) <= distance for kink in act.kinks]
    return z[~np.any(near, axis=0)] if near else z


def _with_kink_sides(act: Activation, z: Array) -> Array:
    """`z` without the kinks themselves, but with points just left and right of each."""
    sides = [kink + side * 1e-9 for kink in act.kinks for side in (-1, 1)]
    return np.concatenate([_away_from_kinks(act, z, 0), sides])


def _extremes(dtype: type) -> Array:
    return np.array([-EXTREME, -1e4, -200, -1, -0.0, 0, 1, 200, 1e4, EXTREME], dtype=dtype)


def _value(act: Activation, z: Array) -> Array:
    with np.errstate(all="ignore"):  # as in the engine
        return act.value(z)


def _slope(act: Activation, z: Array) -> Array:
    with np.errstate(all="ignore"):
        return act.slope(z, act.value(z))


@every
def test_slope_is_the_central_difference_of_the_value(act: Activation) -> None:
    step = 2.0**-17  # near eps^(1/3), where truncation and rounding balance
    z = _away_from_kinks(act, _grid(8, 2.0**-6) + 2.0**-9, 2 * step)
    narrow, wide = ((_value(act, z + h) - _value(act, z - h)) / (2 * h) for h in (step, 2 * step))
    # |wide - narrow| is three times the truncation error of narrow; the rest is the rounding of two values over 2 h.
    rounding = ROUNDINGS * EPS * (1 + np.maximum(np.abs(z), np.abs(narrow))) / step
    assert np.all(np.abs(_slope(act, z) - narrow) <= np.abs(wide - narrow) + rounding)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (0, 3)])
def test_dtype_and_shape_are_kept(act: Activation, dtype: type, shape: tuple[int, ...]) -> None:
    z: Array = np.linspace(-7, 7, math.prod(shape), dtype=dtype).reshape(shape)
    kept = z.copy()
    value, slope = _value(act, z), _slope(act, z)
    assert value.dtype == slope.dtype == dtype
    assert value.shape == slope.shape == shape
    assert not np.shares_memory(value, z) and not np.shares_memory(slope, z)
    assert np.array_equal(z, kept)


@every
def test_float32_agrees_with_float64(act: Activation) -> None:
    z = _away_from_kinks(act, _grid(16, 2.0**-4) + 2.0**-7, 0)
    eps32 = float(np.finfo(np.float32).eps)
    # Polynomials in the exponent magnify the rounding of z by the size of their terms, at most 1 + z^2.
    tolerance = ROUNDINGS * eps32 * (1 + z * z)
    for function in (_value, _slope):
        assert np.all(np.abs(function(act, z.astype(np.float32)) - function(act, z)) <= tolerance)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_wherever_the_input_is(act: Activation, dtype: type) -> None:
    z = _extremes(dtype)
    assert np.isfinite(_value(act, z)).all()
    assert np.isfinite(_slope(act, z)).all()


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_input_gives_the_limit_or_nan(act: Activation, dtype: type) -> None:
    """`inf * 0` may be NaN, which the engine reports; a finite wrong number would go unnoticed."""
    inf = dtype(math.inf) if act.period is None else dtype(math.nan)
    at_infinity = _value(act, np.array([-inf, inf], dtype))
    far = _value(act, np.array([-EXTREME, EXTREME], dtype))
    limit = np.where(np.abs(far) > 1e20, np.copysign(dtype(math.inf), far), far)
    assert np.all(np.isnan(at_infinity) | (at_infinity == limit))


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_stay_within_the_bounds(act: Activation, dtype: type) -> None:
    value = _value(act, np.concatenate([_grid(32, 2.0**-10).astype(dtype), _extremes(dtype)]))
    ulp = float(np.finfo(dtype).eps)
    low, high = act.bounds
    assert low < high
    assert np.all(value >= low - (abs(low) * ulp if math.isfinite(low) else 0))
    assert np.all(value <= high + (abs(high) * ulp if math.isfinite(high) else 0))


@every
def test_bounds_are_approached(act: Activation) -> None:
    """A finite bound is the infimum or supremum of the values; an infinite one is where they grow for ever."""
    value = _value(act, np.concatenate([_grid(64, 2.0**-10), _extremes(np.float64)]))
    # A smooth extremum is missed by at most half a step: phi'' step^2 / 8, and |phi''| < 8 in every record.
    missed = 2.0**-20
    for bound, reached in zip(act.bounds, (value.min(), value.max()), strict=True):
        if math.isfinite(bound):
            assert abs(bound - reached) < missed, f"bound {bound} but the values reach {reached}"
        else:
            # The slowest way out is the flattest slope a variant has, 0.005.
            assert abs(reached) > 1e-3 * EXTREME, f"declared unbounded, but the values stop at {reached}"


@every
def test_kinks_are_where_a_derivative_jumps_and_nowhere_else(act: Activation) -> None:
    """Second differences over the step. Those of phi show a jump of phi or phi', those of phi' also one of phi''.

    Where three derivatives exist they are below `step * |phi'''|`, at a jump of J above J/2.
    """
    step = 2.0**-14
    z = _grid(16, step)
    jumps = np.zeros(len(z) - 2, bool)
    for sampled in (_value(act, z), _slope(act, z)):
        # 0.02 lies between: a smooth phi''' would have to exceed 300, a jump to stay below 0.04.
        jumps |= np.abs(np.diff(sampled, n=2)) > 0.02 * step
    locations = z[1:-1][jumps]
    for kink in act.kinks:
        assert np.any(np.abs(locations - kink) <= step), f"nothing jumps at {kink}"
    assert len(_away_from_kinks(act, locations, step)) == 0, (
        f"a derivative jumps at {_away_from_kinks(act, locations, step)}"
    )


@every
def test_saturated_means_a_slope_below_5_9_percent_of_its_largest(act: Activation) -> None:
    band = act.saturation
    if band is None:
        pytest.skip("does not saturate")
    z = _with_kink_sides(act, _grid(64, 2.0**-8))
    value, slope = _value(act, z), _slope(act, z)
    share = slope / slope.max()
    in_band = (value <= band.low) | (value >= band.high)
    # The largest slope is seen 1e-9 beside its kink, so the threshold is known to about 1e-9.
    # Dead units are counted apart.
    clear = (np.abs(share - SATURATED_SLOPE) > 1e-8) & (z > (-math.inf if act.dead_below is None else act.dead_below))
    assert in_band.any()
    assert not in_band.all()
    assert np.array_equal(in_band[clear], share[clear] < SATURATED_SLOPE)


@every
def test_monotone_and_level_at_a_bound_means_saturated_or_dead_there(act: Activation) -> None:
    """A share that flattens out towards a bound must be seen by one of the two counts."""
    value = _value(act, _grid(32, 2.0**-6))
    if np.any(np.diff(value) < 0):
        pytest.skip("not monotone: the output does not tell the slope")
    low, high = act.bounds
    band = act.saturation
    if math.isfinite(low):
        assert act.dead_below is not None or (band and math.isfinite(band.low))
    if math.isfinite(high):
        assert band and math.isfinite(band.high)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dead_units_have_exactly_zero_value_and_slope(act: Activation, dtype: type) -> None:
    # Within +-4 nothing underflows, so what is exactly 0 there is 0 by definition.
    z: Array = _grid(4, 2.0**-8).astype(dtype)
    both_zero = (_value(act, z) == 0) & (_slope(act, z) == 0)
    dead = np.zeros_like(both_zero) if act.dead_below is None else z <= act.dead_below
    assert np.array_equal(both_zero, dead)
    if act.dead_below is not None:
        far: Array = -np.logspace(1, 30, 30, dtype=dtype)
        assert not _value(act, far).any()
        assert not _slope(act, far).any()


@every
def test_a_periodic_activation_repeats_after_its_period(act: Activation) -> None:
    z = _grid(8, 2.0**-6)
    if act.period is None:
        assert abs(_value(act, np.array([-7.0]))[0] - _value(act, np.array([8.0]))[0]) > 1e-3
        return
    moved = np.abs(_value(act, z + act.period) - _value(act, z))
    assert np.all(moved <= ROUNDINGS * EPS * (1 + np.abs(z)))
    for part in (2, 3, 5):
        assert not np.allclose(_value(act, z + act.period / part), _value(act, z)), f"period / {part} would do"


@every
def test_records_are_complete(act: Activation) -> None:
    assert act.formula and act.reference and act.example
    assert ACTIVATIONS[act.name].name == act.name
    assert all(math.isfinite(kink) for kink in act.kinks)
    assert list(act.kinks) == sorted(set(act.kinks))


@pytest.mark.parametrize("act", _variants(), ids=lambda act: str(Spec(act.name, act.params)))
def test_parameters_go_through_make(act: Activation) -> None:
    default = ACTIVATIONS[act.name]
    assert default.make is not None
    again = build(default.make, Spec(act.name, act.params))
    z = _grid(4, 2.0**-4)
    assert again.params == act.params != default.params
    assert np.array_equal(_value(again, z), _value(act, z))
    assert not np.allclose(_value(act, z), _value(default, z), atol=1e-3)


@pytest.mark.parametrize("name", ["elu", "celu", "softplus"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_parameter_that_must_be_positive_is_refused(name: str, value: float) -> None:
    record = ACTIVATIONS[name]
    assert record.make is not None
    with pytest.raises(ConfigError, match=f"^{name}: .* must be above 0"):
        record.make(value)


def test_the_slope_of_leaky_relu_is_its_parameter() -> None:
    make = ACTIVATIONS["leaky_relu"].make
    assert make is not None
    z = np.array([-2.0, 0.0, 3.0])
    assert _value(make(0.25), z).tolist() == [-0.5, 0, 3]
    assert _slope(make(0.25), z).tolist() == [0.25, 0.25, 1]


def test_selu_constants_make_mean_0_and_variance_1_a_fixed_point() -> None:
    """Klambauer et al. 2017: for z ~ N(0,1), selu has mean 0 and mean square 1; closed forms of both."""
    mean = 1 / math.sqrt(2 * math.pi) + SELU_ALPHA * (math.exp(0.5) * special.ndtr(-1) - 0.5)
    square = 0.5 + SELU_ALPHA**2 * (math.exp(2) * special.ndtr(-2) - 2 * math.exp(0.5) * special.ndtr(-1) + 0.5)
    assert abs(SELU_SCALE * mean) < ROUNDINGS * EPS
    assert abs(SELU_SCALE**2 * square - 1) < ROUNDINGS * EPS


Oracle = Callable[[Any, Any, Any], Any]

# name -> (torch, torch.nn.functional, z) to phi(z), with the parameters of the default record
ORACLES: dict[str, Oracle] = {
    "linear": lambda torch, F, z: z * 1,
    "sigmoid": lambda torch, F, z: torch.sigmoid(z),
    "tanh": lambda torch, F, z: torch.tanh(z),
    "hardtanh": lambda torch, F, z: F.hardtanh(z),
    "erf": lambda torch, F, z: torch.erf(z),
    "sin": lambda torch, F, z: torch.sin(z),
    "relu": lambda torch, F, z: F.relu(z),
    "relu6": lambda torch, F, z: F.relu6(z),
    "leaky_relu": lambda torch, F, z: F.leaky_relu(z),
    "elu": lambda torch, F, z: F.elu(z),
    "selu": lambda torch, F, z: F.selu(z),
    "celu": lambda torch, F, z: F.celu(z),
    "gelu": lambda torch, F, z: F.gelu(z),
    "gelu_tanh": lambda torch, F, z: F.gelu(z, approximate="tanh"),
    "silu": lambda torch, F, z: F.silu(z),
    "mish": lambda torch, F, z: F.mish(z),
    # By default torch's softplus is the identity beyond 20.
    "softplus": lambda torch, F, z: F.softplus(z, threshold=700),
    "softsign": lambda torch, F, z: F.softsign(z),
    "hardswish": lambda torch, F, z: F.hardswish(z),
    "hardsigmoid": lambda torch, F, z: F.hardsigmoid(z),
}
# torch's gradient of hardsigmoid holds 1/6 in single precision, whatever the dtype.
SINGLE_PRECISION_SLOPES = ("hardsigmoid",)
MADE_ORACLES: list[tuple[str, dict[str, float], Oracle]] = [
    ("leaky_relu", {"slope": 0.2}, lambda torch, F, z: F.leaky_relu(z, 0.2)),
    ("elu", {"alpha": 0.3}, lambda torch, F, z: F.elu(z, alpha=0.3)),
    ("celu", {"alpha": 2.5}, lambda torch, F, z: F.celu(z, alpha=2.5)),
    ("softplus", {"beta": 3.0}, lambda torch, F, z: F.softplus(z, beta=3.0, threshold=700)),
]


def _made(name: str, params: dict[str, float]) -> Activation:
    record = ACTIVATIONS[name]
    assert record.make is not None
    return record.make(**params)


@pytest.mark.parametrize(
    ("act", "oracle"),
    [(ACTIVATIONS[name], oracle) for name, oracle in ORACLES.items()]
    + [(_made(name, params), oracle) for name, params, oracle in MADE_ORACLES],
    ids=lambda item: str(Spec(item.name, item.params)) if isinstance(item, Activation) else "",
)
def test_value_and_slope_are_those_of_torch(act: Activation, oracle: Oracle, torch: Any) -> None:
    z = np.concatenate([_grid(50, 2.0**-4), act.kinks])
    leaf = torch.tensor(z, requires_grad=True)
    out = oracle(torch, torch.nn.functional, leaf)
    out.sum().backward()
    tolerance = ROUNDINGS * EPS * (1 + np.abs(z))
    assert np.all(np.abs(_value(act, z) - out.detach().numpy()) <= tolerance)
    if act.name in SINGLE_PRECISION_SLOPES:
        tolerance += float(np.finfo(np.float32).eps)
    assert np.all(np.abs(_slope(act, z) - leaf.grad.numpy()) <= tolerance)
