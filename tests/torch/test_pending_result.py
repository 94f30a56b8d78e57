"""A result whose records are made when they are first read behaves like any other result."""

import copy
import gc
import json
import pickle

import pytest

torch = pytest.importorskip("torch")

from pydantic import TypeAdapter  # noqa: E402
from torch import nn  # noqa: E402

from initprobe.results.layers import OutputStats  # noqa: E402
from initprobe.results.run import ProbeResult  # noqa: E402
from initprobe.torch import probe  # noqa: E402
from initprobe.torch.graph import Operation, Signal  # noqa: E402
from initprobe.torch.measure import Track  # noqa: E402
from initprobe.torch.operations import Recorder  # noqa: E402

READERS = {
    "layers": lambda result: result.layers,
    "modules": lambda result: result.modules,
    "draws": lambda result: result.draws,
    "JSON": lambda result: result.to_json(),
    "dump": lambda result: result.model_dump(),
    "adapter": lambda result: TypeAdapter(ProbeResult).dump_json(result),
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "model copy": lambda result: result.model_copy(update={"elapsed_s": 1.0}),
    "pickle": pickle.dumps,
    "iteration": dict,
    "repr": repr,
    "equality": lambda result: result == 1,
    "table": lambda result: result.table(),
}


def probed(**options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))
    return probe(model, torch.randn(20, 6), threads=1, **options)


def same(result, other):
    return result.model_copy(update={"elapsed_s": 0.0}) == other.model_copy(update={"elapsed_s": 0.0})


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_pending_result_is_complete_after_any_first_access(read):
    result = probed(try_fixes=False)
    assert type(result) is not ProbeResult and isinstance(result, ProbeResult)
    read(result)
    assert len(result.layers) == 2 and len(result.modules) == 4
    assert same(result, probed(try_fixes=False))
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        result.other  # noqa: B018


def test_a_table_needs_no_modules_and_few_histograms():
    """They would cost as much as all measurements."""
    torch.manual_seed(0)
    model = nn.Sequential(*[part for _ in range(150) for part in (nn.Linear(8, 8), nn.Tanh())])
    result = probe(model, torch.randn(20, 8), try_fixes=False, threads=1)
    assert len(result.table().splitlines()) < 60
    assert type(result) is not ProbeResult
    assert sum(type(layer.output) is OutputStats for layer in result.layers) < 40


def test_the_verdict_needs_no_records():
    result = probed()
    assert result.healthy and not result.is_partial and result.coverage.share == 1
    assert type(result) is not ProbeResult
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        result.other  # noqa: B018


def test_copies_and_pickles_are_complete():
    for made in (copy.copy(probed()), copy.deepcopy(probed()), pickle.loads(pickle.dumps(probed()))):
        assert type(made) is ProbeResult and same(made, probed())


def test_pending_results_are_equal():
    result = probed()
    other = copy.copy(probed())
    assert result != probed(seed=1)
    assert other.model_copy(update={"elapsed_s": result.elapsed_s}) == result


def test_fields_made_without_checks_are_valid():
    """Fields and records are made without checks: the same JSON, read with all checks, gives the same result."""
    result = probed()
    assert ProbeResult.from_json(result.to_json()) == result
    assert json.loads(result.to_json())["modules"][0]["name"] == "0"


@pytest.mark.parametrize("read", [False, True])
def test_all_is_freed_with_the_result(read):
    """At once, and not when cycles are searched for, which takes longer than a probe of many small layers."""
    gc.collect()
    gc.disable()
    try:
        result = probed()
        if read:
            assert result.layers
        else:
            assert _kept()
        del result
        assert not _kept()
    finally:
        gc.enable()


def _kept():
    return [each for each in gc.get_objects() if type(each) in (Operation, Signal, Track, Recorder)]
