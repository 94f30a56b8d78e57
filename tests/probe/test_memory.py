"""Networks that are too large to hold: segments give the same bits, in the memory that was estimated."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.streams import Streams
from initprobe.engine.threads import workers
from initprobe.probe import memory_parts
from initprobe.probe.experiment import prepare
from initprobe.probe.memory import cost
from initprobe.probe.memory_parts import memory_needed, segments
from initprobe.probe.networks import network_of, remade_layers
from initprobe.probe.run import run

CASES = {
    "relu": {"init": "he", "act": "relu"},
    "beyond the dtype": {"init": "normal:std=0.01", "act": "tanh"},
    "layer norm, residual": {"init": "he", "act": "gelu", "norm": "layer", "residual": True},
    "batch norm": {"init": "he", "act": "gelu", "norm": "batch"},
    "orthogonal, biases": {"init": "orthogonal", "act": "tanh", "bias_init": "normal:std=0.1"},
    "tapered": {"init": "xavier", "act": "tanh", "widths": (30, 50, 20, 40, 40, 30, 60)},
}


@pytest.mark.parametrize("case", CASES)
def test_segments_give_the_same_bits(case, monkeypatch):
    shape = {} if "widths" in CASES[case] else {"layers": 30, "width": 40}
    config = ProbeConfig(**shape, **CASES[case], batch=50, draws=2)
    kept = run(config)
    monkeypatch.setattr(memory_parts, "KEPT_BYTES", 0)
    assert len(segments(config, (40,) * 31, 50)) > 1
    assert run(config).layers == kept.layers


@pytest.mark.parametrize("fields", [{"batches": 2}, {"init": "lsuv"}, {"loss": "mse"}, {"train_steps": 1}])
def test_statistics_of_the_whole_network_hold_its_weights(fields, monkeypatch):
    monkeypatch.setattr(memory_parts, "KEPT_BYTES", 0)
    config = ProbeConfig(**{"init": "he", "act": "relu", "layers": 9, "width": 20, "batch": 10} | fields)
    assert segments(config, (20,) * 10, 10) == [range(9)]
    assert run(config).layers


def test_layers_made_again_are_taken_as_those_of_a_list():
    """Negative indices and slices name the same weights in both; out of range is an IndexError in both."""
    experiment = prepare(ProbeConfig(init="xavier", act="tanh", layers=5, width=6, batch=4, bias_init="normal:std=0.1"))
    with workers(1) as pool:
        kept = network_of(experiment, Streams(0, 0), pool)
        remade = remade_layers(experiment, Streams(0, 0), pool)
        assert len(remade) == len(kept) == 5
        for index in range(-5, 5):
            _same([remade[index]], [kept[index]])
        for start, stop, step in itertools.product((None, -6, -1, 0, 2, 9), (None, -3, 1, 5, 9), (None, 2, -1, -3)):
            _same(remade[start:stop:step], kept[start:stop:step])
        _same(list(remade), kept)
        _same(list(reversed(remade)), kept[::-1])
        for index in (-6, 5, 10**20):
            with pytest.raises(IndexError):
                remade[index]
        for index in ("0", 1.0, None):
            with pytest.raises(TypeError):
                remade[index]


def _same(remade, kept):
    assert len(remade) == len(kept)
    for layer, expected in zip(remade, kept, strict=True):
        np.testing.assert_array_equal(layer.weight, expected.weight)
        np.testing.assert_array_equal(layer.bias, expected.bias)


def test_segments_cover_every_layer_once():
    config = ProbeConfig(init="he", act="relu", layers=2000, width=1024, batch=256)
    parts = segments(config, (1024,) * 2001, 256)
    assert [index for segment in parts for index in segment] == list(range(2000))
    assert max(map(len, parts)) == len(parts[0])


def test_a_deep_net_takes_a_fraction_of_its_weights():
    config = ProbeConfig(init="he", act="relu", layers=2000, width=1024, batch=256)
    weights, activations = memory_needed(config, (1024,) * 2001, 256)
    assert weights + activations < 400e6 < 2000 * 1024**2 * 4
    whole = ProbeConfig(init="he", act="relu", layers=2000, width=1024, batch=128, batches=2)
    assert cost(config).flops == pytest.approx(cost(whole).flops * 4 / 3)  # the forward pass twice


DEEP = """
import json, resource, sys
from initprobe import ProbeConfig, run
result = run(ProbeConfig(init="xavier", act="tanh", layers=int(sys.argv[1]), width=1024, batch=256, draws=1))
size = len(result.to_json())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": result.elapsed_s, "peak": peak, "json": size}))
"""


def measured(layers):
    """A run in a process of its own."""
    done = subprocess.run([sys.executable, "-c", DEEP, str(layers)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit")
def test_two_thousand_layers_of_1024():
    """Its weights alone are 8 GB."""
    deep, shallow = measured(2000), measured(100)
    assert deep["peak"] < 800e6
    assert deep["json"] < 50e6
    print(f"{deep['seconds'] / 2000 / (shallow['seconds'] / 100):.2f} times the time a layer of 100 layers")
    assert deep["seconds"] / 2000 < 1.6 * shallow["seconds"] / 100
