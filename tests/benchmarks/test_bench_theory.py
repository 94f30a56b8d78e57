"""What theory costs: beside the run it stands next to, for the gain table, for a phase diagram."""

import subprocess
import sys
import time

import pytest

RUN = """
import time
import initprobe.probe.run as probe
from initprobe import ProbeConfig
spent = 0.0
def timed(function):
    def call(*args, **fields):
        global spent
        started = time.process_time()
        result = function(*args, **fields)
        spent += time.process_time() - started
        return result
    return call
for name in ("predict_network", "with_predictions", "depth_scales", "diagnose"):
    setattr(probe, name, timed(getattr(probe, name)))
started = time.process_time()
probe.run(ProbeConfig(init="{init}", act="{act}", layers=10, norm={norm}), threads=1)
print(spent, time.process_time() - started)
"""
GAIN = """
import time
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.cli.commands.gain import _row
import initprobe.meanfield.phase
import scipy.special
started = time.perf_counter()
rows = [_row(activation, 0.0) for activation in ACTIVATIONS.values()]
print(time.perf_counter() - started, len(rows))
"""
PHASE = """
import time
import numpy as np
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.meanfield.phase import phase_diagram
started = time.perf_counter()
phase_diagram(ACTIVATIONS["{act}"], np.linspace(0.5, 3, 200), np.linspace(0, 1, 200))
print(time.perf_counter() - started, 200 * 200)
"""


def seconds(code, **names):
    """Median of three fresh processes, since caches must be cold: both numbers that the code prints."""
    text = code
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    runs = [subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True) for _ in range(3)]
    return sorted(tuple(map(float, run.stdout.split())) for run in runs)[1]


@pytest.mark.benchmark
def test_cost_of_theory():
    started = time.perf_counter()
    print(f"\n{'what':<44}{'seconds':>9}")
    plain = [
        (init, act, "None")
        for init, act in (("xavier", "tanh"), ("he", "relu"), ("he", "gelu"), ("torch_linear", "relu"))
    ]
    for init, act, norm in (*plain, ("he", "relu", "'layer'"), ("he", "relu", "'batch'")):
        spent, whole = seconds(RUN, init=init, act=act, norm=norm)
        what = f"theory and verdict of {init} + {act}" + ("" if norm == "None" else f", {norm} norm")
        print(f"{what:<44}{spent:9.3f}  {100 * spent / whole:.1f}% of its run")
        assert spent < 0.15 * whole
    for act in ("tanh", "relu", "gelu"):
        print(f"{f'phase diagram of {act}, 200 x 200':<44}{seconds(PHASE, act=act)[0]:9.3f}")
    print(f"{'gain table of all activations':<44}{seconds(GAIN)[0]:9.3f}")
    assert time.perf_counter() > started
