"""Streaming statistics against NumPy on the whole array."""

import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initprobe.engine import buckets
from initprobe.engine.buckets import COARSE, FINE, count, grid_of, tally
from initprobe.engine.moments import Moments, moments
from initprobe.engine.quantiles import BINS, PERCENTS, distributions
from initprobe.engine.sketch import Sketch


def sketch_of(*blocks: np.ndarray, **options) -> Sketch:
    """A sketch of one draw of a tensor whose row blocks are `blocks`."""
    sketch = Sketch(blocks[0].dtype, **options)
    sketch.begin_draw()
    add(sketch, *blocks)
    return sketch


def add(sketch: Sketch, *blocks: np.ndarray) -> None:
    tallies = [tally(block[None], sketch.grid, [sketch.centre or 0.0])[0] for block in blocks]

    def recount(centre: float) -> list[np.ndarray]:
        return [count((block - block.dtype.type(centre))[None], sketch.grid)[0] for block in blocks]

    sketch.add(tallies, recount)


def histogram(sketch: Sketch, bins: int = BINS) -> np.ndarray:
    return distributions([sketch], [1.0], bins)[0].counts


def percentiles(sketch: Sketch) -> list[float]:
    return distributions([sketch], [1.0])[0].percentiles.tolist()


def normal(size: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(dtype)


finite = st.floats(min_value=-(2.0**100), max_value=2.0**100, width=32)


# Merging is the same for parts of any size: small ones are drawn fast on a busy machine too.
parts_of_a_whole = st.lists(st.lists(finite, min_size=1, max_size=6), min_size=1, max_size=4)


@given(parts_of_a_whole)
def test_merged_moments_are_those_of_the_whole(parts):
    whole = np.concatenate([np.asarray(part, np.float64) for part in parts])
    merged = reduce(
        Moments.merged, [moments(np.asarray([part], np.float64), [np.abs(part).max()])[0] for part in parts]
    )
    scale = float(np.abs(whole).max()) or 1.0
    assert merged.count == whole.size
    assert merged.true_mean == pytest.approx(whole.mean(), abs=1e-12 * scale)
    assert merged.variance == pytest.approx(whole.var(), rel=1e-9, abs=1e-12 * scale**2)


def test_buckets_hold_more_than_32_bits_count():
    """Counts as large as those of the zeros of a ReLU over thousands of batches."""
    sketch, many = Sketch(np.dtype(np.float32)), 2**31 - 1
    sketch.begin_draw()
    (zero,) = tally(np.zeros((1, 1), np.float32), sketch.grid, [0.0])
    block = zero._replace(moments=Moments(many), zeros=many, counts=zero.counts * np.int32(many))
    for _ in range(3):
        sketch.add([block, block], lambda _: ())
    assert sketch.total == sketch.by_draw[0].count == 6 * many
    assert distributions([sketch], [1.0])[0].counts.tolist() == [6 * many]


FLOAT32_BLOCKS = {
    "normal": lambda x: x,
    "two values": lambda x: np.where(x > 0, 0.3, -0.3),
    "half of it mean": lambda x: x + 0.9,
    "mostly mean": lambda x: x + 100,
    "constant": lambda x: np.full_like(x, 0.1),
    "one large": lambda x: np.append(1e-3 * x, 1e3),
    "squares below the float range": lambda x: 1e-25 * x,
    "squares beyond the float range": lambda x: 1e25 * x,
    "at the lower edge": lambda x: x * (1.001 * 2.0**-40 / np.abs(x).max()),
    "at the upper edge": lambda x: np.sign(x) * 0.999 * 2.0**50,
}


@pytest.mark.parametrize("size", [1, 2, 511, 512, 513, 70_001])
@pytest.mark.parametrize("kind", FLOAT32_BLOCKS)
def test_moments_of_float32_are_those_of_float64(kind, size):
    block = FLOAT32_BLOCKS[kind](normal(size)).astype(np.float32)
    (measured,), wide = moments(block[None], [float(np.abs(block).max())]), block.astype(np.float64)
    # A run of 512 is summed in float32 by 16 lanes or more, so no sum has more than 32 + 4 terms. Each is rounded by
    # half a unit in the last place, 2^-24. Where the mean does not cancel, it is less than half the squares.
    rounding = 36 * 2.0**-24
    assert measured.true_mean == pytest.approx(wide.mean(), abs=rounding * np.abs(wide).mean())
    assert measured.variance == pytest.approx(wide.var(), rel=2 * rounding, abs=1e-12 * float(np.square(wide).mean()))


@given(parts_of_a_whole)
def test_counts_merge_exactly(parts):
    blocks = [np.asarray(part, np.float32) for part in parts]
    whole = sketch_of(np.concatenate(blocks))
    merged = sketch_of(*blocks)
    assert merged.total == whole.total == sum(map(len, blocks))
    assert (merged.zeros, merged.low, merged.high) == (whole.zeros, whole.low, whole.high)
    if merged.centre == whole.centre:
        assert np.array_equal(histogram(merged), histogram(whole))


@given(st.lists(finite, min_size=1, max_size=200))
def test_histogram_counts_every_entry_once(values):
    sketch = sketch_of(np.asarray(values, np.float32))
    counts = histogram(sketch)
    assert counts.sum() == len(values)
    assert (counts >= 0).all()
    assert len(counts) == (1 if sketch.low == sketch.high else BINS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1, 0), (1e-30, 0), (1e30, 0), (0.01, 1), (1e-4, 1), (1e-3, -7), (3, 2)],
)
def test_percentiles_of_a_shifted_normal(dtype, scale, shift):
    """Within 5 standard errors of the order statistics, plus the resolution of a bucket.

    A normal percentile has standard error sqrt(p (1 - p) / n) / pdf. Both sides use the same sample, so only the
    bucket's width matters. Interpolating the density inside a bucket of width w errs by at most w^2 |pdf'| / (8 pdf).
    Widths are at most 2^-5 of a value. At 5, with a centre 4 away, that is at most 5/32 + 4/32 of a standard deviation.
    """
    x = (normal(200_000, "float64") * scale + shift).astype(dtype)
    sketch = sketch_of(*np.array_split(x, 7))
    exact = np.percentile(x.astype(np.float64), PERCENTS)
    width = 9 / 32
    slack = width**2 / 8 * 2.33 + 5 / math.sqrt(x.size)
    rounding = 4 * np.finfo(dtype).eps * max(abs(shift), scale)
    assert np.abs(np.array(percentiles(sketch)) - exact).max() < slack * scale + rounding


def test_values_far_from_zero_are_counted_about_their_mean():
    x = (normal(100_000, "float64") * 1e-3 + 100).astype(np.float32)
    sketch = sketch_of(x)
    assert sketch.centre == pytest.approx(100, abs=1e-3)
    assert sketch_of(normal(1000)).centre == 0
    spread = np.percentile(x, 75) - np.percentile(x, 25)
    measured = percentiles(sketch)
    assert measured[4] - measured[2] == pytest.approx(float(spread), rel=0.02)


def test_atoms_stay_where_they_are():
    x = np.concatenate([np.full(600, -1), np.linspace(-0.5, 0.5, 200), np.full(600, 1)]).astype(np.float32)
    sketch = sketch_of(x)
    measured = dict(zip(PERCENTS, percentiles(sketch), strict=True))
    assert measured[1] == measured[5] == measured[25] == -1
    assert measured[75] == measured[95] == measured[99] == 1
    counts = histogram(sketch)
    assert counts[0] == counts[-1] == 600


def test_zeros_are_an_atom_and_subnormals_are_not_zeros():
    x = np.concatenate([np.zeros(500), np.linspace(0.1, 1, 400)]).astype(np.float32)
    sketch = sketch_of(x)
    assert sketch.zeros == 500
    assert percentiles(sketch)[3] == 0
    tiny = np.full(10, 1e-42, np.float32)
    assert sketch_of(tiny).zeros == 0
    assert sketch_of(tiny, np.zeros(3, np.float32)).zeros == 3


def test_near_zero_is_a_share_of_the_rms():
    x = normal(400_000)
    share = distributions([sketch_of(x)], [1.0])[0].near_zero
    exact = float(np.mean(np.abs(x) <= 0.01))
    # The bucket holding 0.01 is 2^-5 wide, and interpolation inside it errs by far less than the whole of it.
    assert share == pytest.approx(exact, rel=1 / 32)
    assert distributions([sketch_of(np.zeros(5, np.float32))], [0.0])[0].near_zero == 1


@pytest.mark.parametrize("scale", [1e-20, 1e-30, 1e-37, 1e30, 1e37])
def test_variance_of_extreme_float32(scale):
    x = (normal(10_000, "float64") * scale).astype(np.float32)
    got = sketch_of(x).by_draw[0]
    assert got.variance == pytest.approx(x.astype(np.float64).var(), rel=1e-12)


@pytest.mark.parametrize("exponent", [-300, -200, 160, 290])
def test_variance_of_extreme_float64_survives_as_a_logarithm(exponent):
    unit = normal(10_000, "float64")
    got = sketch_of(*np.array_split(unit * 10.0**exponent, 3)).by_draw[0]
    assert got.log10_variance == pytest.approx(math.log10(unit.var()) + 2 * exponent, abs=1e-9)
    assert got.variance in (0, math.inf)


def test_variance_beside_a_large_mean():
    """A float32 sum of squares would lose all of it: the variance is 1e-16 of the mean square."""
    x = 1 + 1e-8 * normal(100_000, "float64")
    assert sketch_of(x).by_draw[0].variance == pytest.approx(x.var(), rel=1e-7)


def test_infinities_and_nan_are_counted_and_void_the_rest():
    x = np.array([1, np.inf, -np.inf, np.nan], np.float32)
    sketch = sketch_of(x)
    assert (sketch.infinite, sketch.nan, sketch.nonfinite) == (2, 1, 3)


def test_saturated_outputs_crowd_at_the_right_place():
    """The last bucket below 1 is 2^-8 wide, less than half a bin. So at most half a bin moves to its neighbour."""
    h = np.tanh(6.7 * normal(400_000))
    counts = histogram(sketch_of(h, bits=FINE))
    exact = np.histogram(h, BINS, (h.min(), h.max()))[0]
    assert np.abs(counts - exact).max() < 0.5 * 2**-8 / 0.01 * exact.max()
    assert np.abs(np.cumsum(counts - exact)).max() < 0.01 * len(h)


def test_histogram_from_end_to_end_of_the_float_range():
    sketch = Sketch(np.dtype(np.float64))
    sketch.begin_draw()
    block = np.array([[-1.5e308, 1.5e308, 0.5e308, -1.0]])
    sketch.add([tally(block[None], sketch.grid, [0.0])[0]], lambda centre: [])
    counts = histogram(sketch, 4)
    assert (counts.sum(), counts[0], counts[-1]) == (4, 1, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_distribution_does_not_depend_on_its_neighbours(dtype):
    """Entries may be subnormal, at the ends of the range, or all equal. One on the edge of a bin may be in either."""
    largest, smallest = float(np.finfo(dtype).max), float(np.finfo(dtype).smallest_subnormal)
    unit = normal(4000, "float64")
    tensors = [unit, unit * (largest / 8), unit * smallest * 9, np.zeros(9), np.full(9, smallest), unit + 9]
    sketches = [sketch_of(tensor.astype(dtype)) for tensor in tensors]
    sizes = [1.0, largest / 8, smallest * 9, 0.0, smallest, 9.0]
    for sketch, size, measured in zip(sketches, sizes, distributions(sketches, sizes), strict=True):
        (alone,) = distributions([sketch], [size])
        assert measured.counts.sum() == sketch.total
        assert np.abs(np.cumsum(measured.counts - alone.counts)).max() <= 2
        assert measured.near_zero == pytest.approx(alone.near_zero, abs=1e-9)
        assert 0 <= measured.near_zero <= 1
        np.testing.assert_allclose(measured.percentiles, alone.percentiles, rtol=1e-9)


@pytest.mark.parametrize("bits", [COARSE, FINE])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [100, 20_000])
def test_counts_are_those_of_the_leading_bits(size, dtype, bits):
    """Small and large stacks, which are counted in two ways."""
    stack = normal(3 * size, dtype).reshape(3, size)
    grid = grid_of(stack.dtype, bits)
    expected = np.zeros((3, grid.size), int)
    for counts, row in zip(expected, stack, strict=True):
        keys, measured = np.unique(row.view(grid.pattern) >> grid.shift, return_counts=True)
        counts[keys] = measured
    np.testing.assert_array_equal(count(stack, grid), expected)
    np.testing.assert_array_equal(count(stack[1:2], grid), expected[1:2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_tallied_together_are_those_tallied_alone(dtype):
    """Blocks of any scale, with or without a centre; one has an entry that is not finite."""
    x = normal(6000, dtype).reshape(4, 30, 50)
    x[1] *= 1e-30
    x[2] += 100
    grid, centres = grid_of(x.dtype, COARSE), [0.0, 0.0, 100.0, 0.0]
    for broken in (False, True):
        x[3, 5, 7] = np.nan if broken else 1
        for together, block, centre in zip(tally(x, grid, centres), x, centres, strict=True):
            (alone,) = tally(block[None], grid, [centre])
            assert together._replace(counts=None) == alone._replace(counts=None)
            np.testing.assert_array_equal(together.counts, alone.counts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_counters_count_the_same(dtype):
    stack = np.random.default_rng(0).standard_normal((3, 1 << 14)).astype(dtype)
    grid = grid_of(stack.dtype, COARSE)
    patterns = stack.view(grid.pattern)
    by_numpy, by_scipy = buckets._counted_by_numpy(patterns, grid), buckets._counted_by_scipy(patterns, grid)
    assert by_numpy.dtype == by_scipy.dtype
    np.testing.assert_array_equal(by_numpy, by_scipy)
