"""The `name:key=value,...` grammar: what is read is what was written, and anything else is a one-line error."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.spec import Spec, build, parse_number, parse_spec, parse_value

repeatable = settings(derandomize=True, database=None, deadline=None)

finite = st.floats(allow_nan=False, allow_infinity=False)


def _words(forbidden: str) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8", exclude_characters=forbidden), min_size=1).filter(
        lambda text: text == text.strip() and text.isprintable()
    )


texts = _words(",").filter(lambda text: parse_value(text) == text)
specs = st.builds(
    Spec,
    _words(":"),
    st.dictionaries(_words(",="), st.booleans() | finite | texts, max_size=4),
)
# Mostly grammar, so that a random text gets past the first character.
almost = st.text(st.sampled_from(list("he:=,.19e-+*/()sqrtpi_# \n\t\\'\"\x00{}[]xJ٣²"))) | st.text()


def _refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_spec(text)
    return str(caught.value)


@repeatable
@given(specs)
@example(Spec("he", {"mode": "fan_out", "gain": -0.0, "x": 5e-324, "y": True}))
def test_a_written_specification_is_read_back(spec: Spec) -> None:
    again = parse_spec(str(spec))
    assert again == spec
    assert [repr(value) for value in again.params.values()] == [repr(value) for value in spec.params.values()]


@repeatable
@given(almost)
@example("a\nb:c")
@example("he:a\nb=1,a\nb=2")
@example("a\u2028b:c")
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        spec = parse_spec(text)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert spec.name
    assert parse_spec(str(spec)) == spec


@repeatable
@given(almost)
def test_any_text_is_a_finite_number_or_refused_in_one_line(text: str) -> None:
    try:
        value = parse_number(text)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert type(value) is float
    assert math.isfinite(value)


@repeatable
@given(almost)
def test_a_value_is_a_bool_a_finite_float_or_the_text_itself(text: str) -> None:
    value = parse_value(text)
    assert isinstance(value, bool) or value == text or (isinstance(value, float) and math.isfinite(value))


@repeatable
@given(finite)
def test_every_float_is_a_number(value: float) -> None:
    assert repr(parse_number(repr(value))) == repr(value)


@repeatable
@given(finite, st.floats(1e-3, 1e3))
def test_arithmetic_is_that_of_floats(a: float, b: float) -> None:
    left, right = repr(a), repr(b)
    assert parse_number(f"{left} - {right}") == a - b
    if math.isfinite(a / b):
        assert parse_number(f"{left}/({right})") == a / b
    assert parse_number(f"sqrt({right})") == math.sqrt(b)


NUMBERS = [
    ("1e-2", 0.01),
    ("1E-3", 0.001),
    (".5", 0.5),
    ("-3", -3.0),
    ("+3", 3.0),
    ("5/3", 5 / 3),
    ("sqrt(2)", math.sqrt(2)),
    ("sqrt(2/(1+0.01*0.01))", math.sqrt(2 / (1 + 0.01 * 0.01))),
    ("-sqrt(pi)/2", -math.sqrt(math.pi) / 2),
    (" 2 * (3 - 1) ", 4.0),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_numbers_are_read_with_arithmetic(text: str, value: float) -> None:
    assert parse_number(text) == value
    assert type(parse_number(text)) is float
    assert parse_value(text) == value


NOT_NUMBERS = [
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1e308*10",
    "1/0",
    "sqrt(-1)",
    "sqrt",
    "sqrt()",
    "sqrt(1, 2)",
    "sqrt(x=1)",
    "sqrt(*[4])",
    "9**9**9",
    "2**3",
    "7//2",
    "7%2",
    "1<<2",
    "~1",
    "not 1",
    "1j",
    "True",
    "'1'",
    "[1]",
    "1,",
    "1,2",
    "1;2",
    "1 2",
    "exp(1)",
    "math.pi",
    "pi()",
    "(lambda: 1)()",
    "__import__('os').getpid()",
    "1 if 1 else 2",
    "1#2",
    "1_000",
    "0x10",
    "1\n+1",
    "(1\n+1)",
    "\x00",
    "\ud800",
    "(" * 90,
    "-" * 99,
    "\uff50\uff49",  # full-width p and i, which Python's own parser folds to pi
    "\u0663",  # a digit, but not one of 0 to 9
]


@pytest.mark.parametrize("text", NOT_NUMBERS, ids=[ascii(text)[:24] for text in NOT_NUMBERS])
def test_text_that_is_not_a_plain_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a finite number") as caught:
        parse_number(text)
    assert len(str(caught.value).splitlines()) == 1


LONG = ["1" * 300, "1+" * 200 + "1", "0." + "0" * 200 + "1", "0.5" + " " * 200 + "+1", "-" * 5000 + "1", "(" * 100_000]


@pytest.mark.parametrize("text", LONG, ids=[text[:8] for text in LONG])
def test_a_long_number_is_refused_or_read_whole(text: str) -> None:
    """Never cut short in silence: `0.5 ... +1` is not 0.5."""
    try:
        value = parse_number(text)
    except ConfigError:
        return
    assert value == pytest.approx(eval(text))


@pytest.mark.parametrize("text", ["0x1for", "1if 2else 3", "'\\d'", "1is 1", "()()"])
def test_no_warning_escapes_from_a_text_that_is_no_number(text: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert parse_value(text) == text
    assert not caught


@pytest.mark.parametrize("text", ["1" * 90 + "x", "1.1e1" * 18 + "x", "sqrtpi" * 15 + "x", "(" * 90 + "x"], ids=ascii)
def test_a_refusal_takes_no_exponential_time(text: str) -> None:
    """Reading takes microseconds; a pattern that backtracks over every split of the digits takes years."""
    code = f"from initprobe.spec import parse_value; assert parse_value({text!r}) == {text!r}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=10)


def test_long_specifications() -> None:
    name = "n" * 100_000
    assert parse_spec(name).name == name
    many = {f"k{i}": float(i) for i in range(2000)}
    assert parse_spec(str(Spec("he", many))).params == many
    with pytest.raises(UnknownNameError):
        INITIALIZERS[name]


READ = [
    ("he", Spec("he", {})),
    ("  he : gain = 2 , mode = fan_out ", Spec("he", {"gain": 2.0, "mode": "fan_out"})),
    ("x:a=TRUE,b=false", Spec("x", {"a": True, "b": False})),
    ("x:a=b=c", Spec("x", {"a": "b=c"})),
    ("x:a=b:c", Spec("x", {"a": "b:c"})),
    ("leaky_relu:slope=1e-2", Spec("leaky_relu", {"slope": 0.01})),
]


@pytest.mark.parametrize(("text", "spec"), READ)
def test_specifications(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize("text", ["", "  ", ":", ":gain=1", " : gain=1"])
def test_a_name_is_needed(text: str) -> None:
    assert "has no name" in _refusal(text)


@pytest.mark.parametrize("text", ["he:", "he:gain", "he:gain=", "he:=2", "he:gain=1,", "he:,gain=1", "he: , "])
def test_every_part_is_key_equals_value(text: str) -> None:
    assert "is not key=value, as in " in _refusal(text)


def test_a_key_is_given_once() -> None:
    message = _refusal("he:gain=1,gain=1")
    assert "gain" in message and "is given twice" in message


def test_text_of_a_spec_is_what_one_types() -> None:
    assert str(Spec("he", {"gain": 0.5, "mode": "fan_out"})) == "he:gain=0.5,mode=fan_out"
    assert str(Spec("x", {"corrected": True})) == "x:corrected=true"
    assert str(Spec("normal", {"std": 1e10})) == "normal:std=1e+10"
    assert str(Spec("tanh", {})) == "tanh"


def _maker(size: float, mode: Literal["in", "out"] = "in", exact: bool = False, std: float | None = None) -> str:
    return f"{size} {mode} {exact} {std}"


def test_build_calls_the_maker() -> None:
    assert build(_maker, parse_spec("m:size=5/3,mode=out,exact=true,std=1")) == f"{5 / 3} out True 1.0"
    assert build(_maker, parse_spec("m:size=2")) == "2.0 in False None"


BUILD_ERRORS = [
    ("m", "m needs size=, as in m:size=0.1"),
    ("m:siez=1", "m has no parameter 'siez'. Did you mean 'size'?"),
    ("m:size=1,zzz=1", "m has no parameter 'zzz'. It takes size, mode, exact, std."),
    ("m:size=1,mode=ot", "m: mode=ot is not one of in, out. Did you mean 'out'?"),
    ("m:size=1,mode=1", "m: mode=1 is not one of in, out."),
    ("m:size=1,mode=true", "m: mode=true is not one of in, out."),
    ("m:size=1,exact=1", "m: exact=1 is not true or false"),
    ("m:size=1,exact=yes", "m: exact=yes is not true or false"),
    ("m:size=big", "m: size=big is not a number; write it like 0.01, 1e-2, 5/3 or sqrt(2)"),
    ("m:size=true", "m: size=true is not a number; write it like 0.01, 1e-2, 5/3 or sqrt(2)"),
    ("m:size=1,std=x", "m: std=x is not a number; write it like 0.01, 1e-2, 5/3 or sqrt(2)"),
    ("m:size=9**9**9", "m: size=9**9**9 is not a number; write it like 0.01, 1e-2, 5/3 or sqrt(2)"),
]


@pytest.mark.parametrize(("text", "message"), BUILD_ERRORS, ids=[text for text, _ in BUILD_ERRORS])
def test_build_names_the_fault(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(_maker, parse_spec(text))
    assert str(caught.value) == message


MAKERS = {r.name: r.make for table in (ACTIVATIONS, INITIALIZERS) for r in table.values() if r.make is not None}


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_misspelt_parameter_of_every_record_is_an_unknown_name(name: str) -> None:
    with pytest.raises(UnknownNameError, match=f"{name} has no parameter 'gian'"):
        build(MAKERS[name], Spec(name, {"gian": 1.0}))
