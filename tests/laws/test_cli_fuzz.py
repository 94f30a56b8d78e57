"""Any command line and any file ends, in words, with 0, 1, 2 or 3. None ends with a traceback or runs for ever."""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from functools import cache

import click
import pytest
from cli_fuzz import Grammar, Outcome, World
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_fuzz import FILES, repeatable
from thread_workers import thread_workers

from initprobe.cli.app import COMMANDS, cli
from initprobe.cli.commands import tour

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # a warning is no traceback
    pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and alarms of POSIX"),
]
SHARES = 8
_RAW_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
_LONGEST_ERROR = 1200


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("initprobe.sweeps.execution_runner.local_workers", thread_workers)
        patch.setattr(tour, "_measured", cache(tour._measured))  # the same seven networks at every call
        yield World.at(tmp_path_factory.mktemp("world"))


def _fault(outcome: Outcome) -> str | None:
    """What is wrong with the answer to a call, if anything is."""
    if outcome.code not in (0, 1, 2, 3):
        return f"exit code {outcome.code}"
    if outcome.code == 2 and _RAW_CONTROL.search(outcome.said):
        return "a control character in an error"
    errors = [line for line in outcome.said.splitlines() if line.startswith("Error: ")]
    if any(len(line) > _LONGEST_ERROR for line in errors):
        return "a long error"
    return None


def _fuzz(world: World, seed: int, calls: int) -> Counter[int]:
    grammar, rng = Grammar(world.paths), random.Random(seed)
    codes: Counter[int] = Counter()
    for number in range(calls):
        args = grammar.call(rng)
        outcome = world.run(args)
        codes[outcome.code] += 1
        if (fault := _fault(outcome)) is not None:
            pytest.fail(f"seed {seed}, call {number}: {fault}: {_short(args)}\n{outcome.said[-3000:]}", pytrace=False)
    return codes


def _short(args: list[str]) -> list[str]:
    return [arg if len(arg) < 200 else f"{arg[:20]}... ({len(arg)})" for arg in args]


@pytest.mark.parametrize("seed", range(SHARES))
def test_no_random_call_ends_in_a_traceback(world, seed):
    codes = _fuzz(world, seed, 40)
    assert codes[0] and codes[2]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_ten_thousand_random_calls_end_without_a_traceback(world, seed):
    print(f"seed {seed}: {dict(_fuzz(world, seed, 500))}")


def _fuzz_files(world: World, kind: str, examples: int) -> None:
    @settings(repeatable, max_examples=examples)
    @given(FILES[kind], st.booleans())
    def run(text: str, dry: bool) -> None:
        (world.home / "fuzzed.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        args = ["sweep", "fuzzed.yaml", "--dry-run"] if dry else ["validate", "fuzzed.yaml"]
        outcome = world.run(args)
        assert _fault(outcome) is None, f"{_fault(outcome)}\n{outcome.said[-3000:]}"

    run()


@pytest.mark.parametrize("kind", FILES)
def test_no_file_ends_in_a_traceback(world, kind):
    _fuzz_files(world, kind, 60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_three_thousand_random_files_end_without_a_traceback(world, kind):
    _fuzz_files(world, kind, 1000)


def test_the_grammar_holds_every_option():
    rng, context = random.Random(0), click.Context(cli)
    spelt = {arg.partition("=")[0] for _ in range(3000) for arg in Grammar(["a"]).call(rng)}
    options = [param for name in COMMANDS for param in cli.get_command(context, name).params if param.opts[0][0] == "-"]
    assert not {name for option in options for name in option.opts} - spelt
