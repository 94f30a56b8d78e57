"""What theory costs: beside the run it stands next to, for the gain table, for a phase diagram."""

import subprocess
import sys
import time

import pytest

# The measurement of a fix that is tried is not theory. Its own theory and the search for the fix are.
RUN = """
import time
import initprobe.probe.run as probe
from initprobe import ProbeConfig
spent = {True: 0.0, False: 0.0}
is_theory, since = False, time.process_time()
def switch(to):
    global is_theory, since
    before, now = is_theory, time.process_time()
    spent[before] += now - since
    is_theory, since = to, now
    return before
def timed(function, to):
    def call(*args, **fields):
        before = switch(to)
        try:
            return function(*args, **fields)
        finally:
            switch(before)
    return call
for name in ("predict_network", "with_predictions", "depth_scales", "no_theory", "typical_draw", "diagnose"):
    setattr(probe, name, timed(getattr(probe, name), True))
probe.measured = timed(probe.measured, False)
probe.run(ProbeConfig({fields}), threads=1)
switch(False)
print(spent[True], sum(spent.values()))
"""
# Of default size, if nothing else is said. A fix is looked for where the verdict finds something.
HELD = (
    *("init='xavier', act='tanh'", "init='he', act='gelu'", "init='torch_linear', act='relu'"),
    *("init='orthogonal', act='tanh'", "init='xavier', act='sigmoid'", "init='normal:std=0.01', act='tanh'"),
    *(
        f"init='he', act='relu', norm='{norm}', residual={residual}"
        for norm in ("none", "layer", "batch")
        for residual in (False, True)
    ),
    "init='he', act='relu', layers=200, width=256",
)
# These take a larger share, and are only printed: few units make a run short, and many candidates a search long.
BEYOND = (
    "init='he', act='relu', layers=50, norm='batch'",
    "init='he', act='relu', layers=20, width=100, norm='layer'",
    "init='xavier', act='gelu', layers=100, width=100",
    "init='normal:std=0.1,mean=0.02', act='relu', width=100",
)
GAIN = """
import time
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe import gain
import initprobe.meanfield.phase
import scipy.special
started = time.perf_counter()
rows = [gain(activation) for activation in ACTIVATIONS.values()]
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
    print(f"\n{'what':<62}{'seconds':>9}")
    for fields in HELD + BEYOND:
        spent, whole = seconds(RUN, fields=fields)
        print(f"{fields:<62}{spent:9.3f}  {spent / whole:.1%} of its run")
        assert spent < 0.15 * whole or fields in BEYOND
    for act in ("tanh", "relu", "gelu"):
        print(f"{f'phase diagram of {act}, 200 x 200':<62}{seconds(PHASE, act=act)[0]:9.3f}")
    print(f"{'gain table of all activations':<62}{seconds(GAIN)[0]:9.3f}")
    assert time.perf_counter() > started
