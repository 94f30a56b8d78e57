"""Files of sweeps put together at random, damaged or mere text; and what loading any of them may do."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_files import loaded

from initprobe.errors import ConfigError
from initprobe.sweeps.file_fields import FIELDS
from initprobe.sweeps.file_layout import MAX_RUNS
from initprobe.sweeps.plan import shipped

repeatable = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


_WORDS = [
    "he",
    "tanh",
    "normal:std=0.1",
    "normal",
    "xaver",
    "gaussian",
    "5/3",
    "a.npy",
    "float64",
    "summary",
    "csv",
    "../x",
    "",
]
_scalars = st.sampled_from(_WORDS) | st.integers(-3, 40) | st.floats() | st.booleans() | st.none() | st.integers()
_KEYS = (
    "init.std act.slope thresholds.dead input.std lyers name from to num step kind output.variance healthy max min "
    "where layers value x y over output.variance_per_layer"
)
_names = st.sampled_from([*FIELDS, *_KEYS.split()])
_ranges = st.fixed_dictionaries({"from": _scalars, "to": _scalars}, optional={"num": _scalars, "step": _scalars})
_values = st.recursive(
    _scalars | _ranges, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4)
)
_mappings = st.dictionaries(_names, _values, max_size=4)
_files = st.fixed_dictionaries(
    {"version": st.just(1) | _scalars, "name": st.just("a") | _scalars},
    optional={
        "defaults": st.fixed_dictionaries(
            {"init": st.just("he") | _values, "act": st.just("relu")}, optional={"layers": _scalars}
        )
        | _values,
        "grid": st.dictionaries(_names, st.lists(_values, max_size=4) | _ranges, max_size=4) | _values,
        "zip": st.dictionaries(_names, st.lists(_values, max_size=3), max_size=3) | _values,
        "exclude": st.lists(_mappings, max_size=3) | _values,
        "include": st.lists(_mappings, max_size=3) | _values,
        "seeds": _values,
        "draws": _values,
        "checks": _mappings | _values,
        "figures": st.lists(_values, max_size=3) | _values,
        "export": _values,
    },
)
_SIGNS = [
    *"abz019.:-,[]{}#&*!|>'\"%@`?=~<\\ \n\t\x00\x85\u2028\ufeff",
    "\n  ",
    "\n- ",
    ": ",
    "*a",
    "&a ",
    "!!",
    "---\n",
]
_alphabet = st.sampled_from([*_SIGNS, "version: 1\n", "grid:", "init", "%YAML 1.1\n", "0x", "1e", "_"])
_texts = st.lists(_alphabet, max_size=60).map("".join) | st.text(max_size=80)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """A shipped config with a piece of it cut, doubled or written over."""
    text = draw(st.sampled_from([path.read_text() for path in shipped().values()]))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        text = text[:start] + draw(st.just("") | st.just(text[start:end] * 2) | _texts) + text[end:]
    return text


def _survives(tmp_path: Path, text: str, *overrides: str, where: tuple[str, ...] = ()) -> None:
    try:
        plan = loaded(tmp_path, text.encode("utf-8", "surrogatepass"), *overrides, where=where)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert 0 < len(plan.runs) <= MAX_RUNS
    assert len({run.key for run in plan.runs}) == len(plan.runs)
    json.dumps([dict(run.axes) for run in plan.runs], allow_nan=False)


FILES = {
    "text": _texts,
    "structure": _files.map(json.dumps),
    "damaged": _damaged(),
}
_OPTIONS = st.lists(st.tuples(_names | _alphabet, _texts | _scalars.map(str)).map("=".join), max_size=2)


def fuzz_files(tmp_path: Path, kind: str, examples: int) -> None:
    @settings(repeatable, max_examples=examples)
    @given(FILES[kind], _OPTIONS, _OPTIONS)
    def run(text: str, overrides: list[str], where: list[str]) -> None:
        _survives(tmp_path, text)
        _survives(tmp_path, text, *overrides, where=tuple(where))

    run()
