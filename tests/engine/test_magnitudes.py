"""Counts of magnitudes say what a cast by ml_dtypes does, at the limits of each format too."""

import numpy as np
import pytest
from scipy.stats import norm

from initprobe.engine.magnitudes import SCALES, Magnitudes, table
from initprobe.engine.number_formats import FORMATS, format_names
from initprobe.errors import ConfigError

RNG = np.random.default_rng(3)
WIDE = (RNG.standard_normal(50_000) * 10.0 ** RNG.uniform(-44, 7, 50_000)).astype(np.float32)


def around(form):
    """The float32 neighbours of every limit, at every scale that keeps them float32 numbers."""
    limits = np.array([limit.mantissa * 2.0**limit.exponent for limit in form.limits], np.float32)
    return np.concatenate([limits, np.nextafter(limits, 0), np.nextafter(limits, np.float32(np.inf)), -limits, [0, 0]])


def counted(values):
    magnitudes = Magnitudes()
    for part in np.array_split(values, 3):
        magnitudes.add(table(part))
    return magnitudes


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counts_are_those_of_the_cast(name, dtype):
    form = FORMATS[name]
    values = np.concatenate([WIDE, around(form).astype(np.float32)])
    for scale in (-30, -1, 0, 5, 17):
        scaled = np.ldexp(values.astype(float), scale)
        # ml_dtypes casts float32 numbers exactly, so the scaled ones must be float32 numbers too.
        with np.errstate(over="ignore"):
            exact = scaled == scaled.astype(np.float32)
        losses = counted(values[exact].astype(dtype)).losses(form)
        with np.errstate(over="ignore", invalid="ignore"):
            cast = scaled[exact].astype(np.float32).astype(form.dtype).astype(float)
        place = int(np.flatnonzero(scale == SCALES)[0])
        assert losses.zero[place] == np.sum((cast == 0) & (scaled[exact] != 0))
        assert losses.overflow[place] == np.sum(~np.isfinite(cast))
        assert losses.subnormal[place] == np.sum((cast != 0) & (np.abs(cast) < form.smallest_normal))


def test_a_unit_shifts_the_counts():
    shifted, scaled = Magnitudes(), Magnitudes()
    shifted.add(table(WIDE[:100]), exponent=-9)
    scaled.add(table(np.ldexp(WIDE[:100].astype(float), -9)))
    assert np.array_equal(shifted.cells, scaled.cells) and np.array_equal(shifted.counts, scaled.counts)


@pytest.mark.parametrize("name", FORMATS)
def test_normal_entries_are_lost_as_the_normal_distribution_says(name):
    """A share of n entries has an SD of at most 1/(2 sqrt(n)): 1e-3 is four of them."""
    form, entries = FORMATS[name], 4_000_000
    nonzero, normal, overflow = (limit.mantissa * 2.0**limit.exponent for limit in form.limits)
    magnitudes = counted(RNG.standard_normal(entries).astype(np.float32))
    losses = magnitudes.losses(form)
    for place in range(0, len(SCALES), 7):
        sd = 2.0 ** float(SCALES[place])
        inside = [1 - 2 * norm.sf(limit / sd) for limit in (nonzero, normal, overflow)]
        assert losses.zero[place] / entries == pytest.approx(inside[0], abs=1e-3)
        assert losses.subnormal[place] / entries == pytest.approx(inside[1] - inside[0], abs=1e-3)
        assert losses.overflow[place] / entries == pytest.approx(1 - inside[2], abs=1e-3)


def test_formats_have_the_usual_names():
    assert format_names("fp16, BF16,half") == ("float16", "bfloat16")
    assert format_names(["e4m3"]) == ("float8_e4m3fn",)
    for wrong in ("float17", "", 3, [16]):
        with pytest.raises(ConfigError, match="float16"):
            format_names(wrong)
