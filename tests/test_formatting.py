"""Numbers for people: what is printed reads back as the number, rounded once."""

import math
import re
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from initprobe.formatting import counted, duration, factor, factor_of, fixed, percent, power, short, short_of

POWERS = [float(f"1e{n}") for n in range(-300, 301)]
# Numbers that carry when they are rounded to three digits, and those beside them.
CARRIES = [float(f"{digits}e{n}") for n in range(-6, 7) for digits in ("9.994999", "9.995", "9.9951", "99.95", "9.5")]
EDGES = sorted({value for at in (*POWERS, *CARRIES) for value in (math.nextafter(at, 0), at, math.nextafter(at, 1e9))})
sizes = st.floats(min_value=5e-324, max_value=1.7e308)


def read(text):
    return Decimal(re.sub(r"^(-?)\.", r"\g<1>0.", text))


def rounded(value, digits):
    """To so many significant digits, of the number that the float holds exactly."""
    exact = Decimal(value)
    return exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), ROUND_HALF_EVEN)


def check(value):
    text, three = short(value), rounded(value, 3)
    plain = three.adjusted() >= -3 and value < 99_950
    whole, few = plain and three.adjusted() > 2, three.adjusted() < -2
    expected = (
        rounded(value, Decimal(value).adjusted() + 1) if whole else three if plain and not few else rounded(value, 2)
    )
    assert read(text) == expected
    assert ("e" in text) is not plain
    if plain and not whole and not few:
        assert len(text.replace(".", "").lstrip("0") or "0") == 3
    assert not text.startswith(".")
    assert len(text) <= 8
    assert short(-value) == f"-{text}"


def test_short_at_powers_of_ten_and_carries():
    for value in EDGES:
        check(value)


@settings(max_examples=50)
@given(sizes)
@example(0.9995)
def test_short_reads_back(value):
    check(value)


@settings(max_examples=50)
@given(st.lists(st.floats(min_value=1e-300, max_value=1e300), min_size=2, max_size=2))
def test_a_larger_number_never_looks_smaller(pair):
    assert read(short(min(pair))) <= read(short(max(pair)))


@pytest.mark.parametrize(
    ("value", "text"), [(0.9995, "1.00"), (0.009995, "0.0100"), (9.995, "9.99"), (0.0009995, "1.0e-3")]
)
def test_carries_by_hand(value, text):
    """The float 9.995 lies just below it, the float 0.9995 just above, and so on."""
    assert short(value) == text


@pytest.mark.parametrize(("value", "text"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")])
def test_numbers_that_are_not_finite_are_written_as_words(value, text):
    assert short(value) == text


@settings(max_examples=50)
@given(st.floats(min_value=-1e6, max_value=1e6))
@example(math.log10(9.6))
@example(math.log10(9.95))
@example(1.2673221924342215)
@example(2.9999999999)
def test_power_has_two_digits_of_the_number(log10):
    digits, _, exponent = power(log10).partition("e")
    assert 1 <= float(digits) < 10
    assert len(digits) == 3
    # Half a unit of the second digit, and what a log10 of a million loses beside its 52 bits.
    assert abs(float(digits) - 10 ** (log10 - int(exponent))) <= 0.05 + 1e-8


@settings(max_examples=50)
@given(st.floats(min_value=0, max_value=1))
@example(0.0005)
@example(math.nextafter(0.0005, 0))
@example(0.9995)
def test_percent_rounds_once_and_hides_nothing(share):
    text = percent(share)
    if text == "<0.1":
        assert 0 < share < 0.0005
    else:
        assert abs(float(text) - 100 * share) <= 0.05 * (1 + 1e-9)
        assert share == 0 or float(text) > 0


@pytest.mark.parametrize(("ratio", "text"), [(0.9999, "x1.00"), (1.0, "x1.00"), (0.0, "x0"), (math.inf, "xinf")])
def test_factors_at_their_ends(ratio, text):
    assert factor(ratio) == text


@pytest.mark.parametrize(
    ("log10", "text"),
    [(math.log10(3.1), "x3.10"), (-1, "x0.100"), (299, "x1.0e299"), (400, "x10^400"), (-1e4, "x10^-10000")],
)
def test_factors_beyond_the_float_range(log10, text):
    assert factor_of(log10) == text


@pytest.mark.parametrize(("log10", "text"), [(0, "1.00"), (math.log10(0.0517), "0.0517"), (-400, "1.0e-400")])
def test_a_short_number_by_its_log10(log10, text):
    assert short_of(log10) == text


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (math.sqrt(2), 4, "1.4142"), (0, 3, "0.000"), (1.36415197875548714e26, 3, "1.4e26"), (3e-9, 4, "3.0e-9"),
        (9999, 1, "9999.0"), (12345.6, 1, "12346"), (-1e300, 0, "-1.0e300"), (0.3, 0, "0"), (math.inf, 3, "inf"),
        (math.nan, 3, "nan"),
    ],
)  # fmt: skip
def test_so_many_decimals_or_a_short_number(value, decimals, text):
    assert fixed(value, decimals) == text


@given(st.floats(), st.integers(min_value=0, max_value=4))
@settings(max_examples=50)
def test_no_number_is_long(value, decimals):
    assert len(fixed(value, decimals)) <= 11


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (61, "61 s"), (119, "119 s"), (120, "2 min"), (2400, "40 min"), (7200, "2 h"), (86_400, "24 h"),
     (172_800, "2 days"), (1e9, "11,574 days"), (1e300, "1.2e295 days")],
)  # fmt: skip
def test_durations_are_written_with_their_unit(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "words"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1000, "1,000 runs")])
def test_one_is_singular(count, words):
    assert counted(count, "run") == words
    assert counted(count, "change is", "changes are").endswith("change is" if count == 1 else "changes are")
